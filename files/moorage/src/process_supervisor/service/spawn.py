"""Running a program: its own session, its user, the family marker."""

from __future__ import annotations

import os
import resource
import subprocess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from process_supervisor.config.settings import ProcessConfig

RLIMIT_LOCKS = 10  # not named by the resource module; see procfs.family


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
    return {**os.environ, **home, **ours, **config.environment}


def run(
    config: ProcessConfig,
    command: list[str],
    outputs: tuple[int, int],
    mark: int,
    extra: Mapping[str, str],
) -> subprocess.Popen[bytes]:
    """Start a command as the leader of its own session; raises SpawnError.

    The call returns after the program was executed, not just forked, so success means it runs.
    """
    identity = identity_of(config)
    soft, hard = resource.getrlimit(RLIMIT_LOCKS)
    marked = hard == resource.RLIM_INFINITY or mark <= hard
    try:
        if marked:
            resource.setrlimit(RLIMIT_LOCKS, (mark, hard))
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=outputs[0],
            stderr=outputs[1],
            cwd=config.working_dir,
            env=environment_of(config, identity, extra),
            start_new_session=True,
            user=identity.uid if identity else None,
            group=identity.gid if identity else None,
            extra_groups=identity.groups if identity else None,
        )
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise SpawnError(explain(config, command, error)) from error
    finally:
        if marked:
            resource.setrlimit(RLIMIT_LOCKS, (soft, hard))


def explain(config: ProcessConfig, command: list[str], error: Exception) -> str:
    """Say why a program could not be started."""
    if isinstance(error, OSError) and error.filename == config.working_dir is not None:
        return f"cannot enter working_dir {config.working_dir}: {error.strerror}"
    if isinstance(error, OSError):
        return f"cannot run {command[0]}: {error.strerror}"
    return f"cannot run {command[0]}: {error}"
