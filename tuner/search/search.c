#include "search.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { FIRST_GUESSES = 4, SPREAD_TRIES = 12, MIN_BUDGET = 8 };

static const double unfamiliar = 0.1;

enum state { UNTOUCHED, ASKED, TOLD };

struct search {
    struct search_pool pool;
    struct search_rules rules;
    struct model_samples own, *memory, no_memory;
    struct model_point *point;
    enum state *state; /* of each configuration */
    double *ns;        /* 0: not good, or not told */
    double *predicted; /* log ns */
    int *drawn;        /* sample: all of them, in the order of the draw; else NULL */
    int next;          /* exhaustive: where the list goes on */
    int asked, told, fitted_at;
    int best;   /* -1: none yet */
    int centre; /* random: where it climbs; -1: it starts anew */
    uint64_t random;
};

/* ---- names ---- */

static const char *const strategy_names[] = {"exhaustive", "random", "guided", "sample", NULL};
static const char *const patience_names[] = {"quick", "normal", "exhaustive", NULL};

static int find_name(const char *text, const char *const *names) {
    for (int i = 0; names[i]; i++)
        if (!strcmp(text, names[i]))
            return i;
    return -1;
}

enum mt_status search_strategy_parse(const char *text, enum search_strategy *out) {
    int at = find_name(text, strategy_names);
    if (at < 0)
        return fail(MT_USAGE, "there is no strategy `%s`; it is exhaustive, random, guided or sample", text);
    *out = (enum search_strategy)at;
    return MT_OK;
}

const char *search_strategy_name(enum search_strategy strategy) {
    return strategy_names[strategy];
}

enum mt_status search_patience_parse(const char *text, enum search_patience *out) {
    int at = find_name(text, patience_names);
    if (at < 0)
        return fail(MT_USAGE, "there is no patience `%s`; it is quick, normal or exhaustive", text);
    *out = (enum search_patience)at;
    return MT_OK;
}

enum search_strategy search_patience_strategy(enum search_patience patience) {
    return patience == PATIENCE_EXHAUSTIVE ? SEARCH_EXHAUSTIVE : SEARCH_GUIDED;
}

int search_patience_budget(enum search_patience patience, int count) {
    int share = patience == PATIENCE_QUICK ? count / 20 : patience == PATIENCE_NORMAL ? count / 10 : count;
    return share < MIN_BUDGET ? MIN_BUDGET : share;
}

int search_guided_budget(int share, int problems, bool nothing_known) {
    const int part = (int)((long)share * problems / (problems + 1));
    return nothing_known ? 2 * part : part;
}

/* ---- opening ---- */

/* An SM has at least the shared memory that some allowed configuration wants of it. */
static int shared_of_sm(const struct search_pool *pool) {
    size_t most = 0;
    for (int i = 0; i < pool->count; i++) {
        const struct config *c = &pool->config[i];
        struct launch_shape shape;
        const size_t ctas = (size_t)config_get_or(c, "ctas", 1);
        c->family->shape(c, pool->problem, pool->sm_count, &shape);
        if (ctas * (shape.smem_bytes + EXTRA_SHARED) > most)
            most = ctas * (shape.smem_bytes + EXTRA_SHARED);
    }
    return (int)most;
}

struct lot {
    int index, place; /* place: in the draw of its family */
    const struct family *family;
    uint64_t hash;
};

static int compare_within_family(const void *a, const void *b) {
    const struct lot *x = a, *y = b;
    if (x->family != y->family) /* by name: another build has them at other addresses */
        return strcmp(x->family->name, y->family->name);
    return x->hash < y->hash ? -1 : x->hash > y->hash;
}

static int compare_places(const void *a, const void *b) {
    const struct lot *x = a, *y = b;
    return x->place != y->place ? x->place - y->place : compare_within_family(a, b);
}

/* By the hash of what a candidate is: neither the order of the list nor what was measured before has a part in it. The
 * families take turns. */
static int *draw_all(const struct search_pool *pool, uint64_t seed) {
    const struct problem *p = pool->problem;
    struct lot *lot = xcalloc((size_t)pool->count + 1, sizeof *lot);
    int *drawn = xcalloc((size_t)pool->count + 1, sizeof *drawn);
    struct str text = {0};
    for (int i = 0; i < pool->count; i++) {
        str_clear(&text);
        str_printf(&text, "%d,%d,%d %d ", p->m, p->n, p->k, p->rows8);
        config_format(&pool->config[i], &text);
        lot[i] = (struct lot){i, 0, pool->config[i].family, XXH3_64bits_withSeed(text.data, text.length, seed)};
    }
    str_release(&text);
    qsort(lot, (size_t)pool->count, sizeof *lot, compare_within_family);
    for (int i = 1; i < pool->count; i++)
        lot[i].place = lot[i].family == lot[i - 1].family ? lot[i - 1].place + 1 : 0;
    qsort(lot, (size_t)pool->count, sizeof *lot, compare_places);
    for (int i = 0; i < pool->count; i++)
        drawn[i] = lot[i].index;
    free(lot);
    return drawn;
}

