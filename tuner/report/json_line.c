#include "json_line.h"

#include "runtime/base/visible.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *json_text(const char *text) {
    json_t *value = json_string(text);
    if (value)
        return value;
    struct str visible = {0};
    str_append_visible(&visible, text, strlen(text), "");
    value = json_string(str_text(&visible));
    str_release(&visible);
    return value;
}

/* Within a string every character may be an escape, and jansson leaves only these to do. */
static void append_escape(uint32_t code, struct str *out) {
    if (code > 0xffff)
        str_printf(out, "\\u%04x\\u%04x", 0xd800 + ((code - 0x10000) >> 10), 0xdc00 + (code & 0x3ff));
    else
        str_printf(out, "\\u%04x", code);
}

void json_append(json_t *value, size_t flags, struct str *out) {
    char *text = json_dumps(value, flags);
    const size_t length = text ? strlen(text) : 0;
    str_reserve(out, length);
    for (size_t at = 0, bytes; at < length; at += bytes) {
        uint32_t code = 0;
        bytes = utf8_character(text + at, length - at, &code);
        if (code == '\n' || utf8_is_plain(code))
            str_append_bytes(out, text + at, bytes);
        else
            append_escape(code, out);
        bytes = bytes ? bytes : 1; /* jansson writes UTF-8 only */
    }
    free(text);
    json_decref(value);
}

void json_line_append(json_t *value, struct str *out) {
    json_append(value, JSON_COMPACT | JSON_REAL_PRECISION(15), out);
    str_append(out, "\n");
}

void json_line(json_t *value) {
    struct str line = {0};
    json_line_append(value, &line);
    fwrite(line.data, 1, line.length, stdout);
    str_release(&line);
}
