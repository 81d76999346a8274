#include "guard.h"
#include "columns.h"
#include "key.h"
#include "runtime/base/file.h"
#include "runtime/base/str.h"
#include "schema.h"
#include "sql.h"
#include "store.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- files ---- */

/* Every journal of a transaction over several files ends so, behind the name of the file that has their names. */
static bool names_others(int fd, const struct stat *info) {
    static const unsigned char magic[8] = {0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7};
    unsigned char end[sizeof magic];
    return info->st_size >= 16 && pread(fd, end, sizeof end, info->st_size - (off_t)sizeof end) == sizeof end &&
           memcmp(end, magic, sizeof magic) == 0;
}

static enum mt_status check_journal(const char *name) {
    struct stat info;
    const int fd = open(name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? file_fail("open", name) : MT_OK;
    const bool foreign = fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && names_others(fd, &info);
    close(fd);
    if (foreign)
        return fail(MT_FAILURE,
                    "%s is not of mixtune: it belongs to a transaction over several files; if you trust it, open the "
                    "database once with the program that wrote it, else remove it",
                    name);
    return MT_OK;
}

/* SQLite follows no link to one of them either, and says less. */
static enum mt_status check_beside(const char *path) {
    static const char *const ends[] = {"-wal", "-shm", "-journal"};
    enum mt_status status = MT_OK;
    for (size_t i = 0; i < sizeof ends / sizeof *ends && status == MT_OK; i++) {
        struct str name = {0};
        struct stat info;
        str_printf(&name, "%s%s", path, ends[i]);
        status = str_status(&name);
        if (status == MT_OK && lstat(name.data, &info) == 0 && !S_ISREG(info.st_mode))
            status = fail(MT_FAILURE, "%s is %s where SQLite keeps a file of its own: remove it", name.data,
                          S_ISLNK(info.st_mode) ? "a link" : file_kind(info.st_mode));
        if (status == MT_OK && i == 2)
            status = check_journal(name.data);
        str_release(&name);
    }
    return status;
}

enum mt_status guard_files(const char *path) {
    struct stat info;
    if (!path || !*path)
        return fail(MT_USAGE, "a database needs a file name: give one with --db");
    if (stat(path, &info) != 0)
        return check_beside(path); /* opening it says what is wrong, or makes it */
    if (!S_ISREG(info.st_mode))
        return fail(MT_FAILURE, "%s is %s: name a file with --db", path, file_kind(info.st_mode));
    char *real = realpath(path, NULL); /* beside the file itself, where a link leads to it */
    if (!real)
        return file_fail("open", path);
    enum mt_status status = check_beside(real);
    free(real);
    return status;
}

/* ---- connections ---- */

enum mt_status guard_connection(sqlite3 *db, const char *path) {
    enum { LARGEST_VALUE = 64 << 20, TRIGGERS = 4 };
    sqlite3_limit(db, SQLITE_LIMIT_LENGTH, LARGEST_VALUE);
    sqlite3_limit(db, SQLITE_LIMIT_TRIGGER_DEPTH, TRIGGERS);
    if (sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL) != SQLITE_OK ||
        sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL) != SQLITE_OK ||
        /* A file that shrinks while it is mapped would end the process. */
        sqlite3_exec(db, "PRAGMA mmap_size = 0; PRAGMA cell_size_check = ON", NULL, NULL, NULL) != SQLITE_OK)
        return sql_fail(db, path, "cannot open it");
    return MT_OK;
}

/* ---- the size ---- */

static int64_t size_of(const char *path, const char *end) {
    struct str name = {0};
    struct stat info = {0};
    str_printf(&name, "%s%s", path, end);
    const bool there = !name.failed && stat(name.data, &info) == 0;
    str_release(&name);
    return there ? (int64_t)info.st_size : 0;
}

/* What a header or a log says of the number of pages is believed by SQLite: a few bytes could make a copy of
 * terabytes. */
