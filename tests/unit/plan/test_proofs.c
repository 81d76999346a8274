/* What the proof spaces hold, which tests/cli/test_verify*.sh run: computed from the knobs, the rules and the sweep spaces
 * of each family. `test_proofs --print NAME` writes a space that holds it (`make proof-spaces`).
 *
 * A proof counts where each output has several tiles along M and N and several K steps. Then
 * - each pair of values of two knobs that can meet does meet;
 * - each pair of values of two knobs that do not shape the tile meets with every number of fragments along the features;
 * - every combination of the knobs of arithmetic is there, and each two of them, with every number of fragments, for two
 *   widths of the token tile. */
#include "runtime/base/status.h"
#include "tuner/plan/plan.h"
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

enum { MOST_VALUES = 16, MOST_IDS = 64, MOST_PRODUCT = 64, SHAPES = 3, SCHEMES = 3, MOST_MISSING = 12 };

/* One way of running a proof space, and what of it is asked for. */
struct wanted {
    const char *scheme;
    bool pairs;
    const char *many; /* knobs with so many values that pairs with them would need too many kernels */
    bool fragments;   /* pairs with every number of fragments */
    bool arithmetic;
};

struct coverage {
    const char *family, *proof;
    struct device_limits limits;
    int shape[SHAPES][3];
    const char *features;   /* the knob that decides how many fragments a warp has along the features */
    const char *tile;       /* all knobs that shape the tile */
    const char *arithmetic; /* knobs that decide how numbers are computed */
    const char *more;       /* values that no sweep space has: "knob=value knob=value" */
    struct wanted wanted[SCHEMES];
};

#define A100                                                                                                           \
    { 80, 108, 166912, 167936, 65536, 2048 }
#define H100                                                                                                           \
    { 90, 132, 232448, 233472, 65536, 2048 }
#define TILE_SM80 "tile_n,tile_n8,tile_m,warps_n,warps_m"
#define TILE_SM90 "blocks,blocks8,tile_m,consumers,pingpong,share_k"

static const struct coverage spaces[] = {
    {"sm80",
     "proof-sm80",
     A100,
     {{33, 257, 1800}, {140, 136, 900}, {390, 136, 140}},
     "tile_n",
     TILE_SM80,
     "tile_n,promote,zero,order",
     "",
     {{"w4a8", true, "", true, true},
      {"w8a8", true, "tile_m,stages", false, true},
      {"w4a8-sym", false, "", false, true}}},
    {"sm80",
     "proof-sm80-tiles",
     A100,
     {{33, 257, 300}},
     "tile_n",
     TILE_SM80,
     "promote,zero,order",
     "tile_n8=128 warps_n=2 raster=2",
     {{"p20", true, "tile_m,stages", true, true}, {"p20-sym", false, "", false, true}}},
    {"sm90",
     "proof-sm90",
     H100,
     {{100, 393, 300}, {200, 136, 800}, {580, 136, 140}},
     "blocks",
     TILE_SM90,
     "blocks,promote,zero",
     "tile_m=24 store=0 promote=1",
     {{"w4a8", true, "", true, true},
      {"w8a8", true, "tile_m,stages,ctas,split_k", false, true},
      {"w4a8-sym", false, "", false, true}}},
    {"sm90",
     "proof-sm90-tiles",
     H100,
     {{33, 257, 300}},
     "blocks",
     TILE_SM90,
     "promote,zero",
     "blocks8=2 store=0 promote=1 raster=2",
     {{"p20", true, "tile_m,stages", false, true}, {"p20-sym", false, "", false, true}}},
    {"f16",
     "proof-f16",
     A100,
     {{33, 257, 129}, {140, 136, 1000}, {390, 136, 140}},
     "tile_n",
     "tile_n,tile_m,warps_n,warps_m",
     "",
     "",
     {{"w4a8", true, "", true, false}}},
};
enum { SPACES = sizeof spaces / sizeof *spaces };

static bool in_list(const char *list, const char *name) {
    for (const char *at = list; (at = strstr(at, name)); at++)
        if ((at == list || at[-1] == ',') && (at[strlen(name)] == ',' || !at[strlen(name)]))
            return true;
    return false;
}

/* ---- the values of each knob, over all sweep spaces of a family ---- */

struct axes {
    const struct family *family;
    int value[MT_MAX_KNOBS][MOST_VALUES], count[MT_MAX_KNOBS], first[MT_MAX_KNOBS], ids; /* an id for each value */
};

