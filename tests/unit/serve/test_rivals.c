/* Which kernel serves an M that was not tuned, and what is promised of it: beside the rule worked out anew, without the
 * table's help. */
#include "runtime/serve/table.h"
#include "tests/unit/serve/configs.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

enum { N = 5008, K = 4096, MOST = 12, KINDS = 6 };
static const struct bundle_layer layer = {"qkv", "", 1, N, K, 128, 0, "w4a8", "fp16"};

/* By number: features and tokens of a tile, parts along K. */
static const struct {
    const char *config;
    int tile_n, tile_m, split;
} kinds[KINDS] = {
    {SM80(128, 0, 8, 4, 4, 1, 0, 4, 1), 128, 8, 4},   {SM80(64, 0, 16, 4, 4, 1, 0, 2, 1), 64, 16, 2},
    {SM80(128, 0, 32, 4, 4, 1, 0, 1, 1), 128, 32, 1}, {SM80(64, 0, 64, 4, 4, 1, 0, 1, 1), 64, 64, 1},
    {SM80(128, 0, 64, 3, 4, 1, 0, 1, 1), 128, 64, 1}, {SM80(128, 0, 128, 3, 4, 2, 0, 1, 1), 128, 128, 1},
};

static int features = N; /* of the layer that is looked at */

static double load(int kind, int m) {
    const double ctas =
        ceil((double)features / kinds[kind].tile_n) * ceil((double)m / kinds[kind].tile_m) * kinds[kind].split;
    return 0.7 * ceil(ctas / 108) + 0.3 * ctas / 108;
}

/* A layer with winners of random kinds at random M, and times of some at the M of others. */
struct world {
    int m[MOST], winner[MOST], count;
    double ns[KINDS][MOST]; /* 0: not known */
    struct bundle_entry entries[MOST];
    struct bundle_time times[MOST * KINDS];
    struct mt_table *table;
};

static int by_time(const void *a, const void *b) {
    const struct bundle_time *x = a, *y = b;
    return x->m != y->m ? (x->m < y->m ? -1 : 1) : strcmp(x->config, y->config);
}

static void world_open(struct world *w, const struct bundle_build *fallbacks, int fallback_count) {
    struct bundle bundle = {
        .fingerprint = {.gpu = "", .cc = 80, .sm_count = 108, .template_hash = "", .layout = MT_LAYOUT},
        .layers = &layer,
        .layer_count = 1,
        .entries = w->entries,
        .entry_count = w->count,
        .times = w->times,
        .fallbacks = fallbacks,
        .fallback_count = fallback_count};
    for (int i = 0; i < w->count; i++) {
        w->entries[i] = (struct bundle_entry){.m = w->m[i],
                                              .kind = BUNDLE_KERNEL,
                                              .family = "sm80",
                                              .config = kinds[w->winner[i]].config,
                                              .image_hash = "",
                                              .expected_ns = w->ns[w->winner[i]][i],
                                              .origin = BUNDLE_MODELLED};
        for (int k = 0; k < KINDS; k++)
            if (k != w->winner[i] && w->ns[k][i] > 0)
                w->times[bundle.time_count++] =
                    (struct bundle_time){0, w->m[i], "sm80", kinds[k].config, w->ns[k][i], BUNDLE_MODELLED};
    }
    qsort(w->times, (size_t)bundle.time_count, sizeof *w->times, by_time);
    if (table_build(&bundle, &a100, 0, false, &w->table) != MT_OK)
        fail_msg("%s", fail_message());
}

static void world_init(struct world *w) {
    int m = 0;
    *w = (struct world){.count = 1 + (int)(lrand48() % MOST)};
    for (int i = 0; i < w->count; i++) {
        m += 1 + (int)(exp(drand48() * 6));
        w->m[i] = m;
        w->winner[i] = (int)(lrand48() % KINDS);
        for (int k = 0; k < KINDS; k++)
            w->ns[k][i] = 5000 * (1 + m / 100.0) * exp(drand48());
    }
    for (int i = 0; i < w->count; i++) /* the rest is not known */
        for (int k = 0; k < KINDS; k++)
            if (k != w->winner[i] && lrand48() % 3 == 0)
                w->ns[k][i] = 0;
    world_open(w, NULL, 0);
}

/* The rule of stairs.h. 0: nothing is known of it on either side. */
static double estimate(const struct world *w, int kind, int low, int high, int m) {
    const double a = low >= 0 ? w->ns[kind][low] : 0, b = high < w->count ? w->ns[kind][high] : 0;
    if (a > 0 && b > 0) {
        const double from = load(kind, w->m[low]), to = load(kind, w->m[high]);
        return to > from ? a + (b - a) * (load(kind, m) - from) / (to - from)
                         : a + (b - a) * (m - w->m[low]) / (w->m[high] - w->m[low]);
    }
    if (a > 0)
        return a * load(kind, m) / load(kind, w->m[low]);
    return b > 0 ? b * load(kind, m) / load(kind, w->m[high]) : 0;
}

