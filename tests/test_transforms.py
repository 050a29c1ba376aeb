"""A request to the model's inputs and its outputs to the answer, against openpi's own."""

import io
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from openpi_client.image_tools import resize_with_pad
from PIL import Image

from policy_server.config import parse_config
from policy_server.policy import ObservationError
from policy_server.statistics import StatisticsError, parse_norm_stats
from policy_server.tokenizer import Tokenizer
from policy_server.transforms import Transforms

GOLDENS = Path(__file__).parent / "goldens" / "pi0" / "transforms"
POLICY = np.load(GOLDENS / "policy.npz")
PROMPTS = json.loads((GOLDENS / "prompts.json").read_text())["policy"]
STATS = parse_norm_stats((GOLDENS / "norm_stats.json").read_text(), "norm_stats.json")
TOKENIZER = Tokenizer(GOLDENS / "tokenizer_stub.model", 2048)
DEFAULT_PROMPT = "Put all tools on table into the pen holder"

CASES = {"pi0_dummy_mini": ("pi0", False), "pi05_mini": ("pi05", False), "pi0_dummy_mini_adapt": ("pi0", True)}
"""Model type, and whether actions are adapted and counted from the state."""

PICTURE = np.random.default_rng(3).integers(0, 256, (3, 224, 224), dtype=np.uint8)


def make(type="pi0", adapt=False, data=f'default_prompt = "{DEFAULT_PROMPT}"', stats=STATS, model=""):
    text = f"""
    [model]
    type = "{type}"
    siglip = "mu/14"
    paligemma = "dummy"
    action_expert = "dummy"
    vocabulary = 2048
    {model}
    [data]
    action_rate_hz = 50
    adapt_to_pi = {str(adapt).lower()}
    use_delta_joint_actions = {str(adapt).lower()}
    {data}
    """
    return Transforms(parse_config(text, "mine"), stats, TOKENIZER)


TRANSFORMS = {case: make(*settings) for case, settings in CASES.items()}


def observe(state=None, images=("cam_high",), **more):
    pictures = images if isinstance(images, dict) else dict.fromkeys(images, PICTURE)
    return {"state": np.zeros(14) if state is None else state, "images": pictures, **more}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("index", range(4))
def test_the_model_gets_what_openpi_gives_it(case, index):
    observation = observe(POLICY[f"obs{index}/state"])
    if (prompt := PROMPTS[f"obs{index}"]) is not None:
        observation["prompt"] = prompt
    inputs = TRANSFORMS[case].inputs(observation)
    wanted = f"{case}/obs{index}"
    assert (inputs.tokens.dtype, inputs.token_mask.dtype, inputs.state.dtype) == (np.int32, np.bool_, np.float32)
    np.testing.assert_array_equal(inputs.tokens, POLICY[f"{wanted}/tokenized_prompt"])
    np.testing.assert_array_equal(inputs.token_mask, POLICY[f"{wanted}/tokenized_prompt_mask"])
    np.testing.assert_array_equal(inputs.state, POLICY[f"{wanted}/state"].astype(np.float32))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("index", [1, 2])
def test_the_answer_is_openpis(case, index):
    inputs = TRANSFORMS[case].inputs(observe(POLICY[f"obs{index}/state"]))
    raw = POLICY[f"{case}/obs{index}/raw_actions"]
    actions = TRANSFORMS[case].outputs(raw, inputs)
    assert actions.dtype == np.float64
    np.testing.assert_array_equal(actions, POLICY[f"{case}/obs{index}/actions"])
    back = TRANSFORMS[case].to_model(actions, inputs)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, raw[:, :14], rtol=0, atol=1e-6)


@settings(max_examples=40)
@given(
    st.sampled_from(list(CASES)),
    arrays(np.float64, 14, elements=st.floats(-2, 2)),
    arrays(np.float32, (3, 32), elements=st.floats(-5, 5, width=32)),
)
def test_to_model_undoes_outputs(case, state, raw):
    transforms = TRANSFORMS[case]
    inputs = transforms.inputs(observe(state))
    actions = transforms.outputs(raw, inputs)
    assert actions.shape == (3, 14)
    np.testing.assert_allclose(transforms.to_model(actions, inputs), raw[:, :14], rtol=0, atol=2e-6)
    np.testing.assert_allclose(transforms.outputs(transforms.to_model(actions, inputs), inputs), actions, atol=2e-6)


