#include "str.h"
#include "number.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *str_text(const struct str *s) {
    return s->data ? s->data : "";
}

enum mt_status str_status(const struct str *s) {
    return s->failed ? memory_short(s->wanted) : MT_OK;
}

/* Half a text could be taken for another one, such as a path: nothing of it stays. */
static bool str_fail(struct str *s, size_t wanted) {
    free(s->data);
    *s = (struct str){.failed = true, .wanted = wanted};
    return false;
}

bool str_reserve(struct str *s, size_t more) {
    if (s->failed)
        return false;
    if (more >= SIZE_MAX / 2 - s->length) {
        memory_short(more);
        return str_fail(s, more);
    }
    size_t need = s->length + more + 1;
    if (need <= s->capacity)
        return true;
    size_t capacity = s->capacity ? s->capacity * 2 : 64;
    if (capacity < need)
        capacity = need;
    char *data = mem_resize(s->data, capacity);
    if (!data)
        return str_fail(s, capacity);
    s->data = data;
    s->data[s->length] = 0;
    s->capacity = capacity;
    return true;
}

void str_release(struct str *s) {
    free(s->data);
    *s = (struct str){0};
}

void str_clear(struct str *s) {
    s->length = 0;
    s->failed = false;
    if (s->data)
        s->data[0] = 0;
}

void str_append(struct str *s, const char *text) {
    str_append_bytes(s, text, strlen(text));
}

void str_append_bytes(struct str *s, const void *bytes, size_t count) {
    if (!str_reserve(s, count))
        return;
    if (count)
        memcpy(s->data + s->length, bytes, count);
    s->length += count;
    s->data[s->length] = 0;
}

void str_append_int(struct str *s, int value) {
    char digits[3 * sizeof value + 1], *at = digits + sizeof digits;
    unsigned rest = value < 0 ? 0 - (unsigned)value : (unsigned)value;
    do
        *--at = (char)('0' + rest % 10);
    while ((rest /= 10) > 0);
    if (value < 0)
        *--at = '-';
    str_append_bytes(s, at, (size_t)(digits + sizeof digits - at));
}

void str_printf(struct str *s, const char *format, ...) {
    va_list args;
    va_start(args, format);
    str_vprintf(s, format, args);
    va_end(args);
}

void str_vprintf(struct str *s, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    const locale_t before = number_locale_begin();
    int length = vsnprintf(NULL, 0, format, args);
    if (str_reserve(s, length > 0 ? (size_t)length : 0) && length > 0)
        s->length += (size_t)vsnprintf(s->data + s->length, (size_t)length + 1, format, again);
    number_locale_end(before);
    va_end(again);
}

/* The beginning of the UTF-8 character at `at`, not before `first`; bytes that are no UTF-8 may be cut anywhere. */
static size_t character_start(const char *text, size_t first, size_t at) {
    size_t start = at;
    while (start > first && at - start < 3 && (text[start] & 0xc0) == 0x80)
        start--;
    return (text[start] & 0xc0) == 0x80 ? at : start;
}

void text_vfit(char *out, size_t size, const char *format, va_list args) {
    static const char mark[] = "...";
    const locale_t before = number_locale_begin();
    int length = vsnprintf(out, size, format, args);
    number_locale_end(before);
    if (length < 0 || (size_t)length < size || size < sizeof mark)
        return;
    memcpy(out + character_start(out, 0, size - sizeof mark), mark, sizeof mark);
}

void str_shorten_words(struct str *s, size_t most) {
    static const char mark[] = "...";
    const size_t length = s->length;
    size_t used = 0;
    for (size_t at = 0; at < length;) {
        size_t end = at + strcspn(s->data + at, " \t\r\n");
        size_t head = end - at, tail = end;
        if (head > most && most > 2 * sizeof mark) {
            head = character_start(s->data, at, at + (most - sizeof mark) / 2) - at;
            tail = character_start(s->data, at + head, end - (most - sizeof mark) / 2);
        }
        memmove(s->data + used, s->data + at, head);
        used += head;
        if (tail > at + head) {
            memcpy(s->data + used, mark, sizeof mark - 1);
            used += sizeof mark - 1;
        }
        end += end < length; /* with the blank */
        memmove(s->data + used, s->data + tail, end - tail);
        used += end - tail;
        at = end;
    }
    if (length)
        s->data[used] = '\0';
    s->length = used;
}

void text_vfit_words(char *out, size_t size, const char *format, va_list args) {
    struct str s = {0};
    va_list again;
    va_copy(again, args);
    str_vprintf(&s, format, args);
    str_shorten_words(&s, WORD_MOST);
    if (s.failed)
        text_vfit(out, size, format, again);
    else
        text_fit(out, size, "%s", str_text(&s));
    va_end(again);
    str_release(&s);
}

void text_fit_words(char *out, size_t size, const char *format, ...) {
    va_list args;
    va_start(args, format);
    text_vfit_words(out, size, format, args);
    va_end(args);
}

void text_fit(char *out, size_t size, const char *format, ...) {
    va_list args;
    va_start(args, format);
    text_vfit(out, size, format, args);
    va_end(args);
}
