#include "output.h"
#include "runtime/base/array.h"
#include "runtime/base/file.h"
#include "runtime/base/lockfile.h"
#include "runtime/base/log.h"
#include "runtime/base/str.h"
#include "runtime/layer/pack.h"
#include "tuner/options.h"
#include "tuner/plan/model.h"
#include "tuner/progress.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REST "rest.safetensors"

/* Larger files are no configuration, and nobody wants them copied. */
enum { LARGEST_COPY = 128 << 20 };

struct output {
    const struct output_plan *plan;
    struct str path, marker, name;
    char key[33], model[MODEL_NAME];
    int lock;
    struct file_lock held;
    struct tensor_writer *writer; /* of the open file */
    int open;                     /* its decoder layer */
    uint8_t *done;                /* [done_count]: the files that are there */
    size_t done_count;
    size_t layer_bytes, rest_bytes;
};

/* ---- what decides the bytes ---- */

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static enum mt_status make_key(const struct output_plan *plan, char key[33]) {
    struct str facts = {0};
    enum mt_status status = MT_OK;
    str_printf(&facts, "%s, version %s, layout %d\n%s\nscheme %s symmetric %d group %d tp %d rank %d rest %d\n",
               MIXTUNE_VERSION, PACKED_VERSION, PACK_LAYOUT, plan->options, plan->scheme, plan->symmetric, plan->group,
               plan->tp, plan->rank, !plan->leave_rest);
    for (int i = 0; i < plan->source->file_count && !status; i++) {
        const struct tensor_file *file = &plan->source->file[i];
        struct stat info;
        uint64_t header;
        if (stat(file->path, &info) != 0)
            status = file_fail("read", file->path);
        memcpy(&header, file->map, sizeof header);
        str_printf(&facts, "%s %zu %lld.%09ld\n", base_name(file->path), file->size, (long long)info.st_mtim.tv_sec,
                   info.st_mtim.tv_nsec);
        str_append_bytes(&facts, file->map + sizeof header, (size_t)header);
    }
    packed_hash(facts.data, facts.length, key);
    str_release(&facts);
    return status;
}

/* ---- files that are there ---- */

const char *output_path(struct output *output, int decoder) {
    str_clear(&output->name);
    str_printf(&output->name, "%s/layer-%05d.safetensors", output->path.data, decoder);
    return output->name.data;
}

static const char *rest_path(struct output *output) {
    str_clear(&output->name);
    str_printf(&output->name, "%s/" REST, output->path.data);
    return output->name.data;
}

static void set_done(struct output *output, int decoder) {
    array_grow(&output->done, &output->done_count, (size_t)decoder, sizeof *output->done);
    output->done[decoder] = 1;
}

bool output_has(struct output *output, int decoder) {
    struct packed_folder packed;
    const char *path = output_path(output, decoder);
    if (access(path, F_OK) != 0 || packed_open(path, &packed) != MT_OK)
        return false;
    const char *key = tensor_file_text(&packed.folder.file[0], "key");
    const bool ours = key && !strcmp(key, output->key);
    packed_close(&packed);
    if (ours)
        set_done(output, decoder);
    return ours;
}

static bool has_rest(struct output *output) {
    struct tensor_file file;
    const char *path = rest_path(output);
    if (access(path, F_OK) != 0 || tensor_file_open(path, &file) != MT_OK)
        return false;
    const char *key = tensor_file_text(&file, "key");
    const bool ours = key && !strcmp(key, output->key);
    tensor_file_close(&file);
    return ours;
}

/* ---- whose folder this is ---- */

static enum mt_status refuse_other(const struct output *output) {
    return fail(MT_FAILURE,
                "%s has layers of another model or of other options; remove it, or name another folder with --out",
                output->path.data);
}

/* What a killed run leaves of files that are written whole or not at all. */
static bool is_temporary(const char *name) {
    return !fnmatch("*.safetensors.part", name, 0) || !fnmatch("*.[0-9]*-[0-9]*.tmp", name, 0);
}

