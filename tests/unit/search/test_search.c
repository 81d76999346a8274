/* Searches on made-up times: what they ask, that they keep to their budget, and that the guided one finds the best
 * early. */
#include "tuner/plan/space.h"
#include "tuner/search/search.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

static const struct device_limits limits = {80, 108, 166912, 167936, 65536, 2048};

/* The configurations of the shipped space that a problem allows; promote, zero and order stay at their defaults. */
static struct config_list pool_of(const struct problem *p) {
    struct config_list all, pool = {0};
    char reason[160];
    assert_int_equal(config_list_read("sm80", &all), MT_OK);
    for (int i = 0; i < all.count; i++) {
        const struct config *c = &all.config[i];
        if (config_get(c, "promote") == 2 && config_get(c, "zero") == 0 && config_get(c, "order") == 1 &&
            config_allowed(c, p, &limits, reason))
            config_list_add(&pool, c);
    }
    config_list_release(&all);
    assert_true(pool.count > 100);
    return pool;
}

/* A hash in 0 .. 1 of a configuration on a problem. */
static double whim(const struct config *c, const struct problem *p) {
    unsigned h = (unsigned)(p->m * 31 + p->n * 17 + p->k);
    for (int i = 0; i < c->family->knob_count; i++)
        h = h * 2654435761u + (unsigned)c->value[i] * 40503u + (h >> 15);
    return (h >> 8 & 0xFFFF) / 65536.0;
}

/* Made-up physics, which is not that of the search's model: the slower of memory and multiplying, latency that depth
 * hides, a tail of the last wave, and 4 % that nothing explains. */
static double made_up_ns(const struct config *c, const struct problem *p) {
    const double tile_n = config_get(c, "tile_n"), tile_m = config_get(c, "tile_m"), split = config_get(c, "split_k");
    const double stages = config_get(c, "stages"), ctas = config_get(c, "ctas");
    const double items = ceil(p->n / tile_n) * ceil(p->m / tile_m) * split, steps = ceil(p->k / 128.0 / split);
    const double waves = ceil(items / (limits.sm_count * ctas));
    const double math = tile_n * tile_m / 900 * (tile_m <= 8 ? 1.8 : 1), memory = (tile_n * 0.6 + tile_m) * 1.1;
    const double step = fmax(math, memory) * ctas + 220 / (stages - 1);
    const double reduce = split > 1 ? 700 + 120 * split + items * tile_n * tile_m / 30000 : 0;
    return 2500 + waves * (900 + steps * step) / 1.4 + reduce + (config_get(c, "raster") > 1 ? -40 : 0) +
           0.04 * 2500 * whim(c, p);
}

static double *times_of(const struct config_list *pool, const struct problem *p, double *best) {
    double *ns = xmalloc((size_t)pool->count * sizeof *ns);
    *best = INFINITY;
    for (int i = 0; i < pool->count; i++) {
        ns[i] = made_up_ns(&pool->config[i], p);
        *best = fmin(*best, ns[i]);
    }
    return ns;
}

static const struct problem decode = {.m = 16, .n = 6144, .k = 4096, .group = 128};

struct world {
    struct config_list configs;
    struct search_pool pool;
    double *ns, best;
};
static struct world world_open(const struct problem *p) {
    struct world w = {.configs = pool_of(p)};
    w.pool = (struct search_pool){p, w.configs.config, w.configs.count, limits.sm_count, NULL};
    w.ns = times_of(&w.configs, p, &w.best);
    return w;
}
static void world_close(struct world *w) {
    config_list_release(&w->configs);
    free(w->ns);
}

/* Runs a search to its end; asked[i] is what it asked i-th. Asserts that it asks nothing twice. The count. */
static int run(struct search *s, const struct world *w, int *asked) {
    bool *seen = xcalloc((size_t)w->configs.count, sizeof *seen);
    int count = 0;
    for (int i; (i = search_next(s)) >= 0; count++) {
        assert_in_range(i, 0, w->configs.count - 1);
        assert_false(seen[i]);
        seen[i] = true;
        asked[count] = i;
        search_tell(s, i, w->ns[i]);
    }
    free(seen);
    return count;
}

static int run_rules(const struct world *w, struct search_rules rules, struct model_samples *memory, int *asked) {
    struct search *s = search_open(&w->pool, &rules, memory);
    int count = run(s, w, asked);
    search_close(s);
    return count;
}

static double distance(const struct world *w, const int *asked, int count) {
    double best = INFINITY;
    for (int i = 0; i < count; i++)
        if (w->ns[asked[i]] > 0)
            best = fmin(best, w->ns[asked[i]]);
    return best / w->best - 1;
}

