#include "order.h"
#include "guide.h"
#include "runtime/base/array.h"
#include "runtime/base/parallel.h"
#include "tuner/report/rows.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_AHEAD = 8, MAX_REMEMBERED = 4096 };

/* The candidates of one problem: plan->item[begin .. end), and after them what was known before. */
struct group {
    int begin, end;
    struct config_list pool;
    double *known_ns, *modelled_ns; /* of the pool; known_ns: 0 also for what is not good */
    size_t known_capacity;
    struct search *search;
};

struct order {
    struct order_rules rules;
    const struct plan *plan;
    struct binaries *binaries;
    const struct device *dev;
    struct store *store;
    struct rows known;
    struct model_samples memory;
    int problems;
    struct group group;
    int queue[MAX_AHEAD], queued; /* asked for together, so that they compile together */
    int handed_out;
    int *expected; /* of the group that begins at a candidate: measurements that its search will take */
};

/* Of the toolchain of the run that has begun, whatever was recorded last: with other kernels or another driver nothing
 * is known. */
static const char known_query[] =
    "SELECT model, layer, tp, n, k, m, scheme, rows8, group_size, dtype, family, config, median_ns FROM fact "
    "JOIN standing USING (id) WHERE uuid = :uuid AND origin = :origin AND cache_state = :cache AND NOT is_baseline "
    "ORDER BY created, id";

static bool searched(const struct order *o) {
    return o->rules.strategy != SEARCH_EXHAUSTIVE;
}

static void want_on_demand(struct order *o) {
    for (int i = 0; i < o->plan->count; i++)
        if (!o->plan->item[i].baseline && o->plan->item[i].binary >= 0)
            o->binaries->item[o->plan->item[i].binary].wanted = false;
}

static void group_release(struct group *g) {
    search_close(g->search);
    config_list_release(&g->pool);
    free(g->known_ns);
    free(g->modelled_ns);
}

void order_close(struct order *o) {
    if (!o)
        return;
    group_release(&o->group);
    samples_release(&o->memory);
    rows_release(&o->known);
    free(o->expected);
    free(o);
}

/* ---- a group ---- */

static bool known_of(const struct rows *rows, int row, const struct work_item *item) {
    const struct problem *p = &item->problem;
    return rows_is(rows, row, "model", item->model) && rows_is(rows, row, "layer", item->layer) &&
           rows_is(rows, row, "scheme", problem_scheme(p)) && atoi(rows_cell(rows, row, "rows8")) == p->rows8 &&
           atoi(rows_cell(rows, row, "m")) == p->m && atoi(rows_cell(rows, row, "n")) == p->n &&
           atoi(rows_cell(rows, row, "k")) == p->k && atoi(rows_cell(rows, row, "tp")) == item->tp &&
           atoi(rows_cell(rows, row, "group_size")) == p->group && rows_is(rows, row, "dtype", dtype_name(p->dtype));
}

static bool in_pool(const struct config_list *pool, const struct config *config) {
    for (int i = 0; i < pool->count; i++)
        if (config_equal(&pool->config[i], config))
            return true;
    return false;
}

/* A row whose kernel this program no longer has teaches nothing. */
static void add_known(struct order *o, const struct work_item *item) {
    struct group *g = &o->group;
    for (int r = 0; r < o->known.count; r++) {
        struct config config;
        if (!known_of(&o->known, r, item))
            continue;
        const struct family *family = family_find(rows_cell(&o->known, r, "family"));
        if (!family || config_parse(family, rows_cell(&o->known, r, "config"), &config) || in_pool(&g->pool, &config))
            continue;
        array_grow(&g->known_ns, &g->known_capacity, (size_t)g->pool.count, sizeof *g->known_ns);
        g->known_ns[g->pool.count] = strtod(rows_cell(&o->known, r, "median_ns"), NULL);
        config_list_add(&g->pool, &config);
    }
}

static int budget_of(const struct order *o, int count, bool nothing_known) {
    if (o->rules.max_configs)
        return o->rules.max_configs;
    const int share = search_patience_budget(o->rules.patience, count);
    return o->rules.strategy == SEARCH_GUIDED ? search_guided_budget(share, o->problems, nothing_known) : share;
}

/* The kernels of one problem, or one baseline. */
static int group_end(const struct plan *plan, int begin) {
    const struct candidate *first = &plan->item[begin];
    int end = begin + 1;
    while (!first->baseline && end < plan->count && plan->item[end].item == first->item && !plan->item[end].baseline)
        end++;
    return end;
}

static int expect(const struct order *o, int begin, int end, bool nothing_known) {
    const struct candidate *first = &o->plan->item[begin];
    int known = 0;
    if (first->baseline)
        return 1;
    for (int r = 0; r < o->known.count; r++)
        known += known_of(&o->known, r, first->item);
    int left = budget_of(o, end - begin + known, nothing_known) - known;
    return left < 0 ? 0 : left < end - begin ? left : end - begin;
}

