"""A service of a profile: the deploy makes it, a person starts it, and it does its work."""

from __future__ import annotations

import json

from playbook import play
from support import Machine, wait_until
from tg2em_site import administrator, articles

EXPORT = {
    "name": "Old channel",
    "type": "public_channel",
    "id": 1234,
    "messages": [
        {
            "id": 7,
            "type": "message",
            "date": "2025-03-01T16:00:00",
            "date_unixtime": "1740816000",
            "text": "名称：百年孤独\n描述：从导出的频道\n链接：https://pan.quark.cn/s/abc",
        }
    ],
}


def test_a_service_of_a_profile_waits_until_it_is_asked_for(settled: Machine, stack: str) -> None:
    service = settled.status(stack)["import"]
    assert (service["state"], service["wanted"], service["pid"]) == ("STOPPED", "down", None)
    assert settled.described(stack, "import")["on_demand"]


def test_it_starts_on_demand_and_does_its_work(settled: Machine, stack: str) -> None:
    folder, export = f"/opt/{stack}/data/scraper-data/export", json.dumps(EXPORT)
    settled.sh(
        f"install -d -o 10001 -g 10001 {folder} && printf %%s %s > {folder}/result.json", export
    )
    others = {n: run for n, run in settled.runs(stack).items() if n != "import"}
    someone = administrator(settled)
    assert "import" in someone.get("/admin").text
    answer = someone.post("/admin/services/import/start", "/admin", reason="an old channel")
    assert answer.status == 200

    def ended() -> bool:
        now = settled.status(stack)["import"]
        assert now["exit"] is not None, now
        return bool(now["state"] == "EXITED" and now["exit"]["code"] == 0)

    wait_until("it has ended well", ended, seconds=30)
    assert "百年孤独" in {article["name"] for article in articles(settled)}
    assert {n: run for n, run in settled.runs(stack).items() if n != "import"} == others


def test_a_deploy_does_not_start_it(settled: Machine, stack: str) -> None:
    show = "docker inspect -f '{{.Id}} {{.State.StartedAt}}' tg2em-import"
    before = settled.sh(show)
    played = play("site.yml", moorage_full_run=True).ok
    assert played.count("changed") == 0, played.output
    assert settled.sh(show) == before