static void test_names(void **state) {
    (void)state;
    enum search_strategy strategy;
    enum search_patience patience;
    for (int i = SEARCH_EXHAUSTIVE; i <= SEARCH_SAMPLE; i++) {
        assert_int_equal(search_strategy_parse(search_strategy_name((enum search_strategy)i), &strategy), MT_OK);
        assert_int_equal(strategy, i);
    }
    assert_int_equal(search_strategy_parse("guide", &strategy), MT_USAGE);
    static const char *const patiences[] = {"quick", "normal", "exhaustive"};
    for (int i = PATIENCE_QUICK; i <= PATIENCE_EXHAUSTIVE; i++) {
        assert_int_equal(search_patience_parse(patiences[i], &patience), MT_OK);
        assert_int_equal(patience, i);
    }
    assert_int_equal(search_patience_parse("", &patience), MT_USAGE);
    assert_int_equal(search_patience_budget(PATIENCE_NORMAL, 400), 40);
    assert_int_equal(search_patience_budget(PATIENCE_QUICK, 400), 20);
    assert_int_equal(search_patience_budget(PATIENCE_QUICK, 30), 8);
    assert_int_equal(search_patience_budget(PATIENCE_EXHAUSTIVE, 400), 400);
    assert_int_equal(search_patience_strategy(PATIENCE_QUICK), SEARCH_GUIDED);
    assert_int_equal(search_patience_strategy(PATIENCE_NORMAL), SEARCH_GUIDED);
    assert_int_equal(search_patience_strategy(PATIENCE_EXHAUSTIVE), SEARCH_EXHAUSTIVE);
}

static void test_exhaustive_asks_all_in_order(void **state) {
    (void)state;
    struct world w = world_open(&decode);
    int *asked = xmalloc((size_t)w.configs.count * sizeof *asked);
    assert_int_equal(run_rules(&w, (struct search_rules){SEARCH_EXHAUSTIVE, 0, INT32_MAX, false}, NULL, asked),
                     w.configs.count);
    for (int i = 0; i < w.configs.count; i++)
        assert_int_equal(asked[i], i);
    free(asked);
    world_close(&w);
}

/* Every strategy asks all in the end, keeps to a budget, and repeats itself for a seed. */
static void test_budget_and_seed(void **state) {
    (void)state;
    struct world w = world_open(&decode);
    const int room = w.configs.count;
    int *a = xmalloc((size_t)room * sizeof *a), *b = xmalloc((size_t)room * sizeof *b);
    for (int strategy = SEARCH_RANDOM; strategy <= SEARCH_GUIDED; strategy++) {
        struct search_rules rules = {(enum search_strategy)strategy, 5, INT32_MAX, false};
        assert_int_equal(run_rules(&w, rules, NULL, a), room);
        rules.budget = 23;
        assert_int_equal(run_rules(&w, rules, NULL, b), 23);
        assert_memory_equal(a, b, 23 * sizeof *a);
        rules.seed = 6;
        assert_int_equal(run_rules(&w, rules, NULL, b), 23);
        assert_memory_not_equal(a, b, 23 * sizeof *a);
    }
    free(a);
    free(b);
    world_close(&w);
}

static int knobs_that_differ(const struct config *a, const struct config *b) {
    int count = 0;
    for (int k = 0; k < a->family->knob_count; k++)
        count += a->value[k] != b->value[k];
    return count;
}

/* They differ in one knob, and no configuration of the list has a value of it between theirs. */
static bool adjacent(const struct config_list *pool, const struct config *a, const struct config *b) {
    int knob = 0;
    if (knobs_that_differ(a, b) != 1)
        return false;
    while (a->value[knob] == b->value[knob])
        knob++;
    for (int i = 0; i < pool->count; i++) {
        const int v = pool->config[i].value[knob];
        if ((v - a->value[knob]) * (v - b->value[knob]) < 0)
            return false;
    }
    return true;
}

/* Until nothing around is faster, a random search only looks at neighbours of the best of its climb. */
static void test_random_climbs(void **state) {
    (void)state;
    struct world w = world_open(&decode);
    int asked[400];
    double spread = 0;
    enum { SEEDS = 10, BUDGET = 40 };
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        int centre, steps = 1;
        assert_int_equal(run_rules(&w, (struct search_rules){SEARCH_RANDOM, seed, BUDGET, false}, NULL, asked), BUDGET);
        centre = asked[0];
        for (; steps < BUDGET && adjacent(&w.configs, &w.configs.config[centre], &w.configs.config[asked[steps]]);
             steps++)
            if (w.ns[asked[steps]] < w.ns[centre])
                centre = asked[steps];
        assert_true(steps > 4);
        assert_true(w.ns[centre] < w.ns[asked[0]] || steps > 4);
        spread += distance(&w, asked, BUDGET);
    }
    assert_true(spread / SEEDS < 0.25);
    world_close(&w);
}