def test_images_are_letterboxed_in_the_models_order():
    random = np.random.default_rng(1)
    sizes = {"cam_right_wrist": (48, 64), "cam_high": (64, 48), "cam_left_wrist": (224, 224)}
    images = {name: random.integers(0, 256, (3, *size), dtype=np.uint8) for name, size in sizes.items()}
    inputs = make().inputs(observe(images=images))
    assert (inputs.images.shape, inputs.images.dtype) == ((3, 224, 224, 3), np.uint8)
    assert inputs.image_masks.tolist() == [True, True, True]
    for tile, name in zip(inputs.images, ("cam_high", "cam_left_wrist", "cam_right_wrist"), strict=True):
        np.testing.assert_array_equal(tile, resize_with_pad(images[name].transpose(1, 2, 0), 224, 224))


def test_a_missing_camera_is_black_and_masked():
    inputs = make().inputs(observe(images=("cam_high", "cam_right_wrist")))
    assert inputs.image_masks.tolist() == [True, False, True]
    assert not inputs.images[1].any()
    np.testing.assert_array_equal(inputs.images[2], PICTURE.transpose(1, 2, 0))


def test_a_config_may_compute_fewer_cameras():
    transforms = make(data='cameras = ["cam_high", "cam_right_wrist"]\ndefault_prompt = "go"')
    inputs = transforms.inputs(observe(images=("cam_high", "cam_right_wrist")))
    assert inputs.images.shape == (2, 224, 224, 3)
    assert inputs.image_masks.tolist() == [True, True]
    with pytest.raises(ObservationError, match=r"'cam_left_wrist'.*, which config mine does not use; send cam_high"):
        transforms.inputs(observe(images=("cam_high", "cam_left_wrist")))


@pytest.mark.parametrize("unused", [None, "garbage", np.zeros((7, 1, 9)), b"\xff\xd8", np.full((3, 9, 9), np.nan)])
def test_cam_low_is_ignored_unread(unused):
    inputs = make().inputs(observe(images={"cam_high": PICTURE, "cam_low": unused}))
    assert inputs.image_masks.tolist() == [True, False, False]


def test_a_jpeg_file_is_a_picture():
    file = io.BytesIO()
    Image.fromarray(PICTURE.transpose(1, 2, 0)).save(file, "JPEG")
    inputs = make().inputs(observe(images={"cam_high": file.getvalue()}))
    np.testing.assert_array_equal(inputs.images[0], np.asarray(Image.open(file)))


def test_other_keys_are_ignored():
    plain, more = make().inputs(observe()), make().inputs(observe(request_id=3, extra={"a": [None]}))
    np.testing.assert_array_equal(plain.tokens, more.tokens)
    np.testing.assert_array_equal(plain.images, more.images)


@pytest.mark.parametrize("prompt", ["go on", np.str_("go on"), np.array("go on")])
def test_a_prompt_may_be_any_kind_of_text(prompt):
    tokens = make().inputs(observe(prompt=prompt)).tokens
    np.testing.assert_array_equal(tokens, TOKENIZER.encode("go on", 48, None)[0])


def test_an_empty_prompt_is_a_prompt():
    inputs = make().inputs(observe(prompt=""))
    np.testing.assert_array_equal(inputs.tokens, TOKENIZER.encode("", 48, None)[0])
    assert inputs.token_mask.sum() == 2


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, list, tuple])
def test_a_state_may_be_any_kind_of_numbers(kind):
    values = np.arange(14) - 7
    state = kind(values) if kind in (list, tuple) else values.astype(kind)
    for transforms in TRANSFORMS.values():
        np.testing.assert_array_equal(
            transforms.inputs(observe(state)).state, transforms.inputs(observe(values.astype(float))).state
        )


def test_the_state_is_padded_to_the_models_width():
    inputs = make(model="action_dim = 20").inputs(observe(np.ones(14)))
    assert inputs.state.shape == (20,)
    assert inputs.state[:14].all()
    assert not inputs.state[14:].any()


def test_pi05_reads_the_state_as_text_only_where_the_config_says_so():
    near, far = observe(np.zeros(14), prompt="go"), observe(np.full(14, 0.5), prompt="go")
    reads, ignores = make("pi05"), make("pi05", model="discrete_state_input = false")
    assert not np.array_equal(reads.inputs(near).tokens, reads.inputs(far).tokens)
    np.testing.assert_array_equal(ignores.inputs(near).tokens, ignores.inputs(far).tokens)
    np.testing.assert_array_equal(ignores.inputs(near).tokens, TOKENIZER.encode("go", 200, None)[0])


