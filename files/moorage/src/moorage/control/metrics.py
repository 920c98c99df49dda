"""The services and the API itself in Prometheus' text format."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from moorage.control.contract import Event, Health, ServiceStatus, State

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Sample = tuple[dict[str, str], float]


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
        return family(
            "moorage_control_requests_total", "counter", "Answers of the control API.", requests
        ) + family("moorage_control_actions_total", "counter", "Actions asked for.", actions)


def text(stacks: Mapping[str, tuple[Sequence[ServiceStatus], Sequence[Event]]]) -> str:
    """Return what is known of the services of stacks; what is not known of one is left out."""
    found = [(stack, service) for stack, (services, _) in stacks.items() for service in services]

    def each(value: Callable[[ServiceStatus], float | None]) -> list[Sample]:
        values = ((stack, service.name, value(service)) for stack, service in found)
        return [({"stack": s, "service": n}, v) for s, n, v in values if v is not None]

    families = [
        family(
            "moorage_service_state",
            "gauge",
            "1 for the state that the service is in.",
            [
                ({"stack": stack, "service": s.name, "state": state}, float(s.state is state))
                for stack, s in found
                for state in State
            ],
        ),
        family(
            "moorage_service_up", "gauge", "Whether it runs.",
            each(lambda s: float(s.running)),
        ),
        family(
            "moorage_service_healthy", "gauge", "What its own health check says, if it has one.",
            each(lambda s: None if s.health is Health.NONE else float(s.health is Health.HEALTHY)),
        ),
        family(
            "moorage_service_restarts_total", "counter", "Restarts that nobody asked for.",
            each(lambda s: float(s.restarts)),
        ),
        family(
            "moorage_service_start_time_seconds", "gauge", "Start, in seconds since 1970.",
            each(lambda s: s.started_at),
        ),
        family(
            "moorage_service_cpu_ratio", "gauge", "Cores in use.",
            each(lambda s: s.cpu_percent / 100 if s.cpu_percent is not None else None),
        ),
        family(
            "moorage_service_memory_bytes", "gauge", "Memory in use.",
            each(lambda s: s.memory_bytes),
        ),
        family(
            "moorage_service_memory_kill_time_seconds", "gauge",
            "When the kernel last ended something of it for want of memory; no service: not known.",
            _kills(stacks),
        ),
    ]  # fmt: skip
    return "".join(families)


def _kills(stacks: Mapping[str, tuple[Sequence[ServiceStatus], Sequence[Event]]]) -> list[Sample]:
    last = {
        (stack, event.service): event.at
        for stack, (_, events) in stacks.items()
        for event in events
        if event.kind == "oom"
    }
    return [({"stack": stack, "service": name}, at) for (stack, name), at in last.items()]


def family(name: str, kind: str, help_text: str, samples: Sequence[Sample]) -> str:
    """Return a metric and its samples, labels and value each."""
    lines = [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escape(word)}"' for key, word in labels.items())
        lines.append(f"{name}{{{inside}}} {value:.15g}")
    return "\n".join(lines) + "\n"


def _escape(word: str) -> str:
    return word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
