/* What the file system of a database has. */
#ifndef MT_PLACE_H
#define MT_PLACE_H

#include <stdbool.h>

struct place {
    bool locks;  /* POSIX locks, on which SQLite relies: Lustre without -o flock and NFS without lockd have none */
    bool shared; /* memory that processes share, which SQLite's WAL mode needs; never on a file system that other hosts
                  * may have mounted too, for their memory is not this one's */
};
/* By trying, in the folder of `path`. Where nothing can be written all is there: who writes is told what is wrong. */
struct place place_try(const char *path);

/* Whether other hosts may have it mounted, too. */
bool place_is_remote(const char *path);

/* Whether both the file and its folder can be written. */
bool place_is_writable(const char *path);

#endif
