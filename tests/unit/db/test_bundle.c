/* Bundles: what is written is read back, and nothing else is. */
#include "db/bundle/bundle.h"
#include "runtime/base/file.h"
#include "runtime/base/str.h"
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

static char folder[] = "/tmp/mixtune-bundle-XXXXXX";
static char path[64], copy[64];
static unsigned char image_a[50000], image_b[1];

static const struct bundle_layer layers[] = {
    {"qkv", "tiny", 1, 6144, 4096, 128, 0, "w4a8", "fp16"},
    {"o", "tiny", 2, 4096, 2048, 64, 410, "mixed", "bf16"},
};
static char name_a[BUNDLE_NAME_TEXT], name_b[BUNDLE_NAME_TEXT];
#define IMAGE(name, words, bytes, length)                                                                              \
    { .hash = (name), .built = (words), .data = (bytes), .size = (length) }
static const struct bundle_image images[] = {IMAGE(name_a, "built of a", image_a, sizeof image_a),
                                             IMAGE(name_b, "built of b", image_b, sizeof image_b)};
static const struct bundle_entry entries[] = {
    {0, 1, BUNDLE_KERNEL, "sm80", "tile_n=64,stages=4", name_a, 8123.5, BUNDLE_MEASURED, 1750.25},
    {0, 4096, BUNDLE_KERNEL, "sm80", "tile_n=128,stages=3", name_b, 912345.25, BUNDLE_MEASURED, 0},
    {0, 4096, BUNDLE_FP16, "cublaslt-best", "", "", 900000, BUNDLE_MEASURED, 0},
    {1, 16, BUNDLE_KERNEL, "sm80", "tile_n=64,stages=4", name_a, 9000, BUNDLE_MODELLED, 0},
    {1, 16, BUNDLE_INVARIANT, "sm80", "tile_n=128,stages=3", name_b, 9500, BUNDLE_MODELLED, 0},
};
static const struct bundle_time times[] = {
    {0, 1, "sm80", "tile_n=128,stages=3", 8200.5, BUNDLE_MEASURED},
    {1, 16, "sm80", "tile_n=128,stages=3", 9100, BUNDLE_MODELLED},
};
static const struct bundle_build variants[] = {{"sm80", "tile_n=64,stages=4", "mixed", "fp16", 128, name_b},
                                               {"sm80", "tile_n=64,stages=4", "w8a8", "fp16", 128, name_a}};
static const struct bundle_build fallbacks[] = {{"sm80", "tile_n=128", "w4a8", "fp16", 128, name_b}};

static struct bundle sample(void) {
    return (struct bundle){.fingerprint = {"Example GPU", 80, 108, 0, 12040, 1300, "0123456789abcdef", 1},
                           .layers = layers,
                           .layer_count = 2,
                           .entries = entries,
                           .entry_count = 5,
                           .times = times,
                           .time_count = 2,
                           .variants = variants,
                           .variant_count = 2,
                           .fallbacks = fallbacks,
                           .fallback_count = 1,
                           .images = images,
                           .image_count = 2};
}

static int set_up(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof image_a; i++)
        image_a[i] = (unsigned char)(i < 30000 ? lrand48() : 7);
    image_b[0] = 42;
    bundle_image_name("built of a", image_a, sizeof image_a, name_a);
    bundle_image_name("built of b", image_b, sizeof image_b, name_b);
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/a.bundle", folder);
    snprintf(copy, sizeof copy, "%s/b.bundle", folder);
    struct bundle bundle = sample();
    return bundle_write(path, &bundle);
}

static int tear_down(void **state) {
    (void)state;
    unlink(path);
    unlink(copy);
    return rmdir(folder);
}

static void assert_same_build(const struct bundle_build *a, const struct bundle_build *b) {
    assert_string_equal(a->family, b->family);
    assert_string_equal(a->config, b->config);
    assert_string_equal(a->scheme, b->scheme);
    assert_string_equal(a->dtype, b->dtype);
    assert_string_equal(a->image_hash, b->image_hash);
    assert_int_equal(a->group, b->group);
}

