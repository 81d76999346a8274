#include "private.h"
#include "runtime/base/file.h"
#include "runtime/base/memory.h"
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define LEVEL 12 /* zstd: kernels are small and written once */

const char *const bundle_kinds[] = {"kernel", "fp16", "invariant", NULL};
const char *const bundle_origins[] = {"measured", "modelled", NULL};

const char bundle_schema[] =
    "CREATE TABLE fingerprint (id INTEGER PRIMARY KEY, gpu TEXT NOT NULL, cc INTEGER NOT NULL, sm_count INTEGER NOT "
    "NULL, software INTEGER NOT NULL, driver_version INTEGER NOT NULL, toolkit INTEGER NOT NULL,"
    " template_hash TEXT NOT NULL, layout INTEGER NOT NULL) STRICT;"
    "CREATE TABLE seal (text TEXT NOT NULL) STRICT;"
    "CREATE TABLE layer (id INTEGER PRIMARY KEY, gpu INTEGER NOT NULL REFERENCES fingerprint, name TEXT NOT NULL,"
    " model TEXT NOT NULL, tp INTEGER NOT NULL, n INTEGER NOT NULL, k INTEGER NOT NULL, group_size INTEGER NOT NULL,"
    " rows8 INTEGER NOT NULL, scheme TEXT NOT NULL, dtype TEXT NOT NULL) STRICT;"
    /* hash: of `built` and the image; data: the image, compressed by zstd. */
    "CREATE TABLE image (hash TEXT PRIMARY KEY, built TEXT NOT NULL, data BLOB NOT NULL) STRICT;"
    "CREATE TABLE entry (layer INTEGER NOT NULL REFERENCES layer, m INTEGER NOT NULL,"
    " kind TEXT NOT NULL CHECK (kind IN ('kernel', 'fp16', 'invariant')), family TEXT NOT NULL, config TEXT NOT NULL,"
    " image TEXT REFERENCES image, expected_ns REAL NOT NULL,"
    " origin TEXT NOT NULL CHECK (origin IN ('measured', 'modelled')), quantize_ns REAL NOT NULL,"
    " PRIMARY KEY (layer, m, kind)) STRICT;"
    "CREATE TABLE time (layer INTEGER NOT NULL REFERENCES layer, m INTEGER NOT NULL, family TEXT NOT NULL,"
    " config TEXT NOT NULL, expected_ns REAL NOT NULL,"
    " origin TEXT NOT NULL CHECK (origin IN ('measured', 'modelled')), PRIMARY KEY (layer, m, family, config)) STRICT;"
    "CREATE TABLE variant (gpu INTEGER NOT NULL REFERENCES fingerprint, family TEXT NOT NULL, config TEXT NOT NULL,"
    " scheme TEXT NOT NULL, dtype TEXT NOT NULL, group_size INTEGER NOT NULL, image TEXT REFERENCES image,"
    " PRIMARY KEY (gpu, family, config, scheme, dtype, group_size)) STRICT;"
    "CREATE TABLE fallback (gpu INTEGER NOT NULL REFERENCES fingerprint, family TEXT NOT NULL, config TEXT NOT NULL,"
    " scheme TEXT NOT NULL, dtype TEXT NOT NULL, group_size INTEGER NOT NULL, image TEXT REFERENCES image,"
    " PRIMARY KEY (gpu, family, config, scheme, dtype, group_size)) STRICT;";

/* A row that is being put together: values are bound from left to right. A failure is kept by SQLite and met in
 * row_end(). */
struct row {
    sqlite3 *db;
    sqlite3_stmt *insert;
    int bound;
};

/* Rows of a table come one behind another and share their statement, which is the only one that there is. */
static struct row row_begin(sqlite3 *db, const char *sql) {
    struct row row = {.db = db, .insert = sqlite3_next_stmt(db, NULL)};
    if (row.insert && !strcmp(sqlite3_sql(row.insert), sql))
        return row;
    sqlite3_finalize(row.insert);
    row.insert = NULL;
    sqlite3_prepare_v2(db, sql, -1, &row.insert, NULL);
    return row;
}

static void row_number(struct row *row, int value) {
    sqlite3_bind_int(row->insert, ++row->bound, value);
}

static void row_text(struct row *row, const char *value) {
    sqlite3_bind_text(row->insert, ++row->bound, value, -1, SQLITE_STATIC);
}

static enum mt_status row_end(struct row *row) {
    enum mt_status status = MT_OK;
    if (!row->insert || sqlite3_step(row->insert) != SQLITE_DONE)
        status = fail(MT_FAILURE, "cannot put the bundle together: %s", sqlite3_errmsg(row->db));
    if (row->insert) {
        sqlite3_reset(row->insert);
        sqlite3_clear_bindings(row->insert);
    }
    return status;
}

static enum mt_status write_seal(sqlite3 *db) {
    struct row row = row_begin(db, "INSERT INTO seal VALUES (?)");
    row_text(&row, bundle_blank_seal);
    return row_end(&row);
}

