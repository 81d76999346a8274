/* What libFuzzer gives is opened as a bundle, or changes a good one: the first byte says how. Beside the program lies
 * seeds/bundle.world, which bundle_seeds made. Nothing is compiled, and nothing launched. */
#include "db/bundle/private.h"
#include "runtime/base/file.h"
#include "runtime/jit/compile.h"
#include "runtime/jit/fatbin.h"
#include "runtime/serve/table.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* KIND_FILE: a file. KIND_PAGES: one with the header of a bundle, and sealed, so that SQLite reads it. KIND_IMAGE: the
 * number of an image, and other bytes for it, up to the software device. KIND_ROWS: values for rows that SQLite would
 * have given. */
enum { KIND_FILE, KIND_PAGES, KIND_IMAGE, KIND_ROWS, KINDS };

static struct {
    struct bundle bundle;
    struct device dev;
    char path[40]; /* of the file in memory, which each input is written to */
    int fd;
} world;

/* ---- in the place of the compiler ---- */

enum mt_status nvrtc_version(int *out) {
    *out = world.bundle.fingerprint.toolkit;
    return MT_OK;
}

enum mt_status template_hash(char out[33]) {
    snprintf(out, 33, "%s", world.bundle.fingerprint.template_hash);
    return MT_OK;
}

/* An image of the same template. */
enum mt_status compile_kernel(const struct compile_request *request, struct image *out) {
    const struct bundle_image *image = world.bundle.images;
    while (strncmp(image->built, request->template_name, strlen(request->template_name)) != 0)
        if (++image == world.bundle.images + world.bundle.image_count)
            return fail(MT_NO_DEVICE, "there is no image of %s", request->template_name);
    size_t size;
    struct cubin_usage usage;
    const void *cubin = fatbin_cubin(image->data, image->size, &size);
    *out = (struct image){.data = malloc(image->size), .size = image->size};
    memcpy(out->data, image->data, image->size);
    out->smem_static = cubin_usage(cubin, size, &usage) == MT_OK ? usage.smem_static : 0;
    return MT_OK;
}

void image_release(struct image *image) {
    free(image->data);
    memset(image, 0, sizeof *image);
}

/* ---- ---- */

static void good(enum mt_status status) {
    if (status != MT_OK) {
        fprintf(stderr, "%s\n", fail_message());
        exit(1);
    }
}

static void world_begin(void) {
    struct str path = {0};
    world.fd = memfd_create("input", MFD_CLOEXEC);
    snprintf(world.path, sizeof world.path, "/proc/self/fd/%d", world.fd);
    if (world.fd < 0 || !own_folder(&path))
        abort();
    str_append(&path, "/seeds/bundle.world");
    good(bundle_read(path.data, &world.bundle));
    struct bundle_image *images = malloc((size_t)world.bundle.image_count * sizeof *images);
    for (int i = 0; i < world.bundle.image_count; i++) {
        void *bytes;
        images[i] = world.bundle.images[i];
        good(bundle_unpack(&images[i], &bytes));
        images[i].data = bytes;
    }
    world.bundle.images = images;
    good(device_open(&world.dev, "soft:a100-sxm-80g"));
    str_release(&path);
}

/* What a refusal says is one sentence of text. */
static bool opens(enum mt_status status) {
    const char *says = fail_message();
    if (status && (!*says || strpbrk(says, "\n\r\t\033") || status == MT_USAGE))
        abort();
    return status == MT_OK;
}

static void layer_use(const struct mt_table *table, const struct mt_layer *layer) {
    static const int ms[] = {0, 1, 15, 16, 17, 4096, 1 << 24, INT_MAX};
    struct mt_choice choice = {.size = sizeof choice};
    for (size_t i = 0; i < sizeof ms / sizeof *ms; i++) {
        if (mt_table_lookup(table, layer, ms[i], &choice) != MT_OK || !(choice.expected_ns >= 0))
            abort();
        mt_workspace_bytes(table, layer, ms[i]);
    }
}

/* `load`: its kernels can be loaded. */
static void table_use(struct mt_table *table, bool load) {
    for (int i = 0; i < table->layer_count && i < 4; i++) {
        const struct mt_layer *layer = mt_table_layer_at(table, i), *other;
        struct mt_query query = MT_QUERY_INIT;
        struct problem p = layer->problem;
        struct mt_layer *derived;
        layer_use(table, layer);
        if (load)
            opens(mt_table_load(table, layer));
        p.rows8 = p.n / 3;
        query.name = layer->info.name;
        query.rows8 = p.rows8;
        if (layer_derive(table, &p, layer, &derived) == MT_OK) {
            layer_use(table, derived);
            layer_release(derived);
        }
        if (load)
            mt_table_layer_named(table, &query, &other);
    }
}

