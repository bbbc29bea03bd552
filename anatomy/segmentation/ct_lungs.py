"""The lungs in a CT, left and right, without windpipe and main bronchi.

Air inside the trunk that is denser than gas is lung (see `ct_body`). In axial slices the windpipe and the main
bronchi are small round holes of nearly pure air in front of the spine, apart from the lungs; they are left out.
Vessels and thin septa inside are closed over. What belongs to which side is decided by the deep parts of the
lungs, each lying on its own side of the spine; the rest goes with the nearest deep part.

The confidence is measured: the share of the lungs' surface across which values rise from aerated lung to soft tissue.
A lung that is consolidated, or next to an effusion, has no such border where it is missing air.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from anatomy.segmentation.ct_body import Body
from anatomy.segmentation.morphology import Mask, closed, distance, shrink

# Air of the windpipe; inflated lung is denser (-900 to -600 HU).
_AIRWAY_HU = -880.0
# A windpipe is up to 27 mm wide (Breatnach et al. 1984, AJR 142:903), cut obliquely a little more.
_AIRWAY_MM2, _AIRWAY_ASIDE_MM, _AIRWAY_FRONT_MM = 800.0, 45.0, 90.0
_VESSEL_MM, _CORE_MM = 5.0, 5.0
# A vessel that lung surrounds in an axial slice; what is larger lies between the lungs.
_SURROUNDED_MM2 = 400.0
_MOSTLY = 0.9
# Aerated lung and soft tissue on the two sides of a clear border.
_AERATED_HU, _TISSUE_HU = -600.0, -250.0
# Inflated lung lies at -900 to -600 HU; the median of a lung above this speaks of disease or expiration.
_DENSE_HU, _THICK_MM, _UNSURE, _SMALL_SHARE = -650.0, 6.0, 0.5, 0.05


@dataclass(frozen=True, eq=False)
class Lungs:
    """Both lungs and how far they can be trusted.

    Parameters
    ----------
    left, right : ndarray, shape (z, y, x), bool
        On the working grid.
    confidence : float
        Share of the lungs' surface, 0 to 1, at which values rise from below -600 to above -250 HU outwards.
    warnings : tuple of str
        What a person should know: a field of view that cuts lungs off, dense lungs, one missing, thick slices.
    """

    left: Mask
    right: Mask
    confidence: float
    warnings: tuple[str, ...]


def find_both_lungs(body: Body, thickest_mm: float = 0.0) -> Lungs:
    """Left and right lung on the working grid.

    Parameters
    ----------
    body : Body
        The scan on the working grid.
    thickest_mm : float
        Largest voxel edge of the scan itself, mm; thick slices are warned of.
    """
    left, right = _sides(body, _air_and_vessels(body))
    return Lungs(left, right, *_trust(body, left, right, thickest_mm))


def _air_and_vessels(body: Body) -> Mask:
    """Lung without its airways, small vessels and septa closed over."""
    edge = body.edge_mm
    airway = _airway(body)
    lungs = closed(body.lungs & ~airway, _VESSEL_MM, edge) & body.trunk & ~body.bone & ~airway
    return np.stack([_holes_filled(plane, _SURROUNDED_MM2 / edge**2) for plane in lungs])


def _holes_filled(plane: Mask, most: float) -> Mask:
    holes, _ = ndimage.label(ndimage.binary_fill_holes(plane) & ~plane)
    small = np.bincount(holes.ravel()) < most
    small[0] = False
    return plane | small[holes]


def _sides(body: Body, lungs: Mask) -> tuple[Mask, Mask]:
    """Left and right."""
    edge = body.edge_mm
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


def _trust(body: Body, left: Mask, right: Mask, thickest_mm: float) -> tuple[float, tuple[str, ...]]:
    """Confidence and warnings."""
    lungs = left | right
    if not lungs.any():
        return 0.0, ()
    edge = body.edge_mm
    surface = lungs & ~shrink(lungs, edge, edge)
    inside = ndimage.minimum_filter(np.where(lungs, body.hu, 3000.0), 3)
    outside = ndimage.maximum_filter(np.where(lungs, -2000.0, body.hu), 3)
    clear = surface & (inside < _AERATED_HU) & (outside > _TISSUE_HU)
    confidence = float(clear.sum() / surface.sum())
    warnings = []
    ends = [word for word, plane in (("top", lungs[-1]), ("bottom", lungs[0])) if plane.any()]
    if ends:
        warnings.append(f"the lungs reach the {' and '.join(ends)} of the scan: part of them is missing")
    if lungs[:, [0, -1]].any() or lungs[:, :, [0, -1]].any():
        warnings.append("lung reaches the side of the scan: the field of view cuts part of it off")
    for word, one in (("left", left), ("right", right)):
        if one.sum() < _SMALL_SHARE * lungs.sum():
            warnings.append(f"hardly any {word} lung holds air in the scan: it is missing or has collapsed")
        elif (middle := float(np.median(body.hu[one]))) > _DENSE_HU:
            warnings.append(f"the {word} lung is dense ({middle:.0f} HU): parts without air are left out")
    if thickest_mm > _THICK_MM:
        warnings.append(f"slices {thickest_mm:g} mm apart: the bases of the lungs are blurred into the liver")
    if confidence < _UNSURE:
        warnings.append(f"the lungs are uncertain (confidence {confidence:.2f}): look at their border")
    return confidence, tuple(warnings)


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