def test_grippers_are_never_counted_from_the_state():
    transforms = make(adapt=True)
    still, moved = (transforms.inputs(observe(np.full(14, value))) for value in (0.0, 0.4))
    raw = np.zeros((2, 32), np.float32)
    differs = (transforms.outputs(raw, still) != transforms.outputs(raw, moved))[0]
    assert np.flatnonzero(~differs).tolist() == [6, 13]


def test_a_non_finite_action_stays_one():
    raw = np.zeros((2, 32), np.float32)
    raw[1, 3] = np.nan
    for transforms in TRANSFORMS.values():
        actions = transforms.outputs(raw, transforms.inputs(observe()))
        assert np.argwhere(np.isnan(actions)).tolist() == [[1, 3]]


def test_pi05_wants_quantiles():
    table = json.loads((GOLDENS / "norm_stats.json").read_text())
    table["norm_stats"]["actions"].update(q01=None, q99=None)
    stats = parse_norm_stats(json.dumps(table), "norm_stats.json")
    make("pi0", stats=stats)
    with pytest.raises(StatisticsError, match="hold no q01 and q99"):
        make("pi05", stats=stats)


@pytest.mark.parametrize(
    ("observation", "says"),
    [
        (None, "observation is of type NoneType, send a map"),
        ([1, 2], "observation is of type list"),
        ({"images": {}}, r"lacks 'state': send \(14,\): six joints .*; it has \['images'\]"),
        ({"state": np.zeros(14)}, "lacks 'images': send a map from camera to picture: cam_high, cam_left_wrist"),
        (observe(np.zeros(13)), r"'state' has shape \(13,\), send \(14,\): six joints and a gripper"),
        (observe(np.zeros((1, 14))), r"'state' has shape \(1, 14\)"),
        (observe(3.0), r"'state' has shape \(\)"),
        (observe(np.array([0.0] * 12 + [np.nan, 0])), r"'state' holds nan at \[12\]; send finite numbers"),
        (observe(np.array([-np.inf] + [0] * 13)), r"'state' holds -inf at \[0\]"),
        (observe([0.0] * 13 + [10**400]), "'state' is .*dtype object"),
        (observe([0.0] * 13 + [[1.0]]), "'state' is .*send numbers"),
        (observe(["0"] * 14), "'state' is .*, of dtype <U1; send finite numbers"),
        (observe({"left": 1}), "'state' is .*dtype object"),
        (observe(np.zeros(14, bool)), "'state' is .*dtype bool"),
        (observe(np.full(14, 1e300)), "'state' is .*beyond float32 once normalised; send rad"),
        (observe(prompt=b"go"), "'prompt' is b'go', of type bytes; send a text"),
        (observe(prompt=3), "'prompt' is 3, of type int"),
        (observe(prompt=None), "'prompt' is None; send a text, or leave the key out"),
        (observe(prompt=np.array(["go"])), r"'prompt' is array.*, of type ndarray"),
        (observe(prompt=np.array(b"go")), "'prompt' is b'go', of type bytes"),
        (observe(prompt="go \ud800"), "not Unicode text"),
        (observe(prompt="x" * 20_000), "prompt has 20000 characters, send at most 16384"),
        ({**observe(), "images": PICTURE}, "'images' is of type ndarray, send a map from camera to picture"),
        (observe(images={}), "lacks 'cam_high', the one camera that the model cannot do without"),
        (observe(images=("cam_left_wrist",)), "lacks 'cam_high'"),
        (observe(images=("cam_high", "camera_2")), r"\['camera_2'\], which config mine does not use; send cam_high, "),
        (observe(images=("cam_high", b"cam_low")), r"\[b'cam_low'\], which config mine does not use"),
        (observe(images={"cam_high": PICTURE.transpose(1, 2, 0)}), r"'cam_high' has shape \(224, 224, 3\), which is"),
        (observe(images={"cam_high": PICTURE, "cam_left_wrist": None}), "image 'cam_left_wrist' is of type NoneType"),
    ],
)
def test_a_request_that_would_be_misread_is_refused(observation, says):
    with pytest.raises(ObservationError, match=says) as caught:
        make().inputs(observation)
    assert len(str(caught.value)) < 600


def test_without_a_default_the_prompt_must_be_sent():
    transforms = make(data="")
    with pytest.raises(ObservationError, match="lacks 'prompt' and config mine has no default_prompt; send the task"):
        transforms.inputs(observe())
    assert transforms.inputs(observe(prompt="go")).token_mask.any()


@pytest.mark.parametrize("value", [-0.01844 / 0.03956, 1e200, -1e200, 1e40])
def test_a_gripper_beyond_any_range_is_read_as_openpi_reads_it(value):
    state = np.zeros(14)
    state[6] = value
    assert np.isfinite(make(adapt=True).inputs(observe(state)).state).all()


