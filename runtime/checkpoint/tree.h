/* JSON that somebody else wrote, read by SQLite, which survives any text and any want of memory: other libraries of
 * JSON lose characters, or end the process, when an allocation fails. */
#ifndef MT_TREE_H
#define MT_TREE_H

#include "runtime/base/str.h"
#include <stdint.h>

enum tree_type { TREE_NULL, TREE_BOOL, TREE_INTEGER, TREE_REAL, TREE_TEXT, TREE_ARRAY, TREE_OBJECT };

/* A value; what it points to belongs to its struct tree. */
struct tree_value {
    enum tree_type type;
    const char *key;  /* of a member of an object */
    const char *text; /* TREE_TEXT: UTF-8 */
    int64_t number;   /* TREE_INTEGER; TREE_BOOL: 0 or 1 */
    struct tree_value *const *item, *const
                                        *by_key; /* [count], of an array or object as they stand there; of an object */
    int count;
    int parent; /* while it is read */
};

struct tree {
    struct tree_value *value; /* all of them; the first is the whole */
    struct tree_value **item; /* in both orders */
    int count;
    size_t capacity;
    struct str texts;
};

/* The largest text: more than any header that there is. */
#define TREE_BYTES_MOST ((size_t)32 << 20)

/* MT_FAILURE with `what` and the reason for a text that is not JSON or is too long, says a key of an object twice, is
 * no UTF-8, has a character 0, or if memory is short. Then nothing is held. */
enum mt_status tree_read(const char *what, const char *text, size_t length, struct tree *out);
void tree_release(struct tree *tree);

/* NULL if `value` is NULL, no object, or has no such member. */
const struct tree_value *tree_get(const struct tree_value *value, const char *key);
/* The text of such a member, NULL if it is none. */
const char *tree_get_text(const struct tree_value *value, const char *key);
bool tree_is(const struct tree_value *value, enum tree_type type); /* false for NULL */

/* Appends a text in quotes. */
void tree_quote(struct str *out, const char *text);

#endif
