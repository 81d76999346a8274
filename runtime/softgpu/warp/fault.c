/* How a warp stops the launch, and how it says that it waits. */
#include "cta.h"
#include "runtime/base/str.h"

#include <stdarg.h>
#include <stdio.h>

void warp_fault(struct warp *w, const struct insn *i, int lane, enum sg_fault_kind kind, const char *format, ...) {
    struct run *run = run_of(w);
    const struct cta *c = w->cta;
    w->event = true;
    pthread_mutex_lock(&run->lock);
    if (run->fault.kind == SG_FAULT_NONE) {
        run->fault.kind = kind;
        char what[800], text[128], where[32] = "";
        va_list args;
        va_start(args, format);
        text_vfit_words(what, sizeof what, format, args);
        va_end(args);
        if (lane >= 0)
            snprintf(where, sizeof where, ", lane %d", lane);
        text_fit_words(text, sizeof text, "%s", i->text);
        text_fit_words(run->fault.text, sizeof run->fault.text, "%s: CTA (%u,%u,%u), warp %u%s, PTX line %u '%s': %s",
                       run->function->name, c->id[0], c->id[1], c->id[2], w->index, where, i->line, text, what);
    }
    pthread_mutex_unlock(&run->lock);
    run->stop = true;
}

void warp_polls(struct warp *w, unsigned weight) {
    w->own->polls += weight;
    w->event |= w->own->polls >= POLL_LIMIT;
}
