/* Templates into images: what is compiled, what is remembered, and what a failure says. The templates are the test's
 * own, below $MIXTUNE_TEMPLATES, and those that the library carries. */
#include "runtime/base/file.h"
#include "runtime/base/log.h"
#include "runtime/base/parallel.h"
#include "runtime/jit/compile.h"
#include "runtime/jit/template.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>
#include <zstd.h>
/* after the above */
#include <cmocka.h>

static char folder[] = "/tmp/mixtune-compile-XXXXXX";

static const char kernel[] = "#include \"tile/add.cuh\"\n"
                             "#include \"args.h\"\n"
                             "#include \"tile/add.cuh\"\n"
                             "extern \"C\" __global__ void k(const __grid_constant__ args a) {\n"
                             "    a.p[threadIdx.x] = add(a.p[threadIdx.x + VALUE], __LINE__);\n"
                             "}\n";
static const char add[] = "#pragma once\n"
                          "  #  include \"../args.h\"\n"
                          "#include \"../ptx/one.cuh\" // a comment behind it\n"
                          "static __device__ int add(int a, int b) { return a + b * one(); }\n";
static const char args[] = "#ifndef ARGS\n#define ARGS\nstruct args { int *p; };\n#endif\n";
static const char one[] =
    "#pragma once\n#include \"deeper/two.cuh\"\nstatic __device__ int one() { return two() - 1; }\n";
static const char two[] = "static __device__ int two() { return 2; }"; /* no newline at the end */

static void write_template(const char *name, const char *text) {
    struct str path = {0};
    str_printf(&path, "%s/templates/%s", folder, name);
    char *slash = strrchr(path.data, '/');
    *slash = 0;
    assert_int_equal(folder_make(path.data), MT_OK);
    *slash = '/';
    assert_int_equal(file_write_atomic(path.data, text, strlen(text)), MT_OK);
    str_release(&path);
}

static int write_templates(void **state) {
    (void)state;
    write_template("k.cu", kernel);
    write_template("tile/add.cuh", add);
    write_template("args.h", args);
    write_template("ptx/one.cuh", one);
    write_template("ptx/deeper/two.cuh", two);
    return 0;
}

static struct image compile(const char *template_name, const char *option, const char *arch) {
    struct image image;
    const struct compile_request request = {template_name, &option, 1, arch};
    enum mt_status status = compile_kernel(&request, &image);
    if (status == MT_NO_DEVICE)
        skip();
    if (status != MT_OK)
        fail_msg("%s", fail_message());
    return image;
}

static void second_time_from_cache(void **state) {
    (void)state;
    static const char *const archs[] = {"sm_80", "sm_90a"};
    for (int i = 0; i < 2; i++) {
        struct image first = compile("k.cu", "-DVALUE=3", archs[i]), again = compile("k.cu", "-DVALUE=3", archs[i]);
        assert_false(first.from_cache);
        assert_true(first.seconds > 0);
        assert_true(again.from_cache);
        assert_true(again.seconds == 0);
        assert_string_equal(first.hash, again.hash);
        assert_int_equal(first.size, again.size);
        assert_memory_equal(first.data, again.data, first.size);
        assert_true(first.registers > 0 && first.registers == again.registers);
        image_release(&first);
        image_release(&again);
    }
}

/* A change anywhere in what a kernel is made of is another image. */
static void every_part_is_in_the_hash(void **state) {
    (void)state;
    char hash[8][33], before[33], after[33];
    int count = 0;
    struct image image;
#define TAKE(template_name, option, arch)                                                                              \
    image = compile(template_name, option, arch);                                                                      \
    memcpy(hash[count++], image.hash, 33);                                                                             \
    image_release(&image)
    TAKE("k.cu", "-DVALUE=3", "sm_80");
    TAKE("k.cu", "-DVALUE=4", "sm_80");
    TAKE("k.cu", "-DVALUE=3", "sm_89");
    write_template("ptx/deeper/two.cuh", "static __device__ int two() { return 3; }");
    TAKE("k.cu", "-DVALUE=3", "sm_80");
    write_templates(NULL);
    write_template("tile/add.cuh", "static __device__ int add(int a, int b) { return a ^ b; }\n");
    TAKE("k.cu", "-DVALUE=3", "sm_80");
    write_templates(NULL);
    for (int i = 0; i < count; i++)
        for (int j = 0; j < i; j++)
            assert_string_not_equal(hash[i], hash[j]);
    TAKE("k.cu", "-DVALUE=3", "sm_80");
#undef TAKE
    assert_string_equal(hash[count - 1], hash[0]);

    /* The stamp of tuned data: a changed template of the library's changes it, a file that no kernel includes does
     * not. */
    const char *text;
    struct str changed = {0};
    assert_int_equal(template_hash(before), MT_OK);
    assert_int_equal(template_source("tile/promote.cuh", &text), MT_OK);
    str_printf(&changed, "%s\n// changed\n", text);
    write_template("tile/promote.cuh", changed.data);
    assert_int_equal(template_hash(after), MT_OK);
    assert_string_not_equal(before, after);
    write_template("tile/promote.cuh", text);
    write_template("unused.cuh", "nothing");
    assert_int_equal(template_hash(after), MT_OK);
    assert_string_equal(before, after);
    str_release(&changed);
}

