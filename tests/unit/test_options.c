/* Lists and ranges of the command line, and the problems that follow from them. */
#include "runtime/base/status.h"
#include "tuner/plan/workload.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

static void check_list(const char *text, const int *want, int count) {
    struct int_list list = {0};
    assert_int_equal(int_list_parse(text, "--m", &list), MT_OK);
    assert_int_equal(list.count, count);
    for (int i = 0; i < count; i++)
        assert_int_equal(list.value[i], want[i]);
    int_list_release(&list);
}

static void test_lists(void **state) {
    (void)state;
    check_list("1,16,4096", (int[]){1, 16, 4096}, 3);
    check_list("7", (int[]){7}, 1);
    check_list("1:256:x2", (int[]){1, 2, 4, 8, 16, 32, 64, 128, 256}, 9);
    check_list("3:100:x4", (int[]){3, 12, 48}, 3);
    check_list("64:256:64", (int[]){64, 128, 192, 256}, 4);
    check_list("200000:200002:2", (int[]){200000, 200002}, 2);
    check_list("1,8:16:8,100:100:x2", (int[]){1, 8, 16, 100}, 4);
    check_list("8,1,8,1:8:x2", (int[]){8, 1, 2, 4}, 4);             /* each once, where it stands first */
    check_list("1073741824:2147483647:x2", (int[]){1073741824}, 1); /* the next step would not fit an int */
}

static void test_bad_lists(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",      "x",   "0",   "-3",  "1,,x",   "1:2",     "1:256:x1",    "1:256:0",
        "8:4:1", "1.5", "1 2", "1e3", "1:2:3z", "1:2:3:4", "99999999999", "1:2147483647:+1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct int_list list = {0};
        assert_int_equal(int_list_parse(bad[i], "--m", &list), MT_USAGE);
        assert_non_null(strstr(fail_message(), "--m"));
        int_list_release(&list);
    }
}

static void test_seconds(void **state) {
    (void)state;
    double s;
    assert_int_equal(seconds_parse("90", "--time-limit", &s), MT_OK);
    assert_true(s == 90);
    assert_int_equal(seconds_parse("1.5m", "--time-limit", &s), MT_OK);
    assert_true(s == 90);
    assert_int_equal(seconds_parse("2h", "--time-limit", &s), MT_OK);
    assert_true(s == 7200);
    static const char *const bad[] = {"", "0", "-1s", "5d", "1mm", "soon", "inf", "nan", "1e400", "1e9h"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(seconds_parse(bad[i], "--time-limit", &s), MT_USAGE);
}

/* Parses `line` (split at spaces) as the options of a command that takes work. */
static enum mt_status parse_line(const char *line, struct work_options *o) {
    static char copy[2048];
    char *argv[160] = {"test"}, *save;
    int argc = 1;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *p = strtok_r(copy, " ", &save); p; p = strtok_r(NULL, " ", &save))
        argv[argc++] = p;
    work_options_init(o);
    return options_parse(&work_argp, argc, argv, o, NULL);
}

/* The problems of a command line that must be good. */
static struct workload good_workload(const char *line, int count) {
    struct work_options o;
    struct workload w;
    assert_int_equal(parse_line(line, &o), MT_OK);
    assert_int_equal(workload_init(&w, &o), MT_OK);
    assert_int_equal(w.count, count);
    assert_non_null(w.item);
    work_options_release(&o);
    return w;
}

static void test_workload(void **state) {
    (void)state;
    struct workload w = good_workload(
        "--model llama-3.1-8b --layers o,qkv --m 1:4:x2 --scheme w8a8,w4a8 --group 64 --dtype bf16 --tp 2", 2 * 2 * 3);
    const struct work_item *first = &w.item[0], *last = &w.item[11];
    assert_string_equal(first->layer, "qkv"); /* in the model's order */
    assert_string_equal(first->model, "llama-3.1-8b");
    assert_string_equal(problem_scheme(&first->problem), "w8a8");
    assert_int_equal(first->problem.n, 3072);
    assert_int_equal(first->problem.k, 4096);
    assert_int_equal(first->problem.m, 1);
    assert_int_equal(first->problem.group, 64);
    assert_int_equal(first->problem.dtype, DTYPE_BF16);
    assert_int_equal(first->tp, 2);
    assert_string_equal(last->layer, "o");
    assert_string_equal(problem_scheme(&last->problem), "w4a8");
    assert_int_equal(last->problem.m, 4);
    assert_int_equal(last->problem.k, 2048);
    assert_true(work_same_layer(&w.item[0], &w.item[2]));
    assert_false(work_same_layer(&w.item[2], &w.item[3])); /* another scheme */
    workload_release(&w);
}

