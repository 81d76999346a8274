#include "reading.h"
#include "guard.h"
#include "place.h"
#include "runtime/base/file.h"
#include "schema.h"
#include "sql.h"
#include "store_private.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Files of SQLite beside a database: what was written and is not in it yet, or has to be taken back. */
static const char *const beside[] = {"", "-wal", "-journal"};
enum { BESIDE = 3 };

/* Without memory there is no such file: whoever goes on then fails for want of it, too. */
static const char *file_beside(const char *path, int which, struct str *name) {
    str_clear(name);
    str_printf(name, "%s%s", path, beside[which]);
    return str_text(name);
}

/* Nobody has it open for writing, and nobody died doing so. */
static bool at_rest(const char *path) {
    struct str name = {0};
    struct stat info;
    bool rests = true;
    for (int i = 1; i < BESIDE; i++)
        rests = rests && (stat(file_beside(path, i, &name), &info) != 0 || info.st_size == 0);
    str_release(&name);
    return rests;
}

/* `immutable` reads the file alone. Otherwise SQLite would make files beside a database in WAL mode, which a read-only
 * folder refuses and another reader's folder should not be left with. */
static enum mt_status open_reading(const char *path, bool immutable, sqlite3 **out) {
    struct str uri = {0};
    str_append(&uri, "file:");
    for (const char *p = path; *p; p++)
        str_printf(&uri, strchr("?#%", *p) ? "%%%02X" : "%c", *p);
    if (immutable)
        str_append(&uri, "?immutable=1");
    enum mt_status status = str_status(&uri);
    if (status == MT_OK &&
        sqlite3_open_v2(uri.data, out, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_EXRESCODE, NULL) !=
            SQLITE_OK)
        status = sql_fail(*out, path, "cannot read it");
    if (status == MT_OK)
        status = guard_connection(*out, path);
    if (status == MT_OK)
        sqlite3_busy_timeout(*out, STORE_BUSY_MS);
    str_release(&uri);
    return status;
}

/* One that is not ours is not so much as copied. */
static enum mt_status copy_rows(sqlite3 *from, const char *path, sqlite3 *copy) {
    int newest, version;
    schema_steps(&newest);
    enum mt_status status = schema_version(from, path, newest, &version);
    if (status != MT_OK)
        return status;
    sqlite3_backup *backup = sqlite3_backup_init(copy, "main", from, "main");
    /* To finish is said to be good even where a step found the file locked. */
    const bool whole = backup && sqlite3_backup_step(backup, -1) == SQLITE_DONE;
    if (!backup || sqlite3_backup_finish(backup) != SQLITE_OK || !whole)
        return sql_fail(copy, path, "cannot make a temporary copy of it");
    return MT_OK;
}

static enum mt_status copy_once(const char *path, bool immutable, sqlite3 *copy) {
    sqlite3 *from = NULL;
    enum mt_status status = open_reading(path, immutable, &from);
    if (status == MT_OK)
        status = copy_rows(from, path, copy);
    sqlite3_close_v2(from);
    return status;
}

/* ---- files that SQLite cannot read where they lie ---- */

