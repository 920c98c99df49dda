"""How a service's figures read: for a person, in their language, and as JSON for the page."""

import re
from datetime import UTC, datetime
from typing import Any

from flask import Flask

from moorage.common.text import visible
from moorage.control import ACTIONS, Action, Backups, ControlError, Health, ServiceStatus, State
from moorage.control.contract import OLD_PROOF_SECONDS
from moorage.panel.text import gettext as _
from moorage.panel.text import lazy
from moorage.panel.text import moment as format_moment
from moorage.panel.trail import Entry

STATES = {
    State.STOPPED: lazy("stopped"),
    State.STARTING: lazy("starting"),
    State.RUNNING: lazy("running"),
    State.BACKOFF: lazy("waiting to restart"),
    State.STOPPING: lazy("stopping"),
    State.EXITED: lazy("ended"),
    State.FATAL: lazy("failed"),
}
HEALTHS = {
    Health.NONE: lazy("no check"),
    Health.STARTING: lazy("checking"),
    Health.HEALTHY: lazy("healthy"),
    Health.UNHEALTHY: lazy("unhealthy"),
}
_ACTIONS = {"start": lazy("Start"), "stop": lazy("Stop"), "restart": lazy("Restart")}
_KINDS = {
    "state": lazy("state"),
    "health": lazy("health"),
    "request": lazy("request"),
    "signal": lazy("signal"),
    "killed": lazy("killed"),
    "waiting": lazy("waiting"),
    "error": lazy("error"),
    "reloaded": lazy("configuration reloaded"),
    "shutdown": lazy("shutdown"),
    "create": lazy("created"),
    "destroy": lazy("removed"),
    "oom": lazy("out of memory"),
    "pause": lazy("paused"),
    "unpause": lazy("resumed"),
    "supervisor started": lazy("supervisor started"),
    "supervisor resumed": lazy("supervisor resumed"),
    "supervisor ended": lazy("supervisor ended"),
}
_HEALTH_WORD = re.compile(rf"\b({'|'.join(Health)})\b(?=$| →|,)")
_STATE_WORD = re.compile(rf"\b({'|'.join(State)})\b(?=$| →|,)")
# How a process ended, as supervisor and engine write it.
_ENDED = re.compile(r"\b(?:code|exited with status) (?P<code>\d+)\b")
_KILLED = re.compile(r"\b(?:killed by(?: signal)?) (?P<signal>\w+)")
_LEFT = re.compile(r"\b(stopping|being \w+ for \d+ s), may take (?P<left>\d+) s to end")
_DELAY = re.compile(r"\bdelay (?P<seconds>[\d.]+)")
# The styles that panel.css knows.
_TONES = {
    State.RUNNING: "good",
    State.STARTING: "busy",
    State.STOPPING: "busy",
    State.BACKOFF: "warn",
    State.FATAL: "bad",
}


def register(app: Flask) -> None:
    """Give templates the filters of this module."""
    app.jinja_env.filters.update(
        panel_texts=texts,
        panel_visible=visible,
        panel_tone=tone,
        panel_can=possible,
        panel_time=moment,
        panel_iso=iso,
        panel_when=when,
        panel_what=happening,
        panel_details=details,
        panel_reason=reason,
        panel_result=result,
        panel_result_tone=result_tone,
    )
    app.jinja_env.globals["panel_question"] = question


def state(service: ServiceStatus) -> str:
    """Return the state in words; a one-off that ended well is done, not merely ended."""
    if completed(service):
        return _("done")
    return str(STATES[service.state])


def completed(service: ServiceStatus) -> bool:
    """Say whether it ended by itself with status 0."""
    ended = service.exit is not None and service.exit.code == 0
    return service.state is State.EXITED and ended


def tone(service: ServiceStatus) -> str:
    """Return the style of the state: good, busy, warn, bad or idle."""
    if service.health is Health.UNHEALTHY and service.running:
        return "warn"
    if service.state is State.EXITED and not completed(service):
        return "warn"
    return _TONES.get(service.state, "idle")