static enum mt_status group_open(struct order *o, int begin) {
    struct group *g = &o->group;
    const struct work_item *item = o->plan->item[begin].item;
    enum mt_status status = MT_OK;
    group_release(g);
    *g = (struct group){.begin = begin, .end = group_end(o->plan, begin)};
    for (int i = begin; i < g->end; i++)
        config_list_add(&g->pool, &o->plan->item[i].config);
    const int planned = g->pool.count;
    add_known(o, item);
    if (!o->dev->software)
        status = guide_read(store_handle(o->store), &item->problem, o->dev->cc, o->dev->sm_count, g->pool.config,
                            g->pool.count, &g->modelled_ns);
    /* A sample is the same however much of the plan is done. */
    const bool sample = o->rules.strategy == SEARCH_SAMPLE;
    const struct search_rules rules = {.strategy = o->rules.strategy,
                                       .seed = o->rules.seed + (sample ? 0 : (uint64_t)begin),
                                       .budget = budget_of(o, g->pool.count, !o->memory.count && !g->modelled_ns),
                                       .until_settled = !o->rules.max_configs && o->rules.patience == PATIENCE_NORMAL};
    const struct search_pool pool = {&item->problem, g->pool.config, g->pool.count, o->dev->sm_count, g->modelled_ns};
    g->search = search_open(&pool, &rules, &o->memory);
    for (int i = planned; i < g->pool.count; i++)
        search_tell(g->search, i, g->known_ns[i]);
    return status;
}

/* Problems that are done teach those that are not. */
static void remember(struct order *o) {
    const int first = o->known.count > MAX_REMEMBERED ? o->known.count - MAX_REMEMBERED : 0;
    for (int r = first; r < o->known.count; r++) {
        struct problem p;
        const double ns = strtod(rows_cell(&o->known, r, "median_ns"), NULL);
        const struct family *family = family_find(rows_cell(&o->known, r, "family"));
        struct config config;
        struct model_point point;
        if (ns <= 0 || !family || config_parse(family, rows_cell(&o->known, r, "config"), &config) ||
            rows_problem(&o->known, r, &p))
            continue;
        model_point_init(&point, &config, &p, o->dev->sm_count, o->dev->smem_per_sm, 0);
        samples_add(&o->memory, &point, ns);
    }
}

enum mt_status order_open(const struct order_rules *rules, const struct plan *plan, int problems,
                          struct binaries *binaries, const struct device *dev, struct store *store,
                          struct order **out) {
    struct order *o = xcalloc(1, sizeof *o);
    enum mt_status status = MT_OK;
    *o = (struct order){
        .rules = *rules, .plan = plan, .problems = problems, .binaries = binaries, .dev = dev, .store = store};
    *out = o;
    if (!searched(o))
        return MT_OK;
    want_on_demand(o);
    const char *const values[] = {":uuid",   dev->uuid,
                                  ":origin", store_origin_name(store_origin_of(dev->software)),
                                  ":cache",  store_cache_name(store_cache_of(dev->software)),
                                  NULL};
    if (!(status = store_standing(store)))
        status = rows_read(store_handle(store), known_query, values, &o->known);
    if (status) {
        order_close(o);
        *out = NULL;
        return status;
    }
    remember(o);
    bool nothing_known = !o->memory.count;
    o->expected = xcalloc((size_t)plan->count + 1, sizeof *o->expected);
    for (int begin = 0, end; begin < plan->count; begin = end) {
        end = group_end(plan, begin);
        o->expected[begin] = expect(o, begin, end, nothing_known);
        nothing_known = nothing_known && plan->item[begin].baseline;
    }
    return MT_OK;
}

/* Fills the queue from the group in hand, the first at its end; nothing when its search has ended. */
static void fill_queue(struct order *o) {
    int ahead = parallel_threads(), asked[MAX_AHEAD] = {0}, count = 0;
    ahead = ahead > MAX_AHEAD ? MAX_AHEAD : ahead;
    for (int i; count < ahead && (i = search_next(o->group.search)) >= 0;) {
        const struct candidate *candidate = &o->plan->item[o->group.begin + i];
        if (candidate->binary >= 0)
            o->binaries->item[candidate->binary].wanted = true;
        asked[count++] = o->group.begin + i;
    }
    while (count)
        o->queue[o->queued++] = asked[--count];
}

enum mt_status order_next(struct order *o, int *index) {
    enum mt_status status = MT_OK;
    *index = -1;
    if (!searched(o)) {
        if (o->handed_out < o->plan->count)
            *index = o->handed_out++;
        return MT_OK;
    }
    while (!o->queued && !status) {
        if (o->group.search)
            fill_queue(o);
        if (o->queued)
            break;
        int next = o->group.end;
        if (next >= o->plan->count)
            return MT_OK;
        if (o->plan->item[next].baseline) {
            group_release(&o->group);
            o->group = (struct group){.begin = next, .end = next + 1};
            o->queue[o->queued++] = next;
        } else {
            status = group_open(o, next);
        }
    }
    if (status)
        return status;
    *index = o->queue[--o->queued];
    o->handed_out++;
    return MT_OK;
}

void order_tell(struct order *o, int index, double ns) {
    if (o->group.search && index >= o->group.begin && index < o->group.end)
        search_tell(o->group.search, index - o->group.begin, ns);
}

/* What is left of the group in hand, and of those to come. */
int order_total(const struct order *o) {
    int total = o->handed_out + o->queued;
    if (!searched(o))
        return o->plan->count;
    if (o->group.search)
        total += search_left(o->group.search);
    for (int begin = o->group.end; begin < o->plan->count; begin = group_end(o->plan, begin))
        total += o->expected[begin];
    return total;
}
