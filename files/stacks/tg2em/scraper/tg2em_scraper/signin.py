"""The sign-in to Telegram: a state machine over one database row that the admin page shares.

    signed_out ─ requested ─ code_needed ─ code_given ─ signed_in
                                              └ password_needed ─ password_given ─┘

The page writes the `requested` and `…_given` states, the scraper answers with the others. Codes
and passwords are emptied in the database before they are used, and never logged.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tg2em_core.db import SessionFactory, transaction
from tg2em_core.models import SignInState, TelegramSignIn

from tg2em_scraper.source import SourceError, Throttled

if TYPE_CHECKING:
    from telethon import TelegramClient

    from tg2em_scraper.account import Account

log = logging.getLogger(__name__)

_WANTS_ACTION = (SignInState.REQUESTED, SignInState.CODE_GIVEN, SignInState.PASSWORD_GIVEN)
_RETRY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Dialogue:
    """The row's content, as one step begins or ends."""

    state: SignInState
    api_id: int = 0
    api_hash: str = ""
    phone: str = ""
    phone_code_hash: str = ""
    code: str = ""
    password: str = ""
    account: str = ""
    error: str = ""


async def advance(client: TelegramClient, dialogue: Dialogue) -> Dialogue:
    """Take one step with a connected client; what Telegram refuses is in the result's `error`."""
    from telethon import errors

    given = replace(dialogue, code="", password="", error="")
    try:
        if dialogue.state is SignInState.REQUESTED:
            if await client.is_user_authorized():
                return await _signed_in(client, given)
            sent = await client.send_code_request(dialogue.phone)
            return replace(
                given, state=SignInState.CODE_NEEDED, phone_code_hash=sent.phone_code_hash
            )
        if dialogue.state is SignInState.CODE_GIVEN:
            await client.sign_in(
                dialogue.phone, dialogue.code, phone_code_hash=dialogue.phone_code_hash
            )
        else:
            await client.sign_in(password=dialogue.password)
        return await _signed_in(client, given)
    except errors.SessionPasswordNeededError:
        return replace(given, state=SignInState.PASSWORD_NEEDED)
    except (errors.PhoneCodeInvalidError, errors.PhoneCodeEmptyError):
        return replace(given, state=SignInState.CODE_NEEDED, error="the code is wrong")
    except errors.PhoneCodeExpiredError:
        return replace(
            given, state=SignInState.FAILED, error="the code has expired; ask for a new one"
        )
    except errors.PasswordHashInvalidError:
        return replace(given, state=SignInState.PASSWORD_NEEDED, error="the password is wrong")
    except errors.FloodWaitError as error:
        text = f"Telegram asks to wait {error.seconds} seconds before the next attempt"
        return replace(given, state=SignInState.FAILED, error=text)
    except (errors.RPCError, ValueError, TypeError) as error:
        return replace(given, state=SignInState.FAILED, error=_describe(error))


async def _signed_in(client: TelegramClient, dialogue: Dialogue) -> Dialogue:
    me = await client.get_me()
    name = f"@{me.username}" if getattr(me, "username", None) else str(getattr(me, "id", ""))
    return replace(dialogue, state=SignInState.SIGNED_IN, account=name, phone_code_hash="")


def _describe(error: Exception) -> str:
    # Telethon's texts end in "(caused by …Request)"; they hold no code, number or password.
    return f"{type(error).__name__}: {error}".partition(" (caused by")[0]


