/* A software device with few SMs: persistent kernels then walk over many tiles even when the problem is small. */
#ifndef TEST_SMALL_DEVICE_H
#define TEST_SMALL_DEVICE_H

#include "base/file.h"
#include "base/str.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Writes `where`/NAME.yaml, the device of configs/devices/ with `sms` SMs, and its spec. */
static inline bool small_device(const char *name, int sms, const char *where, char spec[64]) {
    static const char key[] = "sm_count: ";
    struct str path = {0}, text = {0}, changed = {0}, target = {0};
    const char *at;
    bool good = false;
    if (config_find("devices", name, "yaml", &path) || file_read(path.data, &text) || !(at = strstr(text.data, key)))
        goto out;
    at += strlen(key);
    str_append_bytes(&changed, text.data, (size_t)(at - text.data));
    str_printf(&changed, "%d%s", sms, at + strspn(at, "0123456789"));
    str_printf(&target, "%s/%s.yaml", where, name);
    good = file_write_atomic(target.data, changed.data, changed.length) == MT_OK &&
           snprintf(spec, 64, "soft:%s", target.data) < 64;
out:
    str_release(&path);
    str_release(&text);
    str_release(&changed);
    str_release(&target);
    return good;
}

#endif
