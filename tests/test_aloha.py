"""The robot's convention and that of π0's pretraining data, both ways, against openpi's own numbers."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from policy_server import aloha

GOLDEN = np.load(Path(__file__).parent / "goldens" / "pi0" / "transforms" / "normalize.npz")

JOINTS = [index for index in range(14) if index not in (6, 13)]
SIGNS = np.array([1, -1, -1, 1, 1, 1, 1] * 2)


def test_a_state_equals_openpis():
    """To the last bit but one: numpy's arcsin differs so much between machines."""
    state = aloha.decode_state(GOLDEN["adapt_in_state"])
    np.testing.assert_allclose(state, GOLDEN["adapt_out_state"], rtol=0, atol=2.3e-16)


def test_actions_equal_openpis_bit_for_bit():
    np.testing.assert_array_equal(aloha.encode_actions(GOLDEN["adapt_in_actions"]), GOLDEN["adapt_out_actions"])


@pytest.mark.parametrize(
    ("convert", "given_", "wanted"),
    [
        (aloha.decode_state, (0, 0.25, 0.5, 0.75, 1), (-1.079866, -0.513078, -0.140056, 0.223328, 0.945653)),
        (aloha.encode_actions, (0, 0.5, 1), (0.553378, 0.790087, 1.026795)),
        (aloha.encode_actions_inverse, (0, 0.5, 1), (-1.1689, -0.11275, 0.9434)),
    ],
)
def test_grippers_as_openpi_gave_them(convert, given_, wanted):
    values = np.zeros((len(given_), 14))
    values[:, 6] = given_
    values[:, 13] = given_[::-1]
    result = convert(values)
    assert result[:, 6] == pytest.approx(wanted, abs=1e-6)
    assert result[:, 13] == pytest.approx(wanted[::-1], abs=1e-6)


@given(arrays(np.float64, (4, 14), elements=st.floats(-10, 10)))
def test_actions_come_back(actions):
    np.testing.assert_allclose(aloha.encode_actions_inverse(aloha.encode_actions(actions)), actions, atol=1e-12)
    np.testing.assert_allclose(aloha.encode_actions(aloha.encode_actions_inverse(actions)), actions, atol=1e-12)


@given(arrays(np.float64, 14, elements=st.floats(-3.2, 3.2)), st.floats(0, 1), st.floats(0, 1))
def test_a_state_can_be_told_from_what_it_becomes(state, left, right):
    """The crank's geometry turned around: from π0's number to the angle, to the fingers' opening, to the robot's."""
    state[[6, 13]] = left, right
    seen = aloha.decode_state(state)
    np.testing.assert_array_equal(seen[JOINTS], (SIGNS * state)[JOINTS])
    sine = np.sin(seen[[6, 13]] * (1.6296 - 0.5476) + 0.5476)
    opening_m = 0.022 * sine + np.sqrt(0.036**2 - (0.022**2) * (1 - sine**2))
    np.testing.assert_allclose((opening_m - 0.01844) / (0.058 - 0.01844), state[[6, 13]], atol=1e-9)


def test_nothing_is_changed_in_place():
    values = np.linspace(0, 1, 14)
    values.flags.writeable = False
    for convert in (aloha.decode_state, aloha.encode_actions, aloha.encode_actions_inverse):
        assert convert(values).dtype == np.float64
        assert convert(values.astype(np.float32)).dtype == np.float64


def test_joints_are_all_but_the_grippers():
    assert np.flatnonzero(aloha.JOINTS).tolist() == JOINTS


def test_a_gripper_beyond_its_range_stops_at_a_quarter_turn():
    states = np.zeros((3, 14))
    states[:, 6] = -0.01844 / 0.03956, 50.0, -50.0
    assert aloha.decode_state(states)[:, 6] * 1.082 + 0.5476 == pytest.approx(np.array([-1, 1, -1]) * np.pi / 2)
