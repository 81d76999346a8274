#include "modules.h"
#include "runtime/base/str.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

const char *const role_names[ROLES] = {"q", "k", "v", "qkv", "o", "gate", "up", "gate_up", "down"};

/* What is fused, in the order of a decoder layer. */
enum kind { KIND_QKV, KIND_O, KIND_GATE_UP, KIND_DOWN };
static const char *const kind_names[] = {"qkv", "o", "gate_up", "down"};
static const enum kind role_kinds[ROLES] = {
    [ROLE_Q] = KIND_QKV,      [ROLE_K] = KIND_QKV,     [ROLE_V] = KIND_QKV,
    [ROLE_QKV] = KIND_QKV,    [ROLE_O] = KIND_O,       [ROLE_GATE] = KIND_GATE_UP,
    [ROLE_UP] = KIND_GATE_UP, [ROLE_DOWN] = KIND_DOWN, [ROLE_GATE_UP] = KIND_GATE_UP,
};

/* Where a linear layer is within its decoder layer. */
enum place { PLACE_ATTENTION, PLACE_MLP, PLACE_EXPERT, PLACE_SHARED };

/* A name, taken apart. */
struct found {
    int module;
    const char *name;
    int prefix; /* length of P */
    int decoder, expert;
    enum place place;
    enum module_role role;
    const char *shared; /* static: what the model calls a shared expert */
};

/* ---- names ---- */

/* A number as models write it, at most 99999, and what follows it; -1 if there is none. */
static int take_number(const char **at) {
    const char *p = *at;
    int value = 0, digits = 0;
    for (; isdigit((unsigned char)*p) && digits < 6; p++, digits++)
        value = value * 10 + (*p - '0');
    if (digits == 0 || digits > 5 || (digits > 1 && **at == '0'))
        return -1;
    *at = p;
    return value;
}

static bool take(const char **at, const char *word) {
    const size_t length = strlen(word);
    if (strncmp(*at, word, length) != 0)
        return false;
    *at += length;
    return true;
}

/* P.layers.N.REST: sets prefix and decoder, and returns REST; NULL if the name is of no decoder layer. */
static const char *take_decoder(const char *name, struct found *out) {
    static const char *const towers[] = {"vision", "visual", "image", "audio"};
    for (const char *at = name; (at = strstr(at, "layers.")) != NULL; at++) {
        const char *rest = at + strlen("layers.");
        if ((at > name && at[-1] != '.') || (out->decoder = take_number(&rest)) < 0 || *rest != '.')
            continue;
        out->prefix = at > name ? (int)(at - name) - 1 : 0;
        for (size_t i = 0; i < sizeof towers / sizeof *towers; i++) {
            const char *tower = strcasestr(name, towers[i]);
            if (tower && tower < at)
                return NULL;
        }
        return rest + 1;
    }
    return NULL;
}

static bool take_role(const char *rest, const char *const *names, const enum module_role *roles, int count,
                      struct found *out) {
    for (int i = 0; i < count; i++)
        if (!strcmp(rest, names[i])) {
            out->role = roles[i];
            return true;
        }
    return false;
}

static bool take_attention(const char *rest, struct found *out) {
    static const char *const names[] = {"q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj"};
    static const enum module_role roles[] = {ROLE_Q, ROLE_K, ROLE_V, ROLE_QKV, ROLE_O};
    out->place = PLACE_ATTENTION;
    return take(&rest, "self_attn.") && take_role(rest, names, roles, 5, out);
}

static bool take_mlp(const char *rest, struct found *out) {
    static const char *const names[] = {"gate_proj", "up_proj", "gate_up_proj", "down_proj", "w1", "w3", "w2"};
    static const enum module_role roles[] = {ROLE_GATE, ROLE_UP, ROLE_GATE_UP, ROLE_DOWN,
                                             ROLE_GATE, ROLE_UP, ROLE_DOWN};
    if (!take(&rest, "mlp.") && !take(&rest, "block_sparse_moe."))
        return false;
    out->place = PLACE_MLP;
    if (take(&rest, "experts.")) {
        out->place = PLACE_EXPERT;
        if ((out->expert = take_number(&rest)) < 0 || !take(&rest, "."))
            return false;
    } else if (take(&rest, "shared_expert.")) {
        out->place = PLACE_SHARED;
        out->shared = "shared_expert";
    } else if (take(&rest, "shared_experts.")) {
        out->place = PLACE_SHARED;
        out->shared = "shared_experts";
    }
    return take_role(rest, names, roles, out->place == PLACE_EXPERT ? 7 : 4, out);
}

