#include "space.h"
#include "runtime/base/array.h"
#include "runtime/base/file.h"
#include "runtime/base/status.h"
#include "runtime/yaml/yaml.h"
#include "tuner/options.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <yaml.h>

enum { MOST_LISTED = 1 << 14 }; /* configurations that are written out: libcyaml's list grows one by one */

/* What libcyaml fills. The schema of `values` is made from the family's knobs, so there is no second list of them. */
struct space_file {
    char *family;
    struct space values;
    char **configs;
    uint32_t configs_count;
};

static const cyaml_schema_value_t knob_value = {CYAML_VALUE_INT(CYAML_FLAG_DEFAULT, int)};
static const cyaml_schema_value_t config_value = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, 1024)};

enum { MOST_CONFIGS = 1 << 22 }; /* of all spaces together; those of configs/ have 3.8 million */

static const char parts_of_space[] = "a space has `family`, and `values` or `configs`";

static enum mt_status explain(const char *path, const struct family *family, const struct yaml_fault *fault) {
    if (!*fault->unknown)
        return fail(MT_USAGE, "space file %s, line %d: %s", path, fault->line, fault->reason);
    if (!fault->mapping || !family)
        return fail(MT_USAGE, "space file %s, line %d: %s; %s", path, fault->line, fault->reason, parts_of_space);
    family_no_knob(family, fault->unknown);
    return fail_context(MT_USAGE, "space file %s, line %d", path, fault->line);
}

/* The line where `word` stands in a text that was read already. */
static int line_of(const struct str *text, const char *word) {
    yaml_parser_t parser;
    yaml_event_t event;
    int line = 1;
    bool more = yaml_parser_initialize(&parser);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text->data, text->length);
    while (more && yaml_parser_parse(&parser, &event)) {
        more = event.type != YAML_STREAM_END_EVENT;
        if (event.type == YAML_SCALAR_EVENT && !strcmp((const char *)event.data.scalar.value, word)) {
            line = (int)event.start_mark.line + 1;
            more = false;
        }
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return line;
}

/* `family` NULL: reads only which family it is. */
static enum mt_status load(const char *path, const struct str *text, const struct family *family,
                           struct space_file *out) {
    cyaml_schema_field_t knobs[MT_MAX_KNOBS + 1] = {0};
    for (int i = 0; family && i < family->knob_count; i++) {
        knobs[i].key = family->knobs[i].name;
        knobs[i].data_offset = (uint32_t)(offsetof(struct space, values) + (size_t)i * sizeof(int *));
        knobs[i].count_offset = (uint32_t)(offsetof(struct space, counts) + (size_t)i * sizeof(uint32_t));
        knobs[i].count_size = sizeof(uint32_t);
        knobs[i].value = (cyaml_schema_value_t){
            CYAML_VALUE_SEQUENCE(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, int, &knob_value, 1, 256)};
    }
    const cyaml_schema_field_t fields[] = {
        CYAML_FIELD_STRING_PTR("family", CYAML_FLAG_POINTER, struct space_file, family, 1, 32),
        CYAML_FIELD_MAPPING("values", CYAML_FLAG_OPTIONAL, struct space_file, values, knobs),
        CYAML_FIELD_SEQUENCE("configs", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct space_file, configs,
                             &config_value, 0, MOST_LISTED),
        CYAML_FIELD_END};
    const cyaml_schema_value_t schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct space_file, fields)};
    struct yaml_fault fault;
    struct space_file *file = NULL;
    if (!yaml_schema_load(text, &schema, family != NULL, (void **)&file, &fault))
        return explain(path, family, &fault);
    if (!file)
        return fail(MT_USAGE, "space file %s, line 1: it is empty; %s", path, parts_of_space);
    *out = *file; /* the strings and lists are now the caller's; only the frame is freed */
    free(file);
    return MT_OK;
}

static void release_configs(struct space_file *file) {
    for (uint32_t i = 0; i < file->configs_count; i++)
        free(file->configs[i]);
    free(file->configs);
}

/* The configurations that are written out. */
static enum mt_status read_listed(const char *path, const struct str *text, const struct space_file *file,
                                  struct space *out) {
    out->listed = xcalloc((size_t)file->configs_count + 1, sizeof *out->listed);
    for (; out->listed_count < file->configs_count; out->listed_count++) {
        const char *config = file->configs[out->listed_count];
        if (config_parse(out->family, config, &out->listed[out->listed_count]) == MT_OK)
            continue;
        return fail_context(MT_USAGE, "space file %s, line %d", path, line_of(text, config));
    }
    return MT_OK;
}

/* The same limits as those of a configuration that is written out. */
static enum mt_status check_values(const char *path, const struct str *text, const struct space *space) {
    char number[16];
    for (int i = 0; i < space->family->knob_count; i++)
        for (uint32_t j = 0; j < space->counts[i]; j++) {
            const int value = space->values[i][j];
            if (value >= 0 && value <= KNOB_VALUE_MOST)
                continue;
            snprintf(number, sizeof number, "%d", value);
            return fail(MT_USAGE, "space file %s, line %d: %s: %d is not between 0 and %d", path, line_of(text, number),
                        space->family->knobs[i].name, value, KNOB_VALUE_MOST);
        }
    return MT_OK;
}

