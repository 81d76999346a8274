/* The folder of a packed checkpoint (docs/packed.md), written file by file: one for each decoder layer, then what is
 * not quantised, the small files of the source, and the index last. A run that was killed goes on from the first file
 * that is missing. */
#ifndef MT_OUTPUT_H
#define MT_OUTPUT_H

#include "runtime/checkpoint/packed.h"

/* Says whose folder it is until it is finished, and is locked. */
#define OUTPUT_MARKER ".mixtune"

/* What the folder is to be. Pointers stay the caller's and live as long as the output. */
struct output_plan {
    const char *path;
    const struct folder *source;
    const char *options; /* all that decides the bytes besides the source, as a text: part of the key */
    const char *scheme;  /* "p10", as the index says it */
    const char *method;  /* "gptq", likewise; NULL: nothing is said */
    int group, tp, rank;
    bool symmetric;     /* 4-bit features have no zero points */
    bool leave_rest;    /* what is not quantised stays in the source's files alone */
    const char *config; /* the text of config.json in place of the source's; NULL: that */
};
struct output;

/* Makes the folder and locks it against other processes. MT_FAILURE with one sentence if another process writes there,
 * or if it has files of another source or of other options, or files that no output wrote; MT_USAGE if it is the source
 * itself. Closing leaves an unfinished folder to be resumed by the same plan. */
enum mt_status output_open(const struct output_plan *plan, struct output **out);
void output_close(struct output *output); /* NULL is allowed */

/* Whether the file of decoder layer `decoder` (0 .. 99999) is there and whole. */
bool output_has(struct output *output, int decoder);
/* "layer-00003.safetensors" with its folder; valid until the next call. */
const char *output_path(struct output *output, int decoder);

/* One file: begins with its layers, whose slots it sets; then each is put once, in any order; then it ends and has its
 * name. Only one file of an output is open at a time, and output_close() leaves nothing of one that did not end. */
enum mt_status output_begin(struct output *output, int decoder, struct packed_layer *layers, int count);
enum mt_status output_put(struct output *output, const struct packed_layer *layer, const struct quant_layer *quant,
                          const void *bias);
enum mt_status output_end(struct output *output);

/* All decoder layers are there: writes the rest. taken[i] != 0: tensor i of the source (in the order of source->tensor)
 * is in a layer. MT_INTERRUPTED between two tensors after ^C (tuner/progress.h). */
enum mt_status output_finish(struct output *output, const uint8_t *taken);
/* Copies the small files of a model, such as its tokenizer: all but tensors and what is hidden. `config`: as in the
 * plan; then files in which other quantisers said what they did are left out, too. */
enum mt_status output_copy_files(const struct folder *source, const char *to, const char *config);
/* Bytes of the tensors in layers, and of those that are not quantised, after output_finish(). */
size_t output_layer_bytes(const struct output *output);
size_t output_rest_bytes(const struct output *output);

#endif
