"""Tumours in the liver: compact places darker than the parenchyma around them.

In the portal venous phase most tumours take up less contrast than parenchyma (Baron 1994, AJR 163:323). The
region of least cost with a short surface (see `region`) is found among voxels darker than the drifting liver mean;
the border of each found part is then put half-way between its own value and the parenchyma's. Fat (ligaments,
fissures), bile in the surface (the gallbladder) and what is thin (dark vessels, the organ's blurred border) are
no tumours. Tumours as bright as parenchyma or brighter are not found.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from anatomy.progress import Progress, silent
from anatomy.segmentation import region
from anatomy.segmentation.ct_liver import Liver
from anatomy.segmentation.morphology import Mask, distance, grow

# The least difference that counts: in standard deviations of the smoothed image, and in HU.
_LEAST_DIFFERENCE, _LEAST_HU = 2.0, 12.0
_FAT_HU, _BILE_HU = 5.0, 25.0
_LEAST_RADIUS_MM, _LEAST_ML = 3.5, 0.25
# A ball fills its own largest inner ball; a sheet or a tube fills little of it.
_LEAST_COMPACTNESS = 0.15
_BORDER_SHARE = 0.3


def find_tumours(liver: Liver, progress: Progress = silent) -> tuple[Mask, float]:
    """Find dark tumours inside the liver.

    Returns
    -------
    mask : ndarray, shape (z, y, x), bool
        On the working grid; all tumours together.
    confidence : float
        0 to 1: how far the faintest one stands out of the noise; 0 when there is none.
    """
    progress("Looking for tumours", 0.0)
    below = np.where(liver.mask, liver.mean_hu - liver.body.even, 0.0).astype(np.float32)
    least = max(_LEAST_HU, _LEAST_DIFFERENCE * liver.noise_hu)
    parts, count = ndimage.label(_dark(below, liver, least))
    found = np.zeros_like(liver.mask)
    certainty = []
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        part = parts == number
        depth = _depth_of_tumour(part, box, liver, below)
        if depth >= least:
            found |= _half_way(part, below, liver, depth)
            certainty.append(min(1.0, depth / (6.0 * liver.noise_hu)))
        progress("Looking for tumours", number / count)
    return found, min(certainty, default=0.0)


def _dark(below: NDArray[np.float32], liver: Liver, least: float) -> Mask:
    """Voxels more than `least` darker than parenchyma, as the region of least cost with a short surface."""
    box = ndimage.find_objects(liver.mask.astype(np.uint8))[0]
    cost = np.clip((least - below[box]) / liver.noise_hu, -3.0, 3.0).astype(np.float32)
    cost[~liver.mask[box]] = 3.0
    u = (cost < 0).astype(np.float32)
    region.minimise(cost, np.ones_like(cost), u, 0.4 * liver.body.edge_mm, 60)
    dark = np.zeros_like(liver.mask)
    dark[box] = u > 0.5
    return dark


def _depth_of_tumour(part: Mask, box: tuple[slice, ...], liver: Liver, below: NDArray[np.float32]) -> float:
    """How many HU a tumour lies below parenchyma; 0 for what is no tumour."""
    edge = liver.body.edge_mm
    wide = tuple(slice(max(0, s.start - 3), s.stop + 3) for s in box)
    inner = part[wide]
    volume = float(inner.sum()) * edge**3
    radius = distance(~np.pad(inner, 1), edge)[1:-1, 1:-1, 1:-1]
    largest = float(radius.max()) - 0.5 * edge
    if volume < 1000.0 * _LEAST_ML or largest < _LEAST_RADIUS_MM:
        return 0.0
    if 4.19 * largest**3 < _LEAST_COMPACTNESS * volume:
        return 0.0
    core = radius > 0.5 * radius.max()
    value = float(np.median(liver.body.hu[wide][core]))
    shell = grow(inner, 1.5 * edge, edge) & ~inner
    outside = float((~liver.mask[wide])[shell].mean()) if shell.any() else 1.0
    if value < _FAT_HU or outside > _BORDER_SHARE or (value < _BILE_HU and outside > 0.1):
        return 0.0
    return float(np.median(below[wide][core]))


def _half_way(part: Mask, below: NDArray[np.float32], liver: Liver, depth: float) -> Mask:
    """The part with its border moved to half its depth, within 5 mm."""
    edge = liver.body.edge_mm
    near = grow(part, 5.0, edge) & liver.mask
    smooth = ndimage.gaussian_filter(below, 0.5)
    half = near & (smooth > depth / 2)
    parts, _ = ndimage.label(half)
    touched = np.unique(parts[part & half])
    kept = np.isin(parts, touched[touched > 0])
    # One voxel of opening takes off what hangs on: dark vessels and noise.
    clean: Mask = ndimage.binary_fill_holes(ndimage.binary_opening(kept) | (part & half))
    return clean
