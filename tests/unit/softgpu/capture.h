/* What a call writes to standard output or standard error. */
#ifndef TEST_CAPTURE_H
#define TEST_CAPTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct capture {
    int fd, kept;
    FILE *file;
};

static inline void capture_begin(struct capture *c, int fd) {
    fflush(NULL);
    c->file = tmpfile();
    c->fd = fd;
    c->kept = dup(fd);
    if (!c->file || c->kept < 0 || dup2(fileno(c->file), fd) < 0)
        abort();
}

static inline void capture_end(struct capture *c, char *text, size_t size) {
    fflush(NULL);
    dup2(c->kept, c->fd);
    close(c->kept);
    rewind(c->file);
    text[fread(text, 1, size - 1, c->file)] = '\0';
    fclose(c->file);
}

#endif
