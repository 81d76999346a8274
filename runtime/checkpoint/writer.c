#include "writer.h"
#include "runtime/base/array.h"
#include "runtime/base/file.h"
#include "runtime/base/str.h"
#include "tree.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct place {
    size_t offset, bytes; /* of a tensor in the data */
};

struct text {
    char *key, *value; /* owned */
};

struct tensor_writer {
    struct text *text; /* of the metadata */
    size_t text_count, text_capacity;
    struct str tensors; /* what the header says of them, with a comma before each */
    struct place *place;
    int count, pads;
    size_t capacity, data_bytes;
    size_t data; /* where the data begin in the file */
    struct str path, part;
    int fd;
    bool failed; /* memory was short: tensor_writer_begin() or tensor_writer_end() says so */
};

struct tensor_writer *tensor_writer_new(void) {
    struct tensor_writer *writer = mem_zeroed(1, sizeof *writer);
    if (writer)
        writer->fd = -1;
    return writer;
}

void tensor_writer_free(struct tensor_writer *writer) {
    if (!writer)
        return;
    if (writer->fd >= 0) {
        close(writer->fd);
        unlink(writer->part.data);
    }
    for (size_t i = 0; i < writer->text_count; i++) {
        free(writer->text[i].key);
        free(writer->text[i].value);
    }
    free(writer->text);
    free(writer->place);
    str_release(&writer->tensors);
    str_release(&writer->path);
    str_release(&writer->part);
    free(writer);
}

static struct text *text_of(struct tensor_writer *writer, const char *key) {
    for (size_t i = 0; i < writer->text_count; i++)
        if (!strcmp(writer->text[i].key, key))
            return &writer->text[i];
    char *own = mem_text(key);
    if (!own || !array_grow(&writer->text, &writer->text_capacity, writer->text_count, sizeof *writer->text)) {
        free(own);
        return NULL;
    }
    writer->text[writer->text_count].key = own;
    return &writer->text[writer->text_count++];
}

void tensor_writer_text(struct tensor_writer *writer, const char *key, const char *value) {
    struct text *text = text_of(writer, key);
    char *own = value ? mem_text(value) : NULL;
    if (text) {
        free(text->value);
        text->value = own;
    } else {
        free(own);
    }
    writer->failed = writer->failed || !text || !own;
}

static int add(struct tensor_writer *writer, const char *name, const char *type_name, int rank, const int64_t *shape,
               size_t bytes) {
    const size_t begin = writer->data_bytes;
    struct str *to = &writer->tensors;
    str_append(to, ",");
    tree_quote(to, name);
    str_append(to, ":{\"dtype\":");
    tree_quote(to, type_name);
    str_append(to, ",\"shape\":[");
    for (int i = 0; i < rank; i++)
        str_printf(to, "%s%lld", i ? "," : "", (long long)shape[i]);
    str_printf(to, "],\"data_offsets\":[%zu,%zu]}", begin, begin + bytes);
    if (!array_grow(&writer->place, &writer->capacity, (size_t)writer->count, sizeof *writer->place)) {
        writer->failed = true;
        return 0;
    }
    writer->place[writer->count] = (struct place){begin, bytes};
    writer->data_bytes += bytes;
    return writer->count++;
}

int tensor_writer_add(struct tensor_writer *writer, const char *name, const char *type_name, int rank,
                      const int64_t *shape, size_t bytes, size_t align) {
    const size_t past = writer->data_bytes % align;
    if (past > 0) {
        const int64_t gap = (int64_t)(align - past);
        char pad[24];
        snprintf(pad, sizeof pad, "pad.%d", writer->pads++);
        add(writer, pad, "U8", 1, &gap, (size_t)gap);
    }
    return add(writer, name, type_name, rank, shape, bytes);
}

/* The header with its length before it, filled up with blanks so that the data are aligned. */
static enum mt_status header_text(const struct tensor_writer *writer, struct str *out) {
    uint64_t length;
    str_append_bytes(out, &(uint64_t){0}, sizeof length);
    str_append(out, "{\"__metadata__\":{");
    for (size_t i = 0; i < writer->text_count; i++) {
        str_append(out, i ? "," : "");
        tree_quote(out, writer->text[i].key);
        str_append(out, ":");
        tree_quote(out, writer->text[i].value ? writer->text[i].value : "");
    }
    str_append(out, "}");
    str_append(out, str_text(&writer->tensors));
    str_append(out, "}");
    while (!out->failed && out->length % WRITER_ALIGNMENT)
        str_append(out, " ");
    length = out->length - sizeof length;
    if (!out->failed)
        memcpy(out->data, &length, sizeof length);
    return writer->failed || writer->tensors.failed ? memory_short(writer->data) : str_status(out);
}

static enum mt_status put(const struct tensor_writer *writer, size_t at, const void *data, size_t bytes) {
    const char *from = data;
    while (bytes > 0) {
        ssize_t done = pwrite(writer->fd, from, bytes, (off_t)at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return file_fail("write", writer->path.data);
        from += done;
        at += (size_t)done;
        bytes -= (size_t)done;
    }
    return MT_OK;
}

enum mt_status tensor_writer_begin(struct tensor_writer *writer, const char *path) {
    struct str header = {0};
    enum mt_status status = header_text(writer, &header);
    writer->data = header.length;
    str_release(&header);
    str_append(&writer->path, path);
    str_printf(&writer->part, "%s.part", path);
    if (status || (status = str_status(&writer->path)) || (status = str_status(&writer->part)))
        return status;
    writer->fd = open(writer->part.data, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (writer->fd < 0)
        return file_fail("write", path);
    /* A disk that is too small says so before the work is done. Gaps stay zero. */
    const off_t size = (off_t)(writer->data + writer->data_bytes);
    if (fallocate(writer->fd, 0, 0, size) != 0 && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG))
        return file_fail("write", path);
    return ftruncate(writer->fd, size) == 0 ? MT_OK : file_fail("write", path);
}

enum mt_status tensor_writer_put(struct tensor_writer *writer, int index, size_t offset, const void *data,
                                 size_t bytes) {
    return put(writer, writer->data + writer->place[index].offset + offset, data, bytes);
}

enum mt_status tensor_writer_copy(struct tensor_writer *writer, int index, const struct tensor *tensor) {
    enum { PIECE = 64 << 20 };
    enum mt_status status = MT_OK;
    for (size_t at = 0; at < tensor->bytes && !status; at += PIECE) {
        const size_t left = tensor->bytes - at;
        status = tensor_writer_put(writer, index, at, tensor->data + at, left < PIECE ? left : PIECE);
        tensor_drop(tensor);
    }
    return status;
}

enum mt_status tensor_writer_end(struct tensor_writer *writer) {
    struct str header = {0};
    enum mt_status status = header_text(writer, &header);
    if (!status)
        status = header.length == writer->data
                     ? put(writer, 0, header.data, header.length)
                     : fail(MT_FAILURE, "%s: its header changed its length", writer->path.data);
    str_release(&header);
    if (!status && (fsync(writer->fd) != 0 || rename(writer->part.data, writer->path.data) != 0))
        status = file_fail("write", writer->path.data);
    if (status)
        return status;
    const int fd = writer->fd;
    writer->fd = -1;
    file_flush_folder(writer->path.data);
    return close(fd) == 0 ? MT_OK : file_fail("write", writer->path.data);
}
