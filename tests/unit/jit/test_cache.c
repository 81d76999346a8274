/* The cache of compiled kernels: what comes back is what went in, damage is noticed, processes share it, and a cache
 * that cannot be written stops nobody. */
#include "runtime/base/file.h"
#include "runtime/base/log.h"
#include "runtime/jit/cache.h"
#include "runtime/jit/images.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>
/* after the above */
#include <cmocka.h>

static char folder[] = "/tmp/mixtune-cache-XXXXXX";
static const struct str what = {.data = (char[]){"a kernel"}, .length = 8}; /* that is asked for */

/* Random bytes that compress a little, and random metadata. */
static struct image random_image(const char *hash) {
    struct image image = {.size = 1 + (size_t)lrand48() % 50000, .seconds = 1.5};
    image.data = xmalloc(image.size);
    for (size_t i = 0; i < image.size; i++)
        ((uint8_t *)image.data)[i] = (uint8_t)(lrand48() % 64);
    snprintf(image.hash, sizeof image.hash, "%s", hash);
    image.registers = 1 + (int)lrand48() % 255;
    image.spill_bytes = (int)lrand48() % 1000;
    image.smem_static = (int)lrand48() % 49152;
    return image;
}

static void assert_same(const struct image *got, const struct image *want) {
    assert_int_equal(got->size, want->size);
    assert_memory_equal(got->data, want->data, want->size);
    assert_int_equal(got->registers, want->registers);
    assert_int_equal(got->spill_bytes, want->spill_bytes);
    assert_int_equal(got->smem_static, want->smem_static);
    assert_true(got->from_cache);
    assert_true(got->seconds == 0);
}

/* Whether it was there. */
static bool load(const char *hash, struct image *out) {
    bool found;
    assert_int_equal(cache_load(hash, &what, out, &found), MT_OK);
    return found;
}

static void path_of(const char *hash, struct str *out) {
    str_clear(out);
    str_printf(out, "%s/kernels/%s", folder, hash);
}

static void comes_back(void **state) {
    (void)state;
    for (int i = 0; i < 40; i++) {
        char hash[33];
        snprintf(hash, sizeof hash, "%032d", i);
        struct image image = random_image(hash), got = {0};
        assert_false(load(hash, &got));
        cache_store(&image, &what);
        assert_true(load(hash, &got));
        assert_same(&got, &image);
        image_release(&got);
        image_release(&image);
    }
}

/* Any byte changed, any byte missing: not used, and the next good one replaces it. */
static void damage_is_noticed(void **state) {
    (void)state;
    const char *hash = "damaged";
    struct image image = random_image(hash), got = {0};
    struct str path = {0}, file = {0};
    cache_store(&image, &what);
    path_of(hash, &path);
    assert_int_equal(file_read(path.data, &file), MT_OK);
    for (int i = 0; i < 300; i++) {
        struct str bad = {0};
        str_append_bytes(&bad, file.data, file.length);
        size_t at = i < 40 ? (size_t)i : (size_t)lrand48() % file.length; /* every byte of the header */
        if (i % 2 == 0 || i < 40)
            bad.data[at] ^= (char)(1 + lrand48() % 255);
        else
            bad.length = at;
        assert_int_equal(file_write_atomic(path.data, bad.data, bad.length), MT_OK);
        assert_false(load(hash, &got));
        assert_null(got.data);
        str_release(&bad);
    }
    cache_store(&image, &what);
    assert_true(load(hash, &got));
    assert_same(&got, &image);
    image_release(&got);
    image_release(&image);
    str_release(&path);
    str_release(&file);
}

/* Many processes write and read one name at once: a reader sees no file, or a whole one. */
static void processes_share(void **state) {
    (void)state;
    enum { PROCESSES = 6, ROUNDS = 25 };
    const char *hash = "shared";
    struct image image = random_image(hash);
    pid_t child[PROCESSES];
    for (int p = 0; p < PROCESSES; p++) {
        child[p] = fork();
        if (child[p] == 0) {
            bool good = true;
            for (int i = 0; i < ROUNDS && good; i++) {
                struct image got = {0};
                if (p % 2 == 0)
                    cache_store(&image, &what);
                if (load(hash, &got))
                    good = got.size == image.size && memcmp(got.data, image.data, got.size) == 0;
                else
                    good = p % 2 == 1; /* who has written finds it */
                image_release(&got);
            }
            _exit(good ? 0 : 1);
        }
    }
    for (int p = 0; p < PROCESSES; p++) {
        int how;
        assert_int_equal(waitpid(child[p], &how, 0), child[p]);
        assert_int_equal(how, 0);
    }
    image_release(&image);
}

