/* mixtune export: the bundle of one type of GPU: its winners, with their kernels, as libmixtune dispatches them. */
#include "cmd.h"
#include "runtime/base/log.h"
#include "runtime/layer/pack.h"
#include "tuner/report/files.h"
#include "tuner/report/json_line.h"
#include "tuner/report/query.h"
#include "tuner/report/winner_set.h"
#include "tuner/shown.h"
#include "tuner/sweep/draft.h"
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct export {
    struct query_options query;
    const char *out;
    bool modelled, no_images;
};

enum { KEY_MODELLED = 0x300, KEY_NO_IMAGES };

static const struct argp_option export_table[] = {
    {"out", 'o', "FILE", 0, "The bundle to write (default: winners.mixtune)", 20},
    {"modelled", KEY_MODELLED, NULL, 0,
     "Winners by modelled times, even where there are measured ones; without it only where there is nothing measured",
     20},
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
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- what is exported: one type of GPU, one origin ---- */

struct choice {
    struct rows gpus;                   /* owns the next three */
    const char *device, *cc, *sm_count; /* of the chosen row */
    char templates[33], nvrtc[12];
    const char *origin;
};

static bool same_type(const struct rows *gpus, int a, int b) {
    static const char *const names[] = {"device_name", "cc", "sm_count", NULL};
    return rows_same(gpus, a, b, names);
}

static int count_origin(const struct rows *gpus, const char *origin) {
    int count = 0;
    for (int r = 0; r < gpus->count; r++)
        count += rows_is(gpus, r, "origin", origin);
    return count;
}

/* The one row of `gpus` with that origin; a sentence when there are more types than one. */
static enum mt_status choose_row(const struct rows *gpus, const char *origin, int *out) {
    struct str names = {0};
    *out = -1;
    int types = 0;
    for (int r = 0; r < gpus->count; r++) {
        if (!rows_is(gpus, r, "origin", origin) || (*out >= 0 && same_type(gpus, r, *out)))
            continue;
        str_printf(&names, "%s%s (%s SMs)", types++ ? ", " : "", rows_cell(gpus, r, "device_name"),
                   rows_cell(gpus, r, "sm_count"));
        *out = r;
    }
    enum mt_status status = MT_OK;
    if (types > 1)
        status =
            fail(MT_USAGE,
                 "there are %s winners of %d types of GPU and a bundle holds one: choose with --gpu NAME; there are %s",
                 origin, types, names.data);
    str_release(&names);
    return status;
}

static enum mt_status choose(sqlite3 *db, const struct export *o, struct choice *c) {
    int nvrtc;
    enum mt_status status = template_hash(c->templates);
    if (status == MT_OK)
        status = nvrtc_version(&nvrtc);
    if (status != MT_OK)
        return status;
    snprintf(c->nvrtc, sizeof c->nvrtc, "%d", nvrtc);
    const char *const values[] = {":templates", c->templates, ":nvrtc", c->nvrtc, NULL};
    if ((status = rows_read(db, report_gpus_sql, values, &c->gpus)) != MT_OK)
        return status;
    const struct rows *gpus = &c->gpus;
    const char *measured = store_origin_name(ORIGIN_MEASURED), *modelled = store_origin_name(ORIGIN_MODELLED);
    c->origin = o->modelled || !count_origin(gpus, measured) ? modelled : measured;
    int row = -1;
    if (!count_origin(gpus, c->origin))
        status = query_nothing(&o->query, db, o->modelled ? "modelled winners" : "winners");
    else
        status = choose_row(gpus, c->origin, &row);
    if (status == MT_OK && !atoi(rows_cell(gpus, row, "usable")))
        status = fail(MT_FAILURE,
                      "the winners on %s were found with other kernel templates or another NVRTC than this mixtune has "
                      "(NVRTC %d.%d): "
                      "sweep again with this one, or export with the one that swept",
                      rows_cell(gpus, row, "device_name"), nvrtc / 100, nvrtc % 100 / 10);
    if (status == MT_OK) {
        c->device = rows_cell(gpus, row, "device_name");
        c->cc = rows_cell(gpus, row, "cc");
        c->sm_count = rows_cell(gpus, row, "sm_count");
    }
    return status;
}

/* ---- the bundle ---- */

static enum mt_status write_draft(const struct draft *d, const struct choice *c, const char *path,
                                  char digest[BUNDLE_DIGEST_TEXT]) {
    int driver = 0;
    for (int r = 0; r < d->rows->count; r++) {
        int version = atoi(rows_cell(d->rows, r, "driver_version"));
        driver = version > driver ? version : driver;
    }
    const struct bundle bundle = {
        .fingerprint = {.gpu = c->device,
                        .cc = atoi(c->cc),
                        .sm_count = atoi(c->sm_count),
                        .software = atoi(rows_cell(d->rows, 0, "software")),
                        .driver_version = driver,
                        .toolkit = atoi(c->nvrtc),
                        .template_hash = c->templates,
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
    return bundle_write_all(path, &bundle, 1, digest);
}

static void print_summary(const struct draft *d, const struct choice *c, const struct export *o,
                          const struct compared *compared, const char *digest) {
    struct str text = {0};
    if (o->query.common.json) {
        json_line(json_pack("{so so ss si si si ss so}", "file", json_text(o->out), "gpu", json_text(c->device),
                            "origin", c->origin, "layers", d->layer_count, "winners", d->point_count, "images",
                            d->image_count, "sha256", digest, "fp16", compared_json(compared)));
        return;
    }
    compared_print(compared, &text);
    printf("%s: %d winners of %d layers on %s (%s), %d kernel images\n"
           "SHA-256 %s\n%s",
           shown(o->out), d->point_count, d->layer_count, shown(c->device), c->origin, d->image_count, digest,
           str_text(&text));
    str_release(&text);
}

static enum mt_status export_rows(const struct rows *rows, const struct rows *times, const struct choice *c,
                                  const struct export *o) {
    bool modelled = !strcmp(c->origin, store_origin_name(ORIGIN_MODELLED));
    if (modelled)
        log_warn("the winners on %s are chosen by modelled times: sweep on the GPU itself before you serve with them",
                 c->device);
    struct draft d;
    char digest[BUNDLE_DIGEST_TEXT];
    const enum bundle_origin origin = modelled ? BUNDLE_MODELLED : BUNDLE_MEASURED;
    draft_init(&d, rows, atoi(c->cc), atoi(c->sm_count), !o->no_images);
    enum mt_status status = draft_fill(&d, origin, o->query.common.quiet);
    if (status == MT_OK)
        draft_add_times(&d, times, origin);
    if (status == MT_OK && d.changed)
        log_warn("%d of %d winners are left out: they no longer compile to the binary that was timed; sweep again to "
                 "have them",
                 d.changed, rows->count);
    if (status == MT_OK && d.refused)
        log_warn(
            "%d of %d winners are left out: this mixtune no longer allows such configurations; sweep again to have "
            "others",
            d.refused, rows->count);
    if (status == MT_OK && d.unbuilt)
        log_warn(
            "%d winners cannot be built here for numbers of 8-bit features beside their own, which have the default "
            "kernels then; export where there is NVRTC to have them",
            d.unbuilt);
    const struct compared compared = draft_compared(&d, origin);
    if (status == MT_OK)
        status = write_draft(&d, c, o->out, digest);
    if (status == MT_OK)
        print_summary(&d, c, o, &compared, digest);
    draft_release(&d);
    return status;
}

/* The rows of reports/times.sql for the winners that are kept. */
static enum mt_status read_times(sqlite3 *db, const struct rows *kept, const char *origin, struct rows *out) {
    struct str list = {0}, json = {0};
    rows_print_json(kept, &list);
    str_append(&json, "[");
    for (char *line = list.data, *end; line && (end = strchr(line, '\n')); line = end + 1)
        str_printf(&json, "%s%.*s", line == list.data ? "" : ",", (int)(end - line), line);
    str_append(&json, "]");
    const char *const values[] = {":kept", json.data, ":origin", origin, NULL};
    enum mt_status status = rows_read(db, report_times_sql, values, out);
    str_release(&list);
    str_release(&json);
    return status;
}

static enum mt_status export_winners(const struct export *o) {
    struct store *store;
    struct choice c = {0};
    struct rows rows = {0}, times = {0};
    enum mt_status status = query_open(&o->query, &store);
    if (status != MT_OK)
        return status;
    status = choose(store_handle(store), o, &c);
    if (status == MT_OK) {
        const char *const values[] = {":device",  c.device,  ":cc",    c.cc,         ":sm_count",
                                      c.sm_count, ":origin", c.origin, ":templates", c.templates,
                                      ":nvrtc",   c.nvrtc,   NULL};
        status = rows_read(store_handle(store), report_export_sql, values, &rows);
    }
    if (status == MT_OK) {
        winner_set_keep(&rows);
        status = read_times(store_handle(store), &rows, c.origin, &times);
    }
    if (status == MT_OK)
        status = export_rows(&rows, &times, &c, o);
    rows_release(&times);
    rows_release(&rows);
    rows_release(&c.gpus);
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
        .doc =
            "Writes the bundle (the file that a serving engine dispatches from) of one type of GPU: its winners, with "
            "their kernels.",
    };
    int status = options_parse(&argp, argc, argv, &o, &o.query.common);
    if (status == MT_OK)
        status = export_winners(&o);
    query_options_release(&o.query);
    return status;
}
