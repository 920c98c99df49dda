"""Files that nobody means: a sentence for each, no traceback, and no memory taken for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.compose import ComposeError, load_stack

SERVICE = "services:\n  s0:\n    image: x\n"


def chain(link: str) -> str:
    """Return services that each name the next one."""
    links = "".join(f"  s{n}: {{image: x, {link.format(n + 1)}}}\n" for n in range(1200))
    return f"services:\n{links}  s1200: {{image: x}}\n"


ODD = {
    "a list of 3,000 levels": (f"{SERVICE}    labels: {'[' * 3000}{']' * 3000}\n", "too deeply"),
    "a mapping of 3,000 levels": (
        f"{SERVICE}    labels: {'{a: ' * 3000}1{'}' * 3000}\n", "too deeply",
    ),
    "levels by indentation": (
        "services:\n" + "".join(f"{' ' * (n + 1)}k{n}:\n" for n in range(300)), "too deeply",
    ),
    "a merge of itself": (f"x-a: &a\n  <<: *a\n{SERVICE}", "circular aliases"),
    "extends of 1,200": (chain("extends: s{}"), "too long a chain"),
    "depends_on of 1,200": (chain("depends_on: [s{}]"), "too long a chain"),
    "half a character": (f'{SERVICE}    hostname: "a\\ud800"\n', "half a character"),
    "an unknown tag": (f"{SERVICE}    ports: !mine [80]\n", "!mine is not supported"),
    "a negative size": (f"{SERVICE}    mem_limit: -5\n", "must be a size"),
    "no number": (f"{SERVICE}    shm_size: .nan\n", "must be a size"),
    "a negative number of processors": (f"{SERVICE}    cpus: -1\n", "must not be below 0"),
    "a negative number of processes": (f"{SERVICE}    pids_limit: -5\n", "of at least -1"),
    "no step of an update": (
        f"{SERVICE}    deploy: {{update_config: {{parallelism: -1}}}}\n", "of at least 0",
    ),
    "no score": (f"{SERVICE}    oom_score_adj: 5000\n", "from -1000 to 1000"),
    "a range backwards": (f"{SERVICE}    ports: ['90-80:90-80']\n", "between 1 and 65535"),
}  # fmt: skip


@pytest.mark.parametrize("what", ODD)
def test_it_ends_in_a_sentence(what: str, tmp_path: Path) -> None:
    text, said = ODD[what]
    (tmp_path / "compose.yml").write_text(text, encoding="utf-8")
    with pytest.raises(ComposeError) as raised:
        load_stack(tmp_path)
    assert said in str(raised.value)
    assert all(problem.advice for problem in raised.value.problems)


def test_all_ports_there_are_can_be_published(tmp_path: Path) -> None:
    text = f"{SERVICE}    ports: ['1-65535:1-65535']\n"
    (tmp_path / "compose.yml").write_text(text, encoding="utf-8")
    found = load_stack(tmp_path).services["s0"].ports
    assert [port.target for port in found] == list(range(1, 65536))
