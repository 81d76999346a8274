/* The device files against the datasheets, their errors, occupancy and the time model. */
#include "runtime/base/status.h"
#include "runtime/softgpu/profile/profile.h"
#include "runtime/softgpu/time/model.h"
#include <glob.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void near(double got, double want, double part) {
    if (fabs(got - want) > part * want)
        fail_msg("got %g, want %g within %g %%", got, want, part * 100);
}

static struct dev_profile *load(const char *name) {
    struct dev_profile *out;
    if (dev_profile_load(name, &out) != MT_OK)
        fail_msg("%s", fail_message());
    return out;
}

/* Peaks of NVIDIA's datasheets, dense, in 1e12 operations per second. */
static const struct {
    const char *name;
    double int8, fp16, fp32, gbs;
} sheet[] = {
    {"a100-sxm-80g", 624, 312, 19.5, 2039}, {"h100-sxm", 1979, 989.4, 66.9, 3350},  {"h200", 1979, 989.4, 66.9, 4800},
    {"l40s", 733, 362, 91.6, 864},          {"rtx-4090", 660.6, 165.2, 82.6, 1008},
};

static void test_every_device_has_a_sheet(void **state) {
    (void)state;
    glob_t files;
    assert_int_equal(glob(MT_SOURCE_DIR "/configs/devices/*.yaml", 0, NULL, &files), 0);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        char *name = strrchr(files.gl_pathv[i], '/') + 1;
        name[strlen(name) - strlen(".yaml")] = 0;
        bool found = false;
        for (size_t j = 0; j < sizeof sheet / sizeof *sheet; j++)
            found = found || !strcmp(sheet[j].name, name);
        if (!found)
            fail_msg("configs/devices/%s.yaml has no line of its datasheet in `sheet`", name);
    }
    globfree(&files);
}

static void test_peaks(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof sheet / sizeof *sheet; i++) {
        struct dev_profile *p = load(sheet[i].name);
        double tera = 2e6 * p->clock_mhz * p->sm_count / 1e12;
        near(p->tensor_int8_macs * tera, sheet[i].int8, 0.02);
        near(p->tensor_f16_macs * tera, sheet[i].fp16, 0.02);
        near(p->fma_lanes * tera, sheet[i].fp32, 0.09); /* Hopper's vector peak is given for a higher clock */
        near(p->memory_gbs, sheet[i].gbs, 0);
        dev_profile_free(p);
    }
}

static enum mt_status load_text(const char *from, const char *to) {
    char path[] = "/tmp/soft-model-XXXXXX", line[400];
    struct dev_profile *out = NULL;
    FILE *source = fopen(MT_SOURCE_DIR "/configs/devices/l40s.yaml", "r");
    int fd = mkstemp(path);
    assert_non_null(source);
    assert_true(fd >= 0);
    FILE *target = fdopen(fd, "w");
    while (fgets(line, sizeof line, source)) {
        fputs(strncmp(line, from, strlen(from)) == 0 && line[strlen(from)] == ':' ? to : line, target);
    }
    fclose(source);
    fclose(target);
    enum mt_status status = dev_profile_load(path, &out);
    assert_true((status == MT_OK) == (out != NULL));
    dev_profile_free(out);
    unlink(path);
    return status;
}

