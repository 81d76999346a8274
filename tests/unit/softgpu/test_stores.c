/* Bulk copies from shared to global memory on the software device: every byte against where it must be, and every way
 * of handing shared memory to the copy engine, or taking it back, wrongly. */
#include "hopper.h"

#define STORE      "cp.async.bulk.global.shared::cta.bulk_group "
#define PROXY      "fence.proxy.async.shared::cta;\n"
#define COMMIT     "@%p1 cp.async.bulk.commit_group;\n"
#define WAIT       "@%p1 cp.async.bulk.wait_group 0;\n"
#define WAIT_READ  "@%p1 cp.async.bulk.wait_group.read 0;\n"
#define ONE_STORE  "@%p1 " STORE "[%rd2], [%r2], 1024;\n"
#define TWO_STORES "@%p1 " STORE "[%rd2], [%r2], 512; @%p1 " STORE "[%rd2+512], [%r2+512], 512;\n"
#define OVERWRITE  "st.shared.u32 [%r5], %r1;\n"
#define WRITE_HALF "setp.ge.u32 %p3, %r1, 32; @%p3 " OVERWRITE

/* 64 threads put in[0 … 255] into shared memory, 16 bytes each, at %r5; then `steps`. */
static void build_store(struct str *ptx, const char *steps) {
    head(ptx, TWO_POINTERS);
    str_printf(ptx,
               "mul.wide.u32 %%rd3, %%r1, 16; add.u64 %%rd4, %%rd1, %%rd3; ld.global.v4.u32 {%%r8, %%r9, %%r10, "
               "%%r11}, [%%rd4];\n"
               "shl.b32 %%r4, %%r1, 4; add.u32 %%r5, %%r2, %%r4; st.shared.v4.u32 [%%r5], {%%r8, %%r9, %%r10, "
               "%%r11};\n%s ret; }\n",
               steps);
}

static void check_store(const char *steps, enum sg_fault_kind kind, const char *text) {
    struct str ptx = {0};
    build_store(&ptx, steps);
    check_run(&ptx, 64, &(struct expectation){kind, text, same_word, 256, 1, 1});
    str_release(&ptx);
}

static void test_stores(void **state) {
    (void)state;
    check_store(PROXY "bar.sync 0;\n" ONE_STORE COMMIT WAIT, SG_FAULT_NONE, "");
    check_store(PROXY "bar.sync 0;\n" TWO_STORES COMMIT WAIT_READ, SG_FAULT_NONE, "");
    /* shared memory may be used again when it has been read, by all after a barrier */
    check_store(PROXY "bar.sync 0;\n" ONE_STORE COMMIT WAIT_READ "bar.sync 0;\n" OVERWRITE, SG_FAULT_NONE, "");
    check_store(PROXY "bar.sync 0;\n" ONE_STORE COMMIT "ld.shared.u32 %r8, [%r5];\n" WAIT, SG_FAULT_NONE, "");
    /* the first of two groups is done, its bytes are free; so is what both groups read, after the second */
    check_store(PROXY "bar.sync 0;\n@%p1 " STORE "[%rd2+512], [%r2+512], 512;\n" COMMIT "@%p1 " STORE
                      "[%rd2], [%r2], 512;\n" COMMIT
                      "@%p1 cp.async.bulk.wait_group.read 1; bar.sync 0;\n" WRITE_HALF WAIT_READ,
                SG_FAULT_NONE, "");
    check_store(PROXY "bar.sync 0;\n" ONE_STORE COMMIT "@%p1 " STORE "[%rd2+2048], [%r2], 1024;\n" COMMIT WAIT_READ
                      "bar.sync 0;\n" OVERWRITE,
                SG_FAULT_NONE, "");
    /* an address as a generic one; every thread with a store of its own */
    check_store(PROXY "cvt.u64.u32 %rd5, %r2; cvta.shared.u64 %rd5, %rd5; bar.sync 0;\n@%p1 " STORE
                      "[%rd2], [%rd5], 1024;\n" COMMIT WAIT,
                SG_FAULT_NONE, "");
    check_store(PROXY "add.u64 %rd6, %rd2, %rd3;\n" STORE
                      "[%rd6], [%r5], 16; cp.async.bulk.commit_group; cp.async.bulk.wait_group.read 0;\n",
                SG_FAULT_NONE, "");
}

