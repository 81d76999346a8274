#include "model.h"
#include "runtime/base/array.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static double ceil_div(double a, double b) {
    return ceil(a / b);
}

static void set_costs(struct model_point *point, const struct config *c, const struct problem *p, int sm_count,
                      int sm_shared) {
    struct launch_shape shape;
    c->family->shape(c, p, sm_count, &shape);
    const double items = shape.items;
    const double tile_n = shape.tile_n, tile_m = shape.tile_m, tile_k = shape.tile_k;
    const double split = config_get_or(c, "split_k", 1), cluster_k = config_get_or(c, "cluster_k", 1),
                 stream = config_get_or(c, "stream_k", 0);
    const double stages = config_get_or(c, "stages", 2), ctas = config_get_or(c, "ctas", 1);
    const double fit = floor(sm_shared / (double)(shape.smem_bytes + EXTRA_SHARED));
    const double resident = c->family->persistent || fit < ctas ? ctas : fit;
    const double waves = ceil_div(items, sm_count * resident), per_sm = ceil_div(items, sm_count);
    const double tile_steps = ceil_div(problem_k_padded(p), tile_k), steps = ceil_div(tile_steps, split * cluster_k);
    /* K steps that a CTA, and an SM, has to take. Stream-K deals them out evenly. */
    const double all = ceil_div(p->n, tile_n) * ceil_div(p->m, tile_m) * tile_steps;
    const double cta_steps = stream > 0 ? ceil_div(all, sm_count * resident) : waves * steps;
    const double sm_steps = stream > 0 ? ceil_div(all, sm_count) : per_sm * steps;
    const double parts = split > 1 ? split : stream > 0 ? 2 : 0; /* of a tile, added up through memory */
    const double weight_bytes = (4 + 4.0 * p->rows8 / p->n) / 8;
    const double cost[] = {
        1,
        waves,
        cta_steps,
        cta_steps / (stages - 1),
        sm_steps,
        sm_steps * tile_k * tile_n * tile_m,
        sm_steps * tile_k * tile_n,
        sm_steps * tile_k * (tile_m + weight_bytes * tile_n),
        per_sm * tile_n * tile_m,
        (double)shape.partials_bytes,
        parts > 0,
        parts,
        cluster_k > 1 ? cluster_k : 0,
    };
    _Static_assert(sizeof cost == sizeof point->cost, "MODEL_COSTS (model.h) is the number of costs");
    memcpy(point->cost, cost, sizeof cost);
}

void model_point_init(struct model_point *point, const struct config *config, const struct problem *problem,
                      int sm_count, int sm_shared, double modelled_ns) {
    *point = (struct model_point){.family = config->family,
                                  .shape = {log2(problem->m), log2(problem->n), log2(problem->k)},
                                  .modelled_ns = modelled_ns};
    set_costs(point, config, problem, sm_count, sm_shared);
    for (int i = 0; i < config->family->knob_count; i++) {
        point->knob[2 * i] = log2(1 + config->value[i]);
        point->knob[2 * i + 1] = point->knob[2 * i] * point->knob[2 * i];
    }
}

void samples_add(struct model_samples *samples, const struct model_point *point, double ns) {
    array_grow(&samples->item, &samples->capacity, (size_t)samples->count, sizeof *samples->item);
    samples->item[samples->count++] = (struct model_sample){*point, ns};
}

void samples_release(struct model_samples *samples) {
    free(samples->item);
    *samples = (struct model_samples){0};
}

/* ---- fitting ---- */

/* The samples of one family from both lists, with their weights. */
struct weighted {
    const struct model_sample **sample;
    double *weight;
    int count;
};

static double distance(const struct model_point *a, const struct model_point *b) {
    return fabs(a->shape[0] - b->shape[0]) + 0.5 * fabs(a->shape[1] - b->shape[1]) +
           0.5 * fabs(a->shape[2] - b->shape[2]);
}

static void gather(struct weighted *w, const struct model_samples *from, const struct model_point *target,
                   double weight) {
    for (int i = 0; i < from->count; i++) {
        const struct model_point *point = &from->item[i].point;
        if (point->family != target->family)
            continue;
        w->sample[w->count] = &from->item[i];
        w->weight[w->count++] = weight * exp2(-distance(point, target));
    }
}