static void test_errors(void **state) {
    (void)state;
    struct dev_profile *out;
    assert_int_equal(load_text("sm_count", "sm_count: 142\n"), MT_OK);
    assert_int_equal(load_text("memory_gbs", "memory_gbs: 8.64e+2\n"), MT_OK);
    assert_int_equal(load_text("memory_gbs", "memory_gbs: .5\n"), MT_OK);
    assert_int_equal(dev_profile_load("no-such-gpu", &out), MT_NO_DEVICE);
    assert_non_null(strstr(fail_message(), "h100-sxm"));
    assert_null(strchr(fail_message(), '\n'));
    static const struct {
        const char *key, *text, *word;
    } broken[] = {
        {"sm_count", "sm_count: many\n", "sm_count"},
        {"sm_count", "", "sm_count"},
        {"sm_count", "sm_count: 142\nfans: 3\n", "fans"},
        {"sm_count", "sm_count: 0\n", "sm_count"},
        {"sm_count", "sm_count: [142\n", "line"},
        {"memory_gbs", "memory_gbs: -1\n", "memory_gbs"},
        {"memory_efficiency", "memory_efficiency: 1.5\n", "memory_efficiency"},
        {"sm_count", "sm_count: 142.5\n", "line 6: sm_count: `142.5` is not a whole number"},
        {"sm_count", "sm_count: 0x8e\n", "line 6: sm_count: `0x8e` is not a whole number"},
        {"sm_count", "sm_count: 4294967438\n", "line 6: sm_count: `4294967438` is not between"},
        {"sm_count", "sm_count: 142\nsm_count: 71\n", "line 7: `sm_count` stands here for the second time"},
        {"sm_count", "sm_count: &n 142\n", "line 6: &n names a part"},
        {"sm_count", "sm_count: !!int 142\n", "line 6: there is a tag"},
        {"sm_count", "sm_count: 142\n---\n", "line 7: a second document"},
        {"memory_gbs", "memory_gbs: 1e400\n", "memory_gbs"},
        {"memory_gbs", "memory_gbs: .inf\n", "memory_gbs: `.inf` is not a number"},
        {"memory_gbs", "memory_gbs: NaN\n", "memory_gbs: `NaN` is not a number"},
        {"memory_gbs", "memory_gbs: 0x1p9\n", "memory_gbs: `0x1p9` is not a number"},
        {"memory_gbs", "memory_gbs: 0864\n", "memory_gbs: `0864` is not a number"},
        {"memory_gbs", "memory_gbs: 864,5\n", "memory_gbs: `864,5` is not a number"},
        {"memory_gbs", "memory_gbs: 864 GB/s\n", "memory_gbs: `864 GB/s` is not a number"},
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        assert_int_equal(load_text(broken[i].key, broken[i].text), MT_USAGE);
        print_message("  %s\n", fail_message());
        assert_non_null(strstr(fail_message(), broken[i].word));
        assert_null(strchr(fail_message(), '\n'));
    }
    assert_int_equal(load_text("clock_mhz", "clock_mhz: fast\n"), MT_USAGE);
    assert_non_null(strstr(fail_message(), "line 7: clock_mhz: `fast` is not a whole number"));
}

