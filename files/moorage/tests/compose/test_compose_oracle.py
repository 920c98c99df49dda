"""The model agrees with `docker compose config` on our stacks and on a corpus of small cases.

A case `accept-*` is read alike by both, `refuse-*` is refused by both, and `strict-*` is what
Compose lets pass though it cannot mean what it says: Moorage refuses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from moorage.compose import ComposeError, Stack, load_stack

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
STACKS = HERE.parents[2] / "stacks"


def _cases(kind: str) -> list[tuple[Path, str | None]]:
    files = [(path.parent, path.name) for path in sorted(CORPUS.glob(f"{kind}-*.yml"))]
    return [*files, *((path, None) for path in sorted(CORPUS.glob(f"{kind}-*/")))]


def _label(case: tuple[Path, str | None]) -> str:
    return case[1] or case[0].name


ALL = [*_cases("accept"), *_cases("refuse"), *_cases("strict")]


@pytest.fixture(scope="session")
def answers(oracle: Any) -> Iterator[dict[tuple[Path, str | None], Any]]:
    """The oracle's answer to every case; two at a time, it is a process each."""
    stacks: list[tuple[Path, str | None]] = [(path.parent, None) for path in _stacks()]
    cases = [*ALL, *stacks]
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda case: oracle.run(case[0], case[1], ("extra",)), cases)
        yield dict(zip(cases, found, strict=True))


def _stacks() -> list[Path]:
    return sorted(STACKS.glob("*/compose.yml"))


def _load(case: tuple[Path, str | None], variables: dict[str, str]) -> Stack:
    return load_stack(case[0], environment=variables, profiles=("extra",), file=case[1])


def _assert_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    for section in sorted(ours.keys() | theirs.keys()):
        mine, other = ours.get(section), theirs.get(section)
        if not (isinstance(mine, dict) and isinstance(other, dict)):
            assert mine == other, section
            continue
        for key in sorted(mine.keys() | other.keys()):
            assert mine.get(key) == other.get(key), f"{section}.{key}"


@pytest.mark.parametrize("case", _cases("accept"), ids=_label)
def test_both_read_it_alike(
    case: Any, answers: Any, variables: dict[str, str], same_form: Callable[..., dict[str, Any]]
) -> None:
    theirs = answers[case]
    assert isinstance(theirs, dict), f"the oracle refuses it: {theirs}"
    stack = _load(case, variables)
    _assert_same(same_form(stack.to_dict(), oracle=False), same_form(theirs, oracle=True))
    assert Stack.from_dict(stack.to_dict()) == stack


@pytest.mark.parametrize("case", _cases("refuse"), ids=_label)
def test_both_refuse_it(case: Any, answers: Any, variables: dict[str, str]) -> None:
    assert isinstance(answers[case], str), "the oracle accepts it"
    with pytest.raises(ComposeError) as raised:
        _load(case, variables)
    assert raised.value.problems
    assert all(problem.advice for problem in raised.value.problems), str(raised.value)


@pytest.mark.parametrize("case", _cases("strict"), ids=_label)
def test_moorage_is_stricter(case: Any, answers: Any, variables: dict[str, str]) -> None:
    assert isinstance(answers[case], dict), f"the oracle refuses it too: {answers[case]}"
    with pytest.raises(ComposeError) as raised:
        _load(case, variables)
    assert all(problem.advice for problem in raised.value.problems)


@pytest.mark.parametrize("path", _stacks(), ids=lambda path: path.parent.name)
def test_our_stacks(
    path: Path,
    answers: Any,
    variables: dict[str, str],
    same_form: Callable[..., dict[str, Any]],
) -> None:
    theirs = answers[path.parent, None]
    assert isinstance(theirs, dict), f"the oracle refuses it: {theirs}"
    stack = _load((path.parent, None), variables)
    _assert_same(same_form(stack.to_dict(), oracle=False), same_form(theirs, oracle=True))
    assert Stack.from_dict(stack.to_dict()) == stack


def test_the_corpus_is_there() -> None:
    assert len(_cases("accept")) >= 35
    assert len(_cases("refuse")) >= 35
    assert _stacks()
