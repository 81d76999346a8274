#include "splits.h"
#include "runtime/base/array.h"
#include "runtime/base/file.h"
#include "runtime/layer/split.h"
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void split_list_add(struct split_list *list, int rows8, double weight) {
    array_grow(&list->item, &list->capacity, (size_t)list->count, sizeof *list->item);
    list->item[list->count++] = (struct split){rows8, weight};
}

static int by_rows8(const void *a, const void *b) {
    const struct split *x = a, *y = b;
    return (x->rows8 > y->rows8) - (x->rows8 < y->rows8);
}

void split_list_sort(struct split_list *list) {
    int kept = 0;
    if (list->count)
        qsort(list->item, (size_t)list->count, sizeof *list->item, by_rows8);
    for (int i = 0; i < list->count; i++) {
        if (kept && list->item[kept - 1].rows8 == list->item[i].rows8)
            list->item[kept - 1].weight += list->item[i].weight;
        else
            list->item[kept++] = list->item[i];
    }
    list->count = kept;
}

void split_list_release(struct split_list *list) {
    free(list->item);
    *list = (struct split_list){0};
}

/* ---- the table ---- */

static char *trim(char *text) {
    while (isspace((unsigned char)*text))
        text++;
    char *end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1]))
        end--;
    *end = 0;
    return text;
}

/* Cuts `text` at its commas. The count of parts; 4 stands for more than 3. */
static int parts_of(char *text, char *part[3]) {
    int count = 0;
    for (char *next = text; next && count < 4; count++) {
        char *comma = strchr(next, ',');
        if (comma)
            *comma = 0;
        if (count < 3)
            part[count] = trim(next);
        next = comma ? comma + 1 : NULL;
    }
    return count;
}

static bool rows8_parse(const char *text, int *out) {
    char *end;
    errno = 0;
    const long value = strtol(text, &end, 10);
    *out = (int)value;
    return isdigit((unsigned char)*text) && !*end && !errno && value <= INT_MAX;
}

static bool weight_parse(const char *text, double *out) {
    char *end;
    *out = strtod(text, &end);
    return (isdigit((unsigned char)*text) || *text == '.') && !strpbrk(text, "xX") && !*end && *out > 0 && *out < 1e9;
}

void split_table_add(struct split_table *table, struct split_line line) {
    array_grow(&table->line, &table->capacity, (size_t)table->count, sizeof *table->line);
    table->line[table->count++] = line;
}

static bool is_header(const struct split_table *table, char *const part[3], int parts) {
    return !table->count && parts >= 2 && parts <= 3 && !strcmp(part[0], "layer") && !strcmp(part[1], "rows8") &&
           (parts == 2 || !strcmp(part[2], "weight"));
}

static enum mt_status take_line(struct split_table *table, char *text, int number) {
    char *part[3] = {0}, *comment = strchr(text, '#');
    struct split_line line = {.number = number, .split.weight = 1};
    if (comment)
        *comment = 0;
    text = trim(text);
    if (!*text)
        return MT_OK;
    const int parts = parts_of(text, part);
    if (is_header(table, part, parts))
        return MT_OK;
    if (parts < 2 || parts > 3 || !*part[0])
        return fail(MT_USAGE, "%s, line %d: this is not layer,rows8,weight; write for example qkv,85,3",
                    table->path.data, number);
    if (strlen(part[0]) >= sizeof line.layer)
        return fail(MT_USAGE, "%s, line %d: the layer's name has %zu characters and can have %zu: write qkv, or NxK",
                    table->path.data, number, strlen(part[0]), sizeof line.layer - 1);
    memcpy(line.layer, part[0], strlen(part[0]) + 1);
    if (!rows8_parse(part[1], &line.split.rows8))
        return fail(MT_USAGE, "%s, line %d: `%.40s` is no number of output features; write how many keep 8 bits",
                    table->path.data, number, part[1]);
    if (parts == 3 && !weight_parse(part[2], &line.split.weight))
        return fail(
            MT_USAGE,
            "%s, line %d: the weight `%.40s` is no number above 0 and below 1e9; write how many layers have this "
            "split, or leave it out",
            table->path.data, number, part[2]);
    split_table_add(table, line);
    return MT_OK;
}

