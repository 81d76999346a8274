/* The kernels of compare*.cu, one or more for each wrapper of templates/ptx/, and what they are fed with. */
#include "compare.h"
#include "runtime/layer/half.h"
#include "tuner/measure/memory.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum fill {
    FILL_RANDOM,  /* bits */
    FILL_FLOATS,  /* floats of every kind: zeros, subnormals, infinities, NaNs, the middle between two fp16 or bf16 */
    FILL_INTEGER, /* pairs of fp16 (variant 0) or bf16 (1) that are small integers: sums of their products are exact */
    FILL_FINITE   /* pairs of them that are any finite number of moderate size */
};

/* A tensor map that the kernel takes, as launches of the sm90 family encode theirs: boxes of 24 rows of 128 bytes. */
enum map {
    MAP_NONE,
    MAP_IN, /* of `in`: 37 rows of 384 bytes */
    MAP_OUT /* of `out`: 37 rows of 100 16-bit elements, 256 bytes apart */
};

struct wrapper {
    const char *file, *kernel;
    int cc, threads, ctas;
    int in_words, out_words; /* of the whole launch */
    enum fill fill;
    enum judge judge;
    enum map map;
};

static const struct wrapper wrappers[] = {
    {"compare.cu", "async_copy_16", 80, 128, 4, 4 * 640, 4 * 512, FILL_RANDOM, JUDGE_WORDS, MAP_NONE},
    {"compare.cu", "async_copy_4", 80, 128, 4, 4 * 640, 4 * 128, FILL_RANDOM, JUDGE_WORDS, MAP_NONE},
    {"compare.cu", "async_copy_groups", 80, 128, 4, 4 * 384, 4 * 384, FILL_RANDOM, JUDGE_WORDS, MAP_NONE},
    {"compare.cu", "matrix_load", 80, 32, 16, 16 * 288, 16 * 128, FILL_RANDOM, JUDGE_WORDS, MAP_NONE},
    {"compare.cu", "plain_loads", 80, 128, 4, 512, 1024, FILL_RANDOM, JUDGE_WORDS, MAP_NONE},
    {"compare.cu", "other_loads", 80, 128, 4, 4 * 512, 4 * 512, FILL_RANDOM, JUDGE_WORDS, MAP_NONE},
    {"compare.cu", "single_instructions", 80, 128, 32, 3 * 4096, 5 * 4096, FILL_FLOATS, JUDGE_WORDS, MAP_NONE},
    {"compare.cu", "mma_s8", 80, 32, 16, 16 * 320, 16 * 128, FILL_RANDOM, JUDGE_WORDS, MAP_NONE},
    {"compare.cu", "mma_u8", 80, 32, 16, 16 * 320, 16 * 128, FILL_RANDOM, JUDGE_WORDS, MAP_NONE},
    {"compare.cu", "mma_f16", 80, 32, 16, 16 * 320, 16 * 256, FILL_INTEGER, JUDGE_WORDS, MAP_NONE},
    {"compare.cu", "mma_f16", 80, 32, 16, 16 * 320, 16 * 256, FILL_FINITE, JUDGE_SUMS, MAP_NONE},
    {"compare.cu", "mma_bf16", 80, 32, 16, 16 * 320, 16 * 256, FILL_INTEGER, JUDGE_WORDS, MAP_NONE},
    {"compare.cu", "mma_bf16", 80, 32, 16, 16 * 320, 16 * 256, FILL_FINITE, JUDGE_SUMS, MAP_NONE},
    {"compare.cu", "widen", 80, 128, 512, 1, 3 * 65536, FILL_RANDOM, JUDGE_FLOATS, MAP_NONE},
    {"compare.cu", "narrow_f16", 80, 128, 256, 32768, 32768, FILL_FLOATS, JUDGE_WORDS, MAP_NONE},
    {"compare.cu", "narrow_bf16", 80, 128, 256, 32768, 32768, FILL_FLOATS, JUDGE_WORDS, MAP_NONE},
    {"compare.cu", "narrow_pairs", 80, 128, 128, 32768, 32768, FILL_FLOATS, JUDGE_WORDS, MAP_NONE},
    {"compare.cu", "dequantise_subtract", 80, 256, 1, 64, 256 * 128, FILL_RANDOM, JUDGE_WORDS, MAP_NONE},
    {"compare.cu", "dequantise_codes", 80, 256, 1, 64, 256 * 128, FILL_RANDOM, JUDGE_WORDS, MAP_NONE},
    {"compare.cu", "dequantise_symmetric", 80, 256, 1, 64, 256 * 128, FILL_RANDOM, JUDGE_WORDS, MAP_NONE},
    {"compare.cu", "masked_bits", 80, 128, 4, 3 * 512, 512, FILL_RANDOM, JUDGE_WORDS, MAP_NONE},
    {"compare.cu", "dequantise_8_bits", 80, 32, 4, 1024, 1024, FILL_RANDOM, JUDGE_WORDS, MAP_NONE},
    {"compare.cu", "promote_convert", 80, 128, 64, 8192, 8192, FILL_RANDOM, JUDGE_WORDS, MAP_NONE},
    {"compare.cu", "promote_subtract", 80, 128, 64, 8192, 8192, FILL_RANDOM, JUDGE_WORDS, MAP_NONE},
    {"compare.cu", "promote_fma", 80, 128, 64, 8192, 8192, FILL_RANDOM, JUDGE_WORDS, MAP_NONE},
    {"compare.cu", "common_clock", 80, 32, 1, 1, 64, FILL_RANDOM, JUDGE_WORDS, MAP_NONE},
    {"compare.cu", "own_multiprocessor", 80, 64, 300, 1, 300 * 128, FILL_RANDOM, JUDGE_WORDS, MAP_NONE},
    {"compare_sm90.cu", "mbarrier_stages", 90, 64, 4, 4 * 512, 4 * 512, FILL_RANDOM, JUDGE_WORDS, MAP_NONE},
    {"compare_sm90.cu", "bulk_copies", 90, 128, 4, 4 * 2048, 4 * 2048, FILL_RANDOM, JUDGE_WORDS, MAP_NONE},
    {"compare_sm90.cu", "copies_arrive", 90, 64, 4, 4 * 128, 4 * 128, FILL_RANDOM, JUDGE_WORDS, MAP_NONE},
    {"compare_sm90.cu", "boxes", 90, 128, 1, 384 * 37 / 4, 6 * 128 * 24 / 4, FILL_RANDOM, JUDGE_WORDS, MAP_IN},
    {"compare_sm90.cu", "stored_boxes", 90, 128, 1, 5 * 128 * 24 / 4, 37 * 64, FILL_RANDOM, JUDGE_WORDS, MAP_OUT},
    {"compare_sm90.cu", "cluster_boxes", 90, 128, 8, 384 * 37 / 4, 8 * 2 * 4 * 128 * 24 / 4, FILL_RANDOM, JUDGE_WORDS,
     MAP_IN},
    {"compare_sm90.cu", "cluster_loads", 90, 128, 8, 1024, 4096, FILL_RANDOM, JUDGE_WORDS, MAP_NONE},
    {"compare_sm90.cu", "matrix_store", 90, 64, 4, 4 * 64 * 6, 4 * 128 * 4, FILL_RANDOM, JUDGE_WORDS, MAP_NONE},
    {"compare_sm90.cu", "barriers_of_halves", 90, 256, 4, 1024, 1024, FILL_RANDOM, JUDGE_WORDS, MAP_NONE},
    {"compare_sm90.cu", "barriers_that_pass", 90, 256, 4, 4 * 1024, 4 * 1024, FILL_RANDOM, JUDGE_WORDS, MAP_NONE},
    {"compare_sm90.cu", "registers_move", 90, 384, 1, 384, 384, FILL_RANDOM, JUDGE_WORDS, MAP_NONE},
};
enum { WRAPPERS = sizeof wrappers / sizeof *wrappers };

