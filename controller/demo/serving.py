"""The demo's policy server: a program like any other, awaited until it is warm.

A toy checkpoint is made first where the demo wants one, in a program too: nothing here imports the policy server.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from controller.demo.options import Options, server_command, toy_command
from controller.demo.paths import Paths
from controller.demo.processes import Program
from controller.demo.progress import Progress

TOY_TIMEOUT_S = 180.0
START_TIMEOUT_S = 120.0
WARM_TIMEOUT_S = 300.0
"""A toy takes some ten seconds to import its libraries and ten to compile; a busy machine takes several times that."""

POLL_S = 0.2
ANSWER_S = 5.0


@contextmanager
def serving(options: Options, paths: Paths, progress: Progress) -> Iterator[str]:
    """The URL of a server that is ready, until the block ends. Raises ProgramError."""
    if options.is_toy:
        progress.say("making a toy checkpoint")
        with Program("maker of the toy", toy_command(options, paths.toy), paths.toy_log) as maker:
            maker.finish(TOY_TIMEOUT_S, lambda elapsed_s: progress.wait("making a toy checkpoint", elapsed_s))
    with Program("policy server", server_command(options, paths.toy), paths.server_log) as server:
        progress.say("starting the policy server")
        line = server.line_with(
            "listening on", START_TIMEOUT_S, lambda elapsed_s: progress.wait("starting the policy server", elapsed_s)
        )
        url = next(word for word in line.split() if word.startswith("ws://"))
        wait_until_ready(server, url, progress)
        yield url


def wait_until_ready(server: Program, url: str, progress: Progress) -> None:
    """Return once the server at `url` says that it is warm. Raises ProgramError when it ends, or never says so."""
    began_s = time.monotonic()
    said = ""
    while (elapsed_s := time.monotonic() - began_s) < WARM_TIMEOUT_S:
        if not server.running:
            raise server.failure("ended before it was ready")
        ready, answer = _readiness(url)
        if ready:
            return
        if answer != said:
            progress.say(f"policy server: {answer}")
        said = answer
        progress.wait(f"policy server: {said}", elapsed_s)
        time.sleep(POLL_S)
    raise server.failure(f"was not ready within {WARM_TIMEOUT_S:g} s ({said})")


def _readiness(url: str) -> tuple[bool, str]:
    """Whether /readyz says yes, and its text."""
    address = urlsplit(url)
    assert address.hostname is not None  # from the server's own line
    try:
        with closing(HTTPConnection(address.hostname, address.port, timeout=ANSWER_S)) as connection:
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            return response.status == 200, response.read(200).decode(errors="replace").strip()
    except (OSError, HTTPException) as error:
        return False, f"/readyz does not answer: {error}"
