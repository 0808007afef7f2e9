/* A library, loaded before all others (LD_PRELOAD), by which one system call on the files of a folder goes wrong. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* EIO where something is changed, ENOSPC, half of a write, half of a write and SIGKILL, EIO where nothing is changed.
   A kill tears no write of at most 8 bytes: it stands whole in the page cache, or not at all. */
enum kind { NONE, BROKEN, FULL, SHORT, KILLED, UNREADABLE };
#define ON(kind) (1 << (kind))
enum { READS = ON(UNREADABLE), WRITES = ON(BROKEN) | ON(FULL) | ON(SHORT) | ON(KILLED) };
enum { MAKES = ON(BROKEN) | ON(FULL) | ON(KILLED), REMOVES = ON(BROKEN) | ON(KILLED), LOOKS = ON(UNREADABLE) };
enum { FILES = 65536 };

static char folder[4096], ours[FILES]; /* ours: whether a descriptor is that of a file or folder in `folder` */
static enum kind kind;
static long number, count;

/* From now on let the call of this number go wrong, of those on `in` that this kind of fault can befall; 0: none. */
void faulty_arm(const char *in, int what, long which)
{
    snprintf(folder, sizeof folder, "%s", in);
    kind = what, number = which, count = 0;
}

/* Return how many such calls there were. */
long faulty_count(void) { return count; }

static int within(const char *path) { return *folder && path && !strncmp(path, folder, strlen(folder)); }
static int is_ours(int file) { return file >= 0 && file < FILES && ours[file]; }
static int strikes(int kinds) { return kinds >> kind & 1 && ++count == number; }

static long fail(void)
{
    if (kind == KILLED)
        kill(getpid(), SIGKILL);
    errno = kind == FULL ? ENOSPC : EIO;
    return -1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define TRANSFER(name, kinds, parameters, all, half)                                                           \
    ssize_t name parameters                                                                                          \
    {                                                                                                                \
        if (!is_ours(file) || !strikes(kinds))                                                                       \
            return REAL(name) all;                                                                                   \
        ssize_t done = kind == SHORT || (kind == KILLED && size > 8) ? REAL(name) half : 0;                          \
        return kind == SHORT ? done : fail();                                                                        \
    }
TRANSFER(read, READS, (int file, void *data, size_t size), (file, data, size), (file, data, (size + 1) / 2))
TRANSFER(write, WRITES, (int file, const void *data, size_t size), (file, data, size),
         (file, data, (size + 1) / 2))
#define PLACED(name, constant, kinds)                                                                                \
    TRANSFER(name, kinds, (int file, constant void *data, size_t size, off64_t place),                         \
             (file, data, size, place), (file, data, (size + 1) / 2, place))
PLACED(pread, , READS)
PLACED(pread64, , READS)
PLACED(pwrite, const, WRITES)
PLACED(pwrite64, const, WRITES)

static struct iovec half_of(const struct iovec *parts)
{
    return (struct iovec){parts->iov_base, (parts->iov_len + 1) / 2};
}
#define SCATTERED(name, kinds)                                                                                       \
    ssize_t name(int file, const struct iovec *parts, int many, off64_t place)                                       \
    {                                                                                                                \
        struct iovec half = half_of(parts);                                                                          \
        if (!is_ours(file) || !strikes(kinds))                                                                       \
            return REAL(name)(file, parts, many, place);                                                             \
        ssize_t done = kind == SHORT || kind == KILLED ? REAL(name)(file, &half, 1, place) : 0;                      \
        return kind == SHORT ? done : fail();                                                                        \
    }
SCATTERED(preadv, READS)
SCATTERED(preadv64, READS)

#define OPENS(name, head, ...)                                                                                       \
    int name(head const char *path, int flags, ...)                                                                  \
    {                                                                                                                \
        va_list rest;                                                                                                \
        va_start(rest, flags);                                                                                       \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                                      \
        va_end(rest);                                                                                                \
        if (within(path) && strikes(flags & O_CREAT ? MAKES : LOOKS))                                                \
            return fail();                                                                                           \
        int file = REAL(name)(__VA_ARGS__ path, flags, mode);                                                        \
        if (file >= 0 && file < FILES)                                                                               \
            ours[file] = within(path);                                                                               \
        return file;                                                                                                 \
    }
#define COMMA ,
OPENS(open, , )
OPENS(open64, , )
OPENS(openat, int at COMMA, at COMMA)
OPENS(openat64, int at COMMA, at COMMA)

int close(int file)
{
    int fails = is_ours(file) && strikes(LOOKS); /* the descriptor is closed all the same, as Linux does */
    if (file >= 0 && file < FILES)
        ours[file] = 0;
    int done = REAL(close)(file);
    return fails ? (int)fail() : done;
}

#define ON_FILE(name, kinds, parameters, arguments)                                                                  \
    int name parameters { return is_ours(file) && strikes(kinds) ? (int)fail() : REAL(name) arguments; }
ON_FILE(fsync, MAKES, (int file), (file))
ON_FILE(fdatasync, MAKES, (int file), (file))
ON_FILE(ftruncate, MAKES, (int file, off_t size), (file, size))
ON_FILE(ftruncate64, MAKES, (int file, off64_t size), (file, size))
ON_FILE(fchmod, REMOVES, (int file, mode_t mode), (file, mode))
ON_FILE(fstat, LOOKS, (int file, struct stat *status), (file, status))
ON_FILE(fstat64, LOOKS, (int file, struct stat64 *status), (file, status))

#define ON_PATH(name, kinds, parameters, arguments)                                                                  \
    int name parameters { return within(path) && strikes(kinds) ? (int)fail() : REAL(name) arguments; }
ON_PATH(rename, MAKES, (const char *old, const char *path), (old, path))
ON_PATH(renameat, MAKES, (int from, const char *old, int to, const char *path), (from, old, to, path))
ON_PATH(link, MAKES, (const char *old, const char *path), (old, path))
ON_PATH(linkat, MAKES, (int from, const char *old, int to, const char *path, int flags), (from, old, to, path, flags))
ON_PATH(mkdir, MAKES, (const char *path, mode_t mode), (path, mode))
ON_PATH(unlink, REMOVES, (const char *path), (path))
ON_PATH(unlinkat, REMOVES, (int at, const char *path, int flags), (at, path, flags))
ON_PATH(rmdir, REMOVES, (const char *path), (path))
ON_PATH(chmod, REMOVES, (const char *path, mode_t mode), (path, mode))
ON_PATH(stat, LOOKS, (const char *restrict path, struct stat *restrict status), (path, status))
ON_PATH(stat64, LOOKS, (const char *restrict path, struct stat64 *restrict status), (path, status))
ON_PATH(lstat, LOOKS, (const char *restrict path, struct stat *restrict status), (path, status))
ON_PATH(lstat64, LOOKS, (const char *restrict path, struct stat64 *restrict status), (path, status))
