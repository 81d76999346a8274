/* Space files: what they mean, and the sentence for each way of getting one wrong. */
#include "runtime/base/status.h"
#include "tuner/plan/plan.h"
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

static char path[64];

static const char *write_space(const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return path;
}

static void test_product(void **state) {
    (void)state;
    struct space space;
    const char *file =
        write_space("# a comment\nfamily: sm80\nvalues:\n  tile_n: [64, 128]\n  stages: [3]\n  split_k: [1, 2, 8]\n");
    assert_int_equal(space_read(file, &space), MT_OK);
    assert_string_equal(space.family->name, "sm80");
    assert_int_equal(space_size(&space), 6);
    struct config base;
    config_default(space.family, &base);
    static const int tile_n[] = {64, 64, 64, 128, 128, 128}, split_k[] = {1, 2, 8, 1, 2, 8};
    for (int i = 0; i < 6; i++) {
        struct config c;
        space_config(&space, i, &c);
        assert_int_equal(config_get(&c, "tile_n"), tile_n[i]);
        assert_int_equal(config_get(&c, "split_k"), split_k[i]);
        assert_int_equal(config_get(&c, "stages"), 3);
        assert_int_equal(config_get(&c, "tile_m"), config_get(&base, "tile_m"));
    }
    space_release(&space);
}

/* Configurations that are written out follow the product; knobs that they do not name keep the family's default. */
static void test_listed(void **state) {
    (void)state;
    struct space space;
    struct config c, want;
    const char *file = write_space("family: sm80\nvalues:\n  tile_n: [64, 128]\nconfigs:\n  - tile_n=256,stages=3\n"
                                   "  - \"\"\n  - split_k=2\n");
    assert_int_equal(space_read(file, &space), MT_OK);
    assert_int_equal(space_size(&space), 5);
    static const char *const text[] = {"tile_n=64", "tile_n=128", "tile_n=256,stages=3", "", "split_k=2"};
    for (int i = 0; i < 5; i++) {
        space_config(&space, i, &c);
        assert_int_equal(config_parse(space.family, text[i], &want), MT_OK);
        assert_true(config_equal(&c, &want));
    }
    space_release(&space);
    struct config_list list;
    assert_int_equal(config_list_read(write_space("configs: [\"split_k=2\", split_k=4]\nfamily: sm80\n"), &list),
                     MT_OK);
    assert_int_equal(list.count, 3);
    assert_true(config_is_default(&list.config[0]));
    assert_int_equal(config_get(&list.config[1], "split_k"), 2);
    assert_int_equal(config_get(&list.config[2], "split_k"), 4);
    config_list_release(&list);
}

static void test_list(void **state) {
    (void)state;
    struct config_list list;
    char twice[160];
    const char *file = write_space("family: f16\nvalues:\n  tile_n: [64, 128, 64]\n  stages: [3, 4]\n");
    snprintf(twice, sizeof twice, "%s,%s", file, file);
    struct config base;
    config_default(family_find("f16"), &base);
    bool default_inside = config_get(&base, "tile_n") == 128 && config_get(&base, "stages") == 4;
    assert_int_equal(config_list_read(twice, &list), MT_OK);
    assert_int_equal(list.count, default_inside ? 4 : 5); /* repetitions count once */
    assert_memory_equal(list.config[0].value, base.value, sizeof base.value);
    for (int i = 0; i < list.count; i++)
        for (int j = 0; j < i; j++)
            assert_memory_not_equal(list.config[i].value, list.config[j].value, sizeof base.value);
    config_list_release(&list);
}

static void test_shipped(void **state) {
    (void)state;
    glob_t files;
    assert_int_equal(glob(MT_SOURCE_DIR "/configs/spaces/*", 0, NULL, &files), 0);
    assert_true(files.gl_pathc >= 12);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        struct config_list list;
        if (config_list_read(files.gl_pathv[i], &list))
            fail_msg("%s", fail_message());
        assert_true(list.count > 1);
        config_list_release(&list);
    }
    globfree(&files);
}

/* A large data-centre GPU. */
static const struct device_limits limits = {.cc = 80,
                                            .sm_count = 108,
                                            .smem_per_block_optin = 166912,
                                            .smem_per_sm = 167936,
                                            .regs_per_sm = 65536,
                                            .threads_per_sm = 2048};

