"""A number for each stack: by its name, and what a host has already stays."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from moorage.compose.errors import ComposeError
from moorage.controller.users import COUNT, FIRST, SHARED, own_number, question, users_of


def pair(stack: str) -> str:
    return f"{own_number(stack)}:{own_number(stack)}"


def test_a_new_stack_has_a_number_of_its_own() -> None:
    found = users_of(["shop", "blog"], "")
    assert found == {"shop": pair("shop"), "blog": pair("blog")}
    assert found["shop"] != found["blog"]
    for stack in ("shop", "blog", "a", "x" * 60):
        assert FIRST <= own_number(stack) < FIRST + COUNT


def test_what_is_on_a_host_keeps_its_user() -> None:
    seen = f"10001:10001 /opt/shop/logs\n{pair('blog')} /opt/blog/logs\r\n10005:10005 /opt/x/logs\n"
    found = users_of(["shop", "blog", "x", "new"], seen)
    assert found == {"shop": SHARED, "blog": pair("blog"), "x": SHARED, "new": pair("new")}


def test_another_s_number_is_refused_with_a_way_out() -> None:
    number = own_number("shop-api")
    for seen, holder in (
        (f"{number}:{number} /opt/old/logs", "the stack old"),
        (f"- ada:{number}", "the account ada"),
    ):
        with pytest.raises(ComposeError, match=rf"shop_api_user: .*{number}, is that of {holder}"):
            users_of(["shop-api"], seen)
    # It is there already, or was, with the account that was made for it.
    account = f"- moorage-{number}:{number}"
    for seen in (f"{number}:{number} /opt/shop-api/logs\n{account}", account):
        assert users_of(["shop-api"], seen) == {"shop-api": f"{number}:{number}"}


def test_a_number_that_an_operator_gave_to_another_stack_is_taken() -> None:
    with pytest.raises(ComposeError, match="that of the stack blog"):
        users_of(["shop"], "", {"blog": pair("shop"), "x": 5, "y": "nobody"})
    # What a host has stays, whatever is given to others.
    there = f"{pair('shop')} /opt/shop/logs"
    assert users_of(["shop"], there, {"blog": pair("shop")}) == {"shop": pair("shop")}


def test_two_names_that_give_one_number_are_refused() -> None:
    seen: dict[int, str] = {}
    for n in range(COUNT):
        name = f"s{n}"
        other = seen.setdefault(own_number(name), name)
        if other != name:
            break
    with pytest.raises(ComposeError, match=r"_user: the number .* is that of the stack"):
        users_of([other, name], "")
    # Whoever was there first keeps it.
    with pytest.raises(ComposeError, match=f"{other}_user: .* of the stack {name};"):
        users_of([other, name], f"{pair(name)} /opt/{name}/logs")


def test_an_answer_that_is_no_answer_says_nothing() -> None:
    noise = ["Welcome!", "/opt/x/logs", "1: /opt", "- ", "- x:y", "0:0 /opt/a/b/logs"]
    noise += [f"{owner} /opt/shop/logs" for owner in ("::", ":1", "1:", "-1:1", "9" * 4500 + ":1")]
    assert users_of(["shop"], "\n".join(noise)) == {"shop": pair("shop")}


def test_the_question_is_answered_by_a_shell(tmp_path: Path) -> None:
    command = question(["shop"]).replace("/opt/*", f"{tmp_path}/*")
    (tmp_path / "shop/logs").mkdir(parents=True)
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    owner = f"{os.getuid()}:{os.getgid()} {tmp_path}/shop/logs"
    assert done.stdout.splitlines()[0] == owner
    subprocess.run(["sh", "-c", question([])], capture_output=True, check=True, timeout=20)
