#include "fit.h"
#include "runtime/base/log.h"
#include "runtime/gpu/launch.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { REASONS = 32, REASON = 160 };

/* Why configurations were refused, and how many for the same reason. Reasons that differ in numbers are one: the first. */
struct reasons {
    char text[REASONS][REASON];
    int number[REASONS];
    int count, all;
};

static bool same_words(const char *a, const char *b) {
    while (*a && *b) {
        while (isdigit((unsigned char)*a))
            a++;
        while (isdigit((unsigned char)*b))
            b++;
        if (*a != *b)
            return false;
        a += *a != 0;
        b += *b != 0;
    }
    return *a == *b;
}

/* What has no place any more counts as the last. */
static void count_reason(struct reasons *r, const char *text) {
    int at = 0;
    while (at < r->count && at < REASONS - 1 && !same_words(r->text[at], text))
        at++;
    if (at == r->count) {
        memcpy(r->text[at], text, REASON);
        r->count++;
    }
    r->number[at]++;
    r->all++;
}

static int commonest(const struct reasons *r, const bool *told) {
    int best = -1;
    for (int i = 0; i < r->count; i++)
        if (!told[i] && (best < 0 || r->number[i] > r->number[best]))
            best = i;
    return best;
}

/* "tile_n must be ... (4), split_k must be ... (2), other reasons (1)". */
static void print_reasons(const struct reasons *r, int most, struct str *out) {
    bool told[REASONS] = {false};
    int rest = r->all;
    for (int i = 0, at; i < most && (at = commonest(r, told)) >= 0; i++) {
        str_printf(out, "%s%s (%d)", i ? "; " : "", r->text[at], r->number[at]);
        told[at] = true;
        rest -= r->number[at];
    }
    if (rest)
        str_printf(out, "; other reasons (%d)", rest);
}

static bool is_named(const struct config_list *configs, const struct config *config) {
    return !configs->implied[family_number(config->family)] || !config_is_default(config);
}

/* Problems of which none of the configurations is, though others have some. */
static void warn_of_problems(const struct config_list *configs, const struct workload *w,
                             const struct device_limits *limits) {
    const struct work_item *first = NULL;
    char reason[REASON], why[REASON] = "";
    int count = 0;
    for (int i = 0; i < w->count; i++) {
        bool some = false;
        for (int c = 0; c < configs->count && !some; c++)
            some = is_named(configs, &configs->config[c]) &&
                   config_allowed(&configs->config[c], &w->item[i].problem, limits, reason);
        if (some || count++)
            continue;
        first = &w->item[i];
        memcpy(why, reason, sizeof why);
    }
    if (first)
        log_warn("for %d of %d problems no configuration of the space can run, such as %s at M=%d: %s", count, w->count,
                 first->layer, first->problem.m, why);
}

bool fit_somewhere(const struct config *config, const struct workload *w, const struct device_limits *limits,
                   char reason[REASON]) {
    char other[REASON];
    bool allowed = config_allowed(config, &w->item[0].problem, limits, reason);
    for (int i = 1; i < w->count && !allowed; i++)
        allowed = config_allowed(config, &w->item[i].problem, limits, other);
    return allowed;
}

/* X and Y in 16 bits, X in 8, and W. */
static double least_gib(const struct problem *p) {
    const double m = p->m, n = p->n, k = p->k, rows8 = p->rows8;
    return (2 * m * (n + k) + m * k + k * (rows8 + (n - rows8) / 2)) / (1 << 30);
}

enum mt_status fit_memory(const struct workload *w, const struct device *dev, bool each) {
    const double room = (double)dev->memory_bytes / (1 << 30);
    const struct work_item *large = NULL;
    int too_large = 0;
    for (int i = 0; i < w->count && room > 0; i++)
        if (least_gib(&w->item[i].problem) > room && too_large++ == 0)
            large = &w->item[i];
    if (!large || (!each && too_large < w->count))
        return MT_OK;
    return fail(MT_USAGE, "layer %s at M=%d needs at least %.1f GiB, and %s has %.1f", large->layer, large->problem.m,
                least_gib(&large->problem), dev->name, room);
}

enum mt_status fit_check(const struct config_list *configs, const struct workload *w, const struct device *dev) {
    struct device_limits limits;
    struct str text = {0};
    char reason[REASON];
    int named = 0;
    enum mt_status status = MT_OK;
    struct reasons *reasons = xcalloc(1, sizeof *reasons);
    device_limits_of(dev, &limits);
    for (int c = 0; c < configs->count; c++) {
        const struct config *config = &configs->config[c];
        if (!is_named(configs, config))
            continue;
        named++;
        if (!fit_somewhere(config, w, &limits, reason))
            count_reason(reasons, reason);
    }
    print_reasons(reasons, reasons->all == named ? 3 : 1, &text);
    if (reasons->all == named && named == 1)
        status = fail(MT_USAGE, "the configuration cannot run on %s: %s", dev->name, reasons->text[0]);
    else if (reasons->all == named)
        status = fail(MT_USAGE, "none of %d configurations can run on %s: %s", named, dev->name, str_text(&text));
    else if (reasons->all)
        log_info("%d of %d configurations can run none of these problems on %s: %s", reasons->all, named, dev->name,
                 str_text(&text));
    if (!status)
        warn_of_problems(configs, w, &limits);
    str_release(&text);
    free(reasons);
    return status;
}
