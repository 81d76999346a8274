/* Which types of GPU go into a bundle, each with winners by one kind of times. */
#ifndef MT_GPU_TYPES_H
#define MT_GPU_TYPES_H

#include "tuner/report/query.h"
#include "tuner/report/rows.h"

struct gpu_type {
    const char *device, *cc, *sm_count; /* as in the database */
    const char *origin;                 /* store_origin_name() of its winners */
};

struct gpu_types {
    struct rows rows; /* of reports/gpus.sql: owns the texts */
    struct gpu_type *type;
    int count;
    char templates[33], nvrtc[12]; /* what all of them were made with: what this mixtune has */
};

/* Of the open database those that the options ask for (query_open()). Where any has measured winners those that have
 * modelled ones alone are left out, and a warning says so; with `modelled` each has its modelled ones, and those
 * without their measured ones. Types whose winners cannot be compiled again here are left out likewise. MT_FAILURE if
 * none is left. Release it in any case. */
enum mt_status gpu_types_read(const struct query_options *o, struct sqlite3 *db, bool modelled, struct gpu_types *out);
void gpu_types_release(struct gpu_types *types);

#endif
