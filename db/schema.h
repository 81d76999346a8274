/* The versions of the database, and the steps from one to the next. */
#ifndef MT_SCHEMA_H
#define MT_SCHEMA_H

#include "runtime/base/status.h"

struct sqlite3;

/* "MIXT": tells a database of mixtune from one of another program. */
#define SCHEMA_APPLICATION 0x4d495854

/* Step i takes a database from version i to i + 1. NULL-terminated; *count may be NULL. */
const char *const *schema_steps(int *count);

/* A database in memory as the steps make it up to `version`, to be closed with sqlite3_close_v2(). `path` is for the
 * sentence. */
enum mt_status schema_fresh(const char *path, int version, struct sqlite3 **out);

/* The version of a database that is ours or empty; MT_FAILURE for one of another program or of a newer mixtune, and for
 * one whose schema is not that of its version (guard.h). */
enum mt_status schema_version(struct sqlite3 *db, const char *path, int newest, int *version);

/* Brings the database to version `count` in one transaction, or leaves it as it was. `path` is for the sentence.
 * Any number of processes may do so at once. */
enum mt_status schema_migrate(struct sqlite3 *db, const char *path, const char *const *steps, int count);

#endif
