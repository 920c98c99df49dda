"""How the data of services is saved, as a release says it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

TEXT = """\
x-moorage: {unified: {build: ., user: "5:5"}}
services:
  web: {build: ., command: [web], user: "5:5", volumes: ["files:/files", "common:/common"]}
  db: {image: db, user: "6:6", volumes: ["db:/data", "common:/common"]}
  odd: {image: odd, user: "7:7", volumes: ["odd:/data"]}
  cache: {image: odd, user: "7:7"}
  said: {image: odd, user: "7:7", volumes: ["said:/data"], x-moorage: {backup: {files: true}}}
volumes:
  common: {x-moorage: {owner: "5:5"}}
  files:
  db:
  odd:
  said:
"""
COMMANDS = {"db": ("moorage-dump", "moorage-restore", "moorage-database")}


@pytest.mark.parametrize("topology", ["containers", "unified"])
def test_what_a_release_says(topology: str, render: Callable[..., Any]) -> None:
    found = render(TEXT, topology=topology, image_commands=COMMANDS).rendering
    said = {service.name: service.backup for service in found.services}
    assert (said["web"], said["cache"]) == (None, None)
    assert (said["db"].how, said["db"].dump, said["db"].restore, said["db"].census) == (
        "dump",
        ("moorage-dump",),
        ("moorage-restore",),
        (),
    )
    # What another service mounts as well is saved for that one.
    assert said["db"].volumes == ("db",)
    assert (said["odd"].how, said["odd"].volumes) == ("unknown", ("odd",))
    assert said["said"].how == "files"
    counted = {"db": (*COMMANDS["db"], "moorage-census", "moorage-restore-tables")}
    found = render(TEXT, topology=topology, image_commands=counted).rendering
    backup = next(s for s in found.services if s.name == "db").backup
    assert (backup.census, backup.restore_tables) == (
        ("moorage-census",),
        ("moorage-restore-tables",),
    )
