/* Lists that must agree: families and their files, knobs and what the templates ask for, knobs and the spaces. */
#include "runtime/base/file.h"
#include "runtime/base/str.h"
#include "runtime/family/family.h"
#include "runtime/serve/contents.h"
#include "tuner/plan/space.h"
#include <ctype.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

/* Of the device that each family is proved on: an A100, and for the kernels of 9.0 an H100. */
static const struct device_limits a100 = {80, 108, 166912, 167936, 65536, 2048};
static const struct device_limits h100 = {90, 132, 232448, 233472, 65536, 2048};
/* Has both parts and both types of operands, so that every knob means something. */
static const struct problem mixed = {.m = 33, .n = 257, .k = 300, .group = 128, .rows8 = 51};

static void read_source(const char *path, struct str *out) {
    struct str full = {0};
    str_printf(&full, MT_SOURCE_DIR "/%s", path);
    if (file_read(full.data, out))
        fail_msg("%s", fail_message());
    str_release(&full);
}

static void find(const char *pattern, glob_t *out) {
    struct str full = {0};
    str_printf(&full, MT_SOURCE_DIR "/%s", pattern);
    assert_int_equal(glob(full.data, 0, NULL, out), 0);
    str_release(&full);
}

/* ---- words: a set of macros, as " A B C " ---- */

static bool has_word(const struct str *words, const char *word) {
    struct str padded = {0};
    str_printf(&padded, " %s ", word);
    const bool found = strstr(words->data, padded.data);
    str_release(&padded);
    return found;
}

static void add_word(struct str *words, const char *word, size_t length) {
    str_append(words, words->length ? "" : " ");
    str_printf(words, "%.*s ", (int)length, word);
}

static void assert_in(const struct str *words, const struct str *all, const char *what, const struct family *f) {
    char *copy = xstrdup(words->data), *save;
    for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save))
        if (!has_word(all, word))
            fail_msg("family %s: %s %s", f->name, word, what);
    free(copy);
}

/* The macros that its knobs stand for, and those of a problem's formats. */
static void macros_of_knobs(const struct family *f, struct str *out) {
    static const char *const formats[] = {"BF16", "GROUP", "HAS_W8", "HAS_W4", "SYMMETRIC"};
    for (int i = 0; i < f->knob_count; i++) {
        char *name = xstrdup(f->knobs[i].name);
        for (char *p = name; *p; p++)
            *p = (char)toupper((unsigned char)*p);
        if (!f->knobs[i].launch)
            add_word(out, name, strlen(name));
        free(name);
    }
    for (int i = 0; i < (f->quantised ? 5 : 1); i++)
        add_word(out, formats[i], strlen(formats[i]));
}

/* #ifndef X, and on the next line #error X is unset. */
static void macros_of_template(const struct family *f, struct str *out) {
    struct str path = {0}, text = {0};
    str_printf(&path, "templates/%s", f->template_name);
    read_source(path.data, &text);
    for (const char *p = text.data; (p = strstr(p, "\n#ifndef ")); p++) {
        const char *name = p + strlen("\n#ifndef "), *next = strchr(name, '\n');
        const size_t length = strcspn(name, " \n");
        if (strncmp(next, "\n#error ", 8) || strncmp(next + 8, name, length) ||
            strncmp(next + 8 + length, " is unset\n", 10))
            fail_msg("%s: behind #ifndef %.*s there is no #error %.*s is unset", path.data, (int)length, name,
                     (int)length, name);
        add_word(out, name, length);
    }
    str_release(&path);
    str_release(&text);
}

static void options_of(const struct config *c, struct str *out) {
    str_clear(out);
    c->family->options(c, &mixed, out);
}

static void macros_of_options(const struct family *f, struct str *out) {
    struct str options = {0};
    struct config c;
    config_default(f, &c);
    options_of(&c, &options);
    for (const char *p = options.data; (p = strstr(p, " -D")); p++)
        add_word(out, p + 3, strcspn(p + 3, "="));
    str_release(&options);
}

/* ---- the tests ---- */

static void families_have_their_files(void **state) {
    (void)state;
    glob_t files;
    for (const struct family *const *f = family_list(); *f; f++) {
        struct space space;
        struct config_list quick;
        assert_ptr_equal(family_find((*f)->name), *f);
        assert_int_equal(space_read((*f)->name, &space), MT_OK);
        assert_ptr_equal(space.family, *f);
        space_release(&space);
        if (!(*f)->quick_spaces)
            continue;
        assert_int_equal(config_list_read((*f)->quick_spaces, &quick), MT_OK);
        for (int i = 0; i < quick.count; i++)
            assert_ptr_equal(quick.config[i].family, *f);
        config_list_release(&quick);
    }
    find("templates/gemm_*.cu", &files);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        char *name = strrchr(files.gl_pathv[i], '/') + strlen("/gemm_");
        name[strcspn(name, ".")] = 0;
        if (!family_find(name))
            fail_msg("templates/gemm_%s.cu is of no family: name it in FAMILY_LIST (runtime/family/family.h)", name);
    }
    assert_int_equal(files.gl_pathc, FAMILY_COUNT);
    globfree(&files);
}

