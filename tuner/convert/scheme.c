#include "scheme.h"
#include "runtime/base/str.h"
#include <limits.h>
#include <regex.h>
#include <string.h>
#include <strings.h>

/* A whole number that an int holds; `otherwise` where there is none. */
static int take_number(const json_t *object, const char *key, int otherwise) {
    const json_t *value = json_object_get(object, key);
    const json_int_t number = json_integer_value(value);
    return json_is_integer(value) && number >= INT_MIN && number <= INT_MAX ? (int)number : otherwise;
}

/* ---- targets ---- */

/* What of Python's patterns POSIX writes otherwise. */
static void pattern_translate(const char *from, struct str *out) {
    static const char *const words[][2] = {{"(?:", "("}, {"\\d", "[0-9]"}, {"*?", "*"}, {"+?", "+"}};
    str_append(out, "^(");
    while (*from) {
        size_t i = 0;
        while (i < sizeof words / sizeof *words && strncmp(from, words[i][0], strlen(words[i][0])) != 0)
            i++;
        if (i < sizeof words / sizeof *words) {
            str_append(out, words[i][1]);
            from += strlen(words[i][0]);
            continue;
        }
        const size_t length = *from == '\\' && from[1] ? 2 : 1;
        str_append_bytes(out, from, length);
        from += length;
    }
    str_append(out, ")");
}

enum mt_status scheme_target(const char *target, const char *name, bool *out) {
    *out = false;
    if (strncmp(target, "re:", 3) != 0) {
        *out = !strcmp(target, name);
        return MT_OK;
    }
    struct str pattern = {0};
    regex_t regex;
    pattern_translate(target + 3, &pattern);
    const int wrong = regcomp(&regex, pattern.data, REG_EXTENDED | REG_NOSUB);
    str_release(&pattern);
    if (wrong)
        return fail(MT_USAGE,
                    "the pattern `%.120s` among the targets of quantization_config in config.json is not understood; "
                    "name the layers instead",
                    target);
    *out = regexec(&regex, name, 0, NULL, 0) == 0;
    regfree(&regex);
    return MT_OK;
}

/* ---- compressed-tensors ---- */

/* The group whose targets have `name`; of those that fit by class the first. */
static enum mt_status group_find(const json_t *config, const char *name, json_t **out) {
    json_t *groups = json_object_get(config, "config_groups"), *by_class = NULL;
    *out = NULL;
    for (void *at = json_object_iter(groups); at; at = json_object_iter_next(groups, at)) {
        json_t *group = json_object_iter_value(at), *targets = json_object_get(group, "targets");
        for (size_t i = 0; i < json_array_size(targets); i++) {
            const char *target = json_string_value(json_array_get(targets, i));
            bool fits = false;
            if (target && !strcmp(target, "Linear"))
                by_class = by_class ? by_class : group;
            enum mt_status status = target ? scheme_target(target, name, &fits) : MT_OK;
            if (status)
                return status;
            if (fits) {
                *out = group;
                return MT_OK;
            }
        }
    }
    *out = by_class;
    return MT_OK;
}

static bool is_text(const json_t *value, const char *text) {
    return json_is_string(value) && !strcasecmp(json_string_value(value), text);
}

static bool is_said(const json_t *value) {
    return value && !json_is_null(value) && !json_is_false(value);
}