static enum mt_status check_size(sqlite3 *db, const char *path) {
    const char *file = sqlite3_db_filename(db, "main");
    int64_t bytes = 0;
    const int64_t unwritten = 1 << 20; /* a new one has a page before its file has a byte */
    if (!file || !*file)
        return MT_OK; /* in memory, or a temporary file */
    enum mt_status status =
        sql_number(db, path, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size", &bytes);
    if (status == MT_OK && bytes > size_of(file, "") + size_of(file, "-wal") + unwritten)
        status = fail(MT_FAILURE,
                      "%s: the file is damaged or cut short: it says that it has %lld bytes; restore a copy of it, or "
                      "start a new one with --db",
                      path, (long long)bytes);
    return status;
}

/* ---- the schema ---- */

/* Without comments, and with one space where there was white space. SQLite keeps a text as it was written, and the
 * steps were commented anew now and then. */
static void plain_sql(const char *sql, struct str *out) {
    char quote = 0;
    str_clear(out);
    for (const char *p = sql; *p; p++) {
        if (!quote && p[0] == '-' && p[1] == '-') {
            p += strcspn(p, "\n");
            p -= !*p;
        } else if (quote || !isspace((unsigned char)*p)) {
            if (!quote && out->length && isspace((unsigned char)p[-1]))
                str_append(out, " ");
            str_append_bytes(out, p, 1);
            quote = quote == *p ? 0 : quote ? quote : strchr("'\"`", *p) ? *p : 0;
        }
    }
}

/* A row of sqlite_schema. */
static const char *text_of(sqlite3_stmt *row, int column) {
    return sql_text((const char *)sqlite3_column_text(row, column));
}

enum { TYPE, NAME, TABLE, SQL };

/* As strcmp(); NULL comes last. */
static int compare_names(sqlite3_stmt *ours, sqlite3_stmt *theirs) {
    int order = !ours - !theirs;
    for (int c = TYPE; c < SQL && ours && theirs && !order; c++)
        order = strcmp(text_of(ours, c), text_of(theirs, c));
    return order;
}

static bool same_text(sqlite3_stmt *ours, sqlite3_stmt *theirs, enum mt_status *status) {
    struct str a = {0}, b = {0};
    plain_sql(text_of(ours, SQL), &a);
    plain_sql(text_of(theirs, SQL), &b);
    *status = str_status(&a) ? MT_FAILURE : str_status(&b);
    const bool same = strcmp(str_text(&a), str_text(&b)) == 0;
    str_release(&a);
    str_release(&b);
    return same;
}

static enum mt_status fail_schema(const char *path, const char *how, sqlite3_stmt *named) {
    return fail(
        MT_FAILURE,
        "%s is not a database as mixtune makes them: it has %s %.20s `%.80s`; use a copy that nobody changed, or "
        "name a different file with --db",
        path, how, text_of(named, TYPE), text_of(named, NAME));
}

static enum mt_status compare(sqlite3_stmt *ours, sqlite3 *db, sqlite3_stmt *theirs, const char *path) {
    for (;;) {
        enum mt_status status = MT_OK;
        const int want = sqlite3_step(ours), have = sqlite3_step(theirs);
        if ((want != SQLITE_ROW && want != SQLITE_DONE) || (have != SQLITE_ROW && have != SQLITE_DONE))
            return sql_fail(have == SQLITE_ROW || have == SQLITE_DONE ? sqlite3_db_handle(ours) : db, path,
                            "cannot read it");
        if (want == SQLITE_DONE && have == SQLITE_DONE)
            return MT_OK;
        const int order = compare_names(want == SQLITE_ROW ? ours : NULL, have == SQLITE_ROW ? theirs : NULL);
        if (order)
            return order < 0 ? fail_schema(path, "no", ours) : fail_schema(path, "a foreign", theirs);
        if (!same_text(ours, theirs, &status))
            return status == MT_OK ? fail_schema(path, "another", theirs) : status;
    }
}

static const char objects[] =
    "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema ORDER BY type, name, tbl_name";

/* To make one takes milliseconds: the last that was found good is kept. */
static struct {
    pthread_mutex_t lock;
    int version;
    struct str text;
} known = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The whole schema as one text, each part with its 0. */
static enum mt_status describe(sqlite3 *db, const char *path, struct str *out) {
    sqlite3_stmt *query;
    struct str sql = {0};
    int rc = SQLITE_DONE;
    enum mt_status status = sql_prepare(db, path, objects, &query);
    while (status == MT_OK && (rc = sqlite3_step(query)) == SQLITE_ROW) {
        for (int c = TYPE; c < SQL; c++)
            str_append_bytes(out, text_of(query, c), strlen(text_of(query, c)) + 1);
        plain_sql(text_of(query, SQL), &sql);
        str_append_bytes(out, str_text(&sql), sql.length + 1);
        status = str_status(&sql) ? MT_FAILURE : str_status(out);
    }
    if (status == MT_OK && rc != SQLITE_DONE)
        status = sql_fail(db, path, "cannot read it");
    sqlite3_finalize(query);
    str_release(&sql);
    return status;
}

static bool is_known(int version, const struct str *text) {
    pthread_mutex_lock(&known.lock);
    const bool same = known.version == version && known.text.length == text->length && text->length &&
                      !memcmp(known.text.data, text->data, text->length);
    pthread_mutex_unlock(&known.lock);
    return same;
}

/* Takes the text over. */
static void keep(int version, struct str *text) {
    pthread_mutex_lock(&known.lock);
    str_release(&known.text);
    known.version = version;
    known.text = *text;
    *text = (struct str){0};
    pthread_mutex_unlock(&known.lock);
}

static enum mt_status compare_with_fresh(sqlite3 *db, const char *path, int version) {
    sqlite3 *fresh = NULL;
    sqlite3_stmt *ours = NULL, *theirs = NULL;
    enum mt_status status = schema_fresh(path, version, &fresh);
    if (status == MT_OK)
        status = sql_prepare(fresh, path, objects, &ours);
    if (status == MT_OK)
        status = sql_prepare(db, path, objects, &theirs);
    if (status == MT_OK)
        status = compare(ours, db, theirs, path);
    sqlite3_finalize(ours);
    sqlite3_finalize(theirs);
    sqlite3_close_v2(fresh);
    return status;
}

enum mt_status guard_schema(sqlite3 *db, const char *path, int version) {
    int64_t utf8 = 0;
    struct str text = {0};
    enum mt_status status = sql_number(db, path, "SELECT encoding = 'UTF-8' FROM pragma_encoding", &utf8);
    if (status == MT_OK && !utf8)
        status = fail(MT_FAILURE, "%s is not a database as mixtune makes them: its texts are not UTF-8", path);
    if (status == MT_OK)
        status = check_size(db, path);
    if (status == MT_OK)
        status = describe(db, path, &text);
    if (status == MT_OK && !is_known(version, &text)) {
        status = compare_with_fresh(db, path, version);
        if (status == MT_OK && text.length)
            keep(version, &text);
    }
    str_release(&text);
    /* What is ours may use every function; in a foreign one those of JSON are not to be trusted. */
    if (status == MT_OK && sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 1, NULL) != SQLITE_OK)
        status = sql_fail(db, path, "cannot open it");
    return status;
}

