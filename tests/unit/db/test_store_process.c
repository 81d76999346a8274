/* The store under several processes, a kill, and a disk with no room. */
#include "test_store.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

/* In a child: records rows m = first, first + 1 ... `count` of them (0: without end); writes each m to `pipe` once it
 * is recorded. */
static void record_many(const char *path, int first, int count, int pipe) {
    struct store *store;
    if (store_open(path, &store) != MT_OK || store_begin(store, &gpu, &env, "child") != MT_OK)
        _exit(1);
    double samples[64];
    for (int i = 0; count == 0 || i < count; i++) {
        for (int s = 0; s < 64; s++)
            samples[s] = 1000 + first + i + s;
        struct store_measurement m = good(samples, 64);
        m.m = first + i;
        if (store_record(store, &m) != MT_OK)
            _exit(2);
        if (pipe >= 0 && write(pipe, &m.m, sizeof m.m) != sizeof m.m)
            _exit(3);
    }
    store_close(store);
    _exit(0);
}

/* Each row holds the samples that its m implies: none is torn or mixed up. */
static void check_rows(const char *path, int64_t at_least) {
    struct store *store;
    if (store_open(path, &store) != MT_OK)
        fail_msg("%s", fail_message());
    assert_int_equal(number(store, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
    assert_int_equal(number(store, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
    sqlite3_stmt *query;
    sqlite3_prepare_v2(store_handle(store), "SELECT m, samples FROM measurement", -1, &query, NULL);
    int64_t count = 0;
    for (; sqlite3_step(query) == SQLITE_ROW; count++) {
        assert_int_equal(sqlite3_column_bytes(query, 1), 64 * 8);
        const char *bytes = sqlite3_column_blob(query, 1);
        for (int s = 0; s < 64; s++) {
            double value;
            memcpy(&value, bytes + 8 * s, 8);
            assert_true(value == 1000 + sqlite3_column_int(query, 0) + s);
        }
    }
    sqlite3_finalize(query);
    assert_true(count >= at_least);
    store_close(store);
}

static void processes_record_into_one_file(void **state) {
    struct fixture *f = *state;
    enum { CHILDREN = 4, EACH = 60 };
    pid_t child[CHILDREN];
    /* All of them create the file at once, too. */
    for (int c = 0; c < CHILDREN; c++) {
        child[c] = fork();
        if (child[c] == 0)
            record_many(f->path, 1 + c * 1000, EACH, -1);
    }
    for (int c = 0; c < CHILDREN; c++) {
        int status;
        assert_int_equal(waitpid(child[c], &status, 0), child[c]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    check_rows(f->path, CHILDREN * EACH);
    struct store *store;
    assert_int_equal(store_open(f->path, &store), MT_OK);
    assert_int_equal(number(store, "SELECT count(DISTINCT m) FROM current"), CHILDREN * EACH);
    assert_int_equal(number(store, "SELECT count(*) FROM run"), CHILDREN);
    assert_int_equal(number(store, "SELECT count(*) FROM device"), 1);
    store_close(store);
}

/* What store_record() said was recorded is there after a kill at any moment, and recording goes on. */
static void a_kill_loses_nothing_recorded(void **state) {
    struct fixture *f = *state;
    int told = 0;
    for (int round = 0; round < 5; round++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        if (child == 0)
            record_many(f->path, 1 + round * 100000, 0, ends[1]);
        close(ends[1]);
        int m;
        assert_int_equal(read(ends[0], &m, sizeof m), sizeof m);
        told++;
        nanosleep(&(struct timespec){.tv_nsec = 20000000 + round * 3100000}, NULL);
        kill(child, SIGKILL);
        while (read(ends[0], &m, sizeof m) == sizeof m)
            told++;
        close(ends[0]);
        waitpid(child, NULL, 0);
        check_rows(f->path, told);
    }
}

/* A limit on the size of files stands for a disk that runs full. */
static void a_full_disk_keeps_earlier_rows(void **state) {
    struct fixture *f = *state;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGXFSZ, SIG_IGN);
        struct store *store = open_run(f->path, &gpu, &env);
        struct rlimit limit = {400 * 1024, 400 * 1024};
        setrlimit(RLIMIT_FSIZE, &limit);
        double samples[64];
        int recorded = 0;
        enum mt_status status = MT_OK;
        for (int i = 1; i < 5000 && status == MT_OK; i++) {
            for (int s = 0; s < 64; s++)
                samples[s] = 1000 + i + s;
            struct store_measurement m = good(samples, 64);
            m.m = i;
            status = store_record(store, &m);
            recorded += status == MT_OK;
        }
        int told = status == MT_FAILURE && strstr(fail_message(), "run the same command again") &&
                   !strchr(fail_message(), '\n');
        if (!told)
            fprintf(stderr, "%d rows, then: %s\n", recorded, fail_message());
        int found = 0; /* still good for reading */
        struct store_measurement m = good(samples, 64);
        m.m = 1;
        told = told && store_has(store, &m, &found) == MT_OK && found;
        store_close(store);
        _exit(told ? recorded < 255 ? recorded : 254 : 255);
    }
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status));
    assert_in_range(WEXITSTATUS(status), 10, 254);
    check_rows(f->path, WEXITSTATUS(status));
}

/* No room even for the empty database. */
static void a_full_disk_at_the_start_is_a_sentence(void **state) {
    struct fixture *f = *state;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGXFSZ, SIG_IGN);
        struct rlimit limit = {8 * 1024, 8 * 1024};
        setrlimit(RLIMIT_FSIZE, &limit);
        struct store *store;
        enum mt_status status = store_open(f->path, &store);
        int told = status == MT_FAILURE && !store && strstr(fail_message(), "run the same command again");
        if (!told)
            fprintf(stderr, "%d: %s\n", status, fail_message());
        _exit(!told);
    }
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    struct store *store = open_run(f->path, &gpu, &env); /* with room again, it works */
    store_close(store);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_remove)
    const struct CMUnitTest tests[] = {
        TEST(processes_record_into_one_file),
        TEST(a_kill_loses_nothing_recorded),
        TEST(a_full_disk_keeps_earlier_rows),
        TEST(a_full_disk_at_the_start_is_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
