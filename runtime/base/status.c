#include "status.h"
#include "str.h"
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

static _Thread_local char sentence[1024];

/* A sentence is one line, and what it cites from a file of somebody else's commands no terminal (U+009B does, too). */
static void one_line(char *text) {
    for (unsigned char *p = (unsigned char *)text; *p; p++) {
        if (*p < ' ' || *p == 0x7f)
            *p = *p == '\n' || *p == '\t' ? ' ' : '?';
        else if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f)
            p[0] = p[1] = '?';
    }
}

/* Arguments may point into the old sentence, so the new one is put together aside. */
static void sentence_set(const char *format, va_list args, bool before_the_old) {
    char text[sizeof sentence], old[sizeof sentence];
    text_vfit(text, sizeof text, format, args);
    text_mend(text);
    one_line(text);
    memcpy(old, sentence, sizeof old);
    if (before_the_old)
        text_fit(sentence, sizeof sentence, "%s: %s", text, old);
    else
        memcpy(sentence, text, sizeof sentence);
}

enum mt_status fail(enum mt_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    sentence_set(format, args, false);
    va_end(args);
    return status;
}

enum mt_status fail_context(enum mt_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    sentence_set(format, args, true);
    va_end(args);
    return status;
}

enum mt_status fail_settled(enum mt_status status) {
    if (status == MT_OK)
        *sentence = 0;
    return status;
}

const char *fail_message(void) {
    return sentence;
}
