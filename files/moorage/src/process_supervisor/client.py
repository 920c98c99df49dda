"""What other programs import: the client of the control socket, see control/client.py."""

from process_supervisor.control.client import Client, ControlError, default_socket

__all__ = ["Client", "ControlError", "default_socket"]