/* ---- values ---- */

enum { LONGEST_TEXT = 1 << 20, MOST_SAMPLES = 1 << 20 };
static const int64_t largest_number = 1 << 24; /* as problem_check() has it for shapes */

static bool good_value(sqlite3_value *value) {
    int64_t number;
    switch (sqlite3_value_type(value)) {
    case SQLITE_INTEGER:
        number = sqlite3_value_int64(value);
        return number >= -largest_number && number <= largest_number;
    case SQLITE_FLOAT:
        return isfinite(sqlite3_value_double(value));
    case SQLITE_TEXT: /* of any characters: who shows one shows what cannot be seen as \x1b */
        return sqlite3_value_bytes(value) <= LONGEST_TEXT;
    case SQLITE_BLOB:
        return sqlite3_value_bytes(value) / 8 <= MOST_SAMPLES; /* those who use them look at each */
    default:
        return true;
    }
}

/* The number of the first value that is not good, from 1 on; 0: all are. */
static void first_bad(sqlite3_context *context, int count, sqlite3_value **values) {
    int bad = 0;
    for (int i = 0; i < count && !bad; i++)
        bad = good_value(values[i]) ? 0 : i + 1;
    sqlite3_result_int(context, bad);
}

/* Keys, and moments in nanoseconds, take all 64 bits. */
static bool is_wide(const char *column, size_t length) {
    static const char *const wide[] = {"device", "environment", "run", "layer", "config", "started", "created"};
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        if (strlen(wide[i]) == length && !memcmp(wide[i], column, length))
            return true;
    return false;
}

