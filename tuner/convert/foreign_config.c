/* What config.json says of quantisation, for engines that load the other formats. */
#include "foreign.h"
#include "runtime/base/str.h"
#include <stdlib.h>
#include <string.h>

/* Linear layers that a config describes at once. */
static bool same_scheme(const struct linear *a, const struct linear *b) {
    return (a->rows8 > 0) == (b->rows8 > 0) && a->group == b->group && (a->rows8 > 0 || a->symmetric == b->symmetric) &&
           (a->activations == b->activations || json_equal(a->activations, b->activations));
}

/* The schemes of a model, few. first[s]: a linear layer that has it; of[i]: the scheme of layer i. */
struct schemes {
    int count;
    int *first, *of;
    int most; /* the scheme that most layers have */
};

static void schemes_find(const struct checkpoint *from, struct schemes *out) {
    int *layers = xcalloc((size_t)from->count, sizeof *layers);
    *out = (struct schemes){.first = xcalloc((size_t)from->count, sizeof *out->first),
                            .of = xcalloc((size_t)from->count, sizeof *out->of)};
    for (int i = 0; i < from->count; i++) {
        int s = 0;
        while (s < out->count && !same_scheme(&from->linear[out->first[s]], &from->linear[i]))
            s++;
        if (s == out->count)
            out->first[out->count++] = i;
        out->of[i] = s;
        out->most = ++layers[s] > layers[out->most] ? s : out->most;
    }
    free(layers);
}

static void schemes_release(struct schemes *schemes) {
    free(schemes->first);
    free(schemes->of);
}

static bool is_symmetric(const struct linear *l) {
    return l->rows8 > 0 || l->symmetric;
}

/* The name of a matrix that is not quantised and is no embedding; false if the tensor is none. */
static bool plain_linear(const struct tensor *tensor, struct str *name) {
    const char *dot = strrchr(tensor->name, '.');
    if (tensor->rank != 2 || !dot || strcmp(dot, ".weight") != 0 || strcasestr(tensor->name, "embed"))
        return false;
    str_clear(name);
    str_append_bytes(name, tensor->name, (size_t)(dot - tensor->name));
    return true;
}

/* ---- compressed-tensors ---- */

static json_t *ignored(const struct checkpoint *from) {
    json_t *list = json_array();
    struct str name = {0};
    bool head = false;
    for (int i = 0; i < from->carried_count; i++)
        if (plain_linear(from->carried[i], &name)) {
            json_array_append_new(list, json_string(name.data));
            head = head || !strcmp(name.data, "lm_head");
        }
    for (int i = 0; i < from->count; i++)
        head = head || !strcmp(from->linear[i].name, "lm_head");
    if (!head) /* tied to the embedding */
        json_array_append_new(list, json_string("lm_head"));
    str_release(&name);
    return list;
}

static json_t *weights_of(const struct linear *l) {
    return json_pack("{si ss sb ss so sb so}", "num_bits", l->rows8 ? 8 : 4, "type", "int", "symmetric",
                     is_symmetric(l), "strategy", l->group ? "group" : "channel", "group_size",
                     l->group ? json_integer(l->group) : json_null(), "dynamic", 0, "actorder", json_null());
}

static json_t *config_groups(const struct checkpoint *from, const struct schemes *schemes) {
    json_t *groups = json_object();
    for (int s = 0; s < schemes->count; s++) {
        const struct linear *l = &from->linear[schemes->first[s]];
        json_t *targets = json_array();
        char name[24];
        if (schemes->count == 1)
            json_array_append_new(targets, json_string("Linear"));
        for (int i = 0; schemes->count > 1 && i < from->count; i++)
            if (schemes->of[i] == s)
                json_array_append_new(targets, json_string(from->linear[i].name));
        snprintf(name, sizeof name, "group_%d", s);
        json_object_set_new(groups, name,
                            json_pack("{so so so so}", "targets", targets, "weights", weights_of(l),
                                      "input_activations",
                                      l->activations ? json_deep_copy(l->activations) : json_null(),
                                      "output_activations", json_null()));
    }
    return groups;
}

static json_t *config_compressed(const struct checkpoint *from, const struct schemes *schemes) {
    json_t *cache = from->format == FORMAT_COMPRESSED ? json_object_get(from->quantization, "kv_cache_scheme") : NULL;
    return json_pack("{ss ss ss so so so}", "quant_method", "compressed-tensors", "format", "pack-quantized",
                     "quantization_status", "compressed", "config_groups", config_groups(from, schemes), "ignore",
                     ignored(from), "kv_cache_scheme", cache ? json_deep_copy(cache) : json_null());
}

/* ---- GPTQ ---- */

/* A pattern that means this name alone. */
static void exact_pattern(const char *sign, const char *name, struct str *out) {
    str_clear(out);
    str_printf(out, "%s:^", sign);
    for (; *name; name++)
        str_printf(out, *name == '.' ? "\\%c" : "%c", *name);
    str_append(out, "$");
}

/* Layers that are other than most, and matrices of decoder layers that are not quantised. */
static json_t *dynamic(const struct checkpoint *from, const struct schemes *schemes) {
    json_t *rules = json_object();
    struct str pattern = {0}, name = {0};
    for (int i = 0; i < from->count; i++) {
        const struct linear *l = &from->linear[i];
        if (schemes->of[i] == schemes->most)
            continue;
        exact_pattern("+", l->name, &pattern);
        json_object_set_new(rules, pattern.data,
                            json_pack("{si si sb}", "bits", l->rows8 ? 8 : 4, "group_size", l->group ? l->group : -1,
                                      "sym", is_symmetric(l)));
    }
    for (int i = 0; i < from->carried_count; i++)
        if (plain_linear(from->carried[i], &name) && strstr(name.data, "layers.")) {
            exact_pattern("-", name.data, &pattern);
            json_object_set_new(rules, pattern.data, json_object());
        }
    str_release(&pattern);
    str_release(&name);
    return rules;
}

static json_t *config_gptq(const struct checkpoint *from, const struct schemes *schemes) {
    const struct linear *l = &from->linear[schemes->first[schemes->most]];
    json_t *rules = dynamic(from, schemes);
    bool head = false;
    for (int i = 0; i < from->count; i++)
        head = head || !strcmp(from->linear[i].name, "lm_head");
    json_t *config = json_pack("{ss ss si si sb sb sb ss}", "quant_method", "gptq", "checkpoint_format", "gptq_v2",
                               "bits", l->rows8 ? 8 : 4, "group_size", l->group ? l->group : -1, "desc_act", 0, "sym",
                               is_symmetric(l), "lm_head", head, "pack_dtype", "int32");
    if (json_object_size(rules) > 0)
        json_object_set(config, "dynamic", rules);
    json_decref(rules);
    return config;
}

json_t *foreign_config(const struct checkpoint *from, enum foreign_format format) {
    json_t *config = from->config ? json_deep_copy(from->config) : json_object();
    struct schemes schemes;
    schemes_find(from, &schemes);
    json_object_del(json_object_get(config, "text_config"), "quantization_config");
    json_object_set_new(config, "quantization_config",
                        format == FOREIGN_GPTQ ? config_gptq(from, &schemes) : config_compressed(from, &schemes));
    schemes_release(&schemes);
    return config;
}
