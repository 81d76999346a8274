/* The parts around a worker process: messages that come in pieces, late or not at all, the lock of a device, and what
 * NVML tells. What a worker makes of bad kernels is tests/cli/test_worker.sh. */
#include "runtime/gpu/nvml.h"
#include "tuner/progress.h"
#include "tuner/sweep/lock.h"
#include "tuner/sweep/worker_link.h"
#include <dlfcn.h>
#include <jansson.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static struct worker_link here, there;

static int links_open(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    link_init(&here, ends[0]);
    link_init(&there, ends[1]);
    return 0;
}

static int links_close(void **state) {
    (void)state;
    link_release(&here);
    link_release(&there);
    return 0;
}

static char *random_bytes(size_t size) {
    char *bytes = xmalloc(size + 1);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)lrand48();
    return bytes;
}

/* Larger than the socket holds, so that the sender has to wait in between; and empty ones, and several at once. */
static void messages_arrive_as_they_were_sent(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 17, 65536, 3000001, 5};
    char *sent[6];
    for (int i = 0; i < 6; i++)
        sent[i] = random_bytes(sizes[i]);
    pid_t child = fork();
    if (child == 0) {
        for (uint32_t i = 0; i < 6; i++)
            if (link_send(&there, 100 + i, sent[i], sizes[i], LINK_FOR_EVER) != LINK_OK)
                _exit(1);
        _exit(0);
    }
    close(there.fd);
    there.fd = 0;
    for (uint32_t i = 0; i < 6; i++) {
        struct worker_message message;
        assert_int_equal(link_receive(&here, LINK_FOR_EVER, &message), LINK_OK);
        assert_int_equal(message.kind, 100 + i);
        assert_int_equal(message.size, sizes[i]);
        assert_memory_equal(message.data, sent[i], sizes[i]);
        free(sent[i]);
    }
    struct worker_message none;
    assert_int_equal(link_receive(&here, LINK_FOR_EVER, &none), LINK_CLOSED);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void half_a_message_is_late_and_then_whole(void **state) {
    (void)state;
    struct worker_message message;
    char *bytes = random_bytes(1000), raw[2000];
    assert_int_equal(link_send(&there, 7, bytes, 1000, LINK_FOR_EVER), LINK_OK);
    ssize_t length = recv(here.fd, raw, sizeof raw, 0);
    assert_true(length > 1000);
    for (ssize_t at = 0; at < length; at += length / 2) {
        double begin = seconds_now();
        assert_int_equal(link_receive(&here, 0.02, &message), LINK_LATE);
        assert_true(seconds_now() - begin >= 0.02);
        ssize_t piece = length - at < length / 2 ? length - at : length / 2;
        assert_int_equal(send(there.fd, raw + at, (size_t)piece, 0), piece);
    }
    assert_int_equal(link_receive(&here, LINK_FOR_EVER, &message), LINK_OK);
    assert_int_equal(message.size, 1000);
    assert_memory_equal(message.data, bytes, 1000);
    free(bytes);
}

static void what_is_no_message_closes_the_link(void **state) {
    (void)state;
    struct worker_message message;
    char *bytes = random_bytes(64);
    memset(bytes + 8, 0, 8); /* where the size stands */
    assert_int_equal(send(there.fd, bytes, 64, 0), 64);
    assert_int_equal(link_receive(&here, LINK_FOR_EVER, &message), LINK_CLOSED);
    free(bytes);
}

/* The head of an empty message that claims `size` bytes. */
static void send_claim(uint64_t size) {
    char head[64];
    assert_int_equal(link_send(&there, 7, "", 0, 1), LINK_OK);
    const ssize_t length = recv(here.fd, head, sizeof head, 0);
    assert_int_equal(length, 16);
    memcpy(head + 8, &size, sizeof size);
    assert_int_equal(send(there.fd, head, (size_t)length, 0), length);
}

static void a_message_too_large_to_be_one_closes_the_link(void **state) {
    (void)state;
    struct worker_message message;
    send_claim((uint64_t)1 << 30); /* the largest: the rest may come */
    assert_int_equal(link_receive(&here, 0.05, &message), LINK_LATE);
    links_close(NULL);
    links_open(NULL);
    send_claim(((uint64_t)1 << 30) + 1);
    assert_int_equal(link_receive(&here, 5, &message), LINK_CLOSED);
}