/* Every configuration is as likely a beginning as any other. */
static void test_random_begins_anywhere(void **state) {
    (void)state;
    struct world w = world_open(&decode);
    enum { SEEDS = 400, PARTS = 8 };
    int part[PARTS] = {0}, asked;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        assert_int_equal(run_rules(&w, (struct search_rules){SEARCH_RANDOM, seed, 1, false}, NULL, &asked), 1);
        part[asked * PARTS / w.configs.count]++;
    }
    for (int i = 0; i < PARTS; i++) /* 50 each; five standard deviations */
        assert_in_range(part[i], 17, 83);
    world_close(&w);
}

/* Steps between two configurations in doublings of 1 + value, over all knobs. */
static double doublings_apart(const struct config *a, const struct config *b) {
    double sum = 0;
    for (int k = 0; k < a->family->knob_count; k++)
        sum += fabs(log2((1.0 + a->value[k]) / (1.0 + b->value[k])));
    return sum;
}

static double nearest_of(const struct world *w, const int *asked, int count, int to) {
    double nearest = INFINITY;
    for (int i = 0; i < count; i++)
        nearest = fmin(nearest, doublings_apart(&w->configs.config[asked[i]], &w->configs.config[to]));
    return nearest;
}

/* With nothing to learn from, a guided search begins with four that lie far from each other: the third and the fourth
 * half as far again as random ones do. */
static void test_blind_start_is_spread(void **state) {
    (void)state;
    struct world w = world_open(&decode);
    enum { SEEDS = 30 };
    int asked[4];
    double spread = 0, random = 0;
    srand48(3);
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        assert_int_equal(run_rules(&w, (struct search_rules){SEARCH_GUIDED, seed, 4, false}, NULL, asked), 4);
        spread += nearest_of(&w, asked, 2, asked[2]) + nearest_of(&w, asked, 3, asked[3]);
        for (int i = 0; i < 4; i++)
            asked[i] = (int)(lrand48() % w.configs.count);
        random += nearest_of(&w, asked, 2, asked[2]) + nearest_of(&w, asked, 3, asked[3]);
    }
    assert_true(spread > 1.5 * random);
    world_close(&w);
}

/* What a guided search should ask next, from the predictions of all and what has been asked: the fastest; every second
 * time the fastest next to the best; every fourth time one unlike all asked, a doubling of a knob counting as a tenth
 * of the time. Beyond the budget, settling, only what is next to the best. */
static int should_ask(const struct world *w, const double *predicted, const int *asked, int count, bool settling,
                      int best) {
    int chosen = -1;
    double least = INFINITY;
    const bool next_to_best = settling || count % 2 == 1;
    for (int i = 0; i < w->configs.count; i++) {
        const double nearest = nearest_of(w, asked, count, i);
        if (nearest <= 0 || (next_to_best && !adjacent(&w->configs, &w->configs.config[i], &w->configs.config[best])))
            continue;
        const double score = predicted[i] - (!next_to_best && count % 4 == 2 ? 0.1 * nearest : 0);
        if (score < least) {
            least = score;
            chosen = i;
        }
    }
    return chosen;
}

/* Shared memory of an SM: what the configuration that wants most of it wants. */
static int shared_by(const struct world *w) {
    size_t most = 0;
    for (int i = 0; i < w->configs.count; i++) {
        const struct config *c = &w->configs.config[i];
        struct launch_shape shape;
        c->family->shape(c, w->pool.problem, limits.sm_count, &shape);
        const size_t wants = (size_t)config_get(c, "ctas") * (shape.smem_bytes + EXTRA_SHARED);
        most = wants > most ? wants : most;
    }
    return (int)most;
}

/* Up to the eighth measurement the model is fitted anew after each. It begins with what `memory` knows, or with the
 * modelled times of the pool. */
static void check_guided_steps(struct world *w, struct model_samples *memory) {
    enum { BUDGET = 6, STEPS = 9 };
    const size_t room = (size_t)w->configs.count;
    double *predicted = xmalloc(room * sizeof *predicted);
    struct model_point *point = xmalloc(room * sizeof *point);
    struct model_samples own = {0};
    struct model_fit fit;
    int asked[STEPS], best = -1;
    for (int i = 0; i < w->configs.count; i++)
        model_point_init(&point[i], &w->configs.config[i], w->pool.problem, limits.sm_count, shared_by(w),
                         w->pool.modelled_ns ? w->pool.modelled_ns[i] : 0);
    struct search *s = search_open(&w->pool, &(struct search_rules){SEARCH_GUIDED, 0, BUDGET, true}, memory);
    for (int step = 0; step < STEPS; step++) {
        model_fit(&fit, &point[0], &own, memory);
        for (int i = 0; i < w->configs.count; i++)
            predicted[i] = model_predict(&fit, &point[i]);
        asked[step] = search_next(s);
        assert_int_equal(asked[step], should_ask(w, predicted, asked, step, step >= BUDGET, best));
        search_tell(s, asked[step], w->ns[asked[step]]);
        samples_add(&own, &point[asked[step]], w->ns[asked[step]]);
        if (best < 0 || w->ns[asked[step]] < w->ns[best])
            best = asked[step];
    }
    search_close(s);
    samples_release(&own);
    free(point);
    free(predicted);
}

