/* The list of families, and what follows from a configuration: texts, compiler options, launch shapes. Numbers are
 * worked out by hand. */
#include "config_of.h"

static void families_have_names_and_devices(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int cc[4]; /* 75, 80, 90, 100 */
    } known[] = {{"sm90", {0, 0, 1, 0}}, {"sm80", {0, 1, 1, 1}}, {"f16", {0, 1, 1, 1}}};
    static const int cc[] = {75, 80, 90, 100};
    for (int i = 0; i < 3; i++) {
        const struct family *family = family_list()[i];
        assert_string_equal(family->name, known[i].name);
        assert_ptr_equal(family_find(known[i].name), family);
        for (int j = 0; j < 4; j++)
            assert_int_equal(family_runs_on(family, cc[j]), known[i].cc[j]);
        assert_int_equal(family->quantised, strcmp(family->name, "f16") != 0);
        assert_int_equal(family->persistent, !strcmp(family->name, "sm90"));
        assert_int_equal(family->tensor_map, !strcmp(family->name, "sm90"));
    }
    assert_null(family_list()[3]);
    assert_null(family_find("sm8"));
    assert_null(family_find(""));
    assert_null(family_find(NULL));
    assert_true(family_runs_on(family_find("sm80"), 89) && family_runs_on(family_find("f16"), 120));
}

/* The canonical text, that of a database: all knobs at their defaults, and those that a launch decides left out. */
static void texts(void **state) {
    (void)state;
    static const struct {
        const char *family, *text, *binary;
    } defaults[] = {
        {"f16", "tile_n=128,tile_m=64,tile_k=64,stages=4,warps_n=4,warps_m=1,ctas=1,split_k=1,raster=1",
         "gemm_f16.cu -DTILE_N=128 -DTILE_M=64 -DTILE_K=64 -DSTAGES=4 -DWARPS_N=4 -DWARPS_M=1 -DCTAS=1 -DBF16=1"},
        {"sm80",
         "tile_n=128,tile_n8=0,tile_m=32,tile_k=0,stages=4,warps_n=4,warps_m=1,ctas=1,promote=2,zero=0,order=1,split_k="
         "1,raster=1",
         "gemm_sm80.cu -DTILE_N=128 -DTILE_N8=128 -DTILE_M=32 -DTILE_K=256 -DSTAGES=4 -DWARPS_N=4 -DWARPS_M=1 -DCTAS=1 "
         "-DPROMOTE=2 -DZERO=0 -DORDER=1 -DGROUP=256 -DHAS_W8=1 -DHAS_W4=1 -DSYMMETRIC=0 -DBF16=1"},
        {"sm90",
         "blocks=1,blocks8=0,tile_m=64,tile_k=0,stages=4,consumers=2,pingpong=0,share_k=0,cluster=1,cluster_k=1,store="
         "0,"
         "ctas=1,promote=2,zero=0,yield=0,split_k=1,stream_k=0,raster=1",
         "gemm_sm90.cu -DBLOCKS=1 -DBLOCKS8=1 -DTILE_M=64 -DTILE_K=256 -DSTAGES=4 -DCONSUMERS=2 -DPINGPONG=0 "
         "-DSHARE_K=0 -DCLUSTER=1 -DCLUSTER_K=1 -DSTORE=0 -DCTAS=1 -DPROMOTE=2 -DZERO=0 -DYIELD=0 -DGROUP=256 "
         "-DHAS_W8=1 -DHAS_W4=1 -DSYMMETRIC=0 -DBF16=1"},
    };
    const struct problem p = {
        .m = 100, .n = 300, .k = 1000, .group = 256, .rows8 = 150, .dtype = DTYPE_BF16, .bias = 1};
    for (int i = 0; i < 3; i++) {
        struct str text = {0}, binary = {0};
        struct config config = config_of(defaults[i].family, ""), same;
        config_format(&config, &text);
        assert_string_equal(text.data, defaults[i].text);
        config_format_binary(&config, &p, &binary);
        assert_string_equal(binary.data, defaults[i].binary);
        assert_true(config_is_default(&config));
        config = config_of(defaults[i].family, "raster=7");
        assert_false(config_is_default(&config));
        str_clear(&binary);
        config_format_binary(&config, &p, &binary);
        assert_string_equal(binary.data, defaults[i].binary);
        str_clear(&text);
        config_format(&config, &text);
        assert_int_equal(config_parse(config.family, text.data, &same), MT_OK);
        assert_true(config_equal(&config, &same));
        same.value[0]++;
        assert_false(config_equal(&config, &same));
        str_release(&text);
        str_release(&binary);
    }
    const struct config a = config_of("sm80", ""), b = {.family = family_find("f16")};
    struct config c = a;
    c.family = b.family;
    assert_false(config_equal(&a, &c));
    assert_int_equal(config_get(&a, "tile_n"), 128);
    assert_int_equal(config_get_or(&a, "tile_n", 5), 128);
    assert_int_equal(config_get_or(&a, "tile", 5), 5);
}

