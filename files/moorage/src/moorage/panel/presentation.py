"""How a service's figures read: for a person, in their language, and as JSON for the page."""

from datetime import UTC, datetime
from typing import Any

from flask import Flask

from moorage.control import Action, ControlError, Health, ServiceStatus, State
from moorage.panel.text import gettext as _
from moorage.panel.text import lazy
from moorage.panel.text import moment as format_moment

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
    app.jinja_env.filters["panel_duration"] = duration
    app.jinja_env.filters["panel_memory"] = memory
    app.jinja_env.filters["panel_state"] = state
    app.jinja_env.filters["panel_tone"] = tone
    app.jinja_env.filters["panel_health"] = health
    app.jinja_env.filters["panel_exit"] = last_exit
    app.jinja_env.filters["panel_time"] = moment


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


def memory(value: int | None) -> str:
    """Return bytes in MB."""
    return "–" if value is None else f"{value / 1_000_000:.1f} MB"


def moment(seconds: float) -> str:
    """Return a point in time in the reader's language."""
    return format_moment(datetime.fromtimestamp(seconds, UTC))


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
    return body


def outcome(action: Action, after: ServiceStatus) -> str:
    """Say what an action led to."""
    words = {"name": after.name, "state": state(after), "pid": after.pid}
    if after.pid and action != "stop":
        return _("%(name)s: %(state)s, PID %(pid)s", **words)
    return _("%(name)s: %(state)s", **words)


def refusal(action: Action, service: str, error: ControlError) -> str:
    """Say why an action did not happen."""
    verbs = {"start": _("start"), "stop": _("stop"), "restart": _("restart")}
    words = {"action": verbs[action], "name": service, "why": error.detail}
    return _("Could not %(action)s %(name)s: %(why)s", **words)
