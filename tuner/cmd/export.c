/* mixtune export: the bundle of one or more types of GPU: their winners, with their kernels, as libmixtune dispatches
 * them. */
#include "cmd.h"
#include "runtime/base/array.h"
#include "runtime/base/log.h"
#include "runtime/layer/pack.h"
#include "tuner/bundle/draft.h"
#include "tuner/bundle/gpu_types.h"
#include "tuner/bundle/tree_set.h"
#include "tuner/report/files.h"
#include "tuner/report/json_line.h"
#include "tuner/report/query.h"
#include "tuner/report/winner_set.h"
#include "tuner/shown.h"
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct export {
    struct query_options query;
    const char *out;
    bool modelled, no_images;
    const char **with; /* owned */
    int with_count;
    size_t with_capacity;
};

enum { KEY_MODELLED = 0x300, KEY_NO_IMAGES, KEY_WITH };

static const struct argp_option export_table[] = {
    {"out", 'o', "FILE", 0, "The bundle to write (default: winners.mixtune)", 20},
    {"modelled", KEY_MODELLED, NULL, 0,
     "Winners by modelled times, even where there are measured ones, beside those of GPUs that have measured ones "
     "alone; "
     "without it only where there is nothing measured",
     20},
    {"with", KEY_WITH, "FILE", 0,
     "Put all that the bundle FILE has for other GPUs into the same file; may stand several times", 20},
    {"no-images", KEY_NO_IMAGES, NULL, 0,
     "A bundle without machine code: the library compiles the kernels from its own templates when it opens it", 20},
    {0},
};

