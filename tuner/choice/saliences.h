/* A file of saliences (docs/salience.md): a number for each output feature of each weight. */
#ifndef MT_SALIENCES_H
#define MT_SALIENCES_H

#include "modules.h"
#include "runtime/checkpoint/folder.h"

/* Files that calibration writes say what they are, "format" and "version" in their metadata. A text of it, of a folder's
 * index or of its first file; NULL if there is none. */
#define SALIENCES_FORMAT    "mixtune-salience"
#define HESSIANS_FORMAT     "mixtune-hessian"
#define CALIBRATION_VERSION "1"
const char *calibration_text(const struct folder *folder, const char *key);

struct saliences {
    const char *path; /* the caller's */
    struct folder folder;
};
/* A safetensors file, or a folder of them. MT_FAILURE or MT_USAGE with one sentence if there is none, it is damaged, or
 * says that it is something else or of another version. */
enum mt_status saliences_open(const char *path, struct saliences *out);
void saliences_close(struct saliences *saliences);

/* How the 4-bit features were rounded whose error was judged; what the file does not say stays as it was. */
struct saliences_rounding {
    int group;
    bool symmetric;
};
enum mt_status saliences_rounding(const struct saliences *saliences, struct saliences_rounding *rounding);
/* A warning if that is not how they are rounded now. MT_USAGE if it is no number or no truth. */
enum mt_status saliences_compare(const struct saliences *saliences, struct saliences_rounding now);

/* The layers that the file has, by the names of its weights; their input features are those of WEIGHT.inputs. MT_USAGE
 * with one sentence if these are missing, if it has weights themselves, or for what modules_find() refuses. A note names
 * what is of no known linear layer. Released with saliences_release_layers(). */
struct saliences_layers {
    struct module *module;
    int count;
    struct modules modules;
};
enum mt_status saliences_find_layers(const struct saliences *saliences, struct saliences_layers *out);
void saliences_release_layers(struct saliences_layers *layers);

enum saliences_kind {
    SALIENCE,         /* WEIGHT: of all samples */
    SALIENCE_EVEN,    /* WEIGHT.halves: of the samples with even numbers */
    SALIENCE_ODD,     /* and of those with odd ones */
    SALIENCE_SQUARES, /* the sum of WEIGHT.squares: of all samples, without the first order */
};
/* Sets *out to those of all features of all layers, in the order of choice.h; the caller frees them. `module`: those
 * that the layers' parts are indexes of. MT_USAGE with one sentence if a tensor is missing, has another shape, or a
 * number in it is negative or not finite. */
enum mt_status saliences_read(const struct saliences *saliences, const struct modules *modules,
                              const struct module *module, enum saliences_kind kind, float **out);
/* Whether the first layer has them: then all must. */
bool saliences_have(const struct saliences *saliences, const struct modules *modules, const struct module *module,
                    enum saliences_kind kind);

/* WEIGHT.tokens of a module, -1 if the file does not say; MT_USAGE if it is no number of tokens. */
enum mt_status saliences_tokens(const struct saliences *saliences, const struct module *module, int64_t *out);

#endif
