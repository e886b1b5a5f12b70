/* Remembers what of a directory has been forced to the disk, for a test to throw the rest away. Preloaded into a child process.
 *
 * Every file made below SYNCFS_ROOT gets a second hard link below SYNCFS_SHADOW, so that its bytes outlive its name. A journal there
 * says when names came and went, when bytes were written, and when a file or a directory was forced to the disk. Where bytes
 * that may have been forced are about to change, they are copied first. ../syncfs.rs replays the journal and says what its
 * lines mean; it has also written the first of them, for what was there before.
 *
 * The calls go through to the file system unchanged, except that forcing does nothing more, and for two faults: SYNCFS_ENOSPC_AT=n
 * cuts the n-th write in half, as a disk that fills up does, and lets none after it through; SYNCFS_KILL_AT=n kills the
 * process in the middle of the n-th write. Writes to log files for people (LOG, LOG.old…) are not counted, since they come and go with time.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))real(#name))
#define PATH_SIZE (PATH_MAX + NAME_MAX + 64)

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static const char *root, *shadow;
static size_t root_len;
static int journal = -1;
static long enospc_at, kill_at, writes;

static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

static long number(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

__attribute__((constructor)) static void start(void) {
    root = getenv("SYNCFS_ROOT");
    shadow = getenv("SYNCFS_SHADOW");
    if (!root || !shadow) return;
    root_len = strlen(root);
    enospc_at = number("SYNCFS_ENOSPC_AT");
    kill_at = number("SYNCFS_KILL_AT");
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/journal", shadow);
    journal = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (journal < 0) abort();
}

/* One line, in one write, so that a killed process leaves whole lines. */
static void note(const char *format, ...) {
    char line[2 * PATH_SIZE];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof line || syscall(SYS_write, journal, line, length) != length) abort();
}

static int below_root(const char *path) {
    return journal >= 0 && strncmp(path, root, root_len) == 0 && (path[root_len] == '/' || path[root_len] == 0);
}

static int path_of(int fd, char *out) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, out, PATH_MAX);
    if (length < 0) return 0;
    out[length] = 0;
    return 1;
}

/* The path of a name, which need not exist, without links in its directory; 0 where it is not below the root. */
static int resolve(int dirfd, const char *path, char *out) {
    if (journal < 0 || !path) return 0;
    char joined[PATH_SIZE], base[PATH_MAX];
    if (path[0] == '/') {
        snprintf(joined, sizeof joined, "%s", path);
    } else {
        if (dirfd == AT_FDCWD ? !getcwd(base, sizeof base) : !path_of(dirfd, base)) return 0;
        snprintf(joined, sizeof joined, "%s/%s", base, path);
    }
    size_t length = strlen(joined);
    while (length > 1 && joined[length - 1] == '/') joined[--length] = 0;
    char *slash = strrchr(joined, '/');
    if (!slash) return 0;
    *slash = 0;
    char directory[PATH_MAX];
    if (!realpath(joined[0] ? joined : "/", directory)) return 0;
    snprintf(out, PATH_SIZE, "%s/%s", directory, slash + 1);
    return below_root(out);
}

static void shadow_of(ino_t inode, char *out) { snprintf(out, PATH_SIZE, "%s/inodes/%lu", shadow, (unsigned long)inode); }

static int is_known(const struct stat *file) {
    char pinned[PATH_SIZE];
    struct stat other;
    if (journal < 0 || !S_ISREG(file->st_mode)) return 0;
    shadow_of(file->st_ino, pinned);
    return stat(pinned, &other) == 0 && other.st_dev == file->st_dev;
}

/* Notes that a path names a file, which is kept from now on. */
static void name(const char *path) {
    struct stat file;
    char pinned[PATH_SIZE];
    if (lstat(path, &file) != 0 || !S_ISREG(file.st_mode)) return;
    shadow_of(file.st_ino, pinned);
    if (REAL(linkat)(AT_FDCWD, path, AT_FDCWD, pinned, 0) != 0 && errno != EEXIST) abort();
    note("L\t%lu\t%s\n", (unsigned long)file.st_ino, path);
}

