/* Bulk reductions, prefetches and discards on the software device: every operation on every type that it has, tensors,
 * reductions between CTAs, and their misuse. */
#include "hopper.h"

#include <math.h>

#define PROXY  "fence.proxy.async.shared::cta;\n"
#define COMMIT "@%p1 cp.async.bulk.commit_group;\n"
#define WAIT   "@%p1 cp.async.bulk.wait_group 0;\n"
enum { BYTES = 1024 };

/* ---- what an element becomes ---- */

static bool is(const char *text, const char *name) {
    return strcmp(text, name) == 0;
}

static unsigned bytes_of(const char *type) { /* b32, bf16, s64 … */
    return is(type, "f16") || is(type, "bf16") ? 2 : strstr(type, "64") ? 8 : 4;
}

static bool is_float(const char *type) {
    return type[0] == 'f' || is(type, "bf16");
}

/* Halves that are zero or normal. */
static double half_value(uint32_t bits) {
    const double x = bits & 0x7fff ? ldexp(1024 + (bits & 0x3ff), (int)(bits >> 10 & 31) - 25) : 0;
    return bits >> 15 ? -x : x;
}

static uint64_t half_bits(double x) {
    int exponent;
    const double m = frexp(fabs(x), &exponent); /* 0, or from 1/2 to 1 */
    const uint32_t size = x == 0 ? 0 : (uint32_t)(exponent + 14) << 10 | ((uint32_t)(m * 2048) & 0x3ff);
    return size | (uint32_t)(signbit(x) != 0) << 15;
}

static double float_of(const char *type, uint64_t bits) {
    float single;
    double wide;
    const uint32_t word = (uint32_t)(is(type, "bf16") ? bits << 16 : bits);
    memcpy(&single, &word, sizeof single);
    memcpy(&wide, &bits, sizeof wide);
    return is(type, "f64") ? wide : is(type, "f16") ? half_value((uint32_t)bits) : (double)single;
}

static uint64_t float_bits(const char *type, double x) { /* of numbers that the type has */
    uint64_t bits = 0;
    const float single = (float)x;
    if (is(type, "f16"))
        return half_bits(x);
    if (is(type, "f64"))
        memcpy(&bits, &x, sizeof x);
    else
        memcpy(&bits, &single, sizeof single);
    return is(type, "bf16") ? bits >> 16 : bits;
}

static uint64_t combine_integers(const char *op, const char *type, uint64_t a, uint64_t b) {
    const unsigned shift = 64 - 8 * bytes_of(type);
    const bool below = type[0] == 's' ? (int64_t)(b << shift) < (int64_t)(a << shift) : b < a;
    if (is(op, "add"))
        return a + b;
    if (is(op, "min") || is(op, "max"))
        return below == is(op, "min") ? b : a;
    if (is(op, "inc"))
        return a >= b ? 0 : a + 1;
    if (is(op, "dec"))
        return a == 0 || a > b ? b : a - 1;
    return is(op, "and") ? a & b : is(op, "or") ? a | b : a ^ b;
}

static uint64_t combine(const char *op, const char *type, uint64_t a, uint64_t b) {
    if (!is_float(type))
        return combine_integers(op, type, a, b);
    const double x = float_of(type, a), y = float_of(type, b);
    return float_bits(type, is(op, "add") ? x + y : is(op, "min") ? (x < y ? x : y) : x > y ? x : y);
}

static uint64_t load(const uint8_t *at, unsigned bytes) {
    uint64_t bits = 0;
    memcpy(&bits, at, bytes);
    return bits;
}

/* Numbers whose sums the type has: eighths up to 8 as floats, small integers so that inc and dec wrap. */
static void fill(struct world *w, const char *type, uint8_t *at, unsigned size) {
    const unsigned bytes = bytes_of(type);
    for (unsigned k = 0; k < size; k += bytes) {
        const uint64_t random = world_random(w);
        const uint64_t bits = is_float(type)   ? float_bits(type, ((int)(random % 129) - 64) / 8.0)
                              : random % 3     ? random % 16
                              : type[0] == 's' ? 0 - random
                                               : random << 32 | random;
        memcpy(at + k, &bits, bytes);
    }
}

