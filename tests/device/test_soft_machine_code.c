/* What PTX comes to in machine code: loops are found again in what ptxas made of them, and what was executed is counted
 * by hand. */
#include "runtime/jit/compiler.h"
#include "runtime/softgpu/machine/machine.h"
#include "runtime/softgpu/profile/image.h"
#include "runtime/softgpu/profile/regions.h"
#include "runtime/softgpu/profile/sass.h"
#include "runtime/softgpu/ptx/ptx.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

static const struct {
    const char *arch;
    unsigned cc;
} arches[] = {{"sm_80", 80}, {"sm_89", 89}, {"sm_90a", 90}, {"sm_100a", 100}, {"sm_120a", 120}};
enum { ARCHES = sizeof arches / sizeof *arches, WORDS = 4096 };

/* One kernel, compiled for one architecture and divided. */
struct subject {
    struct dev_image image;
    struct sg_module *module;
    struct expansion expansion;
    struct flow machine;
    struct sg_counters counters;
    int words[WORDS];
};

static struct subject *fresh(void) {
    static struct subject one;
    return memset(&one, 0, sizeof one);
}

static bool subject_open(struct subject *s, int arch, const char *name) {
    static char source[1 << 14];
    static const char *const options[] = {"--std=c++17"};
    struct str cubin = {0}, ptx = {0};
    char error[600];
    FILE *file = fopen(MT_SOURCE_DIR "/tests/device/machine_code_kernels.cu", "r");
    assert_non_null(file);
    source[fread(source, 1, sizeof source - 1, file)] = 0;
    fclose(file);
    if (compiler_run("machine_code_kernels.cu", source, arches[arch].arch, options, 1, &cubin, &ptx, NULL)) {
        if (arches[arch].cc < 100) /* older compilers do not know the others */
            fail_msg("%s", fail_message());
        return false;
    }
    assert_true(dev_cubin_read((const uint8_t *)cubin.data, cubin.length, &s->image));
    s->module = sg_module_parse(ptx.data, strlen(ptx.data), error, sizeof error);
    if (!s->module)
        fail_msg("%s", error);
    const struct dev_kernel_facts *facts = dev_image_facts(&s->image, name);
    assert_non_null(facts);
    unsigned unknown;
    sass_read(facts->code, facts->code_bytes, arches[arch].cc, &s->machine, &unknown);
    assert_int_equal(unknown, 0);
    regions_find(sg_module_function(s->module, name), &s->machine, &s->expansion);
    str_release(&cubin);
    str_release(&ptx);
    return true;
}

static void subject_close(struct subject *s) {
    dev_image_release(&s->image);
    flow_free(&s->machine);
    sg_module_free(s->module);
}

static void subject_run(struct subject *s, const char *name, const void *params, unsigned ctas, unsigned threads) {
    const struct sg_alloc alloc = {.base = (uint64_t)(uintptr_t)s->words, .size = sizeof s->words, .id = 1};
    const struct sg_memory memory = {&alloc, 1};
    const struct sg_launch launch = {.function = sg_module_function(s->module, name),
                                     .params = params,
                                     .grid = {ctas, 1, 1},
                                     .block = {threads, 1, 1},
                                     .cluster = {1, 1, 1},
                                     .expansion = &s->expansion,
                                     .memory = &memory,
                                     .host_threads = 1,
                                     .resident_ctas = 8,
                                     .sm_count = 8,
                                     .seed = 1,
                                     .checks = SG_CHECKS_ALL};
    struct sg_fault fault;
    if (!sg_run(&launch, &s->counters, &fault))
        fail_msg("%s", fault.text);
}

static unsigned marks_in(const struct flow_loop *l, enum flow_mark mark) {
    return l->each.mark[mark] + l->some.mark[mark];
}

static double steps_in(const struct flow_loop *l) {
    return (double)l->each.steps + l->some.steps;
}

/* The loop of the machine code that has so many of a mark. */
static const struct flow_loop *loop_with(const struct flow *f, enum flow_mark mark, unsigned count) {
    for (size_t l = 1; l < f->loops; l++)
        if (marks_in(&f->loop[l], mark) == count)
            return &f->loop[l];
    return NULL;
}

static void near(uint64_t got, double want, double share, const char *what, int arch) {
    if (!(fabs((double)got - want) <= share * want + 0.5))
        fail_msg("%s on %s: %llu, not %g", what, arches[arch].arch, (unsigned long long)got, want);
}

