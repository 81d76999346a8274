#include "keys.h"
#include "runtime/base/array.h"
#include "runtime/base/memory.h"
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static size_t place_of(const struct keys *keys, const char *text) {
    size_t i = (size_t)XXH3_64bits(text, strlen(text)) & (keys->places - 1);
    while (keys->place[i] && strcmp(keys->text[keys->place[i] - 1], text) != 0)
        i = (i + 1) & (keys->places - 1);
    return i;
}

/* Twice as many places, of which at most half are taken. */
static void keys_grow(struct keys *keys) {
    keys->places = keys->places ? 2 * keys->places : 64;
    free(keys->place);
    keys->place = xcalloc(keys->places, sizeof *keys->place);
    for (int i = 0; i < keys->count; i++)
        keys->place[place_of(keys, keys->text[i])] = i + 1;
}

int keys_find(const struct keys *keys, const char *text) {
    return keys->places ? keys->place[place_of(keys, text)] - 1 : -1;
}

int keys_number(struct keys *keys, const char *text) {
    if (2 * (size_t)keys->count >= keys->places)
        keys_grow(keys);
    const size_t place = place_of(keys, text);
    if (keys->place[place])
        return keys->place[place] - 1;
    array_grow(&keys->text, &keys->capacity, (size_t)keys->count, sizeof *keys->text);
    keys->text[keys->count] = xstrdup(text);
    keys->place[place] = ++keys->count;
    return keys->count - 1;
}

void keys_release(struct keys *keys) {
    for (int i = 0; i < keys->count; i++)
        free(keys->text[i]);
    free(keys->text);
    free(keys->place);
    *keys = (struct keys){0};
}
