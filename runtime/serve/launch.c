/* The public interface: what a launch is given, and launching. Everything that can be told to be wrong is told before
 * the launch, for a fault of a kernel leaves the whole CUDA context without use. */
#include "runtime/family/plan.h"
#include "sized.h"
#include "table.h"
#include "templates/gemm_args.h"
#include <string.h>

/* Every index of a launch is an int, with room for padding: as problem_check() has it. */
#define MOST_TOKENS (1 << 24)

#define LAUNCH_FLAGS ((unsigned)MT_PROGRAMMATIC)

/* ---- shapes and workspaces ---- */

static size_t slot_partials_at(const struct slot *slot, int m) {
    struct launch_shape shape;
    launch_plan_at(&slot->plan, m, &shape);
    return shape.partials_bytes;
}

/* The most room for partial sums that a slot needs at any M in from .. to. With split-K it grows with M until the
 * counters have no room any more, from where on it is 0; with stream-K it is the same at every M. */
static size_t slot_partials(const struct slot *slot, int from, int to) {
    size_t most = slot_partials_at(slot, to);
    int low = from, high = most ? from : to; /* the first M that needs none is in low .. high */
    while (low < high) {
        int middle = low + (high - low) / 2;
        size_t partials = slot_partials_at(slot, middle);
        if (partials > most)
            most = partials;
        if (partials)
            low = middle + 1;
        else
            high = middle;
    }
    return most;
}

/* Of all that may serve an interval, whichever does. At a tuned M its own slot does. */
static size_t interval_partials(const struct mt_layer *layer, int i, int m_max) {
    const int end = i < layer->tuned_count ? layer_interval(layer, i + 1) - 1 : m_max, last = end < m_max ? end : m_max;
    int first = layer_interval(layer, i);
    size_t most = layer_keeps(layer, i, first) ? slot_partials_at(&layer->slots[i - 1], first++) : 0;
    for (int r = layer->first_rival[i]; first <= last && r < layer->first_rival[i + 1]; r++) {
        const size_t partials = slot_partials(&layer->slots[layer->rivals[r].slot], first, last);
        most = partials > most ? partials : most;
    }
    return most;
}

size_t mt_workspace_bytes(const struct mt_table *table, const struct mt_layer *layer, int m_max) {
    size_t most = 0;
    (void)table;
    m_max = m_max < MOST_TOKENS ? m_max : MOST_TOKENS;
    for (int i = 0; i <= layer->tuned_count && layer_interval(layer, i) <= m_max; i++) {
        const size_t partials = interval_partials(layer, i, m_max);
        most = partials > most ? partials : most;
    }
    return most ? COUNTERS_BYTES + most : 0;
}

/* ---- operands ---- */

/* Each check is a comparison or two here, and a sentence elsewhere: a launch makes a dozen of them. */
#define LIKELY(condition) __builtin_expect(condition, 1)

__attribute__((cold)) static enum mt_status address_refuse(const char *function, const char *what, CUdeviceptr at,
                                                           unsigned align) {
    return at ? fail(MT_USAGE, "%s: the address of %s is 0x%llx; it must be a multiple of %u bytes", function, what,
                     (unsigned long long)at, align)
              : fail(MT_USAGE, "%s: the address of %s is null", function, what);
}

static enum mt_status loaded_check(const char *function, const struct mt_layer *layer) {
    return LIKELY(layer_is_loaded(layer))
               ? MT_OK
               : fail(MT_USAGE,
                      "%s: the kernels of layer %s are not loaded; call mt_table_load() once before "
                      "its first launch",
                      function, layer->info.name);
}

/* An address that a caller hands in: of "x", "the activations' codes"; `align` bytes are what a kernel reads or writes
 * there at a time; an optional one may be null. */
static inline enum mt_status address_check(const char *function, const char *what, CUdeviceptr at, unsigned align,
                                           bool optional) {
    return LIKELY((at || optional) && at % align == 0) ? MT_OK : address_refuse(function, what, at, align);
}

__attribute__((cold)) static enum mt_status tokens_refuse(const char *function, const struct mt_layer *layer, int m,
                                                          const char *name, int pitch, int features) {
    struct problem p = layer->problem;
    if (m < 0 || m > MOST_TOKENS || pitch < features)
        return fail(MT_USAGE, "%s: m is %d and %s %d; they must be 0 to %d, and at least %d", function, m, name, pitch,
                    MOST_TOKENS, features);
    p.m = m;
    problem_check(&p);
    return fail_context(MT_USAGE, "%s", function);
}

/* `pitch`: elements from one token to the next, at least `features`. */
static inline enum mt_status tokens_check(const char *function, const struct mt_layer *layer, int m, const char *name,
                                          int pitch, int features) {
    return LIKELY(m >= 0 && m <= layer->most_tokens && pitch >= features)
               ? MT_OK
               : tokens_refuse(function, layer, m, name, pitch, features);
}

