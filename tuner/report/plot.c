#include "plot.h"

#include "db/store.h"
#include "files.h"
#include "runtime/base/file.h"
#include "runtime/base/visible.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

extern char **environ;

static const struct {
    const char *name, *script, *title;
    bool needs_baseline;
} kinds[PLOT_KINDS] = {
    [PLOT_SPEEDUP] = {"speedup", report_speedup_gp, "speed-up of the fastest configuration", true},
    [PLOT_TIME] = {"time", report_time_gp, "time of the fastest configuration, without quantising", false},
    [PLOT_WINNERS] = {"winners", report_winners_gp, "the fastest configuration of each layer", false},
    [PLOT_PEERS] = {"peers", report_peers_gp, "speed-up of the fastest configuration over peers", false},
};

/* Runs gnuplot in `dir`, without a shell and without the settings of this user; what it prints on standard error goes
 * to `said`. `argument` is one of our own words: no name, which it could take for an option or another script. Its exit
 * status; -1 if it cannot be run. */
static int run_gnuplot(const char *dir, const char *argument, struct str *said) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addchdir_np(&actions, dir);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
    char *arguments[] = {(char *)"gnuplot", (char *)"-d", (char *)argument, NULL};
    pid_t child;
    int error = posix_spawnp(&child, "gnuplot", &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    char buffer[512];
    ssize_t got;
    while (error == 0 && ((got = read(ends[0], buffer, sizeof buffer)) > 0 || (got < 0 && errno == EINTR)))
        if (got > 0)
            str_append_bytes(said, buffer, (size_t)got);
    close(ends[0]);
    if (error != 0)
        return -1;
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

enum mt_status plot_check(void) {
    struct str said = {0};
    int rc = run_gnuplot(".", "--version", &said);
    str_release(&said);
    /* 127: some systems report a missing program only from the child. */
    if (rc == -1 || rc == 127)
        return fail(MT_FAILURE,
                    "the plots need gnuplot, and it is not installed: install the package gnuplot-nox, or use "
                    "`mixtune show` for tables");
    return MT_OK;
}

static const char *field(const struct plot_set *set, const char *name) {
    return rows_cell(set->sets, set->row, name);
}

bool plot_set_modelled(const struct plot_set *set) {
    return rows_is(set->sets, set->row, "origin", store_origin_name(ORIGIN_MODELLED));
}

/* "A100-SXM-80G" of "A100-SXM-80G (software device, modelled times)". Appends. */
static void short_device(const struct plot_set *set, struct str *out) {
    const char *name = field(set, "device_name");
    const char *end = strstr(name, " (software device");
    str_append_bytes(out, name, end ? (size_t)(end - name) : strlen(name));
}

/* With the two ends of names that have more than `most` characters. */
static void append_where(const struct plot_set *set, int most, struct str *out) {
    struct str device = {0};
    short_device(set, &device);
    str_printf(out, "%s on %s", field(set, "origin"), plot_set_modelled(set) ? "software device " : "");
    text_shorten(device.data, most, out);
    if (*field(set, "time_model")) {
        str_append(out, ", time model ");
        text_shorten(field(set, "time_model"), most, out);
    }
    str_release(&device);
}

void plot_set_where(const struct plot_set *set, struct str *out) {
    append_where(set, INT_MAX, out);
}

/* Of ASCII, whatever the locale. */
static bool is_letter_or_digit(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool ends_in_sign(const struct str *word) {
    return word->length && strchr("-.", word->data[word->length - 1]);
}

/* Part of a file's name: small letters, digits and single dots between them, and one dash for all else that stands
 * there; cut where it is long. False if that is not the text as it was. */
static bool append_word(const char *text, struct str *out) {
    enum { MOST = 63 };
    struct str word = {0};
    for (const char *p = text; *p && word.length < MOST; p++) {
        if (is_letter_or_digit(*p))
            str_printf(&word, "%c", *p >= 'A' && *p <= 'Z' ? *p - 'A' + 'a' : *p);
        else if (word.length && !ends_in_sign(&word))
            str_append(&word, *p == '.' ? "." : "-");
    }
    while (word.data && ends_in_sign(&word))
        word.data[--word.length] = 0;
    const bool same = !strcmp(str_text(&word), text);
    str_printf(out, "%s%s", out->length && word.length ? "-" : "", str_text(&word));
    str_release(&word);
    return same;
}

static void append_hash(const char *text, struct str *out) {
    str_printf(out, "-%08x", (unsigned)XXH3_64bits(text, strlen(text)));
}

/* Two models never share a name: where letters are lost a hash of the whole name tells them apart. */
static void usual_name(const struct plot_set *set, struct str *out) {
    static const char bare[] = "shapes";
    struct str text = {0};
    const char *model = field(set, "model");
    short_device(set, &text);
    append_word(text.data, out); /* which device it is, its UUID says */
    if (!out->length)
        str_append(out, "device");
    if (!append_word(*model ? model : bare, out) || !strcmp(model, bare))
        append_hash(model, out);
    str_clear(&text);
    str_printf(&text, "tp%s %s g%s %s %.12s %s", field(set, "tp"), field(set, "dtype"), field(set, "group_size"),
               field(set, "cache_state"), field(set, "uuid"), field(set, "origin"));
    append_word(text.data, out);
    str_release(&text);
}

/* Another set of the report has the same usual name: of a device whose UUID begins alike, or another time model. */
static bool name_is_shared(const struct plot_set *set, const char *name) {
    struct str other = {0};
    bool shared = false;
    for (int r = 0; r < set->sets->count && !shared; r++) {
        str_clear(&other);
        usual_name(&(struct plot_set){set->sets, r}, &other);
        shared = r != set->row && !strcmp(other.data, name);
    }
    str_release(&other);
    return shared;
}

void plot_set_name(const struct plot_set *set, struct str *out) {
    struct str name = {0}, all = {0};
    usual_name(set, &name);
    str_append(out, name.data);
    for (int c = 0; c < set->sets->columns; c++)
        str_printf(&all, "%s\n", field(set, set->sets->name[c]));
    if (name_is_shared(set, name.data))
        append_hash(all.data, out);
    str_release(&name);
    str_release(&all);
}

/* ---- the script ---- */

/* What gnuplot reads as a format where it stands on an axis, and what SVG cannot have, since gnuplot writes > as it
 * is. */
static bool is_special(const char *text, const char *at) {
    return *at == '%' || (*at == '>' && at - text >= 2 && at[-1] == ']' && at[-2] == ']');
}

/* The text as a picture has it: visible, and with its two ends where it has more than `most` characters. */
static void append_drawn(const char *text, int most, struct str *out) {
    struct str visible = {0}, drawn = {0};
    str_append_visible(&visible, text, strlen(text), "");
    text_shorten(str_text(&visible), most, &drawn);
    for (const char *p = str_text(&drawn); *p; p++)
        str_printf(out, is_special(drawn.data, p) ? "\\x%02x" : "%c", *p);
    str_release(&visible);
    str_release(&drawn);
}

enum {
    MOST_NAME = 48,  /* characters of a name that a legend has room for */
    MOST_TITLE = 80, /* of a name in a title */
    MOST_TEXT = 1000,
};

/* A string of gnuplot. In double quotes every byte may be an octal escape, and each is that gnuplot could take for the
 * end of the string, a command in backquotes, a macro, a comment or an escape. */
static void append_string(const char *text, int most, struct str *out) {
    struct str drawn = {0};
    append_drawn(text, most, &drawn);
    str_append(out, "\"");
    for (const char *p = str_text(&drawn); *p; p++) {
        const unsigned char byte = (unsigned char)*p;
        str_printf(out, byte >= 0x80 || is_letter_or_digit(*p) || strchr(" .,:()_/+-", byte) ? "%c" : "\\%03o", byte);
    }
    str_append(out, "\"");
    str_release(&drawn);
}

void plot_text(struct str *script, const char *name, const char *value) {
    str_printf(script, "%s = ", name);
    append_string(value, MOST_TEXT, script);
    str_append(script, "\n");
}

void plot_names(struct str *out, const char *name, const struct rows *rows, const char *at, const char *column) {
    struct str list = {0};
    int count = 0;
    for (int r = 0; r < rows->count; r++)
        if (atoi(rows_cell(rows, r, at)) == count + 1) {
            str_append(&list, count++ ? ", " : "");
            append_string(rows_cell(rows, r, column), MOST_NAME, &list);
        }
    str_printf(out, "array %s[%d] = [%s]\n", name, count, str_text(&list));
    str_release(&list);
}

/* "fp16 baseline (cublas, f16)": with the kernels that were the fastest of the other side; nothing in brackets: no
 * baseline. */
static void set_baseline(struct str *out, const struct plot_set *set, const struct rows *curves) {
    enum { MOST = 8 }; /* there are four */
    const char *families[MOST];
    struct str text = {0};
    int count = 0;
    str_printf(&text, "%s baseline", field(set, "dtype"));
    for (int r = 0; r < curves->count && count < MOST; r++) {
        const char *family = rows_cell(curves, r, "baseline_family");
        bool told = !*family;
        for (int i = 0; i < count && !told; i++)
            told = !strcmp(families[i], family);
        if (told)
            continue;
        str_append(&text, count ? ", " : " (");
        append_drawn(family, MOST_NAME, &text);
        families[count++] = family;
    }
    str_append(&text, count ? ")" : "");
    plot_text(out, "baseline", text.data);
    str_printf(out, "baselined = %d\n", count > 0);
    str_release(&text);
}

static int compare_numbers(const void *a, const void *b) {
    const long x = *(const long *)a, y = *(const long *)b;
    return (x > y) - (x < y);
}

/* The batch sizes in increasing order; the ticks of the axis. */
static void set_batch_sizes(struct str *out, const struct rows *rows) {
    long *m = xcalloc((size_t)rows->count, sizeof *m);
    struct str list = {0};
    int count = 0;
    for (int r = 0; r < rows->count; r++)
        m[r] = strtol(rows_cell(rows, r, "m"), NULL, 10);
    qsort(m, (size_t)rows->count, sizeof *m, compare_numbers);
    for (int r = 0; r < rows->count; r++)
        if (r == 0 || m[r] != m[r - 1])
            str_printf(&list, "%s%ld", count++ ? ", " : "", m[r]);
    str_printf(out, "array ms[%d] = [%s]\n", count, str_text(&list));
    str_release(&list);
    free(m);
}

void plot_body(const char *body, struct str *script) {
    static const char mark[] = "{{picture}}\n";
    const char *at = strstr(body, mark);
    str_append(script, report_style_gp);
    str_append_bytes(script, body, (size_t)(at - body));
    str_append(script, report_picture_gp);
    str_append(script, at + strlen(mark));
}

/* Some row has something there: without a column for it (of peers) none has. */
static bool has_some(const struct rows *curves, const char *column) {
    for (int r = 0; r < curves->count && rows_column(curves, column) >= 0; r++)
        if (*rows_cell(curves, r, column))
            return true;
    return false;
}

static void make_script(const struct plot_set *set, const struct rows *curves, const char *data, const char *name,
                        int kind, struct str *script) {
    struct str text = {0};
    str_append(script, "# Written by `mixtune report`. In the folder above: gnuplot data/THIS_FILE\n");
    plot_text(script, "name", name);
    plot_text(script, "data", data);
    append_drawn(*field(set, "model") ? field(set, "model") : "bare shapes", MOST_TITLE, &text);
    str_printf(&text, ", %s: %s", field(set, "dtype"), kinds[kind].title);
    if (plot_set_modelled(set))
        str_append(&text, " (no speed-up of a real GPU)");
    plot_text(script, "what", text.data);
    str_clear(&text);
    append_where(set, MOST_TITLE, &text);
    plot_text(script, "times", plot_set_modelled(set) ? "modelled" : "measured");
    str_printf(&text, ", group %s, %s cache%s%s", field(set, "group_size"), field(set, "cache_state"),
               atoi(field(set, "tp")) > 1 ? ", tensor parallel over " : "",
               atoi(field(set, "tp")) > 1 ? field(set, "tp") : "");
    plot_text(script, "where", text.data);
    if (kind == PLOT_PEERS)
        plot_names(script, "peers", curves, "peer_at", "peer");
    else
        set_baseline(script, set, curves);
    bool marked = false;
    for (int r = 0; r < curves->count; r++)
        marked = marked || rows_is(curves, r, "states_differ", "1");
    str_printf(script, "counted = %d\nfloors = %d\nmarked = %d\n", has_some(curves, "ratio_with_quantize"),
               has_some(curves, "floor_share"), marked);
    plot_names(script, "layers", curves, "layer_at", "layer");
    plot_names(script, "schemes", curves, "scheme_at", "scheme");
    set_batch_sizes(script, curves);
    plot_body(kinds[kind].script, script);
    str_release(&text);
}

/* A full disk cuts pictures short without gnuplot saying so. */
static enum mt_status check_picture(const char *dir, const char *name, const char *extension, const char *end) {
    struct str path = {0}, picture = {0};
    str_printf(&path, "%s/%s.%s", dir, name, extension);
    enum mt_status status = file_read(path.data, &picture);
    size_t tail = 16; /* the end may be followed by a line end or a checksum */
    if (status == MT_OK &&
        (picture.length < 64 || !memmem(picture.data + picture.length - tail, tail, end, strlen(end))))
        status = fail(MT_FAILURE, "%s is not whole after gnuplot wrote it: check that the disk is not full", path.data);
    str_release(&path);
    str_release(&picture);
    return status;
}

enum mt_status plot_script(const char *dir, const char *name, const struct str *script) {
    struct str path = {0}, said = {0};
    str_printf(&path, "%s/data/%s.gp", dir, name);
    enum mt_status status = file_write_atomic(path.data, script->data, script->length);
    if (status == MT_OK) {
        int rc = run_gnuplot(dir, path.data + strlen(dir) + 1, &said);
        for (char *p = said.data; p && *p; p++)
            *p = *p == '\n' ? ' ' : *p;
        if (rc != 0)
            status = fail(MT_FAILURE, "gnuplot could not draw %s (exit %d): %s", path.data, rc,
                          said.length ? said.data : "it says nothing");
    }
    if (status == MT_OK)
        status = check_picture(dir, name, "svg", "</svg>");
    if (status == MT_OK)
        status = check_picture(dir, name, "png", "IEND");
    str_release(&path);
    str_release(&said);
    return status;
}

/* The kinds from `first` to before `end`, from the rows of `sql`, which go to DIR/data/BASE.csv. */
static enum mt_status draw_kinds(struct sqlite3 *db, const char *dir, const struct plot_set *set, const char *sql,
                                 const char *base, int first, int end, char *names[PLOT_KINDS]) {
    const char *const values[] = {":origin",
                                  field(set, "origin"),
                                  ":uuid",
                                  field(set, "uuid"),
                                  ":device_name",
                                  field(set, "device_name"),
                                  ":model",
                                  field(set, "model"),
                                  ":tp",
                                  field(set, "tp"),
                                  ":dtype",
                                  field(set, "dtype"),
                                  ":group_size",
                                  field(set, "group_size"),
                                  ":cache_state",
                                  field(set, "cache_state"),
                                  NULL};
    struct rows curves;
    struct str path = {0}, csv = {0}, set_name = {0};
    enum mt_status status = rows_read(db, sql, values, &curves);
    if (status != MT_OK)
        return status;
    plot_set_name(set, &set_name);
    rows_print_csv(&curves, &csv);
    str_printf(&path, "%s/data/%s.csv", dir, base);
    if (curves.count)
        status = file_write_atomic(path.data, csv.data, csv.length);
    for (int kind = first; kind < end && curves.count && status == MT_OK; kind++) {
        if (kinds[kind].needs_baseline && !has_some(&curves, "ratio"))
            continue;
        struct str name = {0}, script = {0};
        str_printf(&name, "%s-%s", set_name.data, kinds[kind].name);
        make_script(set, &curves, path.data + strlen(dir) + 1, name.data, kind, &script);
        status = plot_script(dir, name.data, &script);
        names[kind] = name.data;
        str_release(&script);
    }
    rows_release(&curves);
    str_release(&path);
    str_release(&csv);
    str_release(&set_name);
    return status;
}

enum mt_status plot_draw(struct sqlite3 *db, const char *dir, const struct plot_set *set, char *names[PLOT_KINDS]) {
    struct str base = {0};
    plot_set_name(set, &base);
    enum mt_status status = draw_kinds(db, dir, set, report_curves_sql, base.data, 0, PLOT_PEERS, names);
    str_printf(&base, "-%s", kinds[PLOT_PEERS].name);
    if (status == MT_OK)
        status = draw_kinds(db, dir, set, report_peer_curves_sql, base.data, PLOT_PEERS, PLOT_KINDS, names);
    str_release(&base);
    return status;
}
