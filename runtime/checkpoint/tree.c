#include "tree.h"
#include "runtime/base/array.h"
#include "runtime/base/visible.h"
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

enum { VALUES_MOST = 2 << 20 };

/* ---- what SQLite takes and JSON does not have ---- */

static bool is_utf8(const char *text, size_t length) {
    uint32_t code;
    for (size_t bytes; length > 0; text += bytes, length -= bytes)
        if (!(bytes = utf8_character(text, length, &code)) || !code)
            return false;
    return true;
}

static enum mt_status check_text(const char *what, const char *text, size_t length) {
    static const char zero[] = "\\u0000";
    if (length > TREE_BYTES_MOST)
        return fail(MT_FAILURE, "%s has %zu bytes of JSON, and %zu are the most", what, length, TREE_BYTES_MOST);
    if (!is_utf8(text, length) || memmem(text, length, zero, sizeof zero - 1))
        return fail(MT_FAILURE, "%s: this is not JSON: it has a character 0, or what is no UTF-8", what);
    return MT_OK;
}

/* ---- rows of json_tree ---- */

enum { ID, PARENT, KEY, TYPE, ATOM };
static const char tree_sql[] = "SELECT id, parent, key, type, atom FROM json_tree(?)";

static enum tree_type type_of(const char *name) {
    static const char *const names[] = {"null", "true", "integer", "real", "text", "array", "object"};
    int i = 0;
    while (i < TREE_OBJECT && strcmp(names[i], name) != 0)
        i++;
    return strcmp(name, "false") != 0 ? (enum tree_type)i : TREE_BOOL;
}

/* A copy among the texts: its place there, for they may still move. NULL for NULL. */
static const char *keep(struct tree *tree, sqlite3_stmt *row, int column, bool *good) {
    const char *text = (const char *)sqlite3_column_text(row, column);
    const size_t length = (size_t)sqlite3_column_bytes(row, column), at = tree->texts.length;
    if (!text)
        return NULL;
    *good = *good && is_utf8(text, length); /* half a pair of surrogates is none */
    str_append_bytes(&tree->texts, text, length + 1);
    return (const char *)(uintptr_t)(at + 1);
}

