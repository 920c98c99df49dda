"""Compose files as popular applications have them plan for a bare host, as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.compose import load_stack
from moorage.render import Rendering, Settings, render_stack

HERE = Path(__file__).parent / "corpus/applications"
# Beside the files there are what they mount.
FILES = sorted(path.name for path in HERE.glob("*.yml") if "services:" in path.read_text())


def planned(name: str) -> Rendering:
    stack = load_stack(HERE, file=name, on_demand=True)
    return render_stack(stack, Settings.parse({"topology": "containers"}, stack.name))


@pytest.mark.parametrize("name", FILES)
def test_it_plans(name: str) -> None:
    found = planned(name)
    assert found.units
    # What a service mounts is a directory of ours, shipped, or a path that the host looks at.
    paths = [v.path for v in found.volumes] + [p.path for p in found.places]
    paths += [f.install_as or "" for f in found.files.values()]
    assert len(set(paths) - {""}) == len([path for path in paths if path])


def test_they_are_there() -> None:
    assert len(FILES) == 20


def test_a_place_of_the_host_by_a_volume() -> None:
    found = planned("external-volume.yml")
    assert [place.path for place in found.places] == ["/srv/minio"]
    assert [volume.path for volume in found.volumes] == ["/opt/applications/data/old"]
