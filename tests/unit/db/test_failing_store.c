/* A database library, a compressor and a file system whose first, second, third ... call fails: each failure is told in
 * one sentence that names the file, what was there stays, and the same works once nothing fails any more.
 *
 * This program has functions by the names of theirs, which the code under test is linked with. */
#include "test_rows.h"

#include "db/bundle/bundle.h"
#include "db/columns.h"
#include "db/key.h"
#include "db/merge.h"
#include "db/reading.h"
#include "db/schema.h"
#include "db/sql.h"
#include "runtime/base/log.h"
#include "runtime/jit/cache.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <zstd.h>

/* ---- calls that fail ---- */

enum { WATCH_NOTHING = 0, WATCH_SQL = 1, WATCH_FILES = 2 };

static struct {
    int watch, at, calls;
    const char *name;      /* of the call that failed; NULL: none has */
    char text[64];         /* and of what */
    bool begun, committed; /* the transaction of a writer */
    int read_only, code;   /* what SQLite says; code 0: it is asked */
} failing;

static bool fails(int kind, const char *name, const char *text) {
    if (!(failing.watch & kind) || ++failing.calls != failing.at)
        return false;
    failing.name = name;
    snprintf(failing.text, sizeof failing.text, "%.60s", text ? text : "");
    return true;
}

