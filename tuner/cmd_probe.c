/* mixtune probe: what the device can do at best, into the database. */
#include "../db/store.h"
#include "../runtime/base/log.h"
#include "../runtime/base/str.h"
#include "../runtime/compile.h"
#include "../runtime/nvml.h"
#include "cmd.h"
#include "lock.h"
#include "options.h"
#include "probe.h"
#include "progress.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEY_DB = 0x200 };

struct probe_options {
    struct common_options common;
    const char *db;
    const char *command; /* what the user typed */
};

static const struct argp_option table[] = {
    {"db", KEY_DB, "FILE", 0, "The database that gets the limits (default: " DEFAULT_DB ")", 20},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state) {
    struct probe_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->common;
        return 0;
    case KEY_DB:
        o->db = arg;
        return 0;
    case ARGP_KEY_ARG:
        return options_error(fail(MT_USAGE, "probe takes options only, not `%s`; --help lists them", arg));
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = {{&common_argp, 0, NULL, 0}, {0}};
static const struct argp argp = {
    .options = table,
    .parser = parse,
    .children = children,
    .doc = "Measures what the device can do at best: bandwidths, rates of the tensor core and of single instructions, "
           "latencies, the cost of a launch. `mixtune show --floor` sets the winners against it.\v"
           "Example: mixtune probe --device cuda:0"};

static enum store_origin origin_of(const struct device *dev) {
    return dev->software ? ORIGIN_MODELLED : ORIGIN_MEASURED;
}

static enum mt_status begin_run(const struct probe_options *o, const struct device *dev, struct store *store) {
    const struct store_device device = {dev->uuid, dev->name, dev->cc, dev->sm_count, dev->software};
    struct store_environment env = {.driver_version = dev->driver_version};
    struct str clocks = {0};
    char templates[33];
    str_append(&clocks, "");
    if (!dev->software)
        nvml_describe(dev->uuid, &clocks);
    env.clocks = clocks.data;
    env.template_hash = templates;
    enum mt_status status = template_hash(templates);
    if (!status && !(status = nvrtc_version(&env.nvrtc_version)))
        status = store_begin(store, &device, &env, o->command);
    str_release(&clocks);
    return status;
}

static enum mt_status keep(const struct probe_options *o, const struct device *dev, const struct limits *limits) {
    struct store *store = NULL;
    enum mt_status status = store_open(o->db, &store);
    if (!status)
        status = begin_run(o, dev, store);
    for (int i = 0; i < limits->count && !status; i++) {
        const struct limit *l = &limits->item[i];
        const struct store_limit row = {l->name, l->unit, l->value, origin_of(dev)};
        status = store_record_limit(store, &row);
    }
    store_close(store);
    return status;
}

static void print_limits(const struct device *dev, const struct limits *limits) {
    printf("%s, %s limits\n", dev->name, dev->software ? "MODELLED (not measured)" : "measured");
    for (int i = 0; i < limits->count; i++)
        printf("%-16s %12.2f  %s\n", limits->item[i].name, limits->item[i].value, limits->item[i].unit);
}

static void print_json(const struct device *dev, const struct limits *limits) {
    for (int i = 0; i < limits->count; i++) {
        const struct limit *l = &limits->item[i];
        json_t *object = json_pack("{ss ss ss sf ss}", "device", dev->name, "origin", store_origin_name(origin_of(dev)),
                                   "name", l->name, "value", l->value, "unit", l->unit);
        char *text = json_dumps(object, JSON_COMPACT);
        puts(text);
        free(text);
        json_decref(object);
    }
}

static enum mt_status probe(const struct probe_options *o) {
    struct device dev;
    struct limits limits;
    int lock = -1;
    enum mt_status status = device_open(&dev, o->common.device);
    if (status)
        return status;
    int processes = dev.software ? 1 : nvml_compute_processes(dev.uuid);
    if (processes > 1)
        log_warn("%d other processes compute on %s: expect too low limits", processes - 1, dev.name);
    if (!(status = lock_take(&dev, o->db, true, 0, &lock)) && !(status = probe_run(&dev, o->common.quiet, &limits)) &&
        !(status = keep(o, &dev, &limits))) {
        if (o->common.json)
            print_json(&dev, &limits);
        else
            print_limits(&dev, &limits);
    }
    lock_release(lock);
    device_close(&dev);
    return status;
}

int cmd_probe(int argc, char **argv) {
    struct probe_options o = {.db = DEFAULT_DB};
    struct str command = {0};
    for (int i = 0; i < argc; i++) /* before argp, which reorders them */
        str_printf(&command, "%s%s", i ? " " : "", argv[i]);
    o.command = command.data;
    interrupt_catch();
    enum mt_status status = options_parse(&argp, argc, argv, &o, &o.common);
    if (!status)
        status = probe(&o);
    str_release(&command);
    return status;
}
