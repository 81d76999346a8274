#include "draft.h"
#include "runtime/base/log.h"
#include "runtime/serve/contents.h"
#include "runtime/serve/fit.h"
#include "tuner/plan/model.h"
#include "tuner/report/winner_set.h"

#include <stdlib.h>
#include <string.h>

void draft_init(struct draft *d, const struct rows *rows, int winners, int cc, int sm_count, bool with_images) {
    size_t n = (size_t)rows->count;
    *d = (struct draft){
        .rows = rows, .winners = winners, .target = {.cc = cc, .sm_count = sm_count}, .with_images = with_images};
    d->problem = xcalloc(n, sizeof *d->problem);
    d->first = xcalloc(n, sizeof *d->first);
    d->next = xcalloc(n, sizeof *d->next);
    d->binary = xcalloc(n, sizeof *d->binary);
    d->variant = xcalloc(DRAFT_FORMATS * n, sizeof *d->variant);
    d->layers = xcalloc(n, sizeof *d->layers);
    d->layer_row = xcalloc(n, sizeof *d->layer_row);
    d->invariant = xcalloc(n, sizeof *d->invariant);
    d->entries = xcalloc(2 * n, sizeof *d->entries);
    d->points = xcalloc(n, sizeof *d->points);
    d->variants = xcalloc(DRAFT_FORMATS * n, sizeof *d->variants);
    d->fallbacks = xcalloc((2 * DRAFT_FORMATS + 1) * n, sizeof *d->fallbacks);
    d->images = xcalloc((3 * DRAFT_FORMATS + 2) * n, sizeof *d->images);
    d->names = xcalloc((3 * DRAFT_FORMATS + 2) * n, sizeof *d->names);
    d->quantize = xcalloc(n, sizeof *d->quantize);
    d->texts = xcalloc((4 * DRAFT_FORMATS + 4) * n, sizeof *d->texts);
}

void draft_release(struct draft *d) {
    binaries_release(&d->binaries, &d->target);
    for (int i = 0; i < d->quantize_count; i++)
        image_release(&d->quantize[i]);
    for (int i = 0; i < d->text_count; i++)
        free(d->texts[i]);
    free(d->problem);
    free(d->first);
    free(d->next);
    keys_release(&d->image_keys);
    for (int i = 0; i < 2; i++)
        keys_release(&d->build_keys[i]);
    keys_release(&d->layer_keys);
    keys_release(&d->winner_keys);
    keys_release(&d->time_keys);
    keys_release(&d->invariant_keys);
    free(d->binary);
    free(d->variant);
    free(d->layers);
    free(d->layer_row);
    free(d->invariant);
    free(d->entries);
    free(d->points);
    free(d->times);
    free(d->variants);
    free(d->fallbacks);
    free(d->images);
    free(d->names);
    free(d->quantize);
    free(d->texts);
}

static const char *cell(const struct draft *d, int row, const char *name) {
    return rows_cell(d->rows, row, name);
}

static const struct family *family_of(const struct draft *d, int row) {
    return family_find(cell(d, row, "family"));
}

static void winner_key(int layer, int m, struct str *out) {
    str_append_int(out, layer);
    str_append(out, " ");
    str_append_int(out, m);
}

static int add_binary(struct draft *d, const struct config *config, const struct problem *p) {
    int index = binaries_add(&d->binaries, config, p);
    d->binaries.item[index].wanted = true;
    return index;
}

/* ---- formats ---- */

/* A problem of the row's layer with all its features in 4 bits, all in 8, or both. False if it cannot be. */
static bool formats_of(const struct problem *p, int formats, struct problem *out) {
    const int width = formats % DRAFT_WIDTHS;
    *out = *p;
    out->rows8 = width == 0 ? 0 : width == 1 ? p->n : p->n / 2;
    out->symmetric = formats >= DRAFT_WIDTHS;
    return width < 2 || p->n > 1;
}