static void an_end_within_a_message_closes_the_link(void **state) {
    (void)state;
    struct worker_message message;
    send_claim(100);
    close(there.fd);
    there.fd = 0;
    assert_int_equal(link_receive(&here, 5, &message), LINK_CLOSED);
}

static void nobody_reading_is_late_and_nobody_there_is_closed(void **state) {
    (void)state;
    char *bytes = random_bytes(4 << 20);
    assert_int_equal(link_send(&there, 1, bytes, 4 << 20, 0.05), LINK_LATE);
    close(here.fd);
    here.fd = 0;
    assert_int_equal(link_send(&there, 1, bytes, 4 << 20, LINK_FOR_EVER), LINK_CLOSED);
    free(bytes);
}

/* Whoever is stopped for longer than its patience is as patient as before when it goes on. */
static void a_stopped_sender_loses_no_patience(void **state) {
    (void)state;
    enum { SIZE = 4 << 20 };
    struct worker_message message;
    char *bytes = random_bytes(SIZE);
    pid_t child = fork();
    if (child == 0)
        _exit(link_send(&there, 1, bytes, SIZE, 1) != LINK_OK);
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    kill(child, SIGSTOP);
    nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 200000000}, NULL);
    kill(child, SIGCONT);
    assert_int_equal(link_receive(&here, 60, &message), LINK_OK);
    assert_int_equal(message.size, SIZE);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    free(bytes);
}

/* ---- the lock ---- */

/* The lock of a GPU is the machine's: a second run of this test has other GPUs. */
static struct device device_called(const char *uuid, bool software) {
    struct device dev = {.software = software};
    snprintf(dev.uuid, sizeof dev.uuid, "%s-%d", uuid, (int)getpid());
    snprintf(dev.name, sizeof dev.name, "Test GPU");
    return dev;
}

