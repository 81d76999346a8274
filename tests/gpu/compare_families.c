/* Every kernel family on small problems with ragged edges, and the quantisation of activations on any bits at all.
 *
 * Without split-K the sum over groups runs in order and every operation is rounded as IEEE 754 says, so a quantised Y
 * has the same bits on every device. The order in which split-K and the tensor core's floats are summed is not laid
 * down: those must only be right. */
#include "compare.h"
#include "tuner/measure/verify.h"
#include <stdio.h>
#include <string.h>

struct family_case {
    const char *family, *config, *scheme;
    int group;
    enum dtype dtype;
};

static const struct family_case families[] = {
    {"sm80", "tile_n=64,tile_m=16,stages=3", "w4a8", 128, DTYPE_F16},
    {"sm80", "tile_n=128,tile_m=16,stages=4,promote=1,zero=1,order=1,raster=2", "w4a8", 64, DTYPE_BF16},
    {"sm80", "tile_n=64,tile_m=32,stages=3,warps_n=2,warps_m=2,promote=0", "w8a8", 128, DTYPE_F16},
    {"sm80", "tile_n=64,tile_m=8,stages=4,tile_k=256,promote=2,zero=1", "w4a8", 256, DTYPE_F16},
    {"sm80", "tile_n=64,tile_m=16,stages=3,promote=2,order=1", "p20", 128, DTYPE_BF16},
    {"sm80", "tile_n=64,tile_m=16,stages=3,split_k=3", "w4a8", 128, DTYPE_F16},
    {"sm80", "tile_n=64,tile_m=32,stages=3,promote=0,order=0", "w4a8-sym", 64, DTYPE_F16},
    {"sm80", "tile_n=128,tile_m=16,stages=2,tile_k=256", "w4a8-sym", 256, DTYPE_BF16},
    {"sm80", "tile_n=64,tile_n8=128,tile_m=16,stages=3,promote=1", "p20-sym", 128, DTYPE_F16},
    {"sm90", "blocks=1,tile_m=8,stages=8,consumers=1,promote=0,zero=0", "w4a8", 128, DTYPE_F16},
    {"sm90", "blocks=2,tile_m=24,tile_k=256,stages=2,consumers=2,promote=2,zero=1", "w4a8", 128, DTYPE_F16},
    {"sm90", "blocks=1,tile_m=48,stages=3,consumers=3,promote=1,zero=1", "w4a8", 128, DTYPE_BF16},
    {"sm90", "blocks=1,tile_m=16,stages=8,consumers=2,pingpong=1,promote=2,zero=0", "w4a8", 64, DTYPE_BF16},
    {"sm90", "blocks=2,tile_m=8,stages=5,consumers=3,pingpong=1,promote=1,zero=1", "w4a8", 64, DTYPE_F16},
    {"sm90", "blocks=1,tile_m=24,tile_k=256,stages=3,consumers=2,promote=2,zero=1", "w4a8", 256, DTYPE_F16},
    {"sm90", "blocks=1,tile_m=128,stages=4,consumers=2,promote=2,zero=1", "w4a8", 128, DTYPE_F16},
    {"sm90", "blocks=2,tile_m=32,stages=2,consumers=1,promote=1", "w8a8", 128, DTYPE_F16},
    {"sm90", "blocks=1,tile_m=48,tile_k=256,stages=2,consumers=2,pingpong=1,promote=2", "w8a8", 128, DTYPE_BF16},
    {"sm90", "blocks=2,blocks8=1,tile_m=16,stages=3,consumers=2,promote=2,zero=1", "p20", 128, DTYPE_F16},
    {"sm90", "blocks=1,blocks8=1,tile_m=24,stages=8,consumers=2,pingpong=1,promote=0,zero=0", "p50", 128, DTYPE_BF16},
    {"sm90", "blocks=1,tile_m=64,stages=4,consumers=2,promote=2", "w4a8-sym", 128, DTYPE_F16},
    {"sm90", "blocks=2,tile_m=24,tile_k=256,stages=2,consumers=2,promote=1", "w4a8-sym", 64, DTYPE_BF16},
    {"sm90", "blocks=1,tile_m=16,tile_k=256,stages=6,consumers=3,share_k=1,promote=0", "w4a8-sym", 256, DTYPE_F16},
    {"sm90", "blocks=2,blocks8=1,tile_m=16,stages=4,consumers=1,cluster=2,store=1", "p20-sym", 128, DTYPE_BF16},
    {"sm90", "blocks=1,tile_m=16,stages=4,consumers=2,split_k=2,raster=2", "w4a8", 128, DTYPE_F16},
    {"sm90", "blocks=1,tile_m=24,stages=4,consumers=2,store=1,promote=2,zero=1", "w4a8", 128, DTYPE_F16},
    {"sm90", "blocks=1,tile_m=32,stages=8,consumers=1,cluster=2,promote=2,zero=1", "w4a8", 128, DTYPE_BF16},
    {"sm90", "blocks=1,tile_m=32,stages=3,consumers=1,cluster=4,store=1,promote=2", "w8a8", 128, DTYPE_F16},
    {"sm90", "blocks=2,tile_m=24,stages=4,consumers=1,cluster_k=4", "w4a8", 128, DTYPE_F16},
    {"sm90", "blocks=1,tile_m=16,stages=4,consumers=2,pingpong=1,cluster_k=2,store=1", "w8a8", 128, DTYPE_BF16},
    {"sm90", "blocks=1,tile_m=16,stages=4,consumers=2,stream_k=1", "w4a8", 128, DTYPE_F16},
    {"f16", "tile_n=64,tile_m=16,stages=3", "w4a8", 128, DTYPE_F16},
    {"f16", "tile_n=128,tile_m=64,stages=4", "w4a8", 128, DTYPE_BF16},
    {"f16", "tile_n=64,tile_m=16,stages=3,split_k=2", "w4a8", 128, DTYPE_F16},
};
enum { FAMILIES = sizeof families / sizeof *families };

