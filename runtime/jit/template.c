#include "template.h"
#include "compile.h"
#include "runtime/base/file.h"
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

struct template_file {
    const char *name, *text;
};

/* All files of templates/, sorted; ends with a NULL name (templates.S). */
extern const struct template_file embedded_templates[];

/* Texts read from $MIXTUNE_TEMPLATES live as long as the process. */
struct read_text {
    struct read_text *next;
    char *path, *text;
};
static struct read_text *read_texts;
static pthread_mutex_t read_lock = PTHREAD_MUTEX_INITIALIZER;

/* At the head of the list; NULL if memory is short. */
static struct read_text *keep_text(const char *path, const char *text) {
    struct read_text *now = mem_zeroed(1, sizeof *now);
    char *own_path = now ? mem_text(path) : NULL, *own_text = own_path ? mem_text(text) : NULL;
    if (!own_text) {
        free(own_path);
        free(now);
        return NULL;
    }
    *now = (struct read_text){.next = read_texts, .path = own_path, .text = own_text};
    return read_texts = now;
}

static enum mt_status read_template(const char *path, const char **text) {
    struct str now = {0};
    enum mt_status status = file_read(path, &now);
    if (status == MT_OK) {
        pthread_mutex_lock(&read_lock);
        struct read_text *known = read_texts;
        while (known && (strcmp(known->path, path) != 0 || strcmp(known->text, str_text(&now)) != 0))
            known = known->next;
        if (!known)
            known = keep_text(path, str_text(&now));
        *text = known ? known->text : NULL;
        status = known ? MT_OK : MT_FAILURE;
        pthread_mutex_unlock(&read_lock);
    }
    str_release(&now);
    return status;
}

enum mt_status template_source(const char *name, const char **text) {
    const char *folder = getenv("MIXTUNE_TEMPLATES");
    *text = NULL;
    if (folder && *folder) {
        struct str path = {0};
        str_printf(&path, "%s/%s", folder, name);
        /* What cannot be looked at is not taken for missing. */
        enum mt_status status = str_status(&path);
        const bool missing = !status && access(path.data, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR);
        if (status == MT_OK && !missing)
            status = read_template(path.data, text);
        str_release(&path);
        if (status != MT_OK || *text)
            return status;
    }
    for (const struct template_file *file = embedded_templates; file->name; file++)
        if (strcmp(file->name, name) == 0) {
            *text = file->text;
            return MT_OK;
        }
    return fail(MT_FAILURE, "there is no kernel template %s", name);
}

struct expansion {
    struct str *out;
    struct str seen; /* names of the files that are in, each between newlines */
};

/* "tile/a.cuh" with "../ptx/b.cuh" -> "ptx/b.cuh": what an include names, from the folder of the file that has it. */
static void resolve(const char *from, const char *target, size_t length, struct str *out) {
    const char *slash = strrchr(from, '/');
    size_t folder = slash ? (size_t)(slash - from) + 1 : 0;
    for (; folder > 0 && length > 3 && strncmp(target, "../", 3) == 0; target += 3, length -= 3)
        for (folder--; folder > 0 && from[folder - 1] != '/';)
            folder--;
    str_append_bytes(out, from, folder);
    str_append_bytes(out, target, length);
}

static enum mt_status expand(struct expansion *e, const char *name);

/* The text between the quotes if `line` is #include "...", else NULL. */
static const char *include_of(const char *line, size_t *length) {
    line += strspn(line, " \t");
    if (*line++ != '#')
        return NULL;
    line += strspn(line, " \t");
    if (strncmp(line, "include", 7) != 0)
        return NULL;
    line += 7 + strspn(line + 7, " \t");
    *length = *line == '"' ? strcspn(line + 1, "\"\n") : 0;
    return *length > 0 && line[1 + *length] == '"' ? line + 1 : NULL;
}

static enum mt_status expand_include(struct expansion *e, const char *from, const char *target, size_t length) {
    struct str name = {0}, mark = {0};
    enum mt_status status = MT_OK;
    resolve(from, target, length, &name);
    str_printf(&mark, "\n%s\n", str_text(&name));
    /* Without what was seen, files that include each other would have no end. */
    status = str_status(&name) || str_status(&mark) ? MT_FAILURE : str_status(&e->seen);
    if (status == MT_OK && !strstr(str_text(&e->seen), mark.data)) {
        status = expand(e, name.data);
        if (status != MT_OK)
            fail_context(status, "%s", from);
    }
    str_release(&name);
    str_release(&mark);
    return status;
}

static enum mt_status expand(struct expansion *e, const char *name) {
    const char *text;
    enum mt_status status = template_source(name, &text);
    if (status != MT_OK)
        return status;
    str_printf(&e->seen, "\n%s\n", name);
    str_printf(e->out, "#line 1 \"%s\"\n", name);
    int number = 1;
    for (const char *line = text; *line && status == MT_OK; number++) {
        size_t length, size = strcspn(line, "\n");
        const char *target = include_of(line, &length);
        if (target) {
            status = expand_include(e, name, target, length);
            str_printf(e->out, "#line %d \"%s\"\n", number + 1, name);
        } else {
            /* Every file comes once, so a #pragma once is kept by an empty line. */
            if (strncmp(line, "#pragma once", 12) != 0)
                str_append_bytes(e->out, line, size);
            str_append(e->out, "\n");
        }
        line += size + (line[size] == '\n');
    }
    return status;
}

enum mt_status template_expand(const char *name, struct str *out) {
    struct expansion e = {.out = out};
    enum mt_status status = expand(&e, name);
    str_release(&e.seen);
    return status ? status : str_status(out);
}

enum mt_status text_hash(const struct str *text, char out[33]) {
    XXH128_hash_t hash = XXH3_128bits(str_text(text), text->length);
    snprintf(out, 33, "%016llx%016llx", (unsigned long long)hash.high64, (unsigned long long)hash.low64);
    return str_status(text);
}

enum mt_status template_hash(char out[33]) {
    struct str all = {0};
    enum mt_status status = MT_OK;
    for (const struct template_file *file = embedded_templates; file->name && status == MT_OK; file++) {
        const char *end = strrchr(file->name, '.');
        if (end && strcmp(end, ".cu") == 0) {
            str_append(&all, file->name);
            status = template_expand(file->name, &all);
        }
    }
    if (status == MT_OK)
        status = text_hash(&all, out);
    str_release(&all);
    return status;
}