/* wgmma at every number of tokens that s8 operands allow. */
static const int tokens[] = {8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256};
enum { GROUPS_MOST = 64 }; /* tokens up to which two accumulators fit */
static const char *const wgmma_kernels[] = {"wgmma_s8", "wgmma_u8", "wgmma_groups"};

/* ---- inputs ---- */

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state * 0x2545F4914F6CDD1DULL >> 16;
}

static uint32_t any_float(uint64_t *state) {
    static const uint32_t special[] = {0,          0x80000000, 1,          0x007fffff, 0x00800000, 0x7f7fffff,
                                       0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffffffff, 0x477fe000,
                                       0x477fefff, 0x477ff000, 0x33000000, 0x33000001, 0x387fc000, 0x7f7f8000};
    const uint64_t draw = next_random(state);
    const uint32_t bits = (uint32_t)(draw >> 8);
    switch (draw % 4) {
    case 0:
        return special[bits % (sizeof special / sizeof *special)] ^ (bits >> 20 & 1) << 31;
    case 1: /* as wide as fp16 is, with its subnormals, and half-way between two of them, or nearly */
        return (bits & 0x80000000) | (bits % 42 + 101) << 23 | (bits & 0x7fe000) | 0x1000 | (bits & 1);
    case 2: /* likewise of bf16 */
        return (bits & 0xffff0000) | 0x8000 | (bits & 1);
    default:
        return bits;
    }
}

