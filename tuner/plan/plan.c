#include "plan.h"
#include "fit.h"
#include "runtime/base/array.h"
#include "runtime/base/str.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

void plan_default_spaces(const struct device *dev, bool quick, struct str *out) {
    const char *separator = "";
    for (const struct family *const *f = family_list(); *f; f++)
        if ((*f)->quantised && family_runs_on(*f, dev->cc)) {
            str_printf(out, "%s%s", separator, quick ? (*f)->quick_spaces : (*f)->name);
            separator = ",";
        }
}

static int count_family(const struct config_list *configs, const struct family *family) {
    int count = 0;
    for (int i = 0; i < configs->count; i++)
        count += configs->config[i].family == family;
    return count;
}

void plan_thin(struct config_list *configs, const struct workload *workload, const struct device_limits *limits,
               int max) {
    char reason[160];
    int kept = 0;
    for (int i = 0; i < configs->count; i++)
        if (fit_somewhere(&configs->config[i], workload, limits, reason))
            configs->config[kept++] = configs->config[i];
    configs->count = kept;
    for (const struct family *const *f = family_list(); *f && max; f++) {
        long of_family = count_family(configs, *f), seen = 0;
        if (of_family <= max)
            continue;
        kept = 0;
        for (int i = 0; i < configs->count; i++) {
            bool other = configs->config[i].family != *f;
            /* The k-th kept one is number k * of_family / max. */
            bool keep = other || seen * max % of_family < max;
            seen += !other;
            if (keep)
                configs->config[kept++] = configs->config[i];
        }
        configs->count = kept;
    }
}

static enum mt_status add_candidate(struct plan *plan, const struct candidate *candidate, bool software,
                                    struct store *store) {
    struct str config_text = {0};
    struct store_measurement key;
    int found = 0;
    candidate_row(candidate, software, &config_text, &key);
    enum mt_status status = store ? store_has(store, &key, &found) : MT_OK;
    str_release(&config_text);
    plan->current += found;
    if (status || found)
        return status;
    array_grow(&plan->item, &plan->capacity, (size_t)plan->count, sizeof *plan->item);
    plan->item[plan->count++] = *candidate;
    return MT_OK;
}

/* What every plan_make() step needs. */
struct planning {
    struct plan *plan;
    const struct workload *workload;
    const struct config_list *configs;
    const struct plan_target *target;
    struct device_limits limits;
    struct binaries *binaries;
    struct store *store;
    int *binary; /* of each configuration for the formats of the current layer; -1: not asked yet */
};

/* An earlier problem may have had the same baseline: of another scheme or group, which a baseline does not know. */
static bool baseline_planned(const struct workload *w, int at) {
    const struct problem *p = &w->item[at].problem;
    for (int i = 0; i < at; i++) {
        const struct problem *q = &w->item[i].problem;
        if (q->m == p->m && q->n == p->n && q->k == p->k && q->dtype == p->dtype)
            return true;
    }
    return false;
}

/* The token tiles that are worth a measurement for a batch. A larger tile than one that holds all tokens does the same
 * work and more. With tiles of a quarter of what could be had, or less, the weights are read and unpacked that many
 * times more often. */
struct tiles {
    int least, most, largest; /* largest: of all that there are */
};

static struct tiles useful_tiles(const struct config_list *configs, const struct family *family, int m) {
    int enough = INT_MAX, largest = 0;
    for (int i = 0; i < configs->count; i++) {
        const struct config *c = &configs->config[i];
        const int tile = c->family == family ? config_get(c, "tile_m") : 0;
        if (tile >= m && tile < enough)
            enough = tile;
        if (tile > largest)
            largest = tile;
    }
    const int could = m < largest ? m : largest;
    return (struct tiles){could / 4 + 1, enough, largest};
}

/* Sharing a tile along K is for SMs that would have none: what fills the device four times over is shared no further. */
static bool split_is_useful(const struct config *c, const struct problem *p, int sm_count) {
    struct launch_shape shape;
    c->family->shape(c, p, sm_count, &shape);
    return shape.split_k == 1 || shape.items <= 4 * (unsigned)sm_count;
}

/* Where NVIDIA's libraries are, they are the baseline: a quick sweep then takes the tiles that hold all tokens, or the
 * largest, and nothing else of ours. */
static bool stands_by(const struct config *c, const struct tiles *tiles) {
    const int tile = tiles->most < tiles->largest ? tiles->most : tiles->largest;
    return config_get(c, "tile_m") == tile && config_get(c, "warps_m") == 1 && config_get(c, "split_k") == 1;
}

/* Quantised kernels are compared with fp16/bf16 GEMMs of the same shape. Those of family f16 run everywhere: appends
 * the configurations that a baseline for `p` is the best of. */
