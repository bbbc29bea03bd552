"""Portal and hepatic veins inside the liver of a CT with contrast.

Vessels are brighter than parenchyma in the portal venous phase. On a grid of 1.5 mm the region of least cost with
a short surface (see `region`) is found for two classes, the drifting parenchyma and blood; blood's excess is
measured from the scan itself. The two trees are told apart by where they drain: from the great vessels outside the
liver (the portal trunk in front, the inferior vena cava beside the spine) a front runs through the vessels, fast
in wide ones and slowly through thin bridges (fast marching, Sethian 1996, PNAS 93:1591), and the earlier
arrival owns the voxel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from anatomy.progress import Progress, silent
from anatomy.segmentation import region
from anatomy.segmentation.ct_liver import Liver
from anatomy.segmentation.morphology import Mask, distance, grow, opened, parts_above, shrink

Volume = NDArray[np.float32]

_EDGE_MM = 1.5
_LEAST_EXCESS = 2.5
_LEAST_ML = 0.15
_SURFACE = 0.35
_TRUNK_MM = 4.0


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
    portal, hepatic, sure = _told_apart(mask, above > excess / 2, liver, image)
    progress("Following the liver's vessels", 1.0)
    return Vessels(image, mask, portal, hepatic, float(min(1.0, excess / (6.0 * noise))), sure)


def _around(liver: Liver, scan_image: sitk.Image) -> tuple[sitk.Image, Mask, Volume]:
    """The scan around the liver at 1.5 mm, with the organ and its mean on that grid."""
    working = liver.body.image
    box = ndimage.find_objects(liver.mask.astype(np.uint8))[0][::-1]
    margin = int(np.ceil(30.0 / liver.body.edge_mm))
    start = [max(0, s.start - margin) for s in box]
    stop = [min(n, s.stop + margin) for s, n in zip(box, working.GetSize(), strict=True)]
    edge = liver.body.edge_mm
    size = [int(np.ceil((b - a) * edge / _EDGE_MM)) for a, b in zip(start, stop, strict=True)]
    first = [a - 0.5 + 0.5 * _EDGE_MM / edge for a in start]
    frame = (size, sitk.Transform(), sitk.sitkLinear, working.TransformContinuousIndexToPhysicalPoint(first))
    rest = ([_EDGE_MM] * 3, working.GetDirection(), 0.0, sitk.sitkFloat32, True)
    source = sitk.Cast(scan_image, sitk.sitkFloat32)
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


def _told_apart(mask: Mask, blood: Mask, liver: Liver, image: sitk.Image) -> tuple[Mask, Mask, float]:
    """Portal and hepatic tree by the root whose front arrives first, and how sure that is."""
    nothing = np.zeros_like(mask)
    portal_root, hepatic_root = _roots(mask, blood, liver, image)
    if not (portal_root.any() and hepatic_root.any()):
        return nothing, nothing, 0.0
    speed = np.where(mask, 0.2 + distance(~mask, _EDGE_MM) ** 2, 1e-4).astype(np.float32)
    to_portal, to_hepatic = (_arrival(speed, root) for root in (portal_root, hepatic_root))
    # A part that no root reaches through vessels is crossed slowly from the nearest vessel: least sure.
    reached = np.minimum(to_portal, to_hepatic) < 1e4
    portal = mask & (to_portal < to_hepatic)
    ratio = np.minimum(to_portal, to_hepatic) / np.maximum(np.maximum(to_portal, to_hepatic), 1e-6)
    sure = float((reached & (ratio < 0.8))[mask].mean())
    return portal, mask & ~portal, sure


def _arrival(speed: Volume, root: Mask) -> Volume:
    points = [tuple(int(v) for v in p[::-1]) for p in np.argwhere(root)]
    times = sitk.FastMarching(sitk.GetImageFromArray(speed), points, 1.0, 1e7)
    return np.asarray(sitk.GetArrayFromImage(times), dtype=np.float32)


def _roots(mask: Mask, blood: Mask, liver: Liver, image: sitk.Image) -> tuple[Mask, Mask]:
    """Vessel voxels at the portal trunk and at the inferior vena cava."""
    thick = opened(blood, _TRUNK_MM, _EDGE_MM)
    cava_side = _cava_place(liver, image)
    cava = thick & cava_side
    trunk = thick & ~grow(cava_side, 6.0, _EDGE_MM) & ~mask
    trunk &= grow(mask, 6.0, _EDGE_MM)
    return grow(trunk, 4.0, _EDGE_MM) & mask, grow(cava, 4.0, _EDGE_MM) & mask


def _cava_place(liver: Liver, image: sitk.Image) -> Mask:
    """The column right in front of the spine that holds the vena cava, on the vessels' grid."""
    body = liver.body
    column = body.beside_spine(45.0, 62.0)
    x = np.arange(column.shape[2])[None, None, :]
    column &= x < body.spine[:, 0][:, None, None] + 8.0 / body.edge_mm
    own = sitk.GetImageFromArray(column.astype(np.uint8))
    own.CopyInformation(body.image)
    moved = sitk.Resample(own, image, sitk.Transform(), sitk.sitkNearestNeighbor)
    return np.asarray(sitk.GetArrayFromImage(moved) > 0)
