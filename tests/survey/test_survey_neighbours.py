"""What a survey says of stacks that want what other stacks of the host have."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.moorage_host import preflight, stacks

ID = "0123456789ab"


def port(number: int) -> dict[str, str]:
    address = {"address": "0.0.0.0"}
    return {"kind": "port", "name": f"{number}/tcp", "service": "web", **address}


def deployed(base: Path, stack: str, public: int) -> Path:
    release = base / stack / "releases" / ID
    release.mkdir(parents=True)
    facts = {
        "pools": {"p": {"service": "web", "port": 80}},
        "listeners": [{"port": public, "address": "", "pool": "p"}],
        "domains": [],
        "routes": [],
    }
    services = [{"name": "web", "kind": "container", "containers": [f"{stack}-web"]}]
    document = {"topology": "containers", "edge": facts, "services": services}
    (release / "release.json").write_text(json.dumps(document))
    (base / stack / "current").symlink_to(f"releases/{ID}")
    return release


def look(base: Path, **wanted: int) -> stacks.Neighbours:
    planned = [{"name": name, "claims": [port(number)]} for name, number in wanted.items()]
    return stacks.Neighbours(planned, base)


def test_one_stack_alone_is_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks.Neighbours, "_compare", lambda *_: pytest.fail("compared"))
    assert look(tmp_path, shop=1).problems == []
    deployed(tmp_path, "shop", 1)
    assert look(tmp_path, shop=2).problems == []


def test_what_another_stack_keeps_is_named_with_the_way_to_it(tmp_path: Path) -> None:
    deployed(tmp_path, "shop", 8001)
    (found,) = look(tmp_path, blog=8001).problems
    assert found["problem"] == "port 8001/tcp, wanted by blog (web), is held by another stack"
    assert found["value"] == "port 8001/tcp of the stack shop (web)"
    assert "update.yml -e stack=shop" in found["fix"] and "remove.yml -e stack=shop" in found["fix"]
    report = preflight.report({"os_name": "x", "architecture": "x", "memory_mb": 1}, [found])
    assert "(`ansible-playbook\n" in report or "(`ansible-playbook " in report
    assert "ansible-\n" not in report
    assert look(tmp_path, blog=8002).problems == []


def test_what_a_stack_of_the_run_gives_up_decides_the_order(tmp_path: Path) -> None:
    deployed(tmp_path, "shop", 8001)
    found = look(tmp_path, blog=8001, shop=8002)
    assert (found.problems, found.after) == ([], {"blog": ["shop"]})
    seen = stacks.survey([{"name": "blog", "dir": str(tmp_path / "blog")}], [], found.after)
    assert seen["blog"]["after"] == ["shop"]
    # What has become the neighbour's is told by the order, and not by the port's holder.
    holder = {
        "name": "shop-web",
        "stack": "shop",
        "id": ID,
        "image": "shop",
        "ports": [{"port": 8001, "protocol": "tcp", "address": "0.0.0.0"}],
    }
    want = {"port": 8001, "protocol": "tcp", "address": "0.0.0.0", "stack": "blog", "service": ""}

    def none(_: list[int]) -> dict[int, Any]:
        return {}

    assert preflight.check_ports([want], [], [holder], none, found.know) == []
    holder["stack"] = "ghost"
    assert len(preflight.check_ports([want], [], [holder], none, found.know)) == 1


def test_a_swap_is_refused_with_an_order_by_way_of_another_port(tmp_path: Path) -> None:
    for stack, number in (("blog", 8000), ("shop", 8001)):
        deployed(tmp_path, stack, number)
    (found,) = look(tmp_path, blog=8001, shop=8000).problems
    assert "blog (web), is held by the stack shop (web)" in found["value"]
    assert "shop (web), is held by the stack blog (web)" in found["value"]
    assert "_publish`) in place of" in found["fix"]


def test_an_older_package_on_the_host_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed(tmp_path, "shop", 8001)
    import moorage.deploy.claims

    monkeypatch.setitem(sys.modules, "moorage.deploy.claims", None)
    monkeypatch.delattr(moorage.deploy, "claims")
    assert look(tmp_path, blog=8001).problems == []


@pytest.mark.parametrize(
    ("container", "count"),
    [
        ({"name": "shop-web", "stack": ""}, 1),
        ({"name": "shop-web", "stack": "ghost"}, 1),
        ({"name": "shop-web", "stack": "shop"}, 0),
        ({"name": "shop-web-1", "stack": ""}, 0),
    ],
)
def test_a_container_of_somebody_else_s_with_a_stack_s_name(
    container: dict[str, str], count: int
) -> None:
    claim = {"kind": "container", "name": "shop-web", "service": "web", "address": ""}
    wanted = [{"name": "shop", "claims": [claim]}]
    there = [{"id": ID, "image": "nginx", **container}]
    found = preflight.check_names(wanted, there, lambda *_: False)
    assert len(found) == count
    for entry in found:
        assert "shop-web, wanted by shop (web), is taken" in entry["problem"]
        assert "docker rename shop-web" in entry["fix"]
    assert preflight.check_names(wanted, there, lambda *_: True) == []
