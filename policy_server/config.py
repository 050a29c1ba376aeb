"""A served model's configuration: which sizes, which pictures, which units. TOML, checked once, frozen.

Read by the policy server. Shipped files lie in `policy_server/configs/`; their keys carry openpi's names. Always
holds: a value that loads is usable; what is unknown or out of range is refused with the key, the value and the bound.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from policy_server.model import dims

CAMERAS = ("cam_high", "cam_left_wrist", "cam_right_wrist")
"""The cameras that reach the model, in the order of its picture slots."""

UNUSED_CAMERAS = ("cam_low",)
"""Cameras that a request may carry and the model never sees, as in openpi."""

STATE_DIM = 14
"""Both arms: six joints and a gripper each, left arm first."""

T = TypeVar("T", dims.Gemma, dims.Siglip)
Count = Annotated[int, Field(ge=1)]


class ConfigError(ValueError):
    """A configuration that cannot be used. The text names the file, the key, the value and the bound."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class LoraTable(_Table):
    """Adapters of one kind of layer; the scaling is alpha / rank, or alpha / √rank with `rslora`."""

    rank: Count
    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    rslora: bool = False


class GemmaTable(_Table):
    """One expert, every dimension spelt out. `lora` stands for both `attn_lora` and `ffn_lora`."""

    width: Annotated[int, Field(ge=2, multiple_of=2)]
    depth: Count
    mlp_dim: Count
    num_heads: Count
    num_kv_heads: Count
    head_dim: Annotated[int, Field(ge=2, multiple_of=2)]
    attn_lora: LoraTable | None = None
    ffn_lora: LoraTable | None = None

    @model_validator(mode="after")
    def _heads_share_keys(self) -> GemmaTable:
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_heads {self.num_heads} is not a multiple of num_kv_heads {self.num_kv_heads}")
        return self

    def sizes(self) -> dims.Gemma:
        """The expert's sizes."""
        return dims.Gemma(**{**dict(self), "attn_lora": _lora(self.attn_lora), "ffn_lora": _lora(self.ffn_lora)})


class SiglipTable(_Table):
    """The vision tower, every dimension spelt out."""

    width: Count
    depth: Count
    mlp_dim: Count
    num_heads: Count
    patch_size: Annotated[int, Field(ge=1, le=dims.IMAGE_SIZE)] = 14

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> SiglipTable:
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}")
        return self

    def sizes(self) -> dims.Siglip:
        """The tower's sizes."""
        return dims.Siglip(**dict(self))


def _expand(value: object, known: Mapping[str, T]) -> object:
    """A variant's name, or a table that may start from one (`variant = ...`), as a table of every dimension."""
    table = {"variant": value} if isinstance(value, str) else value
    if not isinstance(table, dict):
        return value
    table = dict(table)
    if "lora" in table and (twice := {"attn_lora", "ffn_lora"} & table.keys()):
        raise ValueError(f"lora stands for both attn_lora and ffn_lora; remove it, or {' and '.join(sorted(twice))}")
    if (name := table.pop("variant", None)) is not None:
        if not isinstance(name, str) or name not in known:
            raise ValueError(f"{name!r} is not a known variant; choose one of {', '.join(known)}")
        table = _table(known[name]) | table
    if (lora := table.pop("lora", None)) is not None:
        table |= {"attn_lora": lora, "ffn_lora": lora}
    return table


def _table(value: dims.Gemma | dims.Siglip) -> dict[str, Any]:
    table = {field.name: getattr(value, field.name) for field in fields(value)}
    return {
        key: {"rank": part.rank, "alpha": part.alpha, "rslora": part.rslora} if isinstance(part, dims.Lora) else part
        for key, part in table.items()
    }


def _lora(table: LoraTable | None) -> dims.Lora | None:
    return None if table is None else dims.Lora(**dict(table))


