"""The gallbladder in a CT: a smooth bag of bile in the fossa of the liver's underside, or nothing.

Bile is near water in every phase; 25 HU and more is abnormal, sludge most often ("CT evaluation of intracholecystic
bile", AJR 1985), and such a bag is not looked for. Fluid in the duodenum, stomach and colon has the same value, so a
candidate must prove itself in all of these: it is thick, even in value and convex; it lies against the liver over a
good part of its surface but is not enclosed by it as a cyst is; the liver covers it from above; it is in front of the
spine's right; no gas is next to it; and it has a gallbladder's volume. Where none does, or two do alike, the answer
is none: the gallbladder is often removed or empty, and an invented one is worse than a missing one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from anatomy.segmentation.ct_body import Body
from anatomy.segmentation.growing import Values, values_in
from anatomy.segmentation.morphology import Mask, distance, grow, largest, opened, shrink

Volume = NDArray[np.float32]

_LOWEST_HU, _HIGHEST_HU = -15.0, 25.0
# Bile must lie this far below the liver's own value to be told from it.
_BELOW_LIVER_HU = 20.0
# A fasting gallbladder holds 20 to 70 ml; smaller and larger ones are left to a person.
_LEAST_ML, _MOST_ML = 6.0, 150.0
# Bowel of bile's value hangs on by necks: deeper and deeper cores come apart from it.
_DEPTHS_MM = (3.5, 5.0, 7.0, 9.0, 11.0)
_NEAR_MM, _TOUCH_MM = 30.0, 6.0
_LEAST_TOUCH, _MOST_TOUCH = 0.1, 0.75
_LEAST_SOLIDITY, _LEAST_COVERED = 0.88, 0.5
_COVER_MM = 70.0
_GAS_HU, _GAS_MM, _MOST_GAS = -140.0, 4.0, 0.05
# In front of and beside the column's centre, mm.
_LEAST_FRONT_MM, _ASIDE_MM = 40.0, (-120.0, 10.0)
_FAT_HU, _WALL_HU = -100.0, 22.0
# The second candidate is this much worse, or neither is taken.
_CLEARLY = 0.7


@dataclass(frozen=True, eq=False)
class Gallbladder:
    """The gallbladder on the working grid.

    Parameters
    ----------
    mask : ndarray, shape (z, y, x), bool
        The bag.
    values : Values
        Its range.
    evidence : float
        How well it is proved, 0 to 1: the weakest of evenness, convexity, touch and cover.
    """

    mask: Mask
    values: Values
    evidence: float


@dataclass(frozen=True, eq=False)
class _Surroundings:
    """Where a gallbladder may be, the liver, and how far liver and gas are from each voxel, mm."""

    near: Mask
    liver: Mask
    to_liver: Volume
    to_gas: Volume
    liver_hu: float
    noise_hu: float


def find_gallbladder(
    body: Body, liver: Mask, liver_hu: float, noise_hu: float, others: Mask
) -> Gallbladder | None:
    """Find the gallbladder; None where none is proved.

    Parameters
    ----------
    body : Body
        The scan on the working grid.
    liver : ndarray, shape (z, y, x), bool
        The liver.
    liver_hu, noise_hu : float
        Its value, and the standard deviation of even tissue (the liver's) in the smoothed image, HU.
    others : ndarray of bool
        Other organs already found.
    """
    edge = body.edge_mm
    high = min(_HIGHEST_HU, liver_hu - _BELOW_LIVER_HU)
    near = grow(liver, _NEAR_MM, edge) & body.trunk & ~liver & ~others & ~body.lungs & ~body.bone
    near &= _in_place(body)
    bile = near & (body.even > _LOWEST_HU) & (body.even < high)
    gas = distance((body.even < _GAS_HU) & ~body.lungs, edge)
    place = _Surroundings(near, liver, distance(liver, edge), gas, liver_hu, noise_hu)
    candidates = [_proved(body, core, place) for core in _cores(bile, edge)]
    found = sorted((one for one in candidates if one is not None), key=lambda one: -one.evidence)
    if not found:
        return None
    # Cores of several depths find the same bag.
    others_found = [one for one in found if not (one.mask & found[0].mask).any()]
    if others_found and others_found[0].evidence > _CLEARLY * found[0].evidence:
        return None
    return found[0]


def _in_place(body: Body) -> Mask:
    """In front of the spine, right of it or just left."""
    _, y, x = np.ogrid[: body.trunk.shape[0], : body.trunk.shape[1], : body.trunk.shape[2]]
    front = (body.spine[:, 1][:, None, None] - y) * body.edge_mm
    aside = (x - body.spine[:, 0][:, None, None]) * body.edge_mm
    return (front > _LEAST_FRONT_MM) & (aside > _ASIDE_MM[0]) & (aside < _ASIDE_MM[1])


def _cores(bile: Mask, edge: float) -> Iterator[tuple[Mask, float]]:
    """Deep parts of the right value with their depth, mm."""
    for depth_mm in _DEPTHS_MM:
        parts, count = ndimage.label(shrink(bile, depth_mm, edge))
        sizes = np.bincount(parts.ravel(), minlength=count + 1) * edge**3 / 1e3
        for number in range(1, count + 1):
            if 0.02 * _LEAST_ML < sizes[number] < _MOST_ML:
                yield parts == number, depth_mm


def _proved(body: Body, found: tuple[Mask, float], around: _Surroundings) -> Gallbladder | None:
    """The region around a core, if all that is asked of a gallbladder holds."""
    edge = body.edge_mm
    core, depth_mm = found
    noise_hu, liver_hu = around.noise_hu, around.liver_hu
    values = values_in(body.even, core)
    if not -noise_hu <= values.middle <= min(_HIGHEST_HU, liver_hu - _BELOW_LIVER_HU):
        return None
    # Its border lies half-way to fat on one side, and to the liver or its own wall on the other.
    low, high = (
        0.5 * (values.middle + _FAT_HU),
        values.middle + min(_WALL_HU, 0.5 * (liver_hu - values.middle)),
    )
    mask = around.near & grow(core, depth_mm + 0.7 * edge, edge) & (body.even > low) & (body.even < high)
    mask = largest(opened(mask, 1.2 * edge, edge))
    if not mask.any():
        return None
    mask = ndimage.binary_fill_holes(mask)
    if not _LEAST_ML <= mask.sum() * edge**3 / 1e3 <= _MOST_ML:
        return None
    surface = mask & ~ndimage.binary_erosion(mask)
    touch = float((around.to_liver <= _TOUCH_MM)[surface].mean())
    beside_gas = float((around.to_gas <= _GAS_MM)[surface].mean())
    inner = shrink(mask, edge, edge)
    spread = float(body.even[inner].std()) if inner.any() else np.inf
    if not (_LEAST_TOUCH <= touch <= _MOST_TOUCH) or beside_gas > _MOST_GAS:
        return None
    solidity, covered = _solidity(mask), _covered(mask, around.liver, edge)
    if solidity < _LEAST_SOLIDITY or covered < _LEAST_COVERED or spread > noise_hu:
        return None
    evidence = min(noise_hu / max(spread, 1e-6), solidity / 0.95, touch / 0.2, covered / 0.8, 1.0)
    return Gallbladder(mask, values, float(evidence))


def _solidity(mask: Mask) -> float:
    """Share of the voxels inside the convex hull of the mask's voxel centres that are of the mask."""
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    part = mask[box]
    points = np.argwhere(part & ~ndimage.binary_erosion(part)).astype(np.float64)
    try:
        planes = ConvexHull(points).equations
    except QhullError:
        return 0.0
    grid = np.argwhere(np.ones(part.shape, dtype=bool)).astype(np.float64)
    inside = (grid @ planes[:, :3].T + planes[:, 3] <= 1e-6).all(axis=1)
    return float(part.sum() / max(1, int(inside.sum())))


def _covered(mask: Mask, liver: Mask, edge: float) -> float:
    """Share of the columns through the mask that meet liver above it."""
    top = len(mask) - 1 - mask[::-1].argmax(axis=0)
    footprint = mask.any(axis=0)
    level = np.arange(len(mask))[:, None, None]
    above = liver & (level > top) & ((level - top) * edge <= _COVER_MM)
    return float(above.any(axis=0)[footprint].mean())
