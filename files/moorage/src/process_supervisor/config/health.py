"""Settings of a health check."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from process_supervisor.config.reader import Reader

URL = re.compile(r"http://(\[[0-9a-fA-F:.]+\]|[^/:?#\s\[\]]+)(?::(\d{1,5}))?([/?]\S*)?\Z")


class HealthConfig:
    """How to see whether a process does its work. Times are seconds."""

    __slots__ = (
        "command", "host", "interval", "path", "plugin", "port", "restart_when_unhealthy",
        "retries", "start_interval", "start_period", "timeout", "type", "url",
    )  # fmt: skip

    type: str
    url: str | None
    host: str
    port: int
    path: str
    command: list[str]
    plugin: str
    interval: float
    timeout: float
    retries: int
    start_period: float
    start_interval: float
    restart_when_unhealthy: bool

    def __init__(self, reader: Reader) -> None:
        self.type = reader.choice("type", "", ("http", "tcp", "command", "plugin"))
        self.plugin = ""
        self.url, self.host, self.port, self.path, self.command = None, "127.0.0.1", 0, "/", []
        if self.type == "http":
            self._read_url(reader)
        elif self.type == "tcp":
            self.host = reader.text("host", "127.0.0.1") or ""
            self.port = reader.integer("port", 0, 1)
            if not 0 < self.port < 65536:
                reader.fail("port", "must be between 1 and 65535")
        elif self.type == "command":
            self.command = reader.words("command", required=True)
        elif self.type == "plugin":
            self.plugin = reader.text("plugin", required=True) or ""
        else:
            if reader.raw("type") is None:
                reader.fail("type", "is required: http, tcp, command or plugin")
            # What a key is worth depends on the type that is meant.
            reader.known.update(("url", "host", "port", "command", "plugin"))
        self.interval = reader.number("interval", 10.0, 0.01)
        self.timeout = reader.number("timeout", 3.0, 0.01)
        self.retries = reader.integer("retries", 3, 1)
        self.start_period = reader.number("start_period", 5.0)
        self.start_interval = reader.number("start_interval", 0.5, 0.01)
        self.restart_when_unhealthy = reader.flag("restart_when_unhealthy", True)
        reader.finish()

    def _read_url(self, reader: Reader) -> None:
        self.url = reader.text("url", required=True) or ""
        if not self.url:
            return
        found = URL.match(self.url)
        if not found or int(found[2] or 80) not in range(1, 65536):
            # TLS would cost the supervisor 4 MB; a command check can do it in a process of its own.
            reader.fail("url", f"must look like http://host:port/path (no https), not {self.url!r}")
            return
        self.host = found[1].strip("[]")
        self.port = int(found[2] or 80)
        path = found[3] or "/"
        self.path = path if path.startswith("/") else "/" + path

    def as_dict(self) -> dict[str, object]:
        """Return the settings in the form that the configuration file has."""
        keys = {"http": ("url",), "tcp": ("host", "port")}.get(self.type, (self.type,))
        common = ("type", "interval", "timeout", "retries", "start_period", "start_interval",
                  "restart_when_unhealthy")  # fmt: skip
        return {key: getattr(self, key) for key in (*common, *keys)}
