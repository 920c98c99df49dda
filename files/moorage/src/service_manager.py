"""Services by name for programs beside a supervisor: what `service_manager` always offered,
through the supervisor's control socket.

    from service_manager import service_manager
    service_manager.get_service_status("frontend")  # 'running' or 'stopped'
"""

from __future__ import annotations

import os

from process_supervisor.control.client import Client, ControlError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ServiceManager", "service_manager"]

DEFAULT_PIDS = "/app/data/pids.env"
PIDS_VARIABLE = "PROCESS_SUPERVISOR_PIDS"


class ServiceManager:
    """Asks and directs the supervisor of this container or host.

    socket defaults to PROCESS_SUPERVISOR_SOCKET, pids_file to PROCESS_SUPERVISOR_PIDS, and then to
    the places that the unified container has. Except where stated, calls raise ControlError.
    """

    def __init__(self, socket: str | None = None, pids_file: str | None = None) -> None:
        self._socket = socket
        self._pids_file = pids_file

    @property
    def client(self) -> Client:
        """A client of the control socket."""
        return Client(self._socket)

    def load_pids(self) -> dict[str, int]:
        """Read pids.env again: `FRONTEND_PID=1234` becomes `{"frontend": 1234}`.

        A file that is not there yields no pids, lines of another form are passed over.
        """
        path = self._pids_file or os.environ.get(PIDS_VARIABLE) or DEFAULT_PIDS
        pids: dict[str, int] = {}
        try:
            with open(path, encoding="utf-8") as file:
                lines = file.read().splitlines()
        except FileNotFoundError:
            return pids
        for line in lines:
            name, _, value = line.partition("=")
            if name.endswith("_PID") and value.isdigit():
                pids[name.removesuffix("_PID").lower().replace("_", "-")] = int(value)
        return pids

    def get_service_status(self, name: str) -> str:
        """Return 'running' or 'stopped'.

        In the moment that a killed supervisor needs to come back, pids.env and the kernel answer.
        """
        try:
            return "running" if self.client.status(name)["state"] == "RUNNING" else "stopped"
        except ControlError as error:
            if error.code != "unreachable":
                raise
        pid = self.load_pids().get(name.lower().replace("_", "-"))
        return "running" if pid and os.path.exists(f"/proc/{pid}") else "stopped"

    def get_all_services(self) -> dict[str, dict[str, Any]]:
        """Return every service's full status by name."""
        return {item["name"]: item for item in self.client.status()}

    def start_service(self, name: str) -> bool:
        """Start a service; True if it runs."""
        return bool(self.client.start(name, who="service_manager")["state"] == "RUNNING")

    def stop_service(self, name: str) -> bool:
        """Stop a service and keep it stopped; True if it is."""
        return bool(self.client.stop(name, who="service_manager")["pid"] is None)

    def restart_service(self, name: str) -> bool:
        """Restart a service; True if it runs."""
        return bool(self.client.restart(name, who="service_manager")["state"] == "RUNNING")

    start = start_service
    stop = stop_service
    restart = restart_service


service_manager = ServiceManager()
