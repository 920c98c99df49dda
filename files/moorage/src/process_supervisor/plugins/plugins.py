"""The plug-ins of a supervisor, by name."""

from __future__ import annotations

from process_supervisor.common import procfs
from process_supervisor.service.checks import Unknown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from process_supervisor.common.events import Events
    from process_supervisor.common.loop import EventLoop
    from process_supervisor.config.plugins import PluginConfig
    from process_supervisor.plugins.helper import Helper, Trouble
    from process_supervisor.service.checks import Done

SUFFIX = "#plugin"


class Asked:
    """A question to a plug-in about the health of a process."""

    def __init__(self, cancel: Callable[[], None]) -> None:
        self.cancel = cancel


class Plugins:
    """Runs them, asks them about processes, and has them hear of events."""

    def __init__(
        self, loop: EventLoop, key: str, events: Events, orphans: Callable[[], list[int]]
    ) -> None:
        self._loop = loop
        self._key = key
        self._events = events
        self._orphans = orphans
        self.helpers: dict[str, Helper] = {}
        self._dying = 0  # so many are being killed
        self._on_quiet: Callable[[], None] | None = None

    def configure(self, wanted: Mapping[str, PluginConfig]) -> None:
        """Have these run; what did not change is left alone."""
        for name, helper in list(self.helpers.items()):
            if name not in wanted or wanted[name].as_dict() != helper.config.as_dict():
                self.helpers.pop(name).end()
        for name, config in wanted.items():
            if name not in self.helpers:
                self.helpers[name] = self.helper(config)
                self.helpers[name].start()

    def end(self) -> None:
        """End all of them."""
        self.configure({})

    def helper(self, config: PluginConfig, idle: float | None = None) -> Helper:
        """Return a helper for a plug-in; it is not started yet."""
        # Most supervisors have none.
        from process_supervisor.plugins.helper import Helper

        def tell(trouble: str | None) -> None:
            self._events.add("plugin", None, plugin=config.name, reason=trouble)

        mark = procfs.family(self._key, config.name + SUFFIX)
        return Helper(self._loop, config, mark, self._orphans, tell, idle, self._kills)

    def _kills(self, more: int) -> None:
        self._dying += more
        if not self._dying and self._on_quiet is not None:
            self._on_quiet()

    def when_quiet(self, done: Callable[[], None]) -> None:
        """Call back when nothing is left of all that are being killed."""
        self._on_quiet = done
        if not self._dying:
            done()

    def happened(self, entry: Mapping[str, Any]) -> None:
        """Have those listen that do."""
        for name, helper in self.helpers.items():
            # None hears of itself: that would go round and round.
            listens = helper.does is None or "on_event" in helper.does
            if listens and entry.get("plugin") != name:
                helper.call("on_event", [dict(entry)], lambda result, trouble: None)

    def ask(self, name: str, process: str, info: Mapping[str, Any], done: Done) -> Asked:
        """Ask a plug-in whether a process is well.

        It is not when the answer is False or a text, the reason, or an exception. A plug-in that
        does not answer says nothing about the process: `Unknown`.
        """
        helper = self.helpers[name]

        def answered(result: object, trouble: Trouble | None) -> None:
            if trouble is not None:
                told = f"plug-in {name}: {trouble}"
                done(told if trouble.raised else Unknown(told))
            elif result is None or result is True:
                done(None)
            else:
                said = result if isinstance(result, str) and result else "it is not well"
                done(f"plug-in {name}: {said[:500]}")

        call = helper.call("check_health", [process, dict(info)], answered)
        return Asked(lambda: helper.forget(call))

    def as_dict(self) -> list[dict[str, Any]]:
        """Return what is shown of them."""
        return [
            {
                "name": name, "class": helper.config.target, "pid": helper.pid,
                "does": helper.does or [], "calls": helper.calls, "starts": helper.starts,
                "lost": helper.lost, "trouble": helper.trouble,
            }
            for name, helper in self.helpers.items()
        ]  # fmt: skip
