"""What ends comes back as the document has it, three times; a boot brings all of it back."""

from __future__ import annotations

from fastblog_site import STACK, call, processes, visitor
from support import Machine, wait_until


def killed(machine: Machine, name: str, pid: int) -> int:
    """Kill a process as a crash would; return the number of the next one, 0 where none comes."""
    machine.sh(f"kill -KILL {pid}")

    def followed() -> list[int]:
        service = machine.status(STACK)[name]
        gone = service["state"] in ("FATAL", "EXITED", "DEAD")
        return [0] if gone else [service["pid"]] * (service["pid"] not in (None, pid))

    return wait_until(f"{name} has come back, or not", followed, seconds=60)[0]


def test_three_restarts_and_then_somebody_has_to_look(settled: Machine) -> None:
    pid = settled.status(STACK)["update_server"]["pid"]
    assert pid
    numbers = [pid := killed(settled, "update_server", pid) for _ in range(3)]
    assert all(numbers) and not killed(settled, "update_server", pid)
    shown = processes(settled)["update_server"]
    assert "killed by SIGKILL" in (shown["reason"] or "") and shown["can"] == ["start"], shown
    assert visitor(settled).get("/").status == 200
    call(settled, "/process/update_server/start", "POST")


def test_the_site_is_back_after_a_kill_and_after_a_boot(settled: Machine) -> None:
    killed(settled, "main_app", settled.status(STACK)["main_app"]["pid"])
    wait_until("it serves", lambda: visitor(settled).get("/").status == 200, seconds=60)
    settled.sh(f"moorage stop {STACK} update_server --reason 'a test'")
    settled.restart()
    wait_until("it serves", lambda: visitor(settled).get("/").status == 200, seconds=120)
    found = settled.status(STACK)
    assert (found["update_server"]["state"], found["updater"]["state"]) == ("STOPPED", "STOPPED")
    settled.sh(f"moorage start {STACK} update_server")
    assert "部署一个博客" in visitor(settled).get("/").text
