"""Where a demo leaves its files: all in one directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Paths:
    """The files of one demo."""

    directory: Path

    @property
    def config(self) -> Path:
        return self.directory / "controller.toml"

    @property
    def recordings(self) -> Path:
        return self.directory / "recordings"

    @property
    def toy(self) -> Path:
        """Directory of a toy checkpoint with its tokenizer and configuration, if the demo makes one."""
        return self.directory / "toy"

    @property
    def toy_log(self) -> Path:
        return self.directory / "toy.log"

    @property
    def server_log(self) -> Path:
        return self.directory / "server.log"

    @property
    def daemon_log(self) -> Path:
        return self.directory / "daemon.log"
