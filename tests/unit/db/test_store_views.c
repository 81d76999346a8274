/* The views against a plain computation over the same random rows: staleness, newest row, ties, origins, baselines. */
#include "test_store.h"

#include "db/schema.h"
#include "db/store_private.h"

#include <math.h>

/* What the test knows of a row, apart from the database. */
struct row {
    int device, env, layer, m, scheme, group, dtype, cache, config, ok, repeat, tries;
    double ns;
};
enum { ROWS = 3000, DEVICES = 3, CONFIGS = 6, LAYERS = 3 };
static struct row rows[ROWS];

static const struct store_device devices[DEVICES] = {
    {"GPU-1", "NVIDIA H100 80GB HBM3", 90, 132, 0},
    {"GPU-2", "NVIDIA H100 80GB HBM3", 90, 132, 0},
    {"GPU-soft-1", "soft:a100-sxm-80g (modelled)", 80, 108, 1},
};
/* Every third time is known badly: its interval reaches 1.5 % below and 3 % above it. */
static double low_of(double ns) {
    return ns * ((int)(ns / 2 + 0.5) % 3 ? 0.9996 : 0.985);
}
static double high_of(double ns) {
    return ns * ((int)(ns / 2 + 0.5) % 3 ? 1.0008 : 1.03);
}

/* Of one device, times modelled and times measured must not meet: device 1 has both. */
static int origin_of(const struct row *r) {
    return r->device == 2 || (r->device == 1 && r->repeat) ? ORIGIN_MODELLED : ORIGIN_MEASURED;
}
static const struct store_environment environments[3] = {{13000, 1300, "templates-1", "13.0", "", "", "model-1", ""},
                                                         {13000, 1300, "templates-2", "13.0", "", "", "model-1", ""},
                                                         {13000, 1300, "templates-2", "13.1", "x", "", "model-2", ""}};
/* Layers 0 and 1 have the same shape: they share baselines. */
static const struct store_layer layers[LAYERS] = {
    {"a", "o", 4096, 4096, 1}, {"b", "o", 4096, 4096, 1}, {"a", "down", 4096, 14336, 2}};
static const char *const schemes[4] = {"w4a8", "mixed", "mixed", NULL}; /* NULL: a baseline */
static const int splits[4] = {0, 410, 411, 0};
static const char *const caches[3] = {"cold", "hot", "serving"};
static const char *const dtypes[2] = {"fp16", "bf16"};
/* From simple to complicated, with what makes them so in numbers. */
static const struct {
    const char *family, *text;
    int smem, registers;
} configs[CONFIGS] = {
    {"sm80", "tile_n=64,stages=2,split_k=1", 4000, 100}, {"sm80", "tile_n=64,stages=3,split_k=1", 1000, 90},
    {"sm80", "tile_n=128,stages=3,split_k=1", 2000, 80}, {"sm80", "tile_n=32,stages=3,split_k=1", 2000, 81},
    {"sm80", "tile_n=16,stages=2,split_k=2", 500, 32},   {"sm80", "tile_n=16,stages=10,split_k=10", 100, 32},
};
static const char *const libraries[3] = {"cublas", "cublaslt-best", "f16"};

static uint64_t seed = 0x9e3779b97f4a7c15u;
static int draw(int below) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return (int)(seed >> 33) % below;
}

static struct store_measurement measurement_of(const struct row *r) {
    int base = !schemes[r->scheme];
    return (struct store_measurement){
        .layer = layers[r->layer],
        .m = r->m,
        .group = r->group,
        .scheme = base ? dtypes[r->dtype] : schemes[r->scheme],
        .rows8 = splits[r->scheme],
        .dtype = dtypes[r->dtype],
        .family = base ? libraries[r->config % 3] : configs[r->config].family,
        .config = base ? "" : configs[r->config].text,
        .outcome = r->ok ? OUTCOME_OK : OUTCOME_CRASH,
        .message = "crashed",
        .tries = r->tries,
        .origin = (enum store_origin)origin_of(r),
        .cache_state = caches[r->cache],
        .samples_ns = &r->ns,
        .sample_count = 1,
        .median_ns = r->ns,
        .low_ns = low_of(r->ns),
        .high_ns = high_of(r->ns),
        .registers = configs[r->config].registers,
        .smem_bytes = configs[r->config].smem,
    };
}

static void record(struct store *store, const struct row *r) {
    const struct store_measurement m = measurement_of(r);
    if (store_record(store, &m) != MT_OK)
        fail_msg("%s", fail_message());
}

