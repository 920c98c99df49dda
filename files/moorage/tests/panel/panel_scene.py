"""The same few services twice: under a supervisor, and as containers behind a gateway."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from control_rig import ControlRig, eventually
from gateway_rig import ENGINE, Gateway, Stack

from moorage.control import ControlBackend, ControlError
from moorage.control.http import HttpBackend
from moorage.control.process import ProcessBackend

# Ends at once when it is asked to, and writes where `say` writes.
TALKER = "trap 'exit 0' TERM; echo one; echo two; echo problem >&2; sleep 600 & wait"
STEADY = "trap 'exit 0' TERM; sleep 600 & wait"


@dataclass(frozen=True)
class Scene:
    """Services `steady`, `talker`, `broken` and `once`, and how to reach them.

    ``notes`` is where what is known of backups would be noted, None where nobody tells of them.
    """

    control: str
    backend: ControlBackend
    say: Callable[[str], None]
    notes: Path | None = None

    def state(self, name: str) -> str:
        """Return what the backend itself says."""
        try:
            return str(self.backend.service(name).state)
        except ControlError:
            return ""


@contextmanager
def of_processes(directory: Path) -> Iterator[Scene]:
    """Processes under a supervisor."""
    rig = ControlRig(directory)
    try:
        rig.start()
        yield Scene(rig.socket, ProcessBackend(rig.socket), rig.say)
    finally:
        rig.stop()


@contextmanager
def of_containers(directory: Path) -> Iterator[Scene]:
    """Containers, and the gateway that alone holds the engine's socket."""
    stack = Stack(directory)
    try:
        check = {"test": ["CMD", "cat", "/bin/sh"], "interval": 1_000_000_000}
        stack.add("steady", STEADY, ports=(5000,), healthcheck=check)
        policy = {"Name": "on-failure", "MaximumRetryCount": 1}
        stack.add("broken", "echo the disk is full >&2; exit 3", restart_policy=policy)
        stack.add("once", "exit 0", restart_policy={"Name": "no"})
        talker = stack.add("talker", TALKER)
        gateway = Gateway(directory, stack.release, ENGINE)
        try:
            backend = HttpBackend(gateway.socket)

            def say(line: str) -> None:
                script = ["sh", "-c", 'echo "$1" > /proc/1/fd/1', "sh", line]
                assert talker.exec_run(script).exit_code == 0

            scene = Scene(f"unix+http://{gateway.socket}", backend, say, directory)
            for name, state in (("steady", "running"), ("broken", "fatal"), ("once", "exited")):
                eventually(lambda n=name, s=state: scene.state(n) == s, f"{name} {state}")
            yield scene
        finally:
            gateway.stop()
    finally:
        stack.remove()
