"""The gallbladder in a CT: a smooth bag of bile in the liver's underside.

Bile is near water, 0 to 25 HU, in every phase (sludge and stones are denser and may hide it). The bag lies against
the liver's surface right of the middle, in front of the kidney; its content is even. Candidates are compact even
parts of that value that touch the liver; fat, gas and vessels around the others give them away as bowel. None may be
there: the gallbladder is often removed or empty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from anatomy.segmentation.ct_body import Body
from anatomy.segmentation.growing import Values, grown, values_in
from anatomy.segmentation.morphology import Mask, distance, grow, opened, shrink

Volume = NDArray[np.float32]

_LOWEST_HU, _HIGHEST_HU = -15.0, 28.0
# Bile must lie this far below the liver's own value to be told from it.
_BELOW_LIVER_HU = 15.0
_LEAST_ML, _MOST_ML = 3.0, 250.0
_DEPTHS_MM = (3.0, 5.0, 7.0)
_CORE_MM, _TOUCH_MM, _NEAR_MM = 4.0, 6.0, 30.0
_LEAST_TOUCH, _LEAST_COMPACTNESS = 0.12, 0.12
_BEHIND_MM = 25.0


@dataclass(frozen=True, eq=False)
class Gallbladder:
    """The gallbladder on the working grid.

    Parameters
    ----------
    mask : ndarray, shape (z, y, x), bool
        The bag.
    values : Values
        Its range.
    touch : float
        Share of its surface within 6 mm of the liver.
    """

    mask: Mask
    values: Values
    touch: float


def find_gallbladder(body: Body, liver: Mask, liver_hu: float, others: Mask) -> Gallbladder | None:
    """Find the gallbladder; None where none is seen.

    Parameters
    ----------
    body : Body
        The scan on the working grid.
    liver : ndarray, shape (z, y, x), bool
        The liver.
    liver_hu : float
        Its value.
    others : ndarray of bool
        Other organs already found.
    """
    edge = body.edge_mm
    high = min(_HIGHEST_HU, liver_hu - _BELOW_LIVER_HU)
    near = grow(liver, _NEAR_MM, edge) & body.trunk & ~liver & ~others & ~body.lungs & ~body.bone
    near &= _in_front(body)
    bile = near & (body.even > _LOWEST_HU) & (body.even < high)
    best: tuple[float, Mask] | None = None
    # Bowel of bile's value hangs on by necks: deeper and deeper cores come apart from it.
    for depth_mm in _DEPTHS_MM:
        parts, count = ndimage.label(shrink(bile, depth_mm, edge))
        sizes = np.bincount(parts.ravel(), minlength=count + 1) * edge**3 / 1e3
        for number in np.flatnonzero((sizes > 0.15 * _LEAST_ML) & (sizes < _MOST_ML)):
            if number == 0:
                continue
            core = grow(parts == number, depth_mm - 1.0, edge) & bile
            spread = float(body.even[core].std())
            touch = _touch(core, liver, edge)
            worth = float(core.sum() * edge**3 / 1e3) ** (1 / 3) * touch / (6.0 + spread)
            filling = 4.19 * float(distance(~core, edge).max()) ** 3 / (core.sum() * edge**3)
            if touch > _LEAST_TOUCH and filling > _LEAST_COMPACTNESS and (best is None or worth > best[0]):
                best = worth, core
    if best is None:
        return None
    core = best[1]
    values = values_in(body.even, core)
    place = np.maximum((distance(core, edge) - _CORE_MM) / 3.0, 0.0).astype(np.float32)
    never = ~near | (body.even < -40.0)
    mask = grown(body.even, never, core, place, values, edge)
    mask = opened(mask, 1.2 * edge, edge)
    parts, _ = ndimage.label(mask)
    kept = np.bincount(parts[core], minlength=parts.max() + 1)
    kept[0] = 0
    if not kept.any():
        return None
    mask = ndimage.binary_fill_holes(parts == int(kept.argmax()))
    deepest = float(distance(~mask, edge).max())
    volume = float(mask.sum()) * edge**3
    touch = _touch(mask, liver, edge)
    compact = 4.19 * deepest**3 / volume
    if not (_LEAST_ML <= volume / 1e3 <= _MOST_ML and compact > _LEAST_COMPACTNESS and touch > _LEAST_TOUCH):
        return None
    return Gallbladder(mask, values, touch)


def _in_front(body: Body) -> Mask:
    """Right of the spine (or just left of it) and in front of where kidneys lie."""
    _, y, x = np.ogrid[: body.trunk.shape[0], : body.trunk.shape[1], : body.trunk.shape[2]]
    front = (body.spine[:, 1][:, None, None] - y) * body.edge_mm
    aside = (x - body.spine[:, 0][:, None, None]) * body.edge_mm
    return (front > _BEHIND_MM) & (aside < 10.0)


def _touch(mask: Mask, liver: Mask, edge: float) -> float:
    """Share of a mask's surface that lies within 6 mm of the liver."""
    surface = mask & ~ndimage.binary_erosion(mask)
    return float(grow(liver, _TOUCH_MM, edge)[surface].mean()) if surface.any() else 0.0