static void test_shapes(void **state) {
    (void)state;
    /* m = 5 is given twice and counts once */
    struct workload w = good_workload("--shape 17,4096,1000 --shape 300,200 --m 5,5,6", 3);
    assert_int_equal(w.item[0].problem.m, 17);
    assert_string_equal(w.item[0].layer, "4096x1000");
    assert_string_equal(w.item[0].model, "");
    assert_int_equal(w.item[1].problem.m, 5);
    assert_int_equal(w.item[1].problem.n, 300);
    assert_int_equal(w.item[2].problem.m, 6);
    assert_int_equal(w.item[2].problem.group, 128);
    assert_string_equal(problem_scheme(&w.item[2].problem), "w4a8");
    workload_release(&w);
}

/* Numbers of features take the place of shares; equal ones count once. */
static void test_rows8(void **state) {
    (void)state;
    struct workload w = good_workload("--shape 2,4096,1000 --shape 300,200 --rows8 0,1,17,300,17 --m 1,16", 3 * 4);
    static const int want[][3] = {{4096, 0, 2}, {4096, 1, 2},  {4096, 17, 2}, {4096, 300, 2},
                                  {300, 0, 1},  {300, 0, 16},  {300, 1, 1},   {300, 1, 16},
                                  {300, 17, 1}, {300, 17, 16}, {300, 300, 1}, {300, 300, 16}};
    for (int i = 0; i < w.count; i++) {
        const struct problem *p = &w.item[i].problem;
        assert_int_equal(p->n, want[i][0]);
        assert_int_equal(p->rows8, want[i][1]);
        assert_int_equal(p->m, want[i][2]);
    }
    assert_string_equal(problem_scheme(&w.item[11].problem), "w8a8");
    assert_false(work_same_layer(&w.item[1], &w.item[2]));
    workload_release(&w);
    w = good_workload("--shape 1,300,200 --rows8 0:300:75", 5);
    for (int i = 0; i < w.count; i++)
        assert_int_equal(w.item[i].problem.rows8, 75 * i);
    workload_release(&w);
    w = good_workload("--shape 1,300,200 --rows8 5 --scheme w4a8,w4a8-sym", 2);
    assert_string_equal(problem_scheme(&w.item[0].problem), "mixed");
    assert_string_equal(problem_scheme(&w.item[1].problem), "mixed-sym");
    workload_release(&w);
    /* Where nothing has 4 bits, whether it is symmetric makes no other problem. */
    w = good_workload("--shape 1,300,200 --rows8 300 --scheme w4a8,w4a8-sym", 1);
    workload_release(&w);
    w = good_workload("--shape 1,4,200 --scheme w4a8,p10,p10-sym,p100,w8a8", 3); /* a tenth of 4 features is none */
    assert_string_equal(problem_scheme(&w.item[1].problem), "w4a8-sym");
    assert_string_equal(problem_scheme(&w.item[2].problem), "w8a8");
    workload_release(&w);
}