/* The least of the winners at the two M on either side. */
static double least_at(const struct world *w, int m, double of[KINDS]) {
    int high = 0;
    double least = INFINITY;
    while (high < w->count && w->m[high] <= m)
        high++;
    for (int k = 0; k < KINDS; k++)
        of[k] = 0;
    for (int i = high - 2; i < high + 2; i++)
        if (i >= 0 && i < w->count)
            of[w->winner[i]] = estimate(w, w->winner[i], high - 1, high, m);
    for (int k = 0; k < KINDS; k++)
        if (of[k] > 0 && of[k] < least)
            least = of[k];
    return least;
}

static struct mt_choice world_lookup(const struct world *w, int m) {
    return lookup(w->table, mt_table_layer_at(w->table, 0), m);
}

static int tuned_at(const struct world *w, int m) {
    for (int i = 0; i < w->count; i++)
        if (w->m[i] == m)
            return i;
    return -1;
}

static void the_quickest_of_those_around_serves(void **state) {
    (void)state;
    int others = 0, beyond = 0;
    for (int round = 0; round < 300; round++) {
        struct world w;
        world_init(&w);
        for (int i = 0; i < 200; i++) {
            const int m = i < 100 ? 1 + i : (int)exp(drand48() * 10), tuned = tuned_at(&w, m);
            const struct mt_choice c = world_lookup(&w, m);
            double of[KINDS];
            int kind = 0;
            if (tuned >= 0) { /* its own winner, whatever others take */
                assert_string_equal(c.config, kinds[w.winner[tuned]].config);
                assert_true(c.tuned_m == m && c.expected_ns == w.ns[w.winner[tuned]][tuned]);
                assert_int_equal(c.step, MT_STEP_EXACT);
                continue;
            }
            const double least = least_at(&w, m, of);
            while (strcmp(kinds[kind].config, c.config) != 0)
                kind++;
            if (!(fabs(of[kind] - least) <= 1e-9 * least))
                fail_msg("M %d: %s takes %g ns, and %g would do", m, c.config, of[kind], least);
            const bool deep = m < w.m[0] && least < w.ns[kind][0] / 2;
            const bool edge = fabs(2 * least / w.ns[kind][0] - 1) < 1e-9; /* of what is too deep */
            if (!edge && !(fabs(c.expected_ns - (deep ? 0 : least)) <= 1e-9 * least))
                fail_msg("M %d of %d .. %d: %g ns, not %g, of %s", m, w.m[0], w.m[w.count - 1], c.expected_ns, least,
                         c.config);
            assert_int_equal(c.step, MT_STEP_NEAREST_M);
            assert_int_equal(c.origin, MT_ORIGIN_MODELLED);
            assert_int_equal(w.winner[tuned_at(&w, c.tuned_m)], kind);
            int high = 0;
            while (high < w.count && w.m[high] <= m)
                high++;
            others += high > 0 && high < w.count && kind != w.winner[high - 1] && kind != w.winner[high];
            beyond += high == w.count;
        }
        table_release(w.table);
    }
    assert_true(others > 100 && beyond > 100);
}

/* What another layer took, on one of `n` features: as bytes or loads grow, but for what every launch takes, which is
 * half the least time of a winner where quantising was not timed. */
static void world_borrow(const struct world *w, int n, struct world *out) {
    double launch = INFINITY;
    *out = *w;
    for (int i = 0; i < w->count; i++)
        launch = fmin(launch, w->ns[w->winner[i]][i] / 2);
    const double bytes = (double)n / N; /* N and n are multiples of 16 */
    for (int k = 0; k < KINDS; k++)
        for (int i = 0; i < w->count; i++) {
            features = N;
            const double there = load(k, w->m[i]);
            features = n;
            const double own = w->ns[k][i] - launch;
            if (w->ns[k][i] > 0)
                out->ns[k][i] = launch + own * fmax(bytes, load(k, w->m[i]) / there);
        }
}