static void what_is_written_is_read(void **state) {
    (void)state;
    struct bundle b;
    assert_int_equal(bundle_read(path, &b), MT_OK);
    assert_string_equal(b.fingerprint.gpu, "Example GPU");
    assert_string_equal(b.fingerprint.template_hash, "0123456789abcdef");
    assert_int_equal(b.fingerprint.cc, 80);
    assert_int_equal(b.fingerprint.sm_count, 108);
    assert_int_equal(b.fingerprint.software, 0);
    assert_int_equal(b.fingerprint.driver_version, 12040);
    assert_int_equal(b.fingerprint.toolkit, 1300);
    assert_int_equal(b.fingerprint.layout, 1);
    assert_int_equal(b.layer_count, 2);
    assert_int_equal(b.entry_count, 5);
    assert_int_equal(b.time_count, 2);
    assert_int_equal(b.variant_count, 2);
    assert_int_equal(b.fallback_count, 1);
    assert_int_equal(b.image_count, 2);
    for (int i = 0; i < 2; i++) {
        assert_string_equal(b.layers[i].name, layers[i].name);
        assert_string_equal(b.layers[i].model, layers[i].model);
        assert_string_equal(b.layers[i].scheme, layers[i].scheme);
        assert_string_equal(b.layers[i].dtype, layers[i].dtype);
        assert_int_equal(b.layers[i].tp, layers[i].tp);
        assert_int_equal(b.layers[i].n, layers[i].n);
        assert_int_equal(b.layers[i].k, layers[i].k);
        assert_int_equal(b.layers[i].group, layers[i].group);
        assert_int_equal(b.layers[i].rows8, layers[i].rows8);
        assert_int_equal(b.times[i].layer, times[i].layer);
        assert_int_equal(b.times[i].m, times[i].m);
        assert_int_equal(b.times[i].origin, times[i].origin);
        assert_string_equal(b.times[i].family, times[i].family);
        assert_string_equal(b.times[i].config, times[i].config);
        assert_true(b.times[i].expected_ns == times[i].expected_ns);
        assert_same_build(&b.variants[i], &variants[i]);
        const struct bundle_image *image = &b.images[strcmp(b.images[i].hash, images[i].hash) != 0 ? !i : i];
        assert_string_equal(image->hash, images[i].hash);
        assert_string_equal(image->built, images[i].built);
        assert_int_equal(image->size, images[i].size);
        void *bytes;
        assert_null(image->data);
        assert_int_equal(bundle_unpack(image, &bytes), MT_OK);
        assert_memory_equal(bytes, images[i].data, images[i].size);
        free(bytes);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(b.entries[i].layer, entries[i].layer);
        assert_int_equal(b.entries[i].m, entries[i].m);
        assert_int_equal(b.entries[i].kind, entries[i].kind);
        assert_int_equal(b.entries[i].origin, entries[i].origin);
        assert_string_equal(b.entries[i].family, entries[i].family);
        assert_string_equal(b.entries[i].config, entries[i].config);
        assert_string_equal(b.entries[i].image_hash, entries[i].image_hash);
        assert_true(b.entries[i].expected_ns == entries[i].expected_ns);
        assert_true(b.entries[i].quantize_ns == entries[i].quantize_ns);
    }
    assert_same_build(&b.fallbacks[0], &fallbacks[0]);
    bundle_release(&b);
}

/* Another type of GPU, which shares an image with the sample. */
static char name_c[BUNDLE_NAME_TEXT];
static const struct bundle_layer other_layers[] = {{"down", "tiny", 1, 512, 1024, 128, 512, "w8a8", "fp16"}};
static const struct bundle_image other_images[] = {IMAGE(name_b, "built of b", image_b, sizeof image_b),
                                                   IMAGE(name_c, "built of c", "ccc", 3)};
static const struct bundle_entry other_entries[] = {{0, 4, BUNDLE_KERNEL, "sm90", "x", name_c, 10, BUNDLE_MODELLED, 0},
                                                    {0, 8, BUNDLE_KERNEL, "sm90", "y", name_b, 20, BUNDLE_MODELLED, 0}};
static const struct bundle_time other_times[] = {{0, 8, "sm90", "x", 21, BUNDLE_MODELLED}};
static const struct bundle_build other_builds[] = {{"sm90", "z", "w8a8", "fp16", 128, name_c}};

