#include "yaml.h"
#include "runtime/base/number.h"
#include "runtime/base/visible.h"
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

/* ---- the walk ---- */

enum { MOST_DEPTH = 8, MOST_FIELDS = 64 };

struct walk {
    yaml_parser_t parser;
    yaml_event_t event;
    int depth;
    bool whole;
    struct yaml_fault *fault;
};

__attribute__((format(printf, 2, 3))) static bool refuse(struct walk *w, const char *format, ...) {
    va_list args;
    va_start(args, format);
    text_vfit(w->fault->reason, sizeof w->fault->reason, format, args);
    va_end(args);
    text_visible(w->fault->reason, sizeof w->fault->reason);
    w->fault->line = (int)w->event.start_mark.line + 1;
    return false;
}

/* What an event has that gives one part of a text the meaning of another. */
static bool check_plain(struct walk *w) {
    const yaml_event_t *e = &w->event;
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (e->type == YAML_ALIAS_EVENT)
        return refuse(w, "*%.40s stands for something else; write that out", (const char *)e->data.alias.anchor);
    if (e->type == YAML_SCALAR_EVENT) {
        anchor = e->data.scalar.anchor;
        tag = e->data.scalar.tag;
    } else if (e->type == YAML_SEQUENCE_START_EVENT) {
        anchor = e->data.sequence_start.anchor;
        tag = e->data.sequence_start.tag;
    } else if (e->type == YAML_MAPPING_START_EVENT) {
        anchor = e->data.mapping_start.anchor;
        tag = e->data.mapping_start.tag;
    }
    if (anchor)
        return refuse(w, "&%.40s names a part for later use; write it out where it is used", (const char *)anchor);
    if (tag)
        return refuse(w, "there is a tag, %.40s; leave it out", (const char *)tag);
    return true;
}

static bool next(struct walk *w) {
    yaml_event_delete(&w->event);
    if (yaml_parser_parse(&w->parser, &w->event))
        return check_plain(w);
    w->event.start_mark = w->parser.problem_mark;
    return refuse(w, "%s", w->parser.problem ? w->parser.problem : "this is not YAML");
}

static size_t digits(const char *text) {
    return strspn(text, "0123456789");
}

static bool is_whole_number(const char *text) {
    const char *first = text + (*text == '-');
    return digits(first) > 0 && !first[digits(first)] && (*first != '0' || !strcmp(text, "0"));
}

/* Digits, with a point and an exponent where they are wanted; what is like it in YAML (.inf, 0x10, 010, 1_000) is
 * none. */
static bool is_number(const char *text) {
    text += *text == '-' || *text == '+';
    const size_t before = digits(text), after = text[before] == '.' ? digits(text + before + 1) : 0;
    if (before + after == 0 || (before > 1 && *text == '0'))
        return false;
    text += before + (text[before] == '.') + after;
    if (*text != 'e' && *text != 'E')
        return !*text;
    text++;
    text += *text == '-' || *text == '+';
    return digits(text) > 0 && !text[digits(text)];
}

static bool fits_int(const char *text) {
    errno = 0;
    const long value = strtol(text, NULL, 10);
    return !errno && value >= INT_MIN && value <= INT_MAX;
}

static bool check_scalar(struct walk *w, const cyaml_schema_value_t *schema, const char *key) {
    const char *text = (const char *)w->event.data.scalar.value;
    const enum cyaml_type type = schema ? schema->type : CYAML_IGNORE;
    if (strlen(text) != w->event.data.scalar.length)
        return refuse(w, "a byte is 0, so this is not text");
    if ((type == CYAML_INT || type == CYAML_UINT) && !is_whole_number(text))
        return refuse(w, "%s: `%.40s` is not a whole number", key, text);
    if ((type == CYAML_INT || type == CYAML_UINT) && !fits_int(text))
        return refuse(w, "%s: `%.40s` is not between %d and %d", key, text, INT_MIN, INT_MAX);
    if (type == CYAML_FLOAT && !is_number(text))
        return refuse(w, "%s: `%.40s` is not a number", key, text);
    return true;
}

static bool walk_value(struct walk *w, const cyaml_schema_value_t *schema, const char *key);

/* A key, its value behind it. `seen`: the fields that the mapping had. */
static bool walk_pair(struct walk *w, const cyaml_schema_value_t *mapping, const char *name, uint64_t *seen) {
    if (w->event.type != YAML_SCALAR_EVENT)
        return refuse(w, "a key is one word");
    const char *key = (const char *)w->event.data.scalar.value;
    const cyaml_schema_field_t *field = mapping ? mapping->mapping.fields : NULL;
    int number = 0;
    for (; field && field->key && strcmp(field->key, key) != 0; field++)
        number++;
    const bool known = field && field->key;
    if (mapping && !known && w->whole) {
        text_fit(w->fault->unknown, sizeof w->fault->unknown, "%s", key);
        w->fault->mapping = name;
        return refuse(w, "there is no `%.80s`", key);
    }
    if (known && number < MOST_FIELDS) {
        if (*seen >> number & 1)
            return refuse(w, "`%s` stands here for the second time; leave one of them", field->key);
        *seen |= (uint64_t)1 << number;
    }
    return next(w) && walk_value(w, known ? &field->value : NULL, known ? field->key : NULL);
}

