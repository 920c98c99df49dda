"""Running a program: its own session, its user, the family marker."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
from functools import partial

from process_supervisor.common import procfs
from process_supervisor.common.files import open_file
from process_supervisor.common.openfiles import as_programs_have
from process_supervisor.config.limits import above, number_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping

    from process_supervisor.config.settings import ProcessConfig

CAP_SYS_NICE, CAP_SYS_RESOURCE = 23, 24
RLIMIT_LOCKS = 10  # not named by the resource module; see procfs.family


# This process's environment, where it is nothing but a supervisor.
_alone: dict[str, str] = {}


def be_alone() -> None:
    """Have programs started in a quicker way, as this process is nothing but a supervisor.

    Nobody else in it changes its environment, has files that programs shall not get, or notices
    that it is in another directory for a moment.
    """
    _alone.update(os.environ)
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the list's own
            if int(name) > 2:
                os.set_inheritable(int(name), False)


MOST_VARIABLES = 1 << 20


class SpawnError(Exception):
    """A program that could not be started, with the reason in an operator's words."""


class Identity:
    """The user, groups and home that a process gets; only root can give it away."""

    def __init__(self, user: str) -> None:
        import grp
        import pwd

        name, _, group = user.partition(":")
        try:
            entry = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
        except KeyError:
            if not name.isdigit():
                raise SpawnError(f"there is no user {name}") from None
            entry = None
        self.uid = entry.pw_uid if entry else int(name)
        try:
            if group:
                self.gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
            else:
                self.gid = entry.pw_gid if entry else self.uid
        except KeyError:
            raise SpawnError(f"there is no group {group}") from None
        self.groups = os.getgrouplist(entry.pw_name, self.gid) if entry else [self.gid]
        self.variables = (
            {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name} if entry else {}
        )


def identity_of(config: ProcessConfig) -> Identity | None:
    """Return whom to run as, None for the supervisor's own user; raises SpawnError."""
    if config.user is None:
        return None
    identity = Identity(config.user)
    if os.geteuid() == 0:
        return identity
    if (identity.uid, identity.gid) == (os.geteuid(), os.getegid()):
        return None
    raise SpawnError(f"only root can run a process as user {config.user}")


def environment_of(
    config: ProcessConfig, identity: Identity | None, extra: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment: the supervisor's own, the user's home, ours, the configured one."""
    home = identity.variables if identity else {}
    ours = {"PROCESS_SUPERVISOR_NAME": config.name, **extra}
    read = variables_in(config.environment_file) if config.environment_file else {}
    return {**(_alone or os.environ), **home, **ours, **read, **config.environment}


def variables_in(path: str) -> dict[str, str]:
    """Return what a file has a line each of, `NAME=value`; raises SpawnError.

    As Docker reads its env-files: all after the first `=` is the value, quotes too; empty lines and
    those that begin with `#` are none.
    """
    found = {}
    try:
        with open(open_file(path), "rb") as file:
            lines = file.read(MOST_VARIABLES).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SpawnError(f"cannot read environment_file {path}: {error}") from error
    for number, line in enumerate(lines, 1):
        name, equals, value = line.partition("=")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not equals or not name.strip() or "\0" in line:
            # Not the line itself: it may be a part of a secret.
            raise SpawnError(f"environment_file {path}: line {number} is not NAME=value")
        found[name.strip()] = value
    return found


def run(
    config: ProcessConfig,
    command: list[str],
    outputs: tuple[int, int],
    mark: int,
    extra: Mapping[str, str],
    stdin: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start a command as the leader of its own session; raises SpawnError.

    The call returns after the program was executed, not just forked, so success means it runs.
    """
    # Half a megabyte, which most supervisors never need.
    import subprocess

    identity = identity_of(config)
    limited = bool(config.ulimits) or config.nice is not None
    if limited:
        check_limits(config)
    # Who has more rights gives the limits, so the user comes after them.
    given = None if limited else identity
    try:
        with _marked(mark), as_programs_have():
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=outputs[0],
                stderr=outputs[1],
                cwd=config.working_dir,
                env=environment_of(config, identity, extra),
                start_new_session=True,
                user=given.uid if given else None,
                group=given.gid if given else None,
                extra_groups=given.groups if given else None,
                umask=int(config.umask, 8) if config.umask else -1,
                preexec_fn=partial(_limit, config, identity) if limited else None,
            )
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise SpawnError(explain(config, command, error)) from error


