"""The account's way, with Telethon's own classes up to the network.

`Offline` is Telethon's client; only connecting and the request that would go over the wire are
replaced, the latter by answers of Telegram's own types.
"""

import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from telethon import TelegramClient, errors, functions, types
from tg2em_core.db import SessionFactory, transaction
from tg2em_core.models import SignInState, TelegramSignIn
from tg2em_scraper.account import PAGE, Account, AccountSource, make_client, to_page
from tg2em_scraper.pictures import FetchError, NotAPictureError
from tg2em_scraper.signin import SignIn
from tg2em_scraper.source import SessionRevoked, SourceError, Throttled

DATE = datetime(2025, 3, 1, 8, tzinfo=UTC)
USER = types.User(id=42, is_self=True, access_hash=1, username="collector", phone="8613800000000")


class Offline(TelegramClient):  # type: ignore[misc]
    """Answers each request from `answers`: by its type, with a value, an error or a function."""

    answers: dict[Any, Any]
    asked: list[Any]
    connected = False

    async def connect(self) -> None:
        if isinstance(self.answers.get(type(None)), Exception):
            raise self.answers[type(None)]
        self.connected = True

    def is_connected(self) -> bool:
        return self.connected

    async def disconnect(self) -> None:
        self.connected = False
        if self.session is not None:  # signing out took it away
            self.session.close()

    async def __call__(self, request: Any, ordered: bool = False, **_: Any) -> Any:
        self.asked.append(request)
        private = (functions.updates.GetStateRequest, functions.users.GetUsersRequest)
        if isinstance(request, private) and not self.answers["authorised"]:
            raise errors.AuthKeyUnregisteredError(request)
        answer = self.answers[type(request)]
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, types.auth.Authorization):
            self.answers["authorised"] = True
        if isinstance(request, functions.auth.LogOutRequest):
            self.answers["authorised"] = False
        return answer


@pytest.fixture
def answers() -> dict[Any, Any]:
    return {
        "authorised": False,
        functions.users.GetUsersRequest: [USER],
        functions.updates.GetStateRequest: types.updates.State(1, 1, DATE, 1, 0),
        functions.updates.GetDifferenceRequest: types.updates.DifferenceEmpty(DATE, 1),
        functions.auth.SendCodeRequest: types.auth.SentCode(
            types.auth.SentCodeTypeApp(5), "the-hash"
        ),
        functions.auth.SignInRequest: types.auth.Authorization(USER),
        functions.auth.LogOutRequest: types.auth.LoggedOut(),
    }


@pytest.fixture
def asked() -> list[Any]:
    return []


@pytest.fixture
def make_account(answers: dict[Any, Any], asked: list[Any]) -> Callable[[Path, int, str], Account]:
    def factory(session: str, api_id: int, api_hash: str) -> TelegramClient:
        client = Offline(session, api_id, api_hash)
        client.answers, client.asked = answers, asked
        return client

    return lambda path, api_id, api_hash: Account(path, api_id, api_hash, factory)


class Page:
    """What the admin page does with the sign-in's row."""

    def __init__(self, sessions: SessionFactory, sign_in: SignIn) -> None:
        self.sessions = sessions
        self.sign_in = sign_in

    def give(self, **values: Any) -> TelegramSignIn:
        """Write values as the page does, let the scraper take its step, and look again."""
        with transaction(self.sessions) as session:
            row = session.get(TelegramSignIn, 1) or TelegramSignIn(id=1)
            for name, value in values.items():
                setattr(row, name, value)
            session.add(row)
        self.sign_in.tick()
        with self.sessions() as session:
            return session.scalars(select(TelegramSignIn)).one()

    def request(self) -> TelegramSignIn:
        """Ask for a code."""
        return self.give(
            state=SignInState.REQUESTED, api_id=7, api_hash="a" * 32, phone="+8613800000000"
        )


@pytest.fixture
def page(
    empty: SessionFactory, tmp_path: Path, make_account: Callable[[Path, int, str], Account]
) -> Page:
    return Page(empty, SignIn(empty, tmp_path / "telethon.session", make_account))


def test_code_and_signed_in(page: Page, asked: list[Any], tmp_path: Path) -> None:
    row = page.request()
    assert (row.state, row.phone_code_hash, row.error) == (SignInState.CODE_NEEDED, "the-hash", "")
    file = tmp_path / "telethon.session"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    row = page.give(state=SignInState.CODE_GIVEN, code="12345")
    assert (row.state, row.account, row.code) == (SignInState.SIGNED_IN, "@collector", "")
    sent = next(r for r in asked if isinstance(r, functions.auth.SignInRequest))
    assert (sent.phone_number, sent.phone_code) == ("8613800000000", "12345")
    assert sent.phone_code_hash == "the-hash"
    assert page.sign_in.signed_in