class SignIn:
    """Watches the row and owns the account; `tick` is called every few seconds."""

    def __init__(
        self,
        sessions: SessionFactory,
        session_file: Path,
        make_account: Callable[[Path, int, str], Account] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sessions = sessions
        self._file = session_file
        self._make_account = make_account or _make_account
        self._clock = clock
        self._again_at = 0.0
        self._api = (0, "")
        self._account: Account | None = None
        self.signed_in = False

    def tick(self) -> None:
        """Take the step that the row asks for, if any. Raises SQLAlchemyError."""
        dialogue = self._take()
        self.signed_in = dialogue.state is SignInState.SIGNED_IN
        if dialogue.state is SignInState.SIGNED_OUT:
            self._sign_out(dialogue)
        elif dialogue.state in _WANTS_ACTION and self._clock() >= self._again_at:
            result = self._step(dialogue)
            self._write(dialogue.state, result)
            self.signed_in = result.state is SignInState.SIGNED_IN
            log.info(
                "Telegram sign-in: %s%s",
                result.state.value,
                f" ({result.error})" if result.error else "",
            )

    def account(self) -> Account:
        """The signed-in account. Raises SourceError when nobody is signed in."""
        if not self.signed_in:
            raise SourceError("no Telegram account is signed in; sign in on the admin page")
        return self._account_for(self._read())

    def revoked(self, reason: str) -> None:
        """Note that Telegram no longer accepts the session."""
        self._write(SignInState.SIGNED_IN, Dialogue(SignInState.FAILED, error=reason))
        self.signed_in = False
        self.close()

    def close(self) -> None:
        """Disconnect."""
        account, self._account = self._account, None
        if account is not None:
            account.close()

    def _step(self, dialogue: Dialogue) -> Dialogue:
        if not (dialogue.api_id and dialogue.api_hash and dialogue.phone):
            return replace(
                dialogue,
                state=SignInState.FAILED,
                error="api_id, api_hash and phone number are all needed",
            )
        try:
            if dialogue.state is SignInState.REQUESTED:
                self._begin_anew(dialogue)
            account = self._account_for(dialogue)
            return account.run(lambda client: advance(client, dialogue))
        except Throttled as error:
            return replace(dialogue, state=SignInState.FAILED, error=str(error))
        except SourceError as error:
            self._again_at = self._clock() + _RETRY_SECONDS
            # The code was emptied when it was read, so it must be entered again.
            back = {
                SignInState.CODE_GIVEN: SignInState.CODE_NEEDED,
                SignInState.PASSWORD_GIVEN: SignInState.PASSWORD_NEEDED,
            }
            state = back.get(dialogue.state, dialogue.state)
            return replace(dialogue, state=state, error=str(error))
        except Exception as error:
            log.exception("unexpected error in the Telegram sign-in")
            text = f"unexpected error: {type(error).__name__}; see the scraper's log"
            return replace(dialogue, state=SignInState.FAILED, error=text)

    def _begin_anew(self, dialogue: Dialogue) -> None:
        # A client that has asked for a code before would only have the old one sent again.
        self.close()
        account = self._account_for(dialogue)
        if account.run(lambda client: _is_someone_else(client, dialogue.phone)):
            self._sign_out(dialogue)

    def _account_for(self, dialogue: Dialogue) -> Account:
        api = (dialogue.api_id, dialogue.api_hash)
        if self._account is not None and api != self._api:
            self.close()
        if self._account is None:
            self._api = api
            self._account = self._make_account(self._file, *api)
        return self._account

    def _sign_out(self, dialogue: Dialogue) -> None:
        if not self._file.exists():
            return
        try:
            if dialogue.api_id and dialogue.api_hash:
                self._account_for(dialogue).run(_log_out)
                log.info("signed out of Telegram")
        except Exception as error:
            # The file goes in any case: whoever signs out does not want it to be here.
            log.warning("Telegram did not take the sign-out: %s", type(error).__name__)
        finally:
            self.close()
            self._file.unlink(missing_ok=True)

    def _read(self) -> Dialogue:
        with self._sessions() as session:
            return _dialogue(session.get(TelegramSignIn, 1))

    def _take(self) -> Dialogue:
        dialogue = self._read()
        if not (dialogue.code or dialogue.password):
            return dialogue
        with transaction(self._sessions) as session:
            row = session.get(TelegramSignIn, 1, with_for_update=True)
            dialogue = _dialogue(row)
            if row is not None and self._clock() >= self._again_at:
                row.code = row.password = ""
        return dialogue

    def _write(self, expected: SignInState, result: Dialogue) -> None:
        with transaction(self._sessions) as session:
            row = session.get(TelegramSignIn, 1, with_for_update=True)
            if row is None or row.state is not expected:
                return  # the administrator began anew meanwhile
            row.state = result.state
            row.error = result.error[:500]
            row.code = row.password = ""
            row.phone_code_hash = result.phone_code_hash
            row.account = result.account


async def _is_someone_else(client: TelegramClient, phone: str) -> bool:
    me = await client.get_me()
    digits = "".join(filter(str.isdecimal, phone))
    return me is not None and (getattr(me, "phone", None) or digits) != digits


async def _log_out(client: TelegramClient) -> None:
    await client.log_out()


def _make_account(session_file: Path, api_id: int, api_hash: str) -> Account:
    from tg2em_scraper.account import Account

    return Account(session_file, api_id, api_hash)


def _dialogue(row: TelegramSignIn | None) -> Dialogue:
    if row is None:
        return Dialogue(SignInState.SIGNED_OUT)
    return Dialogue(
        state=row.state,
        api_id=row.api_id,
        api_hash=row.api_hash,
        phone=row.phone,
        phone_code_hash=row.phone_code_hash,
        code=row.code,
        password=row.password,
        account=row.account,
        error=row.error,
    )
