/* Every rule of every kernel family: the last value that is allowed, the first that is refused, and the reason that is
 * given. Numbers are worked out by hand. */
#include "config_of.h"
#include "runtime/family/rules.h"
#include <limits.h>
#include <stdio.h>

static const struct device_limits a100 = {80, 108, 166912, 167936, 65536, 2048};
static const struct device_limits h100 = {90, 132, 232448, 233472, 65536, 2048};

struct rule {
    const char *config; /* over the defaults */
    int m, n, k, group, pct8;
    const char *reason; /* NULL: allowed. Else what the reason holds, pieces in this order between stars. */
};

static bool holds(const char *text, const char *pieces) {
    for (bool more = true; more;) {
        char piece[160];
        size_t length = strcspn(pieces, "*");
        snprintf(piece, sizeof piece, "%.*s", (int)length, pieces);
        text = strstr(text, piece);
        if (!text)
            return false;
        text += length;
        more = pieces[length] == '*';
        pieces += length + more;
    }
    return true;
}

static struct problem problem_of(const struct rule *r) {
    return (struct problem){.m = r->m, .n = r->n, .k = r->k, .group = r->group, .rows8 = (r->n * r->pct8 + 50) / 100};
}

static void check_rule(const char *family, const struct rule *r, const struct device_limits *limits) {
    const struct config config = config_of(family, r->config);
    const struct problem p = problem_of(r);
    char reason[160];
    memset(reason, 'x', sizeof reason);
    bool allowed = config_allowed(&config, &p, limits, reason);
    if (allowed != !r->reason || (allowed && reason[0]) || (r->reason && !holds(reason, r->reason)))
        fail_msg("%s, %s: '%s', not '%s'", family, r->config, reason, r->reason ? r->reason : "");
}

static void check_rules(const char *family, const struct rule *rules, size_t count, const struct device_limits *d) {
    for (size_t i = 0; i < count; i++)
        check_rule(family, &rules[i], d);
}
#define CHECK(family, rules, limits) check_rules(family, rules, sizeof(rules) / sizeof *(rules), limits)

/* ---- what all families have in common ---- */

static void steps_parts_and_tiles(void **state) {
    (void)state;
    struct problem p = {.m = 100, .n = 300, .k = 1000, .group = 64};
    assert_int_equal(k_step(0, &p), 128);
    assert_int_equal(k_step(64, &p), 64);
    p.group = 128;
    assert_int_equal(k_step(0, &p), 128);
    p.group = 256;
    assert_int_equal(k_step(0, &p), 256);
    assert_int_equal(k_step(128, &p), 128);

    static const struct {
        int rows8;
        bool symmetric;
        int width8;
        struct parts want; /* of 300 features */
    } cases[] = {
        {0, false, 0, {false, true, true, 128, 128}},  {300, false, 0, {true, false, false, 128, 128}},
        {0, false, 32, {false, true, true, 128, 128}}, {300, false, 32, {true, false, false, 128, 128}},
        {150, false, 0, {true, true, true, 128, 128}}, {150, false, 32, {true, true, true, 32, 128}},
        {1, false, 32, {true, true, true, 32, 128}},   {299, false, 32, {true, true, true, 32, 128}},
        {0, true, 0, {false, true, false, 128, 128}},  {300, true, 0, {true, false, false, 128, 128}},
        {1, true, 32, {true, true, false, 32, 128}},
    };
    p.n = 300;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        p.rows8 = cases[i].rows8;
        p.symmetric = cases[i].symmetric;
        const struct parts got = parts_of(&p, 128, cases[i].width8), want = cases[i].want;
        assert_true(got.has8 == want.has8 && got.has4 == want.has4 && got.zeros == want.zeros);
        assert_int_equal(got.width8, want.width8);
        assert_int_equal(got.width4, want.width4);
    }
    /* 150 features of each width: 5 tiles of 32 and 3 of 64; 100 tokens: 4 tiles of 32. */
    p = (struct problem){.m = 100, .n = 300, .k = 1000, .group = 64, .rows8 = 150};
    assert_int_equal(tiles_along_n(&p, 32, 64), 5 + 3);
    assert_int_equal(tiles_along_n(&p, 50, 75), 3 + 2);
    assert_int_equal(tiles_along_m(100, 32), 4);
    assert_int_equal(tiles_along_m(96, 32), 3);
    assert_int_equal(tiles_along_m(97, 32), 4);
}

static void warps_splits_and_rasters(void **state) {
    (void)state;
    static const struct {
        int n, m;
        bool allowed;
    } warps[] = {{1, 1, false},  {2, 1, true},  {1, 2, true},  {3, 1, false},  {1, 3, false}, {0, 2, false},
                 {2, 0, false},  {4, 4, true},  {16, 1, true}, {1, 16, true},  {8, 2, true},  {8, 4, false},
                 {32, 1, false}, {6, 2, false}, {2, 6, false}, {-2, -2, false}};
    char reason[160], want[160];
    for (size_t i = 0; i < sizeof warps / sizeof *warps; i++) {
        assert_int_equal(warps_allowed(warps[i].n, warps[i].m, reason), warps[i].allowed);
        snprintf(want, sizeof want, "warps_n and warps_m*powers of two, 2 to 16*%d and %d", warps[i].n, warps[i].m);
        assert_true(warps[i].allowed || holds(reason, want));
    }
    for (int value = -1; value < 8; value++) {
        assert_int_equal(split_allowed(value, 5, reason), value >= 1 && value <= 5);
        snprintf(want, sizeof want, "split_k must be 1 to 5*K steps; it is %d", value);
        assert_true((value >= 1 && value <= 5) || holds(reason, want));
        assert_int_equal(raster_allowed(value, 3, reason), value >= 1 && value <= 3);
        assert_true((value >= 1 && value <= 3) ||
                    (holds(reason, "raster must be 1 to 3") && holds(reason, "token tiles")));
    }
}