/* The variants of a family's case: a problem, or what an SM holds of the kernel. */
static const struct { int m, n, k, bias; } shapes[] = {{1, 100, 300, 0}, {33, 257, 500, 1}, {130, 48, 1000, 0}};
enum { SHAPES = sizeof shapes / sizeof *shapes, OCCUPANCY = SHAPES };

static enum mt_status problem_of(const struct gpu_case *c, struct problem *p, struct config *config) {
    const struct family_case *f = &families[c->number];
    const int shape = c->variant == OCCUPANCY ? 1 : c->variant;
    *p = (struct problem){.m = shapes[shape].m,
                          .n = shapes[shape].n,
                          .k = shapes[shape].k,
                          .group = f->group,
                          .dtype = f->dtype,
                          .bias = shapes[shape].bias};
    enum mt_status status = problem_set_scheme(p, f->scheme);
    return status ? status : config_parse(family_find(f->family), f->config, config);
}

static enum mt_status family_compile(const struct gpu_case *c, const struct device *dev, struct image *out) {
    struct problem p;
    struct config config;
    enum mt_status status = problem_of(c, &p, &config);
    return status ? status : kernel_compile(dev, &config, &p, out);
}

/* The CTAs that an SM holds at once: what the driver makes of registers and shared memory. */
static enum mt_status count_ctas(struct device *dev, const struct kernel *kernel, const struct problem *p,
                                 struct answer *out) {
    struct launch_shape shape;
    int ctas = -1;
    kernel->config.family->shape(&kernel->config, p, dev->sm_count, &shape);
    enum mt_status status = device_check(
        dev,
        dev->drv.OccupancyMaxActiveBlocksPerMultiprocessor(&ctas, kernel->function, (int)shape.block, shape.smem_bytes),
        "cuOccupancyMaxActiveBlocksPerMultiprocessor");
    str_append_bytes(&out->data, &ctas, sizeof ctas);
    return status;
}