static uint32_t small_pair(uint64_t *state, bool bf16, bool integer) {
    uint32_t pair = 0;
    for (int i = 0; i < 2; i++) {
        const uint64_t draw = next_random(state);
        const float value = integer ? (float)((int)(draw % 33) - 16) : (float)(int32_t)(uint32_t)draw * 0x1p-26f;
        pair |= (uint32_t)dtype_from_float(bf16 ? DTYPE_BF16 : DTYPE_F16, value) << (16 * i);
    }
    return pair;
}

static void fill_words(uint32_t *words, int count, enum fill fill, bool bf16, uint64_t seed) {
    uint64_t state = seed * 0x9E3779B97F4A7C15ULL + 1;
    for (int i = 0; i < count; i++)
        words[i] = fill == FILL_FLOATS    ? any_float(&state)
                   : fill == FILL_INTEGER ? small_pair(&state, bf16, true)
                   : fill == FILL_FINITE  ? small_pair(&state, bf16, false)
                                          : (uint32_t)next_random(&state);
}

/* ---- running ---- */

/* What to run, made up from the tables. */
struct launch {
    struct wrapper w;
    char option[32]; /* "" if none */
};

static void launch_of(const struct gpu_case *c, struct launch *out) {
    memset(out, 0, sizeof *out);
    if (c->variant == 0) {
        out->w = wrappers[c->number];
        return;
    }
    const int n = c->variant;
    out->w = (struct wrapper){"compare_wgmma.cu",
                              wgmma_kernels[c->number],
                              90,
                              128,
                              1,
                              n * 32 + 16 * 128 + n / 2 * 128,
                              n * 128,
                              FILL_RANDOM,
                              JUDGE_WORDS,
                              false};
    snprintf(out->option, sizeof out->option, "-DTOKENS=%d", n);
}

static enum mt_status wrapper_compile(const struct gpu_case *c, const struct device *dev, struct image *out) {
    struct launch launch;
    char arch[16];
    launch_of(c, &launch);
    device_arch(dev, arch);
    const char *const options[] = {launch.option};
    const struct compile_request request = {launch.w.file, options, *launch.option != 0, arch};
    return compile_kernel(&request, out);
}

