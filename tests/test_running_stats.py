"""The running statistics, against numpy over all values at once. Bit-equality with openpi is in test_norm_stats."""

import math

import numpy as np
import pytest

from policy_server.running_stats import BINS, RunningStats


def of(batches):
    running = RunningStats()
    for batch in batches:
        running.update(batch)
    return running.result()


def spread_first(generator, shape):
    """Values whose largest and smallest come first, so that the bins never move."""
    values = generator.normal(size=shape).astype(np.float32)
    values[0], values[1] = values.max(axis=0), values.min(axis=0)
    return values


@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
def test_it_agrees_with_numpy(batch):
    values = spread_first(np.random.default_rng(batch), (3000, 5)) * [1, 10, 0.01, 1, 3] + [0, 1, 2, -3, 0]
    values = values.astype(np.float32)
    batches = [values[: max(batch, 2)], *np.array_split(values[max(batch, 2) :], max(1, 3000 // batch))]
    result = of([part for part in batches if len(part)])
    mean, variance = values.mean(axis=0, dtype=np.float64), values.var(axis=0, dtype=np.float64)
    np.testing.assert_allclose(result.mean, mean, atol=1e-5)
    # The variance is a difference of float32 squares, so its error grows with the mean.
    assert np.all(np.abs(result.std**2 - variance) < 4e-6 * (mean**2 + variance))
    width = (values.max(axis=0).astype(np.float64) - values.min(axis=0)) / BINS
    for quantile, found in ((0.01, result.q01), (0.99, result.q99)):
        exact = np.sort(values, axis=0)[math.ceil(quantile * len(values)) - 1]
        assert np.all(found <= exact + 1e-9)
        assert np.all(found > exact - width - 1e-9)


def test_bins_that_move_keep_the_counts():
    """Every stretch moves a value by less than a bin."""
    generator = np.random.default_rng(1)
    batches = [(generator.normal(size=(500, 3)) * 1.1**step).astype(np.float32) for step in range(20)]
    result = of(batches)
    values = np.concatenate(batches).astype(np.float64)
    width = np.ptp(values, axis=0) / BINS
    for quantile, found in ((0.01, result.q01), (0.99, result.q99)):
        exact = np.quantile(values, quantile, axis=0)
        assert np.all(np.abs(found - exact) < 22 * width)
        assert np.any(found != exact)


def test_any_leading_shape_will_do():
    values = np.random.default_rng(2).normal(size=(4, 6, 3)).astype(np.float32)
    flat, shaped = of([values.reshape(-1, 3)]), of([values])
    for name in ("mean", "std", "q01", "q99"):
        np.testing.assert_array_equal(getattr(flat, name), getattr(shaped, name))


def test_a_constant_has_no_deviation():
    result = of([np.full((8, 2), 0.5, np.float32)] * 3)
    np.testing.assert_array_equal(result.mean, 0.5)
    np.testing.assert_array_equal(result.std, 0.0)
    np.testing.assert_allclose(result.q01, 0.5, atol=2e-10)
    np.testing.assert_allclose(result.q99, 0.5, atol=2e-10)


def test_the_batch_is_left_as_it_is():
    batch = np.random.default_rng(3).normal(size=(10, 2)).astype(np.float32)
    before = batch.copy()
    of([batch, batch * 2])
    np.testing.assert_array_equal(batch, before)


@pytest.mark.parametrize("vectors", [0, 1])
def test_it_wants_two_vectors(vectors):
    with pytest.raises(ValueError, match=f"statistics of {vectors} vectors; give at least 2"):
        of([np.zeros((1, 3), np.float32)] * vectors)


def test_it_wants_one_length():
    with pytest.raises(ValueError, match="vectors have 2 dimensions; those before had 3"):
        of([np.zeros((4, 3), np.float32), np.zeros((4, 2), np.float32)])


def test_squares_beyond_float32_are_refused():
    with pytest.raises(ValueError, match=r"the largest magnitude is 1e\+30"):
        of([np.array([[0.0], [-1e30]], np.float32)] * 2)