/* SQLite numbers values by where they stand in the text, so ids are in order, but with gaps. */
static int find_parent(const struct tree *tree, sqlite3_stmt *row, const int *ids) {
    const int id = sqlite3_column_type(row, PARENT) == SQLITE_NULL ? -1 : sqlite3_column_int(row, PARENT);
    int low = 0, high = tree->count - 1;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (ids[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    return id < 0 ? -1 : low;
}

static enum mt_status take_row(const char *what, struct tree *tree, sqlite3_stmt *row, int *ids) {
    bool good = true;
    struct tree_value *v = &tree->value[tree->count];
    *v = (struct tree_value){.type = type_of((const char *)sqlite3_column_text(row, TYPE))};
    v->parent = find_parent(tree, row, ids);
    if (v->parent >= 0 && tree->value[v->parent].type == TREE_OBJECT)
        v->key = keep(tree, row, KEY, &good);
    if (v->type == TREE_TEXT)
        v->text = keep(tree, row, ATOM, &good);
    if (v->type == TREE_INTEGER && sqlite3_column_type(row, ATOM) != SQLITE_INTEGER)
        v->type = TREE_REAL; /* beyond 64 bits */
    if (v->type == TREE_INTEGER || v->type == TREE_BOOL)
        v->number = sqlite3_column_int64(row, ATOM);
    if (v->parent >= 0)
        tree->value[v->parent].count++;
    ids[tree->count++] = sqlite3_column_int(row, ID);
    return good ? str_status(&tree->texts) : fail(MT_FAILURE, "%s: this is not JSON: a text is no UTF-8", what);
}

static enum mt_status take_rows(const char *what, sqlite3 *db, sqlite3_stmt *row, struct tree *tree) {
    enum mt_status status = MT_OK;
    int rc, *ids = NULL;
    size_t id_capacity = 0;
    while (status == MT_OK && (rc = sqlite3_step(row)) == SQLITE_ROW) {
        if (tree->count == VALUES_MOST)
            status = fail(MT_FAILURE, "%s has more than %d values of JSON", what, VALUES_MOST);
        else if (!array_grow(&tree->value, &tree->capacity, (size_t)tree->count, sizeof *tree->value) ||
                 !array_grow(&ids, &id_capacity, (size_t)tree->count, sizeof *ids))
            status = MT_FAILURE;
        else
            status = take_row(what, tree, row, ids);
    }
    free(ids);
    if (status == MT_OK && rc == SQLITE_NOMEM)
        status = memory_short(tree->texts.length);
    else if (status == MT_OK && (rc != SQLITE_DONE || !tree->count))
        status = fail(MT_FAILURE, "%s: this is not JSON: %s", what, sqlite3_errmsg(db));
    return status;
}

/* ---- the tree ---- */

static int by_key(const void *a, const void *b) {
    const struct tree_value *const *x = a, *const *y = b;
    return strcmp((*x)->key, (*y)->key);
}

/* Texts no longer move. Items of a value lie side by side, twice. */
static enum mt_status arrange(const char *what, struct tree *tree) {
    struct tree_value **next = mem_zeroed(2 * (size_t)tree->count, sizeof *next);
    tree->item = next;
    if (!next)
        return MT_FAILURE;
    for (int i = 0; i < tree->count; i++) {
        struct tree_value *v = &tree->value[i];
        v->key = v->key ? tree->texts.data + (uintptr_t)v->key - 1 : NULL;
        v->text = v->text ? tree->texts.data + (uintptr_t)v->text - 1 : NULL;
        v->item = next;
        next += v->count;
        v->by_key = next;
        next += v->count;
        v->count = 0;
        if (v->parent < 0)
            continue;
        struct tree_value *parent = &tree->value[v->parent]; /* stands before what it holds */
        ((struct tree_value **)parent->item)[parent->count] = v;
        ((struct tree_value **)parent->by_key)[parent->count++] = v;
    }
    for (int i = 0; i < tree->count; i++) {
        const struct tree_value *v = &tree->value[i];
        if (v->type != TREE_OBJECT)
            continue;
        qsort((void *)v->by_key, (size_t)v->count, sizeof *v->by_key, by_key);
        for (int m = 1; m < v->count; m++)
            if (!strcmp(v->by_key[m - 1]->key, v->by_key[m]->key))
                return fail(MT_FAILURE, "%s: an object has the key %.80s twice", what, v->by_key[m]->key);
    }
    return MT_OK;
}

enum mt_status tree_read(const char *what, const char *text, size_t length, struct tree *out) {
    sqlite3 *db = NULL;
    sqlite3_stmt *row = NULL;
    *out = (struct tree){0};
    enum mt_status status = check_text(what, text, length);
    if (status != MT_OK)
        return status;
    int rc = sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_prepare_v2(db, tree_sql, -1, &row, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(row, 1, text, (int)length, SQLITE_STATIC);
    if (rc == SQLITE_NOMEM)
        status = memory_short(length);
    else if (rc != SQLITE_OK)
        status = fail(MT_FAILURE, "%s: SQLite cannot read JSON: %s", what, sqlite3_errmsg(db));
    else
        status = take_rows(what, db, row, out);
    if (status == MT_OK)
        status = arrange(what, out);
    sqlite3_finalize(row);
    sqlite3_close(db);
    if (status != MT_OK)
        tree_release(out);
    return status;
}

void tree_release(struct tree *tree) {
    free(tree->value);
    free((void *)tree->item);
    str_release(&tree->texts);
    *tree = (struct tree){0};
}

const struct tree_value *tree_get(const struct tree_value *value, const char *key) {
    const struct tree_value wanted = {.key = key}, *at = &wanted;
    if (!tree_is(value, TREE_OBJECT) || !value->count)
        return NULL;
    struct tree_value *const *found =
        bsearch((const void *)&at, (const void *)value->by_key, (size_t)value->count, sizeof *value->by_key, by_key);
    return found ? *found : NULL;
}

const char *tree_get_text(const struct tree_value *value, const char *key) {
    const struct tree_value *member = tree_get(value, key);
    return member ? member->text : NULL;
}

bool tree_is(const struct tree_value *value, enum tree_type type) {
    return value && value->type == type;
}

void tree_quote(struct str *out, const char *text) {
    str_append(out, "\"");
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            str_printf(out, "\\%c", *text);
        else if ((unsigned char)*text < ' ')
            str_printf(out, "\\u%04x", (unsigned)*text);
        else
            str_append_bytes(out, text, 1);
    }
    str_append(out, "\"");
}
