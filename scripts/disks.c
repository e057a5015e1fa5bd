// How long a disk, or a file, takes for pieces of 1 MiB in order and of 4 KiB here and there, one after the other, and for those of
// 4 KiB with 16 of them at once.
//
// disks NAME FILE [direct]: writes over FILE, and prints NAME and nanoseconds for one read and one write of 1 MiB,
// then of 4 KiB, then of 4 KiB with 16 at once, each the median of several passes.
// The clock is that of where it runs.

#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { LARGE = 1 << 20, SMALL = 4096, LENGTH = 64 << 20, PASSES = 7, SMALL_ONES = 500, DEPTH = 16, MANY_ONES = 2000 };

typedef ssize_t (*transfer)(int file, void *buffer, size_t length, off_t at);

static ssize_t put(int file, void *buffer, size_t length, off_t at) { return pwrite(file, buffer, length, at); }

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

static void must(ssize_t done, size_t length) {
    if (done == (ssize_t)length) return;
    perror("disks: a transfer was not done in full");
    exit(1);
}

static uint64_t seed = 1;

static off_t somewhere(void) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (off_t)((seed >> 33) % (LENGTH / SMALL));
}

// Pieces of 4 KiB by Linux's asynchronous I/O: whenever some are done, as many more are begun.
static double many(int opcode, int file, char *buffer) {
    aio_context_t context = 0;
    struct iocb pieces[DEPTH], *next[DEPTH];
    struct io_event done[DEPTH];
    must(syscall(SYS_io_setup, DEPTH, &context), 0);
    int begun = 0, ended = 0, fresh = DEPTH;
    for (int i = 0; i < DEPTH; i++) {
        pieces[i] = (struct iocb){ .aio_lio_opcode = opcode, .aio_fildes = file, .aio_nbytes = SMALL };
        pieces[i].aio_buf = (uintptr_t)(buffer + i * SMALL);
        next[i] = &pieces[i];
    }
    double start = now();
    while (ended < MANY_ONES) {
        for (int i = 0; i < fresh; i++) next[i]->aio_offset = somewhere() * SMALL;
        must(syscall(SYS_io_submit, context, fresh, next), fresh);
        begun += fresh;
        int count = syscall(SYS_io_getevents, context, 1, DEPTH, done, NULL);
        must(count > 0, 1);
        ended += count, fresh = 0;
        for (int i = 0; i < count; i++) {
            must(done[i].res, SMALL);
            if (begun + fresh < MANY_ONES) next[fresh++] = (struct iocb *)(uintptr_t)done[i].obj;
        }
    }
    double each = (now() - start) / MANY_ONES;
    must(syscall(SYS_io_destroy, context), 0);
    return each;
}

static double pass(transfer one, int file, void *buffer, int large) {
    int count = large ? LENGTH / LARGE : SMALL_ONES;
    size_t length = large ? LARGE : SMALL;
    double start = now();
    for (int i = 0; i < count; i++) {
        off_t at = large ? i : somewhere();
        must(one(file, buffer, length, at * length), length);
    }
    return (now() - start) / count;
}

static int order(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double each[PASSES]) {
    qsort(each, PASSES, sizeof *each, order);
    return each[PASSES / 2];
}

static double time_of(transfer one, int file, void *buffer, int large) {
    double each[PASSES];
    for (int i = 0; i < PASSES; i++) each[i] = pass(one, file, buffer, large);
    return median(each);
}

static double time_of_many(int opcode, int file, void *buffer) {
    double each[PASSES];
    for (int i = 0; i < PASSES; i++) each[i] = many(opcode, file, buffer);
    return median(each);
}

int main(int count, char **arguments) {
    if (count < 3) return fputs("disks: give a name and a file\n", stderr), 2;
    int direct = count > 3 && !strcmp(arguments[3], "direct") ? O_DIRECT : 0;
    int file = open(arguments[2], O_RDWR | direct);
    void *buffer = aligned_alloc(SMALL, LARGE);
    if (file < 0 || !buffer) return perror(arguments[2]), 1;
    memset(buffer, 0x5a, LARGE);
    for (off_t at = 0; at < LENGTH; at += LARGE) must(put(file, buffer, LARGE, at), LARGE);
    printf("disks: %s", arguments[1]);
    for (int large = 1; large >= 0; large--) {
        printf(" %.0f", time_of(pread, file, buffer, large));
        printf(" %.0f", time_of(put, file, buffer, large));
    }
    printf(" %.0f", time_of_many(IOCB_CMD_PREAD, file, buffer));
    printf(" %.0f\n", time_of_many(IOCB_CMD_PWRITE, file, buffer));
    return 0;
}