static bool lists_values(const struct space *space) {
    bool some = false;
    for (int i = 0; i < MT_MAX_KNOBS; i++)
        some = some || space->values[i];
    return some;
}

enum mt_status space_read(const char *name, struct space *out) {
    struct str path = {0}, text = {0};
    struct space_file head = {0}, file = {0};
    *out = (struct space){0};
    enum mt_status status = config_find("spaces", name, "yaml", &path);
    if (status || (status = file_read_text(path.data, FILE_TEXT_MOST, MT_USAGE, &text)))
        goto out;
    if (text.length == 0) {
        status = fail(MT_USAGE, "space file %s, line 1: it is empty; %s", path.data, parts_of_space);
        goto out;
    }
    if ((status = load(path.data, &text, NULL, &head)))
        goto out;
    const struct family *family;
    if ((status = family_named(head.family, &family))) {
        fail_context(status, "space file %s", path.data);
        goto out;
    }
    if ((status = load(path.data, &text, family, &file)))
        goto out;
    *out = file.values;
    out->family = family;
    if (!lists_values(out) && file.configs_count == 0)
        status = fail(MT_USAGE, "space file %s, line 1: it lists nothing; %s", path.data, parts_of_space);
    else if (!(status = check_values(path.data, &text, out)))
        status = read_listed(path.data, &text, &file, out);
    if (status)
        space_release(out);
out:
    release_configs(&head);
    release_configs(&file);
    free(head.family);
    free(file.family);
    str_release(&text);
    str_release(&path);
    return status;
}

void space_release(struct space *space) {
    for (int i = 0; i < MT_MAX_KNOBS; i++)
        free(space->values[i]);
    free(space->listed);
    *space = (struct space){0};
}

/* 16 knobs of 256 values are more than a long counts: beyond MOST_CONFIGS the count ends. */
static long product_size(const struct space *space) {
    long size = 1;
    for (int i = 0; i < space->family->knob_count && size <= MOST_CONFIGS; i++)
        if (space->values[i])
            size *= (long)space->counts[i];
    return size;
}

long space_size(const struct space *space) {
    return product_size(space) + (long)space->listed_count;
}

void space_config(const struct space *space, long index, struct config *out) {
    const long product = product_size(space);
    if (index >= product) {
        *out = space->listed[index - product];
        return;
    }
    config_default(space->family, out);
    for (int i = space->family->knob_count - 1; i >= 0; i--) {
        if (!space->values[i])
            continue;
        out->value[i] = space->values[i][index % space->counts[i]];
        index /= space->counts[i];
    }
}

void config_list_release(struct config_list *list) {
    free(list->config);
    *list = (struct config_list){0};
}

void config_list_add(struct config_list *list, const struct config *config) {
    array_grow(&list->config, &list->capacity, (size_t)list->count, sizeof *list->config);
    list->config[list->count++] = *config;
}

/* Keeps the first of equal ones, by a table of indices with open addressing. */
static void drop_repetitions(struct config_list *list) {
    size_t slots = 16, kept = 0;
    while (slots < 2 * (size_t)list->count)
        slots *= 2;
    int *table = xcalloc(slots, sizeof *table); /* index + 1; 0: free */
    for (int i = 0; i < list->count; i++) {
        const struct config *c = &list->config[i];
        size_t at = XXH3_64bits(c->value, sizeof c->value) & (slots - 1);
        while (table[at] && !config_equal(&list->config[table[at] - 1], c))
            at = (at + 1) & (slots - 1);
        if (table[at])
            continue;
        list->config[kept++] = *c;
        table[at] = (int)kept;
    }
    free(table);
    list->count = (int)kept;
}

static bool list_has(const struct config_list *list, const struct family *family) {
    for (int i = 0; i < list->count; i++)
        if (list->config[i].family == family)
            return true;
    return false;
}

static enum mt_status add_space(struct config_list *list, const char *name) {
    struct space space;
    struct config config;
    enum mt_status status = space_read(name, &space);
    if (status)
        return status;
    if (list->count + space_size(&space) > MOST_CONFIGS) {
        space_release(&space);
        return fail(MT_USAGE,
                    "space %s: these are more than %d configurations, which no sweep comes to the end of; list fewer "
                    "values",
                    name, MOST_CONFIGS);
    }
    const int family = family_number(space.family);
    bool listed = list_has(list, space.family) && !list->implied[family];
    config_default(space.family, &config);
    config_list_add(list, &config);
    for (long i = 0; i < space_size(&space); i++) {
        space_config(&space, i, &config);
        config_list_add(list, &config);
        /* The product of no values is the default, too. */
        listed = listed || (config_is_default(&config) && (i > 0 || lists_values(&space)));
    }
    list->implied[family] = !listed;
    space_release(&space);
    return MT_OK;
}

enum mt_status config_list_read(const char *spaces, struct config_list *out) {
    *out = (struct config_list){0};
    enum mt_status status = list_check(spaces, "--space");
    char *copy = xstrdup(spaces), *save;
    for (char *p = strtok_r(copy, ",", &save); p && !status; p = strtok_r(NULL, ",", &save))
        status = add_space(out, p);
    free(copy);
    if (status)
        config_list_release(out);
    else
        drop_repetitions(out);
    return status;
}
