"""Grey matter, white matter and ventricles within a brain: intensity classes smoothed as a Markov random field.

Theory: each voxel's class minimises, with those of its six neighbours, the energy

    (I - m_k)^2 / (2 s^2) - ln p_k + b * (number of neighbours of another class),

by iterated conditional modes (Besag 1986, J R Stat Soc B 48:259) from a mixture of Gaussians, whose means m_k and
shares p_k are estimated again in every round (Zhang, Brady & Smith 2001, IEEE TMI 20:45). The deviation s is one for
all: noise is the same everywhere, and a class that had its own would widen with the partial volumes at its border and
take its neighbour's voxels. What the first bias correction left is taken out between rounds, as the smooth part of the
logarithm of each voxel over its class's mean (Wells et al. 1996, IEEE TMI 15:429).
Ventricles are the fluid deep in the brain: fluid near the surface lies in furrows and cisterns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from anatomy.segmentation.corrections.seeds import on_voxels
from anatomy.segmentation.morphology import Mask
from anatomy.segmentation.mr_head import Classes, Volume

FLUID, GREY, WHITE = 0, 1, 2
_NEIGHBOUR_WEIGHT = 0.35
_ROUNDS = 6
_EVENED, _EVEN_MM = (1, 2, 3), 25.0


@dataclass(frozen=True, eq=False)
class Tissues:
    """Tissue classes of a brain.

    Parameters
    ----------
    grey, white, fluid : ndarray, shape (z, y, x), bool
        Parts of the brain; fluid is that of ventricles and furrows together.
    separation : float
        Distance of grey and white matter's means over the deviation of both.
    """

    grey: Mask
    white: Mask
    fluid: Mask
    separation: float


def classify(values: Volume, brain: Mask, start: Classes, spacing: NDArray[np.float64]) -> Tissues:
    """Divide a brain into fluid, grey and white matter.

    Parameters
    ----------
    values : ndarray, shape (z, y, x), float32
        Grey values with the bias removed, T1-weighted.
    brain : ndarray, shape (z, y, x), bool
        Where the brain is.
    start : Classes
        First means.
    spacing : ndarray, shape (3,)
        Voxel edges along z, y, x, mm.
    """
    sample = values[brain]
    means = np.array([start.fluid, start.grey, start.white])
    labels = np.searchsorted(0.5 * (means[1:] + means[:-1]), sample).astype(np.int8)
    whole = np.full(brain.shape, -1, dtype=np.int8)
    deviation = 1.0
    for number in range(_ROUNDS):
        whole[brain] = labels
        if number in _EVENED:
            left = _left_bias(sample, labels, means, brain, spacing)
            sample = np.asarray(sample / np.exp(left), dtype=np.float32)
        shares = np.maximum(np.bincount(labels, minlength=3) / labels.size, 1e-6)
        means = np.array([_middle(sample[labels == k], means[k]) for k in range(3)])
        deviation = _deviation(sample, labels, means)
        energies = []
        for k in range(3):
            unlike = 6 - _alike(whole, k, brain)
            fit = 0.5 * ((sample - means[k]) / deviation) ** 2 - np.log(shares[k])
            energies.append(fit + _NEIGHBOUR_WEIGHT * unlike)
        labels = np.argmin(energies, axis=0).astype(np.int8)
    whole[brain] = labels
    apart = float(means[WHITE] - means[GREY]) / deviation
    return Tissues(whole == GREY, whole == WHITE, whole == FLUID, apart)


def _deviation(sample: NDArray[np.float32], labels: NDArray[np.int8], means: NDArray[np.float64]) -> float:
    """Deviation of brain tissue from its class's mean, robust, and never nought."""
    of = labels > FLUID
    spread = 1.4826 * float(np.median(np.abs(sample[of] - means[labels[of]]))) if of.any() else 0.0
    return max(spread, 0.02 * float(means[WHITE] - means[FLUID]), 1e-6)


