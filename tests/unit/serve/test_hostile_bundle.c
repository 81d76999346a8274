/* Bundles that somebody made to hurt: each is MT_FAILURE with one sentence, or a table that works.
 *
 * A good bundle is loosened, so that its tables take any value; changed by SQL; made to look like ours again; sealed,
 * and opened. What opens is looked up, derived from and launched, and computes the right numbers. */
#include "db/bundle/private.h"
#include "runtime/base/array.h"
#include "runtime/base/file.h"
#include "tests/device/served.h"
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

static char folder[200], good_path[220], own_path[220], path[220]; /* path: what is opened */
static int memory = -1;
static struct str good; /* the bytes of a bundle, without its seal */
static struct str two;  /* those of one that has rows of another GPU type before them */
static int opened, refused;
static bool launching = true; /* what opens */

static const struct bundle_layer layers[] = {
    {"a", "tiny", 1, 24, 128, 128, 0, "w4a8", "fp16"},
    {"a", "tiny", 1, 24, 128, 128, 9, "mixed", "fp16"},
};
#define NARROW "tile_n=32,tile_m=8,stages=2,warps_n=2,order=0"
#define OTHER  "tile_n=32,tile_m=8,stages=3,warps_n=2,order=0"

static void parts_fill(struct parts *p) {
    struct problem narrow;
    parts_init(p, &dev, layers, 2);
    narrow = parts_problem(&layers[0]);
    parts_entry(p, 0, 1, "sm80", NARROW, 1000);
    parts_entry(p, 0, 16, "sm80", NARROW, 2000);
    parts_entry_as(p, BUNDLE_INVARIANT, 0, 1, "sm80", NARROW, 1100);
    parts_entry_as(p, BUNDLE_INVARIANT, 0, 16, "sm80", NARROW, 2100);
    p->entries[p->bundle.entry_count++] =
        (struct bundle_entry){0, 16, BUNDLE_FP16, "cublas", "", "", 1900, BUNDLE_MODELLED, 0};
    parts_entry(p, 1, 16, "sm80", NARROW, 2500);
    p->times[p->bundle.time_count++] =
        (struct bundle_time){1, 16, "sm80", parts_text(p, "sm80", OTHER), 2600, BUNDLE_MODELLED};
    parts_variant(p, &narrow, "sm80", OTHER, OTHER);
    parts_kernel(p, &narrow, "sm80", NARROW);
    p->fallbacks[p->bundle.fallback_count++] =
        (struct bundle_build){"sm80", parts_text(p, "sm80", NARROW), "w4a8", "fp16", 128, p->entries[0].image_hash};
    parts_quantize(p, &narrow);
}

/* ---- what is opened ---- */

/* All that a server asks of a layer. Dimensions that take longer than a test has are not run. */
static void layer_use(struct mt_table *table, const struct mt_layer *layer) {
    static const int ms[] = {0, 1, 2, 15, 16, 17, 4096, 1 << 24, INT_MAX};
    struct mt_layer_info info = {.size = sizeof info};
    take(mt_table_load(table, layer));
    take(mt_layer_describe(layer, &info));
    for (size_t i = 0; i < sizeof ms / sizeof *ms; i++) {
        struct mt_choice choice = {.size = sizeof choice};
        take(mt_table_lookup(table, layer, ms[i], &choice));
        assert_true(choice.expected_ns >= 0 && choice.expected_ns < INFINITY);
        mt_workspace_bytes(table, layer, ms[i]);
    }
    assert_int_equal(mt_workspace_bytes(table, layer, INT_MIN), 0);
    if (!launching || info.n > 512 || info.k > 512)
        return;
    const size_t bytes = mt_workspace_bytes(table, layer, 3);
    const CUdeviceptr workspace = zeroed(bytes ? bytes : 1);
    run(table, layer, 3, workspace, bytes);
    dev.drv.MemFree(workspace);
}

static void table_use(struct mt_table *table) {
    for (int i = 0; i < mt_table_layer_count(table); i++) {
        const struct mt_layer *layer = mt_table_layer_at(table, i), *other;
        struct mt_layer_info info = {.size = sizeof info};
        struct mt_query query = MT_QUERY_INIT;
        layer_use(table, layer);
        take(mt_layer_describe(layer, &info));
        query.name = info.name;
        query.rows8 = info.n / 3;
        if (mt_table_layer_named(table, &query, &other) == MT_OK)
            layer_use(table, other);
        const struct mt_shape shape = {sizeof shape, 40, 256, 0, info.group, info.dtype, info.symmetric};
        if (i == 0 && mt_table_layer_shaped(table, &shape, &other) == MT_OK)
            layer_use(table, other);
    }
}

/* Opens `path`, every other time for bits that do not depend on M. One sentence that names the file and says what is
 * wrong, or a table that works. */
static enum mt_status open_and_use(unsigned flags) {
    struct mt_table *table = (void *)&table;
    flags |= (opened + refused) % 2 ? MT_BATCH_INVARIANT : 0;
    enum mt_status status = mt_table_open(path, flags, &table);
    const char *says = mt_error_message();
    if (status == MT_OK) {
        opened++;
        table_use(table);
        mt_table_close(table);
        return status;
    }
    refused++;
    assert_null(table);
    if (status != MT_FAILURE && status != MT_NO_DEVICE)
        fail_msg("status %d: %s", (int)status, says);
    if (!strstr(says, path) || strpbrk(says, "\n\r\t\033"))
        fail_msg("'%s' is no sentence", says);
    return status;
}