static enum mt_status encode_map(struct device *dev, enum map which, CUdeviceptr base, CUtensorMap *map) {
    const bool out = which == MAP_OUT;
    const cuuint64_t size[] = {out ? 100 : 384, 37}, stride[] = {out ? 256 : 384};
    const cuuint32_t box[] = {out ? 64 : 128, 24}, step[] = {1, 1};
    return device_check(
        dev,
        dev->drv.TensorMapEncodeTiled(map, out ? CU_TENSOR_MAP_DATA_TYPE_UINT16 : CU_TENSOR_MAP_DATA_TYPE_UINT8, 2,
                                      memory_pointer(base), size, stride, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE,
                                      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                                      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
        "cuTensorMapEncodeTiled");
}

static enum mt_status launch_run(struct device *dev, CUfunction function, const struct wrapper *w, CUdeviceptr in,
                                 CUdeviceptr out) {
    CUtensorMap map;
    void *params[] = {&in, &out, &map}; /* a kernel without a map reads the first two */
    enum mt_status status = w->map ? encode_map(dev, w->map, w->map == MAP_OUT ? out : in, &map) : MT_OK;
    if (!status)
        status = device_check(
            dev,
            dev->drv.LaunchKernel(function, (unsigned)w->ctas, 1, 1, (unsigned)w->threads, 1, 1, 0, NULL, params, NULL),
            "cuLaunchKernel");
    return status ? status : device_check(dev, dev->drv.CtxSynchronize(), "running the kernel");
}

static enum mt_status run_on(struct device *dev, const struct gpu_case *c, const struct launch *launch,
                             struct image *image, CUmodule *module, struct memory *memory, struct answer *out) {
    const struct wrapper *w = &launch->w;
    const size_t in_bytes = (size_t)w->in_words * 4, out_bytes = (size_t)w->out_words * 4;
    CUfunction function;
    CUdeviceptr in_device, out_device;
    uint32_t *words = xmalloc(in_bytes + out_bytes), *result = words + w->in_words;
    enum mt_status status;
    fill_words(words, w->in_words, w->fill, !strcmp(w->kernel, "mma_bf16"), (uint64_t)c->number + 1);
    if ((status = wrapper_compile(c, dev, image)) ||
        (status = device_check(dev, dev->drv.ModuleLoadData(module, image->data), "cuModuleLoadData")) ||
        (status = device_check(dev, dev->drv.ModuleGetFunction(&function, *module, w->kernel), w->kernel)) ||
        (status = memory_upload(memory, dev, words, in_bytes, &in_device)) ||
        (status = memory_alloc(memory, dev, out_bytes, &out_device)) ||
        (status = device_check(dev, dev->drv.MemsetD8(out_device, 0xa5, out_bytes), "cuMemsetD8")) ||
        (status = launch_run(dev, function, w, in_device, out_device)) ||
        (status = device_check(dev, dev->drv.MemcpyDtoH(result, out_device, out_bytes), "cuMemcpyDtoH")))
        goto out;
    str_append_bytes(&out->data, result, out_bytes);
out:
    free(words);
    return status;
}

static void wrapper_run(const struct gpu_case *c, struct device *dev, struct answer *out) {
    struct launch launch;
    struct image image = {0};
    struct memory memory = {0};
    CUmodule module = NULL;
    launch_of(c, &launch);
    answer_status(out, dev, run_on(dev, c, &launch, &image, &module, &memory, out), "");
    memory_release(&memory, dev);
    if (module)
        dev->drv.ModuleUnload(module);
    image_release(&image);
}

void wrapper_cases(struct case_list *list) {
    struct gpu_case c = {.run = wrapper_run, .compile = wrapper_compile};
    for (int i = 0; i < WRAPPERS; i++) {
        const struct wrapper *w = &wrappers[i];
        c.judge = w->judge, c.cc = w->cc, c.number = i;
        c.kernel = w->kernel, c.file = w->file;
        c.compile = i && !strcmp(w->file, wrappers[i - 1].file) ? NULL : wrapper_compile; /* once a file */
        case_add(list, &c, "%s%s", w->kernel,
                 w->fill == FILL_INTEGER  ? ", sums that are exact"
                 : w->fill == FILL_FINITE ? ", sums within their rounding"
                                          : "");
    }
    c.judge = JUDGE_WORDS, c.cc = 90, c.file = "compare_wgmma.cu";
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
        for (int kernel = 0; kernel < 3 && (kernel < 2 || tokens[i] <= GROUPS_MOST); kernel++) {
            c.number = kernel, c.variant = tokens[i], c.kernel = wgmma_kernels[kernel];
            c.compile = kernel ? NULL : wrapper_compile;
            case_add(list, &c, "%s, %d tokens", c.kernel, c.variant);
        }
}