struct search *search_open(const struct search_pool *pool, const struct search_rules *rules,
                           struct model_samples *memory) {
    struct search *s = xcalloc(1, sizeof *s);
    const size_t count = (size_t)pool->count + 1;
    s->pool = *pool;
    s->rules = *rules;
    s->memory = memory ? memory : &s->no_memory;
    s->state = xcalloc(count, sizeof *s->state);
    s->ns = xcalloc(count, sizeof *s->ns);
    s->point = xcalloc(count, sizeof *s->point);
    s->predicted = xcalloc(count, sizeof *s->predicted);
    s->best = s->centre = s->fitted_at = -1;
    s->random = (rules->seed + 1) * 0x9E3779B97F4A7C15ULL;
    s->drawn = rules->strategy == SEARCH_SAMPLE ? draw_all(pool, rules->seed) : NULL;
    const int shared = shared_of_sm(pool);
    for (int i = 0; i < pool->count; i++)
        model_point_init(&s->point[i], &pool->config[i], pool->problem, pool->sm_count, shared,
                         pool->modelled_ns ? pool->modelled_ns[i] : 0);
    return s;
}

void search_close(struct search *s) {
    if (!s)
        return;
    for (int i = 0; i < s->own.count; i++)
        if (s->memory != &s->no_memory)
            samples_add(s->memory, &s->own.item[i].point, s->own.item[i].ns);
    samples_release(&s->own);
    free(s->drawn);
    free(s->state);
    free(s->ns);
    free(s->point);
    free(s->predicted);
    free(s);
}

/* ---- steps that strategies share ---- */

/* xorshift64*; a number below `count`. */
static int draw(struct search *s, int count) {
    s->random ^= s->random >> 12;
    s->random ^= s->random << 25;
    s->random ^= s->random >> 27;
    return (int)(((s->random * 0x2545F4914F6CDD1DULL) >> 32) * (uint64_t)count >> 32);
}

static int draw_untouched(struct search *s) {
    int left = 0;
    for (int i = 0; i < s->pool.count; i++)
        left += s->state[i] == UNTOUCHED;
    if (!left)
        return -1;
    int at = draw(s, left);
    for (int i = 0; i < s->pool.count; i++)
        if (s->state[i] == UNTOUCHED && at-- == 0)
            return i;
    return -1;
}

/* True if some configuration of the family has knob `k` strictly between the two values. */
static bool value_between(const struct search *s, const struct family *family, int k, int a, int b) {
    const int low = a < b ? a : b, high = a < b ? b : a;
    for (int i = 0; i < s->pool.count; i++) {
        const struct config *c = &s->pool.config[i];
        if (c->family == family && c->value[k] > low && c->value[k] < high)
            return true;
    }
    return false;
}

/* They differ in one knob, by one step of the values that the list has. */
static bool neighbours(const struct search *s, int a, int b) {
    const struct config *x = &s->pool.config[a], *y = &s->pool.config[b];
    int differs = -1;
    if (x->family != y->family)
        return false;
    for (int k = 0; k < x->family->knob_count; k++)
        if (x->value[k] != y->value[k]) {
            if (differs >= 0)
                return false;
            differs = k;
        }
    return differs >= 0 && !value_between(s, x->family, differs, x->value[differs], y->value[differs]);
}

/* ---- random and neighbourhood ---- */

static int random_neighbour(struct search *s, int of) {
    int chosen = -1, seen = 0;
    for (int i = 0; i < s->pool.count; i++)
        if (s->state[i] == UNTOUCHED && neighbours(s, of, i) && draw(s, ++seen) == 0)
            chosen = i;
    return chosen;
}

static int next_random(struct search *s) {
    int next = s->centre >= 0 ? random_neighbour(s, s->centre) : -1;
    if (next >= 0)
        return next;
    s->centre = -1; /* nothing faster around: somewhere else */
    return draw_untouched(s);
}

/* ---- guided ---- */

/* Steps between two configurations, counted in doublings of knobs. */
static double apart(const struct search *s, int a, int b) {
    double sum = s->point[a].family == s->point[b].family ? 0 : 8;
    for (int k = 0; k < MODEL_KNOBS; k += 2)
        sum += fabs(s->point[a].knob[k] - s->point[b].knob[k]);
    return sum;
}

/* Of some random ones, that which is farthest from all that were touched. */
static int next_spread(struct search *s) {
    int chosen = -1;
    double farthest = -1;
    for (int t = 0; t < SPREAD_TRIES; t++) {
        int i = draw_untouched(s);
        double nearest = INFINITY;
        for (int j = 0; j < s->pool.count && i >= 0; j++)
            if (s->state[j] != UNTOUCHED)
                nearest = fmin(nearest, apart(s, i, j));
        if (i >= 0 && nearest > farthest) {
            farthest = nearest;
            chosen = i;
        }
    }
    return chosen;
}

