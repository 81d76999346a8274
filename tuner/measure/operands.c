#include "operands.h"
#include "runtime/base/str.h"
#include "runtime/layer/half.h"
#include "runtime/layer/pack.h"
#include "runtime/layer/split.h"
#include <stdlib.h>
#include <string.h>

/* Inputs of one turn are used again only after this many times the L2 cache has been read. */
enum { L2_MULTIPLE = 3 };

/* What a buffer is filled with. */
enum content {
    RANDOM_BYTES,
    RANDOM_CODES, /* int8 without -128, which no quantisation of activations makes */
    RANDOM_F16,
    RANDOM_BF16,
    RANDOM_SCALE16,
    RANDOM_SCALE32,
    RANDOM_ZEROS,
    CONTENTS
};

enum { POOL_BYTES = 4 << 20 };
static unsigned char *pool[CONTENTS]; /* made when first used, kept: all operands share them */

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* One random 32-bit unit of a content: four bytes, two halves or one word. */
static uint32_t random_unit(enum content content, uint64_t *state) {
    uint64_t r = next_random(state);
    float a = (float)(r & 0xffff) / 65536.0f, b = (float)(r >> 16 & 0xffff) / 65536.0f;
    uint32_t word;
    switch (content) {
    case RANDOM_F16:
        return (uint32_t)half_from_float(2 * a - 1) | (uint32_t)half_from_float(2 * b - 1) << 16;
    case RANDOM_BF16:
        return (uint32_t)bf16_from_float(2 * a - 1) | (uint32_t)bf16_from_float(2 * b - 1) << 16;
    case RANDOM_SCALE16:
        return (uint32_t)half_from_float(0.002f + 0.01f * a) | (uint32_t)half_from_float(0.002f + 0.01f * b) << 16;
    case RANDOM_SCALE32:
        a = 0.002f + 0.01f * a;
        memcpy(&word, &a, sizeof word);
        return word;
    case RANDOM_CODES:
        word = (uint32_t)(r >> 32);
        for (int shift = 0; shift < 32; shift += 8)
            if ((word >> shift & 0xff) == 0x80)
                word ^= (uint32_t)1 << shift;
        return word;
    case RANDOM_ZEROS:
        return (uint32_t)r & 0x0f0f0f0f;
    default:
        return (uint32_t)(r >> 32);
    }
}

static const unsigned char *random_pool(enum content content) {
    if (!pool[content]) {
        pool[content] = xmalloc(POOL_BYTES);
        uint64_t state = 0x243F6A8885A308D3ULL + (uint64_t)content;
        for (size_t i = 0; i < POOL_BYTES; i += 4) {
            uint32_t unit = random_unit(content, &state);
            memcpy(pool[content] + i, &unit, 4);
        }
    }
    return pool[content];
}

/* `shift` starts elsewhere in the pool, so that sets differ. A software device keeps what fresh memory holds: it
 * estimates timed launches from what they do, which does not depend on the numbers, and gigabytes of them would take
 * longer than that. */
static enum mt_status fill(struct device *dev, CUdeviceptr address, size_t bytes, enum content content, size_t shift) {
    if (dev->software)
        return MT_OK;
    const unsigned char *source = random_pool(content);
    size_t from = shift * 65536 % POOL_BYTES;
    for (size_t done = 0; done < bytes;) {
        size_t piece = bytes - done < POOL_BYTES - from ? bytes - done : POOL_BYTES - from;
        enum mt_status status =
            device_check(dev, dev->drv.MemcpyHtoD(address + done, source + from, piece), "cuMemcpyHtoD");
        if (status)
            return status;
        done += piece;
        from = 0;
    }
    return MT_OK;
}

static enum mt_status alloc_copies(struct memory *memory, struct device *dev, struct copies *copies, int sets,
                                   size_t bytes) {
    enum mt_status status = MT_OK;
    for (int i = 0; i < sets && !status; i++)
        status = memory_alloc(memory, dev, bytes, &copies->set[i]);
    return status;
}

static enum mt_status random_copies(struct memory *memory, struct device *dev, struct copies *copies, int sets,
                                    size_t bytes, enum content content) {
    enum mt_status status = alloc_copies(memory, dev, copies, sets, bytes);
    for (int i = 0; i < sets && !status; i++)
        status = fill(dev, copies->set[i], bytes, content, (size_t)i);
    return status;
}

