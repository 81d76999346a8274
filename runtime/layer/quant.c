#include "quant.h"
#include "half.h"
#include "pack.h"
#include "round.h"
#include "runtime/base/memory.h"
#include "runtime/base/parallel.h"
#include "templates/gemm_args.h"
#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_BYTES ((size_t)4 << 20) /* below, an array need not hold a huge page */

/* ---- layers ---- */

struct layer_work {
    struct quant_layer *layer;
    struct quant_part *part;
    int part_index;
    const float *w;                  /* what rows_quantize() reads */
    const struct quant_codes *codes; /* what rows_import() reads */
    bool symmetric;
    uint64_t seed;   /* what rows_random() draws from */
    atomic_long bad; /* index in [n][k] of a weight that cannot be used, or -1 */
};

static int part_column(const struct quant_part *part, int row) {
    return part->columns ? part->columns[row] : row;
}

static struct round_shape shape_of(const struct quant_layer *layer) {
    return (struct round_shape){layer->k, layer->k_padded, layer->group, false};
}

static struct round_codes row_codes(const struct layer_work *work, int row) {
    const struct quant_part *part = work->part;
    return (struct round_codes){.q = part->q + (size_t)row * (size_t)work->layer->k_padded,
                                .scales = part->scales + row,
                                .zeros = part->zeros ? part->zeros + row : NULL,
                                .stride = (size_t)part->padded_rows};
}

static void rows_quantize(void *context, int begin, int end) {
    struct layer_work *work = context;
    const struct round_shape shape = shape_of(work->layer);
    for (int row = begin; row < end; row++) {
        const size_t offset = (size_t)part_column(work->part, row) * (size_t)shape.k;
        struct round_codes out[MT_PARTS] = {{0}};
        out[work->part_index] = row_codes(work, row);
        const int bad = round_row(&shape, work->w + offset, out);
        if (bad >= 0)
            atomic_store(&work->bad, (long)(offset + (size_t)bad));
    }
}

static void rows_import(void *context, int begin, int end) {
    struct layer_work *work = context;
    const struct round_shape shape = shape_of(work->layer);
    const struct quant_codes *codes = work->codes;
    for (int row = begin; row < end; row++) {
        const int column = part_column(work->part, row);
        const struct round_given given = {codes->q + (size_t)column * (size_t)shape.k, codes->scales + column,
                                          codes->zeros ? codes->zeros + column : NULL, (size_t)work->layer->n};
        const struct round_codes out = row_codes(work, row);
        const int bad = round_import(&shape, work->part_index, &given, &out);
        if (bad >= 0)
            atomic_store(&work->bad, (long)column * shape.k + bad / shape.group * shape.group);
    }
}

/* xoshiro256++ by Blackman and Vigna (public domain algorithm), seeded by splitmix64. */
struct random {
    uint64_t s[4];
};

static void random_init(struct random *r, uint64_t seed) {
    for (int i = 0; i < 4; i++) {
        uint64_t x = seed += 0x9e3779b97f4a7c15u;
        x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
        x = (x ^ x >> 27) * 0x94d049bb133111ebu;
        r->s[i] = x ^ x >> 31;
    }
}

static uint64_t rotate(uint64_t x, int by) {
    return x << by | x >> (64 - by);
}

static uint64_t random_next(struct random *r) {
    uint64_t *s = r->s, result = rotate(s[0] + s[3], 23) + s[0], t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

/* Eight codes of a part from eight random bytes: 4-bit takes 0..15, 8-bit -128..127. */
static void codes_random(int bits, uint64_t r, int8_t q[8]) {
    r = bits == 4 ? r & 0x0f0f0f0f0f0f0f0fu : r;
    memcpy(q, &r, 8);
}

/* Every row has a generator of its own, so the numbers do not depend on how rows are spread over threads. */
static void rows_random(void *context, int begin, int end) {
    struct layer_work *work = context;
    struct quant_layer *layer = work->layer;
    struct quant_part *part = work->part;
    const struct round_shape shape = shape_of(layer);
    const int last = (layer->k - 1) / layer->group;
    for (int row = begin; row < end; row++) {
        struct random r;
        random_init(&r, work->seed ^ ((uint64_t)work->part_index << 60 | (uint64_t)row << 24));
        int8_t *q = part->q + (size_t)row * (size_t)layer->k_padded;
        for (int k = 0; k < layer->k_padded; k += 8)
            codes_random(part->bits, random_next(&r), q + k);
        memset(q + layer->k, 0, (size_t)(layer->k_padded - layer->k));
        for (int g = 0; g * layer->group < layer->k; g++) {
            uint64_t bits = random_next(&r);
            size_t at = (size_t)g * (size_t)part->padded_rows + (size_t)row;
            /* 2^-9 .. 2^-6, every mantissa. */
            part->scales[at] = (uint16_t)((15 - 9 + (bits >> 32) % 3) << 10 | (bits & 0x3ff));
            if (part->zeros)
                part->zeros[at] = (uint8_t)(bits >> 16 & 15);
        }
        round_pad(&shape, quant_zero(part, (size_t)last * (size_t)part->padded_rows + (size_t)row), q);
    }
}

void *quant_huge(void *array, size_t bytes) {
#ifdef MADV_HUGEPAGE
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), skipped = -(uintptr_t)array % page;
    if (array && bytes >= HUGE_BYTES)
        madvise((char *)array + skipped, (bytes - skipped) / page * page, MADV_HUGEPAGE);
#else
    (void)bytes;
#endif
    return array;
}

