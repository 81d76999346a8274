/* Both tensor-core families on one Hopper: odd shapes, schemes, groups and types, against the exact reference; and all
 * configurations without split-K, of either family, agree bit for bit. The device has four SMs, so that persistent CTAs
 * walk over several tiles. */
#include "runtime/base/log.h"
#include "small_device.h"
#include "tuner/measure/verify.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

enum { MOST = 10, SHAPES = 3 };

static const struct { int m, n, k; } shapes[SHAPES] = {{1, 100, 300}, {33, 257, 129}, {130, 48, 1000}};

struct candidate {
    const char *family, *config;
};
/* What is computed, and the ways to do it: a binary for each serves all shapes. */
struct formats {
    const char *scheme;
    int group;
    enum dtype dtype;
    struct candidate candidate[MOST];
};

static const struct formats cooperative = {
    "w4a8",
    128,
    DTYPE_F16,
    {{"sm80", "tile_n=64,tile_m=16,stages=3"},
     {"sm90", "blocks=1,tile_m=8,stages=8,consumers=1,promote=0,zero=0"},
     {"sm90", "blocks=2,tile_m=24,tile_k=256,stages=2,consumers=2,promote=2,zero=1"},
     {"sm90", "blocks=2,tile_m=24,tile_k=256,stages=2,consumers=2,promote=2,zero=1,split_k=2"},
     {"sm90", "blocks=1,tile_m=48,stages=3,consumers=3,promote=1,zero=1"},
     {"sm90", "blocks=1,tile_m=32,stages=4,cluster=2,store=1,promote=2,zero=1"},
     {"sm90", "blocks=1,tile_m=128,tile_k=256,stages=2,promote=2,zero=0"},
     {"sm90", "blocks=1,tile_m=16,stages=8,consumers=1,cluster=2,stream_k=1"},
     {"sm90", "blocks=1,tile_m=16,stages=6,consumers=3,share_k=1,zero=1,split_k=2"},
     {"sm90", "blocks=2,tile_m=24,stages=4,consumers=2,share_k=1,store=1,yield=1"}},
};
static const struct formats pingpong = {
    "w4a8",
    64,
    DTYPE_BF16,
    {{"sm80", "tile_n=64,tile_m=32,stages=3"},
     {"sm90", "blocks=1,tile_m=16,stages=8,consumers=2,pingpong=1,promote=2,zero=0"},
     {"sm90", "blocks=1,tile_m=16,stages=8,consumers=2,pingpong=1,promote=2,zero=0,split_k=2"},
     {"sm90", "blocks=2,tile_m=8,stages=5,consumers=3,pingpong=1,promote=1,zero=1"},
     {"sm90", "blocks=1,tile_m=32,tile_k=256,stages=2,consumers=2,pingpong=0,promote=0,zero=1"},
     {"sm90", "blocks=2,tile_m=48,stages=4,consumers=2,pingpong=1,cluster=2,store=1,promote=1"}},
};
static const struct formats wide_groups = {
    "w4a8",
    256,
    DTYPE_F16,
    {{"sm80", "tile_n=64,tile_m=16,tile_k=256,stages=3"},
     {"sm90", "blocks=1,tile_m=24,tile_k=256,stages=3,consumers=2,promote=2,zero=1"},
     {"sm90", "blocks=2,tile_m=16,tile_k=256,stages=2,consumers=2,pingpong=1,promote=1,zero=0"}},
};
static const struct formats eight_bits = {
    "w8a8",
    128,
    DTYPE_BF16,
    {{"sm80", "tile_n=64,tile_m=16,stages=3"},
     {"sm90", "blocks=1,tile_m=8,stages=3,consumers=2,promote=0"},
     {"sm90", "blocks=2,tile_m=32,stages=2,consumers=1,promote=1"},
     {"sm90", "blocks=1,tile_m=48,tile_k=256,stages=2,consumers=2,pingpong=1,promote=2"},
     {"sm90", "blocks=1,tile_m=8,stages=3,consumers=2,promote=0,split_k=2"},
     {"sm90", "blocks=1,tile_m=64,stages=4,consumers=1,cluster=2,store=1"},
     {"sm90", "blocks=2,tile_m=24,stages=4,consumers=1,cluster_k=4"},
     {"sm90", "blocks=2,tile_m=96,stages=3,promote=1"},
     {"sm90", "blocks=1,tile_m=16,stages=4,consumers=2,pingpong=1,cluster_k=2,store=1"},
     {"sm90", "blocks=1,tile_m=32,stages=4,consumers=2,share_k=1,cluster=2,stream_k=1"}},
};
static const struct formats eight_bits_wide = {
    "w8a8", 256, DTYPE_F16, {{"sm80", "tile_n=64,tile_m=16,tile_k=256,stages=3"}, {"sm90", "tile_m=16,tile_k=256"}}};
static const struct formats mixed = {
    "p20",
    128,
    DTYPE_F16,
    {{"sm80", "tile_n=64,tile_m=16,stages=3"},
     {"sm90", "blocks=2,blocks8=1,tile_m=16,stages=3,consumers=2,pingpong=0,promote=2,zero=1"},
     {"sm90", "blocks=1,blocks8=1,tile_m=24,stages=8,consumers=2,pingpong=1,promote=0,zero=0"},
     {"sm90", "blocks=1,blocks8=1,tile_m=24,stages=8,consumers=2,pingpong=1,promote=0,zero=0,split_k=2"},
     {"sm90", "blocks=1,tile_m=32,stages=4,consumers=2,cluster=2,store=1"},
     {"sm90", "blocks=1,blocks8=2,tile_m=16,stages=8,consumers=2,share_k=1"}},
};

