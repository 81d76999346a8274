#include "contents.h"
#include "fit.h"
#include "runtime/gpu/launch.h"
#include <string.h>

/* Larger than every tile, and with more K steps than a pipeline has stages. */
enum { ROOMY = 1 << 16 };

#define QUANTIZE "quantize"

enum mt_status contents_formats(const char *scheme, const char *dtype, int group, struct problem *out) {
    const bool mixed = !strncmp(scheme, "mixed", 5), wide = !strcmp(scheme, "w8a8");
    *out = (struct problem){.m = ROOMY,
                            .n = ROOMY,
                            .k = ROOMY,
                            .group = group,
                            .rows8 = wide    ? ROOMY
                                     : mixed ? ROOMY / 2
                                             : 0};
    enum mt_status status = problem_take_scheme(out, scheme);
    if (status == MT_OK)
        status = dtype_parse(dtype, &out->dtype);
    if (status == MT_OK)
        status = problem_check(out);
    return status == MT_OK ? MT_OK : MT_FAILURE;
}

struct device_limits contents_limits(int cc, int sm_count) {
    return (struct device_limits){.cc = cc,
                                  .sm_count = sm_count,
                                  .smem_per_block_optin = 227 << 10,
                                  .smem_per_sm = 228 << 10,
                                  .regs_per_sm = 65536,
                                  .threads_per_sm = 2048};
}

enum mt_status contents_allowed(const struct bundle_fingerprint *gpu, const struct config *config,
                                const struct problem *p) {
    const struct device_limits most = contents_limits(gpu->cc, gpu->sm_count);
    char reason[160];
    return config_allowed(config, p, &most, reason)
               ? MT_OK
               : fail(MT_FAILURE, "family %s cannot run so: %s", config->family->name, reason);
}

static enum mt_status family_of(const struct bundle_fingerprint *gpu, const char *name, const struct family **out) {
    *out = family_find(name);
    if (!*out || !(*out)->quantised)
        return fail(MT_FAILURE, "this library knows no quantised kernels of family \"%s\"", name);
    if (!family_runs_on(*out, gpu->cc))
        return fail(MT_FAILURE, "family %s has no kernels for compute capability %d.%d", name, gpu->cc / 10,
                    gpu->cc % 10);
    return MT_OK;
}

/* All knobs, each within what it can be, in the one way to write them. */
static enum mt_status config_read(const struct family *family, const char *text, struct config *out) {
    struct str again = {0};
    enum mt_status status = config_parse(family, text, out);
    if (status == MT_OK) {
        config_format(out, &again);
        status = str_status(&again);
    }
    if (status == MT_OK && strcmp(again.data, text) != 0)
        status = fail(MT_FAILURE, "the configuration \"%s\" of family %s is not written as `mixtune export` does", text,
                      family->name);
    str_release(&again);
    return status == MT_OK ? MT_OK : MT_FAILURE;
}

static void launch_knobs_reset(struct config *config) {
    for (int i = 0; i < config->family->knob_count; i++)
        if (config->family->knobs[i].launch)
            config->value[i] = config->family->knobs[i].fallback;
}

/* `tuned` gets the configuration itself. */
static enum mt_status build_of(const struct bundle_fingerprint *gpu, const char *family, const char *config,
                               const struct problem *formats, struct contents_build *out, struct config *tuned) {
    const struct family *found;
    *out = (struct contents_build){.formats = *formats};
    enum mt_status status = family_of(gpu, family, &found);
    if (status == MT_OK)
        status = config_read(found, config, tuned);
    if (status != MT_OK)
        return status;
    out->config = *tuned;
    config_adapt(&out->config, formats);
    launch_knobs_reset(&out->config);
    return contents_allowed(gpu, &out->config, formats);
}

enum mt_status contents_build(const struct bundle_fingerprint *gpu, const char *family, const char *config,
                              const struct problem *formats, struct contents_build *out) {
    struct config tuned;
    return build_of(gpu, family, config, formats, out, &tuned);
}

