#include "key.h"
#include "runtime/base/str.h"
#include <sqlite3.h>
#include <stdint.h>
#include <string.h>
#include <xxhash.h>

/* Eight bytes, lowest first, on any machine. */
static void key_number(struct str *key, int64_t number) {
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)number >> 8 * i);
    str_append_bytes(key, bytes, sizeof bytes);
}

/* The size goes in front, so that "ab", "c" and "a", "bc" differ. */
static void key_bytes(struct str *key, const void *bytes, size_t size) {
    key_number(key, (int64_t)size);
    if (size)
        str_append_bytes(key, bytes, size);
}

/* A number counts by its eight bytes, everything else by its size and bytes; NULL is empty. */
static void add_value(struct str *key, sqlite3_value *value) {
    double real;
    int64_t bits;
    switch (sqlite3_value_type(value)) {
    case SQLITE_INTEGER:
        key_number(key, sqlite3_value_int64(value));
        break;
    case SQLITE_FLOAT:
        real = sqlite3_value_double(value);
        if (real == 0) /* a table keeps no negative zero */
            real = 0;
        memcpy(&bits, &real, sizeof bits);
        key_number(key, bits);
        break;
    case SQLITE_TEXT:
        key_bytes(key, sqlite3_value_text(value), (size_t)sqlite3_value_bytes(value));
        break;
    default:
        key_bytes(key, sqlite3_value_blob(value), (size_t)sqlite3_value_bytes(value));
    }
}

static void content_key(sqlite3_context *context, int count, sqlite3_value **values) {
    struct str key = {0};
    for (int i = 0; i < count; i++)
        add_value(&key, values[i]);
    if (key.failed)
        sqlite3_result_error_nomem(context);
    else
        sqlite3_result_int64(context, (int64_t)XXH3_64bits(str_text(&key), key.length));
    str_release(&key);
}

bool key_register(sqlite3 *db) {
    return sqlite3_create_function(db, "content_key", -1, SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS, NULL,
                                   content_key, NULL, NULL) == SQLITE_OK;
}