/* Values of the CUDA occupancy calculator. */
static void test_occupancy(void **state) {
    (void)state;
    struct dev_profile *a100 = load("a100-sxm-80g"), *l40s = load("l40s");
    static const struct {
        unsigned threads, registers, shared, a100, l40s;
    } table[] = {
        {256, 32, 0, 8, 6},      {256, 64, 0, 4, 4},      {128, 255, 0, 2, 2},    {1024, 64, 0, 1, 1},
        {1024, 65, 0, 0, 0},     {32, 16, 0, 32, 24},     {128, 40, 40960, 4, 2}, {128, 128, 81920, 2, 1},
        {128, 128, 82944, 2, 1}, {128, 128, 82945, 1, 1}, {96, 168, 0, 4, 4},     {128, 32, 166912, 1, 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        assert_int_equal(model_occupancy(a100, table[i].threads, table[i].registers, table[i].shared).blocks,
                         table[i].a100);
        assert_int_equal(model_occupancy(l40s, table[i].threads, table[i].registers, table[i].shared).blocks,
                         table[i].l40s);
    }
    assert_string_equal(model_occupancy(a100, 128, 128, 81920).limit, "shared memory");
    assert_string_equal(model_occupancy(a100, 256, 64, 0).limit, "registers");
    dev_profile_free(a100);
    dev_profile_free(l40s);
}

#define COUNTER(member) offsetof(struct sg_counters, member)

/* Each resource in turn becomes the limit, and takes the time that the datasheet's rate gives. Grid of 648 CTAs: six on
 * the busiest SM, three waves of 216. */
static void test_limits(void **state) {
    (void)state;
    const double big = 1e7; /* of the counter, per CTA */
    static const struct {
        size_t counter;
        unsigned times;    /* the counter is this multiple of big */
        double l2, clocks; /* L2's bytes per clock; clocks for one unit of big */
    } table[MODEL_TERMS] = {
        [MODEL_ISSUE] = {COUNTER(machine_instructions), 1, 5120, 6 / 4.0},
        [MODEL_ALU] = {COUNTER(machine_pipe[SG_PIPE_ALU]), 1, 5120, 6 * 32 / 64.0},
        [MODEL_FMA] = {COUNTER(machine_pipe[SG_PIPE_FMA]), 1, 5120, 6 * 32 / 64.0},
        [MODEL_HALF] = {COUNTER(machine_pipe[SG_PIPE_HALF]), 1, 5120, 6 * 32 / 128.0},
        [MODEL_XU] = {COUNTER(machine_pipe[SG_PIPE_XU]), 1, 5120, 6 * 32 / 16.0},
        [MODEL_LSU] = {COUNTER(machine_pipe[SG_PIPE_LSU]), 1, 5120, 6 * 32 / 32.0},
        [MODEL_FP64] = {COUNTER(machine_pipe[SG_PIPE_FP64]), 1, 5120, 6 * 32 / 32.0},
        [MODEL_BRANCH] = {COUNTER(machine_pipe[SG_PIPE_BRANCH]), 1, 5120, 6 * 32 / 64.0},
        [MODEL_TENSOR] = {COUNTER(mma_ops_int8), 2048, 5120, 6},
        [MODEL_SHARED] = {COUNTER(shared_wavefronts), 1, 5120, 6},
        [MODEL_PORT] = {COUNTER(global_sectors), 1, 1e6, 6 * 32 / 64.0},
        [MODEL_L2] = {COUNTER(global_sectors), 1, 512, 648 * 32 / 512.0},
        [MODEL_DRAM] = {COUNTER(global_bytes_read), 8192, 5120, 648 * 8192 / 14.696938456699069 / (2039 * 0.87) * 1.41},
        [MODEL_LATENCY] = {COUNTER(max_warp_instructions), 1, 5120, 3 * 2.5},
    };
    struct dev_profile *p = load("a100-sxm-80g");
    p->overlap_exponent = p->mma_overlap_exponent = 1000;
    for (enum model_term limit = 0; limit < MODEL_TERMS; limit++) {
        struct sg_counters c = {.machine_instructions = 10, .max_warp_instructions = 10};
        struct model_kernel k = {
            .counters = &c, .counted = 2, .ctas = 648, .threads = 128, .ctas_per_sm = 2, .footprint = 1 << 30};
        /* All but the longest warp are sums over the two CTAs that were counted. */
        uint64_t value = (uint64_t)big * table[limit].times * (limit == MODEL_LATENCY ? 1 : 2);
        struct model_time t;
        memcpy((char *)&c + table[limit].counter, &value, sizeof value);
        p->l2_bytes_per_clock = table[limit].l2;
        model_kernel_time(p, &k, &t);
        assert_string_equal(model_term_name(t.limit), model_term_name(limit));
        near(t.seconds, table[limit].clocks * big / (p->clock_mhz * 1e6) + p->memory_latency_ns * 1e-9, 1e-6);
    }
    dev_profile_free(p);
}

/* Two equal terms that overlap as the exponent says; what is waited for around atomics, and before wgmma. */
static void test_overlap(void **state) {
    (void)state;
    struct dev_profile *p = load("h100-sxm");
    struct sg_counters c = {.mma_ops_int8 = 4096 * 1000000ull, .machine_instructions = 4 * 1000000ull};
    struct model_kernel k = {
        .counters = &c, .counted = 1, .ctas = 132, .threads = 384, .ctas_per_sm = 1, .footprint = 1, .wgmma = true};
    struct model_time t;
    const double clock = 1 / (p->clock_mhz * 1e6), fixed = p->memory_latency_ns * 1e-9 + p->wgmma_setup_us * 1e-6;
    model_kernel_time(p, &k, &t);
    near(t.seconds, fixed + 1e6 * clock * cbrt(2), 1e-6);
    p->overlap_exponent = p->mma_overlap_exponent = 1;
    model_kernel_time(p, &k, &t);
    near(t.seconds, fixed + 2e6 * clock, 1e-6);
    k.ctas = 264; /* two rounds, with 5 atomics in each CTA */
    c.atomics = 5;
    model_kernel_time(p, &k, &t);
    near(t.seconds, fixed + 4e6 * clock + 2 * 5 * p->atomic_us * 1e-6, 1e-6);
    k.wgmma = false;
    p->mma_sync_fraction = 1;
    model_kernel_time(p, &k, &t);
    near(t.seconds, fixed - p->wgmma_setup_us * 1e-6 + 4e6 * clock + 2 * 5 * p->atomic_us * 1e-6, 1e-6);
    dev_profile_free(p);
}

/* What fits L2 is loaded once; the bytes in flight bound a stream of copies. */
static void test_memory(void **state) {
    (void)state;
    struct dev_profile *p = load("a100-sxm-80g");
    struct sg_counters c = {.machine_instructions = 10,
                            .max_warp_instructions = 10,
                            .global_bytes_read = 1 << 20,
                            .async_bytes = 1 << 20,
                            .max_inflight_bytes = 65536};
    struct model_kernel k = {.counters = &c,
                             .counted = 1,
                             .ctas = 1000,
                             .threads = 128,
                             .ctas_per_sm = 1,
                             .distinct = 20 << 20,
                             .footprint = 20 << 20};
    struct model_time t, slower;
    model_kernel_time(p, &k, &t);
    near(t.term[MODEL_DRAM], (20 << 20) / (2039e9 * 0.87), 1e-6);
    c.max_inflight_bytes /= 4;
    model_kernel_time(p, &k, &slower);
    near(slower.term[MODEL_LATENCY], 4 * t.term[MODEL_LATENCY], 1e-6);
    struct sg_counters m = {.machine_instructions = 1, .mma_ops_int8 = 1ull << 40};
    struct dev_profile *h = load("h100-sxm");
    k = (struct model_kernel){.counters = &m, .counted = 132, .ctas = 132, .threads = 128, .ctas_per_sm = 1};
    model_kernel_time(h, &k, &t);
    k.wgmma = true;
    model_kernel_time(h, &k, &slower);
    near(slower.term[MODEL_TENSOR], h->mma_sync_fraction * t.term[MODEL_TENSOR], 1e-6);
    dev_profile_free(p);
    dev_profile_free(h);
}

/* Sums with weights, but for the two members that are the most of anything. */
static void test_counters_add(void **state) {
    (void)state;
    struct sg_counters sum = {.lane_instructions = 5, .max_inflight_bytes = 7, .max_warp_instructions = 30};
    const struct sg_counters one = {.warp_instructions = 2,
                                    .lane_instructions = 3,
                                    .pipe = {[SG_PIPE_TENSOR] = 4},
                                    .spill_accesses = 6,
                                    .max_inflight_bytes = 9,
                                    .max_warp_instructions = 20};
    counters_add(&sum, &one, 10);
    const struct sg_counters want = {.warp_instructions = 20,
                                     .lane_instructions = 35,
                                     .pipe = {[SG_PIPE_TENSOR] = 40},
                                     .spill_accesses = 60,
                                     .max_inflight_bytes = 9,
                                     .max_warp_instructions = 30};
    assert_memory_equal(&sum, &want, sizeof sum);
}

/* A device of round numbers: a clock is a nanosecond, and memory moves a byte in one. */
static struct dev_profile *round_device(void) {
    struct dev_profile *p = load("a100-sxm-80g");
    p->clock_mhz = 1000;
    p->sm_count = 100;
    p->memory_gbs = 2;
    p->memory_efficiency = 0.5;
    p->memory_latency_ns = 500;
    p->l2_latency_clocks = 200;
    p->l2_kib = 1024;
    p->warp_interval_clocks = 2;
    p->loads_in_flight = 4;
    p->launch_us = 3;
    p->host_link_gbs = 0.25;
    p->overlap_exponent = p->mma_overlap_exponent = 1000;
    return p;
}

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* How long a CTA waits for memory, in nanoseconds. */
static void test_latency(void **state) {
    (void)state;
    struct dev_profile *p = round_device();
    static const struct {
        uint64_t read, asynchronous, written, requests, inflight, longest, touched, ctas;
        unsigned threads, per_sm;
        double dram, latency; /* of a grid of `ctas`, each of which does the above */
    } cases[] = {
        /* 1000 loads of each of 4 warps, 4 in flight at a time, all from memory, or a quarter of them */
        {1000, 0, 0, 4000, 0, 10, 1000, 1, 128, 1, 1000, 10 * 2 + 250 * 500},
        {1000, 0, 0, 4000, 0, 10, 250, 1, 128, 1, 250, 10 * 2 + 250 * (200 + 75)},
        {1000, 0, 1000, 4000, 0, 10, 500, 1, 128, 1, 1000, 10 * 2 + 250 * (200 + 150)},
        /* half of the bytes come by copies: half of the requests do not wait */
        {1000, 500, 0, 4000, 0, 10, 1000, 1, 128, 1, 1000, 10 * 2 + 125 * 500},
        /* copies in flight bound a stream */
        {1000, 1000, 0, 4000, 100, 10, 1000, 1, 128, 1, 1000, 10 * 500},
        {1000, 1000, 0, 4000, 100, 9000, 1000, 1, 128, 1, 1000, 9000 * 2},
        /* 33 threads are two warps; 201 CTAs on 100 SMs with one each are three rounds */
        {1000, 0, 0, 4000, 0, 10, 1000, 1, 33, 1, 1000, 10 * 2 + 500 * 500},
        {10, 0, 0, 40, 0, 10, 5000000, 201, 128, 1, 2010, 3 * (10 * 2 + 2.5 * 500)},
        {10, 0, 0, 40, 0, 10, 5000000, 201, 128, 2, 2010, 2 * (10 * 2 + 2.5 * 500)},
        /* what is larger than L2 is loaded again by each of the CTAs that do not run together */
        {1000000, 0, 0, 0, 0, 10, 2000000, 100, 128, 1, 1e8 / 10, 20},
        {1000000, 0, 500000, 0, 0, 10, 2000000, 4, 128, 1, 4e6, 20},
        {1000000, 0, 0, 0, 0, 10, 1000000, 100, 128, 1, 1e6, 20},
        /* nothing is moved */
        {0, 0, 0, 4000, 0, 10, 1000, 1, 128, 1, 0, 20},
    };
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        const struct sg_counters c = {.global_bytes_read = cases[n].read * cases[n].ctas,
                                      .async_bytes = cases[n].asynchronous * cases[n].ctas,
                                      .global_bytes_written = cases[n].written * cases[n].ctas,
                                      .global_requests = cases[n].requests * cases[n].ctas,
                                      .max_inflight_bytes = cases[n].inflight,
                                      .max_warp_instructions = cases[n].longest};
        const struct model_kernel k = {.counters = &c,
                                       .counted = cases[n].ctas,
                                       .ctas = cases[n].ctas,
                                       .threads = cases[n].threads,
                                       .ctas_per_sm = cases[n].per_sm,
                                       .distinct = least(c.global_bytes_read, cases[n].touched) +
                                                   least(c.global_bytes_written, cases[n].touched),
                                       .footprint = cases[n].touched};
        struct model_time t;
        model_kernel_time(p, &k, &t);
        near(t.term[MODEL_DRAM] * 1e9, cases[n].dram, 1e-9);
        near(t.term[MODEL_LATENCY] * 1e9, cases[n].latency, 1e-9);
    }
    p->l2_latency_clocks = 700; /* memory is never nearer than L2 */
    const struct sg_counters c = {.global_bytes_read = 1000, .global_requests = 4000, .max_warp_instructions = 10};
    const struct model_kernel k = {
        .counters = &c, .counted = 1, .ctas = 1, .threads = 128, .ctas_per_sm = 1, .distinct = 1000, .footprint = 1000};
    struct model_time t;
    model_kernel_time(p, &k, &t);
    near(t.term[MODEL_LATENCY] * 1e9, 10 * 2 + 250 * 700, 1e-9);
    dev_profile_free(p);
}

static void test_copies(void **state) {
    (void)state;
    struct dev_profile *p = round_device();
    near(model_copy_seconds(p, MODEL_COPY_HOST, 1000), 3e-6 + 4000e-9, 1e-9);
    near(model_copy_seconds(p, MODEL_FILL, 1000), 3e-6 + 1000e-9, 1e-9);
    near(model_copy_seconds(p, MODEL_COPY_DEVICE, 1000), 3e-6 + 2000e-9, 1e-9);
    near(model_copy_seconds(p, MODEL_FILL, 0), 3e-6, 1e-9);
    dev_profile_free(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_device_has_a_sheet),
        cmocka_unit_test(test_peaks),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_occupancy),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_overlap),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_counters_add),
        cmocka_unit_test(test_latency),
        cmocka_unit_test(test_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