static void test_thin(void **state) {
    (void)state;
    struct work_item item = {.problem = {.m = 16, .n = 4096, .k = 4096, .group = 128}};
    struct workload workload = {&item, 1, 0};
    char reason[160];
    for (int max = 0; max < 12; max++) {
        struct config_list list;
        const char *file =
            write_space("family: sm80\nvalues:\n  tile_n: [64, 65, 128]\n  tile_m: [8, 16]\n  stages: [2, 3, 4, 5]\n");
        assert_int_equal(config_list_read(file, &list), MT_OK);
        struct config first = list.config[0];
        plan_thin(&list, &workload, &limits, max);
        if (max > 0)
            assert_int_equal(list.count, max); /* exactly, for there are 17 that can run */
        else
            assert_int_equal(list.count, 17); /* the default and 2 x 2 x 4; tiles of 65 features are refused */
        assert_memory_equal(list.config[0].value, first.value, sizeof first.value);
        for (int i = 0; i < list.count; i++)
            assert_true(config_allowed(&list.config[i], &item.problem, &limits, reason));
        config_list_release(&list);
    }
}

static void check_refused(const char *text, const char *line, const char *word) {
    struct space space;
    assert_int_equal(space_read(write_space(text), &space), MT_USAGE);
    const char *message = fail_message();
    if (!strstr(message, path) || !strstr(message, line) || !strstr(message, word))
        fail_msg("the sentence lacks %s, `%s` or `%s`: %s", path, line, word, message);
    assert_null(strchr(message, '\n'));
}

static void test_wrong_files(void **state) {
    (void)state;
    check_refused("family: sm80\nvalues:\n  tile_x: [1, 2]\n", "line 3", "tile_x");
    check_refused("family: sm80\nvalues:\n  tile_x: [1, 2]\n", "line 3", "tile_n"); /* what there is */
    check_refused("family: sm80\nvalues:\n  stages: [3]\n\n  tile_n: [64]\n  tile_x: [1]\n", "line 6", "tile_x");
    check_refused("family: sm80\nvalues:\n  tile_n: [64, wide]\n", "line 3", "wide");
    check_refused("family: sm80\nvalues:\n  tile_n: 64\n", "line 3", "SEQUENCE");
    check_refused("family: sm80\nvalues:\n  tile_n: []\n", "line 3", "tries");
    check_refused("family: sm80\nvalues:\n  tile_n: [64, 128\n  stages: [3]\n", "line 4", "expected");
    check_refused("family: sm80\nvalues:\n\ttile_n: [64]\n", "line 3", "cannot start");
    check_refused("family: sm80\nvalue:\n  tile_n: [64]\n", "line 2", "value");
    check_refused("family: sm70\nvalues:\n  tile_n: [64]\n", "", "sm70");
    check_refused("values:\n  tile_n: [64]\n", "line", "family");
    check_refused("family: sm80\n", "line 1", "values");
    check_refused("family: sm80\nvalues: {}\n", "line 1", "lists nothing");
    check_refused("family: sm80\nconfigs: []\n", "line 1", "lists nothing");
    check_refused("family: sm80\nconfigs:\n  - stages=3\n\n  - stages=3,tile_x=1\n", "line 5", "no knob `tile_x`");
    check_refused("family: sm80\nconfigs:\n  - stages=three\n", "line 3", "not a whole number");
    check_refused("family: sm80\nconfigs:\n  - stages\n", "line 3", "has no value");
    check_refused("family: sm80\nconfigs: stages=3\n", "line 2", "SEQUENCE");
    check_refused("family: sm80\nconfigs:\n  - [3]\n", "line 3", "STRING");
    check_refused("- a\n- b\n", "line 1", "");
    check_refused("", "line 1", "empty");
    check_refused("# nothing\n", "line 1", "empty");
    struct space space;
    assert_int_equal(space_read("/no/such/space.yaml", &space), MT_USAGE);
    assert_int_equal(space_read("no-such-space", &space), MT_USAGE);
    struct config_list list;
    assert_int_equal(config_list_read(",", &list), MT_USAGE);
    assert_string_equal(fail_message(), "--space: the list is empty");
}

/* ---- what the proof spaces must hold ---- */

/* A family, its whole space and that of its proofs, and the shapes on which tests/cli/test_verify*.sh runs it. */
struct coverage {
    const char *whole, *proof;
    struct device_limits limits;
    int shape[3][3];
    const char *many;           /* knobs with so many values that their pairs need too many 8-bit kernels */
    const char *arithmetic;     /* knobs of which every combination is proved with 4-bit weights */
    const char *const *refused; /* pairs that no configuration can have; NULL-terminated */
};