static struct bundle other_sample(void) {
    bundle_image_name("built of c", "ccc", 3, name_c);
    return (struct bundle){.fingerprint = {"Other GPU", 90, 132, 1, 13000, 1280, "fedc", 7},
                           .layers = other_layers,
                           .layer_count = 1,
                           .entries = other_entries,
                           .entry_count = 2,
                           .times = other_times,
                           .time_count = 1,
                           .variants = other_builds,
                           .variant_count = 1,
                           .fallbacks = other_builds,
                           .fallback_count = 1,
                           .images = other_images,
                           .image_count = 2};
}

/* Two types of GPU in one file: each comes back alone, with its own images. */
static void types_of_gpu_come_apart(void **state) {
    (void)state;
    const struct bundle both[2] = {other_sample(), sample()};
    char digest[BUNDLE_DIGEST_TEXT];
    struct bundle_source source;
    struct bundle first, second, bare;
    assert_int_equal(bundle_write_all(copy, both, 2, digest), MT_OK);
    assert_int_equal(bundle_open(copy, digest, &source), MT_OK);
    assert_int_equal(source.gpu_count, 2);
    assert_string_equal(source.gpus[0].gpu, "Other GPU");
    assert_int_equal(source.gpus[0].layout, 7);
    assert_string_equal(source.gpus[1].gpu, "Example GPU");
    for (int again = 0; again < 2; again++) { /* in any order, and as often as one likes */
        assert_int_equal(bundle_take(&source, 1, true, &second), MT_OK);
        assert_int_equal(bundle_take(&source, 0, true, &first), MT_OK);
        if (!again)
            bundle_release(&second), bundle_release(&first);
    }
    assert_int_equal(bundle_take(&source, 0, false, &bare), MT_OK);
    bundle_close(&source);
    assert_string_equal(first.fingerprint.gpu, "Other GPU");
    assert_string_equal(first.fingerprint.template_hash, "fedc");
    assert_int_equal(first.fingerprint.toolkit, 1280);
    assert_int_equal(first.layer_count, 1);
    assert_string_equal(first.layers[0].name, "down");
    assert_int_equal(first.entry_count, 2);
    assert_int_equal(first.entries[1].layer, 0);
    assert_string_equal(first.entries[1].image_hash, name_b);
    assert_int_equal(first.time_count, 1);
    assert_int_equal(first.variant_count, 1);
    assert_int_equal(first.fallback_count, 1);
    assert_string_equal(first.fallbacks[0].config, "z");
    assert_int_equal(first.image_count, 2);
    assert_int_equal(second.layer_count, 2);
    assert_int_equal(second.entry_count, 5);
    assert_int_equal(second.entries[3].layer, 1);
    assert_string_equal(second.layers[second.entries[3].layer].name, "o");
    assert_int_equal(second.times[1].layer, 1);
    assert_string_equal(second.fingerprint.template_hash, "0123456789abcdef");
    assert_int_equal(second.image_count, 2); /* not the third */
    assert_int_equal(bare.entry_count, 2);
    assert_string_equal(bare.entries[0].image_hash, "");
    assert_int_equal(bare.image_count, 0);
    bundle_release(&first);
    bundle_release(&second);
    bundle_release(&bare);
}

/* In the file an image stands once, and so does a type. */
static void types_of_gpu_are_written_once(void **state) {
    (void)state;
    struct bundle both[2] = {other_sample(), sample()};
    char digest[BUNDLE_DIGEST_TEXT];
    assert_int_equal(bundle_write_all(copy, both, 2, digest), MT_OK);
    sqlite3 *db;
    sqlite3_stmt *count;
    assert_int_equal(sqlite3_open(copy, &db), SQLITE_OK);
    sqlite3_prepare_v2(db, "SELECT count(*) FROM image", -1, &count, NULL);
    assert_int_equal(sqlite3_step(count), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(count, 0), 3); /* one is shared */
    sqlite3_finalize(count);
    sqlite3_close(db);

    both[0].fingerprint = both[1].fingerprint;
    assert_int_equal(bundle_write_all(copy, both, 2, digest), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "the bundle has Example GPU with 108 SMs twice"));
    both[0].fingerprint.sm_count++; /* another type */
    assert_int_equal(bundle_write_all(copy, both, 2, digest), MT_OK);
    assert_int_equal(bundle_write_all(copy, both, 0, digest), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "is for 0 types of GPU; it can have 1 to 64"));
}

