/* GPTQ: rounding that feeds back what it loses, so that the layer's output on the calibration's inputs changes least.
 *
 * A row w becomes ŵ = (q - z) s, and with δ = ŵ - w the squared change of its output is δ H δᵀ, H = Σ xᵀx. With the
 * factor H + ridge I = L Lᵀ (hessian.h) that is |δ L|², and element j of δ L depends on the inputs from place j on alone.
 * So inputs are rounded from the last place to the first, each to the code next to
 *
 *     w'_j = w_j - (Σ_{i > j} δ_i L_ij) / L_jj
 *
 * which makes its element of δ L least (Babai's nearest plane; the weights that Frantar et al. 2022 update by the inverse
 * of H are the same w'). When the inputs of a group are reached its scale and zero point are taken, by the rules of
 * plain rounding (runtime/layer/round.h), from the weights that would bring its elements of δ L to 0: of group g, with T
 * what the rounded inputs P have in them, w_g - T L_gg⁻¹, T = δ_P L_Pg.
 *
 * Rows do not depend on each other: they are taken in blocks of 64, in fp64, all widths that are wanted by themselves. */
#ifndef MT_GPTQ_H
#define MT_GPTQ_H

#include "hessian.h"
#include "rank.h"

struct gptq_plan {
    bool feedback; /* false: plain rounding, T = 0, for --clip by output error */
    /* The range of a group is multiplied by that of 1.00, 0.98 .. 0.80 with the least δ_g H_gg δ_gᵀ, where δ_g is what
     * plain rounding adds to the weights that the scale is taken from; none in the rows of a part (q, k, v ... of this
     * rank) whose δ H δᵀ, summed over its rows, becomes more by it. H has no ridge here. Needs h->blocks. */
    bool clip;
};

/* Rounds all rows at the widths that `rows` has; their error is δ H δᵀ, H without ridge. MT_USAGE if a weight is not
 * finite, MT_FAILURE if one becomes so on the way, MT_INTERRUPTED after ^C. */
enum mt_status gptq_round(struct rank *rank, const struct hessian *h, const struct gptq_plan *plan,
                          struct quant_rows *rows);

/* Operations (additions and multiplications) of the factor, and of n rows at one width. */
double gptq_factor_operations(int k);
double gptq_row_operations(int n, int k);

#endif
