#include "visible.h"

#include <string.h>

size_t utf8_character(const char *text, size_t count, uint32_t *code) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *p = (const unsigned char *)text;
    if (!count)
        return 0;
    const size_t bytes = *p < 0x80 ? 1 : *p < 0xc0 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf8 ? 4 : 0;
    if (!bytes || bytes > count)
        return 0;
    *code = bytes == 1 ? *p : *p & (0xffu >> (bytes + 1));
    for (size_t i = 1; i < bytes; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        *code = *code << 6 | (p[i] & 0x3f);
    }
    const bool surrogate = *code >= 0xd800 && *code < 0xe000;
    return *code < least[bytes] || *code > 0x10ffff || surrogate ? 0 : bytes;
}

bool utf8_is_plain(uint32_t code) {
    static const struct {
        uint32_t first, last;
    } hidden[] = {
        {0, 0x1f},        {0x7f, 0x9f},     {0xad, 0xad},       {0x34f, 0x34f},     {0x61c, 0x61c},
        {0x115f, 0x1160}, {0x17b4, 0x17b5}, {0x180b, 0x180f},   {0x200b, 0x200f},   {0x2028, 0x202e},
        {0x2060, 0x206f}, {0x3164, 0x3164}, {0xfdd0, 0xfdef},   {0xfe00, 0xfe0f},   {0xfeff, 0xfeff},
        {0xffa0, 0xffa0}, {0xfff0, 0xfffb}, {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0000, 0xe0fff},
    };
    if (code < 0x7f)
        return code >= 0x20;
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
        if (code >= hidden[i].first && code <= hidden[i].last)
            return false;
    return (code & 0xfffe) != 0xfffe;
}

/* Bytes of the character that begins here and stays as it is; 0 if the byte does not. */
static size_t plain_bytes(const char *text, size_t count) {
    uint32_t code;
    const size_t bytes = utf8_character(text, count, &code);
    return bytes && utf8_is_plain(code) ? bytes : 0;
}

bool text_is_visible(const char *text, size_t count) {
    for (size_t bytes; count > 0; text += bytes, count -= bytes)
        if (!(bytes = plain_bytes(text, count)))
            return false;
    return true;
}

enum { SHOWN = 4 }; /* bytes of "\x1b" */

static void show_byte(unsigned char byte, char *out) {
    static const char digits[] = "0123456789abcdef";
    out[0] = '\\';
    out[1] = 'x';
    out[2] = digits[byte >> 4];
    out[3] = digits[byte & 15];
}

void str_append_visible(struct str *out, const char *text, size_t count, const char *keep) {
    for (size_t at = 0, first = 0; at <= count;) {
        const size_t bytes = at == count                          ? 0
                             : text[at] && strchr(keep, text[at]) ? 1
                                                                  : plain_bytes(text + at, count - at);
        at += bytes;
        if (bytes)
            continue;
        str_append_bytes(out, text + first, at - first);
        if (at < count) {
            char shown[SHOWN];
            show_byte((unsigned char)text[at], shown);
            str_append_bytes(out, shown, SHOWN);
        }
        first = ++at;
    }
}

/* What fits into an array of `size`, with its 0: bytes of the text, and bytes that they are when they are visible. */
static void measure(const char *text, size_t length, size_t size, size_t *from, size_t *to) {
    *from = *to = 0;
    while (*from < length) {
        const size_t plain = plain_bytes(text + *from, length - *from), bytes = plain ? plain : SHOWN;
        if (*to + bytes >= size)
            return;
        *from += plain ? plain : 1;
        *to += bytes;
    }
}

void text_visible(char *text, size_t size) {
    static const char mark[] = "...";
    size_t length = strlen(text), from, to, at = 0;
    measure(text, length, size, &from, &to);
    const bool cut = from < length;
    if (to == length && !cut)
        return;
    if (cut)
        measure(text, length, size > sizeof mark ? size - (sizeof mark - 1) : size, &from, &to);
    /* From the end of what will be there forwards: what is read lies never before what is written. */
    char *read = text + to - from;
    memmove(read, text, from);
    for (size_t left = from; left;) {
        const size_t plain = plain_bytes(read, left), bytes = plain ? plain : 1;
        const unsigned char byte = (unsigned char)*read;
        if (plain)
            memmove(text + at, read, plain);
        else
            show_byte(byte, text + at);
        at += plain ? plain : SHOWN;
        read += bytes;
        left -= bytes;
    }
    text[at] = '\0';
    if (cut && size > sizeof mark)
        memcpy(text + at, mark, sizeof mark);
}
