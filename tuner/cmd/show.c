/* mixtune show: the winners of a database, the peers beside them, all its measurements, what
 * failed, or what a smaller sweep would have cost; or what a file of saliences says. */
#include "tuner/choice/show.h"
#include "cmd.h"
#include "runtime/base/log.h"
#include "tuner/plan/packed_model.h"
#include "tuner/report/files.h"
#include "tuner/report/query.h"
#include "tuner/report/regret.h"
#include "tuner/report/regret_m.h"
#include "tuner/report/rows.h"
#include "tuner/report/t4.h"
#include "tuner/report/tables.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum format { FORMAT_TABLE, FORMAT_JSON, FORMAT_CSV, FORMAT_T4 };

struct show {
    struct query_options query;
    enum format format;
    bool all, failed, floor, peers, regret_m, regret_splits;
    struct int_list keep;
    const char *splits, *checkpoint;
    int fill;
    struct salience_options salience;
};

enum {
    KEY_FORMAT = 0x300,
    KEY_ALL,
    KEY_FAILED,
    KEY_FLOOR,
    KEY_PEERS,
    KEY_REGRET,
    KEY_KEEP,
    KEY_SPLITS,
    KEY_CHECKPOINT,
    KEY_FILL,
    KEY_SALIENCE,
    KEY_BITS,
    KEY_BYTES,
    KEY_UNIFORM,
    KEY_GROUP,
    KEY_SYMMETRIC
};

static const struct argp_option show_table[] = {
    {"format", KEY_FORMAT, "FORMAT", 0,
     "table (default), json (one object a line, as --json), csv, or t4: every measurement that was asked for, with all "
     "its samples, "
     "in the JSON that autotuners exchange; `mixtune merge` reads it again",
     20},
    {"all", KEY_ALL, NULL, 0, "Every measurement, not only the winners; also those that no longer count", 20},
    {"failed", KEY_FAILED, NULL, 0, "The candidates that are not good, with the reason", 20},
    {"peers", KEY_PEERS, NULL, 0, "The kernels of others beside the winners, where they are faster too", 20},
    {"floor", KEY_FLOOR, NULL, 0,
     "Each winner beside the time that it cannot beat, by the limits that `mixtune probe` found of its device: the "
     "bytes that "
     "must move and the multiplications that must be done; and what is known of the gap",
     20},
    {"regret", KEY_REGRET, "WHAT", OPTION_ARG_OPTIONAL,
     "What it would have cost to tune less and to choose for the rest as a bundle does, of a database in which all was "
     "tuned: m, the M that --keep does not name; splits, all but a few splits of each layer (default: both)",
     20},
    {"keep", KEY_KEEP, "LIST", 0,
     "With --regret: the M that count as tuned (default: those that a sweep takes without --m; where a layer has no "
     "others, each is left out in turn)",
     20},
    {"splits", KEY_SPLITS, "FILE", 0,
     "With --regret only the splits of this table, with their weights (default: all that were tuned, alike)", 20},
    {"checkpoint", KEY_CHECKPOINT, "DIR", 0, "As --splits, with the splits of a packed checkpoint", 20},
    {"fill", KEY_FILL, "N", 0,
     "With --splits: filled up to multiples of N, as the sweep filled them; with --salience: as `mixtune quantize` "
     "would",
     20},
    {"salience", KEY_SALIENCE, "FILE", 0,
     "In place of a database: what this file of saliences says of its model. What it took; for each share of 8-bit "
     "features (or those of --scheme) the bits, and how much of the choice half of the samples agree on; where the "
     "features of one choice are, by default p10; experts that saw few tokens",
     21},
    {"bits", KEY_BITS, "B", 0, "With --salience: as many 8-bit features as B bits per weight allow", 21},
    {"bytes", KEY_BYTES, "N", 0, "With --salience: as many 8-bit features as fit into N bytes of packed layers", 21},
    {"uniform", KEY_UNIFORM, NULL, 0, "With --salience: the same share of every layer keeps 8 bits", 21},
    {"group", KEY_GROUP, "N", 0, "With --salience: the group size along K (default: as the file says, else 128)", 21},
    {"symmetric", KEY_SYMMETRIC, NULL, 0,
     "With --salience: 4-bit features have no zero points (default: as the file says)", 21},
    {"out", 'o', "FOLDER", 0,
     "With --salience: also draw the share of each class of layers by decoder layer: salience.svg, .png and .csv", 21},
    {0},
};

