"""The lungs in a CT, left and right, without windpipe and main bronchi.

Air inside the trunk that is denser than gas is lung (see `ct_body`). In axial slices the windpipe and the main
bronchi are small round holes of nearly pure air in front of the spine, apart from the lungs; they are left out.
Vessels and thin septa inside are closed over. What belongs to which side is decided by the deep parts of the
lungs, each lying on its own side of the spine; the rest goes with the nearest deep part.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from anatomy.segmentation.ct_body import Body
from anatomy.segmentation.morphology import Mask, closed, distance, shrink

# Air of the windpipe; inflated lung is denser (-900 to -600 HU).
_AIRWAY_HU = -880.0
# A windpipe is up to 27 mm wide (Breatnach et al. 1984, AJR 142:903), cut obliquely a little more.
_AIRWAY_MM2, _AIRWAY_ASIDE_MM, _AIRWAY_FRONT_MM = 800.0, 45.0, 90.0
_VESSEL_MM, _CORE_MM = 5.0, 5.0
_MOSTLY = 0.9


def find_both_lungs(body: Body) -> tuple[Mask, Mask]:
    """Left and right lung on the working grid."""
    edge = body.edge_mm
    air = body.lungs & ~_airway(body)
    lungs = closed(air, _VESSEL_MM, edge) & body.trunk & ~body.bone & ~_airway(body)
    lungs = np.stack([ndimage.binary_fill_holes(plane) for plane in lungs])
    sides = ~np.broadcast_to(body.right, lungs.shape)
    parts, count = ndimage.label(shrink(lungs, _CORE_MM, edge))
    left = np.zeros_like(lungs)
    right = np.zeros_like(lungs)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    share = np.bincount(parts[sides], minlength=count + 1) / np.maximum(sizes, 1)
    for number in range(1, count + 1):
        part = parts == number
        if share[number] > _MOSTLY:
            left |= part
        elif share[number] < 1.0 - _MOSTLY:
            right |= part
        else:
            left |= part & sides
            right |= part & ~sides
    to_left, to_right = distance(left, edge), distance(right, edge)
    nearer = to_left < to_right
    return lungs & nearer, lungs & ~nearer & np.isfinite(to_right)


def _airway(body: Body) -> Mask:
    """Small round holes of air in front of the spine, slice by slice."""
    edge = body.edge_mm
    airway = np.zeros_like(body.trunk)
    for z, plane in enumerate(body.lungs):
        parts, count = ndimage.label(plane)
        if count == 0:
            continue
        numbers = np.arange(1, count + 1)
        area = np.bincount(parts.ravel(), minlength=count + 1)[1:] * edge**2
        low = np.atleast_1d(ndimage.minimum(body.hu[z], parts, numbers))
        centre = np.atleast_2d(ndimage.center_of_mass(plane, parts, numbers))
        front = (body.spine[z, 1] - centre[:, 0]) * edge
        aside = np.abs(centre[:, 1] - body.spine[z, 0]) * edge
        small = (area < _AIRWAY_MM2) & (low < _AIRWAY_HU)
        placed = (aside < _AIRWAY_ASIDE_MM) & (front > 5.0) & (front < _AIRWAY_FRONT_MM)
        airway[z] = np.isin(parts, numbers[small & placed])
    return airway
