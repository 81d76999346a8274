/* The kernel registry: families of templates, their knobs, and the one constraint function of each. */
#ifndef MT_FAMILY_H
#define MT_FAMILY_H

#include "runtime/base/str.h"
#include "runtime/layer/problem.h"
#include "sum_tree.h"
#include <cuda.h>
#include <stdbool.h>

#define MT_MAX_KNOBS    24
#define KNOB_VALUE_MOST (1 << 20)
/* Bytes of an SM's shared memory that each resident CTA takes for the system (CUDA C++ Programming Guide, compute
 * capability 8.0 on). */
#define MT_SYSTEM_SHARED 1024

struct knob {
    const char *name; /* as in spaces, --config and the database: "tile_n" */
    const char *doc;  /* one line for people */
    int fallback;     /* value when a config does not name it */
    bool launch;      /* a launch-time number (split_k, raster): does not need its own binary */
};

struct config {
    const struct family *family;
    int value[MT_MAX_KNOBS]; /* in the order of family->knobs; no family has more (DEFINE_FAMILY) */
};

/* What the constraint function needs to know of a device. */
struct device_limits {
    int cc, sm_count, smem_per_block_optin, smem_per_sm, regs_per_sm, threads_per_sm;
};

struct launch_shape {
    int tile_n, tile_m, tile_k; /* of a CTA: features (of the wider part), tokens, K step */
    int x_rows;                 /* tokens that one CTA loads of its tile: fewer where a cluster shares them */
    unsigned grid[3], block;
    int cluster;                   /* CTAs of a cluster; 0: the kernel has none */
    int split_k, stream_k, raster; /* what the kernel is told at launch (templates/gemm_args.h) */
    int parts_k;                   /* CTAs that share an output tile along K, but for stream_k */
    bool store;                    /* y is written through its tensor map, where its rows allow it */
    unsigned items;        /* parts of output tiles, which the CTAs share: what the grid would be without persistence;
                              INT_MAX: more than can be launched */
    size_t smem_bytes;     /* dynamic */
    size_t partials_bytes; /* workspace that this launch needs */
    size_t counters_bytes; /* likewise; 0 where it takes no workspace to share output tiles along K */
    struct sum_tree sums;  /* outputs of one tree agree bit for bit */
};

/* What all launches of one kernel for one layer have in common: only M is missing. */
struct launch_plan {
    struct launch_shape every; /* but for its grid (0, 1, 1), its items and, with split_k above 1, its workspace */
    int tiles_n, steps;        /* output tiles along N, of a cluster where there are such; K steps of one */
    int workers;               /* clusters that the device holds at once, which walk over the tiles; 0: each has one */
    size_t split_partials;     /* with split_k above 1 the workspace that such a tile takes, of both kinds */
    size_t split_counters;
    int most_split; /* from more tiles on none is split: counters have no more room than that */
};

struct family {
    const char *name;          /* "sm80", "f16" */
    const char *template_name; /* "gemm_sm80.cu" */
    const char *entry;         /* extern "C" name of the kernel */
    const char
        *quick_spaces; /* in configs/spaces/, for a first table in minutes; the whole space has the family's name */
    const char *few, *many; /* configurations for few and for very many tokens where nothing was tuned near; NULL: none.
                               They run in all formats on every GPU of the family whose shared memory they fit */
    int min_cc;
    bool quantised;  /* false: a fp16 baseline family */
    bool persistent; /* a launch has no more CTAs than the device holds; they walk over the work items */
    bool tensor_map; /* reads x through mt_gemm_args.x_map, box {128, x_rows}, and may write y through y_map */
    const struct knob *knobs;
    int knob_count;
    /* True if the kernel can be built and launched so; else one reason in `reason`. */
    bool (*allowed)(const struct config *c, const struct problem *p, const struct device_limits *d, char reason[160]);
    /* m and bias of the problem do not matter. Without most_split: config_plan() asks it. */
    void (*plan)(const struct config *c, const struct problem *p, int sm_count, struct launch_plan *out);
    /* The plan at m (plan.h). */
    void (*shape)(const struct config *c, const struct problem *p, int sm_count, struct launch_shape *out);
    /* Appends the -D options, each after a space, of the knobs and of the problem's formats (not of M, N, K: one binary
     * serves every layer). */
    void (*options)(const struct config *c, const struct problem *p, struct str *options);
};

