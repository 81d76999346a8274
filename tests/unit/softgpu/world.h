/* A little memory and a launch for tests of the software device's machine. */
#ifndef TEST_SOFT_WORLD_H
#define TEST_SOFT_WORLD_H

#include "runtime/softgpu/machine/machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PTX_HEAD ".version 9.0\n.target sm_80\n.address_size 64\n"

struct world {
    struct sg_alloc alloc[64];
    struct sg_memory memory;
    struct sg_module *module;
    struct sg_launch launch;
    struct sg_counters counters;
    struct sg_fault fault;
    uint64_t random;
};

static inline uint32_t world_random(struct world *w) {
    w->random = w->random * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(w->random >> 32);
}

/* How a text is refused or, if it is taken, which instruction of it the device lacks; "" if none. Until the next
 * call. */
static inline const char *world_complaint(const char *ptx) {
    static char error[1024];
    error[0] = '\0';
    struct sg_module *m = sg_module_parse(ptx, strlen(ptx), error, sizeof error);
    assert_int_equal(m == NULL, error[0] != '\0');
    if (m && sg_module_lacks(m, 0))
        snprintf(error, sizeof error, "%s", sg_module_lacks(m, 0));
    sg_module_free(m);
    return error;
}

/* A module and the launch of its one kernel with 1 CTA of 32 threads, strict, on two host threads. */
static inline void world_open(struct world *w, const char *ptx) {
    char error[512];
    memset(w, 0, sizeof *w);
    w->random = 20240501;
    w->memory.alloc = w->alloc;
    w->module = sg_module_parse(ptx, strlen(ptx), error, sizeof error);
    if (!w->module)
        fail_msg("%s", error);
    w->launch = (struct sg_launch){.function = sg_module_function(w->module, "k"),
                                   .grid = {1, 1, 1},
                                   .block = {32, 1, 1},
                                   .cluster = {1, 1, 1},
                                   .memory = &w->memory,
                                   .host_threads = 2,
                                   .resident_ctas = 8,
                                   .sm_count = 108,
                                   .seed = 1,
                                   .checks = SG_CHECKS_ALL,
                                   .max_warp_instructions = 1000000};
    assert_non_null(w->launch.function);
}

static inline void world_close(struct world *w) {
    for (int k = 0; k < w->memory.count; k++)
        free((void *)(uintptr_t)w->alloc[k].base);
    sg_module_free(w->module);
}

/* Sorted by address, filled with random bytes. */
static inline void *world_alloc(struct world *w, size_t size) {
    size_t rounded = (size + 511) / 256 * 256;
    uint8_t *p = aligned_alloc(256, rounded);
    assert_non_null(p);
    for (size_t k = 0; k < rounded; k++)
        p[k] = (uint8_t)world_random(w);
    int at = w->memory.count++;
    for (; at > 0 && w->alloc[at - 1].base > (uintptr_t)p; at--)
        w->alloc[at] = w->alloc[at - 1];
    w->alloc[at] = (struct sg_alloc){.base = (uintptr_t)p, .size = size, .id = (uint32_t)w->memory.count};
    return p;
}

static inline bool world_run(struct world *w, const void *params) {
    w->launch.params = params;
    return sg_run(&w->launch, &w->counters, &w->fault);
}

static inline void world_run_good(struct world *w, const void *params) {
    if (!world_run(w, params))
        fail_msg("%s", w->fault.text);
}

/* The fault must be of this kind and its sentence must contain `text`. */
static inline void world_run_bad(struct world *w, const void *params, enum sg_fault_kind kind, const char *text) {
    assert_false(world_run(w, params));
    if (w->fault.kind != kind || !strstr(w->fault.text, text))
        fail_msg("expected fault %d with '%s', got %d: %s", kind, text, w->fault.kind, w->fault.text);
}

#endif
