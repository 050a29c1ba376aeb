"""π0 behind openpi's websocket protocol. `load_policy` is the face for programs of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from policy_server.pi0 import Pi0Policy

__all__ = ["load_policy"]


def load_policy(
    config: str | Path,
    checkpoint_dir: str | Path,
    dtype: Literal["bfloat16", "float32"] = "bfloat16",
    num_steps: int = 10,
) -> Pi0Policy:
    """Load a checkpoint directory as openpi's training wrote it; its `infer` answers openpi's observations.

    config: the name of a shipped configuration, or the path of a TOML file. checkpoint_dir: the folder of one step,
    with `params/` and `assets/`. dtype: of weights and computation; float32 keeps float32 leaves unrounded.
    num_steps: of the flow from noise to actions.

    Raises ConfigError, CheckpointError, StatisticsError or TokenizerError (all ValueError) for what cannot be used.
    Needs the packages of the extra `pi0`.
    """
    from policy_server import pi0  # the controller imports this package, too, and has no JAX

    return pi0.load_policy(config, checkpoint_dir, dtype, num_steps)