static void axes_add(struct axes *axes, int knob, int value) {
    for (int i = 0; i < axes->count[knob]; i++)
        if (axes->value[knob][i] == value)
            return;
    assert_true(axes->count[knob] < MOST_VALUES);
    axes->value[knob][axes->count[knob]++] = value;
}

static void axes_add_space(struct axes *axes, const char *path) {
    struct space space;
    if (space_read(path, &space))
        fail_msg("%s", fail_message());
    for (int k = 0; space.family == axes->family && k < axes->family->knob_count; k++) {
        for (uint32_t i = 0; space.values[k] && i < space.counts[k]; i++)
            axes_add(axes, k, space.values[k][i]);
        for (uint32_t i = 0; i < space.listed_count; i++)
            axes_add(axes, k, space.listed[i].value[k]);
    }
    space_release(&space);
}

static void axes_make(const struct coverage *c, struct axes *axes) {
    glob_t files;
    *axes = (struct axes){.family = family_find(c->family)};
    assert_int_equal(glob(MT_SOURCE_DIR "/configs/spaces/*.yaml", 0, NULL, &files), 0);
    for (size_t i = 0; i < files.gl_pathc; i++)
        if (!strstr(files.gl_pathv[i], "/proof-"))
            axes_add_space(axes, files.gl_pathv[i]);
    globfree(&files);
    for (int k = 0; k < axes->family->knob_count; k++) {
        const struct knob *knob = &axes->family->knobs[k];
        for (const char *at = c->more; (at = strstr(at, knob->name)); at++)
            if (at[strlen(knob->name)] == '=' && (at == c->more || at[-1] == ' ')) {
                if (axes->count[k] == 0)
                    axes_add(axes, k, knob->fallback);
                axes_add(axes, k, atoi(at + strlen(knob->name) + 1));
            }
        if (axes->count[k] == 0)
            axes_add(axes, k, knob->fallback);
        axes->first[k] = axes->ids;
        axes->ids += axes->count[k];
    }
    assert_true(axes->ids <= MOST_IDS);
}

/* A configuration as indices of its values; false if a value is none of the axes'. */
static bool axes_find(const struct axes *axes, const struct config *config, int at[MT_MAX_KNOBS]) {
    for (int k = 0; k < axes->family->knob_count; k++) {
        for (at[k] = 0; at[k] < axes->count[k] && axes->value[k][at[k]] != config->value[k];)
            at[k]++;
        if (at[k] == axes->count[k])
            return false;
    }
    return true;
}

static void axes_config(const struct axes *axes, const int at[MT_MAX_KNOBS], struct config *out) {
    config_default(axes->family, out);
    for (int k = 0; k < axes->family->knob_count; k++)
        out->value[k] = axes->value[k][at[k]];
}

/* ---- a family's space under one scheme ---- */

/* What meets: pairs of ids; for pairs of knobs that do not shape the tile, with each value of the features' knob, the
 * token tiles on which they do, a bit each; the combinations of the arithmetic. */
struct cover {
    bool single[MOST_IDS], pair[MOST_IDS][MOST_IDS], product[MOST_PRODUCT];
    uint16_t triple[MOST_IDS][MOST_IDS][4];
};

struct view {
    const struct coverage *c;
    const struct wanted *wanted;
    struct axes axes;
    struct problem problem[SHAPES];
    int shapes, features, tokens; /* the knobs of the tile's two sides */
    bool shapes_tile[MT_MAX_KNOBS], computes[MT_MAX_KNOBS], many[MT_MAX_KNOBS];
    bool free[MT_MAX_KNOBS]; /* no rule depends on it */
    struct cover possible, proved;
};

/* "p20", "p20-sym" or a scheme. */
static void set_scheme(struct problem *p, const char *scheme) {
    char name[16];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(scheme, "-"), scheme);
    assert_int_equal(problem_set_scheme(p, *scheme == 'p' ? name : scheme), MT_OK);
    p->symmetric = strstr(scheme, "-sym") != NULL;
}

static int knob_number(const struct family *family, const char *name) {
    for (int k = 0; k < family->knob_count; k++)
        if (!strcmp(family->knobs[k].name, name))
            return k;
    fail_msg("family %s has no knob %s", family->name, name);
    return -1;
}

