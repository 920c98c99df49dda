"""When somebody is told, as a pure state machine: events go in, messages come out.

An alert is a kind of trouble of a process, or of the supervisor itself. It is told once, again
after `repeat_seconds` while it lasts, and once more when it has been over for `settle_seconds`, so
that what comes and goes does not tell of each time. At most `per_hour` messages leave in an hour;
the last of them stands for all that wait. Times are Unix seconds.
"""

from __future__ import annotations

from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping
    from typing import Any

    from process_supervisor.config.plugins import AlertsConfig

HOUR = 3600.0
# What fails as soon as it starts is FATAL by then, which is all that somebody has to hear.
HELD_SECONDS = 30.0
# These just happen: nobody hears that they are over.
MOMENTARY = ("memory", "missed", "error", "supervisor")
# Of these there is no telling whether they are over: they come again or not.
OPEN = ("restarting", *MOMENTARY)
SUMMARIES = {
    "fatal": "is not restarted any more",
    "failed": "has ended with a failure",
    "restarting": "is restarted again and again",
    "unhealthy": "is unhealthy",
    "memory": "was killed for want of memory",
    "missed": "has not run when its schedule says",
    "logs": "cannot write its log",
    "error": "has trouble",
    "plugin": "does not work",
    "supervisor": "had ended and was started again",
}
EVERYTHING = ""
"""Who is silenced when all are."""


class Alert:
    """Something that is wrong."""

    __slots__ = ("count", "kind", "over", "reason", "sent", "since", "subject", "telling")

    def __init__(self, kind: str, subject: str, since: float) -> None:
        self.kind = kind
        self.subject = subject
        self.since = since
        self.reason = ""
        self.count = 0
        self.over: float | None = None  # since when
        self.sent: float | None = None  # when somebody was told last
        self.telling = False

    def as_dict(self) -> dict[str, Any]:
        """Return what is kept of it and shown."""
        keys = ("kind", "subject", "since", "reason", "count", "over", "sent")
        return {key: getattr(self, key) for key in keys}


