#include "status.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char sentence[1024];

/* Arguments may point into the old sentence, so the new one is put together aside. */
static void sentence_set(const char *format, va_list args, const char *rest) {
    char text[sizeof sentence];
    int used = vsnprintf(text, sizeof text, format, args);
    if (used < 0)
        used = 0;
    if (rest && (size_t)used < sizeof text)
        snprintf(text + used, sizeof text - (size_t)used, ": %s", rest);
    memcpy(sentence, text, sizeof sentence);
}

enum mt_status fail(enum mt_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    sentence_set(format, args, NULL);
    va_end(args);
    return status;
}

enum mt_status fail_context(enum mt_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    sentence_set(format, args, sentence);
    va_end(args);
    return status;
}

const char *fail_message(void) {
    return sentence;
}
