/* A service of the bench: says "NUMBER PID" in a FIFO when it runs, then waits to be killed.

   service FIFO NUMBER              from a supervisor that gives arguments
   service                          in its own directory, called NUMBER: the FIFO is ./report there,
                                    and file 3 is told that it is ready
   service FIFO NUMBER GO BYTES     writes so many bytes of 100-byte lines once GO can be opened,
                                    and says so a second time */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void say(const char *fifo, const char *number) {
    char line[64];
    int length = snprintf(line, sizeof line, "%s %d\n", number, getpid());
    int fd = open(fifo, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, line, length) != length) _exit(1);
    close(fd);
}

int main(int argc, char **argv) {
    char here[4096];
    const char *fifo = "report", *number;
    if (argc > 2) {
        fifo = argv[1];
        number = argv[2];
    } else {
        if (!getcwd(here, sizeof here)) return 1;
        number = strrchr(here, '/') + 1;
    }
    say(fifo, number);
    /* s6 waits for a second before it restarts what never said there that it is ready. */
    if (argc < 3 && write(3, "\n", 1) == 1) close(3);
    if (argc > 4) {
        static char block[100 * 640];
        long left = atol(argv[4]), line = 0;
        if (open(argv[3], O_RDONLY) < 0) return 1;
        while (left > 0) {
            int size = left < (long)sizeof block ? (int)left : (int)sizeof block, at = 0;
            for (char *p = block; p < block + sizeof block; p += 100) {
                memset(p, 'x', 99);
                p[snprintf(p, 99, "%012ld", line++)] = ' ';
                p[99] = '\n';
            }
            while (at < size) {
                int written = write(1, block + at, size - at);
                if (written < 0) return 1;
                at += written;
            }
            left -= size;
        }
        say(fifo, number);
    }
    for (;;) pause();
}