static enum mt_status format_parse(const char *text, enum format *out) {
    static const char *const names[] = {"table", "json", "csv", "t4"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(text, names[i])) {
            *out = (enum format)i;
            return MT_OK;
        }
    return fail(MT_USAGE, "--format: `%s` is not one of table, json, csv, t4", text);
}

static error_t salience_parse(int key, char *arg, struct salience_options *o) {
    switch (key) {
    case KEY_SALIENCE:
        o->path = arg;
        return 0;
    case KEY_BITS:
        return options_error(amount_set_bits(arg, &o->amount));
    case KEY_BYTES:
        return options_error(amount_set_bytes(arg, &o->amount));
    case KEY_UNIFORM:
        o->amount.uniform = true;
        return 0;
    case KEY_GROUP:
        return options_error(group_parse(arg, &o->group));
    case KEY_SYMMETRIC:
        o->symmetric = true;
        return 0;
    case 'o':
        o->out = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t show_parse(int key, char *arg, struct argp_state *state) {
    struct show *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->query;
        return 0;
    case KEY_FORMAT:
        return options_error(format_parse(arg, &o->format));
    case KEY_ALL:
        o->all = true;
        return 0;
    case KEY_FAILED:
        o->failed = true;
        return 0;
    case KEY_PEERS:
        o->peers = true;
        return 0;
    case KEY_FLOOR:
        o->floor = true;
        return 0;
    case KEY_REGRET:
        o->regret_m = !arg || !strcmp(arg, "m");
        o->regret_splits = !arg || !strcmp(arg, "splits");
        return o->regret_m || o->regret_splits
                   ? 0
                   : options_error(fail(MT_USAGE, "--regret: `%s` is neither m nor splits", arg));
    case KEY_KEEP:
        return options_error(int_list_parse(arg, "--keep", &o->keep));
    case KEY_SPLITS:
        o->splits = arg;
        return 0;
    case KEY_CHECKPOINT:
        o->checkpoint = arg;
        return 0;
    case KEY_FILL:
        return options_error(fill_parse(arg, &o->fill));
    default:
        return salience_parse(key, arg, &o->salience);
    }
}

/* Good news, if there was something that could fail: MT_OK, and the list of failures is empty in every format. */
static enum mt_status nothing_failed(struct store *store, const struct show *o) {
    struct rows rows;
    enum mt_status status =
        rows_read(store_handle(store),
                  "SELECT count(*) AS n FROM asked_fact WHERE state = 'current' HAVING count(*) > 0", NULL, &rows);
    if (status == MT_OK && !rows.count)
        status = query_nothing(&o->query, store_handle(store), "measurements");
    else if (status == MT_OK)
        log_info("%s: none of the %s candidates that match these options failed", query_path(&o->query),
                 rows_cell(&rows, 0, "n"));
    rows_release(&rows);
    return status;
}

/* Winners that match have no floor where their device has no limits. */
static enum mt_status no_floor(struct store *store, const struct show *o) {
    struct rows rows;
    enum mt_status status = rows_read(store_handle(store), "SELECT 1 FROM asked LIMIT 1", NULL, &rows);
    if (status == MT_OK && !rows.count)
        status = query_nothing(&o->query, store_handle(store), "winners");
    else if (status == MT_OK)
        status = fail(MT_FAILURE,
                      "%s holds no winner whose device has limits: run `mixtune probe` on that device, with the same "
                      "--db",
                      query_path(&o->query));
    rows_release(&rows);
    return status;
}

static enum mt_status print_t4(struct store *store, const struct show *o) {
    const struct query_options *q = &o->query;
    bool everything = !o->failed && !q->model && !q->layers && !q->gpu && !q->m.count && !q->rows8.count && !q->schemes;
    const struct t4_choice choice = {.failed = o->failed, .empty_runs = everything};
    struct str out = {0};
    int count;
    enum mt_status status = t4_write(store, &choice, &out, &count);
    if (status == MT_OK && !count)
        status = o->failed ? nothing_failed(store, o) : query_nothing(&o->query, store_handle(store), "measurements");
    if (status == MT_OK)
        fwrite(out.data, 1, out.length, stdout);
    str_release(&out);
    return status;
}

static enum mt_status no_rows(struct store *store, const struct show *o) {
    if (o->failed)
        return nothing_failed(store, o);
    if (o->floor)
        return no_floor(store, o);
    return query_nothing(&o->query, store_handle(store),
                         o->all     ? "measurements"
                         : o->peers ? "times of peers"
                                    : "winners");
}

static enum mt_status print_rows(const struct rows *rows, struct store *store, const struct show *o) {
    enum mt_status status = rows->count ? MT_OK : no_rows(store, o);
    if (status)
        return status;
    const bool json = o->format == FORMAT_JSON || o->query.common.json;
    struct str out = {0};
    if (json || o->format == FORMAT_TABLE)
        tables_print(rows, json);
    else
        rows_print_csv(rows, &out);
    fwrite(str_text(&out), 1, out.length, stdout);
    str_release(&out);
    return MT_OK;
}

static void print_table(const struct show *o, const struct rows *rows,
                        void (*print)(const struct rows *, struct str *)) {
    struct str out = {0};
    if (o->format == FORMAT_JSON || o->query.common.json)
        rows_print_json(rows, &out);
    else if (o->format == FORMAT_CSV)
        rows_print_csv(rows, &out);
    else
        print(rows, &out);
    fwrite(str_text(&out), 1, out.length, stdout);
    str_release(&out);
}

/* Of the splits of a table or a checkpoint, else of all that were tuned. */
static enum mt_status read_regret_splits(struct store *store, const struct show *o, struct rows *out) {
    struct split_table table = {0};
    struct packed_model checkpoint = {0};
    enum mt_status status = MT_OK;
    if (o->splits)
        status = split_table_read(o->splits, &table);
    else if (o->checkpoint)
        status = packed_model_read(o->checkpoint, &checkpoint);
    if (!status)
        status = regret_splits(store_handle(store),
                               o->splits       ? &table
                               : o->checkpoint ? &checkpoint.table
                                               : NULL,
                               o->fill, out);
    split_table_release(&table);
    packed_model_release(&checkpoint);
    return status;
}

static enum mt_status print_regret(struct store *store, const struct show *o) {
    struct rows m = {0}, splits = {0};
    enum mt_status status = MT_OK;
    if (o->regret_m)
        status = regret_m(store_handle(store), &o->keep, &m);
    if (!status && o->regret_splits)
        status = read_regret_splits(store, o, &splits);
    if (!status && !m.count && !splits.count)
        status = query_nothing(&o->query, store_handle(store),
                               o->regret_splits ? "splits with winners"
                               : o->keep.count  ? "layers with M of --keep and with others"
                                                : "layers with winners at three M");
    if (!status && m.count && splits.count && o->format == FORMAT_CSV)
        status = fail(MT_USAGE, "CSV holds one table: take --regret=m or --regret=splits");
    if (!status && m.count)
        print_table(o, &m, regret_m_print);
    if (!status && m.count && splits.count && o->format == FORMAT_TABLE && !o->query.common.json)
        puts("");
    if (!status && splits.count)
        print_table(o, &splits, regret_print);
    rows_release(&m);
    rows_release(&splits);
    return status;
}

/* What has no meaning for a file of saliences. */
static const char *option_of_database(const struct show *o) {
    const struct query_options *q = &o->query;
    return q->db                             ? "--db"
           : q->model                        ? "--model"
           : q->layers                       ? "--layer"
           : q->m.count                      ? "--m"
           : q->rows8.count                  ? "--rows8"
           : q->gpu                          ? "--gpu"
           : q->cache                        ? "--cache"
           : o->all                          ? "--all"
           : o->failed                       ? "--failed"
           : o->floor                        ? "--floor"
           : o->peers                        ? "--peers"
           : o->regret_m || o->regret_splits ? "--regret"
           : o->keep.count                   ? "--keep"
           : o->splits                       ? "--splits"
           : o->checkpoint                   ? "--checkpoint"
                                             : NULL;
}

static const char *option_of_saliences(const struct salience_options *o) {
    return o->amount.bits > 0    ? "--bits"
           : o->amount.bytes > 0 ? "--bytes"
           : o->amount.uniform   ? "--uniform"
           : o->group            ? "--group"
           : o->symmetric        ? "--symmetric"
           : o->out              ? "--out"
                                 : NULL;
}

static enum mt_status show_salience(struct show *o) {
    const char *other = option_of_database(o);
    enum mt_status status = MT_OK;
    if (other)
        return fail(MT_USAGE, "%s is about a database, and --salience shows its file alone; leave one of them out",
                    other);
    if (o->format != FORMAT_TABLE && o->format != FORMAT_JSON)
        return fail(MT_USAGE, "--salience has several tables; take --format table or json");
    if (o->query.schemes)
        status = amount_add_schemes(o->query.schemes, &o->salience.amount);
    o->salience.fill = o->fill;
    o->salience.json = o->query.common.json || o->format == FORMAT_JSON;
    return status ? status : salience_show(&o->salience);
}

static enum mt_status show(const struct show *o) {
    struct store *store;
    const bool regret = o->regret_m || o->regret_splits;
    if (option_of_saliences(&o->salience))
        return fail(MT_USAGE, "%s belongs to --salience FILE; `mixtune show` reads a database without it",
                    option_of_saliences(&o->salience));
    if ((o->splits || o->checkpoint) && !o->regret_splits)
        return fail(MT_USAGE, "%s belongs to --regret; of other tables --rows8 chooses rows",
                    o->splits ? "--splits" : "--checkpoint");
    if (o->splits && o->checkpoint)
        return fail(MT_USAGE, "--splits and --checkpoint both say which splits count; give one of them");
    if (o->keep.count && !o->regret_m)
        return fail(MT_USAGE, "--keep belongs to --regret; of other tables --m chooses rows");
    if (regret && o->format == FORMAT_T4)
        return fail(MT_USAGE, "--format t4 has measurements only; with --regret take table, json or csv");
    enum mt_status status = query_open(&o->query, &store);
    if (status != MT_OK)
        return status;
    if (regret) {
        status = print_regret(store, o);
        store_close(store);
        return status;
    }
    if (o->format == FORMAT_T4) {
        status = print_t4(store, o);
        store_close(store);
        return status;
    }
    const char *sql = o->failed  ? report_failures_sql
                      : o->floor ? report_floor_sql
                      : o->peers ? report_peers_sql
                      : o->all   ? report_measurements_sql
                                 : report_winners_sql;
    struct rows rows;
    status = rows_read(store_handle(store), sql, NULL, &rows);
    if (status == MT_OK)
        status = print_rows(&rows, store, o);
    rows_release(&rows);
    store_close(store);
    return status;
}

int cmd_show(int argc, char **argv) {
    struct show o = {.fill = 1};
    const struct argp_child children[] = {{&query_argp, 0, NULL, 0}, {0}};
    const struct argp argp = {
        .options = show_table,
        .parser = show_parse,
        .children = children,
        .doc =
            "Prints the fastest configuration of each layer, batch size and scheme, beside the fp16 baseline; or with "
            "--salience which features of a model keep 8 bits.",
    };
    int status = options_parse(&argp, argc, argv, &o, &o.query.common);
    if (status == MT_OK)
        status = o.salience.path ? show_salience(&o) : show(&o);
    query_options_release(&o.query);
    int_list_release(&o.keep);
    return status;
}
