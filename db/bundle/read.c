#include "private.h"
#include "runtime/base/array.h"
#include "runtime/base/memory.h"
#include <limits.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

/* Instructions of SQLite's machine for a whole bundle. A row takes some thirty, and rows are limited. */
enum { MOST_INSTRUCTIONS = 200 * 1000 * 1000, INSTRUCTIONS_APART = 10 * 1000 };

/* A database whose bytes somebody else may have written. */
struct bundle_reader {
    struct bundle_file file;
    sqlite3 *db;
    struct bundle heads; /* owns the fingerprints */
    const struct bundle_fingerprint *gpus;
    int gpu_count;

    /* of the GPU that is being read */
    struct bundle *bundle;
    int gpu;
    bool images;
    int *layer;          /* owned: the number in `bundle` of each layer of the file; -1: of another GPU */
    const char **wanted; /* owned: names of images, in their order */
    int layer_count, wanted_count;
    size_t room;     /* bytes of texts and packed images that may still come: the file has no more */
    size_t unpacked; /* bytes that its images may still unpack to */
    int ticks;       /* INSTRUCTIONS_APART each */
};

/* A query that is read row by row; the first failure stays in `status`. The rows lie in `list`. */
struct rows {
    struct bundle_reader *reader;
    const char *table;
    sqlite3_stmt *query;
    size_t bytes; /* of one row */
    void *list;   /* owned, until rows_end() */
    size_t capacity;
    int count, seen, most; /* kept; read, of all GPUs; that may be read */
    enum mt_status status;
};

/* Not by sqlite3_errmsg(): it repeats what the file says. */
static enum mt_status fail_sql(sqlite3 *db, const char *table) {
    const int code = sqlite3_errcode(db);
    if (code == SQLITE_NOMEM)
        return fail(MT_FAILURE, "out of memory while the table %s of the bundle was read", table);
    return fail(MT_FAILURE, "the table %s of the bundle cannot be read: %s; export it again", table,
                sqlite3_errstr(code));
}

static void rows_fail(struct rows *rows, int column, const char *what) {
    if (rows->status == MT_OK)
        rows->status = fail(MT_FAILURE, "row %d of the bundle's table %s is damaged: %s %s; export it again",
                            rows->seen, rows->table, sqlite3_column_name(rows->query, column), what);
}

static struct rows rows_begin(struct bundle_reader *reader, const char *table, const char *sql, size_t bytes,
                              int most) {
    struct rows rows = {.reader = reader, .table = table, .bytes = bytes, .most = most};
    if (sqlite3_prepare_v2(reader->db, sql, -1, &rows.query, NULL) != SQLITE_OK)
        rows.status = fail_sql(reader->db, table);
    return rows;
}

/* Room for the next row; NULL when there is none, or after a failure. Rows come as they lie in the file: an index or an
 * order that SQLite makes would cost what the file says, before the first of them is counted. */
static void *rows_next(struct rows *rows) {
    if (rows->status != MT_OK)
        return NULL;
    const int rc = sqlite3_step(rows->query);
    if (rc == SQLITE_DONE)
        return NULL;
    if (rc != SQLITE_ROW)
        rows->status = fail_sql(rows->reader->db, rows->table);
    else if (rows->seen == rows->most)
        rows->status =
            fail(MT_FAILURE, "the table %s of the bundle has more than %d rows; export fewer", rows->table, rows->most);
    else if (!array_grow(&rows->list, &rows->capacity, (size_t)rows->count, rows->bytes))
        rows->status = MT_FAILURE;
    if (rows->status != MT_OK)
        return NULL;
    rows->seen++;
    return (char *)rows->list + (size_t)rows->count++ * rows->bytes;
}

/* The last row is not kept. */
static void rows_drop(struct rows *rows) {
    rows->count--;
}