static enum mt_status prove(struct device *dev, const struct kernel *kernel, const struct problem *p,
                            struct answer *out) {
    struct proof proof;
    struct check check;
    struct launch_shape shape;
    const bool quantised = kernel->config.family->quantised;
    enum mt_status status = proof_init(&proof, dev, p, quantised, 20260907);
    if (!status) {
        verify_gemm(&proof, kernel, &check);
        kernel->config.family->shape(&kernel->config, p, dev->sm_count, &shape);
        if (check.outcome != OUTCOME_OK)
            answer_fail(out, "%s", check.message);
        else if (quantised && !shape.counters_bytes)
            str_append_bytes(&out->data, &check.hash, sizeof check.hash);
        out->lost = check.context_lost;
    }
    proof_release(&proof);
    return status;
}

static void family_run(const struct gpu_case *c, struct device *dev, struct answer *out) {
    struct problem p;
    struct config config;
    struct device_limits limits;
    struct image image;
    struct kernel kernel;
    char reason[160];
    if (answer_status(out, dev, problem_of(c, &p, &config), ""))
        return;
    device_limits_of(dev, &limits);
    if (!config_allowed(&config, &p, &limits, reason)) {
        answer_skip(out, "%s", reason);
        return;
    }
    if (answer_status(out, dev, kernel_compile(dev, &config, &p, &image), "") ||
        answer_status(out, dev, kernel_load(dev, &config, image, &kernel), ""))
        return;
    if (c->variant == OCCUPANCY)
        answer_status(out, dev, count_ctas(dev, &kernel, &p, out), "");
    else
        answer_status(out, dev, prove(dev, &kernel, &p, out), "");
    kernel_unload(dev, &kernel);
}

/* ---- quantisation of activations ---- */

enum { TOKENS = 64, FEATURES = 300, ROW = 301 /* odd: every second row is not aligned */, PADDED = 384 };
static const int group_sizes[] = {64, 128, 256};

static struct problem quantize_problem(const struct gpu_case *c) {
    return (struct problem){.m = TOKENS,
                            .n = 16,
                            .k = FEATURES,
                            .group = group_sizes[c->number],
                            .dtype = c->variant ? DTYPE_BF16 : DTYPE_F16};
}

static enum mt_status quantize_compile(const struct gpu_case *c, const struct device *dev, struct image *out) {
    const struct problem p = quantize_problem(c);
    return kernel_compile_quantize(dev, &p, out);
}

/* Rows of every kind of number, and at last rows of any bits. */
static void fill_tokens(uint16_t *x, enum dtype dtype) {
    const uint16_t exponent = dtype == DTYPE_BF16 ? 0x7f80 : 0x7c00, infinity = exponent, quiet = exponent | 0x40;
    uint64_t state = 99;
    for (int m = 0; m < TOKENS; m++)
        for (int k = 0; k < ROW; k++) {
            state = state * 6364136223846793005ULL + 1442695040888963407ULL;
            const uint16_t bits = (uint16_t)(state >> 40), sign = bits & 0x8000;
            const uint16_t finite = (bits & exponent) == exponent ? bits & 0xbfff : bits;
            const uint16_t kinds[] = {
                finite,
                0,
                sign,
                (uint16_t)(sign | 1),              /* the least subnormal */
                (uint16_t)(bits & ~exponent),      /* subnormal */
                (uint16_t)(sign | (exponent - 1)), /* the largest */
                k == 7 ? infinity : finite,
                k == 9 ? quiet : finite,
                (uint16_t)(k == 70 ? sign | infinity : 0),
                (uint16_t)((bits & 0x83ff) | (dtype == DTYPE_BF16 ? 0x3c00 : 0x3800)) /* near 1 */};
            const int kind = m % 16;
            x[m * ROW + k] = kind < 10 ? kinds[kind] : bits;
        }
}