static void test_wrong_stores(void **state) {
    (void)state;
    const char *reading = "may still be reading it (no cp.async.bulk.wait_group covers it)";
    const char *unread = "the CTA ended while this bulk store was reading shared memory";
    check_store("bar.sync 0;\n" ONE_STORE COMMIT WAIT, SG_FAULT_ASYNC, "no fence.proxy.async followed");
    check_store("fence.proxy.async.global; bar.sync 0;\n" ONE_STORE COMMIT WAIT, SG_FAULT_ASYNC,
                "no fence.proxy.async followed");
    /* a fence before the last write covers it no more */
    check_store(PROXY OVERWRITE "bar.sync 0;\n" ONE_STORE COMMIT WAIT, SG_FAULT_ASYNC, "no fence.proxy.async followed");
    check_store(PROXY "bar.sync 0;\n" ONE_STORE COMMIT "@%p1 " OVERWRITE WAIT_READ, SG_FAULT_ASYNC, reading);
    check_store(PROXY "bar.sync 0;\n" ONE_STORE COMMIT "bar.sync 0;\n" OVERWRITE WAIT_READ, SG_FAULT_ASYNC, reading);
    check_store(PROXY "bar.sync 0;\n" ONE_STORE COMMIT
                      "bar.sync 0; cp.async.cg.shared.global [%r5], [%rd4], 16; cp.async.wait_all;\n" WAIT_READ,
                SG_FAULT_ASYNC, reading);
    /* waiting for all but one of one group, before the commit, or by a thread that has issued nothing */
    check_store(PROXY "bar.sync 0;\n" ONE_STORE COMMIT "@%p1 cp.async.bulk.wait_group.read 1; bar.sync 0;\n" OVERWRITE,
                SG_FAULT_ASYNC, reading);
    check_store(PROXY "bar.sync 0;\n" ONE_STORE WAIT_READ COMMIT "bar.sync 0;\n" OVERWRITE, SG_FAULT_ASYNC, reading);
    check_store(PROXY "bar.sync 0;\n" ONE_STORE COMMIT
                      "setp.eq.u32 %p2, %r1, 1; @%p2 cp.async.bulk.wait_group.read 0; bar.sync 0;\n" OVERWRITE,
                SG_FAULT_ASYNC, reading);
    check_store(PROXY "bar.sync 0;\n" ONE_STORE COMMIT "@%p1 " STORE "[%rd2+2048], [%r2], 1024;\n" COMMIT
                      "@%p1 cp.async.bulk.wait_group.read 1; bar.sync 0;\n" OVERWRITE,
                SG_FAULT_ASYNC, reading);
    check_store(PROXY "bar.sync 0;\n" ONE_STORE COMMIT, SG_FAULT_ASYNC, unread);
    check_store(PROXY "bar.sync 0;\n" ONE_STORE WAIT, SG_FAULT_ASYNC, unread);
    check_store(PROXY "bar.sync 0;\n@%p1 " STORE "[%rd2], [%r2], 1032;\n" COMMIT WAIT, SG_FAULT_MISALIGNED,
                "multiples of 16");
    check_store(PROXY "bar.sync 0;\n@%p1 " STORE "[%rd2+8], [%r2], 1024;\n" COMMIT WAIT, SG_FAULT_MISALIGNED,
                "multiples of 16");
    check_store(PROXY "bar.sync 0;\n@%p1 " STORE "[%rd2], [%r2+4], 1024;\n" COMMIT WAIT, SG_FAULT_MISALIGNED,
                "at shared 0x");
    check_store(PROXY "bar.sync 0;\n@%p1 " STORE "[%rd2+7680], [%r2], 1024;\n" COMMIT WAIT, SG_FAULT_OUT_OF_BOUNDS,
                "of allocation");
    check_store(PROXY "bar.sync 0;\n@%p1 " STORE "[%rd2], [%r2+7744], 1024;\n" COMMIT WAIT, SG_FAULT_OUT_OF_BOUNDS,
                "of 8224");
    check_store(PROXY "bar.sync 0;\n@%p1 " STORE "[%rd2], [%r2], 1040;\n" COMMIT WAIT, SG_FAULT_UNINITIALIZED,
                "never written");
}

