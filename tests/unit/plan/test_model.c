/* Layers of models against shapes worked out by hand, and what a config.json must have. */
#include "db/bundle/bundle.h"
#include "runtime/base/file.h"
#include "runtime/base/str.h"
#include "tuner/plan/model.h"
#include <ftw.h>
#include <glob.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

struct expected {
    const char *name;
    int tp;
    int qkv[2], o[2], gate_up[2], down[2]; /* N, K */
};

static const struct expected expected[] = {
    {"llama-3.1-8b", 1, {6144, 4096}, {4096, 4096}, {28672, 4096}, {4096, 14336}},
    {"llama-3.1-8b", 2, {3072, 4096}, {4096, 2048}, {14336, 4096}, {4096, 7168}},
    {"llama-3.1-8b", 16, {512, 4096}, {4096, 256}, {1792, 4096}, {4096, 896}}, /* 8 kv heads on 16 GPUs: (2 + 2) 128 */
    {"llama-3.1-70b", 1, {10240, 8192}, {8192, 8192}, {57344, 8192}, {8192, 28672}},
    {"llama-3.1-70b", 8, {1280, 8192}, {8192, 1024}, {7168, 8192}, {8192, 3584}},
    {"smollm2-135m", 1, {960, 576}, {576, 576}, {3072, 576}, {576, 1536}},
    {"llama-3.2-1b", 1, {3072, 2048}, {2048, 2048}, {16384, 2048}, {2048, 8192}},
    {"qwen2.5-0.5b", 1, {1152, 896}, {896, 896}, {9728, 896}, {896, 4864}},
    {"qwen2.5-1.5b", 1, {2048, 1536}, {1536, 1536}, {17920, 1536}, {1536, 8960}},
    {"qwen2.5-7b", 1, {4608, 3584}, {3584, 3584}, {37888, 3584}, {3584, 18944}},
    {"qwen2.5-32b", 1, {7168, 5120}, {5120, 5120}, {55296, 5120}, {5120, 27648}},
    {"mistral-7b-v0.3", 1, {6144, 4096}, {4096, 4096}, {28672, 4096}, {4096, 14336}},
};

static void test_shipped_models(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const struct expected *e = &expected[i];
        struct model model;
        struct model_layer l[MODEL_LAYERS];
        assert_int_equal(model_read(e->name, &model), MT_OK);
        assert_string_equal(model.name, e->name);
        assert_true(model.decoders > 0);
        assert_int_equal(model_layers(&model, e->tp, l), MT_OK);
        const int *want[] = {e->qkv, e->o, e->gate_up, e->down};
        static const char *const names[] = {"qkv", "o", "gate_up", "down"};
        for (int j = 0; j < MODEL_LAYERS; j++) {
            assert_string_equal(l[j].name, names[j]);
            assert_int_equal(l[j].n, want[j][0]);
            assert_int_equal(l[j].k, want[j][1]);
        }
    }
}

