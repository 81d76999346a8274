/* The list of families, and what holds for the knobs of all of them. */
#include "family.h"
#include "runtime/base/near.h"
#include <stdlib.h>
#include <string.h>

#define ADDRESS(name) &family_##name,
static const struct family *const families[] = {FAMILY_LIST(ADDRESS) NULL};

const struct family *const *family_list(void) {
    return families;
}

const struct family *family_find(const char *name) {
    for (int i = 0; families[i]; i++)
        if (name && !strcmp(families[i]->name, name))
            return families[i];
    return NULL;
}

int family_number(const struct family *family) {
    int number = 0;
    while (families[number] && families[number] != family)
        number++;
    return number;
}

enum mt_status family_named(const char *name, const struct family **out) {
    struct str known = {0};
    *out = family_find(name);
    for (int i = 0; families[i]; i++)
        str_printf(&known, "%s%s", i ? ", " : "", families[i]->name);
    enum mt_status status =
        *out ? MT_OK : fail(MT_USAGE, "there is no kernel family `%s`; there are %s", name, str_text(&known));
    str_release(&known);
    return status;
}

bool family_runs_on(const struct family *family, int cc) {
    return family->min_cc == 90 ? cc == 90 : cc >= family->min_cc;
}

static bool knob_named(const struct knob *knob, const char *name, size_t length) {
    return !strncmp(knob->name, name, length) && !knob->name[length];
}

static int knob_index(const struct family *family, const char *name, size_t length) {
    for (int i = 0; i < family->knob_count; i++)
        if (knob_named(&family->knobs[i], name, length))
            return i;
    return -1;
}

int config_get(const struct config *c, const char *knob) {
    return config_get_or(c, knob, -1);
}

int config_get_or(const struct config *c, const char *knob, int otherwise) {
    int i = knob_index(c->family, knob, strlen(knob));
    return i < 0 ? otherwise : c->value[i];
}

bool config_equal(const struct config *a, const struct config *b) {
    return a->family == b->family && !memcmp(a->value, b->value, sizeof a->value);
}

bool config_is_default(const struct config *c) {
    struct config fallback;
    config_default(c->family, &fallback);
    return config_equal(c, &fallback);
}

void config_default(const struct family *family, struct config *out) {
    *out = (struct config){.family = family};
    for (int i = 0; i < family->knob_count; i++)
        out->value[i] = family->knobs[i].fallback;
}

enum mt_status family_no_knob(const struct family *family, const char *name) {
    struct str known = {0}, instead = {0};
    struct near near = {.wanted = name};
    for (int i = 0; i < family->knob_count; i++) {
        str_printf(&known, "%s%s", i ? ", " : "; it has ", family->knobs[i].name);
        near_offer(&near, family->knobs[i].name);
    }
    near_print(&near, str_text(&known), &instead);
    enum mt_status status = fail(MT_USAGE, "family %s has no knob `%s`%s", family->name, name, str_text(&instead));
    str_release(&known);
    str_release(&instead);
    return status;
}

static enum mt_status unknown_knob(const struct family *family, const char *name, size_t length) {
    struct str text = {0};
    str_append_bytes(&text, name, length);
    enum mt_status status = str_status(&text) ? MT_FAILURE : family_no_knob(family, text.data);
    str_release(&text);
    return status;
}

enum mt_status config_parse(const struct family *family, const char *text, struct config *out) {
    uint32_t seen = 0;
    int expected = 0; /* texts that were written by config_format() have them in order */
    config_default(family, out);
    for (const char *p = text; *p;) {
        size_t name = strcspn(p, "=,"), length = strcspn(p, ",");
        const bool as_expected = expected < family->knob_count && knob_named(&family->knobs[expected], p, name);
        const int i = as_expected ? expected : knob_index(family, p, name);
        if (p[name] != '=')
            return fail(MT_USAGE, "in the config `%s`, `%.*s` has no value; write knob=number", text, (int)name, p);
        if (i < 0)
            return unknown_knob(family, p, name);
        char *end;
        long value = strtol(p + name + 1, &end, 10);
        if (end != p + length || end == p + name + 1 || value < 0 || value > KNOB_VALUE_MOST)
            return fail(MT_USAGE, "in the config `%s`, the value of %s is not a whole number from 0 on", text,
                        family->knobs[i].name);
        if (seen >> i & 1)
            return fail(MT_USAGE, "in the config `%s`, %s stands twice", text, family->knobs[i].name);
        seen |= (uint32_t)1 << i;
        out->value[i] = (int)value;
        expected = i + 1;
        p += length + (p[length] == ',');
    }
    return MT_OK;
}

bool family_stand_in(const struct family *family, int number, struct config *out) {
    const char *const texts[] = {family->few, family->many};
    return number < 2 && texts[number] && config_parse(family, texts[number], out) == MT_OK;
}

void config_format(const struct config *c, struct str *out) {
    for (int i = 0; i < c->family->knob_count; i++) {
        str_append(out, i ? "," : "");
        str_append(out, c->family->knobs[i].name);
        str_append(out, "=");
        str_append_int(out, c->value[i]);
    }
}

void config_format_binary(const struct config *c, const struct problem *p, struct str *out) {
    str_append(out, c->family->template_name);
    c->family->options(c, p, out);
}

bool config_allowed(const struct config *c, const struct problem *p, const struct device_limits *d, char reason[160]) {
    reason[0] = 0;
    for (int i = 0; i < c->family->knob_count; i++)
        if (!c->family->knobs[i].launch && c->value[i] > MOST_BUILT) {
            text_fit(reason, 160, "%s is %d, and can be at most %d", c->family->knobs[i].name, c->value[i], MOST_BUILT);
            return false;
        }
    return c->family->allowed(c, p, d, reason);
}
