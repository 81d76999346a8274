/* The public interface: looking up. */
#include "runtime/layer/pack.h"
#include "sized.h"
#include "table.h"
#include "templates/gemm_args.h"
#include <string.h>

_Static_assert((int)MT_FP16 == (int)DTYPE_F16 && (int)MT_BF16 == (int)DTYPE_BF16, "the public type is the inner one");
_Static_assert((int)MT_W8 == (int)MT_PART_W8 && (int)MT_W4 == (int)MT_PART_W4, "parts are what the kernels have");
_Static_assert(MT_LAYOUT == PACK_LAYOUT, "the public layout is the one that is packed");

int mt_api_version(void) {
    return MT_API_VERSION;
}

const char *mt_error_message(void) {
    return fail_message();
}

/* ---- a GEMM in fp16 beside ours ---- */

static const struct slot no_slot; /* whose times are all unknown */

/* The tuned M next to m: the last one up to it and the first one from it on, both the same at a tuned M. */
struct around {
    const struct slot *low, *high;
};

static struct around slots_around(const struct mt_layer *layer, int interval, int m) {
    const struct slot *s = layer->slots, *below = interval > 0 ? &s[interval - 1] : &no_slot;
    return (struct around){below, below->m == m ? below : interval < layer->tuned_count ? &s[interval] : &no_slot};
}

static bool is_between(struct around at) {
    return at.low != &no_slot && at.high != &no_slot;
}

/* The straight line through two times of the tuned M next to m. Where one of them is unknown (0), it is the other: as
 * it is at its M, and in proportion to the tokens beyond it, for nothing takes longer than that. */
static double time_line(struct around at, double low, double high, int m) {
    if (low > 0 && high > 0)
        return at.low == at.high ? low : low + (high - low) * (m - at.low->m) / (at.high->m - at.low->m);
    return low > 0 ? low * m / at.low->m : high;
}

static double fp16_time(struct around at, int m) {
    return time_line(at, at.low->fp16_ns, at.high->fp16_ns, m);
}

/* 0 between two tuned M of which one does not tell it. */
static double quantize_time(struct around at, int m) {
    const double low = at.low->quantize_ns, high = at.high->quantize_ns;
    return is_between(at) && !(low > 0 && high > 0) ? 0 : time_line(at, low, high, m);
}

/* Whether the fp16 GEMM is faster at a slot's own M. */
static bool slot_loses(const struct slot *slot) {
    return slot->fp16_ns > 0 && slot->kernel_ns > 0 && slot->fp16_ns < slot->kernel_ns + slot->quantize_ns;
}

/* Whether the fp16 GEMM is faster than our kernel with the quantisation of its activations. Beyond the outermost tuned
 * M all of them grow alike. Times of different origin are never compared. */
static bool layer_loses(const struct pick *pick, struct around at, int m) {
    const bool low = slot_loses(at.low), high = slot_loses(at.high);
    if (!is_between(at) || at.low == at.high)
        return low || high;
    if (low == high && !(at.low->fp16_ns > 0 && at.high->fp16_ns > 0))
        return low;
    const bool known = at.low->kernel_ns > 0 && at.high->kernel_ns > 0 && at.low->modelled == at.high->modelled;
    return known && fp16_time(at, m) < pick->estimate + quantize_time(at, m);
}

/* ---- lookup ---- */

static struct mt_choice choose_kernel(const struct mt_layer *layer, const struct pick *pick, struct around at, int m) {
    const struct slot *slot = &layer->slots[pick->slot];
    return (struct mt_choice){.step = slot->m ? layer->info.step : MT_STEP_DEFAULT,
                              .tuned_m = slot->m,
                              .tuned_rows8 = slot->rows8,
                              .expected_ns = pick->promise,
                              .origin = slot->modelled ? MT_ORIGIN_MODELLED : MT_ORIGIN_MEASURED,
                              .family = slot->kernel.config.family->name,
                              .config = slot->config,
                              .quantize_ns = layer->promises ? quantize_time(at, m) : 0};
}

static struct mt_choice choose_fp16(const struct mt_layer *layer, struct around at, int m) {
    const struct slot *slot = at.high->fp16_ns > 0 ? at.high : at.low;
    return (struct mt_choice){.kind = MT_KIND_FP16,
                              .step = layer->info.step,
                              .tuned_m = slot->m,
                              .tuned_rows8 = slot->rows8,
                              .expected_ns = layer->promises ? fp16_time(at, m) : 0,
                              .origin = slot->modelled ? MT_ORIGIN_MODELLED : MT_ORIGIN_MEASURED,
                              .family = slot->fp16,
                              .config = ""};
}

enum mt_status mt_table_lookup(const struct mt_table *table, const struct mt_layer *layer, int m,
                               struct mt_choice *out) {
    struct mt_choice choice = {.kind = MT_KIND_NOTHING, .origin = MT_ORIGIN_MODELLED, .family = "", .config = ""};
    if (!table || !layer)
        return GIVEN("table layer", table, layer);
    if (m < 0) {
        enum mt_status status = sized_give(out, NULL, sizeof choice, "mt_choice");
        return status == MT_OK ? fail(MT_USAGE, "mt_table_lookup: m is %d; it must be at least 0", m) : status;
    }
    if (m > 0) {
        const bool fp16 = (table->flags & (MT_ALLOW_FP16 | MT_BATCH_INVARIANT)) == MT_ALLOW_FP16;
        const struct pick pick = layer_pick(layer, m);
        const struct around at = slots_around(layer, pick.interval, m);
        choice = fp16 && layer_loses(&pick, at, m) ? choose_fp16(layer, at, m) : choose_kernel(layer, &pick, at, m);
        if (choice.step == MT_STEP_EXACT && choice.tuned_m != m)
            choice.step = MT_STEP_NEAREST_M;
        choice.other_gpu = table->other_gpu;
        if (choice.step != MT_STEP_EXACT || !(choice.expected_ns > 0))
            choice.origin = MT_ORIGIN_MODELLED;
    }
    return sized_give(out, &choice, sizeof choice, "mt_choice");
}