static enum mt_status quantize_launch(struct device *dev, const struct kernel *kernel, struct mt_quantize_args *args,
                                      struct memory *memory, const uint16_t *x, struct answer *out) {
    const size_t codes = (size_t)TOKENS * PADDED, per_group = (size_t)args->groups * TOKENS * 4;
    CUdeviceptr from, q, scales, sums;
    unsigned char *result = xcalloc(codes + 2 * per_group, 1);
    enum mt_status status;
    if ((status = memory_upload(memory, dev, x, (size_t)TOKENS * ROW * 2, &from)) ||
        (status = memory_alloc(memory, dev, codes, &q)) || (status = memory_alloc(memory, dev, per_group, &scales)) ||
        (status = memory_alloc(memory, dev, per_group, &sums)) ||
        (status = device_check(dev, dev->drv.MemsetD8(q, 0xa5, codes), "cuMemsetD8")))
        goto out;
    args->x = memory_pointer(from), args->q = memory_pointer(q);
    args->scales = memory_pointer(scales), args->sums = memory_pointer(sums);
    if ((status = launch_quantize(dev, kernel, args, NULL)) ||
        (status = device_check(dev, dev->drv.CtxSynchronize(), "running the kernel")) ||
        (status = device_check(dev, dev->drv.MemcpyDtoH(result, q, codes), "cuMemcpyDtoH")) ||
        (status = device_check(dev, dev->drv.MemcpyDtoH(result + codes, scales, per_group), "cuMemcpyDtoH")) ||
        (status = device_check(dev, dev->drv.MemcpyDtoH(result + codes + per_group, sums, per_group), "cuMemcpyDtoH")))
        goto out;
    for (size_t at = codes; at < codes + per_group; at += sizeof(float)) { /* which of the NaNs it is says nothing */
        float scale;
        memcpy(&scale, result + at, sizeof scale);
        if (scale != scale)
            memset(result + at, 0xff, sizeof scale);
    }
    str_append_bytes(&out->data, result, codes + 2 * per_group);
out:
    free(result);
    return status;
}

static void quantize_run(const struct gpu_case *c, struct device *dev, struct answer *out) {
    const struct problem p = quantize_problem(c);
    static uint16_t x[TOKENS * ROW];
    struct kernel kernel;
    struct memory memory = {0};
    struct mt_quantize_args args = {
        .m = TOKENS, .k = FEATURES, .k_padded = problem_k_padded(&p), .groups = problem_groups(&p), .ldx = ROW};
    fill_tokens(x, p.dtype);
    if (answer_status(out, dev, kernel_load_quantize(dev, &p, &kernel), ""))
        return;
    answer_status(out, dev, quantize_launch(dev, &kernel, &args, &memory, x, out), "");
    memory_release(&memory, dev);
    kernel_unload(dev, &kernel);
}

void family_cases(struct case_list *list) {
    struct gpu_case c = {.run = quantize_run, .compile = quantize_compile, .judge = JUDGE_WORDS, .cc = 80};
    for (c.number = 0; c.number < 3; c.number++)
        for (c.variant = 0; c.variant < 2; c.variant++)
            case_add(list, &c, "quantize_act, groups of %d, %s: codes, scales, sums", group_sizes[c.number],
                     c.variant ? "bf16" : "fp16");
    c.run = family_run;
    for (c.number = 0; c.number < FAMILIES; c.number++)
        for (c.variant = 0; c.variant <= SHAPES; c.variant++) {
            const struct family_case *f = &families[c.number];
            c.cc = family_find(f->family)->min_cc;
            c.compile = c.variant ? NULL : family_compile; /* one binary serves all shapes */
            char what[64] = "CTAs that an SM holds";
            if (c.variant < SHAPES)
                snprintf(what, sizeof what, "%d,%d,%d", shapes[c.variant].m, shapes[c.variant].n, shapes[c.variant].k);
            if (family_find(f->family)->quantised)
                case_add(list, &c, "%s %s g%d %s %s: %s", f->family, f->scheme, f->group, dtype_name(f->dtype),
                         f->config, what);
            else
                case_add(list, &c, "%s %s %s: %s", f->family, dtype_name(f->dtype), f->config, what);
        }
}
