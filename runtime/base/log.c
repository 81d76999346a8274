#include "log.h"
#include "str.h"
#include "visible.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <xxhash.h>

static atomic_int current = LOG_INFO;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void level_from_environment(void) {
    static const char *const names[] = {"error", "warn", "info", "debug"};
    const char *wanted = getenv("MIXTUNE_LOG");
    for (int i = 0; wanted && i < 4; i++)
        if (!strcmp(wanted, names[i]))
            current = i;
}

void log_set_level(enum log_level level) {
    pthread_once(&once, level_from_environment);
    current = (int)level;
}

bool log_enabled(enum log_level level) {
    pthread_once(&once, level_from_environment);
    return (int)level <= current;
}

/* One write per message, so that lines of several processes do not mix. */
static void log_write(enum log_level level, const char *prefix, const char *format, va_list args) {
    if (!log_enabled(level))
        return;
    struct str text = {0}, line = {0};
    str_vprintf(&text, format, args);
    str_append(&line, prefix);
    /* Only what a compiler says has lines of its own. */
    str_append_visible(&line, str_text(&text), text.length, level == LOG_DEBUG ? "\n" : "");
    str_append(&line, "\n");
    fwrite(str_text(&line), 1, line.length, stderr);
    str_release(&text);
    str_release(&line);
}

void log_error(const char *format, ...) {
    va_list args;
    va_start(args, format);
    log_write(LOG_ERROR, "mixtune: ", format, args);
    va_end(args);
}

void log_warn(const char *format, ...) {
    va_list args;
    va_start(args, format);
    log_write(LOG_WARN, "mixtune: warning: ", format, args);
    va_end(args);
}

enum { MOST_SUBJECTS = 32 };
static _Atomic uint64_t own_subjects[MOST_SUBJECTS], *subjects = own_subjects; /* hashes */

void log_share(void) {
    void *shared = mmap(NULL, sizeof own_subjects, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared != MAP_FAILED)
        subjects = shared;
}

static bool is_first(const char *subject) {
    const uint64_t hash = XXH3_64bits(subject, strlen(subject)) | 1;
    for (int i = 0; i < MOST_SUBJECTS; i++) {
        uint64_t there = 0;
        if (atomic_compare_exchange_strong(&subjects[i], &there, hash))
            return true;
        if (there == hash)
            return false;
    }
    return false;
}

void log_warn_once(const char *subject, const char *format, ...) {
    va_list args;
    if (!is_first(subject))
        return;
    va_start(args, format);
    log_write(LOG_WARN, "mixtune: warning: ", format, args);
    va_end(args);
}

void log_info(const char *format, ...) {
    va_list args;
    va_start(args, format);
    log_write(LOG_INFO, "", format, args);
    va_end(args);
}

void log_debug(const char *format, ...) {
    va_list args;
    va_start(args, format);
    log_write(LOG_DEBUG, "debug: ", format, args);
    va_end(args);
}