/* A source file that defines a family does so by DEFINE_FAMILY, which refuses what is not in the list. */
static void families_are_defined_in_one_way(void **state) {
    (void)state;
    glob_t files;
    int defined = 0;
    find("runtime/*/*.c", &files);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        struct str text = {0}, want = {0};
        assert_int_equal(file_read(files.gl_pathv[i], &text), MT_OK);
        if (strstr(text.data, "const struct family family_"))
            fail_msg("%s defines a family without DEFINE_FAMILY", files.gl_pathv[i]);
        const char *at = strstr(text.data, "\nDEFINE_FAMILY(");
        if (at) {
            char *name = strrchr(files.gl_pathv[i], '/') + 1;
            str_printf(&want, "\nDEFINE_FAMILY(%.*s,", (int)strcspn(name, "."), name);
            assert_memory_equal(at, want.data, want.length);
            defined++;
        }
        str_release(&text);
        str_release(&want);
    }
    assert_int_equal(defined, FAMILY_COUNT);
    globfree(&files);
}

static void knobs_are_whole(void **state) {
    (void)state;
    for (const struct family *const *f = family_list(); *f; f++) {
        assert_in_range((*f)->knob_count, 1, MT_MAX_KNOBS);
        for (int i = 0; i < (*f)->knob_count; i++) {
            const struct knob *knob = &(*f)->knobs[i];
            if (!knob->name || !*knob->name || !knob->doc || !*knob->doc)
                fail_msg("family %s: knob %d of its enum has no name or no words in its list", (*f)->name, i);
            assert_true(knob->fallback >= 0);
            for (int j = 0; j < i; j++)
                assert_string_not_equal(knob->name, (*f)->knobs[j].name);
        }
    }
}

static void templates_ask_for_the_knobs(void **state) {
    (void)state;
    for (const struct family *const *f = family_list(); *f; f++) {
        struct str knobs = {0}, asked = {0}, given = {0};
        macros_of_knobs(*f, &knobs);
        macros_of_template(*f, &asked);
        macros_of_options(*f, &given);
        assert_in(&knobs, &asked, "is a knob, and the template has no #ifndef of it", *f);
        assert_in(&asked, &knobs, "is asked for by the template, and is no knob", *f);
        assert_in(&knobs, &given, "is a knob, and options() does not give it to the template", *f);
        assert_in(&given, &knobs, "is given to the template, and is no knob", *f);
        str_release(&knobs);
        str_release(&asked);
        str_release(&given);
    }
}

/* Another value is another binary, or for a launch-time knob another launch of the same. */
static void each_knob_does_something(void **state) {
    (void)state;
    for (const struct family *const *f = family_list(); *f; f++)
        for (int i = 0; i < (*f)->knob_count; i++) {
            struct str before = {0}, after = {0};
            struct launch_shape shape, other;
            struct config c;
            config_default(*f, &c);
            options_of(&c, &before);
            (*f)->shape(&c, &mixed, 132, &shape);
            c.value[i] = 3 * c.value[i] + 2;
            options_of(&c, &after);
            (*f)->shape(&c, &mixed, 132, &other);
            const bool same_binary = !strcmp(before.data, after.data);
            const bool same_launch =
                shape.split_k == other.split_k && shape.stream_k == other.stream_k && shape.raster == other.raster;
            if (same_binary != (*f)->knobs[i].launch || same_launch == (*f)->knobs[i].launch)
                fail_msg("family %s: another value of %s changes %s", (*f)->name, (*f)->knobs[i].name,
                         same_binary && same_launch ? "nothing"
                         : same_binary              ? "a launch"
                                                    : "the binary, or a launch with it");
            str_release(&before);
            str_release(&after);
        }
}

/* Knobs that the whole space of a family leaves alone. */
static const struct {
    const char *family, *knob, *why;
} kept[] = {
    {"sm80", "tile_n8", "the 8-bit part of a mixed layer has the tile of the 4-bit part"},
    {"sm80", "warps_n", "four warps share 64 or 128 features"},
    {"sm90", "blocks8", "the 8-bit part of a mixed layer has the blocks of the 4-bit part"},
    {"sm90", "store", "1 is 0 where rows are not aligned"},
    {"f16", "tile_k", "a baseline: its tiles matter most"},
    {"f16", "warps_n", "a baseline: its tiles matter most"},
    {"f16", "ctas", "a baseline: its tiles matter most"},
};

