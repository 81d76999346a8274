/* An open store, for the files that implement it. */
#ifndef MT_STORE_PRIVATE_H
#define MT_STORE_PRIVATE_H

#include "store.h"
#include <sqlite3.h>

struct store {
    sqlite3 *db;
    char *path;                   /* owned, for sentences */
    int64_t device, run;          /* keys of the sweep that store_begin() started; run = 0: none */
    struct store_environment env; /* of that sweep; its texts are owned */
    sqlite3_stmt *has;            /* prepared at the first store_has() */
    int retry_failed;             /* store_has() finds good measurements only */
};

/* Nanoseconds since 1970, later than every row of the table so far: a clock that steps back must not make new rows
 * old. */
enum mt_status store_clock(struct store *store, const char *newest_sql, int64_t *out);

/* Begins and ends a write. store_end() commits when `status` is MT_OK and the commit succeeds, else rolls back. */
enum mt_status store_lock(struct store *store);
enum mt_status store_unlock(struct store *store, enum mt_status status);

/* One row in `table` (knob, or one like it) for each "name=number" of a configuration's text. */
enum mt_status store_insert_knobs(struct store *store, const char *table, int64_t config, const char *knobs);

#endif
