/* Outputs of full size: what a library or a kernel that shares K may compute. The device's memory is the host's. */
#include "runtime/layer/half.h"
#include "tuner/measure/whole.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

static CUresult set_bytes(CUdeviceptr to, unsigned char byte, size_t bytes) {
    memset(memory_pointer(to), byte, bytes);
    return CUDA_SUCCESS;
}

static CUresult copy_out(void *to, CUdeviceptr from, size_t bytes) {
    memcpy(to, memory_pointer(from), bytes);
    return CUDA_SUCCESS;
}

static CUresult wait_for_it(void) {
    return CUDA_SUCCESS;
}

static struct device dev = {.drv = {.MemsetD8 = set_bytes, .MemcpyDtoH = copy_out, .CtxSynchronize = wait_for_it}};

/* Operands of 100 tokens, 70 features and K = 40, with rows of 48, and a launch that computes their product. */
enum { M = 100, N = 70, K = 40, LD = 48 };
static uint16_t x[M * LD], w[N * LD], y[M * N];
static struct operands o;

static enum mt_status multiply(void *context, int turn, CUstream stream) {
    (void)context, (void)turn, (void)stream;
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) {
            float sum = 0;
            for (int k = 0; k < K; k++)
                sum += dtype_to_float(o.problem.dtype, x[m * LD + k]) * dtype_to_float(o.problem.dtype, w[n * LD + k]);
            y[m * N + n] = dtype_from_float(o.problem.dtype, sum);
        }
    return MT_OK;
}

static enum mt_status nothing(void *context, int turn, CUstream stream) {
    (void)context, (void)turn, (void)stream;
    return MT_OK;
}

static enum mt_status failure(void *context, int turn, CUstream stream) {
    (void)context, (void)turn, (void)stream;
    return (fail)(MT_FAILURE, "no such kernel");
}

static CUdeviceptr on_device(void *host) {
    return (CUdeviceptr)(uintptr_t)host;
}

static void make(enum dtype dtype) {
    o = (struct operands){.dev = &dev, .problem = {.m = M, .n = N, .k = K, .group = 128, .dtype = dtype}, .ldw = LD};
    o.x.set[0] = on_device(x);
    o.weights[0].set[0] = on_device(w);
    o.y.set[0] = on_device(y);
    for (int i = 0; i < M * LD; i++)
        x[i] = i % LD < K ? dtype_from_float(dtype, (float)drand48() - 0.5f) : 0xFFFF; /* nobody reads behind K */
    for (int i = 0; i < N * LD; i++)
        w[i] = i % LD < K ? dtype_from_float(dtype, (float)drand48() - 0.5f) : 0xFFFF;
}

static struct check verdict_of(const uint16_t *output) {
    struct check check = {.outcome = OUTCOME_OK};
    whole_product(&o, output, &check);
    return check;
}

static void products(void **state) {
    (void)state;
    for (int dtype = 0; dtype < 2; dtype++) {
        make(dtype ? DTYPE_BF16 : DTYPE_F16);
        uint16_t *output = whole_output(&o, multiply, NULL);
        assert_non_null(output);
        assert_int_equal(verdict_of(output).outcome, OUTCOME_OK);
        /* The corners are always looked at. */
        static const int corner[] = {0, N - 1, (M - 1) * N, M * N - 1};
        for (int i = 0; i < 4; i++) {
            const uint16_t was = output[corner[i]];
            output[corner[i]] = dtype_from_float(o.problem.dtype, dtype_to_float(o.problem.dtype, was) + 0.25f);
            struct check check = verdict_of(output);
            assert_int_equal(check.outcome, OUTCOME_WRONG);
            assert_non_null(strstr(check.message, "1 of 1024 elements are wrong; Y["));
            output[corner[i]] = was;
        }
        for (int i = 0; i < M * N; i++) /* wherever it lies */
            if (i % 97 == 0) {
                char sentence[64];
                const uint16_t was = output[i];
                output[i] = 0xFFFF;
                snprintf(sentence, sizeof sentence, "it does not write Y[%d, %d]", i / N, i % N);
                assert_string_equal(verdict_of(output).message, sentence);
                output[i] = was;
            }
        free(output);
    }
}

static void what_does_not_run(void **state) {
    (void)state;
    make(DTYPE_F16);
    assert_null(whole_output(&o, failure, NULL));
    assert_string_equal(fail_message(), "no such kernel");
    multiply(NULL, 0, NULL); /* an earlier launch was right */
    uint16_t *output = whole_output(&o, nothing, NULL);
    assert_string_equal(verdict_of(output).message, "it does not write Y[0, 0]");
    free(output);
}

static void sums_in_another_order(void **state) {
    (void)state;
    for (int dtype = 0; dtype < 2; dtype++) {
        make(dtype ? DTYPE_BF16 : DTYPE_F16);
        uint16_t *first = whole_output(&o, multiply, NULL), *other = whole_output(&o, multiply, NULL);
        for (int i = 0; i < M * N; i++)
            other[i] ^= i % 3 == 0; /* the last bit */
        struct check check = {.outcome = OUTCOME_OK};
        whole_alike(&o, other, first, &check);
        assert_int_equal(check.outcome, OUTCOME_OK);
        other[M * N - 1] = dtype_from_float(o.problem.dtype, 3);
        whole_alike(&o, other, first, &check);
        assert_int_equal(check.outcome, OUTCOME_WRONG);
        assert_non_null(strstr(check.message, "its full-size output is wrong: Y[99, 69] is 3, and "));
        other[5] = 0xFFFF;
        whole_alike(&o, other, first, &check);
        assert_string_equal(check.message, "it does not write Y[0, 5]");
        free(first);
        free(other);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(products), cmocka_unit_test(what_does_not_run),
                                       cmocka_unit_test(sums_in_another_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