/* Keeps the bytes of a file that are about to change where they stand. */
static void keep_bytes(const char *path) {
    struct stat file;
    static int copies;
    char copy[PATH_SIZE], buffer[1 << 16];
    if (stat(path, &file) != 0 || !is_known(&file) || file.st_size == 0) return;
    int copied = ++copies;
    snprintf(copy, sizeof copy, "%s/copies/%d-%d", shadow, (int)getpid(), copied);
    int from = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    int to = syscall(SYS_openat, AT_FDCWD, copy, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (from < 0 || to < 0) abort();
    for (ssize_t got; (got = read(from, buffer, sizeof buffer)) > 0;)
        if (syscall(SYS_write, to, buffer, got) != got) abort();
    syscall(SYS_close, from);
    syscall(SYS_close, to);
    note("P\t%lu\t%d-%d\n", (unsigned long)file.st_ino, (int)getpid(), copied);
}

static void keep_bytes_of(int fd) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    keep_bytes(link);
}

/* ---- Names ---- */

static ssize_t written(int fd, ssize_t outcome, char what);

static int open_at(int dirfd, const char *path, int flags, mode_t mode) {
    char full[PATH_SIZE];
    if (!(flags & (O_CREAT | O_TRUNC)) || (flags & O_TMPFILE) == O_TMPFILE || !resolve(dirfd, path, full))
        return REAL(openat)(dirfd, path, flags, mode);
    pthread_mutex_lock(&lock);
    int is_new = access(full, F_OK) != 0;
    if (!is_new && (flags & O_TRUNC)) keep_bytes(full);
    int fd = REAL(openat)(dirfd, path, flags, mode);
    int error = errno;
    if (fd >= 0 && is_new) name(full);
    if (fd >= 0 && !is_new && (flags & O_TRUNC)) written(fd, 0, 'T');
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

#define MODE(flags)                                       \
    mode_t mode = 0;                                      \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                \
        va_list arguments;                                \
        va_start(arguments, flags);                       \
        mode = va_arg(arguments, mode_t);                 \
        va_end(arguments);                                \
    }

int open(const char *path, int flags, ...) { MODE(flags) return open_at(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return open_at(AT_FDCWD, path, flags, mode); }
int openat(int dirfd, const char *path, int flags, ...) { MODE(flags) return open_at(dirfd, path, flags, mode); }
int openat64(int dirfd, const char *path, int flags, ...) { MODE(flags) return open_at(dirfd, path, flags, mode); }
int creat(const char *path, mode_t mode) { return open_at(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode); }

/* Makes a call that changes names and, if it went well, notes it before any other such call. */
#define NAMING(call, notes)                               \
    pthread_mutex_lock(&lock);                            \
    int outcome = call;                                   \
    int error = errno;                                    \
    if (outcome == 0) notes;                              \
    pthread_mutex_unlock(&lock);                          \
    errno = error;                                        \
    return outcome;

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    char old[PATH_SIZE], new[PATH_SIZE];
    if (!resolve(from_dir, from, old) || !resolve(to_dir, to, new)) return REAL(renameat2)(from_dir, from, to_dir, to, flags);
    NAMING(REAL(renameat2)(from_dir, from, to_dir, to, flags), note("R\t%s\t%s\n", old, new))
}
int renameat(int from_dir, const char *from, int to_dir, const char *to) { return renameat2(from_dir, from, to_dir, to, 0); }
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    char new[PATH_SIZE];
    if (!resolve(to_dir, to, new)) return REAL(linkat)(from_dir, from, to_dir, to, flags);
    NAMING(REAL(linkat)(from_dir, from, to_dir, to, flags), name(new))
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int dirfd, const char *path, int flags) {
    char full[PATH_SIZE];
    if (!resolve(dirfd, path, full)) return REAL(unlinkat)(dirfd, path, flags);
    NAMING(REAL(unlinkat)(dirfd, path, flags), note("U\t%s\n", full))
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int dirfd, const char *path, mode_t mode) {
    char full[PATH_SIZE];
    if (!resolve(dirfd, path, full)) return REAL(mkdirat)(dirfd, path, mode);
    NAMING(REAL(mkdirat)(dirfd, path, mode), note("M\t%s\n", full))
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

/* ---- Bytes ---- */

static int is_log_for_people(int fd) {
    char path[PATH_SIZE];
    if (!path_of(fd, path)) return 1;
    char *slash = strrchr(path, '/');
    return slash && strncmp(slash, "/LOG", 4) == 0;
}

/* Whether writes to a file count, and what it is. */
static int counts(int fd, struct stat *file) {
    int error = errno;
    int answer = journal >= 0 && fstat(fd, file) == 0 && is_known(file) && !is_log_for_people(fd);
    errno = error;
    return answer;
}

/* Before a write of `size` bytes at `offset` (-1: where the file stands). How many of them may be written. */
static size_t room_for(int fd, const void *bytes, size_t size, off_t offset) {
    struct stat file;
    if (size == 0 || !counts(fd, &file)) return size;
    int error = errno;
    pthread_mutex_lock(&lock);
    if (offset < 0) offset = (fcntl(fd, F_GETFL) & O_APPEND) ? file.st_size : lseek(fd, 0, SEEK_CUR);
    if (offset < file.st_size) keep_bytes_of(fd);
    long nth = ++writes;
    if (nth == kill_at) {
        if (bytes) syscall(SYS_pwrite64, fd, bytes, size / 2, offset);
        syscall(SYS_kill, getpid(), SIGKILL);
    }
    size_t room = size;
    if (enospc_at && nth == enospc_at) room = bytes ? size / 2 : 0;
    if (enospc_at && nth > enospc_at) room = 0;
    pthread_mutex_unlock(&lock);
    errno = room ? error : ENOSPC;
    return room;
}

/* Notes how long a file has become. */
static ssize_t written(int fd, ssize_t outcome, char what) {
    struct stat file;
    if (outcome >= 0 && counts(fd, &file)) note("%c\t%lu\t%ld\n", what, (unsigned long)file.st_ino, (long)file.st_size);
    return outcome;
}

#define WRITING(call, bytes, whole, offset)                         \
    size_t room = room_for(fd, bytes, whole, offset);               \
    if (room == 0 && (whole) != 0) return -1;                       \
    return written(fd, call, 'W');

static size_t size_of(const struct iovec *parts, int count) {
    size_t size = 0;
    for (int i = 0; i < count; i++) size += parts[i].iov_len;
    return size;
}

ssize_t write(int fd, const void *bytes, size_t size) { WRITING(REAL(write)(fd, bytes, room), bytes, size, -1) }
ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at) { WRITING(REAL(pwrite)(fd, bytes, room, at), bytes, size, at) }
ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at) { WRITING(REAL(pwrite64)(fd, bytes, room, at), bytes, size, at) }
ssize_t writev(int fd, const struct iovec *parts, int count) { WRITING(REAL(writev)(fd, parts, count), NULL, size_of(parts, count), -1) }

