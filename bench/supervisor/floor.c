/* The floor: the least that brings a killed service back. No logs, no state, nobody to ask.

   floor COUNT SERVICE FIFO */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t pids[100000];

static void start(int number, char **argv) {
    char name[16];
    snprintf(name, sizeof name, "%d", number);
    pid_t pid = vfork();
    if (pid == 0) {
        setsid();
        execl(argv[2], argv[2], argv[3], name, (char *)NULL);
        _exit(127);
    }
    pids[number] = pid;
}

int main(int argc, char **argv) {
    int count = argc > 3 ? atoi(argv[1]) : 0;
    for (int number = 0; number < count; number++) start(number, argv);
    for (pid_t pid; (pid = wait(NULL)) > 0;)
        for (int number = 0; number < count; number++)
            if (pids[number] == pid) start(number, argv);
    return 0;
}
