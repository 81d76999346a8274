/* One bundle for two types of GPU, opened on each of them and on others: the right numbers, and the steps that say
 * where kernels come from. */
#include "runtime/base/str.h"
#include "runtime/mixtune.h"
#include "tests/device/served.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

#define AMPERE   "soft:a100-sxm-80g"
#define HOPPER   "soft:h100-sxm"
#define LOVELACE "soft:l40s"

static char path[] = "/tmp/mixtune-gpus-XXXXXX";
static struct parts ampere, hopper; /* without a device once they are made */
static char names[2][sizeof dev.name];

static const struct bundle_layer layers[] = {{"a", "t", 1, 64, 256, 128, 0, "w4a8", "fp16"},
                                             {"b", "t", 1, 48, 256, 64, 48, "w8a8", "bf16"}};
#define SM80  "tile_n=32,tile_m=8,stages=2,warps_n=2"
#define LARGE "tile_n=128,tile_m=128,stages=5,warps_n=4,warps_m=2"

static void parts_make(struct parts *p, const char *device, char name[sizeof dev.name], const char *family,
                       const char *config, int count) {
    take(device_open(&dev, device));
    memcpy(name, dev.name, sizeof dev.name);
    parts_init(p, &dev, layers, count);
    p->bundle.fingerprint.gpu = name;
    take(nvrtc_version(&p->bundle.fingerprint.toolkit));
    for (int i = 0; i < count; i++) {
        const struct problem problem = parts_problem(&layers[i]);
        parts_entry(p, i, 1, family, config, 1000);
        parts_entry(p, i, 16, family, config, 2000);
        parts_default(p, &problem, family);
        parts_quantize(p, &problem);
    }
    device_close(&dev);
}

static int set_up(void **state) {
    (void)state;
    const int file = mkstemp(path);
    srand48(5);
    parts_make(&ampere, AMPERE, names[0], "sm80", SM80, 2);
    parts_make(&hopper, HOPPER, names[1], "sm90", "", 1);
    return file < 0 ? -1 : close(file);
}

static int tear_down(void **state) {
    (void)state;
    parts_release(&ampere);
    parts_release(&hopper);
    return unlink(path);
}

static int loaded(const struct mt_table *table) {
    int count = 0;
    for (int i = 0; i < table->image_count; i++)
        count += table->images[i].kernel.function != NULL;
    return count;
}

static struct mt_choice choice_at(const struct mt_table *table, const struct mt_layer *layer, int m) {
    struct mt_choice choice = {.size = sizeof choice};
    take(mt_table_lookup(table, layer, m, &choice));
    return choice;
}

static void layers_run(struct mt_table *table) {
    for (int i = 0; i < mt_table_layer_count(table); i++) {
        const struct mt_layer *layer = mt_table_layer_at(table, i);
        const size_t bytes = mt_workspace_bytes(table, layer, 17);
        const CUdeviceptr workspace = zeroed(bytes ? bytes : 1);
        run(table, layer, 1, workspace, bytes);
        run(table, layer, 17, workspace, bytes);
        dev.drv.MemFree(workspace);
    }
}

/* What each device is given of a bundle for both. */
static void each_gets_its_own(void **state) {
    (void)state;
    const struct bundle both[2] = {hopper.bundle, ampere.bundle};
    char digest[BUNDLE_DIGEST_TEXT];
    take(bundle_write_all(path, both, 2, digest));
    for (int i = 0; i < 2; i++) {
        struct mt_table *table;
        take(device_open(&dev, i ? AMPERE : HOPPER));
        settled(mt_table_open_trusted(path, MT_ALLOW_OTHER_GPU, digest, &table));
        assert_int_equal(mt_table_layer_count(table), both[i].layer_count);
        assert_int_equal(table->image_count, both[i].image_count);
        assert_int_equal(loaded(table), 0);
        settled(mt_table_load(table, mt_table_layer_at(table, 0)));
        assert_int_equal(loaded(table), i ? 3 : 2); /* the winner, what stands in, and quantising */
        const struct mt_choice choice = choice_at(table, mt_table_layer_at(table, 0), 16);
        assert_string_equal(choice.family, i ? "sm80" : "sm90");
        assert_int_equal(choice.other_gpu, 0);
        assert_int_equal(choice.step, MT_STEP_EXACT);
        assert_true(choice.expected_ns == 2000);
        layers_run(table);
        mt_table_close(table);
        device_close(&dev);
    }
}

