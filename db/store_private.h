/* An open store, for the files that implement it. */
#ifndef MT_STORE_PRIVATE_H
#define MT_STORE_PRIVATE_H

#include "store.h"
#include <sqlite3.h>
#include <stdbool.h>

struct store {
    sqlite3 *db;
    char *path;                       /* owned, for sentences; NULL where memory was too short for it */
    int64_t device, environment, run; /* keys of the run that store_begin() started; run = 0: none */
    char *command, *missing, *nvrtc;  /* of that run, owned */
    bool standing;                    /* temp.standing has what is current for it (standing.c) */
    sqlite3_stmt *has;                /* prepared at the first store_has() */
    bool retry_failed;                /* store_has() finds good measurements only */
};

/* How long a write waits for the writes of other processes. */
enum { STORE_BUSY_MS = 30000 };

/* A store that has nothing open. store_close() also after a failure. */
enum mt_status store_new(const char *path, struct store **out);
/* Opens the file; `flags` are more of SQLITE_OPEN_*. *good: it can be read. store_close() also after a failure. */
enum mt_status store_connect(const char *path, int flags, struct store **out, bool *good);

/* Adds a run like the one that store_begin() started, and goes on in it. One that confirms decides on the toolchain of
 * its device, as one that recorded something does. Within a transaction. */
enum mt_status store_insert_run(struct store *store, bool confirms);

/* All that tells candidates of a device apart, as parameters of the columns' names; false as sql_bind_text(). */
bool store_bind_candidate(sqlite3_stmt *statement, const struct store_measurement *m);

/* Nanoseconds since 1970, later than every row of the table so far: a clock that steps back must not make new rows
 * old. */
enum mt_status store_clock(struct store *store, const char *newest_sql, int64_t *out);

/* Begins and ends a write. store_end() commits when `status` is MT_OK and the commit succeeds, else rolls back. */
enum mt_status store_lock(struct store *store);
enum mt_status store_unlock(struct store *store, enum mt_status status);

/* One row in `table` (knob, or one like it) for each "name=number" of a configuration's text. */
enum mt_status store_insert_knobs(struct store *store, const char *table, int64_t config, const char *knobs);

#endif
