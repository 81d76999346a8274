#include "bundle_private.h"
#include "runtime/base/array.h"
#include "runtime/base/file.h"
#include "runtime/base/str.h"
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define LARGEST_IMAGE (1 << 28) /* bytes; keeps a hostile size from being allocated */

/* Offsets in the header of an SQLite file (https://www.sqlite.org/fileformat.html), all big-endian. */
enum { PAGE_SIZE_AT = 16, PAGE_COUNT_AT = 28, USER_VERSION_AT = 60, APPLICATION_AT = 68, HEADER_BYTES = 100 };

static uint32_t big_endian(const char *at, int bytes) {
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | (unsigned char)at[i];
    return value;
}

/* All that can be said of the file before SQLite looks at it. */
static enum mt_status file_check(const char *path, struct str *file) {
    if (file->length < HEADER_BYTES || memcmp(file->data, "SQLite format 3", 16) ||
        big_endian(file->data + APPLICATION_AT, 4) != BUNDLE_APPLICATION)
        return fail(MT_FAILURE, "%s is not a mixtune bundle: make one with `mixtune export`", path);
    uint32_t version = big_endian(file->data + USER_VERSION_AT, 4), page = big_endian(file->data + PAGE_SIZE_AT, 2);
    if (version != BUNDLE_VERSION)
        return fail(MT_FAILURE,
                    "%s is a bundle of version %u, and this library reads version %d: export it again from its "
                    "database, with the `mixtune export` of this version",
                    path, (unsigned)version, BUNDLE_VERSION);
    uint64_t whole = (uint64_t)(page == 1 ? 65536 : page) * big_endian(file->data + PAGE_COUNT_AT, 4);
    if (file->length < whole)
        return fail(MT_FAILURE, "%s is cut short: it has %zu of %llu bytes; copy it again", path, file->length,
                    (unsigned long long)whole);
    if (!bundle_unseal(file->data, file->length))
        return fail(MT_FAILURE, "%s was changed or damaged: its checksum does not match; copy or export it again",
                    path);
    return MT_OK;
}

/* Takes memory over: bundle_release() frees it. */
static void *own(struct bundle *bundle, void *memory) {
    array_grow(&bundle->owned, &bundle->owned_capacity, (size_t)bundle->owned_count, sizeof *bundle->owned);
    return bundle->owned[bundle->owned_count++] = memory;
}

/* A query that is read row by row; the first failure stays in `status`. */
struct rows {
    sqlite3 *db;
    sqlite3_stmt *query;
    struct bundle *bundle;
    enum mt_status status;
};

static enum mt_status rows_fail(struct rows *rows) {
    return rows->status = fail(MT_FAILURE, "the bundle cannot be read: %s", sqlite3_errmsg(rows->db));
}

static struct rows rows_begin(sqlite3 *db, struct bundle *bundle, const char *sql) {
    struct rows rows = {.db = db, .bundle = bundle};
    if (sqlite3_prepare_v2(db, sql, -1, &rows.query, NULL) != SQLITE_OK)
        rows_fail(&rows);
    return rows;
}

static bool rows_next(struct rows *rows) {
    if (rows->status != MT_OK)
        return false;
    int rc = sqlite3_step(rows->query);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        rows_fail(rows);
    return rc == SQLITE_ROW;
}

static enum mt_status rows_end(struct rows *rows) {
    sqlite3_finalize(rows->query);
    return rows->status;
}

static int rows_number(struct rows *rows, int column) {
    return sqlite3_column_int(rows->query, column);
}

/* An owned copy, "" for NULL. */
static const char *rows_text(struct rows *rows, int column) {
    const char *text = (const char *)sqlite3_column_text(rows->query, column);
    return own(rows->bundle, xstrdup(text ? text : ""));
}

static bool rows_equal(struct rows *rows, int column, const char *text) {
    const char *value = (const char *)sqlite3_column_text(rows->query, column);
    return value && !strcmp(value, text);
}

static enum bundle_origin rows_origin(struct rows *rows, int column) {
    return rows_equal(rows, column, "modelled") ? BUNDLE_MODELLED : BUNDLE_MEASURED;
}

