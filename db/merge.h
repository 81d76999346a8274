/* Joining databases of many machines, raw samples, runs, devices and environments included.
 *
 * Every key is the hash of its row's content, so the union of rows is the whole of it: the order does not matter, and
 * doing it again changes nothing. First every source is copied and checked, then all are added in one transaction: a
 * source that is damaged, or a full disk, leaves the target as it is. Nothing is ever written to a source. */
#ifndef MT_MERGE_H
#define MT_MERGE_H

#include "store.h"

/* A private copy of the database at `path`, consistent even while a sweep writes to it, brought up to date and
 * checked (merge_check()). MT_FAILURE with a sentence that names the file and what is wrong with it. Close with
 * store_close(). */
enum mt_status merge_source_open(const char *path, struct store **out);

/* Derives the rows of `knob` from the configurations. */
enum mt_status merge_insert_knobs(struct store *source);

/* Whether every row is what its key says, every reference leads somewhere, every knob is its configuration's, and no
 * time of a software device claims to be measured. */
enum mt_status merge_check(struct store *store);

/* Rows that were added, and rows of the sources in all (equal rows of two sources count twice). */
struct merge_count {
    int64_t runs, measurements, runs_read, measurements_read;
};
/* Adds the rows of `count` sources to `target` in one transaction. */
enum mt_status merge_into(struct store *target, struct store *const *source, int count, struct merge_count *out);

#endif
