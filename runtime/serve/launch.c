/* The public interface: what a launch is given, and launching. Everything that can be told to be wrong is told before
 * the launch, for a fault of a kernel leaves the whole CUDA context without use. */
#include "runtime/layer/pack.h"
#include "sized.h"
#include "table.h"
#include "templates/gemm_args.h"
#include <string.h>

/* Split-K counters have a place of their own at the start of the workspace, because every launch must find them zero
 * while the sums behind them may hold anything. A launch with more tiles fills the GPU without splitting K. */
#define COUNTERS_BYTES ((size_t)256 << 10)

/* Every index of a launch is an int, with room for padding: as problem_check() has it. */
#define MOST_TOKENS (1 << 24)

#define LAUNCH_FLAGS ((unsigned)MT_PROGRAMMATIC)

/* ---- shapes and workspaces ---- */

/* How a slot's kernel is launched for one problem: without split-K where its counters have no room. */
static void slot_shape(const struct slot *slot, const struct problem *p, int sm_count, struct launch_shape *shape) {
    const struct family *family = slot->kernel.config.family;
    family->shape(&slot->kernel.config, p, sm_count, shape);
    if (shape->counters_bytes <= COUNTERS_BYTES)
        return;
    struct config config = slot->kernel.config;
    for (int i = 0; i < family->knob_count; i++)
        if (!strcmp(family->knobs[i].name, "split_k"))
            config.value[i] = 1;
    family->shape(&config, p, sm_count, shape);
}

static size_t slot_partials_at(const struct mt_layer *layer, const struct slot *slot, int sm_count, int m) {
    struct problem p = layer->problem;
    struct launch_shape shape;
    p.m = m;
    slot_shape(slot, &p, sm_count, &shape);
    return shape.partials_bytes;
}

/* The most room for partial sums that a slot needs at any M in from .. to. With split-K it grows with M until the counters
 * have no room any more, from where on it is 0; with stream-K it is the same at every M. */