/* The bundle owns the rows then, in the order of `compare` (NULL: as they are). */
static enum mt_status rows_end(struct rows *rows, int (*compare)(const void *, const void *), const void **list,
                               int *count) {
    const size_t bytes = (size_t)rows->count * rows->bytes;
    void *own = NULL;
    sqlite3_finalize(rows->query);
    if (rows->status == MT_OK && !(own = bundle_alloc(rows->reader->bundle, bytes)))
        rows->status = MT_FAILURE;
    if (own && rows->count) {
        memcpy(own, rows->list, bytes);
        if (compare)
            qsort(own, (size_t)rows->count, rows->bytes, compare);
    }
    free(rows->list);
    *list = own;
    *count = own ? rows->count : 0;
    return rows->status;
}

static int rows_number(struct rows *rows, int column) {
    const sqlite3_int64 value = sqlite3_column_int64(rows->query, column);
    if (sqlite3_column_type(rows->query, column) != SQLITE_INTEGER)
        rows_fail(rows, column, "is not a whole number");
    else if (value < INT_MIN || value > INT_MAX)
        rows_fail(rows, column, "is out of every range");
    return rows->status == MT_OK ? (int)value : 0;
}

static double rows_real(struct rows *rows, int column) {
    if (sqlite3_column_type(rows->query, column) != SQLITE_FLOAT)
        rows_fail(rows, column, "is not a time");
    return rows->status == MT_OK ? sqlite3_column_double(rows->query, column) : 0;
}

/* False if the file cannot have so many bytes more. */
static bool rows_take(struct rows *rows, int column, size_t bytes) {
    if (bytes > rows->reader->room)
        rows_fail(rows, column, "is more than the file holds");
    else
        rows->reader->room -= bytes;
    return rows->status == MT_OK;
}

/* An owned copy. */
static const char *rows_text(struct rows *rows, int column) {
    const int type = sqlite3_column_type(rows->query, column);
    const char *text = type == SQLITE_TEXT ? (const char *)sqlite3_column_text(rows->query, column) : NULL;
    const size_t length = text ? (size_t)sqlite3_column_bytes(rows->query, column) : 0;
    if (type != SQLITE_TEXT)
        rows_fail(rows, column, "is not a text");
    else if (!text)
        rows->status = fail_sql(rows->reader->db, rows->table);
    else if (length > BUNDLE_MOST_TEXT || memchr(text, 0, length))
        rows_fail(rows, column, "is longer than a name, or has a 0 inside");
    if (rows->status != MT_OK || !rows_take(rows, column, length))
        return "";
    char *own = bundle_alloc(rows->reader->bundle, length + 1);
    if (!own) {
        rows->status = MT_FAILURE;
        return "";
    }
    memcpy(own, text, length);
    own[length] = 0;
    return own;
}

/* "" for NULL, and where images are not read: there is none. */
static const char *rows_image(struct rows *rows, int column) {
    const bool none = !rows->reader->images || sqlite3_column_type(rows->query, column) == SQLITE_NULL;
    return none ? "" : rows_text(rows, column);
}

/* Whether a row is of the GPU that is read. */
static bool rows_gpu(struct rows *rows, int column) {
    const int gpu = rows_number(rows, column);
    if (gpu < 0 || gpu >= rows->reader->gpu_count)
        rows_fail(rows, column, "is none of its GPUs");
    return rows->status == MT_OK && gpu == rows->reader->gpu;
}

/* The number of a row's layer in the bundle; -1: it is of another GPU. */
static int rows_layer(struct rows *rows, int column) {
    const int layer = rows_number(rows, column);
    if (layer < 0 || layer >= rows->reader->layer_count)
        rows_fail(rows, column, "is none of its layers");
    return rows->status == MT_OK ? rows->reader->layer[layer] : -1;
}

/* The number of a word in a list that ends with NULL. */
static int rows_word(struct rows *rows, int column, const char *const *words) {
    const char *text = rows_text(rows, column);
    for (int i = 0; words[i]; i++)
        if (!strcmp(text, words[i]))
            return i;
    rows_fail(rows, column, "is none of its words");
    return 0;
}

static enum bundle_origin rows_origin(struct rows *rows, int column) {
    return (enum bundle_origin)rows_word(rows, column, bundle_origins);
}

/* ---- the tables ---- */

