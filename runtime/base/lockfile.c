#include "lockfile.h"
#include "file.h"
#include "log.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- who ---- */

/* A process, told from all others: of other hosts, other boots, other containers, and of those that had its number
 * before. A text has the members in this order, with spaces between them. */
struct who {
    char host[65], machine[65], boot[65], space[65], started[32];
    int pid;
};

/* The first word of a small file, "-" if there is none. */
static void read_word(const char *path, char word[65]) {
    FILE *file = fopen(path, "r");
    if (!file || fscanf(file, "%64s", word) != 1)
        snprintf(word, 65, "-");
    if (file)
        fclose(file);
}

/* When the process started, in ticks since its host did; "-" if it is not there. */
static void read_started(int pid, char started[32]) {
    char path[32], line[1024] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (file) {
        line[fread(line, 1, sizeof line - 1, file)] = 0;
        fclose(file);
    }
    const char *at = strrchr(line, ')'); /* its name may have spaces; 19 fields lie between */
    for (int field = 0; at && field < 20; field++)
        at = strchr(at + 1, ' ');
    if (!at || sscanf(at, "%31s", started) != 1)
        snprintf(started, 32, "-");
}

static void read_self(struct who *who) {
    *who = (struct who){.pid = (int)getpid(), .space = "-"};
    read_word("/proc/sys/kernel/hostname", who->host);
    read_word("/etc/machine-id", who->machine);
    read_word("/proc/sys/kernel/random/boot_id", who->boot);
    const ssize_t length = readlink("/proc/self/ns/pid", who->space, sizeof who->space - 1);
    who->space[length > 0 ? length : 1] = 0;
    read_started(who->pid, who->started);
}

static bool parse(const char *text, struct who *out) {
    *out = (struct who){0};
    return sscanf(text, "%64s %64s %64s %64s %d %31s", out->host, out->machine, out->boot, out->space, &out->pid,
                  out->started) == 6;
}

static bool same(const char *a, const char *b) {
    return strcmp(a, b) == 0 && strcmp(a, "-") != 0;
}

/* Only when that is certain: what runs elsewhere cannot be seen. */
static bool is_dead(const struct who *who, const struct who *self) {
    char started[32];
    if (!same(who->boot, self->boot))
        return same(who->machine, self->machine) && strcmp(who->boot, "-") != 0 && strcmp(self->boot, "-") != 0;
    if (!same(who->space, self->space))
        return false;
    if (kill(who->pid, 0) != 0 && errno == ESRCH)
        return true;
    read_started(who->pid, started);
    return strcmp(started, "-") != 0 && strcmp(started, who->started) != 0;
}

/* ---- the lock file ---- */

static bool write_new(const char *path, const char *text) {
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return false;
    const size_t length = strlen(text);
    const bool written = write(fd, text, length) == (ssize_t)length;
    const int error = errno;
    if (close(fd) == 0 && written)
        return true;
    unlink(path);
    errno = written ? EIO : error;
    return false;
}

static bool read_text(const char *path, char text[512]) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t length = fd >= 0 ? read(fd, text, 511) : -1;
    text[length > 0 ? length : 0] = 0;
    if (fd >= 0)
        close(fd);
    return length > 0;
}

/* NFS may say that a link failed which is there. */
static bool link_new(const char *from, const char *to) {
    struct stat info;
    if (link(from, to) == 0)
        return true;
    const int error = errno;
    if (stat(from, &info) == 0 && info.st_nlink == 2)
        return true;
    errno = error;
    return false;
}

/* Takes a dead process's lock file away, unless another one was quicker: then it is put back. */
static void take_away(const char *name, const char *mine, const char *dead) {
    struct str old = {0};
    char text[512];
    str_printf(&old, "%s.old", mine);
    if (!old.failed && rename(name, old.data) == 0) {
        if (!read_text(old.data, text) || strcmp(text, dead) != 0)
            link_new(old.data, name);
        unlink(old.data);
    }
    str_release(&old);
}

enum result { TAKEN, HELD, IMPOSSIBLE };

/* `mine` is a file with `text`: who takes the lock. */
static enum result take(const char *name, const char *mine, const char *text, char holder[FILE_LOCK_HOLDER]) {
    struct who self, other;
    char found[512];
    parse(text, &self);
    for (int attempt = 0; attempt < 10; attempt++) {
        if (link_new(mine, name))
            return TAKEN;
        if (errno != EEXIST)
            return IMPOSSIBLE;
        if (!read_text(name, found))
            continue; /* it was removed */
        if (!parse(found, &other))
            break;
        text_fit(holder, FILE_LOCK_HOLDER, "process %d on %s", other.pid, other.host);
        if (!same(other.space, self.space) || !same(other.boot, self.boot))
            text_fit(holder, FILE_LOCK_HOLDER, "process %d on %s (if it has ended, remove %s)", other.pid, other.host,
                     name);
        if (!is_dead(&other, &self))
            break;
        take_away(name, mine, found);
    }
    return HELD;
}

static bool lock_by_name(const char *path, struct file_lock *lock, char holder[FILE_LOCK_HOLDER]) {
    struct str name = {0}, mine = {0}, text = {0};
    struct who self;
    read_self(&self);
    str_printf(&name, "%s.lock", path);
    str_printf(&mine, "%s.%d", str_text(&name), self.pid);
    str_printf(&text, "%s %s %s %s %d %s\n", self.host, self.machine, self.boot, self.space, self.pid, self.started);
    char *kept = name.failed || mine.failed || text.failed ? NULL : mem_text(name.data);
    enum result result = IMPOSSIBLE;
    if (kept) {
        unlink(mine.data); /* of a process that had this number */
        if (write_new(mine.data, text.data))
            result = take(name.data, mine.data, text.data, holder);
    }
    if (result == IMPOSSIBLE)
        log_warn("%s cannot be locked (%s): see to it that no other process uses it meanwhile", path, strerror(errno));
    if (kept)
        unlink(mine.data);
    if (result == TAKEN)
        *lock = (struct file_lock){kept, self.pid};
    else
        free(kept);
    str_release(&name);
    str_release(&mine);
    str_release(&text);
    return result != HELD;
}

bool file_lock(int fd, const char *path, struct file_lock *lock, char holder[FILE_LOCK_HOLDER]) {
    int rc;
    *lock = (struct file_lock){0};
    text_fit(holder, FILE_LOCK_HOLDER, "%s", FILE_LOCK_UNKNOWN);
    while ((rc = flock(fd, LOCK_EX | LOCK_NB)) != 0 && errno == EINTR)
        ;
    if (rc == 0 || errno == EWOULDBLOCK)
        return rc == 0;
    return lock_by_name(path, lock, holder);
}

void file_unlock(struct file_lock *lock) {
    if (lock->name && lock->pid == (int)getpid())
        unlink(lock->name);
    free(lock->name);
    *lock = (struct file_lock){0};
}
