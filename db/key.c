#include "key.h"
#include <sqlite3.h>
#include <string.h>
#include <xxhash.h>

void key_init(struct key *key, const char *table) {
    *key = (struct key){0};
    key_text(key, table);
}

/* Eight bytes, lowest first, on any machine. */
void key_number(struct key *key, int64_t number) {
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)number >> 8 * i);
    str_append_bytes(&key->bytes, bytes, sizeof bytes);
}

/* The size goes in front, so that "ab", "c" and "a", "bc" differ. */
void key_bytes(struct key *key, const void *bytes, size_t size) {
    key_number(key, (int64_t)size);
    if (size)
        str_append_bytes(&key->bytes, bytes, size);
}

void key_text(struct key *key, const char *text) {
    key_bytes(key, text, strlen(text));
}

int64_t key_finish(struct key *key) {
    int64_t hash = (int64_t)XXH3_64bits(key->bytes.data, key->bytes.length);
    str_release(&key->bytes);
    return hash;
}

/* A number counts by its eight bytes, everything else by its size and bytes; NULL is empty. */
static void add_value(struct key *key, sqlite3_value *value) {
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
    struct key key = {0};
    for (int i = 0; i < count; i++)
        add_value(&key, values[i]);
    sqlite3_result_int64(context, key_finish(&key));
}

void key_register(sqlite3 *db) {
    sqlite3_create_function(db, "content_key", -1, SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS, NULL,
                            content_key, NULL, NULL);
}
