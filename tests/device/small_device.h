/* A software device with few SMs: persistent kernels then walk over many tiles even when the problem is small. */
#ifndef TEST_SMALL_DEVICE_H
#define TEST_SMALL_DEVICE_H

#include "runtime/base/file.h"
#include "runtime/base/str.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Writes `where`/NAME.yaml, the device of configs/devices/ with another number for each of the `keys`, which spaces part; and its spec. */
static inline bool altered_device(const char *name, const char *keys, int value, const char *where, char spec[64]) {
    struct str path = {0}, text = {0}, changed = {0}, target = {0}, line = {0};
    bool good = config_find("devices", name, "yaml", &path) == MT_OK && file_read(path.data, &text) == MT_OK;
    for (const char *key = keys; good && *key; key += strcspn(key, " "), key += *key == ' ') {
        line.length = changed.length = 0;
        str_printf(&line, "\n%.*s: ", (int)strcspn(key, " "), key);
        const char *at = strstr(text.data, line.data);
        if ((good = at != NULL)) {
            at += line.length;
            str_append_bytes(&changed, text.data, (size_t)(at - text.data));
            str_printf(&changed, "%d%s", value, at + strspn(at, "0123456789."));
            text.length = 0;
            str_append(&text, changed.data);
        }
    }
    str_printf(&target, "%s/%s.yaml", where, name);
    good = good && file_write_atomic(target.data, text.data, text.length) == MT_OK &&
           snprintf(spec, 64, "soft:%s", target.data) < 64;
    str_release(&path);
    str_release(&text);
    str_release(&changed);
    str_release(&target);
    str_release(&line);
    return good;
}

static inline bool small_device(const char *name, int sms, const char *where, char spec[64]) {
    return altered_device(name, "sm_count", sms, where, spec);
}

#endif