static enum mt_status baseline_configs(const struct problem *p, const struct planning *s, struct config_list *out) {
    struct config_list all = {0};
    char reason[160];
    const bool library = s->target->cublas && s->target->cublaslt, quick = s->target->quick;
    enum mt_status status = config_list_read(quick ? family_f16.quick_spaces : family_f16.name, &all);
    const struct tiles tiles = useful_tiles(&all, &family_f16, p->m);
    for (int i = 0; i < all.count && !status; i++) {
        const struct config *c = &all.config[i];
        const int tile = config_get(c, "tile_m");
        if (tile >= tiles.least && tile <= tiles.most && config_allowed(c, p, &s->limits, reason) &&
            split_is_useful(c, p, s->limits.sm_count) && (!quick || !library || stands_by(c, &tiles)))
            config_list_add(out, c);
    }
    config_list_release(&all);
    return status;
}

static enum mt_status plan_baselines(struct planning *s, int at) {
    const struct work_item *item = &s->workload->item[at];
    struct candidate candidate = {.item = item, .baseline = true, .binary = -1};
    struct config_list configs = {0};
    if (baseline_planned(s->workload, at))
        return MT_OK;
    enum mt_status status = baseline_configs(&item->problem, s, &configs);
    if (!status && s->target->cublas)
        status = add_candidate(s->plan, &candidate, s->target->dev->software, s->store);
    candidate.library = LIBRARY_CUBLASLT;
    if (!status && s->target->cublaslt)
        status = add_candidate(s->plan, &candidate, s->target->dev->software, s->store);
    for (int i = 0; i < configs.count && !status; i++) {
        candidate.config = configs.config[i];
        candidate.binary = binaries_add(s->binaries, &candidate.config, &item->problem);
        status = add_candidate(s->plan, &candidate, s->target->dev->software, s->store);
    }
    config_list_release(&configs);
    return status;
}

/* What quantising the activations takes depends on neither the features nor the scheme. */
static enum mt_status plan_quantize(struct planning *s, int at) {
    const struct work_item *item = &s->workload->item[at];
    const struct problem *p = &item->problem;
    struct candidate candidate = {.item = item, .baseline = true, .library = LIBRARY_QUANTIZE};
    for (int i = 0; i < at; i++) {
        const struct problem *q = &s->workload->item[i].problem;
        if (q->m == p->m && q->k == p->k && q->group == p->group && q->dtype == p->dtype)
            return MT_OK;
    }
    candidate.binary = binaries_add(s->binaries, &candidate.config, p);
    return add_candidate(s->plan, &candidate, s->target->dev->software, s->store);
}

static enum mt_status plan_kernels(struct planning *s, int at) {
    const struct work_item *item = &s->workload->item[at];
    char reason[160];
    enum mt_status status = MT_OK;
    const struct family *family = NULL;
    struct tiles tiles = {0};
    for (int i = 0; i < s->configs->count && !status; i++) {
        const struct config *config = &s->configs->config[i];
        if (config->family->min_cc > s->target->dev->cc || !config_allowed(config, &item->problem, &s->limits, reason))
            continue;
        const bool baseline = !config->family->quantised; /* of any scheme */
        if (baseline && baseline_planned(s->workload, at))
            continue;
        if (config->family != family) {
            family = config->family;
            tiles = useful_tiles(s->configs, family, item->problem.m);
        }
        const int tile = config_get(config, "tile_m");
        if (!s->target->every && (tile < tiles.least || tile > tiles.most) &&
            !config_is_default(config)) /* the default is measured anyway */
            continue;
        if (s->binary[i] < 0)
            s->binary[i] = binaries_add(s->binaries, config, &item->problem);
        struct candidate candidate = {.item = item, .config = *config, .baseline = baseline, .binary = s->binary[i]};
        status = add_candidate(s->plan, &candidate, s->target->dev->software, s->store);
    }
    return status;
}

/* Binaries of candidates that are all skipped need not be compiled: only those of the plan stay wanted. */
static void want_binaries(struct planning *s) {
    for (int i = 0; i < s->plan->count; i++)
        if (s->plan->item[i].binary >= 0)
            s->binaries->item[s->plan->item[i].binary].wanted = true;
}

enum mt_status plan_make(struct plan *plan, const struct workload *workload, const struct config_list *configs,
                         const struct plan_target *target, struct binaries *binaries, struct store *store) {
    *plan = (struct plan){0};
    struct planning s = {.plan = plan,
                         .workload = workload,
                         .configs = configs,
                         .target = target,
                         .binaries = binaries,
                         .store = store,
                         .binary = xmalloc((size_t)(configs->count + 1) * sizeof *s.binary)};
    device_limits_of(target->dev, &s.limits);
    enum mt_status status = MT_OK;
    for (int begin = 0, end; begin < workload->count && !status; begin = end) {
        for (end = begin; end < workload->count && work_same_layer(&workload->item[begin], &workload->item[end]); end++)
            ;
        for (int i = 0; i < configs->count; i++)
            s.binary[i] = -1;
        for (int i = begin; i < end && !status; i++)
            if (!(status = plan_baselines(&s, i)))
                status = plan_quantize(&s, i);
        for (int i = begin; i < end && !status; i++)
            status = plan_kernels(&s, i);
    }
    want_binaries(&s);
    free(s.binary);
    if (status)
        plan_release(plan);
    return status;
}

void plan_release(struct plan *plan) {
    free(plan->item);
    *plan = (struct plan){0};
}
