"""What is asked of systemd, by a stand-in: a release's own units, and the unit of a rollout."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from moorage.deploy import launch as launching
from moorage.deploy import systemd
from moorage.deploy.activate import Request
from moorage.deploy.launch import LaunchError, launch, rejoin
from moorage.deploy.release import Release, ReleaseError
from moorage.release.layout import Layout
from moorage.release.manifest import parse


class Systemd:
    """Answers as systemctl and systemd-run do; ``properties`` are those of every unit."""

    def __init__(self, directory: Path) -> None:
        self.units, self.rotations = directory / "units", directory / "logrotate.d"
        for path in (self.units, self.rotations):
            path.mkdir()
        self.properties = {"ActiveState": "active", "NeedDaemonReload": "no"}
        self.asked: list[list[str]] = []
        self.refuses = ""
        # What a unit that is started writes into its journal, a line each time somebody looks.
        self.says: list[dict[str, Any]] = []
        self.active = 0

    def run(self, argv: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        """Stand in for `subprocess.run`."""
        program, *words = argv
        said = ""
        if program == "systemctl" and words[0] == "show":
            said = self.properties[words[2]]
        elif program == "systemctl" and words[0] == "is-active":
            said = "active" if self.active else "inactive"
            self.active = max(0, self.active - 1)
        else:
            self.asked.append(argv)
        if program == "systemd-run" and not self.refuses:
            self.request = Path(words[-1])
            self.mode = self.request.stat().st_mode & 0o777
            self.fields = json.loads(self.request.read_text())
            lines = "".join(json.dumps(event) + "\n" for event in self.says)
            Path(self.fields["journal"]).write_text(lines)
        return subprocess.CompletedProcess(argv, bool(self.refuses), said + "\n", self.refuses)

    def changed(self) -> list[str]:
        """Return what was asked of systemctl that changes something."""
        return [" ".join(argv[1:]) for argv in self.asked]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    """A host whose systemd has nothing to do."""
    made = Systemd(tmp_path)
    monkeypatch.setattr(subprocess, "run", made.run)
    monkeypatch.setattr(systemd, "UNIT_DIRECTORY", made.units)
    monkeypatch.setattr(systemd, "ROTATIONS", made.rotations)
    return made


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """The directories of a stack."""
    monkeypatch.setattr("moorage.release.layout.DEFAULT_LOG", tmp_path / "log")
    return Layout.of("shop", tmp_path / "opt", tmp_path / "run")


def release(*targets: Path) -> Release:
    """Return a release that installs files, which are there."""
    for target in targets:
        target.write_text("")
    install = {f"install/{number}": str(target) for number, target in enumerate(targets)}
    return Release(
        "0" * 12, Path("/nowhere"), parse({"topology": "containers", "install": install})
    )


def test_what_runs_with_its_own_file_is_left_alone(host: Systemd, tmp_path: Path) -> None:
    brings = release(host.units / "b.service", host.rotations / "b", tmp_path / "c.service")
    assert systemd.start(brings) == []
    assert host.asked == []
    assert [(c.service, c.ok, c.hopeless) for c in systemd.checks(brings)] == [
        ("b.service", True, False)
    ]


def test_what_does_not_run_is_started_and_comes_back_after_a_boot(host: Systemd) -> None:
    host.properties["ActiveState"] = "failed"
    brings = release(host.units / "b.service", host.units / "a.service")
    assert systemd.start(brings) == ["a.service", "b.service"]
    assert host.changed() == ["enable --quiet a.service", "restart a.service",
                              "enable --quiet b.service", "restart b.service"]  # fmt: skip
    assert {c.hopeless for c in systemd.checks(brings)} == {True}


def test_an_older_file_is_read_anew_and_what_runs_with_it_restarted(host: Systemd) -> None:
    host.properties["NeedDaemonReload"] = "yes"
    assert systemd.start(release(host.units / "a.service")) == ["a.service"]
    assert host.changed() == ["daemon-reload", "enable --quiet a.service", "restart a.service"]


def test_a_refusal_of_systemd_is_said_with_its_words(host: Systemd) -> None:
    host.refuses = "Access denied"
    with pytest.raises(ReleaseError, match=r"systemctl show .*failed: Access denied"):
        systemd.start(release(host.units / "a.service"))


def test_units_and_rotations_go_and_nothing_else(
    host: Systemd, tmp_path: Path, layout: Layout
) -> None:
    gateway, watch = layout.runtime("gateway"), layout.runtime("watch")
    gateway.mkdir(parents=True)
    watch.mkdir()
    kept, elsewhere = host.units / "kept.service", tmp_path / "config.json"
    goes, rotation = host.units / f"moorage-gateway-{layout.stack}.service", host.rotations / "shop"
    systemd.withdraw(release(goes, rotation, kept, elsewhere), layout, release(kept))
    assert host.changed() == [f"disable --now --quiet {goes.name}", "daemon-reload"]
    assert [p.exists() for p in (goes, rotation, kept, elsewhere)] == [False, False, True, True]
    # The other one's unit stays.
    assert not gateway.exists() and watch.exists()


def test_without_a_unit_systemd_is_asked_nothing(host: Systemd, layout: Layout) -> None:
    gateway = layout.runtime("gateway")
    gateway.mkdir(parents=True)
    systemd.withdraw(release(host.rotations / "shop"), layout)
    assert host.asked == [] and gateway.exists()


def test_what_a_drop_in_names_is_forgotten_with_it(host: Systemd, layout: Layout) -> None:
    drop_in = host.units / "supervisor.service.d" / "shop.conf"
    drop_in.parent.mkdir()
    systemd.withdraw(release(drop_in), layout)
    assert host.changed() == ["daemon-reload"] and not drop_in.exists()


OUTCOME = {"event": "outcome", "outcome": "activated", "release": "1" * 12, "message": ""}


def test_a_rollout_is_a_unit_of_its_own_that_is_told_by_a_file_for_root_alone(
    host: Systemd, layout: Layout
) -> None:
    host.says = [{"event": "phase", "name": "start"}, OUTCOME]
    heard: list[dict[str, Any]] = []
    outcome = launch(Request("shop", "1" * 12), layout, heard.append)
    assert (outcome.outcome, outcome.release) == ("activated", "1" * 12)
    assert [event["event"] for event in heard] == ["phase", "outcome"]
    (argv,) = host.asked
    assert "--unit=moorage-activate-shop.service" in argv
    assert argv[-2:] == ["run-activation", str(host.request)]
    assert host.mode == 0o600
    assert (host.fields["stack"], host.fields["release"]) == ("shop", "1" * 12)
    # Who lost the connection finds it again, of this release and of no other.
    assert rejoin("1" * 12, layout, heard.append).outcome == "activated"
    with pytest.raises(LaunchError, match=f"the activation of release {'2' * 12} was not started"):
        rejoin("2" * 12, layout, heard.append)


def test_nobody_starts_a_second_rollout_beside_one_that_does_not_end(
    host: Systemd, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "_ENDING_SECONDS", 0.0)
    host.active = 1 << 30
    with pytest.raises(LaunchError, match="is still at work on this host"):
        launch(Request("shop", "1" * 12), layout, lambda _: None)
    assert host.asked == []


def test_one_that_is_about_to_end_is_waited_for(host: Systemd, layout: Layout) -> None:
    host.active, host.says = 2, [OUTCOME]
    assert launch(Request("shop", "1" * 12), layout, lambda _: None).outcome == "activated"


def test_a_unit_that_does_not_start_or_says_nothing_is_no_success(
    host: Systemd, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "_ALIVE_SECONDS", 0.0)
    with pytest.raises(LaunchError, match="ended without an outcome: see `journalctl -u moorage-"):
        launch(Request("shop", "1" * 12), layout, lambda _: None)
    host.refuses = "Failed to connect to bus"
    with pytest.raises(LaunchError, match=r"could not start .*: Failed to connect to bus"):
        launch(Request("shop", "1" * 12), layout, lambda _: None)