/* Late in a search one more measurement changes little: it is fitted anew after each eighth more. */
static void predict(struct search *s) {
    if (s->fitted_at >= 0 && s->told < s->fitted_at + 1 + s->fitted_at / 8)
        return;
    s->fitted_at = s->told;
    for (const struct family *const *f = family_list(); *f; f++) {
        struct model_fit fit;
        bool fitted = false;
        for (int i = 0; i < s->pool.count; i++) {
            if (s->point[i].family != *f)
                continue;
            if (!fitted)
                model_fit(&fit, &s->point[i], &s->own, s->memory);
            fitted = true;
            s->predicted[i] = model_predict(&fit, &s->point[i]);
        }
    }
}

/* Of the untouched ones (next to `centre`, if that is not -1) the fastest by prediction; -1: none. */
static int next_predicted(const struct search *s, int centre) {
    int chosen = -1;
    for (int i = 0; i < s->pool.count; i++)
        if (s->state[i] == UNTOUCHED && (chosen < 0 || s->predicted[i] < s->predicted[chosen]) &&
            (centre < 0 || neighbours(s, centre, i)))
            chosen = i;
    return chosen;
}

/* The fastest by prediction when each step away from all that were touched counts as a tenth of the time: what the
 * model is wrong about lies where nothing was measured. */
static int next_unfamiliar(const struct search *s) {
    int chosen = -1;
    double least_score = INFINITY;
    for (int i = 0; i < s->pool.count; i++) {
        double nearest = INFINITY;
        for (int j = 0; j < s->pool.count && s->state[i] == UNTOUCHED; j++)
            if (s->state[j] != UNTOUCHED)
                nearest = fmin(nearest, apart(s, i, j));
        if (s->state[i] == UNTOUCHED && s->predicted[i] - unfamiliar * nearest < least_score) {
            least_score = s->predicted[i] - unfamiliar * nearest;
            chosen = i;
        }
    }
    return chosen;
}

static int next_guided(struct search *s) {
    bool blind = !s->pool.modelled_ns && s->memory->count < MIN_BUDGET;
    if (blind && s->asked < FIRST_GUESSES)
        return next_spread(s);
    predict(s);
    int next = -1;
    if (s->best >= 0 && s->asked % 2 == 1)
        next = next_predicted(s, s->best);
    else if (s->asked % 4 == 2)
        next = next_unfamiliar(s);
    return next >= 0 ? next : next_predicted(s, -1);
}

/* ---- sample ---- */

static int sample_size(const struct search *s) {
    return s->rules.budget < s->pool.count ? s->rules.budget : s->pool.count;
}

/* What was measured without being asked for takes no place in the sample, unless it was drawn too. */
static int next_drawn(const struct search *s) {
    for (int i = 0; i < sample_size(s); i++)
        if (s->state[s->drawn[i]] == UNTOUCHED)
            return s->drawn[i];
    return -1;
}

/* ---- the loop ---- */

static int choose(struct search *s) {
    switch (s->rules.strategy) {
    case SEARCH_RANDOM:
        return next_random(s);
    case SEARCH_GUIDED:
        return next_guided(s);
    default:
        while (s->next < s->pool.count && s->state[s->next] != UNTOUCHED)
            s->next++;
        return s->next < s->pool.count ? s->next : -1;
    }
}

static int settle(struct search *s) {
    if (!s->rules.until_settled || s->best < 0 || s->asked >= 2 * s->rules.budget)
        return -1;
    predict(s);
    return next_predicted(s, s->best);
}

int search_next(struct search *s) {
    int next = s->drawn ? next_drawn(s) : s->asked < s->rules.budget ? choose(s) : settle(s);
    if (next >= 0) {
        s->state[next] = ASKED;
        s->asked++;
    }
    return next;
}

int search_left(const struct search *s) {
    int left = 0;
    for (int i = 0; s->drawn && i < sample_size(s); i++)
        left += s->state[s->drawn[i]] == UNTOUCHED;
    if (s->drawn)
        return left;
    const int of = s->rules.budget < s->pool.count ? s->rules.budget : s->pool.count;
    return s->asked < of ? of - s->asked : 0;
}

void search_tell(struct search *s, int index, double ns) {
    s->asked += s->state[index] == UNTOUCHED;
    s->state[index] = TOLD;
    s->told++;
    s->ns[index] = ns;
    if (ns <= 0)
        return;
    samples_add(&s->own, &s->point[index], ns);
    if (s->best < 0 || ns < s->ns[s->best])
        s->best = index;
    if (s->centre < 0 || ns < s->ns[s->centre])
        s->centre = index;
}
