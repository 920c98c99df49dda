"""The shape of `deploy`."""

from __future__ import annotations

from typing import Any

from moorage.compose import shapes as s


def _size(value: Any, place: s.Place) -> Any:
    """A size; Compose takes no bare number here."""
    checked = s.text(value, place)
    return s.size(checked, place) if isinstance(checked, str) else checked


def _count(value: Any, place: s.Place) -> Any:
    return -1 if value == "all" else s.whole(-1)(value, place)


_DEVICE: dict[str, s.Shape] = {
    "capabilities": s.listed(s.text),
    "driver": s.text,
    "count": _count,
    "device_ids": s.listed(s.text),
    "options": s.pairs(""),
}


def devices(*required: str) -> s.Shape:
    """Devices that are asked for by what they can: all there are, where nothing says which."""
    listed = s.listed(s.record(_DEVICE, required))

    def check(value: Any, place: s.Place) -> Any:
        found = listed(value, place)
        if found is s.INVALID:
            return s.INVALID
        return [e if e.keys() & {"count", "device_ids"} else {**e, "count": -1} for e in found]

    return check


# As the setting of replicas: each has two ports behind the edge, of ten thousand.
REPLICAS = s.whole(0, 100)
_UPDATE = s.record(
    {
        "parallelism": s.whole(0),
        "delay": s.duration,
        "failure_action": s.choice("continue", "pause", "rollback"),
        "monitor": s.duration,
        "max_failure_ratio": s.amount,
        "order": s.choice("start-first", "stop-first"),
    }
)
DEPLOY_KEYS: dict[str, s.Shape] = {
    "mode": s.choice("replicated", "global", "replicated-job", "global-job"),
    "endpoint_mode": s.choice("vip", "dnsrr"),
    "replicas": REPLICAS,
    "labels": s.pairs(""),
    "update_config": _UPDATE,
    "rollback_config": _UPDATE,
    "resources": s.record(
        {
            "limits": s.record({"cpus": s.amount, "memory": _size, "pids": s.whole(-1)}),
            "reservations": s.record(
                {
                    "cpus": s.amount,
                    "memory": _size,
                    "generic_resources": s.listed(s.anything),
                    "devices": devices("capabilities"),
                }
            ),
        }
    ),
    "restart_policy": s.record(
        {
            "condition": s.choice("none", "on-failure", "any"),
            "delay": s.duration,
            "max_attempts": s.whole(0),
            "window": s.duration,
        }
    ),
    "placement": s.record(
        {
            "constraints": s.listed(s.text),
            "preferences": s.listed(s.record({"spread": s.text})),
            "max_replicas_per_node": s.whole(0),
        }
    ),
}
DEPLOY = s.record(DEPLOY_KEYS)