/* A file: 1 if it is of this plan, 0 if it says nothing, -1 if it is another's. */
static int file_owner(const struct output *output, const char *name) {
    struct str path = {0};
    struct tensor_file file;
    int owner = -1;
    str_printf(&path, "%s/%s", output->path.data, name);
    const bool layer = !fnmatch("layer-*.safetensors", name, 0) || !strcmp(name, REST);
    if (layer && tensor_file_open(path.data, &file) == MT_OK) {
        const char *key = tensor_file_text(&file, "key");
        owner = key && !strcmp(key, output->key) ? 1 : -1;
        tensor_file_close(&file);
    } else if (!layer) {
        owner = 0;
    }
    str_release(&path);
    return owner;
}

/* The folder must have files of this plan, or none yet. */
static enum mt_status check_files(const struct output *output) {
    DIR *folder = opendir(output->path.data);
    const struct dirent *entry;
    bool ours = false;
    char stranger[64] = "";
    enum mt_status status = MT_OK;
    if (!folder)
        return file_fail("read", output->path.data);
    while (!status && (entry = readdir(folder)) != NULL) {
        struct stat info;
        if (entry->d_name[0] == '.' || is_temporary(entry->d_name) ||
            (fstatat(dirfd(folder), entry->d_name, &info, 0) == 0 && S_ISDIR(info.st_mode)))
            continue;
        const int owner = file_owner(output, entry->d_name);
        if (owner < 0)
            status = refuse_other(output);
        else if (owner > 0)
            ours = true;
        else
            text_fit(stranger, sizeof stranger, "%s", entry->d_name);
    }
    if (!status && !ours && *stranger)
        status = fail(MT_FAILURE, "%s has files that are no packed layers (%s); name an empty folder, or a new one",
                      output->path.data, stranger);
    closedir(folder);
    return status;
}

static void remove_temporaries(const struct output *output) {
    DIR *folder = opendir(output->path.data);
    const struct dirent *entry;
    if (!folder)
        return;
    while ((entry = readdir(folder)) != NULL)
        if (is_temporary(entry->d_name))
            unlinkat(dirfd(folder), entry->d_name, 0);
    closedir(folder);
}

/* What a marker of other options says counts only where there are files of those. */
static enum mt_status check_owner(struct output *output) {
    char marked[33] = "";
    const ssize_t length = sizeof marked - 1, got = pread(output->lock, marked, sizeof marked - 1, 0);
    enum mt_status status = MT_OK;
    if (got != length || strcmp(marked, output->key) != 0) {
        status = check_files(output);
        if (!status && pwrite(output->lock, output->key, sizeof marked - 1, 0) != length)
            status = file_fail("write", output->marker.data);
    }
    if (!status)
        remove_temporaries(output);
    else if (got <= 0)
        unlink(output->marker.data);
    return status;
}

/* Locks the marker, unless its owner has finished and removed it in between. */
static enum mt_status take_lock(struct output *output) {
    struct stat held, named;
    char holder[FILE_LOCK_HOLDER];
    for (;;) {
        output->lock = open(output->marker.data, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (output->lock < 0)
            return file_fail("write", output->marker.data);
        if (!file_lock(output->lock, output->marker.data, &output->held, holder))
            return fail(MT_FAILURE, "%s is writing to %s; wait until it ends, or name another folder", holder,
                        output->path.data);
        if (fstat(output->lock, &held) == 0 && stat(output->marker.data, &named) == 0 && held.st_ino == named.st_ino)
            return MT_OK;
        file_unlock(&output->held);
        close(output->lock);
    }
}

/* ---- the folder ---- */

static enum mt_status check_source(const struct output *output) {
    struct stat source, target;
    if (stat(output->plan->source->path.data, &source) == 0 && stat(output->path.data, &target) == 0 &&
        source.st_dev == target.st_dev && source.st_ino == target.st_ino)
        return fail(MT_USAGE, "%s is the folder of the model itself; name another one with --out", output->path.data);
    return MT_OK;
}

/* The source is mapped: a disk that fails, or a file that is cut short meanwhile, is this signal to whoever reads it. */
static void tell_bus_error(int number) {
    static const char words[] =
        "mixtune: the model's files cannot be read any more: one was cut short, or its disk fails; "
        "the same command goes on from there when they can\n";
    const ssize_t told = write(STDERR_FILENO, words, sizeof words - 1);
    (void)number;
    (void)told;
    _exit(MT_FAILURE);
}

enum mt_status output_open(const struct output_plan *plan, struct output **out) {
    struct output *output = xcalloc(1, sizeof *output);
    output->plan = plan;
    output->lock = -1;
    str_append(&output->path, plan->path);
    str_printf(&output->marker, "%s/" OUTPUT_MARKER, plan->path);
    /* Beyond a limit on the size of files, writing fails with EFBIG and a sentence. */
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGBUS, tell_bus_error);
    enum mt_status status = model_folder_name(plan->source->path.data, output->model);
    if (!status)
        status = folder_make(plan->path);
    if (!status)
        status = check_source(output);
    if (!status)
        status = make_key(plan, output->key);
    if (!status)
        status = take_lock(output);
    if (!status)
        status = check_owner(output);
    if (status) {
        output_close(output);
        output = NULL;
    }
    *out = output;
    return status;
}

