"""The supervisors of the bench, each told to run the same services in its own words."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.supervisor import peers

sys.path.insert(0, str(peers.SOURCES))
sys.path += peers.paths()

from process_supervisor.client import Client

ROTATE = 16 << 20
SERVICE = str(peers.HOME / "service")


class Subject:
    """One supervisor, in one configuration, in a directory of its own.

    count services, numbered, each with a log; with `flood` bytes the last of them writes so many.
    """

    name = ""
    setting = "default"
    needs = ""  # of peers.install()
    most = 1000  # services that it can have
    cli: Sequence[str] = ()

    def __init__(self, directory: Path, count: int, flood: int = 0, port: int = 0) -> None:
        self.directory, self.count, self.flood, self.port = directory, count, flood, port
        self.report, self.go = directory / "report", directory / "go"
        os.mkfifo(self.report)
        os.mkfifo(self.go)
        (directory / "logs").mkdir()
        self.configure()

    def command(self, number: int) -> list[str]:
        """What a service is started with."""
        words = [SERVICE, str(self.report), str(number)]
        return words + ([str(self.go), str(self.flood)] if self.floods(number) else [])

    def floods(self, number: int) -> bool:
        """Whether this is the service that writes much."""
        return bool(self.flood) and number == self.count - 1

    def configure(self) -> None:
        """Write what it reads."""

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it."""
        raise NotImplementedError

    def run(self, *command: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start a program of its."""
        quiet = subprocess.DEVNULL
        environment = {**os.environ, **variables}
        return subprocess.Popen(command, env=environment, stdin=quiet, stdout=quiet, stderr=quiet)

    def status_one(self) -> object:
        """Ask for the status of service 0."""
        raise NotImplementedError

    def status_all(self) -> object:
        """Ask for the status of all services."""
        raise NotImplementedError

    def logs(self) -> list[Path]:
        """The files that have the last service's output."""
        return list((self.directory / "logs").glob(f"{self.count - 1}.log*"))


class Floor(Subject):
    """A few lines of C."""

    name = "C floor"

    def launch(self) -> subprocess.Popen[bytes]:
        return self.run(str(peers.HOME / "floor"), str(self.count), SERVICE, str(self.report))


class Ours(Subject):
    """The supervisor of this repository, under its guardian."""

    name = "process_supervisor"

    def configure(self) -> None:
        checked = {"type": "tcp", "port": self.port, "interval": 2}
        processes = [
            {
                "name": str(number),
                "command": self.command(number),
                "stdout_logfile": str(self.directory / "logs" / f"{number}.log"),
                "log_max_bytes": ROTATE,
                "log_backups": 50,
                "health_check": checked if self.port else None,
            }
            for number in range(self.count)
        ]
        own = {
            "run_dir": str(self.directory / "run"),
            "state_dir": str(self.directory / "state"),
            "pids_file": str(self.directory / "pids.env"),
            "log_file": str(self.directory / "supervisor.log"),
        }
        text = json.dumps({"version": 1, "supervisor": own, "processes": processes})
        (self.directory / "supervisor.json").write_text(text)
        socket = str(self.directory / "run" / "control.sock")
        self.client = Client(socket)
        # What the installed `process_supervisor` does.
        script = "import sys; from process_supervisor.cli.main import main; sys.exit(main())"
        self.cli = (sys.executable, "-c", script, "-s", socket, "status", "0")

    def launch(self) -> subprocess.Popen[bytes]:
        config = str(self.directory / "supervisor.json")
        words = (sys.executable, "-m", "process_supervisor.init", "--config", config)
        return self.run(*words)

    def status_one(self) -> object:
        return self.client.status("0")

    def status_all(self) -> object:
        return self.client.status()


class Supervisord(Subject):
    """Supervisor."""

    name, needs = "Supervisor", "supervisor"
    extra = ""

    def configure(self) -> None:
        socket, path = self.directory / "s.sock", self.directory / "supervisord.conf"
        text = (
            f"[supervisord]\nnodaemon=true\nlogfile={self.directory}/supervisord.log\n"
            f"pidfile={self.directory}/supervisord.pid\nminfds=10000\n"
            f"[unix_http_server]\nfile={socket}\n"
            "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = "
            "supervisor.rpcinterface:make_main_rpcinterface\n"
            f"[supervisorctl]\nserverurl=unix://{socket}\n"
        )
        for number in range(self.count):
            text += (
                f"[program:{number}]\ncommand={' '.join(self.command(number))}\n"
                f"redirect_stderr=true\nstdout_logfile={self.directory}/logs/{number}.log\n"
                f"stdout_logfile_maxbytes={ROTATE}\nstdout_logfile_backups=50\n{self.extra}"
            )
        path.write_text(text)
        self.cli = (str(peers.VENV / "bin" / "supervisorctl"), "-c", str(path), "status", "0")

    def launch(self) -> subprocess.Popen[bytes]:
        path = str(self.directory / "supervisord.conf")
        return self.run(str(peers.VENV / "bin" / "supervisord"), "-n", "-c", path)

    def _proxy(self) -> Any:
        from xmlrpc.client import ServerProxy

        from supervisor.xmlrpc import SupervisorTransport  # type: ignore[import-not-found]

        transport = SupervisorTransport(serverurl=f"unix://{self.directory}/s.sock")
        return ServerProxy("http://127.0.0.1", transport=transport).supervisor

    def status_one(self) -> object:
        return self._proxy().getProcessInfo("0")

    def status_all(self) -> object:
        return self._proxy().getAllProcessInfo()


class SupervisordFast(Supervisord):
    """Supervisor that calls a process running at once."""

    setting, extra = "startsecs=0", "startsecs=0\n"


class Circus(Subject):
    """Circus."""

    name, needs = "circus", "circus"
    extra = ""
    most = 100  # with its default it would take minutes

    def configure(self) -> None:
        self.endpoint = f"ipc://{self.directory}/c.sock"
        text = (
            f"[circus]\nendpoint={self.endpoint}\npubsub_endpoint=ipc://{self.directory}/p.sock\n"
            f"{self.extra}"
        )
        for number in range(self.count):
            text += (
                f"[watcher:{number}]\ncmd={' '.join(self.command(number))}\n"
                f"stdout_stream.class=FileStream\n"
                f"stdout_stream.filename={self.directory}/logs/{number}.log\n"
                f"stdout_stream.max_bytes={ROTATE}\nstdout_stream.backup_count=50\n"
            )
        (self.directory / "circus.ini").write_text(text)
        words = (str(peers.VENV / "bin" / "circusctl"), "--endpoint", self.endpoint)
        self.cli = (*words, "status", "0")

    def launch(self) -> subprocess.Popen[bytes]:
        return self.run(str(peers.VENV / "bin" / "circusd"), str(self.directory / "circus.ini"))

    def _call(self, **properties: str) -> object:
        from circus.client import CircusClient  # type: ignore[import-not-found]

        client = CircusClient(endpoint=self.endpoint)
        try:
            return client.call({"command": "status", "properties": properties})
        finally:
            client.stop()

    def status_one(self) -> object:
        return self._call(name="0")

    def status_all(self) -> object:
        return self._call()


class CircusFast(Circus):
    """Circus that looks often."""

    setting, extra = "check_delay=0.05", "check_delay=0.05\nwarmup_delay=0\n"
    most = 1000


class Runit(Subject):
    """runit, with its logger."""

    name, needs = "runit", "runit"
    programs = peers.DEBIAN / "usr" / "bin"
    logger = "svlogd ./main"
    straight = False  # the program itself as `run`, without a shell before it
    supervise = "supervise/status"

    def configure(self) -> None:
        self.cli = (str(self.programs / "sv"), "status", str(self.directory / "services" / "0"))
        for number in range(self.count):
            place = self.directory / "services" / str(number)
            (place / "log" / "main").mkdir(parents=True)
            if self.straight and not self.floods(number):
                (place / "report").symlink_to(self.report)
                (place / "run").symlink_to(SERVICE)
            else:
                self._script(place / "run", " ".join(self.command(number)))
            self._script(place / "log" / "run", f"{self.programs}/{self.logger}")
            (place / "log" / "main" / "config").write_text(f"s{ROTATE}\nn50\n")

    @staticmethod
    def _script(path: Path, command: str) -> None:
        path.write_text(f"#!/bin/sh\nexec {command}\n")
        path.chmod(0o755)

    def launch(self) -> subprocess.Popen[bytes]:
        paths = f"{self.programs}:{os.environ['PATH']}"
        services = str(self.directory / "services")
        return self.run(str(self.programs / "runsvdir"), services, PATH=paths)

    def _status(self, number: int) -> tuple[int, ...]:
        file = self.directory / "services" / str(number) / self.supervise
        return struct.unpack("<QIIBBBB", file.read_bytes()[:20])

    def status_one(self) -> object:
        return self._status(0)

    def status_all(self) -> object:
        return [self._status(number) for number in range(self.count)]

    def logs(self) -> list[Path]:
        main = self.directory / "services" / str(self.count - 1) / "log" / "main"
        return [path for path in main.iterdir() if path.name == "current" or path.name[0] == "@"]


class RunitFast(Runit):
    """runit without shells."""

    setting, straight = "no shell", True


class S6(Runit):
    """s6, with its logger."""

    name, needs = "s6", "s6"
    logger = f"s6-log n50 s{ROTATE} ./main"

    def configure(self) -> None:
        super().configure()
        place = str(self.directory / "services" / "0")
        self.cli = (str(self.programs / "s6-svstat"), place)
        os.environ["LD_LIBRARY_PATH"] = peers.library()

    def launch(self) -> subprocess.Popen[bytes]:
        paths = f"{self.programs}:{os.environ['PATH']}"
        services = str(self.directory / "services")
        # It looks for s6-supervise in /usr/bin and nowhere else: it sees one with Debian's in it.
        see = f"mount -t overlay -o lowerdir={self.programs}:/usr/bin overlay /usr/bin"
        scan = f"{see} && exec s6-svscan -c 2010 {services}"
        return self.run("unshare", "-rm", "sh", "-c", scan, PATH=paths)

    def _status(self, number: int) -> tuple[int, ...]:
        file = self.directory / "services" / str(number) / self.supervise
        return tuple(file.read_bytes())


class S6Fast(S6):
    """s6 without shells, whose services say that they are ready: then it restarts at once."""

    setting, straight = "notification-fd, no shell", True

    def configure(self) -> None:
        super().configure()
        for number in range(self.count):
            (self.directory / "services" / str(number) / "notification-fd").write_text("3\n")


class Pm2(Subject):
    """PM2."""

    name, needs = "PM2", "pm2"
    most = 100

    def configure(self) -> None:
        apps = [
            {
                "name": str(number),
                "script": SERVICE,
                "args": self.command(number)[1:],
                "interpreter": "none",
                "exec_mode": "fork",
                "out_file": str(self.directory / "logs" / f"{number}.log"),
                "error_file": "/dev/null",
            }
            for number in range(self.count)
        ]
        (self.directory / "apps.json").write_text(json.dumps({"apps": apps}))
        self.cli = (*self._words, "describe", "0")

    _words = (str(shutil.which("node")), str(peers.PM2 / "bin" / "pm2"))

    def launch(self) -> subprocess.Popen[bytes]:
        os.environ["PM2_HOME"] = str(self.directory / "pm2")
        return self.run(*self._words, "start", str(self.directory / "apps.json"))

    def status_one(self) -> object:
        raise NotImplementedError

    status_all = status_one


SUBJECTS: tuple[type[Subject], ...] = (
    Floor, Ours, Runit, RunitFast, S6, S6Fast, Supervisord, SupervisordFast, Circus, CircusFast,
    Pm2,
)  # fmt: skip