/* Runs on one of the shapes, with several tiles each way and several K steps. */
static bool runs(const struct view *v, const struct config *config) {
    char reason[160];
    struct launch_shape shape;
    for (int i = 0; i < v->shapes; i++) {
        const struct problem *p = &v->problem[i];
        if (!config_allowed(config, p, &v->c->limits, reason))
            continue;
        config->family->shape(config, p, v->c->limits.sm_count, &shape);
        if (p->m > shape.tile_m && p->n > shape.tile_n && p->k > shape.tile_k)
            return true;
    }
    return false;
}

static int product_index(const struct view *v, const int at[MT_MAX_KNOBS]) {
    int index = 0;
    for (int k = 0; k < v->axes.family->knob_count; k++)
        if (v->computes[k])
            index = index * v->axes.count[k] + at[k];
    assert_true(index < MOST_PRODUCT);
    return index;
}

static void cover_add(const struct view *v, const int at[MT_MAX_KNOBS], struct cover *cover) {
    const struct axes *axes = &v->axes;
    const int knobs = axes->family->knob_count, features = at[v->features];
    const uint16_t tokens = (uint16_t)(1u << at[v->tokens]);
    for (int a = 0; a < knobs; a++) {
        const int ida = axes->first[a] + at[a];
        cover->single[ida] = true;
        for (int b = a + 1; b < knobs; b++) {
            const int idb = axes->first[b] + at[b];
            cover->pair[ida][idb] = true;
            if (!v->shapes_tile[a] && !v->shapes_tile[b])
                cover->triple[ida][idb][features] |= tokens;
        }
    }
    cover->product[product_index(v, at)] = true;
}

/* Which knobs no rule asks for: changing them changes no verdict. Drawn, not proved: a knob that is taken for free by
 * mistake lets this test ask for what cannot be. */
static void find_free(struct view *v) {
    const struct axes *axes = &v->axes;
    for (int k = 0; k < axes->family->knob_count; k++)
        v->free[k] = k != v->features && k != v->tokens;
    for (int tries = 0; tries < 4000; tries++) {
        int at[MT_MAX_KNOBS];
        struct config config;
        for (int k = 0; k < axes->family->knob_count; k++)
            at[k] = (int)(lrand48() % axes->count[k]);
        axes_config(axes, at, &config);
        const bool verdict = runs(v, &config);
        for (int k = 0; k < axes->family->knob_count; k++) {
            for (int i = 0; i < axes->count[k] && v->free[k]; i++) {
                config.value[k] = axes->value[k][i];
                v->free[k] = runs(v, &config) == verdict;
            }
            config.value[k] = axes->value[k][at[k]];
        }
    }
}

static void enumerate(struct view *v, int knob, int at[MT_MAX_KNOBS]) {
    const struct axes *axes = &v->axes;
    struct config config;
    if (knob < axes->family->knob_count) {
        const int count = v->free[knob] ? 1 : axes->count[knob];
        for (at[knob] = 0; at[knob] < count; at[knob]++)
            enumerate(v, knob + 1, at);
        return;
    }
    axes_config(axes, at, &config);
    if (runs(v, &config))
        cover_add(v, at, &v->possible);
}

/* What was seen with the first value of a free knob holds for all of them. */
static void spread_free(struct view *v) {
    const struct axes *axes = &v->axes;
    const int knobs = axes->family->knob_count;
    struct cover *all = &v->possible;
    for (int a = 0; a < knobs; a++)
        for (int b = a + 1; b < knobs; b++)
            for (int i = 0; i < axes->count[a]; i++)
                for (int j = 0; j < axes->count[b]; j++) {
                    const int ida = axes->first[a] + i, idb = axes->first[b] + j;
                    const int froma = v->free[a] ? axes->first[a] : ida, fromb = v->free[b] ? axes->first[b] : idb;
                    all->pair[ida][idb] = all->pair[froma][fromb];
                    memcpy(all->triple[ida][idb], all->triple[froma][fromb], sizeof all->triple[ida][idb]);
                }
}

