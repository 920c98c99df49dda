"""Where a supervisor and its clients meet when nobody says otherwise; imports nothing."""

RUN_DIR = "/run/supervisor"
SOCKET_NAME = "control.sock"
DEFAULT_SOCKET = f"{RUN_DIR}/{SOCKET_NAME}"
SOCKET_VARIABLE = "PROCESS_SUPERVISOR_SOCKET"
"""Of the environment of each process: the socket of the supervisor that started it."""