class Policy:
    """Keeps the alerts and says what to tell."""

    def __init__(self, config: AlertsConfig) -> None:
        self.config = config
        self.alerts: dict[tuple[str, str], Alert] = {}
        self.silences: dict[str, float] = {}
        self._left: deque[float] = deque()
        self._restarts: dict[str, deque[float]] = {}

    # What happens

    def happened(self, entry: Mapping[str, Any]) -> None:
        """Take in an event of the supervisor's."""
        now, name = float(entry["at"]), str(entry.get("process", ""))
        reason = str(entry.get("reason", ""))
        match entry["event"]:
            case "state":
                self._stepped(now, name, str(entry["to"]), entry, reason)
            case "health" if entry["to"] == "unhealthy":
                self.wrong(now, "unhealthy", name, reason)
            case "health" if entry["to"] == "healthy":
                self.over(now, "unhealthy", name)
            case "skipped" | "missed" if not entry.get("done"):
                self.wrong(now, "missed", name, reason)
            case "oom":
                self.wrong(now, "memory", name, reason)
            case "error":
                self.wrong(now, "error", name, reason)
            case "supervisor resumed":
                self.wrong(now, "supervisor", "", reason)
            case "plugin" if reason:
                self.wrong(now, "plugin", str(entry["plugin"]), reason)
            case "plugin":
                self.over(now, "plugin", str(entry["plugin"]))
            case "reloaded":
                for removed in entry.get("removed", ()):
                    self._forget(now, removed)

    def _stepped(
        self, now: float, name: str, state: str, entry: Mapping[str, Any], reason: str
    ) -> None:
        end = entry.get("exit")
        # A scheduled run says at its end alone whether it went better than the last one.
        well = (state == "EXITED") if entry.get("scheduled") else (state == "RUNNING")
        if state == "FATAL":
            held = self.alerts.get(("restarting", name))
            if held is not None and held.sent is None and not held.telling:
                del self.alerts["restarting", name]
            self.wrong(now, "fatal", name, reason)
        elif state == "EXITED" and end and end.get("code") != 0:
            self.wrong(now, "failed", name, reason)
        elif state == "STOPPED":
            self._forget(now, name)
        elif well:
            self.over(now, "fatal", name)
            self.over(now, "failed", name)
        elif state == "BACKOFF":
            recent = self._restarts.setdefault(name, deque(maxlen=self.config.restarts))
            recent.append(now)
            often = len(recent) == self.config.restarts
            if often and now - recent[0] < self.config.restarts_seconds:
                self.wrong(now, "restarting", name, reason)
                # Until it comes again.
                self.over(now, "restarting", name)

    def wrong(self, now: float, kind: str, subject: str, reason: str) -> None:
        """Something is wrong, or still is."""
        alert = self.alerts.setdefault((kind, subject), Alert(kind, subject, now))
        # What has no encoding cannot be sent.
        alert.reason = reason[:500].encode("utf-8", "replace").decode()
        alert.count += 1
        alert.over = now if kind in MOMENTARY else None

    def over(self, now: float, kind: str, subject: str) -> None:
        """It is not wrong any more."""
        alert = self.alerts.get((kind, subject))
        if alert is not None and alert.over is None:
            alert.over = now

    def _forget(self, now: float, name: str) -> None:
        self._restarts.pop(name, None)
        for alert in self.alerts.values():
            if alert.subject == name and alert.kind != "plugin" and alert.over is None:
                # An operator sees to it: that is over at once.
                alert.over = now - self.config.settle_seconds

    def silence(self, subject: str, until: float) -> None:
        """Tell nothing of a process, or of `EVERYTHING`, until a time; one that is past ends it."""
        self.silences[subject] = until

    # What to tell

    def due(self, now: float) -> list[dict[str, Any]]:
        """Return the messages to send now; `told` has to be called for each that has arrived."""
        self._set_back(now)
        self.silences = {who: until for who, until in self.silences.items() if until > now}
        waiting = [alert for alert in self.alerts.values() if self._is_due(alert, now)]
        self._drop(now)
        while self._left and self._left[0] <= now - HOUR:
            self._left.popleft()
        room = self.config.per_hour - len(self._left)
        alone = waiting if len(waiting) <= room else waiting[: max(0, room - 1)]
        messages = [self._message(alert, now) for alert in alone]
        if room > 0 and len(alone) < len(waiting):
            messages.append(self._together(waiting[len(alone) :], now))
        self._left.extend([now] * len(messages))
        return messages

    def next(self, now: float) -> float | None:
        """Return when `due` may have something, None when that takes another event."""
        moments = list(self.silences.values())
        for alert in self.alerts.values():
            if alert.sent is None:
                moments.append(alert.since + self._held(alert))
            if alert.over is not None:
                moments.append(alert.over + self._settle(alert))
            elif alert.sent is not None:
                moments.append(alert.sent + self.config.repeat_seconds)
        if len(self._left) >= self.config.per_hour:
            moments.append(self._left[0] + HOUR)
        return min((moment for moment in moments if moment > now), default=None)

    def told(self, keys: Iterable[tuple[str, str, str]], now: float, arrived: bool) -> None:
        """Take note of what became of a message."""
        for kind, subject, state in keys:
            alert = self.alerts.get((kind, subject))
            if alert is None:
                continue
            alert.telling = False
            if arrived and state == "firing":
                alert.sent = now
            elif arrived and self._settled(alert, now):
                del self.alerts[kind, subject]
            elif arrived:
                alert.sent = None  # it has come again while it was told that it is over

    def _held(self, alert: Alert) -> float:
        return min(HELD_SECONDS, self._settle(alert) / 2) if alert.kind == "restarting" else 0.0

    def _settle(self, alert: Alert) -> float:
        if alert.kind == "restarting":
            return self.config.restarts_seconds
        return self.config.repeat_seconds if alert.kind in MOMENTARY else self.config.settle_seconds

    def _settled(self, alert: Alert, now: float) -> bool:
        return alert.over is not None and now - alert.over >= self._settle(alert)

    def _is_due(self, alert: Alert, now: float) -> bool:
        silent = EVERYTHING in self.silences or alert.subject in self.silences
        if silent or alert.telling:
            return False
        if self._settled(alert, now):
            return alert.sent is not None and alert.kind not in MOMENTARY
        if alert.sent is None:
            return now - alert.since >= self._held(alert)
        repeated = now - alert.sent >= self.config.repeat_seconds
        again = alert.kind in MOMENTARY and (alert.over or 0) > alert.sent
        return repeated and (alert.over is None or again or alert.kind == "restarting")

    def _set_back(self, now: float) -> None:
        """Have nothing lie where a clock that was set back has left it: in the future."""
        for alert in self.alerts.values():
            alert.since = min(now, alert.since)
            alert.over = None if alert.over is None else min(now, alert.over)
            alert.sent = None if alert.sent is None else min(now, alert.sent)
        self._left = deque(min(now, moment) for moment in self._left)

    def _drop(self, now: float) -> None:
        """Forget what is over and nobody was told of, or need be told of."""
        for key, alert in list(self.alerts.items()):
            quiet = alert.sent is None or alert.kind in MOMENTARY
            if quiet and not alert.telling and self._settled(alert, now):
                del self.alerts[key]

    def _message(self, alert: Alert, now: float) -> dict[str, Any]:
        alert.telling = True
        state = "resolved" if self._settled(alert, now) else "firing"
        return {
            "state": state, "kind": alert.kind, "process": alert.subject, "reason": alert.reason,
            "summary": summary(alert, state), "since": alert.since, "at": now,
            "count": alert.count, "repeated": alert.sent is not None and state == "firing",
            "keys": [(alert.kind, alert.subject, state)],
        }  # fmt: skip

    def _together(self, alerts: list[Alert], now: float) -> dict[str, Any]:
        parts = [self._message(alert, now) for alert in alerts]
        # Of which each character may take 12 bytes, and a call may have so many.
        lines = "\n".join(part["summary"] for part in parts[:50])[:4000]
        return {
            "state": "many", "kind": "many", "process": "", "reason": lines,
            "summary": f"{len(parts)} more, as many as may be told in an hour were told already",
            "since": min(part["since"] for part in parts), "at": now,
            "count": len(parts), "repeated": False,
            "keys": [key for part in parts for key in part["keys"]],
        }  # fmt: skip

    # Over restarts

    def began(self, now: float, known: Container[str]) -> None:
        """Go on in another supervisor: with other plug-ins' helpers, and maybe other processes."""
        for (kind, subject), alert in self.alerts.items():
            gone = kind == "plugin" or (subject and subject not in known)
            if gone and alert.over is None:
                alert.over = now

    def as_dict(self) -> dict[str, Any]:
        """Return what the next supervisor has to know."""
        alerts = [alert.as_dict() for alert in self.alerts.values()]
        return {"version": 1, "alerts": alerts, "silences": self.silences, "left": [*self._left]}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what was kept; what is damaged of it is left out."""
        try:
            for item in saved.get("alerts", ()):
                alert = Alert(str(item["kind"]), str(item["subject"]), float(item["since"]))
                alert.reason, alert.count = str(item["reason"]), int(item["count"])
                moments = (item["over"], item["sent"])
                alert.over, alert.sent = (None if at is None else float(at) for at in moments)
                self.alerts[alert.kind, alert.subject] = alert
            self.silences = {str(k): float(v) for k, v in saved.get("silences", {}).items()}
            self._left = deque(float(moment) for moment in saved.get("left", ()))
        except (ValueError, TypeError, KeyError, AttributeError):
            self.alerts, self.silences, self._left = {}, {}, deque()


def summary(alert: Alert, state: str = "firing") -> str:
    """Return an alert in a line."""
    who = alert.subject or "supervisor"
    if alert.kind == "plugin":
        who = f"plug-in {who}"
    line = f"{who} {SUMMARIES.get(alert.kind, alert.kind)}"
    if state == "resolved":
        return f"over: {line}"
    return f"{line}: {alert.reason}" if alert.reason else line
