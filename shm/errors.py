"""What can go wrong with shared memory, as exceptions any process of the tree may see."""

from __future__ import annotations


class ShmError(RuntimeError):
    """A segment cannot be made, attached or used. The message names both values and the next step."""


class TornRead(ShmError):
    """The writer overtook a reader in every one of its bounded tries; the output record is then undefined."""
