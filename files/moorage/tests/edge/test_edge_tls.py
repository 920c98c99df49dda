"""TLS at a real edge: names, protocols, redirects, and certificates of the operator's own."""

from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from edge_rig import Application, EdgeRig, free_port, get, until

from moorage.edge import EdgeError
from moorage.edge.tls import acme_certificate

Start = Callable[..., Application]
ROUTES = [{"path": "/", "pool": "web:80"}]


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, image: str) -> Iterator[EdgeRig]:
    """An edge with self-signed certificates."""
    assert image
    made = EdgeRig(tmp_path_factory.mktemp("t"), tls="selfsigned")
    try:
        made.provision()
        yield made
    finally:
        made.remove()


def handshake(
    rig: EdgeRig, name: str, *alpn: str, version: ssl.TLSVersion | None = None
) -> ssl.SSLSocket:
    """Return a connection to the edge as `name`; what it shows is not checked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if version:
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
    return context.wrap_socket(
        socket.create_connection(("127.0.0.1", rig.https), timeout=20), server_hostname=name
    )


def subject(rig: EdgeRig, name: str) -> str:
    """Return whom the certificate is for that the edge shows to who asks for `name`."""
    with handshake(rig, name) as connection:
        shown = ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True) or b"")
    argv = ["openssl", "x509", "-noout", "-subject", "-nameopt", "compat"]
    done = subprocess.run(argv, input=shown, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def ask(
    rig: EdgeRig, name: str, path: str = "/", host: str = ""
) -> tuple[int, dict[str, str], bytes]:
    """Ask over TLS and return status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", rig.https, timeout=20)
    connection.sock = handshake(rig, name)
    connection.request("GET", path, headers={"Host": host or name})
    answer = connection.getresponse()
    found = answer.status, dict(answer.headers), answer.read()
    connection.close()
    return found


def test_each_name_has_its_certificate_and_strangers_learn_none(
    secure: EdgeRig, application: Start
) -> None:
    server = application()
    secure.stack("shop", server.peer, domains=["a.example.com", "b.example.com"], routes=ROUTES)
    assert subject(secure, "a.example.com") == "subject=/CN=a.example.com"
    assert subject(secure, "b.example.com") == "subject=/CN=b.example.com"
    assert subject(secure, "else.example.com") == "subject=/CN=invalid"
    status, headers, body = ask(secure, "a.example.com")
    assert status == 200
    assert b'"x-forwarded-proto": "https"' in body
    assert "Strict-Transport-Security" not in headers
    status, _, body = ask(secure, "else.example.com")
    assert (status, b"a.example.com" in body) == (421, False)
    assert ask(secure, "a.example.com", host="b.example.com")[0] == 200
    assert ask(secure, "a.example.com", host="else.example.com")[0] == 421


def test_http_leads_to_https(secure: EdgeRig, application: Start) -> None:
    secure.stack("led", application().peer, domains=["led.example.com"], routes=ROUTES)
    answer = get(secure.http, "/a?b=c", method="POST", Host="led.example.com")
    assert answer.status == 308
    assert answer.headers["Location"] == f"https://led.example.com:{secure.https}/a?b=c"
    assert get(secure.http, Host="else.example.com").status == 404
    inside = get(secure.probe, Host="led.example.com")
    assert inside.json()["headers"]["host"] == "led.example.com", "what a rollout asks"
    webroot = secure.edge.store.base / "acme" / "webroot" / ".well-known" / "acme-challenge"
    webroot.mkdir(parents=True)
    (webroot / "token").write_text("proof")
    for directory in [*webroot.parents][:-1]:
        if directory.is_relative_to("/tmp/pytest-of-root"):
            directory.chmod(0o755)
    challenge = get(secure.http, "/.well-known/acme-challenge/token", Host="led.example.com")
    assert (challenge.status, challenge.body) == (200, b"proof")


def test_an_acme_servers_question_is_answered_by_the_edge_by_https_too(
    secure: EdgeRig, application: Start
) -> None:
    server = application()
    secure.stack("asked", server.peer, domains=["asked.example.com"], routes=ROUTES)
    webroot = secure.edge.store.base / "acme" / "webroot" / ".well-known" / "acme-challenge"
    webroot.mkdir(parents=True, exist_ok=True)
    (webroot / "word").write_text("it is me")
    path = "/.well-known/acme-challenge/"
    assert ask(secure, "asked.example.com", f"{path}word")[::2] == (200, b"it is me")
    assert ask(secure, "asked.example.com", f"{path}none")[0] == 404
    assert server.asked == []


def test_only_a_named_proxys_word_for_https_ends_the_redirection(
    secure: EdgeRig, application: Start
) -> None:
    server = application()
    secure.stack("proxied", server.peer, domains=["proxied.example.com"], routes=ROUTES)
    said = {"Host": "proxied.example.com", "X_Forwarded_Proto": "https"}
    assert get(secure.http, "/x", **said).status == 308
    secure.provision(trusted_proxies=["127.0.0.1"])
    try:
        answer = get(secure.http, "/x", **said)
        assert answer.status == 200
        assert answer.json()["headers"]["x-forwarded-proto"] == "https"
        assert get(secure.http, "/x", Host="proxied.example.com").status == 308
        # The rig writes hyphens for underscores; this one stays as a stranger would send it.
        with socket.create_connection(("127.0.0.1", secure.http), timeout=20) as connection:
            head = "GET /x HTTP/1.1\r\nHost: proxied.example.com\r\nX_Forwarded_Proto: https"
            connection.sendall(f"{head}\r\nConnection: close\r\n\r\n".encode())
            assert connection.recv(4096).split()[1] == b"308"
    finally:
        secure.provision(trusted_proxies=[])


