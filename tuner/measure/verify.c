#include "verify.h"
#include "runtime/base/str.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* Bytes before and after Y, and elements after each of its rows: an odd margin would hide nothing that N does not
 * show. */
enum { GUARD = 512, MARGIN = 8, GUARD_BYTE = 0xC5, POISON_BYTE = 0xFF /* NaN in fp16 and bf16 */ };

void check_failure(struct device *dev, struct check *out) {
    text_fit(out->message, sizeof out->message, "%s", fail_message());
    CUresult state = dev->drv.CtxSynchronize();
    out->context_lost = state != CUDA_SUCCESS;
    if (state == CUDA_SUCCESS)
        state = device_error();
    out->machine = device_error_is_machine(state);
    switch (state) {
    case CUDA_ERROR_OUT_OF_MEMORY:
        out->outcome = OUTCOME_OUT_OF_MEMORY;
        break;
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
        out->outcome = OUTCOME_ILLEGAL_ADDRESS;
        break;
    case CUDA_ERROR_LAUNCH_TIMEOUT:
        out->outcome = OUTCOME_TIMEOUT;
        break;
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_INVALID_PC:
        out->outcome = OUTCOME_CRASH;
        break;
    default:
        out->outcome = OUTCOME_LAUNCH_FAILED;
    }
}

/* SMs that a kernel is given: few, for a proof has few tiles, and were a persistent kernel given all SMs, none of its
 * CTAs would go on to a second one; but so many that a cluster fits and stream-K finds something to share. */
static int few_sms(const struct proof *proof, const struct config *config) {
    enum { FEW = 3, MORE = 12 };
    const int all = proof->dev->sm_count;
    struct device_limits limits;
    char reason[160];
    device_limits_of(proof->dev, &limits);
    for (limits.sm_count = FEW; limits.sm_count <= MORE && limits.sm_count <= all; limits.sm_count++)
        if (config_allowed(config, &proof->problem, &limits, reason))
            return limits.sm_count;
    return all < FEW ? all : FEW;
}

/* The device memory of one run. */
struct run {
    struct memory memory;
    CUdeviceptr output, counters; /* output starts with a guard */
    size_t output_bytes, counters_bytes;
    int ldy;
    struct sum_tree sums;
};

/* Rows of an even number of features begin at multiples of 16 bytes, wherever they end; others do not. */
static int pitch_of(int n) {
    return n % 2 ? n + MARGIN : (n / 8 + 1) * 8;
}

static enum mt_status prepare(struct proof *proof, const struct kernel *kernel, struct run *run) {
    struct device *dev = proof->dev;
    struct launch_shape shape;
    kernel->config.family->shape(&kernel->config, &proof->problem, few_sms(proof, &kernel->config), &shape);
    run->ldy = pitch_of(proof->problem.n);
    run->output_bytes = (size_t)proof->problem.m * (size_t)run->ldy * 2 + (size_t)2 * GUARD;
    run->counters_bytes = shape.counters_bytes;
    run->sums = shape.sums;
    CUdeviceptr partials;
    enum mt_status status;
    if ((status = memory_alloc(&run->memory, dev, run->output_bytes, &run->output)) ||
        (status = memory_alloc(&run->memory, dev, shape.partials_bytes, &partials)) ||
        (status = memory_alloc(&run->memory, dev, run->counters_bytes, &run->counters)) ||
        (status = device_check(dev, dev->drv.MemsetD8(run->output, GUARD_BYTE, run->output_bytes), "cuMemsetD8")) ||
        (status = device_check(
             dev, dev->drv.MemsetD8(run->output + GUARD, POISON_BYTE, run->output_bytes - (size_t)2 * GUARD),
             "cuMemsetD8")) ||
        (shape.partials_bytes &&
         (status = device_check(dev, dev->drv.MemsetD8(partials, POISON_BYTE, shape.partials_bytes), "cuMemsetD8"))) ||
        (shape.counters_bytes &&
         (status = device_check(dev, dev->drv.MemsetD8(run->counters, 0, shape.counters_bytes), "cuMemsetD8"))))
        return status;
    proof->gemm.partials = proof->f16.partials = memory_pointer(partials);
    proof->gemm.counters = proof->f16.counters = memory_pointer(run->counters);
    proof->gemm.y = proof->f16.y = memory_pointer(run->output + GUARD);
    proof->gemm.ldy = proof->f16.ldy = run->ldy;
    return MT_OK;
}