enum mt_status contents_layer(const struct bundle_layer *from, struct problem *out) {
    *out = (struct problem){.m = 1, .n = from->n, .k = from->k, .group = from->group, .rows8 = from->rows8};
    enum mt_status status = problem_check(out);
    if (status == MT_OK)
        status = problem_take_scheme(out, from->scheme);
    if (status == MT_OK)
        status = dtype_parse(from->dtype, &out->dtype);
    out->m = 0;
    return status == MT_OK ? MT_OK : MT_FAILURE;
}

enum mt_status contents_entry(const struct bundle_fingerprint *gpu, const struct bundle_entry *e,
                              const struct problem *p, struct contents_build *out) {
    struct problem at = *p, formats;
    struct config tuned;
    at.m = e->m;
    enum mt_status status = problem_check(&at) == MT_OK ? MT_OK : MT_FAILURE;
    if (status == MT_OK)
        status = contents_formats(problem_scheme(p), dtype_name(p->dtype), p->group, &formats);
    if (status == MT_OK)
        status = build_of(gpu, e->family, e->config, &formats, out, &tuned);
    if (status == MT_OK)
        status = contents_allowed(gpu, &tuned, &at);
    return status == MT_OK ? MT_OK
                           : fail_context(status, "its %s at M %d",
                                          e->kind == BUNDLE_INVARIANT ? "batch-invariant kernel" : "winner", e->m);
}

enum mt_status contents_sums(const struct bundle_fingerprint *gpu, const struct bundle_entry *e,
                             const struct problem *p, struct sum_tree *sums) {
    struct problem at = *p;
    struct config config;
    struct str own = {0}, theirs = {0};
    at.m = e->m;
    enum mt_status status = config_parse(family_find(e->family), e->config, &config);
    if (status != MT_OK)
        return status;
    const struct sum_tree here = config_sums(&config, &at, gpu->sm_count);
    if (sums->parts == 0)
        *sums = here;
    if (sum_tree_equal(&here, sums))
        return MT_OK;
    sum_tree_format(&here, &own);
    sum_tree_format(sums, &theirs);
    status =
        fail(MT_FAILURE, "its batch-invariant kernel at M %d adds up %s%s%s: bits would depend on M; export it again",
             e->m, str_text(&own), here.parts ? ", and at lower M " : "", here.parts ? str_text(&theirs) : "");
    str_release(&own);
    str_release(&theirs);
    return status;
}

enum mt_status contents_variant(const struct bundle_fingerprint *gpu, const struct bundle_build *v,
                                struct contents_build *out) {
    struct problem formats;
    enum mt_status status = contents_formats(v->scheme, v->dtype, v->group, &formats);
    if (status == MT_OK)
        status = contents_build(gpu, v->family, v->config, &formats, out);
    return status == MT_OK ? MT_OK
                           : fail_context(status, "a winner of family %s for %s, group %d, %s", v->family, v->scheme,
                                          v->group, v->dtype);
}

enum mt_status contents_fallback(const struct bundle_fingerprint *gpu, const struct bundle_build *f,
                                 struct contents_build *out) {
    const bool quantize = !strcmp(f->family, QUANTIZE);
    struct problem formats;
    enum mt_status status = MT_OK;
    if (quantize && (*f->config || *f->scheme))
        status = fail(MT_FAILURE, "the quantisation of activations has neither a configuration nor a scheme");
    if (status == MT_OK)
        status = contents_formats(quantize ? "w8a8" : f->scheme, f->dtype, f->group, &formats);
    if (status == MT_OK && quantize)
        *out = (struct contents_build){.formats = formats};
    else if (status == MT_OK)
        status = contents_build(gpu, f->family, f->config, &formats, out);
    return status == MT_OK ? MT_OK
                           : fail_context(status, "the default of family %s for %s, group %d, %s", f->family,
                                          *f->scheme ? f->scheme : "all schemes", f->group, f->dtype);
}

void contents_built(const struct contents_build *build, struct str *out) {
    if (build->config.family)
        config_format_binary(&build->config, &build->formats, out);
    else
        kernel_format_quantize(&build->formats, out);
}

const char *contents_entry_point(const struct contents_build *build) {
    return build->config.family ? build->config.family->entry : QUANTIZE_ENTRY;
}
