#include "place.h"
#include "runtime/base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

/* "." for a plain name. */
static void folder_of(const char *path, struct str *out) {
    const char *slash = strrchr(path, '/');
    if (slash)
        str_append_bytes(out, path, slash == path ? 1 : (size_t)(slash - path));
    else
        str_append(out, ".");
}

bool place_is_remote(const char *path) {
    static const unsigned remote[] = {
        0x6969,     /* NFS */
        0x0bd00bd0, /* Lustre */
        0xfe534d42, /* SMB 2 and later */
        0xff534d42, /* CIFS */
        0x47504653, /* GPFS */
        0x00c36400, /* Ceph */
        0x19830326, /* BeeGFS */
    };
    struct str folder = {0};
    struct statfs info;
    bool found = false;
    folder_of(path, &folder);
    if (!folder.failed && statfs(folder.data, &info) == 0)
        for (size_t i = 0; i < sizeof remote / sizeof *remote; i++)
            found = found || (unsigned)info.f_type == remote[i];
    str_release(&folder);
    return found;
}

bool place_is_writable(const char *path) {
    struct str folder = {0};
    folder_of(path, &folder);
    const bool writable = !folder.failed && access(path, W_OK) == 0 && access(folder.data, W_OK) == 0;
    str_release(&folder);
    return writable;
}

static bool locks_work(int fd) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    return fcntl(fd, F_SETLK, &lock) == 0;
}

static bool mapping_works(int fd) {
    const size_t size = 4096;
    if (ftruncate(fd, (off_t)size) != 0)
        return true; /* a full disk says nothing of it */
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        return false;
    munmap(at, size);
    return true;
}

struct place place_try(const char *path) {
    struct place place = {.locks = true, .shared = !place_is_remote(path)};
    struct str name = {0};
    /* A file of its own: closing one that SQLite has open here, too, would take its locks away. */
    str_printf(&name, "%s.XXXXXX", path);
    const int fd = name.failed ? -1 : mkstemp(name.data);
    if (fd >= 0) {
        place.locks = locks_work(fd);
        place.shared = place.shared && mapping_works(fd);
        close(fd);
        unlink(name.data);
    }
    str_release(&name);
    return place;
}