def test_a_code_is_gone_from_the_database_before_it_is_used(
    page: Page, answers: dict[Any, Any]
) -> None:
    page.request()
    stored: list[str] = []

    def look(_: Any) -> types.auth.Authorization:
        with page.sessions() as session:
            stored.append(session.scalars(select(TelegramSignIn.code)).one())
        return types.auth.Authorization(USER)

    answers[functions.auth.SignInRequest] = look
    page.give(state=SignInState.CODE_GIVEN, code="12345")
    assert stored == [""]


def test_a_restart_between_request_and_code(
    page: Page,
    asked: list[Any],
    empty: SessionFactory,
    tmp_path: Path,
    make_account: Callable[[Path, int, str], Account],
) -> None:
    page.request()
    page.sign_in.close()
    again = Page(empty, SignIn(empty, tmp_path / "telethon.session", make_account))
    row = again.give(state=SignInState.CODE_GIVEN, code="12345")
    assert any(getattr(r, "phone_code_hash", "") == "the-hash" for r in asked)
    assert (row.state, row.code) == (SignInState.SIGNED_IN, "")


def test_a_wrong_and_an_expired_code(page: Page, answers: dict[Any, Any]) -> None:
    page.request()
    answers[functions.auth.SignInRequest] = errors.PhoneCodeInvalidError(None)
    row = page.give(state=SignInState.CODE_GIVEN, code="1")
    assert (row.state, row.error) == (SignInState.CODE_NEEDED, "the code is wrong")
    assert row.phone_code_hash == "the-hash"
    answers[functions.auth.SignInRequest] = errors.PhoneCodeExpiredError(None)
    row = page.give(state=SignInState.CODE_GIVEN, code="1")
    assert row.state is SignInState.FAILED and "expired" in row.error


def test_two_step_verification(
    page: Page, answers: dict[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    page.request()
    answers[functions.auth.SignInRequest] = errors.SessionPasswordNeededError(None)
    assert page.give(state=SignInState.CODE_GIVEN, code="1").state is SignInState.PASSWORD_NEEDED
    # The arithmetic of the password check needs the server's numbers; what goes in is enough here.
    given: list[str] = []

    def compute(_: Any, password: str) -> types.InputCheckPasswordEmpty:
        given.append(password)
        return types.InputCheckPasswordEmpty()

    monkeypatch.setattr("telethon.client.auth.pwd_mod.compute_check", compute)
    answers[functions.account.GetPasswordRequest] = object()
    answers[functions.auth.CheckPasswordRequest] = errors.PasswordHashInvalidError(None)
    row = page.give(state=SignInState.PASSWORD_GIVEN, password="first try")
    assert (row.state, row.error) == (SignInState.PASSWORD_NEEDED, "the password is wrong")
    assert row.password == ""
    answers[functions.auth.CheckPasswordRequest] = types.auth.Authorization(USER)
    row = page.give(state=SignInState.PASSWORD_GIVEN, password="second")
    assert given == ["first try", "second"]
    assert row.state is SignInState.SIGNED_IN
    assert row.password == ""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errors.FloodWaitError(None, 77), "wait 77 seconds"),
        (errors.ApiIdInvalidError(None), "ApiIdInvalidError"),
        (errors.PhoneNumberBannedError(None), "PhoneNumberBannedError"),
    ],
)
def test_what_telegram_refuses_is_shown(
    page: Page, answers: dict[Any, Any], error: Exception, words: str
) -> None:
    answers[functions.auth.SendCodeRequest] = error
    row = page.request()
    assert row.state is SignInState.FAILED
    assert words in row.error
    assert row.phone not in row.error


def test_a_fault_in_a_step_is_shown_and_ends_nothing(page: Page, answers: dict[Any, Any]) -> None:
    answers[functions.auth.SendCodeRequest] = KeyError("surprise")
    row = page.request()
    assert row.state is SignInState.FAILED
    assert "KeyError" in row.error


def test_something_missing(page: Page) -> None:
    row = page.give(state=SignInState.REQUESTED, api_id=0, api_hash="", phone="")
    assert row.state is SignInState.FAILED and "needed" in row.error


