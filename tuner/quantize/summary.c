#include "summary.h"
#include "runtime/checkpoint/packed.h"
#include "templates/gemm_args.h"
#include "tuner/choice/shares.h"
#include "tuner/report/json_line.h"
#include "tuner/shown.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Features first .. end - 1 of a layer that have 8 bits. */
static int count8(const struct packed_layer *layer, int first, int end) {
    const struct tensor *columns = layer->tensor[MT_PART_W8][PACKED_COLUMNS];
    int count = 0;
    if (!columns)
        return layer->rows8 > 0 ? end - first : 0;
    for (int i = 0; i < layer->rows8; i++) {
        int32_t column;
        memcpy(&column, columns->data + (size_t)i * sizeof column, sizeof column);
        count += column >= first && column < end;
    }
    return count;
}

static void add_layer(struct shares *shares, const struct fused *layer, const struct packed_layer *packed) {
    int rows[FUSED_PARTS] = {0}, rows8[FUSED_PARTS] = {0}, first = 0;
    for (int i = 0; i < packed->source_count && i < layer->part_count; i++) {
        rows[i] = packed->source[i].rows;
        rows8[i] = count8(packed, first, first + rows[i]);
        first += rows[i];
    }
    shares_add(shares, layer, rows, rows8);
}

static enum mt_status add_folder(const struct source *source, const char *path, struct shares *shares, double *bits,
                                 double *weights) {
    struct packed_folder packed;
    enum mt_status status = packed_open(path, &packed);
    if (status)
        return status;
    for (int i = 0; i < source->modules.count && !status; i++) {
        const struct fused *layer = &source->modules.layer[i];
        const struct packed_layer *found = packed_find(&packed, layer->name);
        if (!found) {
            status = fail(MT_FAILURE, "%s has no layer %.120s, which was written there", path, layer->name);
            break;
        }
        add_layer(shares, layer, found);
        *bits += 8.0 * (double)packed_layer_bytes(found);
        *weights += (double)found->n * found->k;
    }
    packed_close(&packed);
    return status;
}

static void print_sizes(const struct summary *s, double bits_per_weight, bool json) {
    if (json) {
        json_line(json_pack("{ss sf sI sI so}", "scheme", s->scheme, "bits_per_weight", bits_per_weight, "layer_bytes",
                            (json_int_t)s->layer_bytes, "rest_bytes", (json_int_t)s->rest_bytes, "out",
                            json_text(s->path[0].data)));
        return;
    }
    const double mib = 1024.0 * 1024.0;
    printf("%s: %.3f bits per weight with scales and padding; %.1f MiB of layers, %.1f MiB of the rest; %s%s\n\n",
           s->scheme, bits_per_weight, (double)s->layer_bytes / mib, (double)s->rest_bytes / mib,
           shown(s->path[0].data), s->tp > 1 ? " and its other ranks" : "");
}

enum mt_status summary_print(const struct summary *s, bool json) {
    struct shares *shares = xcalloc(1, sizeof *shares);
    double bits = 0, weights = 0;
    enum mt_status status = MT_OK;
    for (int i = 0; i < s->tp && !status; i++)
        status = add_folder(s->source, s->path[i].data, shares, &bits, &weights);
    if (!status) {
        struct str out = {0};
        struct rows rows;
        shares_rows_init(&rows);
        shares_rows(shares, s->scheme, &rows);
        shares_print(&rows, json, &out);
        fwrite(str_text(&out), 1, out.length, stdout);
        rows_release(&rows);
        str_release(&out);
        print_sizes(s, bits / weights, json);
    }
    shares_release(shares);
    free(shares);
    return status;
}
