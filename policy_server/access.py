"""Who may use the server: loopback or a key, and the files that hold the key and the certificate.

Runs in the policy server, before it listens and in each handshake. Always holds: nothing beyond this machine gets in
without a key unless the operator said so; a key is compared in constant time and is never printed.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path

from websockets.datastructures import Headers

MIN_KEY_CHARACTERS = 16
_MAX_KEY_FILE_BYTES = 4096


class AccessError(ValueError):
    """A way to listen that is refused. The text names the option or file and the remedy."""


def is_loopback(address: str) -> bool:
    """Whether an IP address, as text, belongs to this machine alone."""
    return ipaddress.ip_address(address).is_loopback


def check_host(host: str, *, has_key: bool, no_auth: bool) -> None:
    """Refuse to listen beyond loopback without a key, unless told to. Raises AccessError; OSError for no such host."""
    if has_key and no_auth:
        raise AccessError("--api-key-file and --no-auth contradict each other; give one")
    found = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    exposed = sorted({str(address[0]) for *_, address in found if not is_loopback(str(address[0]))})
    if exposed and not has_key and not no_auth:
        raise AccessError(
            f"--host {host!r} ({', '.join(exposed)}) lets other machines in: give --api-key-file FILE, "
            "or --no-auth where only trusted machines reach it"
        )


def credential(name: str, environ: Mapping[str, str] = os.environ) -> Path | None:
    """A file that systemd put aside for this service alone (LoadCredential=); None without one."""
    directory = environ.get("CREDENTIALS_DIRECTORY")
    path = Path(directory, name) if directory else None
    return path if path is not None and path.exists() else None


def read_api_key(path: Path) -> str:
    """The key in a file of one line. Raises AccessError for a file that others may read or that is no good key."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        raise AccessError(f"cannot read --api-key-file {path}: {error.strerror}") from error
    foreign = 0o007 if path == credential(path.name) else 0o077  # an access list shows as the group's rights
    if mode & foreign:
        raise AccessError(f"--api-key-file {path} has mode {mode & 0o777:o}, others may use it; run: chmod 600 {path}")
    lines = content.splitlines()
    if len(content) > _MAX_KEY_FILE_BYTES or len(lines) != 1:
        raise AccessError(f"--api-key-file {path} must hold one line, the key; make one with: openssl rand -hex 32")
    key = lines[0].decode("latin-1")
    if not all("!" <= character <= "~" for character in key):
        raise AccessError(f"--api-key-file {path}: a key has printable ASCII characters and no spaces")
    if len(key) < MIN_KEY_CHARACTERS:
        raise AccessError(
            f"--api-key-file {path}: the key has {len(key)} characters, at least {MIN_KEY_CHARACTERS} are needed; "
            "make one with: openssl rand -hex 32"
        )
    return key


def shows_key(headers: Headers, key: str) -> bool:
    """Whether a request carries openpi's header `Authorization: Api-Key <key>`, once, with this key."""
    given = headers.get_all("Authorization")
    expected = f"Api-Key {key}".encode()
    return len(given) == 1 and hmac.compare_digest(given[0].encode(errors="surrogateescape"), expected)


def tls_context(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """What serves wss:// with these PEM files; None without them. Raises AccessError."""
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise AccessError("--tls-cert and --tls-key belong together; give both or neither")
    for option, path in (("--tls-cert", certificate), ("--tls-key", key)):
        if not os.access(path, os.R_OK):
            raise AccessError(f"cannot read {option} {path}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password="")  # an encrypted key is refused, not asked about
    except (OSError, ValueError) as error:
        raise AccessError(
            f"--tls-cert {certificate} and --tls-key {key} are not a PEM certificate and its unencrypted key: {error}"
        ) from error
    return context
