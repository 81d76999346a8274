#include "verdict.h"
#include <errno.h>
#include <stddef.h>
#include <string.h>

/* As strerror() has them, and the compiler's own words. Looked for without regard to case. */
static const char *const shortages[] = {
    "too many open files", "cannot allocate memory", "out of memory",      "memory allocation fail",
    "bad_alloc",           "no space left",          "input/output error", "disk quota exceeded",
    "temporarily unavail", "unable to obtain"};

/* What is said of files and of the compiler itself: our sources name no files, for templates are one text. */
static const char *const troubles[] = {
    "cannot open",      "could not open",  "unable to open",    "failed to open",
    "cannot write",     "could not write", "error writing",     "failed to write",
    "could not create", "cannot create",   "failed to create",  "failed to load",
    "could not load",   "unable to read",  "permission denied", "read-only file system",
    "corrupt",          "internal error",  "internal compiler", "segmentation fault",
    "killed",           "nvrtc-builtins"};

static bool speaks_of(const char *text, const char *const *words, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (strcasestr(text, words[i]))
            return true;
    return false;
}

bool speaks_of_shortage(const char *text) {
    /* The loader's words for a lack of memory; and for a file system without executables, with the system's behind. */
    if (strstr(text, "failed to map segment") && !strstr(text, strerror(EPERM)))
        return true;
    return speaks_of(text, shortages, sizeof shortages / sizeof *shortages);
}

static bool speaks_of_machine(const char *line) {
    return speaks_of_shortage(line) || speaks_of(line, troubles, sizeof troubles / sizeof *troubles);
}

/* The source's own text stands below a message, further in. Closing words say only that there were errors. */
static bool says_error(const char *line) {
    static const char *const closing[] = {"detected in the compilation", "aborted due to errors",
                                          "compilation terminated", ": warning"};
    return *line != ' ' && *line != '\t' && (strstr(line, "error") || strstr(line, "fatal")) &&
           !speaks_of(line, closing, sizeof closing / sizeof *closing);
}

/* The bytes of the UTF-8 character at `text`; 0: there is none. */
static size_t character(const unsigned char *text) {
    const size_t more = *text < 0x80 ? 0 : *text >= 0xc2 && *text < 0xe0 ? 1 : *text < 0xf0 ? 2 : 3;
    if (*text >= 0x80 && (*text < 0xc2 || *text > 0xf4))
        return 0;
    for (size_t i = 1; i <= more; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    /* Longer than need be, a surrogate, beyond the last character. */
    if ((*text == 0xe0 && text[1] < 0xa0) || (*text == 0xed && text[1] > 0x9f) || (*text == 0xf0 && text[1] < 0x90) ||
        (*text == 0xf4 && text[1] > 0x8f))
        return 0;
    return more + 1;
}

static void append_printable(struct str *out, const char *text) {
    const unsigned char *at = (const unsigned char *)text;
    while (*at) {
        const size_t size = character(at);
        const bool control = *at < 0x20 || *at == 0x7f || (*at == 0xc2 && at[1] < 0xa0);
        if (size && !control)
            str_append_bytes(out, at, size);
        else
            for (size_t i = 0; i < (size ? size : 1); i++)
                str_printf(out, "\\x%02x", at[i]);
        at += size ? size : 1;
    }
}

bool log_is_verdict(const char *log, struct str *line) {
    struct str first = {0}, now = {0};
    bool error = false, machine = false;
    for (const char *at = log; *at && !machine; at += *at == '\n') {
        const size_t length = strcspn(at, "\n");
        str_clear(&now);
        str_append_bytes(&now, at, length);
        machine = now.failed || (says_error(str_text(&now)) && speaks_of_machine(now.data));
        /* The first error says most, and one of the machine's more than those before it. */
        if (machine || (!error && says_error(str_text(&now))) || (first.length == 0 && length)) {
            str_clear(&first);
            str_append_bytes(&first, at, length);
        }
        error = error || says_error(str_text(&now));
        at += length;
    }
    append_printable(line, str_text(&first));
    str_release(&first);
    str_release(&now);
    return error && !machine;
}