void output_close(struct output *output) {
    if (!output)
        return;
    tensor_writer_free(output->writer);
    file_unlock(&output->held);
    if (output->lock >= 0)
        close(output->lock);
    free(output->done);
    str_release(&output->path);
    str_release(&output->marker);
    str_release(&output->name);
    free(output);
}

/* ---- layers ---- */

enum mt_status output_begin(struct output *output, int decoder, struct packed_layer *layers, int count) {
    output->writer = tensor_writer_new();
    output->open = decoder;
    packed_declare_file(output->writer, output->key);
    for (int i = 0; i < count; i++)
        packed_declare(output->writer, &layers[i]);
    return tensor_writer_begin(output->writer, output_path(output, decoder));
}

enum mt_status output_put(struct output *output, const struct packed_layer *layer, const struct quant_layer *quant,
                          const void *bias) {
    return packed_put(output->writer, layer, quant, bias);
}

static enum mt_status end_writer(struct output *output) {
    const enum mt_status status = tensor_writer_end(output->writer);
    tensor_writer_free(output->writer);
    output->writer = NULL;
    return status;
}

enum mt_status output_end(struct output *output) {
    const enum mt_status status = end_writer(output);
    if (!status)
        set_done(output, output->open);
    return status;
}

/* ---- what is not quantised ---- */

static enum mt_status write_rest(struct output *output, const uint8_t *taken) {
    const struct folder *source = output->plan->source;
    int *slot = xcalloc((size_t)source->count + 1, sizeof *slot);
    output->writer = tensor_writer_new();
    packed_declare_file(output->writer, output->key);
    for (int i = 0; i < source->count; i++) {
        const struct tensor *t = source->tensor[i];
        const size_t each = tensor_type_bytes(t->type);
        slot[i] = taken[i] || tensor_is_filler(t) ? -1
                                                  : tensor_writer_add(output->writer, t->name, t->type_name, t->rank,
                                                                      t->shape, t->bytes, each ? each : 1);
    }
    enum mt_status status = tensor_writer_begin(output->writer, rest_path(output));
    for (int i = 0; i < source->count && !status; i++) {
        if (slot[i] < 0)
            continue;
        status = interrupted() ? fail(MT_INTERRUPTED, "interrupted while what is not quantised was copied; the same "
                                                      "command goes on from there")
                               : tensor_writer_copy(output->writer, slot[i], source->tensor[i]);
    }
    if (!status)
        status = end_writer(output);
    free(slot);
    return status;
}

/* ---- the small files of the source ---- */

static bool is_copied(const char *name) {
    static const char *const weights[] = {".safetensors", ".bin",  ".pt",      ".pth",       ".ckpt",      ".gguf",
                                          ".h5",          ".onnx", ".msgpack", ".onnx_data", ".index.json"};
    if (*name == '.')
        return false;
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) {
        const size_t length = strlen(name), ending = strlen(weights[i]);
        if (length > ending && !strcasecmp(name + length - ending, weights[i]))
            return false;
    }
    return true;
}

