"""Mail by one SMTP server."""

import smtplib
import ssl
from email.headerregistry import Address
from email.message import EmailMessage

from taifish.config import Config

_SECONDS = 15


class MailError(Exception):
    """The mail did not go out; the message says why."""


def address(given: str) -> str:
    """Return an address that can stand in a header, or "" for what is none."""
    text = given.strip()
    if not text.isascii() or len(text) > 254 or any(sign.isspace() for sign in text):
        return ""
    try:
        found = Address(addr_spec=text)
    except Exception:  # the parser raises whatever it stumbles over
        return ""
    return text if found.username and "." in found.domain.strip(".") else ""


def send(config: Config, to: str, subject: str, text: str, unique: str) -> None:
    """Give a mail to the server; raises MailError. `unique` makes its Message-ID."""
    if not config.smtp_host:
        raise MailError("no mail server: set SMTP_HOST")
    message = EmailMessage()
    message["From"] = config.mail_from
    message["To"] = to
    # A title may hold whatever signs; a header no line breaks.
    message["Subject"] = " ".join(subject.split())
    message["Message-ID"] = f"<{unique}.taifish@{config.mail_from.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    try:
        with smtplib.SMTP(config.smtp_host, config.smtp_port, timeout=_SECONDS) as server:
            if config.smtp_starttls:
                server.starttls(context=ssl.create_default_context())
            if config.smtp_user:
                server.login(config.smtp_user, config.smtp_password)
            server.send_message(message)
    except (OSError, smtplib.SMTPException) as error:
        where = f"{config.smtp_host}:{config.smtp_port}"
        raise MailError(f"{where} did not take it: {error}") from error
