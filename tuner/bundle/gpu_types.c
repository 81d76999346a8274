#include "gpu_types.h"
#include "runtime/base/log.h"
#include "runtime/jit/compile.h"
#include "tuner/report/files.h"
#include <stdio.h>
#include <stdlib.h>

static bool row_of(const struct rows *rows, int row, enum store_origin origin) {
    return rows_is(rows, row, "origin", store_origin_name(origin));
}

/* Whether a row's type has winners of that origin. */
static bool type_has(const struct rows *rows, int row, enum store_origin origin) {
    static const char *const names[] = {"device_name", "cc", "sm_count", NULL};
    for (int r = 0; r < rows->count; r++)
        if (row_of(rows, r, origin) && rows_same(rows, r, row, names))
            return true;
    return false;
}

static bool any_has(const struct rows *rows, enum store_origin origin) {
    for (int r = 0; r < rows->count; r++)
        if (row_of(rows, r, origin))
            return true;
    return false;
}

/* Whether the winners of a row are wanted. */
static bool row_wanted(const struct rows *rows, int row, bool modelled) {
    if (row_of(rows, row, ORIGIN_MEASURED))
        return !modelled || !type_has(rows, row, ORIGIN_MODELLED);
    if (modelled || !any_has(rows, ORIGIN_MEASURED))
        return true;
    if (!type_has(rows, row, ORIGIN_MEASURED))
        log_warn("the winners on %s are left out: their times are modelled, and others are measured; export them alone "
                 "with --gpu, or all of them with --modelled",
                 rows_cell(rows, row, "device_name"));
    return false;
}

/* Of other templates or another compiler. */
static enum mt_status fail_stale(const struct gpu_types *types, int row) {
    const int nvrtc = atoi(types->nvrtc);
    return fail(MT_FAILURE,
                "the winners on %s were found with other kernel templates or another NVRTC than this mixtune has "
                "(NVRTC %d.%d): sweep again with this one, or export with the one that swept",
                rows_cell(&types->rows, row, "device_name"), nvrtc / 100, nvrtc % 100 / 10);
}

static enum mt_status types_choose(struct gpu_types *types, bool modelled) {
    const struct rows *rows = &types->rows;
    int stale = -1;
    types->type = xcalloc((size_t)rows->count, sizeof *types->type);
    for (int r = 0; r < rows->count; r++) {
        if (!row_wanted(rows, r, modelled))
            continue;
        if (!atoi(rows_cell(rows, r, "usable"))) {
            if (stale >= 0)
                log_warn("%s; they are left out", fail_message());
            fail_stale(types, stale = r);
            continue;
        }
        types->type[types->count++] = (struct gpu_type){.device = rows_cell(rows, r, "device_name"),
                                                        .cc = rows_cell(rows, r, "cc"),
                                                        .sm_count = rows_cell(rows, r, "sm_count"),
                                                        .origin = rows_cell(rows, r, "origin")};
    }
    if (stale >= 0 && types->count)
        log_warn("%s; they are left out", fail_message());
    return types->count ? MT_OK : MT_FAILURE;
}

enum mt_status gpu_types_read(const struct query_options *o, struct sqlite3 *db, bool modelled, struct gpu_types *out) {
    int nvrtc;
    *out = (struct gpu_types){0};
    enum mt_status status = template_hash(out->templates);
    if (status == MT_OK)
        status = nvrtc_version(&nvrtc);
    if (status != MT_OK)
        return status;
    snprintf(out->nvrtc, sizeof out->nvrtc, "%d", nvrtc);
    const char *const values[] = {":templates", out->templates, ":nvrtc", out->nvrtc, NULL};
    status = rows_read(db, report_gpus_sql, values, &out->rows);
    if (status != MT_OK)
        return status;
    if (!out->rows.count || (modelled && !any_has(&out->rows, ORIGIN_MODELLED)))
        return query_nothing(o, db, modelled ? "modelled winners" : "winners");
    return types_choose(out, modelled);
}

void gpu_types_release(struct gpu_types *types) {
    rows_release(&types->rows);
    free(types->type);
}