/* Whether a row's layer has splits with such 4-bit features. Where all features have 8 bits its siblings tell: with
 * zero points, unless there are only others. */
static bool has_symmetry(const struct draft *d, int row, bool symmetric) {
    const struct problem *p = &d->problem[row];
    bool seen[2] = {false, false};
    if (p->rows8 < p->n)
        return p->symmetric == symmetric;
    for (int r = d->first[row]; r >= 0; r = d->next[r])
        if (d->problem[r].rows8 < p->n)
            seen[d->problem[r].symmetric] = true;
    return seen[symmetric] || (!symmetric && !seen[1]);
}

/* The numbers of 8-bit features that take their kernels from a row's layer: those between the next lower and the next
 * higher tuned one, `low` .. `high`. */
static void split_reach(const struct draft *d, int row, bool symmetric, int *low, int *high) {
    const int rows8 = d->problem[row].rows8, n = d->problem[row].n;
    *low = 0;
    *high = n;
    for (int r = d->first[row]; r >= 0; r = d->next[r]) {
        const struct problem *q = &d->problem[r];
        if (q->rows8 < n && q->symmetric != symmetric)
            continue;
        if (q->rows8 < rows8 && q->rows8 >= *low)
            *low = q->rows8 + 1;
        if (q->rows8 > rows8 && q->rows8 <= *high)
            *high = q->rows8 - 1;
    }
}

/* The binaries of a winner for formats that its own layer does not have, where they can run on a device that has the
 * most of everything. */
static void collect_variants(struct draft *d, int row, const struct config *winner) {
    const struct problem *p = &d->problem[row];
    const struct device_limits most = contents_limits(d->target.cc, d->target.sm_count);
    for (int i = 0; i < DRAFT_FORMATS; i++) {
        const bool symmetric = i >= DRAFT_WIDTHS;
        struct config config = *winner;
        struct problem q;
        int low, high, *variant = &d->variant[row * DRAFT_FORMATS + i];
        *variant = -1;
        if (!formats_of(p, i, &q) || !strcmp(problem_scheme(&q), problem_scheme(p)) || !has_symmetry(d, row, symmetric))
            continue;
        split_reach(d, row, symmetric, &low, &high);
        const bool reached = q.rows8 == 0 ? low == 0 : q.rows8 == q.n ? high == p->n : low < p->n && high > 0;
        config_adapt(&config, &q);
        if (reached && config_fit(&config, &q, &most))
            *variant = add_binary(d, &config, &q);
    }
}

static void chain_rows(struct draft *d) {
    static const char *const but_split[] = {"model", "tp", "layer", "n", "k", "group_size", "dtype", NULL};
    const size_t n = (size_t)d->rows->count;
    int *number = xcalloc(n, sizeof *number), *last = xcalloc(n, sizeof *last), layers = 0;
    rows_number(d->rows, 0, d->rows->count, but_split, number);
    for (int r = 0; r < d->rows->count; r++) {
        int *before = &last[number[r]];
        const bool is_first = number[r] == layers;
        layers += is_first;
        d->first[r] = is_first ? r : d->first[*before];
        d->next[r] = -1;
        if (!is_first)
            d->next[*before] = r;
        *before = r;
    }
    free(number);
    free(last);
}

static enum mt_status read_problems(struct draft *d) {
    enum mt_status status = MT_OK;
    chain_rows(d);
    for (int r = 0; status == MT_OK && r < d->rows->count; r++)
        status = rows_problem(d->rows, r, &d->problem[r]);
    return status;
}

