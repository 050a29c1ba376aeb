"""A link that shows its key and knows its server, against a server that asks for both."""

from __future__ import annotations

from pathlib import Path

import pytest
from server_rig import EchoPolicy, serving
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from controller.config import Policy
from controller.credentials import CredentialsError, headers, tls
from controller.link import _reason
from policy_server.access import tls_context

CERTIFICATE = Path(__file__).parent / "goldens" / "tls" / "server.pem"
KEY = "0123456789abcdef"


def key_file(path: Path, content: str = f"{KEY}\n", mode: int = 0o600) -> str:
    path.write_text(content, "utf-8")
    path.chmod(mode)
    return str(path)


def test_nothing_is_shown_to_a_server_that_asks_for_nothing() -> None:
    assert headers(Policy()) == {}
    assert tls(Policy()) is None


def test_a_server_with_key_and_certificate_lets_the_link_in(tmp_path: Path) -> None:
    context = tls_context(CERTIFICATE, CERTIFICATE.with_name("server-key.pem"))
    with serving(EchoPolicy(), tls=context, api_key=KEY) as port:
        policy = Policy(
            url=f"wss://localhost:{port}", api_key_file=key_file(tmp_path / "key"), tls_ca_file=str(CERTIFICATE)
        )
        with connect(policy.url, ssl=tls(policy), additional_headers=headers(policy), compression=None) as link:
            assert isinstance(link.recv(), bytes)


def test_a_wrong_key_is_told_by_the_name_of_its_setting() -> None:
    with serving(EchoPolicy(), api_key=KEY) as port:
        with pytest.raises(InvalidStatus) as refused, connect(f"ws://127.0.0.1:{port}", compression=None):
            pass
    assert "policy.api_key_file" in _reason(refused.value)


@pytest.mark.parametrize("content", ["", "\n", "two\nlines\n", "with space\n", "tab\tin it\n", "schlüssel\n"])
def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(CredentialsError, match=r"policy\.api_key_file .*key"):
        headers(Policy(api_key_file=key_file(tmp_path / "key", content)))


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="mode 640, others may use it; chmod 600"):
        headers(Policy(api_key_file=key_file(tmp_path / "key", mode=0o640)))


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="none"):
        headers(Policy(api_key_file=str(tmp_path / "none")))
    with pytest.raises(CredentialsError, match=r"policy\.tls_ca_file .*none"):
        tls(Policy(url="wss://localhost", tls_ca_file=str(tmp_path / "none")))


def test_a_file_that_is_no_certificate_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pem"
    path.write_text("hello")
    with pytest.raises(CredentialsError, match="is no PEM certificate"):
        tls(Policy(url="wss://localhost", tls_ca_file=str(path)))


def test_an_authority_without_tls_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="is not wss://"):
        Policy(tls_ca_file="ca.pem")
