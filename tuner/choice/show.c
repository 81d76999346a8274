#include "show.h"
#include "tuner/report/plot.h"
#include "view.h"
#include <stdio.h>

static enum mt_status tell_all(const struct view *v, const struct amount_options *amount) {
    struct str out = {0};
    enum mt_status status = view_tell_facts(v, &out);
    if (!status)
        status = view_tell_ladder(v, &out);
    if (!status)
        status = view_tell_classes(v, amount, &out);
    if (!status)
        status = view_tell_experts(v, &out);
    if (!status && v->options->out)
        status = view_draw(v, amount);
    if (!status)
        fwrite(str_text(&out), 1, out.length, stdout);
    str_release(&out);
    return status;
}

enum mt_status salience_show(const struct salience_options *o) {
    struct amount_options amount = o->amount;
    struct view view;
    enum mt_status status = amount_check(&amount);
    if (!status && !amount.scheme_count && amount.bits <= 0 && amount.bytes <= 0)
        status = amount_add_schemes("p10", &amount);
    if (!status && o->out && amount.scheme_count > 1)
        status = fail(MT_USAGE, "--out draws one choice, and --scheme names %d; give one of them", amount.scheme_count);
    if (!status && o->out)
        status = plot_check();
    if (!status)
        status = view_open(o, &view);
    if (status)
        return status;
    status = tell_all(&view, &amount);
    view_close(&view);
    return status;
}
