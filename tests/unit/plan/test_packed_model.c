/* What a packed checkpoint gives a sweep to do. */
#include "tests/unit/checkpoint/make_packed.h"
#include "tuner/plan/packed_model.h"
#include "tuner/plan/workload.h"
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

/* Two files; gate_up of the second has another shape. */
static const struct made_layer layers[] = {
    {"model.layers.0", "qkv", 40, 200, 17, 64, true, TENSOR_BF16, 2, 0},
    {"model.layers.0", "experts.gate_up", 32, 64, 0, 64, true, TENSOR_OTHER, 2, 0},
    {"model.layers.1", "qkv", 40, 200, 17, 64, true, TENSOR_BF16, 2, 0},
    {"model.layers.1", "experts.gate_up", 48, 64, 3, 64, true, TENSOR_OTHER, 2, 0},
    {"model.layers.2", "qkv", 40, 200, 5, 64, true, TENSOR_BF16, 2, 0},
};
static const char *const files[] = {"a.safetensors", "b.safetensors"};
static struct str folder;

static const char *in_folder(const char *name) {
    static struct str path;
    str_clear(&path);
    str_printf(&path, "%s/%s", folder.data, name);
    return path.data;
}

static int set_up(void **state) {
    (void)state;
    str_printf(&folder, "%s/plan-%d/tiny-p10", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (int)getpid());
    made(folder_make(folder.data));
    make_packed_file(in_folder(files[0]), layers, 2, 1);
    make_packed_file(in_folder(files[1]), layers + 2, 3, 100);
    make_packed_index(folder.data, files, 2, "tiny");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    unlink(in_folder(files[0]));
    unlink(in_folder(files[1]));
    unlink(in_folder(FOLDER_INDEX));
    rmdir(folder.data);
    *strrchr(folder.data, '/') = 0;
    const int gone = rmdir(folder.data);
    str_release(&folder);
    return gone;
}

static enum mt_status workload_of(const char *line, struct workload *w) {
    static char copy[1000];
    char *argv[40] = {"test"}, *save;
    struct work_options o;
    int argc = 1;
    snprintf(copy, sizeof copy, "--checkpoint %s %s", folder.data, line);
    for (char *p = strtok_r(copy, " ", &save); p; p = strtok_r(NULL, " ", &save))
        argv[argc++] = p;
    work_options_init(&o);
    enum mt_status status = options_parse(&work_argp, argc, argv, &o, NULL);
    if (!status)
        status = workload_init(w, &o);
    work_options_release(&o);
    return status;
}

static void the_layers_are_those_of_the_checkpoint(void **state) {
    (void)state;
    static const struct {
        const char *layer;
        int n, k, rows8;
    } want[] = {{"qkv", 40, 200, 5}, {"qkv", 40, 200, 17}, {"experts.gate_up", 32, 64, 0}, {"48x64", 48, 64, 3}};
    struct workload w;
    assert_int_equal(workload_of("--m 1,16 --dtype bf16", &w), MT_OK);
    assert_int_equal(w.count, 2 * 4);
    for (int i = 0; i < w.count; i++) {
        const struct work_item *item = &w.item[i];
        assert_string_equal(item->model, "tiny");
        assert_string_equal(item->layer, want[i / 2].layer);
        assert_true(item->tp == 2 && item->problem.group == 64 && item->problem.symmetric);
        assert_true(item->problem.n == want[i / 2].n && item->problem.k == want[i / 2].k);
        assert_int_equal(item->problem.rows8, want[i / 2].rows8);
        assert_int_equal(item->problem.m, i % 2 ? 16 : 1);
        assert_int_equal(item->problem.dtype, DTYPE_BF16);
    }
    workload_release(&w);
    /* Two layers have 17, and one 5: the weights decide. */
    assert_int_equal(workload_of("--m 1 --layers qkv --points 1", &w), MT_OK);
    assert_int_equal(w.count, 1);
    assert_int_equal(w.item[0].problem.rows8, 17);
    workload_release(&w);
}

static void check_refused(const char *line, const char *says) {
    struct workload w;
    if (workload_of(line, &w) != MT_USAGE || !strstr(fail_message(), says))
        fail_msg("%s: `%s`, not `%s`", line, fail_message(), says);
}

static void what_a_checkpoint_says_itself(void **state) {
    (void)state;
    static const char *const options[] = {"--model smollm2-135m",
                                          "--shape 8,8",
                                          "--splits smollm2-135m-p10",
                                          "--scheme p10",
                                          "--rows8 3",
                                          "--group 64",
                                          "--tp 1",
                                          "--fill 16"};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        char says[100];
        snprintf(says, sizeof says, "%.*s cannot stand beside --checkpoint", (int)strcspn(options[i], " "), options[i]);
        check_refused(options[i], says);
    }
    check_refused("--layers o", "there is no layer `o`; there are qkv, experts.gate_up, 48x64");
}

/* Without a name in the index the folder's; a folder that is none; layers that one sweep cannot take together. */
static void names_and_kinds(void **state) {
    (void)state;
    struct packed_model c;
    struct made_layer other = layers[4];
    make_packed_index(folder.data, files, 2, NULL);
    assert_int_equal(packed_model_read(folder.data, &c), MT_OK);
    assert_string_equal(c.model, "tiny-p10");
    packed_model_release(&c);
    char long_name[MODEL_NAME + 1] = "";
    memset(long_name, 'n', MODEL_NAME);
    make_packed_index(folder.data, files, 2, long_name);
    assert_int_equal(packed_model_read(folder.data, &c), MT_USAGE);
    assert_non_null(strstr(fail_message(), "more than 255"));
    make_packed_index(folder.data, files, 2, "tiny");

    char outer[400];
    snprintf(outer, sizeof outer, "%.*s", (int)(strrchr(folder.data, '/') - folder.data), folder.data);
    assert_int_equal(packed_model_read(outer, &c), MT_USAGE);
    assert_non_null(strstr(fail_message(), "/tiny-p10"));
    assert_int_equal(packed_model_read("/nowhere", &c), MT_USAGE);

    const struct made_layer kinds[] = {
        {"model.layers.2", "qkv", 40, 200, 5, 128, true, TENSOR_OTHER, 2, 0},
        {"model.layers.2", "qkv", 40, 200, 5, 64, false, TENSOR_OTHER, 2, 0},
        {"model.layers.2", "qkv", 40, 200, 5, 64, true, TENSOR_OTHER, 4, 0},
        {"model.layers.2", "qkv,o", 40, 200, 5, 64, true, TENSOR_OTHER, 2, 0},
        {"model.layers.2", "a-name-of-thirty-two-characters-", 40, 200, 5, 64, true, TENSOR_OTHER, 2, 0},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        make_packed_file(in_folder(files[1]), &kinds[i], 1, 100);
        make_packed_index(folder.data, files, 2, "tiny");
        assert_int_equal(packed_model_read(folder.data, &c), MT_USAGE);
        assert_non_null(
            strstr(fail_message(), i < 3 ? "a sweep takes layers of one kind" : "has a comma or more than 31"));
    }
    make_packed_file(in_folder(files[1]), &other, 1, 100);
    make_packed_index(folder.data, files, 2, "tiny");
    assert_int_equal(packed_model_read(folder.data, &c), MT_OK);
    packed_model_release(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_layers_are_those_of_the_checkpoint),
        cmocka_unit_test(what_a_checkpoint_says_itself),
        cmocka_unit_test(names_and_kinds),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
