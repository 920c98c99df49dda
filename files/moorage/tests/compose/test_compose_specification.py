"""Every key of the specification has its place in docs/compose.md, read or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.compose import ComposeError, load_stack, specification
from moorage.render.docs import TABLES, is_unread
from moorage.render.key_table import KEYS

# A newer schema has newer keys: what becomes of one is decided before its name comes here.
REFUSED = {
    "models", "services.*.build.provenance", "services.*.build.sbom",
    "services.*.env_file[].format", "services.*.models", "services.*.networks.*.interface_name",
    "services.*.provider", "services.*.pull_refresh_after", "services.*.use_api_socket",
    "services.*.volumes[].image",
    "services.*.volumes[].volume.labels",
}  # fmt: skip


def test_what_is_refused_was_meant_to_be() -> None:
    unread = {path for path in specification.KEYS if is_unread(path)}
    below = {path for path in unread if any(path.startswith(f"{key}.") for key in REFUSED)}
    below |= {path for path in unread if any(path.startswith(f"{key}[]") for key in REFUSED)}
    assert unread - below == REFUSED
    assert is_unread("services.*.nonsense") and is_unread("services.*.build.nonsense")


@pytest.mark.parametrize("table", sorted(TABLES))
def test_every_key_of_a_service_that_is_read_has_its_cell(table: str) -> None:
    read = {
        name
        for path in specification.KEYS
        if path.startswith("services.*.") and not is_unread(path)
        # `deploy` is told key by key.
        if "." not in (name := path.removeprefix("services.*.")) and name != "deploy"
    }
    assert len(read) > 80 and read <= set(KEYS)
    assert all(set(KEYS) <= column.keys() for column in TABLES[table].values())


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("use_api_socket: true", "use_api_socket"),
        ("env_file: [{path: a, format: raw}]", "env_file[0].format"),
        ("networks: {default: {interface_name: eth7}}", "networks.default.interface_name"),
    ],
)
def test_a_newer_key_is_said_to_be_one(tmp_path: Path, text: str, where: str) -> None:
    (tmp_path / "compose.yml").write_text(f"services:\n  web:\n    image: a\n    {text}\n")
    with pytest.raises(ComposeError) as caught:
        load_stack(tmp_path)
    found = [p for p in caught.value.problems if p.where == f"services.web.{where}"]
    assert [(p.message, p.line) for p in found] == [("unknown key", 4)]
    assert "newer than the Compose of the hosts" in found[0].advice