enum mt_status split_table_read(const char *name, struct split_table *out) {
    struct str text = {0};
    *out = (struct split_table){0};
    enum mt_status status = config_find("splits", name, "csv", &out->path);
    if (!status)
        status = file_read_text(out->path.data, FILE_TEXT_MOST, MT_USAGE, &text);
    str_append(&text, "\n");
    char *end = text.data + text.length;
    int number = 1;
    for (char *at = text.data, *newline; at < end && !status; at = newline + 1, number++) {
        newline = memchr(at, '\n', (size_t)(end - at));
        *newline = 0;
        status = take_line(out, at, number);
    }
    str_release(&text);
    if (!status && !out->count)
        status = fail(MT_USAGE, "%s names no split; write lines of layer,rows8,weight", out->path.data);
    if (status)
        split_table_release(out);
    return status;
}

void split_table_release(struct split_table *table) {
    str_release(&table->path);
    free(table->line);
    *table = (struct split_table){0};
}

/* Choosing points takes the third power of it in time; a model has some hundred layers. */
enum { MOST_SPLITS = 1024 };

enum mt_status split_table_of(const struct split_table *table, const char *layer, int n, int fill,
                              struct split_list *out) {
    for (int i = 0; i < table->count; i++) {
        const struct split_line *line = &table->line[i];
        if (strcmp(line->layer, layer) != 0)
            continue;
        if (line->split.rows8 > n) {
            char place[24] = "";
            if (line->number)
                snprintf(place, sizeof place, ", line %d", line->number);
            return fail(MT_USAGE,
                        "%s%s: %d features of %s cannot keep 8 bits where there are %d; rows8 are of "
                        "the layer as it is after --tp",
                        table->path.data, place, line->split.rows8, layer, n);
        }
        split_list_add(out, split_filled(line->split.rows8, n, fill), line->split.weight);
    }
    split_list_sort(out);
    return out->count <= MOST_SPLITS ? MT_OK
                                     : fail(MT_USAGE, "%s: %s has %d different splits, and can have %d",
                                            table->path.data, layer, out->count, MOST_SPLITS);
}

/* ---- points ---- */

static double bytes_at(const struct problem *layer, int rows8) {
    struct problem p = *layer;
    p.rows8 = rows8;
    return (double)split_bytes(&p);
}

/* The logarithm of the bytes over those of all features in 4 bits; between the pure splits they are taken as linear. */
static double place_of(const struct problem *layer, int rows8) {
    const double none = bytes_at(layer, 0), all = bytes_at(layer, layer->n);
    return log1p((all / none - 1) * rows8 / layer->n);
}

static bool is_pure(const struct problem *layer, int rows8) {
    return rows8 == 0 || rows8 == layer->n;
}

double point_loss(const struct problem *layer, int rows8, int point) {
    if (rows8 != point && (is_pure(layer, rows8) || is_pure(layer, point)))
        return 1;
    const double distance = place_of(layer, rows8) - place_of(layer, point);
    return distance * distance;
}

/* Sums over the splits before an index tell what any run of them costs. */
struct choice {
    const struct split *splits;
    int count;
    bool *pure;
    double *place;                    /* [count] */
    double *weight, *moment, *square; /* [count + 1]: of mixed splits, alone, times the place and times its square */
    double *pure_weight;              /* [count + 1] */
    double *least;                    /* [most][count]: with so many points more, the last of them this one */
    int *before;                      /* [most][count]: the point before that; -1: none */
};

static void choice_init(struct choice *c, const struct problem *layer, const struct split *splits, int count,
                        int most) {
    const size_t n = (size_t)count, table = n * (size_t)most;
    *c = (struct choice){.splits = splits, .count = count};
    c->pure = xcalloc(n, sizeof *c->pure);
    c->place = xcalloc(n, sizeof *c->place);
    c->weight = xcalloc(n + 1, sizeof *c->weight);
    c->moment = xcalloc(n + 1, sizeof *c->moment);
    c->square = xcalloc(n + 1, sizeof *c->square);
    c->pure_weight = xcalloc(n + 1, sizeof *c->pure_weight);
    c->least = xcalloc(table, sizeof *c->least);
    c->before = xcalloc(table, sizeof *c->before);
    for (int i = 0; i < count; i++) {
        const double weight = splits[i].weight;
        c->pure[i] = is_pure(layer, splits[i].rows8);
        c->place[i] = place_of(layer, splits[i].rows8);
        c->weight[i + 1] = c->weight[i] + (c->pure[i] ? 0 : weight);
        c->moment[i + 1] = c->moment[i] + (c->pure[i] ? 0 : weight * c->place[i]);
        c->square[i + 1] = c->square[i] + (c->pure[i] ? 0 : weight * c->place[i] * c->place[i]);
        c->pure_weight[i + 1] = c->pure_weight[i] + (c->pure[i] ? weight : 0);
    }
}

