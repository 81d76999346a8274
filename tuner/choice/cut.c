#include "cut.h"

/* Features first .. first + rows - 1 of a part that consist of `heads` equal ones; 0: any number of them is a piece. */
struct section {
    int first, rows, heads;
};

static int sections(enum module_role role, int n, const struct model *model, struct section out[CUT_PIECES]) {
    const int heads = model->heads, kv = model->kv_heads, head = n / (heads + 2 * kv);
    switch (role) {
    case ROLE_Q:
        out[0] = (struct section){0, n, heads};
        return 1;
    case ROLE_K:
    case ROLE_V:
        out[0] = (struct section){0, n, kv};
        return 1;
    case ROLE_QKV:
        out[0] = (struct section){0, heads * head, heads};
        out[1] = (struct section){heads * head, kv * head, kv};
        out[2] = (struct section){(heads + kv) * head, n - (heads + kv) * head, kv};
        return 3;
    case ROLE_GATE_UP:
        out[0] = (struct section){0, n / 2, 0};
        out[1] = (struct section){n / 2, n - n / 2, 0};
        return 2;
    default:
        out[0] = (struct section){0, n, 0};
        return 1;
    }
}

/* What a rank has of a section. */
static enum mt_status cut_section(const struct section *s, const char *name, int tp, int rank, struct cut_piece *out) {
    const int units = s->heads ? s->heads : s->rows;
    if (s->rows < units || s->rows % units)
        return fail(MT_USAGE, "%s has %d features, which are no whole heads of %d; is config.json of another model?",
                    name, s->rows, units);
    const int each = s->rows / units;
    if (units % tp == 0) {
        out->rows = units / tp * each;
        out->first = s->first + rank * out->rows;
    } else if (s->heads && tp % units == 0) {
        out->rows = each;
        out->first = s->first + rank / (tp / units) * each;
    } else {
        return fail(MT_USAGE, "--tp %d cannot cut the %d %s of %s into equal parts", tp, units,
                    s->heads ? "heads" : "features", name);
    }
    return MT_OK;
}

static enum mt_status cut_along_n(const struct module *module, const struct fused *layer, const struct model *model,
                                  int tp, int rank, struct cut *out) {
    int whole = 0;
    for (int i = 0; i < layer->part_count; i++) {
        const struct module *m = &module[layer->part[i]];
        struct section section[CUT_PIECES];
        const int count = sections(layer->role[i], m->n, model, section);
        for (int j = 0; j < count; j++) {
            struct cut_piece *piece = &out->piece[out->count++];
            piece->part = i;
            const enum mt_status status = cut_section(&section[j], m->name, tp, rank, piece);
            if (status)
                return status;
            piece->whole = whole + piece->first;
            out->n += piece->rows;
        }
        whole += m->n;
    }
    return MT_OK;
}

static void take_whole(const struct module *module, const struct fused *layer, struct cut *out) {
    for (int i = 0; i < layer->part_count; i++) {
        const int rows = module[layer->part[i]].n;
        out->piece[out->count++] = (struct cut_piece){i, 0, rows, out->n};
        out->n += rows;
    }
}

enum mt_status cut_layer(const struct module *module, const struct fused *layer, const struct model *model, int tp,
                         int rank, struct cut *out) {
    *out = (struct cut){.k = layer->k};
    if (tp > 1 && !fused_along_k(layer))
        return cut_along_n(module, layer, model, tp, rank, out);
    take_whole(module, layer, out);
    if (layer->k % tp)
        return fail(MT_USAGE, "--tp %d cannot cut the %d input features of %s into equal parts", tp, layer->k,
                    layer->name);
    out->k = layer->k / tp;
    out->first_k = rank * out->k;
    return MT_OK;
}

int cut_feature(const struct cut *cut, int i) {
    int piece = 0;
    while (i >= cut->piece[piece].rows)
        i -= cut->piece[piece++].rows;
    return cut->piece[piece].whole + i;
}