static void *copy_at(const struct copies *copies, int turn, int sets) {
    return memory_pointer(copies->set[turn % sets]);
}

/* ---- sizes ---- */

static int part_rows(const struct problem *p, int part) {
    return part == MT_PART_W8 ? p->rows8 : p->n - p->rows8;
}

static size_t weight_bytes(const struct operands *o) {
    const struct problem *p = &o->problem;
    if (!o->quantised)
        return (size_t)p->n * (size_t)o->ldw * 2;
    return split_bytes(p);
}

static size_t token_bytes(const struct operands *o) {
    const struct problem *p = &o->problem;
    size_t m = (size_t)p->m, y = m * (size_t)p->n * 2;
    return o->quantised ? m * ((size_t)problem_k_padded(p) + (size_t)problem_groups(p) * 8) + y
                        : m * (size_t)o->ldw * 2 + y;
}

size_t operands_traffic(const struct operands *o) {
    return weight_bytes(o) + token_bytes(o);
}

/* Sets that read past the cache `L2_MULTIPLE` times, within an eighth of the device's memory. A software device
 * computes the time of a cold cache whatever ran before: one set says it all. */
static int sets_for(const struct device *dev, size_t bytes_per_turn, size_t bytes_per_set) {
    if (dev->software)
        return 1;
    size_t wanted = (size_t)L2_MULTIPLE * (size_t)dev->l2_bytes / (bytes_per_turn + 1) + 2;
    size_t possible = dev->memory_bytes / 8 / (bytes_per_set + 1) + 1;
    size_t sets = wanted < possible ? wanted : possible;
    return sets > OPERAND_SETS ? OPERAND_SETS : (int)sets;
}

/* ---- weights ---- */

/* Which output column each row of a mixed layer is: the 8-bit ones spread evenly. Uniform layers have none. */
static enum mt_status upload_columns(struct operands *o, int part) {
    const struct problem *p = &o->problem;
    int count = 0;
    if (p->rows8 == 0 || p->rows8 == p->n)
        return MT_OK;
    int *columns = xmalloc((size_t)p->n * sizeof *columns);
    for (int n = 0; n < p->n; n++) {
        bool is8 = (long)(n + 1) * p->rows8 / p->n > (long)n * p->rows8 / p->n;
        if (is8 == (part == MT_PART_W8))
            columns[count++] = n;
    }
    enum mt_status status =
        memory_upload(&o->weight_memory, o->dev, columns, (size_t)count * sizeof *columns, &o->columns[part]);
    free(columns);
    return status;
}

static enum mt_status init_part(struct operands *o, int part) {
    const struct problem *p = &o->problem;
    int rows = pack_padded(part_rows(p, part));
    size_t per_group = (size_t)rows * (size_t)problem_groups(p);
    enum mt_status status;
    if (rows == 0)
        return MT_OK;
    if ((status = random_copies(&o->weight_memory, o->dev, &o->weights[part], o->weight_sets,
                                packed_bytes(part == MT_PART_W8 ? 8 : 4, rows, problem_k_padded(p)), RANDOM_BYTES)) ||
        (status =
             random_copies(&o->weight_memory, o->dev, &o->scales[part], o->weight_sets, per_group * 2, RANDOM_SCALE16)))
        return status;
    if (part == MT_PART_W4 && problem_has_zeros(p) &&
        (status = random_copies(&o->weight_memory, o->dev, &o->zeros, o->weight_sets, per_group, RANDOM_ZEROS)))
        return status;
    return upload_columns(o, part);
}

int row_length(const struct problem *p) {
    return (p->k + 7) / 8 * 8;
}

enum mt_status operands_init(struct operands *o, struct device *dev, const struct problem *p, bool quantised) {
    *o = (struct operands){.dev = dev, .problem = *p, .quantised = quantised, .ldw = row_length(p)};
    o->weight_sets = sets_for(dev, weight_bytes(o), weight_bytes(o));
    if (quantised) {
        enum mt_status status = init_part(o, MT_PART_W8);
        return status ? status : init_part(o, MT_PART_W4);
    }
    return random_copies(&o->weight_memory, dev, &o->weights[0], o->weight_sets, weight_bytes(o),
                         p->dtype == DTYPE_BF16 ? RANDOM_BF16 : RANDOM_F16);
}

/* ---- tokens and workspace ---- */

