#include "folder.h"
#include "runtime/base/array.h"
#include "runtime/base/file.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SINGLE "model.safetensors"

static bool is_there(const char *path, mode_t kind) {
    struct stat info;
    return stat(path, &info) == 0 && (info.st_mode & S_IFMT) == kind;
}

static enum mt_status add_file(struct folder *folder, size_t *capacity, const char *path) {
    if (!array_grow(&folder->file, capacity, (size_t)folder->file_count, sizeof *folder->file))
        return MT_FAILURE;
    enum mt_status status = tensor_file_open(path, &folder->file[folder->file_count]);
    folder->file_count += status == MT_OK;
    return status;
}

/* ---- the index ---- */

/* A file's name that stays within the folder. */
static bool is_file_name(const char *name) {
    return name && *name && *name != '.' && !strchr(name, '/') && tensor_name_plain(name);
}

static bool has_file(const struct folder *folder, const char *path) {
    for (int i = 0; i < folder->file_count; i++)
        if (!strcmp(folder->file[i].path, path))
            return true;
    return false;
}

/* Opens each file that the map names. */
static enum mt_status open_files(struct folder *folder, const struct tree_value *map, const char *index) {
    struct str path = {0};
    size_t capacity = 0;
    enum mt_status status = MT_OK;
    for (int i = 0; i < map->count && !status; i++) {
        const char *name = map->item[i]->text;
        if (!is_file_name(name) || !tensor_name_plain(map->item[i]->key)) {
            status = fail(MT_FAILURE,
                          "%s: the file of a tensor is not the name of one beside it, or a name has control characters",
                          index);
            break;
        }
        str_clear(&path);
        str_printf(&path, "%s/%s", folder->path.data, name);
        if ((status = str_status(&path)) != MT_OK || has_file(folder, path.data))
            continue;
        if (!is_there(path.data, S_IFREG))
            status = fail(MT_FAILURE, "the shard %s is missing, which %s names; copy or download it again", path.data,
                          FOLDER_INDEX);
        else
            status = add_file(folder, &capacity, path.data);
    }
    str_release(&path);
    return status;
}

/* Every tensor of the map must be there; it may be said to be in another file. */
static enum mt_status check_map(const struct folder *folder, const struct tree_value *map) {
    for (int i = 0; i < map->count; i++)
        if (!folder_find(folder, map->item[i]->key))
            return fail(MT_FAILURE, "%s/%s names a tensor %.80s, which %.80s does not have", folder->path.data,
                        FOLDER_INDEX, map->item[i]->key, map->item[i]->text);
    return MT_OK;
}

static int by_name(const void *a, const void *b) {
    const struct tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static enum mt_status sort_tensors(struct folder *folder) {
    size_t capacity = 0;
    for (int i = 0; i < folder->file_count; i++)
        for (int j = 0; j < folder->file[i].count; j++) {
            if (!array_grow(&folder->tensor, &capacity, (size_t)folder->count, sizeof(struct tensor *)))
                return MT_FAILURE;
            folder->tensor[folder->count++] = &folder->file[i].tensor[j];
        }
    if (folder->tensor)
        qsort((void *)folder->tensor, (size_t)folder->count, sizeof *folder->tensor, by_name);
    return MT_OK;
}

/* Every file of a packed checkpoint has fillers of the same names. */
static enum mt_status check_twice(const struct folder *folder) {
    for (int i = 1; i < folder->count; i++)
        if (!strcmp(folder->tensor[i - 1]->name, folder->tensor[i]->name) && !tensor_is_filler(folder->tensor[i]))
            return fail(MT_FAILURE, "%s: two files have a tensor %.80s", folder->path.data, folder->tensor[i]->name);
    return MT_OK;
}

static int by_path(const void *a, const void *b) {
    const struct tensor_file *x = a, *y = b;
    return strcmp(x->path, y->path);
}

static enum mt_status open_index(struct folder *folder, const char *index) {
    struct str text = {0};
    enum mt_status status = file_read_text(index, TREE_BYTES_MOST, MT_FAILURE, &text);
    if (!status)
        status = tree_read(index, str_text(&text), text.length, &folder->index);
    str_release(&text);
    if (status)
        return status;
    const struct tree_value *map = tree_get(&folder->index.value[0], "weight_map");
    if (!tree_is(map, TREE_OBJECT) || !map->count)
        return fail(MT_FAILURE, "%s has no weight_map, which says what file each tensor is in", index);
    status = open_files(folder, map, index);
    if (status)
        return status;
    qsort(folder->file, (size_t)folder->file_count, sizeof *folder->file, by_path);
    status = sort_tensors(folder);
    return status ? status : check_map(folder, map);
}

/* ---- folders ---- */

static enum mt_status open_path(struct folder *folder, const char *path) {
    struct str name = {0};
    size_t capacity = 0;
    enum mt_status status;
    if (is_there(path, S_IFREG)) {
        const char *slash = strrchr(path, '/');
        str_append_bytes(&folder->path, slash ? path : ".", slash ? (size_t)(slash - path) : 1);
        status = str_status(&folder->path);
        if (!status)
            status = add_file(folder, &capacity, path);
        goto out;
    }
    str_append(&folder->path, path);
    str_printf(&name, "%s/%s", path, FOLDER_INDEX);
    if ((status = str_status(&folder->path)) != MT_OK || (status = str_status(&name)) != MT_OK)
        goto out;
    if (is_there(name.data, S_IFREG)) {
        status = open_index(folder, name.data);
        goto out;
    }
    str_clear(&name);
    str_printf(&name, "%s/%s", path, SINGLE);
    if (!is_there(path, S_IFDIR))
        status = fail(MT_USAGE, "there is no folder %s", path);
    else if (!is_there(name.data, S_IFREG))
        status = fail(MT_USAGE, "%s has neither %s nor %s; give the folder of a model in safetensors files", path,
                      FOLDER_INDEX, SINGLE);
    else
        status = add_file(folder, &capacity, name.data);
out:
    if (!status && !folder->tensor)
        status = sort_tensors(folder);
    str_release(&name);
    return status;
}

enum mt_status folder_open(const char *path, struct folder *out) {
    *out = (struct folder){0};
    enum mt_status status = open_path(out, path);
    if (!status)
        status = check_twice(out);
    if (status)
        folder_close(out);
    return status;
}

void folder_close(struct folder *folder) {
    for (int i = 0; i < folder->file_count; i++)
        tensor_file_close(&folder->file[i]);
    free(folder->file);
    free((void *)folder->tensor);
    tree_release(&folder->index);
    str_release(&folder->path);
    *folder = (struct folder){0};
}

const struct tensor *folder_find(const struct folder *folder, const char *name) {
    const struct tensor key = {.name = name}, *wanted = &key;
    const struct tensor **found =
        folder->count ? bsearch(&wanted, (void *)folder->tensor, (size_t)folder->count, sizeof *folder->tensor, by_name)
                      : NULL;
    return found ? *found : NULL;
}

const char *folder_text(const struct folder *folder, const char *key) {
    return folder->index.count ? tree_get_text(tree_get(&folder->index.value[0], "metadata"), key) : NULL;
}