static enum mt_status write_fingerprint(sqlite3 *db, const struct bundle_fingerprint *f, int gpu) {
    struct row row = row_begin(db, "INSERT INTO fingerprint VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
    row_number(&row, gpu);
    row_text(&row, f->gpu);
    row_number(&row, f->cc);
    row_number(&row, f->sm_count);
    row_number(&row, f->software);
    row_number(&row, f->driver_version);
    row_number(&row, f->toolkit);
    row_text(&row, f->template_hash);
    row_number(&row, f->layout);
    return row_end(&row);
}

static enum mt_status write_layer(sqlite3 *db, const struct bundle_layer *layer, int gpu, int number) {
    struct row row = row_begin(db, "INSERT INTO layer VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    row_number(&row, number);
    row_number(&row, gpu);
    row_text(&row, layer->name);
    row_text(&row, layer->model);
    row_number(&row, layer->tp);
    row_number(&row, layer->n);
    row_number(&row, layer->k);
    row_number(&row, layer->group);
    row_number(&row, layer->rows8);
    row_text(&row, layer->scheme);
    row_text(&row, layer->dtype);
    return row_end(&row);
}

/* What the file has so far. */
struct written {
    int layers, images;
    size_t unpacked; /* bytes of the images */
};

static enum mt_status image_is_there(sqlite3 *db, const struct bundle_image *image, bool *there) {
    struct row row = row_begin(db, "SELECT 1 FROM image WHERE hash = ?");
    row_text(&row, image->hash);
    const int rc = sqlite3_step(row.insert);
    sqlite3_finalize(row.insert);
    *there = rc == SQLITE_ROW;
    return rc == SQLITE_ROW || rc == SQLITE_DONE
               ? MT_OK
               : fail(MT_FAILURE, "cannot put the bundle together: %s", sqlite3_errmsg(db));
}

/* Compresses an image into memory that is the caller's. One that is packed already stays as it is if it is good. */
static enum mt_status image_pack(const struct bundle_image *image, void **out, size_t *size) {
    *out = NULL;
    if (!image->data) {
        void *bytes;
        enum mt_status status = bundle_unpack(image, &bytes);
        free(bytes);
        *size = image->packed_size;
        return status;
    }
    const size_t bound = ZSTD_compressBound(image->size);
    *out = mem_alloc(bound);
    if (!*out)
        return MT_FAILURE;
    *size = ZSTD_compress(*out, bound, image->data, image->size, LEVEL);
    if (!ZSTD_isError(*size))
        return MT_OK;
    free(*out);
    return fail(MT_FAILURE, "cannot compress kernel image %s: %s", image->hash, ZSTD_getErrorName(*size));
}

/* Once, whatever number of GPU types have it. */
static enum mt_status write_image(sqlite3 *db, const struct bundle_image *image, struct written *so_far) {
    bool there;
    enum mt_status status = image_is_there(db, image, &there);
    if (status != MT_OK || there)
        return status;
    so_far->unpacked += image->size;
    if (++so_far->images > BUNDLE_MOST_IMAGES || so_far->unpacked > BUNDLE_MOST_UNPACKED)
        return fail(MT_FAILURE,
                    "the bundle has more than %d kernel images, or they more than %d bytes: export fewer layers, or "
                    "with --no-images",
                    BUNDLE_MOST_IMAGES, BUNDLE_MOST_UNPACKED);
    void *packed = NULL;
    size_t size;
    status = image_pack(image, &packed, &size);
    if (status != MT_OK)
        return status;
    struct row row = row_begin(db, "INSERT INTO image VALUES (?, ?, ?)");
    row_text(&row, image->hash);
    row_text(&row, image->built);
    sqlite3_bind_blob64(row.insert, ++row.bound, packed ? packed : image->packed, size, SQLITE_STATIC);
    status = row_end(&row);
    free(packed);
    return status;
}

/* NULL where there is no image. */
static void row_image(struct row *row, const char *hash) {
    row_text(row, *hash ? hash : NULL);
}

/* `first`: the number of the first layer of its GPU. */
static enum mt_status write_entry(sqlite3 *db, const struct bundle_entry *entry, int first) {
    struct row row = row_begin(db, "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
    row_number(&row, first + entry->layer);
    row_number(&row, entry->m);
    row_text(&row, bundle_kinds[entry->kind]);
    row_text(&row, entry->family);
    row_text(&row, entry->config);
    row_image(&row, entry->image_hash);
    sqlite3_bind_double(row.insert, ++row.bound, entry->expected_ns);
    row_text(&row, bundle_origins[entry->origin]);
    sqlite3_bind_double(row.insert, ++row.bound, entry->quantize_ns);
    return row_end(&row);
}

static enum mt_status write_time(sqlite3 *db, const struct bundle_time *time, int first) {
    struct row row = row_begin(db, "INSERT INTO time VALUES (?, ?, ?, ?, ?, ?)");
    row_number(&row, first + time->layer);
    row_number(&row, time->m);
    row_text(&row, time->family);
    row_text(&row, time->config);
    sqlite3_bind_double(row.insert, ++row.bound, time->expected_ns);
    row_text(&row, bundle_origins[time->origin]);
    return row_end(&row);
}

static enum mt_status write_build(sqlite3 *db, const char *sql, const struct bundle_build *build, int gpu) {
    struct row row = row_begin(db, sql);
    row_number(&row, gpu);
    row_text(&row, build->family);
    row_text(&row, build->config);
    row_text(&row, build->scheme);
    row_text(&row, build->dtype);
    row_number(&row, build->group);
    row_image(&row, build->image_hash);
    return row_end(&row);
}

static enum mt_status write_gpu(sqlite3 *db, const struct bundle *bundle, int gpu, struct written *so_far) {
    const int first = so_far->layers;
    enum mt_status status = write_fingerprint(db, &bundle->fingerprint, gpu);
    for (int i = 0; status == MT_OK && i < bundle->layer_count; i++)
        status = write_layer(db, &bundle->layers[i], gpu, so_far->layers++);
    for (int i = 0; status == MT_OK && i < bundle->image_count; i++)
        status = write_image(db, &bundle->images[i], so_far);
    for (int i = 0; status == MT_OK && i < bundle->entry_count; i++)
        status = write_entry(db, &bundle->entries[i], first);
    for (int i = 0; status == MT_OK && i < bundle->time_count; i++)
        status = write_time(db, &bundle->times[i], first);
    for (int i = 0; status == MT_OK && i < bundle->variant_count; i++)
        status = write_build(db, "INSERT INTO variant VALUES (?, ?, ?, ?, ?, ?, ?)", &bundle->variants[i], gpu);
    for (int i = 0; status == MT_OK && i < bundle->fallback_count; i++)
        status = write_build(db, "INSERT INTO fallback VALUES (?, ?, ?, ?, ?, ?, ?)", &bundle->fallbacks[i], gpu);
    return status;
}

static enum mt_status write_rows(sqlite3 *db, const struct bundle *bundles, int count, struct written *out) {
    char pragmas[160];
    *out = (struct written){0};
    snprintf(pragmas, sizeof pragmas,
             "PRAGMA page_size = %d; PRAGMA application_id = %d; PRAGMA user_version = %d; PRAGMA foreign_keys = ON; "
             "BEGIN",
             BUNDLE_PAGE, BUNDLE_APPLICATION, BUNDLE_VERSION);
    if (sqlite3_exec(db, pragmas, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(db, bundle_schema, NULL, NULL, NULL) != SQLITE_OK)
        return fail(MT_FAILURE, "cannot put the bundle together: %s", sqlite3_errmsg(db));
    enum mt_status status = write_seal(db);
    for (int i = 0; status == MT_OK && i < count; i++)
        status = write_gpu(db, &bundles[i], i, out);
    sqlite3_finalize(sqlite3_next_stmt(db, NULL));
    if (status == MT_OK && sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        status = fail(MT_FAILURE, "cannot put the bundle together: %s", sqlite3_errmsg(db));
    return status;
}

/* What is too large to be read is not written. */
static enum mt_status sizes_check(const struct written *written, sqlite3_int64 file) {
    if (file > BUNDLE_MOST_BYTES || written->unpacked / BUNDLE_MOST_RATIO > (size_t)file)
        return fail(MT_FAILURE,
                    "a bundle of %lld bytes with %zu bytes of kernels would be larger than what is read: export fewer "
                    "layers, or with --no-images",
                    (long long)file, written->unpacked);
    return MT_OK;
}

enum mt_status bundle_write_all(const char *path, const struct bundle *bundles, int count,
                                char digest[BUNDLE_DIGEST_TEXT]) {
    sqlite3 *db = NULL;
    unsigned char *file = NULL;
    sqlite3_int64 size = 0;
    struct written written;
    enum mt_status status = bundle_check_all(bundles, count);
    if (status != MT_OK)
        return status;
    if (sqlite3_open(":memory:", &db) != SQLITE_OK) {
        status = fail(MT_FAILURE, "cannot put the bundle together: %s", sqlite3_errmsg(db));
        goto out;
    }
    status = write_rows(db, bundles, count, &written);
    if (status != MT_OK)
        goto out;
    file = sqlite3_serialize(db, "main", &size, 0);
    if (!file)
        status = fail(MT_FAILURE, "out of memory while the bundle was put together");
    else if (!bundle_seal(file, (size_t)size))
        status = fail(MT_FAILURE, "cannot put the bundle together: it holds no place for its checksum");
    if (status == MT_OK)
        status = sizes_check(&written, size);
    if (status == MT_OK)
        status = file_write_atomic(path, file, (size_t)size);
    if (status == MT_OK)
        bundle_digest(file, (size_t)size, digest);
out:
    sqlite3_free(file);
    sqlite3_close(db);
    return status;
}

enum mt_status bundle_write(const char *path, const struct bundle *bundle) {
    char digest[BUNDLE_DIGEST_TEXT];
    return bundle_write_all(path, bundle, 1, digest);
}
