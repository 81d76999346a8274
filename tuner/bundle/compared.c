#include "compared.h"
#include "runtime/base/memory.h"
#include "tuner/report/json_line.h"
#include "tuner/shown.h"
#include <stdlib.h>
#include <string.h>

#define FLAG "MT_ALLOW_FP16"
enum { BYTES_PER_WEIGHT = 2, NAMES_MOST = 8 };

/* ---- times ---- */

bool compared_loses(const struct compared_point *p) {
    return p->fp16_ns > 0 && p->fp16_ns < p->kernel_ns + p->quantize_ns;
}

static double ratio_of(const struct compared_point *p) {
    return p->fp16_ns / (p->kernel_ns + p->quantize_ns);
}

bool *compared_losers(const struct compared *c) {
    bool *losers = xcalloc((size_t)c->layer_count + 1, sizeof *losers);
    for (int i = 0; i < c->point_count; i++)
        losers[c->points[i].layer] |= compared_loses(&c->points[i]);
    return losers;
}

struct count {
    int compared, lost, bare, lacking; /* bare: without the time of quantising; lacking: a library */
    bool cublas, cublaslt, f16;        /* that were timed */
    const struct compared_point *worst;
};

static struct count count_points(const struct compared *c) {
    struct count n = {0};
    for (int i = 0; i < c->point_count; i++) {
        const struct compared_point *p = &c->points[i];
        if (!(p->fp16_ns > 0))
            continue;
        const bool measured = c->origin == BUNDLE_MEASURED, lacks_lt = strstr(p->lacks, "cublaslt") != NULL,
                   lacks_cublas = !strncmp(p->lacks, "cublas", 6) && p->lacks[6] != 'l';
        n.compared++;
        n.bare += !(p->quantize_ns > 0);
        n.lacking += measured && (lacks_lt || lacks_cublas);
        n.cublas = n.cublas || !strcmp(p->fp16, "cublas") || (measured && !lacks_cublas);
        n.cublaslt = n.cublaslt || !strcmp(p->fp16, "cublaslt-best") || (measured && !lacks_lt);
        n.f16 = n.f16 || !strcmp(p->fp16, "f16");
        n.lost += compared_loses(p);
        if (compared_loses(p) && (!n.worst || ratio_of(p) < ratio_of(n.worst)))
            n.worst = p;
    }
    return n;
}

static void print_with(const struct count *n, enum bundle_origin origin, struct str *out) {
    const char *names[3];
    int count = 0;
    if (n->cublas)
        names[count++] = "cuBLAS";
    if (n->cublaslt)
        names[count++] = "cuBLASLt";
    if (n->f16)
        names[count++] = "mixtune's own fp16 kernel";
    str_append(out, count == 3 ? "the fastest of " : count == 2 ? "the faster of " : "");
    for (int i = 0; i < count; i++)
        str_printf(out, "%s%s", i == 0 ? "" : i + 1 < count ? ", " : " and ", names[i]);
    str_append(out, origin == BUNDLE_MODELLED ? " (modelled)" : "");
}

static void print_layer(const struct bundle_layer *layer, struct str *out) {
    str_append(out, shown(layer->name));
    if (*layer->model)
        str_printf(out, " of %s", shown(layer->model));
    if (layer->tp > 1)
        str_printf(out, ", tp %d", layer->tp);
    str_printf(out, ", %s", shown(layer->scheme));
    if (layer->rows8 > 0 && layer->rows8 < layer->n)
        str_printf(out, " with %d features in 8 bits", layer->rows8);
}

/* ---- weights that a server would keep beside the packed ones ---- */

/* Of one model, split over as many GPUs: its layers that lose, whatever their splits. */
struct weights {
    const struct bundle_layer *first;
    const struct bundle_layer *layer[NAMES_MOST]; /* the first of them, by name and shape */
    int names;
    double mib, mib_of_model; /* of one decoder layer; of all of them, 0: not known */
    int decoders;             /* likewise */
    bool partly;              /* other splits of these layers lose nowhere */
};

static bool same_model(const struct bundle_layer *a, const struct bundle_layer *b) {
    return a->tp == b->tp && !strcmp(a->model, b->model);
}

static bool same_weights(const struct bundle_layer *a, const struct bundle_layer *b) {
    return same_model(a, b) && a->n == b->n && a->k == b->k && !strcmp(a->name, b->name);
}

/* Whether the layer is the first of those that lose and are `same`. */
static bool is_first(const struct compared *c, const bool *losers, int layer,
                     bool (*same)(const struct bundle_layer *, const struct bundle_layer *)) {
    int i = 0;
    while (i < layer && !(losers[i] && same(&c->layers[i], &c->layers[layer])))
        i++;
    return losers[layer] && i == layer;
}

static struct weights weights_of(const struct compared *c, const bool *losers, int first) {
    struct weights w = {.first = &c->layers[first]};
    bool known = true;
    for (int i = first; i < c->layer_count; i++) {
        const struct bundle_layer *layer = &c->layers[i];
        if (!same_model(layer, w.first) || !is_first(c, losers, i, same_weights))
            continue;
        const double mib = (double)layer->n * layer->k * BYTES_PER_WEIGHT / (1 << 20);
        const int decoders = c->decoders ? c->decoders(layer) : 0;
        w.mib += mib;
        w.mib_of_model += mib * decoders;
        known = known && decoders > 0 && (!w.names || decoders == w.decoders);
        w.decoders = decoders;
        if (w.names < NAMES_MOST)
            w.layer[w.names] = layer;
        w.names++;
        for (int j = 0; j < c->layer_count; j++)
            w.partly = w.partly || (same_weights(&c->layers[j], layer) && !losers[j]);
    }
    if (!known)
        w.decoders = 0;
    return w;
}

