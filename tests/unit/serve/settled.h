/* Public calls that succeed: none leaves a sentence of what failed before, or was mended on the way. */
#ifndef TEST_SETTLED_H
#define TEST_SETTLED_H

#include "runtime/base/status.h"
#include "runtime/mixtune.h"
#include <stdio.h>
#include <stdlib.h>

/* In brackets, for cmocka has a macro of that name. */
static inline void settled_before(void) {
    (fail)(MT_FAILURE, "an earlier call failed");
}

static inline void settled_check(enum mt_status status, const char *call) {
    if (status == MT_OK && !*mt_error_message())
        return;
    fprintf(stderr, "%s: status %d, '%s'\n", call, (int)status, mt_error_message());
    abort();
}

/* settled(mt_x(...)), which tests/cli/test_public.sh looks for. */
#define settled(call) (settled_before(), settled_check(call, #call))

#endif
