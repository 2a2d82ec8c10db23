/* The disk as a program really uses it: put before the C library by LD_PRELOAD, it notes every call that makes something
 * durable, and lets calls fail. No change to the program can fool it. Compiled by tests/it/rig/disk.rs.
 *
 *   ALLUVIA_DISK_ROOT  paths below it are looked at, no others
 *   ALLUVIA_DISK_LOG   a line per call that was done: create PATH, write PATH, fsync PATH, mkdir PATH, link FROM TO,
 *                      rename FROM TO, unlink PATH; a folder's path ends in a slash; `fault CALL PATH` for those that failed
 *   ALLUVIA_DISK       RULE; RULE; …   RULE = CALL FRAGMENT ACTION
 *                      CALL      one of those above, or flock, or readdir; * for all but these two
 *                      FRAGMENT  part of the path, with $ at its end the end of the path; * for any
 *                      ACTION    io (EIO) full (ENOSPC) full>BYTES (ENOSPC once so many bytes were written there)
 *                                read-only (EROFS) nfs (flock as on NFS: exclusive only on a writable handle)
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define RULES_MAX 16
#define TEXT_MAX 64

struct rule {
    char call[TEXT_MAX];
    char fragment[TEXT_MAX];
    int error;
    int nfs;
    long from_bytes;
    long written;
};

static struct rule rules[RULES_MAX];
static int rule_count;
static int log_fd = -1;
static char root[PATH_MAX];

/* The C library's own function behind ours. */
#define REAL(type, name, ...)                                   \
    static type (*real)(__VA_ARGS__);                           \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static void refuse(const char *rule) {
    dprintf(2, "disk.c: not a rule: %s\n", rule);
    _exit(99);
}

static void read_rule(char *text) {
    char action[TEXT_MAX];
    struct rule *rule = &rules[rule_count];
    int words = sscanf(text, " %63s %63s %63s", rule->call, rule->fragment, action);
    if (words <= 0) return;
    if (words != 3 || rule_count + 1 >= RULES_MAX) refuse(text);
    if (!strcmp(action, "io")) rule->error = EIO;
    else if (!strcmp(action, "read-only")) rule->error = EROFS;
    else if (!strcmp(action, "nfs")) { rule->error = EBADF; rule->nfs = 1; }
    else if (!strcmp(action, "full")) rule->error = ENOSPC;
    else if (sscanf(action, "full>%ld", &rule->from_bytes) == 1) rule->error = ENOSPC;
    else refuse(text);
    rule_count++;
}

__attribute__((constructor)) static void begin(void) {
    const char *in = getenv("ALLUVIA_DISK_ROOT"), *log = getenv("ALLUVIA_DISK_LOG"), *set = getenv("ALLUVIA_DISK");
    if (!in || !realpath(in, root)) return;
    if (set) {
        char *text = strdup(set), *rest = text;
        for (char *one; (one = strsep(&rest, ";"));) read_rule(one);
        free(text);
    }
    if (log) log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

static int below(const char *path) { return root[0] && !strncmp(path, root, strlen(root)); }

static void note(const char *first, const char *call, const char *path, const char *to) {
    char line[3 * PATH_MAX];
    if (log_fd < 0) return;
    int length = snprintf(line, sizeof line, "%s%s %s%s%s\n", first, call, path, to ? " " : "", to ? to : "");
    REAL(ssize_t, "write", int, const void *, size_t);
    int kept = errno;
    if (real(log_fd, line, length) != length) _exit(98);
    errno = kept;
}

static int covers(const struct rule *rule, const char *path) {
    size_t length = strlen(rule->fragment), of_path = strlen(path);
    if (!strcmp(rule->fragment, "*")) return 1;
    if (rule->fragment[length - 1] != '$') return strstr(path, rule->fragment) != NULL;
    return of_path >= length - 1 && !strncmp(path + of_path - (length - 1), rule->fragment, length - 1);
}

/* Whether the call is to fail; `bytes` are those that it would write. */
static int fails(const char *call, const char *path, long bytes) {
    for (int at = 0; at < rule_count; at++) {
        struct rule *rule = &rules[at];
        int any = !strcmp(rule->call, "*") && strcmp(call, "flock") && strcmp(call, "readdir");
        if (!covers(rule, path)) continue;
        long written = bytes ? __atomic_add_fetch(&rule->written, bytes, __ATOMIC_SEQ_CST) : rule->written;
        if (!any && strcmp(rule->call, call)) continue;
        if (rule->from_bytes && written <= rule->from_bytes) continue;
        note("fault ", call, path, NULL);
        errno = rule->error;
        return 1;
    }
    return 0;
}

/* The path behind a handle, a folder's with a slash; whether it is one of those to look at. */
static int path_of(int fd, char *path) {
    char link[64];
    struct stat about;
    int kept = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 2);
    path[length > 0 ? length : 0] = 0;
    int ours = below(path);
    if (ours && !fstat(fd, &about) && S_ISDIR(about.st_mode)) strcat(path, "/");
    errno = kept;
    return ours;
}