/* Rows in runs of 100: each run has one device and one environment. Times lie close, so that ties within 1 % abound. */
static struct store *fill(const char *path) {
    struct store *store = NULL;
    for (int i = 0; i < ROWS; i++) {
        struct row *r = &rows[i];
        if (i % 100 == 0) {
            store_close(store);
            r->device = draw(DEVICES), r->env = draw(3);
            store = open_run(path, &devices[r->device], &environments[r->env]);
            sqlite3_exec(store_handle(store), "PRAGMA synchronous = OFF", NULL, NULL, NULL);
        } else {
            r->device = r[-1].device, r->env = r[-1].env;
        }
        r->layer = draw(LAYERS), r->m = 16 << draw(2), r->scheme = draw(4), r->group = draw(4) ? 128 : 64;
        r->dtype = draw(4) == 0, r->cache = draw(4) == 0 ? 1 + draw(2) : 0, r->config = draw(CONFIGS),
        r->ok = draw(8) != 0, r->repeat = draw(2), r->tries = 1 + draw(2);
        r->ns = 1000 * (1 + 0.002 * draw(20));
        if (!schemes[r->scheme])
            r->config %= 3, r->group = 128;
        record(store, r);
    }
    return store;
}

static int newest_env(int device) {
    for (int i = ROWS - 1; i >= 0; i--)
        if (rows[i].device == device)
            return rows[i].env;
    return -1;
}

/* A failure that came once. */
static int doubtful(const struct row *r) {
    return !r->ok && r->tries < 2;
}

static int same_candidate(const struct row *r, const struct row *s) {
    return s->device == r->device && s->layer == r->layer && s->m == r->m && s->scheme == r->scheme &&
           s->group == r->group && s->dtype == r->dtype && s->cache == r->cache && s->config == r->config &&
           origin_of(s) == origin_of(r);
}

/* Whether the row counts while this is the environment of its device. */
static int counts(const struct row *r, int environment) {
    const struct store_environment *e = &environments[r->env], *now = &environments[environment];
    int library = !schemes[r->scheme] && r->config < 2;
    return !doubtful(r) && !strcmp(e->time_model, now->time_model) &&
           !(library ? strcmp(e->cublas_version, now->cublas_version) : strcmp(e->template_hash, now->template_hash));
}

static int is_current(const struct row *r) {
    const int environment = newest_env(r->device);
    if (!counts(r, environment))
        return 0;
    for (const struct row *s = r + 1; s < rows + ROWS; s++)
        if (same_candidate(r, s) && counts(s, environment))
            return 0;
    return 1;
}

static int same_shape(const struct row *a, const struct row *b) {
    return layers[a->layer].n == layers[b->layer].n && layers[a->layer].k == layers[b->layer].k;
}

static int same_place(const struct row *a, const struct row *b) {
    return a->device == b->device && origin_of(a) == origin_of(b) && a->m == b->m && a->dtype == b->dtype &&
           a->cache == b->cache;
}

static char current[ROWS];

/* The index of the row that must win where row `r` competes; -1 if none. */
static int expected_winner(const struct row *r) {
    double fastest = INFINITY;
    int best = -1;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < ROWS; i++) {
            const struct row *s = &rows[i];
            if (!current[i] || !s->ok || !schemes[s->scheme] || !same_place(s, r) || s->layer != r->layer ||
                s->scheme != r->scheme || s->group != r->group)
                continue;
            if (pass == 0)
                fastest = fmin(fastest, s->ns);
            else if ((s->ns <= 1.01 * fastest || low_of(s->ns) <= high_of(fastest)) &&
                     (best < 0 || s->config < rows[best].config))
                best = i;
        }
    return best;
}

static double expected_baseline(const struct row *r) {
    double fastest = INFINITY;
    for (int i = 0; i < ROWS; i++)
        if (current[i] && rows[i].ok && !schemes[rows[i].scheme] && same_place(&rows[i], r) && same_shape(&rows[i], r))
            fastest = fmin(fastest, rows[i].ns);
    return fastest;
}

static void check_row(struct store *store, const struct row *r, const struct row *w) {
    sqlite3_stmt *query;
    assert_int_equal(
        sqlite3_prepare_v2(store_handle(store),
                           "SELECT config, median_ns, baseline_ns, ratio, ratio_low, ratio_high FROM temp.s "
                           "WHERE uuid = ? AND model = ? AND layer = ? AND m = ? AND scheme = ? AND group_size = ? "
                           "AND dtype = ? AND cache_state = ? AND origin = ? AND rows8 = ?",
                           -1, &query, NULL),
        SQLITE_OK);
    sqlite3_bind_text(query, 1, devices[r->device].uuid, -1, SQLITE_STATIC);
    sqlite3_bind_text(query, 2, layers[r->layer].model, -1, SQLITE_STATIC);
    sqlite3_bind_text(query, 3, layers[r->layer].layer, -1, SQLITE_STATIC);
    sqlite3_bind_int(query, 4, r->m);
    sqlite3_bind_text(query, 5, schemes[r->scheme], -1, SQLITE_STATIC);
    sqlite3_bind_int(query, 6, r->group);
    sqlite3_bind_text(query, 7, dtypes[r->dtype], -1, SQLITE_STATIC);
    sqlite3_bind_text(query, 8, caches[r->cache], -1, SQLITE_STATIC);
    sqlite3_bind_text(query, 9, store_origin_name((enum store_origin)origin_of(r)), -1, SQLITE_STATIC);
    sqlite3_bind_int(query, 10, splits[r->scheme]);
    assert_int_equal(sqlite3_step(query), SQLITE_ROW);
    assert_string_equal(sqlite3_column_text(query, 0), configs[w->config].text);
    assert_true(sqlite3_column_double(query, 1) == w->ns);
    double base = expected_baseline(r);
    if (isinf(base)) {
        assert_int_equal(sqlite3_column_type(query, 2), SQLITE_NULL);
        assert_int_equal(sqlite3_column_type(query, 3), SQLITE_NULL);
    } else {
        assert_true(sqlite3_column_double(query, 2) == base);
        assert_true(fabs(sqlite3_column_double(query, 3) - base / w->ns) < 1e-12);
        assert_true(fabs(sqlite3_column_double(query, 4) - low_of(base) / high_of(w->ns)) < 1e-12);
        assert_true(fabs(sqlite3_column_double(query, 5) - high_of(base) / low_of(w->ns)) < 1e-12);
    }
    assert_int_equal(sqlite3_step(query), SQLITE_DONE);
    sqlite3_finalize(query);
}

