/* Makes a call of the system that writes into a folder fail: loaded before the C library
   (LD_PRELOAD), armed from Python. Only what opens for writing, writes, reserves, syncs and renames
   is counted; reading and deleting go on as usual. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static char folder[PATH_MAX];
static size_t length;
static atomic_long seen;
static long which; /* 0 is none */
static int code, on;

/* Let call number `number` that goes to a folder fail with an error of errno, and with `forever`
   all after it; 0 disarms. */
void fault_arm(const char *place, long number, int error, int forever)
{
    strncpy(folder, place, sizeof folder - 1);
    length = strlen(folder);
    atomic_store(&seen, 0);
    which = number;
    code = error;
    on = forever;
}

/* Calls that went to the folder since it was armed. */
long fault_seen(void) { return atomic_load(&seen); }

static int fails(void)
{
    long number = atomic_fetch_add(&seen, 1) + 1;
    if (which == 0 || number < which || (number > which && !on))
        return 0;
    errno = code;
    return 1;
}

static int named(const char *path) { return length && path && !strncmp(path, folder, length); }

static int opened(int file)
{
    char link[64], path[PATH_MAX];
    int kept = errno;
    if (!length)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, path, sizeof path - 1);
    errno = kept;
    if (size < 0)
        return 0;
    path[size] = 0;
    return named(path);
}

#define REAL(kind, name, ...)                                                                      \
    static kind (*real)(__VA_ARGS__);                                                              \
    if (!real)                                                                                     \
        real = (kind(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name);

ssize_t write(int file, const void *data, size_t size)
{
    REAL(ssize_t, "write", int, const void *, size_t)
    return opened(file) && fails() ? -1 : real(file, data, size);
}

ssize_t writev(int file, const struct iovec *data, int count)
{
    REAL(ssize_t, "writev", int, const struct iovec *, int)
    return opened(file) && fails() ? -1 : real(file, data, count);
}

#define AT(name)                                                                                   \
    ssize_t name(int file, const void *data, size_t size, off_t at)                                \
    {                                                                                              \
        REAL(ssize_t, #name, int, const void *, size_t, off_t)                                     \
        return opened(file) && fails() ? -1 : real(file, data, size, at);                          \
    }
AT(pwrite)
AT(pwrite64)

#define OF_FILE(name)                                                                              \
    int name(int file)                                                                             \
    {                                                                                              \
        REAL(int, #name, int)                                                                      \
        return opened(file) && fails() ? -1 : real(file);                                          \
    }
OF_FILE(fsync)
OF_FILE(fdatasync)

#define TRUNCATE(name)                                                                             \
    int name(int file, off_t size)                                                                 \
    {                                                                                              \
        REAL(int, #name, int, off_t)                                                               \
        return opened(file) && fails() ? -1 : real(file, size);                                    \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

#define RESERVE(name)                                                                              \
    int name(int file, off_t at, off_t size)                                                       \
    {                                                                                              \
        REAL(int, #name, int, off_t, off_t)                                                        \
        return opened(file) && fails() ? code : real(file, at, size);                              \
    }
RESERVE(posix_fallocate)
RESERVE(posix_fallocate64)

#define OF_NAMES(name)                                                                             \
    int name(const char *old, const char *new)                                                     \
    {                                                                                              \
        REAL(int, #name, const char *, const char *)                                               \
        return named(new) && fails() ? -1 : real(old, new);                                        \
    }
OF_NAMES(rename)
OF_NAMES(link)

int linkat(int from, const char *old, int to, const char *new, int flags)
{
    REAL(int, "linkat", int, const char *, int, const char *, int)
    return named(new) && fails() ? -1 : real(from, old, to, new, flags);
}

#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...)                                                     \
    {                                                                                              \
        REAL(int, #name, const char *, int, ...)                                                   \
        va_list more;                                                                              \
        va_start(more, flags);                                                                     \
        int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, int) : 0;                          \
        va_end(more);                                                                              \
        int writes = flags & (O_CREAT | O_WRONLY | O_RDWR);                                        \
        return writes && named(path) && fails() ? -1 : real(path, flags, mode);                    \
    }
OPEN(open)
OPEN(open64)

/* AVIF holds the time at which it was written; two runs shall give the same bytes. */
time_t time(time_t *now)
{
    if (now)
        *now = 1700000000;
    return 1700000000;
}
