/* What a bundle says of kernels, understood: texts become configurations, and a kernel gets the bytes that it may run.
 *
 * Nothing that a bundle says is believed: a family, a configuration or a format that this library would not have
 * exported is MT_FAILURE with one sentence. */
#ifndef MT_CONTENTS_H
#define MT_CONTENTS_H

#include "db/bundle/bundle.h"
#include "runtime/family/family.h"

/* What one binary is built of. */
struct contents_build {
    struct config config;   /* of the formats; launch-time knobs have their fallback. No family: the quantisation */
    struct problem formats; /* a roomy problem of these: group, scheme and type are the kernel's */
};

/* A problem with such formats that no configuration is too large for. `scheme` as problem_scheme() has it. */
enum mt_status contents_formats(const char *scheme, const char *dtype, int group, struct problem *out);

/* The build of a configuration (all knobs, as config_format() writes them) for formats, on any GPU of such a kind. */
enum mt_status contents_build(const struct bundle_fingerprint *gpu, const char *family, const char *config,
                              const struct problem *formats, struct contents_build *out);

/* The most of everything that a GPU of compute capability 8.0 or later has: what a bundle is held to, wherever it is. */
struct device_limits contents_limits(int cc, int sm_count);

/* MT_FAILURE with the reason if the configuration cannot run `p`, whatever such a GPU has of everything. */
enum mt_status contents_allowed(const struct bundle_fingerprint *gpu, const struct config *config,
                                const struct problem *p);

/* A layer of the bundle; m is 0. */
enum mt_status contents_layer(const struct bundle_layer *from, struct problem *out);

/* Of one row. `e` is a BUNDLE_KERNEL or a BUNDLE_INVARIANT; its layer is `p`. */
enum mt_status contents_entry(const struct bundle_fingerprint *gpu, const struct bundle_entry *e,
                              const struct problem *p, struct contents_build *out);
/* Whether a BUNDLE_INVARIANT that contents_entry() has understood adds up in the order of the layer's others. `sums` is
 * theirs, no tree before the first of them, whose tree it becomes. */
enum mt_status contents_sums(const struct bundle_fingerprint *gpu, const struct bundle_entry *e,
                             const struct problem *p, struct sum_tree *sums);
enum mt_status contents_variant(const struct bundle_fingerprint *gpu, const struct bundle_build *v,
                                struct contents_build *out);
/* The default of a family, or the quantisation of activations. */
enum mt_status contents_fallback(const struct bundle_fingerprint *gpu, const struct bundle_build *f,
                                 struct contents_build *out);

/* Appends what is compiled, as bundle_image.built has it: the template and its options. Builds with one text are one
 * binary. */
void contents_built(const struct contents_build *build, struct str *out);

/* The name of the kernel in its image. */
const char *contents_entry_point(const struct contents_build *build);

#endif
