"""`python3 -m chatbot.start server | task`: become uWSGI or a worker, with jemalloc where it is.

For containers and native processes alike: it sets what uwsgi.ini asks for, makes a directory for
what runs (RUN_DIR) and is replaced by the program, so signals go where they should.
"""

import os
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path

_INI = Path(__file__).with_name("uwsgi.ini")
_DEFAULTS = {
    "LISTEN": "127.0.0.1:5000",
    "WEB_WORKERS": "6",
    "RELOAD_ON_RSS": "256",
}


class StartError(Exception):
    """The process cannot be started; the message says why."""


def jemalloc(env: Mapping[str, str]) -> str:
    """Return the library's path, "" where there is none: JEMALLOC_PATH, or Debian's libjemalloc2.

    Only its file libjemalloc.so.2 is there: the plain .so is in the package for compilers.
    """
    given = env.get("JEMALLOC_PATH", "")
    triplet = sysconfig.get_config_var("MULTIARCH") or f"{os.uname().machine}-linux-gnu"
    path = Path(given or f"/usr/lib/{triplet}/libjemalloc.so.2")
    if path.is_file():
        return str(path)
    if given:
        print(f"JEMALLOC_PATH: there is no file {given}; going on without", file=sys.stderr)
    return ""


def run_directory(env: Mapping[str, str]) -> Path:
    """Make the directory for socket, counters and the file that reloads; raises StartError.

    It is ours alone: uWSGI's figures name what is being asked for.
    """
    base = Path(env.get("RUN_DIR", "") or Path(tempfile.gettempdir(), f"chatbot-{os.getuid()}"))
    # In one container the supervisor gives each replica a name.
    path = base / (env.get("PROCESS_SUPERVISOR_NAME", "") or "server")
    for directory in (base, path):
        directory.mkdir(mode=0o700, parents=directory == base, exist_ok=True)
        found = directory.lstat()
        if not directory.is_dir() or directory.is_symlink() or found.st_uid != os.getuid():
            raise StartError(f"{directory} is somebody else's; set RUN_DIR to a directory of ours")
        directory.chmod(0o700)
    # Counters begin anew with their process.
    for file in path.glob("*.db"):
        file.unlink()
    return path


def server(env: dict[str, str]) -> list[str]:
    """Complete the environment for uWSGI and return its command."""
    path = run_directory(env)
    for name, value in _DEFAULTS.items():
        env[name] = env.get(name, "") or value
    env["STATS_SOCKET"] = str(path / "stats.sock")
    env["RELOAD_FILE"] = env.get("RELOAD_FILE", "") or str(path / "reload")
    env["PROMETHEUS_MULTIPROC_DIR"] = str(path)
    Path(env["RELOAD_FILE"]).touch()
    return [sys.executable, "-c", "import pyuwsgi; pyuwsgi.run()", "--ini", str(_INI)]


def task(_env: dict[str, str]) -> list[str]:
    """Return a worker's command."""
    return [sys.executable, "-m", "chatbot.task"]


def main(arguments: list[str]) -> int:
    """Become the program; return the exit status if that cannot be."""
    env = dict(os.environ)
    commands = {"server": server, "task": task}
    if len(arguments) != 1 or arguments[0] not in commands:
        print("usage: python3 -m chatbot.start server | task", file=sys.stderr)
        return 2
    try:
        argv = commands[arguments[0]](env)
        if library := jemalloc(env):
            env["LD_PRELOAD"] = ":".join(filter(None, (library, env.get("LD_PRELOAD"))))
        os.execve(argv[0], argv, env)
    except (StartError, OSError) as error:
        print(f"cannot start: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
