"""Where a process's output goes: FIFOs in run_dir, pumps, log files."""

from __future__ import annotations

import os

from process_supervisor.output import tail
from process_supervisor.output.logfile import LogFile
from process_supervisor.output.pump import Pump, make_fifo
from process_supervisor.output.times import Times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from process_supervisor.common.loop import EventLoop
    from process_supervisor.config.settings import Config, ProcessConfig

TAIL_LINES = 20
STREAMS = ("stdout", "stderr")


class Output:
    """The two streams of one process.

    Without a stdout_logfile the output is discarded; without a stderr_logfile, or with the same
    one, stderr goes where stdout goes, in the order in which it was written. hold_fifos is called
    when there is another FIFO for the guardian to keep open.
    """

    def __init__(
        self, loop: EventLoop, config: ProcessConfig, home: Config, hold_fifos: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._config = config
        self._run_dir = home.run_dir
        self._state_dir = home.state_dir
        self._hold_fifos = hold_fifos
        self.pumps: dict[str, Pump] = {}
        self.followers: list[Callable[[], None]] = []

    def paths(self) -> dict[str, str]:
        """Return the log file of each stream that has its own."""
        config = self._config
        found = {}
        if config.stdout_logfile:
            found["stdout"] = config.stdout_logfile
        if config.stderr_logfile and config.stderr_logfile != config.stdout_logfile:
            found["stderr"] = config.stderr_logfile
        return found

    def path_of(self, stream: str) -> str | None:
        """Return the file that has a stream's lines, None when they are discarded."""
        paths = self.paths()
        return paths.get(stream) or (paths.get("stdout") if stream == "stderr" else None)

    def ensure(self, owner: int | None = None) -> None:
        """Have FIFOs and pumps for every stream that is logged; raises OSError."""
        for stream, path in self.paths().items():
            if stream in self.pumps and owner is None:
                continue
            fifo = make_fifo(self._fifo(stream), owner)
            if stream in self.pumps:
                os.close(fifo)
                continue
            try:
                log = LogFile(path, self._note(stream), self._config.log_max_bytes,
                              self._config.log_backups, self._times(stream))  # fmt: skip
            except OSError:
                os.close(fifo)
                raise
            self.pumps[stream] = Pump(self._loop, fifo, log, self._written)
            self._hold_fifos()

    def resume(self) -> None:
        """Go on reading what an earlier supervisor's processes wrote; raises OSError."""
        if any(os.path.exists(self._fifo(stream)) for stream in self.paths()):
            self.ensure()

    def ends(self, owner: int | None = None) -> tuple[str, str | None]:
        """Return what a new process has to open for stdout, and for stderr unless it is the same.

        To read and write, so that the process itself keeps its FIFO readable while there is no
        supervisor. Anew each time, because non-blocking mode belongs to an open file.
        """
        self.ensure(owner)
        paths = self.paths()
        for stream in set(self.pumps) - set(paths):
            self.pumps.pop(stream).close()
        out = self._fifo("stdout") if "stdout" in paths else os.devnull
        return out, self._fifo("stderr") if "stderr" in paths else None

    def open_ends(self, owner: int | None = None) -> tuple[int, int]:
        """Return `ends` as descriptors, to be closed after the start."""
        first, second = self.ends(owner)
        out = os.open(first, os.O_RDWR | os.O_CLOEXEC)
        return out, os.open(second, os.O_RDWR | os.O_CLOEXEC) if second else os.dup(out)

    def drain(self) -> None:
        """Move what is in the FIFOs now into the log files."""
        for pump in self.pumps.values():
            pump.drain()

    def reopen(self) -> None:
        """Open the log files anew."""
        for pump in self.pumps.values():
            pump.reopen()

    def last_lines(self) -> list[str]:
        """Return the last lines that say why it failed: stderr's, else stdout's."""
        self.drain()
        for stream in ("stderr", "stdout"):
            path = self.paths().get(stream)
            lines = tail.last_lines(path, TAIL_LINES) if path else []
            if lines:
                return lines
        return []

    def reconfigure(self, config: ProcessConfig) -> None:
        """Go on into other files or with other limits; the process notices nothing."""
        old, self._config = self.paths(), config
        for stream, path in self.paths().items():
            pump = self.pumps.get(stream)
            if pump is None:
                continue
            if old.get(stream) != path:
                self.pumps.pop(stream).close()
            else:
                pump.log.max_bytes = config.log_max_bytes
                pump.log.backups = config.log_backups
        if self.pumps or old:
            self.ensure()

    def times(self) -> dict[str, dict[str, str]]:
        """Return of each stream that has a file of its own its path and the marks of times."""
        self.drain()
        return {
            stream: {"path": path, "times": self._times(stream).text()}
            for stream, path in self.paths().items()
        }

    def problem(self) -> str | None:
        """Return what keeps output from being written, None when nothing does."""
        return next((pump.problem for pump in self.pumps.values() if pump.problem), None)

    def close(self, forget: bool = False) -> None:
        """Free everything; forget also removes the FIFOs of a process that is no more."""
        for pump in self.pumps.values():
            pump.close()
        self.pumps.clear()
        for stream in STREAMS if forget else ():
            for path in (self._fifo(stream), self._note(stream), self._times(stream).path):
                if os.path.exists(path):
                    os.unlink(path)

    def _written(self) -> None:
        for push in list(self.followers):
            push()

    def _fifo(self, stream: str) -> str:
        return f"{self._run_dir}/fifo/{self._config.name}.{stream}"

    def _times(self, stream: str) -> Times:
        return Times(f"{self._state_dir}/times/{self._config.name}.{stream}")

    def _note(self, stream: str) -> str:
        return f"{self._run_dir}/log-{self._config.name}.{stream}.json"