static enum mt_status read_fingerprints(struct bundle_reader *reader) {
    struct rows rows = rows_begin(
        reader, "fingerprint",
        "SELECT gpu, cc, sm_count, software, driver_version, toolkit, template_hash, layout, id FROM fingerprint",
        sizeof(struct bundle_fingerprint), BUNDLE_MOST_GPUS);
    struct bundle_fingerprint *f;
    const void *list;
    while ((f = rows_next(&rows))) {
        *f = (struct bundle_fingerprint){.gpu = rows_text(&rows, 0),
                                         .cc = rows_number(&rows, 1),
                                         .sm_count = rows_number(&rows, 2),
                                         .software = rows_number(&rows, 3),
                                         .driver_version = rows_number(&rows, 4),
                                         .toolkit = rows_number(&rows, 5),
                                         .template_hash = rows_text(&rows, 6),
                                         .layout = rows_number(&rows, 7)};
        if (rows_number(&rows, 8) != rows.seen - 1)
            rows_fail(&rows, 8, "is not the number of its row");
    }
    enum mt_status status = rows_end(&rows, NULL, &list, &reader->gpu_count);
    if (status == MT_OK && reader->gpu_count == 0)
        status = fail(MT_FAILURE, "the bundle does not say which GPU it is for; export it again");
    reader->gpus = list;
    return status == MT_OK ? bundle_check_gpus(reader->gpus, reader->gpu_count) : status;
}

/* Appends the number of a layer of the file. */
static void layer_number(struct rows *rows, size_t *capacity, int number) {
    struct bundle_reader *reader = rows->reader;
    if (rows->status != MT_OK)
        return;
    if (array_grow(&reader->layer, capacity, (size_t)reader->layer_count, sizeof *reader->layer))
        reader->layer[reader->layer_count++] = number;
    else
        rows->status = MT_FAILURE;
}

static enum mt_status read_layers(struct bundle_reader *reader) {
    struct rows rows = rows_begin(reader, "layer",
                                  "SELECT gpu, id, name, model, tp, n, k, group_size, rows8, scheme, dtype FROM layer",
                                  sizeof(struct bundle_layer), BUNDLE_MOST_LAYERS);
    struct bundle_layer *layer;
    size_t capacity = 0;
    while ((layer = rows_next(&rows))) {
        const bool own = rows_gpu(&rows, 0);
        if (rows_number(&rows, 1) != rows.seen - 1)
            rows_fail(&rows, 1, "is not the number of its row");
        layer_number(&rows, &capacity, own ? rows.count - 1 : -1);
        if (!own) {
            rows_drop(&rows);
            continue;
        }
        *layer = (struct bundle_layer){.name = rows_text(&rows, 2),
                                       .model = rows_text(&rows, 3),
                                       .tp = rows_number(&rows, 4),
                                       .n = rows_number(&rows, 5),
                                       .k = rows_number(&rows, 6),
                                       .group = rows_number(&rows, 7),
                                       .rows8 = rows_number(&rows, 8),
                                       .scheme = rows_text(&rows, 9),
                                       .dtype = rows_text(&rows, 10)};
    }
    return rows_end(&rows, NULL, (const void **)&reader->bundle->layers, &reader->bundle->layer_count);
}

static enum mt_status read_entries(struct bundle_reader *reader) {
    struct rows rows = rows_begin(
        reader, "entry",
        "SELECT layer, m, kind, family, config, image, expected_ns, origin, quantize_ns FROM entry NOT INDEXED",
        sizeof(struct bundle_entry), BUNDLE_MOST_ENTRIES);
    struct bundle_entry *entry;
    while ((entry = rows_next(&rows))) {
        const int layer = rows_layer(&rows, 0);
        if (layer < 0) {
            rows_drop(&rows);
            continue;
        }
        *entry = (struct bundle_entry){.layer = layer,
                                       .m = rows_number(&rows, 1),
                                       .kind = (enum bundle_kind)rows_word(&rows, 2, bundle_kinds),
                                       .family = rows_text(&rows, 3),
                                       .config = rows_text(&rows, 4),
                                       .image_hash = rows_image(&rows, 5),
                                       .expected_ns = rows_real(&rows, 6),
                                       .origin = rows_origin(&rows, 7),
                                       .quantize_ns = rows_real(&rows, 8)};
    }
    return rows_end(&rows, bundle_by_entry, (const void **)&reader->bundle->entries, &reader->bundle->entry_count);
}