/* The newest row that counts for the candidate of `r`; NULL: it has to be measured. */
static const struct row *standing(const struct row *r, int environment) {
    for (const struct row *s = rows + ROWS - 1; s >= rows; s--)
        if (same_candidate(r, s) && counts(s, environment))
            return s;
    return NULL;
}

#define CURRENT_OF "SELECT count(*) FROM current WHERE m <> 99 AND uuid = "
#define DIFFERENT                                                                                                      \
    "SELECT count(*) FROM (SELECT id FROM temp.was EXCEPT SELECT id FROM current) AS x "                               \
    "JOIN measurement USING (id) WHERE m <> 99"

/* Whatever the toolchain that comes back: what need not be measured is what the views show once a run of it has
 * recorded something, or has said that there was nothing to record. */
static void what_is_there_is_what_is_shown(const struct fixture *f) {
    for (int round = 0; round < 6; round++) {
        const int device = draw(DEVICES), environment = draw(3);
        char sql[96];
        snprintf(sql, sizeof sql, CURRENT_OF "'%s'", devices[device].uuid);
        struct store *store = open_run(f->path, &devices[device], &environments[environment]);
        const int64_t before = number(store, sql);
        store->retry_failed = round % 4 == 3;
        for (int i = round; i < ROWS; i += 23) {
            if (rows[i].device != device)
                continue;
            const struct store_measurement key = measurement_of(&rows[i]);
            const struct row *s = standing(&rows[i], environment);
            int found;
            assert_int_equal(store_has(store, &key, &found), MT_OK);
            assert_int_equal(found, s && (s->ok || !store->retry_failed));
        }
        assert_int_equal(number(store, sql), before); /* to ask changes nothing */
        sqlite3_exec(store_handle(store), "CREATE TEMP TABLE was AS SELECT id FROM temp.standing", NULL, NULL, NULL);
        struct store_measurement other = measurement_of(&rows[0]);
        other.m = 99, other.origin = ORIGIN_MODELLED;
        assert_int_equal(round % 2 ? store_confirm(store) : store_record(store, &other), MT_OK);
        assert_int_equal(number(store, sql), number(store, "SELECT count(*) FROM temp.was JOIN measurement USING (id) "
                                                           "WHERE m <> 99"));
        assert_int_equal(number(store, DIFFERENT), 0);
        store_close(store);
    }
}

static void views_agree_with_a_plain_computation(void **state) {
    struct fixture *f = *state;
    struct store *store = fill(f->path);
    int64_t currents = 0, winners = 0, ties = 0;
    for (int i = 0; i < ROWS; i++)
        currents += current[i] = (char)is_current(&rows[i]);
    assert_int_equal(number(store, "SELECT count(*) FROM fact"), ROWS);
    assert_int_equal(number(store, "SELECT count(*) FROM current"), currents);
    sqlite3_exec(store_handle(store), "CREATE TEMP TABLE s AS SELECT * FROM speedup", NULL, NULL, NULL);
    for (int i = 0; i < ROWS; i++) {
        if (!current[i] || !schemes[rows[i].scheme])
            continue;
        int w = expected_winner(&rows[i]);
        if (w < 0)
            continue;
        check_row(store, &rows[i], &rows[w]);
        winners += w == i;
        ties += w != i && rows[i].ok && rows[i].ns < rows[w].ns;
    }
    assert_int_equal(number(store, "SELECT count(*) FROM temp.s"), winners);
    assert_int_equal(number(store, "SELECT count(*) FROM winner"), winners);
    assert_true(winners > 20 && ties > 5); /* the rows did exercise the rules */
    store_close(store);
    what_is_there_is_what_is_shown(f);
}

