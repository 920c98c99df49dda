"""The prober as a rollout uses it: start it, name windows, ask for figures."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from moorage.probe.figures import figures_of
from moorage.probe.target import Busy, Figures, Sample, Target

# Measured at 50/s beside a parent that runs programs and parses JSON (99th percentile): a thread of
# that parent sent up to 3.9 ms late and saw answers take up to 4.3 ms, since it waits for the
# interpreter's lock, which a long call into C keeps; a process saw 1.1 to 3.4 ms of its own.
# Isolated (-I) and without `site` it sends its first request after 30 ms.
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); from moorage.probe.worker import main; main()"
)
_PIPE_BYTES = 1 << 20
# A host that is busy lets the prober wait, which is no reason to give it up.
_GRACE_SECONDS = 20.0


class Prober:
    """Sends requests to all targets at a steady rate, in a process of its own.

    ``rate`` is requests a second over all targets; ``timeout_seconds`` bounds one request. A
    request counts for the window in which it was sent; those sent before the first `window` for
    none. Nothing here raises because of what the targets do, or because the process is gone: then
    the figures say so (`Figures.incomplete`). Without targets nothing is started.
    """

    def __init__(self, targets: Sequence[Target], rate: float, timeout_seconds: float) -> None:
        if rate <= 0 or timeout_seconds <= 0:
            raise ValueError(f"rate {rate!r} and timeout {timeout_seconds!r} must be above 0")
        self._targets = tuple(targets)
        self._rate = rate
        self._timeout = timeout_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._samples: list[Sample] = []
        self._busy: list[Busy] = []
        self._patience = timeout_seconds
        self._marks: list[tuple[float, str]] = []
        self._over: dict[str, Figures] = {}
        self._input = bytearray()
        self._settled: float | None = None
        self._ended: float | None = None
        self._incomplete = ""

    def start(self) -> None:
        """Begin to send; returns at once, the first request follows some 30 ms later."""
        if self._process is not None or not self._targets:
            return
        sources = Path(__file__).resolve().parents[2]
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _PROGRAM, str(sources)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            cwd="/",
        )
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            # Room for the samples of a long wait; what does not fit waits in the process.
            fcntl.fcntl(self._process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._tell(
            {
                "targets": [target.to_dict() for target in self._targets],
                "rate": self._rate,
                "timeout_seconds": self._timeout,
            }
        )

    def window(self, name: str) -> None:
        """From now on results count for this window; one that comes again is continued."""
        self._over.pop(name, None)
        self._marks.append((time.monotonic(), name))

    def wait_for_answers(self, seconds: float) -> None:
        """Have requests wait for so long from now on, and at least as long as at the start."""
        wanted = max(seconds, self._timeout)
        self._patience = max(wanted, self._patience)
        if self._process is not None and self._ended is None:
            self._tell({"patience": wanted})

    def share(
        self, name: str, mine: Callable[[Sample], bool], *, until: float | None = None
    ) -> Figures:
        """Return what came so far of those requests of a window that are ``mine``.

        With ``until``, every request that was sent before that moment has ended first.
        """
        spans = self._spans(name)
        if spans and self._process is not None and self._ended is None:
            self._settle(until or 0.0)
            spans = self._spans(name)
        return self._sum([s for s in self._samples if mine(s)], spans)

    def figures(self, name: str) -> Figures:
        """Return what a window came to; of one that never was, that nothing was sent.

        Of the current window: so far. Of one that is over: with all of its requests, which is
        waited for as long as a request may take.
        """
        if name in self._over:
            return self._over[name]
        spans = self._spans(name)
        over = bool(spans) and (self._marks[-1][1] != name or self._ended is not None)
        if spans and self._process is not None and self._ended is None:
            self._settle(spans[-1][1] if over else 0.0)
            spans = self._spans(name)
        found = self._sum(self._samples, spans)
        if over:
            self._over[name] = found
        return found

    def _sum(self, samples: Sequence[Sample], spans: Sequence[tuple[float, float]]) -> Figures:
        why = self._incomplete if spans else ""
        return figures_of(samples, spans, self._targets, incomplete=why, busy=self._busy)

    def stop(self) -> None:
        """Send nothing more, wait for what is under way, and end the process. Idempotent."""
        if self._ended is not None:
            return
        self._ended = time.monotonic()
        if self._process is None:
            return
        self._tell({"stop": True})
        deadline = time.monotonic() + self._patience + _GRACE_SECONDS
        while self._read(deadline - time.monotonic()):
            pass
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _spans(self, name: str) -> list[tuple[float, float]]:
        end = time.monotonic() if self._ended is None else self._ended
        moments = [moment for moment, _ in self._marks[1:]]
        return [
            (begin, min(until, end))
            for (begin, mark), until in zip(self._marks, [*moments, end], strict=True)
            if mark == name
        ]

    def _tell(self, command: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
        except BrokenPipeError:
            self._lost()

    def _settle(self, moment: float) -> None:
        """Read what there is, until every request sent before a moment has ended."""
        self._settled = None
        self._tell({"settle": moment})
        deadline = time.monotonic() + self._patience + _GRACE_SECONDS
        while self._settled != moment and not self._incomplete:
            if not self._read(deadline - time.monotonic()) and not self._incomplete:
                self._incomplete = "the prober did not answer in time"

    def _read(self, wait_seconds: float) -> bool:
        """Take what the process has written; False when nothing came or it has ended."""
        assert self._process is not None
        assert self._process.stdout is not None
        output = self._process.stdout.fileno()
        if not select.select([output], [], [], max(0.0, wait_seconds))[0]:
            return False
        data = os.read(output, _PIPE_BYTES)
        if not data:
            self._lost()
            return False
        self._input += data
        *lines, self._input = self._input.split(b"\n")
        for line in lines:
            value = json.loads(line)
            if isinstance(value, list):
                self._samples.append(Sample(*value))
            elif "busy" in value:
                self._busy.append(Busy(*value["busy"]))
            else:
                self._settled = float(value["settled"])
        return True

    def _lost(self) -> None:
        assert self._process is not None
        if self._ended is None and not self._incomplete:
            self._incomplete = f"the prober ended by itself (status {self._process.wait()})"
