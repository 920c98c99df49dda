"""Whose the data are when a service runs as another user: theirs who run, and back again."""

from __future__ import annotations

import copy

from pilot_site import BAD, BASE, Pilot, marked

DATA = f"{BASE}/data/state"
# Counts in a file that nobody else may read.
COUNTS = """
import http.server, os, sys
sys.path.insert(0, "/app")
import app
os.umask(0o077)
well, name = app.App.do_GET, sys.argv[1]
def ask(self):
    if self.path != "/count": return well(self)
    with open(name + "/count", "a+") as out:
        out.write("x")
        out.seek(0)
        body = f"{len(out.read())} of {os.getuid()}".encode()
    self.send_response(200)
    self.send_header("Content-Length", str(len(body)))
    self.end_headers()
    self.wfile.write(body)
app.App.do_GET = ask
http.server.ThreadingHTTPServer(("", 8000), app.App).serve_forever()
"""


def counting(pilot: Pilot, user: str, mark: str) -> None:
    """Describe the web service as one that keeps something in a volume."""
    pilot.description.compose["volumes"] = {"state": None}
    pilot.description.web["volumes"] = ["state:/state"]
    pilot.description.web["command"] = ["python3", "-c", COUNTS, "/state"]
    if user:
        pilot.description.web["user"] = user
    marked(pilot, mark)
    # How fast it answers on a busy host is not what is put to the proof.
    patient = {"rate": 5, "timeout_seconds": 30, "p99_floor_seconds": 30}
    pilot.description.settings["pilot_probe"] = patient


def owners(pilot: Pilot, *paths: str) -> set[str]:
    return set(pilot.sh(f"stat -c %u:%g {' '.join(paths or (DATA, DATA + '/count'))}").split())


def count(pilot: Pilot) -> str:
    return pilot.ask("/count").text


def test_nothing_is_taken_from_what_runs_and_everything_follows_what_comes(pilot: Pilot) -> None:
    counting(pilot, "10001:10001", "first")
    pilot.site().ok  # noqa: B018
    begun = int(count(pilot).split()[0])
    well = copy.deepcopy(pilot.description.web)

    counting(pilot, "10005:10006", "second")
    seen = pilot.site("--check", "--diff").ok.output
    assert f"directory to change hands: {DATA}: 10001:10001 0750 to 10005:10006 0750" in seen
    # Neither an image that cannot be built nor a release that fails takes them.
    pilot.description.web["build"] = {**well["build"], "target": "nothing"}
    assert pilot.site().status != 0
    assert owners(pilot) == {"10001:10001"}
    assert count(pilot) == f"{begun + 1} of 10001"
    pilot.description.web["build"] = well["build"]
    pilot.description.web["command"] = ["python3", "-c", BAD["crash"]]
    assert pilot.site().status != 0
    assert owners(pilot) == {"10001:10001"}
    assert count(pilot) == f"{begun + 2} of 10001"

    counting(pilot, "10005:10006", "second")
    pilot.update().ok  # noqa: B018
    assert owners(pilot) == {"10005:10006"}
    assert count(pilot) == f"{begun + 3} of 10005"
    receipt = pilot.receipt()
    (turned,) = [fact for fact in receipt["owners"] if fact["path"] == DATA]
    assert turned["files"] >= 1 and turned["left"] == 0
    assert [gap["service"] for gap in receipt["in_place_gaps"]] == ["web"]
    again = pilot.site().ok
    assert (again.tasks, again.count("changed")) == (2, 0)

    pilot.rollback().ok  # noqa: B018
    assert owners(pilot) == {"10001:10001"}
    assert count(pilot) == f"{begun + 4} of 10001"


def test_numbers_that_no_account_has_are_a_user_of_the_unified_form(pilot: Pilot) -> None:
    user = "10007:10008"
    settings = pilot.description.settings
    (usual,) = owners(pilot, f"{BASE}/logs")
    settings.update(pilot_topology="unified", pilot_user="10001:10001")
    counting(pilot, "", "unified")
    pilot.site().ok  # noqa: B018
    own = (DATA, f"{DATA}/count", f"{BASE}/logs", f"{BASE}/data/unified", "/run/moorage/pilot/*-a")
    begun = int(count(pilot).split()[0])
    assert owners(pilot, *own) == {"10001:10001"}

    settings["pilot_user"] = user
    pilot.description.web["command"] = ["python3", "-c", BAD["crash"]]
    assert pilot.update().status != 0
    assert owners(pilot, *own) == {"10001:10001"}
    assert count(pilot) == f"{begun + 1} of 10001"

    counting(pilot, "", "unified")
    pilot.update().ok  # noqa: B018
    assert owners(pilot, *own) == {user}
    assert count(pilot) == f"{begun + 2} of 10007"
    pilot.sh("logrotate --force /etc/logrotate.d/moorage-pilot")
    assert owners(pilot, f"{BASE}/logs/*") == {user}

    # Another form, another user.
    settings.update(pilot_topology="containers", pilot_user=usual)
    pilot.update().ok  # noqa: B018
    assert owners(pilot, DATA, f"{DATA}/count", f"{BASE}/logs") == {usual}
    assert count(pilot) == f"{begun + 3} of {usual.partition(':')[0]}"