def may(capability: int) -> bool:
    """Whether this process has a capability; root in a container has few."""
    status = procfs.read("/proc/self/status").split(b"\n")
    line = next(line for line in status if line.startswith(b"CapEff"))
    return bool(int(line.split()[1], 16) >> capability & 1)


def check_limits(config: ProcessConfig) -> None:
    """Raise SpawnError for what this process may not give: a child could not say what it was."""
    raises = may(CAP_SYS_RESOURCE)
    for name, limit in config.ulimits.items():
        own = resource.getrlimit(number_of(name))[1]
        if above(limit["hard"], own) and not raises:
            more = f"{limit['hard']} is more than the supervisor's own hard limit of {own}"
            raise SpawnError(f"ulimits.{name}: {more}")
    less = config.nice is not None and config.nice < os.getpriority(os.PRIO_PROCESS, 0)
    if less and not may(CAP_SYS_NICE):
        raise SpawnError(f"nice: {config.nice} is less than the supervisor's own, which may not")


def _limit(config: ProcessConfig, identity: Identity | None) -> None:
    """Limit this process, a child that is about to become a program, and give it its user."""
    for name, limit in config.ulimits.items():
        resource.setrlimit(number_of(name), (limit["soft"], limit["hard"]))
    if config.nice is not None:
        os.setpriority(os.PRIO_PROCESS, 0, config.nice)
    if identity is not None:
        os.setgroups(identity.groups)
        os.setgid(identity.gid)
        os.setuid(identity.uid)


def can_be_quick(config: ProcessConfig) -> bool:
    """Whether a process may be started by `quickly`, which gives no other user and no limits."""
    as_it_is = not config.ulimits and config.nice is None and config.umask is None
    return bool(_alone) and as_it_is and identity_of(config) is None


def quickly(
    config: ProcessConfig, outputs: tuple[str, str | None], mark: int, extra: Mapping[str, str]
) -> int:
    """Start a process's command as `run` does, in a third of the time; return its pid.

    outputs are paths, the second one None when standard error goes where standard output does:
    descriptors may have numbers that the program's own limit does not allow.
    """
    environment = environment_of(config, None, extra)
    out, err = outputs
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, out, os.O_RDWR, 0),
        (os.POSIX_SPAWN_OPEN, 2, err, os.O_RDWR, 0) if err else (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    try:
        with _within(config.working_dir), _marked(mark), as_programs_have(opens=False):
            return os.posix_spawn(
                program_of(config.command[0], environment),
                config.command,
                environment,
                file_actions=actions,
                setsid=True,
                # What this interpreter ignores.
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
            )
    except (OSError, ValueError) as error:
        raise SpawnError(explain(config, config.command, error)) from error


def program_of(name: str, environment: Mapping[str, str]) -> str:
    """Return the file that a name means; raises FileNotFoundError."""
    if "/" in name:
        return name
    places = [os.path.join(path, name) for path in os.get_exec_path(environment)]
    files = [place for place in places if os.path.isfile(place)]
    for place in files:
        if os.access(place, os.X_OK):
            return place
    if files:
        return files[0]  # whose start will say what is wrong with it
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


@contextlib.contextmanager
def _marked(mark: int) -> Iterator[None]:
    """Have the marker that what is started now inherits."""
    soft, hard = resource.getrlimit(RLIMIT_LOCKS)
    if hard != resource.RLIM_INFINITY and mark > hard:
        yield
        return
    resource.setrlimit(RLIMIT_LOCKS, (mark, hard))
    try:
        yield
    finally:
        resource.setrlimit(RLIMIT_LOCKS, (soft, hard))


@contextlib.contextmanager
def _within(directory: str | None) -> Iterator[None]:
    """Be in a directory."""
    if directory is None:
        yield
        return
    back = os.open(".", os.O_PATH | os.O_CLOEXEC)
    try:
        os.chdir(directory)
        yield
    finally:
        os.fchdir(back)
        os.close(back)


def explain(config: ProcessConfig, command: list[str], error: Exception) -> str:
    """Say why a program could not be started."""
    if isinstance(error, OSError) and error.filename == config.working_dir is not None:
        return f"cannot enter working_dir {config.working_dir}: {error.strerror}"
    if isinstance(error, OSError):
        return f"cannot run {command[0]}: {error.strerror}"
    if not isinstance(error, ValueError):  # a SubprocessError
        return f"cannot run {command[0]} with its nice, ulimits and user: they are refused"
    return f"cannot run {command[0]}: {error}"
