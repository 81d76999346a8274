/* Results in T4, the JSON format that autotuners exchange (KernelTuner's and AutoTuningAssociation's schema).
 *
 *   schema_version   "1.1.0"
 *   metadata         what the schema names: compute_api, device, autotuner, autotuner_version, timeunit; and
 *                    `mixtune`: devices, environments, runs, layers and limits, each a list of objects with the columns
 *                    of db/schema.sql, whose references are positions in the other lists
 *   results          one object a measurement: timestamp, configuration (family and knobs), times.runtimes (every
 *                    sample), invalidity, correctness, objectives; and `measurements`: a list of name, value and unit
 *                    with everything else that the database keeps of it
 *
 * Times are nanoseconds. Numbers are written so that they come back bit for bit: what was written and is read again
 * makes the same rows with the same keys. */
#ifndef MT_T4_H
#define MT_T4_H

#include "db/store.h"
#include "runtime/base/str.h"
#include <stdbool.h>

/* What is written of the part that query_open() made. */
struct t4_choice {
    bool failed;     /* only what is not good */
    bool empty_runs; /* also runs that measured nothing */
};
/* Appends the file. `count`: results in it. MT_FAILURE when a time is no number or a text is not UTF-8 or has a 0. */
enum mt_status t4_write(struct store *store, const struct t4_choice *choice, struct str *out, int *count);

/* Whether a file is JSON by its first character, and so for t4_read(). MT_FAILURE where it is no file. */
enum mt_status t4_recognise(const char *path, bool *out);

/* Reads a file that t4_write() made into a source of merge_into(), checked. MT_FAILURE with a sentence that names the
 * line of broken JSON, or the field that is missing or wrong. */
enum mt_status t4_read(const char *path, struct store **out);

/* The schema's word for an outcome of the database: NULL for a text that is none. */
const char *t4_invalidity(const char *outcome);

struct json_t;
/* The configuration of a family and its canonical text as an object; the caller's. */
struct json_t *t4_configuration(const char *family, const char *config);

#endif