/* Each option follows its own knob, and the formats of the problem. */
static void options_of_every_knob(void **state) {
    (void)state;
    static const struct {
        const char *family, *config;
        int group, pct8;
        const char *options;
    } cases[] = {
        {"f16", "tile_n=16,tile_m=24,tile_k=32,stages=5,warps_n=6,warps_m=7,ctas=8,split_k=10,raster=9", 128, 0,
         " -DTILE_N=16 -DTILE_M=24 -DTILE_K=32 -DSTAGES=5 -DWARPS_N=6 -DWARPS_M=7 -DCTAS=8 -DBF16=0"},
        {"sm80",
         "tile_n=16,tile_n8=32,tile_m=24,tile_k=64,stages=5,warps_n=6,warps_m=7,ctas=8,promote=1,zero=1,order=0", 64,
         20,
         " -DTILE_N=16 -DTILE_N8=32 -DTILE_M=24 -DTILE_K=64 -DSTAGES=5 -DWARPS_N=6 -DWARPS_M=7 -DCTAS=8 -DPROMOTE=1 "
         "-DZERO=1 -DORDER=0 -DGROUP=64 -DHAS_W8=1 -DHAS_W4=1 -DSYMMETRIC=0 -DBF16=0"},
        {"sm80", "", 128, 100,
         " -DTILE_N=128 -DTILE_N8=128 -DTILE_M=32 -DTILE_K=128 -DSTAGES=4 -DWARPS_N=4 -DWARPS_M=1 -DCTAS=1 -DPROMOTE=2 "
         "-DZERO=0 -DORDER=1 -DGROUP=128 -DHAS_W8=1 -DHAS_W4=0 -DSYMMETRIC=0 -DBF16=0"},
        {"sm90",
         "blocks=2,blocks8=1,tile_m=24,tile_k=128,stages=5,consumers=3,pingpong=1,share_k=1,cluster=4,cluster_k=8,"
         "store="
         "1,ctas=6,promote=1,zero=1,yield=1",
         64, 50,
         " -DBLOCKS=2 -DBLOCKS8=1 -DTILE_M=24 -DTILE_K=128 -DSTAGES=5 -DCONSUMERS=3 -DPINGPONG=1 -DSHARE_K=1 "
         "-DCLUSTER=4 "
         "-DCLUSTER_K=8 -DSTORE=1 -DCTAS=6 -DPROMOTE=1 -DZERO=1 -DYIELD=1 -DGROUP=64 -DHAS_W8=1 -DHAS_W4=1 "
         "-DSYMMETRIC=0 -DBF16=0"},
        {"sm90", "", 128, 0,
         " -DBLOCKS=1 -DBLOCKS8=1 -DTILE_M=64 -DTILE_K=128 -DSTAGES=4 -DCONSUMERS=2 -DPINGPONG=0 -DSHARE_K=0 "
         "-DCLUSTER=1 "
         "-DCLUSTER_K=1 -DSTORE=0 -DCTAS=1 -DPROMOTE=2 -DZERO=0 -DYIELD=0 -DGROUP=128 -DHAS_W8=0 -DHAS_W4=1 "
         "-DSYMMETRIC=0 -DBF16=0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct config config = config_of(cases[i].family, cases[i].config);
        const struct problem p = {.m = 1, .n = 300, .k = 1000, .group = cases[i].group, .rows8 = 3 * cases[i].pct8};
        struct str text = {0};
        config.family->options(&config, &p, &text);
        assert_string_equal(text.data, cases[i].options);
        str_release(&text);
    }
}

static void wrong_texts(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"tile_q=3", "family f16 has no knob `tile_q`; did you mean tile_k, tile_m or tile_n?"},
        {"tile=3", "no knob `tile`"},
        {"tile_n", "`tile_n` has no value"},
        {"stages=3,tile_n", "in the config `stages=3,tile_n`, `tile_n` has no value"},
        {"tile_n=", "the value of tile_n is not a whole number from 0 on"},
        {"tile_n=x", "the value of tile_n is not"},
        {"tile_n=3x", "the value of tile_n is not"},
        {"tile_n=3.5", "the value of tile_n is not"},
        {"tile_n=-1", "the value of tile_n is not"},
        {"tile_n=1048577", "the value of tile_n is not"},
        {"stages=3,tile_m=", "the value of tile_m is not"},
    };
    struct config config;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(config_parse(family_find("f16"), cases[i].text, &config), MT_USAGE);
        if (!strstr(fail_message(), cases[i].says))
            fail_msg("%s: %s", cases[i].text, fail_message());
    }
    config = config_of("f16", "tile_n=1048576,stages=0,");
    assert_int_equal(config_get(&config, "tile_n"), 1 << 20);
    assert_int_equal(config_get(&config, "stages"), 0);
    assert_int_equal(config_get(&config, "tile_m"), 64);
}

