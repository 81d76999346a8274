/* One kernel on one proof, on a software device with few SMs. */
#ifndef TEST_KERNEL_RUNS_H
#define TEST_KERNEL_RUNS_H

#include "runtime/base/log.h"
#include "small_device.h"
#include "tuner/measure/verify.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

static char run_folder[] = "/tmp/mixtune-runs-XXXXXX"; /* of devices and images */

static inline int runs_begin(void **state) {
    (void)state;
    struct str cache = {0};
    log_set_level(LOG_ERROR);
    if (!mkdtemp(run_folder))
        return -1;
    str_printf(&cache, "%s/cache", run_folder);
    setenv("MIXTUNE_CACHE_DIR", cache.data, 1);
    str_release(&cache);
    return 0;
}

static inline int runs_end(void **state) {
    (void)state;
    struct str command = {0};
    str_printf(&command, "rm -rf %s", run_folder);
    int result = system(command.data);
    str_release(&command);
    return result;
}

static inline void few_sms_open(struct device *dev, const char *name) {
    char spec[64];
    if (!small_device(name, 4, run_folder, spec) || device_open(dev, spec) != MT_OK)
        fail_msg("%s: %s", name, fail_message());
}

static inline void kernel_of(struct device *dev, const char *family, const char *text, const struct problem *p,
                             struct kernel *out) {
    struct device_limits limits;
    struct config config;
    struct image image;
    char reason[160];
    device_limits_of(dev, &limits);
    assert_int_equal(config_parse(family_find(family), text, &config), MT_OK);
    if (!config_allowed(&config, p, &limits, reason))
        fail_msg("%s %s: %s", family, text, reason);
    if (kernel_compile(dev, &config, p, &image) || kernel_load(dev, &config, image, out))
        fail_msg("%s %s: %s", family, text, fail_message());
}

/* The hash of an output that must be right. `in_order`: all of K is added up in one piece. */
static inline uint64_t right_bits(struct proof *proof, const struct kernel *kernel, bool in_order) {
    struct check check;
    verify_gemm(proof, kernel, &check);
    if (check.outcome != OUTCOME_OK) {
        const struct problem *p = &proof->problem;
        struct str text = {0};
        config_format(&kernel->config, &text);
        fail_msg("%s %s g%d %d,%d,%d, %d of 8 bits, %s: %s", kernel->config.family->name, problem_scheme(p), p->group,
                 p->m, p->n, p->k, p->rows8, text.data, check.message);
    }
    assert_int_equal(sum_tree_in_order(&check.sums), in_order);
    return check.hash;
}

#endif
