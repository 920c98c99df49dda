"""One service's update: the running release with that service's part taken from the planned one.

Pure: releases in, a release out. Compose files are read as JSON (``compose.json``, which every
release has beside its ``compose.yaml``), since a host has no YAML parser.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from moorage.deploy.difference import within
from moorage.deploy.parts import (
    Content,
    Entry,
    Parts,
    by_name,
    facts_of,
    ordered,
    target_of,
)
from moorage.release.digest import digest
from moorage.release.names import (
    COMPOSE,
    COMPOSE_JSON,
    CONFIG_LABEL,
    CONFIGS,
    RELEASE_ID_LENGTH,
    SUPERVISOR,
)
from moorage.release.native import PROCESSES, is_unit_file, unit_file

_WHOLE = "update the whole stack (without `-e service=`)"


class MergeError(Exception):
    """The two releases have no common ground; the message says why and what to do."""


@dataclass(frozen=True)
class Merged:
    """The release to activate, and what a person should know of it."""

    id: str
    content: Content
    notes: list[str] = field(default_factory=list)


def merge(running: Content, planned: Content, service: str, *, scaling: bool = False) -> Merged:
    """Return the running release with the part of ``service`` as planned.

    Whatever equals one of the two keeps its id. Raises MergeError for a service that the plan does
    not have and for releases that differ in more than services (topology, format); when only its
    number shall change (``scaling``) also where the plan has its replicas otherwise than they run.
    """
    _require_common_ground(running, planned, service)
    try:
        parts = Parts(running, planned, service)
        if scaling:
            _require_only_number(parts)
        units = _units(parts)
        compose = _compose(parts, units)
        manifest = _manifest(parts, units)
        made = Content(_files(parts, compose) | _of_processes(parts, units), manifest)
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as trouble:
        raise MergeError(
            f"release {running.manifest.get('id')} that runs is not what its name says "
            f"({trouble!r}): {_WHOLE}"
        ) from None
    for known in (running, planned):
        if made.same(known):
            return Merged(str(known.manifest["id"]), known, _notes(parts))
    ident = content_id(made)
    return Merged(ident, Content(made.files, {**manifest, "id": ident}), _notes(parts))


def content_id(content: Content) -> str:
    """Return the id that follows from the content: twelve hexadecimal digits."""
    what = {"files": dict(content.files), "manifest": facts_of(content)}
    return digest(what, RELEASE_ID_LENGTH)


def _require_common_ground(running: Content, planned: Content, service: str) -> None:
    known = [entry["name"] for entry in planned.manifest["services"]]
    if service not in known:
        raise MergeError(
            f"{planned.manifest['stack']} has no service {service!r}: "
            f"it has {', '.join(sorted(known))}"
        )
    for key, what in (
        ("topology", "in another topology"),
        ("manager", "under another process manager"),
        ("format", "from another Moorage"),
    ):
        if running.manifest.get(key) != planned.manifest.get(key):
            raise MergeError(
                f"release {running.manifest.get('id')} that runs is {what}, so no single service "
                f"can be changed in it: {_WHOLE}"
            )
    if COMPOSE_JSON not in running.files or COMPOSE_JSON not in planned.files:
        raise MergeError(f"a release lacks {COMPOSE_JSON}: {_WHOLE}")


def _require_only_number(parts: Parts) -> None:
    """Refuse to bring what somebody is still at work on under the name of scaling."""
    old, differs = by_name(parts.running.manifest["units"]), []
    for unit in parts.planned.manifest["units"]:
        before = old.get(unit["name"])
        if before is None or not parts.concerns(unit):
            continue
        if before["image"] != unit["image"]:
            differs.append("its image")
        elif not unit.get("processes") and before["config"] != unit["config"]:
            differs.append("its configuration")
    ours = set(parts.processes(parts.planned))
    processes = (_processes(content) for content in (parts.running, parts.planned))
    before, after = (by_name(p for p in found if p["name"] in ours) for found in processes)
    if any(before[name] != after[name] for name in before.keys() & after.keys()):
        differs.append("its configuration")
    if differs:
        runs, wanted = (c.manifest.get("version", "") for c in (parts.running, parts.planned))
        named = "" if runs in ("", wanted) else f", or name what runs: `-e version={runs}`"
        raise MergeError(
            f"more than the number of {parts.service} would change: {differs[0]} is another one "
            f"than runs; nothing was changed: bring that with update.yml first{named}"
        )


def _processes(content: Content) -> list[Entry]:
    if SUPERVISOR not in content.files:
        return []
    found: list[Entry] = json.loads(content.files[SUPERVISOR][0])["processes"]
    return found


def _units(parts: Parts) -> list[Entry]:
    old = by_name(parts.running.manifest["units"])
    found = []
    for unit in parts.planned.manifest["units"]:
        if parts.concerns(unit):
            found.append(_unit(parts, unit, old.pop(unit["name"], None)))
        elif unit["name"] in old:
            found.append(old.pop(unit["name"]))
    # What the plan has no more runs on; replicas that are too many of this service do not.
    return found + [unit for unit in old.values() if unit["service"] != parts.service]


def _unit(parts: Parts, unit: Entry, before: Entry | None) -> Entry:
    if not unit.get("processes") or before is None:
        return unit
    # The shared container as planned, with the processes that it has, and this service's.
    gone = set(parts.processes(parts.running))
    ours = set(parts.processes(parts.planned))
    kept = [name for name in before["processes"] if name not in gone]
    once = [name for name in before["singletons"] if name not in gone]
    merged = {
        **unit,
        "processes": ordered({*kept, *(set(unit["processes"]) & ours)}, unit["processes"]),
        "singletons": ordered({*once, *(set(unit["singletons"]) & ours)}, unit["singletons"]),
        "secrets": ordered({*unit["secrets"], *before["secrets"]}, unit["secrets"]),
        "needs": {**before["needs"], **unit["needs"]},
    }
    extra = _extra_mounts(parts, unit, before)
    if extra:
        merged["config"] = digest([unit["config"], extra], len(unit["config"]))
    return merged


def _extra_mounts(parts: Parts, unit: Entry, before: Entry) -> list[Any]:
    """Return the mounts that only the running processes of a shared container need."""
    slot = next(iter(sorted(unit["keys"])))
    new = parts.new["services"][unit["keys"][slot]].get("volumes", [])
    old = parts.old["services"].get(before["keys"].get(slot), {}).get("volumes", [])
    taken = {target_of(mount) for mount in new}
    return [mount for mount in old if target_of(mount) not in taken]


def _compose(parts: Parts, units: Iterable[Entry]) -> Entry:
    services: Entry = {}
    before = by_name(parts.running.manifest["units"])
    for unit in units:
        planned = parts.concerns(unit)
        source = (parts.new if planned else parts.old)["services"]
        for slot, key in unit["keys"].items():
            entry = copy.deepcopy(source[key])
            old = before.get(unit["name"])
            if planned and unit.get("processes") and old is not None:
                _widen(parts, unit, entry, old, slot)
            services[key] = entry
    networks = {**parts.old.get("networks", {}), **parts.new.get("networks", {})}
    used = {name for entry in services.values() for name in entry.get("networks") or {}}
    found = {**parts.old, **parts.new, "services": services}
    found["networks"] = {name: value for name, value in networks.items() if name in used}
    return found if found["networks"] else {k: v for k, v in found.items() if k != "networks"}


def _widen(parts: Parts, unit: Entry, entry: Entry, before: Entry, slot: str) -> None:
    old = parts.old["services"].get(before["keys"].get(slot), {})
    taken = {target_of(mount) for mount in entry.get("volumes", [])}
    extra = [mount for mount in old.get("volumes", []) if target_of(mount) not in taken]
    if extra:
        entry["volumes"] = [*entry.get("volumes", []), *extra]
        entry.setdefault("labels", {})[CONFIG_LABEL] = unit["config"]


def _manifest(parts: Parts, units: list[Entry]) -> Entry:
    old, new = parts.running.manifest, parts.planned.manifest
    unit_images = {unit["image"] for unit in old["units"] if unit.get("image")}
    beside = set(old["images"]) - unit_images
    used = {unit["image"] for unit in units if unit.get("image")}
    manifest = {
        **old,
        "version": new.get("version", ""),
        "images": sorted(used | beside),
        "pulled": {
            name: origin
            for name, origin in {**old.get("pulled", {}), **new.get("pulled", {})}.items()
            if name in used | beside
        },
        # It is no plan's as a whole.
        "planned": "",
        "services": _named(parts, old["services"], new["services"]),
        "units": units,
        "install": {**old.get("install", {}), **new.get("install", {})},
        "runtime": _directories(parts, units, "runtime"),
        "directories": _directories(parts, units, "directories"),
        "seeds": _added(parts, "seeds"),
        "places": _added(parts, "places"),
        "edge": _edge(parts, old.get("edge"), new.get("edge")),
        "partial": {"service": parts.service, "of": old["id"], "planned": new["id"]},
    }
    if "probe" in old:
        manifest["probe"] = _probe(parts, old["probe"], new.get("probe") or old["probe"])
    for key in ("migrations",):
        if new.get(key) and parts.mine(new[key]["service"]):
            manifest[key] = new[key]
    return manifest


def _directories(parts: Parts, units: Iterable[Entry], key: str) -> list[Entry]:
    """Return the running release's directories, with those of this service as planned."""
    ours = [name for unit in units if parts.concerns(unit) for name in unit["keys"].values()]
    mounts = [m for name in ours for m in parts.new["services"].get(name, {}).get("volumes", [])]
    sources = [str(m["source"]) for m in mounts if isinstance(m, Mapping) and m.get("source")]
    found = by_name(parts.running.manifest.get(key, ()), "path")
    for path, entry in by_name(parts.planned.manifest.get(key, ()), "path").items():
        if any(within(path, source) for source in sources):
            found[path] = entry
    return ordered(found.values(), parts.planned.manifest.get(key, ()))


