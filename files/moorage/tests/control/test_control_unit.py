"""The gateway's unit against the program that it starts."""

import shlex

from moorage.gateway.__main__ import _parser
from moorage.render.gateway_unit import USER, USER_ID, gateway_unit, socket_directory, unit_name


def test_the_unit_starts_the_gateway_and_lets_it_write_what_it_writes() -> None:
    file = gateway_unit(
        "tg2em", run_dir="/run/moorage/tg2em", library="/usr/local/lib/moorage", group=10001
    )
    assert file.install_as == f"/etc/systemd/system/{unit_name('tg2em')}"
    service = _service(file.content)
    python, isolated, _, module, *words = shlex.split(service["ExecStart"][0])
    assert (python, isolated, module) == ("/usr/bin/python3", "-P", "moorage.gateway")
    args = _parser().parse_args(words)
    assert args.stack == "tg2em" and args.engine is None and args.supervisor is None
    assert args.audit.startswith(f"/var/log/{service['LogsDirectory'][0]}/")
    assert service["StateDirectory"] == ["moorage-gateway/tg2em"]
    assert service["ReadWritePaths"] == ["/run/moorage/tg2em/gateway"]


def test_the_gateway_is_nobody_with_one_group() -> None:
    service = _service(gateway_unit("s", run_dir="/r", library="/l", group=0).content)
    assert (service["User"], service["Group"]) == ([USER], [USER])
    assert service["SupplementaryGroups"] == ["docker"]
    assert service["CapabilityBoundingSet"] == service["AmbientCapabilities"] == [""]
    assert service["RestrictAddressFamilies"] == ["AF_UNIX"]
    assert service["ProtectSystem"] == ["strict"]
    for key in ("NoNewPrivileges", "PrivateTmp", "PrivateNetwork", "PrivateDevices"):
        assert service[key] == ["yes"], key
    assert "MemoryMax" in service and len(service["SystemCallFilter"]) == 2


def test_the_sockets_directory_hands_its_group_on() -> None:
    directory = socket_directory("/run/moorage/s", 10001)
    assert (directory.path, directory.owner, directory.group) == (
        "/run/moorage/s/gateway",
        USER_ID,
        10001,
    )
    # Its owner makes sockets in it, its group only finds them, others do not even see them.
    assert int(directory.mode, 8) == 0o2750


def _service(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    section = ""
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found
