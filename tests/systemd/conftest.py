"""One container for all tests of this folder, with the controller installed as a person would."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from container import ROOT, Container, why_impossible
from service import Service

REQUIRED = "PI0_REQUIRE_SYSTEMD"
"""Set by .ci/run: a machine that cannot boot a container fails then, and skips nothing."""


@pytest.fixture(scope="session")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """Booted, with nothing installed yet."""
    if why := why_impossible():
        if os.environ.get(REQUIRED):
            pytest.fail(f"{REQUIRED} is set, and no systemd can be booted: {why}")
        pytest.skip(f"no systemd can be booted: {why}")
    scratch = tmp_path_factory.mktemp("systemd") / "container"
    scratch.mkdir()
    booted = Container(scratch, *package_caches())
    try:
        booted.boot()
        yield booted
    finally:
        booted.end()


def package_caches() -> list[Path]:
    """uv's, so that packages which were downloaded for .venv are not downloaded again."""
    for uv in (ROOT / ".uv" / "bin" / "uv", "uv"):
        try:
            return [Path(subprocess.check_output([uv, "cache", "dir"], text=True).strip())]
        except OSError:
            continue
    return []


@pytest.fixture(scope="session")
def installed(container: Container) -> Service:
    """The service after `make install`; what it was made from is out of sight from then on."""
    service = Service(container)
    service.install()
    return service


@pytest.fixture
def service(installed: Service) -> Iterator[Service]:
    """The service with quick cameras, stopped before and after."""
    installed.configure()
    yield installed
    installed.stop()
    assert installed.leftovers() == []