static enum mt_status read_fingerprint(sqlite3 *db, struct bundle *out) {
    struct rows rows = rows_begin(
        db, out, "SELECT gpu, cc, sm_count, software, driver_version, toolkit, template_hash, layout FROM fingerprint");
    struct bundle_fingerprint *f = &out->fingerprint;
    while (rows_next(&rows)) {
        f->gpu = rows_text(&rows, 0);
        f->cc = rows_number(&rows, 1);
        f->sm_count = rows_number(&rows, 2);
        f->software = rows_number(&rows, 3);
        f->driver_version = rows_number(&rows, 4);
        f->toolkit = rows_number(&rows, 5);
        f->template_hash = rows_text(&rows, 6);
        f->layout = rows_number(&rows, 7);
    }
    if (rows.status == MT_OK && !f->gpu)
        rows.status = fail(MT_FAILURE, "the bundle does not say which GPU it is for");
    return rows_end(&rows);
}

static enum mt_status read_layers(sqlite3 *db, struct bundle *out) {
    struct rows rows =
        rows_begin(db, out, "SELECT name, model, tp, n, k, group_size, rows8, scheme, dtype FROM layer ORDER BY id");
    struct bundle_layer *layers = NULL;
    size_t capacity = 0;
    while (rows_next(&rows)) {
        array_grow(&layers, &capacity, (size_t)out->layer_count, sizeof *layers);
        layers[out->layer_count++] = (struct bundle_layer){.name = rows_text(&rows, 0),
                                                           .model = rows_text(&rows, 1),
                                                           .tp = rows_number(&rows, 2),
                                                           .n = rows_number(&rows, 3),
                                                           .k = rows_number(&rows, 4),
                                                           .group = rows_number(&rows, 5),
                                                           .rows8 = rows_number(&rows, 6),
                                                           .scheme = rows_text(&rows, 7),
                                                           .dtype = rows_text(&rows, 8)};
    }
    out->layers = own(out, layers);
    return rows_end(&rows);
}

static enum mt_status read_entries(sqlite3 *db, struct bundle *out) {
    struct rows rows = rows_begin(db, out,
                                  "SELECT layer, m, kind, family, config, image, expected_ns, origin FROM entry "
                                  "ORDER BY layer, m, kind = 'cublas'");
    struct bundle_entry *entries = NULL;
    size_t capacity = 0;
    while (rows_next(&rows)) {
        array_grow(&entries, &capacity, (size_t)out->entry_count, sizeof *entries);
        entries[out->entry_count++] =
            (struct bundle_entry){.layer = rows_number(&rows, 0),
                                  .m = rows_number(&rows, 1),
                                  .kind = rows_equal(&rows, 2, "cublas") ? BUNDLE_CUBLAS : BUNDLE_KERNEL,
                                  .family = rows_text(&rows, 3),
                                  .config = rows_text(&rows, 4),
                                  .image_hash = rows_text(&rows, 5),
                                  .expected_ns = sqlite3_column_double(rows.query, 6),
                                  .origin = rows_origin(&rows, 7)};
    }
    out->entries = own(out, entries);
    return rows_end(&rows);
}

static enum mt_status read_split_times(sqlite3 *db, struct bundle *out) {
    struct rows rows = rows_begin(db, out,
                                  "SELECT layer, m, family, config, expected_ns, origin FROM split_time "
                                  "ORDER BY layer, m, family, config");
    struct bundle_split_time *times = NULL;
    size_t capacity = 0;
    while (rows_next(&rows)) {
        array_grow(&times, &capacity, (size_t)out->split_time_count, sizeof *times);
        times[out->split_time_count++] = (struct bundle_split_time){.layer = rows_number(&rows, 0),
                                                                    .m = rows_number(&rows, 1),
                                                                    .family = rows_text(&rows, 2),
                                                                    .config = rows_text(&rows, 3),
                                                                    .expected_ns = sqlite3_column_double(rows.query, 4),
                                                                    .origin = rows_origin(&rows, 5)};
    }
    out->split_times = own(out, times);
    return rows_end(&rows);
}