static inline enum mt_status activations_check(const char *function, const struct mt_activations *x) {
    enum mt_status status = address_check(function, "the activations' codes", x->codes, 16, false);
    if (status == MT_OK)
        status = address_check(function, "the activations' scales", x->scales, 4, false);
    return status == MT_OK ? address_check(function, "the activations' sums", x->sums, 4, false) : status;
}

static const char gemm_launch[] = "mt_gemm_launch", quantize_launch[] = "mt_quantize_launch";

static enum mt_status weights_check_8(const struct mt_weights *w, bool mixed) {
    enum mt_status status = address_check(gemm_launch, "the 8-bit weights", w->weights[MT_W8], 16, false);
    if (status == MT_OK)
        status = address_check(gemm_launch, "the scales of the 8-bit weights", w->scales[MT_W8], 16, false);
    return status == MT_OK
               ? address_check(gemm_launch, "the columns of the 8-bit weights", w->columns[MT_W8], 4, !mixed)
               : status;
}

static enum mt_status weights_check_4(const struct mt_weights *w, bool mixed, bool zeros) {
    enum mt_status status = address_check(gemm_launch, "the 4-bit weights", w->weights[MT_W4], 16, false);
    if (status == MT_OK)
        status = address_check(gemm_launch, "the scales of the 4-bit weights", w->scales[MT_W4], 16, false);
    if (status == MT_OK)
        status = address_check(gemm_launch, "the zero points of the 4-bit weights", w->zeros[MT_W4], 16, !zeros);
    return status == MT_OK
               ? address_check(gemm_launch, "the columns of the 4-bit weights", w->columns[MT_W4], 4, !mixed)
               : status;
}

static enum mt_status weights_check(const struct mt_layer *layer, const struct mt_weights *w) {
    const int *rows = layer->rows;
    if (w->layout != MT_LAYOUT)
        return fail(MT_USAGE, "%s: the weights have layout %d, and the kernels read layout %d: repack them",
                    gemm_launch, w->layout, MT_LAYOUT);
    if (memcmp(w->rows, rows, sizeof w->rows) != 0)
        return fail(MT_USAGE,
                    "%s: the layer has %d 8-bit and %d 4-bit features, and the weights %d and %d: they were packed for "
                    "another layer",
                    gemm_launch, rows[MT_W8], rows[MT_W4], w->rows[MT_W8], w->rows[MT_W4]);
    enum mt_status status = rows[MT_W8] ? weights_check_8(w, rows[MT_W4] > 0) : MT_OK;
    return status == MT_OK && rows[MT_W4] ? weights_check_4(w, rows[MT_W8] > 0, !layer->problem.symmetric) : status;
}

static enum mt_status operands_check(const struct mt_layer *layer, const struct mt_gemm_operands *o) {
    enum mt_status status = tokens_check(gemm_launch, layer, o->m, "ldy", o->ldy, layer->problem.n);
    if (status == MT_OK)
        status = address_check(gemm_launch, "y", o->y, 2, false);
    return status == MT_OK ? address_check(gemm_launch, "the bias", o->bias, 2, true) : status;
}

static enum mt_status work_check(const struct mt_gemm_operands *o, const struct launch_shape *shape) {
    const size_t needed = COUNTERS_BYTES + shape->partials_bytes;
    if (shape->partials_bytes == 0)
        return MT_OK;
    if (!o->workspace || o->workspace_bytes < needed)
        return fail(MT_USAGE, "%s: the workspace has %zu bytes; %zu are needed at m = %d", gemm_launch,
                    o->workspace_bytes, needed, o->m);
    return address_check(gemm_launch, "the workspace", o->workspace, 256, true);
}

/* Operands as this library has them: the caller's, or copies. */
struct operands {
    struct mt_gemm_operands gemm;
    struct mt_weights weights;
    struct mt_activations x;
};

/* ---- launches ---- */

static void part_set(struct mt_gemm_part *part, const struct mt_layer *layer, const struct mt_weights *weights,
                     int width) {
    part->weights = (const void *)weights->weights[width];
    part->scales = (const void *)weights->scales[width];
    part->zeros = (const unsigned char *)weights->zeros[width];
    part->columns = (const int *)weights->columns[width];
    part->rows = layer->rows[width];
    part->padded_rows = layer->padded_rows[width];
}