/* A layer that borrows compares at tuned M, too. */
static void borrowers_compare_everywhere(void **state) {
    (void)state;
    int changed = 0;
    for (int round = 0; round < 100; round++) {
        static const int other[] = {2512, 7200, 9008};
        struct world w, scaled;
        struct mt_layer *borrower;
        world_init(&w);
        const struct problem p = {.n = other[round % 3], .k = K, .group = 128};
        assert_int_equal(layer_derive(w.table, &p, NULL, &borrower), MT_OK);
        assert_int_equal(borrower->info.step, MT_STEP_NEAREST_LAYER);
        world_borrow(&w, p.n, &scaled);
        for (int i = 0; i < 100; i++) {
            const int tuned = i % 2 ? (int)(lrand48() % w.count) : -1,
                      m = tuned < 0 ? 1 + (int)exp(drand48() * 9) : w.m[tuned];
            const struct mt_choice c = lookup(w.table, borrower, m);
            double of[KINDS];
            int kind = 0;
            const double least = least_at(&scaled, m, of);
            while (strcmp(kinds[kind].config, c.config) != 0)
                kind++;
            if (!(fabs(of[kind] - least) <= 1e-9 * least))
                fail_msg("M %d of %d features: %s takes %g ns, and %g would do", m, p.n, c.config, of[kind], least);
            changed += tuned >= 0 && kind != w.winner[tuned];
        }
        features = N;
        layer_release(borrower);
        table_release(w.table);
    }
    assert_true(changed > 100);
}

/* A tile costs the same at each of its M, and the next one as much as the load grows. */
static void promises_are_stairs(void **state) {
    (void)state;
    struct world w = {.m = {256, 4096}, .winner = {5, 5}, .count = 2};
    w.ns[5][0] = 50000;
    w.ns[5][1] = 700000;
    world_open(&w, NULL, 0);
    int steps = 0;
    for (int m = 257; m < 4096; m++) {
        const double here = world_lookup(&w, m).expected_ns, before = world_lookup(&w, m - 1).expected_ns;
        assert_true(here >= before);
        if ((m - 1) % 128)
            assert_true(m == 257 || here == before);
        steps += here > before;
    }
    assert_int_equal(steps, 30); /* the last one is at 3969 */
    assert_true(fabs(world_lookup(&w, 100000).expected_ns / 700000 - load(5, 100000) / load(5, 4096)) < 1e-9);
    table_release(w.table);
}

/* Tuned for few tokens alone, or for many alone, it does not fall off at the other end. */
static void defaults_stand_beyond_the_ends(void **state) {
    (void)state;
    static const struct bundle_build fallbacks[] = {
        {"sm80", SM80(128, 0, 128, 3, 4, 2, 0, 1, 1), "w4a8", "fp16", 128, ""},
        {"sm80", SM80(128, 0, 32, 4, 4, 1, 0, 1, 1), "w8a8", "fp16", 128, ""}, /* of other formats */
        {"sm80", SM80(64, 0, 16, 4, 4, 1, 0, 1, 1), "w4a8", "fp16", 128, ""},
    };
    struct world w = {.m = {1, 16}, .winner = {0, 1}, .count = 2};
    w.ns[0][0] = w.ns[0][1] = 11000;
    w.ns[1][0] = w.ns[1][1] = 11000;
    world_open(&w, fallbacks, 3);
    for (int m = 1; m <= 16; m++)
        assert_true(world_lookup(&w, m).step != MT_STEP_DEFAULT);
    const struct mt_choice many = world_lookup(&w, 3000);
    assert_string_equal(many.config, fallbacks[0].config);
    assert_int_equal(many.step, MT_STEP_DEFAULT);
    assert_true(many.expected_ns == 0 && many.tuned_m == 0);
    table_release(w.table);

    w = (struct world){.m = {4096}, .winner = {4}, .count = 1};
    w.ns[4][0] = 500000;
    world_open(&w, fallbacks, 3);
    const struct mt_choice few = world_lookup(&w, 1);
    assert_string_equal(few.config, fallbacks[2].config);
    assert_int_equal(few.step, MT_STEP_DEFAULT);
    assert_true(few.expected_ns == 0);
    assert_string_equal(world_lookup(&w, 4000).config, kinds[4].config);
    table_release(w.table);
}

/* What launches look up is what comparing gives, at every M. */
static void ranges_say_the_same(void **state) {
    (void)state;
    int ranges = 0;
    for (int round = 0; round < 100; round++) {
        struct world w;
        world_init(&w);
        struct mt_layer *own = &w.table->layers[0];
        assert_int_equal(layer_set_ranges(own), MT_OK);
        assert_true(own->ranged > 500);
        for (int i = 0; i < 4000; i++) {
            const int m = i < 3000 ? 1 + i : 1 + (int)exp(drand48() * 16);
            if (layer_launch_slot(own, m) != layer_slot(own, m))
                fail_msg("M %d: slot %d, not %d", m, layer_launch_slot(own, m), layer_slot(own, m));
        }
        for (int i = -2; i < 2; i++)
            assert_int_equal(layer_launch_slot(own, own->ranged + i), layer_slot(own, own->ranged + i));
        ranges += own->range_count;
        table_release(w.table);
    }
    assert_true(ranges > 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_quickest_of_those_around_serves),
        cmocka_unit_test(borrowers_compare_everywhere),
        cmocka_unit_test(promises_are_stairs),
        cmocka_unit_test(defaults_stand_beyond_the_ends),
        cmocka_unit_test(ranges_say_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
