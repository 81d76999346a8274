#include "convert.h"
#include "foreign.h"
#include "runtime/base/array.h"
#include "runtime/base/file.h"
#include "runtime/base/lockfile.h"
#include "runtime/base/str.h"
#include "tuner/progress.h"
#include "tuner/quantize/output.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OUTSIDE = -1 };

/* What one file gets: the linear layers and other tensors of a decoder layer, or those of none. */
struct shard {
    int decoder;
    const struct linear **linear;
    int linear_count;
    const struct tensor **carried;
    int carried_count;
    size_t linear_capacity, carried_capacity;
};

struct writing_out {
    struct checkpoint *from;
    enum foreign_format format;
    struct shard *shard;
    int count;
    size_t capacity;
    struct str out, part; /* the folder, and its name until it is whole */
    int lock;
    struct file_lock held;
    bool ours;                    /* `part` is */
    json_t *map;                  /* of the index */
    size_t total;                 /* bytes of all tensors */
    enum tensor_type *scale_type; /* of each linear layer */
    struct convert_result *result;
    struct progress progress;
};

/* ---- which file ---- */

/* N of ...layers.N....; OUTSIDE where there is none. */
static int decoder_of(const char *name) {
    for (const char *at = name; (at = strstr(at, "layers.")) != NULL; at++) {
        char *end;
        const long number = strtol(at + strlen("layers."), &end, 10);
        if ((at == name || at[-1] == '.') && end > at + strlen("layers.") && *end == '.' && number >= 0 &&
            number < 99999)
            return (int)number;
    }
    return OUTSIDE;
}

static struct shard *shard_of(struct writing_out *w, const char *name) {
    const int decoder = decoder_of(name);
    for (int i = w->count - 1; i >= 0; i--)
        if (w->shard[i].decoder == decoder)
            return &w->shard[i];
    array_grow(&w->shard, &w->capacity, (size_t)w->count, sizeof *w->shard);
    w->shard[w->count] = (struct shard){.decoder = decoder};
    return &w->shard[w->count++];
}

/* Those of decoder layers in their order, then the rest. */
static int by_decoder(const void *a, const void *b) {
    const unsigned x = (unsigned)((const struct shard *)a)->decoder, y = (unsigned)((const struct shard *)b)->decoder;
    return x < y ? -1 : x > y;
}

/* Those of one packed layer after each other, so that it is unpacked once. */
static int by_packed(const void *a, const void *b) {
    const struct linear *x = *(const struct linear *const *)a, *y = *(const struct linear *const *)b;
    if (x->packed != y->packed)
        return x->packed < y->packed ? -1 : 1;
    return x->first != y->first ? (x->first < y->first ? -1 : 1) : strcmp(x->name, y->name);
}

static void plan_shards(struct writing_out *w) {
    const struct checkpoint *from = w->from;
    for (int i = 0; i < from->count; i++) {
        struct shard *s = shard_of(w, from->linear[i].name);
        array_grow(&s->linear, &s->linear_capacity, (size_t)s->linear_count, sizeof(struct linear *));
        s->linear[s->linear_count++] = &from->linear[i];
    }
    for (int i = 0; i < from->carried_count; i++) {
        struct shard *s = shard_of(w, from->carried[i]->name);
        array_grow(&s->carried, &s->carried_capacity, (size_t)s->carried_count, sizeof(struct tensor *));
        s->carried[s->carried_count++] = from->carried[i];
    }
    qsort(w->shard, (size_t)w->count, sizeof *w->shard, by_decoder);
    for (int i = 0; i < w->count; i++)
        if (w->shard[i].linear_count)
            qsort((void *)w->shard[i].linear, (size_t)w->shard[i].linear_count, sizeof(struct linear *), by_packed);
}

/* ---- one file ---- */

static enum tensor_type scale_type(const struct writing_out *w, const struct linear *l) {
    return w->scale_type[l - w->from->linear];
}