static void expect(const char *op, const char *type, uint8_t *want, const uint8_t *with, unsigned size,
                   unsigned times) {
    const unsigned bytes = bytes_of(type);
    for (unsigned k = 0; k < size; k += bytes)
        for (unsigned t = 0; t < times; t++) {
            const uint64_t bits = combine(op, type, load(want + k, bytes), load(with + k, bytes));
            memcpy(want + k, &bits, bytes);
        }
}

/* ---- to global memory ---- */

/* 64 threads put in[0 … 1023] into shared memory, 16 bytes each, at %r5; then `steps`. */
static void build(struct str *ptx, const char *steps) {
    head(ptx, TWO_POINTERS);
    str_printf(ptx,
               "mul.wide.u32 %%rd3, %%r1, 16; add.u64 %%rd4, %%rd1, %%rd3; ld.global.v4.u32 {%%r8, %%r9, %%r10, "
               "%%r11}, [%%rd4];\n"
               "shl.b32 %%r4, %%r1, 4; add.u32 %%r5, %%r2, %%r4; st.shared.v4.u32 [%%r5], {%%r8, %%r9, %%r10, "
               "%%r11};\n%s ret; }\n",
               steps);
}

struct one {
    struct world w;
    struct pointers p;
    uint8_t before[2 * BYTES];
};

static void open_one(struct one *o, const char *type, const char *steps) {
    struct str ptx = {0};
    build(&ptx, steps);
    world_open(&o->w, ptx.data);
    str_release(&ptx);
    o->p = (struct pointers){world_alloc(&o->w, BYTES), world_alloc(&o->w, 2 * BYTES)};
    fill(&o->w, type, o->p.in, BYTES);
    fill(&o->w, type, o->p.out, 2 * BYTES);
    memcpy(o->before, o->p.out, sizeof o->before);
    o->w.launch.block[0] = 64;
}

static void check_operation(const char *op, const char *type, const char *noftz) {
    char steps[512];
    snprintf(steps, sizeof steps,
             PROXY "bar.sync 0;\n@%%p1 cp.reduce.async.bulk.global.shared::cta.bulk_group.%s%s.%s [%%rd2], [%%r2], "
                   "1024;\n%s",
             op, noftz, type, COMMIT WAIT);
    for (int mode = 0; mode < 3; mode++) { /* late, early, and an estimate, which changes nothing */
        struct one o;
        open_one(&o, type, steps);
        o.w.launch.eager_async = mode == 1;
        static const uint32_t column[1][2] = {{0, 0}};
        if (mode == 2) {
            o.w.launch.sample = column;
            o.w.launch.sample_count = 1;
        }
        world_run_good(&o.w, &o.p);
        if (mode != 2)
            expect(op, type, o.before, o.p.in, BYTES, 1);
        if (memcmp(o.p.out, o.before, sizeof o.before) != 0)
            fail_msg("cp.reduce of %s.%s is wrong in mode %d", op, type, mode);
        assert_int_equal(o.w.counters.global_bytes_written, BYTES);
        world_close(&o.w);
    }
}

static void test_operations(void **state) {
    (void)state;
    static const struct {
        const char *op, *noftz, *types[8];
    } rows[] = {
        {"add", "", {"u32", "s32", "u64", "f32", "f64"}},
        {"add", ".noftz", {"f16", "bf16"}},
        {"min", "", {"u32", "s32", "u64", "s64", "f16", "bf16"}},
        {"max", "", {"u32", "s32", "u64", "s64", "f16", "bf16"}},
        {"inc", "", {"u32"}},
        {"dec", "", {"u32"}},
        {"and", "", {"b32", "b64"}},
        {"or", "", {"b32", "b64"}},
        {"xor", "", {"b32", "b64"}},
    };
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
        for (int t = 0; rows[k].types[t]; t++)
            check_operation(rows[k].op, rows[k].types[t], rows[k].noftz);
}