/* Every speed-up is of two rows of one origin and one device, with both origins present for the same shape. */
static void origins_never_meet(void **state) {
    struct fixture *f = *state;
    struct store *store = fill(f->path);
    assert_int_equal(number(store, "SELECT count(DISTINCT origin) FROM speedup WHERE uuid = 'GPU-2' AND ratio > 0"), 2);
    assert_int_equal(number(store, "SELECT count(*) FROM speedup AS s JOIN measurement AS b ON b.id = s.baseline_id "
                                   "JOIN run ON run.id = b.run WHERE b.origin <> s.origin OR run.device <> s.device "
                                   "OR b.cache_state <> s.cache_state OR b.m <> s.m"),
                     0);
    store_close(store);
    /* A winner that is modelled has no baseline that is measured. */
    char path[128];
    snprintf(path, sizeof path, "%s/two.db", f->folder);
    store = open_run(path, &gpu, &env);
    double fast = 1000, slow = 4000;
    struct store_measurement m = good(&fast, 1), base = good(&slow, 1);
    m.origin = ORIGIN_MODELLED;
    base.family = "cublas", base.config = "", base.scheme = "fp16";
    assert_int_equal(store_record(store, &m), MT_OK);
    assert_int_equal(store_record(store, &base), MT_OK);
    assert_int_equal(number(store, "SELECT count(*) FROM speedup WHERE ratio IS NULL"), 1);
    base.origin = ORIGIN_MODELLED;
    assert_int_equal(store_record(store, &base), MT_OK);
    assert_int_equal(number(store, "SELECT ratio FROM speedup"), 4);
    store_close(store);
}

/* The time of quantising activations is no baseline, however short; it joins a winner of its k, m and group, and no
 * other. */
static void quantisation_stands_beside_the_winner(void **state) {
    struct fixture *f = *state;
    char path[128];
    snprintf(path, sizeof path, "%s/quantize.db", f->folder);
    struct store *store = open_run(path, &gpu, &env);
    double fast = 1000, slow = 6000, activations = 500, other = 7;
    struct store_measurement m = good(&fast, 1), base = good(&slow, 1), quantize = good(&activations, 1);
    base.family = "cublas", base.config = "", base.scheme = "fp16";
    quantize.family = "quantize", quantize.config = "", quantize.scheme = "fp16", quantize.group = m.group;
    assert_int_equal(store_record(store, &m), MT_OK);
    assert_int_equal(store_record(store, &base), MT_OK);
    assert_int_equal(number(store, "SELECT count(*) FROM speedup WHERE ratio = 6 AND ratio_with_quantize IS NULL"), 1);
    assert_int_equal(store_record(store, &quantize), MT_OK);
    quantize.layer.n += 16;
    assert_int_equal(store_record(store, &quantize), MT_OK);
    assert_int_equal(number(store, "SELECT count(*) FROM speedup WHERE ratio = 6 AND ratio_with_quantize = 4 "
                                   "AND quantize_ns = 500 AND baseline_family = 'cublas'"),
                     1);
    quantize.samples_ns = &other, quantize.median_ns = quantize.low_ns = quantize.high_ns = other;
    quantize.layer.k += 128; /* the features do not matter, all else does */
    assert_int_equal(store_record(store, &quantize), MT_OK);
    quantize.layer.k -= 128, quantize.m += 1;
    assert_int_equal(store_record(store, &quantize), MT_OK);
    quantize.m -= 1, quantize.group *= 2;
    assert_int_equal(store_record(store, &quantize), MT_OK);
    assert_int_equal(number(store, "SELECT count(*) FROM speedup WHERE quantize_ns = 500"), 1);
    store_close(store);
}

/* ---- what a measurement lacks ---- */

static void base(struct store *store, const char *family, double ns, int m, enum store_origin origin) {
    struct store_measurement x = good(&ns, 1);
    x.family = family, x.config = "", x.scheme = "fp16", x.binary = "", x.group = 0, x.m = m, x.origin = origin;
    assert_int_equal(store_record(store, &x), MT_OK);
}

/* What lacks is what has no good current time of the shape, whatever the run of the fastest had to do without. */
static void a_baseline_says_which_libraries_it_lacks(void **state) {
    struct fixture *f = *state;
    struct store_environment poor = env;
    double ns = 1000;
    struct store_measurement m = good(&ns, 1);
    poor.cublas_version = "", poor.missing = "cublas,cublaslt,gate";
    struct store *store = open_run(f->path, &gpu, &poor);
    m.rejected = 20, m.low_clock = 0.625;
    assert_int_equal(store_record(store, &m), MT_OK);
    base(store, "f16", 2000, 16, ORIGIN_MEASURED);
    assert_int_equal(number(store, "SELECT count(*) FROM speedup WHERE baseline_family = 'f16' AND baseline_lacks = "
                                   "'cublas,cublaslt' AND missing = 'cublas,cublaslt,gate' AND rejected = 20 AND "
                                   "low_clock = 0.625"),
                     1);
    store_close(store);
    /* The fastest is still f16 and of the poor run. */
    store = open_run(f->path, &gpu, &env);
    base(store, "cublas", 3000, 16, ORIGIN_MEASURED);
    base(store, "cublaslt-best", 1500, 32, ORIGIN_MEASURED); /* of another shape */
    assert_int_equal(
        number(store, "SELECT count(*) FROM speedup WHERE baseline_family = 'f16' AND baseline_lacks = 'cublaslt'"), 1);
    base(store, "cublaslt-best", 1500, 16, ORIGIN_MEASURED);
    assert_int_equal(number(store, "SELECT count(*) FROM speedup WHERE baseline_family = 'cublaslt-best' AND "
                                   "baseline_lacks = '' AND missing = 'cublas,cublaslt,gate'"),
                     1);
    store_close(store);
    store = open_run(f->path, &soft, &env);
    m.origin = ORIGIN_MODELLED, m.rejected = 0, m.low_clock = 0;
    assert_int_equal(store_record(store, &m), MT_OK);
    base(store, "f16", 2000, 16, ORIGIN_MODELLED);
    assert_int_equal(number(store, "SELECT count(*) FROM speedup WHERE origin = 'modelled' AND baseline_lacks = '' AND "
                                   "missing = '' AND rejected = 0 AND low_clock IS NULL"),
                     1);
    store_close(store);
}