/* Each file once, in the place of its first include, and the compiler told where every line is from. */
static void expansion(void **state) {
    (void)state;
    struct str out = {0};
    assert_int_equal(template_expand("k.cu", &out), MT_OK);
    assert_string_equal(out.data, "#line 1 \"k.cu\"\n"
                                  "#line 1 \"tile/add.cuh\"\n"
                                  "\n"
                                  "#line 1 \"args.h\"\n"
                                  "#ifndef ARGS\n#define ARGS\nstruct args { int *p; };\n#endif\n"
                                  "#line 3 \"tile/add.cuh\"\n"
                                  "#line 1 \"ptx/one.cuh\"\n"
                                  "\n"
                                  "#line 1 \"ptx/deeper/two.cuh\"\n"
                                  "static __device__ int two() { return 2; }\n"
                                  "#line 3 \"ptx/one.cuh\"\n"
                                  "static __device__ int one() { return two() - 1; }\n"
                                  "#line 4 \"tile/add.cuh\"\n"
                                  "static __device__ int add(int a, int b) { return a + b * one(); }\n"
                                  "#line 2 \"k.cu\"\n"
                                  "#line 3 \"k.cu\"\n"
                                  "#line 4 \"k.cu\"\n"
                                  "extern \"C\" __global__ void k(const __grid_constant__ args a) {\n"
                                  "    a.p[threadIdx.x] = add(a.p[threadIdx.x + VALUE], __LINE__);\n"
                                  "}\n");
    str_release(&out);
}

static void assert_fails(const char *template_name, const char *option, const char *arch, const char *const *words) {
    struct image image;
    const struct compile_request request = {template_name, &option, 1, arch};
    enum mt_status status = compile_kernel(&request, &image);
    if (status == MT_NO_DEVICE)
        skip();
    assert_int_equal(status, MT_FAILURE);
    assert_null(image.data);
    for (; *words; words++)
        if (!strstr(fail_message(), *words))
            fail_msg("'%s' is not in '%s'", *words, fail_message());
}

static void failures_say_what_and_where(void **state) {
    (void)state;
    /* Twice: a failure is not remembered. */
    for (int i = 0; i < 2; i++)
        assert_fails("k.cu", "-DVALUE=oops", "sm_80", (const char *[]){"k.cu(5)", "oops", "sm_80", NULL});
    write_template("tile/add.cuh", "#pragma once\n\nstatic __device__ int add(int a, int b) { return a + missing; }\n");
    assert_fails("k.cu", "-DVALUE=1", "sm_80", (const char *[]){"tile/add.cuh(3)", "missing", NULL});
    write_template("tile/add.cuh", "#include \"../nowhere.h\"\n");
    assert_fails("k.cu", "-DVALUE=1", "sm_80", (const char *[]){"k.cu", "tile/add.cuh", "nowhere.h", NULL});
    write_templates(NULL);
    assert_fails("none.cu", "-DVALUE=1", "sm_80", (const char *[]){"none.cu", NULL});
    assert_fails("k.cu", "-DVALUE=1", "sm_10", (const char *[]){"sm_10", NULL});
    write_template("ptx/deeper/two.cuh",
                   "static __device__ int two() { int x; asm(\"bogus.s32 %0, 1;\" : \"=r\"(x)); return x; }");
    assert_fails("k.cu", "-DVALUE=1", "sm_80", (const char *[]){"bogus", NULL});
    write_templates(NULL);
}

enum { MANY = 12 };
struct collected {
    struct compile_request request[MANY];
    struct image image[MANY];
    enum mt_status status[MANY];
};

static void compile_some(void *context, int begin, int end) {
    struct collected *all = context;
    for (int i = begin; i < end; i++)
        all->status[i] = compile_kernel(&all->request[i], &all->image[i]);
}

static void many_at_once(void **state) {
    (void)state;
    char option[MANY][24];
    const char *list[MANY];
    struct collected all = {0};
    for (int i = 0; i < MANY; i++) {
        snprintf(option[i], sizeof option[i], i == 7 ? "-DVALUE=wrong" : "-DVALUE=%d", 100 + i % 10);
        list[i] = option[i];
        all.request[i] = (struct compile_request){"k.cu", &list[i], 1, "sm_80"};
    }
    image_release(&(struct image){0});
    struct image probe = compile("k.cu", "-DVALUE=99", "sm_80"); /* skips where there is no NVRTC */
    image_release(&probe);
    parallel_for(MANY, 1, compile_some, &all);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(all.status[i] != MT_OK, i == 7);
        if (i == 7) {
            assert_null(all.image[i].data);
            continue;
        }
        struct image again = compile("k.cu", option[i], "sm_80");
        assert_true(again.from_cache);
        assert_string_equal(again.hash, all.image[i].hash);
        assert_int_equal(again.size, all.image[i].size);
        assert_memory_equal(again.data, all.image[i].data, again.size);
        image_release(&again);
        image_release(&all.image[i]);
    }
}

