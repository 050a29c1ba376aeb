"""Prompts as the model reads them, against openpi's own tokens, and where the tokenizer's file is looked for."""

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_server import tokenizer as module
from policy_server.config import parse_config
from policy_server.tokenizer import Tokenizer, TokenizerError, find_tokenizer

GOLDENS = Path(__file__).parent / "goldens" / "pi0" / "transforms"
STUB = GOLDENS / "tokenizer_stub.model"
PROMPTS = json.loads((GOLDENS / "prompts.json").read_text())["tokenizer"]
TOKENS = np.load(GOLDENS / "tokenizer.npz")

CONFIG = """
[model]
type = "pi0"
siglip = "mu/14"
paligemma = "dummy"
action_expert = "dummy"
[data]
action_rate_hz = 50
"""


@pytest.fixture
def tokenizer():
    return Tokenizer(STUB, 2048)


@pytest.mark.parametrize("index", range(len(PROMPTS)))
@pytest.mark.parametrize(("type", "max_len"), [("pi0", 48), ("pi05", 200)])
def test_tokens_equal_openpis(tokenizer, index, type, max_len):
    state = TOKENS["state"] if type == "pi05" else None
    for _ in range(2):  # from the file, and as remembered
        tokens, mask = tokenizer.encode(PROMPTS[index], max_len, state)
        assert (tokens.dtype, mask.dtype) == (np.int32, np.bool_)
        np.testing.assert_array_equal(tokens, TOKENS[f"{index}/{type}_tokens"])
        np.testing.assert_array_equal(mask, TOKENS[f"{index}/{type}_mask"])


def test_the_state_is_read_in_256_steps(tokenizer):
    state = np.array([-1.5, -1.0, -0.999, 0.0, 0.99, 1.0, 7.0, -1e300, 1e300])
    tokens, mask = tokenizer.encode("x", 200, state)
    stub = module.sentencepiece.SentencePieceProcessor(model_proto=STUB.read_bytes())
    said = "Task: x, State: -1 0 0 128 254 255 255 -1 255;\nAction: "
    assert tokens[mask].tolist() == stub.encode(said, add_bos=True)


def test_what_is_remembered_cannot_be_written_to(tokenizer):
    tokens, mask = tokenizer.encode("go", 48, None)
    for array in (tokens, mask):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_a_prompt_is_tokenised_once(tokenizer):
    first = tokenizer.encode("go", 48, None)
    assert tokenizer.encode("go", 48, None)[0] is first[0]
    assert tokenizer.encode("go", 50, None)[0].size == 50
    for number in range(module.CACHED_PROMPTS):
        tokenizer.encode(f"go {number}", 48, None)
        tokenizer.encode("again", 48, None)
    assert tokenizer.encode("go", 48, None)[0] is not first[0]
    last = tokenizer.encode("again", 48, None)
    assert tokenizer.encode("again", 48, None)[0] is last[0]


def test_states_share_no_memory_of_a_prompt(tokenizer):
    near, far = (tokenizer.encode("go", 200, np.full(14, value))[0].tolist() for value in (0.0, 0.5))
    assert near != far


def test_a_prompt_that_is_cut_off_is_told_once(tokenizer, caplog):
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            tokenizer.encode("word " * 100, 48, None)
            tokenizer.encode("word " * 300, 200, np.zeros(14))
            tokenizer.encode("word", 48, None)
    assert len(caplog.records) == 2
    for record, max_len in zip(caplog.records, (48, 200), strict=True):
        assert re.fullmatch(rf"prompt of \d+ tokens is cut off after {max_len} .*'(word )+.*shorter.*", record.message)
        assert len(record.message) < 200


def test_a_flood_of_long_prompts_is_no_flood_of_lines(tokenizer, caplog):
    with caplog.at_level(logging.WARNING):
        for number in range(module.WARNED_PROMPTS + 20):
            tokenizer.encode(f"{number} " * 40, 10, None)
    assert len(caplog.records) == module.WARNED_PROMPTS


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        (b"go", "of type bytes, send a text"),
        (None, "of type NoneType"),
        ("x" * (module.MAX_PROMPT_CHARS + 1), "has 16385 characters, send at most 16384"),
        ("go \ud800", "not Unicode text"),
    ],
)
def test_what_is_no_prompt_is_refused(tokenizer, prompt, says):
    with pytest.raises(TokenizerError, match=says):
        tokenizer.encode(prompt, 48, None)