/* What types have together is limited. */
static void types_of_gpu_are_counted(void **state) {
    (void)state;
    enum { HALF = BUNDLE_MOST_BUILDS / 2 + 1 };
    struct bundle_build *many = xcalloc(HALF, sizeof *many);
    struct str *texts = xcalloc(HALF, sizeof *texts);
    char digest[BUNDLE_DIGEST_TEXT];
    for (int i = 0; i < HALF; i++) {
        str_printf(&texts[i], "%d", i);
        many[i] = (struct bundle_build){"sm80", texts[i].data, "w4a8", "fp16", 128, name_a};
    }
    struct bundle both[2] = {sample(), sample()};
    both[1].fingerprint.cc = 86;
    for (int i = 0; i < 2; i++) {
        both[i].variants = many;
        both[i].variant_count = HALF;
    }
    assert_int_equal(bundle_write_all(copy, both, 2, digest), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "the bundle has 65538 variants, and 65536 is the most"));
    for (int i = 0; i < HALF; i++)
        str_release(&texts[i]);
    free(texts);
    free(many);
}

/* Writes the sample's bytes, cut to `length`, with one bit of `at` flipped (at < 0: none), and says what reading them
 * gives. */
static enum mt_status read_changed(const struct str *file, size_t length, long at) {
    char *bytes = xmalloc(length + 1);
    memcpy(bytes, file->data, length);
    if (at >= 0)
        bytes[at] = (char)(bytes[at] ^ 1 << lrand48() % 8);
    assert_int_equal(file_write_atomic(copy, bytes, length), MT_OK);
    free(bytes);
    struct bundle b;
    enum mt_status status = bundle_read(copy, &b);
    if (status != MT_OK) {
        assert_int_equal(b.layer_count, 0);
        assert_null(b.owned);
        assert_non_null(strstr(fail_message(), copy));
        assert_null(strchr(fail_message(), '\n'));
    }
    bundle_release(&b);
    return status;
}

static void damaged_files_are_refused(void **state) {
    (void)state;
    struct str file = {0};
    assert_int_equal(file_read(path, &file), MT_OK);
    assert_int_equal(read_changed(&file, file.length, -1), MT_OK);
    for (int i = 0; i < 60; i++)
        assert_int_equal(read_changed(&file, (size_t)(lrand48() % (long)file.length), -1), MT_FAILURE);
    assert_int_equal(read_changed(&file, file.length - 1, -1), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "cut short"));
    assert_int_equal(read_changed(&file, 0, -1), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "not a mixtune bundle"));
    for (long at = 0; at < 200; at++) /* the header, each byte */
        assert_int_equal(read_changed(&file, file.length, at), MT_FAILURE);
    for (int i = 0; i < 300; i++)
        assert_int_equal(read_changed(&file, file.length, lrand48() % (long)file.length), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "checksum"));
    str_append(&file, "x");
    assert_int_equal(read_changed(&file, file.length, -1), MT_FAILURE);
    str_release(&file);
}

static void other_files_are_refused(void **state) {
    (void)state;
    struct bundle b;
    assert_int_equal(bundle_read("/nonexistent/x.bundle", &b), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "/nonexistent/x.bundle"));
    unlink(copy);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(copy, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE layer (a)", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(bundle_read(copy, &b), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "not a mixtune bundle"));
}

