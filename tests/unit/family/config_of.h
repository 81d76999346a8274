/* A configuration from its text, for tests. */
#ifndef TEST_CONFIG_OF_H
#define TEST_CONFIG_OF_H

#include "runtime/family/family.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

static inline struct config config_of(const char *family, const char *text) {
    struct config config;
    if (config_parse(family_find(family), text, &config) != MT_OK)
        fail_msg("%s", fail_message());
    return config;
}

#endif
