/* A growable string. Always 0-terminated. Where memory is short it fails: it becomes empty, what is appended is
 * dropped, and str_status() says so. So a text is put together without looking, and whoever uses it looks once. */
#ifndef MT_BASE_STR_H
#define MT_BASE_STR_H

#include "memory.h"
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct str {
    char *data; /* owned; NULL until something is appended, and after a failure: str_text() where that may be */
    size_t length, capacity;
    bool failed;   /* until it is cleared or released */
    size_t wanted; /* bytes that were not to be had */
};

/* The text, "" while nothing was appended. Valid until the string changes. */
const char *str_text(const struct str *s);
/* MT_FAILURE with a sentence if memory was short; then there is no text. */
enum mt_status str_status(const struct str *s);
/* Makes room for `more` bytes behind the text, so that they can be written there; `data` is then never NULL. False if
 * memory is short. */
bool str_reserve(struct str *s, size_t more);
void str_release(struct str *s);
void str_clear(struct str *s);
void str_append(struct str *s, const char *text);
void str_append_bytes(struct str *s, const void *bytes, size_t count);
/* In decimal: what "%d" gives, for texts that are made by the thousand. */
void str_append_int(struct str *s, int value);
void str_printf(struct str *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
void str_vprintf(struct str *s, const char *format, va_list args);

/* As snprintf(), for a sentence in an array: one that does not fit ends in "..." and not within a character. */
void text_fit(char *out, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
void text_vfit(char *out, size_t size, const char *format, va_list args);
/* A word of more than `most` bytes, such as the name of a C++ function, keeps its two ends around "...". */
void str_shorten_words(struct str *s, size_t most);
/* As text_fit(), of a sentence whose words of more than WORD_MOST bytes are shortened first: a long name pushes nothing
 * out. */
enum { WORD_MOST = 120 };
void text_fit_words(char *out, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
void text_vfit_words(char *out, size_t size, const char *format, va_list args);

#endif