/* In a process of its own: flock() knows no difference within one. MT_OK if it gets the lock. */
static int other_process_takes(const struct device *dev, const char *db) {
    pid_t child = fork();
    if (child == 0) {
        struct lock *lock;
        enum mt_status status = lock_take(dev, db, false, 0, &lock);
        char owner[64];
        snprintf(owner, sizeof owner, "process %d", (int)getppid());
        _exit(status && !strstr(fail_message(), owner) ? 99 : (int)status);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Whatever they fill; these files only have to exist. */
static void a_lock_keeps_others_off_the_same_gpu(void **state) {
    (void)state;
    const struct device first = device_called("GPU-1", false), second = device_called("GPU-2", false);
    struct lock *lock, *again;
    assert_int_equal(lock_take(&first, "Makefile", false, 0, &lock), MT_OK);
    assert_int_equal(other_process_takes(&first, "README.md"), MT_FAILURE);
    assert_int_equal(other_process_takes(&second, "Makefile"), MT_OK);
    assert_int_equal(lock_take(&first, "Makefile", true, seconds_now() + 0.3, &again), MT_INTERRUPTED);
    lock_release(lock);
    assert_int_equal(other_process_takes(&first, "README.md"), MT_OK);
    lock_release(NULL);
}

static void software_devices_lock_one_database(void **state) {
    (void)state;
    const struct device soft = device_called("GPU-5", true);
    char folder[] = "/tmp/mixtune-lock-XXXXXX", a[64], b[64];
    assert_non_null(mkdtemp(folder));
    snprintf(a, sizeof a, "%s/a", folder);
    snprintf(b, sizeof b, "%s/b", folder);
    fclose(fopen(a, "w"));
    fclose(fopen(b, "w"));
    struct lock *lock;
    assert_int_equal(lock_take(&soft, a, false, 0, &lock), MT_OK);
    assert_int_equal(other_process_takes(&soft, a), MT_FAILURE);
    assert_int_equal(other_process_takes(&soft, b), MT_OK);
    lock_release(lock);
    assert_int_equal(other_process_takes(&soft, a), MT_OK);
    unlink(a);
    unlink(b);
    rmdir(folder);
}

/* Without a cache the lock is in a folder of the user's own, and nowhere else. */
static void a_lock_finds_another_place(void **state) {
    (void)state;
    const struct device dev = device_called("GPU-6", false);
    char folder[] = "/tmp/mixtune-lock-XXXXXX", own[64], file[128];
    char *cache = getenv("MIXTUNE_CACHE_DIR") ? xstrdup(getenv("MIXTUNE_CACHE_DIR")) : NULL;
    struct lock *lock, *again;
    assert_non_null(mkdtemp(folder));
    snprintf(own, sizeof own, "%s/mixtune", folder);
    snprintf(file, sizeof file, "%s/%s", own, dev.uuid);
    setenv("MIXTUNE_CACHE_DIR", "/dev/null/cache", 1);
    setenv("XDG_RUNTIME_DIR", folder, 1);
    assert_int_equal(lock_take(&dev, "Makefile", false, 0, &lock), MT_OK);
    assert_int_equal(access(file, F_OK), 0);
    assert_int_equal(other_process_takes(&dev, "Makefile"), MT_FAILURE);
    lock_release(lock);
    unlink(file);
    assert_int_equal(chmod(own, 0777), 0); /* anybody may put something there */
    assert_int_equal(lock_take(&dev, "Makefile", false, 0, &lock), MT_OK);
    assert_null(lock);
    rmdir(own);
    assert_int_equal(symlink("/tmp", own), 0);
    assert_int_equal(lock_take(&dev, "Makefile", false, 0, &again), MT_OK);
    assert_null(again);
    unlink(own);
    rmdir(folder);
    if (cache)
        setenv("MIXTUNE_CACHE_DIR", cache, 1);
    else
        unsetenv("MIXTUNE_CACHE_DIR");
    free(cache);
}

/* ---- NVML ---- */

/* A library under NVML's own name that is loaded already is what its opener gets. */
static void *load_fake_nvml(void) {
    char folder[] = "/tmp/mixtune-nvml-XXXXXX", command[256], path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/nvml.so", folder);
    snprintf(command, sizeof command, "cc -shared -fPIC -Wl,-soname,libnvidia-ml.so.1 -o %s tests/unit/gpu/fake_nvml.c",
             path);
    void *library = system(command) == 0 ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    unlink(path);
    rmdir(folder);
    return library;
}

static void nvml_tells_the_state_of_a_gpu(void **state) {
    (void)state;
    struct str text = {0};
    if (dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_NOLOAD))
        skip();
    void *library = load_fake_nvml();
    assert_non_null(library);
    nvml_describe("GPU-another", &text);
    assert_int_equal(text.length, 0);
    assert_int_equal(nvml_compute_processes("GPU-another"), -1);
    nvml_describe("GPU-fake", &text);
    json_t *got = json_loads(text.data, 0, NULL);
    json_t *want = json_pack("{ss si si si si si si s[ss] sb}", "driver", "580.65.06", "sm_mhz", 1755, "memory_mhz",
                             2619, "sm_max_mhz", 1980, "power_limit_w", 700, "power_w", 312, "temperature_c", 54,
                             "throttle", "power-cap", "sw-thermal", "persistence", 1);
    assert_non_null(got);
    assert_true(json_equal(got, want));
    assert_int_equal(nvml_compute_processes("GPU-fake"), 3);
    unsigned *process_count = dlsym(library, "process_count");
    *process_count = 1000; /* more than there is room for */
    assert_int_equal(nvml_compute_processes("GPU-fake"), 1000);
    int *open_count = dlsym(library, "open_count");
    assert_int_equal(*open_count, 1); /* five questions, one start */
    json_decref(got);
    json_decref(want);
    str_release(&text);
}

int main(void) {
    srand48(11);
    if (getenv("TMPDIR")) /* of its own: the same test under AddressSanitizer takes the same locks */
        setenv("MIXTUNE_CACHE_DIR", getenv("TMPDIR"), 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(messages_arrive_as_they_were_sent, links_open, links_close),
        cmocka_unit_test_setup_teardown(half_a_message_is_late_and_then_whole, links_open, links_close),
        cmocka_unit_test_setup_teardown(what_is_no_message_closes_the_link, links_open, links_close),
        cmocka_unit_test_setup_teardown(a_message_too_large_to_be_one_closes_the_link, links_open, links_close),
        cmocka_unit_test_setup_teardown(an_end_within_a_message_closes_the_link, links_open, links_close),
        cmocka_unit_test_setup_teardown(nobody_reading_is_late_and_nobody_there_is_closed, links_open, links_close),
        cmocka_unit_test_setup_teardown(a_stopped_sender_loses_no_patience, links_open, links_close),
        cmocka_unit_test(a_lock_keeps_others_off_the_same_gpu),
        cmocka_unit_test(software_devices_lock_one_database),
        cmocka_unit_test(a_lock_finds_another_place),
        cmocka_unit_test(nvml_tells_the_state_of_a_gpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