static void print_mib(const struct weights *w, double mib, struct str *out) {
    str_printf(out, "%s%.*f MiB for ", w->partly ? "up to " : "", mib < 1 ? 2 : 1, mib);
}

static void print_weights(const struct weights *w, struct str *out) {
    const bool model = *w->first->model;
    str_append(out, "  ");
    print_mib(w, w->mib, out);
    if (model)
        str_printf(out, "each decoder layer of %s", shown(w->first->model));
    if (model && w->first->tp > 1)
        str_printf(out, " at tp %d", w->first->tp);
    str_append(out, model ? " (" : "");
    for (int i = 0; i < w->names && i < NAMES_MOST; i++)
        str_printf(out, "%s%s", i ? ", " : "", shown(w->layer[i]->name));
    if (w->names > NAMES_MOST)
        str_printf(out, " and %d more", w->names - NAMES_MOST);
    str_append(out, model ? ")" : "");
    if (w->decoders) {
        str_append(out, ", ");
        print_mib(w, w->mib_of_model, out);
        str_printf(out, "its %d", w->decoders);
    }
    str_append(out, "\n");
}

/* ---- what is told ---- */

void compared_print(const struct compared *c, struct str *out) {
    const struct count n = count_points(c);
    if (!n.compared) {
        str_append(out, "compared with nothing: no fp16 GEMM was timed beside these winners; the same `mixtune sweep` "
                        "again times it\n");
        return;
    }
    str_append(out, "compared with ");
    print_with(&n, c->origin, out);
    str_append(out, n.bare < n.compared ? ", quantising counted: " : ", the kernels alone: ");
    if (n.worst) {
        str_printf(out, "slower at %d of %d (layer, M), at worst %.2fx at ", n.lost, n.compared, ratio_of(n.worst));
        print_layer(&c->layers[n.worst->layer], out);
        str_printf(out, ", M %d\n", n.worst->m);
    } else {
        str_printf(out, "slower at none of %d (layer, M)\n", n.compared);
    }
    if (n.bare)
        str_printf(out, "  quantising was not timed at %d of them, where the kernel alone is compared\n", n.bare);
    if (n.lacking)
        str_printf(out, "  cuBLAS or cuBLASLt was not timed at %d of them\n", n.lacking);
    if (n.compared < c->point_count)
        str_printf(out, "  no fp16 GEMM was timed at %d more\n", c->point_count - n.compared);
    if (!n.worst)
        return;
    const char *dtype = shown(c->layers[n.worst->layer].dtype);
    str_printf(out, "a server that runs the %s GEMM there keeps %s weights on each GPU, beside the packed ones:\n",
               dtype, dtype);
    bool *losers = compared_losers(c);
    for (int i = 0; i < c->layer_count; i++)
        if (is_first(c, losers, i, same_model)) {
            const struct weights w = weights_of(c, losers, i);
            print_weights(&w, out);
        }
    free(losers);
    str_append(out, "off by default: only a server that opens the bundle with " FLAG " is told where\n");
}

static json_t *weights_json(const struct weights *w) {
    json_t *names = json_array();
    for (int i = 0; i < w->names && i < NAMES_MOST; i++)
        json_array_append_new(names, json_text(w->layer[i]->name));
    return json_pack("{so si so si sf so so sb}", "model", json_text(w->first->model), "tp", w->first->tp, "layers",
                     names, "layer_count", w->names, "mib_per_decoder_layer", w->mib, "decoder_layers",
                     w->decoders ? json_integer(w->decoders) : json_null(), "mib",
                     w->decoders ? json_real(w->mib_of_model) : json_null(), "at_most", w->partly);
}

json_t *compared_json(const struct compared *c) {
    const struct count n = count_points(c);
    json_t *with = json_array(), *weights = json_array(), *worst = json_null();
    if (n.cublas)
        json_array_append_new(with, json_string("cublas"));
    if (n.cublaslt)
        json_array_append_new(with, json_string("cublaslt-best"));
    if (n.f16)
        json_array_append_new(with, json_string("f16"));
    bool *losers = compared_losers(c);
    for (int i = 0; i < c->layer_count; i++)
        if (is_first(c, losers, i, same_model)) {
            const struct weights w = weights_of(c, losers, i);
            json_array_append_new(weights, weights_json(&w));
        }
    free(losers);
    if (n.worst) {
        const struct bundle_layer *layer = &c->layers[n.worst->layer];
        worst = json_pack("{so so si so si si sf}", "model", json_text(layer->model), "layer", json_text(layer->name),
                          "tp", layer->tp, "scheme", json_text(layer->scheme), "rows8", layer->rows8, "m", n.worst->m,
                          "ratio", ratio_of(n.worst));
    }
    return json_pack("{so si si si si so so ss sb}", "compared_with", with, "compared", n.compared, "slower", n.lost,
                     "quantize_untimed", n.bare, "libraries_untimed", n.lacking, "worst", worst, "fp16_weights",
                     weights, "flag", FLAG, "on_by_default", 0);
}