/* The images of another type, where they run: machine code and PTX for 8.0 serve 8.9 and 9.0. */
static void others_lend_their_images(void **state) {
    (void)state;
    take(bundle_write(path, &ampere.bundle));
    for (int i = 0; i < 2; i++) {
        struct mt_table *table;
        take(device_open(&dev, i ? LOVELACE : HOPPER));
        assert_int_equal(mt_table_open(path, 0, &table), MT_NO_DEVICE);
        assert_null(table);
        if (!strstr(mt_error_message(), "the bundle was tuned on ") || !strstr(mt_error_message(), names[0]) ||
            !strstr(mt_error_message(), dev.name))
            fail_msg("%s", mt_error_message());
        settled(mt_table_open(path, MT_ALLOW_OTHER_GPU, &table));
        assert_int_equal(table->image_count, ampere.bundle.image_count);
        for (int layer = 0; layer < 2; layer++) {
            const struct mt_choice choice = choice_at(table, mt_table_layer_at(table, layer), 16);
            assert_int_equal(choice.other_gpu, 1);
            assert_int_equal(choice.step, MT_STEP_EXACT);
            assert_int_equal(choice.tuned_m, 16);
            assert_true(choice.expected_ns == 0);
            assert_int_equal(choice.origin, MT_ORIGIN_MODELLED);
        }
        layers_run(table);
        for (int k = 0; k < table->image_count; k++)
            assert_true(table->images[k].from && table->images[k].from->packed_size);
        mt_table_close(table);
        device_close(&dev);
    }
}

/* Those for 9.0 run nowhere else. Kernels are compiled, of families that there are: the winners' if it runs, or the
 * default of one that does. */
static void what_cannot_run_is_replaced(void **state) {
    (void)state;
    struct bundle rich = hopper.bundle;
    struct bundle_entry entries[4];
    struct bundle_layer more[] = {layers[0], layers[0]};
    struct mt_table *table;
    struct bundle_source source;
    struct bundle bare;
    char digest[BUNDLE_DIGEST_TEXT];
    /* A second layer whose winners are of sm80, on the same GPU. */
    more[1].name = "c";
    more[1].k = 128;
    memcpy(entries, hopper.entries, 2 * sizeof *entries);
    memcpy(entries + 2, ampere.entries, 2 * sizeof *entries);
    entries[2].layer = entries[3].layer = 1;
    rich.layers = more;
    rich.layer_count = 2;
    rich.entries = entries;
    rich.entry_count = 4;
    rich.image_count = 0;
    for (int i = 0; i < 4; i++)
        entries[i].image_hash = "";
    struct bundle_build fallbacks[MOST_PARTS];
    rich.fallbacks = memcpy(fallbacks, hopper.fallbacks, sizeof fallbacks);
    for (int i = 0; i < rich.fallback_count; i++)
        fallbacks[i].image_hash = "";
    take(bundle_write_all(path, &rich, 1, digest));
    take(device_open(&dev, AMPERE));
    settled(mt_table_open(path, MT_ALLOW_OTHER_GPU, &table));
    const struct mt_choice first = choice_at(table, mt_table_layer_at(table, 0), 16),
                           second = choice_at(table, mt_table_layer_at(table, 1), 16);
    assert_string_equal(first.family, "sm80");
    assert_int_equal(first.step, MT_STEP_DEFAULT);
    assert_int_equal(first.other_gpu, 1);
    assert_string_equal(second.family, "sm80");
    assert_int_equal(second.step, MT_STEP_EXACT);
    assert_int_equal(second.other_gpu, 1);
    assert_true(first.expected_ns == 0 && second.expected_ns == 0);
    layers_run(table);
    mt_table_close(table);

    /* The same where the bundle has images, which have no code for this GPU: they stay packed. */
    take(bundle_write(path, &hopper.bundle));
    take(bundle_open(path, NULL, &source));
    take(bundle_take(&source, 0, false, &bare));
    assert_int_equal(bare.image_count, 0);
    bundle_release(&bare);
    bundle_close(&source);
    settled(mt_table_open(path, MT_ALLOW_OTHER_GPU, &table));
    assert_int_equal(table->bundle.image_count, 0);
    assert_int_equal(choice_at(table, mt_table_layer_at(table, 0), 1).step, MT_STEP_DEFAULT);
    layers_run(table);
    mt_table_close(table);
    device_close(&dev);
}

