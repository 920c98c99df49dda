"""The prober's own process: it sends at a steady rate and writes down what happened.

Spoken with over its standard input and output, one JSON value a line. In: first the settings
``{"targets": […], "rate": …, "timeout_seconds": …}``, then ``{"settle": T}`` (answer once every
request sent before T has ended), ``{"patience": T}`` (answers may take T seconds from now on) and
``{"stop": true}``. Out: a sample as an array (see `Sample`; trailing fields that hold their default
are left out), ``{"settled": T}``, and ``{"busy": […]}`` (see `Busy`).

It ends when its input does. That is what a parent's death looks like, SIGKILL included, and unlike
PR_SET_PDEATHSIG it does not fire when only the thread that started it has ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from typing import Any

from moorage.probe.client import Client
from moorage.probe.pace import Pace
from moorage.probe.strain import BEAT_SECONDS, Strain
from moorage.probe.target import Sample, Target

# Above what containers get, where that is allowed: on a busy host a request that was sent late
# says nothing of the service.
_PRIORITY = -5
# How many requests wait for an answer while the edge holds visitors.
_HELD = 4


class Worker:
    """The loop between the two pipes and the sockets."""

    def __init__(self, settings: dict[str, Any], output: int) -> None:
        targets = [Target.of(entry) for entry in settings["targets"]]
        timeout, rate = float(settings["timeout_seconds"]), float(settings["rate"])
        self._client = Client(targets, timeout, self._write_sample)
        # With twice of what a steady rate can have open, only a stall of ours hits the limit.
        self._limit = min(512, max(16, int(2 * rate * timeout)))
        self._timeout = timeout
        self._pace = Pace(self._client, len(targets), rate, self._limit, self._write_sample)
        self._strain = Strain(time.monotonic())
        self._output = output
        self._outgoing = bytearray()
        self._settling: list[float] = []
        self._input = bytearray()
        self._stopping = False
        os.set_blocking(output, False)

    def run(self, source: int) -> None:
        """Send until told to stop; then wait for what is under way."""
        os.set_blocking(source, False)
        self._client.watch(source, lambda: self._read(source))
        while not (self._stopping and not len(self._client)):
            now = time.monotonic()
            if busy := self._strain.look(now):
                self._write({"busy": busy})
            wait = BEAT_SECONDS if self._stopping else self._pace.send_due(now)
            self._client.turn(min(wait, BEAT_SECONDS))
            self._settle()
            self._flush()
        os.set_blocking(self._output, True)
        while self._outgoing:
            self._flush()

    def _read(self, source: int) -> None:
        data = os.read(source, 64 << 10)
        if not data:
            # Nobody is left to tell anything to.
            os._exit(0)
        self._input += data
        *lines, self._input = self._input.split(b"\n")
        for line in lines:
            command = json.loads(line)
            self._stopping = self._stopping or "stop" in command
            if "patience" in command:
                self._be_patient(float(command["patience"]))
            if "settle" in command:
                self._settling.append(float(command["settle"]))

    def _be_patient(self, seconds: float) -> None:
        self._client.wait_for_answers(seconds)
        # All who are held come at once in the end: not to be a crowd of our own making.
        held = seconds > self._timeout
        self._pace.limit = min(self._limit, _HELD) if held else self._limit

    def _settle(self) -> None:
        oldest = self._client.oldest()
        for moment in list(self._settling):
            if oldest is None or oldest >= moment:
                self._settling.remove(moment)
                self._write({"settled": moment})

    def _write_sample(self, sample: Sample) -> None:
        fields = [round(sample.sent, 6), round(sample.ended, 6), *sample[2:]]
        while len(fields) > 3 and not fields[-1]:
            fields.pop()
        self._write(fields)

    def _write(self, value: object) -> None:
        self._outgoing += json.dumps(value).encode() + b"\n"

    def _flush(self) -> None:
        while self._outgoing:
            try:
                count = os.write(self._output, self._outgoing)
            except BlockingIOError:
                return  # the parent reads when it wants to know; until then it waits here
            del self._outgoing[:count]


def main() -> None:
    """Run on standard input and output."""
    # Whoever stops a whole group of processes means the parent, which then tells us.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
    settings = json.loads(_first_line(sys.stdin.fileno()))
    with contextlib.suppress(BrokenPipeError):
        Worker(settings, sys.stdout.fileno()).run(sys.stdin.fileno())


def _first_line(source: int) -> bytes:
    """Read one line and not a byte more: what follows is for the loop."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(source, 1)
        if not byte:
            sys.exit(0)
        line += byte
    return bytes(line)


if __name__ == "__main__":
    main()