/* `word`, `count` times, with commas or spaces between. */
static const char *repeated(const char *word, const char *between, int count) {
    static char text[2048];
    size_t at = 0;
    for (int i = 0; i < count; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%s", i ? between : "", word);
    return text;
}

static void check_bad(const char *line, const char *sentence) {
    struct work_options o;
    struct workload w;
    enum mt_status status = parse_line(line, &o);
    if (!status && (status = workload_init(&w, &o)) == MT_OK)
        workload_release(&w);
    if (status != MT_USAGE || strcmp(fail_message(), sentence) != 0)
        fail_msg("%s: status %d, `%s`, not `%s`", line, (int)status, fail_message(), sentence);
    work_options_release(&o);
}

static void test_bad_options(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"--shape 1,2,3,4", "--shape: `1,2,3,4` is not M,N,K or N,K"},
        {"--shape 4", "--shape: `4` is not M,N,K or N,K"},
        {"--shape ,", "--shape: `,` is not M,N,K or N,K"},
        {"--shape 1,0,5", "--shape: `0` is not a whole number from 1 to 2147483647"},
        {"--shape 1,2,x", "--shape: `x` is not a whole number from 1 to 2147483647"},
        {"--scheme w4a8,,w3a8", NULL},
        {"--scheme ,", "--scheme: the list is empty"},
        {"--shape 1,8,8 --rows8 9", "--rows8: 9 features cannot keep 8 bits where there are 8"},
        {"--shape 1,8,8 --rows8 -1", "--rows8: `-1` is not a whole number from 0 to 2147483647"},
        {"--shape 1,8,8 --rows8 2,,x", "--rows8: `x` is not a whole number from 0 to 2147483647"},
        {"--shape 1,8,8 --rows8 0:8:x2", "--rows8: `0` is not a whole number from 1 to 2147483647"},
        {"--shape 1,8,8 --rows8 ,", "--rows8: the list is empty"},
        {"--rows8 2", "nothing to do: give --model NAME, --checkpoint DIR or --shape M,N,K (see --help)"},
        {"--model llama-3.1-8b --rows8 2",
         "--rows8 belongs to --shape; the layers of a model take --scheme p10 or --splits FILE"},
        {"--shape 1,8,8 --rows8 2 --scheme p10", "--rows8 says how many features keep 8 bits, and --scheme too: with "
                                                 "--rows8 it can be w4a8 or w4a8-sym"},
        {"--group 32", "--group: 32 is not one of 64, 128, 256"},
        {"--group 64,127", "--group: 127 is not one of 64, 128, 256"},
        {"--group ,,", "--group: the list is empty"},
        {"--dtype fp64", NULL},
        {"--dtype fp16,bf16,fp16", "--dtype: fp16, bf16, or both"},
        {"--dtype ,", "--dtype: the list is empty"},
        {"--tp 0", "--tp: `0` is not a whole number from 1 to 1024"},
        {"--tp 1025", "--tp: `1025` is not a whole number from 1 to 1024"},
        {"--m 1:2", "--m: a range is first:last:step, such as 1:256:x2 or 64:256:64"},
        {"--m 9:8:1", "--m: the range from 9 to 8 is empty"},
        {"--m 1:8:x1", "--m: `1` is not a whole number from 2 to 2147483647"},
        {"--m 1:100002:1", "--m: the range from 1 to 100002 in steps of 1 has over 100000 values"},
        {"--m 1:60000:1,60001:120000:1", "--m: the list has over 100000 values"},
        {"--m ,", "--m: the list is empty"},
        {"--m 1", "nothing to do: give --model NAME, --checkpoint DIR or --shape M,N,K (see --help)"},
        {"--model llama-3.1-8b --layers qkw", "--layers: there is no layer `qkw`; did you mean qkv?"},
        {"--model llama-3.1-8b --layers ,", "--layers: the list is empty"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct work_options o;
        if (bad[i][1]) {
            check_bad(bad[i][0], bad[i][1]);
            continue;
        }
        assert_int_equal(parse_line(bad[i][0], &o), MT_USAGE); /* the sentence is the problem's own */
        assert_true(*fail_message());
        work_options_release(&o);
    }
    static const char *const useless[] = {"--model no-such --m 1", "--model llama-3.1-8b --tp 5"};
    for (size_t i = 0; i < sizeof useless / sizeof *useless; i++) {
        struct work_options o;
        struct workload w;
        assert_int_equal(parse_line(useless[i], &o), MT_OK);
        assert_int_equal(workload_init(&w, &o), MT_USAGE);
        work_options_release(&o);
    }
}

