/* What a database that somebody else made may not do here. Databases travel, and SQLite runs what is in them: views,
 * triggers, generated columns. So before a word of one is looked at its files are, its schema must be the one that
 * mixtune makes, and what later code relies on in its rows is checked once, when it is opened. */
#ifndef MT_GUARD_H
#define MT_GUARD_H

#include "runtime/base/status.h"

struct sqlite3;

/* MT_USAGE without a name; MT_FAILURE where `path`, or what SQLite would read beside it, is no plain file, or its
 * journal is part of a transaction over several files: SQLite would then delete a file that the journal names. None of
 * them need be there. */
enum mt_status guard_files(const char *path);

/* Sets a connection up, before it reads anything. */
enum mt_status guard_connection(struct sqlite3 *db, const char *path);

/* MT_FAILURE unless its tables, indexes, views and triggers are those that the steps make of a new database up to
 * `version`. Comments and white space do not count. */
enum mt_status guard_schema(struct sqlite3 *db, const char *path, int version);

/* MT_FAILURE where a value is one that mixtune never writes: a number beyond what it counts with, an infinite time, a
 * text of megabytes. For a database of the newest version; reads all of it. */
enum mt_status guard_values(struct sqlite3 *db, const char *path);
/* And, before that, where a page is damaged, a value is not of its column's type or breaks a CHECK. */
enum mt_status guard_content(struct sqlite3 *db, const char *path);

#endif