static error_t export_parse(int key, char *arg, struct argp_state *state) {
    struct export *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->query;
        return 0;
    case 'o':
        o->out = arg;
        return 0;
    case KEY_MODELLED:
        o->modelled = true;
        return 0;
    case KEY_NO_IMAGES:
        o->no_images = true;
        return 0;
    case KEY_WITH:
        array_grow(&o->with, &o->with_capacity, (size_t)o->with_count, sizeof *o->with);
        o->with[o->with_count++] = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- the bundle ---- */

/* One type of GPU on its way from the database to the file. */
struct part {
    const struct gpu_type *type;
    struct rows rows, times; /* the winners, behind them the kernels for MT_BATCH_INVARIANT */
    int winners;
    struct tree_cost *costs; /* of invariance, of each layer; owned */
    int cost_count;
    struct rows invariant_times; /* of such kernels where they are not the layer's */
    struct draft draft;
};

static bool is_modelled(const struct gpu_type *type) {
    return !strcmp(type->origin, store_origin_name(ORIGIN_MODELLED));
}

static struct bundle part_bundle(const struct part *part, const struct gpu_types *types) {
    const struct draft *d = &part->draft;
    int driver = 0;
    for (int r = 0; r < d->rows->count; r++) {
        int version = atoi(rows_cell(d->rows, r, "driver_version"));
        driver = version > driver ? version : driver;
    }
    return (struct bundle){
        .fingerprint = {.gpu = part->type->device,
                        .cc = atoi(part->type->cc),
                        .sm_count = atoi(part->type->sm_count),
                        .software = atoi(rows_cell(d->rows, 0, "software")),
                        .driver_version = driver,
                        .toolkit = atoi(types->nvrtc),
                        .template_hash = types->templates,
                        .layout = PACK_LAYOUT},
        .layers = d->layers,
        .entries = d->entries,
        .times = d->times,
        .variants = d->variants,
        .fallbacks = d->fallbacks,
        .images = d->images,
        .layer_count = d->layer_count,
        .entry_count = d->entry_count,
        .time_count = d->time_count,
        .variant_count = d->variant_count,
        .fallback_count = d->fallback_count,
        .image_count = d->image_count,
    };
}

static void print_summary(const struct part *part, const struct export *o, const char *digest) {
    const struct draft *d = &part->draft;
    const struct gpu_type *type = part->type;
    const struct compared compared = draft_compared(d, is_modelled(type) ? BUNDLE_MODELLED : BUNDLE_MEASURED);
    struct str text = {0};
    if (o->query.common.json) {
        json_line(json_pack("{so so ss si si si ss so so}", "file", json_text(o->out), "gpu", json_text(type->device),
                            "origin", type->origin, "layers", d->layer_count, "winners", d->point_count, "images",
                            d->image_count, "sha256", digest, "fp16", compared_json(&compared), "batch_invariant",
                            tree_costs_json(part->costs, part->cost_count, d->rows)));
        return;
    }
    compared_print(&compared, &text);
    tree_costs_print(part->costs, part->cost_count, d->rows, &text);
    printf("%s: %d winners of %d layers on %s (%s), %d kernel images\n%s", shown(o->out), d->point_count,
           d->layer_count, shown(type->device), type->origin, d->image_count, str_text(&text));
    str_release(&text);
}

/* What was left out of a part, and by which times its winners were chosen. */
static void part_warn(const struct part *part) {
    const struct draft *d = &part->draft;
    const char *device = part->type->device;
    if (is_modelled(part->type))
        log_warn("the winners on %s are chosen by modelled times: sweep on the GPU itself before you serve with them",
                 device);
    if (d->changed)
        log_warn(
            "%d of %d winners on %s are left out: they no longer compile to the binary that was timed; sweep again "
            "to have them",
            d->changed, part->winners, device);
    if (d->refused)
        log_warn("%d of %d winners on %s are left out: this mixtune no longer allows such configurations; sweep again "
                 "to have others",
                 d->refused, part->winners, device);
    if (d->unbuilt)
        log_warn("%d winners on %s cannot be built here for numbers of 8-bit features beside their own, which have the "
                 "default kernels then; export where there is NVRTC to have them",
                 d->unbuilt, device);
}

/* The rows of a query that asks for the winners that are kept. */
static enum mt_status read_for(sqlite3 *db, const char *sql, const struct rows *kept, const char *origin,
                               struct rows *out) {
    struct str list = {0}, json = {0};
    rows_print_json(kept, &list);
    str_append(&json, "[");
    for (char *line = list.data, *end; line && (end = strchr(line, '\n')); line = end + 1)
        str_printf(&json, "%s%.*s", line == list.data ? "" : ",", (int)(end - line), line);
    str_append(&json, "]");
    const char *const values[] = {":kept", json.data, ":origin", origin, NULL};
    enum mt_status status = rows_read(db, sql, values, out);
    str_release(&list);
    str_release(&json);
    return status;
}

/* Puts the batch-invariant kernels behind the winners. */
static enum mt_status add_invariant(sqlite3 *db, struct part *part) {
    const struct gpu_type *type = part->type;
    struct rows timed = {0};
    part->winners = part->rows.count;
    part->costs = xcalloc((size_t)part->rows.count + 1, sizeof *part->costs);
    enum mt_status status = read_for(db, report_trees_sql, &part->rows, type->origin, &timed);
    if (status == MT_OK) {
        part->cost_count = tree_set_keep(&part->rows, &timed, atoi(type->sm_count), part->costs);
        status = read_for(db, report_times_sql, &timed, type->origin, &part->invariant_times);
    }
    if (status == MT_OK)
        rows_append(&part->rows, &timed);
    rows_release(&timed);
    return status;
}

static enum mt_status part_fill(struct part *part, sqlite3 *db, const struct gpu_types *types,
                                const struct gpu_type *type, const struct export *o) {
    const char *const values[] = {":device",      type->device, ":cc",        type->cc,     ":sm_count",
                                  type->sm_count, ":origin",    type->origin, ":templates", types->templates,
                                  ":nvrtc",       types->nvrtc, NULL};
    const enum bundle_origin origin = is_modelled(type) ? BUNDLE_MODELLED : BUNDLE_MEASURED;
    part->type = type;
    enum mt_status status = rows_read(db, report_export_sql, values, &part->rows);
    if (status != MT_OK)
        return status;
    winner_set_keep(&part->rows);
    status = read_for(db, report_times_sql, &part->rows, type->origin, &part->times);
    if (status == MT_OK)
        status = add_invariant(db, part);
    if (status != MT_OK)
        return status;
    draft_init(&part->draft, &part->rows, part->winners, atoi(type->cc), atoi(type->sm_count), !o->no_images);
    status = draft_fill(&part->draft, origin, o->query.common.quiet);
    if (status != MT_OK)
        return fail_context(status, "%s", type->device);
    draft_add_times(&part->draft, &part->times, origin);
    draft_add_times(&part->draft, &part->invariant_times, origin);
    for (int i = 0; i < part->cost_count; i++)
        if (!draft_has_invariant(&part->draft, part->costs[i].row))
            part->costs[i].sums = (struct sum_tree){0};
    part_warn(part);
    return MT_OK;
}

static void part_release(struct part *part) {
    if (part->draft.rows)
        draft_release(&part->draft);
    rows_release(&part->invariant_times);
    rows_release(&part->times);
    rows_release(&part->rows);
    free(part->costs);
}

/* ---- other bundles ---- */

/* All that goes into the file: that of the database first. */
struct bundles {
    struct bundle *list;
    const char **file; /* where each is from; NULL: the database */
    int count;
    size_t capacity, file_capacity;
};

static struct bundle *bundles_add(struct bundles *all, const char *file) {
    array_grow(&all->list, &all->capacity, (size_t)all->count, sizeof *all->list);
    array_grow(&all->file, &all->file_capacity, (size_t)all->count, sizeof *all->file);
    all->file[all->count] = file;
    return &all->list[all->count++];
}

static void bundles_release(struct bundles *all) {
    for (int i = 0; i < all->count; i++)
        bundle_release(&all->list[i]);
    free(all->list);
    free(all->file);
}

/* A library opens files that were made with its own templates. */
static enum mt_status bundles_read(struct bundles *all, const char *file, const char *templates, bool images) {
    struct bundle_source source;
    enum mt_status status = bundle_open(file, NULL, &source);
    if (status != MT_OK)
        return status;
    for (int i = 0; status == MT_OK && i < source.gpu_count; i++) {
        status = bundle_take(&source, i, images, bundles_add(all, file));
        if (status == MT_OK && strcmp(source.gpus[i].template_hash, templates) != 0)
            status =
                fail(MT_FAILURE,
                     "its kernels for %s are of other kernel templates than this mixtune has: export it again with "
                     "this version",
                     source.gpus[i].gpu);
        if (status != MT_OK)
            fail_context(status, "%s", file);
    }
    bundle_close(&source);
    return status;
}

static bool has_origin(const struct bundle *b, enum bundle_origin origin) {
    bool found = false;
    for (int i = 0; i < b->entry_count && !found; i++)
        found = b->entries[i].origin == origin;
    return found;
}

/* Nothing comes in twice, and modelled times beside measured ones only if they are asked for. */
static enum mt_status bundles_check(const struct bundles *all, bool modelled) {
    const char *of[2] = {NULL, NULL};
    for (int i = 0; i < all->count; i++) {
        const struct bundle_fingerprint *gpu = &all->list[i].fingerprint;
        for (int j = 0; j < i; j++) {
            const struct bundle_fingerprint *other = &all->list[j].fingerprint;
            if (!strcmp(gpu->gpu, other->gpu) && gpu->cc == other->cc && gpu->sm_count == other->sm_count)
                return fail(MT_USAGE, "%s has winners on %s, and so has %s: leave one of them out", all->file[i],
                            gpu->gpu, all->file[j] ? all->file[j] : "the database");
        }
        for (int origin = BUNDLE_MEASURED; origin <= BUNDLE_MODELLED; origin++)
            if (has_origin(&all->list[i], (enum bundle_origin)origin))
                of[origin] = gpu->gpu;
    }
    return !of[0] || !of[1] || modelled
               ? MT_OK
               : fail(MT_USAGE,
                      "the times on %s are measured and those on %s modelled: --modelled puts both into one bundle",
                      of[BUNDLE_MEASURED], of[BUNDLE_MODELLED]);
}

static void print_joined(const struct bundle *b, const char *file, const struct export *o, const char *digest) {
    const char *origin = has_origin(b, BUNDLE_MODELLED) ? "modelled" : "measured";
    int winners = 0;
    for (int i = 0; i < b->entry_count; i++)
        winners += b->entries[i].kind == BUNDLE_KERNEL;
    if (o->query.common.json) {
        json_line(json_pack("{so so ss si si si ss so}", "file", json_text(o->out), "gpu",
                            json_text(b->fingerprint.gpu), "origin", origin, "layers", b->layer_count, "winners",
                            winners, "images", b->image_count, "sha256", digest, "from", json_text(file)));
        return;
    }
    printf("%s: %d winners of %d layers on %s (%s), ", shown(o->out), winners, b->layer_count,
           shown(b->fingerprint.gpu), origin);
    printf("%d kernel images, from %s\n", b->image_count, shown(file));
}

/* ---- all together ---- */

static enum mt_status export_parts(const struct part *parts, const struct gpu_types *types, const struct export *o) {
    struct bundles all = {0};
    char digest[BUNDLE_DIGEST_TEXT];
    enum mt_status status = MT_OK;
    for (int i = 0; i < types->count; i++)
        *bundles_add(&all, NULL) = part_bundle(&parts[i], types);
    for (int i = 0; status == MT_OK && i < o->with_count; i++)
        status = bundles_read(&all, o->with[i], types->templates, !o->no_images);
    if (status == MT_OK)
        status = bundles_check(&all, o->modelled);
    if (status == MT_OK)
        status = bundle_write_all(o->out, all.list, all.count, digest);
    for (int i = 0; status == MT_OK && i < all.count; i++)
        if (i < types->count)
            print_summary(&parts[i], o, digest);
        else
            print_joined(&all.list[i], all.file[i], o, digest);
    if (status == MT_OK && !o->query.common.json)
        printf("SHA-256 %s\n", digest);
    bundles_release(&all);
    return status;
}

static enum mt_status export_winners(const struct export *o) {
    struct store *store;
    struct gpu_types types;
    enum mt_status status = query_open(&o->query, &store);
    if (status != MT_OK)
        return status;
    status = gpu_types_read(&o->query, store_handle(store), o->modelled, &types);
    struct part *parts = xcalloc((size_t)types.count, sizeof *parts);
    for (int i = 0; status == MT_OK && i < types.count; i++)
        status = part_fill(&parts[i], store_handle(store), &types, &types.type[i], o);
    if (status == MT_OK)
        status = export_parts(parts, &types, o);
    for (int i = 0; i < types.count; i++)
        part_release(&parts[i]);
    free(parts);
    gpu_types_release(&types);
    store_close(store);
    return status;
}

int cmd_export(int argc, char **argv) {
    struct export o = {.out = "winners.mixtune"};
    const struct argp_child children[] = {{&query_argp, 0, NULL, 0}, {0}};
    const struct argp argp = {
        .options = export_table,
        .parser = export_parse,
        .children = children,
        .doc = "Writes the bundle (the file that a serving engine dispatches from) of the types of GPU that a database "
               "has "
               "winners on: these, with their kernels.",
    };
    int status = options_parse(&argp, argc, argv, &o, &o.query.common);
    if (status == MT_OK)
        status = export_winners(&o);
    free(o.with);
    query_options_release(&o.query);
    return status;
}