/* The same for combinations of the arithmetic: one that differs from a possible one in free knobs alone. */
static void spread_products(struct view *v) {
    const struct axes *axes = &v->axes;
    int at[MT_MAX_KNOBS] = {0}, first[MT_MAX_KNOBS];
    for (;;) {
        memcpy(first, at, sizeof first);
        for (int k = 0; k < axes->family->knob_count; k++)
            if (v->free[k])
                first[k] = 0;
        v->possible.product[product_index(v, at)] = v->possible.product[product_index(v, first)];
        int k = axes->family->knob_count - 1;
        for (; k >= 0; k--) {
            if (!v->computes[k])
                continue;
            if (++at[k] < axes->count[k])
                break;
            at[k] = 0;
        }
        if (k < 0)
            return;
    }
}

static void view_make(struct view *v, const struct coverage *c, const struct wanted *wanted) {
    int at[MT_MAX_KNOBS];
    *v = (struct view){.c = c, .wanted = wanted};
    axes_make(c, &v->axes);
    const struct family *family = v->axes.family;
    v->features = knob_number(family, c->features);
    v->tokens = knob_number(family, "tile_m");
    for (int k = 0; k < family->knob_count; k++) {
        v->shapes_tile[k] = in_list(c->tile, family->knobs[k].name);
        v->computes[k] = in_list(c->arithmetic, family->knobs[k].name);
        v->many[k] = in_list(wanted->many, family->knobs[k].name);
    }
    for (; v->shapes < SHAPES && c->shape[v->shapes][0]; v->shapes++) {
        struct problem *p = &v->problem[v->shapes];
        *p = (struct problem){
            .m = c->shape[v->shapes][0], .n = c->shape[v->shapes][1], .k = c->shape[v->shapes][2], .group = 128};
        set_scheme(p, wanted->scheme);
    }
    find_free(v);
    enumerate(v, 0, at);
    spread_free(v);
    spread_products(v);
}

static void view_prove(struct view *v, const struct config_list *proofs) {
    int at[MT_MAX_KNOBS];
    v->proved = (struct cover){0};
    for (int i = 0; i < proofs->count; i++)
        if (axes_find(&v->axes, &proofs->config[i], at) && runs(v, &proofs->config[i]))
            cover_add(v, at, &v->proved);
}

/* ---- what is missing ---- */

/* Told of each thing that is possible, asked for and not proved: two ids, and a value of the features' knob or -1. Returns
 * how many there are. */
typedef void (*on_missing)(void *context, const struct view *v, int ida, int idb, int features);

static int bits(unsigned mask) {
    return __builtin_popcount(mask);
}

static int missing_pairs(const struct view *v, on_missing tell, void *context) {
    const struct axes *axes = &v->axes;
    const int knobs = axes->family->knob_count;
    int missing = 0;
    for (int a = 0; a < knobs; a++)
        for (int b = a + 1; b < knobs; b++)
            for (int i = 0; i < axes->count[a]; i++)
                for (int j = 0; j < axes->count[b]; j++) {
                    const int ida = axes->first[a] + i, idb = axes->first[b] + j;
                    if (!v->wanted->pairs || v->many[a] || v->many[b] || axes->count[a] < 2 || axes->count[b] < 2)
                        continue;
                    if (v->possible.pair[ida][idb] && !v->proved.pair[ida][idb]) {
                        tell(context, v, ida, idb, -1);
                        missing++;
                    }
                    for (int f = 0; v->wanted->fragments && f < axes->count[v->features]; f++) {
                        const int twice = v->wanted->arithmetic && v->computes[a] && v->computes[b] ? 2 : 1;
                        const int can = bits(v->possible.triple[ida][idb][f]);
                        if (bits(v->proved.triple[ida][idb][f]) < (can < twice ? can : twice)) {
                            tell(context, v, ida, idb, f);
                            missing++;
                        }
                    }
                }
    return missing;
}

static int missing_products(const struct view *v) {
    int missing = 0;
    for (int i = 0; i < MOST_PRODUCT && v->wanted->arithmetic; i++)
        missing += v->possible.product[i] && !v->proved.product[i];
    return missing;
}

static void name_id(const struct axes *axes, int id, struct str *out) {
    int k = 0;
    while (id >= axes->first[k] + axes->count[k])
        k++;
    str_printf(out, "%s=%d", axes->family->knobs[k].name, axes->value[k][id - axes->first[k]]);
}

struct told {
    struct str text;
    int count;
};