def test_http_stays_where_it_is_not_to_be_redirected(secure: EdgeRig, application: Start) -> None:
    secure.stack("both", application().peer, domains=["both.example.com"], routes=ROUTES)
    secure.provision(redirect_to_https=False)
    assert (
        get(secure.http, Host="both.example.com").json()["headers"]["x-forwarded-proto"] == "http"
    )
    secure.provision(redirect_to_https=True)


def test_hsts_is_for_who_asks_for_it(secure: EdgeRig, application: Start) -> None:
    options = {"hsts_seconds": 31536000}
    secure.stack(
        "hsts", application().peer, domains=["hsts.example.com"], routes=ROUTES, options=options
    )
    headers = ask(secure, "hsts.example.com")[1]
    assert headers["Strict-Transport-Security"] == "max-age=31536000"


@pytest.mark.parametrize(
    ("version", "welcome"),
    [
        (ssl.TLSVersion.TLSv1, False),
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_protocols_are_refused(
    secure: EdgeRig, application: Start, version: ssl.TLSVersion, welcome: bool
) -> None:
    secure.stack("modern", application().peer, domains=["modern.example.com"], routes=ROUTES)
    if welcome:
        handshake(secure, "modern.example.com", version=version).close()
    else:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            handshake(secure, "modern.example.com", version=version)


def test_http_2_is_spoken(secure: EdgeRig, application: Start) -> None:
    server = application()
    secure.stack("two", server.peer, domains=["two.example.com"], routes=ROUTES)
    with handshake(secure, "two.example.com", "h2", "http/1.1") as connection:
        assert connection.selected_alpn_protocol() == "h2"
    where = f"two.example.com:{secure.https}"
    argv = ["curl", "--silent", "--insecure", "--http2", "--data-binary", "@-"]
    argv += ["--connect-to", f"{where}:127.0.0.1:{secure.https}", "--write-out", "%{http_version}"]
    argv += ["--header", "Content-Length:", f"https://{where}/upload"]
    done = subprocess.run(argv, input=b"x" * 70000, capture_output=True, check=True)
    assert b'"received": 70000' in done.stdout
    assert done.stdout.endswith(b"}2")
    until(lambda: secure.edge.in_flight([server.peer]) == {server.peer: 0})


def pair(directory: Path, name: str) -> dict[str, str]:
    """Return the texts of a certificate and its key."""
    argv = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-newkey", "rsa:2048"]
    argv += ["-subj", f"/CN={name}", "-keyout", f"{directory}/k", "-out", f"{directory}/c"]
    subprocess.run(argv, capture_output=True, check=True)
    return {
        "certificate": (directory / "c").read_text(),
        "key": (directory / "k").read_text(),
    }


def test_certificates_of_the_operators_own(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, image: str, application: Start
) -> None:
    assert image
    own = EdgeRig(tmp_path_factory.mktemp("o"), tls="files")
    try:
        wild = {**pair(tmp_path, "wild"), "domains": ["*.example.com"]}
        own.document["certificates"] = [wild]
        own.provision()
        facts = {"domains": ["x.example.com"], "routes": ROUTES}
        port = own.stack("mine", application().peer, **facts)
        assert subject(own, "x.example.com") == "subject=/CN=wild"
        keys = list((own.edge.store.tls / "own").glob("*.key"))
        assert [oct(key.stat().st_mode & 0o777) for key in keys] == ["0o600"]
        with pytest.raises(EdgeError, match="edge_certificates: none is for other"):
            own.stack("other", **{**facts, "domains": ["other.example.org"]})
        # A key that is not the certificate's is nginx's to find, and changes nothing.
        own.document["certificates"] = [{**wild, "key": pair(tmp_path, "wild")["key"]}]
        with pytest.raises(EdgeError, match=r"nginx refuses(.|\n)*key values mismatch"):
            own.provision()
        assert get(port).status == 200
        own.document["certificates"] = [{**pair(tmp_path, "renewed"), "domains": []}]
        assert own.provision()
        assert subject(own, "x.example.com") == "subject=/CN=renewed"
    finally:
        own.remove()


def test_a_name_is_served_before_its_acme_certificate_is_there(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, image: str, application: Start
) -> None:
    assert image
    own = EdgeRig(tmp_path_factory.mktemp("a"), tls="selfsigned")
    try:
        own.provision()
        own.stack("soon", application().peer, domains=["soon.example.com"], routes=ROUTES)
        assert subject(own, "soon.example.com") == "subject=/CN=soon.example.com"
        # As certbot leaves it; the timer and certbot itself are tried on a host with systemd.
        live = acme_certificate(own.edge.store, "soon.example.com")
        live.parent.mkdir(parents=True)
        texts = pair(tmp_path, "issued")
        live.write_text(texts["certificate"])
        live.with_name("privkey.pem").write_text(texts["key"])
        settings = own.edge.store.settings_file
        settings.write_text(settings.read_text().replace('"selfsigned"', '"acme"'))
        own.edge.reload()
        assert subject(own, "soon.example.com") == "subject=/CN=issued"
    finally:
        own.remove()


def test_ports_of_domains_are_open_only_where_there_are_domains(
    tmp_path_factory: pytest.TempPathFactory, image: str
) -> None:
    assert image
    own = EdgeRig(tmp_path_factory.mktemp("p"), tls="selfsigned")
    try:
        own.provision()
        own.stack("quiet", f"127.0.0.1:{free_port()}")
        for port in (own.http, own.https):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=5)
    finally:
        own.remove()
