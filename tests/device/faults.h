/* Breaking kernels on purpose: each mutation of a template must be caught, and by the mechanism that is there for it: a
 * named fault of the software device, or the verdict that the numbers are wrong. The template as it is must pass.
 *
 * Every case runs in a process of its own, because a fault ends a context. */
#ifndef TEST_FAULTS_H
#define TEST_FAULTS_H

#include "runtime/base/file.h"
#include "runtime/base/log.h"
#include "runtime/base/str.h"
#include "tuner/measure/verify.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

struct mutation {
    const char *name, *file;
    const char *from, *to;       /* every occurrence of `from`, and there must be one, becomes `to` */
    const char *scheme, *config; /* what is run */
    enum store_outcome outcome;  /* OUTCOME_WRONG, or what a fault of the device becomes */
    const char *fault;           /* words of the device's sentence, one of a|b|c; NULL when the numbers give it away */
};

/* What a test breaks; defined by the test that includes this. */
struct suite {
    const char *family;
    char device[64];
    const struct mutation *mutation;
    int count;
    CMFixtureFunction start; /* calls set_up() */
    int n;                   /* output features of what is run */
};
static struct suite suite;

/* The folder of the run: mutated templates, cache, logs. */
static char folder[] = "/tmp/mixtune-faults-XXXXXX";

static void write_text(const char *path, const char *text) {
    char *end = strrchr(path, '/');
    char *parent = strndup(path, (size_t)(end - path));
    assert_int_equal(folder_make(parent), MT_OK);
    free(parent);
    assert_int_equal(file_write_atomic(path, text, strlen(text)), MT_OK);
}

/* Puts the mutated file into the templates' folder: all others are the library's. False if the pattern is not in the
 * source. */
static bool apply(const struct mutation *mutation, const char *templates) {
    const char *text;
    struct str changed = {0}, path = {0};
    bool found = false;
    unsetenv("MIXTUNE_TEMPLATES");
    assert_int_equal(template_source(mutation->file, &text), MT_OK);
    for (const char *at; (at = strstr(text, mutation->from)); text = at + strlen(mutation->from)) {
        str_append_bytes(&changed, text, (size_t)(at - text));
        str_append(&changed, mutation->to);
        found = true;
    }
    str_append(&changed, text);
    str_printf(&path, "%s/%s", templates, mutation->file);
    write_text(path.data, changed.data);
    str_release(&changed);
    str_release(&path);
    return found;
}

/* In the child: runs one configuration on random data. */
static void run_kernel(const char *scheme, const char *config_text, struct check *out) {
    struct problem p = {.m = 17, .n = suite.n, .k = 1000, .group = 128, .dtype = DTYPE_F16, .bias = 1};
    struct device dev;
    struct device_limits limits;
    struct config config;
    struct image image;
    struct kernel kernel;
    struct proof proof;
    char reason[160];
    *out = (struct check){.outcome = OUTCOME_LAUNCH_FAILED};
    if (problem_set_scheme(&p, scheme) || config_parse(family_find(suite.family), config_text, &config) ||
        device_open(&dev, suite.device)) {
        snprintf(out->message, sizeof out->message, "%s", fail_message());
        return;
    }
    device_limits_of(&dev, &limits);
    if (!config_allowed(&config, &p, &limits, reason))
        snprintf(out->message, sizeof out->message, "%s", reason);
    else if (kernel_compile(&dev, &config, &p, &image) || kernel_load(&dev, &config, image, &kernel) ||
             proof_init(&proof, &dev, &p, true, 20260801))
        snprintf(out->message, sizeof out->message, "%s", fail_message());
    else
        verify_gemm(&proof, &kernel, out);
    /* What a fault leaves behind ends with the process. */
}

