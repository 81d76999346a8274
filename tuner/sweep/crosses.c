#include "crosses.h"
#include "runtime/serve/fit.h"
#include "runtime/serve/table.h"
#include "tuner/search/extras.h"
#include <string.h>

/* The same layer in the same format at the same batch size, and other features in 8 bits. */
static bool same_but_rows8(const struct work_item *a, const struct work_item *b) {
    struct problem pa = a->problem, pb = b->problem;
    const bool same_kernels = !strcmp(problem_scheme(&pa), problem_scheme(&pb));
    pa.rows8 = pb.rows8;
    return same_kernels && problem_equal(&pa, &pb) && !strcmp(a->layer, b->layer) && !strcmp(a->model, b->model) &&
           a->tp == b->tp;
}

/* The nearest such problem with more (step 1) or less (step -1) features in 8 bits; NULL: there is none. */
static const struct work_item *neighbour(const struct workload *w, const struct work_item *of, int step) {
    const struct work_item *best = NULL;
    for (int i = 0; i < w->count; i++) {
        const struct work_item *item = &w->item[i];
        const int distance = step * (item->problem.rows8 - of->problem.rows8);
        if (distance > 0 && same_but_rows8(item, of) &&
            (!best || distance < step * (best->problem.rows8 - of->problem.rows8)))
            best = item;
    }
    return best;
}

static bool same_but_m(const struct work_item *a, const struct work_item *b) {
    struct problem pa = a->problem, pb = b->problem;
    pa.m = pb.m;
    return problem_equal(&pa, &pb) && !strcmp(a->layer, b->layer) && !strcmp(a->model, b->model) && a->tp == b->tp;
}

/* The next larger (step 1) or smaller (step -1) M of the same layer than `m`; NULL: there is none. */
static const struct work_item *next_m(const struct workload *w, const struct work_item *of, int m, int step) {
    const struct work_item *best = NULL;
    for (int i = 0; i < w->count; i++) {
        const struct work_item *item = &w->item[i];
        const int distance = step * (item->problem.m - m);
        if (distance > 0 && same_but_m(item, of) && (!best || distance < step * (best->problem.m - m)))
            best = item;
    }
    return best;
}

/* Has the winner at `from` measured at `item`. */
static enum mt_status cross(struct extras *e, const struct work_item *item, const struct work_item *from) {
    struct config config;
    /* A walk that is none here (raster, stream_k) is cut to one, as the launch does. */
    if (!extras_winner(e, from, &config) || !config_fit(&config, &item->problem, &e->limits))
        return MT_OK;
    return extras_add(e, item, &config);
}

/* The winners on one side of a problem. */
static enum mt_status cross_item(struct extras *e, const struct work_item *item, int step) {
    const struct workload *w = e->workload;
    const struct work_item *from = neighbour(w, item, step);
    enum mt_status status = from ? cross(e, item, from) : MT_OK;
    from = item;
    for (int far = 0; far < RIVAL_REACH && !status && (from = next_m(w, item, from->problem.m, step)); far++)
        status = cross(e, item, from);
    return status;
}

enum mt_status crosses_plan(struct plan *out, const struct workload *workload, const struct device *dev,
                            struct binaries *binaries, struct store *store) {
    struct extras e;
    enum mt_status status = extras_open(&e, out, workload, dev, binaries, store);
    for (int i = 0; i < workload->count && !status; i++)
        for (int step = -1; step <= 1 && !status; step += 2)
            status = cross_item(&e, &workload->item[i], step);
    return extras_close(&e, status);
}
