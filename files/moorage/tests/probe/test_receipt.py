"""Receipts: written whole, signed by the real minisign, verified, and not to be altered."""

from __future__ import annotations

import copy
import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from jsonschema import (  # type: ignore[import-untyped]
    Draft202012Validator,
    ValidationError,
)

from moorage.common.signing import SigningError
from moorage.probe import Figures
from moorage.probe.receipt import (
    ReceiptError,
    ensure_key,
    readable_line,
    verify_receipt,
    write_receipt,
)

SCHEMA = Path(__file__).resolve().parents[4] / "docs" / "receipt.schema.json"
VALIDATOR = Draft202012Validator(json.loads(SCHEMA.read_text()))

BEFORE = Figures(20, {}, 1.5, 2.5, 2.9, 21.0, 0.4, [])
DURING = Figures(122, {}, 1.6, 2.6, 3.1, 22.4, 2.4, [], retried=1)
IMAGE = {"ref": "moorage/tg2em-frontend:0123456789abcdef", "digest": "sha256:" + "1" * 64}

RECEIPT: dict[str, Any] = {
    "format": 1,
    "stack": "tg2em",
    "host": "web-1",
    "topology": "containers",
    "action": "update",
    "who": "ada",
    "outcome": "activated",
    "reason": "",
    "started": 1795312800.25,
    "finished": 1795312802.75,
    "before": {"release": "0123456789ab", "version": "", "images": {"frontend": IMAGE}},
    "after": {"release": "ba9876543210", "version": "v2", "images": {"frontend": IMAGE}},
    "services": {"updated": ["frontend", "scraper"], "unchanged": ["mysql"]},
    "partial": False,
    "requests": {"before": BEFORE.to_dict(), "during": DURING.to_dict()},
    "budget": {"budget": 0, "p99_factor": 5.0, "p99_floor_seconds": 1.0},
    "singleton_gaps": [{"service": "scraper", "seconds": 0.42}],
    "in_place_gaps": [],
    "phases": {"lock": 0.01, "start": 0.6},
    "restored": False,
    "migrations": None,
    "hooks": [{"name": "Dump the database", "seconds": 0.8, "saved": "/opt/tg2em/backups/x.gz"}],
    "edge": {"kind": "container"},
}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("host") / "keys"
    assert ensure_key(directory)
    return directory


def test_keys_are_made_once_and_the_secret_one_is_the_hosts_alone(keys: Path) -> None:
    assert stat.S_IMODE((keys / "receipt.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((keys / "receipt.pub").stat().st_mode) == 0o644
    before = (keys / "receipt.key").read_bytes()
    assert not ensure_key(keys)
    assert (keys / "receipt.key").read_bytes() == before
    assert sorted(path.name for path in keys.iterdir()) == ["receipt.key", "receipt.pub"]


def test_a_lost_public_key_comes_from_the_secret_one(keys: Path) -> None:
    before = (keys / "receipt.pub").read_text().splitlines()[1]
    (keys / "receipt.pub").unlink()
    assert ensure_key(keys)
    assert (keys / "receipt.pub").read_text().splitlines()[1] == before


@pytest.mark.parametrize("torn", ["receipt.key", "receipt.pub"])
@pytest.mark.parametrize("left", [0, 1, 40, 100])
def test_a_damaged_key_is_made_anew_and_put_aside(tmp_path: Path, torn: str, left: int) -> None:
    assert ensure_key(tmp_path)
    older = write_receipt(tmp_path, RECEIPT, tmp_path / "receipt.key")
    public = (tmp_path / "receipt.pub").read_text().splitlines()[1]
    (tmp_path / torn).write_bytes((tmp_path / torn).read_bytes()[:left])
    assert ensure_key(tmp_path)
    assert not ensure_key(tmp_path)
    path = write_receipt(tmp_path, RECEIPT, tmp_path / "receipt.key")
    assert "activated" in verify_receipt(path, tmp_path / "receipt.pub")
    if torn == "receipt.pub":
        assert (tmp_path / "receipt.pub").read_text().splitlines()[1] == public
        assert verify_receipt(older, tmp_path / "receipt.pub")
    else:
        (aside,) = tmp_path.glob("receipt.pub.*")
        assert verify_receipt(older, aside)


def test_a_directory_in_the_place_of_the_newest_receipt_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "receipt.json" / "mine").mkdir(parents=True)
    path = write_receipt(tmp_path, RECEIPT, None)
    assert (tmp_path / "receipt.json").resolve() == path


def test_a_receipt_is_written_signed_and_verified(tmp_path: Path, keys: Path) -> None:
    path = write_receipt(tmp_path, RECEIPT, keys / "receipt.key")
    assert re.fullmatch(r"receipt-\d{8}T\d{6}\.\d{3}Z\.json", path.name)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert json.loads(path.read_text()) == RECEIPT
    assert (tmp_path / "receipt.json").readlink() == Path(path.name)
    said = "tg2em update activated ba9876543210 (v2) on web-1 2026-11-22T02:00:02Z"
    for name in (path, tmp_path / "receipt.json"):
        assert verify_receipt(name, keys / "receipt.pub") == said
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        path.name,
        f"{path.name}.minisig",
        "receipt.json",
    ]