/* ---- the headline ---- */

#define CLOCKS(sm, watts, why)                                                                                         \
    "{\"driver\":\"1\",\"sm_mhz\":" #sm ",\"memory_mhz\":2619,\"power_limit_w\":" #watts ",\"throttle\":[" why "]}"

static void put(struct store *store, const char *family, const char *cache, double ns, double low_clock) {
    struct store_measurement x = good(&ns, 1);
    const bool ours = !strcmp(family, "sm80");
    x.family = family, x.cache_state = cache, x.low_clock = low_clock;
    if (!ours)
        x.config = "", x.scheme = "fp16", x.binary = "", x.group = strcmp(family, "quantize") ? 0 : x.group;
    assert_int_equal(store_record(store, &x), MT_OK);
}

static void put_all(struct store *store, const char *cache, double ns) {
    put(store, "sm80", cache, ns, 0);
    put(store, "cublas", cache, 3 * ns, 0);
    put(store, "cublaslt-best", cache, 2 * ns, 0);
    put(store, "quantize", cache, ns / 4, 0);
}

/* Serving where there is such a row, else cold, else hot; with the time of quantising, over the faster library. */
static void a_headline_has_one_state_of_the_caches(void **state) {
    struct fixture *f = *state;
    struct store *store = open_run(f->path, &gpu, &env);
    static const char *const order[3] = {"hot", "cold", "serving"};
    for (int i = 0; i < 3; i++) {
        put_all(store, order[i], 1000 + i);
        char sql[300];
        snprintf(sql, sizeof sql,
                 "SELECT count(*) FROM headline WHERE is_headline AND cache_state = '%s' AND baseline_family = "
                 "'cublaslt-best' AND ratio = 2 AND abs(ratio_with_quantize - 1.6) < 1e-9 AND floor_share IS NULL",
                 order[i]);
        assert_int_equal(number(store, sql), 1);
        assert_int_equal(number(store, "SELECT count(*) FROM headline"), i + 1);
        assert_int_equal(number(store, "SELECT sum(is_headline) FROM headline"), 1);
    }
    /* The worst case: baseline at its best, both of ours at their worst. */
    assert_int_equal(number(store, "SELECT sum(abs(ratio_with_quantize_low - 2 * 0.99 / (1.25 * 1.01)) < 1e-9) FROM "
                                   "headline"),
                     3);
    assert_int_equal(number(store, "SELECT sum(abs(ratio_with_quantize_high - 2 * 1.01 / (1.25 * 0.99)) < 1e-9) FROM "
                                   "headline"),
                     3);
    store_close(store);
}

/* Weights alone in a serving cache; tokens and output too in a cold one. */
static void a_floor_has_the_bytes_of_its_state(void **state) {
    struct fixture *f = *state;
    struct store *store = open_run(f->path, &gpu, &env);
    const struct store_limit limits[] = {{"dram_read_load", "GB/s", 1000, ORIGIN_MEASURED},
                                         {"int8_mma", "TOPS", 1e6, ORIGIN_MEASURED}};
    const int64_t weights = 6144 * 4096 / 2 + 32 * 3 * 6144, tokens = 16 * (4096 + 8 * 32) + 2 * 16 * 6144;
    char sql[300];
    put_all(store, "cold", 20000);
    put_all(store, "serving", 20000);
    for (int i = 0; i < 2; i++)
        assert_int_equal(store_record_limit(store, &limits[i]), MT_OK);
    assert_int_equal(number(store, "SELECT bytes FROM floor WHERE cache_state = 'serving'"), weights);
    assert_int_equal(number(store, "SELECT bytes FROM floor WHERE cache_state = 'cold'"), weights + tokens);
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM headline WHERE is_headline AND abs(floor_share - %lld / 20000e3) < 1e-9 AND "
             "abs(floor_share_with_quantize - %lld / 25000e3) < 1e-9",
             (long long)weights, (long long)weights);
    assert_int_equal(number(store, sql), 1);
    store_close(store);
}

