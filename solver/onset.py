"""Onset: a penalty that sets in smoothly, for everything that touches.

At the depth d in a layer of thickness h the pressure is p = ε d²/(2 h) for 0 < d < h and p = ε (d − h/2) beyond, so
that its energy has two continuous derivatives (Wriggers 2006, Computational Contact Mechanics, ch. 6).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def onset(depth_mm: Array, layer_mm: float) -> tuple[Array, Array, Array]:
    """Energy, pressure and stiffness for each ε and area, of the shape of the depths.

    Parameters
    ----------
    depth_mm : ndarray
        d, 0 or more.
    layer_mm : float
        h.

    Returns
    -------
    energy : ndarray
        mm².
    pressure : ndarray
        Its derivative by the depth, mm.
    slope : ndarray
        The second derivative.
    """
    d, h = depth_mm, layer_mm
    early = d < h
    energy = np.where(early, d**3 / (6 * h), d**2 / 2 - d * h / 2 + h**2 / 6)
    return energy, np.where(early, d**2 / (2 * h), d - h / 2), np.minimum(d / h, 1.0)
