"""Short forms of ports, mounts, builds and the like, and the long forms they stand for."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Any

from moorage.compose import shapes as s
from moorage.compose.parts import Port, Relative
from moorage.compose.shapes import INVALID, Place
from moorage.compose.source import Sheet

_PORT = re.compile(
    r"(?:(?:(?:\[(?P<ip6>[0-9a-fA-F:.%]+)\]|(?P<ip>[^:\[\]]*)):)?"
    r"(?P<published>\d*(?:-\d+)?):)?(?P<target>\d+(?:-\d+)?)(?:/(?P<protocol>\w*))?"
)
_PROTOCOLS = ("tcp", "udp", "sctp")
_REMOTE = re.compile(r"(?:[a-z][a-z0-9+.-]*://|git@|github\.com/)")
_PROPAGATION = ("rprivate", "private", "rshared", "shared", "rslave", "slave")
_LAST_PORT, _PORT_DIGITS = 65535, 5
_PORT_ADVICE = "write [ADDRESS:][HOST_PORT:]CONTAINER_PORT[/PROTOCOL]"
_VOLUME_ADVICE = "write SOURCE:TARGET[:ro] with an absolute target"


def resolve_path(path: str, base: Path) -> str:
    """An absolute path: relative ones start at `base`, `~` is the caller's home."""
    if path == "~" or path.startswith("~/"):
        path = str(Path.home()) + path[1:]
    return os.path.normpath(base / path)


def _source(path: str, base: Path) -> str:
    found = resolve_path(path, base)
    return found if path.startswith("/") else Relative(found)


def path(value: Any, place: Place) -> Any:
    """A path of the machine that reads the file, made absolute."""
    checked = s.text(value, place)
    return resolve_path(checked, place.base) if isinstance(checked, str) else checked


def context(value: Any, place: Place) -> Any:
    """A build context: a path made absolute, or a URL."""
    checked = s.text(value, place)
    if not isinstance(checked, str) or _REMOTE.match(checked) or checked.startswith("service:"):
        return checked
    return resolve_path(checked, place.base)


def port_list(value: Any, place: Place) -> Any:
    """The ports of a service, ranges written out."""
    if not isinstance(value, list):
        return place.wrong("must be a list", value, "write each port after a -")
    result: list[dict[str, Any]] = []
    for index, entry in enumerate(value):
        result += _port(entry, place.at(index))  # one that is there twice: merge.unique_service
    return result


def _port(value: Any, place: Place) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        checked = _LONG_PORT(value, place)
        if checked is INVALID or "target" not in checked:
            return []
        published = checked.pop("published", "")
        host = {"published": published} if published else {}
        return [{"mode": "ingress", "protocol": "tcp", **checked, **host}]
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    match = _PORT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        place.wrong("is not a port", value, _PORT_ADVICE)
        return []
    return _short_port(match, value, place)


def _short_port(match: re.Match[str], value: str, place: Place) -> list[dict[str, Any]]:
    protocol = (match["protocol"] or "tcp").lower()
    if protocol not in _PROTOCOLS:
        place.wrong(f"unknown protocol {protocol!r}", value, f"use {', '.join(_PROTOCOLS)}")
        return []
    address = match["ip6"] or match["ip"]
    if address and not _is_address(address):
        place.wrong(f"{address!r} is not an IP address", value, _PORT_ADVICE)
        return []
    targets, published = _range(match["target"]), _range(match["published"])
    numbers = [*(targets or ()), *(published or ())]
    if not targets or max(numbers) > _LAST_PORT or 0 in targets or published == []:
        place.wrong("has a port number that is not between 1 and 65535", value, _PORT_ADVICE)
        return []
    common: dict[str, Any] = {"mode": "ingress", **({"host_ip": address} if address else {})}
    if published and len(published) != len(targets):
        if len(targets) == 1:
            span = match["published"]
            return [{**common, "target": targets[0], "published": span, "protocol": protocol}]
        place.wrong("has ranges of different length", value, "make both ranges equally long")
        return []
    result = []
    for index, target in enumerate(targets):
        host = {"published": str(published[index])} if published else {}
        result.append({**common, "target": target, **host, "protocol": protocol})
    return result


def _range(span: str | None) -> list[int] | None:
    """Return the ports of a range, None where there is none, no port of what is no range."""
    if not span:
        return None
    first, dash, last = span.partition("-")
    both = first, last if dash else first
    # Before they are counted: what is no port may be as long as it likes.
    if not all(text.isdecimal() and len(text.lstrip("0")) <= _PORT_DIGITS for text in both):
        return []
    return list(range(int(both[0]), min(int(both[1]), _LAST_PORT + 1) + 1))


def _is_address(address: str) -> bool:
    try:
        ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return True


def _host_ip(value: Any, place: Place) -> Any:
    checked = s.text(value, place)
    if isinstance(checked, str) and checked and not _is_address(checked.strip("[]")):
        return place.wrong("is not an IP address", value, "write one, such as 127.0.0.1")
    return checked


def _published(value: Any, place: Place) -> Any:
    checked = s.scalar_text(value, place)
    if isinstance(checked, str) and not re.fullmatch(r"\d+(-\d+)?|", checked):
        return place.wrong("is no port", value, "write a port or a range of ports")
    return checked


_LONG_PORT = s.record(
    {
        "name": s.text,
        "mode": s.text,
        "host_ip": _host_ip,
        "target": s.whole(1, _LAST_PORT),
        "published": _published,
        "protocol": s.text,
        "app_protocol": s.text,
    },
    ("target",),
)