static void open_file(const void *data, size_t size) {
    struct mt_table *table;
    if (ftruncate(world.fd, 0) != 0 || pwrite(world.fd, data, size, 0) != (ssize_t)size)
        abort();
    if (!opens(mt_table_open(world.path, MT_ALLOW_OTHER_GPU, &table)))
        return;
    table_use(table, true);
    mt_table_close(table);
}

static void put_number(uint8_t *at, uint32_t number) {
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(number >> (24 - 8 * i));
}

static void open_pages(const uint8_t *data, size_t size) {
    const size_t page = BUNDLE_PAGE;
    if (size < page)
        return;
    uint8_t *pages = malloc(size);
    size = size / page * page;
    memcpy(pages, data, size);
    memcpy(pages, "SQLite format 3", 16);
    pages[16] = BUNDLE_PAGE >> 8;
    pages[17] = 0;
    pages[18] = pages[19] = 1;
    pages[20] = 0;
    put_number(pages + 28, (uint32_t)(size / page));
    put_number(pages + 36, 0);
    put_number(pages + 52, 0);
    put_number(pages + 56, 1);
    put_number(pages + 60, BUNDLE_VERSION);
    put_number(pages + 68, BUNDLE_APPLICATION);
    bundle_unseal(pages, size);
    bundle_seal(pages, size);
    open_file(pages, size);
    free(pages);
}

/* ---- rows ---- */

struct rows {
    struct bundle_layer layers[8];
    struct bundle_entry entries[8];
    struct bundle_time times[8];
    struct bundle_build variants[8], fallbacks[8];
    struct bundle_image images[8];
    struct bundle bundle;
};

static void rows_copy(struct rows *r) {
    const struct bundle *b = &world.bundle;
    *r = (struct rows){.bundle = *b};
    r->bundle.owned = NULL;
    r->bundle.layers = memcpy(r->layers, b->layers, (size_t)b->layer_count * sizeof *b->layers);
    r->bundle.entries = memcpy(r->entries, b->entries, (size_t)b->entry_count * sizeof *b->entries);
    r->bundle.times = memcpy(r->times, b->times, (size_t)b->time_count * sizeof *b->times);
    r->bundle.variants = memcpy(r->variants, b->variants, (size_t)b->variant_count * sizeof *b->variants);
    r->bundle.fallbacks = memcpy(r->fallbacks, b->fallbacks, (size_t)b->fallback_count * sizeof *b->fallbacks);
    r->bundle.images = memcpy(r->images, b->images, (size_t)b->image_count * sizeof *b->images);
}

static int order_entries(const void *a, const void *b) {
    const struct bundle_entry *x = a, *y = b;
    if (x->layer != y->layer)
        return x->layer < y->layer ? -1 : 1;
    return x->m != y->m ? (x->m < y->m ? -1 : 1) : (int)x->kind - (int)y->kind;
}

static int order_images(const void *a, const void *b) {
    return strcmp(((const struct bundle_image *)a)->hash, ((const struct bundle_image *)b)->hash);
}

/* As bundle_read() would go on. `load`: with what the driver is given. */
static void open_rows(struct rows *r, bool load) {
    struct device_limits limits;
    struct mt_table *table;
    qsort(r->entries, (size_t)r->bundle.entry_count, sizeof *r->entries, order_entries);
    qsort(r->images, (size_t)r->bundle.image_count, sizeof *r->images, order_images);
    if (!opens(bundle_check(&r->bundle)))
        return;
    device_limits_of(&world.dev, &limits);
    if (!opens(table_build(&r->bundle, &limits, MT_BATCH_INVARIANT & (unsigned)r->bundle.entry_count, false, &table)))
        return;
    if (!load || !opens(table_check_images(table))) {
        table_use(table, false);
        table_release(table);
        return;
    }
    good(device_adopt(&table->dev));
    opens(layers_load(table, table->layers, table->layer_count));
    mt_table_close(table);
}

