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

/* ---- lookup ---- */

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
        const struct slot *slot = &layer->slots[layer_slot(layer, m)];
        choice = (struct mt_choice){.step = slot->m ? layer->info.step : MT_STEP_DEFAULT,
                                    .tuned_m = slot->m,
                                    .tuned_rows8 = slot->rows8,
                                    .expected_ns = layer_time(layer, m),
                                    .origin = MT_ORIGIN_MODELLED,
                                    .family = slot->kernel.config.family->name,
                                    .config = slot->config};
        if (choice.step == MT_STEP_EXACT && slot->m != m)
            choice.step = MT_STEP_NEAREST_M;
        if (choice.step == MT_STEP_EXACT && !slot->modelled && choice.expected_ns > 0)
            choice.origin = MT_ORIGIN_MEASURED;
        if (slot->fp16_ns > 0 && (table->flags & (MT_ALLOW_FP16 | MT_BATCH_INVARIANT)) == MT_ALLOW_FP16) {
            choice.kind = MT_KIND_FP16;
            choice.expected_ns *= slot->fp16_ns / slot->kernel_ns;
        }
    }
    return sized_give(out, &choice, sizeof choice, "mt_choice");
}
