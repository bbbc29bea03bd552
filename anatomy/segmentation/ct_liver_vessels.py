"""Portal and hepatic veins inside the liver of a CT with contrast.

Vessels are brighter than parenchyma in the portal venous phase. On a grid of 1.5 mm the region of least cost with
a short surface (see `region`) is found for two classes, the drifting parenchyma and blood; blood's excess is
measured from the scan itself. The two trees are told apart by where they drain: from the great vessels outside the
liver (the portal trunk in front, the inferior vena cava beside the spine) a front runs through the vessels, fast
in wide ones and slowly through thin bridges (shortest paths, Dijkstra 1959), and the earlier arrival owns the
voxel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from anatomy.progress import Progress, silent
from anatomy.segmentation import region
from anatomy.segmentation.border import box_on
from anatomy.segmentation.ct_body import Body
from anatomy.segmentation.ct_liver import Liver
from anatomy.segmentation.morphology import Mask, closed, distance, grow, opened, parts_above, shrink
from anatomy.vessels.systems import arrivals

Volume = NDArray[np.float32]

_EDGE_MM = 1.5
_LEAST_EXCESS = 2.5
_LEAST_ML = 0.15
_SURFACE = 0.35
_TRUNK_MM = 4.0
_GAP_MM = 3.0
_CONFLUENCE_MM, _HILUM_MM = 25.0, 40.0
_MARGIN_MM = 30.0
_CAVA_MM2 = 1500.0


@dataclass(frozen=True, eq=False)
class Vessels:
    """Vessels inside the liver on a grid of their own.

    Parameters
    ----------
    image : SimpleITK.Image
        The grid: float32 HU around the liver at 1.5 mm.
    mask, portal, hepatic : ndarray, shape (z, y, x), bool
        All vessels, and the two trees; the trees are empty where they could not be told apart.
    confidence : float
        0 to 1: how far blood stands out of parenchyma.
    trees_confidence : float
        0 to 1: share of the vessels' volume that is joined to one root and clearly nearer to it.
    """

    image: sitk.Image
    mask: Mask
    portal: Mask
    hepatic: Mask
    confidence: float
    trees_confidence: float


def find_vessels(liver: Liver, scan_image: sitk.Image, progress: Progress = silent) -> Vessels:
    """Find the vessels inside the liver, and tell the two trees apart where their roots are seen.

    Parameters
    ----------
    liver : Liver
        As `find_liver` returns it.
    scan_image : SimpleITK.Image
        The scan on its own grid.
    progress : Progress
        Told how far it is.
    """
    progress("Following the liver's vessels", 0.0)
    image, organ, mean = _around(liver, scan_image)
    # A trunk that opens to the hilum can be missing from single slices of the organ; the border is put later.
    organ = closed(organ, _GAP_MM, _EDGE_MM)
    hu = sitk.GetArrayFromImage(image)
    above = np.clip(hu - mean, -100, 150).astype(np.float32)
    deep = shrink(organ, 5.0, _EDGE_MM)
    noise = 1.4826 * float(np.median(np.abs(above[deep] - np.median(above[deep])))) if deep.any() else 0.0
    excess = _blood_excess(above, deep, noise)
    nothing = np.zeros_like(organ)
    if excess < _LEAST_EXCESS * noise or noise == 0.0:
        return Vessels(image, nothing, nothing, nothing, 0.0, 0.0)
    cost = np.clip((excess**2 - 2 * excess * above) / (2 * noise**2), -4.0, 4.0).astype(np.float32)
    cost[~organ] = 4.0
    u = (cost < 0).astype(np.float32)
    region.minimise(cost, np.full_like(cost, _SURFACE), u, 0.25, 50)
    mask = parts_above(u > 0.5, _LEAST_ML, _EDGE_MM)
    progress("Following the liver's vessels", 0.6)
    portal, hepatic, sure = _told_apart(mask, above > excess / 2, organ, liver, image)
    progress("Following the liver's vessels", 1.0)
    return Vessels(image, mask, portal, hepatic, float(min(1.0, excess / (6.0 * noise))), sure)


def _around(liver: Liver, scan_image: sitk.Image) -> tuple[sitk.Image, Mask, Volume]:
    """The scan around the liver at 1.5 mm, with the organ and its mean on that grid."""
    working = liver.body.image
    box = ndimage.find_objects(liver.mask.astype(np.uint8))[0][::-1]
    margin = int(np.ceil(_MARGIN_MM / liver.body.edge_mm))
    start = [max(0, s.start - margin) for s in box]
    stop = [min(n, s.stop + margin) for s, n in zip(box, working.GetSize(), strict=True)]
    edge = liver.body.edge_mm
    size = [int(np.ceil((b - a) * edge / _EDGE_MM)) for a, b in zip(start, stop, strict=True)]
    first = [a - 0.5 + 0.5 * _EDGE_MM / edge for a in start]
    frame = (size, sitk.Transform(), sitk.sitkLinear, working.TransformContinuousIndexToPhysicalPoint(first))
    rest = ([_EDGE_MM] * 3, working.GetDirection(), 0.0, sitk.sitkFloat32, True)
    x, y, z = box_on(liver.body, liver.mask, scan_image, _MARGIN_MM + 5.0)
    source = sitk.Cast(scan_image[x, y, z], sitk.sitkFloat32)
    for axis, spacing in enumerate(source.GetSpacing()):
        if 1.2 * spacing < _EDGE_MM and source.GetSize()[axis] >= 4:
            source = sitk.RecursiveGaussian(
                source, 0.5 * _EDGE_MM, False, sitk.RecursiveGaussianImageFilter.ZeroOrder, axis
            )
    image = sitk.Resample(source, *frame, *rest)

    def moved(array: NDArray[np.generic]) -> Volume:
        own = sitk.GetImageFromArray(array.astype(np.float32))
        own.CopyInformation(working)
        return np.asarray(sitk.GetArrayFromImage(sitk.Resample(own, *frame, *rest)))

    return image, moved(liver.mask) > 0.5, moved(liver.mean_hu)


def _blood_excess(above: Volume, deep: Mask, noise: float) -> float:
    """How many HU blood lies above parenchyma: upper quartile over connected bright places of at least 0.5 ml."""
    bright = parts_above(deep & (above > max(3.0 * noise, 10.0)), 0.5, _EDGE_MM)
    return float(np.percentile(above[bright], 75)) if bright.any() else 0.0


def _told_apart(
    mask: Mask, blood: Mask, organ: Mask, liver: Liver, image: sitk.Image
) -> tuple[Mask, Mask, float]:
    """Portal and hepatic tree by the root whose front arrives first, and how sure that is."""
    nothing = np.zeros_like(mask)
    portal_root, hepatic_root = _roots(mask, blood, organ, liver, image)
    if not (portal_root.any() and hepatic_root.any()):
        return nothing, nothing, 0.0
    depth = distance(~mask, _EDGE_MM)[mask]
    to_portal, to_hepatic = arrivals(mask, depth, [portal_root, hepatic_root])
    reached = np.isfinite(np.minimum(to_portal, to_hepatic))
    first = to_portal < to_hepatic
    places = np.argwhere(mask)
    # A part that no root reaches through vessels goes with the vessel nearest to it.
    nearest = cKDTree(places[reached]).query(places[~reached])[1]
    first[~reached] = first[reached][nearest]
    portal = np.zeros_like(mask)
    portal[tuple(places.T)] = first
    late = np.maximum(to_portal, to_hepatic)[reached]
    clear = np.minimum(to_portal, to_hepatic)[reached] < 0.8 * late
    return portal, mask & ~portal, float(clear.sum()) / len(places)


def _roots(mask: Mask, blood: Mask, organ: Mask, liver: Liver, image: sitk.Image) -> tuple[Mask, Mask]:
    """Vessel voxels at the portal trunk, and wide ones where the hepatic veins run to the vena cava.

    The hepatic veins join the cava right under the dome; the portal trunk enters deeper, in front of the cava.
    """
    nothing = np.zeros_like(mask)
    top = int(np.flatnonzero(organ.any(axis=(1, 2)))[-1])
    if top >= len(mask) - 3:  # the dome is cut off, and the confluence perhaps with it
        return nothing, nothing
    level = (top - np.arange(len(mask)))[:, None, None] * _EDGE_MM
    thick = opened(blood, _TRUNK_MM, _EDGE_MM)
    cava = _cava(thick, top, liver, image)
    if not cava.any():
        return nothing, nothing
    wide = mask & (distance(~mask, _EDGE_MM) > 2.0)
    hepatic = wide & grow(cava, _CONFLUENCE_MM, _EDGE_MM) & (level < _CONFLUENCE_MM)
    y, x = (float(c.mean()) for c in np.nonzero(cava)[1:])
    rows = (np.arange(mask.shape[1])[None, :, None] - y) * _EDGE_MM
    columns = (np.arange(mask.shape[2])[None, None, :] - x) * _EDGE_MM
    place = (rows < -4.0) & (np.abs(columns) < 45.0) & (level > _HILUM_MM) & ~grow(cava, 3.0, _EDGE_MM)
    return _joining(thick & place, mask) & (level > _HILUM_MM), hepatic


def _joining(thick: Mask, mask: Mask) -> Mask:
    """Vessel voxels at the one thick part that touches most of them."""
    parts, count = ndimage.label(thick)
    contact = np.bincount(parts[grow(mask, 3.0, _EDGE_MM)], minlength=count + 1)
    contact[0] = 0
    if not contact.any():
        return np.zeros_like(mask)
    return grow(parts == int(contact.argmax()), 3.0, _EDGE_MM) & mask


def _cava(thick: Mask, top: int, liver: Liver, image: sitk.Image) -> Mask:
    """The inferior vena cava: the thick vessel right in front of the spine, followed down from the dome."""
    body = liver.body
    cava = np.zeros_like(thick)
    disc: Mask | None = None
    for level in range(top, -1, -1):
        parts, count = ndimage.label(thick[level])
        if disc is None:
            disc = _first_disc(parts, count, level, body, image)
        elif count:
            overlaps = np.bincount(parts[disc], minlength=count + 1)
            overlaps[0] = 0
            part = parts == int(overlaps.argmax())
            # Where a vein or the liver's stem joins, the outline runs on as it was.
            if overlaps.any() and part.sum() < 1.5 * disc.sum():
                disc = part
            elif overlaps.any():
                disc = part & ndimage.binary_dilation(disc)
        if disc is not None:
            cava[level] = disc
    return cava


def _first_disc(
    parts: NDArray[np.int32], count: int, level: int, body: Body, image: sitk.Image
) -> Mask | None:
    """The part of one slice that lies where the vena cava does: right in front of the spine."""
    height = image.TransformIndexToPhysicalPoint([0, 0, int(level)])
    slice_ = int(np.clip(body.image.TransformPhysicalPointToIndex(height)[2], 0, len(body.spine) - 1))
    at = body.image.TransformContinuousIndexToPhysicalPoint([*body.spine[slice_].tolist(), float(slice_)])
    x, y, _ = image.TransformPhysicalPointToContinuousIndex(at)
    best, found = np.inf, None
    for number in range(1, count + 1):
        part = parts == number
        cy, cx = (c.mean() for c in np.nonzero(part))
        aside, front = (x - cx) * _EDGE_MM, (y - cy) * _EDGE_MM
        round_enough = part.sum() * _EDGE_MM**2 < _CAVA_MM2
        away = abs(aside - 22.0) + abs(front - 45.0)
        if round_enough and 0.0 < aside < 50.0 and 15.0 < front < 85.0 and away < best:
            best, found = away, part
    return found