/* What the library carries is the source tree's, unless a file below $MIXTUNE_TEMPLATES stands in its place. */
static void library_carries_its_templates(void **state) {
    (void)state;
    static const char *const names[] = {"gemm_args.h", "gemm_sm80.cu", "quantize_act.cu", "tile/promote.cuh"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct str path = {0}, file = {0};
        const char *text;
        str_printf(&path, MT_SOURCE_DIR "/templates/%s", names[i]);
        assert_int_equal(file_read(path.data, &file), MT_OK);
        assert_int_equal(template_source(names[i], &text), MT_OK);
        assert_string_equal(text, file.data);
        str_release(&path);
        str_release(&file);
    }
    const char *text, *kept;
    assert_int_equal(template_source("args.h", &kept), MT_OK);
    write_template("args.h", "other");
    assert_int_equal(template_source("args.h", &text), MT_OK);
    assert_string_equal(text, "other");
    assert_string_equal(kept, args); /* what was handed out stays */
    write_templates(NULL);
}

static int set_up(void **state) {
    log_set_level(LOG_ERROR);
    if (!mkdtemp(folder))
        return -1;
    struct str path = {0};
    str_printf(&path, "%s/cache", folder);
    setenv("MIXTUNE_CACHE_DIR", path.data, 1);
    str_clear(&path);
    str_printf(&path, "%s/templates", folder);
    setenv("MIXTUNE_TEMPLATES", path.data, 1);
    str_release(&path);
    return write_templates(state);
}

static int tear_down(void **state) {
    (void)state;
    struct str command = {0};
    str_printf(&command, "rm -rf %s", folder);
    int result = system(command.data);
    str_release(&command);
    return result;
}

/* The image of a file in the cache, whose start is as cache.c has it, becomes one whose maker knew the checksum. */
static void forge_image(const char *hash, void *image, size_t size) {
    enum { CHECKED = 16, SIZE = 32, WHAT_SIZE = 72, HEADER = 80 };
    struct str path = {0}, file = {0};
    uint64_t what;
    str_printf(&path, "%s/kernels/%s", getenv("MIXTUNE_CACHE_DIR"), hash);
    assert_int_equal(file_read(path.data, &file), MT_OK);
    memcpy(&what, file.data + WHAT_SIZE, sizeof what);
    file.length = HEADER + what;
    assert_true(str_reserve(&file, ZSTD_compressBound(size)));
    file.length += ZSTD_compress(file.data + file.length, ZSTD_compressBound(size), image, size, 1);
    memcpy(file.data + SIZE, &(uint64_t){size}, 8);
    memcpy(file.data + CHECKED / 2, &(uint64_t){XXH3_64bits(file.data + CHECKED, file.length - CHECKED)}, 8);
    assert_int_equal(file_write_atomic(path.data, file.data, file.length), MT_OK);
    str_release(&path);
    str_release(&file);
}

/* A driver would read as far as such bytes say. */
static void images_of_others(void **state) {
    (void)state;
    struct image first = compile("k.cu", "-DVALUE=9", "sm_80"), other = compile("k.cu", "-DVALUE=10", "sm_80");
    char *bytes = xmalloc(first.size);
    memcpy(bytes, first.data, first.size);
    forge_image(first.hash, other.data, other.size); /* it is whole, and the key is said to be its own */
    struct image again = compile("k.cu", "-DVALUE=9", "sm_80");
    assert_true(again.from_cache);
    image_release(&again);
    const size_t cut[] = {0, 3, 16, 79, first.size / 2, first.size - 8, first.size - 1};
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
        forge_image(first.hash, bytes, cut[i]);
        again = compile("k.cu", "-DVALUE=9", "sm_80");
        assert_false(again.from_cache);
        assert_int_equal(again.size, first.size);
        assert_memory_equal(again.data, first.data, first.size);
        image_release(&again);
    }
    memset(bytes + 16 + 8, 0x7f, 8); /* the size of the first entry */
    forge_image(first.hash, bytes, first.size);
    again = compile("k.cu", "-DVALUE=9", "sm_80");
    assert_false(again.from_cache);
    image_release(&again);
    image_release(&first);
    image_release(&other);
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(library_carries_its_templates),
        cmocka_unit_test(expansion),
        cmocka_unit_test(second_time_from_cache),
        cmocka_unit_test(every_part_is_in_the_hash),
        cmocka_unit_test(failures_say_what_and_where),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(images_of_others),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
