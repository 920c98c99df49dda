"""The edge passes on what it was given: paths, headers, methods, whole answers, and nothing old."""

from __future__ import annotations

import http.client

from pilot_site import PORT, Pilot, marked

CONFIGURATION = "/opt/moorage/edge/conf/http.conf"


def test_nothing_of_an_older_release_is_served(pilot: Pilot) -> None:
    pilot.description.settings["pilot_edge"] = {"static_paths": ["/static/"]}
    for mark in ("one", "two", "three"):
        marked(pilot, mark)
        pilot.update().ok  # noqa: B018
        for _ in range(3):
            assert pilot.ask("/static/app.js").text == f"build {mark}\n"


def test_paths_headers_and_methods_arrive_as_they_are(pilot: Pilot) -> None:
    marked(pilot, "here")
    pilot.description.settings["pilot_edge"] = {"static_paths": ["/static/"]}
    pilot.update().ok  # noqa: B018
    for path in ("/static", "/a//b", "/a%2Fb?x=%2F..", "/~%7E"):
        for method in ("GET", "POST"):
            answer = pilot.ask(path, method=method, body=b"" if method == "POST" else None)
            assert answer.text == f"here {method} {path.partition('?')[0]}\n"
    strange = {"Host": "elsewhere.example.com", "api_key": "abc", "X.Build": "7"}
    seen = pilot.ask("/headers", headers={**strange, "X_Forwarded_For": "192.0.2.7"}).text
    assert "api_key: abc" in seen and "X.Build: 7" in seen, seen
    assert "192.0.2.7" not in seen, seen
    for path in ("/static/..%2f..%2ftoken", "/static/%2e%2e/token", "//static/app.js", "/a\\b"):
        answer = pilot.ask(path, headers={"Host": "elsewhere.example.com"})
        assert answer.status == 400 and "Location" not in answer.headers, (path, answer)


def test_a_large_download_is_whole_and_takes_no_disk(pilot: Pilot) -> None:
    pilot.update().ok  # noqa: B018
    connection = http.client.HTTPConnection(pilot.address, PORT, timeout=60)
    connection.request("GET", "/big")
    answer = connection.getresponse()
    wanted, got = int(answer.headers["Content-Length"]), 0
    where = pilot.sh(f"sed -n 's/.*proxy_temp_path \\([^ ;]*\\).*/\\1/p' {CONFIGURATION}")
    used, most = f"docker exec moorage-edge du -sk {where} | cut -f 1", 0
    while piece := answer.read(1 << 20):
        got += len(piece)
        if got >> 20 in (100, 700, 1400):
            most = max(most, int(pilot.sh(used)))
    connection.close()
    assert got == wanted == 1500 << 20
    assert most < 1 << 10, f"{most} KiB of disk while it was sent"