/* What goes wrong depends on which warp comes first. */
static void check_either(const char *steps, const char *race) {
    bool raced = false;
    for (uint64_t seed = 0; seed < 8; seed++) {
        struct str ptx = {0};
        struct world w;
        build_store(&ptx, steps);
        world_open(&w, ptx.data);
        struct pointers p = {world_alloc(&w, 8192), world_alloc(&w, 8192)};
        w.launch.block[0] = 64;
        w.launch.seed = seed;
        if (!world_run(&w, &p)) {
            assert_true(w.fault.kind == SG_FAULT_RACE || w.fault.kind == SG_FAULT_ASYNC ||
                        w.fault.kind == SG_FAULT_UNINITIALIZED);
            raced |= w.fault.kind == SG_FAULT_RACE && strstr(w.fault.text, race);
        }
        world_close(&w);
        str_release(&ptx);
    }
    assert_true(raced);
}

/* What stmatrix writes is under the same watch. */
#define STMATRIX                                                                                                       \
    "and.b32 %r12, %r1, 31; shl.b32 %r12, %r12, 4; mad.lo.u32 %r12, %r3, 512, %r12; add.u32 %r12, %r12, %r2;\n"        \
    "stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%r12], {%r8, %r9, %r10, %r11};\n"                                 \
    "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%r8, %r9, %r10, %r11}, [%r12];\n"                                 \
    "bar.warp.sync 0xffffffff; st.shared.v4.u32 [%r5], {%r8, %r9, %r10, %r11};\n"

static void test_stmatrix(void **state) {
    (void)state;
    check_store(STMATRIX PROXY "bar.sync 0;\n" ONE_STORE COMMIT WAIT, SG_FAULT_NONE, "");
    check_store(PROXY STMATRIX "bar.sync 0;\n" ONE_STORE COMMIT WAIT, SG_FAULT_ASYNC, "no fence.proxy.async followed");
    check_store(PROXY "bar.sync 0;\n" ONE_STORE COMMIT "bar.sync 0;\n" STMATRIX WAIT, SG_FAULT_ASYNC,
                "may still be reading it");
    check_either(STMATRIX PROXY ONE_STORE COMMIT WAIT, "wrote it at PTX line");
}
static void test_store_races(void **state) {
    (void)state;
    check_either(PROXY ONE_STORE COMMIT WAIT, "wrote it at PTX line"); /* no barrier before */
    check_either(PROXY "bar.sync 0;\n" ONE_STORE COMMIT WAIT_READ OVERWRITE, "read it at PTX line"); /* none after */
}

/* ---- when global memory is written ---- */

/* Thread 0 reads where it has stored, behind `wait`: is it there? */
static bool is_there(const char *wait, bool eager) {
    struct str steps = {0}, ptx = {0};
    struct world w;
    str_append(&steps, PROXY "bar.sync 0;\n" ONE_STORE COMMIT);
    str_append(&steps, wait);
    str_append(&steps, "@%p1 ld.global.u32 %r8, [%rd2]; @%p1 st.global.u32 [%rd2+4096], %r8;\n");
    build_store(&ptx, steps.data);
    world_open(&w, ptx.data);
    struct pointers p = {world_alloc(&w, 8192), world_alloc(&w, 8192)};
    uint32_t *out = p.out, before = out[0];
    w.launch.block[0] = 64;
    w.launch.eager_async = eager;
    world_run_good(&w, &p);
    bool there = out[1024] == out[0];
    assert_int_equal(out[0], *(uint32_t *)p.in);
    assert_true(there || out[1024] == before);
    assert_int_equal(w.counters.global_bytes_written, 1024 + 4);
    world_close(&w);
    str_release(&ptx);
    str_release(&steps);
    return there;
}

static void test_last_moment(void **state) {
    (void)state;
    assert_true(is_there(WAIT, false));
    assert_true(is_there(WAIT, true));
    assert_true(is_there(WAIT_READ, true));
    assert_false(is_there(WAIT_READ, false)); /* .read promises that shared memory was read, and no more */
}