static enum mt_status read_times(struct bundle_reader *reader) {
    struct rows rows =
        rows_begin(reader, "time", "SELECT layer, m, family, config, expected_ns, origin FROM time NOT INDEXED",
                   sizeof(struct bundle_time), BUNDLE_MOST_ENTRIES);
    struct bundle_time *time;
    while ((time = rows_next(&rows))) {
        const int layer = rows_layer(&rows, 0);
        if (layer < 0) {
            rows_drop(&rows);
            continue;
        }
        *time = (struct bundle_time){.layer = layer,
                                     .m = rows_number(&rows, 1),
                                     .family = rows_text(&rows, 2),
                                     .config = rows_text(&rows, 3),
                                     .expected_ns = rows_real(&rows, 4),
                                     .origin = rows_origin(&rows, 5)};
    }
    return rows_end(&rows, bundle_by_time, (const void **)&reader->bundle->times, &reader->bundle->time_count);
}

static enum mt_status read_builds(struct bundle_reader *reader, const char *table, const char *sql,
                                  const struct bundle_build **list, int *count) {
    struct rows rows = rows_begin(reader, table, sql, sizeof(struct bundle_build), BUNDLE_MOST_BUILDS);
    struct bundle_build *build;
    while ((build = rows_next(&rows))) {
        if (!rows_gpu(&rows, 6)) {
            rows_drop(&rows);
            continue;
        }
        *build = (struct bundle_build){.family = rows_text(&rows, 0),
                                       .config = rows_text(&rows, 1),
                                       .scheme = rows_text(&rows, 2),
                                       .dtype = rows_text(&rows, 3),
                                       .group = rows_number(&rows, 4),
                                       .image_hash = rows_image(&rows, 5)};
    }
    return rows_end(&rows, bundle_by_build, (const void **)list, count);
}

static enum mt_status read_variants(struct bundle_reader *reader) {
    return read_builds(reader, "variant",
                       "SELECT family, config, scheme, dtype, group_size, image, gpu FROM variant NOT INDEXED",
                       &reader->bundle->variants, &reader->bundle->variant_count);
}

static enum mt_status read_fallbacks(struct bundle_reader *reader) {
    return read_builds(reader, "fallback",
                       "SELECT family, config, scheme, dtype, group_size, image, gpu FROM fallback NOT INDEXED",
                       &reader->bundle->fallbacks, &reader->bundle->fallback_count);
}

/* Whether the bytes are one whole frame of zstd that says its size, and what it says is not too much. Nothing is
 * unpacked before. */
static bool frame_check(struct rows *rows, const void *packed, size_t size, unsigned long long *unpacked) {
    *unpacked = ZSTD_getFrameContentSize(packed, size);
    if (*unpacked == ZSTD_CONTENTSIZE_ERROR || *unpacked == ZSTD_CONTENTSIZE_UNKNOWN || *unpacked == 0 ||
        ZSTD_findFrameCompressedSize(packed, size) != size)
        rows_fail(rows, 2, "is no image that `mixtune export` compressed");
    else if (*unpacked > BUNDLE_MOST_IMAGE || *unpacked > rows->reader->unpacked)
        rows_fail(rows, 2, "unpacks to more than a bundle can hold");
    return rows->status == MT_OK;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of images that rows of this GPU refer to. */
static enum mt_status names_collect(struct bundle_reader *reader) {
    const struct bundle *b = reader->bundle;
    const struct {
        const struct bundle_build *list;
        int count;
    } builds[] = {{b->variants, b->variant_count}, {b->fallbacks, b->fallback_count}};
    const size_t most = (size_t)b->entry_count + (size_t)b->variant_count + (size_t)b->fallback_count;
    reader->wanted = mem_alloc(most * sizeof *reader->wanted);
    if (!reader->wanted)
        return MT_FAILURE;
    for (int i = 0; i < b->entry_count; i++)
        if (*b->entries[i].image_hash)
            reader->wanted[reader->wanted_count++] = b->entries[i].image_hash;
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < builds[k].count; i++)
            if (*builds[k].list[i].image_hash)
                reader->wanted[reader->wanted_count++] = builds[k].list[i].image_hash;
    qsort(reader->wanted, (size_t)reader->wanted_count, sizeof *reader->wanted, by_text);
    return MT_OK;
}