static enum mt_status read_builds(sqlite3 *db, struct bundle *out, const char *sql, const struct bundle_build **list,
                                  int *count) {
    struct rows rows = rows_begin(db, out, sql);
    struct bundle_build *builds = NULL;
    size_t capacity = 0;
    while (rows_next(&rows)) {
        array_grow(&builds, &capacity, (size_t)*count, sizeof *builds);
        builds[(*count)++] = (struct bundle_build){.family = rows_text(&rows, 0),
                                                   .config = rows_text(&rows, 1),
                                                   .scheme = rows_text(&rows, 2),
                                                   .dtype = rows_text(&rows, 3),
                                                   .group = rows_number(&rows, 4),
                                                   .image_hash = rows_text(&rows, 5)};
    }
    *list = own(out, builds);
    return rows_end(&rows);
}

static enum mt_status read_variants(sqlite3 *db, struct bundle *out) {
    return read_builds(db, out,
                       "SELECT family, config, scheme, dtype, group_size, image FROM variant "
                       "ORDER BY family, config, scheme, dtype, group_size",
                       &out->variants, &out->variant_count);
}

static enum mt_status read_fallbacks(sqlite3 *db, struct bundle *out) {
    return read_builds(db, out,
                       "SELECT family, config, scheme, dtype, group_size, image FROM fallback "
                       "ORDER BY family, scheme, dtype, group_size",
                       &out->fallbacks, &out->fallback_count);
}

/* Columns as in read_images(). */
static enum mt_status image_unpack(struct rows *rows, struct bundle_image *image) {
    sqlite3_int64 size = sqlite3_column_int64(rows->query, 1);
    image->hash = rows_text(rows, 0);
    if (size < 0 || size > LARGEST_IMAGE)
        return fail(MT_FAILURE, "kernel image %s of the bundle has an impossible size", image->hash);
    image->size = (size_t)size;
    image->registers = rows_number(rows, 4);
    image->spill_bytes = rows_number(rows, 5);
    image->smem_static = rows_number(rows, 6);
    void *data = own(rows->bundle, xmalloc(image->size + 1));
    image->data = data;
    size_t got = ZSTD_decompress(data, image->size, sqlite3_column_blob(rows->query, 3),
                                 (size_t)sqlite3_column_bytes(rows->query, 3));
    char checksum[HASH_TEXT];
    bundle_hash(data, ZSTD_isError(got) ? 0 : got, checksum);
    if (got != image->size || !rows_equal(rows, 2, checksum))
        return fail(MT_FAILURE, "kernel image %s of the bundle is damaged; export it again", image->hash);
    return MT_OK;
}

static enum mt_status read_images(sqlite3 *db, struct bundle *out) {
    struct rows rows = rows_begin(
        db, out, "SELECT hash, size, checksum, data, registers, spill_bytes, smem_static FROM image ORDER BY hash");
    struct bundle_image *images = NULL;
    size_t capacity = 0;
    while (rows_next(&rows)) {
        array_grow(&images, &capacity, (size_t)out->image_count, sizeof *images);
        rows.status = image_unpack(&rows, &images[out->image_count++]);
    }
    out->images = own(out, images);
    return rows_end(&rows);
}

enum mt_status bundle_read(const char *path, struct bundle *out) {
    sqlite3 *db = NULL;
    struct str file = {0};
    *out = (struct bundle){0};
    enum mt_status status = file_read(path, &file);
    if (status == MT_OK)
        status = file_check(path, &file);
    if (status != MT_OK)
        goto out;
    if (sqlite3_open(":memory:", &db) != SQLITE_OK ||
        sqlite3_deserialize(db, "main", (unsigned char *)file.data, (sqlite3_int64)file.length,
                            (sqlite3_int64)file.length, SQLITE_DESERIALIZE_READONLY) != SQLITE_OK) {
        status = fail(MT_FAILURE, "%s cannot be read: %s", path, sqlite3_errmsg(db));
        goto out;
    }
    status = read_fingerprint(db, out);
    if (status == MT_OK)
        status = read_layers(db, out);
    if (status == MT_OK)
        status = read_images(db, out);
    if (status == MT_OK)
        status = read_entries(db, out);
    if (status == MT_OK)
        status = read_split_times(db, out);
    if (status == MT_OK)
        status = read_variants(db, out);
    if (status == MT_OK)
        status = read_fallbacks(db, out);
    if (status == MT_OK)
        status = bundle_check(out);
    if (status != MT_OK)
        fail_context(status, "%s", path);
out:
    if (status != MT_OK)
        bundle_release(out);
    sqlite3_close(db);
    str_release(&file);
    return status;
}
