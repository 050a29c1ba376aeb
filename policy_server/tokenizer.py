"""The prompt as the model reads it: SentencePiece tokens of PaliGemma's vocabulary, padded to a fixed length.

Runs in the policy server. Always holds: the tokens are openpi's, bit for bit; the file is read from this machine's
disk and never fetched.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from pathlib import Path

import numpy as np
import sentencepiece
from numpy.typing import NDArray

from policy_server.config import PolicyConfig

Tokens = tuple[NDArray[np.int32], NDArray[np.bool_]]
"""Tokens and their mask, False where there is only padding."""

log = logging.getLogger(__name__)

SOURCE = "gs://big_vision/paligemma_tokenizer.model"
MAX_PROMPT_CHARS = 16_384
"""A longer prompt is no instruction; the model reads 200 tokens at the most."""

CACHED_PROMPTS = 64
WARNED_PROMPTS = 256

_BINS = np.linspace(-1, 1, 256 + 1)[:-1]


class TokenizerError(ValueError):
    """A tokenizer or a prompt that cannot be used. The text names the file or the prompt and what to do."""


class Tokenizer:
    """PaliGemma's tokenizer. vocabulary: how many tokens the model knows. Raises TokenizerError."""

    def __init__(self, path: Path, vocabulary: int) -> None:
        self._path = path
        try:
            if not (model := path.read_bytes()):
                raise TokenizerError(f"tokenizer {path} is empty; fetch {SOURCE} again")
            self._pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
        except (OSError, RuntimeError) as error:
            raise TokenizerError(f"tokenizer {path} cannot be read ({error}); fetch {SOURCE} again") from error
        self.size: int = self._pieces.vocab_size()
        if self.size > vocabulary or self._pieces.bos_id() < 0:
            raise TokenizerError(
                f"tokenizer {path} has {self.size} tokens and {vocabulary} fit the model; it must not have more, and "
                f"needs a token for the beginning of a text: it is not the model's own, which is {SOURCE}"
            )
        self._answer: list[int] = self._pieces.encode("\n")
        self._cache: OrderedDict[tuple[str, int], Tokens] = OrderedDict()
        self._warned: set[int] = set()

    def encode(self, prompt: str, max_len: int, state: NDArray[np.float64] | None) -> Tokens:
        """The prompt's tokens, int32, and their mask, bool, both (max_len,) and read-only.

        state: None, or the normalised state that π0.5 reads as text: a number from 0 to 255 for each element within
        [-1, 1]. What does not fit into `max_len` is cut off, as in openpi, with a line in the log.
        Raises TokenizerError for a prompt that is not a text of at most MAX_PROMPT_CHARS characters.
        """
        if state is not None:  # hardly ever the same twice
            return self._encode(prompt, max_len, state)
        key = (prompt, max_len)
        if (tokens := self._cache.get(key)) is None:
            tokens = self._cache[key] = self._encode(prompt, max_len, None)
            if len(self._cache) > CACHED_PROMPTS:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(key)
        return tokens

    def _encode(self, prompt: str, max_len: int, state: NDArray[np.float64] | None) -> Tokens:
        _check(prompt)
        text = prompt.strip().replace("_", " ").replace("\n", " ")
        ids: list[int]
        if state is None:
            ids = self._pieces.encode(text, add_bos=True) + self._answer
        else:
            numbers = " ".join(map(str, (np.digitize(state, _BINS) - 1).tolist()))
            ids = self._pieces.encode(f"Task: {text}, State: {numbers};\nAction: ", add_bos=True)
        if len(ids) > max_len:
            self._warn(prompt, len(ids), max_len)
        tokens, mask = np.zeros(max_len, np.int32), np.zeros(max_len, np.bool_)
        tokens[: len(ids)] = ids[:max_len]
        mask[: len(ids)] = True
        tokens.flags.writeable = mask.flags.writeable = False
        return tokens, mask

    def _warn(self, prompt: str, length: int, max_len: int) -> None:
        """Say once per prompt that it is cut off; a flood of prompts is not a flood of lines."""
        seen = hash(prompt)
        if seen in self._warned or len(self._warned) >= WARNED_PROMPTS:
            return
        self._warned.add(seen)
        log.warning(
            "prompt of %d tokens is cut off after %d (max_token_len): %.80r; send a shorter one",
            length, max_len, prompt,
        )  # fmt: skip


def find_tokenizer(config: PolicyConfig) -> Path:
    """Where the tokenizer's file lies on this machine. Raises TokenizerError that says how to get it."""
    if config.data.tokenizer is not None:
        here = config.path.parent if config.path else Path()
        path, why = here / _expanded(config.data.tokenizer, config), f"data.tokenizer of config {config.name}"
    else:
        home = os.environ.get("OPENPI_DATA_HOME")
        why = "OPENPI_DATA_HOME" if home else "openpi's cache; OPENPI_DATA_HOME moves it"
        path = _expanded(home or "~/.cache/openpi", config) / "big_vision" / "paligemma_tokenizer.model"
    if path.is_file():
        return path
    raise TokenizerError(
        f"no tokenizer at {path} ({why}); copy it there from a machine that has run openpi, or fetch it once:\n"
        f"  mkdir -p {path.parent} && gsutil cp {SOURCE} {path}\n"
        'or name another place in the config: [data] tokenizer = "/path/to/paligemma_tokenizer.model"'
    )


def _expanded(text: str, config: PolicyConfig) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise TokenizerError(
            f"the tokenizer is looked for in {text}, and no such home directory is known; set OPENPI_DATA_HOME, or "
            f"data.tokenizer of config {config.name}, to a path without ~"
        ) from error


def _check(prompt: object) -> None:
    if not isinstance(prompt, str):
        raise TokenizerError(f"prompt is of type {type(prompt).__name__}, send a text")
    if len(prompt) > MAX_PROMPT_CHARS:
        raise TokenizerError(f"prompt has {len(prompt)} characters, send at most {MAX_PROMPT_CHARS}")
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise TokenizerError(f"prompt is not Unicode text: {error}") from error
