"""The edge's part of the plan: its settings, and the stacks that would be in each other's way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from moorage.compose.errors import ComposeError, Problem
from moorage.edge.errors import EdgeError
from moorage.edge.model import Facts, Settings
from moorage.edge.tls import own_certificate
from moorage.images import ImageMap
from moorage.settings.table import parse, settings_of

# What the edge asks the host for under this name, where a stack's name is expected.
OWNER = "edge"
# Parts of the plan of their own.
_BESIDE = ("kind", "certificates")


def plan_edge(
    given: Mapping[str, Any], images: ImageMap, stacks: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return what the role `edge` makes: kind, image, settings, listeners and public ports.

    ``given`` are the host's settings of all roles, ``stacks`` its plans with their manifests.
    Raises ComposeError for stacks that want the same.
    """
    told = [f for f in settings_of(Settings) if f"edge_{f}" in given and f != "image"]
    settings = parse(Settings, {name: given[f"edge_{name}"] for name in told})
    wanted = [(plan["name"], (plan["manifest"].get("edge") or {})) for plan in stacks]
    if settings.kind == "none":
        nothing: dict[str, Any] = {"settings": {}, "certificates": [], "listeners": [], "ports": []}
        return {"kind": "none", "image": "", **nothing}
    facts = [_facts(name, raw) for name, raw in wanted]
    check_conflicts(facts, settings)
    image = ""
    if settings.kind == "container":
        image = _image(given["edge_image"], images)
    return {
        "kind": settings.kind,
        "image": image,
        "settings": _as_data(settings, told),
        "certificates": [_digest(entry) for entry in settings.certificates],
        "listeners": [
            {"stack": entry.stack, "port": found.port, "address": found.address}
            for entry in facts
            for found in entry.listeners
        ],
        "ports": _ports(settings, facts),
    }


def check_conflicts(facts: Iterable[Facts], settings: Settings) -> None:
    """Refuse stacks that want the same of the edge; raises ComposeError with all that is wrong."""
    facts = list(facts)
    problems = [*_shared_paths(facts), *_missing_certificates(facts, settings)]
    if any(entry.domains for entry in facts):
        problems += _taken_ports(facts, settings)
    if problems:
        raise ComposeError(problems)


def _shared_paths(facts: Iterable[Facts]) -> list[Problem]:
    holders: dict[tuple[str, str], str] = {}
    problems = []
    for entry in facts:
        if bool(entry.domains) != bool(entry.routes) and entry.domains:
            where = f"{_prefix(entry.stack)}_domains"
            advice = f"set {_prefix(entry.stack)}_routes, such as [{{path: /, service: web}}]"
            problems.append(Problem(where, "no path of these domains leads anywhere", advice))
        for domain in dict.fromkeys(entry.domains):
            for route in entry.routes:
                # /api and /api/ answer the same requests.
                place = (domain, route.path.rstrip("/") or "/")
                holder = holders.setdefault(place, entry.stack)
                if holder != entry.stack or entry.routes.count(route) > 1:
                    problems.append(
                        Problem(
                            f"{_prefix(entry.stack)}_routes",
                            f"{domain}{route.path} is a route of the stack {holder} already",
                            "give one of them another path or another domain",
                        )
                    )
    return problems


def _taken_ports(facts: Iterable[Facts], settings: Settings) -> list[Problem]:
    own = {settings.http_port: "edge_http_port"}
    if settings.tls != "off":
        own[settings.https_port] = "edge_https_port"
        own[settings.probe_port] = "edge_probe_port"
    return [
        Problem(
            f"{_prefix(entry.stack)}_publish",
            f"port {listener.port} is where the domains of all stacks are served "
            f"({own[listener.port]})",
            f"publish another port, or set {own[listener.port]}",
        )
        for entry in facts
        for listener in entry.listeners
        if listener.port in own
    ]


def _missing_certificates(facts: Iterable[Facts], settings: Settings) -> list[Problem]:
    problems = []
    if settings.tls == "files":
        for domain in sorted({domain for entry in facts for domain in entry.domains}):
            try:
                own_certificate(settings, domain)
            except EdgeError as error:
                problems.append(Problem("", str(error)))
    return problems


def _ports(settings: Settings, facts: Iterable[Facts]) -> list[dict[str, Any]]:
    """The ports that are nobody's but the edge's: those of the domains."""
    if not any(entry.domains for entry in facts):
        return []
    secure = settings.tls != "off"
    places = [(settings.http_port, "0.0.0.0")]
    places += [(settings.https_port, "0.0.0.0")] if secure else []
    places += [(settings.probe_port, "127.0.0.1")] if secure and settings.redirect_to_https else []
    return [
        {"port": n, "protocol": "tcp", "address": address, "service": "", "stack": OWNER}
        for n, address in places
    ]


def _as_data(settings: Settings, names: Iterable[str]) -> dict[str, Any]:
    """The settings that the host keeps; certificates travel by themselves."""
    values = {name: getattr(settings, name) for name in names if name not in _BESIDE}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


def _digest(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What tells whether a pair is another one, without what is in it."""
    digest = hashlib.sha256()
    for part in ("certificate", "key"):
        path = Path(entry[part])
        if not path.is_file():
            raise ComposeError(
                [Problem("edge_certificates", f"there is no {part} on this machine", "", str(path))]
            )
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return {"domains": list(entry.get("domains") or []), "sha256": digest.hexdigest()}


def _facts(stack: str, raw: Mapping[str, Any]) -> Facts:
    try:
        return Facts.parse(stack, raw)
    except EdgeError as error:
        raise ComposeError([Problem("", str(error))]) from None


def _image(name: str, images: ImageMap) -> str:
    ref = images.ref(name)
    if ref == name and ":" not in name:
        raise ComposeError(
            [
                Problem(
                    "images_map",
                    f"the edge's image {name!r} is not in it",
                    f"add `{name}: nginx`, or set edge_kind: none",
                )
            ]
        )
    return ref


def _prefix(stack: str) -> str:
    return stack.replace("-", "_")