static void tell(void *context, const struct view *v, int ida, int idb, int features) {
    struct told *told = context;
    if (told->count++ >= MOST_MISSING)
        return;
    str_append(&told->text, told->text.length ? "; " : "");
    name_id(&v->axes, ida, &told->text);
    str_append(&told->text, " ");
    name_id(&v->axes, idb, &told->text);
    if (features >= 0) {
        str_append(&told->text, " with ");
        name_id(&v->axes, v->axes.first[v->features] + features, &told->text);
    }
}

/* What a proof does not run, no test of the kernels sees. */
static void proofs_hold_everything(void **state) {
    (void)state;
    srand48(5);
    for (int i = 0; i < SPACES; i++) {
        const struct coverage *c = &spaces[i];
        struct config_list proofs;
        assert_int_equal(config_list_read(c->proof, &proofs), MT_OK);
        for (int s = 0; s < SCHEMES && c->wanted[s].scheme; s++) {
            static struct view view;
            struct told told = {0};
            view_make(&view, c, &c->wanted[s]);
            view_prove(&view, &proofs);
            const int missing = missing_pairs(&view, tell, &told), products = missing_products(&view);
            if (missing || products)
                fail_msg("%s lacks %d meetings of knobs in %s, and %d combinations of %s: %s", c->proof, missing,
                         c->wanted[s].scheme, products, c->arithmetic, told.text.data ? told.text.data : "");
        }
        config_list_release(&proofs);
    }
}

/* ---- writing a space that lacks nothing ---- */

/* The spaces of one file under all its schemes, and the configurations so far. */
struct writing {
    const struct coverage *c;
    struct view *view;
    int views;
    struct config_list list;
    int ida, idb, features; /* something that is missing */
    const struct view *at;
    long seen;
};

/* Draws one of what is missing. */
static void draw(void *context, const struct view *v, int ida, int idb, int features) {
    struct writing *w = context;
    if (lrand48() % ++w->seen)
        return;
    *w = (struct writing){w->c, w->view, w->views, w->list, ida, idb, features, v, w->seen};
}

/* How much that is missing a configuration brings, for each kernel that it needs. */
static int gain(const struct writing *w, const struct config *config) {
    enum { WHOLE = 12 };
    int sum = 0, kernels = 0, at[MT_MAX_KNOBS];
    for (int s = 0; s < w->views; s++) {
        struct view *v = &w->view[s];
        const struct axes *axes = &v->axes;
        if (!axes_find(axes, config, at) || !runs(v, config))
            continue;
        kernels++;
        const int f = at[v->features];
        for (int a = 0; a < axes->family->knob_count; a++)
            for (int b = a + 1; b < axes->family->knob_count; b++) {
                const int ida = axes->first[a] + at[a], idb = axes->first[b] + at[b];
                if (!v->wanted->pairs || v->many[a] || v->many[b] || axes->count[a] < 2 || axes->count[b] < 2)
                    continue;
                sum += !v->proved.pair[ida][idb];
                if (!v->wanted->fragments || v->shapes_tile[a] || v->shapes_tile[b])
                    continue;
                const unsigned now = v->proved.triple[ida][idb][f], then = now | 1u << at[v->tokens];
                const bool twice = v->wanted->arithmetic && v->computes[a] && v->computes[b];
                sum += now == 0 || (twice && bits(now) < 2 && bits(then) == 2);
            }
        sum += 2 * (v->wanted->arithmetic && !v->proved.product[product_index(v, at)]);
    }
    return kernels ? sum * WHOLE / kernels : 0;
}

static void set_id(const struct axes *axes, int id, bool fixed[MT_MAX_KNOBS], struct config *out) {
    int k = 0;
    while (id >= axes->first[k] + axes->count[k])
        k++;
    out->value[k] = axes->value[k][id - axes->first[k]];
    fixed[k] = true;
}

/* A configuration that has what is missing, bettered knob by knob; what it brings. `of` is one whose binary it keeps,
 * NULL: any. */
