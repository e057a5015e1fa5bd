// How long a disk, or a file, takes for pieces of 1 MiB in order and of 4 KiB here and there, one after the other.
//
// disks NAME FILE [direct]: writes over FILE, and prints NAME and nanoseconds for one read and one write of 1 MiB,
// then of 4 KiB, each the median of several passes.
// The clock is that of where it runs.

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LARGE = 1 << 20, SMALL = 4096, LENGTH = 64 << 20, PASSES = 7, SMALL_ONES = 500 };

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

static double pass(transfer one, int file, void *buffer, int large) {
    static uint64_t seed = 1;
    int count = large ? LENGTH / LARGE : SMALL_ONES;
    size_t length = large ? LARGE : SMALL;
    double start = now();
    for (int i = 0; i < count; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        off_t at = large ? i : (off_t)((seed >> 33) % (LENGTH / SMALL));
        must(one(file, buffer, length, at * length), length);
    }
    return (now() - start) / count;
}

static int order(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// The median of the passes.
static double time_of(transfer one, int file, void *buffer, int large) {
    double each[PASSES];
    for (int i = 0; i < PASSES; i++) each[i] = pass(one, file, buffer, large);
    qsort(each, PASSES, sizeof *each, order);
    return each[PASSES / 2];
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
    puts("");
    return 0;
}
