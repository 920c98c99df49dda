"""The record of provisioning: what differs from it is found and named."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.moorage_host import record, stacks, units
from ansible.module_utils.moorage_host import release as releases

Load = Callable[[str], ModuleType]


@pytest.fixture
def managed(tmp_path: Path) -> dict[str, Any]:
    """Return the arguments of a record of one file, directory, link and account."""
    (tmp_path / "x.conf").write_text("x\n")
    (tmp_path / "x.conf").chmod(0o644)
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("x.conf")
    return {
        "stamp": "one",
        "files": [str(tmp_path / "x.conf")],
        "directories": [str(tmp_path / "data")],
        "kept_directories": [],
        "links": [str(tmp_path / "link")],
        "users": [getpass.getuser()],
        "packages": [],
        "services": [],
    }


@pytest.fixture
def written(ansible_module: Load, managed: dict[str, Any], tmp_path: Path) -> str:
    """Write that record and return its path."""
    module = ansible_module("moorage_stamp")
    path = tmp_path / "provision.json"
    path.write_text(json.dumps(module.describe(managed, dry_run=False)))
    return str(path)


def test_a_host_without_a_record_was_never_provisioned(tmp_path: Path) -> None:
    assert record.drift(record.read(str(tmp_path / "none")), "one", {}) == [
        "host: never provisioned"
    ]


def test_a_record_of_another_version_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "r").write_text('{"version": 999}')
    assert record.read(str(tmp_path / "r")) is None
    (tmp_path / "r").write_text("cut sho")
    assert record.read(str(tmp_path / "r")) is None


def test_a_record_that_is_torn_is_none_or_drift(written: str) -> None:
    whole = json.loads(Path(written).read_text())
    keys = [key for key in whole if key not in ("version", "stamp")]
    torn = [{k: v for k, v in whole.items() if k != key} for key in keys]
    torn += [{**whole, key: value} for key in keys for value in (None, 5, "x", [5], {"a": 5})]
    for document in torn:
        Path(written).write_text(json.dumps(document))
        record.drift(record.read(written), "one", {})
    for text in ("", "{cut", "[]", "[" * 100_000, "null", "\x00"):
        Path(written).write_text(text)
        assert record.drift(record.read(written), "one", {}) == ["host: never provisioned"]


def test_a_host_as_it_was_left_has_no_drift(written: str) -> None:
    assert record.drift(record.read(written), "one", {}) == []
    assert record.drift(record.read(written), None, {}) == []


def test_changed_inputs_are_drift(written: str) -> None:
    found = record.drift(record.read(written), "two", {})
    assert found == ["settings: changed since the last provisioning"]


def test_everything_that_was_changed_by_hand_is_named(written: str, tmp_path: Path) -> None:
    document = record.read(written)
    assert document is not None
    (tmp_path / "x.conf").write_text("y\n")
    (tmp_path / "x.conf").chmod(0o600)
    (tmp_path / "data").rmdir()
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("elsewhere")
    document["packages"] = ["no-such-package"]
    document["users"]["no-such-user"] = 5
    assert record.drift(document, "one", {}) == [
        f"file {tmp_path}/x.conf: content changed",
        f"file {tmp_path}/x.conf: mode 0600 instead of 0644",
        f"directory {tmp_path}/data: missing",
        f"link {tmp_path}/link: points to elsewhere instead of x.conf",
        "user no-such-user: missing",
        "package no-such-package: not installed",
    ]


def test_of_a_kept_directory_only_its_absence_is_drift(
    ansible_module: Load, managed: dict[str, Any], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    managed = {**managed, "directories": [], "kept_directories": [str(data)]}
    document = json.loads(json.dumps(ansible_module("moorage_stamp").describe(managed, False)))
    data.chmod(0o755)
    assert record.drift(document, "one", {}) == []
    data.rmdir()
    assert record.drift(document, "one", {}) == [f"directory {data}: missing"]


def test_an_owner_that_differs_is_drift() -> None:
    wanted = {"mode": "0750", "uid": 10002, "gid": 10002}
    actual = {**wanted, "uid": 0, "gid": 0}
    assert record.differences(wanted, actual) == ["owner 0:0 instead of 10002:10002"]


def test_a_file_in_a_directorys_place_is_drift(written: str, tmp_path: Path) -> None:
    (tmp_path / "data").rmdir()
    (tmp_path / "data").write_text("")
    found = record.drift(record.read(written), "one", {})
    assert found == [f"directory {tmp_path}/data: not a directory"]


def test_services_that_stopped_or_are_not_enabled_are_drift(
    monkeypatch: pytest.MonkeyPatch, data: Callable[[str], str]
) -> None:
    text = data("systemctl_show.txt").replace("ActiveState=active", "ActiveState=failed", 1)
    text = text.replace("UnitFileState=enabled", "UnitFileState=disabled", 1)
    monkeypatch.setattr(units, "show", lambda names: units.parse_show(text))
    document = {
        "stamp": "one",
        **{key: {} for key in ("files", "directories", "links", "users")},
        "packages": [],
        "services": ["docker.service", "logrotate.timer", "none.service"],
    }
    assert record.drift(document, "one", {}) == [
        "service docker.service: not running",
        "service docker.service: not enabled",
        "service none.service: missing",
    ]


def test_a_managed_thing_that_was_never_made_is_an_error(
    ansible_module: Load, managed: dict[str, Any], tmp_path: Path
) -> None:
    module = ansible_module("moorage_stamp")
    managed["files"].append(str(tmp_path / "forgotten"))
    with pytest.raises(module.MissingError, match="forgotten"):
        module.describe(managed, dry_run=False)
    assert str(tmp_path / "forgotten") not in module.describe(managed, dry_run=True)["files"]


def test_releases_and_containers_of_a_stack(tmp_path: Path) -> None:
    (tmp_path / "releases/0123456789ab").mkdir(parents=True)
    release = {"id": "0123456789ab", "hash": "abc", "topology": "unified", "images": []}
    (tmp_path / "releases/0123456789ab/release.json").write_text(json.dumps(release))
    wanted = [{"name": "tg2em", "dir": str(tmp_path)}]
    before = stacks.survey(wanted, [], {})["tg2em"]
    assert before == {
        "current": None,
        "interrupted": False,
        "stale_secrets": [],
        "after": [],
        "astray": [],
        "lacking": [],
        "due": [],
        "containers": [],
    }
    os.symlink("releases/0123456789ab", tmp_path / "current")
    ours = {"name": "tg2em-unified", "stack": "tg2em", "state": "running", "ports": []}
    other = {"name": "shop", "stack": "shop", "state": "running", "ports": []}
    after = stacks.survey(wanted, [ours, other], {})["tg2em"]
    assert after["current"] == {
        "id": "0123456789ab",
        "hash": "abc",
        "topology": "unified",
        "dir": "0123456789ab",
    }
    assert after["containers"] == [{"name": "tg2em-unified", "state": "running"}]
    image, built = "moorage/tg2em-web:0123456789ab", "environment/tg2em-web:0123456789ab"
    release["images"] = [image, built]
    (tmp_path / "releases/0123456789ab/release.json").write_text(json.dumps(release))
    assert stacks.survey(wanted, [], {})["tg2em"]["lacking"] == [built]
    assert releases.lacking(tmp_path, [], release)["images"] == [image, built]
    environment = tmp_path / "environments/tg2em-web-0123456789ab"
    environment.mkdir(parents=True)
    (environment / ".complete").touch()
    assert stacks.survey(wanted, [], {})["tg2em"]["lacking"] == []
    assert built not in releases.lacking(tmp_path, [], release)["images"]
    for torn in ("{cut", "[" * 100_000, "[1]", "5", "", "{}", '{"topology": 5}'):
        (tmp_path / "releases/0123456789ab/release.json").write_text(torn)
        assert stacks.survey(wanted, [], {})["tg2em"]["current"] is None


def test_what_differs_of_a_release_is_shown_without_its_secrets() -> None:
    before = (
        "  environment:\n"
        "    DB_PASSWORD: old-word\n"
        "    API_KEY: same-word\n"
        "    URL: pg://shop:url-word@db/shop\n"
        "    POSTGRES_PASSWORD_FILE: /run/secrets/db_password\n"
    )
    after = before.replace("old-word", "|-\n      first-word\n      second-word")
    after += 'Environment="A_TOKEN=unit-word"\n'
    (entry,) = releases.differences({"compose.yaml": before}, {"compose.yaml": after})
    assert "-word" not in entry["before"] + entry["after"]
    assert entry["before"].count("(not shown)") == entry["before"].count("(not shown") == 3
    assert "    DB_PASSWORD: (not shown, new)\n    API_KEY: (not shown)\n" in entry["after"]
    assert "pg://shop:(not shown)@db/shop" in entry["after"]
    assert "PASSWORD_FILE: /run/secrets/db_password" in entry["after"]