static int propose(const struct writing *w, const struct config *of, struct config *out) {
    const struct view *v = w->at;
    const struct axes *axes = &v->axes;
    const struct knob *knobs = axes->family->knobs;
    bool fixed[MT_MAX_KNOBS] = {0};
    struct config start;
    config_default(axes->family, &start);
    if (of)
        start = *of;
    if (w->ida >= 0) {
        set_id(axes, w->ida, fixed, &start);
        set_id(axes, w->idb, fixed, &start);
        if (w->features >= 0)
            set_id(axes, axes->first[v->features] + w->features, fixed, &start);
    }
    for (int k = 0; of && k < axes->family->knob_count; k++) {
        if (!knobs[k].launch && start.value[k] != of->value[k])
            return 0;
        fixed[k] = fixed[k] || !knobs[k].launch;
    }
    int tries = 0;
    do {
        *out = start;
        for (int k = 0; k < axes->family->knob_count; k++)
            if (!fixed[k])
                out->value[k] = axes->value[k][lrand48() % axes->count[k]];
    } while (!runs(v, out) && ++tries < 2000);
    if (tries == 2000)
        return 0;
    int best = gain(w, out);
    for (int round = 0; round < 2; round++)
        for (int k = 0; k < axes->family->knob_count; k++) {
            const int was = out->value[k];
            int chosen = was;
            for (int i = 0; i < axes->count[k] && !fixed[k]; i++) {
                out->value[k] = axes->value[k][i];
                const int now = runs(v, out) ? gain(w, out) : 0;
                if (now > best) {
                    best = now;
                    chosen = out->value[k];
                }
            }
            out->value[k] = chosen;
        }
    return best;
}

static void take(struct writing *w, const struct config *config) {
    int at[MT_MAX_KNOBS];
    config_list_add(&w->list, config);
    for (int s = 0; s < w->views; s++)
        if (axes_find(&w->view[s].axes, config, at) && runs(&w->view[s], config))
            cover_add(&w->view[s], at, &w->view[s].proved);
}

/* Anything that is missing; false: nothing is. */
static bool find_missing(struct writing *w) {
    w->seen = 0;
    for (int s = 0; s < w->views; s++)
        missing_pairs(&w->view[s], draw, w);
    for (int s = 0; s < w->views && !w->seen; s++)
        if (missing_products(&w->view[s])) {
            *w = (struct writing){w->c, w->view, w->views, w->list, -1, -1, -1, &w->view[s], 1};
            return true;
        }
    return w->seen > 0;
}

/* Launch knobs cost no kernel: they vary what there is. What shares K stands beside the same kernel unshared. */
static void write_one(struct writing *w) {
    struct config best = {0}, one;
    int most = 0;
    for (int i = 0; i < w->list.count; i++) {
        const int brings = propose(w, &w->list.config[i], &one);
        if (brings > most) {
            most = brings;
            best = one;
        }
    }
    for (int tries = 0; tries < 40 && !most; tries += most == 0) {
        for (int i = 0; i < 200; i++) {
            const int brings = propose(w, NULL, &one);
            if (brings > most) {
                most = brings;
                best = one;
            }
        }
        assert_true(most > 0);
        struct config plain = best;
        for (int k = 0; k < plain.family->knob_count; k++)
            if (plain.family->knobs[k].launch)
                plain.value[k] = plain.family->knobs[k].fallback;
        if (!config_equal(&plain, &best) && runs(w->at, &plain))
            take(w, &plain);
    }
    take(w, &best);
}

static int print_space(const char *name) {
    static struct view views[SCHEMES];
    struct writing w = {.view = views};
    srand48(7);
    for (int i = 0; i < SPACES; i++)
        if (!strcmp(spaces[i].proof, name))
            w.c = &spaces[i];
    if (!w.c) {
        fprintf(stderr, "there is no proof space %s\n", name);
        return 64;
    }
    for (; w.views < SCHEMES && w.c->wanted[w.views].scheme; w.views++)
        view_make(&views[w.views], w.c, &w.c->wanted[w.views]);
    while (find_missing(&w))
        write_one(&w);
    printf("# For `mixtune verify --all`. Written by `make proof-spaces`: tests/unit/plan/test_proofs.c says what "
           "meets here.\n"
           "# What is shared along K stands beside the same kernel unshared, whose bits are compared.\n");
    printf("family: %s\nconfigs:\n", w.c->family);
    for (int i = 0; i < w.list.count; i++) {
        const char *separator = "";
        printf("  - ");
        for (int k = 0; k < views[0].axes.family->knob_count; k++)
            if (w.list.config[i].value[k] != views[0].axes.family->knobs[k].fallback) {
                printf("%s%s=%d", separator, views[0].axes.family->knobs[k].name, w.list.config[i].value[k]);
                separator = ",";
            }
        printf("%s\n", *separator ? "" : "\"\"");
    }
    config_list_release(&w.list);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[1], "--print"))
        return print_space(argv[2]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(proofs_hold_everything)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
