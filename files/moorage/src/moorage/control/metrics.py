"""The services and the API itself in Prometheus' text format."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator

from moorage.control.contract import Health, ServiceStatus, State

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_Sample = tuple[dict[str, str], float]


class Counters:
    """What the API counts of itself. Safe to share between threads."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._lock = threading.Lock()
        self._requests: Counter[int] = Counter()
        self._actions: Counter[tuple[str, str]] = Counter()

    def request(self, status: int) -> None:
        """Count an answer."""
        with self._lock:
            self._requests[status] += 1

    def action(self, action: str, result: str) -> None:
        """Count an action by its result: done, failed or denied."""
        with self._lock:
            self._actions[action, result] += 1

    def text(self) -> str:
        """Return the counters."""
        with self._lock:
            requests = [({"status": str(s)}, float(n)) for s, n in sorted(self._requests.items())]
            actions = [
                ({"action": action, "result": result}, float(n))
                for (action, result), n in sorted(self._actions.items())
            ]
        return _family(
            "moorage_control_requests_total", "counter", "Answers of the control API.", requests
        ) + _family("moorage_control_actions_total", "counter", "Actions asked for.", actions)


def text(stack: str, services: Iterable[ServiceStatus]) -> str:
    """Return what is known of the services; what is not known of one is left out."""
    found = list(services)

    def each(values: Iterator[tuple[ServiceStatus, float | None]]) -> list[_Sample]:
        return [
            ({"stack": stack, "service": service.name}, value)
            for service, value in values
            if value is not None
        ]

    families = [
        _family(
            "moorage_service_state",
            "gauge",
            "1 for the state that the service is in.",
            [
                ({"stack": stack, "service": s.name, "state": state}, float(s.state is state))
                for s in found
                for state in State
            ],
        ),
        _family(
            "moorage_service_up", "gauge", "Whether it runs.",
            each((s, float(s.running)) for s in found),
        ),
        _family(
            "moorage_service_healthy", "gauge", "What its own health check says, if it has one.",
            each((s, float(s.health is Health.HEALTHY)) for s in found if s.health != Health.NONE),
        ),
        _family(
            "moorage_service_restarts_total", "counter", "Restarts that nobody asked for.",
            each((s, float(s.restarts)) for s in found),
        ),
        _family(
            "moorage_service_start_time_seconds", "gauge", "Start, in seconds since 1970.",
            each((s, s.started_at) for s in found),
        ),
        _family(
            "moorage_service_cpu_ratio", "gauge", "Cores in use.",
            each((s, s.cpu_percent / 100 if s.cpu_percent is not None else None) for s in found),
        ),
        _family(
            "moorage_service_memory_bytes", "gauge", "Memory in use.",
            each((s, s.memory_bytes) for s in found),
        ),
    ]  # fmt: skip
    return "".join(families)


def _family(name: str, kind: str, help_text: str, samples: list[_Sample]) -> str:
    lines = [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escape(word)}"' for key, word in labels.items())
        lines.append(f"{name}{{{inside}}} {value:.15g}")
    return "\n".join(lines) + "\n"


def _escape(word: str) -> str:
    return word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