static size_t slot_partials(const struct mt_layer *layer, const struct slot *slot, int sm_count, int from, int to) {
    size_t most = slot_partials_at(layer, slot, sm_count, to);
    int low = from, high = most ? from : to; /* the first M that needs none is in low .. high */
    while (low < high) {
        int middle = low + (high - low) / 2;
        size_t partials = slot_partials_at(layer, slot, sm_count, middle);
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
static size_t interval_partials(const struct mt_layer *layer, int i, int sm_count, int m_max) {
    const int end = i < layer->tuned_count ? layer_interval(layer, i + 1) - 1 : m_max, last = end < m_max ? end : m_max;
    int first = layer_interval(layer, i);
    size_t most = i > 0 ? slot_partials_at(layer, &layer->slots[i - 1], sm_count, first++) : 0;
    for (int r = layer->first_rival[i]; first <= last && r < layer->first_rival[i + 1]; r++) {
        const size_t partials = slot_partials(layer, &layer->slots[layer->rivals[r].slot], sm_count, first, last);
        most = partials > most ? partials : most;
    }
    return most;
}

size_t mt_workspace_bytes(const struct mt_table *table, const struct mt_layer *layer, int m_max) {
    size_t most = 0;
    m_max = m_max < MOST_TOKENS ? m_max : MOST_TOKENS;
    for (int i = 0; i <= layer->tuned_count && layer_interval(layer, i) <= m_max; i++) {
        const size_t partials = interval_partials(layer, i, table->limits.sm_count, m_max);
        most = partials > most ? partials : most;
    }
    return most ? COUNTERS_BYTES + most : 0;
}

/* ---- operands ---- */

/* An address that a caller hands in. */
struct address {
    const char *what; /* "x", "the activations' codes" */
    CUdeviceptr at;
    unsigned align; /* bytes: what a kernel reads or writes there at a time */
    bool optional;  /* may be null */
};

static enum mt_status addresses_check(const char *function, const struct address *address, int count) {
    for (int i = 0; i < count; i++) {
        const struct address *a = &address[i];
        if (!a->at && !a->optional)
            return fail(MT_USAGE, "%s: the address of %s is null", function, a->what);
        if (a->at % a->align != 0)
            return fail(MT_USAGE, "%s: the address of %s is 0x%llx; it must be a multiple of %u bytes", function,
                        a->what, (unsigned long long)a->at, a->align);
    }
    return MT_OK;
}
#define COUNT(list) ((int)(sizeof(list) / sizeof *(list)))

static enum mt_status loaded_check(const char *function, const struct mt_layer *layer) {
    return layer_is_loaded(layer) ? MT_OK
                                  : fail(MT_USAGE,
                                         "%s: the kernels of layer %s are not loaded; call mt_table_load() once before "
                                         "its first launch",
                                         function, layer->info.name);
}

/* `pitch`: elements from one token to the next, at least `features`. */
static enum mt_status tokens_check(const char *function, const struct mt_layer *layer, int m, const char *name,
                                   int pitch, int features) {
    struct problem p = layer->problem;
    if (m < 0 || m > MOST_TOKENS || pitch < features)
        return fail(MT_USAGE, "%s: m is %d and %s %d; they must be 0 to %d, and at least %d", function, m, name, pitch,
                    MOST_TOKENS, features);
    p.m = m;
    return problem_check(&p) == MT_OK ? MT_OK : fail_context(MT_USAGE, "%s", function);
}

static enum mt_status activations_take(struct mt_activations *own, const struct mt_activations *given,
                                       const char *function) {
    enum mt_status status = sized_take(own, sizeof *own, given, "mt_activations");
    const struct address addresses[] = {{"the activations' codes", own->codes, 16, false},
                                        {"the activations' scales", own->scales, 4, false},
                                        {"the activations' sums", own->sums, 4, false}};
    return status == MT_OK ? addresses_check(function, addresses, COUNT(addresses)) : status;
}

static enum mt_status weights_check(const struct mt_layer *layer, const struct mt_weights *w) {
    static const char function[] = "mt_gemm_launch";
    const struct problem *p = &layer->problem;
    if (w->layout != MT_LAYOUT)
        return fail(MT_USAGE, "%s: the weights have layout %d, and the kernels read layout %d: repack them", function,
                    w->layout, MT_LAYOUT);
    if (w->rows[MT_W8] != p->rows8 || w->rows[MT_W4] != p->n - p->rows8)
        return fail(MT_USAGE,
                    "%s: the layer has %d 8-bit and %d 4-bit features, and the weights %d and %d: they were packed for "
                    "another layer",
                    function, p->rows8, p->n - p->rows8, w->rows[MT_W8], w->rows[MT_W4]);
    const bool mixed = w->rows[MT_W8] > 0 && w->rows[MT_W4] > 0;
    const struct address of_8_bits[] = {{"the 8-bit weights", w->weights[MT_W8], 16, false},
                                        {"the scales of the 8-bit weights", w->scales[MT_W8], 16, false},
                                        {"the columns of the 8-bit weights", w->columns[MT_W8], 4, !mixed}},
                         of_4_bits[] = {
                             {"the 4-bit weights", w->weights[MT_W4], 16, false},
                             {"the scales of the 4-bit weights", w->scales[MT_W4], 16, false},
                             {"the zero points of the 4-bit weights", w->zeros[MT_W4], 16, !problem_has_zeros(p)},
                             {"the columns of the 4-bit weights", w->columns[MT_W4], 4, !mixed}};
    enum mt_status status = w->rows[MT_W8] ? addresses_check(function, of_8_bits, COUNT(of_8_bits)) : MT_OK;
    return status == MT_OK && w->rows[MT_W4] ? addresses_check(function, of_4_bits, COUNT(of_4_bits)) : status;
}

/* Operands as this library has them. */
struct gemm_operands {
    struct mt_gemm_operands o;
    struct mt_weights weights;
    struct mt_activations x;
};

static enum mt_status operands_take(const struct mt_layer *layer, struct gemm_operands *g) {
    static const char function[] = "mt_gemm_launch";
    const struct mt_gemm_operands *o = &g->o;
    const struct address addresses[] = {{"y", o->y, 2, false}, {"the bias", o->bias, 2, true}};
    enum mt_status status = tokens_check(function, layer, o->m, "ldy", o->ldy, layer->problem.n);
    if (status == MT_OK)
        status = addresses_check(function, addresses, COUNT(addresses));
    if (status == MT_OK)
        status = activations_take(&g->x, o->x, function);
    if (status == MT_OK)
        status = sized_take(&g->weights, sizeof g->weights, o->weights, "mt_weights");
    return status == MT_OK ? weights_check(layer, &g->weights) : status;
}

static enum mt_status work_check(const struct mt_gemm_operands *o, const struct launch_shape *shape) {
    const size_t needed = COUNTERS_BYTES + shape->partials_bytes;
    const struct address workspace = {"the workspace", o->workspace, 256, true};
    if (shape->partials_bytes == 0)
        return MT_OK;
    if (!o->workspace || o->workspace_bytes < needed)
        return fail(MT_USAGE, "mt_gemm_launch: the workspace has %zu bytes; %zu are needed at m = %d",
                    o->workspace_bytes, needed, o->m);
    return addresses_check("mt_gemm_launch", &workspace, 1);
}

/* ---- launches ---- */

static struct mt_gemm_part part_of(const struct mt_weights *weights, int width) {
    const int rows = weights->rows[width];
    return (struct mt_gemm_part){.weights = (const void *)weights->weights[width],
                                 .scales = (const void *)weights->scales[width],
                                 .zeros = (const unsigned char *)weights->zeros[width],
                                 .columns = (const int *)weights->columns[width],
                                 .rows = rows,
                                 .padded_rows = pack_padded(rows)};
}

enum mt_status mt_gemm_launch(const struct mt_table *table, const struct mt_layer *layer,
                              const struct mt_gemm_operands *given, CUstream stream) {
    struct gemm_operands g;
    const struct mt_gemm_operands *o = &g.o;
    enum mt_status status = GIVEN("table layer", table, layer);
    if (status == MT_OK)
        status = sized_take(&g.o, sizeof g.o, given, "mt_gemm_operands");
    if (status == MT_OK && o->flags & ~LAUNCH_FLAGS)
        status = fail(MT_USAGE, "mt_gemm_launch: this library does not know the flags 0x%x", o->flags & ~LAUNCH_FLAGS);
    if (status == MT_OK && o->m != 0)
        status = loaded_check("mt_gemm_launch", layer);
    if (status == MT_OK && o->m != 0)
        status = operands_take(layer, &g);
    if (status != MT_OK || o->m == 0)
        return fail_settled(status);
    struct problem p = layer->problem;
    const struct slot *slot = &layer->slots[layer_slot(layer, o->m)];
    struct launch_shape shape;
    p.m = o->m;
    p.bias = o->bias != 0;
    slot_shape(slot, &p, table->limits.sm_count, &shape);
    status = work_check(o, &shape);
    if (status != MT_OK)
        return status;
    const struct mt_gemm_args args = {
        .part = {part_of(&g.weights, MT_W8), part_of(&g.weights, MT_W4)},
        .x = (const signed char *)g.x.codes,
        .x_scales = (const float *)g.x.scales,
        .x_sums = (const int *)g.x.sums,
        .y = (void *)o->y,
        .bias = (const void *)o->bias,
        .partials = shape.partials_bytes ? (float *)(o->workspace + COUNTERS_BYTES) : NULL,
        .counters = shape.partials_bytes ? (unsigned *)o->workspace : NULL,
        .m = p.m,
        .n = p.n,
        .k_padded = layer->info.k_padded,
        .groups = layer->info.groups,
        .ldy = o->ldy,
    };
    return fail_settled(launch_gemm_as(&table->dev, &slot->kernel, &shape, &args, stream));
}

enum mt_status mt_quantize_launch(const struct mt_table *table, const struct mt_layer *layer,
                                  const struct mt_quantize_operands *given, CUstream stream) {
    struct mt_quantize_operands o;
    struct mt_activations out;
    static const char function[] = "mt_quantize_launch";
    enum mt_status status = GIVEN("table layer", table, layer);
    if (status == MT_OK)
        status = sized_take(&o, sizeof o, given, "mt_quantize_operands");
    if (status != MT_OK || o.m == 0)
        return fail_settled(status);
    const struct address x = {"x", o.x, 2, false};
    status = tokens_check(function, layer, o.m, "ldx", o.ldx, layer->problem.k);
    if (status == MT_OK)
        status = loaded_check(function, layer);
    if (status == MT_OK)
        status = addresses_check(function, &x, 1);
    if (status == MT_OK)
        status = activations_take(&out, o.out, function);
    if (status != MT_OK)
        return status;
    const struct mt_quantize_args args = {.x = (const void *)o.x,
                                          .q = (signed char *)out.codes,
                                          .scales = (float *)out.scales,
                                          .sums = (int *)out.sums,
                                          .m = o.m,
                                          .k = layer->problem.k,
                                          .k_padded = layer->info.k_padded,
                                          .groups = layer->info.groups,
                                          .ldx = o.ldx};
    return fail_settled(launch_quantize(&table->dev, layer->quantize, &args, stream));
}