/* The file in memory that is opened unless a test names another one. */
static void put(const void *bytes, size_t size) {
    if (memory < 0)
        memory = memfd_create("bundle", MFD_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d", memory);
    assert_true(ftruncate(memory, (off_t)size) == 0 && pwrite(memory, bytes, size, 0) == (ssize_t)size);
}

/* ---- changes ---- */

static void sql_run(sqlite3 *db, const char *sql) {
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
}

static sqlite3 *database_of(const void *bytes, size_t size) {
    sqlite3 *db;
    unsigned char *copy = sqlite3_malloc64(size);
    memcpy(copy, bytes, size);
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    assert_int_equal(sqlite3_deserialize(db, "main", copy, (sqlite3_int64)size, (sqlite3_int64)size,
                                         SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_RESIZEABLE),
                     SQLITE_OK);
    return db;
}

static void bytes_of(sqlite3 *db, struct str *out) {
    sqlite3_int64 size;
    unsigned char *bytes = sqlite3_serialize(db, "main", &size, 0);
    str_clear(out);
    str_append_bytes(out, bytes, (size_t)size);
    sqlite3_free(bytes);
}

/* A table's text without what limits its columns: they then take any value. */
static void text_loosen(struct str *sql) {
    static const char *const limits[] = {" STRICT", " NOT NULL", " REAL", " BLOB", " TEXT", " INTEGER NOT NULL"};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        for (char *at; (at = strstr(sql->data, limits[i]));)
            memmove(at, at + strlen(limits[i]), strlen(at + strlen(limits[i])) + 1);
    for (char *at = sql->data; (at = strstr(at, " INTEGER"));) {
        if (strncmp(at, " INTEGER PRIMARY", 16) != 0)
            memmove(at, at + 8, strlen(at + 8) + 1);
        else
            at++;
    }
}

/* The tables' texts as bundle_write() has them, and without limits. */
static struct { struct str name, text[2]; } tables[16];

static void tables_read(void) {
    sqlite3 *like;
    sqlite3_stmt *from;
    int count = 0;
    assert_int_equal(sqlite3_open(":memory:", &like), SQLITE_OK);
    sql_run(like, bundle_schema);
    assert_int_equal(
        sqlite3_prepare_v2(like, "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL", -1, &from, NULL),
        SQLITE_OK);
    for (; sqlite3_step(from) == SQLITE_ROW; count++) {
        str_append(&tables[count].name, (const char *)sqlite3_column_text(from, 0));
        for (int loose = 0; loose < 2; loose++)
            str_append(&tables[count].text[loose], (const char *)sqlite3_column_text(from, 1));
        text_loosen(&tables[count].text[1]);
    }
    sqlite3_finalize(from);
    sqlite3_close(like);
}

static void schema_set(sqlite3 *db, bool loose) {
    sqlite3_stmt *to;
    sql_run(db, "PRAGMA writable_schema = ON");
    assert_int_equal(sqlite3_prepare_v2(db, "UPDATE sqlite_schema SET sql = ? WHERE name = ?", -1, &to, NULL),
                     SQLITE_OK);
    for (int i = 0; tables[i].name.data; i++) {
        sqlite3_bind_text(to, 1, tables[i].text[loose].data, -1, SQLITE_STATIC);
        sqlite3_bind_text(to, 2, tables[i].name.data, -1, SQLITE_STATIC);
        assert_int_equal(sqlite3_step(to), SQLITE_DONE);
        sqlite3_reset(to);
    }
    sqlite3_finalize(to);
}

/* Without free pages, which no bundle has. */
static void pages_settle(sqlite3 *db) {
    sqlite3_stmt *query;
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA freelist_count", -1, &query, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(query), SQLITE_ROW);
    const int free_pages = sqlite3_column_int(query, 0);
    sqlite3_finalize(query);
    if (free_pages)
        sql_run(db, "VACUUM");
}

/* Without a seal where the change left no place for it. */
static void put_sealed(struct str *bytes) {
    bundle_seal(bytes->data, bytes->length);
    put(bytes->data, bytes->length);
}

/* Its tables take anything. */
static void loosen(const struct str *bytes, struct str *out) {
    sqlite3 *db = database_of(bytes->data, bytes->length);
    schema_set(db, true);
    bytes_of(db, out);
    sqlite3_close(db);
}

/* Changes a bundle whose tables take anything; then they look like ours again. False if there is no such file: a row
 * number is a number. */
static bool try_changed_of(const struct str *loose, const char *sql) {
    struct str bytes = {0};
    sqlite3 *db = database_of(loose->data, loose->length);
    sql_run(db, "PRAGMA ignore_check_constraints = ON");
    const bool good_sql = sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK;
    if (good_sql) {
        pages_settle(db);
        schema_set(db, false);
        bytes_of(db, &bytes);
        put_sealed(&bytes);
    }
    sqlite3_close(db);
    str_release(&bytes);
    return good_sql;
}

static bool try_changed(const char *sql) {
    static struct str loose;
    if (!loose.data)
        loosen(&good, &loose);
    return try_changed_of(&loose, sql);
}

static void put_changed(const char *sql) {
    if (!try_changed(sql))
        fail_msg("%s", sql);
}

static void refused_with(const char *what, const char *says) {
    if (open_and_use(0) != MT_FAILURE || !strstr(mt_error_message(), says))
        fail_msg("%s: '%s' instead of '%s'", what, mt_error_message(), says);
}

/* ---- each value of each column ---- */

static const char huge_tile[] =
    "'tile_n=1048576,tile_n8=0,tile_m=8,tile_k=0,stages=2,warps_n=2,warps_m=1,ctas=1,promote=2,zero=0,"
    "order=0,split_k=1,raster=1'";
static const char huge_all[] =
    "'tile_n=32,tile_n8=0,tile_m=8,tile_k=0,stages=2,warps_n=1048576,warps_m=1048576,ctas=1048576,promote=2,zero=0,"
    "order=0,split_k=1,raster=1'";
static const char nothing[] =
    "'tile_n=0,tile_n8=0,tile_m=0,tile_k=0,stages=0,warps_n=0,warps_m=0,ctas=0,promote=0,zero=0,order=0,split_k=0,"
    "raster=0'";
static const char split[] =
    "'tile_n=32,tile_n8=0,tile_m=8,tile_k=0,stages=2,warps_n=2,warps_m=1,ctas=1,promote=2,zero=0,order=0,split_k=2,"
    "raster=1'";
static const char stages[] =
    "'tile_n=32,tile_n8=0,tile_m=8,tile_k=0,stages=3,warps_n=2,warps_m=1,ctas=1,promote=2,zero=0,order=0,split_k=1,"
    "raster=1'";
static const char *const values[] = {
    "NULL",
    "-1",
    "0",
    "1",
    "2",
    "16",
    "64",
    "2147483647",
    "-2147483648",
    "2147483648",
    "-2147483649",
    "4294967296 + 16",
    "9223372036854775807",
    "16777216",
    "16777217",
    "1e308",
    "-1e308",
    "9e999",

    "''",
    "'1'",
    "'x'",
    "printf('%.1024c', 'x')",
    "printf('%.1025c', 'x')",
    "printf('%.100000c', 'x')",
    "CAST(x'610062' AS TEXT)",
    "CAST(x'ff80fe' AS TEXT)",
    "CAST(x'610a1b5b33316d' AS TEXT)",
    "x'00ff'",
    "zeroblob(70000)",
    "CAST(9 AS REAL)",
    "'quantize'",
    "'sm90'",
    "'fp16'",
    "'invariant'",
    "'w8a8'",
    "'mixed'",
    "'mixed-sym'",
    "'bf16'",
    "'tile_n=32'",
    huge_tile,
    huge_all,
    nothing,
    split,
    stages,
};
enum { VALUES = sizeof values / sizeof *values };
#ifdef __SANITIZE_ADDRESS__ /* four times as slow: another half of the values for every other column */
enum { APART = 2 };
#else
enum { APART = 1 };
#endif

/* A row gets each value, or what another row has; the last row, so that all tables with several have one that stays. */
static void column_change(const char *table, const char *column) {
    static const char *const words[] = {"name", "model", "tp", "expected_ns", "origin"}; /* no number of a result */
    static int columns;
    struct str sql = {0};
    launching = strcmp(table, "fingerprint") != 0 && strcmp(table, "time") != 0 && strcmp(table, "seal") != 0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        launching = launching && strcmp(column, words[i]) != 0;
    for (int v = columns++ % APART; v <= VALUES; v += APART) {
        str_clear(&sql);
        str_printf(&sql, "UPDATE OR REPLACE %s SET %s = ", table, column);
        if (v < VALUES)
            str_append(&sql, values[v]);
        else
            str_printf(&sql, "(SELECT %s FROM %s LIMIT 1)", column, table);
        str_printf(&sql, " WHERE rowid = (SELECT max(rowid) FROM %s)", table);
        if (try_changed(sql.data))
            open_and_use(MT_ALLOW_FP16 | MT_ALLOW_OTHER_GPU);
    }
    str_release(&sql);
}

static void every_column_is_checked(void **state) {
    sqlite3 *db = database_of(good.data, good.length);
    sqlite3_stmt *query;
    (void)state;
    opened = refused = 0;
    assert_int_equal(sqlite3_prepare_v2(db,
                                        "SELECT s.name, c.name FROM sqlite_schema s, pragma_table_info(s.name) c "
                                        "WHERE s.type = 'table' ORDER BY s.rowid, c.cid",
                                        -1, &query, NULL),
                     SQLITE_OK);
    while (sqlite3_step(query) == SQLITE_ROW) {
        const char *table = (const char *)sqlite3_column_text(query, 0);
        column_change(table, (const char *)sqlite3_column_text(query, 1));
    }
    sqlite3_finalize(query);
    sqlite3_close(db);
    launching = true;
    print_message("# %d bundles opened, %d refused\n", opened, refused);
    assert_true(opened > 150 / APART && refused > 1500 / APART);
}

/* ---- rows of another GPU type ---- */

static struct str loose_two;

static void put_changed_two(const char *sql) {
    if (!try_changed_of(&loose_two, sql))
        fail_msg("%s", sql);
}

/* The first row of each table, which is the other type's, gets values: either the file is refused, or this type's table
 * is what it was. */
static void other_types_do_no_harm(void **state) {
    static const int some[] = {0, 4, 9, 18, 21, 28};
    sqlite3 *db = database_of(two.data, two.length);
    sqlite3_stmt *query;
    struct str sql = {0};
    (void)state;
    loosen(&two, &loose_two);
    put_changed_two("SELECT 1");
    assert_int_equal(open_and_use(0), MT_OK);
    launching = false;
    opened = refused = 0;
    assert_int_equal(sqlite3_prepare_v2(db,
                                        "SELECT s.name, c.name FROM sqlite_schema s, pragma_table_info(s.name) c "
                                        "WHERE s.type = 'table' AND s.name NOT IN ('seal', 'image')",
                                        -1, &query, NULL),
                     SQLITE_OK);
    while (sqlite3_step(query) == SQLITE_ROW)
        for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
            const char *table = (const char *)sqlite3_column_text(query, 0);
            str_clear(&sql);
            str_printf(&sql, "UPDATE OR REPLACE %s SET %s = %s WHERE rowid = (SELECT min(rowid) FROM %s)", table,
                       sqlite3_column_text(query, 1), values[some[i]], table);
            if (try_changed_of(&loose_two, sql.data))
                open_and_use(0);
        }
    sqlite3_finalize(query);
    sqlite3_close(db);
    str_release(&sql);
    launching = true;
    print_message("# %d bundles opened, %d refused\n", opened, refused);
    assert_true(opened > 100 && refused > 50);
}

