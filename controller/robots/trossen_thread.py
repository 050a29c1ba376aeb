"""The thread in which one arm's driver is called, and nothing else: what is handed in is done in order.

Unlike the standard library's pools it is not waited for when the process ends: a call that hangs in the driver must
not keep alive a process that still holds an arm.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from threading import Thread
from typing import Any

Work = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]


class ArmThread(Executor):
    def __init__(self, name: str) -> None:
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **_keywords: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._work.put((future, call, arguments))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """The thread ends once it has done what was handed in; nobody waits for it."""
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            future, call, arguments = work
            try:
                future.set_result(call(*arguments))
            except BaseException as error:  # whoever looks at the future gets it
                future.set_exception(error)
            del future, call, arguments, work