static enum mt_status launch(struct proof *proof, const struct kernel *kernel) {
    struct device *dev = proof->dev, few = *dev;
    few.sm_count = few_sms(proof, &kernel->config);
    enum mt_status status = proof->quantised ? launch_gemm(&few, kernel, &proof->problem, &proof->gemm, NULL)
                                             : launch_gemm_f16(&few, kernel, &proof->problem, &proof->f16, NULL);
    return status ? status : device_check(dev, dev->drv.CtxSynchronize(), "running the kernel");
}

void check_wrong(struct check *out, const char *format, ...) {
    va_list args;
    va_start(args, format);
    text_vfit(out->message, sizeof out->message, format, args);
    va_end(args);
    out->outcome = OUTCOME_WRONG;
}

/* Guards around Y and margins after its rows are as they were. */
static bool surroundings_intact(const struct proof *proof, const struct run *run, const unsigned char *output,
                                struct check *out) {
    const unsigned char *end = output + run->output_bytes - GUARD;
    for (int i = 0; i < GUARD; i++)
        if (output[i] != GUARD_BYTE || end[i] != GUARD_BYTE) {
            check_wrong(out, "it wrote %s the output", output[i] != GUARD_BYTE ? "before" : "after");
            return false;
        }
    for (int m = 0; m < proof->problem.m; m++) {
        const unsigned char *margin = output + GUARD + ((size_t)m * (size_t)run->ldy + (size_t)proof->problem.n) * 2;
        for (int i = 0; i < (run->ldy - proof->problem.n) * 2; i++)
            if (margin[i] != POISON_BYTE) {
                check_wrong(out, "it wrote past the end of row %d of the output", m);
                return false;
            }
    }
    return true;
}

static bool counters_zero(const struct run *run, const unsigned char *counters, struct check *out) {
    for (size_t i = 0; i < run->counters_bytes; i++)
        if (counters[i]) {
            check_wrong(out, "the split-K counter of tile %zu is not zero after the launch", i / sizeof(unsigned));
            return false;
        }
    return true;
}

static void compare_output(const struct proof *proof, const struct run *run, const unsigned char *output,
                           struct check *out) {
    const struct problem *p = &proof->problem;
    const uint16_t *y = (const uint16_t *)(const void *)(output + GUARD);
    struct verdict *v = &out->verdict;
    reference_compare(&proof->reference, p->dtype, y, run->ldy, v);
    XXH3_state_t *state = XXH3_createState();
    XXH3_64bits_reset(state);
    for (int m = 0; m < p->m; m++)
        XXH3_64bits_update(state, y + (size_t)m * (size_t)run->ldy, (size_t)p->n * 2);
    out->hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    if (v->wrong)
        check_wrong(out, "%ld of %ld elements are wrong; Y[%d, %d] is %.9g, not %.9g (allowed error %.3g)", v->wrong,
                    (long)p->m * p->n, v->first_m, v->first_n, v->got, v->want, v->allowed);
}