static const char *const refused_sm80[] = {"tile_m=8 warps_m=2", "tile_m=128 ctas=3", NULL};
static const char *const refused_sm90[] = {
    "blocks=2 tile_m=112",    "blocks=2 tile_m=128",    "blocks=2 tile_m=160",    "blocks=2 tile_m=192",
    "tile_m=112 stages=12",   "tile_m=128 stages=12",   "tile_m=160 stages=12",   "tile_m=192 stages=8",
    "tile_m=192 stages=12",   "tile_m=128 consumers=3", "tile_m=160 consumers=3", "tile_m=192 consumers=3",
    "tile_m=8 cluster=2",     "tile_m=96 ctas=3",       "tile_m=112 ctas=3",      "tile_m=128 ctas=3",
    "tile_m=160 ctas=3",      "tile_m=192 ctas=2",      "tile_m=192 ctas=3",      "consumers=1 pingpong=1",
    "consumers=1 share_k=1",  "consumers=3 ctas=3",     "pingpong=1 share_k=1",   "share_k=1 cluster_k=2",
    "share_k=1 cluster_k=4",  "cluster=2 cluster_k=2",  "cluster=2 cluster_k=4",  "cluster_k=2 split_k=2",
    "cluster_k=2 split_k=4",  "cluster_k=4 split_k=2",  "cluster_k=4 split_k=4",  "cluster_k=2 stream_k=4",
    "cluster_k=4 stream_k=4", "split_k=2 stream_k=4",   "split_k=4 stream_k=4",   NULL};

static const struct coverage sm80 = {"sm80",
                                     "proof-sm80",
                                     {80, 108, 166912, 167936, 65536, 2048},
                                     {{33, 257, 129}, {50, 48, 1800}, {390, 40, 140}},
                                     "tile_m,stages",
                                     "tile_n,promote,zero,order",
                                     refused_sm80};
static const struct coverage sm90 = {"sm90",
                                     "proof-sm90",
                                     {90, 132, 232448, 233472, 65536, 2048},
                                     {{33, 257, 300}, {50, 264, 800}, {580, 40, 140}},
                                     "tile_m,stages,ctas,split_k",
                                     "blocks,promote,zero",
                                     refused_sm90};

static const char *const refused_f16[] = {"tile_m=8 warps_m=2", NULL};
static const struct coverage f16 = {
    "f16", "proof-f16", {80, 108, 166912, 167936, 65536, 2048}, {{390, 136, 1100}, {33, 257, 129}, {1, 100, 300}}, "",
    "",    refused_f16};

static bool runs(const struct coverage *c, const struct config *config, const char *scheme) {
    char reason[160];
    bool some = false;
    for (int i = 0; i < 3 && !some; i++) {
        struct problem p = {.m = c->shape[i][0], .n = c->shape[i][1], .k = c->shape[i][2], .group = 128};
        assert_int_equal(problem_set_scheme(&p, scheme), MT_OK);
        some = config_allowed(config, &p, &c->limits, reason);
    }
    return some;
}

/* The configurations of the proof space that run. */
static struct config_list proofs_of(const struct coverage *c, const char *scheme) {
    struct config_list all, out = {0};
    assert_int_equal(config_list_read(c->proof, &all), MT_OK);
    for (int i = 0; i < all.count; i++)
        if (runs(c, &all.config[i], scheme))
            config_list_add(&out, &all.config[i]);
    config_list_release(&all);
    return out;
}

/* Values of two knobs. */
struct pair {
    int a, b, va, vb;
};

static bool has_pair(const struct config *config, const struct pair *p) {
    return config->value[p->a] == p->va && config->value[p->b] == p->vb;
}

/* Looks in the whole space, at random, for a configuration that has the pair and runs. */
static bool find_witness(const struct coverage *c, const struct space *whole, const struct pair *p, const char *scheme,
                         struct config *out) {
    for (int tries = 0; tries < 1500; tries++) {
        config_default(whole->family, out);
        for (int k = 0; k < whole->family->knob_count; k++)
            if (whole->values[k])
                out->value[k] = whole->values[k][lrand48() % whole->counts[k]];
        out->value[p->a] = p->va;
        out->value[p->b] = p->vb;
        if (runs(c, out, scheme))
            return true;
    }
    return false;
}