/* The binaries of all winners, and of what stands in for each choice of formats. */
static enum mt_status collect_binaries(struct draft *d) {
    enum mt_status status = read_problems(d);
    for (int r = 0; status == MT_OK && r < d->rows->count; r++) {
        struct problem q;
        struct config config;
        const struct family *family = family_of(d, r);
        if (!family)
            return fail(
                MT_FAILURE,
                "this mixtune has no kernel family `%s`, which the database names: export with the mixtune that swept",
                cell(d, r, "family"));
        status = config_parse(family, cell(d, r, "config"), &config);
        if (status != MT_OK)
            return status;
        d->binary[r] = add_binary(d, &config, &d->problem[r]);
        collect_variants(d, r, &config);
        for (int number = 0; family_stand_in(family, number, &config); number++)
            for (int i = 0; i < DRAFT_FORMATS; i++)
                if (formats_of(&d->problem[r], i, &q) && has_symmetry(d, r, q.symmetric))
                    add_binary(d, &config, &q);
    }
    return status;
}

/* ---- images ---- */

/* The name that rows refer to an image by; "" in a bundle without any. */
static const char *add_image(struct draft *d, const struct image *image, const struct contents_build *build) {
    char *name = d->names[d->image_count];
    struct str built = {0};
    if (!d->with_images)
        return "";
    contents_built(build, &built);
    bundle_image_name(str_text(&built), image->data, image->size, name);
    const int number = keys_number(&d->image_keys, name);
    if (number < d->image_count) {
        str_release(&built);
        return d->images[number].hash;
    }
    d->texts[d->text_count++] = built.data;
    d->images[d->image_count++] =
        (struct bundle_image){.hash = name, .built = built.data, .data = image->data, .size = image->size};
    return name;
}

/* No word of them has a space. */
static bool is_new_build(struct keys *keys, const struct bundle_build *b) {
    const int before = keys->count;
    struct str key = {0};
    str_printf(&key, "%s %s %s %s %d", b->family, b->config, b->scheme, b->dtype, b->group);
    keys_number(keys, str_text(&key));
    str_release(&key);
    return keys->count > before;
}

static void add_build(struct draft *d, struct bundle_build *list, int *count, struct bundle_build build, int row,
                      const struct image *image) {
    const struct bundle_fingerprint gpu = {.cc = d->target.cc, .sm_count = d->target.sm_count};
    struct contents_build built;
    build.dtype = cell(d, row, "dtype");
    build.group = atoi(cell(d, row, "group_size"));
    if (!is_new_build(&d->build_keys[list == d->variants], &build))
        return;
    if ((list == d->variants ? contents_variant : contents_fallback)(&gpu, &build, &built) != MT_OK)
        return; /* no bundle with it would be opened */
    build.image_hash = add_image(d, image, &built);
    list[(*count)++] = build;
}

/* A stand-in for all formats that a row's layer can have: whatever is asked for later, there is a kernel. */
static enum mt_status add_stand_in(struct draft *d, int row, const struct config *config) {
    const struct problem *p = &d->problem[row];
    const char *family = cell(d, row, "family");
    struct str text = {0};
    config_format(config, &text);
    d->texts[d->text_count++] = text.data;
    for (int i = 0; i < DRAFT_FORMATS; i++) {
        struct problem q;
        if (!formats_of(p, i, &q) || !has_symmetry(d, row, q.symmetric))
            continue;
        const struct binary *b = &d->binaries.item[binaries_add(&d->binaries, config, &q)];
        if (b->status == MT_OK)
            add_build(d, d->fallbacks, &d->fallback_count,
                      (struct bundle_build){family, text.data, .scheme = problem_scheme(&q)}, row, &b->image);
        else if (!strcmp(problem_scheme(&q), problem_scheme(p)))
            return fail(b->status, "a default configuration of family %s does not compile: %s", family, b->message);
    }
    return MT_OK;
}

static enum mt_status add_stand_ins(struct draft *d, int row) {
    enum mt_status status = MT_OK;
    struct config config;
    for (int number = 0; status == MT_OK && family_stand_in(family_of(d, row), number, &config); number++)
        status = add_stand_in(d, row, &config);
    return status;
}

