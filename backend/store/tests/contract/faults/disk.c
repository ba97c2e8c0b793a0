/*
 * A disk that fails when told to, and that forgets what was never synced.
 *
 * Loaded in front of the C library (LD_PRELOAD) into a child of the tests, it stands between the database
 * and the system's calls for the files of one folder:
 *
 *   DISK_FOLDER      the folder; other files are left alone
 *   DISK_CONTROL     a file that holds the failure to show now: eio-sync, eio-write, enospc, erofs, or nothing
 *   DISK_PLATTER     a folder that gets what a real disk would hold: bytes reach it only by a successful sync.
 *                    After a failed one the bytes written before count as clean, as on Linux: no later sync
 *                    brings them to the disk unless they are written again.
 *   DISK_KILL_AT     kill the process at this write, sync, truncation or removal, counted from 1
 *   DISK_TORN        with it: a write is done by half before that
 *
 * The index of the write-ahead log (-shm) is memory, and lock files hold nothing: both are left alone.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILES 16
#define STEPS 65536

/* A write of bytes from `at` on, or, with `bytes` negative, a truncation to `at`. */
struct step { off_t at; ssize_t bytes; };
struct file { char name[256]; struct step *steps; int count; };

static struct file files[FILES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long calls;

/* The name of a file that is ours, or NULL. */
static const char *ours(const char *path)
{
    const char *folder = getenv("DISK_FOLDER");
    if (!folder)
        return NULL;
    size_t length = strlen(folder);
    if (strncmp(path, folder, length) != 0 || path[length] != '/')
        return NULL;
    const char *name = path + length + 1;
    size_t end = strlen(name);
    if ((end > 4 && !strcmp(name + end - 4, "-shm")) || (end > 5 && !strcmp(name + end - 5, ".lock")))
        return NULL;
    return strchr(name, '/') ? NULL : name;
}

static const char *name_of(int fd, char *path, size_t size)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (length < 0)
        return NULL;
    path[length] = 0;
    return ours(path);
}

static int told(const char *word)
{
    const char *control = getenv("DISK_CONTROL");
    if (!control)
        return 0;
    int fd = syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    char text[64] = { 0 };
    ssize_t length = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    return length > 0 && !strncmp(text, word, strlen(word));
}

static int fail(int code)
{
    errno = code;
    return -1;
}

static int write_fails(void)
{
    if (told("eio-write"))
        return EIO;
    if (told("enospc"))
        return ENOSPC;
    if (told("erofs"))
        return EROFS;
    return 0;
}

/* Whether this is the call to die at. */
static int last_call(void)
{
    const char *at = getenv("DISK_KILL_AT");
    return at && ++calls == atol(at);
}

static void die(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

static struct file *record_of(const char *name)
{
    for (int i = 0; i < FILES; i++) {
        if (!files[i].steps) {
            strncpy(files[i].name, name, sizeof files[i].name - 1);
            files[i].steps = malloc(STEPS * sizeof(struct step));
            return &files[i];
        }
        if (!strcmp(files[i].name, name))
            return &files[i];
    }
    abort();
}

static void note(const char *name, off_t at, ssize_t bytes)
{
    if (!getenv("DISK_PLATTER"))
        return;
    struct file *file = record_of(name);
    if (file->count == STEPS)
        abort();
    file->steps[file->count++] = (struct step){ at, bytes };
}

static void platter_path(const char *name, char *path, size_t size)
{
    snprintf(path, size, "%s/%s", getenv("DISK_PLATTER"), name);
}

/*
 * Brings to the platter what was written since the last sync. Reads through the descriptor at hand: to open
 * and close the file once more would drop the database's locks on it.
 */
static void settle(const char *name, int from)
{
    if (!getenv("DISK_PLATTER"))
        return;
    struct file *file = record_of(name);
    char path[4096];
    platter_path(name, path, sizeof path);
    int to = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (to < 0)
        abort();
    static char page[65536];
    for (int i = 0; i < file->count; i++) {
        struct step step = file->steps[i];
        if (step.bytes < 0) {
            syscall(SYS_ftruncate, to, step.at);
            continue;
        }
        for (off_t at = step.at; at < step.at + step.bytes;) {
            size_t most = step.at + step.bytes - at;
            ssize_t got = syscall(SYS_pread64, from, page, most < sizeof page ? most : sizeof page, at);
            if (got <= 0)
                break;
            syscall(SYS_pwrite64, to, page, got, at);
            at += got;
        }
    }
    file->count = 0;
    syscall(SYS_close, to);
}

static int sync_file(int fd, long number)
{
    char path[4096];
    const char *name = name_of(fd, path, sizeof path);
    if (!name)
        return syscall(number, fd);
    pthread_mutex_lock(&lock);
    if (last_call())
        die();
    int result;
    if (told("eio-sync")) {
        if (getenv("DISK_PLATTER"))
            record_of(name)->count = 0;
        result = fail(EIO);
    } else {
        settle(name, fd);
        result = 0;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int fd) { return sync_file(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_file(fd, SYS_fdatasync); }

static ssize_t write_at(int fd, const void *bytes, size_t count, off_t at)
{
    char path[4096];
    const char *name = name_of(fd, path, sizeof path);
    if (!name)
        return syscall(SYS_pwrite64, fd, bytes, count, at);
    pthread_mutex_lock(&lock);
    if (last_call()) {
        if (getenv("DISK_TORN"))
            syscall(SYS_pwrite64, fd, bytes, count / 2, at);
        die();
    }
    int code = write_fails();
    ssize_t done = code ? fail(code) : syscall(SYS_pwrite64, fd, bytes, count, at);
    if (done > 0)
        note(name, at, done);
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return write_at(fd, bytes, count, at); }
ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t at) { return write_at(fd, bytes, count, at); }

ssize_t write(int fd, const void *bytes, size_t count)
{
    char path[4096];
    if (!name_of(fd, path, sizeof path))
        return syscall(SYS_write, fd, bytes, count);
    off_t at = syscall(SYS_lseek, fd, 0, SEEK_CUR);
    ssize_t done = write_at(fd, bytes, count, at);
    if (done > 0)
        syscall(SYS_lseek, fd, at + done, SEEK_SET);
    return done;
}

int ftruncate(int fd, off_t length)
{
    char path[4096];
    const char *name = name_of(fd, path, sizeof path);
    if (!name)
        return syscall(SYS_ftruncate, fd, length);
    pthread_mutex_lock(&lock);
    if (last_call())
        die();
    int code = write_fails();
    int result = code ? fail(code) : (int)syscall(SYS_ftruncate, fd, length);
    if (result == 0)
        note(name, length, -1);
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}
int ftruncate64(int fd, off_t length) { return ftruncate(fd, length); }

int unlink(const char *path)
{
    const char *name = ours(path);
    if (!name)
        return syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    pthread_mutex_lock(&lock);
    if (last_call())
        die();
    int code = told("erofs") ? EROFS : 0;
    int result = code ? fail(code) : (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (result == 0 && getenv("DISK_PLATTER")) {
        char platter[4096];
        platter_path(name, platter, sizeof platter);
        syscall(SYS_unlinkat, AT_FDCWD, platter, 0);
        record_of(name)->count = 0;
    }
    pthread_mutex_unlock(&lock);
    return result;
}