static const struct formats symmetric = {
    "w4a8-sym",
    128,
    DTYPE_BF16,
    {{"sm80", "tile_n=64,tile_m=16,stages=3,order=0"},
     {"sm80", "tile_n=128,tile_m=32,tile_k=256,stages=3,warps_m=2,promote=0"},
     {"sm90", "blocks=2,tile_m=24,tile_k=256,stages=2,consumers=2,promote=1"},
     {"sm90", "blocks=1,tile_m=16,stages=8,consumers=2,pingpong=1,promote=0,split_k=2"},
     {"sm90", "blocks=1,tile_m=32,tile_k=256,stages=4,cluster=2,store=1"},
     {"sm90", "blocks=1,tile_m=24,stages=12,consumers=3,share_k=1"},
     {"sm90", "blocks=1,tile_m=16,stages=8,consumers=1,cluster_k=2"}},
};
static const struct formats symmetric_mixed = {
    "p20-sym",
    64,
    DTYPE_F16,
    {{"sm80", "tile_n=64,tile_n8=128,tile_m=16,stages=3"},
     {"sm90", "blocks=2,blocks8=1,tile_m=16,stages=3,consumers=2,promote=0"},
     {"sm90", "blocks=1,tile_m=32,stages=4,consumers=2,cluster=2,store=1"},
     {"sm90", "blocks=1,blocks8=2,tile_m=16,stages=8,consumers=2,share_k=1"}},
};

static char folder[] = "/tmp/mixtune-families-XXXXXX";
static struct device dev;

/* Runs one candidate; false if the family refuses it for this shape. */
static bool run_candidate(struct proof *proof, const struct candidate *c, struct check *check) {
    struct device_limits limits;
    struct config config;
    struct image image;
    struct kernel kernel;
    char reason[160];
    device_limits_of(&dev, &limits);
    assert_int_equal(config_parse(family_find(c->family), c->config, &config), MT_OK);
    if (!config_allowed(&config, &proof->problem, &limits, reason)) {
        /* The good reasons: K is too short to be split, no tile is left to be shared, one tile holds all features. */
        if (!strstr(c->config, "split_k") && !strstr(c->config, "stream_k") && !strstr(c->config, "cluster"))
            fail_msg("%s %s: %s", c->family, c->config, reason);
        return false;
    }
    if (kernel_compile(&dev, &config, &proof->problem, &image) || kernel_load(&dev, &config, image, &kernel))
        fail_msg("%s %s: %s", c->family, c->config, fail_message());
    verify_gemm(proof, &kernel, check);
    kernel_unload(&dev, &kernel);
    return true;
}

static bool in_order(const struct candidate *c) { /* its sums run over K in one piece */
    return !strstr(c->config, "split_k") && !strstr(c->config, "stream_k") && !strstr(c->config, "cluster_k") &&
           !strstr(c->config, "share_k");
}

static void agrees(void **state) {
    const struct formats *f = *state;
    int ran[MOST] = {0};
    for (int s = 0; s < SHAPES; s++) {
        struct problem p = {
            .m = shapes[s].m, .n = shapes[s].n, .k = shapes[s].k, .group = f->group, .dtype = f->dtype, .bias = s % 2};
        struct proof proof;
        uint64_t hash = 0;
        assert_int_equal(problem_set_scheme(&p, f->scheme), MT_OK);
        if (proof_init(&proof, &dev, &p, true, 20260901 + (uint64_t)s))
            fail_msg("%s", fail_message());
        for (int k = 0; k < MOST && f->candidate[k].family; k++) {
            const struct candidate *c = &f->candidate[k];
            struct check check;
            if (!run_candidate(&proof, c, &check))
                continue;
            ran[k]++;
            if (check.outcome != OUTCOME_OK)
                fail_msg("%d,%d,%d %s %s: %s", p.m, p.n, p.k, c->family, c->config, check.message);
            if (in_order(c) && hash && hash != check.hash)
                fail_msg("%d,%d,%d %s %s: right, but not the same bits as %s", p.m, p.n, p.k, c->family, c->config,
                         f->candidate[0].config);
            hash = in_order(c) ? check.hash : hash;
        }
        proof_release(&proof);
    }
    for (int k = 0; k < MOST && f->candidate[k].family; k++)
        assert_true(ran[k] >= (strstr(f->candidate[k].config, "split_k") ? 2 : 1));
}

static int open_device(void **state) {
    (void)state;
    char spec[64];
    struct str cache = {0};
    log_set_level(LOG_ERROR);
    if (!mkdtemp(folder) || !small_device("h100-sxm", 4, folder, spec))
        return -1;
    str_printf(&cache, "%s/cache", folder);
    setenv("MIXTUNE_CACHE_DIR", cache.data, 1);
    str_release(&cache);
    return device_open(&dev, spec) == MT_OK ? 0 : -1;
}

static int close_device(void **state) {
    (void)state;
    struct str command = {0};
    device_close(&dev);
    str_printf(&command, "rm -rf %s", folder);
    int result = system(command.data);
    str_release(&command);
    return result;
}

static struct CMUnitTest test_of(const char *name, const struct formats *f) {
    return (struct CMUnitTest){name, agrees, NULL, NULL, (void *)f};
}

int main(void) {
    const struct CMUnitTest tests[] = {
        test_of("w4a8, groups of 128, fp16, cooperative", &cooperative),
        test_of("w4a8, groups of 64, bf16, ping-pong", &pingpong),
        test_of("w4a8, groups of 256, fp16", &wide_groups),
        test_of("w8a8, groups of 128, bf16", &eight_bits),
        test_of("w8a8, groups of 256, fp16", &eight_bits_wide),
        test_of("p20, groups of 128, fp16", &mixed),
        test_of("w4a8-sym, groups of 128, bf16", &symmetric),
        test_of("p20-sym, groups of 64, fp16", &symmetric_mixed),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
