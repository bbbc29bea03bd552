"""Curvature: what the last steps taught about the energy, for the limited-memory BFGS method.

Nocedal's two-loop recursion (1980, Math Comput 35:773) with a factored tangent as the initial inverse Hessian:
the tangent knows the stiff directions, the pairs what has changed since it was factored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MEMORY = 8
FAST = {"contract", "reassoc", "nsz"}


class Curvature:
    """Pairs of steps and changes of gradient."""

    def __init__(self, memory: int = MEMORY) -> None:
        self._pairs: deque[tuple[Array, Array, float]] = deque(maxlen=memory)

    def __len__(self) -> int:
        return len(self._pairs)

    def clear(self) -> None:
        """Forget all pairs: what is held, or the factor, has changed."""
        self._pairs.clear()

    def copy(self) -> Curvature:
        """An independent copy; the pairs themselves never change."""
        other = Curvature()
        other._pairs = self._pairs.copy()
        return other

    def learn(self, step: Array, change: Array) -> None:
        """Keep a pair, unless it has no positive curvature to teach.

        Parameters
        ----------
        step, change : ndarray, shape (n, 3)
            Change of displacement, zero at held vertices, and of gradient.
        """
        product = float(np.vdot(step, change))
        if product > 1e-10 * np.linalg.norm(step) * np.linalg.norm(change):
            self._pairs.append((step, change, 1.0 / product))

    def direction(self, gradient: Array, answer: Callable[[Array], Array]) -> Array:
        """Minus the approximate inverse Hessian times the gradient.

        Parameters
        ----------
        gradient : ndarray, shape (n, 3)
        answer : callable
            The initial inverse Hessian.
        """
        q = gradient.copy()
        scales = []
        for step, change, inverse in reversed(self._pairs):
            scale = inverse * float(np.vdot(step, q))
            _add(q.reshape(-1), -scale, change.reshape(-1))
            scales.append(scale)
        d = answer(q)
        for (step, change, inverse), scale in zip(self._pairs, reversed(scales), strict=True):
            _add(d.reshape(-1), scale - inverse * float(np.vdot(change, d)), step.reshape(-1))
        return np.negative(d, out=d)


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _add(target, factor, vector):  # type: ignore[no-untyped-def]
    """Add a multiple of a vector in place, which spares a large array for the product."""
    for i in range(len(target)):
        target[i] += factor * vector[i]