class ModelTable(_Table):
    """[model]: what fixes the shapes of the checkpoint.

    token_buckets: a prompt that fits one of these counts is computed with no more padding than that; each costs a
    compilation at the start. max_token_len always is one.
    """

    type: Literal["pi0", "pi05"]
    siglip: Annotated[SiglipTable, BeforeValidator(lambda value: _expand(value, dims.SIGLIP))]
    paligemma: Annotated[GemmaTable, BeforeValidator(lambda value: _expand(value, dims.GEMMA))]
    action_expert: Annotated[GemmaTable, BeforeValidator(lambda value: _expand(value, dims.GEMMA))]
    action_dim: Annotated[int, Field(ge=STATE_DIM)] = 32
    action_horizon: Count = 50
    max_token_len: Count | None = None
    vocabulary: Count = dims.PALIGEMMA_VOCABULARY
    discrete_state_input: bool | None = None
    token_buckets: tuple[Count, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _only_pi05_reads_its_state(self) -> ModelTable:
        if self.type == "pi0" and self.discrete_state_input:
            raise ValueError("discrete_state_input is for pi05; openpi ignores it for pi0, so remove it")
        return self

    @model_validator(mode="after")
    def _buckets_rise(self) -> ModelTable:
        bounds = (0, *self.token_buckets, self.sizes().max_token_len)
        if any(low >= high for low, high in pairwise(bounds)):
            raise ValueError(f"token_buckets is {list(self.token_buckets)}; list rising counts below max_token_len")
        return self

    @model_validator(mode="after")
    def _experts_attend_together(self) -> ModelTable:
        for key in ("depth", "num_heads", "num_kv_heads", "head_dim"):
            prefix, suffix = getattr(self.paligemma, key), getattr(self.action_expert, key)
            if prefix != suffix:
                raise ValueError(f"{key} is {prefix} in paligemma and {suffix} in action_expert; they must be equal")
        return self

    def sizes(self) -> dims.Pi0:
        """The model's sizes; π0 reads 48 prompt tokens unless told otherwise, π0.5 200."""
        return dims.Pi0(
            type=self.type,
            siglip=self.siglip.sizes(),
            prefix=self.paligemma.sizes(),
            suffix=self.action_expert.sizes(),
            action_dim=self.action_dim,
            action_horizon=self.action_horizon,
            max_token_len=self.max_token_len or (200 if self.type == "pi05" else 48),
            vocabulary=self.vocabulary,
        )


class DataTable(_Table):
    """[data]: what a request holds and what the answer means.

    action_rate_hz: the data set's frames per second. asset_id: the folder of `assets/` with the statistics.
    cameras: the pictures the model computes; a request may lack all but the first, and they are then masked.
    tokenizer: SentencePiece model; None looks where openpi keeps it. dataset_*: keys of the LeRobot data set.
    """

    action_rate_hz: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
    asset_id: Annotated[str, Field(min_length=1)] = "trossen"
    default_prompt: str | None = None
    adapt_to_pi: bool = True
    use_delta_joint_actions: bool = True
    cameras: tuple[str, ...] = Field(default=CAMERAS, strict=False)
    reset_pose: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] | None = Field(default=None, strict=False)
    tokenizer: str | None = None
    dataset_state: str = "observation.state"
    dataset_action: str = "action"

    @model_validator(mode="after")
    def _cameras_are_known(self) -> DataTable:
        if list(self.cameras) != [name for name in CAMERAS if name in self.cameras] or CAMERAS[0] not in self.cameras:
            raise ValueError(
                f"cameras is {list(self.cameras)}; list {CAMERAS[0]} and any of {', '.join(CAMERAS[1:])}, in that order"
            )
        return self


class PolicyConfig(_Table):
    """A whole configuration. `name` is the file's, `path` where relative paths in it start from."""

    name: str
    path: Path | None = None
    description: str = ""
    model: ModelTable
    data: DataTable

    @property
    def sizes(self) -> dims.Pi0:
        """The model's sizes."""
        return self.model.sizes()

    @property
    def discrete_state_input(self) -> bool:
        """Whether the state is written into the prompt."""
        chosen = self.model.discrete_state_input
        return self.model.type == "pi05" if chosen is None else chosen

    @property
    def use_quantiles(self) -> bool:
        """Whether values are normalised by quantiles (π0.5) rather than by mean and deviation."""
        return self.model.type == "pi05"


def shipped_configs() -> list[str]:
    """The names of the configurations that come with the package."""
    return sorted(Path(entry.name).stem for entry in files("policy_server").joinpath("configs").iterdir())


def load_config(name_or_path: str | Path) -> PolicyConfig:
    """A shipped configuration by its name, or a TOML file by its path. Raises ConfigError."""
    name = str(name_or_path)
    if name in shipped_configs():
        return parse_config(files("policy_server").joinpath("configs", f"{name}.toml").read_text("utf-8"), name)
    path = Path(name_or_path)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(shipped_configs())
        raise ConfigError(f"config {name!r} is neither a readable TOML file ({error}) nor one of: {known}") from error
    return parse_config(text, path.stem, path)


def parse_config(text: str, name: str, path: Path | None = None) -> PolicyConfig:
    """Read TOML `text`. Raises ConfigError with one line per fault."""
    where = path or f"{name}.toml"
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where} is not TOML: {error}") from error
    if given := [key for key in ("name", "path") if key in table]:
        raise ConfigError(f"{where}: remove {' and '.join(given)}: a config is called what its file is called")
    try:
        return PolicyConfig.model_validate({**table, "name": name, "path": path})
    except ValidationError as error:
        faults = "; ".join(_fault(fault) for fault in error.errors(include_url=False))
        raise ConfigError(f"{where}: {faults}") from error


def _fault(fault: Any) -> str:
    key = ".".join(str(part) for part in fault["loc"]) or "file"
    value = fault.get("input")
    shown = "" if isinstance(value, dict) else f" (it is {value!r})"
    return f"{key}: {fault['msg']}{shown}"