/* Member by member: an initialiser would clear and copy the whole, tensor maps and all. */
static void args_set(struct mt_gemm_args *args, const struct mt_layer *layer, const struct mt_gemm_operands *o,
                     const struct mt_weights *weights, const struct mt_activations *x) {
    part_set(&args->part[MT_PART_W8], layer, weights, MT_W8);
    part_set(&args->part[MT_PART_W4], layer, weights, MT_W4);
    args->x = (const signed char *)x->codes;
    args->x_scales = (const float *)x->scales;
    args->x_sums = (const int *)x->sums;
    args->y = (void *)o->y;
    args->bias = (const void *)o->bias;
    args->m = o->m;
    args->n = layer->problem.n;
    args->k_padded = layer->info.k_padded;
    args->groups = layer->info.groups;
    args->ldy = o->ldy;
}

static enum mt_status gemm_launch_checked(const struct mt_table *table, const struct mt_layer *layer,
                                          const struct mt_gemm_operands *o, const struct mt_weights *weights,
                                          const struct mt_activations *x, CUstream stream) {
    const struct slot *slot = &layer->slots[layer_launch_slot(layer, o->m)];
    struct launch_shape shape;
    launch_plan_at(&slot->plan, o->m, &shape);
    /* With so many tiles K is not split: they fill the GPU. But then rows would add up otherwise. */
    if (table->flags & MT_BATCH_INVARIANT && shape.split_k != slot->plan.every.split_k)
        return fail(MT_USAGE,
                    "mt_gemm_launch: batch-invariant sums of %d tokens need more counters than a workspace has room "
                    "for: launch fewer tokens at a time, whose bits are the same",
                    o->m);
    enum mt_status status = work_check(o, &shape);
    if (status != MT_OK)
        return status;
    struct mt_gemm_args args;
    args_set(&args, layer, o, weights, x);
    args.partials = shape.partials_bytes ? (float *)(o->workspace + COUNTERS_BYTES) : NULL;
    args.counters = shape.partials_bytes ? (unsigned *)o->workspace : NULL;
    return launch_gemm_as(&table->dev, &slot->kernel, &shape, &args, stream);
}

enum mt_status mt_gemm_launch(const struct mt_table *table, const struct mt_layer *layer,
                              const struct mt_gemm_operands *given, CUstream stream) {
    struct operands own;
    enum mt_status status = GIVEN("table layer", table, layer);
    if (status != MT_OK)
        return status;
    const struct mt_gemm_operands *o = sized_view(&own.gemm, sizeof own.gemm, given, "mt_gemm_operands");
    if (!o)
        return MT_USAGE;
    if (o->flags & ~LAUNCH_FLAGS)
        return fail(MT_USAGE, "%s: this library does not know the flags 0x%x", gemm_launch, o->flags & ~LAUNCH_FLAGS);
    if (o->m == 0)
        return fail_settled(MT_OK);
    status = loaded_check(gemm_launch, layer);
    if (status == MT_OK)
        status = operands_check(layer, o);
    if (status != MT_OK)
        return status;
    const struct mt_activations *x = sized_view(&own.x, sizeof own.x, o->x, "mt_activations");
    if (!x)
        return MT_USAGE;
    status = activations_check(gemm_launch, x);
    if (status != MT_OK)
        return status;
    const struct mt_weights *weights = sized_view(&own.weights, sizeof own.weights, o->weights, "mt_weights");
    if (!weights)
        return MT_USAGE;
    status = weights_check(layer, weights);
    return status == MT_OK ? fail_settled(gemm_launch_checked(table, layer, o, weights, x, stream)) : status;
}

enum mt_status mt_quantize_launch(const struct mt_table *table, const struct mt_layer *layer,
                                  const struct mt_quantize_operands *given, CUstream stream) {
    struct mt_quantize_operands own;
    struct mt_activations own_out;
    enum mt_status status = GIVEN("table layer", table, layer);
    if (status != MT_OK)
        return status;
    const struct mt_quantize_operands *o = sized_view(&own, sizeof own, given, "mt_quantize_operands");
    if (!o)
        return MT_USAGE;
    if (o->m == 0)
        return fail_settled(MT_OK);
    status = tokens_check(quantize_launch, layer, o->m, "ldx", o->ldx, layer->problem.k);
    if (status == MT_OK)
        status = loaded_check(quantize_launch, layer);
    if (status == MT_OK)
        status = address_check(quantize_launch, "x", o->x, 2, false);
    if (status != MT_OK)
        return status;
    const struct mt_activations *out = sized_view(&own_out, sizeof own_out, o->out, "mt_activations");
    if (!out)
        return MT_USAGE;
    status = activations_check(quantize_launch, out);
    if (status != MT_OK)
        return status;
    const struct mt_quantize_args args = {.x = (const void *)o->x,
                                          .q = (signed char *)out->codes,
                                          .scales = (float *)out->scales,
                                          .sums = (int *)out->sums,
                                          .m = o->m,
                                          .k = layer->problem.k,
                                          .k_padded = layer->info.k_padded,
                                          .groups = layer->info.groups,
                                          .ldx = o->ldx};
    return fail_settled(launch_quantize(&table->dev, layer->quantize, &args, stream));
}