static enum mt_status copy_file(const struct folder *source, const char *to_folder, const char *name) {
    struct str from = {0}, to = {0}, text = {0};
    struct stat info;
    enum mt_status status = MT_OK;
    str_printf(&from, "%s/%s", source->path.data, name);
    str_printf(&to, "%s/%s", to_folder, name);
    if (stat(from.data, &info) == 0 && S_ISREG(info.st_mode)) {
        if (info.st_size > LARGEST_COPY)
            log_info("%s is not copied, for it has %lld MiB", from.data, (long long)info.st_size >> 20);
        else if (!(status = file_read(from.data, &text)))
            status = file_write_atomic(to.data, str_text(&text), text.length);
    }
    str_release(&from);
    str_release(&to);
    str_release(&text);
    return status;
}

static bool says_config(const char *name) {
    return !strcmp(name, "config.json") || !strcmp(name, "quantize_config.json") || !strcmp(name, "quant_config.json");
}

enum mt_status output_copy_files(const struct folder *source, const char *to, const char *config) {
    DIR *folder = opendir(source->path.data);
    const struct dirent *entry;
    struct str path = {0};
    enum mt_status status = MT_OK;
    if (!folder)
        return file_fail("read", source->path.data);
    while (!status && (entry = readdir(folder)) != NULL)
        if (is_copied(entry->d_name) && !(config && says_config(entry->d_name)))
            status = copy_file(source, to, entry->d_name);
    closedir(folder);
    str_printf(&path, "%s/config.json", to);
    if (!status && config)
        status = file_write_atomic(path.data, config, strlen(config));
    str_release(&path);
    return status;
}

/* ---- the index ---- */

static enum mt_status index_file(const char *path, json_t *map, size_t *bytes) {
    struct tensor_file file;
    enum mt_status status = tensor_file_open(path, &file);
    if (status)
        return status;
    for (int i = 0; i < file.count; i++)
        if (!tensor_is_filler(&file.tensor[i])) {
            json_object_set_new(map, file.tensor[i].name, json_string(base_name(path)));
            *bytes += file.tensor[i].bytes;
        }
    tensor_file_close(&file);
    return MT_OK;
}

static json_t *index_metadata(const struct output *output) {
    const struct output_plan *plan = output->plan;
    char group[12], tp[12], rank[12];
    snprintf(group, sizeof group, "%d", plan->group);
    snprintf(tp, sizeof tp, "%d", plan->tp);
    snprintf(rank, sizeof rank, "%d", plan->rank);
    json_t *root =
        json_pack("{ss ss ss sI ss ss ss ss ss}", "format", PACKED_FORMAT, "version", PACKED_VERSION, "layout",
                  PACKED_LAYOUT, "total_size", (json_int_t)(output->layer_bytes + output->rest_bytes), "model",
                  output->model, "scheme", plan->scheme, "group", group, "tp", tp, "rank", rank);
    if (plan->method)
        json_object_set_new(root, "method", json_string(plan->method));
    return root;
}

static enum mt_status write_index(struct output *output) {
    json_t *map = json_object(), *root = json_object();
    struct str path = {0};
    enum mt_status status = MT_OK;
    output->layer_bytes = output->rest_bytes = 0;
    for (size_t i = 0; i < output->done_count && !status; i++)
        if (output->done[i])
            status = index_file(output_path(output, (int)i), map, &output->layer_bytes);
    if (!status && !output->plan->leave_rest)
        status = index_file(rest_path(output), map, &output->rest_bytes);
    json_object_set_new(root, "metadata", index_metadata(output));
    json_object_set_new(root, "weight_map", map);
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS);
    str_printf(&path, "%s/" FOLDER_INDEX, output->path.data);
    if (!status)
        status = file_write_atomic(path.data, text, strlen(text));
    free(text);
    json_decref(root);
    str_release(&path);
    return status;
}

enum mt_status output_finish(struct output *output, const uint8_t *taken) {
    enum mt_status status = MT_OK;
    if (!output->plan->leave_rest && !has_rest(output))
        status = write_rest(output, taken);
    if (!status)
        status = output_copy_files(output->plan->source, output->path.data, output->plan->config);
    if (!status)
        status = write_index(output);
    if (!status && unlink(output->marker.data) != 0)
        status = file_fail("remove", output->marker.data);
    return status;
}

size_t output_layer_bytes(const struct output *output) {
    return output->layer_bytes;
}

size_t output_rest_bytes(const struct output *output) {
    return output->rest_bytes;
}