/* Codes of one set and the sums that belong to them: kernels that use the sums and kernels that do not must agree. */
static void random_tokens(const struct problem *p, int set, int8_t *q, int32_t *sums) {
    const int8_t *codes = (const int8_t *)random_pool(RANDOM_CODES);
    size_t k = (size_t)p->k, k_padded = (size_t)problem_k_padded(p), group = (size_t)p->group;
    for (size_t m = 0; m < (size_t)p->m; m++) {
        int8_t *row = q + m * k_padded;
        for (size_t done = 0, at = ((size_t)set * 65536 + m * k) % POOL_BYTES; done < k; at = 0) {
            size_t piece = k - done < POOL_BYTES - at ? k - done : POOL_BYTES - at;
            memcpy(row + done, codes + at, piece);
            done += piece;
        }
        memset(row + k, 0, k_padded - k);
        for (size_t g = 0; g * group < k_padded; g++) {
            size_t end = (g + 1) * group < k_padded ? (g + 1) * group : k_padded;
            int32_t sum = 0;
            for (size_t i = g * group; i < end; i++)
                sum += row[i];
            sums[g * (size_t)p->m + m] = sum;
        }
    }
}

static enum mt_status fill_tokens(struct operands *o) {
    const struct problem *p = &o->problem;
    struct device *dev = o->dev;
    size_t codes = (size_t)p->m * (size_t)problem_k_padded(p);
    size_t sums_bytes = (size_t)p->m * (size_t)problem_groups(p) * sizeof(int32_t);
    enum mt_status status = alloc_copies(&o->token_memory, dev, &o->x, o->token_sets, codes);
    if (!status)
        status = alloc_copies(&o->token_memory, dev, &o->x_sums, o->token_sets, sums_bytes);
    if (status || dev->software) /* as fill() does */
        return status;
    int8_t *q = xmalloc(codes);
    int32_t *sums = xmalloc(sums_bytes);
    for (int set = 0; set < o->token_sets && !status; set++) {
        random_tokens(p, set, q, sums);
        if (!(status = device_check(dev, dev->drv.MemcpyHtoD(o->x.set[set], q, codes), "cuMemcpyHtoD")))
            status = device_check(dev, dev->drv.MemcpyHtoD(o->x_sums.set[set], sums, sums_bytes), "cuMemcpyHtoD");
    }
    free(q);
    free(sums);
    return status;
}

enum mt_status operands_set_tokens(struct operands *o, int m) {
    struct problem *p = &o->problem;
    memory_release(&o->token_memory, o->dev);
    p->m = m;
    int sets = sets_for(o->dev, operands_traffic(o), token_bytes(o));
    o->token_sets = sets < o->weight_sets ? sets : o->weight_sets;
    size_t per_group = (size_t)m * (size_t)problem_groups(p);
    enum mt_status status = alloc_copies(&o->token_memory, o->dev, &o->y, o->token_sets, (size_t)m * (size_t)p->n * 2);
    if (status)
        return status;
    if (!o->quantised)
        return random_copies(&o->token_memory, o->dev, &o->x, o->token_sets, (size_t)m * (size_t)o->ldw * 2,
                             p->dtype == DTYPE_BF16 ? RANDOM_BF16 : RANDOM_F16);
    if ((status = random_copies(&o->token_memory, o->dev, &o->x_scales, o->token_sets, per_group * 4, RANDOM_SCALE32)))
        return status;
    return fill_tokens(o);
}

enum mt_status operands_reserve(struct operands *o, const struct launch_shape *shape) {
    if (shape->partials_bytes == o->partials_bytes && shape->counters_bytes == o->counters_bytes)
        return MT_OK;
    memory_release(&o->work_memory, o->dev);
    o->partials = o->counters = 0;
    o->partials_bytes = o->counters_bytes = 0;
    if (shape->counters_bytes == 0)
        return MT_OK;
    enum mt_status status;
    if ((status = memory_alloc(&o->work_memory, o->dev, shape->partials_bytes, &o->partials)) ||
        (status = memory_alloc(&o->work_memory, o->dev, shape->counters_bytes, &o->counters)) ||
        (status = device_check(o->dev, o->dev->drv.MemsetD8(o->counters, 0, shape->counters_bytes), "cuMemsetD8")))
        return status;
    o->partials_bytes = shape->partials_bytes;
    o->counters_bytes = shape->counters_bytes;
    return MT_OK;
}