@pytest.mark.parametrize(
    ("actions", "says"),
    [
        (np.zeros((3, 13)), r"'rtc.actions' has shape \(3, 13\), send \(steps, 14\), as in an answer"),
        (np.zeros(14), r"'rtc.actions' has shape \(14,\)"),
        (np.full((2, 14), np.nan), r"'rtc.actions' holds nan at \[0, 0\]"),
        (np.full((2, 14), 1e308), r"'rtc.actions' has 1e\+308 at step 0, joint 0, more than 100 times"),
        (None, "'rtc.actions' is None, of dtype object"),
        ([["a"] * 14], "'rtc.actions' is .*dtype <U1"),
    ],
)
def test_wrong_actions_are_refused(actions, says):
    for transforms in TRANSFORMS.values():
        with pytest.raises(ObservationError, match=says):
            transforms.to_model(actions, transforms.inputs(observe()))


def test_no_actions_are_no_rows():
    for transforms in TRANSFORMS.values():
        assert transforms.to_model(np.zeros((0, 14)), transforms.inputs(observe())).shape == (0, 14)


def test_the_request_is_not_changed_and_not_kept():
    observation = observe(np.linspace(0, 0.5, 14), images=("cam_high", "cam_left_wrist"), prompt="go")
    copies = [observation["state"].copy(), PICTURE.copy()]
    for transforms in TRANSFORMS.values():
        inputs = transforms.inputs(observation)
        transforms.outputs(np.ones((50, 32), np.float32), inputs)
        assert not np.shares_memory(inputs.images, PICTURE)
    assert list(observation) == ["state", "images", "prompt"]
    assert list(observation["images"]) == ["cam_high", "cam_left_wrist"]
    np.testing.assert_array_equal(observation["state"], copies[0])
    np.testing.assert_array_equal(PICTURE, copies[1])


def test_read_only_arrays_are_enough():
    """The wire's arrays cannot be written to."""
    state, picture = np.zeros(14), PICTURE.copy()
    state.flags.writeable = picture.flags.writeable = False
    for transforms in TRANSFORMS.values():
        inputs = transforms.inputs(observe(state, images={"cam_high": picture}))
        actions = transforms.outputs(np.zeros((50, 32), np.float32), inputs)
        actions.flags.writeable = False
        transforms.to_model(actions, inputs)


def test_many_requests_leave_nothing_behind():
    transforms = make()
    transforms.inputs(observe())
    tracemalloc.start()
    try:
        for number in range(300):
            transforms.inputs(observe(prompt=f"go {number % 100}"))
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 300_000


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.binary(max_size=40)
    | arrays(
        st.sampled_from(["u1", "i8", "f2", "f4", ">f8", "f8", "b1", "U3", "S2"]),
        st.lists(st.sampled_from([0, 1, 3, 14, 20]), max_size=4).map(tuple),
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3) | st.binary(max_size=3), inner),
    max_leaves=8,
)
pictures = anything | arrays(np.uint8, st.tuples(st.just(3), st.integers(0, 40), st.integers(0, 40)))
names = st.sampled_from(["cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist", "cam", b"cam_high"])
hostile = st.fixed_dictionaries(
    {
        "state": st.just(np.zeros(14)) | arrays(np.float64, 14) | st.lists(st.floats() | anything, max_size=14),
        "images": anything | st.dictionaries(names, pictures),
    },
    optional={
        "prompt": anything,
        "extra": anything,
    },
)


def result_or_refusal(function, *arguments):
    """What a function returns, or the text of its ObservationError."""
    try:
        return function(*arguments)
    except ObservationError as error:
        return str(error)


@settings(max_examples=200)
@given(anything | hostile, st.sampled_from(list(CASES)))
def test_a_hostile_request_gives_usable_inputs_or_an_observation_error(observation, case):
    inputs = result_or_refusal(TRANSFORMS[case].inputs, observation)
    if isinstance(inputs, str):
        assert inputs
        return
    assert np.isfinite(inputs.state).all()
    assert inputs.image_masks[0]
    assert (inputs.tokens >= 0).all()
    assert (inputs.tokens < TOKENIZER.size).all()


@settings(max_examples=100)
@given(anything | arrays(np.float64, (2, 14)), st.sampled_from(list(CASES)))
def test_hostile_actions_give_numbers_or_an_observation_error(actions, case):
    result = result_or_refusal(TRANSFORMS[case].to_model, actions, TRANSFORMS[case].inputs(observe()))
    assert "actions" in result if isinstance(result, str) else np.isfinite(result).all()