def _added(parts: Parts, key: str) -> list[Entry]:
    """Return the running release's seeds or places, with those of paths that the plan brings."""
    found = list(parts.running.manifest.get(key, ()))
    known = {entry["path"] for entry in found}
    known |= {entry["path"] for entry in parts.running.manifest.get("directories") or ()}
    planned = parts.planned.manifest.get(key, ())
    return [*found, *(entry for entry in planned if entry["path"] not in known)]


def _named(parts: Parts, old: Iterable[Entry], new: Iterable[Entry]) -> list[Entry]:
    before, found = by_name(old), []
    for entry in new:
        kept = before.pop(entry["name"], None)
        if parts.mine(entry["name"]):
            found.append(entry)
        elif kept is not None:
            found.append(kept)
    return [*found, *before.values()]


def _edge(parts: Parts, old: Entry | None, new: Entry | None) -> Entry | None:
    if old is None or new is None:
        # A service cannot bring an edge or take it away alone.
        return old
    before, planned = old["pools"], new["pools"]
    pools = {name: pool for name, pool in before.items() if not parts.mine(pool["service"])}
    pools |= {name: pool for name, pool in planned.items() if parts.mine(pool["service"])}

    def side(key: str) -> list[Entry]:
        kept = [e for e in old[key] if not parts.mine(before[e["pool"]]["service"])]
        mine = [e for e in new[key] if parts.mine(planned[e["pool"]]["service"])]
        return ordered(kept + mine, new[key])

    return {**old, "pools": pools, "listeners": side("listeners"), "routes": side("routes")}