/* Ways to write that are not followed: whoever tries them falls back on those that are. */
ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t size, unsigned flags) {
    struct stat file;
    if (!counts(to, &file)) return REAL(copy_file_range)(from, from_at, to, to_at, size, flags);
    errno = ENOSYS;
    return -1;
}

static void before_truncation(int fd, off_t size) {
    struct stat file;
    int error = errno;
    if (journal >= 0 && fstat(fd, &file) == 0 && size < file.st_size) {
        pthread_mutex_lock(&lock);
        keep_bytes_of(fd);
        pthread_mutex_unlock(&lock);
    }
    errno = error;
}

int ftruncate(int fd, off_t size) { before_truncation(fd, size); return written(fd, REAL(ftruncate)(fd, size), 'T'); }
int ftruncate64(int fd, off64_t size) { before_truncation(fd, size); return written(fd, REAL(ftruncate64)(fd, size), 'T'); }

int truncate(const char *path, off_t size) {
    int fd = open_at(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0) return -1;
    int outcome = ftruncate(fd, size), error = errno;
    syscall(SYS_close, fd);
    errno = error;
    return outcome;
}

/* ---- Durability ---- */

/* Bytes written before the call are forced by it; those that others write meanwhile may not be. Nothing needs to reach the disk: what
 * a power cut leaves is made from the journal. */
static int force(int fd) {
    struct stat file;
    char path[PATH_SIZE];
    int error = errno;
    if (fstat(fd, &file) != 0) return -1;
    if (is_known(&file)) {
        pthread_mutex_lock(&lock);
        note("S\t%lu\t%ld\n", (unsigned long)file.st_ino, (long)file.st_size);
        pthread_mutex_unlock(&lock);
    } else if (S_ISDIR(file.st_mode) && path_of(fd, path) && below_root(path)) {
        pthread_mutex_lock(&lock);
        note("D\t%s\n", path);
        pthread_mutex_unlock(&lock);
    }
    errno = error;
    return 0;
}

int fsync(int fd) { return journal < 0 ? REAL(fsync)(fd) : force(fd); }
int fdatasync(int fd) { return journal < 0 ? REAL(fdatasync)(fd) : force(fd); }
