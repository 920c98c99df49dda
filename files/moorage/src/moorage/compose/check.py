"""What is wrong between the parts of a description: references, circles, contradictions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from moorage.compose.errors import did_you_mean
from moorage.compose.extension import EXTENSION

Path = tuple[str | int, ...]
Report = Callable[[Path, str, str], None]

_SAME_LIMITS = {
    "mem_limit": ("limits", "memory"),
    "cpus": ("limits", "cpus"),
    "pids_limit": ("limits", "pids"),
    "mem_reservation": ("reservations", "memory"),
}


def check_services(data: Mapping[str, Any], every: Mapping[str, Any], report: Report) -> None:
    """Check the enabled services of `data`; `every` also holds those of other profiles."""
    for name, service in data["services"].items():
        path: Path = ("services", name)
        if not service.get("image") and "build" not in service:
            advice = "add image: NAME, or build: with the directory of its Dockerfile"
            report((*path, "image"), "has neither an image nor a build", advice)
        _check_references(name, service, data, report)
        _check_dependencies(name, service, data["services"], every, report)
        _check_limits(name, service, report)
    check_cycles(data["services"], report)


def _check_references(
    name: str, service: Mapping[str, Any], data: Mapping[str, Any], report: Report
) -> None:
    path: Path = ("services", name)
    if "network_mode" in service and service.get("networks"):
        advice = "keep one of them"
        report((*path, "network_mode"), "has both network_mode and networks", advice)
    named = [(index, m["source"]) for index, m in enumerate(service.get("volumes", []))
             if m["type"] == "volume" and "source" in m]  # fmt: skip
    grants = {
        kind: [(index, grant["source"]) for index, grant in enumerate(service.get(kind, []))]
        for kind in ("secrets", "configs")
    }
    networks = [(key, key) for key in service.get("networks", {})]
    uses = {"networks": networks, "volumes": named, **grants}
    for section, entries in uses.items():
        for index, source in entries:
            _check_defined((*path, section, index), section, source, data[section], report)
    for index, grant in enumerate(service.get("build", {}).get("secrets", [])):
        where = (*path, "build", "secrets", index)
        _check_defined(where, "secrets", grant["source"], data["secrets"], report)


def _check_defined(
    path: Path, section: str, source: str, defined: Iterable[str], report: Report
) -> None:
    if source not in defined:
        near = did_you_mean(source, defined)
        hint = near if near.startswith("did") else f"define it under {section}: of the file"
        report(path, f"{source!r} is not defined under {section}", hint)


def _check_dependencies(
    name: str,
    service: Mapping[str, Any],
    services: Mapping[str, Any],
    every: Mapping[str, Any],
    report: Report,
) -> None:
    for other, entry in service.get("depends_on", {}).items():
        path = ("services", name, "depends_on", other)
        if other not in every:
            near = did_you_mean(other, every)
            report(path, f"depends on {other!r}, which is no service", near)
        elif other not in services and entry["required"]:
            profiles = ", ".join(every[other].get("profiles", []))
            advice = f"enable the profile {profiles}, or say required: false"
            report(path, f"depends on {other!r}, whose profile is not enabled", advice)


def _check_limits(name: str, service: Mapping[str, Any], report: Report) -> None:
    deploy = service.get("deploy", {})
    resources = deploy.get("resources", {})
    for key, (group, limit) in _SAME_LIMITS.items():
        other = resources.get(group, {}).get(limit)
        if other is None and group == "limits" and "limits" in resources and key == "mem_limit":
            other = service.get(key)
        if key in service and other is not None and float(service[key]) != float(other):
            message = f"differs from deploy.resources.{group}.{limit} ({other})"
            report(("services", name, key), message, "keep one of them")
    replicas = deploy.get("replicas", service.get("scale", 1))
    if service.get("scale", replicas) != replicas:
        report(("services", name, "scale"), "differs from deploy.replicas", "keep one of them")
    if service.get("container_name") and replicas > 1:
        advice = "remove container_name"
        report(("services", name, "container_name"), "names one of several replicas", advice)


def check_cycles(services: Mapping[str, Any], report: Report) -> None:
    """Report each circle of dependencies once."""
    done: set[str] = set()

    def visit(name: str, chain: list[str]) -> None:
        if name in chain:
            circle = [*chain[chain.index(name) :], name]
            message = f"services wait for each other: {' -> '.join(circle)}"
            report(("services", name, "depends_on"), message, "remove one of these dependencies")
            return
        if name in done or name not in services:
            return
        for other in services[name].get("depends_on", {}):
            visit(other, [*chain, name])
        done.add(name)

    for name in services:
        visit(name, [])


def check_extension(
    extension: Mapping[str, Any], services: Mapping[str, Any], report: Report
) -> None:
    """Check that routes, hooks, migrations and `without` name services that there are."""
    hooks, migrations = extension.get("hooks", {}), extension.get("migrations")
    entries: list[tuple[Path, Mapping[str, Any]]] = [
        *((("routes", index), route) for index, route in enumerate(extension.get("routes", []))),
        *(
            (("hooks", moment, index), hook)
            for moment in hooks
            for index, hook in enumerate(hooks[moment])
        ),
        *([(("migrations",), migrations)] if migrations else []),
    ]
    for path, entry in entries:
        name = entry.get("service")
        if name is not None and name not in services:
            where = (EXTENSION, *path, "service")
            report(where, f"{name!r} is no service", did_you_mean(name, services))
    for index, name in enumerate(extension.get("host", {}).get("local", {}).get("without", [])):
        if "build" in services.get(name, {"build": ""}):
            where = (EXTENSION, "host", "local", "without", index)
            data = [key for key in services if "build" not in services[key]]
            report(where, f"{name!r} is no data service", did_you_mean(name, data))


def check_resources(data: Mapping[str, Any], report: Report) -> None:
    """Check that secrets, configs and external resources say where they come from."""
    for key, secret in data["secrets"].items():
        moorage = secret.get(EXTENSION, {})
        sources = [word for word in ("file", "environment", "external") if secret.get(word)]
        if len(sources) > 1:
            report(("secrets", key), f"has several sources: {', '.join(sources)}", "keep one")
        if not sources and "generate" not in moorage and not moorage.get("optional"):
            advice = "add file:, environment:, external: true or x-moorage: {generate: {}}"
            report(("secrets", key), "has no source", advice)
    for key, config in data["configs"].items():
        words = ("file", "environment", "content", "external")
        sources = [word for word in words if config.get(word)]
        if len(sources) != 1:
            message = f"has several sources: {', '.join(sources)}" if sources else "has no source"
            report(("configs", key), message, f"give one of {', '.join(words)}")
    for section in ("networks", "volumes"):
        for key, entry in data[section].items():
            more = sorted(entry.keys() - {"name", "external", "labels", EXTENSION})
            if entry.get("external") and more:
                message = f"is external and yet has {', '.join(more)}"
                report((section, key), message, "remove them: they were set where it was made")
