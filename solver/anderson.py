"""Anderson's acceleration of a fixed-point iteration x ← x + c(x) (Walker & Ni 2011, SIAM J Numer Anal 49:1715)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def mixed_step(points: Sequence[Array], corrections: Sequence[Array]) -> Array:
    """The step from the last of the points to the mix of all with the least correction, and by that correction.

    Parameters
    ----------
    points, corrections : sequence of ndarray, all of one shape
        The last iterates x and their corrections c(x), oldest first; with one only, the step is its correction.
    """
    last, step = corrections[-1], corrections[-1].copy()
    if len(points) == 1:
        return step
    change = np.stack([(last - c).ravel() for c in corrections[:-1]], axis=1)
    weights = np.linalg.lstsq(change, last.ravel(), rcond=1e-8)[0]
    for weight, point, correction in zip(weights, points[:-1], corrections[:-1], strict=True):
        step -= weight * ((points[-1] - point) + (last - correction))
    return step
