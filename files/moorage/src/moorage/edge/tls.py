"""Certificates: self-signed, the operator's own, or from an ACME server by certbot."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from moorage.edge.errors import EdgeError
from moorage.edge.model import Settings
from moorage.edge.nginx import run, tail
from moorage.edge.store import Store

ACME_UNIT = "moorage-edge-acme.service"
# For names that nobody has here; a stranger who connects learns nothing from it.
_NOBODY = "invalid"
_LONGEST_COMMON_NAME = 64


def certificates(
    store: Store, settings: Settings, domains: Sequence[str]
) -> dict[str, tuple[str, str]]:
    """Return certificate and key of each domain, and of "" for names that nobody has.

    A self-signed pair is made where one is wanted or where the ACME server's has not come yet.
    Raises EdgeError for a domain that none of the operator's certificates is for.
    """
    if settings.tls == "off" or not domains:
        return {}
    found = {"": _self_signed(store, _NOBODY)}
    for domain in domains:
        if settings.tls == "files":
            found[domain] = own_certificate(settings, domain)
        elif settings.tls == "acme" and acme_certificate(store, domain).exists():
            live = acme_certificate(store, domain)
            found[domain] = str(live), str(live.with_name("privkey.pem"))
        else:
            found[domain] = _self_signed(store, domain)
    return found


def acme_certificate(store: Store, domain: str) -> Path:
    """Return where certbot leaves the newest certificate of a domain."""
    return store.base / "acme" / "config" / "live" / domain / "fullchain.pem"


def missing(store: Store, settings: Settings, domains: Iterable[str]) -> list[str]:
    """Return the domains whose certificate is still to be had from the ACME server."""
    if settings.tls != "acme":
        return []
    return [domain for domain in domains if not acme_certificate(store, domain).exists()]


def wake_acme(store: Store, settings: Settings, domains: Iterable[str]) -> None:
    """Have missing certificates fetched, without waiting: an update does not depend on it."""
    if missing(store, settings, domains):
        run(["systemctl", "start", "--no-block", ACME_UNIT])


def obtain(store: Store, settings: Settings, domains: Sequence[str]) -> list[str]:
    """Fetch what is missing, renew what is due, and return what went wrong, [] for nothing.

    nginx has to read the files afterwards (`Edge.reload`).
    """
    webroot = store.base / "acme" / "webroot"
    webroot.mkdir(mode=0o755, parents=True, exist_ok=True)
    troubles = []
    for domain in missing(store, settings, domains):
        argv = ["certonly", "--webroot", "--webroot-path", str(webroot)]
        argv += ["--domain", domain, "--cert-name", domain, "--key-type", "ecdsa"]
        troubles += _certbot(store, settings, [*argv, *_account(settings)], domain)
    if any((store.base / "acme" / "config" / "renewal").glob("*.conf")):
        troubles += _certbot(store, settings, ["renew", "--no-random-sleep-on-renew"], "renewal")
    return troubles


def stamps(store: Store, domains: Iterable[str]) -> dict[str, str]:
    """Return what tells whether a domain's certificate is another one: where its link leads."""
    found = {}
    for domain in domains:
        path = acme_certificate(store, domain)
        found[domain] = os.readlink(path) if path.is_symlink() else ""
    return found


def _account(settings: Settings) -> list[str]:
    server = ["--server", settings.acme_directory] if settings.acme_directory else []
    options = [*server, "--agree-tos"]
    if settings.acme_contact:
        return [*options, "--email", settings.acme_contact, "--no-eff-email"]
    return [*options, "--register-unsafely-without-email"]


def _certbot(store: Store, settings: Settings, argv: list[str], what: str) -> list[str]:
    directory = store.base / "acme"
    places: Mapping[str, str] = {
        "--config-dir": str(directory / "config"),
        "--work-dir": str(directory / "work"),
        "--logs-dir": f"{settings.log_dir}/certbot",
    }
    options = [word for pair in places.items() for word in pair]
    command = ["certbot", *argv, "--non-interactive", *options]
    if settings.acme_ca_bundle:
        command = ["env", f"REQUESTS_CA_BUNDLE={settings.acme_ca_bundle}", *command]
    done = run(command, timeout_seconds=600.0)
    return [] if done.returncode == 0 else [f"{what}: certbot failed:\n{tail(done.stdout)}"]


def own_certificate(settings: Settings, domain: str) -> tuple[str, str]:
    """Return the operator's certificate for a domain, and its key; EdgeError when there is none."""
    parent = "*." + domain.partition(".")[2]
    for entry in settings.certificates:
        names = entry.get("domains") or []
        if not names or domain in names or parent in names:
            return entry["certificate"], entry["key"]
    raise EdgeError(
        f"edge_certificates: none is for {domain}; add one, or set edge_tls to selfsigned or acme"
    )


def _self_signed(store: Store, name: str) -> tuple[str, str]:
    directory = store.tls / "selfsigned"
    certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
    if not (certificate.exists() and key.exists()):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        common = name if len(name) <= _LONGEST_COMMON_NAME else "edge"
        argv = ["openssl", "req", "-x509", "-nodes", "-days", "3650", "-newkey", "ec"]
        argv += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", f"/CN={common}"]
        argv += ["-addext", f"subjectAltName=DNS:{name}"]
        scratch = key.with_suffix(".new")
        scratch.unlink(missing_ok=True)
        scratch.touch(mode=0o600)
        done = run([*argv, "-keyout", str(scratch), "-out", str(certificate)])
        if done.returncode != 0:
            raise EdgeError(f"openssl made no certificate for {name}:\n{tail(done.stdout)}")
        scratch.chmod(0o600)
        scratch.replace(key)
    return str(certificate), str(key)