/* More stores than the device keeps back, each of its own bytes. */
static void test_many(void **state) {
    (void)state;
    for (int eager = 0; eager < 2; eager++) {
        struct str ptx = {0};
        struct world w;
        build_store(&ptx, "mov.u32 %r12, 0;\n"
                          "L: st.shared.u32 [%r5], %r12;" PROXY "bar.sync 0;\n" ONE_STORE COMMIT WAIT_READ
                          "bar.sync 0; add.u64 %rd2, %rd2, 1024; add.u32 %r12, %r12, 1; setp.lt.u32 %p2, %r12, 1000; "
                          "@%p2 bra L;\n");
        world_open(&w, ptx.data);
        struct pointers p = {world_alloc(&w, 8192), world_alloc(&w, 1024 * 1000)};
        const uint32_t *in = p.in, *out = p.out;
        w.launch.block[0] = 64;
        w.launch.eager_async = eager;
        world_run_good(&w, &p);
        for (uint32_t k = 0; k < 256 * 1000; k++)
            assert_int_equal(out[k], k % 4 ? in[k % 256] : k / 256);
        world_close(&w);
        str_release(&ptx);
    }
}

/* ---- tensors ---- */

struct tensor_case {
    CUtensorMapDataType type;
    CUtensorMapSwizzle swizzle;
    unsigned element, width, rows, cols; /* bytes; of the box in elements, rows; of the tensor in elements */
    int x, y;
};
enum { ROWS = 37, PITCH = 640 };

struct tensor_params {
    CUtensorMap map;
    void *in, *out;
    int x, y;
};

/* Shared memory is filled with in[], byte by byte; thread 0 stores the box. */
static void build_tensor(struct str *ptx, const char *commit) {
    head(ptx, ".param .align 64 .b8 map[128], .param .u64 in, .param .u64 out, .param .u32 x, .param .u32 y");
    str_printf(ptx,
               "mov.b64 %%rd7, map; cvta.param.u64 %%rd8, %%rd7; ld.param.u32 %%r20, [x]; ld.param.u32 %%r21, [y];\n"
               "shl.b32 %%r4, %%r1, 2; COPY: add.u32 %%r5, %%r2, %%r4; cvt.u64.u32 %%rd3, %%r4;\n"
               "add.u64 %%rd4, %%rd1, %%rd3; ld.global.u32 %%r6, [%%rd4]; st.shared.u32 [%%r5], %%r6;\n"
               "add.u32 %%r4, %%r4, 256; setp.lt.u32 %%p2, %%r4, 8192; @%%p2 bra COPY;\n" PROXY "bar.sync 0;\n"
               "@%%p1 cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%%rd8, {%%r20, %%r21}], [%%r2];\n%s"
               "ret; }\n",
               commit);
}