static void test_guided_steps(void **state) {
    (void)state;
    static const struct problem before = {.m = 64, .n = 4096, .k = 4096, .group = 128};
    struct world w = world_open(&decode), learnt = world_open(&before);
    struct model_samples memory = {0};
    double *modelled = xmalloc((size_t)w.configs.count * sizeof *modelled);
    int asked[12];
    for (int i = 0; i < w.configs.count; i++)
        modelled[i] = w.ns[i] * (1 + 0.3 * whim(&w.configs.config[i], &decode));
    w.pool.modelled_ns = modelled;
    check_guided_steps(&w, &memory);
    w.pool.modelled_ns = NULL;
    samples_release(&memory);
    assert_int_equal(run_rules(&learnt, (struct search_rules){SEARCH_RANDOM, 1, 12, false}, &memory, asked), 12);
    check_guided_steps(&w, &memory);
    samples_release(&memory);
    free(modelled);
    world_close(&w);
    world_close(&learnt);
}

/* What was told is remembered for the next problem, but for what failed. */
static void test_memory(void **state) {
    (void)state;
    struct world w = world_open(&decode);
    struct model_samples memory = {0};
    int asked[20], good = 0;
    for (int i = 0; i < w.configs.count; i += 2)
        w.ns[i] = 0;
    assert_int_equal(run_rules(&w, (struct search_rules){SEARCH_RANDOM, 4, 20, false}, &memory, asked), 20);
    for (int i = 0; i < 20; i++)
        if (w.ns[asked[i]] > 0)
            assert_true(memory.item[good++].ns == w.ns[asked[i]]);
    assert_int_equal(memory.count, good);
    assert_in_range(good, 1, 19);
    samples_release(&memory);
    world_close(&w);
}

/* Configurations that fail are no news of any time: a third of all, among them the fastest. */
static void test_failures(void **state) {
    (void)state;
    struct world w = world_open(&decode);
    int asked[400];
    const double forbidden = w.best * 1.02;
    w.best = INFINITY;
    for (int i = 0; i < w.configs.count; i++) {
        if (w.ns[i] < forbidden || i % 3 == 0)
            w.ns[i] = 0;
        else
            w.best = fmin(w.best, w.ns[i]);
    }
    for (int strategy = SEARCH_RANDOM; strategy <= SEARCH_GUIDED; strategy++) {
        int count = run_rules(&w, (struct search_rules){(enum search_strategy)strategy, 1, 60, true}, NULL, asked);
        assert_true(count >= 60 && count <= 120);
        assert_true(distance(&w, asked, count) < 0.5);
    }
    memset(w.ns, 0, (size_t)w.configs.count * sizeof *w.ns);
    for (int strategy = SEARCH_RANDOM; strategy <= SEARCH_GUIDED; strategy++)
        assert_int_equal(run_rules(&w, (struct search_rules){(enum search_strategy)strategy, 1, 60, true}, NULL, asked),
                         60);
    world_close(&w);
}

/* What is known before counts, and is not asked for. */
static void test_known_before(void **state) {
    (void)state;
    struct world w = world_open(&decode);
    int asked[400];
    const struct search_rules rules = {SEARCH_GUIDED, 2, 30, false};
    struct search *s = search_open(&w.pool, &rules, NULL);
    for (int i = 0; i < 20; i++)
        search_tell(s, 3 * i, w.ns[3 * i]);
    assert_int_equal(search_left(s), 10);
    int count = run(s, &w, asked);
    assert_int_equal(count, 10);
    for (int i = 0; i < count; i++)
        assert_true(asked[i] % 3 != 0 || asked[i] >= 60);
    search_close(s);
    world_close(&w);
}

/* A settled search has looked at every neighbour of its best. */
static void test_until_settled(void **state) {
    (void)state;
    struct world w = world_open(&decode);
    int asked[400], best = 0;
    int count = run_rules(&w, (struct search_rules){SEARCH_GUIDED, 3, 24, true}, NULL, asked);
    assert_true(count >= 24 && count <= 48);
    for (int i = 0; i < count; i++)
        if (w.ns[asked[i]] < w.ns[asked[best]])
            best = i;
    for (int i = 0; i < w.configs.count; i++) {
        bool seen = false;
        for (int j = 0; j < count; j++)
            seen = seen || asked[j] == i;
        if (adjacent(&w.configs, &w.configs.config[i], &w.configs.config[asked[best]]))
            assert_true(seen);
    }
    world_close(&w);
}

