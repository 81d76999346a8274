#include "status.h"
#include "str.h"
#include "visible.h"
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

static _Thread_local char sentence[1024];
static _Thread_local bool of_memory; /* it speaks of that */

/* Arguments may point into the old sentence, so the new one is put together aside. */
static void sentence_set(const char *format, va_list args, bool before_the_old) {
    char text[sizeof sentence], old[sizeof sentence];
    text_vfit(text, sizeof text, format, args);
    text_visible(text, sizeof text);
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
    of_memory = false;
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

bool fail_is_memory(void) {
    return of_memory;
}

void fail_note_memory(void) {
    of_memory = true;
}

const char *fail_message(void) {
    return sentence;
}
