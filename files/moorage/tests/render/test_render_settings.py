"""The operator's settings are read strictly."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.compose.errors import problem_of
from moorage.render import Limits, Settings
from moorage.settings.edge import Options
from moorage.settings.readers import Unusable
from moorage.settings.stack import ProbeOptions, Route, Target
from moorage.settings.table import settings_of


def test_defaults_follow_the_stacks_name() -> None:
    settings = Settings.parse({}, "shop")
    assert settings.base_dir == "/opt/shop"
    assert settings.run_dir == "/run/moorage/shop"
    assert settings.secrets_dir == "/opt/shop/secrets"
    assert Settings.parse({}, "shop", base_dir="/srv/x").secrets_dir == "/srv/x/secrets"


def test_values_are_typed() -> None:
    settings = Settings.parse(
        {
            "publish": {"web": ["80:80"]},
            "environment": {"web": {"A": 1, "B": False}},
            "limits": {"web": {"memory": "64m", "cpus": "0.5", "pids": 10}},
        },
        "shop",
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
        ("image_refs", {"unified": "x"}),
        ("base_dir", "/opt/shop"),
        ("dns", "192.0.2.1"),
        ("dns", ["ns.example.com"]),
        ("log_max_size", "much"),
        ("log_max_files", -1),
        ("process_log_max_bytes", "5k"),
    ],
)
def test_unusable(key: str, value: Any) -> None:
    with pytest.raises(Unusable) as raised:
        Settings.parse({"log_max_files": 3, key: value}, "shop")
    (fault,) = raised.value.faults
    assert fault.path.startswith(key)


def test_all_problems_in_one_report() -> None:
    with pytest.raises(Unusable) as raised:
        Settings.parse({"usr": "1:1", "dns": [5, 6], "probe": {"rate": 0, "x": 1}}, "shop")
    assert [fault.path for fault in raised.value.faults] == [
        "usr",
        "dns[0]",
        "dns[1]",
        "probe.x",
        "probe.rate",
    ]


def test_settings_of_visitors_and_rollouts() -> None:
    settings = Settings.parse(
        {
            "domains": ["www.example.com", "example"],
            "routes": [{"path": "/", "service": "web", "port": "5000"}],
            "edge": {"max_body_bytes": "8m", "frame_options": "", "static_paths": []},
            "probe": {
                "rate": 5,
                "method": "HEAD",
                "targets": [{"service": "web", "path": "/?q=1", "expect": [200, 204]}],
            },
            "drain_seconds": "1.5",
            "version": "v1.4.0-rc.1+7",
        },
        "shop",
    )
    assert settings.domains == ("www.example.com", "example")
    assert settings.routes == (Route("/", "web", 5000),)
    assert settings.edge == Options(8 * 1024**2, frame_options="", static_paths=())
    assert settings.probe.targets == (Target("web", "/?q=1", None, (200, 204)),)
    assert (settings.probe.rate, settings.probe.method, settings.probe.budget) == (5, "HEAD", 0)
    assert (settings.drain_seconds, settings.monitor_seconds) == (1.5, 0.5)
    assert settings.version == "v1.4.0-rc.1+7"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("domains", "www.example.com", "must be a list"),
        ("domains", ["https://example.com"], "[0]: must be a name such as www.example.com"),
        ("domains", ["example.com", "example.com"], "names one domain twice"),
        ("routes", [{"path": "/"}], 'routes[0]: lacks service (value: {"path": "/"})'),
        ("routes", [{"path": "x", "service": "web"}], "routes[0].path: must be a path"),
        (
            "routes",
            [{"path": "/", "service": "web", "port": 0}],
            "port: must be a whole number",
        ),
        ("routes", [{"path": "/", "service": "web", "prt": 1}], "did you mean 'port'?"),
        ("edge", {"hold_second": 1}, "hold_second: unknown key; did you mean 'hold_seconds'?"),
        ("edge", {"hold_seconds": -1}, "hold_seconds: must be a number from 0 to"),
        ("edge", {"hold_seconds": "soon"}, 'must be a number from 0 to 1000000000 (value: "soon")'),
        ("edge", {"max_body_bytes": "much"}, "max_body_bytes: must be a size such as 64m"),
        ("edge", {"frame_options": "ALL"}, 'must be one of SAMEORIGIN, DENY, "" (value: "ALL")'),
        ("edge", {"frame_options": "DENI"}, "did you mean 'DENY'?"),
        ("edge", {"services": {"web": {"max_body": 1}}}, "services.web.max_body: unknown key"),
        ("edge", {"private_networks": ["10.0.0.0/33"]}, "private_networks[0]: must be an address"),
        ("edge", {"static_max_age_seconds": 1.5}, "must be a whole number"),
        ("edge", ["hold_seconds"], "must be a mapping with max_body_bytes"),
        ("probe", {"rate": 0}, "rate: must be a number from 0.1 to 10000"),
        ("probe", {"rate": True}, "rate: must be a number from 0.1 to 10000"),
        ("probe", {"rate": float("nan")}, "rate: must be a number from 0.1 to 10000"),
        ("probe", {"method": "POST"}, "method: must be one of GET, HEAD, OPTIONS"),
        ("probe", {"targets": [{"service": "web", "path": "/", "expect": [399, 200]}]}, "expect"),
        ("probe", {"targets": [{"service": "web", "path": "/", "expect": [200]}]}, "expect"),
        ("drain_seconds", "long", "must be a number from 0 to"),
        ("hook_timeout_seconds", 0, "must be a number from 0.001 to"),
        ("version", 1.4, 'must be a version in quotes, such as "1.4.0"'),
        ("version", "a b", "must be a version"),
    ],
)
def test_unusable_settings_of_visitors_and_rollouts(key: str, value: Any, said: str) -> None:
    with pytest.raises(Unusable) as raised:
        Settings.parse({key: value}, "shop")
    (fault,) = raised.value.faults
    assert fault.path.startswith(key)
    assert said in str(problem_of(fault, "shop_"))


def swapped(name: str) -> str:
    """Return a name with the first two letters of it that differ in each other's place."""
    place = next(n for n in range(1, len(name) - 1) if name[n] != name[n + 1])
    return f"{name[:place]}{name[place + 1]}{name[place]}{name[place + 2 :]}"


@pytest.mark.parametrize(
    ("inside", "name"),
    [
        (inside, name)
        for inside, table in (
            ("", Settings),
            ("edge", Options),
            ("probe", ProbeOptions),
            ("limits.web", Limits),
        )
        for name in settings_of(table)
    ]
    + [("edge.services.web", name) for name in settings_of(Options) if name.endswith("_bytes")],
)
def test_two_letters_that_changed_places_are_told(inside: str, name: str) -> None:
    given: Any = {swapped(name): 1}
    for step in reversed(inside.split(".") if inside else []):
        given = {step: given}
    with pytest.raises(Unusable) as raised:
        Settings.parse(given, "shop")
    (fault,) = raised.value.faults
    assert fault.path == f"{inside}.{swapped(name)}".lstrip(".")
    assert fault.advice == f"did you mean {name!r}?"