/* With the modelled times of a kind device as guide, the fastest of them come first, and a guide that is 5 % off finds
 * the best. */
static void test_modelled_times_guide(void **state) {
    (void)state;
    struct world w = world_open(&decode);
    int asked[400], first = 0;
    double *modelled = xmalloc((size_t)w.configs.count * sizeof *modelled);
    srand48(4);
    for (int i = 0; i < w.configs.count; i++) {
        modelled[i] = 0.7 * w.ns[i] * (1 + 0.05 * drand48());
        if (modelled[i] < modelled[first])
            first = i;
    }
    w.pool.modelled_ns = modelled;
    int count = run_rules(&w, (struct search_rules){SEARCH_GUIDED, 0, w.configs.count / 10, false}, NULL, asked);
    assert_int_equal(asked[0], first);
    assert_true(distance(&w, asked, count) < 0.01);
    free(modelled);
    world_close(&w);
}

/* A sweep of eight problems: mostly within 1 % of the best of each, with a tenth of the measurements. Some of these
 * problems have two valleys, and noise of 2 % that no model can foretell. */
static void test_guided_sweep(void **state) {
    (void)state;
    enum { SEEDS = 3, PROBLEMS = 8 };
    int within = 0, measured = 0, all = 0, random_within = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct model_samples memory = {0};
        for (int i = 0; i < PROBLEMS; i++) {
            struct problem p = decode;
            p.m = i % 2 ? 256 : 16;
            p.n = 2048 + 1536 * (i / 2);
            p.k = i / 2 % 2 ? 8192 : 3072;
            struct world w = world_open(&p);
            int *asked = xmalloc((size_t)w.configs.count * sizeof *asked);
            const int share = w.configs.count / 10;
            const int budget = search_guided_budget(share, PROBLEMS, !memory.count);
            int count = run_rules(&w, (struct search_rules){SEARCH_GUIDED, seed, budget, false}, &memory, asked);
            within += distance(&w, asked, count) <= 0.01;
            measured += count;
            all += w.configs.count;
            count = run_rules(&w, (struct search_rules){SEARCH_RANDOM, seed, share, false}, NULL, asked);
            random_within += distance(&w, asked, count) <= 0.01;
            free(asked);
            world_close(&w);
        }
        samples_release(&memory);
    }
    print_message("guided: %d of %d within 1 %% of the best with %.1f %% of the measurements; random: %d\n", within,
                  SEEDS * PROBLEMS, 100.0 * measured / all, random_within);
    assert_true(measured <= all / 10 + SEEDS);
    assert_true(within >= SEEDS * PROBLEMS * 5 / 6);
    assert_true(within > random_within);
}

static void test_guided_budget(void **state) {
    (void)state;
    int taken = search_guided_budget(40, 9, true);
    assert_int_equal(taken, 72);
    for (int i = 1; i < 9; i++)
        taken += search_guided_budget(40, 9, false);
    assert_int_equal(taken, 9 * 40);
    assert_int_equal(search_guided_budget(40, 1, true), 40);
}

struct costs_by_hand {
    const char *family, *config;
    int pct8;
    double cost[MODEL_COSTS];
};

/* 40 x 1000 x 4000 on 10 SMs of 100000 bytes: 3 x 8 tiles of 128 features and 16 tokens, 32 K steps of 128. A stage of
 * the sm80 kernel is 10752 bytes with 4-bit weights and 18816 with 8-bit ones, and 1152 bytes come on top of a CTA. */
static const struct costs_by_hand by_hand[] = {
    /* 2 CTAs of 44160 bytes on an SM */
    {"sm80",
     "tile_n=128,tile_m=16,stages=4",
     0,
     {1, 2, 64, 64 / 3.0, 96, 96 * 262144.0, 96 * 16384.0, 96 * 128 * 80.0, 3 * 2048.0, 0, 0, 0, 0}},
    /* one of 76416 bytes would fit, two are asked for */
    {"sm80",
     "tile_n=128,tile_m=16,stages=4,ctas=2,split_k=4",
     100,
     {1, 5, 40, 40 / 3.0, 80, 80 * 262144.0, 80 * 16384.0, 80 * 128 * 144.0, 10 * 2048.0, 96 * 8192.0, 1, 4, 0}},
    /* all 24 tiles are shared by 20 CTAs, two to an SM: 20 items, and 768 steps in all */
    {"sm90",
     "blocks=1,tile_m=16,consumers=2,stages=4,ctas=2,stream_k=4",
     0,
     {1, 1, 39, 13, 77, 77 * 262144.0, 77 * 16384.0, 77 * 128 * 80.0, 2 * 2048.0, 40 * 8192.0, 1, 2, 0}},
    /* four CTAs for each tile, each with 8 steps; more CTAs would fit, but it is persistent */
    {"sm90",
     "blocks=1,tile_m=16,consumers=2,stages=4,cluster_k=4",
     0,
     {1, 10, 80, 80 / 3.0, 80, 80 * 262144.0, 80 * 16384.0, 80 * 128 * 80.0, 10 * 2048.0, 0, 0, 0, 4}},
};

