"""Which machine gets which fence."""

import ctypes

import pytest

from shm import ShmError
from shm.fence import fence_for


@pytest.mark.parametrize("machine", ["x86_64", "AMD64"])
def test_an_ordered_machine_needs_no_library(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise AssertionError(name)

    monkeypatch.setattr(ctypes, "CDLL", fail)
    fence_for(machine)()


def test_another_machine_calls_libatomic_with_acquire_release(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int]] = []

    class Library:
        def __init__(self, name: str) -> None:
            def atomic_thread_fence(order: int) -> None:
                calls.append((name, order))

            self.atomic_thread_fence = atomic_thread_fence

    monkeypatch.setattr(ctypes, "CDLL", Library)
    fence = fence_for("aarch64")
    assert calls == []
    fence()
    fence()
    assert calls == [("libatomic.so.1", 4)] * 2


def test_a_machine_without_any_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(ShmError, match=r"no memory fence on 'riscv64': libatomic\.so\.1.*install libatomic"):
        fence_for("riscv64")


def test_the_real_library_has_the_symbol() -> None:
    try:
        fence = fence_for("aarch64")
    except ShmError:
        pytest.skip("libatomic is not installed here and this machine does not need it")
    fence()
