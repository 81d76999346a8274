/* The SQLite store of measurements. Plain values only: the database knows nothing of kernels or devices.
 *
 * Every measurement keeps all its samples, its environment and its origin; winners are derived by query, never
 * stored. */
#ifndef MT_STORE_H
#define MT_STORE_H

#include "runtime/base/status.h"
#include <stdint.h>

struct store; /* an open database */

/* The device that a measurement was made on. */
struct store_device {
    const char *uuid, *name;
    int cc, sm_count, software; /* software = 1: every time on it is modelled */
};
/* What else was true at the time; equal environments share one row. */
struct store_environment {
    int driver_version, nvrtc_version;
    const char *template_hash;
    const char *cublas_version; /* "" if none */
    const char *clocks;         /* NVML state as JSON text, "" if unknown */
    const char *missing;        /* of the run: what it had to do without, as in "cublas,gate"; "" if nothing */
    const char *time_model;     /* of a software device: the hash of what its times are modelled by; else "" */
    const char *nvrtc; /* of the run, for people: which compiler, as in "13.0, /…/libnvrtc.so.13"; "" if none */
};
/* One linear layer of one model. */
struct store_layer {
    const char *model; /* "llama-3.1-8b", or "" for a bare shape */
    const char *layer; /* "qkv", "o", "gate_up", "down"; "NxK" for a bare shape */
    int n, k, tp;
};
enum store_origin { ORIGIN_MEASURED, ORIGIN_MODELLED };
/* What lies in the caches when a launch begins. */
enum store_cache {
    CACHE_SERVING, /* the activations, which a server's kernel before has just written; weights come from memory */
    CACHE_COLD,    /* nothing */
    CACHE_HOT,     /* everything that fits */
    CACHES
};
/* What became of a candidate. The texts are store_outcome_name(). */
enum store_outcome {
    OUTCOME_OK,
    OUTCOME_REFUSED,
    OUTCOME_COMPILE_FAILED,
    OUTCOME_LAUNCH_FAILED,
    OUTCOME_WRONG,
    OUTCOME_TIMEOUT,
    OUTCOME_CRASH,
    OUTCOME_ILLEGAL_ADDRESS,
    OUTCOME_OUT_OF_MEMORY, /* the device has not the memory that it needs */
    OUTCOMES
};
struct store_measurement {
    struct store_layer layer;
    int m, group, rows8;         /* rows8: output features that keep 8 bits; 0 for a baseline */
    const char *scheme, *dtype;  /* of problem_scheme(); a baseline has scheme "fp16" or "bf16" */
    const char *family, *config; /* canonical text; baselines: family "cublas", "cublaslt-best", "f16" */
    const char *binary;          /* cache key of the image; "" for library kernels and where nothing was built */
    enum store_outcome outcome;
    const char *message; /* why, when not OUTCOME_OK */
    int tries;           /* independent ones that the outcome stands on; 0 is 1 */
    enum store_origin origin;
    const char *cache_state;  /* of store_cache_name() */
    const double *samples_ns; /* one time per sample; NULL when not OK */
    int sample_count;
    double median_ns, low_ns, high_ns; /* and its 95 % confidence interval */
    int registers, smem_bytes, spill_bytes;
    int rejected;     /* samples that were thrown away on the way to these */
    double low_clock; /* the lowest clock that was too low, theirs or of samples that were kept in spite of it, over
                       * the device's highest; 0: there was none */
};

/* Opens or creates. WAL where the file system has what it needs (place.h), foreign keys, migrations by user_version. A
 * database from a newer version, a file that is not a database, a read-only folder or a full disk: one sentence,
 * MT_FAILURE. ":memory:" is gone when it is closed. */
enum mt_status store_open(const char *path, struct store **out);
/* Opens what is there for reading, wherever it lies: on a read-only medium, as a copy. One of an older version is
 * brought up to date in a copy; a file is never changed. */
enum mt_status store_open_reading(const char *path, struct store **out);
void store_close(struct store *store);

/* Begins a sweep run on a device: measurements are recorded under it. `command` is for people. */
enum mt_status store_begin(struct store *store, const struct store_device *device, const struct store_environment *env,
                           const char *command);

/* One transaction per call: after MT_OK the row survives SIGKILL. A repeated measurement adds a row; queries take the
 * newest that is valid for the environment. */
enum mt_status store_record(struct store *store, const struct store_measurement *m);

/* What the device of the run can do at best: one row of device_limit. Returns and survives like store_record(). */
struct store_limit {
    const char *name, *unit; /* tuner/measure/probe.h */
    double value;
    enum store_origin origin;
};
enum mt_status store_record_limit(struct store *store, const struct store_limit *limit);

/* True in *found if the view `current` will have this candidate of the device once the run in hand has recorded
 * something: what a resumed sweep skips is exactly what show, report and export accept afterwards. What this process
 * records is seen at once; what another one records, from the next run or recorded row on. */
enum mt_status store_has(struct store *store, const struct store_measurement *key, int *found);

/* The same as a temporary table `standing` of this connection, for queries: `id` are those rows of `fact`. */
enum mt_status store_standing(struct store *store);

/* Makes what store_has() found count, where the run in hand records nothing: its toolchain is its device's again. For
 * who has looked and found everything measured; does nothing when the toolchain is the device's already. */
enum mt_status store_confirm(struct store *store);

/* From here on store_has() finds good measurements only: what failed is measured again. */
void store_retry_failed(struct store *store);

/* Samples as the column keeps them: `count` little-endian doubles, to be freed with free(), NULL if memory is short;
 * and one of them back. */
unsigned char *store_encode_samples(const double *samples, int count);
double store_decode_sample(const void *blob, int index);

/* The sqlite3 handle, for queries of show, report and export. */
struct sqlite3 *store_handle(struct store *store);

const char *store_outcome_name(enum store_outcome outcome);
const char *store_origin_name(enum store_origin origin);
const char *store_cache_name(enum store_cache cache);
/* The state that a device's winners are chosen in. The model of a software device knows no other than cold. */
enum store_cache store_cache_of(int software);
/* Of the times of a device: those of a software one are modelled. */
enum store_origin store_origin_of(int software);

#endif
