/* The strict checks, each of which can be switched off. */
#include "cta.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CHECK_FACTS(name, word, kind, watches, what) [SG_CHECK_##name] = {word, SG_FAULT_##kind, what},
const struct sg_check_facts sg_check_facts[SG_CHECK_COUNT] = {SG_CHECKS(CHECK_FACTS)};

bool warp_check(struct warp *w, const struct insn *i, int lane, enum sg_check check, const char *format, ...) {
    char text[700];
    va_list args;
    if (!(run_of(w)->launch->checks >> check & 1))
        return true;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    warp_fault(w, i, lane, sg_check_facts[check].kind, "%s [%s]", text, sg_check_facts[check].word);
    return false;
}

static uint32_t checks_named(const char *word, size_t length) {
    if (length == 3 && memcmp(word, "all", 3) == 0)
        return SG_CHECKS_ALL;
    for (int k = 0; k < SG_CHECK_COUNT; k++)
        if (strncmp(sg_check_facts[k].word, word, length) == 0 && sg_check_facts[k].word[length] == '\0')
            return 1u << k;
    return 0;
}

bool sg_checks_parse(const char *list, uint32_t *checks, char *error, size_t size) {
    uint32_t out = SG_CHECKS_ALL;
    for (const char *at = list; *at; at += *at == ',') {
        const bool off = *at == '-';
        const size_t length = strcspn(at += off, ",");
        const bool none = !off && length == 4 && memcmp(at, "none", 4) == 0;
        const uint32_t named = checks_named(at, length);
        if (!named && !none) {
            int used = snprintf(error, size, "there is no check '%.*s'; known are all, none", (int)length, at);
            for (int k = 0; k < SG_CHECK_COUNT && used > 0 && (size_t)used < size; k++)
                used += snprintf(error + used, size - (size_t)used, ", %s", sg_check_facts[k].word);
            return false;
        }
        out = none ? 0 : off ? out & ~named : out | named;
        at += length;
    }
    *checks = out;
    return true;
}
