#include "runtime/base/number.h"
#include "tuner/report/tables.h"
#include "view.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A number of the metadata, 0 if it is not there. */
static enum mt_status take_number(const struct view *v, const char *key, double *out) {
    const char *text = calibration_text(&v->file.folder, key);
    char *end;
    *out = 0;
    if (!text)
        return MT_OK;
    *out = number_parse(text, &end);
    return end != text && !*end && isfinite(*out) && *out >= 0 && *out < 1e15
               ? MT_OK
               : fail(MT_USAGE, "%s: its metadata says %s `%.40s`, which is not a number from 0 on", v->options->path,
                      key, text);
}

/* "anarchism 8, debian-handbook 8" of a list of [name, samples]. */
static enum mt_status take_texts(const struct view *v, struct str *out) {
    const char *text = calibration_text(&v->file.folder, "texts");
    struct tree tree = {0};
    if (!text)
        return MT_OK;
    bool good = !tree_read("texts", text, strlen(text), &tree) && tree_is(&tree.value[0], TREE_ARRAY);
    for (int i = 0; good && i < tree.value[0].count; i++) {
        const struct tree_value *pair = tree.value[0].item[i];
        good = tree_is(pair, TREE_ARRAY) && pair->count == 2 && tree_is(pair->item[0], TREE_TEXT) &&
               tree_is(pair->item[1], TREE_INTEGER);
        if (good)
            str_printf(out, "%s%s %lld", i ? ", " : "", pair->item[0]->text, (long long)pair->item[1]->number);
    }
    tree_release(&tree);
    return good ? MT_OK
                : fail(MT_USAGE, "%s: its metadata says texts `%.80s`, which is not a JSON list of [name, samples]",
                       v->options->path, text);
}

static void put_number(struct rows *rows, int decimals, double value) {
    if (value > 0)
        rows_put(rows, "%.*f", decimals, value);
    else
        rows_put(rows, NULL);
}

static void put_text(struct rows *rows, const char *text) {
    if (text && *text)
        rows_put(rows, "%s", text);
    else
        rows_put(rows, NULL);
}

static void tell_model(const struct view *v, double samples, double length, const char *texts, struct str *out) {
    const struct choice_sizes sizes = view_sizes(v, v->rounding.symmetric);
    struct rows rows;
    rows_init(&rows, "model,layers,features,weights,group,zero_points,samples,length,texts",
              ",model,zero_points,texts,");
    put_text(&rows, calibration_text(&v->file.folder, "model"));
    rows_put(&rows, "%d", v->layers.modules.count);
    rows_put(&rows, "%zu", v->order.total);
    rows_put(&rows, "%zu", choice_weights(&sizes));
    rows_put(&rows, "%d", v->rounding.group);
    rows_put(&rows, "%s", v->rounding.symmetric ? "no" : "yes");
    put_number(&rows, 0, samples);
    put_number(&rows, 0, length);
    put_text(&rows, texts);
    tables_append(&rows, (struct table_style){.rare = ",model,samples,length,texts,"}, v->options->json, out);
    rows_release(&rows);
}

/* The paper's Table 5. */
static void tell_cost(const struct view *v, double samples, double seconds, double bytes, struct str *out) {
    const char *device = calibration_text(&v->file.folder, "device");
    struct rows rows;
    if (seconds <= 0 && bytes <= 0 && !device)
        return;
    rows_init(&rows, "seconds,seconds_per_sample,peak_bytes,peak_mib,device", ",device,");
    put_number(&rows, 2, seconds);
    put_number(&rows, 2, samples > 0 ? seconds / samples : 0);
    put_number(&rows, 0, bytes);
    put_number(&rows, 2, bytes / 1024 / 1024);
    put_text(&rows, device);
    if (!v->options->json)
        str_append(out, "\n");
    tables_append(&rows,
                  (struct table_style){.hide = ",peak_bytes,", .rare = ",seconds,seconds_per_sample,peak_mib,device,"},
                  v->options->json, out);
    rows_release(&rows);
}

enum mt_status view_tell_facts(const struct view *v, struct str *out) {
    double samples, length, seconds, bytes;
    struct str texts = {0};
    enum mt_status status = take_number(v, "samples", &samples);
    if (!status)
        status = take_number(v, "length", &length);
    if (!status)
        status = take_number(v, "seconds", &seconds);
    if (!status)
        status = take_number(v, "peak_bytes", &bytes);
    if (!status)
        status = take_texts(v, &texts);
    if (!status) {
        tell_model(v, samples, length, str_text(&texts), out);
        tell_cost(v, samples, seconds, bytes, out);
    }
    str_release(&texts);
    return status;
}