static bool same_file(const struct stat *a, const struct stat *b) {
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* False if they were written to meanwhile. */
static bool take_files(const char *path, const char *to, enum mt_status *status) {
    struct str from = {0}, name = {0}, bytes = {0};
    struct stat before[BESIDE] = {0}, after[BESIDE] = {0};
    bool still = true;
    *status = MT_OK;
    for (int i = 0; i < BESIDE; i++)
        stat(file_beside(path, i, &from), &before[i]);
    for (int i = 0; i < BESIDE && *status == MT_OK; i++) {
        str_clear(&bytes);
        if (before[i].st_size > 0 && (*status = file_read(file_beside(path, i, &from), &bytes)) == MT_OK)
            *status = file_write_atomic(file_beside(to, i, &name), str_text(&bytes), bytes.length);
        else
            unlink(file_beside(to, i, &name));
    }
    for (int i = 0; i < BESIDE; i++) {
        stat(file_beside(path, i, &from), &after[i]);
        still = still && same_file(&before[i], &after[i]);
    }
    str_release(&from);
    str_release(&name);
    str_release(&bytes);
    return still;
}

static enum mt_status take_still_files(const char *path, const char *to) {
    enum mt_status status;
    for (int attempt = 0; attempt < 40; attempt++) {
        if (take_files(path, to, &status))
            return status;
        nanosleep(&(struct timespec){.tv_nsec = 50 * 1000 * 1000}, NULL);
    }
    return fail(MT_FAILURE, "%s is being written to all the time, and its place has no locks: try again later", path);
}

static enum mt_status open_copy(const char *file, const char *path, sqlite3 **out) {
    enum mt_status status = guard_files(file);
    if (status == MT_OK && sqlite3_open_v2(file, out, SQLITE_OPEN_READWRITE | SQLITE_OPEN_EXRESCODE, NULL) != SQLITE_OK)
        status = sql_fail(*out, path, "cannot read a copy of it");
    return status == MT_OK ? guard_connection(*out, path) : status;
}

static void remove_copy(const char *file, const char *folder) {
    struct str name = {0};
    for (int i = 0; i < BESIDE; i++)
        unlink(file_beside(file, i, &name));
    str_clear(&name);
    str_printf(&name, "%s-shm", file);
    unlink(str_text(&name));
    rmdir(folder);
    str_release(&name);
}

/* What SQLite cannot read where it lies, for it wants to write there first (what a killed writer left on a read-only
 * medium), or to lock it. A journal that is copied with it makes it whole. */
static enum mt_status copy_elsewhere(const char *path, sqlite3 *copy) {
    const char *tmp = getenv("TMPDIR");
    struct str folder = {0}, file = {0};
    sqlite3 *from = NULL;
    str_printf(&folder, "%s/mixtune-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    str_printf(&file, "%s/copy.db", str_text(&folder));
    enum mt_status status = str_status(&folder) ? MT_FAILURE : str_status(&file);
    if (status == MT_OK && !mkdtemp(folder.data))
        status = file_fail("make a temporary folder in", tmp && *tmp ? tmp : "/tmp");
    else if (status == MT_OK) {
        memcpy(file.data, folder.data, folder.length); /* its name is known now */
        status = take_still_files(path, file.data);
        if (status == MT_OK)
            status = open_copy(file.data, path, &from);
        if (status == MT_OK)
            status = copy_rows(from, path, copy);
        sqlite3_close_v2(from);
        remove_copy(file.data, folder.data);
    }
    str_release(&folder);
    str_release(&file);
    return status;
}

/* All of a hole is zeros in the copy. A database of any size may have some, and few file systems tell of none. */
static enum mt_status check_holes(const char *path) {
    enum { SMALL = 64 << 20, SHARE = 16 };
    struct stat info;
    if (stat(path, &info) != 0 || info.st_size < SMALL || !info.st_blocks ||
        info.st_blocks >= info.st_size / 512 / SHARE)
        return MT_OK;
    return fail(
        MT_FAILURE,
        "%s is damaged: of its %lld MB all but %lld are holes; restore a copy of it, or name a different file with "
        "--db",
        path, (long long)info.st_size >> 20, (long long)info.st_blocks >> 11);
}

static enum mt_status copy_file(const char *path, sqlite3 *copy) {
    enum mt_status status = check_holes(path);
    if (status != MT_OK)
        return status;
    if (at_rest(path)) {
        status = copy_once(path, true, copy);
        if (at_rest(path)) /* or somebody began to write meanwhile */
            return status;
    }
    const bool writable = place_is_writable(path);
    if (writable && !place_try(path).locks)
        return copy_elsewhere(path, copy);
    status = copy_once(path, false, copy);
    return status == MT_OK || writable ? status : copy_elsewhere(path, copy);
}

/* ---- stores ---- */

/* Without so much as a schema. */
static enum mt_status open_blank(const char *name, struct store **out) {
    struct store *store;
    enum mt_status status = store_new(name, &store);
    /* No name: a temporary file that SQLite keeps in memory while it is small and removes in the end. */
    if (status == MT_OK &&
        sqlite3_open_v2("", &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_EXRESCODE, NULL) !=
            SQLITE_OK)
        status = sql_fail(store->db, name, "cannot make a temporary copy of it");
    if (status == MT_OK)
        status = guard_connection(store->db, name);
    *out = status == MT_OK ? store : NULL;
    if (status != MT_OK)
        store_close(store);
    return status;
}

enum mt_status reading_empty(const char *name, struct store **out) {
    int count;
    const char *const *steps = schema_steps(&count);
    enum mt_status status = open_blank(name, out);
    if (status == MT_OK)
        status = schema_migrate((*out)->db, name, steps, count);
    if (status != MT_OK) {
        store_close(*out);
        *out = NULL;
    }
    return status;
}

enum mt_status reading_copy(const char *path, struct store **out) {
    struct store *store;
    *out = NULL;
    enum mt_status status = open_blank(path, &store);
    if (status != MT_OK)
        return status;
    status = copy_file(path, store->db);
    if (status == MT_OK) {
        int count;
        const char *const *steps = schema_steps(&count);
        struct str name = {0}; /* it says what it did, and did not do it to the file */
        str_printf(&name, "a copy of %s", path);
        status = str_status(&name) ? MT_FAILURE : schema_migrate(store->db, name.data, steps, count);
        str_release(&name);
    }
    if (status == MT_OK)
        *out = store;
    else
        store_close(store);
    return status;
}

/* Where it lies, without a change to it: false if that cannot be, or it is of another version. */
static bool open_in_place(const char *path, struct store **out) {
    struct store *store;
    int count, version = 0;
    bool good;
    *out = NULL;
    schema_steps(&count);
    if (!place_is_writable(path))
        return false;
    if (store_connect(path, 0, &store, &good) == MT_OK && good &&
        schema_version(store->db, path, count, &version) == MT_OK && version == count)
        *out = store;
    else
        store_close(store);
    if (*out)
        sqlite3_busy_timeout(store->db, STORE_BUSY_MS);
    return *out != NULL;
}

enum mt_status store_open_reading(const char *path, struct store **out) {
    enum mt_status status = guard_files(path);
    *out = NULL;
    if (status == MT_OK && !open_in_place(path, out))
        status = reading_copy(path, out);
    if (status == MT_OK && sqlite3_exec((*out)->db, "PRAGMA temp_store = MEMORY", NULL, NULL, NULL) != SQLITE_OK)
        status = sql_fail((*out)->db, path, "cannot open it");
    if (status == MT_OK)
        status = guard_content((*out)->db, path);
    if (status != MT_OK) {
        store_close(*out);
        *out = NULL;
    }
    return status;
}