/* How often a bundle's layer stands in a model that is known by its name: only a layer of that very shape. */
static void test_decoder_layers(void **state) {
    (void)state;
    static const struct {
        struct bundle_layer layer;
        int decoders;
    } cases[] = {
        {{"qkv", "llama-3.1-8b", 1, 6144, 4096, 128, 0, "w4a8", "fp16"}, 32},
        {{"down", "llama-3.1-70b", 8, 8192, 3584, 128, 0, "w4a8", "fp16"}, 80},
        {{"o", "smollm2-135m", 1, 576, 576, 128, 57, "mixed", "bf16"}, 30},
        {{"o", "smollm2-135m", 1, 576, 577, 128, 57, "mixed", "bf16"}, 0},
        {{"down", "llama-3.1-70b", 7, 8192, 3584, 128, 0, "w4a8", "fp16"}, 0}, /* cannot be split so */
        {{"router", "llama-3.1-8b", 1, 6144, 4096, 128, 0, "w4a8", "fp16"}, 0},
        {{"qkv", "configs/models/llama-3.1-8b.json", 1, 6144, 4096, 128, 0, "w4a8", "fp16"}, 0}, /* no name */
        {{"qkv", "nobody's", 1, 6144, 4096, 128, 0, "w4a8", "fp16"}, 0},
        {{"64x256", "", 1, 64, 256, 128, 0, "w4a8", "fp16"}, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(model_decoders(&cases[i].layer), cases[i].decoders);
}

static void test_every_shipped_model_is_expected(void **state) {
    (void)state;
    glob_t files;
    assert_int_equal(glob(MT_SOURCE_DIR "/configs/models/*.json", 0, NULL, &files), 0);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        bool found = false;
        struct model model;
        assert_int_equal(model_read(files.gl_pathv[i], &model), MT_OK);
        for (size_t j = 0; j < sizeof expected / sizeof *expected; j++)
            found = found || !strcmp(expected[j].name, model.name);
        if (!found)
            fail_msg("the layers of configs/models/%s.json are not in `expected`", model.name);
    }
    globfree(&files);
}

static void test_names(void **state) {
    (void)state;
    static const char *const names[][2] = {
        {"llama.json", "llama"},
        {"a/b/llama.json", "llama"},
        {"llama", "llama"},
        {"config.json", "config"},
        {"tiny/config.json", "tiny"},
        {"/a/tiny/config.json", "tiny"},
        {"/config.json", "config"},
        {"//config.json", "config"},
        {"/c/hub/models--meta-llama--Llama-3.1-8B/snapshots/0123abcd/config.json", "Llama-3.1-8B"},
        {"models--gpt2/snapshots/0123abcd/config.json", "gpt2"},
        {"/c/models--a--b/snapshot/0123abcd/config.json", "0123abcd"},
        {"/c/modules--a--b/snapshots/0123abcd/config.json", "0123abcd"},
        {"/c/models--/snapshots/0123abcd/config.json", "0123abcd"},
        {"snapshots/0123abcd/config.json", "0123abcd"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[MODEL_NAME];
        assert_int_equal(model_name_of(names[i][0], name), MT_OK);
        assert_string_equal(name, names[i][1]);
    }
}

static char folder[64];

/* Writes FOLDER/tiny/config.json and reads it. */
static enum mt_status read_text(const char *text, struct model *model) {
    char path[128];
    snprintf(path, sizeof path, "%s/tiny/config.json", folder);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return model_read(path, model);
}

static void test_derived_fields(void **state) {
    (void)state;
    struct model m;
    assert_int_equal(
        read_text("{\"hidden_size\":96,\"intermediate_size\":40,\"num_attention_heads\":6,\"vocab_size\":11,"
                  "\"architectures\":[\"X\"],\"head_dim\":null}",
                  &m),
        MT_OK);
    assert_string_equal(m.name, "tiny"); /* every such file is called config.json */
    assert_int_equal(m.kv_heads, 6);
    assert_int_equal(m.head_dim, 16);
    assert_int_equal(m.vocab, 11);
}

static void test_missing_fields(void **state) {
    (void)state;
    static const char *const fields[] = {"hidden_size", "intermediate_size", "num_attention_heads", "vocab_size"};
    for (int missing = 0; missing < 4; missing++) {
        char text[256] = "{\"a\":1";
        struct model m;
        for (int i = 0; i < 4; i++)
            if (i != missing)
                snprintf(text + strlen(text), sizeof text - strlen(text), ",\"%s\":32", fields[i]);
        snprintf(text + strlen(text), sizeof text - strlen(text), "}");
        assert_int_equal(read_text(text, &m), MT_USAGE);
        assert_non_null(strstr(fail_message(), fields[missing]));
        assert_non_null(strstr(fail_message(), "tiny/config.json"));
    }
}

static void test_bad_files(void **state) {
    (void)state;
    struct model m;
    assert_int_equal(read_text("{\"hidden_size\": 3,\n \"x\": }", &m), MT_USAGE);
    assert_non_null(strstr(fail_message(), "line 2"));
    assert_int_equal(read_text("[1]", &m), MT_USAGE);
    assert_int_equal(read_text("{\"hidden_size\":\"big\"}", &m), MT_USAGE);
    assert_non_null(strstr(fail_message(), "hidden_size"));
    assert_int_equal(read_text("{\"hidden_size\":0}", &m), MT_USAGE);
    assert_int_equal(read_text("{\"hidden_size\":4096,\"head_dim\":128,\"hidden_size\":8192}", &m), MT_USAGE);
    assert_non_null(strstr(fail_message(), "line 1: this is not JSON: duplicate object key"));
    assert_int_equal(read_text("{\"hidden_size\":2147483648}", &m), MT_USAGE);
    assert_non_null(strstr(fail_message(), "at least 1 and at most 2147483647"));
    static const char *const numbers[] = {"1e400", "NaN",  "Infinity", "-0",
                                          "007",   "0x10", "64.0",     "99999999999999999999"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char text[100];
        snprintf(text, sizeof text, "{\"hidden_size\": %s}", numbers[i]);
        assert_int_equal(read_text(text, &m), MT_USAGE);
        assert_non_null(strstr(fail_message(), "tiny/config.json"));
    }
    char *deep = calloc(1, 200001);
    assert_non_null(deep);
    memset(deep, '[', 200000);
    assert_int_equal(read_text(deep, &m), MT_USAGE);
    assert_non_null(strstr(fail_message(), "depth"));
    free(deep);
    assert_int_equal(model_read("no-such-model", &m), MT_USAGE);
    assert_int_equal(model_read("/no/such/file.json", &m), MT_USAGE);
    /* hidden is no multiple of heads, so head_dim must be given */
    assert_int_equal(
        read_text("{\"hidden_size\":100,\"intermediate_size\":8,\"num_attention_heads\":6,\"vocab_size\":9}", &m),
        MT_USAGE);
    assert_non_null(strstr(fail_message(), "head_dim"));
}

static const char small[] = "{\"hidden_size\":32,\"intermediate_size\":32,\"num_attention_heads\":1,\"vocab_size\":9}";

/* Makes FOLDER/`at` and writes its config.json. */
static void write_small(const char *at) {
    struct str path = {0};
    str_printf(&path, "%s/%s", folder, at);
    assert_int_equal(folder_make(path.data), MT_OK);
    str_append(&path, "/config.json");
    FILE *f = fopen(path.data, "w");
    assert_non_null(f);
    fputs(small, f);
    fclose(f);
    str_release(&path);
}

static void check_name(const char *called, const char *want) {
    struct model m;
    char told[MODEL_NAME], plain[PATH_MAX];
    if (model_read(called, &m) != MT_OK)
        fail_msg("%s: %s", called, fail_message());
    assert_string_equal(m.name, want);
    snprintf(plain, sizeof plain, "%s", called);
    char *file = strstr(plain, "config.json"); /* quantize takes the folder */
    if (file)
        *file = 0;
    assert_int_equal(model_folder_name(*plain ? plain : ".", told), MT_OK);
    assert_string_equal(told, want);
}

/* However a model's folder is called, its rows stand under one name. */
static void test_ways_to_a_folder(void **state) {
    (void)state;
#define HUB "models--meta-llama--Llama-3.1-8B/snapshots/0123abcd"
    static const char *const from_above[] = {
        HUB "/config.json", HUB,      HUB "/",   HUB "//config.json",  HUB "/.",
        "./" HUB,           "to-hub", "to-hub/", "to-hub/config.json", "tiny/../" HUB "/"};
    static const char *const from_inside[] = {"config.json", "./config.json",          ".", "./", "./.",
                                              "../0123abcd", "../0123abcd/config.json"};
    char old[PATH_MAX];
    struct model m;
    assert_non_null(getcwd(old, sizeof old));
    write_small(HUB);
    write_small("tiny");
    write_small("tiny.json"); /* a folder, too, may end so */
    assert_int_equal(chdir(folder), 0);
    assert_int_equal(symlink(HUB, "to-hub"), 0);
    for (size_t i = 0; i < sizeof from_above / sizeof *from_above; i++)
        check_name(from_above[i], "Llama-3.1-8B");
    check_name("tiny/", "tiny");
    check_name("tiny", "tiny");
    check_name("tiny.json/", "tiny.json");
    assert_int_equal(model_read("models--meta-llama--Llama-3.1-8B/", &m), MT_USAGE);
    assert_non_null(strstr(fail_message(), "Llama-3.1-8B/ has no config.json"));
    assert_int_equal(chdir(HUB), 0);
    for (size_t i = 0; i < sizeof from_inside / sizeof *from_inside; i++)
        check_name(from_inside[i], "Llama-3.1-8B");
    assert_int_equal(chdir(".."), 0);
    check_name("0123abcd/config.json", "Llama-3.1-8B");
    assert_int_equal(chdir(old), 0);
}

/* The database would keep another model under a name that was cut. */
static void test_long_names(void **state) {
    (void)state;
    char at[64 + MODEL_NAME], name[MODEL_NAME + 1], first[MODEL_NAME];
    snprintf(at, sizeof at, "%s/", folder);
    char *last = at + strlen(at);
    for (int i = 0; i < 85; i++) /* \u6a21 has three bytes: 255, the most that a folder may have */
        memcpy(last + 3 * (size_t)i, "\xe6\xa8\xa1", 4);
    write_small(last);
    check_name(at, last);
    snprintf(first, sizeof first, "%s", last);
    last[254] = '\xa2'; /* differs from the other in its last byte */
    write_small(last);
    check_name(at, last);
    assert_string_not_equal(first, last);
    memset(name, 'n', sizeof name);
    name[MODEL_NAME] = 0;
    assert_int_equal(model_name_of(name, at), MT_USAGE);
    assert_non_null(strstr(fail_message(), "256 bytes and can have 255: give the file"));
}

/* They would break lines of tables, or be null in JSON. */
static void test_names_that_are_no_text(void **state) {
    (void)state;
    static const char *const bad[] = {"a\nb.json", "\xff/config.json", "cut-\xe6\xa8.json", "bell\a/config.json"};
    char name[MODEL_NAME];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(model_name_of(bad[i], name), MT_USAGE);
        assert_non_null(strstr(fail_message(), "no UTF-8 text without control characters"));
        assert_null(strchr(fail_message(), '\n'));
    }
}

static void test_impossible_split(void **state) {
    (void)state;
    struct model m;
    struct model_layer l[MODEL_LAYERS];
    assert_int_equal(model_read("qwen2.5-0.5b", &m), MT_OK); /* 14 heads, 2 key/value heads */
    assert_int_equal(model_layers(&m, 3, l), MT_USAGE);
    assert_non_null(strstr(fail_message(), "14"));
    assert_int_equal(model_layers(&m, 7, l), MT_USAGE); /* 7 GPUs cannot share 2 heads evenly */
    m.intermediate = 4865;
    assert_int_equal(model_layers(&m, 2, l), MT_USAGE);
    assert_non_null(strstr(fail_message(), "4865"));
}

static int make_folder(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    char path[128];
    snprintf(folder, sizeof folder, "%.40s/modelXXXXXX", tmp && *tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/tiny", folder);
    return folder_make(path) == MT_OK ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *at) {
    (void)info;
    (void)type;
    (void)at;
    return remove(path);
}

static int remove_folder(void **state) {
    (void)state;
    return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shipped_models),
        cmocka_unit_test(test_decoder_layers),
        cmocka_unit_test(test_derived_fields),
        cmocka_unit_test(test_missing_fields),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_impossible_split),
        cmocka_unit_test(test_every_shipped_model_is_expected),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_ways_to_a_folder),
        cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_names_that_are_no_text),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
