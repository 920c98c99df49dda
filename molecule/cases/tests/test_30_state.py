"""What is torn or foreign on the host's disk is told, and got over."""

from __future__ import annotations

from pilot_site import BASE, Pilot

FOREIGN = "/opt/blog/releases/20240101120000"


def deploy(pilot: Pilot, mark: str) -> None:
    pilot.description.web["environment"] = {"MARK": mark}
    pilot.update().ok  # noqa: B018
    assert pilot.ask("/").text == f"{mark} GET /\n"


def test_torn_and_foreign_files_stop_nothing(pilot: Pilot) -> None:
    deploy(pilot, "whole")
    pilot.sh(f'printf \'{{"release": "0123\' >> {BASE}/releases/history.jsonl')
    pilot.sh(f"mkdir -p {FOREIGN} && ln -s releases/20240101120000 /opt/blog/current")
    try:
        before = pilot.release("pilot")
        deploy(pilot, "torn")
        receipt = pilot.receipt()
        assert receipt["outcome"] == "activated" and receipt["before"]["release"] == before
        assert "blog" not in pilot.sh("moorage status")
        assert before in pilot.sh("moorage releases pilot")
        # The release that runs cannot be read: told, and made anew by the next deploy.
        pilot.sh(f": > {BASE}/current/release.json")
        assert "release.json is damaged: it is empty. Deploy the stack" in pilot.sh(
            "moorage status"
        )
        pilot.update().ok  # noqa: B018
        assert "damaged" not in pilot.sh("moorage status")
        assert pilot.ask("/").text.startswith("torn")
    finally:
        pilot.sh("rm -r /opt/blog")


def test_a_secret_of_a_run_that_failed_reaches_the_process_in_the_next(pilot: Pilot) -> None:
    described = pilot.description
    described.web["secrets"] = ["token"]
    described.web["user"] = "10001:10001"
    described.compose["secrets"] = {"token": {"file": "./secrets/token"}}
    described.settings["pilot_secrets"] = {"token": "one"}
    pilot.update().ok  # noqa: B018
    assert pilot.ask("/token").text == "one"
    # The value is replaced, and then the release does not get well.
    described.settings["pilot_secrets"] = {"token": "two"}
    described.web["command"] = ["python3", "-c", "raise SystemExit(3)"]
    assert pilot.update().status != 0
    assert pilot.ask("/token").text == "one"
    # The release that runs is the one that is asked for, and nobody gives the value once more.
    described.web["command"] = ["python3", "/app/app.py"]
    del described.settings["pilot_secrets"]
    pilot.update().ok  # noqa: B018
    assert pilot.ask("/token").text == "two"
    assert pilot.update().ok.count("changed") == 0