static bool is_router(const char *rest) {
    static const char *const names[] = {"mlp.gate", "mlp.router", "block_sparse_moe.gate", "mlp.shared_expert_gate",
                                        "block_sparse_moe.router"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(rest, names[i]))
            return true;
    return false;
}

/* 0, if it is a linear layer; else why it is none. */
static int take_name(const struct module *module, struct found *out) {
    const char *rest = take_decoder(module->name, out);
    if (!rest || is_router(rest))
        return MODULE_OUTSIDE;
    if (module->n > 0 && module->k > 0 && (take_attention(rest, out) || take_mlp(rest, out)))
        return 0;
    return MODULE_UNKNOWN;
}

/* ---- one decoder ---- */

static int compare_prefix(const struct found *a, const struct found *b) {
    const int shorter = a->prefix < b->prefix ? a->prefix : b->prefix,
              order = memcmp(a->name, b->name, (size_t)shorter);
    return order ? order : a->prefix - b->prefix;
}

static int by_prefix(const void *a, const void *b) {
    const struct found *x = a, *y = b;
    const int order = compare_prefix(x, y);
    return order ? order : x->module - y->module;
}

/* Keeps those of the decoder that has most, at the front; the others are not known. Returns how many are kept. */
static int keep_decoder(struct found *found, int count, int *layer_of) {
    int best = 0, most = 0;
    qsort(found, (size_t)count, sizeof *found, by_prefix);
    for (int first = 0, end; first < count; first = end) {
        for (end = first; end < count && !compare_prefix(&found[first], &found[end]); end++)
            ;
        if (end - first > most) {
            best = first;
            most = end - first;
        }
    }
    for (int i = 0; i < count; i++)
        if (i < best || i >= best + most)
            layer_of[found[i].module] = MODULE_UNKNOWN;
    memmove(found, found + best, (size_t)most * sizeof *found);
    return most;
}

/* By what they are fused to. */
static int compare_layer(const struct found *a, const struct found *b) {
    if (a->decoder != b->decoder)
        return a->decoder - b->decoder;
    if (a->place != b->place)
        return (int)a->place - (int)b->place;
    if (a->expert != b->expert)
        return a->expert - b->expert;
    if (a->shared != b->shared)
        return strcmp(a->shared, b->shared);
    return (int)role_kinds[a->role] - (int)role_kinds[b->role];
}

static int by_layer(const void *a, const void *b) {
    const struct found *x = a, *y = b;
    const int order = compare_layer(x, y);
    if (order)
        return order;
    return x->role != y->role ? (int)x->role - (int)y->role : x->module - y->module;
}

/* ---- fused layers ---- */

static enum mt_status check_roles(const struct fused *layer, const char *first) {
    static const struct { enum module_role from, to; } sets[] = {{ROLE_Q, ROLE_V}, {ROLE_GATE, ROLE_UP}};
    for (int i = 0; i < 2; i++) {
        if (layer->role[0] < sets[i].from || layer->role[0] > sets[i].to)
            continue;
        for (int role = (int)sets[i].from; role <= (int)sets[i].to; role++) {
            const int at = role - (int)sets[i].from;
            if (at >= layer->part_count || layer->role[at] != (enum module_role)role)
                return fail(MT_USAGE, "%s is there without the layer %s that runs with it as one", first,
                            role_names[role]);
        }
        return MT_OK;
    }
    return MT_OK;
}

