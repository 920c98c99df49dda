"""Who may be started and stopped by name: a stack's own services, each by what knows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torn import deployed

from moorage.cli.main import main
from moorage.control.contract import ControlError
from moorage.deploy import control
from moorage.deploy.control import Services, UnknownService
from moorage.deploy.instance import Instance
from moorage.release.layout import Layout


def instance(name: str, service: str, supervised: bool = False) -> Instance:
    return Instance("0", name, service, "image", "running", "none", 0, 1, "", 0, "no",
                    supervised=supervised, stop_seconds=7.0)  # fmt: skip


class Runtime:
    """What runs instances, as far as services by name need it."""

    def __init__(self) -> None:
        self.found = [instance("shop-unified", "unified", supervised=True),
                      instance("shop-db", "db"), instance("shop-db-next", "db")]  # fmt: skip
        self.done: list[tuple[Any, ...]] = []

    def instances(self, stack: str) -> list[Instance]:
        assert stack == "shop"
        return self.found

    def start(self, names: list[str]) -> None:
        self.done.append(("start", *names))

    def stop(self, names: list[str], *, timeout_seconds: float) -> None:
        assert timeout_seconds > 7.0
        self.done.append(("stop", *names))

    def hold(self, names: list[str]) -> None:
        assert self.done[-1] == ("stop", *names)

    def restart(self, name: str, *, timeout_seconds: float) -> None:
        assert timeout_seconds > 7.0
        self.done.append(("restart", name))

    def logs(self, name: str, lines: int, times: bool) -> list[str]:
        return [f"{name} {lines} {times}"]


class Silent:
    """A supervisor that does not answer, or knows nobody."""

    code = "unreachable"

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def services(self) -> Any:
        raise ControlError(self.code, "it is silent")

    def service(self, _: str) -> Any:
        raise ControlError(self.code, "it is silent")


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """A supervisor that does not answer, and two containers of a database while it is replaced."""
    made = Runtime()
    monkeypatch.setattr(control, "runtime", lambda layout: made)
    monkeypatch.setattr(control, "ProcessBackend", Silent)
    return made


@pytest.fixture
def services(runtime: Runtime, tmp_path: Path) -> Services:
    """The services of a stack without a gateway."""
    return Services(Layout.of("shop", tmp_path / "opt", tmp_path / "run"))


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_what_no_control_api_knows_is_done_to_its_own_container_alone(
    services: Services, runtime: Runtime, verb: Any
) -> None:
    assert services.act(verb, "db", "ada", None)["service"] == "db"
    assert runtime.done == [(verb, "shop-db")]
    assert services.log("db", 5) == ["shop-db 5 False"]


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
@pytest.mark.parametrize("service", ["web", "unified", "shop-db"])
def test_a_name_that_is_no_service_does_nothing_to_others(
    services: Services, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, verb: Any, service: str
) -> None:
    # As long as a supervisor is silent nobody knows whether it has such a process.
    with pytest.raises(ControlError, match="silent"):
        services.act(verb, service, "ada", None)
    monkeypatch.setattr(Silent, "code", "not_found")
    with pytest.raises(UnknownService, match=f"shop has no service '{service}' .*db"):
        services.act(verb, service, "ada", None)
    assert runtime.done == []


def test_a_silent_supervisor_is_a_row_and_of_two_containers_one_is(services: Services) -> None:
    rows = services.all()
    assert [row["service"] for row in rows] == ["unified", "db"]


def test_logs_of_all_services_are_shown_one_after_the_other(
    runtime: Runtime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime.found.append(instance("shop-cache", "cache"))
    deployed(tmp_path, "shop")
    logs = ["--base", str(tmp_path / "opt"), "--run", str(tmp_path / "run"), "logs", "shop"]
    assert main([*logs, "-n", "5"]) == 0
    # The supervisor does not answer: it is no service that has a log.
    assert capsys.readouterr().out == "db    | shop-db 5 False\ncache | shop-cache 5 False\n"
    assert main([*logs, "--follow"]) == 1
    assert "--follow is for one service: shop has db, cache" in capsys.readouterr().err
