"""Variables that nobody gives are told, as Compose warns of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.compose import Stack, load_stack
from moorage.render import Settings, render_stack


def load(directory: Path, text: str) -> Stack:
    (directory / "compose.yml").write_text(text)
    return load_stack(directory, environment={"GIVEN": "x", "EMPTY": ""})


@pytest.mark.parametrize(
    ("text", "unset"),
    [
        ("$A ${B}", ("A", "B")),
        ("${A:-${B}}", ("B",)),
        ("${A:-} ${B-x} ${C:+y} ${D+z}", ()),
        ("${GIVEN:+$A} $GIVEN $EMPTY $$B", ("A",)),
    ],
)
def test_who_is_unset(tmp_path: Path, text: str, unset: tuple[str, ...]) -> None:
    stack = load(tmp_path, f"services: {{a: {{image: x, command: ['{text}']}}}}")
    assert stack.unset == unset
    assert Stack.from_dict(stack.to_dict()) == stack
    notes = render_stack(stack, Settings.parse({"topology": "containers"}, "s")).notes
    assert [note.split()[2] for note in notes if "is not set" in note] == list(unset)


def test_what_the_hosts_compose_does_nothing_with(tmp_path: Path) -> None:
    stack = load(
        tmp_path,
        "services: {a: {image: x, networks: {n: {gw_priority: 1}}, volumes: [{type: bind, source:"
        " /srv/x, target: /x, bind: {recursive: disabled}}]}}\nnetworks: {n: {enable_ipv4: true}}",
    )
    notes = render_stack(stack, Settings.parse({"topology": "containers"}, "s")).notes
    assert [note.split()[0] for note in notes if "has no effect" in note] == [
        "services.a.networks.n.gw_priority",
        "services.a.volumes[0].bind.recursive",
        "networks.n.enable_ipv4",
    ]


def test_a_network_from_outside_is_asked_for(tmp_path: Path) -> None:
    stack = load(
        tmp_path,
        "services: {a: {image: x, networks: [web]}}\n"
        "networks: {web: {external: true, name: proxy}}",
    )
    notes = render_stack(stack, Settings.parse({"topology": "containers"}, "s")).notes
    assert "docker network create proxy" in "".join(notes)