def test_no_network_keeps_a_request_and_asks_for_the_code_again(
    page: Page, answers: dict[Any, Any]
) -> None:
    answers[type(None)] = ConnectionError("no route")
    row = page.request()
    assert row.state is SignInState.REQUESTED and "cannot be reached" in row.error
    del answers[type(None)]
    page.sign_in._again_at = 0.0
    assert page.give().state is SignInState.CODE_NEEDED
    page.sign_in.close()
    answers[type(None)] = TimeoutError()
    row = page.give(state=SignInState.CODE_GIVEN, code="1")
    assert row.state is SignInState.CODE_NEEDED and "cannot be reached" in row.error


def test_asking_again_gets_a_code_of_its_own(page: Page, asked: list[Any]) -> None:
    page.request()
    assert page.request().state is SignInState.CODE_NEEDED
    kinds = [type(r) for r in asked]
    assert kinds.count(functions.auth.SendCodeRequest) == 2
    assert functions.auth.ResendCodeRequest not in kinds


def test_a_request_for_the_same_and_for_another_account(
    page: Page, answers: dict[Any, Any], asked: list[Any]
) -> None:
    page.request()
    page.give(state=SignInState.CODE_GIVEN, code="12345")
    row = page.request()
    assert (row.state, row.account) == (SignInState.SIGNED_IN, "@collector")
    assert answers["authorised"]
    row = page.give(state=SignInState.REQUESTED, phone="+4917000000")
    assert row.state is SignInState.CODE_NEEDED
    kinds = [type(r) for r in asked]
    assert functions.auth.LogOutRequest in kinds
    assert asked[-1].phone_number == "4917000000"


def test_signing_out_removes_the_session(page: Page, asked: list[Any], tmp_path: Path) -> None:
    page.request()
    page.give(state=SignInState.SIGNED_OUT)
    assert not (tmp_path / "telethon.session").exists()
    assert any(isinstance(r, functions.auth.LogOutRequest) for r in asked)
    assert not page.sign_in.signed_in