/* Runs it in a child with `templates` (NULL: the library's own); `device_says` is what it wrote on standard error. */
static void run_apart(const char *templates, const char *scheme, const char *config, struct check *out,
                      struct str *device_says) {
    struct str log = {0};
    int result[2], how;
    str_printf(&log, "%s/stderr", folder);
    assert_int_equal(pipe(result), 0);
    pid_t child = fork();
    if (child == 0) {
        struct check check;
        int fd = open(log.data, O_WRONLY | O_CREAT | O_TRUNC, 0666);
        dup2(fd, STDERR_FILENO);
        if (templates)
            setenv("MIXTUNE_TEMPLATES", templates, 1);
        run_kernel(scheme, config, &check);
        _exit(write(result[1], &check, sizeof check) == sizeof check ? 0 : 1);
    }
    close(result[1]);
    memset(out, 0, sizeof *out);
    ssize_t got = read(result[0], out, sizeof *out);
    close(result[0]);
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_int_equal(file_read(log.data, device_says), MT_OK);
    if (got != sizeof *out || how != 0)
        fail_msg("the run of %s ended with %d: %s", config, how, device_says->data);
    str_release(&log);
}

static void unbroken_passes(void **state) {
    (void)state;
    for (int i = 0; i < suite.count; i++) {
        const struct mutation *m = &suite.mutation[i];
        bool seen = false;
        for (int j = 0; j < i && !seen; j++)
            seen = strcmp(m[j - i].scheme, m->scheme) == 0 && strcmp(m[j - i].config, m->config) == 0;
        if (seen)
            continue;
        struct check check;
        struct str says = {0};
        run_apart(NULL, m->scheme, m->config, &check, &says);
        if (check.outcome != OUTCOME_OK)
            fail_msg("%s %s: %s\n%s", m->scheme, m->config, check.message, says.data);
        str_release(&says);
    }
}

static bool says_one_of(const char *text, const char *words) {
    bool found = false;
    char *copy = xstrdup(words), *rest = NULL;
    for (char *word = strtok_r(copy, "|", &rest); word && !found; word = strtok_r(NULL, "|", &rest))
        found = strstr(text, word) != NULL;
    free(copy);
    return found;
}

static void is_caught(void **state) {
    const struct mutation *m = *state;
    struct check check;
    struct str templates = {0}, says = {0};
    str_printf(&templates, "%s/%td", folder, m - suite.mutation);
    if (!apply(m, templates.data))
        fail_msg("'%s' is no longer in templates/%s: the mutation must follow the source", m->from, m->file);
    run_apart(templates.data, m->scheme, m->config, &check, &says);
    if (check.outcome != m->outcome)
        fail_msg("outcome %d: %s\n%s", (int)check.outcome, check.message, says.data);
    if (m->fault && !says_one_of(says.data, m->fault))
        fail_msg("'%s' is not in: %s", m->fault, says.data);
    print_message("# %s: %s\n", m->name, m->fault ? says.data : check.message);
    str_release(&templates);
    str_release(&says);
}

static int set_up(void **state) {
    (void)state;
    log_set_level(LOG_ERROR);
    struct str cache = {0};
    if (!mkdtemp(folder))
        return -1;
    str_printf(&cache, "%s/cache", folder);
    setenv("MIXTUNE_CACHE_DIR", cache.data, 1);
    str_release(&cache);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    struct str command = {0};
    str_printf(&command, "rm -rf %s", folder);
    int result = system(command.data);
    str_release(&command);
    return result;
}

static int suite_run(void) {
    struct CMUnitTest *tests = xcalloc((size_t)suite.count + 1, sizeof *tests);
    tests[0] = (struct CMUnitTest)cmocka_unit_test(unbroken_passes);
    for (int i = 0; i < suite.count; i++)
        tests[i + 1] = (struct CMUnitTest){suite.mutation[i].name, is_caught, NULL, NULL, (void *)&suite.mutation[i]};
    int failed = _cmocka_run_group_tests(suite.family, tests, (size_t)suite.count + 1, suite.start, tear_down);
    free(tests);
    return failed;
}

#endif