/* Every family, the newest first. NAME stands for runtime/family/NAME.c, templates/gemm_NAME.cu and its kernel
 * gemm_NAME; configs/spaces/NAME.yaml is its whole space. */
#define FAMILY_LIST(FAMILY) FAMILY(sm90) FAMILY(sm80) FAMILY(f16)

#define FAMILY_DECLARED(name) extern const struct family family_##name;
#define FAMILY_NUMBERED(name) FAMILY_##name,
FAMILY_LIST(FAMILY_DECLARED)
enum { FAMILY_LIST(FAMILY_NUMBERED) FAMILY_COUNT };

/* Defines family_NAME with the array of its knobs; the rest are initialisers of struct family. A name that is not
 * in the list and more knobs than a configuration can hold do not compile. */
#define DEFINE_FAMILY(which, list, ...)                                                                                \
    _Static_assert(FAMILY_##which < FAMILY_COUNT, "family " #which " is not in FAMILY_LIST (family.h)");               \
    _Static_assert(sizeof(list) / sizeof *(list) <= MT_MAX_KNOBS, "more knobs than MT_MAX_KNOBS (family.h)");          \
    const struct family family_##which = {.name = #which,                                                              \
                                          .template_name = "gemm_" #which ".cu",                                       \
                                          .entry = "gemm_" #which,                                                     \
                                          .knobs = (list),                                                             \
                                          .knob_count = sizeof(list) / sizeof *(list),                                 \
                                          .shape = config_shape,                                                       \
                                          __VA_ARGS__}

/* The family's plan where counters have so much room: a launch with more tiles fills the GPU without splitting K. */
void config_plan(const struct config *c, const struct problem *p, int sm_count, size_t counters_bytes,
                 struct launch_plan *out);
/* Every family's `shape`. */
void config_shape(const struct config *c, const struct problem *p, int sm_count, struct launch_shape *out);

/* The list as pointers; NULL-terminated. */
const struct family *const *family_list(void);
const struct family *family_find(const char *name); /* NULL if unknown */
int family_number(const struct family *family);     /* its place in the list; FAMILY_COUNT for NULL */
/* MT_USAGE that names the families there are. */
enum mt_status family_named(const char *name, const struct family **out);
/* MT_USAGE: the family has no such knob; the sentence has those that are near, or all. */
enum mt_status family_no_knob(const struct family *family, const char *name);

/* Whether the family's kernels can be built for that compute capability; those of 9.0 use what sm_90a alone has. */
bool family_runs_on(const struct family *family, int cc);

int config_get(const struct config *c, const char *knob);                   /* -1: the family has no such knob */
int config_get_or(const struct config *c, const char *knob, int otherwise); /* where the family has no such knob */
bool config_equal(const struct config *a, const struct config *b);          /* in every knob */
bool config_is_default(const struct config *c);
void config_default(const struct family *family, struct config *out);
/* A number that a binary is built for is no larger; this keeps what is computed of them in an int. */
enum { MOST_BUILT = 1024 };

/* What stands in where nothing was tuned near: number 0 for few tokens, 1 for very many. False when there are no
 * more. */
bool family_stand_in(const struct family *family, int number, struct config *out);

/* "tile_n=128,stages=4" over the family's defaults. MT_USAGE names the unknown knob and those that exist. */
enum mt_status config_parse(const struct family *family, const char *text, struct config *out);
/* All knobs in registry order: the canonical text that the database stores. Appends. */
void config_format(const struct config *c, struct str *out);
/* Same without launch-time knobs: equal texts share one binary. Appends. */
void config_format_binary(const struct config *c, const struct problem *p, struct str *out);
bool config_allowed(const struct config *c, const struct problem *p, const struct device_limits *d, char reason[160]);

#endif
