/* What the tests of the store share: a database in a folder of its own, and measurements to put in. */
#ifndef MT_TEST_STORE_H
#define MT_TEST_STORE_H

#include "db/store.h"
#include "runtime/base/file.h"
#include "runtime/base/str.h"
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

struct fixture {
    char folder[64], path[96];
};

static inline int fixture_make(void **state) {
    struct fixture *f = xcalloc(1, sizeof *f);
    strcpy(f->folder, "/tmp/mixtune-store-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof f->path, "%s/t.db", f->folder);
    *state = f;
    return 0;
}

static inline int fixture_remove(void **state) {
    struct fixture *f = *state;
    DIR *folder = opendir(f->folder);
    for (struct dirent *e; folder && (e = readdir(folder));)
        unlinkat(dirfd(folder), e->d_name, 0);
    closedir(folder);
    rmdir(f->folder);
    free(f);
    return 0;
}

static const struct store_device gpu = {"GPU-1", "NVIDIA H100 80GB HBM3", 90, 132, 0};
static const struct store_device soft = {"GPU-soft-1", "soft:a100-sxm-80g (modelled)", 80, 108, 1};
static const struct store_environment env = {13000, 1300, "templates-1", "13.0.2", "{}", "", "", ""};

/* The rows of a database that is attached as `now`, as versions before 7 have them. */
#define OLD_ENVIRONMENT                                                                                                \
    "SELECT id, driver_version, nvrtc_version, template_hash, cublas_version, clocks FROM now.environment"

/* A good measurement with these samples; the caller changes what it needs. */
static inline struct store_measurement good(const double *samples, int count) {
    return (struct store_measurement){
        .layer = {"llama-3.1-8b", "qkv", 6144, 4096, 1},
        .m = 16,
        .group = 128,
        .scheme = "w4a8",
        .dtype = "fp16",
        .family = "sm80",
        .config = "tile_n=128,stages=4,split_k=1",
        .binary = "0123",
        .outcome = OUTCOME_OK,
        .origin = ORIGIN_MEASURED,
        .cache_state = "cold",
        .samples_ns = samples,
        .sample_count = count,
        .median_ns = samples[count / 2],
        .low_ns = samples[count / 2] * 0.99,
        .high_ns = samples[count / 2] * 1.01,
        .registers = 128,
        .smem_bytes = 65536,
    };
}

static inline struct store *open_run(const char *path, const struct store_device *device,
                                     const struct store_environment *environment) {
    struct store *store;
    if (store_open(path, &store) != MT_OK)
        fail_msg("%s", fail_message());
    if (store_begin(store, device, environment, "test") != MT_OK)
        fail_msg("%s", fail_message());
    return store;
}

/* The first column of the first row. */
static inline int64_t number(struct store *store, const char *sql) {
    sqlite3_stmt *query;
    if (sqlite3_prepare_v2(store_handle(store), sql, -1, &query, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(store_handle(store)));
    assert_int_equal(sqlite3_step(query), SQLITE_ROW);
    int64_t value = sqlite3_column_int64(query, 0);
    sqlite3_finalize(query);
    return value;
}

#endif