/* Changed with SQLite itself: still a sound database, no longer the bundle that was exported. */
static enum mt_status read_edited(const char *sql) {
    struct str file = {0};
    assert_int_equal(file_read(path, &file), MT_OK);
    assert_int_equal(file_write_atomic(copy, file.data, file.length), MT_OK);
    str_release(&file);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(copy, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    struct bundle b;
    enum mt_status status = bundle_read(copy, &b);
    bundle_release(&b);
    return status;
}

static void edited_files_are_refused(void **state) {
    (void)state;
    assert_int_equal(read_edited("SELECT 1"), MT_OK);
    assert_int_equal(read_edited("UPDATE entry SET expected_ns = 1 WHERE m = 1"), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "changed or damaged"));
    assert_int_equal(read_edited("PRAGMA user_version = 1"), MT_FAILURE);
    assert_non_null(strstr(fail_message(),
                           "a bundle of version 1, and this library reads version 4: export it again from "
                           "its database"));
    assert_int_equal(read_edited("PRAGMA user_version = 2"), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "version 2, and this library reads version 4"));
}

static void contradictions_are_not_written(void **state) {
    (void)state;
    struct bundle_entry changed[5];
    struct bundle b = sample();
    b.entries = changed;
    const struct {
        struct bundle_entry entry;
        const char *says;
    } wrong[] = {
        {{2, 1, BUNDLE_KERNEL, "sm80", "", name_a, 1, BUNDLE_MEASURED, 0}, "layer 2"},
        {{0, 0, BUNDLE_KERNEL, "sm80", "", name_a, 1, BUNDLE_MEASURED, 0}, "M is 0"},
        {{0, 1, BUNDLE_KERNEL, "sm80", "", name_a, 0, BUNDLE_MEASURED, 0}, "time 0"},
        {{0, 1, BUNDLE_KERNEL, "sm80", "", "cccc", 1, BUNDLE_MEASURED, 0}, "cccc"},
        {{0, 4096, BUNDLE_FP16, "cublas", "", "", 1, BUNDLE_MEASURED, 0}, "two entries"},
        {{0, 1, (enum bundle_kind)3, "sm80", "", name_a, 1, BUNDLE_MEASURED, 0}, "no kind"},
        {{0, 1, BUNDLE_KERNEL, "sm80", "", name_a, 1, BUNDLE_MEASURED, -1}, "quantisation takes -1"},
        {{0, 1, BUNDLE_FP16, "cublas", "", "", 1, BUNDLE_MEASURED, 9}, "quantisation takes 9 ns"},
        {{1, 8, BUNDLE_KERNEL, "sm80", "", name_a, 1, BUNDLE_MEASURED, 0}, "one order at 1 of its 2 M"},
        {{1, 8, BUNDLE_INVARIANT, "sm80", "", name_a, 1, BUNDLE_MEASURED, 0}, "another kind and no kernel"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        memcpy(changed, entries, sizeof changed);
        changed[0] = wrong[i].entry;
        unlink(copy);
        assert_int_equal(bundle_write(copy, &b), MT_FAILURE);
        assert_non_null(strstr(fail_message(), wrong[i].says));
        assert_int_equal(access(copy, F_OK), -1);
    }
    memcpy(changed, entries, sizeof changed);
    b.entry_count = 3; /* leaves the second layer without a kernel */
    assert_int_equal(bundle_write(copy, &b), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "no kernel for layer o"));
    b = sample();
    b.image_count = 1;
    assert_int_equal(bundle_write(copy, &b), MT_FAILURE);
    b = sample();
    b.fingerprint.layout = 0;
    assert_int_equal(bundle_write(copy, &b), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "in which layout"));
    b = sample();
    assert_int_equal(bundle_write("/nonexistent/folder/x.bundle", &b), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "/nonexistent/folder"));
}