static void test_costs_by_hand(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof by_hand / sizeof *by_hand; i++) {
        struct problem p = {.m = 40, .n = 1000, .k = 4000, .group = 128, .rows8 = 10 * by_hand[i].pct8};
        struct config config;
        struct model_point point;
        assert_int_equal(config_parse(family_find(by_hand[i].family), by_hand[i].config, &config), MT_OK);
        model_point_init(&point, &config, &p, 10, 100000, 123);
        for (int c = 0; c < MODEL_COSTS; c++)
            if (fabs(point.cost[c] - by_hand[i].cost[c]) > 1e-9 * by_hand[i].cost[c])
                fail_msg("cost %d of %s is %.17g, not %.17g", c, by_hand[i].config, point.cost[c], by_hand[i].cost[c]);
        for (int k = 0; k < config.family->knob_count; k++) {
            const double knob = log2(1 + config.value[k]);
            assert_true(point.knob[2 * k] == knob && point.knob[2 * k + 1] == knob * knob);
        }
        assert_true(point.shape[0] == log2(40) && point.shape[1] == log2(1000) && point.shape[2] == log2(4000));
        assert_true(point.family == config.family && point.modelled_ns == 123);
    }
}

static struct model_point point_of(const char *config_text, const struct problem *p, double modelled_ns) {
    struct config config;
    struct model_point point;
    assert_int_equal(config_parse(&family_sm80, config_text, &config), MT_OK);
    model_point_init(&point, &config, p, limits.sm_count, limits.smem_per_sm, modelled_ns);
    return point;
}

/* One knob has two values, 3 and 7 (so log2(1 + v) is 2 and 3), and the higher one takes e^0.5 as long as was modelled,
 * the lower one exactly as long. The ridge regression of the knob and its square then has an answer on paper: with
 * weights u and v of the two, S = u v / (u + v) * (1^2 + 5^2), a share S / (1 + S) of the effect is told. The own
 * measurement weighs 4, one of another shape half as much for each doubling of M, and of two doublings of N or of K. */
static void test_knob_effect(void **state) {
    (void)state;
    static const struct {
        int m, n, k; /* of the problem that the lower value was measured for */
        double weight;
    } others[] = {{16, 6144, 4096, 1},    {32, 6144, 4096, 0.5}, {4, 6144, 4096, 0.25},
                  {16, 24576, 4096, 0.5}, {16, 6144, 1024, 0.5}, {32, 3072, 8192, 0.25}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct problem there = decode;
        there.m = others[i].m, there.n = others[i].n, there.k = others[i].k;
        const struct model_point high = point_of("stages=7", &decode, 3000), low = point_of("stages=3", &decode, 1000),
                                 measured = point_of("stages=3", &there, 500);
        const double u = 4, v = others[i].weight, s = u * v / (u + v) * 26, effect = 0.5 * s / (1 + s);
        struct model_samples own = {0}, memory = {0};
        struct model_fit fit;
        samples_add(&own, &high, 3000 * exp(0.5));
        samples_add(&memory, &measured, 500);
        model_fit(&fit, &low, &own, &memory);
        const double level = 0.5 * u / (u + v);
        assert_int_equal(fit.samples, 2);
        assert_true(fabs(model_predict(&fit, &high) - (log(3000) + level + effect * v / (u + v))) < 1e-9);
        assert_true(fabs(model_predict(&fit, &low) - (log(1000) + level - effect * u / (u + v))) < 1e-9);
        samples_release(&own);
        samples_release(&memory);
    }
}

/* Three knobs whose effects multiply, each a power of 1 + value: 24 of 36 combinations foretell the others. */
static void test_knob_effects_together(void **state) {
    (void)state;
    struct model_samples own = {0}, others = {0};
    struct model_point point[36];
    double ns[36];
    struct model_fit fit;
    for (int i = 0; i < 36; i++) {
        char text[64];
        const int stages = 3 + i % 4, tile_n = 32 << i / 4 % 3, split = 1 << i / 12;
        snprintf(text, sizeof text, "stages=%d,tile_n=%d,split_k=%d", stages, tile_n, split);
        point[i] = point_of(text, &decode, 2000);
        ns[i] = 2000 * pow(1 + stages, -0.3) * pow(1 + tile_n, 0.4) * pow(1 + split, 0.2);
        if (i % 3)
            for (int copies = 0; copies < 20; copies++)
                samples_add(&own, &point[i], ns[i]);
    }
    model_fit(&fit, &point[0], &own, &others);
    for (int i = 0; i < 36; i++)
        if (fabs(exp(model_predict(&fit, &point[i])) / ns[i] - 1) > 0.01)
            fail_msg("%d is foretold to take %g ns, not %g", i, exp(model_predict(&fit, &point[i])), ns[i]);
    samples_release(&own);
}