static CUresult encode(CUtensorMap *map, void *address, const struct tensor_case *t) {
    const cuuint64_t size[] = {t->cols, ROWS}, stride[] = {PITCH};
    const cuuint32_t box[] = {t->width, t->rows}, step[] = {1, 1};
    return cuTensorMapEncodeTiled(map, t->type, 2, address, size, stride, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE,
                                  t->swizzle, CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

static void check_tensor(const struct tensor_case *t) {
    struct str ptx = {0};
    build_tensor(&ptx, COMMIT WAIT_READ);
    for (int eager = 0; eager < 2; eager++) {
        struct world w;
        struct tensor_params p = {.x = t->x, .y = t->y};
        static uint8_t want[ROWS * PITCH];
        world_open(&w, ptx.data);
        p.in = world_alloc(&w, 8192);
        p.out = world_alloc(&w, sizeof want);
        memcpy(want, p.out, sizeof want);
        uint64_t written = 0;
        for (unsigned r = 0; r < t->rows; r++)
            for (unsigned b = 0; b < t->width * t->element; b++) {
                int64_t x = t->x + (int)(b / t->element), y = t->y + (int)r;
                /* The 16 bytes in which a row ends are written whole. */
                if (x < 0 || x * t->element >= (t->cols * t->element + 15) / 16 * 16 || y < 0 || y >= ROWS)
                    continue;
                want[y * PITCH + x * t->element + b % t->element] =
                    ((uint8_t *)p.in)[r * t->width * t->element + chunk_place(t->swizzle, r, b / 16) * 16 + b % 16];
                written++;
            }
        w.launch.block[0] = 64;
        w.launch.eager_async = eager;
        assert_int_equal(encode(&p.map, p.out, t), CUDA_SUCCESS);
        world_run_good(&w, &p);
        assert_memory_equal(p.out, want, sizeof want);
        assert_int_equal(w.counters.global_bytes_written, written);
        world_close(&w);
    }
    str_release(&ptx);
}

#define U8   CU_TENSOR_MAP_DATA_TYPE_UINT8
#define F16  CU_TENSOR_MAP_DATA_TYPE_FLOAT16
#define BF16 CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
#define F32  CU_TENSOR_MAP_DATA_TYPE_FLOAT32

static void test_tensors(void **state) {
    (void)state;
    static const struct tensor_case cases[] = {
        {F16, CU_TENSOR_MAP_SWIZZLE_128B, 2, 64, 32, 320, 0, 0},
        {F16, CU_TENSOR_MAP_SWIZZLE_128B, 2, 64, 24, 301, 256, 20}, /* the edges cut 16 bytes */
        {BF16, CU_TENSOR_MAP_SWIZZLE_128B, 2, 64, 16, 320, -29, -5},
        {F16, CU_TENSOR_MAP_SWIZZLE_64B, 2, 32, 40, 100, 80, 2},
        {BF16, CU_TENSOR_MAP_SWIZZLE_64B, 2, 32, 8, 320, 7, 30},
        {F16, CU_TENSOR_MAP_SWIZZLE_32B, 2, 16, 48, 320, 32, 1},
        {U8, CU_TENSOR_MAP_SWIZZLE_32B, 1, 32, 16, 333, 313, 36},
        {F16, CU_TENSOR_MAP_SWIZZLE_NONE, 2, 8, 37, 320, 312, 0},
        {F16, CU_TENSOR_MAP_SWIZZLE_NONE, 2, 120, 20, 319, 200, 25},
        {F32, CU_TENSOR_MAP_SWIZZLE_NONE, 4, 32, 16, 33, 16, 3},
        {F16, CU_TENSOR_MAP_SWIZZLE_NONE, 2, 64, 8, 320, 320, 0}, /* nothing is inside */
        {F16, CU_TENSOR_MAP_SWIZZLE_128B, 2, 64, 8, 320, 0, -8},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        check_tensor(&cases[k]);
}

static void check_wrong_tensor(const char *commit, const struct tensor_case *t, size_t size, enum sg_fault_kind kind,
                               const char *text) {
    struct str ptx = {0};
    struct world w;
    struct tensor_params p = {.x = t->x, .y = t->y};
    build_tensor(&ptx, commit);
    world_open(&w, ptx.data);
    p.in = world_alloc(&w, 8192);
    p.out = world_alloc(&w, size);
    w.launch.block[0] = 64;
    assert_int_equal(encode(&p.map, p.out, t), CUDA_SUCCESS);
    world_run_bad(&w, &p, kind, text);
    world_close(&w);
    str_release(&ptx);
}

static void test_wrong_tensors(void **state) {
    (void)state;
    const struct tensor_case good = {F16, CU_TENSOR_MAP_SWIZZLE_128B, 2, 64, 8, 320, 0, 0};
    struct tensor_case t = good;
    check_wrong_tensor("", &good, ROWS * PITCH, SG_FAULT_ASYNC, "the CTA ended while this bulk store");
    check_wrong_tensor(COMMIT "@%p1 st.shared.u16 [%r2+34], %h1;\n" WAIT_READ, &good, ROWS * PITCH, SG_FAULT_ASYNC,
                       "may still be reading it");
    t.y = 30;
    check_wrong_tensor(COMMIT WAIT, &t, 33 * PITCH, SG_FAULT_OUT_OF_BOUNDS, "of allocation");
    t = (struct tensor_case){F16, CU_TENSOR_MAP_SWIZZLE_NONE, 2, 64, 65, 320, 0, 0};
    check_wrong_tensor(COMMIT WAIT, &t, ROWS * PITCH, SG_FAULT_OUT_OF_BOUNDS, "a bulk copy of 8320 bytes");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stores),      cmocka_unit_test(test_wrong_stores),  cmocka_unit_test(test_store_races),
        cmocka_unit_test(test_last_moment), cmocka_unit_test(test_many),          cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_stmatrix),    cmocka_unit_test(test_wrong_tensors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
