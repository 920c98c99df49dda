"""The ways to tell somebody. Each runs as a plug-in, in a helper; `send` raises when it fails.

A message is a mapping: `state` (`firing`, `resolved`, `many`, `test`), `kind`, `process`,
`summary`, `reason`, `since`, `at` (Unix seconds), `count`, `repeated`, `host`.
"""

from __future__ import annotations

import http.client
import json
import string
import subprocess
import urllib.request
from typing import Any

TIMEOUT = 20.0


def secret(path: str) -> str:
    """Return what a file holds; a secret stays out of configuration, environment and logs."""
    with open(path, encoding="utf-8") as file:
        text = file.read(65536).strip()
    if not text:
        raise ValueError(f"{path} is empty")
    return text


def filled(body: Any, message: dict[str, Any]) -> Any:
    """Return a body with `$summary`, `$host` and the like filled in, wherever in it."""
    if isinstance(body, str):
        return string.Template(body).safe_substitute(message)
    if isinstance(body, dict):
        return {key: filled(value, message) for key, value in body.items()}
    if isinstance(body, list):
        return [filled(value, message) for value in body]
    return body


def text(message: dict[str, Any]) -> str:
    """Return a message for people."""
    head = f"[{message['host']}] {message['summary']}"
    extra = message["reason"] if message["state"] == "many" else ""
    return f"{head}\n{extra}".strip()


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """Goes nowhere else: headers hold secrets, and a POST would become a GET that tells nobody."""

    def redirect_request(self, *_: Any) -> None:
        """Have the answer be an error."""


def post(url: str, data: bytes, headers: dict[str, str]) -> None:
    """Send by HTTP; raises for any answer but 2xx."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("the address must begin with http:// or https://")
    request = urllib.request.Request(url, data, headers)  # noqa: S310 - just checked
    try:
        # Not read: it has arrived, however long the rest of the answer takes.
        urllib.request.build_opener(NoRedirects).open(request, timeout=TIMEOUT).close()
    except urllib.error.HTTPError as error:
        said = error.read(200).decode("utf-8", "replace")
        raise OSError(f"HTTP status {error.code}: {said}") from None
    except urllib.error.URLError as error:
        # Not as it is: it may tell the address, and that may be a secret.
        raise OSError(str(error.reason)) from None
    except (http.client.InvalidURL, ValueError):
        raise OSError("the address or a header has characters that it cannot have") from None


class Webhook:
    """Posts JSON to an address: the message, or `body` with `$summary` and so on filled in."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings

    def send(self, message: dict[str, Any]) -> None:
        """Send it."""
        file = self.settings.get("url_file")
        url = secret(file) if file else self.settings["url"]
        body = filled(self.settings.get("body", message), message)
        headers = {"Content-Type": "application/json", **self.settings.get("headers", {})}
        post(url, json.dumps(body).encode(), headers)


class Mail:
    """Sends mail by SMTP: `tls` is `starttls`, `tls` or `none`."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings

    def send(self, message: dict[str, Any]) -> None:
        """Send it."""
        import smtplib
        import ssl
        from email.message import EmailMessage

        settings = self.settings
        mail = EmailMessage()
        mail["From"], mail["To"] = settings["from"], settings["to"]
        # A header has one line, whatever a process has said.
        mail["Subject"] = " ".join(text(message).split())[:200]
        facts = "\n".join(f"{key}: {value}" for key, value in message.items())
        mail.set_content(f"{text(message)}\n\n{facts}\n")
        tls = settings.get("tls", "none")
        host, port = settings.get("host", "127.0.0.1"), int(settings.get("port", 25))
        if tls == "tls":
            context = ssl.create_default_context()
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=TIMEOUT, context=context)
        else:
            server = smtplib.SMTP(host, port, timeout=TIMEOUT)
        with server:
            if tls == "starttls":
                server.starttls(context=ssl.create_default_context())
            if "user" in settings:
                server.login(settings["user"], secret(settings["password_file"]))
            server.send_message(mail)


class Command:
    """Runs a command with the message as JSON on its standard input."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.command = settings["command"]

    def send(self, message: dict[str, Any]) -> None:
        """Send it."""
        done = subprocess.run(
            self.command, input=json.dumps(message).encode() + b"\n", capture_output=True,
            timeout=TIMEOUT, check=False,
        )  # fmt: skip
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip()[-200:]
            raise OSError(f"{self.command[0]} ended with {done.returncode}: {said}")


class Telegram:
    """Sends a message by a Telegram bot (core.telegram.org/bots/api#sendmessage)."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings

    def send(self, message: dict[str, Any]) -> None:
        """Send it."""
        base = self.settings.get("url", "https://api.telegram.org").rstrip("/")
        url = f"{base}/bot{secret(self.settings['token_file'])}/sendMessage"
        body = {"chat_id": self.settings["chat_id"], "text": text(message)[:4096]}
        post(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
