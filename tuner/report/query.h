/* What show, report and export have in common: a database that exists, and the part of it that was asked for. */
#ifndef MT_QUERY_H
#define MT_QUERY_H

#include "db/store.h"
#include "tuner/options.h"

struct query_options {
    struct common_options common;          /* json and quiet */
    const char *db, *model, *layers, *gpu; /* NULL: all; db: DEFAULT_DB */
    const char *cache;                     /* a state of the caches, or "all"; NULL: that of the headline */
    struct int_list m;
    const char *schemes; /* "w4a8,mixed": as the store has them */
    struct int_list rows8;
};
/* --db, --model, --layer, --m, --scheme, --gpu, --cache, --json, --quiet, and no bare words; its input is a struct
 * query_options. */
extern const struct argp query_argp;
void query_options_release(struct query_options *o);

/* Opens a database that must exist and makes the part that `o` asks for into three temporary tables of its connection:
 * `asked` (rows of the view headline), `asked_peer` (rows of the view peer) and `asked_fact` (rows of the view fact,
 * with `state`: current, replaced, doubtful or stale), all with `layer_order`, the order in which the layers were first
 * swept. Says on standard error what does not count and why. */
enum mt_status query_open(const struct query_options *o, struct store **out);
/* Of these only `asked`, for the rows where the SQL `where` holds. Once in a connection. */
enum mt_status query_ask(struct sqlite3 *db, const char *where);

const char *query_path(const struct query_options *o);
/* MT_FAILURE: the open database has nothing ("winners") that matches the options, because it does not know a name, or
 * has only other measurements that match, or none. */
enum mt_status query_nothing(const struct query_options *o, struct sqlite3 *db, const char *what);

#endif
