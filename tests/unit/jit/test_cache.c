/* The cache of compiled kernels: what comes back is what went in, damage is noticed, processes share it, and a cache
 * that cannot be written stops nobody. */
#include "runtime/base/file.h"
#include "runtime/base/log.h"
#include "runtime/jit/cache.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
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
        cmocka_unit_test(cannot_be_written),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