def test_nothing_of_it_is_logged(
    page: Page, answers: dict[Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="tg2em_scraper")
    page.request()
    answers[functions.auth.SignInRequest] = errors.PhoneCodeInvalidError(None)
    page.give(state=SignInState.CODE_GIVEN, code="98765")
    assert "code_needed" in caplog.text
    for secret in ("98765", "a" * 32, "13800000000", "the-hash"):
        assert secret not in caplog.text


def message(number: int, text: str = "", **more: Any) -> types.Message:
    return types.Message(id=number, peer_id=types.PeerChannel(9), message=text, date=DATE, **more)


def photo() -> types.MessageMediaPhoto:
    return types.MessageMediaPhoto(photo=types.Photo(1, 2, b"", DATE, [], 2))


def document(kind: str, size: int = 10, thumbs: Any = None) -> types.MessageMediaDocument:
    return types.MessageMediaDocument(
        document=types.Document(1, 2, b"", DATE, kind, size, 2, [], thumbs=thumbs)
    )


def test_messages_become_posts() -> None:
    text = "🎬名称：书\n链接：点击 pan.quark.cn/s/2"
    entities = [
        types.MessageEntityBold(0, 4),
        types.MessageEntityTextUrl(10, 2, "https://www.alipan.com/s/1"),
        types.MessageEntityUrl(13, 16),
    ]
    page = to_page(
        [
            message(3, text, entities=entities, views=12, media=photo(), edit_date=DATE),
            types.MessageService(2, types.PeerChannel(9), DATE, types.MessageActionPinMessage()),
            message(1, "x", edit_date=DATE, edit_hide=True),
        ],
        "chan",
    )
    hidden, shown = page.messages
    assert shown.body.text == text
    labels = [text[link.start : link.end] for link in shown.body.links]
    assert labels == ["点击", "pan.quark.cn/s/2"]
    assert [link.url for link in shown.body.links] == [
        "https://www.alipan.com/s/1",
        "https://pan.quark.cn/s/2",
    ]
    assert (shown.views, shown.edited, shown.pictures) == (12, True, ("account:chan/3",))
    assert (hidden.edited, hidden.pictures) == (False, ())
    assert page.before is None


def test_links_over_each_other() -> None:
    entities = [
        types.MessageEntityTextUrl(0, 6, "https://a.example"),
        types.MessageEntityTextUrl(2, 2, "https://b.example"),
    ]
    (post,) = to_page([message(1, "abcdefgh", entities=entities)], "chan").messages
    assert post.body.text == "abcdefgh"
    assert [link.url for link in post.body.links] == ["https://a.example"]


def test_albums_and_kinds_of_pictures() -> None:
    page = to_page(
        [
            message(12, media=photo(), grouped_id=5),
            message(11, "caption", grouped_id=5),
            message(10, media=photo(), grouped_id=5),
            message(13, media=document("image/png")),
            message(14, media=document("video/mp4")),
            message(15, media=document("video/mp4", thumbs=[types.PhotoSize("m", 9, 9, 9)])),
            message(16, media=document("application/pdf")),
        ],
        "chan",
    )
    album = page.messages[0]
    assert (album.message_id, album.body.text, album.album_ids) == (10, "caption", (11, 12))
    assert album.pictures == ("account:chan/10", "account:chan/12")
    assert [bool(post.pictures) for post in page.messages[1:]] == [True, False, True, False]


def test_a_full_page_leads_on() -> None:
    assert to_page([message(n, "x") for n in range(50, 50 + PAGE)], "chan").before == 50


def channel_answers(answers: dict[Any, Any], history: Any) -> None:
    chat = types.Channel(9, "T", types.ChatPhotoEmpty(), DATE, access_hash=3, username="chan")
    answers[functions.contacts.ResolveUsernameRequest] = types.contacts.ResolvedPeer(
        types.PeerChannel(9), [chat], []
    )
    answers[functions.messages.GetHistoryRequest] = history


@pytest.fixture
def source(tmp_path: Path, make_account: Callable[[Path, int, str], Account]) -> AccountSource:
    waits: list[float] = []
    made = AccountSource(make_account(tmp_path / "s.session", 7, "a" * 32), waits.append, 60)
    made.waits = waits  # type: ignore[attr-defined]
    return made


def test_reading_history(source: AccountSource, answers: dict[Any, Any], asked: list[Any]) -> None:
    found = types.messages.ChannelMessages(1, 2, [message(8, "b"), message(7, "a")], [], [], [])
    channel_answers(answers, found)
    page = source.page("chan", 9)
    assert [post.message_id for post in page.messages] == [7, 8]
    request = next(r for r in asked if isinstance(r, functions.messages.GetHistoryRequest))
    assert (request.offset_id, request.limit) == (9, PAGE)


def test_flood_waits(source: AccountSource, answers: dict[Any, Any]) -> None:
    found = types.messages.ChannelMessages(1, 1, [message(7, "a")], [], [], [])
    replies = [errors.FloodWaitError(None, 20), found]
    channel_answers(answers, lambda _: replies.pop(0))
    assert len(source.page("chan", None).messages) == 1
    assert source.waits == [20]  # type: ignore[attr-defined]
    channel_answers(answers, errors.FloodWaitError(None, 3600))
    with pytest.raises(Throttled) as caught:
        source.page("chan", None)
    assert caught.value.seconds == 3600


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.ChannelPrivateError(None), SourceError),
        (errors.AuthKeyUnregisteredError(None), SessionRevoked),
        (errors.SessionRevokedError(None), SessionRevoked),
        (ConnectionError(), SourceError),
        (TimeoutError(), SourceError),
    ],
)
def test_errors_while_reading(
    source: AccountSource, answers: dict[Any, Any], error: Exception, kind: type[Exception]
) -> None:
    channel_answers(answers, error)
    with pytest.raises(kind):
        source.page("chan", None)


def test_pictures_of_an_account(
    source: AccountSource, answers: dict[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    channel_answers(answers, None)

    def holding(found: types.Message) -> None:
        messages = types.messages.Messages([found], [], [], [])
        answers[functions.channels.GetMessagesRequest] = messages

    async def download(self: Any, message: Any, file: Any, thumb: Any) -> bytes:
        return f"{message.id} {thumb}".encode()

    monkeypatch.setattr(Offline, "download_media", download)
    holding(message(7, media=photo()))
    assert source.picture("account:chan/7") == b"7 None"
    holding(message(8, media=document("video/mp4", thumbs=[types.PhotoSize("m", 9, 9, 9)])))
    assert source.picture("account:chan/8") == b"8 -1"
    holding(message(9, media=document("image/png", size=10**9)))
    with pytest.raises(NotAPictureError):
        source.picture("account:chan/9")
    answers[functions.channels.GetMessagesRequest] = ConnectionError()
    with pytest.raises(FetchError):
        source.picture("account:chan/9")


def test_the_real_client_never_waits_by_itself(tmp_path: Path) -> None:
    client = make_client(str(tmp_path / "x.session"), 7, "a" * 32)
    assert client.flood_sleep_threshold == 0
    client.session.close()