@given(st.text(st.characters()), st.integers(1, 60))
def test_any_text_gives_tokens_or_an_error(prompt, max_len):
    try:
        tokens, mask = Tokenizer(STUB, 2048).encode(prompt, max_len, None)
    except TokenizerError:
        with pytest.raises(UnicodeEncodeError):
            prompt.encode()
        return
    assert tokens.shape == mask.shape == (max_len,)
    assert tokens[0] == 2
    assert not tokens[~mask].any()
    assert (np.diff(mask.astype(int)) <= 0).all()


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "t.model"
    for data in (b"garbage", STUB.read_bytes()[:3000]):
        path.write_bytes(data)
        with pytest.raises(TokenizerError, match=r"t.model .*gs://big_vision/paligemma_tokenizer.model"):
            Tokenizer(path, 2048)
    with pytest.raises(TokenizerError, match="cannot be read"):
        Tokenizer(tmp_path, 2048)


def test_an_empty_file_is_called_empty_and_nothing_else_is_said(tmp_path, capfd):
    path = tmp_path / "t.model"
    path.touch()
    with pytest.raises(TokenizerError, match=r"t.model is empty; fetch gs://big_vision/.* again"):
        Tokenizer(path, 2048)
    assert capfd.readouterr() == ("", "")


def test_a_tokenizer_with_more_tokens_than_the_model_knows_is_refused():
    with pytest.raises(TokenizerError, match=r"has 1200 tokens and 1199 fit the model"):
        Tokenizer(STUB, 1199)
    assert Tokenizer(STUB, 1200).size == 1200


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("OPENPI_DATA_HOME", raising=False)
    return tmp_path


def put(folder):
    path = folder / "big_vision" / "paligemma_tokenizer.model"
    path.parent.mkdir(parents=True)
    path.write_bytes(STUB.read_bytes())
    return path


def test_it_is_found_where_openpi_keeps_it(home, monkeypatch):
    config = parse_config(CONFIG, "mine")
    path = put(home / ".cache" / "openpi")
    assert find_tokenizer(config) == path
    monkeypatch.setenv("OPENPI_DATA_HOME", str(home / "data"))
    with pytest.raises(TokenizerError, match=rf"no tokenizer at {home}/data/big_vision/.* \(OPENPI_DATA_HOME\)"):
        find_tokenizer(config)
    moved = put(home / "data")
    assert find_tokenizer(config) == moved


def test_a_config_names_it_from_its_own_folder(home):
    path = home / "configs" / "mine.toml"
    put(home / ".cache" / "openpi")
    for named, wanted in (("../t.model", home / "configs/../t.model"), ("~/t.model", home / "t.model")):
        config = parse_config(f'{CONFIG}tokenizer = "{named}"', "mine", path)
        (home / "configs").mkdir(exist_ok=True)
        (home / "t.model").unlink(missing_ok=True)
        with pytest.raises(TokenizerError, match=r"no tokenizer at .*t.model \(data.tokenizer of config mine\)"):
            find_tokenizer(config)
        (home / "t.model").write_bytes(b"")
        assert find_tokenizer(config) == wanted


@pytest.mark.parametrize(
    ("named", "openpi"), [("", None), ("", "~/data"), ('tokenizer = "~/t.model"', None), ('tokenizer = "~"', "/data")]
)
def test_a_user_without_a_home_is_told_what_to_set(home, monkeypatch, named, openpi):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.getuid", lambda: 2**31 - 7)
    if openpi:
        monkeypatch.setenv("OPENPI_DATA_HOME", openpi)
    with pytest.raises(TokenizerError, match=r"in ~.* set OPENPI_DATA_HOME, or data.tokenizer of config mine, to a"):
        find_tokenizer(parse_config(CONFIG + named, "mine"))
    monkeypatch.setenv("OPENPI_DATA_HOME", str(home))
    path = put(home)
    assert find_tokenizer(parse_config(CONFIG, "mine")) == path


def test_a_missing_one_says_how_to_get_it(home):
    with pytest.raises(TokenizerError) as caught:
        find_tokenizer(parse_config(CONFIG, "mine"))
    place = home / ".cache/openpi/big_vision"
    assert f"gsutil cp gs://big_vision/paligemma_tokenizer.model {place}/paligemma_tokenizer.model" in str(caught.value)
    assert "[data] tokenizer = " in str(caught.value)
