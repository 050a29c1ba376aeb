"""Which file is meant by a name, and whether this machine can do what it says. Used at the start and at a reload."""

from __future__ import annotations

from pathlib import Path

from controller import adapters
from controller.config import SHIPPED, Config, ConfigError, load, shipped


def path_of(named: str) -> Path:
    """A file's path, or the shipped configuration of that name. Raises ConfigError where it is neither."""
    path = Path(named)
    if path.suffix == ".toml" or path.exists():
        return path
    if named not in SHIPPED:
        raise ConfigError(f"{named}: neither a file nor one of {', '.join(SHIPPED)}, which come with the package")
    return shipped(named)


def usable(path: Path) -> Config:
    """Read the file. Raises ConfigError, also where this machine lacks what it asks for."""
    config = load(path)
    if lacking := adapters.lacking(config):
        raise ConfigError(f"{path}: {lacking}")
    return config
