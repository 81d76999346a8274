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
    check_refused("family: sm80\nvalues:\n  tile_n: [64, 128, 1048577]\n", "line 3", "1048577 is not between 0 and");
    check_refused("family: sm80\nvalues:\n  tile_n: [64,\n    -3]\n", "line 4", "-3 is not between 0 and");
    check_refused("family: sm80\nconfigs:\n  - stages=3,stages=4\n", "line 3", "stages stands twice");
    assert_int_equal(space_read("/no/such/space.yaml", &space), MT_USAGE);
    assert_int_equal(space_read("no-such-space", &space), MT_USAGE);
    struct config_list list;
    assert_int_equal(config_list_read(",", &list), MT_USAGE);
    assert_string_equal(fail_message(), "--space: the list is empty");
}

/* libcyaml takes all of these in silence, some as something else. */
static void test_what_libcyaml_takes(void **state) {
    (void)state;
    static const char *const numbers[] = {"64.5",
                                          "1e2",
                                          "1e400",
                                          "NaN",
                                          ".inf",
                                          "-0",
                                          "007",
                                          "0x40",
                                          "0o100",
                                          "1_000",
                                          "~",
                                          "yes",
                                          "64abc",
                                          "\"\"",
                                          "2147483648",
                                          "+64",
                                          "1:30",
                                          "0b1",
                                          "99999999999999999999"};
    char text[100];
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        snprintf(text, sizeof text, "family: sm80\nvalues:\n  stages: [3,\n    %s]\n", numbers[i]);
        check_refused(text, "line 4", "stages: `");
    }
    check_refused("family: &f sm80\nvalues:\n  tile_n: [64]\n", "line 1", "&f names a part");
    check_refused("family: sm80\nvalues:\n  tile_n: [64]\n  tile_m: *n\n", "line 4", "*n stands for something else");
    check_refused("family: sm80\nvalues:\n  tile_n: !!seq [64]\n", "line 3", "tag");
    check_refused("family: sm80\nvalues:\n  <<: {tile_n: [64]}\n", "line 3", "no knob `<<`");
    check_refused("family: sm80\nvalues:\n  tile_n: [64]\n---\nfamily: sm90\n", "line 4", "second document");
    check_refused("family: sm80\nfamily: sm90\nvalues:\n  tile_n: [64]\n", "line 2",
                  "`family` stands here for the second");
    check_refused("family: sm80\nvalues:\n  tile_n: [64]\n  tile_n: [128]\n", "line 4",
                  "`tile_n` stands here for the second");
    check_refused("family: sm80\nvalues:\n  tile_n: [64]\nvalues: {}\n", "line 4",
                  "`values` stands here for the second");
    check_refused("? [family]\n: sm80\n", "line 1", "a key is one word");
    check_refused("family: \"sm80\\0\"\n", "line 1", "a byte is 0");
    check_refused("family: \xff\xfe\n", "line 1", "UTF-8");
    /* Nothing of these is kept, however deep they go. */
    char *deep = calloc(1, 300001);
    assert_non_null(deep);
    memset(deep, '[', 300000);
    check_refused(deep, "line 1", "nested more than 8 deep");
    for (int i = 0; i < 300000; i++)
        deep[i] = "{a: "[i % 4];
    check_refused(deep, "line 1", "nested more than 8 deep");
    for (int i = 0; i < 300000; i++)
        deep[i] = "- "[i % 2];
    check_refused(deep, "line 1", "nested more than 8 deep");
    strcpy(deep, "family: sm80\nconfigs:\n");
    for (size_t i = 0, at = strlen(deep); i < 16385; i++)
        at += (size_t)sprintf(deep + at, "- stages=3\n");
    check_refused(deep, "line 1638", "Excessive entries (16384 max)");
    free(deep);
}

/* Aliases of aliases: eleven levels of nine are 3e10 values. */
static void test_laughs(void **state) {
    (void)state;
    char text[1000] = "a: &a [x,x,x,x,x,x,x,x,x]\n";
    for (int c = 'b'; c < 'm'; c++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c,
                 c, c - 1, c - 1, c - 1, c - 1, c - 1, c - 1, c - 1, c - 1, c - 1);
    strcat(text, "family: sm80\nvalues:\n  tile_n: [64]\n");
    check_refused(text, "line 1", "&a names a part");
}

/* 256 values of eight knobs are 2^64 combinations, which were counted as none. */
static void test_large_products(void **state) {
    (void)state;
    static const char *const knobs[] = {"tile_n",  "tile_m",  "tile_k", "stages",
                                        "warps_n", "warps_m", "ctas",   "promote"};
    char *text = calloc(1, 20000);
    assert_non_null(text);
    strcpy(text, "family: sm80\nvalues:\n");
    for (size_t i = 0; i < sizeof knobs / sizeof *knobs; i++) {
        sprintf(text + strlen(text), "  %s: [0", knobs[i]);
        for (int value = 1; value < 256; value++)
            sprintf(text + strlen(text), ",%d", value);
        strcat(text, "]\n");
    }
    struct config_list list;
    assert_int_equal(config_list_read(write_space(text), &list), MT_USAGE);
    assert_non_null(strstr(fail_message(), "more than 4194304 configurations"));
    free(text);
    /* 2^22 alone would do, but the default comes on top; half of that twice does not. */
    char both[3 * sizeof path];
    text = calloc(1, 20000);
    assert_non_null(text);
    strcpy(text, "family: sm80\nvalues:\n");
    for (int i = 0; i < 7; i++)
        sprintf(text + strlen(text), "  %s: [0,1,2,3,4,5,6,7]\n", knobs[i]);
    write_space(text);
    snprintf(both, sizeof both, "%s,%s,%s", path, path, path);
    assert_int_equal(config_list_read(both, &list), MT_USAGE);
    assert_non_null(strstr(fail_message(), "more than 4194304 configurations"));
    free(text);
}

/* Marks of byte order and line ends of other systems are no fault. */
static void test_other_ends(void **state) {
    (void)state;
    struct space space;
    assert_int_equal(
        space_read(write_space("\xef\xbb\xbf---\r\nfamily: sm80\r\nvalues:\r\n  tile_n: [64]\r\n...\r\n"), &space),
        MT_OK);
    assert_int_equal(space_size(&space), 1);
    space_release(&space);
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
        cmocka_unit_test(test_product),
        cmocka_unit_test(test_listed),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_shipped),
        cmocka_unit_test(test_thin),
        cmocka_unit_test(test_wrong_files),
        cmocka_unit_test(test_what_libcyaml_takes),
        cmocka_unit_test(test_laughs),
        cmocka_unit_test(test_large_products),
        cmocka_unit_test(test_other_ends),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