void operands_release(struct operands *o) {
    if (!o->dev)
        return;
    memory_release(&o->weight_memory, o->dev);
    memory_release(&o->token_memory, o->dev);
    memory_release(&o->work_memory, o->dev);
    *o = (struct operands){0};
}

/* ---- launch arguments ---- */

int operands_rotation(const struct operands *o) {
    return o->weight_sets;
}

void operands_gemm_args(const struct operands *o, int turn, int tokens, struct mt_gemm_args *out) {
    const struct problem *p = &o->problem;
    *out = (struct mt_gemm_args){
        .x = copy_at(&o->x, tokens, o->token_sets),
        .x_scales = copy_at(&o->x_scales, tokens, o->token_sets),
        .x_sums = copy_at(&o->x_sums, tokens, o->token_sets),
        .y = copy_at(&o->y, tokens, o->token_sets),
        .partials = memory_pointer(o->partials),
        .counters = memory_pointer(o->counters),
        .m = p->m,
        .n = p->n,
        .k_padded = problem_k_padded(p),
        .groups = problem_groups(p),
        .ldy = p->n,
        .split_k = 1,
        .raster = 1,
    };
    for (int part = 0; part < MT_PARTS; part++)
        out->part[part] = (struct mt_gemm_part){
            .weights = copy_at(&o->weights[part], turn, o->weight_sets),
            .scales = copy_at(&o->scales[part], turn, o->weight_sets),
            .zeros =
                part == MT_PART_W4 && problem_has_zeros(&o->problem) ? copy_at(&o->zeros, turn, o->weight_sets) : NULL,
            .columns = memory_pointer(o->columns[part]),
            .rows = part_rows(p, part),
            .padded_rows = pack_padded(part_rows(p, part)),
        };
}

void operands_f16_args(const struct operands *o, int turn, int tokens, struct mt_gemm_f16_args *out) {
    const struct problem *p = &o->problem;
    *out = (struct mt_gemm_f16_args){
        .x = copy_at(&o->x, tokens, o->token_sets),
        .w = copy_at(&o->weights[0], turn, o->weight_sets),
        .y = copy_at(&o->y, tokens, o->token_sets),
        .partials = memory_pointer(o->partials),
        .counters = memory_pointer(o->counters),
        .m = p->m,
        .n = p->n,
        .k = p->k,
        .ldx = o->ldw,
        .ldw = o->ldw,
        .ldy = p->n,
        .split_k = 1,
        .raster = 1,
    };
}

size_t quantize_operands_traffic(const struct problem *p) {
    return (size_t)p->m * ((size_t)p->k * 2 + (size_t)problem_k_padded(p) + (size_t)problem_groups(p) * 8);
}

enum mt_status quantize_operands_init(struct quantize_operands *o, struct device *dev, const struct problem *p) {
    const size_t m = (size_t)p->m, in = m * (size_t)row_length(p) * 2, out = m * (size_t)problem_k_padded(p);
    const size_t sides = m * (size_t)problem_groups(p) * 4, all = quantize_operands_traffic(p);
    enum mt_status status;
    *o = (struct quantize_operands){.dev = dev, .problem = *p, .sets = sets_for(dev, all, all)};
    if ((status =
             random_copies(&o->memory, dev, &o->x, o->sets, in, p->dtype == DTYPE_BF16 ? RANDOM_BF16 : RANDOM_F16)) ||
        (status = alloc_copies(&o->memory, dev, &o->q, o->sets, out)) ||
        (status = alloc_copies(&o->memory, dev, &o->scales, o->sets, sides)))
        return status;
    return alloc_copies(&o->memory, dev, &o->sums, o->sets, sides);
}

void quantize_operands_args(const struct quantize_operands *o, int turn, struct mt_quantize_args *out) {
    const struct problem *p = &o->problem;
    *out = (struct mt_quantize_args){
        .x = copy_at(&o->x, turn, o->sets),
        .q = copy_at(&o->q, turn, o->sets),
        .scales = copy_at(&o->scales, turn, o->sets),
        .sums = copy_at(&o->sums, turn, o->sets),
        .m = p->m,
        .k = p->k,
        .k_padded = problem_k_padded(p),
        .groups = problem_groups(p),
        .ldx = row_length(p),
    };
}

void quantize_operands_release(struct quantize_operands *o) {
    memory_release(&o->memory, o->dev);
}
