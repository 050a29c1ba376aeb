"""Mean, deviation and percentiles of a stream of vectors, to the bit as openpi's training computes them.

Run by `norm-stats`. A model is only as right as the statistics it was trained with, so this follows openpi's arithmetic
step by step: float32 moments, batch after batch, and one histogram of 5000 bins per dimension whose edges move when
the range grows. Always holds: memory does not grow with the number of vectors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policy_server.statistics import Statistics

BINS = 5000
MARGIN = 1e-10
"""Added to both ends of the first range. Later ranges have none, in openpi too."""

QUANTILES = (0.01, 0.99)


class RunningStats:
    """Statistics of vectors of one length, batch by batch. The order and the size of batches matter a little."""

    def __init__(self) -> None:
        self._count = 0
        self._mean = self._mean_of_squares = self._low = self._high = np.empty(0, np.float32)
        self._histograms = self._edges = np.empty((0, 0))

    def update(self, batch: NDArray[np.float32]) -> None:
        """Take in `batch`, shape (..., dim), at least one finite vector. Raises ValueError for another dim."""
        vectors = np.ascontiguousarray(batch, np.float32).reshape(-1, batch.shape[-1])
        if self._count and vectors.shape[1] != len(self._mean):
            raise ValueError(f"vectors have {vectors.shape[1]} dimensions; those before had {len(self._mean)}")
        self._stretch(vectors.min(axis=0), vectors.max(axis=0))
        self._count += len(vectors)
        weight = len(vectors) / self._count
        with np.errstate(over="ignore", invalid="ignore"):  # result() looks
            self._mean += (vectors.mean(axis=0) - self._mean) * weight
            self._mean_of_squares += ((vectors**2).mean(axis=0) - self._mean_of_squares) * weight
        for histogram, edges, values in zip(self._histograms, self._edges, vectors.T, strict=True):
            histogram += np.histogram(values, edges)[0]

    def result(self) -> Statistics:
        """The statistics so far. Raises ValueError for fewer than two vectors and where a square left float32."""
        if self._count < 2:
            raise ValueError(f"statistics of {self._count} vectors; give at least 2")
        if not np.isfinite(self._mean_of_squares).all():
            largest = max(-self._low.min(), self._high.max())
            raise ValueError(f"the largest magnitude is {largest:g}, its square is beyond float32; look at the data")
        variance = self._mean_of_squares - self._mean**2
        q01, q99 = (self._quantile(quantile) for quantile in QUANTILES)
        return Statistics(
            mean=self._mean.astype(np.float64),
            std=np.sqrt(np.maximum(0, variance)).astype(np.float64),
            q01=q01,
            q99=q99,
        )

    def _stretch(self, low: NDArray[np.float32], high: NDArray[np.float32]) -> None:
        """Make room for values from `low` to `high`, shape (dim,) each."""
        if not self._count:
            self._low, self._high = low, high
            self._mean, self._mean_of_squares = np.zeros_like(low), np.zeros_like(low)
            self._edges = _edges(low, high, MARGIN)
            self._histograms = np.zeros((len(low), BINS))
        elif np.any(low < self._low) or np.any(high > self._high):
            self._low, self._high = np.minimum(self._low, low), np.maximum(self._high, high)
            before, self._edges = self._edges, _edges(self._low, self._high, 0.0)
            for histogram, old, new in zip(self._histograms, before, self._edges, strict=True):
                histogram[:] = np.histogram(old[:-1], new, weights=histogram)[0]

    def _quantile(self, quantile: float) -> NDArray[np.float64]:
        sums = np.cumsum(self._histograms, axis=1)
        bins = [np.searchsorted(row, quantile * self._count) for row in sums]
        return np.array([edges[index] for edges, index in zip(self._edges, bins, strict=True)])


def _edges(low: NDArray[np.float32], high: NDArray[np.float32], margin: float) -> NDArray[np.float64]:
    """Bin edges, shape (dim, BINS + 1). Made one by one: linspace computes many at once in another order."""
    bounds = zip(low.tolist(), high.tolist(), strict=True)
    return np.stack([np.linspace(first - margin, last + margin, BINS + 1) for first, last in bounds])
