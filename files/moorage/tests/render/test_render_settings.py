"""The operator's settings are read strictly."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.compose import ComposeError
from moorage.render import Limits, Settings


def test_defaults_follow_the_stacks_name() -> None:
    settings = Settings.parse({}, stack="shop")
    assert settings.base_dir == "/opt/shop"
    assert settings.run_dir == "/run/moorage/shop"
    assert settings.secrets_dir == "/opt/shop/secrets"
    assert Settings.parse({"base_dir": "/srv/x"}, stack="shop").secrets_dir == "/srv/x/secrets"


def test_values_are_typed() -> None:
    settings = Settings.parse(
        {
            "publish": {"web": ["80:80"]},
            "environment": {"web": {"A": 1, "B": False}},
            "limits": {"web": {"memory": "64m", "cpus": "0.5", "pids": 10}},
        }
    )
    assert settings.publish == {"web": ("80:80",)}
    assert settings.environment == {"web": {"A": "1", "B": "false"}}
    assert settings.limits == {"web": Limits(64 * 1024**2, 0.5, 10)}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("topolgy", "unified"),
        ("topology", ""),
        ("user", "app"),
        ("user", 10001),
        ("publish", ["80:80"]),
        ("publish", {"web": "80:80"}),
        ("environment", {"web": {"A": None}}),
        ("environment", {"web": ["A=1"]}),
        ("limits", {"web": {"memory": "lots"}}),
        ("limits", {"web": {"memory": 0}}),
        ("limits", {"web": {"pids": -1}}),
        ("limits", {"web": {"memroy": "1g"}}),
        ("limits", {"web": "1g"}),
        ("image_refs", {"unified": ""}),
        ("base_dir", "opt/shop"),
        ("dns", "192.0.2.1"),
        ("log_max_size", "much"),
        ("log_max_files", -1),
        ("process_log_max_bytes", "5"),
    ],
)
def test_unusable(key: str, value: Any) -> None:
    with pytest.raises(ComposeError) as raised:
        Settings.parse({key: value, "log_max_files": 3} | {key: value})
    assert [problem.where for problem in raised.value.problems] == [f"settings.{key}"]


def test_all_problems_in_one_report() -> None:
    with pytest.raises(ComposeError) as raised:
        Settings.parse({"usr": "1:1", "dns": 5, "topology": None})
    assert len(raised.value.problems) == 3
