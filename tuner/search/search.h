/* Which configurations of one problem to measure, and in which order.
 *
 * Exhaustive: all, in the order of the list.
 *
 * Random: a random configuration, then its neighbours (one knob moved to the adjacent value that the list has) as long
 * as one is faster, then another random start.
 *
 * Guided: the fastest that a cost model predicts (search/model.h), which every measurement corrects; every second step
 * the most promising neighbour of the best so far, every fourth one that is unlike all measured. It begins with the
 * fastest by modelled time where these are known; else, and with nothing to learn from, with a few that lie far from
 * each other.
 *
 * Sample: so many as the budget has, drawn at random, of each family alike; equal seeds draw the same ones for a
 * problem, whatever was measured before. What is known of a whole space (how well modelled times rank it, say) comes
 * from a sample: the favourites of a search look too much alike.
 *
 * The caller measures what search_next() names and tells the time. Everything follows from the seed: equal answers give
 * equal questions. Nothing here knows of devices, so a stored sweep can answer too (replay.h). */
#ifndef MT_SEARCH_H
#define MT_SEARCH_H

#include "model.h"
#include <stdint.h>

enum search_strategy { SEARCH_EXHAUSTIVE, SEARCH_RANDOM, SEARCH_GUIDED, SEARCH_SAMPLE };
/* "exhaustive", "random", "guided", "sample". MT_USAGE with the list. */
enum mt_status search_strategy_parse(const char *text, enum search_strategy *out);
const char *search_strategy_name(enum search_strategy strategy);

/* How long a search goes on: QUICK measures 5 % of the configurations, NORMAL 10 % and then the neighbours of the best
 * until none is left that is faster, EXHAUSTIVE all. */
enum search_patience { PATIENCE_QUICK, PATIENCE_NORMAL, PATIENCE_EXHAUSTIVE };
/* "quick", "normal", "exhaustive". MT_USAGE with the list. */
enum mt_status search_patience_parse(const char *text, enum search_patience *out);
/* The strategy of a patience: exhaustive, else guided. */
enum search_strategy search_patience_strategy(enum search_patience patience);
/* Measurements that a patience allows among `count` configurations; never under 8. */
int search_patience_budget(enum search_patience patience, int count);

/* What a guided search of one of `problems` may measure when all together may measure `share` each: one that has
 * nothing to learn from takes two parts, every other one part. */
int search_guided_budget(int share, int problems, bool nothing_known);

/* The problem and its configurations; all that is pointed to must outlive the search. */
struct search_pool {
    const struct problem *problem;
    const struct config *config; /* all allowed */
    int count;
    int sm_count;
    const double *modelled_ns; /* of each, 0: unknown; NULL: none known */
};

struct search_rules {
    enum search_strategy strategy;
    uint64_t seed;
    int budget;         /* at most so many measurements */
    bool until_settled; /* beyond the budget, the neighbours of the best until none is faster; at most as many again */
};

struct search;

/* `memory` holds what was measured for other problems; it grows by what is told here. It may be NULL. */
struct search *search_open(const struct search_pool *pool, const struct search_rules *rules,
                           struct model_samples *memory);
void search_close(struct search *search);

/* The next configuration to measure, -1 at the end. May be called again before the answer to the last one. */
int search_next(struct search *search);
/* The time of a configuration; 0 if it is not good. Also of one that was never asked for: it was known before. */
void search_tell(struct search *search, int index, double ns);

/* Measurements that its budget still allows. */
int search_left(const struct search *search);

#endif
