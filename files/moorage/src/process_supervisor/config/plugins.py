"""Settings of plug-ins and alerts."""

from __future__ import annotations

import os
import re

from process_supervisor.config.reader import Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from process_supervisor.config.health import HealthConfig

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
CHANNELS = "process_supervisor.alerts.channels"
# Key: whether it has to be there.
CHANNEL_KEYS: dict[str, dict[str, bool]] = {
    "webhook": {"url": False, "url_file": False, "headers": False, "body": False},
    "mail": {
        "to": True, "from": True, "host": False, "port": False, "tls": False, "user": False,
        "password_file": False,
    },
    "command": {"command": True},
    "telegram": {"token_file": True, "chat_id": True, "url": False},
    "plugin": {"plugin": True},
}  # fmt: skip


class PluginConfig:
    """A class that a helper process loads. ``timeout`` is seconds, for a single call.

    ``target`` is `package.module:Class`, `file.py:Class`, or the name of an entry point of the
    group `process_supervisor.plugins`.
    """

    __slots__ = ("memory_mb", "name", "settings", "target", "timeout", "user")

    def __init__(self, reader: Reader, base: str) -> None:
        self.name = reader.text("name", required=True) or ""
        if self.name and not NAME.match(self.name):
            reader.fail("name", f"must be letters, digits, '.', '_' and '-', not {self.name!r}")
        self.target = located(reader.text("class", required=True) or "", base)
        settings = reader.raw("settings") or {}
        if not isinstance(settings, dict):
            reader.fail("settings", f"must be a mapping, not {settings!r}")
            settings = {}
        self.settings: dict[str, object] = settings
        self.timeout = reader.number("timeout", 5.0, 0.01)
        self.memory_mb = reader.integer("memory_mb", 128, 16)
        user = reader.raw("user")
        self.user = None if user is None else str(user)
        reader.finish()

    def as_dict(self) -> dict[str, object]:
        """Return the settings in the form that the configuration file has."""
        keys = ("name", "settings", "timeout", "memory_mb", "user")
        return {"class": self.target, **{key: getattr(self, key) for key in keys}}


class ChannelConfig:
    """A way to tell somebody: where to, in the words of `alerts.channels`."""

    __slots__ = ("name", "settings", "type")

    def __init__(self, reader: Reader, base: str) -> None:
        self.name = reader.text("name", required=True) or ""
        self.type = reader.choice("type", "", tuple(CHANNEL_KEYS))
        if not self.type:
            if reader.raw("type") is None:
                reader.fail("type", f"is required: {', '.join(CHANNEL_KEYS)}")
            # What a key is worth depends on the type that is meant.
            reader.known.update(key for keys in CHANNEL_KEYS.values() for key in keys)
        self.settings: dict[str, object] = {}
        for key, required in CHANNEL_KEYS.get(self.type, {}).items():
            value = reader.raw(key)
            if value is None and required:
                reader.fail(key, "is required")
            if key.endswith("_file") and isinstance(value, str):
                value = os.path.abspath(os.path.join(base, value))
            if value is not None:
                self.settings[key] = value
        if self.type == "webhook" and len(self.settings.keys() & {"url", "url_file"}) != 1:
            reader.fail("url", "or url_file is required, one of them")
        reader.finish()

    def as_dict(self) -> dict[str, object]:
        """Return the settings in the form that the configuration file has."""
        return {"name": self.name, "type": self.type, **self.settings}


class AlertsConfig:
    """What is told, how often, and by which channels. Times are seconds."""

    __slots__ = (
        "channels", "per_hour", "repeat_seconds", "restarts", "restarts_seconds", "settle_seconds",
    )  # fmt: skip

    def __init__(self, reader: Reader, base: str) -> None:
        self.channels = {
            channel.name: channel
            for channel in (ChannelConfig(item, base) for item in readers(reader, "channels"))
        }
        self.repeat_seconds = reader.number("repeat_seconds", 14_400.0, 1.0)
        self.settle_seconds = reader.number("settle_seconds", 60.0)
        self.per_hour = reader.integer("per_hour", 20, 1)
        self.restarts = reader.integer("restarts", 3, 1)
        self.restarts_seconds = reader.number("restarts_seconds", 600.0, 1.0)
        reader.finish()

    def as_dict(self) -> dict[str, object]:
        """Return the settings in the form that the configuration file has."""
        keys = ("repeat_seconds", "settle_seconds", "per_hour", "restarts", "restarts_seconds")
        channels = [channel.as_dict() for channel in self.channels.values()]
        return {"channels": channels, **{key: getattr(self, key) for key in keys}}


def located(target: str, base: str) -> str:
    """Return a plug-in's target with the path of its file, where it is one, made absolute."""
    module, colon, name = target.rpartition(":")
    if colon and module.endswith(".py"):
        return f"{os.path.abspath(os.path.join(base, module))}:{name}"
    return target


def readers(reader: Reader, key: str) -> Sequence[Reader]:
    """Return a reader for each mapping of a list, each with a name that no other one has."""
    items = reader.raw(key) or []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        reader.fail(key, f"must be a list of mappings, not {items!r}")
        return []
    names = [item.get("name") for item in items]
    for name in {str(name) for name in names if names.count(name) > 1}:
        reader.fail(key, f"the name {name} is used twice")
    where = reader.where
    return [Reader(item, f"{where}: {key} {item.get('name')}", reader.problems) for item in items]


def read_plugins(reader: Reader, base: str) -> dict[str, PluginConfig]:
    """Read the plug-ins, by name."""
    found = (PluginConfig(item, base) for item in readers(reader, "plugins"))
    return {plugin.name: plugin for plugin in found}


def read_alerts(reader: Reader, base: str) -> AlertsConfig:
    """Read what is said of alerts; nobody is told anything without it."""
    data = reader.raw("alerts") or {}
    if not isinstance(data, dict):
        reader.fail("alerts", f"must be a mapping, not {data!r}")
        data = {}
    return AlertsConfig(Reader(data, f"{reader.where}: alerts", reader.problems), base)


def channel_plugin(channel: ChannelConfig) -> PluginConfig:
    """Return the plug-in that speaks to a channel."""
    name = channel.type.title()
    data = {
        "name": f"alerts-{channel.name}", "class": f"{CHANNELS}:{name}",
        "settings": {"settings": channel.settings}, "timeout": 30.0,
    }  # fmt: skip
    return PluginConfig(Reader(data, channel.name, []), ".")


def check_plugins(
    plugins: Mapping[str, PluginConfig],
    alerts: AlertsConfig,
    checks: Mapping[str, HealthConfig],
    problems: list[str],
) -> None:
    """Check that plug-ins which are asked for are there."""
    asked = [
        (f"process {name}: health_check", check.plugin)
        for name, check in checks.items()
        if check.plugin
    ]
    for channel in alerts.channels.values():
        if channel.type == "plugin":
            where = f"supervisor: alerts: channels {channel.name}"
            asked.append((where, str(channel.settings.get("plugin"))))
    for where, plugin in asked:
        if plugin not in plugins:
            known = ", ".join(plugins) or "none"
            problems.append(f"{where}: there is no plug-in {plugin} (there are: {known})")
