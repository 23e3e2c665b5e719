/* Stops the process in front of its n-th step that changes files: a write, a sync, a new length, a name.
 *
 * Preloaded, so that LMDB's own calls are counted like Python's. Only regular files and names count; pipes
 * and sockets do not. `stop_at(n)` starts the count, `steps_done()` tells it. A stop is an exit without any
 * clean-up: what was written is in the kernel's hands, what was not is lost, as after kill -9. With
 * `stop_at(-n)` the step is a write of which only the first half happens before.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long done;
static long last, halves;

void stop_at(long n) { done = 0; halves = n < 0; last = labs(n); }
long steps_done(void) { return done; }

static int is_file(int fd) {
    struct stat about;
    return fstat(fd, &about) == 0 && S_ISREG(about.st_mode);
}

/* Whether this very step is the one to stop at. */
static int is_last(void) { return last && atomic_fetch_add(&done, 1) + 1 == last; }

/* Half of a write, up to the end of a sector: a disk does not write less. */
static size_t half(size_t size, off_t at) {
    off_t end = (at + (off_t)size / 2) & ~511L;
    return end > at ? (size_t)(end - at) : 0;
}

#define NEXT(name) \
    static __typeof__(&name) next; \
    if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define STOP _exit(137)


ssize_t write(int fd, const void *data, size_t size) {
    NEXT(write);
    if (last && is_file(fd) && is_last()) { if (halves) next(fd, data, half(size, lseek(fd, 0, SEEK_CUR))); STOP; }
    return next(fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    NEXT(pwrite);
    if (last && is_file(fd) && is_last()) { if (halves) next(fd, data, half(size, at), at); STOP; }
    return next(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    NEXT(pwrite64);
    if (last && is_file(fd) && is_last()) { if (halves) next(fd, data, half(size, at), at); STOP; }
    return next(fd, data, size, at);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    NEXT(writev);
    if (last && is_file(fd) && is_last()) { if (halves) next(fd, parts, (count + 1) / 2); STOP; }
    return next(fd, parts, count);
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    NEXT(pwritev);
    if (last && is_file(fd) && is_last()) { if (halves) next(fd, parts, (count + 1) / 2, at); STOP; }
    return next(fd, parts, count, at);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    NEXT(pwritev64);
    if (last && is_file(fd) && is_last()) { if (halves) next(fd, parts, (count + 1) / 2, at); STOP; }
    return next(fd, parts, count, at);
}
#define ON_FILE(name, parameters, arguments) \
    int name parameters { \
        NEXT(name); \
        if (last && is_file(fd) && is_last()) STOP; \
        return next arguments; \
    }
#define ON_NAME(name, parameters, arguments) \
    int name parameters { \
        NEXT(name); \
        if (last && is_last()) STOP; \
        return next arguments; \
    }
ON_FILE(fdatasync, (int fd), (fd))
ON_FILE(ftruncate, (int fd, off_t length), (fd, length))
ON_FILE(ftruncate64, (int fd, off64_t length), (fd, length))
int posix_fallocate(int fd, off_t from, off_t length);
int posix_fallocate64(int fd, off64_t from, off64_t length);
ON_FILE(posix_fallocate, (int fd, off_t from, off_t length), (fd, from, length))
ON_FILE(posix_fallocate64, (int fd, off64_t from, off64_t length), (fd, from, length))
ON_NAME(fsync, (int fd), (fd)) /* directories too */
int rename(const char *from, const char *to);
int renameat(int from_fd, const char *from, int to_fd, const char *to);
ON_NAME(rename, (const char *from, const char *to), (from, to))
ON_NAME(renameat, (int from_fd, const char *from, int to_fd, const char *to), (from_fd, from, to_fd, to))
ON_NAME(unlink, (const char *path), (path))
ON_NAME(unlinkat, (int fd, const char *path, int flags), (fd, path, flags))
ON_NAME(mkdir, (const char *path, mode_t mode), (path, mode))