/* Winner and quantisation in the first state of the device, the baseline in the second. */
static void ratios_of_two_states_are_marked(void **state) {
    struct fixture *f = *state;
    static const struct {
        const char *ours, *baseline;
        double low_clock; /* of the baseline */
        int differ;
    } cases[] = {
        {CLOCKS(1980, 700, ""), CLOCKS(1980, 700, ""), 0, 0},
        {CLOCKS(1980, 700, ""), CLOCKS(1965, 700, ""), 0, 0},
        {CLOCKS(1980, 700, ""), CLOCKS(1900, 700, ""), 0, 1},
        {CLOCKS(1980, 700, ""), CLOCKS(1980, 500, ""), 0, 1},
        {CLOCKS(1980, 700, ""), CLOCKS(1980, 700, "\"power-cap\""), 0, 1},
        {CLOCKS(1980, 700, "\"power-cap\""), CLOCKS(1980, 700, "\"power-cap\""), 0, 0},
        {CLOCKS(1980, 700, ""), CLOCKS(345, 700, "\"idle\""), 0, 0}, /* before the work began */
        {CLOCKS(1980, 700, ""), CLOCKS(345, 500, "\"idle\""), 0, 1},
        {CLOCKS(1980, 700, ""), CLOCKS(1980, 700, ""), 0.5, 1},
        {CLOCKS(1980, 700, ""), CLOCKS(1980, 700, ""), 0.98, 0},
        {CLOCKS(1980, 700, ""), "", 0, 0}, /* nothing is known of one */
        {"{}", CLOCKS(1980, 700, ""), 0, 0},
        {"no json", CLOCKS(1980, 700, ""), 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct store_environment now = env;
        now.clocks = cases[i].ours;
        unlink(f->path);
        struct store *store = open_run(f->path, &gpu, &now);
        put(store, "sm80", "serving", 1000, 0);
        put(store, "quantize", "serving", 100, 0);
        now.clocks = cases[i].baseline;
        store_close(store);
        store = open_run(f->path, &gpu, &now);
        put(store, "cublas", "serving", 2000, cases[i].low_clock);
        if (number(store, "SELECT states_differ FROM headline WHERE ratio = 2") != cases[i].differ)
            fail_msg("%s and %s: not %d", cases[i].ours, cases[i].baseline, cases[i].differ);
        /* Measured again in one batch, they are of one state. */
        put_all(store, "serving", 1000);
        assert_int_equal(number(store, "SELECT states_differ FROM headline"), 0);
        store_close(store);
    }
}

/* ---- peers ---- */

/* As tests/gpu/peers.py sees its machine: no NVRTC, no templates. */
static const struct store_environment peers_env = {13000, 0, "", "", "{}", "", "", ""};

static struct store_measurement peer(const char *family, const char *config, const char *scheme, const double *ns) {
    struct store_measurement m = good(ns, 1);
    m.family = family, m.config = config, m.scheme = scheme, m.binary = "";
    m.group = strcmp(scheme, "fp16") ? m.group : 0;
    m.layer = (struct store_layer){"", "6144x4096", 6144, 4096, 1}; /* the shape of good(), asked for by itself */
    return m;
}

static void record_peer(struct store *store, const char *family, const char *config, const char *scheme, double ns) {
    struct store_measurement m = peer(family, config, scheme, &ns);
    if (store_record(store, &m) != MT_OK)
        fail_msg("%s", fail_message());
}

/* A W4A8 and a W8A8 winner of 1000 and 2000 ns with cuBLAS at 4000 ns, all in one run; then a run of peers. */
static struct store *with_peers(const char *path) {
    struct store *store = open_run(path, &gpu, &env);
    double ns[3] = {1000, 2000, 4000};
    for (int i = 0; i < 3; i++) {
        struct store_measurement m = good(&ns[i], 1);
        m.scheme = i == 0 ? "w4a8" : i == 1 ? "w8a8" : "fp16";
        if (i == 2)
            m.family = "cublas", m.config = "", m.group = 0;
        assert_int_equal(store_record(store, &m), MT_OK);
    }
    store_close(store);
    return open_run(path, &gpu, &peers_env);
}

#define PEERS(condition) number(store, "SELECT count(*) FROM peer WHERE " condition)

/* However fast they are, and although their run is the newest of the device. */
static void a_peer_is_neither_winner_nor_baseline(void **state) {
    struct fixture *f = *state;
    struct store *store = with_peers(f->path);
    record_peer(store, "peer:triton-w4a8", "triton=3.6.0", "w4a8", 500);
    record_peer(store, "peer:torch-fp16", "torch=2.11.0", "fp16", 3000);
    assert_int_equal(number(store, "SELECT count(*) FROM current"), 3);
    assert_int_equal(number(store, "SELECT nvrtc_version FROM toolchain"), 1300);
    assert_int_equal(number(store, "SELECT count(*) FROM fact WHERE stale"), 0);
    assert_int_equal(number(store, "SELECT count(*) FROM fact WHERE is_peer"), 2);
    assert_int_equal(number(store, "SELECT count(*) FROM winner WHERE family = 'sm80'"), 2);
    assert_int_equal(number(store, "SELECT count(*) FROM winner"), 2);
    assert_int_equal(number(store, "SELECT sum(ratio) FROM speedup WHERE baseline_family = 'cublas'"), 4 + 2);
    /* Losses included. */
    assert_int_equal(PEERS("peer_family = 'peer:triton-w4a8' AND ratio = 0.5 AND scheme = 'w4a8' AND layer = 'qkv' "
                           "AND abs(ratio_low - 500 * 0.99 / 1010) < 1e-9 AND abs(ratio_high - 505 / 990.0) < 1e-9"),
                     1);
    assert_int_equal(PEERS("peer_family = 'peer:torch-fp16' AND ratio IN (3, 1.5)"), 2);
    assert_int_equal(PEERS("1"), 3);
    store_close(store);
}

/* Each beside winners that do the same work: scheme, group, m, origin, and output type where there is a choice. */
static void peers_stand_beside_their_like(void **state) {
    struct fixture *f = *state;
    struct store *store = with_peers(f->path);
    double ns = 800;
    struct store_measurement m = peer("peer:torch-int-mm", "torch=2.11.0", "w8a8", &ns);
    m.group = 0;
    assert_int_equal(store_record(store, &m), MT_OK);
    assert_int_equal(PEERS("scheme = 'w8a8' AND group_size = 128 AND peer_group = 0 AND ratio = 0.4"), 1);
    m = peer("peer:triton-w4a8", "triton=3.6.0", "w4a8", &ns);
    m.group = 64;
    assert_int_equal(store_record(store, &m), MT_OK);
    assert_int_equal(PEERS("peer_group = 64 AND winner_id IS NULL AND ratio IS NULL AND layer = '6144x4096'"), 1);
    m.group = 128, m.m = 17;
    assert_int_equal(store_record(store, &m), MT_OK);
    m.m = 16, m.origin = ORIGIN_MODELLED;
    assert_int_equal(store_record(store, &m), MT_OK);
    assert_int_equal(PEERS("winner_id IS NULL"), 3);
    /* bf16 weights beside the fp16 winners while there are no others. */
    m = peer("peer:torch-int4pack", "torch=2.11.0", "w4a16", &ns);
    m.dtype = "bf16";
    assert_int_equal(store_record(store, &m), MT_OK);
    assert_int_equal(PEERS("peer_dtype = 'bf16' AND dtype = 'fp16'"), 2);
    store_close(store);
    store = open_run(f->path, &gpu, &env);
    m = good(&ns, 1), m.dtype = "bf16";
    assert_int_equal(store_record(store, &m), MT_OK);
    assert_int_equal(PEERS("peer_dtype = 'bf16' AND dtype = 'bf16' AND scheme = 'w4a8'"), 1);
    assert_int_equal(PEERS("peer_dtype = 'bf16' AND dtype = 'fp16' AND scheme = 'w8a8'"), 1);
    assert_int_equal(PEERS("peer_dtype = 'bf16'"), 2);
    /* Of one layer's splits those with as many 8-bit features. */
    for (int rows8 = 409; rows8 < 412; rows8++) {
        m = good(&ns, 1), m.scheme = "mixed", m.rows8 = rows8;
        assert_int_equal(store_record(store, &m), MT_OK);
    }
    m = peer("peer:other", "other=1", "mixed", &ns), m.rows8 = 410;
    assert_int_equal(store_record(store, &m), MT_OK);
    assert_int_equal(PEERS("peer_family = 'peer:other'"), 1);
    assert_int_equal(PEERS("peer_family = 'peer:other' AND rows8 = 410 AND ratio = 1"), 1);
    store_close(store);
}

/* The newest time of each configuration of the newest release counts, with the driver of our own newest run. */
static void old_peers_do_not_count(void **state) {
    struct fixture *f = *state;
    struct store *store = with_peers(f->path);
    record_peer(store, "peer:humming-w4a8", "humming=0.1.18,zero_point=1", "w4a8", 900);
    record_peer(store, "peer:triton-w4a8", "triton=3.6.0", "w4a8", 700);
    record_peer(store, "peer:humming-w4a8", "humming=0.1.19,zero_point=1", "w4a8", 800);
    record_peer(store, "peer:humming-w4a8", "humming=0.1.19,zero_point=0", "w4a8", 850);
    record_peer(store, "peer:humming-w4a8", "humming=0.1.19,zero_point=0", "w4a8", 750);
    assert_int_equal(PEERS("peer_ns IN (700, 800, 750)"), 3);
    assert_int_equal(PEERS("1"), 3);
    assert_int_equal(number(store, "SELECT count(*) FROM fact WHERE stale"), 1);
    /* What no longer works has no time. */
    double ns = 1;
    struct store_measurement m = peer("peer:triton-w4a8", "triton=3.6.0", "w4a8", &ns);
    m.outcome = OUTCOME_WRONG, m.message = "relative error 0.3";
    assert_int_equal(store_record(store, &m), MT_OK);
    assert_int_equal(PEERS("peer_family = 'peer:triton-w4a8'"), 0);
    /* That a peer is not installed is worth a row only where it never was. */
    m = peer("peer:humming-w4a8", "", "w4a8", &ns);
    m.outcome = OUTCOME_REFUSED, m.message = "cannot be imported";
    assert_int_equal(store_record(store, &m), MT_OK);
    assert_int_equal(PEERS("peer_family = 'peer:humming-w4a8'"), 2);
    m.family = "peer:humming-w8a8";
    assert_int_equal(store_record(store, &m), MT_OK);
    assert_int_equal(number(store, "SELECT count(*) FROM current_peer WHERE config = ''"), 1);
    store_close(store);
    struct store_environment driver = peers_env;
    driver.driver_version++;
    store = open_run(f->path, &gpu, &driver);
    record_peer(store, "peer:triton-w4a8", "triton=3.6.0", "w4a8", 600);
    assert_int_equal(PEERS("peer_family = 'peer:triton-w4a8'"), 0);
    assert_int_equal(number(store, "SELECT count(*) FROM winner"), 2);
    store_close(store);
}

/* Without a sweep of ours on the device, peers are what there is. */
static void peers_by_themselves(void **state) {
    struct fixture *f = *state;
    struct store *store = open_run(f->path, &gpu, &peers_env);
    record_peer(store, "peer:torch-fp16", "torch=2.11.0", "fp16", 3000);
    assert_int_equal(PEERS("winner_id IS NULL AND peer_ns = 3000 AND layer = '6144x4096'"), 1);
    assert_int_equal(number(store, "SELECT count(*) FROM current"), 0);
    store_close(store);
}

/* The rows of `from` in a file of version 3. */
static void make_version_3(const char *path, const char *from) {
    sqlite3 *db;
    struct str sql = {0};
    char *error = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(schema_migrate(db, path, schema_steps(NULL), 3), MT_OK);
    str_printf(
        &sql,
        "ATTACH '%s' AS now; INSERT INTO device SELECT id, uuid, name, cc, sm_count, software FROM now.device; "
        "INSERT INTO environment " OLD_ENVIRONMENT "; INSERT INTO run SELECT id, device, environment, "
        "command, "
        "started FROM now.run; "
        "INSERT INTO layer SELECT * FROM now.layer; INSERT INTO config SELECT id, family, config FROM now.config; "
        "INSERT INTO knob SELECT * FROM now.knob; INSERT INTO measurement SELECT id, run, layer, config, m, "
        "group_size, scheme, dtype, binary, outcome, message, origin, cache_state, samples, median_ns, low_ns, "
        "high_ns, "
        "registers, smem_bytes, spill_bytes, created FROM now.measurement",
        from);
    if (sqlite3_exec(db, sql.data, NULL, NULL, &error) != SQLITE_OK)
        fail_msg("%s", error);
    str_release(&sql);
    sqlite3_close(db);
}

/* The same winners and speed-ups afterwards, and peers can join them. */
static void version_3_is_brought_up_to_date(void **state) {
    struct fixture *f = *state;
    char old[128];
    snprintf(old, sizeof old, "%s/old.db", f->folder);
    store_close(with_peers(f->path));
    make_version_3(old, f->path);
    struct str before = {0}, after = {0};
    struct store *store;
    assert_int_equal(file_read(old, &before), MT_OK);
    assert_int_equal(store_open_reading(old, &store), MT_OK); /* a copy is */
    assert_int_equal(number(store, "SELECT sum(ratio) FROM speedup"), 6);
    store_close(store);
    assert_int_equal(file_read(old, &after), MT_OK);
    assert_int_equal(before.length, after.length);
    assert_memory_equal(before.data, after.data, after.length);
    str_release(&before);
    str_release(&after);
    store = open_run(old, &gpu, &peers_env);
    int versions;
    schema_steps(&versions);
    assert_int_equal(number(store, "PRAGMA user_version"), versions);
    assert_int_equal(number(store, "SELECT sum(ratio) FROM speedup"), 6);
    record_peer(store, "peer:triton-w4a8", "triton=3.6.0", "w4a8", 500);
    assert_int_equal(number(store, "SELECT sum(ratio) FROM speedup"), 6);
    assert_int_equal(PEERS("ratio = 0.5"), 1);
    store_close(store);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_remove)
    const struct CMUnitTest tests[] = {TEST(views_agree_with_a_plain_computation),
                                       TEST(origins_never_meet),
                                       TEST(quantisation_stands_beside_the_winner),
                                       TEST(a_baseline_says_which_libraries_it_lacks),
                                       TEST(a_headline_has_one_state_of_the_caches),
                                       TEST(a_floor_has_the_bytes_of_its_state),
                                       TEST(ratios_of_two_states_are_marked),
                                       TEST(a_peer_is_neither_winner_nor_baseline),
                                       TEST(peers_stand_beside_their_like),
                                       TEST(old_peers_do_not_count),
                                       TEST(peers_by_themselves),
                                       TEST(version_3_is_brought_up_to_date)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
