/* What libFuzzer gives, as a file for a reader that takes a path; and what every refusal is. */
#ifndef FUZZ_GIVEN_H
#define FUZZ_GIVEN_H

#include "runtime/base/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The path of a file in memory with these bytes, until the next call. */
static inline const char *given_file(const void *data, size_t size) {
    static char path[40];
    static int fd = -1;
    if (fd < 0) {
        fd = memfd_create("input", MFD_CLOEXEC);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    if (fd < 0 || ftruncate(fd, 0) != 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
        abort();
    return path;
}

/* A failure is one sentence, which commands no terminal. True where there is none. */
static inline bool given_good(enum mt_status status) {
    const char *says = fail_message();
    for (const char *p = says; status && *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            abort();
    if (status && !*says)
        abort();
    return !status;
}

#endif