#define COUNT(rows) "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r LIMIT " rows ") "

/* Limits hold for all types together. */
static void other_types_count(void **state) {
    static const struct {
        const char *sql, *says;
    } cases[] = {
        {COUNT("262144") "INSERT INTO entry SELECT 0, 100 + i, 'kernel', 'x', 'x', NULL, 5.0, 'modelled', 0.0 FROM r",
         "the table entry of the bundle has more than 262144 rows"},
        {COUNT("262144") "INSERT INTO time SELECT 0, 100 + i, 'x', 'x', 5.0, 'modelled' FROM r",
         "the table time of the bundle has more than 262144 rows"},
        {COUNT("65536") "INSERT INTO variant SELECT 0, 'x', i, 'x', 'x', 128, NULL FROM r",
         "the table variant of the bundle has more than 65536 rows"},
        {COUNT("16384") "INSERT INTO layer SELECT 3 + i, 0, i, '', 1, 24, 128, 128, 0, 'w4a8', 'fp16' FROM r",
         "the table layer of the bundle has more than 16384 rows"},
        {COUNT("63") "INSERT INTO fingerprint SELECT 1 + i, 'x' || i, 80, 108, 1, 0, 0, '', 1 FROM r",
         "the table fingerprint of the bundle has more than 64 rows"},
        {"UPDATE fingerprint SET gpu = (SELECT gpu FROM fingerprint WHERE id = 1), sm_count = 108 WHERE id = 0",
         "with 108 SMs twice"},
        {"UPDATE fingerprint SET cc = 5 WHERE id = 0", "is for a GPU that cannot be: compute capability 0.5"},
        {"UPDATE layer SET gpu = 0", "the bundle has no layer for "},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_changed_two(cases[i].sql);
        refused_with(cases[i].sql, cases[i].says);
    }
    /* A layer that is given to the other type takes its rows with it. */
    put_changed_two("UPDATE layer SET gpu = 0 WHERE id = 3");
    struct mt_table *table;
    take(mt_table_open(path, 0, &table));
    assert_int_equal(mt_table_layer_count(table), 1);
    assert_int_equal(table->bundle.entry_count, 5);
    assert_int_equal(table->bundle.time_count, 0);
    mt_table_close(table);
}