/* Iterations times what stands in each loop, with what is outside of them; 2 CTAs of 3 warps. */
static void test_nested(void **state) {
    (void)state;
    for (int a = 0; a < ARCHES; a++) {
        struct subject *s = fresh();
        const int n = 40, m = 30, warps = 6;
        if (!subject_open(s, a, "nested"))
            continue;
        struct {
            int *out;
            int n, m;
        } params = {s->words, n, m};
        subject_run(s, "nested", &params, 2, 96);
        const struct flow_loop *outer = loop_with(&s->machine, MARK_MMA, 5), *last = NULL, *inner = NULL;
        unsigned unrolled = 1;
        for (unsigned u = 1; u <= 8 && !(inner && last); u++) { /* ptxas unrolls as it likes */
            inner = inner ? inner : loop_with(&s->machine, MARK_SPECIAL, 3 * u);
            last = last ? last : loop_with(&s->machine, MARK_SHUFFLE, 2 * u);
            unrolled = inner ? unrolled : u + 1;
        }
        assert_true(outer && inner && last);
        near(s->counters.machine_pipe[SG_PIPE_TENSOR], 5.0 * n * warps, 0, "MMA", a);
        near(s->counters.machine_pipe[SG_PIPE_XU], 3.0 * n * m * warps, 0.01, "ex2", a);
        assert_true(s->counters.machine_pipe[SG_PIPE_LSU] >= 2u * (unsigned)(n * warps));
        const double inside = steps_in(inner) / unrolled * n * m + steps_in(outer) * n +
                              steps_in(last) / (marks_in(last, MARK_SHUFFLE) / 2.0) * n;
        near(s->counters.machine_instructions, warps * (inside + steps_in(&s->machine.loop[0])), 0.02, "all", a);
        near(s->counters.max_warp_instructions, (double)s->counters.machine_instructions / warps, 1e-9, "longest", a);
        subject_close(s);
    }
}

/* However long warp 0 waits, it is a few instructions of work; a loop that ends by a count is all work. */
static void test_waits(void **state) {
    (void)state;
    for (int a = 0; a < ARCHES; a++) {
        struct subject *s = fresh();
        uint64_t spent[2], ptx[2];
        if (!subject_open(s, a, "waits"))
            continue;
        for (int k = 0; k < 2; k++) {
            struct {
                int *out, *flag;
                int n;
            } params = {s->words + 1, s->words, k ? 200000 : 20};
            memset(s->words, 0, sizeof s->words);
            memset(&s->counters, 0, sizeof s->counters);
            subject_run(s, "waits", &params, 1, 64);
            ptx[k] = s->counters.warp_instructions;
            spent[k] = s->counters.machine_instructions;
            const struct flow_loop *work = loop_with(&s->machine, MARK_SPECIAL, 1);
            if (work) { /* where it was not unrolled, what is left is the code outside of loops */
                const double rest = (double)spent[k] - (double)params.n * steps_in(work);
                if (!(rest > 10 && rest < 300))
                    fail_msg("%s: %g instructions beside the work of %d", arches[a].arch, rest, params.n);
            }
        }
        assert_true(ptx[1] > ptx[0] + 4 * 200000 + 1000); /* it did wait */
        subject_close(s);
        s = fresh();

        struct {
            int *out;
            const volatile int *in;
            int n;
        } params = {s->words, s->words + 32, 1000};
        subject_open(s, a, "reads");
        for (uint32_t r = 0; r < s->expansion.regions; r++)
            assert_false(s->expansion.region[r].waits);
        subject_run(s, "reads", &params, 1, 32);
        assert_true(s->counters.machine_instructions > 2000);
        subject_close(s);
    }
}

static void test_flat(void **state) {
    (void)state;
    for (int a = 0; a < ARCHES; a++) {
        struct subject *s = fresh();
        if (!subject_open(s, a, "flat"))
            continue;
        struct {
            int *out;
        } params = {s->words};
        subject_run(s, "flat", &params, 1, 64);
        near(s->counters.machine_pipe[SG_PIPE_TENSOR], 24, 0, "MMA", a);
        near(s->counters.machine_instructions, 2.0 * steps_in(&s->machine.loop[0]), 0.001, "all", a);
        subject_close(s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nested), cmocka_unit_test(test_waits),
                                       cmocka_unit_test(test_flat)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
