"""The guardian: PID 1 of a container, or the subreaper of a host's services.

It starts the supervisor, brings it back at once when it dies, reaps whatever loses its parent and
leaves a record of it (link.RECORD) for the supervisor, forwards signals and keeps the FIFOs
of the services open. It does nothing else, so that it has no reason to fail, and imports only
built-in modules, so that it stays small.

    python3 -m process_supervisor.init --config FILE [--config FILE …] [--takeover]

Exit status: that of the supervisor when it ended by itself (0 after a clean shutdown, 73 when
another one runs on the same run_dir, 78 for an unusable configuration).
"""

from __future__ import annotations

import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os as posix
    import signal
    from typing import NoReturn
else:
    # The wrappers os and signal would cost a megabyte and add nothing here.
    import _signal as signal
    import posix

EXITS_FD = 3
QUICK = 5.0  # a supervisor that lived shorter than this is in a crash loop
DELAYS = (0.0, 0.0, 0.0, 0.1, 0.2, 0.5, 1.0, 2.0)
PR_SET_CHILD_SUBREAPER = 36
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
FORWARDED = (*STOPPING, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
HOLD_FIFOS = signal.SIGRTMIN
WAITED = {signal.SIGCHLD, HOLD_FIFOS, *FORWARDED}


def say(text: str) -> None:
    """Write one line to standard error; it goes to the container's log."""
    try:
        posix.write(2, f"guardian: {text}\n".encode())
    except OSError:
        return


def describe(status: int) -> str:
    """Say in words how a process ended, from its wait status."""
    code = posix.waitstatus_to_exitcode(status)
    return f"was killed by signal {-code}" if code < 0 else f"exited with status {code}"


def start_ticks(pid: int) -> int:
    """Return field 22 of /proc/PID/stat, which a zombie still has."""
    try:
        fd = posix.open(f"/proc/{pid}/stat", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return 0
    try:
        text = posix.read(fd, 4096)
        return int(text[text.rindex(b")") + 2 :].split()[19])
    except (OSError, ValueError, IndexError):
        return 0
    finally:
        posix.close(fd)


def pack(pid: int, status: int, start: int) -> bytes:
    """Return link.RECORD, without importing struct."""
    values = (pid, status, start, time.time_ns() // 1000)
    return b"".join(value.to_bytes(8, "little", signed=True) for value in values)


class Guard:
    """One supervisor's guardian."""

    def __init__(self, arguments: list[str]) -> None:
        self.arguments = arguments
        self.read_fd, self.write_fd = posix.pipe2(posix.O_CLOEXEC | posix.O_NONBLOCK)
        self.pid = 0
        self.started = 0.0
        self.quick_deaths = 0
        self.again = False
        self.held: dict[str, int] = {}
        self.stopping = False

    def run(self) -> int:
        """Guard until the supervisor has ended for good; return the exit status."""
        signal.pthread_sigmask(signal.SIG_BLOCK, WAITED)
        self.start()
        while True:
            received = signal.sigwaitinfo(WAITED).si_signo
            if received == HOLD_FIFOS:
                self.hold_fifos()
            elif received != signal.SIGCHLD:
                self.forward(received)
            final = self.reap()
            if final is not None:
                return final

    def start(self) -> None:
        """Start the supervisor, in a group of its own: a terminal's ^C reaches it only once."""
        flags = ["--guardian", str(posix.getpid())]
        if self.stopping:
            flags.append("--shutdown")
        command = [*interpreter(self.arguments), "supervisor", *self.arguments, *flags]
        self.started = time.monotonic()
        while not self.pid:
            try:
                self.pid = posix.posix_spawn(
                    command[0],
                    command,
                    posix.environ,
                    file_actions=[(posix.POSIX_SPAWN_DUP2, self.read_fd, EXITS_FD)],
                    setpgroup=0,
                    setsigmask=[],
                    setsigdef=list(WAITED),
                )
            except OSError as error:
                # Out of memory or processes, for example: the services still run, so try again.
                say(f"cannot start the supervisor: {error}")
                self.pause(1.0)

    def forward(self, number: int) -> None:
        """Pass a signal on; that it shall stop must outlive a supervisor that is killed."""
        self.stopping = self.stopping or number in STOPPING
        if self.pid:
            posix.kill(self.pid, number)

    def hold_fifos(self) -> None:
        """Keep the services' FIFOs open: what a dead writer wrote waits in them for a reader."""
        # It may have been asked for more than once: each listing is of all.
        while signal.sigtimedwait({HOLD_FIFOS}, 0):
            pass
        directory = option(self.arguments, "--run-dir") + "/fifo"
        try:
            names = posix.listdir(directory)
        except OSError:
            names = []
        for name in set(self.held) - set(names):
            posix.close(self.held.pop(name))
        for name in set(names) - set(self.held):
            try:
                flags = posix.O_RDWR | posix.O_NONBLOCK | posix.O_CLOEXEC
                self.held[name] = posix.open(f"{directory}/{name}", flags)
            except OSError as error:
                say(f"cannot hold {name}: {error}")

    def reap(self) -> int | None:
        """Collect the dead; return the final exit status once the supervisor is done."""
        while True:
            try:
                found = posix.waitid(posix.P_ALL, 0, posix.WEXITED | posix.WNOHANG | posix.WNOWAIT)
            except ChildProcessError:
                return None
            if found is None:
                return None
            start = start_ticks(found.si_pid)
            pid, status = posix.waitpid(found.si_pid, 0)
            if pid != self.pid:
                self.record(pid, status, start)
                continue
            final = self.supervisor_ended(status)
            if final is not None:
                return final

    def record(self, pid: int, status: int, start: int) -> None:
        """Leave a record; when the pipe is full the oldest records give way."""
        data = pack(pid, status, start)
        while True:
            try:
                posix.write(self.write_fd, data)
                return
            except BlockingIOError:
                self.forget_oldest(len(data))

    def forget_oldest(self, size: int) -> None:
        """Make room; that takes more than one record, as the kernel frees a pipe by the page."""
        try:
            posix.read(self.read_fd, size)
        except BlockingIOError:
            return  # the supervisor has just read all of it

    def supervisor_ended(self, status: int) -> int | None:
        """Bring the supervisor back unless it ended by its own decision."""
        self.pid = 0
        code = posix.waitstatus_to_exitcode(status)
        # At a first start there is nobody whom it would help to try again.
        if code == 0 or (code in (73, 78) and not self.again):
            return code
        self.again = True
        lived = time.monotonic() - self.started
        self.quick_deaths = self.quick_deaths + 1 if lived < QUICK else 0
        delay = DELAYS[min(self.quick_deaths, len(DELAYS) - 1)]
        say(f"the supervisor {describe(status)}; starting it again in {delay:g} s")
        self.pause(delay)
        self.start()
        return None

    def pause(self, delay: float) -> None:
        """Wait before the next start; a signal to stop is kept for the supervisor to come."""
        until = time.monotonic() + delay
        while (left := until - time.monotonic()) > 0:
            received = signal.sigtimedwait(FORWARDED, left)
            if received is not None and received.si_signo in STOPPING:
                self.stopping = True
                return


def option(arguments: list[str], name: str) -> str:
    """Return the word after an option, empty when it is not given."""
    return arguments[arguments.index(name) + 1] if name in arguments else ""


def options(arguments: list[str], name: str) -> list[str]:
    """Return the words after each of an option."""
    places = range(len(arguments) - 1)
    return [arguments[place + 1] for place in places if arguments[place] == name]


def interpreter(arguments: list[str]) -> list[str]:
    """Return the command line of an interpreter that loads as little as it can, and boot.py.

    YAML needs the packages that -I and -S hide.
    """
    # A guardian of an earlier version says it by the name of its file alone.
    yaml = "--yaml" in arguments or any(word.endswith((".yaml", ".yml")) for word in arguments)
    boot = __file__.rsplit("/", 2)[0] + "/boot.py"
    return [sys.executable, boot] if yaml else [sys.executable, "-I", "-S", boot]


def become_subreaper() -> None:
    """Have orphans below this process given to it; needed unless it is PID 1.

    The attribute survives execve, so the lean interpreter does not need ctypes.
    """
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot become the subreaper")


def prepare(arguments: list[str]) -> list[str]:
    """Check the configuration while the whole interpreter is there; return what to pass on."""
    from process_supervisor.common import openfiles
    from process_supervisor.config.files import YAML_ENDINGS, load
    from process_supervisor.config.reader import ConfigError

    paths = options(arguments, "--config")
    if not paths:
        say("--config FILE is required")
        sys.exit(64)
    try:
        config = load(*paths)
    except ConfigError as error:
        for problem in error.problems:
            say(problem)
        sys.exit(78)
    if any(name.endswith(YAML_ENDINGS) for name in config.files):
        arguments = [*arguments, "--yaml"]
    if "--files" not in arguments:
        if short := openfiles.shortage(config.processes.values()):
            say(short)
        arguments = [*arguments, "--files", str(openfiles.raise_limit())]
    if "--takeover" in arguments:
        from process_supervisor.guardian.takeover import take_over

        arguments = [word for word in arguments if word != "--takeover"]
        for pid in take_over(config.run_dir):
            say(f"replaced process {pid}")
    return [*arguments, "--run-dir", config.run_dir]


def main(arguments: list[str] | None = None) -> NoReturn:
    """Check the configuration, then become the guardian."""
    arguments = prepare(sys.argv[1:] if arguments is None else arguments)
    if posix.getpid() != 1:
        become_subreaper()
    replace_by_guardian(arguments)


def replace_by_guardian(arguments: list[str]) -> NoReturn:
    """Turn this process into a guardian, in an interpreter that holds nothing else."""
    command = [*interpreter([]), "guardian", *arguments]
    posix.execv(command[0], command)