/* At the limits, and one beyond. */
static void test_limits(void **state) {
    (void)state;
    char line[2100];
    struct work_options o;
    snprintf(line, sizeof line, "--shape 1,8,8 --scheme %s", repeated("w8a8", ",", MAX_SCHEMES));
    assert_int_equal(parse_line(line, &o), MT_OK);
    assert_int_equal(o.scheme_count, MAX_SCHEMES);
    work_options_release(&o);
    snprintf(line, sizeof line, "--shape 1,8,8 --scheme %s", repeated("w8a8", ",", MAX_SCHEMES + 1));
    check_bad(line, "--scheme: at most 16 schemes in one command");
    assert_int_equal(parse_line(repeated("--shape 1,8,8", " ", MAX_SHAPES), &o), MT_OK);
    assert_int_equal(o.shape_count, MAX_SHAPES);
    work_options_release(&o);
    check_bad(repeated("--shape 1,8,8", " ", MAX_SHAPES + 1), "--shape: at most 64 shapes in one command");
    assert_int_equal(parse_line("--m 1:1000:1 --tp 1024 --dtype bf16,fp16", &o), MT_OK);
    assert_int_equal(o.m.count, 1000);
    assert_int_equal(o.tp, 1024);
    assert_int_equal(o.dtype_count, 2);
    work_options_release(&o);
    int value;
    assert_int_equal(int_parse("-5", "--x", -5, 7, &value), MT_OK);
    assert_int_equal(value, -5);
    assert_int_equal(int_parse("7", "--x", -5, 7, &value), MT_OK);
    assert_int_equal(value, 7);
    assert_int_equal(int_parse("8", "--x", -5, 7, &value), MT_USAGE);
    assert_int_equal(int_parse("-6", "--x", -5, 7, &value), MT_USAGE);
    assert_int_equal(value, 7);
}

static void test_lists_are_sorted(void **state) {
    (void)state;
    struct int_list list = {0};
    int_list_sort(&list);
    assert_int_equal(list.count, 0);
    static const int given[] = {7, 1, 7, INT_MAX, 1, 3}, sorted[] = {1, 3, 7, INT_MAX};
    for (int i = 0; i < 6; i++)
        int_list_add(&list, given[i]);
    int_list_sort(&list);
    assert_int_equal(list.count, 4);
    assert_memory_equal(list.value, sorted, sizeof sorted);
    int_list_release(&list);
}

/* Without --m the usual token counts; without formats w4a8, 128 and fp16. Every format with every other. */
static void test_defaults(void **state) {
    (void)state;
    const struct int_list usual = usual_tokens();
    struct workload w = good_workload("--shape 300,200", usual.count);
    for (int i = 0; i < usual.count; i++) {
        assert_int_equal(w.item[i].problem.m, usual.value[i]);
        assert_true(i == 0 ? usual.value[i] == 1 : usual.value[i] > usual.value[i - 1]);
        assert_int_equal(w.item[i].problem.group, 128);
        assert_int_equal(w.item[i].problem.dtype, DTYPE_F16);
        assert_string_equal(problem_scheme(&w.item[i].problem), "w4a8");
        assert_int_equal(w.item[i].tp, 1);
    }
    workload_release(&w);
    w = good_workload("--shape 3,8,8 --dtype fp16,bf16 --group 64,256 --scheme w8a8,p10", 8);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(w.item[i].problem.dtype, i / 4 ? DTYPE_BF16 : DTYPE_F16);
        assert_int_equal(w.item[i].problem.group, i / 2 % 2 ? 256 : 64);
        assert_string_equal(problem_scheme(&w.item[i].problem), i % 2 ? "mixed" : "w8a8");
    }
    assert_true(work_same_layer(&w.item[0], &w.item[0]));
    assert_false(work_same_layer(&w.item[0], &w.item[2])); /* another group */
    assert_false(work_same_layer(&w.item[0], &w.item[4])); /* another type */
    workload_release(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),       cmocka_unit_test(test_bad_lists), cmocka_unit_test(test_seconds),
        cmocka_unit_test(test_workload),    cmocka_unit_test(test_shapes),    cmocka_unit_test(test_rows8),
        cmocka_unit_test(test_bad_options), cmocka_unit_test(test_limits),    cmocka_unit_test(test_lists_are_sorted),
        cmocka_unit_test(test_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
