#include "runtime/base/array.h"
#include "runtime/base/str.h"
#include "tuner/report/tables.h"
#include "view.h"
#include <stdlib.h>
#include <string.h>

/* An expert of one decoder layer. */
struct expert {
    const char *name; /* of its first layer, "model.layers.3.experts.7.gate_up" */
    int decoder;
    int64_t tokens;
};
struct experts {
    struct expert *expert;
    int count;
    size_t capacity;
};

static bool is_expert(const struct fused *layer) {
    return !strncmp(layer->layer, "experts.", strlen("experts."));
}

/* "model.layers.3.experts.7" without what it is the layer of. */
static int name_length(const char *name) {
    return (int)(strrchr(name, '.') - name);
}

static bool is_last(const struct experts *experts, const struct fused *layer) {
    const char *last = experts->count ? experts->expert[experts->count - 1].name : NULL;
    const int length = name_length(layer->name);
    return last && name_length(last) == length && !memcmp(last, layer->name, (size_t)length);
}

/* Those whose tokens the file tells; the layers of one stand behind each other. */
static enum mt_status list(const struct view *v, struct experts *out) {
    enum mt_status status = MT_OK;
    for (int i = 0; i < v->layers.modules.count && !status; i++) {
        const struct fused *layer = &v->layers.modules.layer[i];
        int64_t tokens;
        if (!is_expert(layer) || is_last(out, layer))
            continue;
        status = saliences_tokens(&v->file, &v->layers.module[layer->part[0]], &tokens);
        if (status || tokens < 0)
            continue;
        array_grow(&out->expert, &out->capacity, (size_t)out->count, sizeof *out->expert);
        out->expert[out->count++] = (struct expert){layer->name, layer->decoder, tokens};
    }
    return status;
}

/* The mean of one decoder layer's experts is an even share; adds rows for those that saw less than a tenth of it. */
static void judge(const struct experts *e, int first, int end, struct rows *rows) {
    double sum = 0;
    for (int i = first; i < end; i++)
        sum += (double)e->expert[i].tokens;
    const double even = sum / (end - first);
    for (int i = first; i < end; i++) {
        const struct expert *expert = &e->expert[i];
        if (expert->tokens > 0 && 10 * (double)expert->tokens >= even)
            continue;
        rows_put(rows, "%.*s", name_length(expert->name), expert->name);
        rows_put(rows, "%lld", (long long)expert->tokens);
        rows_put(rows, "%.1f", even);
    }
}

static void tell(const struct view *v, const struct experts *e, const struct rows *few, struct str *out) {
    enum { MOST = 8 };
    if (v->options->json) {
        tables_append(few, (struct table_style){0}, true, out);
        return;
    }
    str_append(out, "\n");
    if (few->count == 0) {
        str_printf(out, "each of %d experts saw at least a tenth of an even share of its decoder layer's tokens\n",
                   e->count);
        return;
    }
    tables_append(few, (struct table_style){.last = few->count < MOST ? few->count : MOST}, false, out);
    str_printf(
        out,
        "%d of %d experts saw less than a tenth of an even share of their decoder layer's tokens, or none: their "
        "saliences say little%s\n",
        few->count, e->count, few->count > MOST ? "; --json names all of them" : "");
}

enum mt_status view_tell_experts(const struct view *v, struct str *out) {
    struct experts e = {0};
    struct rows rows;
    rows_init(&rows, "expert,tokens,even_share", ",expert,");
    const enum mt_status status = list(v, &e);
    for (int first = 0, end; first < e.count && !status; first = end) {
        for (end = first; end < e.count && e.expert[end].decoder == e.expert[first].decoder; end++)
            ;
        judge(&e, first, end, &rows);
    }
    if (!status && e.count)
        tell(v, &e, &rows, out);
    rows_release(&rows);
    free(e.expert);
    return status;
}