/* ---- no files of ours ---- */

static void only_files_are_opened(void **state) {
    struct mt_table *table;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)state;
    memcpy(path, own_path, sizeof path);
    assert_int_equal(mkfifo(path, 0600), 0); /* nobody writes to it: whoever waits waits for ever */
    refused_with("a pipe", "is not a file but a pipe: name a bundle that `mixtune export` wrote");
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    refused_with("a folder", "is not a file but a folder");
    rmdir(path);
    const int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%.100s", path);
    if (strlen(path) < sizeof address.sun_path - 1 && bind(sock, (struct sockaddr *)&address, sizeof address) == 0)
        refused_with("a socket", "cannot open");
    close(sock);
    unlink(path);
    assert_int_equal(symlink("x", path), 0);
    refused_with("a link to itself", "cannot open");
    unlink(path);
    assert_int_equal(symlink("good", path), 0);
    assert_int_equal(open_and_use(0), MT_OK);
    unlink(path);
    assert_int_equal(close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)), 0);
    refused_with("an empty file", "is not a mixtune bundle");
    assert_int_equal(truncate(path, (off_t)10 << 30), 0);
    refused_with("a sparse file", "it has 10737418240 bytes, and a bundle at most");
    assert_int_equal(truncate(path, BUNDLE_MOST_BYTES), 0);
    refused_with("a sparse file of a bundle's size", "is not a mixtune bundle: make one");
    const char *const devices[] = {"/dev/zero", "/dev/null", "/dev/full"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(mt_table_open(devices[i], 0, &table), MT_FAILURE);
        assert_non_null(strstr(mt_error_message(), "is not a file but a device"));
    }
}

