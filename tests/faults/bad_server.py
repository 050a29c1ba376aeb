"""A policy server that goes bad the way a file says: bad_server.py FILE. Prints its URL.

slow: three seconds for an answer, longer than a chunk lasts. nan, empty, error: lies, each in its way.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "stack"))
from servers import Answer, answering, server, sway


def slow(_request: dict[str, Any]) -> bytes:
    time.sleep(3.0)
    return b""


WAYS: dict[str, Answer] = {
    "": answering(sway),
    "slow": slow,
    "nan": answering(lambda _request: np.full((50, 14), np.nan)),
    "empty": lambda _request: b"",
    "error": lambda _request: "Traceback: out of memory",
}


def main() -> None:
    orders = Path(sys.argv[1])
    with server(lambda request: WAYS[orders.read_text() if orders.exists() else ""](request)) as url:
        print(url, flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