/* The activation quantisation for the formats of a row. */
static enum mt_status add_quantize(struct draft *d, int row) {
    struct image *image = &d->quantize[d->quantize_count];
    enum mt_status status = kernel_compile_quantize(&d->target, &d->problem[row], image);
    if (status != MT_OK)
        return status;
    d->quantize_count++;
    add_build(d, d->fallbacks, &d->fallback_count, (struct bundle_build){"quantize", "", .scheme = ""}, row, image);
    return MT_OK;
}

static enum mt_status add_fallbacks(struct draft *d) {
    static const char *const formats[] = {"group_size", "dtype", NULL};
    int *number = xcalloc((size_t)d->rows->count, sizeof *number), done = 0;
    enum mt_status status = MT_OK;
    rows_number(d->rows, 0, d->rows->count, formats, number);
    for (int r = 0; r < d->rows->count && status == MT_OK; r++) {
        status = add_stand_ins(d, r);
        if (status != MT_OK || number[r] < done)
            continue;
        done++;
        status = add_quantize(d, r);
    }
    free(number);
    return status;
}

static void add_variants(struct draft *d, int row) {
    for (int i = 0; i < DRAFT_FORMATS; i++) {
        const int index = d->variant[row * DRAFT_FORMATS + i];
        const struct binary *b = index < 0 ? NULL : &d->binaries.item[index];
        d->unbuilt += b && b->status != MT_OK;
        if (b && b->status == MT_OK) {
            struct problem q;
            formats_of(&b->formats, i, &q);
            add_build(
                d, d->variants, &d->variant_count,
                (struct bundle_build){cell(d, row, "family"), cell(d, row, "config"), .scheme = problem_scheme(&q)},
                row, &b->image);
        }
    }
}

static void add_layer(struct draft *d, int row) {
    struct str key = {0};
    rows_key(d->rows, row, winner_set_layer, &key);
    keys_number(&d->layer_keys, str_text(&key));
    str_release(&key);
    d->layer_row[d->layer_count] = row;
    d->layers[d->layer_count++] = (struct bundle_layer){.name = cell(d, row, "layer"),
                                                        .model = cell(d, row, "model"),
                                                        .tp = atoi(cell(d, row, "tp")),
                                                        .n = atoi(cell(d, row, "n")),
                                                        .k = atoi(cell(d, row, "k")),
                                                        .group = atoi(cell(d, row, "group_size")),
                                                        .scheme = cell(d, row, "scheme"),
                                                        .rows8 = atoi(cell(d, row, "rows8")),
                                                        .dtype = cell(d, row, "dtype")};
}

/* Whether the library takes a winner from a bundle. */
static bool entry_good(const struct draft *d, int row, const struct bundle_entry *entry, struct contents_build *build) {
    const struct bundle_fingerprint gpu = {.cc = d->target.cc, .sm_count = d->target.sm_count};
    return contents_entry(&gpu, entry, &d->problem[row], build) == MT_OK;
}

/* Whether neither an entry nor a time says yet what this kernel takes there; from now on one does. */
static bool is_new_time(struct draft *d, int layer, int m, const char *family, const char *config) {
    struct str key = {0};
    winner_key(layer, m, &key);
    str_printf(&key, " %s %s", family, config);
    const int before = d->time_keys.count;
    keys_number(&d->time_keys, str_text(&key));
    str_release(&key);
    return d->time_keys.count > before;
}

static void add_winner(struct draft *d, const struct bundle_entry *winner) {
    struct str key = {0};
    winner_key(winner->layer, winner->m, &key);
    keys_number(&d->winner_keys, str_text(&key));
    str_release(&key);
}

static void add_point(struct draft *d, int row, const struct bundle_entry *winner) {
    d->points[d->point_count++] = (struct compared_point){.layer = winner->layer,
                                                          .m = winner->m,
                                                          .kernel_ns = winner->expected_ns,
                                                          .quantize_ns = winner->quantize_ns,
                                                          .fp16_ns = strtod(cell(d, row, "baseline_ns"), NULL),
                                                          .fp16 = cell(d, row, "baseline_family"),
                                                          .lacks = cell(d, row, "baseline_lacks")};
}