static void choice_release(struct choice *c) {
    free(c->pure);
    free(c->place);
    free(c->weight);
    free(c->moment);
    free(c->square);
    free(c->pure_weight);
    free(c->least);
    free(c->before);
}

/* The first index in begin .. end whose place is beyond `place`. */
static int first_beyond(const struct choice *c, int begin, int end, double place) {
    while (begin < end) {
        const int middle = begin + (end - begin) / 2;
        if (c->place[middle] > place)
            end = middle;
        else
            begin = middle + 1;
    }
    return begin;
}

/* What the mixed splits begin .. end - 1 lose to `point`. */
static double loss_of_run(const struct choice *c, int begin, int end, int point) {
    const double place = c->place[point];
    const double loss = c->square[end] - c->square[begin] - 2 * place * (c->moment[end] - c->moment[begin]) +
                        place * place * (c->weight[end] - c->weight[begin]);
    return fmax(loss, 0);
}

/* What the splits between two neighbouring points lose; a = -1 and b = count: there is no point on that side. */
static double loss_between(const struct choice *c, int a, int b) {
    const bool low = a >= 0 && !c->pure[a], high = b < c->count && !c->pure[b];
    const double pure = c->pure_weight[b] - c->pure_weight[a + 1];
    if (!low && !high)
        return pure + c->weight[b] - c->weight[a + 1];
    int middle = low ? b : a + 1;
    if (low && high)
        middle = first_beyond(c, a + 1, b, (c->place[a] + c->place[b]) / 2);
    return pure + (low ? loss_of_run(c, a + 1, middle, a) : 0) + (high ? loss_of_run(c, middle, b, b) : 0);
}

/* The least losses of the splits up to each one, if that is a point and so many points are there in all. */
static void fill_least(struct choice *c, int most) {
    const int n = c->count;
    for (int b = 0; b < n; b++) {
        c->least[b] = loss_between(c, -1, b);
        c->before[b] = -1;
        for (int k = 1; k < most; k++)
            c->least[k * n + b] = INFINITY;
    }
    for (int a = 0; a < n; a++)
        for (int b = a + 1; b < n; b++) {
            const double between = loss_between(c, a, b);
            for (int k = 1; k < most && k <= b; k++)
                if (c->least[(k - 1) * n + a] + between < c->least[k * n + b]) {
                    c->least[k * n + b] = c->least[(k - 1) * n + a] + between;
                    c->before[k * n + b] = a;
                }
        }
}

/* Each split to its nearest point of its kind; of equally near ones the lower. */
static void find_stands(const struct choice *c, int *stands) {
    for (int i = 0, low = -1; i < c->count; i++) {
        if (stands[i] == i && !c->pure[i])
            low = i;
        else if (stands[i] != i)
            stands[i] = c->pure[i] ? -1 : low;
    }
    for (int i = c->count - 1, high = -1; i >= 0; i--) {
        if (stands[i] == i && !c->pure[i])
            high = i;
        else if (stands[i] != i && !c->pure[i] && high >= 0 &&
                 (stands[i] < 0 || c->place[high] - c->place[i] < c->place[i] - c->place[stands[i]]))
            stands[i] = high;
    }
}

double points_choose(const struct problem *layer, const struct split *splits, int count, int most, int *stands) {
    struct choice c;
    double least = INFINITY;
    int points = 0, last = 0;
    for (int i = 0; i < count; i++)
        stands[i] = count <= most ? i : -1;
    if (count <= most)
        return 0;
    choice_init(&c, layer, splits, count, most);
    fill_least(&c, most);
    for (int k = 0; k < most; k++)
        for (int b = 0; b < count; b++) {
            const double all = c.least[k * count + b] + loss_between(&c, b, count);
            if (all < least) {
                least = all;
                points = k + 1;
                last = b;
            }
        }
    for (int k = points - 1; k >= 0; last = c.before[k * count + last], k--)
        stands[last] = last;
    find_stands(&c, stands);
    choice_release(&c);
    return least;
}
