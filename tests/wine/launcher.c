/* For tests under Wine: NAME.exe runs the Linux program /usr/bin/NAME.
 *
 * Wine starts Linux programs, but gives their parent neither a handle nor their
 * output. This is a Windows process that makes Linux system calls: it forks,
 * executes the program, copies its output, and ends as it ends. When it is
 * killed, the kernel kills the program. Paths on drives become Linux paths by the
 * prefix's links: C:\x is $WINEPREFIX/dosdevices/c:/x. */
#include <windows.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef long long word;

/* Linux' numbers, under names that Windows' headers do not use. */
enum { CALL_READ = 0, CALL_OPEN = 2, CALL_CLOSE = 3, CALL_RT_SIGPROCMASK = 14, CALL_DUP2 = 33,
       CALL_FORK = 57, CALL_EXECVE = 59, CALL_EXIT = 60, CALL_WAIT4 = 61, CALL_PRCTL = 157,
       CALL_PIPE2 = 293, CALL_CLOSE_RANGE = 436 };
enum { LINUX_EINTR = 4, LINUX_SIG_SETMASK = 2, LINUX_SIGKILL = 9, LINUX_PR_SET_PDEATHSIG = 1,
       LINUX_O_CLOEXEC = 02000000, LINUX_CLOSE_RANGE_CLOEXEC = 4 };

static word call(word number, word a, word b, word c, word d)
{
    word answer;
    register word fourth __asm__("r10") = d;
    __asm__ volatile("syscall" : "=a"(answer)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
                     : "rcx", "r11", "memory");
    return answer;
}

struct stream { int from; HANDLE to; };

static DWORD WINAPI copy(LPVOID given)
{
    struct stream *stream = given;
    char bytes[65536];
    for (;;) {
        word n = call(CALL_READ, stream->from, (word)bytes, sizeof bytes, 0);
        DWORD written;
        if (n == -LINUX_EINTR)
            continue;
        if (n <= 0)
            return 0;
        WriteFile(stream->to, bytes, (DWORD)n, &written, NULL);
    }
}

/* An argument with the drives of its paths, which begin it or follow one of
   "=,:", as Linux names them. A path ends at a comma that is not doubled. */
static char *in_linux(const char *argument, const char *prefix)
{
    char *made = malloc((strlen(argument) + 1) * (strlen(prefix) + 16));
    char *end = made;
    int in_path = 0;
    for (const char *at = argument; *at; at++) {
        char letter = *at | 32;
        int begins = at == argument || strchr("=,:", at[-1]);
        if (begins && letter >= 'a' && letter <= 'z' && at[1] == ':' && strchr("\\/", at[2])) {
            end += sprintf(end, "%s/dosdevices/%c:", prefix, letter);
            at++;
            in_path = 1;
        } else if (*at == ',' && at[1] == ',') {
            *end++ = *at++;
            *end++ = *at;
        } else {
            if (*at == ',')
                in_path = 0;
            *end++ = in_path && *at == '\\' ? '/' : *at;
        }
    }
    *end = 0;
    return made;
}

int main(int count, char **arguments)
{
    char own[MAX_PATH], program[MAX_PATH + 16];
    const char *prefix = getenv("NSVM_TEST_PREFIX");
    if (!prefix) {
        fprintf(stderr, "NSVM_TEST_PREFIX is not set\n");
        return 125;
    }
    GetModuleFileNameA(NULL, own, sizeof own);
    char *name = strrchr(own, '\\') + 1;
    if (strrchr(name, '.'))
        *strrchr(name, '.') = 0;
    snprintf(program, sizeof program, "/usr/bin/%s", name);

    char **argv = calloc(count + 1, sizeof *argv);
    argv[0] = program;
    for (int i = 1; i < count; i++)
        argv[i] = in_linux(arguments[i], prefix);
    char *environment[] = {"PATH=/usr/bin:/bin", "LANG=C.UTF-8", NULL};

    int out[2], err[2];
    call(CALL_PIPE2, (word)out, LINUX_O_CLOEXEC, 0, 0);
    call(CALL_PIPE2, (word)err, LINUX_O_CLOEXEC, 0, 0);
    word child = call(CALL_FORK, 0, 0, 0, 0);
    if (child == 0) {
        unsigned long long none = 0;
        call(CALL_RT_SIGPROCMASK, LINUX_SIG_SETMASK, (word)&none, 0, sizeof none);
        call(CALL_PRCTL, LINUX_PR_SET_PDEATHSIG, LINUX_SIGKILL, 0, 0);
        call(CALL_DUP2, call(CALL_OPEN, (word)"/dev/null", 0, 0, 0), 0, 0, 0);
        call(CALL_DUP2, out[1], 1, 0, 0);
        call(CALL_DUP2, err[1], 2, 0, 0);
        /* Wine's own descriptors. */
        call(CALL_CLOSE_RANGE, 3, ~0u, LINUX_CLOSE_RANGE_CLOEXEC, 0);
        call(CALL_EXECVE, (word)program, (word)argv, (word)environment, 0);
        call(CALL_EXIT, 127, 0, 0, 0);
    }
    if (child < 0)
        return 125;
    call(CALL_CLOSE, out[1], 0, 0, 0);
    call(CALL_CLOSE, err[1], 0, 0, 0);
    struct stream streams[] = {{out[0], GetStdHandle(STD_OUTPUT_HANDLE)},
                               {err[0], GetStdHandle(STD_ERROR_HANDLE)}};
    HANDLE copying[] = {CreateThread(NULL, 0, copy, &streams[0], 0, NULL),
                        CreateThread(NULL, 0, copy, &streams[1], 0, NULL)};
    int status = 0;
    while (call(CALL_WAIT4, child, (word)&status, 0, 0) == -LINUX_EINTR)
        ;
    WaitForMultipleObjects(2, copying, TRUE, 2000);
    ExitProcess(status & 127 ? 128 + (status & 127) : status >> 8 & 255);
}