/* A file stands where the folder would be: that is a failure for every user, root too. */
static void cannot_be_written(void **state) {
    (void)state;
    struct str file = {0};
    str_printf(&file, "%s/file", folder);
    assert_int_equal(file_write_atomic(file.data, "x", 1), MT_OK);
    setenv("MIXTUNE_CACHE_DIR", file.data, 1);
    struct image image = random_image("nowhere"), got = {0};
    cache_store(&image, &what);
    assert_string_not_equal(fail_message(), "");
    cache_store(&image, &what);
    assert_false(load("nowhere", &got));
    assert_null(got.data);
    setenv("MIXTUNE_CACHE_DIR", folder, 1);
    image_release(&image);
    str_release(&file);
}

/* ---- what somebody else put there ---- */

static void read_entry(const char *hash, struct str *path, struct str *file) {
    path_of(hash, path);
    str_clear(file);
    assert_int_equal(file_read(path->data, file), MT_OK);
}

/* A file is for the key that it was written for, whatever its name is now. */
static void an_entry_is_of_one_key(void **state) {
    (void)state;
    struct image image = random_image("key-a"), got = {0};
    struct str path = {0}, file = {0};
    const struct str other = {.data = (char[]){"a colonel"}, .length = 9};
    bool found;
    cache_store(&image, &what);
    read_entry("key-a", &path, &file);
    path_of("key-b", &path);
    assert_int_equal(file_write_atomic(path.data, file.data, file.length), MT_OK);
    assert_false(load("key-b", &got));
    assert_int_equal(cache_load("key-a", &other, &got, &found), MT_OK);
    assert_false(found);
    assert_true(load("key-a", &got));
    assert_same(&got, &image);
    image_release(&got);
    image_release(&image);
    str_release(&path);
    str_release(&file);
}

/* Whoever made it also knew the checksum: of the members behind it, `at` becomes `number`. */
static void forge(struct str *file, size_t at, uint64_t number, size_t size) {
    memcpy(file->data + at, &number, size);
    const uint64_t sum = XXH3_64bits(file->data + 16, file->length - 16);
    memcpy(file->data + 8, &sum, sizeof sum);
}

static void sizes_that_lie(void **state) {
    (void)state;
    static const struct {
        size_t at, size;
        uint64_t number;
    } lies[] = {{20, 4, UINT32_MAX}, {20, 4, 256}, {24, 4, 1u << 31},       {28, 4, 1u << 31},
                {28, 4, 1u << 30},   {32, 8, 1},   {32, 8, 200 << 20},      {32, 8, UINT64_MAX},
                {72, 8, 0},          {72, 8, 9},   {72, 8, UINT64_MAX - 7}, {72, 8, UINT32_MAX}};
    struct image image = random_image("lies"), got = {0};
    struct str path = {0}, file = {0};
    cache_store(&image, &what);
    read_entry("lies", &path, &file);
    forge(&file, 32, image.size, 8); /* the truth */
    assert_int_equal(file_write_atomic(path.data, file.data, file.length), MT_OK);
    assert_true(load("lies", &got));
    image_release(&got);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        struct str bad = {0};
        str_append_bytes(&bad, file.data, file.length);
        forge(&bad, lies[i].at, lies[i].number, lies[i].size);
        assert_int_equal(file_write_atomic(path.data, bad.data, bad.length), MT_OK);
        assert_false(load("lies", &got));
        str_release(&bad);
    }
    assert_int_equal(truncate(path.data, (off_t)8 << 30), 0);
    assert_false(load("lies", &got));
    image_release(&image);
    str_release(&path);
    str_release(&file);
}

static void what_is_no_file(void **state) {
    (void)state;
    struct image image = random_image("good"), got = {0};
    struct str path = {0}, good = {0};
    cache_store(&image, &what);
    path_of("good", &good);
    path_of("odd", &path);
    assert_int_equal(mkfifo(path.data, 0600), 0); /* and nobody writes to it */
    assert_false(load("odd", &got));
    unlink(path.data);
    assert_int_equal(mkdir(path.data, 0700), 0);
    assert_false(load("odd", &got));
    rmdir(path.data);
    path_of("good-link", &path);
    assert_int_equal(symlink(good.data, path.data), 0);
    assert_false(load("good-link", &got));
    unlink(path.data);
    image_release(&image);
    str_release(&path);
    str_release(&good);
}

