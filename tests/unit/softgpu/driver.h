/* Kernels and helpers of the driver's tests: a context with one module on the default device, buffers of COUNT random
 * words. */
#ifndef TEST_SOFT_DRIVER_H
#define TEST_SOFT_DRIVER_H

#include "capture.h"
#include "runtime/softgpu/api/state.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

/* affine: x[i] = x[i] * mul + add, which does not commute. gather: dst[i] = src[i] + 1. store_at: x[at] = value,
 * anywhere. */
static const char ptx_body[] =
    ".address_size 64\n"
    ".visible .entry affine(.param .u64 px, .param .u32 pn, .param .u32 pm, .param .u32 pa)\n"
    "{\n"
    ".reg .pred %p<2>; .reg .b32 %r<10>; .reg .b64 %rd<5>;\n"
    "ld.param.u64 %rd1, [px];\n"
    "ld.param.u32 %r5, [pn];\n"
    "ld.param.u32 %r6, [pm];\n"
    "ld.param.u32 %r7, [pa];\n"
    "mov.u32 %r1, %ctaid.x;\n"
    "mov.u32 %r2, %ntid.x;\n"
    "mov.u32 %r3, %tid.x;\n"
    "mad.lo.s32 %r4, %r1, %r2, %r3;\n"
    "setp.ge.u32 %p1, %r4, %r5;\n"
    "@%p1 bra DONE;\n"
    "cvta.to.global.u64 %rd2, %rd1;\n"
    "mul.wide.u32 %rd3, %r4, 4;\n"
    "add.s64 %rd4, %rd2, %rd3;\n"
    "ld.global.u32 %r8, [%rd4];\n"
    "mad.lo.s32 %r9, %r8, %r6, %r7;\n"
    "st.global.u32 [%rd4], %r9;\n"
    "DONE: ret;\n"
    "}\n"
    ".visible .entry gather(.param .u64 pd, .param .u64 ps, .param .u32 pn)\n"
    "{\n"
    ".reg .pred %p<2>; .reg .b32 %r<8>; .reg .b64 %rd<8>;\n"
    "ld.param.u64 %rd1, [pd];\n"
    "ld.param.u64 %rd2, [ps];\n"
    "ld.param.u32 %r5, [pn];\n"
    "mov.u32 %r1, %ctaid.x;\n"
    "mov.u32 %r2, %ntid.x;\n"
    "mov.u32 %r3, %tid.x;\n"
    "mad.lo.s32 %r4, %r1, %r2, %r3;\n"
    "setp.ge.u32 %p1, %r4, %r5;\n"
    "@%p1 bra DONE;\n"
    "mul.wide.u32 %rd3, %r4, 4;\n"
    "add.s64 %rd4, %rd2, %rd3;\n"
    "ld.global.u32 %r6, [%rd4];\n"
    "add.s32 %r7, %r6, 1;\n"
    "add.s64 %rd5, %rd1, %rd3;\n"
    "st.global.u32 [%rd5], %r7;\n"
    "DONE: ret;\n"
    "}\n"
    ".visible .entry store_at(.param .u64 px, .param .u64 pi, .param .u32 pv)\n"
    "{\n"
    ".reg .b32 %r<2>; .reg .b64 %rd<4>;\n"
    "ld.param.u64 %rd1, [px];\n"
    "ld.param.u64 %rd2, [pi];\n"
    "ld.param.u32 %r1, [pv];\n"
    "add.s64 %rd3, %rd1, %rd2;\n"
    "st.global.u32 [%rd3], %r1;\n"
    "ret;\n"
    "}\n";

struct fixture {
    CUcontext context;
    CUmodule module;
    CUfunction affine, gather, store_at;
};

#define good(call) assert_int_equal(call, CUDA_SUCCESS)
#define COUNT      1000u
#define BYTES      (COUNT * 4)

/* The call must fail with this code and say `sentence`, one line on standard error; "" if it must say nothing. */
#define refused(call, code, sentence)                                                                                  \
    do {                                                                                                               \
        char said[2048];                                                                                               \
        struct capture capture;                                                                                        \
        capture_begin(&capture, STDERR_FILENO);                                                                        \
        CUresult result = call;                                                                                        \
        capture_end(&capture, said, sizeof said);                                                                      \
        assert_int_equal(result, code);                                                                                \
        check_said(said, sentence);                                                                                    \
    } while (0)

static inline void check_said(const char *said, const char *sentence) {
    const char *end = strchr(said, '\n');
    if (!*sentence ? *said != '\0' : strncmp(said, "softgpu: ", 9) != 0 || !strstr(said, sentence) || !end || end[1])
        fail_msg("'%s' was said, not '%s'", said, sentence);
}

static inline char *ptx_for(const char *target, const char *body) {
    static char text[8192];
    snprintf(text, sizeof text, ".version 8.0\n.target %s\n%s", target, body);
    return text;
}

static inline int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    good(cuInit(0));
    good(cuCtxCreate_v2(&f->context, 0, 0));
    good(cuModuleLoadData(&f->module, ptx_for("sm_80", ptx_body)));
    good(cuModuleGetFunction(&f->affine, f->module, "affine"));
    good(cuModuleGetFunction(&f->gather, f->module, "gather"));
    good(cuModuleGetFunction(&f->store_at, f->module, "store_at"));
    srand(7);
    *state = f;
    return 0;
}

static inline int teardown(void **state) {
    struct fixture *f = *state;
    good(cuCtxDestroy_v2(f->context));
    free(f);
    return 0;
}

static inline void launch_affine(struct fixture *f, CUstream stream, CUdeviceptr x, unsigned n, unsigned mul,
                                 unsigned add) {
    void *params[] = {&x, &n, &mul, &add};
    good(cuLaunchKernel(f->affine, (n + 127) / 128, 1, 1, 128, 1, 1, 0, stream, params, NULL));
}

static inline void launch_gather(struct fixture *f, CUstream stream, CUdeviceptr dst, CUdeviceptr src, unsigned n) {
    void *params[] = {&dst, &src, &n};
    good(cuLaunchKernel(f->gather, (n + 127) / 128, 1, 1, 128, 1, 1, 0, stream, params, NULL));
}

static inline CUresult launch_store(struct fixture *f, CUdeviceptr x, uint64_t at, unsigned value) {
    void *params[] = {&x, &at, &value};
    return cuLaunchKernel(f->store_at, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL);
}

static inline void random_words(uint32_t *out) {
    for (unsigned i = 0; i < COUNT; i++)
        out[i] = (uint32_t)rand() * 2654435761u + 1;
}

static inline CUdeviceptr random_buffer(uint32_t *words) {
    CUdeviceptr x;
    random_words(words);
    good(cuMemAlloc_v2(&x, BYTES));
    good(cuMemcpyHtoD_v2(x, words, BYTES));
    return x;
}

static inline void affine_host(uint32_t *x, uint32_t mul, uint32_t add) {
    for (unsigned i = 0; i < COUNT; i++)
        x[i] = x[i] * mul + add;
}

static inline void expect(CUdeviceptr x, const uint32_t *want) {
    uint32_t got[COUNT];
    good(cuMemcpyDtoH_v2(got, x, BYTES));
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(got[i], want[i]);
}

#define driver_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
