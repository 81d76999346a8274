#include "store_private.h"

#include "columns.h"
#include "guard.h"
#include "place.h"
#include "runtime/base/log.h"
#include "runtime/base/str.h"
#include "schema.h"
#include "sql.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

static bool looks_good(sqlite3 *db) {
    return sqlite3_exec(db, "PRAGMA schema_version", NULL, NULL, NULL) == SQLITE_OK;
}

static enum mt_status open_with(struct store *store, int flags, const char *vfs) {
    flags |= SQLITE_OPEN_READWRITE | SQLITE_OPEN_EXRESCODE;
    sqlite3_close_v2(store->db);
    store->db = NULL;
    if (sqlite3_open_v2(store->path, &store->db, flags, vfs) != SQLITE_OK)
        return sql_fail(store->db, store->path, "cannot open or create it");
    return guard_connection(store->db, store->path);
}

enum mt_status store_new(const char *path, struct store **out) {
    struct store *store = *out = mem_zeroed(1, sizeof *store);
    if (store)
        store->path = mem_text(path);
    return store && store->path ? MT_OK : MT_FAILURE;
}

enum mt_status store_connect(const char *path, int flags, struct store **out, bool *good) {
    enum mt_status status = store_new(path, out);
    struct store *store = *out;
    *good = false;
    if (status == MT_OK)
        status = open_with(store, flags, NULL);
    *good = status == MT_OK && looks_good(store->db);
    return status;
}

/* SQLite's own locks that are files: all who write there come here. */
static enum mt_status lock_by_folder(struct store *store, int flags) {
    log_warn("%s: its file system has no locks; the folder %s.lock is one, and nobody reads while it is there",
             store->path, store->path);
    enum mt_status status = open_with(store, flags, "unix-dotfile");
    if (status != MT_OK)
        return status;
    sqlite3_busy_timeout(store->db, STORE_BUSY_MS);
    sqlite3_exec(store->db, "PRAGMA locking_mode = EXCLUSIVE", NULL, NULL, NULL);
    if (!looks_good(store->db) && sqlite3_errcode(store->db) == SQLITE_BUSY)
        return fail(
            MT_FAILURE,
            "%s: another process keeps it locked: wait for it to finish; if none runs, one was killed: remove the "
            "folder %s.lock",
            store->path, store->path);
    return MT_OK;
}

/* The first look failed: because of where the file lies, or for a reason that the second one will tell. *alone: the
 * file is ours until the locking mode is normal again, and what other processes would share is in this one. */
static enum mt_status fall_back(struct store *store, int flags, bool *alone) {
    const struct place place = place_try(store->path);
    *alone = !place.locks || !place.shared;
    if (!place.locks)
        return lock_by_folder(store, flags);
    if (place.shared)
        return MT_OK;
    enum mt_status status = open_with(store, flags, NULL); /* the mode is to be set before the first look */
    if (status == MT_OK)
        sqlite3_exec(store->db, "PRAGMA locking_mode = EXCLUSIVE", NULL, NULL, NULL);
    return status;
}

/* Changing to WAL needs the file alone for a moment and does not wait for it by itself. */
static enum mt_status use_wal(struct store *store) {
    for (int attempt = 0;; attempt++) {
        int rc = sqlite3_exec(store->db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);
        if (rc == SQLITE_OK)
            return MT_OK;
        if (rc != SQLITE_BUSY || attempt == 200)
            return sql_fail(store->db, store->path, "cannot open it for writing");
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    }
}

/* As safe, and slower. One that others have open in WAL mode stays in it. */
static enum mt_status use_rollback_journal(struct store *store) {
    const int rc = sqlite3_exec(store->db, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL);
    if ((rc != SQLITE_OK && (rc & 0xff) != SQLITE_BUSY) ||
        sqlite3_exec(store->db,
                     "PRAGMA synchronous = FULL; PRAGMA locking_mode = NORMAL; SELECT count(*) FROM sqlite_schema",
                     NULL, NULL, NULL) != SQLITE_OK)
        return sql_fail(store->db, store->path, "cannot open it for writing");
    return MT_OK;
}

/* Without shared memory, as on some network file systems, there is no WAL. */
static enum mt_status choose_journal(struct store *store, bool alone) {
    int64_t wal = 0;
    if (!*sql_text(sqlite3_db_filename(store->db, "main")))
        return MT_OK; /* in memory */
    enum mt_status status =
        sql_number(store->db, store->path, "SELECT journal_mode = 'wal' FROM pragma_journal_mode", &wal);
    if (status != MT_OK)
        return status;
    const bool shared = wal ? !place_is_remote(store->path) : place_try(store->path).shared;
    return alone || !shared ? use_rollback_journal(store) : use_wal(store);
}

