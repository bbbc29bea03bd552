"""The border of an organ found on the working grid: placed on the scan's own grid, and how clear it is.

The border lies half-way between the values inside and outside where these differ clearly; where they do not, the
mask's own smoothed outline stands.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from anatomy.segmentation.ct_body import Body
from anatomy.segmentation.morphology import Mask, grow, shrink, smoothed

Volume = NDArray[np.float32]

# How far apart inside and outside must be, in standard deviations of the smoothed image, to count as an edge.
_BAND = 2.5
# What lies beyond is mostly fat or lung.
_FATTY_HU = 0.0


def place_border(body: Body, mask: Mask, noise_hu: float, image: sitk.Image) -> Mask:
    """An organ on the scan's own grid, its border half-way between inside and outside values.

    Parameters
    ----------
    body : Body
        The scan on the working grid.
    mask : ndarray, shape (z, y, x), bool
        The organ on the working grid, not empty.
    noise_hu : float
        Standard deviation of the organ in the smoothed image.
    image : SimpleITK.Image
        The scan in its own grid.

    Returns
    -------
    placed : ndarray, shape (z, y, x), bool
        In the voxel order of `image`.
    """
    edge = body.edge_mm
    soft = np.clip(body.even, -150.0, 250.0)
    inner, outer = shrink(mask, 2.0, edge), ~grow(mask, 2.0, edge)
    inside = _mean_near(soft, inner, edge)
    outside = _mean_near(soft, outer, edge)
    level = smoothed(mask, 0.7 * edge, edge)
    box = box_on(body, mask, image, 8.0)
    part = sitk.Cast(image[box], sitk.sitkFloat32)
    level, inside, outside = (_on(part, a, body) for a in (level, inside, outside))
    values = (
        sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(part, 0.8))
        if min(part.GetSize()) >= 4
        else (sitk.GetArrayFromImage(part))
    )
    step = inside - outside
    clear = (np.abs(step) > 4 * noise_hu) & (level > 0.02) & (level < 0.98)
    share = np.clip((np.clip(values, -150, 250) - outside) / np.where(clear, step, 1.0), 0.0, 1.0)
    # Where inside and outside differ, the voxel's own value says how much of it is liver.
    level = np.where(clear, 0.2 * level + 0.8 * share, level)
    placed = np.zeros(image.GetSize()[::-1], dtype=bool)
    target = tuple(slice(s.start, s.stop) for s in box[::-1])
    placed[target] = (
        ndimage.gaussian_filter(level, [0.6 / max(1.0, s) for s in part.GetSpacing()[::-1]]) > 0.5
    )
    return placed


def _mean_near(values: Volume, where: Mask, edge: float) -> Volume:
    """Mean of the values inside a mask, weighted by a Gaussian of 4 mm around each voxel."""
    weight = smoothed(where, 4.0, edge)
    return np.asarray(smoothed(np.where(where, values, 0.0), 4.0, edge) / np.maximum(weight, 1e-4))


def _on(image: sitk.Image, array: Volume, body: Body) -> Volume:
    """A volume of the working grid on another grid, linear, end values kept beyond the ends."""
    source = sitk.GetImageFromArray(np.ascontiguousarray(array, dtype=np.float32))
    source.CopyInformation(body.image)
    moved = sitk.Resample(source, image, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32, True)
    return np.asarray(sitk.GetArrayFromImage(moved))


def box_on(body: Body, mask: Mask, image: sitk.Image, margin_mm: float) -> tuple[slice, slice, slice]:
    """The voxels (x, y, z) of an image that hold a mask of the working grid and a margin around it."""
    found = ndimage.find_objects(mask.astype(np.uint8))[0][::-1]
    ends = np.array(np.meshgrid(*[(s.start - 0.5, s.stop - 0.5) for s in found])).reshape(3, -1).T
    working = body.image
    places = [
        image.TransformPhysicalPointToContinuousIndex(
            working.TransformContinuousIndexToPhysicalPoint(e.tolist())
        )
        for e in ends
    ]
    margin = margin_mm / np.array(image.GetSpacing())
    low = np.floor(np.min(places, axis=0) - margin).astype(int)
    high = np.ceil(np.max(places, axis=0) + margin).astype(int)
    low, high = np.maximum(low, 0), np.minimum(high + 1, image.GetSize())
    x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return x, y, z


def border_sharpness(body: Body, mask: Mask, noise_hu: float) -> float:
    """Share of an organ's surface where what lies outside differs clearly from what lies inside, 0 to 1.

    Clearly is by more than the width of the organ's own band of values; the rest of the border is guessed from
    smoothness and place.
    """
    edge = body.edge_mm
    inside = _mean_near(body.even, shrink(mask, edge, edge), edge)
    outside = _mean_near(body.even, ~grow(mask, edge, edge), edge)
    surface = mask & ~ndimage.binary_erosion(mask, border_value=1)
    return float((np.abs(inside - outside)[surface] > _BAND * noise_hu).mean()) if surface.any() else 0.0


def half_way(body: Body, mask: Mask, noise_hu: float, never: Mask) -> Mask:
    """The mask with the voxels around it that are nearer to the organ's value than to what lies beyond.

    A region held to an organ's range leaves out the voxels that the organ shares with fat or lung.
    """
    edge = body.edge_mm
    inside = _mean_near(body.even, shrink(mask, edge, edge), edge)
    outside = _mean_near(body.even, ~grow(mask, 2.5 * edge, edge), edge)
    ring = grow(mask, 1.8 * edge, edge) & ~mask & ~never
    nearer = np.abs(body.even - inside) < np.abs(body.even - outside)
    return mask | (ring & nearer & (inside - outside > 4 * noise_hu) & (outside < _FATTY_HU))