/* Measurements of another family teach nothing, and a modelled time is believed where nothing was measured. */
static void test_nothing_to_learn(void **state) {
    (void)state;
    struct model_samples own = {0}, others = {0};
    struct model_fit fit;
    struct config config;
    struct model_point plain;
    config_default(family_find("f16"), &config);
    model_point_init(&plain, &config, &decode, limits.sm_count, limits.smem_per_sm, 0);
    samples_add(&own, &plain, 1234);
    const struct model_point known = point_of("stages=3", &decode, 500), unknown = point_of("stages=4", &decode, 0);
    model_fit(&fit, &known, &own, &others);
    assert_int_equal(fit.samples, 0);
    assert_true(model_predict(&fit, &known) == log(500));
    assert_true(isinf(model_predict(&fit, &unknown)));
    samples_release(&own);
}

/* The first stage alone, without what the knobs add. */
static double first_stage_of(const struct model_fit *fit, const struct model_point *point) {
    double ns = 0;
    for (int c = 0; c < MODEL_COSTS; c++)
        ns += fit->cost[c] * point->cost[c];
    return ns;
}

/* Its costs are never negative, not even where more of all of them goes with less time; each sample counts by its
 * relative error: of 100 and 300 ns for the same costs the best is 120. */
static void test_first_stage(void **state) {
    (void)state;
    struct model_samples own = {0}, others = {0};
    struct model_fit fit;
    const struct model_point small = point_of("split_k=1", &decode, 0), large = point_of("split_k=8", &decode, 0);
    samples_add(&own, &small, 300);
    samples_add(&own, &small, 100);
    model_fit(&fit, &small, &own, &others);
    const double best = (1 / 100.0 + 1 / 300.0) / (1 / 1e4 + 1 / 9e4);
    assert_true(fabs(first_stage_of(&fit, &small) / best - 1) < 0.01);
    samples_release(&own);
    samples_add(&own, &small, 1000);
    samples_add(&own, &large, 100);
    model_fit(&fit, &small, &own, &others);
    for (int c = 0; c < MODEL_COSTS; c++)
        assert_true(fit.cost[c] >= 0);
    assert_true(isfinite(model_predict(&fit, &small)) && isfinite(model_predict(&fit, &large)));
    samples_release(&own);
}

/* Times that are a sum of the model's own costs are foretold: 40 measured ones say the others within 3 %. */
static void test_model_foretells(void **state) {
    (void)state;
    static const double weights[MODEL_COSTS] = {2000, 300, 0, 90, 5, 2e-4, 1e-3, 2e-3, 0.01, 1e-4, 300, 50};
    struct world w = world_open(&decode);
    struct model_samples own = {0}, others = {0};
    struct model_fit fit;
    double worst = 0;
    struct model_point *point = xmalloc((size_t)w.configs.count * sizeof *point);
    for (int i = 0; i < w.configs.count; i++) {
        model_point_init(&point[i], &w.configs.config[i], &decode, limits.sm_count, limits.smem_per_sm, 0);
        w.ns[i] = 0;
        for (int c = 0; c < MODEL_COSTS; c++)
            w.ns[i] += weights[c] * point[i].cost[c];
    }
    model_fit(&fit, &point[0], &own, &others);
    assert_true(isinf(model_predict(&fit, &point[0])));
    for (int i = 0; i < 40; i++) {
        int at = i * w.configs.count / 40;
        samples_add(i % 2 ? &own : &others, &point[at], w.ns[at]);
    }
    model_fit(&fit, &point[0], &own, &others);
    for (int i = 0; i < w.configs.count; i++) {
        assert_true(isfinite(model_predict(&fit, &point[i])));
        worst = fmax(worst, fabs(exp(model_predict(&fit, &point[i])) / w.ns[i] - 1));
        assert_true(fabs(first_stage_of(&fit, &point[i]) / w.ns[i] - 1) < 0.06);
    }
    assert_true(worst < 0.03);
    samples_release(&own);
    samples_release(&others);
    free(point);
    world_close(&w);
}

static bool asked_for(const int *asked, int count, int index) {
    for (int i = 0; i < count; i++)
        if (asked[i] == index)
            return true;
    return false;
}

