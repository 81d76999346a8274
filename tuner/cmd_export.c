/* mixtune export: the winners of one type of GPU, with their kernels, as the one file that libmixtune dispatches from.
 */
#include "../db/bundle.h"
#include "../runtime/base/log.h"
#include "binaries.h"
#include "cmd.h"
#include "query.h"
#include "report_files.h"
#include "rows.h"
#include <jansson.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct export {
    struct query_options query;
    const char *out;
    bool modelled;
};

enum { KEY_MODELLED = 0x300 };

static const struct argp_option export_table[] = {
    {"out", 'o', "FILE", 0, "The file to write (default: winners.mixtune)", 20},
    {"modelled", KEY_MODELLED, NULL, 0,
     "Winners by modelled times, even where there are measured ones; without it only where there is nothing measured",
     20},
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
    case ARGP_KEY_ARG:
        return options_error(fail(MT_USAGE, "export takes options only, not `%s`; --help lists them", arg));
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- what is exported: one type of GPU, one origin ---- */

struct choice {
    char device[128], cc[12], sm_count[12], templates[33], nvrtc[12];
    const char *origin;
};

static bool same_type(const struct rows *gpus, int a, int b) {
    return !strcmp(rows_cell(gpus, a, "device"), rows_cell(gpus, b, "device")) &&
           !strcmp(rows_cell(gpus, a, "cc"), rows_cell(gpus, b, "cc")) &&
           !strcmp(rows_cell(gpus, a, "sm_count"), rows_cell(gpus, b, "sm_count"));
}

static int count_origin(const struct rows *gpus, const char *origin) {
    int count = 0;
    for (int r = 0; r < gpus->count; r++)
        count += !strcmp(rows_cell(gpus, r, "origin"), origin);
    return count;
}

/* The one row of `gpus` with that origin; a sentence when there are more types than one. */
static enum mt_status choose_row(const struct rows *gpus, const char *origin, int *out) {
    struct str names = {0};
    *out = -1;
    int types = 0;
    for (int r = 0; r < gpus->count; r++) {
        if (strcmp(rows_cell(gpus, r, "origin"), origin) != 0 || (*out >= 0 && same_type(gpus, r, *out)))
            continue;
        str_printf(&names, "%s%s (%s SMs)", types++ ? ", " : "", rows_cell(gpus, r, "device"),
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
    struct rows gpus;
    if ((status = rows_read(db, report_gpus_sql, values, &gpus)) != MT_OK)
        return status;
    const char *measured = store_origin_name(ORIGIN_MEASURED), *modelled = store_origin_name(ORIGIN_MODELLED);
    c->origin = o->modelled || !count_origin(&gpus, measured) ? modelled : measured;
    int row = -1;
    if (!count_origin(&gpus, c->origin))
        status = fail(MT_FAILURE, "%s holds no %swinners of what was asked for: loosen the options, or sweep it first",
                      o->query.db ? o->query.db : DEFAULT_DB, o->modelled ? "modelled " : "");
    else
        status = choose_row(&gpus, c->origin, &row);
    if (status == MT_OK && !atoi(rows_cell(&gpus, row, "usable")))
        status = fail(MT_FAILURE,
                      "the winners on %s were found with other kernel templates or another NVRTC than this mixtune has "
                      "(NVRTC %d.%d): "
                      "sweep again with this one, or export with the one that swept",
                      rows_cell(&gpus, row, "device"), nvrtc / 100, nvrtc % 100 / 10);
    if (status == MT_OK) {
        snprintf(c->device, sizeof c->device, "%s", rows_cell(&gpus, row, "device"));
        snprintf(c->cc, sizeof c->cc, "%s", rows_cell(&gpus, row, "cc"));
        snprintf(c->sm_count, sizeof c->sm_count, "%s", rows_cell(&gpus, row, "sm_count"));
    }
    rows_release(&gpus);
    return status;
}

/* ---- the bundle ---- */

/* Everything that a bundle points to while it is put together. */
struct draft {
    const struct rows *rows;
    struct device target; /* what kernels are compiled for; only `cc` is set: it need not be in this machine */
    struct binaries binaries;
    int *binary; /* [rows]: index into `binaries` */
    struct bundle_layer *layers;
    struct bundle_entry *entries;
    struct bundle_fallback *fallbacks;
    struct bundle_image *images;
    struct image *quantize; /* activation quantisation, one for each group and type */
    char **texts;           /* of default configurations */
    int layer_count, entry_count, fallback_count, image_count, quantize_count, text_count;
    int library_wins, changed;
};

static void draft_init(struct draft *d, const struct rows *rows, int cc) {
    size_t n = (size_t)rows->count;
    *d = (struct draft){.rows = rows, .target.cc = cc};
    d->binary = xcalloc(n, sizeof *d->binary);
    d->layers = xcalloc(n, sizeof *d->layers);
    d->entries = xcalloc(2 * n, sizeof *d->entries);
    d->fallbacks = xcalloc(2 * n, sizeof *d->fallbacks);
    d->images = xcalloc(3 * n, sizeof *d->images);
    d->quantize = xcalloc(n, sizeof *d->quantize);
    d->texts = xcalloc(n, sizeof *d->texts);
}

static void draft_release(struct draft *d) {
    binaries_release(&d->binaries, &d->target);
    for (int i = 0; i < d->quantize_count; i++)
        image_release(&d->quantize[i]);
    for (int i = 0; i < d->text_count; i++)
        free(d->texts[i]);
    free(d->binary);
    free(d->layers);
    free(d->entries);
    free(d->fallbacks);
    free(d->images);
    free(d->quantize);
    free(d->texts);
}

static const char *cell(const struct draft *d, int row, const char *name) {
    return rows_cell(d->rows, row, name);
}

static enum mt_status problem_of(const struct draft *d, int row, struct problem *p) {
    *p = (struct problem){.m = atoi(cell(d, row, "M")),
                          .n = atoi(cell(d, row, "N")),
                          .k = atoi(cell(d, row, "K")),
                          .group = atoi(cell(d, row, "group"))};
    enum mt_status status = scheme_parse(cell(d, row, "scheme"), &p->scheme);
    return status == MT_OK ? dtype_parse(cell(d, row, "dtype"), &p->dtype) : status;
}

static const struct family *family_of(const struct draft *d, int row) {
    return family_find(cell(d, row, "family"));
}

static bool same_formats(const struct draft *d, int a, int b) {
    return !strcmp(cell(d, a, "group"), cell(d, b, "group")) && !strcmp(cell(d, a, "dtype"), cell(d, b, "dtype"));
}

static bool same_default(const struct draft *d, int a, int b) {
    return same_formats(d, a, b) && !strcmp(cell(d, a, "scheme"), cell(d, b, "scheme")) &&
           !strcmp(cell(d, a, "family"), cell(d, b, "family"));
}

static bool same_layer(const struct draft *d, int a, int b) {
    static const char *const names[] = {"model", "tp", "layer", "N", "K", "group", "scheme", "dtype"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(cell(d, a, names[i]), cell(d, b, names[i])) != 0)
            return false;
    return true;
}

/* The first row before `row` that is the same in one of these ways; -1 if none. */
static int earlier(const struct draft *d, int row, bool (*same)(const struct draft *, int, int)) {
    for (int r = 0; r < row; r++)
        if (same(d, r, row))
            return r;
    return -1;
}

static int add_binary(struct draft *d, const struct config *config, const struct problem *p) {
    int index = binaries_add(&d->binaries, config, p);
    d->binaries.item[index].wanted = true;
    return index;
}

/* The binaries of all winners, and of the default configuration for each choice of formats. */
static enum mt_status collect_binaries(struct draft *d) {
    for (int r = 0; r < d->rows->count; r++) {
        struct problem p;
        struct config config;
        const struct family *family = family_of(d, r);
        if (!family)
            return fail(
                MT_FAILURE,
                "this mixtune has no kernel family `%s`, which the database names: export with the mixtune that swept",
                cell(d, r, "family"));
        enum mt_status status = problem_of(d, r, &p);
        if (status == MT_OK)
            status = config_parse(family, cell(d, r, "config"), &config);
        if (status != MT_OK)
            return status;
        d->binary[r] = add_binary(d, &config, &p);
        if (earlier(d, r, same_default) < 0) {
            config_default(family, &config);
            add_binary(d, &config, &p);
        }
    }
    return MT_OK;
}

static void add_image(struct draft *d, const struct image *image) {
    for (int i = 0; i < d->image_count; i++)
        if (!strcmp(d->images[i].hash, image->hash))
            return;
    d->images[d->image_count++] = (struct bundle_image){.hash = image->hash,
                                                        .data = image->data,
                                                        .size = image->size,
                                                        .registers = image->registers,
                                                        .spill_bytes = image->spill_bytes,
                                                        .smem_static = image->smem_static};
}

static enum mt_status add_fallback(struct draft *d, const char *family, const char *config, int row, const char *scheme,
                                   const struct image *image) {
    add_image(d, image);
    d->fallbacks[d->fallback_count++] = (struct bundle_fallback){.family = family,
                                                                 .config = config,
                                                                 .scheme = scheme,
                                                                 .dtype = cell(d, row, "dtype"),
                                                                 .group = atoi(cell(d, row, "group")),
                                                                 .image_hash = image->hash};
    return MT_OK;
}

/* The default configuration for the formats of a row. */
static enum mt_status add_default(struct draft *d, int row) {
    struct problem p;
    struct config config;
    enum mt_status status = problem_of(d, row, &p);
    if (status != MT_OK)
        return status;
    config_default(family_of(d, row), &config);
    const struct binary *b = &d->binaries.item[binaries_add(&d->binaries, &config, &p)];
    if (b->status != MT_OK)
        return fail(b->status, "the default configuration of family %s does not compile: %s", cell(d, row, "family"),
                    b->message);
    struct str text = {0};
    config_format(&config, &text);
    d->texts[d->text_count++] = text.data;
    return add_fallback(d, cell(d, row, "family"), text.data, row, cell(d, row, "scheme"), &b->image);
}

/* The activation quantisation for the formats of a row. */
static enum mt_status add_quantize(struct draft *d, int row) {
    struct problem p;
    char arch[16], group[24], type[24];
    enum mt_status status = problem_of(d, row, &p);
    if (status != MT_OK)
        return status;
    snprintf(group, sizeof group, "-DGROUP=%d", p.group);
    snprintf(type, sizeof type, "-DIN_BF16=%d", p.dtype == DTYPE_BF16);
    device_arch(&d->target, arch);
    const char *const options[] = {group, type};
    struct image *image = &d->quantize[d->quantize_count];
    status = compile_kernel(&(struct compile_request){"quantize_act.cu", options, 2, arch}, image);
    if (status != MT_OK)
        return status;
    d->quantize_count++;
    return add_fallback(d, "quantize", "", row, "", image);
}

static enum mt_status add_fallbacks(struct draft *d) {
    enum mt_status status = MT_OK;
    for (int r = 0; r < d->rows->count && status == MT_OK; r++) {
        if (earlier(d, r, same_default) < 0)
            status = add_default(d, r);
        if (status == MT_OK && earlier(d, r, same_formats) < 0)
            status = add_quantize(d, r);
    }
    return status;
}

static void add_layer(struct draft *d, int row) {
    d->layers[d->layer_count++] = (struct bundle_layer){.name = cell(d, row, "layer"),
                                                        .model = cell(d, row, "model"),
                                                        .tp = atoi(cell(d, row, "tp")),
                                                        .n = atoi(cell(d, row, "N")),
                                                        .k = atoi(cell(d, row, "K")),
                                                        .group = atoi(cell(d, row, "group")),
                                                        .scheme = cell(d, row, "scheme"),
                                                        .dtype = cell(d, row, "dtype")};
}

/* A winner goes in if it compiles to the very binary that was timed; and the library kernel beside it, where that was
 * faster. */
static void add_entries(struct draft *d, enum bundle_origin origin) {
    int layer_row = -1;
    for (int r = 0; r < d->rows->count; r++) {
        const struct binary *b = &d->binaries.item[d->binary[r]];
        if (b->status != MT_OK || strcmp(b->image.hash, cell(d, r, "binary")) != 0) {
            d->changed++;
            continue;
        }
        if (layer_row < 0 || !same_layer(d, layer_row, r)) {
            add_layer(d, r);
            layer_row = r;
        }
        struct bundle_entry entry = {.layer = d->layer_count - 1,
                                     .m = atoi(cell(d, r, "M")),
                                     .kind = BUNDLE_KERNEL,
                                     .family = cell(d, r, "family"),
                                     .config = cell(d, r, "config"),
                                     .image_hash = b->image.hash,
                                     .expected_ns = strtod(cell(d, r, "median_ns"), NULL),
                                     .origin = origin};
        d->entries[d->entry_count++] = entry;
        add_image(d, &b->image);
        double library_ns = strtod(cell(d, r, "library_ns"), NULL);
        if (library_ns > 0 && library_ns < entry.expected_ns) {
            entry.kind = BUNDLE_CUBLAS;
            entry.family = cell(d, r, "library_family");
            entry.config = entry.image_hash = "";
            entry.expected_ns = library_ns;
            d->entries[d->entry_count++] = entry;
            d->library_wins++;
        }
    }
}

static enum mt_status fill_draft(struct draft *d, const struct export *o, enum bundle_origin origin) {
    enum mt_status status = collect_binaries(d);
    if (status == MT_OK)
        status = binaries_compile(&d->binaries, &d->target, o->query.common.quiet);
    if (status != MT_OK)
        return status;
    add_entries(d, origin);
    if (d->changed)
        log_warn("%d of %d winners are left out: they no longer compile to the binary that was timed; sweep again to "
                 "have them",
                 d->changed, d->rows->count);
    if (!d->entry_count)
        return fail(MT_FAILURE,
                    "no winner compiles to the binary that was timed, so nothing can be exported: sweep again first");
    return add_fallbacks(d);
}

static enum mt_status write_draft(const struct draft *d, const struct choice *c, const char *path) {
    int driver = 0;
    for (int r = 0; r < d->rows->count; r++)
        if (atoi(cell(d, r, "driver")) > driver)
            driver = atoi(cell(d, r, "driver"));
    const struct bundle bundle = {
        .fingerprint = {.gpu = c->device,
                        .cc = atoi(c->cc),
                        .sm_count = atoi(c->sm_count),
                        .software = atoi(cell(d, 0, "software")),
                        .driver_version = driver,
                        .toolkit = atoi(c->nvrtc),
                        .template_hash = c->templates},
        .layers = d->layers,
        .entries = d->entries,
        .fallbacks = d->fallbacks,
        .images = d->images,
        .layer_count = d->layer_count,
        .entry_count = d->entry_count,
        .fallback_count = d->fallback_count,
        .image_count = d->image_count,
    };
    return bundle_write(path, &bundle);
}

static void print_summary(const struct draft *d, const struct choice *c, const struct export *o) {
    int kernels = d->entry_count - d->library_wins;
    if (o->query.common.json) {
        json_t *summary =
            json_pack("{ss ss ss si si si si}", "file", o->out, "gpu", c->device, "origin", c->origin, "layers",
                      d->layer_count, "winners", kernels, "cublas_wins", d->library_wins, "images", d->image_count);
        char *text = json_dumps(summary, JSON_COMPACT);
        puts(text ? text : "{}");
        free(text);
        json_decref(summary);
        return;
    }
    printf("%s: %d winners of %d layers on %s (%s), cuBLAS faster at %d of them, %d kernel images\n", o->out, kernels,
           d->layer_count, c->device, c->origin, d->library_wins, d->image_count);
}

static enum mt_status export_rows(const struct rows *rows, const struct choice *c, const struct export *o) {
    bool modelled = !strcmp(c->origin, store_origin_name(ORIGIN_MODELLED));
    if (modelled)
        log_warn("the winners on %s are chosen by modelled times: sweep on the GPU itself before you serve with them",
                 c->device);
    struct draft d;
    draft_init(&d, rows, atoi(c->cc));
    enum mt_status status = fill_draft(&d, o, modelled ? BUNDLE_MODELLED : BUNDLE_MEASURED);
    if (status == MT_OK)
        status = write_draft(&d, c, o->out);
    if (status == MT_OK)
        print_summary(&d, c, o);
    draft_release(&d);
    return status;
}

static enum mt_status export_winners(const struct export *o) {
    struct store *store;
    struct choice c = {0};
    struct rows rows = {0};
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
    if (status == MT_OK)
        status = export_rows(&rows, &c, o);
    rows_release(&rows);
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
            "Writes the winners of one type of GPU, with their kernels, to the file that libmixtune dispatches from.",
    };
    int status = options_parse(&argp, argc, argv, &o, &o.query.common);
    if (status == MT_OK)
        status = export_winners(&o);
    query_options_release(&o.query);
    return status;
}