static enum mt_status prepare_file(struct store *store, bool alone) {
    int count;
    const char *const *steps = schema_steps(&count);
    enum mt_status status = schema_migrate(store->db, store->path, steps, count);
    if (status == MT_OK)
        status = guard_content(store->db, store->path);
    if (status == MT_OK && sqlite3_db_readonly(store->db, "main"))
        status = fail(MT_FAILURE,
                      "%s cannot be written: make the file and its folder writable, or name another place with --db",
                      store->path);
    if (status == MT_OK &&
        sqlite3_exec(store->db, "PRAGMA foreign_keys = ON; PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY",
                     NULL, NULL, NULL) != SQLITE_OK)
        status = sql_fail(store->db, store->path, "cannot open it");
    return status == MT_OK ? choose_journal(store, alone) : status;
}

enum mt_status store_open(const char *path, struct store **out) {
    struct store *store = NULL;
    bool good = false, alone = false;
    *out = NULL;
    enum mt_status status = guard_files(path);
    if (status == MT_OK)
        status = store_connect(path, SQLITE_OPEN_CREATE, &store, &good);
    if (status == MT_OK && !good)
        status = fall_back(store, SQLITE_OPEN_CREATE, &alone);
    if (status == MT_OK) {
        sqlite3_busy_timeout(store->db, STORE_BUSY_MS);
        status = prepare_file(store, alone);
    }
    if (status == MT_OK)
        *out = store;
    else
        store_close(store);
    return status;
}

static void forget_run(struct store *store) {
    free(store->command);
    free(store->missing);
    free(store->nvrtc);
    store->command = store->missing = store->nvrtc = NULL;
    store->run = 0;
    store->standing = false;
}

void store_close(struct store *store) {
    if (!store)
        return;
    forget_run(store);
    sqlite3_finalize(store->has);
    sqlite3_close_v2(store->db);
    free(store->path);
    free(store);
}

struct sqlite3 *store_handle(struct store *store) {
    return store->db;
}

enum mt_status store_lock(struct store *store) {
    /* IMMEDIATE: a transaction that first reads and then writes could not wait for another writer. */
    if (sqlite3_exec(store->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
        return sql_fail(store->db, store->path, "cannot write to it");
    return MT_OK;
}

enum mt_status store_unlock(struct store *store, enum mt_status status) {
    if (status == MT_OK && sqlite3_exec(store->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        status = sql_fail(store->db, store->path, "cannot record a row");
    if (!sqlite3_get_autocommit(store->db))
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

enum mt_status store_clock(struct store *store, const char *newest_sql, int64_t *out) {
    int64_t newest;
    enum mt_status status = sql_number(store->db, store->path, newest_sql, &newest);
    if (status != MT_OK)
        return status;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    *out = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    if (*out <= newest)
        *out = newest + 1;
    return MT_OK;
}

static enum mt_status insert_device(struct store *store, const struct store_device *d) {
    struct insert into;
    enum mt_status status = insert_begin(store, "device", &into);
    if (status == MT_OK) {
        insert_text(&into, "uuid", d->uuid);
        insert_text(&into, "name", d->name);
        insert_number(&into, "cc", d->cc);
        insert_number(&into, "sm_count", d->sm_count);
        insert_number(&into, "software", d->software != 0);
        status = insert_row(&into, &store->device, NULL);
    }
    insert_release(&into);
    return status;
}

static enum mt_status insert_environment(struct store *store, const struct store_environment *e) {
    struct insert into;
    enum mt_status status = insert_begin(store, "environment", &into);
    if (status == MT_OK) {
        insert_number(&into, "driver_version", e->driver_version);
        insert_number(&into, "nvrtc_version", e->nvrtc_version);
        insert_text(&into, "template_hash", e->template_hash);
        insert_text(&into, "cublas_version", e->cublas_version);
        insert_text(&into, "clocks", e->clocks);
        insert_text(&into, "time_model", e->time_model);
        status = insert_row(&into, &store->environment, NULL);
    }
    insert_release(&into);
    return status;
}

enum mt_status store_insert_run(struct store *store, bool confirms) {
    int64_t started;
    struct insert into;
    enum mt_status status = store_clock(store, "SELECT max(started) FROM run", &started);
    if (status != MT_OK)
        return status;
    status = insert_begin(store, "run", &into);
    if (status == MT_OK) {
        insert_number(&into, "device", store->device);
        insert_number(&into, "environment", store->environment);
        insert_text(&into, "command", store->command);
        insert_number(&into, "started", started);
        insert_text(&into, "missing", store->missing);
        insert_text(&into, "nvrtc", store->nvrtc);
        insert_number(&into, "confirms", confirms);
        status = insert_row(&into, &store->run, NULL);
    }
    insert_release(&into);
    return status;
}

enum mt_status store_begin(struct store *store, const struct store_device *device, const struct store_environment *env,
                           const char *command) {
    forget_run(store);
    store->command = mem_text(sql_text(command));
    store->missing = mem_text(sql_text(env->missing));
    store->nvrtc = mem_text(sql_text(env->nvrtc));
    enum mt_status status = store->command && store->missing && store->nvrtc ? store_lock(store) : MT_FAILURE;
    if (status == MT_OK) {
        status = insert_device(store, device);
        if (status == MT_OK)
            status = insert_environment(store, env);
        if (status == MT_OK)
            status = store_insert_run(store, false);
        status = store_unlock(store, status);
    }
    if (status != MT_OK)
        forget_run(store);
    return status;
}
