"""An organ grown from where it is known to lie: its values measured there, its border the region of least cost.

A protocol says where an organ surely is (a core), how far it can reach (a cost that rises with distance from its
expected shape) and what it can never be. The values inside the core give the organ's range; the region of least
cost with a short, edge-bound surface (see `region`) is found for that range, and what hangs on by a neck is cut off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from anatomy.segmentation import region
from anatomy.segmentation.morphology import Mask, grow, largest, shrink, smoothed

Volume = NDArray[np.float32]

# How far outside the organ's range, in standard deviations, a voxel may still belong to it.
_BAND = 2.5
_LEAST_NOISE_HU = 6.0
_WEIGHT_PER_MM = 0.125
_ROUNDS, _STEPS = 4, 50
# An organ's values drift through the body (beam hardening by arms and bones, uneven enhancement): how far and wide.
_DRIFT_HU, _DRIFT_WIDTH_MM = 30.0, 18.0


@dataclass(frozen=True)
class Values:
    """What an organ's voxels are like in the smoothed scan.

    Parameters
    ----------
    low, high : float
        The range that the middle of the organ's voxels spans, HU.
    noise : float
        Standard deviation beyond that range, HU.
    """

    low: float
    high: float
    noise: float

    @property
    def middle(self) -> float:
        """The middle of the range, HU."""
        return 0.5 * (self.low + self.high)

    def away(self, even: Volume) -> Volume:
        """How far outside the range values lie, in standard deviations."""
        outside = np.maximum(np.maximum(self.low - even, even - self.high), 0.0)
        return np.asarray(outside / self.noise, dtype=np.float32)


def values_in(even: Volume, core: Mask) -> Values:
    """The range of an organ from a core of it: its quartiles, and the spread that noise and drift add.

    The spread is a robust one: the 10th and the 90th percentile lie 1.28 standard deviations from the median of a
    normal distribution.
    """
    low, first, middle, third, high = (float(v) for v in np.percentile(even[core], (10, 25, 50, 75, 90)))
    # The narrower side: the other may hold fat of a hilum, or a vessel.
    return Values(first, third, max(_LEAST_NOISE_HU, min(middle - low, high - middle) / 1.28))


def grown(even: Volume, never: Mask, core: Mask, place: Volume, values: Values, edge_mm: float) -> Mask:
    """The region of least cost around a core.

    Parameters
    ----------
    even : ndarray, shape (z, y, x), float32
        The smoothed scan, HU.
    never : ndarray of bool
        What the organ cannot be.
    core : ndarray of bool
        Where the organ surely is.
    place : ndarray of float32
        Cost of a voxel for lying where it does: 0 where the organ is expected, in units of the values' cost, whose
        largest is 4.
    values : Values
        The organ's range.
    edge_mm : float
        Voxel edge, mm.

    Returns
    -------
    ndarray of bool
        The connected part that holds the core; empty where nothing is left of it.
    """
    found = np.zeros(even.shape, dtype=bool)
    near = ~never & (place < 4.0)
    if not (near & core).any():
        return found
    box = ndimage.find_objects(near.astype(np.uint8))[0]
    image, outside = even[box], never[box]
    gradient = sitk.GetArrayFromImage(sitk.GradientMagnitude(sitk.GetImageFromArray(image)))
    weight = np.asarray(0.15 + 1.0 / (1.0 + (gradient / (1.5 * values.noise)) ** 2), dtype=np.float32)
    inside = core[box]
    u: Volume | None = None
    for _ in range(_ROUNDS):
        drift = drifting_mean(image, inside, values.middle, edge_mm) - values.middle
        away = values.away(image - drift)
        cost = np.clip(away**2 / 2 - _BAND**2 / 2, -(_BAND**2) / 2, 4.0) + place[box]
        cost = np.minimum(cost, 4.0).astype(np.float32)
        cost[outside] = 4.0
        if u is None:
            u = (cost < 0).astype(np.float32)
        region.minimise(cost, weight, u, _WEIGHT_PER_MM * edge_mm, _STEPS)
        inside = without_necks(u > 0.5, core[box], 3.0, edge_mm)
        inside = shrink(inside, 3.0, edge_mm)
    found[box] = u > 0.5 if u is not None else False
    return found


def drifting_mean(even: Volume, mask: Mask, value: float, edge_mm: float) -> Volume:
    """Gaussian-weighted mean of the values inside a mask around each voxel, held within 30 HU of `value`."""
    above = smoothed(np.where(mask, even - value, 0.0), _DRIFT_WIDTH_MM, edge_mm)
    weight = smoothed(mask, _DRIFT_WIDTH_MM, edge_mm)
    drift = np.clip(above / (np.maximum(weight, 0.0) + 0.02), -_DRIFT_HU, _DRIFT_HU)
    return np.asarray(value + drift, dtype=np.float32)


def without_necks(mask: Mask, core: Mask, neck_mm: float, edge_mm: float, tongue_mm: float = 0.0) -> Mask:
    """The part of a mask that holds most of a core, without what hangs on by a neck thinner than twice `neck_mm`.

    Thin tongues of the organ itself reach up to `tongue_mm` from its thick part.
    """
    parts, count = ndimage.label(shrink(mask, neck_mm, edge_mm))
    if count == 0:
        return largest(mask & core)
    sizes = np.bincount(parts[core], minlength=count + 1)
    sizes[0] = 0
    if not sizes.any():
        return np.zeros_like(mask)
    return largest(
        grow(parts == int(sizes.argmax()), max(tongue_mm, 1.5 * neck_mm + edge_mm), edge_mm) & mask
    )