static void other_ways_to_store_are_refused(void **state) {
    static const struct {
        int at, value;
        const char *what;
    } headers[] = {{18, 2, "a log for writing"}, {19, 2, "a log for reading"}, {20, 8, "reserved bytes"},
                   {39, 1, "free pages"},        {55, 1, "page maps"},         {59, 2, "UTF-16"},
                   {31, 1, "fewer pages"},       {16, 2, "smaller pages"}};
    struct str bytes = {0};
    (void)state;
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        str_clear(&bytes);
        str_append_bytes(&bytes, good.data, good.length);
        assert_true(bytes.data[headers[i].at] != headers[i].value);
        bytes.data[headers[i].at] = (char)headers[i].value;
        put_sealed(&bytes);
        refused_with(headers[i].what, "`mixtune export` does not write such a header");
    }
    str_append(&bytes, "more");
    put_sealed(&bytes);
    refused_with("more bytes", "`mixtune export` does not write such a header");
    str_release(&bytes);
}

/* Whatever would compute while it is read, and whatever else is not ours. */
static void other_tables_are_refused(void **state) {
    static const char endless[] =
        "DROP TABLE variant; CREATE VIEW variant AS WITH RECURSIVE r(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM r) "
        "SELECT 'sm80' AS family, a AS config, 'mixed' AS scheme, 'fp16' AS dtype, 128 AS group_size, '' AS image FROM "
        "r";
    static const char flood[] =
        "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r LIMIT 100000) INSERT INTO sqlite_schema "
        "SELECT 'table', 't' || i, 't' || i, 0, 'CREATE TABLE t' || i || '(a)' FROM r";
    static const char *const edits[] = {
        endless,
        "DROP TABLE layer; CREATE VIEW layer AS SELECT 1 AS id",
        "CREATE VIEW more AS SELECT 1",
        "CREATE TRIGGER t AFTER INSERT ON entry BEGIN SELECT 1; END",
        "CREATE INDEX i ON entry (family)",
        "CREATE INDEX i ON entry (abs(m))",
        "ALTER TABLE entry ADD COLUMN a INTEGER AS (m / 0)",
        "ALTER TABLE entry ADD COLUMN a INTEGER",
        "ALTER TABLE entry RENAME COLUMN m TO n",
        "ANALYZE",
        "DROP TABLE fallback",
        "CREATE VIRTUAL TABLE more USING fts5(a)",
        flood,
        "UPDATE sqlite_schema SET sql = sql || ' ' WHERE name = 'entry'",
        "UPDATE sqlite_schema SET sql = replace(sql, ' STRICT', '') WHERE name = 'entry'",
        "UPDATE sqlite_schema SET sql = replace(sql, 'm INTEGER', 'm INTEGER CHECK (m > 0)') WHERE name = 'entry'",
        "UPDATE sqlite_schema SET sql = 'CREATE TABLE nonsense (' WHERE name = 'entry'",
        "UPDATE sqlite_schema SET rootpage = 1 WHERE name = 'entry'",
        "UPDATE sqlite_schema SET rootpage = 4000000 WHERE name = 'entry'",
        "INSERT INTO sqlite_schema SELECT * FROM sqlite_schema WHERE name = 'seal'",
        "CREATE TABLE more (a)",
    };
    (void)state;
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        struct str bytes = {0};
        sqlite3 *db = database_of(good.data, good.length);
        sql_run(db, "PRAGMA writable_schema = ON");
        if (sqlite3_exec(db, edits[i], NULL, NULL, NULL) == SQLITE_OK) { /* not every SQLite has everything */
            bytes_of(db, &bytes);
            memset(bytes.data + 32, 0, 8); /* as if no page were free */
            put_sealed(&bytes);
            if (open_and_use(0) != MT_FAILURE)
                fail_msg("%s: opens", edits[i]);
            if (edits[i] == flood && !strstr(mt_error_message(), "such a header"))
                fail_msg("100000 tables were read: %s", mt_error_message());
        }
        sqlite3_close(db);
        str_release(&bytes);
    }
    refused_with("the last", "its tables are not those that `mixtune export` makes; export it again");
}

/* ---- images ---- */

/* The good bundle's first image, unpacked; its name in the bundle. */
static void image_take(struct str *out, char name[BUNDLE_NAME_TEXT], struct str *built) {
    struct bundle bundle;
    take(bundle_read(good_path, &bundle));
    const struct bundle_image *image = &bundle.images[0];
    for (int i = 0; i < bundle.image_count; i++)
        if (!strcmp(bundle.images[i].hash, bundle.entries[0].image_hash))
            image = &bundle.images[i];
    void *bytes;
    take(bundle_unpack(image, &bytes));
    str_append_bytes(out, bytes, image->size);
    free(bytes);
    str_append(built, image->built);
    snprintf(name, BUNDLE_NAME_TEXT, "%s", image->hash);
    bundle_release(&bundle);
}

static void hex(struct str *out, const void *bytes, size_t size) {
    for (size_t i = 0; i < size; i++)
        str_printf(out, "%02x", ((const unsigned char *)bytes)[i]);
}