/* A CTA has 512 bytes of static shared memory at most, and takes 1024 for the system. Registers come in eights, and a
 * thread has 255 at most. */
static void resources(void **state) {
    (void)state;
    static const struct {
        int threads, ctas, shared, registers;
        const char *reason;
    } cases[] = {
        {64, 1, 1000, 100, NULL},
        {64, 0, 1000, 100, "0 CTAs of 64 threads*2048"},
        {64, 32, 3712, 32, NULL},
        {32, 32, 3712, 64, NULL},
        {32, 33, 3000, 10, "33 CTAs of 32 threads"},
        {1024, 2, 1000, 32, NULL},
        {1056, 2, 1000, 10, "2 CTAs of 1056 threads*holds 2048"},
        {2048, 1, 1000, 32, NULL},
        {2049, 1, 1000, 10, "1 CTAs of 2049 threads"},
        {64, 1, 166400, 100, NULL},
        {64, 1, 166401, 100, "needs 166913 bytes of shared memory*166912"},
        {64, 2, 82432, 100, NULL},
        {64, 2, 82433, 100, "2 CTAs with 82433 bytes*167936"},
        {64, 32, 3713, 32, "32 CTAs with 3713 bytes*167936"},
        {256, 1, 1000, 255, NULL},
        {256, 1, 1000, 256, "needs about 256 registers*1 CTAs of 256 threads leave 255"},
        {64, 1, 1000, 256, "needs about 256 registers*leave 255"},
        {288, 1, 1000, 224, NULL}, /* 227 and a bit */
        {288, 1, 1000, 225, "needs about 225 registers*leave 224"},
        {128, 3, 1000, 168, NULL},
        {128, 3, 1000, 169, "needs about 169 registers*3 CTAs of 128 threads leave 168"},
        {512, 1, 1000, 128, NULL},
        {512, 1, 1000, 129, "needs about 129 registers*leave 128"},
        {1024, 2, 1000, 33, "needs about 33 registers*leave 32"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char reason[160] = "";
        bool allowed =
            resources_allowed(&a100, cases[i].threads, cases[i].ctas, cases[i].shared, cases[i].registers, reason);
        if (allowed != !cases[i].reason || (!allowed && !holds(reason, cases[i].reason)))
            fail_msg("%zu: '%s', not '%s'", i, reason, cases[i].reason ? cases[i].reason : "");
    }
}

/* ---- f16 ---- */

static void rules_of_f16(void **state) {
    (void)state;
    static const struct rule rules[] = {
        {"", 100, 300, 1000, 128, 0, NULL},
        {"tile_k=32", 100, 300, 1000, 128, 0, NULL},
        {"tile_k=128,stages=2", 100, 300, 1000, 128, 0, NULL},
        {"tile_k=16", 100, 300, 1000, 128, 0, "K step is 16*32, 64 or 128"},
        {"tile_k=31", 100, 300, 1000, 128, 0, "K step is 31"},
        {"tile_k=96", 100, 300, 1000, 128, 0, "K step is 96"},
        {"tile_k=256,stages=2", 100, 300, 1000, 128, 0, "K step is 256"},
        {"warps_n=1", 100, 300, 1000, 128, 0, "warps_n and warps_m*powers of two*1 and 1"},
        {"warps_n=2", 100, 300, 1000, 128, 0, NULL},
        {"warps_n=8,warps_m=2", 100, 300, 1000, 128, 0, NULL},
        {"warps_n=8,warps_m=4", 100, 300, 1000, 128, 0, "warps_n and warps_m*powers of two*8 and 4"},
        {"warps_n=2,tile_k=128,stages=2", 100, 300, 1000, 128, 0, "64 threads cannot copy rows of 256 bytes"},
        {"warps_n=1,warps_m=2,tile_n=16", 100, 300, 1000, 128, 0, NULL},
        {"warps_n=1,warps_m=2,tile_n=0", 100, 300, 1000, 128, 0, "feature tile of 0*1 warps in fragments of 16"},
        {"tile_n=64", 100, 300, 1000, 128, 0, NULL},
        {"tile_n=96", 100, 300, 1000, 128, 0, "feature tile of 96*4 warps in fragments of 16"},
        {"tile_m=8", 100, 300, 1000, 128, 0, NULL},
        {"tile_m=0", 100, 300, 1000, 128, 0, "token tile of 0*1 warps in fragments of 8"},
        {"tile_m=12", 100, 300, 1000, 128, 0, "token tile of 12"},
        {"tile_m=16,warps_m=2", 100, 300, 1000, 128, 0, NULL},
        {"tile_m=24,warps_m=2", 100, 300, 1000, 128, 0, "token tile of 24*2 warps in fragments of 8"},
        {"stages=1", 100, 300, 1000, 128, 0, "2 to 16 stages, not 1"},
        {"stages=2", 100, 300, 1000, 128, 0, NULL},
        {"stages=16,tile_n=64,tile_m=8", 100, 300, 1000, 128, 0, NULL},
        {"stages=17,tile_n=64,tile_m=8", 100, 300, 1000, 128, 0, "2 to 16 stages, not 17"},
        {"raster=0", 129, 300, 1000, 128, 0, "raster"},
        {"raster=3", 129, 300, 1000, 128, 0, NULL}, /* tiles of 64 tokens */
        {"raster=4", 129, 300, 1000, 128, 0, "raster must be 1 to 3"},
        {"raster=2", 128, 300, 1000, 128, 0, NULL},
        {"raster=3", 128, 300, 1000, 128, 0, "raster must be 1 to 2"},
        {"split_k=16", 100, 300, 1000, 128, 0, NULL}, /* steps of 64 */
        {"split_k=17", 100, 300, 1000, 128, 0, "split_k must be 1 to 16"},
        {"split_k=0", 100, 300, 1000, 128, 0, "split_k"},
        {"ctas=0", 100, 300, 1000, 128, 0, "0 CTAs of 128 threads"},
        /* 4 stages of (128 + 64) rows of 64 elements: 98304 bytes, two of which are too many for an SM. */
        {"ctas=2", 100, 300, 1000, 128, 0, "2 CTAs with 98304 bytes"},
        {"stages=3,ctas=2", 100, 300, 1000, 128, 0, NULL},
        /* The output, 208 tokens of 128 + 8 features, where it is larger than the stages: 2 * 208 * 136. */
        {"tile_k=32,stages=2,tile_m=208,ctas=3,warps_n=8", 200, 300, 1000, 128, 0, "3 CTAs with 56576 bytes"},
        /* 64 x 64 by a warp: 4 x 8 sums of 4, and 8 * 4 + 4 * 8 + 40. */
        {"tile_n=256,tile_m=64,stages=2,tile_k=32,ctas=3", 100, 300, 1000, 128, 0,
         "needs about 232 registers*leave 168"},
    };
    CHECK("f16", rules, &a100);
}

/* ---- sm80 ---- */

#define LAYER  100, 300, 1000, 128, 0 /* 4 bits */
#define LAYER8 100, 300, 1000, 128, 100
#define MIXED  100, 300, 1000, 128, 50

static void rules_of_sm80(void **state) {
    (void)state;
    static const struct rule rules[] = {
        {"", LAYER, NULL},
        {"promote=2", LAYER, NULL},
        {"promote=3", LAYER, "promote is 0..2"},
        {"zero=1", LAYER, NULL},
        {"zero=2", LAYER, "zero and order are 0 or 1"},
        {"order=0", LAYER, NULL},
        {"order=2", LAYER, "zero and order are 0 or 1"},
        {"tile_k=64", 100, 300, 1000, 64, 0, NULL},
        {"tile_k=64,warps_n=2", 100, 300, 1000, 64, 100, NULL},
        {"tile_k=128", 100, 300, 1000, 64, 0, NULL},
        {"tile_k=256", 100, 300, 1000, 64, 0, NULL},
        {"tile_k=32", 100, 300, 1000, 64, 0, "K step is 32*64, 128 or 256"},
        {"tile_k=192", 100, 300, 1000, 64, 0, "K step is 192"},
        {"tile_k=512,stages=2", 100, 300, 1000, 64, 0, "K step is 512"},
        {"tile_k=64", LAYER, "K step of 64*whole groups of 128"},
        {"tile_k=128", 100, 300, 1000, 256, 0, "K step of 128*whole groups of 256"},
        {"tile_k=0", 100, 300, 1000, 256, 0, NULL},
        {"warps_n=1", LAYER, "warps_n and warps_m*powers of two*1 and 1"},
        {"warps_n=2", LAYER, NULL},
        {"warps_n=2,tile_k=256", LAYER, "64 threads cannot copy rows of 256 bytes"},
        {"warps_n=4,tile_k=256", LAYER, NULL},
        {"tile_m=0", LAYER, "token tile of 0*1 warps in fragments of 8"},
        {"tile_m=8", LAYER, NULL},
        {"tile_m=12", LAYER, "token tile of 12"},
        {"tile_m=24,warps_m=2", LAYER, "token tile of 24*2 warps in fragments of 8"},
        {"tile_m=256,tile_n=32,warps_n=2,warps_m=8,stages=2", 300, 300, 1000, 128, 0, NULL},
        {"tile_m=320,tile_n=32,warps_n=2,warps_m=8,stages=2", 400, 300, 1000, 128, 0, "token tile of 320"},
        {"tile_m=264,tile_n=32,warps_n=2,stages=2", 300, 300, 1000, 128, 0, "token tile of 264"},
        {"stages=1", LAYER, "2 to 16 stages, not 1"},
        {"stages=2", LAYER, NULL},
        {"stages=16,tile_n=64,tile_m=8", LAYER, NULL},
        {"stages=17,tile_n=64,tile_m=8", LAYER, "2 to 16 stages, not 17"},
        {"zero=1", LAYER8, "8-bit weights have no zero point"},
        {"zero=1", MIXED, NULL},
        {"tile_n8=64", LAYER, "only a mixed layer*tile_n8 must be 0"},
        {"tile_n8=64", LAYER8, "only a mixed layer*tile_n8 must be 0"},
        {"tile_n8=64", MIXED, NULL},
        {"split_k=0", LAYER, "split_k must be 1 to 8*K steps; it is 0"},
        {"split_k=8", LAYER, NULL}, /* 1000 is padded to 1024 */
        {"split_k=9", LAYER, "split_k must be 1 to 8*K steps; it is 9"},
        {"split_k=4", 100, 300, 1000, 256, 0, NULL},
        {"split_k=5", 100, 300, 1000, 256, 0, "split_k must be 1 to 4*K steps; it is 5"},
        {"split_k=9", 100, 300, 1025, 128, 0, NULL},
        {"split_k=6", 100, 300, 1300, 256, 0, NULL}, /* 1408: 5 and a half */
        {"split_k=7", 100, 300, 1300, 256, 0, "split_k must be 1 to 6*K steps; it is 7"},
        {"raster=4", LAYER, NULL}, /* tiles of 32 tokens */
        {"raster=5", LAYER, "raster must be 1 to 4"},
        {"raster=4", 97, 300, 1000, 128, 0, NULL},
        {"raster=3", 96, 300, 1000, 128, 0, NULL},
        {"raster=4", 96, 300, 1000, 128, 0, "raster must be 1 to 3"},
        {"tile_n=16,warps_n=1,warps_m=2", LAYER, NULL},
        {"tile_n=0", LAYER, "feature tile of 0*4 warps in fragments of 16"},
        {"tile_n=96", LAYER, "feature tile of 96*4 warps"},
        {"tile_n=96", LAYER8, "feature tile of 96*4 warps"},
        {"tile_n8=96", MIXED, "feature tile of 96*4 warps"},
        {"tile_n=96,tile_n8=64", MIXED, "feature tile of 96*4 warps"},
        {"ctas=0", LAYER, "0 CTAs of 128 threads"},
        /* Four stages of 32 x 128 + 128 x 64 + 256 + 128 + 128 bytes: 51200; with 8 bits 4 * (12800 + 8064). */
        {"ctas=3", LAYER, NULL},
        {"ctas=4", LAYER, "4 CTAs with 51200 bytes"},
        {"ctas=2", LAYER8, "2 CTAs with 83456 bytes"},
        {"ctas=2", MIXED, "2 CTAs with 83456 bytes"},
        {"ctas=3,tile_n8=64", MIXED, NULL},
        /* Sums of the tokens are kept for zero=1: 128 bytes more a stage. */
        {"ctas=4,zero=1", LAYER, "4 CTAs with 51712 bytes"},
        /* The output, 128 tokens of 128 + 8 features in 16 bits, where it is larger than the stages. */
        {"tile_m=128,tile_n=128,stages=2,tile_k=64,ctas=5", 200, 300, 1000, 64, 0, "5 CTAs with 34816 bytes"},
    };
    CHECK("sm80", rules, &a100);
}

/* The registers that a configuration needs, of which a thread that has hardly any is told. */
static void registers_of_sm80(void **state) {
    (void)state;
    static const struct rule rules[] = {
        /* A warp has 32 x 32: 2 fragments of 16 features by 4 of 8 tokens: 32 sums. By column: 8 * 2 + 8 * 2 * units +
         * 4 * units + 2 * 4, then 4 * 2 and 32. Units are the halves of 128 in a group. */
        {"", 100, 300, 1000, 64, 0, "about 116 registers"},
        {"", 100, 300, 1000, 128, 0, "about 136 registers"},
        {"", 100, 300, 1000, 256, 0, "about 176 registers"},
        {"", 100, 300, 1000, 128, 100, "about 136 registers"},
        {"", 100, 300, 1000, 128, 50, "about 160 registers"}, /* 56 */
        /* By k: 32 again, 8 * 2 and 4 * 4. */
        {"order=0", 100, 300, 1000, 128, 0, "about 136 registers"},
        {"order=0", 100, 300, 1000, 256, 0, "about 136 registers"},
        {"order=0,tile_m=16", 100, 300, 1000, 256, 0, "about 96 registers"}, /* 16 + 16 + 16 + 8 + 8 + 32 */
        {"tile_m=16", 100, 300, 1000, 128, 0, "about 116 registers"},        /* 16 + 16 + 32 + 8 + 4 + 8 + 32 */
        {"tile_m=32,warps_m=2", 100, 300, 1000, 128, 0, "about 116 registers"},
        {"tile_n=64", 100, 300, 1000, 128, 0, "about 92 registers"},               /* 16 + 8 + 16 + 8 + 8 + 4 + 32 */
        {"tile_n=128,tile_n8=64", 100, 300, 1000, 128, 50, "about 116 registers"}, /* the 8-bit part comes first */
    };
    struct device_limits few = a100;
    few.regs_per_sm = 8 * 128;
    CHECK("sm80", rules, &few);
}

/* ---- sm90 ---- */

static void knobs_of_sm90(void **state) {
    (void)state;
    static const struct rule rules[] = {
        {"", LAYER, NULL},
        {"promote=3", LAYER, "promote is 0..2"},
        {"zero=1", LAYER, NULL},
        {"zero=2", LAYER, "zero, pingpong*0 or 1"},
        {"pingpong=1", LAYER, NULL},
        {"pingpong=2", LAYER, "pingpong*0 or 1"},
        {"share_k=1", LAYER, NULL},
        {"share_k=2", LAYER, "share_k*0 or 1"},
        {"store=1", LAYER, NULL},
        {"store=2", LAYER, "store*0 or 1"},
        {"yield=1", LAYER, NULL},
        {"yield=2", LAYER, "yield are 0 or 1"},
        {"share_k=1,pingpong=1", LAYER,
         "share_k=1 needs 2 or 3 consumers*stages (there are 4)*neither pingpong nor cluster_k"},
        {"share_k=1,cluster_k=2", LAYER, "share_k=1 needs 2 or 3 consumers"},
        {"share_k=1,consumers=1", LAYER, "share_k=1 needs 2 or 3 consumers"},
        {"share_k=1,consumers=3,stages=6,tile_m=32", LAYER, NULL},
        {"share_k=1,consumers=3,stages=5,tile_m=32", LAYER, "share_k=1 needs 2 or 3 consumers*stages (there are 5)"},
        {"share_k=1,stages=5", LAYER, "share_k=1 needs 2 or 3 consumers*stages (there are 5)"},
        {"blocks=0", LAYER, "1 or 2 blocks of 64 features, not 0 and 0"},
        {"blocks=2", LAYER, NULL},
        {"blocks=3", LAYER, "1 or 2 blocks of 64 features, not 3 and 0"},
        {"blocks8=1", MIXED, NULL},
        {"blocks8=2", MIXED, NULL},
        {"blocks8=3", MIXED, "1 or 2 blocks of 64 features, not 1 and 3"},
        {"consumers=0", LAYER, "consumers must be 1 to 3*it is 0"},
        {"consumers=1", LAYER, NULL},
        {"consumers=3", LAYER, NULL},
        {"consumers=4", LAYER, "consumers must be 1 to 3*it is 4"},
        {"pingpong=1,consumers=1", LAYER, "consumers*at least 2 with pingpong; it is 1"},
        {"pingpong=1,consumers=2", LAYER, NULL},
        {"tile_k=64", 100, 300, 1000, 64, 0, "K step is 64*128 or 256*groups of 64"},
        {"tile_k=128", 100, 300, 1000, 64, 0, NULL},
        {"tile_k=256,stages=2", 100, 300, 1000, 64, 0, NULL},
        {"tile_k=384,stages=2", 100, 300, 1000, 64, 0, "K step is 384"},
        {"tile_k=128", 100, 300, 1000, 256, 0, "K step is 128*whole groups of 256"},
        {"tile_k=0,stages=2,tile_m=32", 100, 300, 1000, 256, 0, NULL},
        {"tile_m=0", LAYER, "tile_m must be 8, 16, 24*it is 0"},
        {"tile_m=8", LAYER, NULL},
        {"tile_m=12", LAYER, "tile_m must be 8, 16, 24*it is 12"},
        {"tile_m=16", LAYER, NULL},
        {"tile_m=24", LAYER, NULL},
        {"tile_m=40", LAYER, "tile_m must be 8, 16, 24*it is 40"},
        {"tile_m=48", LAYER, NULL},
        {"tile_m=256,consumers=1,stages=3", 300, 300, 1000, 128, 0, "a consumer holds"},
        {"tile_m=272,consumers=1,stages=3", 300, 300, 1000, 128, 0, "tile_m must be 8, 16, 24*it is 272"},
        {"cluster=0", LAYER, "cluster must be 1, 2 or 4"},
        {"cluster=2", LAYER, NULL},
        {"cluster=3,tile_m=48", LAYER, "cluster must be 1, 2 or 4"},
        {"cluster=4", 100, 600, 1000, 128, 0, NULL},
        {"cluster=8", 100, 6000, 1000, 128, 0, "cluster must be 1, 2 or 4"},
        {"cluster=2,tile_m=16", LAYER, NULL},
        {"cluster=2,tile_m=24", LAYER, "groups of 8 tokens; tile_m is 24"},
        {"cluster=4,tile_m=32", 100, 600, 1000, 128, 0, NULL},
        {"cluster=4,tile_m=16", 100, 600, 1000, 128, 0, "groups of 8 tokens; tile_m is 16"},
        {"cluster_k=0", LAYER, "cluster_k must be 1, 2, 4 or 8*0 and 1"},
        {"cluster_k=2", LAYER, NULL},
        {"cluster_k=3", LAYER, "cluster_k must be 1, 2, 4 or 8*are 3"},
        {"cluster_k=4", LAYER, NULL},
        {"cluster_k=8", LAYER, NULL},
        {"cluster_k=16", 100, 300, 10000, 128, 0, "cluster_k must be 1, 2, 4 or 8*are 16"},
        {"cluster_k=2,cluster=2", LAYER, "above 1 only with cluster=1; they are 2 and 2"},
        {"stages=1", LAYER, "2 to 16 stages, not 1"},
        {"stages=2", LAYER, NULL},
        {"stages=16,consumers=1,tile_m=8", LAYER, NULL},
        {"stages=17,consumers=1,tile_m=8", LAYER, "2 to 16 stages, not 17"},
        {"zero=1", LAYER8, "8-bit weights have no zero point"},
        {"zero=1", MIXED, NULL},
        {"blocks8=1", LAYER, "only a mixed layer*blocks8 must be 0"},
        {"blocks8=1", LAYER8, "only a mixed layer*blocks8 must be 0"},
    };
    CHECK("sm90", rules, &h100);
}

static void devices_of_sm90(void **state) {
    (void)state;
    static const struct device_limits others[] = {{89, 132, 232448, 233472, 65536, 2048},
                                                  {100, 132, 232448, 233472, 65536, 2048}};
    static const struct rule other[] = {{"", LAYER, "compute capability 9.0 only; this device has 8.9"},
                                        {"", LAYER, "compute capability 9.0 only; this device has 10.0"}};
    for (int i = 0; i < 2; i++)
        check_rule("sm90", &other[i], &others[i]);
}

static void work_of_sm90(void **state) {
    (void)state;
    static const struct rule rules[] = {
        /* Tiles of 2 x 64 features: a second CTA must have something to do. */
        {"cluster=2", 100, 129, 1000, 128, 0, NULL},
        {"cluster=2", 100, 128, 1000, 128, 0, "128 features in tiles of 128*cluster of 2 CTAs"},
        {"cluster=4", 100, 385, 1000, 128, 0, NULL},
        {"cluster=4", 100, 384, 1000, 128, 0, "384 features in tiles of 128*cluster of 4 CTAs"},
        /* The narrower part decides. */
        {"cluster=2,blocks=2,blocks8=1,tile_m=32", 100, 129, 1000, 128, 50, NULL},
        {"cluster=2,blocks=2,blocks8=2,tile_m=32", 100, 256, 1000, 128, 50,
         "256 features in tiles of 256*cluster of 2 CTAs"},
        {"cluster=2,blocks=1,blocks8=2,tile_m=32", 100, 129, 1000, 128, 50, NULL},
        {"split_k=8", LAYER, NULL},
        {"split_k=9", LAYER, "split_k must be 1 to 8*K steps; it is 9"},
        {"split_k=0", LAYER, "split_k must be 1 to 8*K steps; it is 0"},
        {"split_k=5,tile_k=256,stages=2", 100, 300, 1025, 128, 0, NULL},
        {"split_k=6,tile_k=256,stages=2", 100, 300, 1025, 128, 0, "split_k must be 1 to 5*K steps; it is 6"},
        {"raster=2", LAYER, NULL}, /* tiles of 64 tokens */
        {"raster=3", LAYER, "raster must be 1 to 2"},
        {"raster=2", 65, 300, 1000, 128, 0, NULL},
        {"raster=2", 64, 300, 1000, 128, 0, "raster must be 1 to 1"},
        {"raster=0", LAYER, "raster"},
        {"cluster_k=4", 100, 300, 512, 128, 0, NULL},
        {"cluster_k=8", 100, 300, 512, 128, 0, "cluster_k must be at most 4*it is 8"},
        {"cluster_k=2,split_k=2", LAYER, "cluster_k must be at most 8*1 with split_k or stream_k; it is 2"},
        {"cluster_k=2,stream_k=1", LAYER, "cluster_k must be at most 8*1 with split_k or stream_k; it is 2"},
        {"stream_k=8", LAYER, NULL},
        {"stream_k=9", LAYER, "stream_k must be at most 8*it is 9"},
        {"stream_k=1,split_k=2", LAYER, "stream_k must be at most 8*0 with split_k; it is 1"},
        /* 132 tiles of 128 features are one wave of 132 SMs. */
        {"stream_k=1", 64, 132 * 128, 1000, 128, 0,
         "stream_k=1 has nothing to share: 132 tiles are whole waves of 132"},
        {"stream_k=1", 64, 131 * 128, 1000, 128, 0, NULL},
        {"stream_k=1", 64, 133 * 128, 1000, 128, 0, NULL},
        {"stream_k=1,cluster=2", 64, 132 * 128, 1000, 128, 0, "66 tiles are whole waves of 66"},
        {"stream_k=1,ctas=2,tile_m=16,consumers=1", 16, 264 * 64, 1000, 128, 0, "264 tiles are whole waves of 264"},
        /* 263 tiles are shared by 132: 2^30 / (263 * 132) is 30929 and a bit. */
        {"stream_k=1", 64, 263 * 128, 30929 * 128, 128, 0, NULL},
        {"stream_k=1", 64, 263 * 128, 30930 * 128, 128, 0, "stream_k=1 cannot share 263 tiles of 30930 K steps"},
    };
    CHECK("sm90", rules, &h100);
    struct device_limits few = h100;
    static const struct rule eight = {"cluster_k=8", LAYER, NULL},
                             too_many = {"cluster_k=8", LAYER, "cluster x cluster_k (1 x 8)*7 SMs"},
                             four = {"cluster=4", 100, 600, 1000, 128, 0, NULL},
                             three = {"cluster=4", 100, 600, 1000, 128, 0, "cluster x cluster_k (4 x 1)*3 SMs"};
    few.sm_count = 8;
    check_rule("sm90", &eight, &few);
    few.sm_count = 7;
    check_rule("sm90", &too_many, &few);
    few.sm_count = 4;
    check_rule("sm90", &four, &few);
    few.sm_count = 3;
    check_rule("sm90", &three, &few);
    /* 64 tiles of 2^17 steps for 128 SMs are 2^30, just not too many. */
    static const struct rule most = {"stream_k=1", 64, 64 * 128, 1 << 24, 128, 0, NULL};
    few.sm_count = 128;
    check_rule("sm90", &most, &few);
    struct config negative = config_of("sm90", "");
    const struct problem p = {.m = 100, .n = 300, .k = 1000, .group = 128};
    char reason[160];
    for (int i = 0; i < negative.family->knob_count; i++)
        if (!strcmp(negative.family->knobs[i].name, "stream_k"))
            negative.value[i] = -1;
    assert_false(config_allowed(&negative, &p, &h100, reason));
    assert_true(holds(reason, "stream_k must be at most*it is -1"));
}

static void resources_of_sm90(void **state) {
    (void)state;
    static const struct rule rules[] = {
        {"ctas=0", LAYER, "0 CTAs of 3 warp groups do not fit"},
        {"consumers=1,ctas=8,tile_m=8,stages=2", LAYER, "a consumer holds 30 values*24 registers"},
        {"consumers=1,ctas=9,tile_m=8,stages=2", LAYER, "9 CTAs of 2 warp groups do not fit"},
        {"consumers=3,ctas=4,tile_m=8,stages=2", LAYER, "a consumer holds 30 values*24 registers"},
        {"consumers=3,ctas=5,tile_m=8,stages=2", LAYER, "5 CTAs of 4 warp groups do not fit"},
        /* In flight: 4 stages of 2 x 64 features of 128 codes of 4 bits are 32 KiB. */
        {"stages=4", 16, 300, 1000, 128, 0, NULL},
        {"stages=3", 16, 300, 1000, 128, 0, "keeps 24 KiB of weights in flight*need at least 32"},
        {"stages=3", 17, 300, 1000, 128, 0, NULL},
        {"stages=2", 1, 300, 1000, 128, 100, NULL},
        {"stages=3,consumers=1", 1, 300, 1000, 128, 100, "keeps 24 KiB of weights in flight"},
        {"stages=2,tile_m=16,ctas=2", 1, 300, 1000, 128, 0, NULL},
        {"stages=4,pingpong=1,tile_m=16", 1, 300, 1000, 128, 0, "keeps 16 KiB of weights in flight"},
        {"stages=4,share_k=1,tile_m=16", 1, 300, 1000, 128, 0, "keeps 16 KiB of weights in flight"},
        {"stages=8,share_k=1,tile_m=16", 1, 300, 1000, 128, 0, NULL},
        {"stages=2,tile_k=256", 1, 300, 1000, 128, 0, NULL},
        {"stages=2,blocks=2,tile_m=16", 1, 300, 1000, 128, 0, NULL},
        {"stages=2,blocks=2,consumers=1,tile_m=16", 1, 300, 1000, 128, 100, NULL},
        /* The narrower part of a mixed layer: 8 bits in one block are as many bytes as 4 in two. */
        {"stages=3,tile_m=16", 1, 300, 1000, 128, 50, "keeps 24 KiB of weights in flight"},
        {"stages=3,blocks=2,blocks8=1,tile_m=16", 1, 300, 1000, 128, 50, NULL},
        /* Two consumers have 232 registers, of which ptxas wants 16: tile_m / 2 sums twice, 16 weights, 6 features. */
        {"tile_m=192,stages=2", 200, 300, 1000, 128, 0, NULL},
        {"tile_m=208,stages=2", 300, 300, 1000, 128, 0, "a consumer holds 230 values*232 registers"},
        {"tile_m=208,stages=2", 300, 300, 1000, 128, 100, "a consumer holds 230 values*232 registers"},
        /* With a second CTA on the SM there are 96 of them; with one consumer, 240. */
        {"tile_m=48,ctas=2,stages=2", LAYER, NULL},
        {"tile_m=64,ctas=2,stages=2", LAYER, "a consumer holds 86 values*96 registers"},
        {"tile_m=192,consumers=1,stages=2", 200, 300, 1000, 128, 0, NULL},
        {"tile_m=208,consumers=1,stages=2", 300, 300, 1000, 128, 0, "too many for its 240 registers"},
        /* Both parts of a mixed layer must fit. */
        {"blocks=1,blocks8=2,tile_m=128,stages=2", 200, 300, 1000, 128, 50, "a consumer holds 214 values"},
        {"blocks=2,blocks8=1,tile_m=128,stages=2", 200, 300, 1000, 128, 50, "a consumer holds 214 values"},
        {"blocks=1,blocks8=1,tile_m=128,stages=2", 200, 300, 1000, 128, 50, NULL},
        /* A stage is 64 x 128 codes of tokens, 128 x 64 of weights, 256 + 256 scales and 128 zero points: 17408 in
         * whole KiB; the output 128 x 64 x 2, and 1024 to align. */
        {"stages=12,ctas=1", LAYER, NULL},
        {"stages=13,ctas=1", LAYER, "needs 244224 bytes of shared memory*232448"},
        {"stages=6,tile_m=48,ctas=2", LAYER, NULL},
        {"stages=7,tile_m=48,ctas=2", LAYER, "2 CTAs with 120832 bytes"},
        /* Each of two teams has an output tile, of 64 features: 14 * 15360 + 2 * 64 * 80 * 2 + 1024. */
        {"stages=13,pingpong=1,tile_m=80", LAYER, NULL},
        {"stages=14,pingpong=1,tile_m=80", LAYER, "needs 237056 bytes"},
        /* Partial sums of a cluster along K are twice as large; those of consumers that share K are beside it: stages
         * of 25 KiB, and 64 * 64 * (2 + 4). */
        {"stages=13,cluster_k=2", LAYER, "needs 260608 bytes"},
        {"stages=8,tile_k=256,share_k=1", LAYER, NULL},
        {"stages=10,tile_k=256,share_k=1", LAYER, "needs 282112 bytes"},
    };
    CHECK("sm90", rules, &h100);
    struct device_limits other = h100;
    static const struct rule nine = {"consumers=1,ctas=9,tile_m=8,stages=2", LAYER, "9 CTAs of 2 warp groups"},
                             two = {"ctas=2,tile_m=16,stages=2", LAYER, NULL},
                             three = {"ctas=3,tile_m=16,stages=2", LAYER, "3 CTAs of 3 warp groups do not fit"};
    other.threads_per_sm = 4096;
    check_rule("sm90", &nine, &other);
    other.threads_per_sm = 2 * 384;
    check_rule("sm90", &two, &other);
    check_rule("sm90", &three, &other);
    other.threads_per_sm = 2 * 384 - 1;
    static const struct rule not_two = {"ctas=2,tile_m=16,stages=2", LAYER, "2 CTAs of 3 warp groups do not fit"};
    check_rule("sm90", &not_two, &other);
}

/* ---- symmetric 4-bit weights ---- */

static void zero_points_of_symmetric_layers(void **state) {
    (void)state;
    static const struct {
        const char *config;
        int rows8;
        const char *reason;
    } cases[] = {{"zero=0", 0, NULL},
                 {"zero=0", 30, NULL},
                 {"zero=1", 0, "symmetric weights have no zero point: zero=1 would be the same kernel"},
                 {"zero=1", 30, "symmetric weights have no zero point: zero=1 would be the same kernel"},
                 {"zero=1", 300, "8-bit weights have no zero point: zero=1 would be the same kernel"}};
    static const char *const families[] = {"sm80", "sm90"};
    for (int i = 0; i < 10; i++) {
        const struct config config = config_of(families[i / 5], cases[i % 5].config);
        const struct problem p = {
            .m = 64, .n = 300, .k = 1000, .group = 128, .rows8 = cases[i % 5].rows8, .symmetric = true};
        char reason[160];
        assert_int_equal(config_allowed(&config, &p, i < 5 ? &a100 : &h100, reason), !cases[i % 5].reason);
        assert_string_equal(reason, cases[i % 5].reason ? cases[i % 5].reason : "");
    }
    /* 512 bytes less in four stages: four CTAs of 42496 bytes and what is static fit an SM, and of 43008 they do
     * not. */
    const struct config four = config_of("sm80", "ctas=4,tile_m=16");
    struct problem p = {.m = 64, .n = 300, .k = 1000, .group = 128};
    struct device_limits few = a100;
    char reason[160];
    few.smem_per_sm = 4 * (42496 + 512 + 1024);
    assert_false(config_allowed(&four, &p, &few, reason));
    assert_true(holds(reason, "4 CTAs with 43008 bytes"));
    p.symmetric = true;
    assert_true(config_allowed(&four, &p, &few, reason));
}

/* Whatever a bundle or a caller asks for, no count of tiles overflows: what cannot be launched has INT_MAX of them. */
static void nothing_overflows(void **state) {
    (void)state;
    static const char *const names[] = {"f16", "sm80", "sm90"};
    const struct problem most = {.m = 1 << 24, .n = 1 << 24, .k = 1 << 24, .group = 128, .rows8 = 1 << 23},
                         few = {.m = 1 << 24, .n = 1 << 10, .k = 1 << 10, .group = 128};
    struct launch_shape shape;
    char reason[160];
    assert_int_equal(int_of(INT_MAX - 1), INT_MAX - 1);
    assert_int_equal(int_of((int64_t)1 << 31), INT_MAX);
    for (int i = 0; i < 3; i++) {
        const struct config config = config_of(names[i], "split_k=65535");
        config.family->shape(&config, &most, 132, &shape);
        assert_int_equal(shape.items, INT_MAX);
        const struct config plain = config_of(names[i], "");
        plain.family->shape(&plain, &few, 132, &shape);
        assert_true(shape.items > 0 && shape.items < INT_MAX);
        const struct config deep = config_of(names[i], "split_k=65536");
        assert_false(config_allowed(&deep, &most, i == 2 ? &h100 : &a100, reason));
        for (int knob = 0; knob < config.family->knob_count; knob++) { /* the sanitizer watches */
            struct config wild = plain;
            wild.value[knob] = 1 << 20;
            config_allowed(&wild, &most, i == 2 ? &h100 : &a100, reason);
            for (int other = 0; other < config.family->knob_count; other++)
                wild.value[other] = 1 << 20;
            assert_false(config_allowed(&wild, &most, i == 2 ? &h100 : &a100, reason));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_overflows),
        cmocka_unit_test(steps_parts_and_tiles),
        cmocka_unit_test(warps_splits_and_rasters),
        cmocka_unit_test(resources),
        cmocka_unit_test(rules_of_f16),
        cmocka_unit_test(rules_of_sm80),
        cmocka_unit_test(registers_of_sm80),
        cmocka_unit_test(knobs_of_sm90),
        cmocka_unit_test(devices_of_sm90),
        cmocka_unit_test(work_of_sm90),
        cmocka_unit_test(resources_of_sm90),
        cmocka_unit_test(zero_points_of_symmetric_layers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