/* The columns of a table that are checked, as a list. That of its own name is a text. */
static void checked_columns(const struct table *table, struct str *out) {
    for (const char *p = table->columns; *p; p += strspn(p, ", ")) {
        const size_t length = strcspn(p, ",");
        if (!is_wide(p, length) || (strlen(table->name) == length && !memcmp(table->name, p, length)))
            str_printf(out, "%s%.*s", out->length ? ", " : "", (int)length, p);
        p += length;
    }
}

/* Number `at` of a list of names. */
static void append_name(const char *list, int at, struct str *out) {
    for (; at > 1; at--)
        list += strcspn(list, ",") + 2;
    str_append_bytes(out, list, strcspn(list, ","));
}

static enum mt_status fail_value(const char *path, const char *table, const char *columns, sqlite3_stmt *row) {
    struct str name = {0};
    append_name(columns, sqlite3_column_int(row, 1), &name);
    enum mt_status status = fail(
        MT_FAILURE,
        "%s is damaged: row %lld of the table %s has a value in %s that mixtune never writes; restore a copy of it, "
        "or name a different file with --db",
        path, (long long)sqlite3_column_int64(row, 0), table, str_text(&name));
    str_release(&name);
    return status;
}

static enum mt_status check_table(sqlite3 *db, const char *path, const char *name, const char *key,
                                  const struct str *columns) {
    struct str sql = {0};
    sqlite3_stmt *query = NULL;
    str_printf(&sql, "SELECT %s, first_bad(%s) AS bad FROM main.%s WHERE bad LIMIT 1", key, str_text(columns), name);
    enum mt_status status = str_status(columns);
    if (status == MT_OK)
        status = sql_prepare_text(db, path, &sql, &query);
    const int rc = status == MT_OK ? sqlite3_step(query) : SQLITE_DONE;
    if (rc == SQLITE_ROW)
        status = fail_value(path, name, str_text(columns), query);
    else if (rc != SQLITE_DONE)
        status = sql_fail(db, path, "cannot read it");
    sqlite3_finalize(query);
    str_release(&sql);
    return status;
}

static enum mt_status check_pages(sqlite3 *db, const char *path) {
    sqlite3_stmt *query;
    enum mt_status status =
        sql_prepare(db, path, "SELECT replace(quick_check, char(10), ' ') FROM pragma_quick_check(1)", &query);
    if (status != MT_OK)
        return status;
    const int rc = sqlite3_step(query);
    const char *found = rc == SQLITE_ROW ? text_of(query, 0) : "ok";
    if (rc != SQLITE_ROW)
        status = sql_fail(db, path, "cannot read it");
    else if (strcmp(found, "ok") != 0)
        status =
            fail(MT_FAILURE,
                 "%s: the file is damaged or cut short: %.200s; restore a copy of it, or start a new one with --db "
                 "(sqlite3's .recover saves what is left)",
                 path, found);
    sqlite3_finalize(query);
    return status;
}

enum mt_status guard_values(sqlite3 *db, const char *path) {
    const struct str knob = {.data = (char[]){"name"}, .length = 4}; /* a value is any number that its text has */
    enum mt_status status = MT_OK;
    if (sqlite3_create_function(db, "first_bad", -1, SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL, first_bad, NULL, NULL) !=
        SQLITE_OK)
        status = sql_fail(db, path, "cannot read it");
    for (int t = 0; t < STORE_TABLES && status == MT_OK; t++) {
        struct str columns = {0};
        checked_columns(&store_tables[t], &columns);
        status = check_table(db, path, store_tables[t].name, "id", &columns);
        str_release(&columns);
    }
    return status == MT_OK ? check_table(db, path, "knob", "config", &knob) : status;
}

enum mt_status guard_content(sqlite3 *db, const char *path) {
    enum mt_status status = check_pages(db, path);
    return status == MT_OK ? guard_values(db, path) : status;
}