def mount(value: Any, place: Place) -> Any:
    """A mount of a service, short or long."""
    if isinstance(value, str):
        return _short_mount(value, place)
    checked = _LONG_MOUNT(value, place)
    if checked is INVALID or "type" not in checked:
        return INVALID
    source = checked.get("source")
    if checked["type"] == "bind":
        if source is None:
            return place.wrong("a bind mount needs a source", value, "add source: PATH")
        checked["source"] = _source(source, place.base)
    if "target" not in checked:
        return place.wrong("has no target", value, "add target: PATH")
    checked["target"] = _clean(checked["target"])
    return checked


def _clean(target: str) -> str:
    return os.path.normpath(target) if target.startswith("/") else target


def _short_mount(value: str, place: Place) -> Any:
    fields = value.split(":")
    if not all(fields) or len(fields) > 3:
        return place.wrong("is not a mount", value, _VOLUME_ADVICE)
    source = fields[0] if len(fields) > 1 else None
    target = fields[1] if source is not None else fields[0]
    if not target.startswith("/"):
        return place.wrong("has a target that is not absolute", value, _VOLUME_ADVICE)
    if source is not None and len(source) == 1 and source.isalpha():
        advice = "give the volume a longer name: Compose takes one letter for a Windows drive"
        return place.wrong("names a volume by one letter", value, advice)
    result: dict[str, Any] = {"type": "volume", "target": _clean(target)}
    kind = "volume"
    if source is not None and source[0] in "./~":
        kind = "bind"
        result |= {"type": "bind", "source": _source(source, place.base)}
    elif source is not None:
        result["source"] = source
    details: dict[str, Any] = {"create_host_path": True} if kind == "bind" else {}
    for option in fields[2].split(",") if len(fields) == 3 else ():
        if option in ("ro", "rw"):
            result.update({"read_only": True} if option == "ro" else {})
        elif option == "nocopy" and kind == "volume":
            details["nocopy"] = True
        elif option in ("z", "Z") and kind == "bind":
            details["selinux"] = option
        elif option in ("z", "Z"):
            result["bind"] = {"selinux": option}
        elif option in _PROPAGATION and kind == "bind":
            details["propagation"] = option
        else:
            advice = "use ro, rw, nocopy (volumes), z, Z or a propagation (host paths)"
            return place.wrong(f"unknown mount option {option!r}", value, advice)
    return {**result, kind: details}


_LONG_MOUNT = s.record(
    {
        "type": s.choice("bind", "volume", "tmpfs"),
        "source": s.text,
        "target": s.text,
        "read_only": s.boolean,
        "consistency": s.text,
        "bind": s.record(
            {
                "propagation": s.choice(*_PROPAGATION),
                "create_host_path": s.boolean,
                "selinux": s.choice("z", "Z"),
                "recursive": s.choice("enabled", "disabled", "writable", "readonly"),
            }
        ),
        "volume": s.record({"nocopy": s.boolean, "subpath": s.text}),
        "tmpfs": s.record({"size": s.size, "mode": s.integer}),
    },
    ("type",),
)


def grant(directory: str | None) -> s.Shape:
    """A secret or config given to a service; without a target it goes to `directory`, if any."""

    def check(value: Any, place: Place) -> Any:
        if isinstance(value, str):
            value = {"source": value}
        checked = _GRANT(value, place)
        if checked is INVALID or "source" not in checked:
            return INVALID
        if directory is not None:
            checked.setdefault("target", f"{directory}/{checked['source']}")
        return checked

    return check


_GRANT = s.record(
    {
        "source": s.text,
        "target": s.text,
        "uid": s.text,
        "gid": s.text,
        "mode": s.integer,
    },
    ("source",),
)


def extra_hosts(value: Any, place: Place) -> Any:
    """Host names and their addresses as a sorted list of NAME=ADDRESS."""
    result: list[str] = []
    if isinstance(value, dict):
        checked = s.mapped(s.one_or_more(s.text))(value, place)
        for name, addresses in checked.items():
            result += [f"{name}={address.strip('[]')}" for address in addresses]
        return result
    checked = s.listed(s.text)(value, place)
    if checked is INVALID:
        return INVALID
    for index, item in enumerate(checked):
        parts = re.fullmatch(r"([^=:]+)[=:](.+)", item)
        if parts is None:
            place.at(index).wrong("has no address", item, "write NAME=ADDRESS")
        else:
            result.append(f"{parts[1]}={parts[2].strip('[]')}")
    return result


def device(value: Any, place: Place) -> Any:
    """A device of the host given to a container: HOST[:CONTAINER[:PERMISSIONS]]."""
    if not isinstance(value, str):
        keys = {"source": s.text, "target": s.text, "permissions": s.text}
        return s.record(keys, ("source", "target"))(value, place)
    fields = value.split(":")
    if not all(fields) or len(fields) > 3:
        return place.wrong("is not a device", value, "write HOST[:CONTAINER[:PERMISSIONS]]")
    return {
        "source": fields[0],
        "target": fields[1] if len(fields) > 1 else fields[0],
        "permissions": fields[2] if len(fields) > 2 else "rwm",
    }


def parse_ports(value: str) -> list[Port]:
    """Ports of a short form outside a file; ValueError tells what is wrong with it."""
    sheet = Sheet(Path("ports"))
    found = port_list([value], Place(sheet, Path("/")))
    if sheet.problems:
        raise ValueError(sheet.problems[0].message)
    return [Port.from_dict(port) for port in found]


def ulimit(value: Any, place: Place) -> Any:
    """A limit, or a soft and a hard one."""
    if isinstance(value, dict):
        both = {"soft": s.integer, "hard": s.integer}
        return s.record(both, ("soft", "hard"))(value, place)
    return s.integer(value, place)