enum mt_status scheme_compressed(const json_t *config, const char *name, struct scheme_of *out) {
    json_t *group;
    *out = (struct scheme_of){.group = -1};
    enum mt_status status = group_find(config, name, &group);
    if (status || !group)
        return status;
    const json_t *weights = json_object_get(group, "weights"), *strategy = json_object_get(weights, "strategy"),
                 *type = json_object_get(weights, "type"), *inputs = json_object_get(group, "input_activations");
    const int group_size = take_number(weights, "group_size", 0);
    out->bits = take_number(weights, "num_bits", 0);
    out->asymmetric = json_is_false(json_object_get(weights, "symmetric"));
    out->inputs = is_said(inputs) ? inputs : NULL;
    if (is_text(strategy, "channel") || group_size < 0)
        out->group = 0;
    else if (group_size > 0)
        out->group = group_size;
    if ((type && !is_text(type, "int")) || (out->bits != 4 && out->bits != 8))
        return fail(MT_USAGE,
                    "%.120s has weights of %d bits of type %.20s by quantization_config in config.json, and mixtune "
                    "has integers of 4 and 8 bits",
                    name, out->bits, json_is_string(type) ? json_string_value(type) : "int");
    if (strategy && !json_is_null(strategy) && !is_text(strategy, "group") && !is_text(strategy, "channel"))
        return fail(MT_USAGE,
                    "%.120s has scales by strategy %.40s in quantization_config of config.json, and mixtune has them "
                    "by group and by channel",
                    name, json_is_string(strategy) ? json_string_value(strategy) : "(no text)");
    return MT_OK;
}

/* ---- GPTQ, AWQ ---- */

static enum mt_status take(const json_t *config, const char *bits, const char *group, const char *what,
                           struct scheme_of *out) {
    const bool awq = !strcmp(what, "AWQ");
    const int group_size = take_number(config, group, 0);
    *out = (struct scheme_of){.bits = take_number(config, bits, 0),
                              .group = group_size < 0 ? 0
                                       : group_size   ? group_size
                                                      : -1};
    if (out->bits == 0 || out->bits == 4 || (out->bits == 8 && !awq))
        return MT_OK;
    return fail(MT_USAGE, "quantization_config says that %s has weights of %d bits, and mixtune reads those of 4%s",
                what, out->bits, awq ? "" : " and 8");
}

/* The rule of `dynamic` that means `name`: "+:PATTERN" or "PATTERN"; what "-:PATTERN" means is not quantised. */
static enum mt_status rule_find(const json_t *config, const char *name, json_t **out) {
    json_t *rules = json_object_get(config, "dynamic");
    struct str target = {0};
    enum mt_status status = MT_OK;
    bool fits = false;
    *out = NULL;
    for (void *at = json_object_iter(rules); at && !fits && !status; at = json_object_iter_next(rules, at)) {
        const char *pattern = json_object_iter_key(at);
        if (!strncmp(pattern, "-:", 2))
            continue;
        str_clear(&target);
        str_printf(&target, "re:%s", pattern + (strncmp(pattern, "+:", 2) ? 0 : 2));
        status = scheme_target(target.data, name, &fits);
        if (fits)
            *out = json_object_iter_value(at);
    }
    str_release(&target);
    return status;
}

enum mt_status scheme_gptq(json_t *config, const char *name, struct scheme_of *out) {
    json_t *rule, *whole;
    enum mt_status status = rule_find(config, name, &rule);
    if (status)
        return status;
    whole = json_is_object(config) ? json_copy(config) : json_object();
    json_object_update(whole, rule);
    status = take(whole, "bits", "group_size", "GPTQ", out);
    out->asymmetric = json_is_false(json_object_get(whole, "sym"));
    json_decref(whole);
    return status;
}

enum mt_status scheme_awq(const json_t *config, struct scheme_of *out) {
    const bool old = json_object_get(config, "w_bit") != NULL; /* the names of quant_config.json */
    enum mt_status status = take(config, old ? "w_bit" : "bits", old ? "q_group_size" : "group_size", "AWQ", out);
    const json_t *version = json_object_get(config, "version");
    out->asymmetric = !json_is_false(json_object_get(config, "zero_point"));
    if (!status && json_is_string(version) && !is_text(version, "gemm"))
        status = fail(MT_USAGE,
                      "quantization_config says that AWQ's weights are laid out for version %.40s, and mixtune reads "
                      "gemm",
                      json_string_value(version));
    return status;
}
