"""A tumour grown from one point that a person placed in it.

The values within a small ball around the point give the tumour's range, whether it is darker or brighter than the
organ around it; the region of that range near the point (see `growing`), without what hangs on by a neck, is the
tumour. A point in a place that has no border within reach is refused rather than answered with a piece of the organ.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from anatomy.errors import AnatomyError
from anatomy.scan import Scan
from anatomy.segmentation.border import place_border
from anatomy.segmentation.ct_body import Body, working_image
from anatomy.segmentation.growing import grown, values_in, without_necks
from anatomy.segmentation.morphology import Mask, distance

# The seed's ball; the largest tumour; how far the region may touch that limit before it counts as having no border.
_BALL_MM, _NECK_MM = 3.5, 2.5
_SPILL_SHARE = 0.25


def tumour_from_seed(scan: Scan, seed_mm: Sequence[float], reach_mm: float = 40.0) -> Mask:
    """The tumour around a point.

    Parameters
    ----------
    scan : Scan
        A CT.
    seed_mm : sequence of three float
        A point inside the tumour, LPS mm.
    reach_mm : float
        No part of the tumour is farther than this from the point, mm.

    Returns
    -------
    ndarray, shape (z, y, x), bool
        On the scan's grid.

    Raises
    ------
    AnatomyError
        If the point lies outside the scan or in air or bone, or nothing with a border is found around it.
    """
    point = np.asarray(seed_mm, dtype=float)
    inside = point.shape == (3,) and _is_inside(scan.image, point)
    if not inside:
        raise AnatomyError(f"the seed {list(seed_mm)} does not lie in the scan: give a point in LPS mm")
    body = _around(scan, point, reach_mm + 10.0)
    edge = body.edge_mm
    at = body.image.TransformPhysicalPointToContinuousIndex(point.tolist())[::-1]
    offsets = np.ogrid[tuple(slice(0, n) for n in body.trunk.shape)]
    away = np.sqrt(sum(((o - a) * edge) ** 2 for o, a in zip(offsets, at, strict=True)))
    core = away <= max(_BALL_MM, 1.01 * edge)
    if not -20.0 < float(np.median(body.even[core])) < 245.0:
        raise AnatomyError("the seed lies in fat, air or bone: place it inside the tumour")
    values = values_in(body.even, core)
    place = np.maximum((away - reach_mm) / edge + 4.0, 0.0).astype(np.float32)
    mask = grown(body.even, ~body.trunk, core, place, values, edge)
    mask = without_necks(mask, core, _NECK_MM, edge)
    mask = np.asarray(ndimage.binary_fill_holes(mask))
    rim = mask & (distance(~mask, edge) <= 1.01 * edge)
    if not mask.any() or (away[rim] > reach_mm - 3.0 * edge).mean() > _SPILL_SHARE:
        raise AnatomyError(
            "no tumour with a border was found around the seed: it looks like what is around it"
        )
    return place_border(body, mask, values.noise, scan.image)


def _is_inside(image: sitk.Image, point: NDArray[np.float64]) -> bool:
    index = np.array(image.TransformPhysicalPointToContinuousIndex(point.tolist()))
    return bool((index >= -0.5).all() and (index <= np.array(image.GetSize()) - 0.5).all())


def _around(scan: Scan, point: NDArray[np.float64], margin_mm: float) -> Body:
    """The scan around a point on the working grid; soft tissue counts as the trunk."""
    centre = np.array(scan.image.TransformPhysicalPointToContinuousIndex(point.tolist()))
    reach = margin_mm / np.array(scan.spacing_mm)
    low = np.maximum(np.floor(centre - reach), 0).astype(int)
    high = np.minimum(np.ceil(centre + reach) + 1, scan.image.GetSize()).astype(int)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    image = working_image(Scan(scan.image[box], scan.facts))
    hu = sitk.GetArrayFromImage(image)
    nothing = np.zeros(hu.shape, dtype=bool)
    return Body(image, hu > -50.0, nothing, hu > 300.0, np.zeros((len(hu), 2)))