static enum mt_status put_linear(struct writing_out *w, struct tensor_writer *writer, const struct linear *l,
                                 const int slot[FOREIGN_TENSORS]) {
    struct codes codes;
    enum mt_status status = checkpoint_read(w->from, l, l->group ? l->group : l->k, &codes);
    if (status)
        return status;
    status = foreign_put(writer, l, w->format, scale_type(w, l), &codes, slot);
    codes_release(&codes);
    checkpoint_drop(l);
    progress_step(&w->progress, true, l->name);
    return status;
}

static enum mt_status put_all(struct writing_out *w, const struct shard *s, struct tensor_writer *writer,
                              const int *slots) {
    enum mt_status status = MT_OK;
    const int *carried = slots + s->linear_count * FOREIGN_TENSORS;
    for (int i = 0; i < s->linear_count && !status; i++)
        status = interrupted()
                     ? fail(MT_INTERRUPTED, "interrupted; nothing was written, and the same command begins again")
                     : put_linear(w, writer, s->linear[i], slots + i * FOREIGN_TENSORS);
    for (int i = 0; i < s->carried_count && !status; i++)
        status = tensor_writer_copy(writer, carried[i], s->carried[i]);
    return status;
}

static void name_tensors(struct writing_out *w, const char *path, const char *file) {
    struct tensor_file written;
    if (tensor_file_open(path, &written) != MT_OK)
        return;
    for (int i = 0; i < written.count; i++) {
        json_object_set_new(w->map, written.tensor[i].name, json_string(file));
        w->total += written.tensor[i].bytes;
    }
    tensor_file_close(&written);
}

static enum mt_status write_shard(struct writing_out *w, int index) {
    const struct shard *s = &w->shard[index];
    int *slots = xcalloc((size_t)(s->linear_count * FOREIGN_TENSORS + s->carried_count) + 1, sizeof *slots);
    struct tensor_writer *writer = tensor_writer_new();
    struct str path = {0};
    char file[64];
    tensor_writer_text(writer, "format", "pt"); /* which transformers insists on */
    for (int i = 0; i < s->linear_count; i++)
        foreign_declare(writer, s->linear[i], w->format, scale_type(w, s->linear[i]), slots + i * FOREIGN_TENSORS);
    for (int i = 0; i < s->carried_count; i++) {
        const struct tensor *t = s->carried[i];
        slots[s->linear_count * FOREIGN_TENSORS + i] =
            tensor_writer_add(writer, t->name, t->type_name, t->rank, t->shape, t->bytes, 1);
    }
    snprintf(file, sizeof file, "model-%05d-of-%05d.safetensors", index + 1, w->count);
    str_printf(&path, "%s/%s", w->part.data, file);
    enum mt_status status = tensor_writer_begin(writer, path.data);
    if (!status)
        status = put_all(w, s, writer, slots);
    if (!status)
        status = tensor_writer_end(writer);
    tensor_writer_free(writer);
    if (!status)
        name_tensors(w, path.data, file);
    str_release(&path);
    free(slots);
    return status;
}

/* ---- the folder ---- */

static bool is_entry(const struct dirent *entry) {
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static void empty_folder(const char *path) {
    DIR *folder = opendir(path);
    const struct dirent *entry;
    while (folder && (entry = readdir(folder)) != NULL)
        if (is_entry(entry))
            unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder)
        closedir(folder);
}

/* MT_USAGE if the folder has files; there need be none. */
static enum mt_status check_empty(const char *path) {
    DIR *folder = opendir(path);
    const struct dirent *entry;
    bool empty = true;
    if (!folder)
        return errno == ENOENT ? MT_OK : file_fail("write", path);
    while (empty && (entry = readdir(folder)) != NULL)
        empty = !is_entry(entry);
    closedir(folder);
    return empty ? MT_OK : fail(MT_USAGE, "%s has files already; remove it, or name another folder with --out", path);
}