/* The nearest type that has something to run is taken; a type whose kernels nothing here can run is passed over. */
static void the_nearest_that_runs_is_taken(void **state) {
    (void)state;
    struct bundle both[2] = {hopper.bundle, ampere.bundle};
    struct mt_table *table;
    char digest[BUNDLE_DIGEST_TEXT];
    take(bundle_write_all(path, both, 2, digest));
    take(device_open(&dev, LOVELACE));
    settled(mt_table_open(path, MT_ALLOW_OTHER_GPU, &table));
    assert_int_equal(table->bundle.fingerprint.cc, 80);
    mt_table_close(table);
    /* Nearer, and of a layout that this library has not. */
    both[0] = ampere.bundle;
    both[0].fingerprint.cc = 89;
    both[0].fingerprint.layout = 2;
    take(bundle_write_all(path, both, 2, digest));
    settled(mt_table_open(path, MT_ALLOW_OTHER_GPU, &table));
    assert_int_equal(table->bundle.fingerprint.cc, 80);
    mt_table_close(table);
    /* Nearer, and its only kernel needs more shared memory than there is. */
    const struct bundle_entry large = {0,  1,    BUNDLE_KERNEL,   "sm80", parts_text(&ampere, "sm80", LARGE),
                                       "", 1000, BUNDLE_MODELLED, 0};
    both[0] = ampere.bundle;
    both[0].fingerprint.gpu = "L40S with more";
    both[0].fingerprint.cc = 89;
    both[0].layer_count = both[0].entry_count = 1;
    both[0].entries = &large;
    both[0].fallback_count = both[0].image_count = 0;
    take(bundle_write_all(path, both, 2, digest));
    settled(mt_table_open(path, MT_ALLOW_OTHER_GPU, &table));
    assert_int_equal(table->bundle.fingerprint.cc, 80);
    mt_table_close(table);
    take(bundle_write_all(path, both, 1, digest));
    assert_int_equal(mt_table_open(path, MT_ALLOW_OTHER_GPU, &table), MT_NO_DEVICE);
    assert_null(table);
    if (!strstr(mt_error_message(), "nothing that the bundle has, for L40S with more (compute capability 8.9, ") ||
        !strstr(mt_error_message(), "layer a of the bundle: none of the kernels for it can run on this GPU"))
        fail_msg("%s", mt_error_message());
    device_close(&dev);
}

/* ---- where bundles are looked for ---- */

static void not_found(const char *name, const char *says) {
    struct mt_table *table;
    assert_int_equal(mt_table_open(name, 0, &table), MT_FAILURE);
    assert_null(table);
    if (!strstr(mt_error_message(), says))
        fail_msg("'%s' instead of '%s'", mt_error_message(), says);
}

/* Without a device the sentence says which file was opened. */
static void found(const char *name, const char *at) {
    struct mt_table *table;
    const size_t length = strlen(at);
    assert_int_equal(mt_table_open(name, 0, &table), MT_NO_DEVICE);
    if (strncmp(mt_error_message(), at, length) != 0 ||
        strncmp(mt_error_message() + length, ": no CUDA context", 17) != 0)
        fail_msg("'%s' instead of %s", mt_error_message(), at);
}

/* In the current folder, then in those of the variable, in their order; whatever else is there. */
static void names_are_looked_for(void **state) {
    (void)state;
    char folder[] = "/tmp/mixtune-path-XXXXXX", list[200], file[60], here[200];
    const char *name = strrchr(path, '/') + 1;
    assert_non_null(mkdtemp(folder));
    assert_non_null(getcwd(here, sizeof here));
    take(bundle_write(path, &ampere.bundle));
    unsetenv("MIXTUNE_PATH");
    snprintf(list, sizeof list, "there is no bundle %s in the current folder, in /etc/mixtune; make it with `mixtune",
             name);
    not_found(name, list);
    found(path, path);
    snprintf(list, sizeof list, "%s:/tmp", folder);
    setenv("MIXTUNE_PATH", list, 1);
    found(name, path);
    not_found("", "cannot open");
    not_found("mixtune/none", "cannot open mixtune/none"); /* with a slash it is a path */
    snprintf(list, sizeof list, "/none:%s:/etc/passwd", folder);
    setenv("MIXTUNE_PATH", list, 1);
    snprintf(list, sizeof list, " in the current folder, in /none, in %s, in /etc/passwd, in /etc/mixtune; make it",
             folder);
    not_found(name, list);
    /* An empty folder is not the current one, and others that are not named from the root on are none. */
    assert_int_equal(chdir(folder), 0);
    setenv("MIXTUNE_PATH", ":..:../tmp::tmp:", 1);
    not_found(name, "in the current folder, in /etc/mixtune; make it");
    /* What is found first is opened, and nothing else. */
    snprintf(list, sizeof list, "%s:/tmp", folder);
    setenv("MIXTUNE_PATH", list, 1);
    snprintf(file, sizeof file, "%s/%s", folder, name);
    assert_int_equal(symlink("/nowhere", file), 0);
    found(name, path); /* a link that leads nowhere is nothing */
    unlink(file);
    assert_int_equal(mkdir(file, 0700), 0);
    assert_int_equal(chdir("/"), 0);
    not_found(name, "is not a file but a folder");
    assert_int_equal(chdir("/tmp"), 0);
    found(name, name);
    rmdir(file);
    rmdir(folder);
    assert_int_equal(chdir(here), 0);
    unsetenv("MIXTUNE_PATH");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_gets_its_own),           cmocka_unit_test(others_lend_their_images),
        cmocka_unit_test(what_cannot_run_is_replaced), cmocka_unit_test(the_nearest_that_runs_is_taken),
        cmocka_unit_test(names_are_looked_for),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