/* What each image of the file would take is counted; those that are wanted are kept, packed. False for the others. */
static bool image_read(struct rows *rows, struct bundle_image *image) {
    struct bundle_reader *reader = rows->reader;
    const void *packed = sqlite3_column_blob(rows->query, 2);
    const size_t size = (size_t)sqlite3_column_bytes(rows->query, 2);
    unsigned long long unpacked;
    image->hash = rows_text(rows, 0);
    if (sqlite3_column_type(rows->query, 2) != SQLITE_BLOB || !packed)
        rows_fail(rows, 2, "holds no bytes");
    if (rows->status != MT_OK || !rows_take(rows, 2, size) || !frame_check(rows, packed, size, &unpacked))
        return false;
    reader->unpacked -= unpacked;
    if (!bsearch(&image->hash, reader->wanted, (size_t)reader->wanted_count, sizeof *reader->wanted, by_text))
        return false;
    image->built = rows_text(rows, 1);
    void *own = rows->status == MT_OK ? bundle_alloc(reader->bundle, size) : NULL;
    if (!own) {
        rows->status = MT_FAILURE;
        return false;
    }
    image->packed = memcpy(own, packed, size);
    image->packed_size = size;
    image->size = unpacked;
    return true;
}

static int by_name(const void *a, const void *b) {
    const struct bundle_image *x = a, *y = b;
    return strcmp(x->hash, y->hash);
}

static enum mt_status read_images(struct bundle_reader *reader) {
    enum mt_status status = names_collect(reader);
    if (status != MT_OK)
        return status;
    struct rows rows = rows_begin(reader, "image", "SELECT hash, built, data FROM image NOT INDEXED",
                                  sizeof(struct bundle_image), BUNDLE_MOST_IMAGES);
    struct bundle_image *image;
    while ((image = rows_next(&rows)))
        if (!image_read(&rows, image))
            rows_drop(&rows);
    return rows_end(&rows, by_name, (const void **)&reader->bundle->images, &reader->bundle->image_count);
}

static enum mt_status image_unpack(const struct bundle_image *image, void *to) {
    char name[BUNDLE_NAME_TEXT];
    const size_t got = ZSTD_decompress(to, image->size, image->packed, image->packed_size);
    if (ZSTD_getErrorCode(got) == ZSTD_error_memory_allocation)
        return fail(MT_FAILURE, "out of memory while kernel image %s was unpacked", image->hash);
    if (got != image->size)
        return fail(MT_FAILURE, "kernel image %s of the bundle is damaged (zstd: %s); export it again", image->hash,
                    ZSTD_isError(got) ? ZSTD_getErrorName(got) : "too few bytes");
    bundle_image_name(image->built, to, image->size, name);
    return !strcmp(name, image->hash)
               ? MT_OK
               : fail(MT_FAILURE, "kernel image %s of the bundle has other bytes, whose name would be %s", image->hash,
                      name);
}

enum mt_status bundle_unpack(const struct bundle_image *image, void **out) {
    enum mt_status status = MT_OK;
    *out = mem_alloc(image->size);
    if (!*out)
        return MT_FAILURE;
    if (image->data)
        memcpy(*out, image->data, image->size);
    else
        status = image_unpack(image, *out);
    if (status != MT_OK) {
        free(*out);
        *out = NULL;
    }
    return status;
}

/* ---- the database ---- */

static int tick(void *context) {
    struct bundle_reader *reader = context;
    return ++reader->ticks > MOST_INSTRUCTIONS / INSTRUCTIONS_APART;
}