/* Minimises sum w (1 - c . cost / t)^2 over c >= 0, one coordinate after the other on the normal equations. */
static void fit_costs(struct model_fit *fit, const struct weighted *w) {
    enum { ROUNDS = 300 };
    double a[MODEL_COSTS][MODEL_COSTS] = {0}, b[MODEL_COSTS] = {0};
    for (int s = 0; s < w->count; s++)
        for (int i = 0; i < MODEL_COSTS; i++) {
            const double *cost = w->sample[s]->point.cost, ns = w->sample[s]->ns;
            b[i] += w->weight[s] * cost[i] / ns;
            for (int j = 0; j < MODEL_COSTS; j++)
                a[i][j] += w->weight[s] * cost[i] * cost[j] / ns / ns;
        }
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < MODEL_COSTS; i++) {
            double slope = b[i];
            for (int j = 0; j < MODEL_COSTS; j++)
                slope -= a[i][j] * fit->cost[j];
            if (a[i][i] > 0)
                fit->cost[i] = fmax(0, fit->cost[i] + slope / (1.001 * a[i][i]));
        }
}

static double first_stage(const struct model_fit *fit, const struct model_point *point) {
    double ns = 0;
    if (point->modelled_ns > 0)
        return log(point->modelled_ns);
    for (int i = 0; i < MODEL_COSTS; i++)
        ns += fit->cost[i] * point->cost[i];
    return log(ns);
}

/* Solves a x = b for a symmetric positive definite `a` by Cholesky; x replaces b. */
static void solve(double a[MODEL_KNOBS][MODEL_KNOBS], double b[MODEL_KNOBS]) {
    for (int i = 0; i < MODEL_KNOBS; i++)
        for (int j = 0; j <= i; j++) {
            double sum = a[i][j];
            for (int k = 0; k < j; k++)
                sum -= a[i][k] * a[j][k];
            a[i][j] = i == j ? sqrt(sum) : sum / a[j][j];
        }
    for (int i = 0; i < MODEL_KNOBS; i++) {
        for (int k = 0; k < i; k++)
            b[i] -= a[i][k] * b[k];
        b[i] /= a[i][i];
    }
    for (int i = MODEL_KNOBS - 1; i >= 0; i--) {
        for (int k = i + 1; k < MODEL_KNOBS; k++)
            b[i] -= a[k][i] * b[k];
        b[i] /= a[i][i];
    }
}

/* Ridge regression of the rest on the knobs. The penalty is that of one sample of full weight. */
static void fit_knobs(struct model_fit *fit, const struct weighted *w) {
    double a[MODEL_KNOBS][MODEL_KNOBS] = {0}, total = 0;
    for (int s = 0; s < w->count; s++) {
        total += w->weight[s];
        fit->level += w->weight[s] * (log(w->sample[s]->ns) - first_stage(fit, &w->sample[s]->point));
        for (int i = 0; i < MODEL_KNOBS; i++)
            fit->mean[i] += w->weight[s] * w->sample[s]->point.knob[i];
    }
    fit->level /= total;
    for (int i = 0; i < MODEL_KNOBS; i++)
        fit->mean[i] /= total;
    for (int s = 0; s < w->count; s++) {
        double rest = log(w->sample[s]->ns) - first_stage(fit, &w->sample[s]->point) - fit->level, x[MODEL_KNOBS];
        for (int i = 0; i < MODEL_KNOBS; i++)
            x[i] = w->sample[s]->point.knob[i] - fit->mean[i];
        for (int i = 0; i < MODEL_KNOBS; i++) {
            fit->slope[i] += w->weight[s] * x[i] * rest;
            for (int j = 0; j <= i; j++)
                a[i][j] += w->weight[s] * x[i] * x[j];
        }
    }
    for (int i = 0; i < MODEL_KNOBS; i++)
        a[i][i] += 1;
    solve(a, fit->slope);
}

void model_fit(struct model_fit *fit, const struct model_point *target, const struct model_samples *own,
               const struct model_samples *others) {
    const size_t room = (size_t)(own->count + others->count + 1);
    struct weighted w = {xmalloc(room * sizeof *w.sample), xmalloc(room * sizeof *w.weight), 0};
    *fit = (struct model_fit){0};
    gather(&w, own, target, 4);
    gather(&w, others, target, 1);
    fit->samples = w.count;
    if (w.count) {
        fit_costs(fit, &w);
        fit_knobs(fit, &w);
    }
    free(w.sample);
    free(w.weight);
}

double model_predict(const struct model_fit *fit, const struct model_point *point) {
    if (!fit->samples)
        return point->modelled_ns > 0 ? log(point->modelled_ns) : INFINITY;
    double rest = fit->level;
    for (int i = 0; i < MODEL_KNOBS; i++)
        rest += fit->slope[i] * (point->knob[i] - fit->mean[i]);
    return first_stage(fit, point) + rest;
}