static void open_image(const uint8_t *data, size_t size) {
    struct rows r;
    char name[BUNDLE_NAME_TEXT];
    if (size < 2)
        return;
    rows_copy(&r);
    struct bundle_image *image = &r.images[data[0] % r.bundle.image_count];
    const char *const old = image->hash;
    image->data = data + 1;
    image->size = size - 1;
    bundle_image_name(image->built, image->data, image->size, name);
    image->hash = name;
    for (int i = 0; i < 8; i++) {
        const char **const hashes[] = {&r.entries[i].image_hash, &r.variants[i].image_hash, &r.fallbacks[i].image_hash};
        for (int j = 0; j < 3; j++)
            if (*hashes[j] && !strcmp(*hashes[j], old))
                *hashes[j] = name;
    }
    open_rows(&r, true);
}

/* Column `column` of a row: whatever is there, a text or a number. */
static void row_set(struct rows *r, int table, int row, int column, const char *text, int number) {
    struct bundle_layer *l = &r->layers[row % 2];
    struct bundle_entry *e = &r->entries[row % r->bundle.entry_count];
    struct bundle_time *t = &r->times[0];
    struct bundle_build *b = table == 3 ? &r->variants[0] : &r->fallbacks[row % r->bundle.fallback_count];
    struct bundle_fingerprint *f = &r->bundle.fingerprint;
    const char **const texts[][4] = {
        {&f->gpu, &f->template_hash, &f->gpu, &f->gpu},       {&l->name, &l->model, &l->scheme, &l->dtype},
        {&e->family, &e->config, &e->image_hash, &e->config}, {&b->family, &b->config, &b->scheme, &b->dtype},
        {&b->family, &b->config, &b->scheme, &b->image_hash}, {&t->family, &t->config, &t->family, &t->config}};
    int *const numbers[][4] = {{&f->cc, &f->sm_count, &f->layout, &f->toolkit},
                               {&l->n, &l->k, &l->group, &l->rows8},
                               {&e->layer, &e->m, &e->m, &l->tp},
                               {&b->group, &b->group, &l->tp, &l->rows8},
                               {&b->group, &b->group, &l->n, &l->k},
                               {&t->layer, &t->m, &t->m, &t->m}};
    if (text)
        *texts[table % 6][column % 4] = text;
    else if (column % 8 < 4)
        *numbers[table % 6][column % 4] = number;
    else if (column % 8 == 4)
        memcpy(column % 16 < 8 ? &e->expected_ns : &t->expected_ns, ((int[]){number, number}), sizeof(double));
    else if (column % 8 == 5)
        e->kind = (enum bundle_kind)((unsigned)number % (BUNDLE_INVARIANT + 1));
    else if (column % 8 == 6)
        r->bundle.entry_count = 1 + (number & 3);
    else
        e->expected_ns = number;
}

/* Records of a table, a row, a column, and whether a number of four bytes follows or a text up to a 0. */
static void change_rows(const uint8_t *data, size_t size) {
    struct rows r;
    char texts[8][BUNDLE_MOST_TEXT + 2];
    int count = 0;
    rows_copy(&r);
    for (size_t at = 0; at + 4 < size && count < 8; count++) {
        const uint8_t *record = data + at;
        const size_t room = size - at - 4;
        const uint8_t *end = memchr(record + 4, 0, room);
        int number = 0;
        if (record[3] % 4) {
            const size_t length = end ? (size_t)(end - record - 4) : room;
            const size_t kept = length < sizeof texts[0] - 1 ? length : sizeof texts[0] - 1;
            memcpy(texts[count], record + 4, kept);
            texts[count][kept] = 0;
            row_set(&r, record[0], record[1], record[2], texts[count], 0);
            at += 4 + length + (end != NULL);
        } else {
            memcpy(&number, record + 4, room < 4 ? room : 4);
            row_set(&r, record[0], record[1], record[2], NULL, number);
            at += 8;
        }
    }
    if (size % 3 == 0) { /* without images, now and then */
        r.bundle.image_count = 0;
        for (int i = 0; i < 8; i++)
            r.entries[i].image_hash = r.variants[i].image_hash = r.fallbacks[i].image_hash = "";
    }
    open_rows(&r, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!world.bundle.images)
        world_begin();
    if (size == 0)
        return 0;
    switch (data[0] % KINDS) {
    case KIND_FILE:
        open_file(data + 1, size - 1);
        break;
    case KIND_PAGES:
        open_pages(data + 1, size - 1);
        break;
    case KIND_IMAGE:
        open_image(data + 1, size - 1);
        break;
    default:
        change_rows(data + 1, size - 1);
    }
    return 0;
}