/* SQLite is told to take nothing in the file for granted, and to do nothing that reading these tables does not need. */
static enum mt_status database_open(struct bundle_reader *reader) {
    const struct bundle_file *file = &reader->file;
    static const int limits[][2] = {{SQLITE_LIMIT_LENGTH, BUNDLE_MOST_IMAGE + (1 << 20)},
                                    {SQLITE_LIMIT_SQL_LENGTH, 4096},
                                    {SQLITE_LIMIT_COLUMN, 16},
                                    {SQLITE_LIMIT_EXPR_DEPTH, 20},
                                    {SQLITE_LIMIT_COMPOUND_SELECT, 1},
                                    {SQLITE_LIMIT_VDBE_OP, 2000},
                                    {SQLITE_LIMIT_FUNCTION_ARG, 4},
                                    {SQLITE_LIMIT_ATTACHED, 0},
                                    {SQLITE_LIMIT_VARIABLE_NUMBER, 1},
                                    {SQLITE_LIMIT_TRIGGER_DEPTH, 1},
                                    {SQLITE_LIMIT_WORKER_THREADS, 0}};
    static const int settings[][2] = {{SQLITE_DBCONFIG_DEFENSIVE, 1},
                                      {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
                                      {SQLITE_DBCONFIG_ENABLE_VIEW, 0},
                                      {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},
                                      {SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
                                      {SQLITE_DBCONFIG_DQS_DDL, 0},
                                      {SQLITE_DBCONFIG_DQS_DML, 0}};
    if (sqlite3_open(":memory:", &reader->db) != SQLITE_OK)
        return fail(MT_FAILURE, "the bundle cannot be read: %s", sqlite3_errmsg(reader->db));
    int rc = SQLITE_OK;
    for (size_t i = 0; rc == SQLITE_OK && i < sizeof settings / sizeof *settings; i++)
        rc = sqlite3_db_config(reader->db, settings[i][0], settings[i][1], NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_deserialize(reader->db, "main", file->data, (sqlite3_int64)file->size, (sqlite3_int64)file->size,
                                 SQLITE_DESERIALIZE_READONLY);
    if (rc != SQLITE_OK) /* nothing of the file was looked at yet */
        return fail(MT_FAILURE,
                    "the bundle cannot be read: SQLite cannot take it over, perhaps for lack of memory (%s)",
                    sqlite3_errstr(rc));
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        sqlite3_limit(reader->db, limits[i][0], limits[i][1]);
    sqlite3_progress_handler(reader->db, INSTRUCTIONS_APART, tick, reader);
    return sqlite3_exec(reader->db, "PRAGMA cell_size_check = ON", NULL, NULL, NULL) == SQLITE_OK
               ? MT_OK
               : fail_sql(reader->db, "sqlite_schema");
}

/* Whether the same row of two schemas says the same. */
static bool schema_row_equal(sqlite3_stmt *ours, sqlite3_stmt *theirs) {
    bool equal = true;
    for (int i = 0; equal && i < sqlite3_column_count(ours); i++) {
        const int bytes = sqlite3_column_bytes(ours, i);
        const void *a = sqlite3_column_blob(ours, i), *b = sqlite3_column_blob(theirs, i);
        equal = sqlite3_column_type(ours, i) == sqlite3_column_type(theirs, i) &&
                bytes == sqlite3_column_bytes(theirs, i) && (bytes == 0 || (a && b && !memcmp(a, b, (size_t)bytes)));
    }
    return equal;
}

/* The file has our tables, as SQLite writes them down when it makes them, and nothing else: no view, trigger, generated
 * column or index that would compute while it is read. */
static enum mt_status schema_check(struct bundle_reader *reader) {
    static const char sql[] = "SELECT type, name, tbl_name, sql FROM sqlite_schema";
    sqlite3 *like = NULL;
    sqlite3_stmt *ours = NULL, *theirs = NULL;
    enum mt_status status = MT_OK;
    if (sqlite3_open(":memory:", &like) != SQLITE_OK ||
        sqlite3_exec(like, bundle_schema, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(like, sql, -1, &ours, NULL) != SQLITE_OK)
        status = fail_sql(like, "sqlite_schema");
    else if (sqlite3_prepare_v2(reader->db, sql, -1, &theirs, NULL) != SQLITE_OK)
        status = fail_sql(reader->db, "sqlite_schema");
    while (status == MT_OK) {
        const int own = sqlite3_step(ours), rc = sqlite3_step(theirs);
        if (own != SQLITE_ROW && own != SQLITE_DONE)
            status = fail_sql(like, "sqlite_schema");
        else if (rc != SQLITE_ROW && rc != SQLITE_DONE)
            status = fail_sql(reader->db, "sqlite_schema");
        else if (own != rc || (own == SQLITE_ROW && !schema_row_equal(ours, theirs)))
            status =
                fail(MT_FAILURE,
                     "the bundle was changed: its tables are not those that `mixtune export` makes; export it again");
        if (own == SQLITE_DONE)
            break;
    }
    sqlite3_finalize(ours);
    sqlite3_finalize(theirs);
    sqlite3_close(like);
    return status;
}

/* What may still be read, whatever was read before. */
static void reader_begin(struct bundle_reader *reader, struct bundle *bundle) {
    const size_t size = reader->file.size;
    reader->bundle = bundle;
    reader->room = size;
    reader->unpacked =
        size < BUNDLE_MOST_UNPACKED / BUNDLE_MOST_RATIO ? size * BUNDLE_MOST_RATIO : BUNDLE_MOST_UNPACKED;
    reader->ticks = 0;
    reader->layer_count = reader->wanted_count = 0;
}

void bundle_close(struct bundle_source *source) {
    struct bundle_reader *reader = source->reader;
    *source = (struct bundle_source){0};
    if (!reader)
        return;
    sqlite3_close(reader->db);
    bundle_release(&reader->heads);
    free(reader->file.data);
    free(reader);
}

enum mt_status bundle_open(const char *path, const char *sha256, struct bundle_source *out) {
    struct bundle_reader *reader = mem_zeroed(1, sizeof *reader);
    *out = (struct bundle_source){.reader = reader};
    if (!reader)
        return MT_FAILURE;
    enum mt_status status = bundle_file_read(path, sha256, &reader->file);
    if (status == MT_OK) {
        reader_begin(reader, &reader->heads);
        status = database_open(reader);
        if (status == MT_OK)
            status = schema_check(reader);
        if (status == MT_OK)
            status = read_fingerprints(reader);
        if (status != MT_OK)
            fail_context(status, "%s", path);
    }
    out->gpus = reader->gpus;
    out->gpu_count = reader->gpu_count;
    if (status != MT_OK)
        bundle_close(out);
    return status;
}

/* A copy that the bundle owns, of texts too. */
static enum mt_status fingerprint_copy(const struct bundle_fingerprint *from, struct bundle *bundle) {
    const size_t gpu = strlen(from->gpu) + 1, hash = strlen(from->template_hash) + 1;
    char *texts = bundle_alloc(bundle, gpu + hash);
    bundle->fingerprint = *from;
    if (!texts)
        return MT_FAILURE;
    bundle->fingerprint.gpu = memcpy(texts, from->gpu, gpu);
    bundle->fingerprint.template_hash = memcpy(texts + gpu, from->template_hash, hash);
    return MT_OK;
}

enum mt_status bundle_take(struct bundle_source *source, int gpu, bool images, struct bundle *out) {
    static enum mt_status (*const steps[])(struct bundle_reader *) = {read_layers,   read_entries,   read_times,
                                                                      read_variants, read_fallbacks, read_images};
    struct bundle_reader *reader = source->reader;
    *out = (struct bundle){0};
    reader_begin(reader, out);
    reader->gpu = gpu;
    reader->images = images;
    enum mt_status status = fingerprint_copy(&source->gpus[gpu], out);
    for (size_t i = 0; status == MT_OK && i < sizeof steps / sizeof *steps; i++)
        status = steps[i](reader);
    if (status == MT_OK)
        status = bundle_check(out);
    if (status != MT_OK)
        bundle_release(out);
    free(reader->layer);
    free(reader->wanted);
    reader->layer = NULL;
    reader->wanted = NULL;
    return status;
}

enum mt_status bundle_read(const char *path, struct bundle *out) {
    struct bundle_source source;
    *out = (struct bundle){0};
    enum mt_status status = bundle_open(path, NULL, &source);
    if (status != MT_OK)
        return status;
    status = bundle_take(&source, 0, true, out);
    bundle_close(&source);
    return status == MT_OK ? MT_OK : fail_context(status, "%s", path);
}