def _probe(parts: Parts, old: Entry, new: Entry) -> Entry:
    kept = [target for target in old["targets"] if not parts.mine(target["service"])]
    mine = [target for target in new["targets"] if parts.mine(target["service"])]
    return {**old, "targets": ordered(kept + mine, new["targets"])}


def _files(parts: Parts, compose: Entry) -> dict[str, tuple[str, int]]:
    old, new = parts.running.files, parts.planned.files
    mine = _config_names(parts)
    files = {**new, **{k: v for k, v in old.items() if k not in mine and _kept(k, new)}}
    files = {name: file for name, file in files.items() if not is_unit_file(name)}
    if compose == parts.new or compose == parts.old:
        source = new if compose == parts.new else old
        files |= {name: source[name] for name in (COMPOSE, COMPOSE_JSON)}
    else:
        text = json.dumps(compose, indent=2, ensure_ascii=False) + "\n"
        header = f"# Written by Moorage: {parts.service} was updated alone.\n"
        # JSON is YAML too.
        files |= {COMPOSE: (header + text, 0o600), COMPOSE_JSON: (text, 0o600)}
    if SUPERVISOR in old and SUPERVISOR in new:
        files[SUPERVISOR] = _supervisor(parts)
    return files


def _of_processes(parts: Parts, units: Iterable[Entry]) -> dict[str, tuple[str, int]]:
    """Return what managers of processes without containers are given, key by key."""
    old, new = parts.running.files, parts.planned.files
    if PROCESSES not in old or PROCESSES not in new:
        return {}
    files, described = {}, {}
    for unit in units:
        source = new if parts.concerns(unit) else old
        processes = json.loads(source[PROCESSES][0])
        for key in unit["keys"].values():
            described[key] = processes[key]
            if unit_file(key) in source:
                files[unit_file(key)] = source[unit_file(key)]
    for source in (new, old):
        # As the plan has it, or as it was, where that is the same.
        if json.loads(source[PROCESSES][0]) == described:
            return {**files, PROCESSES: source[PROCESSES]}
    text = json.dumps(described, indent=2, ensure_ascii=False) + "\n"
    return {**files, PROCESSES: (text, 0o600)}