void verify_gemm(struct proof *proof, const struct kernel *kernel, struct check *out) {
    struct device *dev = proof->dev;
    struct run run = {0};
    *out = (struct check){.outcome = OUTCOME_OK};
    unsigned char *output = NULL, *counters = NULL;
    if (prepare(proof, kernel, &run) || launch(proof, kernel))
        goto failed;
    output = xmalloc(run.output_bytes);
    counters = xmalloc(run.counters_bytes + 1);
    if (device_check(dev, dev->drv.MemcpyDtoH(output, run.output, run.output_bytes), "cuMemcpyDtoH") ||
        (run.counters_bytes &&
         device_check(dev, dev->drv.MemcpyDtoH(counters, run.counters, run.counters_bytes), "cuMemcpyDtoH")))
        goto failed;
    if (surroundings_intact(proof, &run, output, out) && counters_zero(&run, counters, out))
        compare_output(proof, &run, output, out);
    out->sums = proof->quantised ? run.sums : (struct sum_tree){0};
    goto out;
failed:
    check_failure(dev, out);
out:
    free(output);
    free(counters);
    memory_release(&run.memory, dev);
}

/* ---- quantisation of activations ---- */

/* Reads `bytes` back and finds the first element that differs; -1 if none, -2 if the copy failed. */
static long first_difference(struct device *dev, CUdeviceptr address, const void *expected, size_t bytes,
                             size_t element) {
    unsigned char *got = xmalloc(bytes);
    long at = -1;
    if (device_check(dev, dev->drv.MemcpyDtoH(got, address, bytes), "cuMemcpyDtoH"))
        at = -2;
    for (size_t i = 0; at == -1 && i < bytes; i += element)
        if (memcmp(got + i, (const unsigned char *)expected + i, element) != 0)
            at = (long)(i / element);
    free(got);
    return at;
}

static enum mt_status run_quantize(struct proof *proof, const struct kernel *kernel, size_t codes, size_t groups) {
    struct device *dev = proof->dev;
    const struct quant_acts *acts = &proof->acts;
    enum mt_status status;
    if ((status = device_check(dev, dev->drv.MemsetD8(proof->q, POISON_BYTE, codes), "cuMemsetD8")) ||
        (status = device_check(dev, dev->drv.MemsetD8(proof->scales, POISON_BYTE, groups), "cuMemsetD8")) ||
        (status = device_check(dev, dev->drv.MemsetD8(proof->sums, POISON_BYTE, groups), "cuMemsetD8")))
        return status;
    struct mt_quantize_args args = {.x = memory_pointer(proof->device_x),
                                    .q = memory_pointer(proof->q),
                                    .scales = memory_pointer(proof->scales),
                                    .sums = memory_pointer(proof->sums),
                                    .m = acts->m,
                                    .k = acts->k,
                                    .k_padded = acts->k_padded,
                                    .groups = acts->groups,
                                    .ldx = proof->f16.ldx};
    if ((status = launch_quantize(dev, kernel, &args, NULL)))
        return status;
    return device_check(dev, dev->drv.CtxSynchronize(), "running the kernel");
}

void verify_quantize(struct proof *proof, const struct kernel *kernel, struct check *out) {
    const struct quant_acts *acts = &proof->acts;
    size_t codes = (size_t)acts->m * (size_t)acts->k_padded;
    size_t groups = (size_t)acts->groups * (size_t)acts->m * sizeof *acts->scales;
    *out = (struct check){.outcome = OUTCOME_OK};
    if (run_quantize(proof, kernel, codes, groups)) {
        check_failure(proof->dev, out);
        return;
    }
    const struct {
        const char *what;
        CUdeviceptr address;
        const void *expected;
        size_t bytes, element;
    } parts[] = {{"code", proof->q, acts->q, codes, 1},
                 {"scale", proof->scales, acts->scales, groups, sizeof *acts->scales},
                 {"sum", proof->sums, acts->sums, groups, sizeof *acts->sums}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        long at = first_difference(proof->dev, parts[i].address, parts[i].expected, parts[i].bytes, parts[i].element);
        if (at == -2)
            check_failure(proof->dev, out);
        else if (at >= 0)
            check_wrong(out, "%s %ld differs from the host's quantisation", parts[i].what, at);
        if (at != -1)
            return;
    }
}