/* Of root's making only: nobody else may give a file away. */
static bool give_away(const char *path) {
    return geteuid() == 0 && chown(path, 12345, 12345) == 0;
}

static void is_passed_over(const char *path) {
    struct image again = random_image("not-kept"), got = {0};
    struct str file = {0};
    const bool is_folder = !strstr(path, "/mine");
    assert_false(load("mine", &got));
    assert_non_null(strstr(fail_message(), path));
    if (is_folder) {
        cache_store(&again, &what);
        path_of("not-kept", &file);
        assert_int_equal(access(file.data, F_OK), -1);
    }
    image_release(&again);
    str_release(&file);
}

/* What another user owns, or could write to, is not run; nor is anything put there. */
static void what_others_can_change(void **state) {
    (void)state;
    struct image image = random_image("mine"), got = {0};
    struct str kernels = {0}, file = {0};
    struct stat info;
    cache_store(&image, &what);
    str_printf(&kernels, "%s/kernels", folder);
    path_of("mine", &file);
    const char *const paths[] = {folder, kernels.data, file.data};
    assert_int_equal(stat(kernels.data, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    for (int i = 0; i < 3; i++) {
        static const mode_t bad[] = {0720, 0702, 01777};
        for (int m = 0; m < 3; m++) {
            assert_int_equal(chmod(paths[i], bad[m]), 0);
            is_passed_over(paths[i]);
        }
        assert_int_equal(chmod(paths[i], 0755), 0);
        assert_true(load("mine", &got)); /* others may look */
        image_release(&got);
        if (!give_away(paths[i]))
            continue;
        is_passed_over(paths[i]);
        assert_int_equal(chown(paths[i], 0, 0), 0);
        assert_true(load("mine", &got));
        image_release(&got);
    }
    assert_int_equal(chmod(folder, 0700), 0);
    image_release(&image);
    str_release(&kernels);
    str_release(&file);
}

/* A folder of images was asked for by name: there it is a failure, and not a warning. */
static void images_that_others_can_change(void **state) {
    (void)state;
    struct str version = {0};
    int number;
    str_printf(&version, "%s/nvrtc", folder);
    assert_int_equal(file_write_atomic(version.data, "1300\n", 5), MT_OK);
    setenv(IMAGES_VARIABLE, folder, 1);
    assert_int_equal(images_version(&number), MT_OK);
    assert_int_equal(number, 1300);
    const char *const paths[] = {folder, version.data};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(chmod(paths[i], 0777), 0);
        assert_int_equal(images_version(&number), MT_USAGE);
        assert_non_null(strstr(fail_message(), "chmod go-w"));
        assert_int_equal(chmod(paths[i], 0700), 0);
        if (!give_away(paths[i]))
            continue;
        assert_int_equal(images_version(&number), MT_USAGE);
        assert_non_null(strstr(fail_message(), "belongs to user 12345"));
        assert_int_equal(chown(paths[i], 0, 0), 0);
    }
    unlink(version.data);
    assert_int_equal(images_version(&number), MT_USAGE);
    assert_int_equal(mkfifo(version.data, 0600), 0);
    assert_int_equal(images_version(&number), MT_USAGE);
    assert_non_null(strstr(fail_message(), "is no plain file"));
    unlink(version.data);
    unsetenv(IMAGES_VARIABLE);
    str_release(&version);
}

static int set_up(void **state) {
    (void)state;
    log_set_level(LOG_ERROR); /* damage is warned of, as it should be */
    srand48(11);
    return mkdtemp(folder) ? setenv("MIXTUNE_CACHE_DIR", folder, 1) : -1;
}

static int tear_down(void **state) {
    (void)state;
    struct str command = {0};
    str_printf(&command, "rm -rf %s", folder);
    int result = system(command.data);
    str_release(&command);
    return result;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back),
        cmocka_unit_test(damage_is_noticed),
        cmocka_unit_test(processes_share),
        cmocka_unit_test(an_entry_is_of_one_key),
        cmocka_unit_test(sizes_that_lie),
        cmocka_unit_test(what_is_no_file),
        cmocka_unit_test(what_others_can_change),
        cmocka_unit_test(images_that_others_can_change),
        cmocka_unit_test(cannot_be_written),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
