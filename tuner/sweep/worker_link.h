/* Messages between a command and its worker process, over a stream socket: a kind and some bytes.
 *
 * Both ends are the same program, so bytes are structs as they lie in memory. A message that is on its way when the
 * other end dies is not seen.
 *
 * Patience is in seconds in which this process ran: while it is stopped, as by ^Z, nobody loses any. */
#ifndef MT_WORKER_LINK_H
#define MT_WORKER_LINK_H

#include "runtime/base/str.h"
#include <stdint.h>

struct worker_link {
    int fd;         /* owned */
    struct str in;  /* what has arrived */
    size_t handled; /* bytes of `in` that belong to the message handed out last */
};

struct worker_message {
    uint32_t kind;
    size_t size;
    const char *data; /* points into the link: valid until the next link_receive() */
};

enum link_result {
    LINK_OK,
    LINK_LATE,  /* not whole yet, and no patience left; link_receive() may be called again, link_send() may not */
    LINK_CLOSED /* the other end is gone, or sends what is no message */
};

/* For waiting as long as it takes. */
#define LINK_FOR_EVER 1e300

/* Takes the socket over. */
void link_init(struct worker_link *link, int fd);
void link_release(struct worker_link *link);

/* A signal ends no wait. */
enum link_result link_send(struct worker_link *link, uint32_t kind, const void *data, size_t size, double patience);
enum link_result link_receive(struct worker_link *link, double patience, struct worker_message *out);

#endif