/* The value that the event begins; ends at its last event. Without a schema it is only passed. */
static bool walk_value(struct walk *w, const cyaml_schema_value_t *schema, const char *key) {
    uint64_t seen = 0;
    const yaml_event_type_t type = w->event.type;
    const enum cyaml_type wanted = schema ? schema->type : CYAML_IGNORE;
    if (type == YAML_SCALAR_EVENT)
        return check_scalar(w, schema, key);
    if (++w->depth > MOST_DEPTH)
        return refuse(w, "this is nested more than %d deep", MOST_DEPTH);
    while (next(w)) {
        if (w->event.type == YAML_SEQUENCE_END_EVENT || w->event.type == YAML_MAPPING_END_EVENT) {
            w->depth--;
            return true;
        }
        const bool good = type == YAML_SEQUENCE_START_EVENT
                              ? walk_value(w, wanted == CYAML_SEQUENCE ? schema->sequence.entry : NULL, key)
                              : walk_pair(w, wanted == CYAML_MAPPING ? schema : NULL, key, &seen);
        if (!good)
            return false;
    }
    return false;
}

static bool walk_stream(struct walk *w, const cyaml_schema_value_t *schema) {
    if (!next(w) || !next(w))
        return false;
    if (w->event.type == YAML_STREAM_END_EVENT)
        return true;
    if (!next(w) || !walk_value(w, schema, NULL) || !next(w) || !next(w))
        return false;
    return w->event.type == YAML_STREAM_END_EVENT ||
           refuse(w, "a second document begins, and a file has one; remove what is too much");
}

static bool check(const struct str *text, const cyaml_schema_value_t *schema, bool whole, struct yaml_fault *fault) {
    struct walk w = {.whole = whole, .fault = fault};
    if (!yaml_parser_initialize(&w.parser))
        return refuse(&w, "there is no memory to read it");
    yaml_parser_set_encoding(&w.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&w.parser, (const unsigned char *)str_text(text), text->length);
    const bool good = walk_stream(&w, schema);
    yaml_event_delete(&w.event);
    yaml_parser_delete(&w.parser);
    return good;
}

/* ---- libcyaml ---- */

/* It explains an error in several log messages, the most precise first: the first is the reason, the first line number
 * is where. */
static void note_error(cyaml_log_t level, void *context, const char *format, va_list args) {
    struct yaml_fault *fault = context;
    char text[400];
    if (level < CYAML_LOG_ERROR || !fault)
        return;
    text_vfit(text, sizeof text, format, args);
    text[strcspn(text, "\n")] = 0;
    const char *line = strstr(text, "line: ");
    if (line && fault->line == 0)
        fault->line = atoi(line + 6);
    const char *reason = !strncmp(text, "Load: ", 6) ? text + 6 : text;
    if (!*fault->reason && strncmp(reason, "Backtrace", 9) != 0)
        text_fit(fault->reason, sizeof fault->reason, "%s", reason);
}

static cyaml_config_t reader_config(bool whole, struct yaml_fault *fault) {
    return (cyaml_config_t){.log_fn = note_error,
                            .log_ctx = fault,
                            .mem_fn = cyaml_mem,
                            .log_level = CYAML_LOG_ERROR,
                            .flags = whole ? CYAML_CFG_DEFAULT : CYAML_CFG_IGNORE_UNKNOWN_KEYS};
}

bool yaml_schema_load(const struct str *text, const cyaml_schema_value_t *schema, bool whole, void **out,
                      struct yaml_fault *fault) {
    *out = NULL;
    *fault = (struct yaml_fault){0};
    if (!check(text, schema, whole, fault))
        return false;
    const cyaml_config_t config = reader_config(whole, fault);
    const locale_t before = number_locale_begin();
    const cyaml_err_t error =
        cyaml_load_data((const uint8_t *)str_text(text), text->length, &config, schema, out, NULL);
    number_locale_end(before);
    if (error == CYAML_OK)
        return true;
    if (!*fault->reason)
        text_fit(fault->reason, sizeof fault->reason, "%s", cyaml_strerror(error));
    if (fault->line == 0) /* it failed before the first line was taken in */
        fault->line = 1;
    return false;
}

void yaml_schema_free(const cyaml_schema_value_t *schema, void *data) {
    const cyaml_config_t config = reader_config(true, NULL);
    if (data)
        cyaml_free(&config, schema, data, 0);
}
