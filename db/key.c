#include "key.h"
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