static bool is_kept(const char *family, const char *knob) {
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (!strcmp(kept[i].family, family) && !strcmp(kept[i].knob, knob))
            return true;
    return false;
}

static void whole_spaces_vary_every_knob(void **state) {
    (void)state;
    for (const struct family *const *f = family_list(); *f; f++) {
        struct space space;
        assert_int_equal(space_read((*f)->name, &space), MT_OK);
        for (int i = 0; i < (*f)->knob_count; i++) {
            const char *knob = (*f)->knobs[i].name;
            const bool varied = space.values[i] && space.counts[i] > 1;
            if (!varied && !is_kept((*f)->name, knob))
                fail_msg("configs/spaces/%s.yaml has one value of %s: no sweep tries another", (*f)->name, knob);
            if (varied && is_kept((*f)->name, knob))
                fail_msg("configs/spaces/%s.yaml varies %s: take it out of `kept`", (*f)->name, knob);
        }
        space_release(&space);
    }
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        struct config c;
        config_default(family_find(kept[i].family), &c);
        assert_true(config_get(&c, kept[i].knob) >= 0); /* it exists */
    }
}

/* What stands in where nothing was tuned runs in all formats, the one for few tokens on small GPUs, too. */
static void stand_ins_run_in_all_formats(void **state) {
    (void)state;
    static const struct device_limits ada = {89, 128, 101376, 102400, 65536, 1536};
    static const char *const schemes[] = {"w4a8", "w8a8", "mixed", "w4a8-sym", "mixed-sym"};
    for (const struct family *const *f = family_list(); *f; f++)
        for (int i = 0; (*f)->quantised && i < 5 * 3 * 2 * 2; i++) {
            const char *text = i % 2 ? (*f)->many : (*f)->few;
            const bool hopper = (*f)->min_cc == 90, small = i / 2 % 2;
            const int group = 64 << i / 4 % 3;
            const struct device_limits *limits = hopper ? &h100 : small ? &ada : &a100;
            struct problem p;
            struct config c;
            char reason[160];
            assert_non_null(text);
            assert_int_equal(config_parse(*f, text, &c), MT_OK);
            assert_int_equal(contents_formats(schemes[i / 12], "fp16", group, &p), MT_OK);
            if (!config_allowed(&c, &p, limits, reason) && !(small && group == 256 && i % 2))
                fail_msg("family %s, %s, %s, group %d: %s", (*f)->name, text, schemes[i / 12], group, reason);
        }
}

/* "proof-sm80,proof-sm80-tiles"; the whole space of a family that has none of its own. */
static void proof_spaces(const struct family *f, struct str *out) {
    struct str pattern = {0};
    glob_t files;
    str_printf(&pattern, MT_SOURCE_DIR "/configs/spaces/proof-%s*.yaml", f->name);
    if (glob(pattern.data, 0, NULL, &files) == 0)
        for (size_t i = 0; i < files.gl_pathc; i++)
            str_printf(out, "%s%s", i ? "," : "", files.gl_pathv[i]);
    globfree(&files);
    if (!out->length)
        str_append(out, f->name);
    str_release(&pattern);
}

/* Of what `mixtune verify --all` then runs, two configurations at least differ in each knob. */
static void proof_spaces_vary_every_knob(void **state) {
    (void)state;
    for (const struct family *const *f = family_list(); *f; f++) {
        struct str names = {0};
        struct config_list list;
        proof_spaces(*f, &names);
        if (config_list_read(names.data, &list))
            fail_msg("%s", fail_message());
        for (int i = 0; i < (*f)->knob_count; i++) {
            bool varied = false;
            int first = -1;
            for (int c = 0; c < list.count && !varied; c++) {
                char reason[160];
                if (!config_allowed(&list.config[c], &mixed, (*f)->min_cc == 90 ? &h100 : &a100, reason))
                    continue;
                first = first < 0 ? c : first;
                varied = list.config[c].value[i] != list.config[first].value[i];
            }
            if (!varied && ((*f)->quantised || !is_kept((*f)->name, (*f)->knobs[i].name)))
                fail_msg("%s: %s has one value in what can run: no other is proved", names.data, (*f)->knobs[i].name);
        }
        config_list_release(&list);
        str_release(&names);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_have_their_files),       cmocka_unit_test(stand_ins_run_in_all_formats),
        cmocka_unit_test(families_are_defined_in_one_way), cmocka_unit_test(knobs_are_whole),
        cmocka_unit_test(templates_ask_for_the_knobs),     cmocka_unit_test(each_knob_does_something),
        cmocka_unit_test(whole_spaces_vary_every_knob),    cmocka_unit_test(proof_spaces_vary_every_knob),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
