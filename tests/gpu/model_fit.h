/* Fitting the constants of the software device's time model to times of a real GPU: what configs/devices/README.md
 * describes. The formula itself is runtime/softgpu/time/model.c, linked, not repeated. */
#ifndef TEST_MODEL_FIT_H
#define TEST_MODEL_FIT_H

#include "runtime/base/str.h"
#include "runtime/softgpu/profile/profile.h"
#include "runtime/softgpu/time/model.h"
#include "tuner/search/rank.h"
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* One candidate: what its launch did, and how long it took. */
struct fit_point {
    char *label;  /* owned; candidate_label() */
    char *family; /* owned */
    struct sg_counters counters;
    struct model_kernel kernel; /* its `counters` are set by fit_ns() */
    double measured_ns;
    bool graph;    /* was timed as a graph */
    bool held_out; /* not fitted: it tells what the fit is worth */
};
struct fit_points {
    struct fit_point *item;
    int count;
};

/* The constants that are published nowhere, and between what they may lie. */
static const struct fit_constant {
    const char *name; /* as in configs/devices/ */
    size_t offset;    /* of a double in struct dev_profile */
    double low, high;
} fit_constants[] = {
#define CONSTANT(name, low, high)                                                                                      \
    { #name, offsetof(struct dev_profile, name), low, high }
    CONSTANT(memory_efficiency, 0.5, 1),
    CONSTANT(memory_latency_ns, 200, 1500),
    CONSTANT(l2_latency_clocks, 100, 800),
    CONSTANT(l2_bytes_per_clock, 1000, 10000),
    CONSTANT(sm_l2_bytes_per_clock, 16, 128),
    CONSTANT(xu_lanes, 8, 128),
    CONSTANT(lsu_lanes, 8, 64),
    CONSTANT(branch_lanes, 8, 128),
    CONSTANT(mma_sync_fraction, 0.25, 1),
    CONSTANT(warp_interval_clocks, 0.5, 12),
    CONSTANT(loads_in_flight, 1, 32),
    CONSTANT(overlap_exponent, 1, 16),
    CONSTANT(mma_overlap_exponent, 1, 16),
    CONSTANT(atomic_us, 0.1, 10),
    CONSTANT(wgmma_setup_us, 0.1, 10),
    CONSTANT(launch_us, 0.3, 8),
    CONSTANT(graph_node_us, 0.1, 5),
#undef CONSTANT
};
enum { FIT_CONSTANTS = sizeof fit_constants / sizeof *fit_constants };

static inline double *fit_value(struct dev_profile *profile, int constant) {
    return (double *)(void *)((char *)profile + fit_constants[constant].offset);
}

/* As the timer of a software device would say: the kernel and what lies between two of them. */
static inline double fit_ns(const struct dev_profile *profile, const struct fit_point *p, bool graph) {
    struct model_kernel kernel = p->kernel;
    struct model_time time;
    kernel.counters = &p->counters;
    model_kernel_time(profile, &kernel, &time);
    return time.seconds * 1e9 + (graph ? profile->graph_node_us : profile->launch_us) * 1e3;
}

#define FIT_EXACT 1e-6 /* loss of times that agree to a thousandth: closer is no better */
#define FIT_KNEE  1.2  /* ratio from which on an error counts by its size alone */

/* Mean loss of the half that is fitted: squares of log ratios up to 20 %, then their size alone (Huber), so that a few
 * candidates that the model does not understand do not bend everything else. */
static inline double fit_loss(const struct dev_profile *profile, const struct fit_points *points) {
    const double knee = log(FIT_KNEE);
    double sum = 0;
    int count = 0;
    for (int i = 0; i < points->count; i++) {
        const struct fit_point *p = &points->item[i];
        if (p->held_out)
            continue;
        double off = fabs(log(fit_ns(profile, p, p->graph) / p->measured_ns));
        sum += off < knee ? off * off : 2 * knee * off - knee * knee;
        count++;
    }
    return count ? sum / count : 0;
}

/* The typical error that a loss stands for. */
static inline double fit_error(double loss) {
    return exp(sqrt(loss)) - 1;
}

/* A fit under way. */
struct fit {
    struct dev_profile *profile;
    const struct fit_points *points;
    bool fixed[FIT_CONSTANTS]; /* stays at its old value */
    double loss;
};

/* Keeps what was changed if the loss falls, by as much as is worth another step. */
static inline bool fit_better(struct fit *f) {
    double now = fit_loss(f->profile, f->points);
    if (!(now + FIT_EXACT < (f->loss + FIT_EXACT) * (1 - 1e-4)))
        return false;
    f->loss = now;
    return true;
}

static inline double fit_clamp(int constant, double value) {
    return fmin(fmax(value, fit_constants[constant].low), fit_constants[constant].high);
}

/* Multiplies one constant. */
static inline bool fit_try(struct fit *f, int constant, double by) {
    double *x = fit_value(f->profile, constant), was = *x;
    *x = fit_clamp(constant, was * by);
    if (fit_better(f))
        return true;
    *x = was;
    return false;
}

/* One constant over its whole range, on a logarithmic grid: what steps from one side cannot reach. */
static inline void fit_scan(struct fit *f, int constant) {
    enum { GRID = 24 };
    const struct fit_constant *c = &fit_constants[constant];
    double *x = fit_value(f->profile, constant), best = *x;
    for (int i = 0; i <= GRID; i++) {
        *x = c->low * pow(c->high / c->low, (double)i / GRID);
        if (fit_better(f))
            best = *x;
    }
    *x = best;
}

/* Steps of one constant after another. */
static inline bool fit_steps(struct fit *f, double by) {
    bool any = false;
    for (int c = 0; c < FIT_CONSTANTS; c++)
        for (int up = 0; up < 2; up++)
            while (!f->fixed[c] && fit_try(f, c, up ? by : 1 / by))
                any = true;
    return any;
}

static inline double fit_log_ratio(const struct fit *f, const struct fit_point *p) {
    return log(fit_ns(f->profile, p, p->graph) / p->measured_ns);
}

struct fit_normal { /* equations of a step in the logarithms of the constants */
    double a[FIT_CONSTANTS][FIT_CONSTANTS], b[FIT_CONSTANTS];
};

static inline void fit_linearise(struct fit *f, struct fit_normal *n) {
    const double knee = log(FIT_KNEE), small = 1e-4;
    memset(n, 0, sizeof *n);
    for (int i = 0; i < f->points->count; i++) {
        const struct fit_point *p = &f->points->item[i];
        double off = fit_log_ratio(f, p), weight = fabs(off) <= knee ? 1 : knee / fabs(off), slope[FIT_CONSTANTS] = {0};
        if (p->held_out)
            continue;
        for (int c = 0; c < FIT_CONSTANTS; c++) {
            double *x = fit_value(f->profile, c), was = *x;
            if (f->fixed[c])
                continue;
            *x = was * (1 + small);
            slope[c] = (fit_log_ratio(f, p) - off) / small;
            *x = was;
        }
        for (int r = 0; r < FIT_CONSTANTS; r++) {
            n->b[r] -= weight * slope[r] * off;
            for (int c = 0; c < FIT_CONSTANTS; c++)
                n->a[r][c] += weight * slope[r] * slope[c];
        }
    }
}

/* Solves (a + damping diagonal) x = b by elimination; the matrix is positive definite, so no rows are swapped. */
static inline void fit_solve(struct fit_normal n, double damping, double *x) {
    for (int r = 0; r < FIT_CONSTANTS; r++)
        n.a[r][r] += damping * (n.a[r][r] + 1e-6);
    for (int r = 0; r < FIT_CONSTANTS; r++)
        for (int below = r + 1; below < FIT_CONSTANTS; below++) {
            double share = n.a[below][r] / n.a[r][r];
            for (int c = r; c < FIT_CONSTANTS; c++)
                n.a[below][c] -= share * n.a[r][c];
            n.b[below] -= share * n.b[r];
        }
    for (int r = FIT_CONSTANTS - 1; r >= 0; r--) {
        x[r] = n.b[r];
        for (int c = r + 1; c < FIT_CONSTANTS; c++)
            x[r] -= n.a[r][c] * x[c];
        x[r] /= n.a[r][r];
    }
}

/* Steps of all constants together (Levenberg and Marquardt), for those that stand for nearly the same: one at a time
 * they would not get down such a valley. */
static inline bool fit_valley(struct fit *f) {
    bool any = false;
    struct fit_normal normal;
    fit_linearise(f, &normal);
    for (double damping = 1e-3; damping < 10;) {
        double step[FIT_CONSTANTS];
        struct dev_profile was = *f->profile;
        fit_solve(normal, damping, step);
        for (int c = 0; c < FIT_CONSTANTS; c++)
            *fit_value(f->profile, c) = fit_clamp(c, *fit_value(f->profile, c) * exp(fmin(fmax(step[c], -1), 1)));
        if (fit_better(f)) {
            any = true;
            damping /= 4;
            fit_linearise(f, &normal);
        } else {
            *f->profile = was;
            damping *= 4;
        }
    }
    return any;
}

static inline void fit_descend(struct fit *f) {
    for (int pass = 0; pass < 10; pass++) {
        bool any = fit_valley(f);
        for (double by = 1.3; by > 1.004; by = 1 + (by - 1) / 2)
            any = fit_steps(f, by) || any;
        if (!any)
            return;
    }
}

/* What is left when one constant goes back to its old value and the others, as far as they are free, make up for it. */
static inline struct fit fit_without(const struct fit *f, int constant, double value, struct dev_profile *profile) {
    struct fit other = *f;
    *profile = *f->profile;
    other.profile = profile;
    other.fixed[constant] = true;
    *fit_value(profile, constant) = value;
    other.loss = fit_loss(profile, f->points);
    fit_valley(&other);
    return other;
}

/* Coordinate descent and steps of all together, from the values in `profile`. Constants that the times say nothing of,
 * or that others can stand in for, go back to their old values, one after another: those without which the likelihood
 * of the times falls by no more than chance brings in one of a thousand. `cost`: the loss that each constant's old
 * value would leave. */
static inline void fit(struct dev_profile *profile, const struct fit_points *points, double cost[FIT_CONSTANTS]) {
    const double by_chance = 10.83; /* chi squared, one degree of freedom */
    struct dev_profile stock = *profile, trial, best;
    struct fit f = {.profile = profile, .points = points, .loss = fit_loss(profile, points)};
    int fitted = 0;
    for (int i = 0; i < points->count; i++)
        fitted += !points->item[i].held_out;
    for (int pass = 0; pass < 2; pass++)
        for (int c = 0; c < FIT_CONSTANTS; c++)
            fit_scan(&f, c);
    fit_descend(&f);
    for (int idle = 0; idle >= 0;) {
        struct fit without = f;
        double least = by_chance;
        idle = -1;
        for (int c = 0; c < FIT_CONSTANTS; c++) {
            if (f.fixed[c])
                continue;
            struct fit one = fit_without(&f, c, *fit_value(&stock, c), &trial);
            cost[c] = one.loss;
            double said = fitted * log((one.loss + FIT_EXACT) / (f.loss + FIT_EXACT));
            if (said < least) {
                least = said;
                idle = c;
                without = one;
                best = trial;
            }
        }
        if (idle >= 0) {
            *profile = best;
            f = without;
            f.profile = profile;
        }
    }
    fit_descend(&f);
}

/* Spearman's rho of modelled and measured times of the held-out half of a family (NULL: all), and its size. */
static inline double fit_rho(const struct dev_profile *profile, const struct fit_points *points, const char *family,
                             int *count) {
    double *modelled = xcalloc((size_t)points->count + 1, sizeof *modelled);
    double *measured = xcalloc((size_t)points->count + 1, sizeof *measured);
    *count = 0;
    for (int i = 0; i < points->count; i++) {
        const struct fit_point *p = &points->item[i];
        if (!p->held_out || (family && strcmp(family, p->family) != 0))
            continue;
        modelled[*count] = fit_ns(profile, p, p->graph);
        measured[(*count)++] = p->measured_ns;
    }
    double rho = rank_spearman(modelled, measured, *count);
    free(modelled);
    free(measured);
    return rho;
}

#endif