static bool part_init(struct quant_layer *layer, int index, int rows, bool zeros, bool codes) {
    const int bits = index == MT_PART_W8 ? 8 : 4;
    struct quant_part *part = &layer->part[index];
    part->bits = bits;
    part->rows = rows;
    part->padded_rows = pack_padded(rows);
    if (rows == 0)
        return true;
    if (codes)
        part->q = quant_huge(mem_zeroed((size_t)rows, (size_t)layer->k_padded), (size_t)rows * (size_t)layer->k_padded);
    part->scales = mem_zeroed((size_t)layer->groups * (size_t)part->padded_rows, sizeof *part->scales);
    if (zeros)
        part->zeros = mem_zeroed((size_t)layer->groups * (size_t)part->padded_rows, 1);
    const size_t bytes = packed_bytes(bits, part->padded_rows, layer->k_padded);
    part->packed = quant_huge(mem_alloc(bytes), bytes);
    if (rows < layer->n)
        part->columns = mem_alloc((size_t)rows * sizeof *part->columns);
    return (part->q || !codes) && part->scales && (part->zeros || !zeros) && part->packed &&
           (part->columns || rows == layer->n);
}

/* True if feature i of n is one of `rows` that are spread evenly. */
static int spread(int i, int rows, int n) {
    return (int64_t)(i + 1) * rows / n > (int64_t)i * rows / n;
}

enum mt_status quant_layer_shape(struct quant_layer *layer, const struct problem *p, const uint8_t *is8, bool codes) {
    *layer = (struct quant_layer){0};
    enum mt_status status = problem_check(p);
    if (status != MT_OK)
        return status;
    int next[MT_PARTS] = {0}, wide = 0;
    for (int i = 0; is8 && i < p->n; i++)
        wide += is8[i] != 0;
    if (is8 && wide != p->rows8)
        return fail(MT_USAGE, "%d of %d features are chosen to keep 8 bits, but the layer keeps %d of them", wide, p->n,
                    p->rows8);
    *layer = (struct quant_layer){
        .n = p->n, .k = p->k, .k_padded = problem_k_padded(p), .group = p->group, .groups = problem_groups(p)};
    if (!part_init(layer, MT_PART_W8, p->rows8, false, codes) ||
        !part_init(layer, MT_PART_W4, p->n - p->rows8, problem_has_zeros(p), codes)) {
        quant_layer_release(layer);
        return MT_FAILURE;
    }
    for (int i = 0; i < p->n; i++) {
        int index = (is8 ? is8[i] != 0 : spread(i, p->rows8, p->n)) ? MT_PART_W8 : MT_PART_W4;
        if (layer->part[index].columns)
            layer->part[index].columns[next[index]++] = i;
    }
    return MT_OK;
}

enum mt_status quant_weight_bad(long feature, long input) {
    return fail(MT_USAGE, "weight [%ld][%ld] is not a finite number and cannot be quantised", feature, input);
}

/* Fills the codes of both parts with `rows` and packs them. On failure the layer is released. */
static enum mt_status layer_fill(struct layer_work *work, void (*rows)(void *, int, int)) {
    struct quant_layer *layer = work->layer;
    enum mt_status status = MT_OK;
    atomic_store(&work->bad, -1);
    for (int i = 0; i < MT_PARTS && status == MT_OK; i++) {
        struct quant_part *part = &layer->part[i];
        work->part = part;
        work->part_index = i;
        parallel_for(part->rows, 16, rows, work);
        if (part->rows > 0)
            status =
                pack_weights(part->bits, part->rows, part->padded_rows, layer->k_padded, part->q, NULL, part->packed);
    }
    long bad = atomic_load(&work->bad);
    if (bad >= 0)
        status = work->codes
                     ? fail(MT_USAGE,
                            "a code, scale or zero point of feature %ld, from input %ld on, is out of its range (codes "
                            "0..15 or "
                            "-128..127, zero points %s, scales finite)",
                            bad / layer->k, bad % layer->k, work->symmetric ? "8 in a symmetric layer" : "0..15")
                     : quant_weight_bad(bad / layer->k, bad % layer->k);
    if (status != MT_OK)
        quant_layer_release(layer);
    return status;
}

enum mt_status quant_layer_init(struct quant_layer *layer, const struct problem *p, const float *w,
                                const uint8_t *is8) {
    struct layer_work work = {.layer = layer, .w = w};
    enum mt_status status = quant_layer_shape(layer, p, is8, true);
    return status == MT_OK ? layer_fill(&work, rows_quantize) : status;
}