/* Neither the order of the list nor what is known changes what is drawn; another seed and another problem do. */
static void test_sample_is_drawn(void **state) {
    (void)state;
    enum { DRAWN = 40 };
    static const struct problem other = {.m = 17, .n = 6144, .k = 4096, .group = 128};
    struct world w = world_open(&decode), reversed = world_open(&decode);
    const int count = w.configs.count;
    int *asked = xcalloc((size_t)count, sizeof *asked), *again = xcalloc((size_t)count, sizeof *again);
    const struct search_rules rules = {SEARCH_SAMPLE, 7, DRAWN, false};
    assert_int_equal(run_rules(&w, rules, NULL, asked), DRAWN);
    for (int i = 0; i < count; i++)
        reversed.configs.config[i] = w.configs.config[count - 1 - i];
    assert_int_equal(run_rules(&reversed, rules, NULL, again), DRAWN);
    for (int i = 0; i < DRAWN; i++)
        assert_int_equal(again[i], count - 1 - asked[i]);
    struct search *s = search_open(&w.pool, &rules, NULL);
    int known = 0, bystander = 0;
    while (asked_for(asked, DRAWN, bystander))
        bystander++;
    search_tell(s, bystander, 1); /* a favourite that was never drawn */
    for (; known < 10; known++)
        search_tell(s, asked[known], w.ns[asked[known]]);
    assert_int_equal(search_left(s), DRAWN - known);
    assert_int_equal(run(s, &w, again), DRAWN - known);
    for (int i = known; i < DRAWN; i++)
        assert_int_equal(again[i - known], asked[i]);
    search_close(s);
    int shared = run_rules(&w, (struct search_rules){SEARCH_SAMPLE, 8, DRAWN, false}, NULL, again) - DRAWN;
    for (int i = 0; i < DRAWN; i++)
        shared += asked_for(asked, DRAWN, again[i]);
    assert_true(shared < DRAWN / 2);
    w.pool.problem = &other;
    assert_int_equal(run_rules(&w, rules, NULL, again), DRAWN);
    assert_memory_not_equal(asked, again, DRAWN * sizeof *asked);
    free(asked);
    free(again);
    world_close(&w);
    world_close(&reversed);
}

/* A family with few configurations is not drowned by one with many. */
static void test_sample_draws_families_alike(void **state) {
    (void)state;
    struct world w = world_open(&decode);
    const struct family *few = family_find("f16");
    const int many = w.configs.count;
    int *asked = xcalloc((size_t)many + 8, sizeof *asked), of_few = 0;
    for (int i = 0; i < 8; i++) {
        char text[40];
        struct config config;
        snprintf(text, sizeof text, "tile_n=%d,tile_m=%d", i % 2 ? 64 : 128, 16 << i / 2);
        assert_int_equal(config_parse(few, text, &config), MT_OK);
        config_list_add(&w.configs, &config);
    }
    w.pool.config = w.configs.config;
    w.pool.count = w.configs.count;
    w.ns = xrealloc(w.ns, (size_t)w.configs.count * sizeof *w.ns);
    for (int i = many; i < w.configs.count; i++)
        w.ns[i] = 1e4;
    assert_int_equal(run_rules(&w, (struct search_rules){SEARCH_SAMPLE, 0, 10, false}, NULL, asked), 10);
    for (int i = 0; i < 10; i++)
        of_few += asked[i] >= many;
    assert_int_equal(of_few, 5);
    of_few = 0;
    assert_int_equal(run_rules(&w, (struct search_rules){SEARCH_SAMPLE, 0, 30, false}, NULL, asked), 30);
    for (int i = 0; i < 30; i++)
        of_few += asked[i] >= many;
    assert_int_equal(of_few, 8);
    free(asked);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_exhaustive_asks_all_in_order),
        cmocka_unit_test(test_budget_and_seed),
        cmocka_unit_test(test_random_climbs),
        cmocka_unit_test(test_random_begins_anywhere),
        cmocka_unit_test(test_blind_start_is_spread),
        cmocka_unit_test(test_guided_steps),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_known_before),
        cmocka_unit_test(test_until_settled),
        cmocka_unit_test(test_modelled_times_guide),
        cmocka_unit_test(test_guided_sweep),
        cmocka_unit_test(test_guided_budget),
        cmocka_unit_test(test_costs_by_hand),
        cmocka_unit_test(test_knob_effect),
        cmocka_unit_test(test_knob_effects_together),
        cmocka_unit_test(test_nothing_to_learn),
        cmocka_unit_test(test_first_stage),
        cmocka_unit_test(test_model_foretells),
        cmocka_unit_test(test_sample_is_drawn),
        cmocka_unit_test(test_sample_draws_families_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