/* What a row says, if it compiles to the very binary that was timed and the library would take it. */
static bool entry_of(struct draft *d, int r, enum bundle_origin origin, struct bundle_entry *entry,
                     struct contents_build *build) {
    const struct binary *b = &d->binaries.item[d->binary[r]];
    const bool winner = r < d->winners;
    if (b->status != MT_OK || !rows_is(d->rows, r, "binary", b->image.hash)) {
        d->changed += winner;
        return false;
    }
    *entry = (struct bundle_entry){.m = atoi(cell(d, r, "m")),
                                   .kind = winner ? BUNDLE_KERNEL : BUNDLE_INVARIANT,
                                   .family = cell(d, r, "family"),
                                   .config = cell(d, r, "config"),
                                   .expected_ns = strtod(cell(d, r, "median_ns"), NULL),
                                   .origin = origin,
                                   .quantize_ns = strtod(cell(d, r, "quantize_ns"), NULL)};
    if (entry_good(d, r, entry, build))
        return true;
    log_debug("a %s is left out: %s", winner ? "winner" : "batch-invariant kernel", fail_message());
    d->refused += winner;
    return false;
}

static void add_entries(struct draft *d, enum bundle_origin origin) {
    int layer_row = -1;
    struct contents_build build;
    struct bundle_entry entry;
    for (int r = 0; r < d->winners; r++) {
        if (!entry_of(d, r, origin, &entry, &build))
            continue;
        if (layer_row < 0 || !rows_same(d->rows, layer_row, r, winner_set_layer)) {
            add_layer(d, r);
            layer_row = r;
        }
        entry.layer = d->layer_count - 1;
        entry.image_hash = add_image(d, &d->binaries.item[d->binary[r]].image, &build);
        d->entries[d->entry_count++] = entry;
        add_winner(d, &entry);
        is_new_time(d, entry.layer, entry.m, entry.family, entry.config);
        add_point(d, r, &entry);
        add_variants(d, r);
    }
}

/* Of a row whose layer is that of another one, at an M. */
static void invariant_key(const struct draft *d, int layer_row, int m, struct str *out) {
    rows_key(d->rows, layer_row, winner_set_layer, out);
    str_printf(out, " %d", m);
}

/* A layer has one batch-invariant kernel at each M: their numbers are those of the rows behind the winners. */
static void number_invariant(struct draft *d) {
    for (int r = d->winners; r < d->rows->count; r++) {
        struct str key = {0};
        invariant_key(d, r, atoi(cell(d, r, "m")), &key);
        keys_number(&d->invariant_keys, str_text(&key));
        str_release(&key);
    }
}

/* The row of a layer's batch-invariant kernel at the M of a winner that is in; -1: there is none that is good. */
static int invariant_row(struct draft *d, const struct bundle_entry *winner, enum bundle_origin origin,
                         struct bundle_entry *entry, struct contents_build *build) {
    struct str key = {0};
    invariant_key(d, d->layer_row[winner->layer], winner->m, &key);
    const int number = keys_find(&d->invariant_keys, str_text(&key)), row = d->winners + number;
    str_release(&key);
    return number >= 0 && entry_of(d, row, origin, entry, build) ? row : -1;
}

/* The kernels of the entries first .. end, which are all winners of one layer. At each of its M or at none: bits that
 * depend on M only sometimes are no use. */
static void add_invariant(struct draft *d, int first, int end, enum bundle_origin origin) {
    struct contents_build build;
    struct bundle_entry entry;
    for (int i = first; i < end; i++)
        if (invariant_row(d, &d->entries[i], origin, &entry, &build) < 0)
            return;
    d->invariant[d->entries[first].layer] = true;
    for (int i = first; i < end; i++) {
        const int r = invariant_row(d, &d->entries[i], origin, &entry, &build);
        entry.layer = d->entries[i].layer;
        entry.image_hash = add_image(d, &d->binaries.item[d->binary[r]].image, &build);
        d->entries[d->entry_count++] = entry;
        is_new_time(d, entry.layer, entry.m, entry.family, entry.config);
        add_variants(d, r);
    }
}