#define REALLY(result, name, params)                                                                                   \
    result(*really) params; /* NOLINT(bugprone-macro-parentheses) */                                                   \
    void *symbol = dlsym(RTLD_NEXT, #name);                                                                            \
    memcpy(&really, &symbol, sizeof really)

int sqlite3_open(const char *path, sqlite3 **out) {
    REALLY(int, sqlite3_open, (const char *, sqlite3 **));
    const int rc = really(path, out);
    return fails(WATCH_SQL, "sqlite3_open", path) ? SQLITE_CANTOPEN : rc;
}

int sqlite3_open_v2(const char *path, sqlite3 **out, int flags, const char *vfs) {
    REALLY(int, sqlite3_open_v2, (const char *, sqlite3 **, int, const char *));
    const int rc = really(path, out, flags, vfs);
    return fails(WATCH_SQL, "sqlite3_open_v2", path) ? SQLITE_CANTOPEN : rc;
}

int sqlite3_exec(sqlite3 *db, const char *sql, int (*row)(void *, int, char **, char **), void *context, char **error) {
    REALLY(int, sqlite3_exec, (sqlite3 *, const char *, int (*)(void *, int, char **, char **), void *, char **));
    if (fails(WATCH_SQL, "sqlite3_exec", sql))
        return SQLITE_IOERR;
    const int rc = really(db, sql, row, context, error);
    failing.committed |= failing.begun && !strcmp(sql, "COMMIT") && rc == SQLITE_OK;
    failing.begun |= !strcmp(sql, "BEGIN IMMEDIATE") && rc == SQLITE_OK;
    return rc;
}

int sqlite3_db_readonly(sqlite3 *db, const char *name) {
    (void)db, (void)name;
    return failing.read_only;
}

int sqlite3_extended_errcode(sqlite3 *db) {
    REALLY(int, sqlite3_extended_errcode, (sqlite3 *));
    return failing.code ? failing.code : really(db);
}

int sqlite3_prepare_v2(sqlite3 *db, const char *sql, int size, sqlite3_stmt **out, const char **tail) {
    REALLY(int, sqlite3_prepare_v2, (sqlite3 *, const char *, int, sqlite3_stmt **, const char **));
    *out = NULL;
    if (fails(WATCH_SQL, "sqlite3_prepare_v2", sql))
        return SQLITE_NOMEM;
    return really(db, sql, size, out, tail);
}

int sqlite3_step(sqlite3_stmt *query) {
    REALLY(int, sqlite3_step, (sqlite3_stmt *));
    if (fails(WATCH_SQL, "sqlite3_step", sqlite3_sql(query)))
        return SQLITE_IOERR;
    return really(query);
}

sqlite3_backup *sqlite3_backup_init(sqlite3 *to, const char *to_name, sqlite3 *from, const char *from_name) {
    REALLY(sqlite3_backup *, sqlite3_backup_init, (sqlite3 *, const char *, sqlite3 *, const char *));
    if (fails(WATCH_SQL, "sqlite3_backup_init", from_name))
        return NULL;
    return really(to, to_name, from, from_name);
}

int sqlite3_backup_step(sqlite3_backup *backup, int pages) {
    REALLY(int, sqlite3_backup_step, (sqlite3_backup *, int));
    if (fails(WATCH_SQL, "sqlite3_backup_step", ""))
        return SQLITE_BUSY; /* of which sqlite3_backup_finish() need not know */
    return really(backup, pages);
}

int sqlite3_backup_finish(sqlite3_backup *backup) {
    REALLY(int, sqlite3_backup_finish, (sqlite3_backup *));
    const int rc = really(backup);
    return fails(WATCH_SQL, "sqlite3_backup_finish", "") ? SQLITE_IOERR : rc;
}

unsigned char *sqlite3_serialize(sqlite3 *db, const char *name, sqlite3_int64 *size, unsigned flags) {
    REALLY(unsigned char *, sqlite3_serialize, (sqlite3 *, const char *, sqlite3_int64 *, unsigned));
    if (fails(WATCH_SQL, "sqlite3_serialize", name))
        return NULL;
    return really(db, name, size, flags);
}

int sqlite3_deserialize(sqlite3 *db, const char *name, unsigned char *data, sqlite3_int64 size, sqlite3_int64 room,
                        unsigned flags) {
    REALLY(int, sqlite3_deserialize,
           (sqlite3 *, const char *, unsigned char *, sqlite3_int64, sqlite3_int64, unsigned));
    if (fails(WATCH_SQL, "sqlite3_deserialize", name))
        return SQLITE_NOMEM;
    return really(db, name, data, size, room, flags);
}

size_t ZSTD_compress(void *to, size_t room, const void *from, size_t size, int level) {
    REALLY(size_t, ZSTD_compress, (void *, size_t, const void *, size_t, int));
    return fails(WATCH_FILES, "ZSTD_compress", "") ? (size_t)-1 : really(to, room, from, size, level);
}

size_t ZSTD_decompress(void *to, size_t room, const void *from, size_t size) {
    REALLY(size_t, ZSTD_decompress, (void *, size_t, const void *, size_t));
    return fails(WATCH_FILES, "ZSTD_decompress", "") ? (size_t)-1 : really(to, room, from, size);
}

static bool is_folder(int fd) {
    struct stat info;
    return fstat(fd, &info) == 0 && S_ISDIR(info.st_mode);
}

int open(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    const int mode = flags & O_CREAT ? va_arg(args, int) : 0;
    va_end(args);
    if (fails(WATCH_FILES, flags & O_DIRECTORY ? "open a folder" : "open", path))
        return errno = EACCES, -1;
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

ssize_t read(int fd, void *to, size_t size) {
    return fails(WATCH_FILES, "read", "") ? errno = EIO, -1 : syscall(SYS_read, fd, to, size);
}

ssize_t write(int fd, const void *from, size_t size) {
    return fails(WATCH_FILES, "write", "") ? errno = ENOSPC, -1 : syscall(SYS_write, fd, from, size);
}

/* Nothing is flushed: the machine stays on, and a disk takes its time. */
int fsync(int fd) {
    return fails(WATCH_FILES, is_folder(fd) ? "fsync a folder" : "fsync", "") ? errno = EIO, -1 : 0;
}

__attribute__((visibility("default"))) int fdatasync(int fd) { /* by SQLite, too */
    (void)fd;
    return 0;
}

int close(int fd) {
    const bool failed = fails(WATCH_FILES, is_folder(fd) ? "close a folder" : "close", "");
    const int result = (int)syscall(SYS_close, fd);
    return failed ? errno = EDQUOT, -1 : result;
}

int openat(int folder, const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    const int mode = flags & O_CREAT ? va_arg(args, int) : 0;
    va_end(args);
    if (fails(WATCH_FILES, "openat", path))
        return errno = EACCES, -1;
    return (int)syscall(SYS_openat, folder, path, flags, mode);
}

int renameat(int old, const char *from, int new, const char *to) {
    return fails(WATCH_FILES, "renameat", to) ? errno = EROFS, -1 : (int)syscall(SYS_renameat2, old, from, new, to, 0);
}

int mkdirat(int folder, const char *path, mode_t mode) {
    return fails(WATCH_FILES, "mkdirat", path) ? errno = EROFS, -1 : (int)syscall(SYS_mkdirat, folder, path, mode);
}

int rename(const char *from, const char *to) {
    return fails(WATCH_FILES, "rename", to) ? errno = EROFS, -1 : (int)syscall(SYS_rename, from, to);
}

int mkdir(const char *path, mode_t mode) {
    struct stat info;
    const char *name = stat(path, &info) == 0 ? "mkdir of a folder that is there" : "mkdir";
    return fails(WATCH_FILES, name, path) ? errno = EROFS, -1 : (int)syscall(SYS_mkdir, path, mode);
}

/* Whether nobody needs to be told: not every file system can say that a rename is on disk, and a database can be looked
 * at without a transaction, too. */
static bool is_harmless(const char *also) {
    static const char *const calls[][2] = {{"open a folder", NULL},   {"fsync a folder", NULL},
                                           {"close a folder", NULL},  {"mkdir of a folder that is there", NULL},
                                           {"sqlite3_exec", "BEGIN"}, {"sqlite3_exec", "PRAGMA schema_version"}};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (!strcmp(failing.name, calls[i][0]) && (!calls[i][1] || !strcmp(failing.text, calls[i][1])))
            return true;
    return also && !strcmp(failing.name, also);
}

struct path {
    const char *what;
    int watch;
    enum mt_status (*run)(void);
    void (*before)(void); /* nothing fails in there, nor behind it */
    void (*after)(bool succeeded);
    const char *names;    /* what every sentence has: the file */
    const char *harmless; /* a call that may fail here; NULL: none */
};

static void every_call_fails(const struct path *p) {
    int at = 0, told = 0;
    do {
        p->before();
        memset(&failing, 0, sizeof failing);
        failing.at = ++at;
        (fail)(MT_OK, "no failure");
        failing.watch = p->watch;
        enum mt_status status = p->run();
        failing.watch = WATCH_NOTHING;
        if (status != MT_OK && (!failing.name || status != MT_FAILURE || !strstr(fail_message(), p->names) ||
                                strchr(fail_message(), '\n')))
            fail_msg("%s: call %d, %s %s: %d, '%s'", p->what, at, failing.name ? failing.name : "", failing.text,
                     status, fail_message());
        if (status == MT_OK && failing.name && !is_harmless(p->harmless))
            fail_msg("%s: call %d, %s %s, failed and nothing said so", p->what, at, failing.name, failing.text);
        told += status != MT_OK;
        p->after(status == MT_OK);
    } while (failing.name);
    print_message("%s: %d failures of %d calls\n", p->what, told, at - 1);
    assert_true(told > 0);
}

/* ---- the store ---- */

static const struct fixture *f;
static struct store *store;
static const double samples[3] = {1000, 1001, 1002};

static void nothing(void) {}

static void remove_database(void) {
    unlink(f->path);
    unlink(at(f, "t.db-wal"));
    unlink(at(f, "t.db-shm"));
}

static enum mt_status open_store(void) {
    enum mt_status status = store_open(f->path, &store);
    assert_true((status == MT_OK) == (store != NULL));
    return status;
}

/* What was opened, or else can be opened now, is a whole database without rows. */
static void is_empty_database(bool succeeded) {
    int newest;
    schema_steps(&newest);
    if (!succeeded)
        check_ok(store_open(f->path, &store));
    assert_int_equal(number(store, "PRAGMA user_version"), newest);
    assert_int_equal(number(store, "SELECT count(*) FROM measurement"), 0);
    assert_int_equal(number(store, "PRAGMA foreign_keys"), 1);
    assert_int_equal(number(store, "PRAGMA synchronous"), 1);
    assert_int_equal(number(store, "SELECT count(*) FROM pragma_journal_mode WHERE journal_mode = 'wal'"), 1);
    store_close(store);
    store = NULL;
}

static void make_version_3(void) {
    sqlite3 *db;
    remove_database();
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    key_register(db);
    for (int i = 0; i < 3; i++)
        assert_int_equal(sqlite3_exec(db, schema_steps(NULL)[i], NULL, NULL, NULL), SQLITE_OK);
    char pragma[96];
    snprintf(pragma, sizeof pragma, "PRAGMA user_version = 3; PRAGMA application_id = %d", SCHEMA_APPLICATION);
    assert_int_equal(sqlite3_exec(db, pragma, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* Of the newest version, or as it was; never in between. */
static void is_migrated_or_not(bool succeeded) {
    int newest;
    schema_steps(&newest);
    sqlite3 *db;
    sqlite3_stmt *query;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db,
                                        "SELECT user_version, EXISTS (SELECT 1 FROM sqlite_schema WHERE name = "
                                        "'device_limit') FROM pragma_user_version",
                                        -1, &query, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(query), SQLITE_ROW);
    const int version = sqlite3_column_int(query, 0);
    assert_int_equal(sqlite3_column_int(query, 1), version > 3);
    assert_int_equal(version, failing.committed ? newest : 3);
    sqlite3_finalize(query);
    sqlite3_close(db);
    is_empty_database(succeeded);
}

static void opening(void **state) {
    f = *state;
    every_call_fails(&(struct path){"creating a database", WATCH_SQL, open_store, remove_database, is_empty_database,
                                    f->path, NULL});
    every_call_fails(
        &(struct path){"opening a database", WATCH_SQL, open_store, nothing, is_empty_database, f->path, NULL});
    every_call_fails(&(struct path){"migrating a database", WATCH_SQL, open_store, make_version_3, is_migrated_or_not,
                                    f->path, NULL});
    failing.read_only = 1;
    assert_int_equal(open_store(), MT_FAILURE);
    failing.read_only = 0;
    assert_non_null(strstr(fail_message(), "cannot be written: make the file and its folder writable"));
}

static int rows[5];
static const char *const counted[5] = {"run", "measurement", "config", "knob", "device_limit"};

static void count_rows(int out[5]) {
    for (int i = 0; i < 5; i++) {
        char sql[64];
        snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", counted[i]);
        out[i] = (int)number(store, sql);
    }
}

static void note_rows(void) {
    count_rows(rows);
}

static void rows_grew_by(bool succeeded, const int by[5]) {
    int now[5];
    count_rows(now);
    assert_true(sqlite3_get_autocommit(store_handle(store)));
    for (int i = 0; i < 5; i++)
        assert_int_equal(now[i], rows[i] + (succeeded ? by[i] : 0));
}

static enum mt_status begin_run(void) {
    return store_begin(store, &gpu, &env, "test");
}

static void one_run_more(bool succeeded) {
    rows_grew_by(succeeded, (int[]){1, 0, 0, 0, 0});
    const struct store_measurement m = good(samples, 3);
    int found;
    if (!succeeded) { /* nothing is recorded under a run that is not there */
        assert_int_equal(store_record(store, &m), MT_FAILURE);
        assert_int_equal(store_has(store, &m, &found), MT_FAILURE);
    }
}

static enum mt_status record(void) {
    static int next;
    char config[64];
    struct store_measurement m = good(samples, 3);
    snprintf(config, sizeof config, "tile_n=%d,stages=4", ++next);
    m.config = config;
    return store_record(store, &m);
}

static void one_measurement_more(bool succeeded) {
    rows_grew_by(succeeded, (int[]){0, 1, 1, 2, 0});
}

static enum mt_status record_limit(void) {
    const struct store_limit limit = {"fma", "lanes", 128, ORIGIN_MEASURED};
    return store_record_limit(store, &limit);
}

static void one_limit_more(bool succeeded) {
    rows_grew_by(succeeded, (int[]){0, 0, 0, 0, 1});
}

static enum mt_status ask(void) {
    struct store_measurement m = good(samples, 3);
    int found = 5;
    enum mt_status status = store_has(store, &m, &found);
    assert_int_equal(found, status == MT_OK); /* it is there */
    return status;
}

static enum mt_status confirm(void) {
    return store_confirm(store);
}

static void one_confirmation_more(bool succeeded) {
    rows_grew_by(succeeded, (int[]){1, 0, 0, 0, 0});
}

/* Each time it is the other's turn. */
static void begin_another(void) {
    static int version;
    struct store_environment another = env;
    another.driver_version = 1 + version++ % 2;
    check_ok(store_begin(store, &gpu, &another, "test"));
    note_rows();
}

static void forget_query(void) {
    check_ok(store_open(f->path, &store));
    check_ok(begin_run());
}

static void close_store(bool succeeded) {
    (void)succeeded;
    store_close(store);
}

static void recording(void **state) {
    f = *state;
    store = open_run(f->path, &gpu, &env);
    every_call_fails(&(struct path){"beginning a run", WATCH_SQL, begin_run, note_rows, one_run_more, f->path, NULL});
    every_call_fails(&(struct path){"recording", WATCH_SQL, record, note_rows, one_measurement_more, f->path, NULL});
    every_call_fails(
        &(struct path){"recording a limit", WATCH_SQL, record_limit, note_rows, one_limit_more, f->path, NULL});
    every_call_fails(
        &(struct path){"confirming", WATCH_SQL, confirm, begin_another, one_confirmation_more, f->path, NULL});
    const struct store_measurement m = good(samples, 3);
    check_ok(store_begin(store, &gpu, &env, "test"));
    check_ok(store_record(store, &m));
    store_close(store);
    every_call_fails(&(struct path){"asking", WATCH_SQL, ask, forget_query, close_store, f->path, NULL});
}

/* What to do depends on why it failed, and SQLite has finer reasons than are told apart here. */
static void advice(void **state) {
    f = *state;
    static const struct {
        int code;
        const char *advice;
    } known[] = {
        {SQLITE_NOTADB, "it is not a database: name a different file with --db"},
        {SQLITE_CORRUPT_SEQUENCE, "the file is damaged or cut short: restore a copy"},
        {SQLITE_FULL, "the disk is full: free some space"},
        {SQLITE_READONLY_DIRECTORY, "it cannot be written: make the file and its folder writable"},
        {SQLITE_PERM, "it cannot be written: make the file and its folder writable"},
        {SQLITE_CANTOPEN_ISDIR, "its folder does not exist or cannot be written: create it"},
        {SQLITE_BUSY_SNAPSHOT, "another process keeps it locked: wait"},
        {SQLITE_LOCKED_SHAREDCACHE, "another process keeps it locked: wait"},
        {SQLITE_IOERR_WRITE, "reading or writing failed: check that the disk is neither full nor failing"},
        {SQLITE_NOMEM, "memory is short: free some"},
        {SQLITE_CONSTRAINT_CHECK, "the database refused it"},
    };
    sqlite3 *db;
    int64_t value = 7;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        char want[160];
        failing.code = known[i].code;
        assert_int_equal(sql_fail(db, "the file", "cannot do it"), MT_FAILURE);
        snprintf(want, sizeof want, "the file: cannot do it: %s", known[i].advice);
        assert_ptr_equal(strstr(fail_message(), want), fail_message());
        assert_non_null(strstr(fail_message(), " (SQLite: "));
    }
    failing.code = 0;
    check_ok(sql_number(db, f->path, "SELECT 5", &value));
    assert_int_equal(value, 5);
    check_ok(sql_number(db, f->path, "SELECT 5 WHERE 0", &value));
    assert_int_equal(value, 0);
    assert_int_equal(sql_number(db, f->path, "SELECT no_such_thing", &value), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "no_such_thing"));
    assert_string_equal(sql_text(NULL), "");
    assert_string_equal(sql_text("x"), "x");
    sqlite3_close(db);
}

/* ---- merging ---- */

static struct store *source;

static enum mt_status open_source(void) {
    return merge_source_open(at(f, "a.db"), &source);
}

static void is_whole_source(bool succeeded) {
    assert_true(succeeded == (source != NULL));
    if (succeeded)
        assert_int_equal(number(source, "SELECT count(*) FROM measurement"), 8);
    store_close(source);
    source = NULL;
}

static enum mt_status new_source(void) {
    return reading_empty("made by hand", &source);
}

static void is_empty_source(bool succeeded) {
    assert_true(succeeded == (source != NULL));
    if (succeeded)
        assert_int_equal(number(source, "SELECT count(*) FROM measurement"), 0);
    store_close(source);
    source = NULL;
}

static void fresh_target(void) {
    store_close(store);
    remove_database();
    store = open_run(f->path, &gpu, &env);
    note_rows();
}

static enum mt_status merge(void) {
    struct merge_count count;
    return merge_into(store, &source, 1, &count);
}

static void is_merged(bool succeeded) {
    rows_grew_by(succeeded, (int[]){3, 8, 2, 6, 1});
}

static enum mt_status insert_by_hand(void) {
    struct insert insert;
    int64_t key;
    enum mt_status status = insert_begin(source, "config", &insert);
    if (status == MT_OK) {
        insert_text(&insert, "family", "sm80");
        insert_text(&insert, "config", "tile_n=1,stages=2");
        status = insert_row(&insert, &key, NULL);
    }
    insert_release(&insert);
    return status ? status : merge_insert_knobs(source);
}

static void source_by_hand(void) {
    check_ok(new_source());
}

static void is_by_hand(bool succeeded) {
    if (succeeded)
        assert_int_equal(number(source, "SELECT count(*) FROM knob"), 2);
    store_close(source);
    source = NULL;
}

static enum mt_status check_source(void) {
    return merge_check(source);
}

static void ignore(bool succeeded) {
    (void)succeeded;
}

static void merging(void **state) {
    f = *state;
    make(at(f, "a.db"), "GPU-1", "templates-1", 4);
    store = open_run(at(f, "a.db"), &gpu, &env);
    check_ok(record_limit());
    store_close(store);
    store = NULL;
    every_call_fails(
        &(struct path){"opening a source", WATCH_SQL, open_source, nothing, is_whole_source, at(f, "a.db"), NULL});
    every_call_fails(
        &(struct path){"making a source", WATCH_SQL, new_source, nothing, is_empty_source, "made by hand", NULL});
    every_call_fails(&(struct path){"filling a source", WATCH_SQL, insert_by_hand, source_by_hand, is_by_hand,
                                    "made by hand", NULL});
    check_ok(open_source());
    every_call_fails(
        &(struct path){"checking a source", WATCH_SQL, check_source, nothing, ignore, at(f, "a.db"), NULL});
    every_call_fails(&(struct path){"merging", WATCH_SQL, merge, fresh_target, is_merged, ".db", NULL});
    store_close(source);
    store_close(store);
    source = store = NULL;
}

/* ---- bundles, and what is cached ---- */

static const char bytes[] =
    "a kernel image, or what passes for one: 00000000000000000000000000000000000000000000000000";
static const struct bundle_layer layer = {"qkv", "tiny", 1, 6144, 4096, 128, 0, "w4a8", "fp16"};
static char name[BUNDLE_NAME_TEXT]; /* of the image */
static const struct bundle_image image = {.hash = name, .built = "built", .data = bytes, .size = sizeof bytes};
static const struct bundle_entry entry = {0, 1, BUNDLE_KERNEL, "sm80", "tile_n=64", name, 8123.5, BUNDLE_MEASURED, 0};
static const struct bundle_time split_time = {0, 1, "sm80", "tile_n=32", 9000, BUNDLE_MEASURED};
static const struct bundle_build fallback = {"sm80", "tile_n=128", "w4a8", "fp16", 128, name},
                                 variant = {"sm80", "tile_n=64", "mixed", "fp16", 128, name};
static char old_bundle[] = "not a bundle, but there before";

static int files_in_folder(void) {
    int count = 0;
    DIR *folder = opendir(f->folder);
    for (struct dirent *e; (e = readdir(folder));)
        count += e->d_name[0] != '.';
    closedir(folder);
    return count;
}

static void put_old_bundle(void) {
    check_ok(file_write_atomic(f->path, old_bundle, sizeof old_bundle));
    assert_int_equal(files_in_folder(), 1);
}

static enum mt_status write_bundle(void) {
    bundle_image_name("built", bytes, sizeof bytes, name);
    const struct bundle b = {.fingerprint = {"Example GPU", 80, 108, 0, 12040, 1300, "0123456789abcdef", 1},
                             .layers = &layer,
                             .layer_count = 1,
                             .entries = &entry,
                             .entry_count = 1,
                             .times = &split_time,
                             .time_count = 1,
                             .variants = &variant,
                             .variant_count = 1,
                             .fallbacks = &fallback,
                             .fallback_count = 1,
                             .images = &image,
                             .image_count = 1};
    return bundle_write(f->path, &b);
}

static struct bundle back;
static void *unpacked; /* its image */

static enum mt_status read_bundle(void) {
    enum mt_status status = bundle_read(f->path, &back);
    if (status != MT_OK)
        return status;
    status = bundle_unpack(&back.images[0], &unpacked);
    if (status == MT_OK)
        return MT_OK;
    bundle_release(&back);
    return fail_context(status, "%s", f->path);
}

static void is_whole_bundle(bool succeeded) {
    if (succeeded) {
        assert_true(back.layer_count == 1 && back.entry_count == 1 && back.time_count == 1 && back.variant_count == 1 &&
                    back.fallback_count == 1 && back.image_count == 1);
        assert_string_equal(back.fingerprint.gpu, "Example GPU");
        assert_int_equal(back.images[0].size, sizeof bytes);
        assert_memory_equal(unpacked, bytes, sizeof bytes);
        free(unpacked);
    } else {
        assert_true(!back.layers && !back.owned && back.layer_count == 0);
    }
    bundle_release(&back);
}

/* The old file or the new one, and nothing beside it. */
static void is_old_or_new_bundle(bool succeeded) {
    assert_int_equal(files_in_folder(), 1);
    if (succeeded) {
        check_ok(read_bundle());
        is_whole_bundle(true);
        return;
    }
    struct str text = {0};
    check_ok(file_read(f->path, &text));
    assert_int_equal(text.length, sizeof old_bundle);
    assert_memory_equal(text.data, old_bundle, sizeof old_bundle);
    str_release(&text);
}

static void bundles(void **state) {
    f = *state;
    every_call_fails(
        &(struct path){"writing a bundle", WATCH_FILES, write_bundle, put_old_bundle, is_old_or_new_bundle, "", NULL});
    every_call_fails(&(struct path){"putting a bundle together", WATCH_SQL, write_bundle, put_old_bundle,
                                    is_old_or_new_bundle, "", NULL});
    check_ok(write_bundle());
    every_call_fails(
        &(struct path){"reading a bundle file", WATCH_FILES, read_bundle, nothing, is_whole_bundle, f->path, "close"});
    every_call_fails(
        &(struct path){"reading a bundle", WATCH_SQL, read_bundle, nothing, is_whole_bundle, f->path, NULL});
}

static struct image cached;
static const struct str asked = {.data = (char[]){"options"}, .length = 7};

static void remove_kernels(void) {
    unlink(at(f, "kernels/0123"));
    rmdir(at(f, "kernels"));
}

/* It gives no status, but what it says stays. */
static enum mt_status store_image(void) {
    struct image one = {.data = (void *)(uintptr_t)bytes, .size = sizeof bytes, .hash = "0123", .registers = 7};
    cache_store(&one, &asked);
    return strcmp(fail_message(), "no failure") ? MT_FAILURE : MT_OK;
}

static enum mt_status load_image(void) {
    bool found;
    return cache_load("0123", &asked, &cached, &found) || !found ? MT_FAILURE : MT_OK;
}

static void is_cached(bool succeeded) {
    assert_true(cached.data != NULL || !succeeded);
    if (cached.data) {
        assert_true(cached.size == sizeof bytes && cached.registers == 7);
        assert_memory_equal(cached.data, bytes, sizeof bytes);
    }
    image_release(&cached);
}

static void is_stored_or_not(bool succeeded) {
    assert_int_equal(load_image() == MT_OK, succeeded);
    is_cached(succeeded);
    unlink(at(f, "kernels/0123"));
    assert_true(rmdir(at(f, "kernels")) == 0 || errno == ENOENT); /* no half of a file is left */
}

static void caching(void **state) {
    f = *state;
    setenv("MIXTUNE_CACHE_DIR", f->folder, 1);
    every_call_fails(&(struct path){"caching", WATCH_FILES, store_image, remove_kernels, is_stored_or_not, "", NULL});
    (fail)(MT_OK, "no failure");
    check_ok(store_image());
    every_call_fails(&(struct path){"loading", WATCH_FILES, load_image, nothing, is_cached, "", "close"});
    remove_kernels();
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_remove)
    const struct CMUnitTest tests[] = {
        TEST(opening), TEST(recording), TEST(advice), TEST(merging), TEST(bundles), TEST(caching),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
