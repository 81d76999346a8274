/* mixtune merge: databases of many machines, and T4 files, into one. */
#include "db/merge.h"
#include "cmd.h"
#include "runtime/base/array.h"
#include "runtime/base/log.h"
#include "runtime/base/str.h"
#include "tuner/options.h"
#include "tuner/report/json_line.h"
#include "tuner/report/t4.h"
#include "tuner/shown.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct merge {
    struct common_options common;
    const char *into;
    const char **path;
    int count;
    size_t capacity;
};

enum { KEY_INTO = 0x300 };

static const struct argp_option merge_table[] = {
    {"into", KEY_INTO, "FILE", 0, "The database that receives the rows; made when it is not there", 20},
    {0},
};

static error_t merge_parse(int key, char *arg, struct argp_state *state) {
    struct merge *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->common;
        return 0;
    case KEY_INTO:
        o->into = arg;
        return 0;
    case ARGP_KEY_ARG:
        array_grow(&o->path, &o->capacity, (size_t)o->count, sizeof *o->path);
        o->path[o->count++] = arg;
        return 0;
    case ARGP_KEY_END:
        if (!o->into)
            return options_error(fail(MT_USAGE, "merge needs the database that receives the rows: --into all.db"));
        if (!o->count)
            return options_error(
                fail(MT_USAGE, "merge needs the files to read: mixtune merge --into %s a.db b.db", o->into));
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print_summary(const struct merge *o, const struct merge_count *count) {
    if (!o->common.json) {
        printf("%s: added %" PRId64 " of the %" PRId64 " measurements and %" PRId64 " of the %" PRId64
               " runs in %d file%s\n",
               shown(o->into), count->measurements, count->measurements_read, count->runs, count->runs_read, o->count,
               o->count == 1 ? "" : "s");
        return;
    }
    json_t *summary =
        json_pack("{so si sI sI sI sI}", "file", json_text(o->into), "sources", o->count, "measurements_added",
                  (json_int_t)count->measurements, "measurements_read", (json_int_t)count->measurements_read,
                  "runs_added", (json_int_t)count->runs, "runs_read", (json_int_t)count->runs_read);
    json_line(summary);
}

/* Every source is read and checked before the target is so much as opened. */
static enum mt_status merge(const struct merge *o) {
    struct store **source = xcalloc((size_t)o->count, sizeof *source), *target = NULL;
    struct merge_count count;
    enum mt_status status = MT_OK;
    for (int i = 0; i < o->count && status == MT_OK; i++) {
        bool t4;
        if ((status = t4_recognise(o->path[i], &t4)) == MT_OK)
            status = (t4 ? t4_read : merge_source_open)(o->path[i], &source[i]);
    }
    if (status == MT_OK)
        status = store_open(o->into, &target);
    if (status == MT_OK)
        status = merge_into(target, source, o->count, &count);
    if (status == MT_OK)
        print_summary(o, &count);
    else
        status = fail_context(status, "nothing was merged");
    for (int i = 0; i < o->count; i++)
        store_close(source[i]);
    store_close(target);
    free(source);
    return status;
}

int cmd_merge(int argc, char **argv) {
    struct merge o = {0};
    const struct argp_child children[] = {{&output_argp, 0, NULL, 0}, {0}};
    const struct argp argp = {
        .options = merge_table,
        .parser = merge_parse,
        .children = children,
        .args_doc = "FILE...",
        .doc = "Adds the measurements of other databases to one, with all their samples, runs, devices and "
               "environments. A "
               "FILE is a database of mixtune, or a T4 file that `mixtune show --format t4` wrote.\v"
               "Equal rows are one row: the order of the files does not matter, and doing it again changes nothing. A "
               "sweep "
               "may be writing to a FILE or to the database that receives the rows. FILEs are only read; when one of "
               "them is "
               "damaged, all are refused and nothing is changed.",
    };
    int status = options_parse(&argp, argc, argv, &o, &o.common);
    if (status == MT_OK)
        status = merge(&o);
    free(o.path);
    return status;
}