struct shape_case {
    const char *family, *config;
    int m, n, k, group, pct8, sms;
    struct launch_shape want;
};

static void check_shape(const struct shape_case *s) {
    const struct config config = config_of(s->family, s->config);
    const struct problem p = {.m = s->m, .n = s->n, .k = s->k, .group = s->group, .rows8 = (s->n * s->pct8 + 50) / 100};
    struct launch_shape got;
    memset(&got, 0xa5, sizeof got);
    config.family->shape(&config, &p, s->sms, &got);
    const struct launch_shape *want = &s->want;
    const struct {
        const char *what;
        long long got, want;
    } members[] = {
        {"tile_n", got.tile_n, want->tile_n},
        {"tile_m", got.tile_m, want->tile_m},
        {"tile_k", got.tile_k, want->tile_k},
        {"x_rows", got.x_rows, want->x_rows},
        {"grid x", got.grid[0], want->grid[0]},
        {"grid y", got.grid[1], 1},
        {"grid z", got.grid[2], want->grid[2]},
        {"block", got.block, want->block},
        {"cluster", got.cluster, want->cluster},
        {"split_k", got.split_k, want->split_k},
        {"stream_k", got.stream_k, want->stream_k},
        {"raster", got.raster, want->raster},
        {"store", got.store, want->store},
        {"items", got.items, want->items},
        {"smem_bytes", (long long)got.smem_bytes, (long long)want->smem_bytes},
        {"partials_bytes", (long long)got.partials_bytes, (long long)want->partials_bytes},
        {"counters_bytes", (long long)got.counters_bytes, (long long)want->counters_bytes},
        {"in order", sum_tree_in_order(&got.sums), sum_tree_in_order(&want->sums)},
    };
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (members[i].got != members[i].want)
            fail_msg("%s, %s: %s is %lld, not %lld", s->family, s->config, members[i].what, members[i].got,
                     members[i].want);
}

/* Tile n, m, k and rows of x; grid x and z; block, cluster; split, stream, raster; store; items; bytes shared, of
 * partials, of counters; in order. */
#define WANT(n, m, k, rows, gx, gz, threads, size, split, stream, walk, stores, parts, shared, kept, flags, ordered)   \
    {                                                                                                                  \
        .tile_n = (n), .tile_m = (m), .tile_k = (k), .x_rows = (rows), .grid = {(gx), 1, (gz)}, .block = (threads),    \
        .cluster = (size), .split_k = (split), .stream_k = (stream), .raster = (walk), .store = (stores),              \
        .items = (parts), .smem_bytes = (shared), .partials_bytes = (kept), .counters_bytes = (flags), .sums = {       \
            (ordered),                                                                                                 \
            .turns = 1                                                                                                 \
        }                                                                                                              \
    }
