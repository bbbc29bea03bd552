"""Morphology in millimetres: masks grown, shrunk, opened and closed by balls, through Euclidean distance maps.

A ball of radius r dilates a mask to every voxel whose centre is at most r from one of the mask (Maurer et al.
2003, IEEE PAMI 25:265, as in ITK), which costs the same for every radius. Masks are bool arrays (z, y, x) on a
grid with one edge length in all directions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]


def distance(mask: Mask, edge_mm: float) -> NDArray[np.float32]:
    """Distance of every voxel centre to the nearest voxel of the mask, mm, float32; infinite for an empty mask."""
    if not mask.any():
        return np.full(mask.shape, np.inf, dtype=np.float32)
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    signed = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=False)
    found: NDArray[np.float32] = np.maximum(sitk.GetArrayFromImage(signed), 0) * np.float32(edge_mm)
    return found


def grow(mask: Mask, radius_mm: float, edge_mm: float) -> Mask:
    """The mask dilated by a ball."""
    return distance(mask, edge_mm) <= radius_mm


def shrink(mask: Mask, radius_mm: float, edge_mm: float) -> Mask:
    """The mask eroded by a ball; what lies beyond the image counts as inside."""
    return distance(~mask, edge_mm) > radius_mm


def opened(mask: Mask, radius_mm: float, edge_mm: float) -> Mask:
    """The mask without parts thinner than the ball."""
    return grow(shrink(mask, radius_mm, edge_mm), radius_mm, edge_mm) & mask


def closed(mask: Mask, radius_mm: float, edge_mm: float) -> Mask:
    """The mask with gaps filled that the ball cannot enter."""
    return shrink(grow(mask, radius_mm, edge_mm), radius_mm, edge_mm) | mask


def largest(mask: Mask) -> Mask:
    """The largest connected part (faces touch); empty for an empty mask."""
    parts, count = ndimage.label(mask)
    if count == 0:
        return mask.copy()
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(parts == int(sizes.argmax()))


def filled(mask: Mask) -> Mask:
    """The mask with the holes of each axial slice filled."""
    return np.stack([ndimage.binary_fill_holes(plane) for plane in mask])


def parts_above(mask: Mask, volume_ml: float, edge_mm: float) -> Mask:
    """Connected parts of at least this volume."""
    parts, _ = ndimage.label(mask)
    keep = np.bincount(parts.ravel()) * edge_mm**3 / 1000.0 >= volume_ml
    keep[0] = False
    return np.asarray(keep[parts])


def smoothed(values: NDArray[Any], width_mm: float, edge_mm: float) -> NDArray[np.float32]:
    """Values convolved with a Gaussian of this standard deviation, float32."""
    image = sitk.GetImageFromArray(np.asarray(values, dtype=np.float32))
    return np.asarray(sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(image, width_mm / edge_mm)))