/* What would be refused when it is read is not written. */
static void what_is_not_read_is_not_written(void **state) {
    (void)state;
    struct bundle_layer same[2] = {layers[0], layers[0]}, odd[2] = {layers[0], layers[1]};
    struct bundle_image renamed[2] = {images[0], images[1]}, twice[2] = {images[0], images[0]};
    struct bundle_entry moved[5], timed[5];
    static const struct bundle_build twins[2] = {{"sm80", "a", "w4a8", "fp16", 128, name_b},
                                                 {"sm80", "a", "w4a8", "fp16", 128, name_b}};
    struct bundle_build many[BUNDLE_MOST_DEFAULTS + 1];
    char configs[BUNDLE_MOST_DEFAULTS + 1][2];
    for (int i = 0; i <= BUNDLE_MOST_DEFAULTS; i++) {
        snprintf(configs[i], sizeof configs[i], "%c", 'a' + i);
        many[i] = twins[0];
        many[i].config = configs[i];
    }
    odd[1].name = "o\033[31m";
    renamed[1].built = "something else";
    memcpy(moved, entries, sizeof moved);
    memcpy(timed, entries, sizeof timed);
    moved[2].m = 4097;
    timed[0].expected_ns = 1e16;
    struct bundle wrong[8];
    for (int i = 0; i < 8; i++)
        wrong[i] = sample();
    wrong[0].layers = same;
    wrong[1].layers = odd;
    wrong[2].images = renamed;
    wrong[3].images = twice;
    wrong[4].entries = moved;
    wrong[5].entries = timed;
    wrong[6].fallbacks = twins;
    wrong[6].fallback_count = 2;
    wrong[7].fallbacks = many;
    wrong[7].fallback_count = BUNDLE_MOST_DEFAULTS + 1;
    static const char *const says[] = {"the bundle has layer qkv twice",
                                       "row 1 of the bundle's layers has a text with characters that cannot be seen",
                                       "of the bundle has other bytes, whose name would be",
                                       "twice",
                                       "an entry of another kind and no kernel for layer qkv at M 4097",
                                       "its time 1e+16 ns",
                                       "the default kernel of family sm80 for w4a8 twice",
                                       "more than 8 default kernels of family sm80 for w4a8"};
    for (int i = 0; i < 8; i++) {
        assert_int_equal(bundle_write(copy, &wrong[i]), MT_FAILURE);
        if (!strstr(fail_message(), says[i]))
            fail_msg("'%s' instead of '%s'", fail_message(), says[i]);
    }
    wrong[7].fallback_count = BUNDLE_MOST_DEFAULTS;
    assert_int_equal(bundle_write(copy, &wrong[7]), MT_OK);
}

static void impossible_splits_are_not_written(void **state) {
    (void)state;
    static const int rows8[] = {-1, 4097};
    for (int i = 0; i < 2; i++) {
        struct bundle_layer changed[2] = {layers[0], layers[1]};
        struct bundle b = sample();
        changed[1].rows8 = rows8[i];
        b.layers = changed;
        assert_int_equal(bundle_write(copy, &b), MT_FAILURE);
        assert_non_null(strstr(fail_message(), "of its 4096 features have 8 bits"));
    }
    static const struct {
        struct bundle_time time;
        const char *says;
    } wrong[] = {
        {{2, 1, "sm80", "x", 1, BUNDLE_MEASURED}, "beside a winner"},
        {{0, 2, "sm80", "x", 1, BUNDLE_MEASURED}, "beside a winner"},
        {{0, 1, "sm80", "x", 0, BUNDLE_MEASURED}, "0 ns"},
        {{0, 1, "sm80", "tile_n=64,stages=4", 1, BUNDLE_MEASURED}, "the winner itself"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct bundle b = sample();
        b.times = &wrong[i].time;
        b.time_count = 1;
        assert_int_equal(bundle_write(copy, &b), MT_FAILURE);
        assert_non_null(strstr(fail_message(), wrong[i].says));
    }
    static const struct bundle_build nowhere = {"sm80", "", "mixed", "fp16", 128, "cccc"};
    struct bundle b = sample();
    b.variants = &nowhere;
    b.variant_count = 1;
    assert_int_equal(bundle_write(copy, &b), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "the winner of family sm80 for mixed is not in the bundle"));
    b = sample();
    b.fallbacks = &nowhere;
    assert_int_equal(bundle_write(copy, &b), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "the default kernel of family sm80 for mixed is not in the bundle"));
}

int main(void) {
    srand48(23);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),         cmocka_unit_test(damaged_files_are_refused),
        cmocka_unit_test(other_files_are_refused),         cmocka_unit_test(edited_files_are_refused),
        cmocka_unit_test(contradictions_are_not_written),  cmocka_unit_test(impossible_splits_are_not_written),
        cmocka_unit_test(what_is_not_read_is_not_written), cmocka_unit_test(types_of_gpu_come_apart),
        cmocka_unit_test(types_of_gpu_are_written_once),   cmocka_unit_test(types_of_gpu_are_counted),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
