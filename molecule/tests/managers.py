"""What a process has by the manager that runs it (docs/topologies.md); all else any process has."""

from __future__ import annotations

FILTERS = {"systemd": "2", "supervisor": "0", "own": "0"}
"""Filters of system calls and address families, as `Seccomp` of proc_pid_status(5)."""