/* Many CTAs, on two host threads, each adds the same 1024 bytes three times to one place. */
static void test_many_at_once(void **state) {
    (void)state;
    enum { CTAS = 16, TIMES = 3 };
    const char *add = "@%p1 cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%rd2], [%r2], 1024;\n";
    struct str steps = {0};
    str_append(&steps, PROXY "bar.sync 0;\n");
    for (int k = 0; k < TIMES; k++)
        str_append(&steps, add);
    str_append(&steps, COMMIT "@%p1 cp.async.bulk.wait_group.read 0;\n");
    struct one o;
    open_one(&o, "u32", steps.data);
    o.w.launch.grid[0] = CTAS;
    world_run_good(&o.w, &o.p);
    expect("add", "u32", o.before, o.p.in, BYTES, CTAS * TIMES);
    assert_memory_equal(o.p.out, o.before, sizeof o.before);
    world_close(&o.w);
    str_release(&steps);
}

static void check_bad(const char *steps, enum sg_fault_kind kind, const char *text) {
    struct one o;
    open_one(&o, "u32", steps);
    world_run_bad(&o.w, &o.p, kind, text);
    world_close(&o.w);
}

#define ADD "@%p1 cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%rd2], [%r2], 1024;\n"

static void test_misuse(void **state) {
    (void)state;
    check_bad("bar.sync 0;\n" ADD COMMIT WAIT, SG_FAULT_ASYNC, "no fence.proxy.async followed");
    check_bad(PROXY "bar.sync 0;\n" ADD COMMIT "bar.sync 0; st.shared.u32 [%r5], %r1;\n" WAIT, SG_FAULT_ASYNC,
              "the bulk store of PTX line");
    check_bad(PROXY "bar.sync 0;\n" ADD COMMIT, SG_FAULT_ASYNC, "the CTA ended while this bulk store");
    check_bad(PROXY "bar.sync 0; add.u64 %rd2, %rd2, 4;\n" ADD COMMIT WAIT, SG_FAULT_MISALIGNED, "multiples of 16");
    check_bad(PROXY "bar.sync 0; add.u64 %rd2, %rd2, 1040;\n" ADD COMMIT WAIT, SG_FAULT_OUT_OF_BOUNDS, "of allocation");
}

/* ---- tensors ---- */

enum { COLS = 20, ROWS = 7, PITCH = 192, BOX_COLS = 8, BOX_ROWS = 4 };
struct tensor_params {
    CUtensorMap map;
    void *in, *out;
    int x, y;
};

static void build_tensor(struct str *ptx, const char *op) {
    head(ptx, ".param .align 64 .b8 map[128], .param .u64 in, .param .u64 out, .param .u32 x, .param .u32 y");
    str_printf(ptx,
               "mov.b64 %%rd7, map; cvta.param.u64 %%rd8, %%rd7; ld.param.u32 %%r20, [x]; ld.param.u32 %%r21, [y];\n"
               "mul.wide.u32 %%rd3, %%r1, 4; add.u64 %%rd4, %%rd1, %%rd3; ld.global.u32 %%r8, [%%rd4];\n"
               "shl.b32 %%r4, %%r1, 2; add.u32 %%r5, %%r2, %%r4; st.shared.u32 [%%r5], %%r8;\n" PROXY "bar.sync 0;\n"
               "@%%p1 cp.async.bulk.prefetch.tensor.2d.L2.global [%%rd8, {%%r20, %%r21}];\n"
               "@%%p1 cp.reduce.async.bulk.tensor.2d.global.shared::cta.%s.tile.bulk_group [%%rd8, {%%r20, %%r21}], "
               "[%%r2];\n%s ret; }\n",
               op, COMMIT WAIT);
}

