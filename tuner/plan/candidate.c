#include "candidate.h"

const char *candidate_family(const struct candidate *candidate) {
    if (candidate->config.family)
        return candidate->config.family->name;
    static const char *const names[] = {"cublas", "cublaslt-best", "quantize"};
    return names[candidate->library];
}

void candidate_row(const struct candidate *candidate, bool software, struct str *config_text,
                   struct store_measurement *out) {
    const struct problem *p = &candidate->item->problem;
    if (candidate->config.family)
        config_format(&candidate->config, config_text);
    *out = (struct store_measurement){
        .layer = work_store_layer(candidate->item),
        .m = p->m,
        .group = candidate->baseline && candidate->library != LIBRARY_QUANTIZE ? 0 : p->group,
        .rows8 = candidate->baseline ? 0 : p->rows8,
        .scheme = candidate->baseline ? dtype_name(p->dtype) : problem_scheme(p),
        .dtype = dtype_name(p->dtype),
        .family = candidate_family(candidate),
        .config = str_text(config_text),
        .binary = "",
        .outcome = OUTCOME_OK,
        .message = "",
        .origin = store_origin_of(software),
        .cache_state = store_cache_name(store_cache_of(software)),
    };
}

void row_label(const struct store_measurement *row, struct str *out) {
    str_printf(out, "%s|%s|%d|%d|%d|%s|%d|%d|%s", row->family, row->config, row->m, row->layer.n, row->layer.k,
               row->scheme, row->rows8, row->group, row->dtype);
}

void candidate_label(const struct candidate *candidate, bool software, struct str *out) {
    struct str config = {0};
    struct store_measurement row;
    candidate_row(candidate, software, &config, &row);
    row_label(&row, out);
    str_release(&config);
}
