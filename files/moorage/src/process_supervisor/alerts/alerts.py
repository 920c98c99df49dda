"""Alerts of a running supervisor: the policy, its timer, and the channels with their retries."""

from __future__ import annotations

import json
import os
import time
from functools import partial

from process_supervisor.alerts.policy import EVERYTHING, OPEN, Policy, summary
from process_supervisor.common.files import read_json, write_atomic
from process_supervisor.config.plugins import channel_plugin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from process_supervisor.common.events import Events
    from process_supervisor.common.loop import EventLoop, Timer
    from process_supervisor.config.plugins import AlertsConfig, ChannelConfig, PluginConfig
    from process_supervisor.plugins.helper import Helper, Trouble

RETRIES = (5.0, 30.0, 120.0, 600.0, 1800.0)
IDLE_SECONDS = 60.0
LOGS_SECONDS = 30.0
SAVE_SECONDS = 1.0


class Channel:
    """A channel, and what became of the last message to it."""

    def __init__(self, config: ChannelConfig, helper: Callable[[], Helper], own: bool) -> None:
        self.config = config
        self.helper = helper  # a plug-in's may be another one after a reload
        self.own = own
        self.delivered = self.failed = 0
        self.trouble: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return what is shown of it."""
        return {
            "name": self.config.name, "type": self.config.type, "delivered": self.delivered,
            "failed": self.failed, "trouble": self.trouble,
        }  # fmt: skip


class Alerts:
    """Takes in events, tells somebody by all channels, and keeps what it told over restarts."""

    def __init__(
        self,
        loop: EventLoop,
        events: Events,
        path: str,
        helper: Callable[[PluginConfig, float], Helper],
        plugin: Callable[[str], Helper],
        problems: Callable[[], Mapping[str, str | None]],
    ) -> None:
        self._loop = loop
        self._events = events
        self._path = path
        self._helper = helper
        self._plugin = plugin
        self._problems = problems
        self.policy: Policy | None = None
        self.channels: dict[str, Channel] = {}
        self._timer: Timer | None = None
        self._watching: Timer | None = None
        self._saved = ""
        self._saving: Timer | None = None
        # Messages are numbered: the newest one of each kind of trouble with each subject.
        self._sent = 0
        self._newest: dict[tuple[str, str], int] = {}

    def configure(self, config: AlertsConfig) -> None:
        """Use these settings; without a channel nothing is done at all."""
        if self.policy and self.policy.config.as_dict() == config.as_dict():
            return
        self.end()
        if not config.channels:
            self.policy = None
            return
        before, self.policy = self.policy, Policy(config)
        self.policy.restore(before.as_dict() if before else read_json(self._path))
        if before is None:
            self.policy.began(time.time(), self._problems())
        for name, channel in config.channels.items():
            self.channels[name] = self._channel(channel)
        self._look_at_logs()
        self._soon()

    def _channel(self, config: ChannelConfig) -> Channel:
        if config.type == "plugin":
            return Channel(config, lambda: self._plugin(str(config.settings["plugin"])), False)
        helper = self._helper(channel_plugin(config), IDLE_SECONDS)
        return Channel(config, lambda: helper, True)

    def end(self) -> None:
        """End the helpers."""
        if self._saving is not None:
            self._write()
        for timer in (self._timer, self._watching, self._saving):
            if timer is not None:
                timer.cancel()
        self._timer = self._watching = self._saving = None
        for channel in self.channels.values():
            if channel.own:
                channel.helper().end()
        self.channels = {}

    def happened(self, entry: Mapping[str, Any]) -> None:
        """Take in an event."""
        if self.policy is not None and entry.get("alerts") is None:
            self.policy.happened(entry)
            self._soon()

    def silence(self, subject: str, seconds: float) -> None:
        """Tell nothing of a process, or of all, for so long; 0 ends that."""
        if self.policy is not None:
            self.policy.silence(subject or EVERYTHING, time.time() + seconds)
            self._soon()

    def test(self, name: str, done: Callable[[dict[str, Any]], None]) -> None:
        """Send a test message by a channel, once; done(channel as it is then)."""
        channel = self.channels[name]
        now = time.time()
        message = {
            "state": "test", "kind": "test", "process": "", "reason": "", "since": now, "at": now,
            "summary": "a test: this channel works", "count": 1, "repeated": False,
        }  # fmt: skip

        def sent(trouble: str | None) -> None:
            done({**channel.as_dict(), "sent": trouble is None})

        self._send(channel, message, sent)

    def as_dict(self) -> dict[str, Any]:
        """Return what is shown of all of it."""
        policy = self.policy
        if policy is None:
            return {"alerts": [], "silences": {}, "channels": []}
        alerts = [
            {
                **alert.as_dict(), "summary": summary(alert),
                "over": None if alert.kind in OPEN else alert.over,
            }
            for alert in policy.alerts.values()
        ]  # fmt: skip
        channels = [channel.as_dict() for channel in self.channels.values()]
        return {"alerts": alerts, "silences": policy.silences, "channels": channels}

    # Its own

    def _soon(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(0, self._tell)

    def _tell(self) -> None:
        policy, now = self.policy, time.time()
        if policy is None:
            return
        # At a shutdown there are none any more.
        for message in policy.due(now) if self.channels else ():
            self._deliver(message)
        self._save()
        when = policy.next(now)
        if when is not None:
            self._timer = self._loop.call_later(max(0.1, when - now), self._tell)

    def _deliver(self, message: dict[str, Any]) -> None:
        """Send by all channels, each with its own retries; one that works is enough."""
        keys, waiting, policy = message.pop("keys"), len(self.channels), self.policy
        known = False
        self._sent += 1
        self._newest.update(((kind, subject), self._sent) for kind, subject, _ in keys)
        outdated = partial(self._outdated, [key[:2] for key in keys], self._sent)

        def ended(arrived: bool) -> None:
            nonlocal waiting, known
            waiting -= 1
            if policy is not None and not known and (arrived or not waiting):
                known = True
                policy.told(keys, time.time(), arrived)
                self._write()  # at once: who dies now would tell it again
                self._soon()

        for channel in self.channels.values():
            self._try(channel, message, ended, outdated)

    def _outdated(self, keys: Sequence[tuple[str, str]], number: int) -> bool:
        """Whether something newer was sent of all that a message tells: it would come after it."""
        return all(self._newest.get(key, 0) > number for key in keys)

    def _try(
        self,
        channel: Channel,
        message: dict[str, Any],
        ended: Callable[[bool], None],
        outdated: Callable[[], bool],
        attempt: int = 0,
    ) -> None:
        """Send a message by a channel, and again when it is refused, unless a newer one was."""

        def sent(trouble: str | None) -> None:
            if trouble is None:
                ended(True)
            elif attempt < len(RETRIES):
                again = partial(self._try, channel, message, ended, outdated, attempt + 1)
                self._loop.call_later(RETRIES[attempt], again)
            else:
                name = channel.config.name
                reason = f"channel {name}: {message['summary']!r} was not told: {trouble}"
                self._events.add("error", None, alerts=name, reason=reason)
                ended(False)

        if channel is self.channels.get(channel.config.name) and not outdated():
            self._send(channel, message, sent)
        else:
            ended(False)

    def _send(
        self, channel: Channel, message: dict[str, Any], done: Callable[[str | None], None]
    ) -> None:
        def answered(_: object, trouble: Trouble | None) -> None:
            channel.trouble = trouble
            if trouble is None:
                channel.delivered += 1
            else:
                channel.failed += 1
            done(trouble)

        message = {"version": 1, "host": os.uname().nodename, **message}
        channel.helper().call("send", [message], answered)

    def _look_at_logs(self) -> None:
        if self.policy is None:
            return
        now = time.time()
        for name, problem in self._problems().items():
            if problem:
                self.policy.wrong(now, "logs", name, problem)
            else:
                self.policy.over(now, "logs", name)
        self._soon()
        self._watching = self._loop.call_later(LOGS_SECONDS, self._look_at_logs)

    def _save(self) -> None:
        """Save at once, but not more often than once in `SAVE_SECONDS`."""
        if self._saving is None:
            self._write()
            self._saving = self._loop.call_later(SAVE_SECONDS, self._save_again)

    def _save_again(self) -> None:
        self._saving = None
        self._write()

    def _write(self) -> None:
        if self.policy is None:
            return
        text = json.dumps(self.policy.as_dict())
        if text != self._saved:
            self._saved = text
            try:
                write_atomic(self._path, text)
            except OSError:
                # It may be the full disk that is told of.
                self._saved = ""
