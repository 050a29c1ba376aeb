"""What the policy link shows a server that asks for it, and by what it knows the server: files that the config names.

Runs in the policy link, before each connection, so that a key that was replaced is taken up. Always holds: a key that
others on this machine may read is refused, and none is ever printed.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from controller.config import Policy


class CredentialsError(ValueError):
    """A key or certificate that cannot be used. The text names the config's key, the file and the remedy."""


class NotOurKeyError(CredentialsError):
    """The key is there, and is another user's: the installed daemon's, for example."""


def headers(policy: Policy) -> dict[str, str]:
    """openpi's `Authorization: Api-Key <key>`, or nothing. Raises CredentialsError."""
    if policy.api_key_file is None:
        return {}
    path = Path(policy.api_key_file)
    try:
        with path.open(encoding="ascii") as file:
            mode, lines = os.fstat(file.fileno()).st_mode & 0o777, file.read().splitlines()
    except PermissionError as error:
        raise NotOurKeyError(f"policy.api_key_file {path} is another user's: {error.strerror}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialsError(f"policy.api_key_file {path} cannot be read: {error}") from error
    if mode & 0o077:
        raise CredentialsError(f"policy.api_key_file {path} has mode {mode:o}, others may use it; chmod 600 {path}")
    if len(lines) != 1 or not lines[0].isprintable() or not lines[0].strip() or " " in lines[0]:
        raise CredentialsError(f"policy.api_key_file {path} must hold one line, the key that the server has")
    return {"Authorization": f"Api-Key {lines[0]}"}


def tls(policy: Policy) -> ssl.SSLContext | None:
    """For wss://: trusts `tls_ca_file`, or this machine's authorities without one. Raises CredentialsError."""
    if not policy.url.startswith("wss://"):
        return None
    try:
        return ssl.create_default_context(cafile=policy.tls_ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise CredentialsError(f"policy.tls_ca_file {policy.tls_ca_file} is no PEM certificate: {error}") from error
