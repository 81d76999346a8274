#include "worker_link.h"
#include "tuner/progress.h"
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct header {
    uint32_t magic, kind;
    uint64_t size;
};

/* A worker that has run wild may write anything. */
static const uint32_t magic = 0x4D54574B;
static const uint64_t max_size = (uint64_t)1 << 30;

void link_init(struct worker_link *link, int fd) {
    *link = (struct worker_link){.fd = fd};
}

void link_release(struct worker_link *link) {
    if (link->fd > 0)
        close(link->fd);
    str_release(&link->in);
    *link = (struct worker_link){0};
}

/* Waits until the socket can be read or written, piece by piece: a piece that took much longer than it should have is one
 * in which this process was stopped. */
static enum link_result wait_for(const struct worker_link *link, short events, double *patience) {
    static const double piece = 0.2;
    for (;;) {
        const double wait = *patience < piece ? *patience : piece, began = seconds_now();
        struct pollfd poll_fd = {.fd = link->fd, .events = events};
        int ready = poll(&poll_fd, 1, *patience >= LINK_FOR_EVER ? -1 : wait > 0 ? (int)(wait * 1000) + 1 : 0);
        if (ready > 0)
            return LINK_OK;
        if (ready < 0 && errno != EINTR)
            return LINK_CLOSED;
        const double spent = seconds_now() - began;
        *patience -= spent < 2 * piece ? spent : 2 * piece;
        if (*patience <= 0)
            return LINK_LATE;
    }
}

static enum link_result send_all(const struct worker_link *link, const void *data, size_t size, double *patience) {
    for (size_t done = 0; done < size;) {
        ssize_t count = send(link->fd, (const char *)data + done, size - done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count > 0) {
            done += (size_t)count;
            continue;
        }
        if (errno != EAGAIN && errno != EINTR)
            return LINK_CLOSED;
        enum link_result result = wait_for(link, POLLOUT, patience);
        if (result != LINK_OK)
            return result;
    }
    return LINK_OK;
}

enum link_result link_send(struct worker_link *link, uint32_t kind, const void *data, size_t size, double patience) {
    const struct header header = {.magic = magic, .kind = kind, .size = size};
    enum link_result result = send_all(link, &header, sizeof header, &patience);
    return result == LINK_OK ? send_all(link, data, size, &patience) : result;
}

/* Drops the message that was handed out. */
static void forget_handled(struct worker_link *link) {
    if (link->handled == 0)
        return;
    link->in.length -= link->handled;
    memmove(link->in.data, link->in.data + link->handled, link->in.length);
    link->handled = 0;
}

/* True with *out filled when a whole message has arrived; *broken when what has arrived is none. */
static bool take_message(struct worker_link *link, struct worker_message *out, bool *broken) {
    struct header header;
    *broken = false;
    if (link->in.length < sizeof header)
        return false;
    memcpy(&header, link->in.data, sizeof header);
    *broken = header.magic != magic || header.size > max_size;
    if (*broken || link->in.length - sizeof header < header.size)
        return false;
    *out = (struct worker_message){header.kind, (size_t)header.size, link->in.data + sizeof header};
    link->handled = sizeof header + (size_t)header.size;
    return true;
}

enum link_result link_receive(struct worker_link *link, double patience, struct worker_message *out) {
    bool broken;
    forget_handled(link);
    while (!take_message(link, out, &broken)) {
        char bytes[65536];
        enum link_result result = broken ? LINK_CLOSED : wait_for(link, POLLIN, &patience);
        if (result != LINK_OK)
            return result;
        ssize_t count = recv(link->fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR))
            return LINK_CLOSED;
        if (count > 0)
            str_append_bytes(&link->in, bytes, (size_t)count);
    }
    return LINK_OK;
}