static enum mt_status check_shapes(const struct fused *layer, const struct module *module) {
    const struct module *first = &module[layer->part[0]];
    for (int i = 1; i < layer->part_count; i++) {
        const struct module *other = &module[layer->part[i]];
        if (first->k != other->k)
            return fail(MT_USAGE, "%s has %d input features and %s %d, but they run as one layer with one input",
                        first->name, first->k, other->name, other->k);
        if (layer->role[0] == ROLE_GATE && first->n != other->n)
            return fail(MT_USAGE, "%s has %d output features and %s %d, but they are multiplied one by one",
                        first->name, first->n, other->name, other->n);
    }
    return MT_OK;
}

static void name_layer(const struct found *found, struct fused *out) {
    struct str name = {0}, layer = {0};
    if (found->place == PLACE_EXPERT)
        str_append(&layer, "experts.");
    else if (found->place == PLACE_SHARED)
        str_printf(&layer, "%s.", found->shared);
    str_append(&layer, kind_names[role_kinds[found->role]]);
    str_printf(&name, "%.*s%slayers.%d.", found->prefix, found->name, found->prefix ? "." : "", found->decoder);
    if (found->place == PLACE_EXPERT)
        str_printf(&name, "experts.%d.%s", found->expert, kind_names[role_kinds[found->role]]);
    else
        str_append(&name, layer.data);
    out->name = name.data;
    out->layer = layer.data;
}

/* Fuses found[0 .. count - 1], which belong together. */
static enum mt_status fuse(const struct found *found, int count, const struct module *module, struct fused *out) {
    *out = (struct fused){.decoder = found->decoder, .k = module[found->module].k};
    name_layer(found, out);
    for (int i = 0; i < count; i++) {
        if (i > 0 && (found[i].role == found[i - 1].role || i == FUSED_PARTS ||
                      (found[i].role == ROLE_QKV || found[i].role == ROLE_GATE_UP)))
            return fail(MT_USAGE, "%s and %s are both there, but a decoder layer can have only one of them",
                        found[i - 1].name, found[i].name);
        out->part[i] = found[i].module;
        out->role[i] = found[i].role;
        out->part_count = i + 1;
        if (__builtin_add_overflow(out->n, module[found[i].module].n, &out->n))
            return fail(MT_USAGE, "%s has too many features to be one layer", out->name);
    }
    const enum mt_status status = check_roles(out, found->name);
    return status ? status : check_shapes(out, module);
}

static enum mt_status fuse_all(const struct found *found, int count, const struct module *module, struct modules *out) {
    enum mt_status status = MT_OK;
    out->layer = xcalloc((size_t)count, sizeof *out->layer);
    for (int first = 0, end; first < count && !status; first = end) {
        for (end = first; end < count && !compare_layer(&found[first], &found[end]); end++)
            out->layer_of[found[end].module] = out->count;
        status = fuse(found + first, end - first, module, &out->layer[out->count++]);
        out->decoders = found[first].decoder + 1;
    }
    return status;
}

enum mt_status modules_find(const struct module *module, int count, struct modules *out) {
    struct found *found = xcalloc((size_t)count + 1, sizeof *found);
    int known = 0;
    *out = (struct modules){.layer_of = xcalloc((size_t)count + 1, sizeof *out->layer_of)};
    for (int i = 0; i < count; i++) {
        found[known] = (struct found){.module = i, .name = module[i].name};
        out->layer_of[i] = take_name(&module[i], &found[known]);
        known += out->layer_of[i] == 0;
    }
    enum mt_status status;
    if (known == 0) {
        status = fail(MT_USAGE, "no tensor is a linear layer of a decoder, such as layers.0.self_attn.q_proj");
    } else {
        known = keep_decoder(found, known, out->layer_of);
        qsort(found, (size_t)known, sizeof *found, by_layer);
        status = fuse_all(found, known, module, out);
    }
    free(found);
    if (status)
        modules_release(out);
    return status;
}

void modules_release(struct modules *modules) {
    for (int i = 0; i < modules->count; i++) {
        free(modules->layer[i].name);
        free(modules->layer[i].layer);
    }
    free(modules->layer);
    free(modules->layer_of);
    *modules = (struct modules){0};
}

bool fused_along_k(const struct fused *layer) {
    return layer->role[0] == ROLE_O || layer->role[0] == ROLE_DOWN;
}