def test_the_newest_is_named_and_none_is_overwritten(tmp_path: Path) -> None:
    paths = [write_receipt(tmp_path, {**RECEIPT, "who": str(n)}, None) for n in range(3)]
    assert len(set(paths)) == 3
    assert sorted(paths) == paths
    assert json.loads((tmp_path / "receipt.json").read_text())["who"] == "2"


@pytest.mark.parametrize("altered", ["receipt", "comment", "signature"])
def test_whatever_is_altered_fails(tmp_path: Path, keys: Path, altered: str) -> None:
    path = write_receipt(tmp_path, RECEIPT, keys / "receipt.key")
    signature = path.with_name(path.name + ".minisig")
    if altered == "receipt":
        path.write_text(path.read_text().replace('"requests": 122', '"requests": 123'))
    elif altered == "comment":
        signature.write_text(signature.read_text().replace("activated", "restored"))
    else:
        signature.unlink()
    with pytest.raises(ReceiptError, match="cannot be trusted") as refused:
        verify_receipt(path, keys / "receipt.pub")
    assert refused.value.path == path


def test_another_hosts_signature_fails(tmp_path: Path, keys: Path) -> None:
    ensure_key(tmp_path / "other")
    path = write_receipt(tmp_path, RECEIPT, tmp_path / "other" / "receipt.key")
    with pytest.raises(ReceiptError, match="cannot be trusted"):
        verify_receipt(path, keys / "receipt.pub")


def test_a_receipt_that_cannot_be_signed_is_written_all_the_same(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ReceiptError, match="is not signed") as refused:
        write_receipt(tmp_path, RECEIPT, tmp_path / "no.key")
    assert refused.value.path == (tmp_path / "receipt.json").resolve()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ReceiptError, match="apt install minisign"):
        write_receipt(tmp_path, RECEIPT, keys / "receipt.key")
    with pytest.raises(SigningError, match="apt install minisign"):
        ensure_key(tmp_path / "keys")
    assert not (tmp_path / "keys" / "receipt.key").exists()


def test_a_comment_stays_one_line(tmp_path: Path, keys: Path) -> None:
    path = write_receipt(tmp_path, {**RECEIPT, "host": "web\n-1"}, keys / "receipt.key")
    assert "on web -1" in verify_receipt(path, keys / "receipt.pub")


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"before": None, "action": "deploy"},
        {"outcome": "restored", "restored": True, "reason": "3 of 9 requests failed"},
        {"requests": {"before": None, "during": None}, "edge": {"kind": "none"}},
        {"requests": {}, "edge": {"kind": None}},
        {
            "migrations": {
                "from": "0001",
                "to": "0002",
                "pending": [{"revision": "0002", "kind": "expand", "message": "Add a column"}],
                "compatible": True,
                "detail": "",
            }
        },
    ],
)
def test_receipts_fit_the_schema(change: dict[str, Any]) -> None:
    VALIDATOR.validate({**RECEIPT, **change})


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("format",), 2),
        (("outcome",), "fine"),
        (("after", "release"), "latest"),
        (("requests", "during", "failed"), {"gone": 1}),
        (("requests", "during", "p98_ms"), 1.0),
        (("phases", "start"), "0.6"),
        (("started",), None),
    ],
)
def test_what_is_no_receipt_does_not_fit_the_schema(where: tuple[str, ...], value: object) -> None:
    wrong = copy.deepcopy(RECEIPT)
    place = wrong
    for name in where[:-1]:
        place = place[name]
    place[where[-1]] = value
    with pytest.raises(ValidationError):
        VALIDATOR.validate(wrong)


def test_the_line_says_what_matters() -> None:
    assert readable_line(RECEIPT) == (
        "tg2em on web-1: update from 0123456789ab to ba9876543210 (v2) activated (2.5 s); "
        "0 of 122 requests failed; p99 3.1 ms, before 2.9 ms; longest gap 22 ms; "
        "replaced frontend, scraper; scraper away 0.4 s"
    )
    failed = Figures(50, {"status": 3}, 1.0, 2.0, 3.0, 80.0, 1.0, []).to_dict()
    reason = "3 of 50 requests failed (3 status); the budget is 0\n  frontend: answered 500"
    went_back = {
        **RECEIPT,
        "outcome": "restored",
        "restored": True,
        "reason": reason,
        "requests": {"before": None, "during": failed},
        "services": {"updated": [], "unchanged": ["frontend"]},
        "singleton_gaps": [],
    }
    assert readable_line(went_back) == (
        "tg2em on web-1: update to ba9876543210 (v2) failed, 0123456789ab put back: "
        "3 of 50 requests failed (3 status); the budget is 0 (2.5 s); "
        "3 of 50 requests failed (3 status); p99 3.0 ms; longest gap 80 ms"
    )
    first = {**RECEIPT, "before": None, "requests": None, "services": None, "singleton_gaps": []}
    assert readable_line(first) == "tg2em on web-1: ba9876543210 (v2) activated (2.5 s)"