static void check_tensor(CUtensorMapDataType data, const char *type, const char *op, int x, int y,
                         const char *refused) {
    const unsigned bytes = bytes_of(type);
    struct str ptx = {0};
    struct world w;
    struct tensor_params p = {.x = x, .y = y};
    static uint8_t want[ROWS * PITCH];
    build_tensor(&ptx, op);
    world_open(&w, ptx.data);
    p.in = world_alloc(&w, 256);
    p.out = world_alloc(&w, sizeof want);
    fill(&w, type, p.in, 256);
    fill(&w, type, p.out, sizeof want);
    memcpy(want, p.out, sizeof want);
    for (int r = 0; r < BOX_ROWS; r++)
        for (int c = 0; c < BOX_COLS; c++)
            if (x + c >= 0 && x + c < COLS && y + r >= 0 && y + r < ROWS)
                expect(op, type, want + (y + r) * PITCH + (unsigned)(x + c) * bytes,
                       (uint8_t *)p.in + (unsigned)(r * BOX_COLS + c) * bytes, bytes, 1);
    const cuuint64_t size[] = {COLS, ROWS}, stride[] = {PITCH};
    const cuuint32_t box[] = {BOX_COLS, BOX_ROWS}, step[] = {1, 1};
    assert_int_equal(cuTensorMapEncodeTiled(&p.map, data, 2, p.out, size, stride, box, step,
                                            CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_NONE,
                                            CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
                     CUDA_SUCCESS);
    w.launch.block[0] = 64;
    if (refused) {
        world_run_bad(&w, &p, SG_FAULT_ASYNC, refused);
    } else {
        world_run_good(&w, &p);
        if (memcmp(p.out, want, sizeof want) != 0)
            fail_msg("cp.reduce of a tensor, %s.%s at %d, %d, is wrong", op, type, x, y);
    }
    world_close(&w);
    str_release(&ptx);
}

static void test_tensors(void **state) {
    (void)state;
    check_tensor(CU_TENSOR_MAP_DATA_TYPE_FLOAT32, "f32", "add", 8, 2, NULL);
    check_tensor(CU_TENSOR_MAP_DATA_TYPE_FLOAT16, "f16", "add", 15, 5, NULL); /* three rows and two columns outside */
    check_tensor(CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, "bf16", "max", -3, -1, NULL);
    check_tensor(CU_TENSOR_MAP_DATA_TYPE_UINT32, "u32", "xor", 0, 0, NULL);
    check_tensor(CU_TENSOR_MAP_DATA_TYPE_INT32, "s32", "min", 4, 3, NULL);
    check_tensor(CU_TENSOR_MAP_DATA_TYPE_INT64, "s64", "add", 12, 0, NULL);
    check_tensor(CU_TENSOR_MAP_DATA_TYPE_UINT32, "u32", "inc", 1, 1, NULL);
    check_tensor(CU_TENSOR_MAP_DATA_TYPE_FLOAT32, "f32", "max", 0, 0, "the tensor map's elements are f32");
    check_tensor(CU_TENSOR_MAP_DATA_TYPE_FLOAT16, "f16", "and", 0, 0, "cannot be reduced so");
}

/* ---- to the shared memory of a CTA of the cluster ---- */

#define CLUSTER_SYNC "barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;\n"
#define CLEAR        "st.shared.v4.u32 [%r5+4096], {%r30, %r30, %r30, %r30}; "
#define SUM                                                                                                            \
    "cp.reduce.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes.add.u32 [%r24], [%r2], 1024, "      \
    "[%r25];\n"
#define AWAIT                                                                                                          \
    "setp.ne.u32 %p4, %r20, 0; @%p4 bra OTHERS;\n"                                                                     \
    "SLEEP: mbarrier.try_wait.parity.shared::cta.b64 %p8, [bar], 0; @!%p8 bra SLEEP;\n"
#define GIVE "ld.shared.v4.u32 {%r8, %r9, %r10, %r11}, [%r5+4096]; st.global.v4.u32 [%rd5], {%r8, %r9, %r10, %r11};\n"

/* Each CTA adds its copy of in[] to what CTA 0 has 4096 bytes behind; CTA 0 waits for all and gives the sum away. */
static void build_cluster(struct str *ptx, const char *clear, const char *first, const char *await) {
    struct str steps = {0};
    str_printf(&steps,
               "mov.u32 %%r20, %%cluster_ctarank; mov.u32 %%r21, %%cluster_nctarank; mov.u32 %%r30, 0; %s\n"
               "add.u64 %%rd5, %%rd2, %%rd3; mul.lo.u32 %%r22, %%r21, 1024; mov.u32 %%r23, bar; mov.u32 %%r31, 0;\n"
               "%sbar.sync 0;\n@%%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [bar], %%r22;\n"
               "add.u32 %%r26, %%r2, 4096; mapa.shared::cluster.u32 %%r24, %%r26, %%r31;\n"
               "mapa.shared::cluster.u32 %%r25, %%r23, %%r31;\n%s%s\n%s\nOTHERS:\n%s",
               clear, INIT("1") FENCE PROXY, CLUSTER_SYNC, first, await, CLUSTER_SYNC);
    build(ptx, steps.data);
    str_release(&steps);
}

static uint32_t four_times(const uint32_t *in, uint32_t k) {
    return 4 * in[k];
}

static void check_cluster(const char *clear, const char *first, const char *await, enum sg_fault_kind kind,
                          const char *text) {
    struct str ptx = {0};
    build_cluster(&ptx, clear, first, await);
    check_run(&ptx, 64, &(struct expectation){kind, text, four_times, BYTES / 4, 4, 4});
    str_release(&ptx);
}

static void test_between_ctas(void **state) {
    (void)state;
    check_cluster(CLEAR, "@%p1 " SUM, AWAIT GIVE, SG_FAULT_NONE, "");
    check_cluster("", "@%p1 " SUM, AWAIT GIVE, SG_FAULT_UNINITIALIZED, "was never written");
    check_cluster(CLEAR, "@%p1 " SUM, "setp.ne.u32 %p4, %r20, 0; @%p4 bra OTHERS; " GIVE AWAIT, SG_FAULT_RACE,
                  "no barrier lies between");
    check_cluster(CLEAR, "setp.eq.and.u32 %p5, %r20, 0, %p1; @%p5 st.shared.u32 [%r5+4096], %r30; @%p5 " SUM,
                  AWAIT GIVE, SG_FAULT_ASYNC, "no fence.proxy.async followed");
    check_cluster(CLEAR, "@%p1 " SUM "@%p1 st.shared.u32 [%r2], %r1;", AWAIT GIVE, SG_FAULT_ASYNC,
                  "the bulk copy of PTX line");
}

/* ---- hints ---- */

static void check_hint(const char *code, enum sg_fault_kind kind, const char *text) {
    struct one o;
    open_one(&o, "u32", code);
    if (kind == SG_FAULT_NONE) {
        world_run_good(&o.w, &o.p);
        assert_memory_equal(o.p.out, o.before, sizeof o.before);
        assert_int_equal(o.w.counters.global_bytes_read, BYTES);
    } else {
        world_run_bad(&o.w, &o.p, kind, text);
    }
    world_close(&o.w);
}

static void test_prefetch(void **state) {
    (void)state;
    check_hint("mov.u32 %r22, 32; cp.async.bulk.prefetch.L2.global.L2::cache_hint [%rd2], %r22, %rd1;\n", SG_FAULT_NONE,
               "");
    check_hint("cp.async.bulk.prefetch.L2.global [%rd2], 64; prefetch.global.L1 [%rd2+4096]; prefetchu.L1 [%rd2];\n"
               "applypriority.global.L2::evict_normal [%rd2], 128; prefetch.global.L2::evict_last [%rd2];\n",
               SG_FAULT_NONE, "");
    check_hint("cp.async.bulk.prefetch.L2.global [%rd2+8], 64;\n", SG_FAULT_MISALIGNED, "multiples of 16");
    check_hint("cp.async.bulk.prefetch.tensor.2d.L2.global [%rd2, {%r1, %r1}];\n", SG_FAULT_ASYNC,
               "no 2-dimensional tensor map");
}

static void test_discard(void **state) {
    (void)state;
    struct one o;
    open_one(&o, "u32", "@%p1 discard.global.L2 [%rd2+128], 128;\n");
    world_run_good(&o.w, &o.p);
    memset(o.before + 128, 0xff, 128);
    assert_memory_equal(o.p.out, o.before, sizeof o.before);
    world_close(&o.w);
    check_hint("discard.L2 [%rd2+64], 128;\n", SG_FAULT_MISALIGNED, "not a multiple of 128");
    check_hint("discard.L2 [%rd2+2048], 128;\n", SG_FAULT_OUT_OF_BOUNDS, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_operations), cmocka_unit_test(test_many_at_once), cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_tensors),    cmocka_unit_test(test_between_ctas), cmocka_unit_test(test_prefetch),
        cmocka_unit_test(test_discard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