def _left_bias(
    sample: NDArray[np.float32],
    labels: NDArray[np.int8],
    means: NDArray[np.float64],
    brain: Mask,
    spacing: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Logarithm of the bias that is left in the brain's voxels, smooth over 25 mm."""
    of = labels > FLUID
    rest = np.zeros(brain.shape, dtype=np.float32)
    weight = np.zeros(brain.shape, dtype=np.float32)
    ratio = np.log(np.maximum(sample[of], 1e-3) / np.maximum(means[labels[of]], 1e-3))
    inside = np.flatnonzero(brain)[of]
    rest.ravel()[inside], weight.ravel()[inside] = np.clip(ratio, -0.5, 0.5), 1.0
    steps = np.maximum(1, np.round(4.0 / spacing)).astype(int)
    nodes = tuple(slice(s // 2, None, s) for s in steps)
    width = _EVEN_MM / (spacing * steps)
    total = ndimage.gaussian_filter(ndimage.uniform_filter(rest, steps)[nodes], width)
    amount = ndimage.gaussian_filter(ndimage.uniform_filter(weight, steps)[nodes], width)
    return on_voxels(total / np.maximum(amount, 1e-3), brain.shape, steps)[brain]


def _middle(sample: NDArray[np.float32], otherwise: float) -> float:
    return float(np.median(sample)) if sample.size else float(otherwise)


def _alike(labels: NDArray[np.int8], kind: int, brain: Mask) -> NDArray[np.int8]:
    """How many of its six neighbours are of a class, for each voxel of the brain."""
    of_kind = labels == kind
    count = np.zeros(labels.shape, dtype=np.int8)
    for axis in range(3):
        head = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        tail = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        count[head] += of_kind[tail]
        count[tail] += of_kind[head]
    return count[brain]


def find_ventricles(
    fluid: Mask, brain: Mask, depth_mm: Volume, spacing: NDArray[np.float64], least_ml: float = 0.3
) -> Mask:
    """The fluid of the ventricles: the lateral ones by their place, and what is joined to them close by.

    The bodies of the lateral ventricles lie beside the midline, in the upper half of the brain and deep in it; the
    fissure between the hemispheres lies in the midline, cisterns lower and behind. Lengths are shares of the brain's
    half width, so that they fit brains of every size.

    Parameters
    ----------
    fluid, brain : ndarray, shape (z, y, x), bool
        Fluid in the brain, and the brain; axes from inferior, anterior and right.
    depth_mm : ndarray
        Distance to the brain's outer surface, mm.
    spacing : ndarray, shape (3,)
        Voxel edges along z, y, x, mm.
    least_ml : float
        Smaller pools are left out, ml.
    """
    centre = np.array(ndimage.center_of_mass(brain))
    wide = np.flatnonzero(brain.any(axis=(0, 1)))
    half = 0.5 * (wide[-1] - wide[0] + 1) * spacing[2]
    axes = np.ogrid[tuple(map(slice, brain.shape))]
    up, back, side = (
        np.asarray((axis - c) * edge / half) for axis, c, edge in zip(axes, centre, spacing, strict=True)
    )
    beside = (np.abs(side) > 0.05) & (np.abs(side) < 0.55) & (up > -0.05) & (up < 0.6) & (np.abs(back) < 0.8)
    core = fluid & beside & (depth_mm > 0.33 * half)
    core &= ndimage.distance_transform_edt(fluid, sampling=spacing) > 1.2
    parts, count = ndimage.label(core)
    if count == 0:
        return core
    volumes = np.bincount(parts.ravel()) * float(np.prod(spacing)) / 1000.0
    volumes[0] = 0.0
    # Pools far smaller than the ventricles are furrows that reach deep.
    seeds = np.asarray((volumes >= max(0.3 * least_ml, 0.08 * float(volumes.max())))[parts])
    # What lies in the midline above the ventricles is the fissure, however close.
    roof = (np.abs(side) < 0.06) & (up > 0.15)
    near = ndimage.distance_transform_edt(~seeds, sampling=spacing) < 0.11 * half
    found = ndimage.binary_propagation(seeds, mask=fluid & near & ~roof & (depth_mm > 0.2 * half))
    return np.asarray(found)