static int opened(int (*real)(int, const char *, int, ...), int at, const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    int writes = flags & (O_CREAT | O_WRONLY | O_RDWR | O_TRUNC);
    if (writes && below(path) && fails("create", path, 0)) return -1;
    int fd = real(at, path, flags, mode);
    if (fd >= 0 && (flags & O_CREAT) && path_of(fd, whole)) note("", "create", whole, NULL);
    return fd;
}

#define MODE(flags)                        \
    mode_t mode = 0;                       \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list more;                      \
        va_start(more, flags);             \
        mode = va_arg(more, int);          \
        va_end(more);                      \
    }

int open(const char *path, int flags, ...) {
    MODE(flags)
    REAL(int, "openat", int, const char *, int, ...);
    return opened(real, AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    MODE(flags)
    REAL(int, "openat64", int, const char *, int, ...);
    return opened(real, AT_FDCWD, path, flags, mode);
}

int openat(int at, const char *path, int flags, ...) {
    MODE(flags)
    REAL(int, "openat", int, const char *, int, ...);
    return opened(real, at, path, flags, mode);
}

int openat64(int at, const char *path, int flags, ...) {
    MODE(flags)
    REAL(int, "openat64", int, const char *, int, ...);
    return opened(real, at, path, flags, mode);
}

/* A call on a handle. */
#define ON_HANDLE(type, call, name, bytes, parameters, arguments, ...) \
    type name parameters {                                             \
        char path[PATH_MAX];                                           \
        REAL(type, #name, __VA_ARGS__);                                \
        int ours = root[0] && path_of(fd, path);                       \
        if (ours && fails(call, path, bytes)) return -1;               \
        type done = real arguments;                                    \
        if (ours && done >= 0) note("", call, path, NULL);             \
        return done;                                                   \
    }

ON_HANDLE(int, "fsync", fsync, 0, (int fd), (fd), int)
ON_HANDLE(int, "fsync", fdatasync, 0, (int fd), (fd), int)
ON_HANDLE(ssize_t, "write", write, (long)size, (int fd, const void *from, size_t size), (fd, from, size), int, const void *, size_t)
ON_HANDLE(ssize_t, "write", pwrite, (long)size, (int fd, const void *from, size_t size, off_t at), (fd, from, size, at), int,
          const void *, size_t, off_t)
ON_HANDLE(ssize_t, "write", pwrite64, (long)size, (int fd, const void *from, size_t size, off64_t at), (fd, from, size, at), int,
          const void *, size_t, off64_t)

/* A call on names. */
#define ON_NAMES(call, name, path, to, parameters, arguments, ...)                  \
    int name parameters {                                                           \
        REAL(int, #name, __VA_ARGS__);                                              \
        int ours = below(path);                                                     \
        if (ours && fails(call, to, 0)) return -1;                                  \
        int done = real arguments;                                                  \
        if (ours && done >= 0) note("", call, path, (const char *)to == path ? NULL : to); \
        return done;                                                                \
    }

ON_NAMES("mkdir", mkdir, path, path, (const char *path, mode_t mode), (path, mode), const char *, mode_t)
ON_NAMES("unlink", unlink, path, path, (const char *path), (path), const char *)
ON_NAMES("link", link, from, to, (const char *from, const char *to), (from, to), const char *, const char *)
ON_NAMES("link", linkat, from, to, (int f, const char *from, int t, const char *to, int flags), (f, from, t, to, flags), int,
         const char *, int, const char *, int)
ON_NAMES("rename", rename, from, to, (const char *from, const char *to), (from, to), const char *, const char *)
ON_NAMES("rename", renameat, from, to, (int f, const char *from, int t, const char *to), (f, from, t, to), int, const char *, int,
         const char *)

int flock(int fd, int how) {
    char path[PATH_MAX];
    REAL(int, "flock", int, int);
    int access = fcntl(fd, F_GETFL) & O_ACCMODE;
    int refused = ((how & LOCK_EX) && access == O_RDONLY) || ((how & LOCK_SH) && access == O_WRONLY);
    if (refused && path_of(fd, path) && fails("flock", path, 0)) return -1;
    return real(fd, how);
}

struct dirent64 *readdir64(DIR *folder) {
    char path[PATH_MAX];
    REAL(struct dirent64 *, "readdir64", DIR *);
    if (root[0] && path_of(dirfd(folder), path) && fails("readdir", path, 0)) return NULL;
    return real(folder);
}