/* The bundle with other bytes, of a right name, in the place of an image. */
static void put_image(const char *name, const char *built, const void *bytes, size_t size) {
    struct str sql = {0};
    char other[BUNDLE_NAME_TEXT];
    const size_t room = ZSTD_compressBound(size);
    void *packed = xmalloc(room);
    bundle_image_name(built, bytes, size, other);
    str_printf(&sql,
               "UPDATE entry SET image = '%s' WHERE image = '%s'; UPDATE fallback SET image = '%s' WHERE image = '%s';"
               "UPDATE image SET hash = '%s', data = x'",
               other, name, other, name, other);
    hex(&sql, packed, ZSTD_compress(packed, room, bytes, size, 1));
    str_printf(&sql, "' WHERE hash = '%s'", name);
    put_changed(sql.data);
    free(packed);
    str_release(&sql);
}

static void replace_all(struct str *bytes, const char *from, const char *to) {
    for (char *at = bytes->data; (at = memmem(at, bytes->length - (size_t)(at - bytes->data), from, strlen(from)));
         at++)
        for (size_t i = 0; to[i]; i++)
            at[i] = to[i];
}

/* A driver is told no size. What it is given is right to the last byte, or it is given nothing. */
static void no_driver_reads_beyond_an_image(void **state) {
    struct str image = {0}, bytes = {0}, built = {0};
    char name[BUNDLE_NAME_TEXT];
    (void)state;
    image_take(&image, name, &built);
    put_image(name, built.data, image.data, image.length);
    assert_int_equal(open_and_use(0), MT_OK);
    for (size_t cut = 1; cut <= image.length; cut += 1 + cut) {
        put_image(name, built.data, image.data, image.length - cut ? image.length - cut : 1);
        refused_with("cut", "cannot be given to a driver; export it again: the bytes are no fat binary");
    }
    static const struct {
        size_t at; /* in the file */
        int bytes;
    } sizes[] = {{6, 2}, {8, 8}, {20, 4}, {24, 8}, {32, 4}, {36, 4}, {44, 4}, {48, 8}, {56, 8}, {72, 8}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int value = 0; value < 3; value++) {
            str_clear(&bytes);
            str_append_bytes(&bytes, image.data, image.length);
            if (value < 2)
                memset(bytes.data + sizes[i].at, value ? 0xff : 0x41, (size_t)sizes[i].bytes);
            else
                bytes.data[sizes[i].at]++;
            put_image(name, built.data, bytes.data, bytes.length);
            refused_with("a header", "cannot be given to a driver; export it again");
        }
    /* The ELF header: sections and segments elsewhere. */
    const size_t elf = (size_t)((const char *)memmem(image.data, image.length, "\177ELF", 4) - image.data);
    for (size_t at = 32; at < 64; at += 2) {
        str_clear(&bytes);
        str_append_bytes(&bytes, image.data, image.length);
        memset(bytes.data + elf + at, 0xff, 2);
        put_image(name, built.data, bytes.data, bytes.length);
        if (open_and_use(0) == MT_OK && at != 48 && at != 50 && at != 52) /* flags, and its own size */
            fail_msg("byte %zu of the ELF header may be anything", at);
    }
    str_clear(&bytes);
    str_append_bytes(&bytes, image.data, image.length);
    replace_all(&bytes, ".entry gemm_sm80", ".entry hemm_sm80");
    put_image(name, built.data, bytes.data, bytes.length);
    refused_with("another kernel in the PTX", "its PTX has no kernel gemm_sm80 for sm_80");
    replace_all(&bytes, "gemm_sm80", "hemm_sm80");
    put_image(name, built.data, bytes.data, bytes.length);
    refused_with("another kernel", "the machine code has no kernel gemm_sm80");
    str_release(&image);
    str_release(&bytes);
    str_release(&built);
}

static void put_packed(const void *packed, size_t size, int rows) {
    struct str sql = {0};
    str_append(&sql, "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r LIMIT ");
    str_printf(&sql, "%d) INSERT INTO image SELECT printf('%%032d', i), '', x'", rows);
    hex(&sql, packed, size);
    str_append(&sql, "' FROM r");
    put_changed(sql.data);
    str_release(&sql);
}

/* Sizes are looked at before anything is unpacked. */
static void nothing_unpacks_to_more_than_it_may(void **state) {
    const size_t most = BUNDLE_MOST_IMAGE;
    char *zeros = xcalloc(most + 1, 1), packed[4096];
    ZSTD_CCtx *context = ZSTD_createCCtx();
    (void)state;
    put_packed(packed, ZSTD_compress(packed, sizeof packed, zeros, most + 1, 9), 1);
    refused_with("an image", "unpacks to more than a bundle can hold");
    put_packed(packed, ZSTD_compress(packed, sizeof packed, zeros, most / 2, 9), 1);
    refused_with("an image out of nothing", "unpacks to more than a bundle can hold");
    put_packed(packed, ZSTD_compress(packed, sizeof packed, zeros, 1 << 16, 9), 2000);
    refused_with("many images", "unpacks to more than a bundle can hold");
    put_packed(packed, ZSTD_compress(packed, sizeof packed, zeros, 100, 9), BUNDLE_MOST_IMAGES);
    refused_with("too many images", "has more than 16384 rows");
    ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
    put_packed(packed, ZSTD_compress2(context, packed, sizeof packed, zeros, 1 << 20), 1);
    refused_with("a frame without its size", "is no image that `mixtune export` compressed");
    size_t size = ZSTD_compress(packed, sizeof packed, zeros, 100, 9);
    put_packed(packed, size - 1, 1);
    refused_with("half a frame", "is no image that `mixtune export` compressed");
    size += ZSTD_compress(packed + size, sizeof packed - size, zeros, 100, 9);
    put_packed(packed, size, 1);
    refused_with("two frames", "is no image that `mixtune export` compressed");
    ZSTD_freeCCtx(context);
    free(zeros);
}

