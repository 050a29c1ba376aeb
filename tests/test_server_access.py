"""Who gets in: loopback, the key, and wss with a certificate."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from server_rig import (
    HANDSHAKE,
    PATIENCE_S,
    STATE,
    EchoPolicy,
    ask,
    client,
    command,
    get,
    scrape,
    serving,
    stock_client,
)
from websockets.asyncio.client import connect as asyncio_connect
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from policy_server import endpoints
from policy_server.access import AccessError, check_host, is_loopback, read_api_key, shows_key, tls_context
from policy_server.protocol import unpack

TLS = Path(__file__).parent / "goldens" / "tls"
CERTIFICATE, CERTIFICATE_KEY = TLS / "server.pem", TLS / "server-key.pem"
KEY = "0123456789abcdef"

pytestmark = pytest.mark.filterwarnings("ignore:connect.. must be used as a context:DeprecationWarning")

# ---- where to listen -------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    check_host(host, has_key=False, no_auth=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", ""])
def test_beyond_loopback_a_key_or_a_word_is_needed(host: str) -> None:
    with pytest.raises(AccessError, match="give --api-key-file FILE, or --no-auth"):
        check_host(host, has_key=False, no_auth=False)
    check_host(host, has_key=True, no_auth=False)
    check_host(host, has_key=False, no_auth=True)


def test_addresses_of_this_machine() -> None:
    assert is_loopback("127.0.0.1")
    assert is_loopback("::1")
    assert not is_loopback("10.0.0.1")


# ---- the key ---------------------------------------------------------------------------------------


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("content", [KEY, KEY + "\n", KEY + "\r\n", "~!" * 16])
def test_a_key_file_holds_one_line(tmp_path: Path, content: str) -> None:
    assert read_api_key(write(tmp_path / "key", content.encode())) == content.strip()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "must hold one line"),
        (b"\n", "has 0 characters, at least 16"),
        (b"0123456789abcde\n", "has 15 characters, at least 16"),
        (KEY.encode() + b"\n" + KEY.encode(), "must hold one line"),
        (b"a" * 5000, "must hold one line"),
        (b"0123456789 abcdef", "no spaces"),
        ("0123456789abcdéf".encode(), "printable ASCII"),
        (b"0123456789abcde\0f", "printable ASCII"),
    ],
)
def test_what_is_no_good_key_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    with pytest.raises(AccessError, match=re.escape(complaint)) as refused:
        read_api_key(write(tmp_path / "key", content))
    assert KEY not in str(refused.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "key", KEY.encode(), mode)
    with pytest.raises(AccessError, match=f"has mode {mode:o}, others may use it; run: chmod 600 {path}"):
        read_api_key(path)


def test_a_key_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match=r"cannot read --api-key-file .*none: No such file"):
        read_api_key(tmp_path / "none")


@pytest.mark.parametrize(
    ("values", "admitted"),
    [
        ([f"Api-Key {KEY}"], True),
        ([], False),
        ([""], False),
        ([KEY], False),
        (["Api-Key"], False),
        ([f"Api-Key {KEY}x"], False),
        ([f"Api-Key {KEY[:-1]}"], False),
        ([f"Bearer {KEY}"], False),
        ([f"Api-Key {KEY}", f"Api-Key {KEY}"], False),
        (["Api-Key \xff\xfe"], False),
    ],
)
def test_the_header_must_hold_the_key_once(values: list[str], admitted: bool) -> None:
    headers = Headers()
    for value in values:
        headers["Authorization"] = value
    assert shows_key(headers, KEY) is admitted


@pytest.fixture
def port() -> Iterator[int]:
    with serving(EchoPolicy(), api_key=KEY) as port:
        yield port


def test_the_stock_client_gets_in_with_its_key(port: int) -> None:
    with stock_client(port, api_key=KEY) as stock:
        assert stock.infer(STATE)["actions"].shape == (50, 14)


@pytest.mark.parametrize("header", [{}, {"Authorization": "Api-Key wrong"}])
def test_no_key_or_a_wrong_one_ends_before_the_handshake(port: int, header: dict[str, str]) -> None:
    with pytest.raises(InvalidStatus) as refused, client(port, additional_headers=header):
        pass
    assert refused.value.response.status_code == 401
    assert refused.value.response.headers["WWW-Authenticate"] == "Api-Key"
    metrics = scrape(port)
    assert metrics['pi0_server_connections_refused_total{reason="unauthorized"}'] == 1
    assert metrics["pi0_server_clients"] == 0


def test_a_header_that_is_not_text_is_no_key(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(HANDSHAKE.removesuffix(b"\r\n") + b"Authorization: Api-Key \xff\xfe\r\n\r\n")
        assert connection.recv(100).split()[1] in (b"400", b"401")


def test_the_stock_client_without_the_key_is_told(port: int) -> None:
    with pytest.raises(InvalidStatus, match="401"), stock_client(port):
        pass


def test_health_is_open_and_the_rest_is_not(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert get(port, "/healthz") == (200, b"OK\n")
    assert get(port, "/readyz")[0] == 200
    assert get(port, "/")[0] == 401
    assert get(port, "/", {"Authorization": f"Api-Key {KEY}"})[0] == 426
    assert get(port, "/metrics")[0] == 200
    monkeypatch.setattr(endpoints, "is_loopback", lambda address: False)
    assert get(port, "/metrics")[0] == 401
    assert get(port, "/metrics", {"Authorization": f"Api-Key {KEY}"})[0] == 200


@pytest.mark.parametrize("origin", ["https://example.com", "http://localhost:8000", "null", ""])
@pytest.mark.parametrize("key", [{}, {"Authorization": f"Api-Key {KEY}"}])
def test_a_web_page_does_not_get_in(port: int, key: dict[str, str], origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused, client(port, additional_headers={"Origin": origin, **key}):
        pass
    assert refused.value.response.status_code == 403
    metrics = scrape(port)
    assert metrics['pi0_server_connections_refused_total{reason="origin"}'] == 1
    assert metrics["pi0_server_clients"] == 0
    assert get(port, "/healthz", {"Origin": origin}) == (200, b"OK\n")


# ---- TLS -------------------------------------------------------------------------------------------


@pytest.fixture
def tls_port() -> Iterator[int]:
    with serving(EchoPolicy(), tls=tls_context(CERTIFICATE, CERTIFICATE_KEY), api_key=KEY) as port:
        yield port


def test_wss_serves_a_client_that_trusts_the_certificate(tls_port: int) -> None:
    trust = ssl.create_default_context(cafile=CERTIFICATE)
    header = {"Authorization": f"Api-Key {KEY}"}
    with connect(f"wss://localhost:{tls_port}", ssl=trust, compression=None, additional_headers=header) as connection:
        assert unpack(connection.recv(PATIENCE_S))["policy"] == "echo"
        assert ask(connection, STATE)["n"] == 1
    with contextlib.closing(http.client.HTTPSConnection("localhost", tls_port, context=trust)) as plain:
        plain.request("GET", "/healthz")
        assert plain.getresponse().read() == b"OK\n"


def test_the_stock_client_speaks_wss(tls_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with stock_client(tls_port, KEY, "wss://localhost") as stock:
        assert stock.infer(STATE)["actions"].shape == (50, 14)


def test_wss_is_not_served_to_who_does_not_trust_it(tls_port: int) -> None:
    with pytest.raises(ssl.SSLCertVerificationError), connect(f"wss://localhost:{tls_port}"):
        pass


def test_without_files_there_is_no_tls() -> None:
    assert tls_context(None, None) is None


def test_tls_files_that_do_not_work_are_refused(tmp_path: Path) -> None:
    other = write(tmp_path / "other", b"not PEM")
    encrypted = write(tmp_path / "encrypted", ENCRYPTED_KEY)
    with pytest.raises(AccessError, match="belong together"):
        tls_context(CERTIFICATE, None)
    with pytest.raises(AccessError, match=r"cannot read --tls-key .*none"):
        tls_context(CERTIFICATE, tmp_path / "none")
    for certificate, key in ((other, CERTIFICATE_KEY), (CERTIFICATE, other), (CERTIFICATE, encrypted), (TLS, TLS)):
        with pytest.raises(AccessError, match="are not a PEM certificate and its unencrypted key"):
            tls_context(certificate, key)


ENCRYPTED_KEY = b"""-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHrMFYGCSqGSIb3DQEFDTBJMCgGCSqGSIb3DQEFDDAbBAgTRWQuug4J6gIBATAM
BggqhkiG9w0CCQUAMB0GCWCGSAFlAwQBAgQQKq2/wVbC93jOpZCtx36k+QSBkDen
Ff3EWkO+tKjmvG82Z3FbfEQb2NehF8Dj0YpqEm4qh7jxeba4VUcDhaw+3UARiDv7
fp7jQe2xpZ9D1Pvah7svcSdeRrkgdnxtPyhvlQYH7p6Yaic3be4WkFudr6yLiiyg
4G+/mV1fZfaZ8lsMo9bNJZTTGFrA/QrWug+drqnom+RzmdISwMbzwt+3WpXOsg==
-----END ENCRYPTED PRIVATE KEY-----
"""

# ---- the command -----------------------------------------------------------------------------------


async def told(url: str, trust: ssl.SSLContext) -> dict[str, Any]:
    """The metadata, by the kind of client that the controller is. The threaded one has been seen to take its own
    handshake over TLS for a closed stream on a busy machine."""
    async with asyncio_connect(url, ssl=trust, additional_headers={"Authorization": f"Api-Key {KEY}"}) as connection:
        return unpack(await asyncio.wait_for(connection.recv(), PATIENCE_S))


def test_the_command_takes_a_key_and_a_certificate(tmp_path: Path) -> None:
    key = write(tmp_path / "key", KEY.encode())
    options = ["--api-key-file", str(key), "--tls-cert", str(CERTIFICATE), "--tls-key", str(CERTIFICATE_KEY)]
    trust = ssl.create_default_context(cafile=CERTIFICATE)
    with command("--host", "0.0.0.0", "--port", "0", *options) as process:
        try:
            line = process.stdout.readline()
            found = re.match(r"listening on (wss://0\.0\.0\.0:(\d+)) policy=scripted$", line)
            assert found, line
            url = found[1].replace("0.0.0.0", "localhost")
            with pytest.raises(InvalidStatus, match="401"), connect(url, ssl=trust):
                pass
            assert asyncio.run(told(url, trust))["policy"] == "scripted"
            process.terminate()
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
        log = process.stderr.read()
    assert "exposed" not in log
    assert KEY not in log


def test_the_command_warns_that_a_key_travels_unencrypted(tmp_path: Path) -> None:
    key = write(tmp_path / "key", KEY.encode())
    with command("--host", "0.0.0.0", "--port", "0", "--api-key-file", str(key)) as process:
        try:
            assert process.stdout.readline().startswith("listening on ws://0.0.0.0:")
            process.terminate()
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
        assert "the key crosses the network unencrypted" in process.stderr.read()


def test_the_command_refuses_a_key_that_others_may_read(tmp_path: Path) -> None:
    key = write(tmp_path / "key", KEY.encode(), 0o644)
    with command("--api-key-file", str(key)) as process:
        _, log = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 78
    assert (
        log
        == f"pi0-policy-server: --api-key-file {key} has mode 644, others may use it; run: chmod 600 {key}{os.linesep}"
    )