static void add_invariants(struct draft *d, enum bundle_origin origin) {
    const int winners = d->entry_count;
    number_invariant(d);
    for (int i = 0, end; i < winners; i = end) {
        for (end = i; end < winners && d->entries[end].layer == d->entries[i].layer; end++)
            ;
        add_invariant(d, i, end, origin);
    }
}

struct compared draft_compared(const struct draft *d, enum bundle_origin origin) {
    return (struct compared){.layers = d->layers,
                             .points = d->points,
                             .layer_count = d->layer_count,
                             .point_count = d->point_count,
                             .origin = origin,
                             .decoders = model_decoders};
}

/* The time of the strongest GEMM in fp16 at each M of a layer that loses at one of them: between two M it takes both to
 * tell. */
static void add_fp16(struct draft *d, enum bundle_origin origin) {
    const struct compared compared = draft_compared(d, origin);
    bool *losers = compared_losers(&compared);
    for (int i = 0; i < d->point_count; i++) {
        const struct compared_point *p = &d->points[i];
        if (losers[p->layer] && p->fp16_ns > 0)
            d->entries[d->entry_count++] = (struct bundle_entry){.layer = p->layer,
                                                                 .m = p->m,
                                                                 .kind = BUNDLE_FP16,
                                                                 .family = p->fp16,
                                                                 .config = "",
                                                                 .image_hash = "",
                                                                 .expected_ns = p->fp16_ns,
                                                                 .origin = origin};
    }
    free(losers);
}

enum mt_status draft_fill(struct draft *d, enum bundle_origin origin, bool quiet) {
    enum mt_status status = collect_binaries(d);
    if (status == MT_OK)
        status = binaries_compile(&d->binaries, &d->target, quiet);
    if (status != MT_OK)
        return status;
    add_entries(d, origin);
    add_invariants(d, origin);
    add_fp16(d, origin);
    if (!d->entry_count)
        return fail(MT_FAILURE,
                    "no winner compiles to the binary that was timed, so nothing can be exported: sweep again first");
    return add_fallbacks(d);
}

/* ---- times at neighbouring splits ---- */

/* The number of the bundle's layer that a row of other rows is of; -1 if it is not in. */
static int layer_of(const struct draft *d, const struct rows *times, int row) {
    struct str key = {0};
    rows_key(times, row, winner_set_layer, &key);
    const int layer = keys_find(&d->layer_keys, str_text(&key));
    str_release(&key);
    return layer;
}

static bool has_winner(const struct draft *d, int layer, int m) {
    struct str key = {0};
    winner_key(layer, m, &key);
    const bool has = keys_find(&d->winner_keys, str_text(&key)) >= 0;
    str_release(&key);
    return has;
}

bool draft_has_invariant(const struct draft *d, int row) {
    const int layer = layer_of(d, d->rows, row);
    return layer >= 0 && d->invariant[layer];
}

void draft_add_times(struct draft *d, const struct rows *times, enum bundle_origin origin) {
    d->times = xrealloc(d->times, ((size_t)d->time_count + (size_t)times->count + 1) * sizeof *d->times);
    for (int r = 0; r < times->count; r++) {
        const struct bundle_time time = {.layer = layer_of(d, times, r),
                                         .m = atoi(rows_cell(times, r, "m")),
                                         .family = rows_cell(times, r, "family"),
                                         .config = rows_cell(times, r, "config"),
                                         .expected_ns = strtod(rows_cell(times, r, "median_ns"), NULL),
                                         .origin = origin};
        if (has_winner(d, time.layer, time.m) && is_new_time(d, time.layer, time.m, time.family, time.config))
            d->times[d->time_count++] = time;
    }
}
