/* The distinct binaries of a list of configurations, compiled on all cores and loaded when first used. */
#ifndef MT_BINARIES_H
#define MT_BINARIES_H

#include "runtime/gpu/launch.h"
#include "tuner/keys.h"

struct binary {
    const char *text;       /* config_format_binary(): equal texts share a binary */
    struct config config;   /* one of those that share it */
    struct problem formats; /* one of the problems that it serves */
    bool wanted;            /* some candidate needs it: compile it */
    bool tried;             /* compilation has been tried: `status` says what came of it */
    enum mt_status status;  /* MT_FAILURE: the compiler found fault with the source, `tries` times */
    char *message;          /* the compiler's sentence when it failed */
    int tries;              /* how often it was compiled with this outcome */
    struct image image;
    bool loaded;
    struct kernel kernel;
};

struct binaries {
    struct binary *item;
    int count;
    size_t capacity;
    struct keys texts; /* of the items */
    double deadline;   /* of seconds_now(), after which nothing more is compiled; 0: none */
};

/* Finds or adds the binary of a configuration, or of the quantisation where it has no family; its index. */
int binaries_add(struct binaries *b, const struct config *config, const struct problem *p);

/* Compiles what is wanted and has not been tried yet. A kernel that does not compile is no failure: its status says so,
 * MT_NO_DEVICE where it is not among the images that are used (runtime/jit/images.h). What failed beside others is
 * compiled again, alone, until the same has happened twice: MT_FAILURE when that was the machine's doing.
 * MT_NO_DEVICE when none could be had so far, for there is no compiler; MT_INTERRUPTED after ^C or at the deadline. */
enum mt_status binaries_compile(struct binaries *b, const struct device *dev, bool quiet);

/* The kernel of a binary with the launch knobs of `config`; owned by `b`. Fails if it did not compile or cannot be
 * loaded. */
enum mt_status binary_kernel(struct binary *b, struct device *dev, const struct config *config, struct kernel **out);

/* For a process that is sent images instead of compiling: `image` is binary number `index`. Takes the image over. */
void binaries_adopt(struct binaries *b, int index, struct image image);

/* Unloads the kernels and keeps the images. */
void binaries_unload(struct binaries *b, struct device *dev);
void binaries_release(struct binaries *b, struct device *dev);

#endif
