"""The sizes of a π0 or π0.5 model: everything that fixes the shape of its parameters.

Read by the model, the checkpoint reader and the configuration. Sizes by name are those of openpi's
`gemma.get_config` and `siglip.decode_variant`. Frozen and hashable, so that a compiled program can depend on them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

IMAGE_SIZE = 224
"""Height and width of a picture as the model sees it, in pixels."""

PALIGEMMA_VOCABULARY = 257_152


@dataclass(frozen=True, slots=True)
class Lora:
    """Low-rank adapters of one kind of layer: W + scaling · A·B."""

    rank: int
    alpha: float
    rslora: bool = False

    @property
    def scaling(self) -> float:
        """What A·B is multiplied with in attention layers. openpi's feed-forward layers ignore it."""
        return self.alpha / math.sqrt(self.rank) if self.rslora else self.alpha / self.rank


@dataclass(frozen=True, slots=True)
class Gemma:
    """One expert of the transformer. `attn_lora` and `ffn_lora`: None where the checkpoint has no adapters."""

    width: int
    depth: int
    mlp_dim: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    attn_lora: Lora | None = None
    ffn_lora: Lora | None = None

    @property
    def without_lora(self) -> Gemma:
        """The same expert once its adapters are merged."""
        return replace(self, attn_lora=None, ffn_lora=None)


@dataclass(frozen=True, slots=True)
class Siglip:
    """The vision tower, without its head (whose width is the prefix expert's)."""

    width: int
    depth: int
    mlp_dim: int
    num_heads: int
    patch_size: int = 14

    @property
    def grid(self) -> int:
        """Patches along one side of a picture."""
        return IMAGE_SIZE // self.patch_size

    @property
    def num_tokens(self) -> int:
        """Tokens of one picture."""
        return self.grid**2


@dataclass(frozen=True, slots=True)
class Pi0:
    """A whole model. `prefix` reads pictures and prompt, `suffix` writes actions.

    type: "pi0", or "pi05" with adaptive RMSNorm and no state token. max_token_len: prompt tokens, padding included.
    """

    type: Literal["pi0", "pi05"]
    siglip: Siglip
    prefix: Gemma
    suffix: Gemma
    action_dim: int = 32
    action_horizon: int = 50
    max_token_len: int = 48
    vocabulary: int = PALIGEMMA_VOCABULARY

    @property
    def pi05(self) -> bool:
        """Whether the suffix is conditioned by adaptive RMSNorm and the state is part of the prompt."""
        return self.type == "pi05"

    @property
    def num_suffix_tokens(self) -> int:
        """Actions, and for π0 the state before them."""
        return self.action_horizon + (not self.pi05)

    @property
    def without_lora(self) -> Pi0:
        """The same model once its adapters are merged."""
        return replace(self, prefix=self.prefix.without_lora, suffix=self.suffix.without_lora)


_LORA_16, _LORA_32 = Lora(16, 16.0), Lora(32, 32.0)
_GEMMA_2B = Gemma(2048, 18, 16_384, 8, 1, 256)
_GEMMA_300M = Gemma(1024, 18, 4096, 8, 1, 256)

GEMMA: dict[str, Gemma] = {
    "dummy": Gemma(64, 4, 128, 8, 1, 16),
    "gemma_300m": _GEMMA_300M,
    "gemma_300m_lora": replace(_GEMMA_300M, attn_lora=_LORA_32, ffn_lora=_LORA_32),
    "gemma_2b": _GEMMA_2B,
    "gemma_2b_lora": replace(_GEMMA_2B, attn_lora=_LORA_16, ffn_lora=_LORA_16),
}

SIGLIP: dict[str, Siglip] = {
    "mu/14": Siglip(32, 1, 128, 2),
    "Ti/14": Siglip(192, 12, 768, 3),
    "S/14": Siglip(384, 12, 1536, 6),
    "B/14": Siglip(768, 12, 3072, 12),
    "L/14": Siglip(1024, 24, 4096, 16),
    "So400m/14": Siglip(1152, 27, 4304, 16),
}