#define FEW 100, 300, 1000

static void shapes_of_sm80_and_f16(void **state) {
    (void)state;
    static const struct shape_case cases[] = {
        /* 3 tiles of features, 2 of tokens; 4 stages of 192 rows of 64 elements of 2 bytes. */
        {"f16", "raster=2", FEW, 128, 0, 108, WANT(128, 64, 64, 64, 6, 1, 128, 0, 1, 0, 2, 0, 6, 98304, 0, 0, 1)},
        {"f16", "tile_n=64,warps_n=2,warps_m=4,tile_m=32,tile_k=32,stages=3", 65, 64, 1000, 128, 0, 108,
         WANT(64, 32, 32, 32, 3, 1, 256, 0, 1, 0, 1, 0, 3, 18432, 0, 0, 1)},
        {"f16", "tile_n=64,warps_n=2,warps_m=4,tile_m=32,tile_k=32,stages=3", 64, 65, 1000, 128, 0, 108,
         WANT(64, 32, 32, 32, 4, 1, 256, 0, 1, 0, 1, 0, 4, 18432, 0, 0, 1)},
        {"f16", "tile_n=64,tile_m=32,split_k=5", FEW, 128, 0, 108,
         WANT(64, 32, 64, 32, 20, 5, 128, 0, 5, 0, 1, 0, 100, 49152, 100 * 64 * 32 * 4, 20 * 4, 0)},
        /* 3 x 4 tiles; stages of 12800 bytes. */
        {"sm80", "raster=4", FEW, 128, 0, 108, WANT(128, 32, 128, 32, 12, 1, 128, 0, 1, 0, 4, 0, 12, 51200, 0, 0, 1)},
        {"sm80", "split_k=3", FEW, 128, 0, 108,
         WANT(128, 32, 128, 32, 12, 3, 128, 0, 3, 0, 1, 0, 36, 51200, 36 * 128 * 32 * 4, 12 * 4, 0)},
        /* 150 features of each width: 2 tiles of 128 in 4 bits, 3 of 64 in 8 bits, of 4096 + 8192 + 128 + 128. */
        {"sm80", "tile_n8=64,split_k=2", FEW, 128, 50, 108,
         WANT(128, 32, 128, 32, 20, 2, 128, 0, 2, 0, 1, 0, 40, 51200, 40 * 128 * 32 * 4, 20 * 4, 0)},
        {"sm80", "tile_n=64,tile_n8=128,stages=2", FEW, 128, 50, 108,
         WANT(128, 32, 128, 32, 20, 1, 128, 0, 1, 0, 1, 0, 20, 2 * 20864, 0, 0, 1)},
        {"sm80", "warps_m=2,tile_m=64,tile_k=256,stages=2", 65, 128, 1000, 128, 100, 108,
         WANT(128, 64, 256, 64, 2, 1, 256, 0, 1, 0, 1, 0, 2, 2 * (16384 + 32768 + 512 + 512), 0, 0, 1)},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_shape(&cases[i]);
}

/* Stages are rounded up to whole KiB. */
static void shapes_of_sm90(void **state) {
    (void)state;
    static const struct shape_case cases[] = {
        /* Tiles of 128 features and 64 tokens, stages of 17 KiB, an output tile of 16 KiB, and 1 KiB. */
        {"sm90", "raster=2", FEW, 128, 0, 132, WANT(128, 64, 128, 64, 6, 1, 384, 1, 1, 0, 2, 0, 6, 87040, 0, 0, 1)},
        {"sm90", "store=1", FEW, 128, 0, 5, WANT(128, 64, 128, 64, 5, 1, 384, 1, 1, 0, 1, 1, 6, 87040, 0, 0, 1)},
        {"sm90", "ctas=2", FEW, 128, 0, 2, WANT(128, 64, 128, 64, 4, 1, 384, 1, 1, 0, 1, 0, 6, 87040, 0, 0, 1)},
        {"sm90", "split_k=3", FEW, 128, 0, 132,
         WANT(128, 64, 128, 64, 18, 1, 384, 1, 3, 0, 1, 0, 18, 87040, 18 * 128 * 64 * 4, 6 * 4, 0)},
        /* Pairs of tiles: 2 x 2 clusters, each CTA loads half of the tokens. */
        {"sm90", "cluster=2", FEW, 128, 0, 132, WANT(128, 64, 128, 32, 8, 1, 384, 2, 1, 0, 1, 0, 8, 87040, 0, 0, 1)},
        {"sm90", "cluster=2,split_k=2", FEW, 128, 0, 7,
         WANT(128, 64, 128, 32, 6, 1, 384, 2, 2, 0, 1, 0, 16, 87040, 16 * 128 * 64 * 4, 8 * 4, 0)},
        /* 150 features of each width: a pair of 2 x 128 in 8 bits, two of 2 x 64 in 4 bits; stages of 8192 + 16384 +
         * 256 + 256. */
        {"sm90", "cluster=2,blocks=1,blocks8=2,consumers=1", FEW, 128, 50, 132,
         WANT(128, 64, 128, 32, 12, 1, 256, 2, 1, 0, 1, 0, 12, 1024 + 4 * 25600 + 16384, 0, 0, 1)},
        {"sm90", "cluster_k=4", FEW, 128, 0, 11, WANT(128, 64, 128, 64, 8, 1, 384, 4, 1, 0, 1, 0, 24, 103424, 0, 0, 0)},
        /* Too few SMs: refused, but of a size all the same. */
        {"sm90", "cluster_k=4", FEW, 128, 0, 3, WANT(128, 64, 128, 64, 4, 1, 384, 4, 1, 0, 1, 0, 24, 103424, 0, 0, 0)},
        /* 4096 + 4096 + 128 + 128 + 64; an output of 4096 for each. */
        {"sm90", "consumers=3,pingpong=1,tile_m=32,stages=6", FEW, 128, 0, 132,
         WANT(64, 32, 128, 32, 20, 1, 512, 1, 1, 0, 1, 0, 20, 1024 + 6 * 9216 + 3 * 4096, 0, 0, 1)},
        /* 8192 + 4096 + 128 + 256 + 64. */
        {"sm90", "share_k=1", FEW, 128, 0, 132,
         WANT(64, 64, 128, 64, 10, 1, 384, 1, 1, 0, 1, 0, 10, 1024 + 4 * 13312 + 64 * 64 * 6, 0, 0, 0)},
        /* 300 features of each: 2 tiles of 256, 3 of 128; 4096 + 16384 + 512 + 128 + 256, or 4096 + 16384 + 256 +
         * 128. */
        {"sm90", "blocks=2,blocks8=1,tile_m=32", 100, 600, 1000, 128, 50, 132,
         WANT(256, 32, 128, 32, 20, 1, 384, 1, 1, 0, 1, 0, 20, 1024 + 4 * 21504 + 16384, 0, 0, 1)},
        /* 4096 + 32768 + 512 + 128. */
        {"sm90", "blocks=1,blocks8=2,tile_m=32", 100, 600, 1000, 128, 50, 132,
         WANT(256, 32, 128, 32, 20, 1, 384, 1, 1, 0, 1, 0, 20, 1024 + 4 * 37888 + 16384, 0, 0, 1)},
        /* 256 more in a stage of 17024: still 17 KiB. */
        {"sm90", "zero=1", FEW, 128, 0, 132, WANT(128, 64, 128, 64, 6, 1, 384, 1, 1, 0, 1, 0, 6, 87040, 0, 0, 1)},
        /* 18432 + 16384 + 4 * (256 + 288 + 288 + 128). */
        {"sm90", "zero=1,tile_m=72,tile_k=256", FEW, 64, 0, 132,
         WANT(128, 72, 256, 72, 6, 1, 384, 1, 1, 0, 1, 0, 6, 1024 + 4 * 38912 + 18432, 0, 0, 1)},
        /* 6 tiles of 8 steps on 4 SMs: 2 are left, so that all 6 are shared; 4 workers with 12 steps each. */
        {"sm90", "stream_k=2", FEW, 128, 0, 4,
         WANT(128, 64, 128, 64, 4, 1, 384, 1, 1, 2, 1, 0, 4, 87040, 2 * 4 * 128 * 64 * 4, 2 * 4 * 4, 0)},
        /* 10 tiles on 4: one wave is whole. */
        {"sm90", "stream_k=2", 100, 640, 1000, 128, 0, 4,
         WANT(128, 64, 128, 64, 4, 1, 384, 1, 1, 2, 1, 0, 8, 87040, 2 * 4 * 128 * 64 * 4, 2 * 4 * 4, 0)},
        /* 6 tiles of 8 steps on 132 SMs: 6 steps at least are 8 workers. */
        {"sm90", "stream_k=6", FEW, 128, 0, 132,
         WANT(128, 64, 128, 64, 132, 1, 384, 1, 1, 6, 1, 0, 8, 87040, 2 * 132 * 128 * 64 * 4, 2 * 132 * 4, 0)},
        {"sm90", "stream_k=2,cluster=2", FEW, 128, 0, 6,
         WANT(128, 64, 128, 32, 6, 1, 384, 2, 1, 2, 1, 0, 6, 87040, 2 * 6 * 128 * 64 * 4, 2 * 6 * 4, 0)},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_shape(&cases[i]);
}

/* What a kernel is built for, and the shared memory that its launch takes: symmetric 4-bit weights have a byte less a
 * group and feature, and the kernel of a mixed layer keeps room for both parts. */
static void widths_and_zero_points(void **state) {
    (void)state;
    static const struct {
        const char *family, *config;
        int rows8;
        bool symmetric;
        const char *formats;
        int tile_n, grid, shared;
    } cases[] = {
        /* A stage: tokens 32 x 128, weights 128 x 64 or 128, scales 2 x 256, of tokens 2 x 128, zero points 2 x 128. */
        {"sm80", "", 0, false, "-DHAS_W8=0 -DHAS_W4=1 -DSYMMETRIC=0", 128, 3, 4 * 13312},
        {"sm80", "", 0, true, "-DHAS_W8=0 -DHAS_W4=1 -DSYMMETRIC=1", 128, 3, 4 * 13056},
        {"sm80", "", 300, true, "-DHAS_W8=1 -DHAS_W4=0 -DSYMMETRIC=0", 128, 3, 4 * 21248},
        {"sm80", "tile_n8=64", 1, true, "-DHAS_W8=1 -DHAS_W4=1 -DSYMMETRIC=1", 128, 1 + 3, 4 * 13056},
        /* The same with 64 tokens, rounded up to 1024; the output tile of 16 KiB or 32, and 1024. */
        {"sm90", "", 0, false, "-DHAS_W8=0 -DHAS_W4=1 -DSYMMETRIC=0", 128, 3, 1024 + 4 * 18432 + 16384},
        {"sm90", "", 0, true, "-DHAS_W8=0 -DHAS_W4=1 -DSYMMETRIC=1", 128, 3, 1024 + 4 * 17408 + 16384},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config config = config_of(cases[i].family, cases[i].config);
        const struct problem p = {
            .m = 32, .n = 300, .k = 1000, .group = 64, .rows8 = cases[i].rows8, .symmetric = cases[i].symmetric};
        struct str text = {0};
        struct launch_shape shape;
        config.family->options(&config, &p, &text);
        config.family->shape(&config, &p, 132, &shape);
        if (!strstr(text.data, cases[i].formats) || shape.tile_n != cases[i].tile_n ||
            shape.grid[0] != (unsigned)cases[i].grid || shape.smem_bytes != (size_t)cases[i].shared)
            fail_msg("%zu: tile of %d, %u CTAs, %zu bytes,%s", i, shape.tile_n, shape.grid[0], shape.smem_bytes,
                     text.data);
        str_release(&text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_have_names_and_devices), cmocka_unit_test(texts),
        cmocka_unit_test(options_of_every_knob),           cmocka_unit_test(wrong_texts),
        cmocka_unit_test(shapes_of_sm80_and_f16),          cmocka_unit_test(shapes_of_sm90),
        cmocka_unit_test(widths_and_zero_points),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
