/* What a command and its worker process say to each other (worker_link.h carries it), and the worker's side of it. */
#ifndef MT_WORKER_TALK_H
#define MT_WORKER_TALK_H

#include "worker.h"
#include "worker_link.h"
#include <sys/types.h>

enum kind {
    MESSAGE_HELLO,  /* worker: struct hello */
    MESSAGE_IMAGE,  /* command: struct binary_image, then the image's bytes; before the first job that needs it */
    MESSAGE_JOB,    /* command: struct job */
    MESSAGE_ROUNDS, /* command: int, the rounds; then a struct job for each that takes part */
    MESSAGE_PROOF,  /* command: struct proof_job */
    MESSAGE_PROBE,  /* command: int, the step of the probe */
    MESSAGE_STEP,   /* worker: a sign of life; what it is about to do, as text */
    MESSAGE_LONG,   /* worker: likewise, of what needs no device and takes as long as it takes */
    MESSAGE_RESULT, /* worker: struct result; then struct measured and the samples, of rounds [rounds][count] times and
                       [count] rejected, of a proof and a probe struct checked */
};

struct hello {
    enum mt_status status;
    char message[512]; /* when the device did not open */
    struct device dev;
    char cublas_version[32];
    bool cublaslt;
    struct missing missing;
};

struct binary_image {
    int binary;
    struct image image;
};

struct job {
    struct work_item item;
    struct config config; /* its family lies at the same address in both processes */
    enum library library;
    bool baseline;
    int binary;
    double beat_ns;
};

struct result {
    enum mt_status status;
    char message[512]; /* when the status is not MT_OK: nothing follows */
};

/* What became of a proof, or of a step of the probe. */
struct checked {
    struct check check;
    struct limits found; /* of a step that went well */
};

/* All that a worker process does, `command` being its parent, over the socket `fd`. */
_Noreturn void worker_main(int fd, pid_t command, const struct worker_options *options);

#endif
