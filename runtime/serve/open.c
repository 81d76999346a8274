/* The public interface: opening a table on a device. */
#include "gpus.h"
#include "runtime/base/str.h"
#include "table.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define TABLE_FLAGS ((unsigned)(MT_ALLOW_FP16 | MT_ALLOW_OTHER_GPU | MT_BATCH_INVARIANT))

/* Kernel arguments are a struct that the templates define, so both sides must have the same. */
static enum mt_status check_templates(const struct bundle_fingerprint *made_for) {
    char own[33];
    enum mt_status status = template_hash(own);
    if (status == MT_OK && strcmp(own, made_for->template_hash) != 0)
        status = fail(MT_FAILURE,
                      "the bundle was made with other kernel templates than this library has: export it again with "
                      "this version");
    return status;
}

/* Whether the times of the bundle are not those of the kernels that it gives here. */
static bool bundle_is_foreign(const struct bundle *bundle, const struct device *dev) {
    int version;
    return !gpu_is(&bundle->fingerprint, dev) ||
           (!bundle->image_count && (nvrtc_version(&version) != MT_OK || version != bundle->fingerprint.toolkit));
}

/* A table of one GPU type of a bundle, without a device yet. Images that have no code for this GPU are left packed, and
 * kernels are compiled. */
static enum mt_status table_take(struct bundle_source *source, int gpu, const struct device *dev, unsigned flags,
                                 struct mt_table **out) {
    struct device_limits limits;
    struct bundle bundle = {0};
    const bool images = gpu_runs_images(&source->gpus[gpu], dev);
    enum mt_status status = check_templates(&source->gpus[gpu]);
    if (status == MT_OK)
        status = bundle_take(source, gpu, images, &bundle);
    if (status == MT_OK && !images)
        status = gpu_add_defaults(&bundle, dev);
    device_limits_of(dev, &limits);
    if (status == MT_OK)
        status = table_build(&bundle, &limits, flags, bundle_is_foreign(&bundle, dev), out);
    bundle_release(&bundle);
    if (status != MT_OK)
        return status;
    (*out)->other_gpu = !gpu_is(&source->gpus[gpu], dev);
    status = table_check_images(*out);
    if (status != MT_OK) {
        table_release(*out);
        *out = NULL;
    }
    return status;
}

/* The first of the types that fit which has kernels that run here. Takes the device over. */
static enum mt_status open_on(struct device *dev, struct bundle_source *source, unsigned flags, struct mt_table **out) {
    struct mt_table *table = NULL;
    int order[BUNDLE_MOST_GPUS], count;
    enum mt_status status = gpus_order(source->gpus, source->gpu_count, dev, flags, order, &count);
    for (int i = 0; i < count && !table; i++) {
        status = table_take(source, order[i], dev, flags, &table);
        if (status != MT_OK && status != MT_NO_DEVICE)
            break;
    }
    if (status == MT_NO_DEVICE && count)
        status = gpus_fail(source->gpus, source->gpu_count, dev);
    if (!table)
        return status;
    table->dev = *dev;
    *dev = (struct device){0};
    *out = table;
    return MT_OK;
}

/* ---- where bundles are ---- */

/* Behind the folders of MIXTUNE_PATH. */
#define SYSTEM_FOLDER "/etc/mixtune"

static bool is_there(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

/* Whether a folder has the file, whose path is then `out`. A folder that is not named from the root on is passed over:
 * it would be another one wherever the process is, and an empty one the one that it is in. */
static bool folder_has(const char *folder, size_t length, const char *name, struct str *out, struct str *tried) {
    if (*folder != '/')
        return false;
    str_clear(out);
    str_printf(out, "%.*s/%s", (int)length, folder, name);
    str_printf(tried, ", in %.*s", (int)length, folder);
    return str_status(out) == MT_OK && is_there(out->data);
}

/* A name without a slash that is not in the current folder is looked for. Appends the path. */
static enum mt_status bundle_find(const char *name, struct str *out) {
    const char *list = secure_getenv("MIXTUNE_PATH"); /* none for a process with rights that its user has not */
    struct str tried = {0};
    bool found = strchr(name, '/') || !*name || is_there(name);
    if (found)
        str_append(out, name);
    while (!found && list && *list) {
        const size_t length = strcspn(list, ":");
        found = folder_has(list, length, name, out, &tried);
        list += length + (list[length] == ':');
    }
    found = found || folder_has(SYSTEM_FOLDER, strlen(SYSTEM_FOLDER), name, out, &tried);
    enum mt_status status = found ? str_status(out) : str_status(&tried);
    if (status == MT_OK && !found)
        status =
            fail(MT_FAILURE,
                 "there is no bundle %s in the current folder%s; make it with `mixtune export`, or name its folder "
                 "in MIXTUNE_PATH",
                 name, str_text(&tried));
    str_release(&tried);
    return status;
}

/* ---- opening ---- */

static enum mt_status open_found(const char *path, unsigned flags, const char *sha256, struct mt_table **out) {
    struct bundle_source source;
    struct device dev = {0};
    enum mt_status status = bundle_open(path, sha256, &source);
    if (status != MT_OK)
        return status;
    status = device_adopt(&dev);
    if (status == MT_OK)
        status = open_on(&dev, &source, flags, out);
    if (status != MT_OK)
        fail_context(status, "%s", path);
    bundle_close(&source);
    if (dev.context)
        device_close(&dev);
    return status;
}

enum mt_status mt_table_open_trusted(const char *path, unsigned flags, const char *sha256, struct mt_table **out) {
    struct str found = {0};
    if (!out)
        return fail(MT_USAGE, "mt_table_open: the address for the table is null");
    *out = NULL;
    if (!path)
        return fail(MT_USAGE, "mt_table_open: the path is null");
    if (flags & ~TABLE_FLAGS)
        return fail(MT_USAGE, "mt_table_open: this library does not know the flags 0x%x", flags & ~TABLE_FLAGS);
    enum mt_status status = bundle_find(path, &found);
    if (status == MT_OK)
        status = open_found(found.data, flags, sha256, out);
    str_release(&found);
    return fail_settled(status);
}

enum mt_status mt_table_open(const char *path, unsigned flags, struct mt_table **out) {
    return mt_table_open_trusted(path, flags, NULL, out);
}

void mt_table_close(struct mt_table *table) {
    if (!table)
        return;
    for (int i = 0; i < table->image_count; i++)
        kernel_unload(&table->dev, &table->images[i].kernel);
    for (int i = 0; i < 3 * 2; i++)
        kernel_unload(&table->dev, &table->quantize[i / 2][i % 2]);
    device_close(&table->dev);
    table_release(table);
}
