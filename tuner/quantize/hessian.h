/* The Hessians H = Σ xᵀx of a model's linear layers (docs/salience.md), and the factor of one that GPTQ rounds by. */
#ifndef MT_HESSIAN_H
#define MT_HESSIAN_H

#include "source.h"
#include "tuner/choice/cut.h"

struct hessians {
    struct folder file;
    const struct tensor **of; /* [layers]: F32 [K][K], by the name of the layer's first part */
    char hash[33];            /* of all of them */
};

/* Finds that of every layer of the source and reads them once, on all cores. MT_USAGE or MT_FAILURE with one sentence if
 * one is missing, has another type or shape, a number that is not finite, or one below 0 on its diagonal, or is not
 * symmetric (elements differ by more than 1e-3 √(H_ii H_jj)); MT_INTERRUPTED after ^C. */
enum mt_status hessians_open(const char *path, const struct source *source, struct hessians *out);
void hessians_close(struct hessians *hessians);

struct hessian_plan {
    int group;
    bool by_index; /* groups are visited in their order; else by the sum of their diagonal, the largest first, of equals
                       the first */
    double damping; /* share of the mean of the diagonal that is added to it, > 0 */
    bool blocks;    /* wanted below */
};

/* H of the inputs that a rank has, with its inputs in the order of their places: a group that is visited sooner has
 * higher places, and so has an input with a lower index within its group. */
struct hessian {
    int k, stride, group, groups; /* groups = ceil(k / group) */
    int *input;                   /* [k]: the input at each place, of the rank's */
    int *visited;                 /* [groups]: the group that is visited first, second ... */
    int *end;                     /* [groups + 1]: that of visit v has the places end[v + 1] .. end[v] - 1 */
    double *factor;               /* [k][stride], the lower triangle L: H + ridge I = L Lᵀ; NULL: all of H is 0 */
    double ridge;
    double *blocks; /* if wanted: H of the inputs of visit v, without the ridge, at v * group², rows `group` apart */
};

/* H of the inputs first_k .. first_k + k - 1, damped and factored. Where that fails the damping is raised tenfold, as
 * far as 1, and a note says so. An input that was always 0 has the ridge alone: its weights are rounded to nearest and
 * change nothing else (they are not set to 0, as other texts may need them). MT_FAILURE with one sentence if H is not
 * positive definite even so; MT_INTERRUPTED. `name` is for these. Release with hessian_release(). */
enum mt_status hessian_factor(const struct tensor *h, const char *name, const struct cut *cut,
                              const struct hessian_plan *plan, struct hessian *out);
void hessian_release(struct hessian *hessian);

#endif