enum mt_status quant_layer_import(struct quant_layer *layer, const struct problem *p, const struct quant_codes *codes,
                                  const uint8_t *is8) {
    struct layer_work work = {.layer = layer, .codes = codes, .symmetric = p->symmetric};
    enum mt_status status = quant_layer_shape(layer, p, is8, true);
    if (status == MT_OK && problem_has_zeros(p) && !codes->zeros) {
        quant_layer_release(layer);
        return fail(MT_USAGE, "4-bit features need zero points");
    }
    return status == MT_OK ? layer_fill(&work, rows_import) : status;
}

/* rows8 of the n features, each choice as likely as any other. NULL if memory is short. */
static uint8_t *choose_random(const struct problem *p, uint64_t seed) {
    uint8_t *is8 = mem_zeroed((size_t)p->n, 1);
    struct random r;
    random_init(&r, ~seed);
    for (int i = 0, left = p->rows8; is8 && i < p->n; i++) {
        is8[i] = random_next(&r) % (uint64_t)(p->n - i) < (uint64_t)left;
        left -= is8[i];
    }
    return is8;
}

enum mt_status quant_layer_random(struct quant_layer *layer, const struct problem *p, uint64_t seed) {
    struct layer_work work = {.layer = layer, .seed = seed};
    uint8_t *is8 = NULL;
    *layer = (struct quant_layer){0};
    enum mt_status status = problem_check(p);
    if (status == MT_OK && !(is8 = choose_random(p, seed)))
        status = MT_FAILURE;
    if (status == MT_OK)
        status = quant_layer_shape(layer, p, is8, true);
    free(is8);
    return status == MT_OK ? layer_fill(&work, rows_random) : status;
}

void quant_layer_release(struct quant_layer *layer) {
    for (int i = 0; i < MT_PARTS; i++) {
        struct quant_part *part = &layer->part[i];
        free(part->q);
        free(part->scales);
        free(part->zeros);
        free(part->columns);
        free(part->packed);
    }
    *layer = (struct quant_layer){0};
}

/* ---- activations ---- */

struct acts_work {
    struct quant_acts *acts;
    const uint16_t *x;
    enum dtype dtype;
    atomic_bool failed; /* memory was short */
};

static void acts_group(const float *x, int count, int8_t *q, float *scale, int32_t *sum) {
    float amax = 0;
    for (int i = 0; i < count; i++) {
        float a = fabsf(x[i]);
        amax = a > amax ? a : amax; /* false for NaN */
    }
    float s = amax / 127.0f;
    *sum = 0;
    *scale = s < FLT_MIN ? FLT_MIN : s;
    if (s < FLT_MIN)
        return; /* q is zero already */
    for (int i = 0; i < count; i++) {
        float v = x[i] / s;
        v = v == v ? v : 0;
        int code = round_even(clamp(v, -127, 127));
        q[i] = (int8_t)code;
        *sum += code;
    }
}

static void tokens_quantize(void *context, int begin, int end) {
    struct acts_work *work = context;
    struct quant_acts *acts = work->acts;
    float *x = mem_zeroed((size_t)acts->k_padded, sizeof *x);
    if (!x)
        atomic_store(&work->failed, true);
    for (int m = begin; x && m < end; m++) {
        for (int k = 0; k < acts->k; k++)
            x[k] = dtype_to_float(work->dtype, work->x[(size_t)m * (size_t)acts->k + (size_t)k]);
        for (int g = 0; g < acts->groups; g++) {
            int first = g * acts->group, left = acts->k_padded - first;
            size_t at = (size_t)g * (size_t)acts->m + (size_t)m;
            acts_group(x + first, left < acts->group ? left : acts->group,
                       acts->q + (size_t)m * (size_t)acts->k_padded + first, &acts->scales[at], &acts->sums[at]);
        }
    }
    free(x);
}

enum mt_status quant_acts_init(struct quant_acts *acts, const struct problem *p, const uint16_t *x) {
    *acts = (struct quant_acts){0};
    enum mt_status status = problem_check(p);
    if (status != MT_OK)
        return status;
    *acts = (struct quant_acts){
        .m = p->m, .k = p->k, .k_padded = problem_k_padded(p), .group = p->group, .groups = problem_groups(p)};
    acts->q = mem_zeroed((size_t)p->m, (size_t)acts->k_padded);
    acts->scales = mem_zeroed((size_t)acts->groups * (size_t)p->m, sizeof *acts->scales);
    acts->sums = mem_zeroed((size_t)acts->groups * (size_t)p->m, sizeof *acts->sums);
    struct acts_work work = {.acts = acts, .x = x, .dtype = p->dtype};
    work.failed = !acts->q || !acts->scales || !acts->sums;
    if (!work.failed)
        parallel_for(p->m, 1, tokens_quantize, &work);
    if (!work.failed)
        return MT_OK;
    quant_acts_release(acts);
    return memory_short((size_t)p->k * sizeof(float)); /* perhaps of another thread, whose sentence is not ours */
}

void quant_acts_release(struct quant_acts *acts) {
    free(acts->q);
    free(acts->scales);
    free(acts->sums);
    *acts = (struct quant_acts){0};
}