static void check_uncovered(const struct coverage *c, const struct space *whole, const struct pair *p,
                            const char *scheme) {
    struct str name = {0}, text = {0};
    struct config witness;
    const struct knob *knobs = whole->family->knobs;
    bool listed = strcmp(scheme, "w4a8") != 0;
    str_printf(&name, "%s=%d %s=%d", knobs[p->a].name, p->va, knobs[p->b].name, p->vb);
    for (int i = 0; !listed && c->refused[i]; i++)
        listed = !strcmp(c->refused[i], name.data);
    if (find_witness(c, whole, p, scheme, &witness)) {
        config_format(&witness, &text);
        fail_msg("%s has no %s with %s; one such is %s", c->proof, name.data, scheme, text.data);
    }
    if (!listed)
        fail_msg("no configuration has %s: if so it must be, list it as refused", name.data);
    str_release(&name);
    str_release(&text);
}

static bool in_list(const char *list, const char *name) {
    for (const char *at = list; (at = strstr(at, name)); at++)
        if ((at == list || at[-1] == ',') && (at[strlen(name)] == ',' || !at[strlen(name)]))
            return true;
    return false;
}

/* Every pair of values of two knobs of the whole space, but of those in `without`. How many are refused. */
static int check_pairs(const struct coverage *c, const char *scheme, const char *without) {
    struct space whole;
    struct config_list proofs = proofs_of(c, scheme);
    int refused = 0;
    assert_int_equal(space_read(c->whole, &whole), MT_OK);
    const struct family *family = whole.family;
    for (int a = 0; a < family->knob_count; a++)
        for (int b = a + 1; b < family->knob_count; b++) {
            if (in_list(without, family->knobs[a].name) || in_list(without, family->knobs[b].name))
                continue;
            for (uint32_t i = 0; i < whole.counts[a] * whole.counts[b]; i++) {
                const struct pair p = {a, b, whole.values[a][i / whole.counts[b]],
                                       whole.values[b][i % whole.counts[b]]};
                bool covered = false;
                for (int j = 0; j < proofs.count && !covered; j++)
                    covered = has_pair(&proofs.config[j], &p);
                if (!covered)
                    check_uncovered(c, &whole, &p, scheme);
                refused += !covered;
            }
        }
    space_release(&whole);
    config_list_release(&proofs);
    return refused;
}

/* Every combination of the values that the proof space has of these knobs, whether they are shared along K or not: the
 * combinations that differ are counted. */
static void check_arithmetic(const struct coverage *c, const char *scheme, int want) {
    struct config_list proofs = proofs_of(c, scheme);
    int found = 0;
    for (int i = 0; i < proofs.count; i++) {
        bool before = false;
        for (int j = 0; j < i && !before; j++) {
            before = true;
            for (int k = 0; k < proofs.config[i].family->knob_count; k++)
                if (in_list(c->arithmetic, proofs.config[i].family->knobs[k].name))
                    before = before && proofs.config[i].value[k] == proofs.config[j].value[k];
        }
        found += !before;
    }
    assert_int_equal(found, want);
    config_list_release(&proofs);
}

static int count_of(const char *const *list) {
    int count = 0;
    while (list[count])
        count++;
    return count;
}

/* What a proof does not run, no test of the kernels sees. */
static void test_proofs(void **state) {
    (void)state;
    srand48(5);
    assert_int_equal(check_pairs(&sm80, "w4a8", ""), count_of(sm80.refused));
    assert_int_equal(check_pairs(&sm90, "w4a8", ""), count_of(sm90.refused));
    assert_int_equal(check_pairs(&f16, "w4a8", ""), count_of(f16.refused));
    check_pairs(&sm80, "w8a8", sm80.many);
    check_pairs(&sm90, "w8a8", sm90.many);
    check_arithmetic(&sm80, "w4a8", 2 * 3 * 2 * 2);
    check_arithmetic(&sm90, "w4a8", 2 * 3 * 2);
    check_arithmetic(&sm80, "w4a8-sym", 2 * 3 * 2); /* zero=0 */
    check_arithmetic(&sm90, "w4a8-sym", 2 * 3);
}

static int make_path(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(path, sizeof path, "%.40s/spaceXXXXXX", tmp && *tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state) {
    (void)state;
    return unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_product),     cmocka_unit_test(test_listed),  cmocka_unit_test(test_proofs),
        cmocka_unit_test(test_list),        cmocka_unit_test(test_shipped), cmocka_unit_test(test_thin),
        cmocka_unit_test(test_wrong_files),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