def _kept(name: str, new: Mapping[str, Any]) -> bool:
    """Whether the running release's file stays although the plan has another one."""
    return name.startswith(CONFIGS) or name not in new


def _config_names(parts: Parts) -> set[str]:
    """Return the files of the Compose configs that the service reads."""
    found = set()
    for unit in parts.planned.manifest["units"]:
        if parts.concerns(unit):
            for key in unit["keys"].values():
                labels = parts.new["services"][key].get("labels") or {}
                start = f"{CONFIG_LABEL}."
                found |= {name.removeprefix(start) for name in labels if name.startswith(start)}
    return {f"{CONFIGS}{name}" for name in found}


def _supervisor(parts: Parts) -> tuple[str, int]:
    before, mode = parts.running.files[SUPERVISOR]
    old, new = json.loads(before), json.loads(parts.planned.files[SUPERVISOR][0])
    ours = set(parts.processes(parts.planned))
    if not ours:
        return before, mode
    gone = set(parts.processes(parts.running)) - ours
    kept = by_name(old["processes"])
    processes = []
    for entry in new["processes"]:
        running = kept.pop(entry["name"], None)
        if entry["name"] in ours:
            processes.append(entry)
        elif running is not None:
            processes.append(running)
    processes += [entry for name, entry in kept.items() if name not in gone]
    return json.dumps({**new, "processes": processes}, indent=2, ensure_ascii=False) + "\n", mode


def _notes(parts: Parts) -> list[str]:
    notes = []
    before = by_name(parts.running.manifest["units"])
    for unit in parts.planned.manifest["units"]:
        old = before.get(unit["name"])
        if old is None or not unit.get("processes") or not parts.concerns(unit):
            continue
        if old["image"] != unit["image"]:
            others = [n for n in old["processes"] if n not in parts.processes(parts.running)]
            notes.append(
                f"{parts.service} shares its container with {', '.join(others) or 'nobody'}: all "
                f"of them now come from the new image {unit['image']}"
            )
    return notes