def health(service: ServiceStatus) -> str:
    """Return the health in words; empty where there is nothing to check or nothing running."""
    if service.health is Health.NONE or not service.running:
        return ""
    return str(HEALTHS[service.health])


def duration(seconds: float) -> str:
    """Return a time span in its two largest units."""
    total = int(seconds)
    days, rest = divmod(total, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    if days:
        return _("%(d)s d %(h)s h", d=days, h=hours)
    if hours:
        return _("%(h)s h %(m)s min", h=hours, m=minutes)
    if minutes:
        return _("%(m)s min %(s)s s", m=minutes, s=left)
    return _("%(s)s s", s=left)


def backup_lines(found: Backups, now: float) -> list[tuple[str, str]]:
    """Say how the last backup and its proof went, each with its style: good or bad."""
    lines = []
    backup, proof = found.backup, found.proof
    if backup and not backup.ok:
        ago = duration(max(0.0, now - backup.finished))
        why = visible(backup.message)
        lines.append((_("The last backup failed %(ago)s ago: %(why)s", ago=ago, why=why), "bad"))
    if proof and not proof.ok:
        why = visible(proof.message)
        lines.append((_("The last backup is not proven: %(why)s", why=why), "bad"))
    if proof and proof.made:
        age = max(0.0, now - proof.made)
        old = "bad" if age > OLD_PROOF_SECONDS else "good"
        lines.append((_("Newest proven backup: %(age)s old", age=duration(age)), old))
    elif backup or proof:
        # Until the first night is over that is nothing bad.
        lines.append((_("No backup is proven yet"), "good"))
    return lines


def memory(value: int | None) -> str:
    """Return bytes in MB."""
    return "–" if value is None else f"{value / 1_000_000:.1f} MB"


def moment(seconds: float) -> str:
    """Return a point in time in the reader's language."""
    return format_moment(datetime.fromtimestamp(seconds, UTC))


def when(at: str) -> str:
    """Return the time of a log's line in the reader's language."""
    return format_moment(datetime.fromisoformat(at), "short")


def iso(seconds: float) -> str:
    """Return a point in time for the page's script, which writes it in the reader's zone."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def last_exit(service: ServiceStatus) -> str:
    """Return how it last ended."""
    if service.exit is None:
        return ""
    if service.exit.signal is not None:
        return _("ended by signal %(n)s", n=service.exit.signal)
    return _("ended with status %(n)s", n=service.exit.code)


def to_json(service: ServiceStatus) -> dict[str, Any]:
    """Return a service for the page's script, and for whoever used the seed's route."""
    body = service.to_dict()
    body["status"] = "running" if service.running else "stopped"
    body["port"] = service.ports[0] if service.ports else None
    body["message"] = state(service)
    body["tone"] = tone(service)
    body["log_tail"] = [visible(line) for line in service.log_tail]
    body["can"] = list(possible(service))
    body["texts"] = texts(service)
    return body


def possible(service: ServiceStatus) -> tuple[Action, ...]:
    """Return the actions that make sense now."""
    up = service.running or service.state in (State.BACKOFF, State.STOPPING)
    return ("restart", "stop") if up else ("start",)


def texts(service: ServiceStatus) -> dict[str, str]:
    """Return the figures of a service as a page shows them; an empty one is not shown."""
    cpu, there = service.cpu_percent, service.pid is not None
    return {
        "state": state(service),
        "health": health(service),
        "why": why(service),
        "pid": str(service.pid) if there else "–",
        "uptime": duration(service.uptime) if there else "–",
        "cpu": f"{cpu:.1f} %" if there and cpu is not None else "–",
        "memory": memory(service.memory_bytes) if there else "–",
        "ports": ", ".join(str(port) for port in service.ports) or "–",
        "restarts": str(service.restarts),
        "started": moment(service.started_at) if service.started_at else "–",
        "exit": last_exit(service) or "–",
        "image": service.image or "–",
    }


def why(service: ServiceStatus) -> str:
    """Return what there is to say about how it came to this."""
    if service.reason:
        text = visible(service.reason)
        return _LEFT.sub(lambda found: _("may take %(n)s s to end", n=found["left"]), text)
    ended = last_exit(service)
    if service.running and ended:
        return _("before: %(ended)s", ended=ended)
    return ended


def entry_to_json(entry: Entry) -> dict[str, Any]:
    """Return an event with what it led to."""
    return entry.event.to_dict() | {"action": entry.action or None, "result": entry.result}


def happening(entry: Entry) -> str:
    """Say what an event was, in words where they are known."""
    if entry.requested and entry.action in ACTIONS:
        return str(_ACTIONS[entry.action])
    return str(_KINDS.get(entry.event.kind, entry.event.kind))


def details(entry: Entry) -> str:
    """Return an event's facts, with the states in words."""
    if entry.requested and entry.action in ACTIONS:
        return ""
    message = visible(entry.event.message)
    if entry.event.kind == "health":
        return _HEALTH_WORD.sub(lambda found: str(HEALTHS[Health(found[0])]), message)
    return _endings(_STATE_WORD.sub(lambda found: str(STATES[State(found[0])]), message))


def reason(entry: Entry) -> str:
    """Return why it happened; how a process ended is said in the reader's language."""
    return _endings(visible(entry.event.reason or ""))


def _endings(text: str) -> str:
    text = _ENDED.sub(lambda found: _("ended with status %(n)s", n=found["code"]), text)
    text = _KILLED.sub(lambda found: _("ended by signal %(n)s", n=found["signal"]), text)
    return _DELAY.sub(lambda found: _("again in %(n)s s", n=found["seconds"]), text)


def result(entry: Entry) -> str:
    """Return what a request led to."""
    if not (entry.requested and entry.action):
        return ""
    if entry.result is State.EXITED and entry.action == "stop":
        # What an engine calls it, of a container that was stopped.
        return str(STATES[State.STOPPED])
    return str(STATES[entry.result]) if entry.result else _("no change")


def result_tone(entry: Entry) -> str:
    """Return the style of what a request led to."""
    if entry.result is State.EXITED and entry.action == "stop":
        return "idle"
    return _TONES.get(entry.result, "idle") if entry.result else "idle"


def question(action: Action, name: str, *, own: bool = False) -> str:
    """Return what is asked before an action; without a name it is about all services."""
    if not name:
        return {
            "start": _("Start all services that do not run?"),
            "stop": _("Stop all services? They stay stopped until somebody starts them."),
            "restart": _("Restart all running services, one after the other?"),
        }[action]
    asked = {
        "start": _("Start %(name)s?", name=name),
        "stop": _("Stop %(name)s? It stays stopped until somebody starts it.", name=name),
        "restart": _("Restart %(name)s?", name=name),
    }[action]
    if own and action == "stop":
        asked += " " + _("This page goes with it and cannot start it again.")
    if own and action == "restart":
        asked += " " + _("This page is away for a moment.")
    return asked


def outcome(action: Action, after: ServiceStatus) -> str:
    """Say what an action led to."""
    words = {"name": after.name, "state": state(after), "pid": after.pid}
    if after.state is State.STOPPING:
        return _("%(name)s is still ending: it may take as long as its description says.", **words)
    if after.pid and action != "stop":
        return _("%(name)s: %(state)s, PID %(pid)s", **words)
    return _("%(name)s: %(state)s", **words)


def refusal(action: Action, service: str, error: ControlError) -> str:
    """Say why an action did not happen."""
    verbs = {"start": _("start"), "stop": _("stop"), "restart": _("restart")}
    words = {"action": verbs[action], "name": service, "why": visible(error.detail)}
    return _("Could not %(action)s %(name)s: %(why)s", **words)