/* ---- families, and many rows ---- */

static void kernels_stay_in_their_places(void **state) {
    static const struct {
        const char *sql, *says;
    } cases[] = {
        {"UPDATE entry SET family = 'quantize', image = (SELECT image FROM fallback WHERE family = 'quantize') "
         "WHERE m = 1",
         "this library knows no quantised kernels of family \"quantize\""},
        {"UPDATE entry SET family = 'f16' WHERE m = 1", "knows no quantised kernels of family \"f16\""},
        {"UPDATE variant SET family = 'quantize'", "knows no quantised kernels of family \"quantize\""},
        {"UPDATE fallback SET family = 'f16' WHERE family = 'sm80'", "knows no quantised kernels of family \"f16\""},
        {"UPDATE fallback SET config = 'x' WHERE family = 'quantize'", "neither a configuration nor a scheme"},
        {"UPDATE fallback SET scheme = 'w8a8' WHERE family = 'quantize'", "neither a configuration nor a scheme"},
        {"UPDATE fallback SET group_size = 32", "the group size is 32"},
        {"UPDATE entry SET family = 'sm90' WHERE m = 1", "family sm90 has no kernels for compute capability 8.0"},
        {"UPDATE entry SET image = (SELECT image FROM fallback WHERE family = 'quantize') WHERE m = 1",
         "which is wanted; export it again"},
        {"UPDATE entry SET image = (SELECT image FROM variant) WHERE m = 1", "which is wanted; export it again"},
        {"UPDATE variant SET dtype = 'bf16'", "which is wanted; export it again"},
        {"UPDATE image SET built = replace(built, 'BF16=0', 'BF16=1')", "which is wanted; export it again"},
        {"UPDATE image SET hash = substr(hash, 2) || '0'; UPDATE entry SET image = substr(image, 2) || '0';"
         "UPDATE variant SET image = substr(image, 2) || '0'; UPDATE fallback SET image = substr(image, 2) || '0'",
         "has other bytes, whose name"},
        {"UPDATE entry SET image = NULL", "its kernel image \"\" is not in the bundle"},
        {"UPDATE image SET data = (SELECT i.data FROM image i WHERE i.hash <> image.hash)",
         "has other bytes, whose name"},
        {"UPDATE layer SET rows8 = 24", "scheme"},
        {"UPDATE layer SET k = 16777217", "K is 16777217"},
        {"UPDATE layer SET tp = 0", "tp 0 must be above 0"},
        {"UPDATE entry SET m = 16777217 WHERE m = 1", "M is 16777217"},
        {"DELETE FROM entry WHERE kind = 'kernel' AND layer = 0 AND m = 16", "another kind and no kernel"},
        {"INSERT INTO fingerprint SELECT 1, gpu, cc, sm_count, software, driver_version, toolkit, template_hash, "
         "layout "
         "FROM fingerprint",
         "SMs twice"},
        {"UPDATE fingerprint SET id = 1", "id is not the number of its row"},
        {"UPDATE layer SET gpu = 1 WHERE id = 1",
         "row 2 of the bundle's table layer is damaged: gpu is none of its GPUs"},
        {"UPDATE layer SET gpu = -1 WHERE id = 1", "gpu is none of its GPUs"},
        {"UPDATE layer SET gpu = NULL WHERE id = 1", "gpu is not a whole number"},
        {"UPDATE variant SET gpu = 1", "gpu is none of its GPUs"},
        {"UPDATE fallback SET gpu = 2147483647 WHERE family = 'quantize'", "gpu is none of its GPUs"},
        {"UPDATE entry SET layer = 2 WHERE layer = 1", "layer is none of its layers"},
        {"UPDATE time SET layer = -1", "layer is none of its layers"},
        {"DELETE FROM fingerprint", "does not say which GPU it is for"},
        {"UPDATE fingerprint SET sm_count = 1000000000", "a GPU that cannot be"},
        {"UPDATE layer SET tp = 1.0", "row 1 of the bundle's table layer is damaged: tp is not a whole number"},
        {"UPDATE layer SET tp = '1'", "tp is not a whole number"},
        {"UPDATE layer SET tp = 4294967297", "tp is out of every range"},
        {"UPDATE layer SET name = CAST(x'610062' AS TEXT)", "name is longer than a name, or has a 0 inside"},
        {"UPDATE layer SET name = printf('%.1025c', 'x')", "name is longer than a name, or has a 0 inside"},
        {"UPDATE layer SET name = x'61'", "name is not a text"},
        {"UPDATE layer SET name = CAST(x'61ff' AS TEXT)", "a text with characters that cannot be seen"},
        {"UPDATE layer SET id = id + 1 WHERE id = 1", "id is not the number of its row"},
        {"UPDATE entry SET expected_ns = '5'", "expected_ns is not a time"},
        {"UPDATE entry SET expected_ns = 1e300", "its time 1e+300 ns"},
        {"UPDATE entry SET kind = 'other' WHERE m = 1 AND kind = 'kernel'", "kind is none of its words"},
        {"DELETE FROM entry WHERE kind = 'invariant' AND m = 16", "has kernels of one order at 1 of its 2 M"},
        {"UPDATE entry SET family = 'f16' WHERE kind = 'invariant'", "knows no quantised kernels of family \"f16\""},
        {"UPDATE entry SET config = replace(config, 'split_k=1', 'split_k=2') WHERE kind = 'invariant'",
         "its batch-invariant kernel at M 1: family sm80 cannot run so: split_k must be 1 to 1"},
        {"UPDATE entry SET config = replace(config, 'stages=2', 'stages=02')",
         "is not written as `mixtune export` does"},
        {"UPDATE entry SET config = replace(config, ',stages=2', '')", "is not written as `mixtune export` does"},
        {"UPDATE entry SET config = replace(config, 'raster=1', 'raster=9')", "raster must be 1 to"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_changed(cases[i].sql);
        refused_with(cases[i].sql, cases[i].says);
    }
}

/* Rows of every table at their limits cost seconds, not minutes. */
static void many_rows_take_linear_time(void **state) {
    const clock_t start = clock();
    (void)state;
    put_changed(COUNT("262144") "INSERT INTO entry SELECT 0, 100 + i, 'kernel', family, config, image, expected_ns, "
                                "origin, quantize_ns FROM r, entry WHERE layer = 0 AND m = 1 AND kind = 'kernel'");
    refused_with("too many entries", "has more than 262144 rows");
    put_changed("DELETE FROM entry WHERE kind <> 'kernel' OR m = 1 AND layer = 1;" COUNT(
        "50000") "INSERT INTO entry SELECT 0, 100 + i, 'kernel', family, config, image, 1e6 / i, origin, 0.0 "
                 "FROM r, entry WHERE layer = 0 AND m = 1;" COUNT(
                     "50000") "INSERT INTO time SELECT 0, 100 + i, 'sm80', 'c' || i, 5, 'modelled' FROM "
                              "r;" COUNT(
                                  "16000") "INSERT INTO layer SELECT 1 + i, 0, 'n' || i, '', 1, 24, 128, 128, 0, "
                                           "'w4a8', 'fp16' "
                                           "FROM r;" COUNT(
                                               "16000") "INSERT INTO entry SELECT 1 + i, 16, 'kernel', "
                                                        "family, config, image, "
                                                        "5, origin, 0.0 FROM r, entry WHERE layer = 0 AND m = 1");
    struct mt_table *table;
    const struct mt_layer *layer;
    struct mt_query query = MT_QUERY_INIT;
    take(mt_table_open(path, 0, &table));
    assert_int_equal(mt_table_layer_count(table), 16002);
    query.name = "a";
    query.rows8 = 5;
    take(mt_table_layer_named(table, &query, &layer));
    layer_use(table, layer);
    layer_use(table, mt_table_layer_at(table, 0));
    mt_table_close(table);
    if ((double)(clock() - start) / CLOCKS_PER_SEC > 60)
        fail_msg("it took %.0f s of processor time", (double)(clock() - start) / CLOCKS_PER_SEC);
}

static int set_up(void **state) {
    static struct parts parts;
    const char *tmp = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    (void)state;
    snprintf(folder, sizeof folder, "%.180s/hostile-XXXXXX", tmp);
    if (!mkdtemp(folder))
        return -1;
    snprintf(good_path, sizeof good_path, "%s/good", folder);
    snprintf(own_path, sizeof own_path, "%s/x", folder);
    tables_read();
    take(device_open(&dev, "soft:a100-sxm-80g"));
    parts_fill(&parts);
    take(bundle_write(good_path, &parts.bundle));
    take(file_read(good_path, &good));
    assert_true(bundle_unseal(good.data, good.length));
    struct bundle both[2] = {parts.bundle, parts.bundle};
    char digest[BUNDLE_DIGEST_TEXT];
    both[0].fingerprint.gpu = "Another GPU";
    both[0].fingerprint.sm_count = 100;
    take(bundle_write_all(own_path, both, 2, digest));
    take(file_read(own_path, &two));
    assert_true(bundle_unseal(two.data, two.length));
    unlink(own_path);
    parts_release(&parts);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    str_release(&good);
    str_release(&two);
    str_release(&loose_two);
    unlink(good_path);
    unlink(own_path);
    close(memory);
    for (int i = 0; tables[i].name.data; i++) {
        str_release(&tables[i].name);
        str_release(&tables[i].text[0]);
        str_release(&tables[i].text[1]);
    }
    device_close(&dev);
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_column_is_checked),         cmocka_unit_test(only_files_are_opened),
        cmocka_unit_test(other_ways_to_store_are_refused), cmocka_unit_test(other_tables_are_refused),
        cmocka_unit_test(no_driver_reads_beyond_an_image), cmocka_unit_test(nothing_unpacks_to_more_than_it_may),
        cmocka_unit_test(kernels_stay_in_their_places),    cmocka_unit_test(many_rows_take_linear_time),
        cmocka_unit_test(other_types_do_no_harm),          cmocka_unit_test(other_types_count),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