/* The unfinished folder is one process's alone. What a killed one left in it goes; its marker says that it is that. */
static enum mt_status take_part(struct writing_out *w) {
    char holder[FILE_LOCK_HOLDER];
    enum mt_status status = folder_make(w->part.data);
    if (status)
        return status;
    w->lock = open(w->part.data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (w->lock < 0)
        return file_fail("write", w->part.data);
    if (!file_lock(w->lock, w->part.data, &w->held, holder))
        return fail(MT_FAILURE, "%s is writing to %s; wait until it ends, or name another folder", holder,
                    w->part.data);
    if (faccessat(w->lock, OUTPUT_MARKER, F_OK, 0) != 0 && (status = check_empty(w->part.data)) != MT_OK)
        return status;
    empty_folder(w->part.data);
    const int marker = openat(w->lock, OUTPUT_MARKER, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (marker < 0)
        return file_fail("write", w->part.data);
    close(marker);
    w->ours = true;
    return MT_OK;
}

static enum mt_status write_index(const struct writing_out *w) {
    json_t *root = json_pack("{s{sI} sO}", "metadata", "total_size", (json_int_t)w->total, "weight_map", w->map);
    struct str path = {0};
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS);
    str_printf(&path, "%s/" FOLDER_INDEX, w->part.data);
    enum mt_status status = file_write_atomic(path.data, text, strlen(text));
    free(text);
    str_release(&path);
    json_decref(root);
    return status;
}

static enum mt_status write_small_files(const struct writing_out *w) {
    json_t *config = foreign_config(w->from, w->format);
    char *text = json_dumps(config, JSON_INDENT(2));
    enum mt_status status = output_copy_files(&w->from->packed.folder, w->part.data, text);
    free(text);
    json_decref(config);
    return status ? status : write_index(w);
}

static enum mt_status write_all(struct writing_out *w) {
    enum mt_status status = take_part(w);
    progress_init(&w->progress, "convert", w->from->count, w->progress.quiet || status);
    for (int i = 0; i < w->count && !status; i++)
        status = write_shard(w, i);
    progress_release(&w->progress);
    if (!status)
        status = write_small_files(w);
    if (!status && rename(w->part.data, w->out.data) != 0)
        status = file_fail("rename the finished folder to", w->out.data);
    if (!status) {
        unlinkat(w->lock, OUTPUT_MARKER, 0);
        file_flush_folder(w->out.data);
    } else if (w->ours) {
        empty_folder(w->part.data);
        rmdir(w->part.data);
    }
    return status;
}

static void take_scale_types(struct writing_out *w) {
    const struct checkpoint *from = w->from;
    const bool bf16 = w->format != FOREIGN_GPTQ && foreign_model_type(from) == TENSOR_BF16;
    w->scale_type = xcalloc((size_t)from->count, sizeof *w->scale_type);
    for (int i = 0; i < from->count; i++) {
        w->scale_type[i] = foreign_scale_type(from, &from->linear[i], w->format);
        w->result->wide_scales += bf16 && w->scale_type[i] != TENSOR_BF16;
    }
}

enum mt_status convert_to_foreign(struct checkpoint *from, const char *out, enum convert_to format, bool quiet,
                                  struct convert_result *result) {
    struct writing_out w = {.from = from,
                            .format = format == TO_GPTQ ? FOREIGN_GPTQ : FOREIGN_PACK_QUANTIZED,
                            .lock = -1,
                            .map = json_object(),
                            .result = result,
                            .progress.quiet = quiet};
    size_t length = strlen(out);
    while (length > 1 && out[length - 1] == '/')
        length--;
    str_append_bytes(&w.out, out, length);
    str_printf(&w.part, "%s.part", w.out.data);
    enum mt_status status = foreign_check(from, w.format);
    if (!status)
        status = check_empty(w.out.data);
    plan_shards(&w);
    if (!status) {
        take_scale_types(&w);
        status = write_all(&w);
    }
    result->layers = from->count;
    result->bytes = w.total;
    for (int i = 0; i < from->carried_count && !status; i++)
        result->bytes -= from->carried[i]->bytes;
    file_unlock(&w.held);
    if (w.lock >= 0)
        close(w.lock);
    for (int i = 0; i < w.count; i++) {
        free((void *)w.shard[i].linear);
        free((void *)w.shard[i].carried);
    }
    free(w.shard);
    free(w.scale_type);
    json_decref(w.map);
    str_release(&w.out);
    str_release(&w.part);
    return status;
}
