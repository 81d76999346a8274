/* What a long command tells of itself, to the letter: the bar on a terminal, the lines elsewhere, and the time left.
 * The clock is the test's. tests/cli/test_progress.sh has the whole command on a terminal. */
#include "runtime/base/log.h"
#include "tuner/progress.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static double now;

int clock_gettime(clockid_t id, struct timespec *out) {
    (void)id;
    *out = (struct timespec){.tv_sec = (time_t)now, .tv_nsec = (long)((now - (double)(time_t)now) * 1e9)};
    return 0;
}

/* Standard error goes to a terminal, or to a pipe when it has no columns. */
static int reader, before;

static void listen_to(int columns) {
    int ends[2];
    before = dup(STDERR_FILENO);
    if (columns) {
        struct winsize size = {.ws_col = (unsigned short)columns, .ws_row = 24};
        ends[0] = posix_openpt(O_RDWR | O_NOCTTY);
        assert_int_equal(grantpt(ends[0]) || unlockpt(ends[0]), 0);
        ends[1] = open(ptsname(ends[0]), O_RDWR | O_NOCTTY);
        assert_int_equal(ioctl(ends[1], TIOCSWINSZ, &size), 0);
    } else {
        assert_int_equal(pipe(ends), 0);
    }
    reader = ends[0];
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    now = 1000;
}

/* All that was written since the last time: up to a mark that is sent behind it, for a terminal hands on when it
 * likes. */
static const char *heard(void) {
    static char text[4096];
    const char mark = 1;
    size_t length = 0;
    fflush(stderr);
    assert_int_equal(write(STDERR_FILENO, &mark, 1), 1);
    do {
        ssize_t got = read(reader, text + length, sizeof text - length);
        assert_true(got > 0);
        length += (size_t)got;
    } while (text[length - 1] != mark);
    text[length - 1] = 0;
    return text;
}

static void listen_no_more(void) {
    dup2(before, STDERR_FILENO);
    close(before);
    close(reader);
}

static void steps(struct progress *p, int count, bool good) {
    for (int i = 0; i < count; i++)
        progress_step(p, good, "the best");
}

/* Half of the work took so many seconds. */
static void check_left(double seconds, const char *want) {
    char line[128];
    struct progress p;
    now = 1000;
    progress_init(&p, "sweep", 100, false);
    steps(&p, 49, true);
    assert_string_equal(heard(), "");
    now += seconds;
    steps(&p, 1, true);
    snprintf(line, sizeof line, "\r\033[Ksweep [############............] 50/100, %s, the best", want);
    assert_string_equal(heard(), line);
}

static void the_time_left_has_a_fitting_unit(void **state) {
    (void)state;
    listen_to(120);
    check_left(0.25, "0 s left");
    check_left(7, "7 s left");
    check_left(89, "89 s left");
    check_left(90.1, "2 min left");
    check_left(600, "10 min left");
    check_left(3599, "60 min left");
    check_left(3600, "1.0 h left");
    check_left(9000, "2.5 h left");
    listen_no_more();
}

static void a_bar_is_drawn_ten_times_a_second(void **state) {
    (void)state;
    struct progress p;
    listen_to(120);
    progress_init(&p, "verify", 7, false);
    now += 0.09;
    steps(&p, 1, true);
    assert_string_equal(heard(), "");
    now += 0.02;
    steps(&p, 1, true);
    assert_string_equal(heard(), "\r\033[Kverify [#######.................] 2/7, 0 s left, the best");
    steps(&p, 1, true);
    assert_string_equal(heard(), "");
    now += 2;
    steps(&p, 1, false);
    assert_string_equal(heard(), "\r\033[Kverify [##############..........] 4/7, 1 failed, 2 s left, the best");
    now += 2;
    steps(&p, 3, true);
    assert_string_equal(heard(), "\r\033[Kverify [##################......] 5/7, 1 failed, 2 s left, the best");
    progress_release(&p);
    assert_string_equal(heard(), "\r\033[Kverify: 7 of 7 in 4.1 s, 1 failed\r\n");
    listen_no_more();
}

/* It is of a layer, whose name is somebody else's. */
static void a_note_is_visible(void **state) {
    (void)state;
    struct progress p;
    listen_to(120);
    progress_init(&p, "sweep", 2, false);
    now += 1;
    progress_step(&p, true, "\033[2J\n\xff");
    assert_string_equal(heard(), "\r\033[Ksweep [############............] 1/2, 1 s left, \\x1b[2J\\x0a\\xff");
    listen_no_more();
}

/* The whole line has no more columns than the terminal but one. */
static void check_width(int columns, const char *want) {
    struct progress p;
    listen_to(columns);
    progress_init(&p, "sweep", 100, false);
    steps(&p, 49, true);
    now += 10;
    steps(&p, 1, true);
    const char *line = heard();
    assert_memory_equal(line, "\r\033[K", 4);
    assert_string_equal(line + 4, want);
    assert_true((int)strlen(want) < columns);
    listen_no_more();
}

static void a_bar_fits_into_the_terminal(void **state) {
    (void)state;
    check_width(61, "sweep [############............] 50/100, 10 s left, the best");
    check_width(60, "sweep [############............] 50/100, 10 s left");
    check_width(51, "sweep [############............] 50/100, 10 s left");
    check_width(50, "sweep [############...........] 50/100, 10 s left");
    check_width(32, "sweep [###..] 50/100, 10 s left");
    check_width(31, "sweep [##..] 50/100, 10 s left");
}

static void colours_are_for_those_who_want_them(void **state) {
    (void)state;
    struct progress p;
    listen_to(120);
    unsetenv("NO_COLOR");
    progress_init(&p, "sweep", 4, false);
    now += 1;
    steps(&p, 1, false);
    assert_string_equal(heard(), "\r\033[K\033[1msweep\033[0m [######..................] 1/4, "
                                 "\033[31m1 failed\033[0m, 3 s left, the best");
    setenv("NO_COLOR", "1", 1);
    listen_no_more();
}

static void elsewhere_there_are_lines(void **state) {
    (void)state;
    struct progress p;
    listen_to(0);
    progress_init(&p, "sweep", 4, false);
    now += 4.9;
    steps(&p, 1, true);
    assert_string_equal(heard(), "");
    now += 0.2;
    steps(&p, 1, false);
    assert_string_equal(heard(), "sweep: 2 of 4, 1 failed, 5 s left, the best\n");
    progress_step(&p, true, NULL);
    now += 5;
    progress_step(&p, true, NULL);
    assert_string_equal(heard(), "sweep: 4 of 4, 1 failed, 0 s left\n");
    progress_release(&p);
    assert_string_equal(heard(), "sweep: 4 of 4 in 10.1 s, 1 failed\n");
    progress_init(&p, "sweep", 4, true);
    now += 10;
    steps(&p, 4, true);
    progress_release(&p);
    progress_init(&p, "sweep", 0, false);
    progress_release(&p);
    assert_string_equal(heard(), "");
    listen_no_more();
}

int main(void) {
    setenv("TERM", "xterm", 1);
    setenv("NO_COLOR", "1", 1);
    log_set_level(LOG_INFO);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_time_left_has_a_fitting_unit),
        cmocka_unit_test(a_bar_is_drawn_ten_times_a_second),
        cmocka_unit_test(a_bar_fits_into_the_terminal),
        cmocka_unit_test(colours_are_for_those_who_want_them),
        cmocka_unit_test(a_note_is_visible),
        cmocka_unit_test(elsewhere_there_are_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
