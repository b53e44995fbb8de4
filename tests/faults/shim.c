/* Preloaded into a process that writes: it dies at the n-th write, rename or fsync of a file, as by kill -9.
 *
 *     cc -shared -fPIC -O1 -o shim.so shim.c -ldl
 *     faults_arm(n, torn)     from then on; `torn`: half of the n-th write still reaches the file; n = 0 only counts
 *     faults_count()          calls since
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static long armed = -1, count;
static int torn;

void faults_arm(long n, int half) { count = 0; torn = half; armed = n; }
long faults_count(void) { return count; }

static int is_file(int fd) {
    struct stat found;
    return fstat(fd, &found) == 0 && S_ISREG(found.st_mode);
}

/* True where this call is the last. */
static int step(void) { return armed >= 0 && ++count == armed; }

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

#define REAL(name, result, ...) \
    static result (*real)(__VA_ARGS__); \
    if (!real) real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t n) {
    REAL(write, ssize_t, int, const void *, size_t);
    if (armed >= 0 && is_file(fd) && step()) {
        if (torn) real(fd, data, n / 2);
        die();
    }
    return real(fd, data, n);
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) {
    REAL(pwrite64, ssize_t, int, const void *, size_t, off64_t);
    if (armed >= 0 && is_file(fd) && step()) {
        if (torn) real(fd, data, n / 2, at);
        die();
    }
    return real(fd, data, n, at);
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t at) { return pwrite64(fd, data, n, at); }

int fsync(int fd) {
    REAL(fsync, int, int);
    if (step()) die();
    return real(fd);
}

int fdatasync(int fd) {
    REAL(fdatasync, int, int);
    if (step()) die();
    return real(fd);
}

int rename(const char *from, const char *to) {
    REAL(rename, int, const char *, const char *);
    if (step()) die();
    return real(from, to);
}
