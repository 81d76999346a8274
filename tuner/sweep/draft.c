#include "draft.h"
#include "tuner/report/winner_set.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void draft_init(struct draft *d, const struct rows *rows, int cc) {
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

void draft_release(struct draft *d) {
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

static const struct family *family_of(const struct draft *d, int row) {
    return family_find(cell(d, row, "family"));
}

static bool same_formats(const struct draft *d, int a, int b) {
    static const char *const names[] = {"group_size", "dtype", NULL};
    return rows_same(d->rows, a, b, names);
}

static bool same_default(const struct draft *d, int a, int b) {
    static const char *const names[] = {"group_size", "dtype", "scheme", "family", NULL};
    return rows_same(d->rows, a, b, names);
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
        enum mt_status status = rows_problem(d->rows, r, &p);
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

static void add_fallback(struct draft *d, const char *family, const char *config, int row, const char *scheme,
                         const struct image *image) {
    add_image(d, image);
    d->fallbacks[d->fallback_count++] = (struct bundle_fallback){.family = family,
                                                                 .config = config,
                                                                 .scheme = scheme,
                                                                 .dtype = cell(d, row, "dtype"),
                                                                 .group = atoi(cell(d, row, "group_size")),
                                                                 .image_hash = image->hash};
}

/* The default configuration for the formats of a row. */
static enum mt_status add_default(struct draft *d, int row) {
    struct problem p;
    struct config config;
    enum mt_status status = rows_problem(d->rows, row, &p);
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
    add_fallback(d, cell(d, row, "family"), text.data, row, cell(d, row, "scheme"), &b->image);
    return MT_OK;
}

/* The activation quantisation for the formats of a row. */
static enum mt_status add_quantize(struct draft *d, int row) {
    struct problem p;
    enum mt_status status = rows_problem(d->rows, row, &p);
    if (status != MT_OK)
        return status;
    struct image *image = &d->quantize[d->quantize_count];
    status = kernel_compile_quantize(&d->target, &p, image);
    if (status != MT_OK)
        return status;
    d->quantize_count++;
    add_fallback(d, "quantize", "", row, "", image);
    return MT_OK;
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
                                                        .n = atoi(cell(d, row, "n")),
                                                        .k = atoi(cell(d, row, "k")),
                                                        .group = atoi(cell(d, row, "group_size")),
                                                        .scheme = cell(d, row, "scheme"),
                                                        .rows8 = atoi(cell(d, row, "rows8")),
                                                        .dtype = cell(d, row, "dtype")};
}

/* A winner goes in if it compiles to the very binary that was timed; and the library kernel beside it, where that was
 * faster. */
static void add_entries(struct draft *d, enum bundle_origin origin) {
    int layer_row = -1;
    for (int r = 0; r < d->rows->count; r++) {
        const struct binary *b = &d->binaries.item[d->binary[r]];
        if (b->status != MT_OK || !rows_is(d->rows, r, "binary", b->image.hash)) {
            d->changed++;
            continue;
        }
        if (layer_row < 0 || !rows_same(d->rows, layer_row, r, winner_set_layer)) {
            add_layer(d, r);
            layer_row = r;
        }
        struct bundle_entry entry = {.layer = d->layer_count - 1,
                                     .m = atoi(cell(d, r, "m")),
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

enum mt_status draft_fill(struct draft *d, enum bundle_origin origin, bool quiet) {
    enum mt_status status = collect_binaries(d);
    if (status == MT_OK)
        status = binaries_compile(&d->binaries, &d->target, quiet);
    if (status != MT_OK)
        return status;
    add_entries(d, origin);
    if (!d->entry_count)
        return fail(MT_FAILURE,
                    "no winner compiles to the binary that was timed, so nothing can be exported: sweep again first");
    return add_fallbacks(d);
}
