"""A mask of a label map on a small cubic grid, and the fronts that run through it.

Vessels are thin against the distance of slices, so that their masks are brought to cubic voxels first: by
interpolating the signed distance to their surface (shape-based interpolation; Raya & Udupa 1990, IEEE Trans Med
Imaging 9:32), not the labels. Ways through a mask are shortest paths over neighbouring voxels (Dijkstra 1959).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.sparse import csr_array

from anatomy.errors import AnatomyError

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]
# Voxels finer than this add cost and no knowledge of a clinical scan's vessels.
FINEST_MM = 0.6


@dataclass(frozen=True, eq=False)
class Grid:
    """A mask on cubic voxels.

    Parameters
    ----------
    mask : ndarray, shape (z, y, x), bool
    depth : ndarray, shape (z, y, x), float32
        Distance to the mask's surface, mm, positive inside.
    image : SimpleITK.Image
        An image of the grid's geometry.
    edge_mm : float
        Edge of its voxels.
    """

    mask: Mask
    depth: NDArray[np.float32]
    image: sitk.Image
    edge_mm: float

    def positions(self, index: NDArray[np.integer] | Array) -> Array:
        """LPS mm, shape (k, 3), of voxel indices (z, y, x), shape (k, 3)."""
        direction = np.array(self.image.GetDirection()).reshape(3, 3)
        return np.asarray(self.image.GetOrigin()) + (index[:, ::-1] * self.edge_mm) @ direction.T

    def indices(self, points_mm: ArrayLike) -> Array:
        """Continuous voxel indices (z, y, x), shape (k, 3), of LPS points, mm."""
        direction = np.array(self.image.GetDirection()).reshape(3, 3)
        moved = (np.atleast_2d(points_mm) - np.asarray(self.image.GetOrigin())) @ direction
        return moved[:, ::-1] / self.edge_mm

    def near(self, label: sitk.Image, reach_mm: float) -> Mask:
        """Voxels of the mask within a distance of another mask, given as an image of any grid (0 outside).

        What lies beyond the grid's margin is not seen.
        """
        moved = sitk.Resample(label, self.image, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
        other = sitk.GetArrayFromImage(moved) == 0
        if other.all():
            return np.zeros_like(self.mask)
        far = ndimage.distance_transform_edt(other, self.edge_mm)
        return np.asarray(self.mask & (far < reach_mm))


def cubic(label: sitk.Image, edge_mm: float | None = None, margin_mm: float = 3.0) -> Grid:
    """A mask on cubic voxels around what it holds.

    Parameters
    ----------
    label : SimpleITK.Image
        0 outside, anything else inside; any spacing and direction.
    edge_mm : float, optional
        Edge of the voxels; by default two thirds of the image's finest spacing, not below 0.6 mm.
    margin_mm : float
        Left free around the mask.

    Raises
    ------
    AnatomyError
        If the mask is empty.
    """
    filled = label != 0
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(filled)
    if not shape.HasLabel(1):
        raise AnatomyError("there is no voxel of the vessel or organ in the label map")
    x, y, z, *size = shape.GetBoundingBox(1)
    pad = [int(np.ceil(margin_mm / s)) + 1 for s in label.GetSpacing()]
    cropped = sitk.ConstantPad(filled[x : x + size[0], y : y + size[1], z : z + size[2]], pad, pad, 0)
    edge = edge_mm or max(FINEST_MM, min(label.GetSpacing()) / 1.5)
    depth = _depth(cropped)
    count = [int(np.ceil(n * s / edge)) for n, s in zip(cropped.GetSize(), cropped.GetSpacing(), strict=True)]
    shift = [0.5 * (edge / s - 1.0) for s in cropped.GetSpacing()]
    origin = cropped.TransformContinuousIndexToPhysicalPoint(shift)
    image = sitk.Resample(
        depth, count, sitk.Transform(), sitk.sitkLinear, origin, [edge] * 3, label.GetDirection(), -margin_mm
    )
    values = sitk.GetArrayFromImage(image)
    # Interpolation wears off what is thinner than a few voxels: the surface is put where the volume stays.
    voxels = round(shape.GetNumberOfPixels(1) * float(np.prod(label.GetSpacing())) / edge**3)
    at = values.size - min(max(voxels, 1), values.size - 1)
    values -= np.partition(values, at, axis=None)[at] - np.float32(1e-6)
    return Grid(values > 0, values, image, float(edge))


def _depth(filled: sitk.Image) -> sitk.Image:
    """Distance to the surface between voxels, mm, positive inside.

    Distance maps count to the centre of the nearest voxel of the other side; the surface is half a voxel nearer.
    """

    def far(mask: sitk.Image) -> sitk.Image:
        found = sitk.SignedMaurerDistanceMap(
            mask, insideIsPositive=False, squaredDistance=False, useImageSpacing=True
        )
        return sitk.Maximum(found - half, 0.0)

    half = 0.5 * min(filled.GetSpacing())
    return sitk.Cast(far(filled == 0) - far(filled), sitk.sitkFloat32)


def neighbours(mask: Mask) -> tuple[Index, Index, Index, Array]:
    """Voxels of a mask and which of them touch, by face, edge or corner.

    Returns
    -------
    places : ndarray, shape (k, 3), int64
        Indices (z, y, x) of the mask's voxels.
    start, end : ndarray, shape (m,), int64
        Rows of `places`, each pair once.
    length : ndarray, shape (m,), float64
        Distance of the pair, in voxels.
    """
    places = np.argwhere(mask)
    number = np.full(mask.shape, -1, dtype=np.int64)
    number[mask] = np.arange(len(places))
    starts, ends, lengths = [], [], []
    for step in (s for s in itertools.product((-1, 0, 1), repeat=3) if s > (0, 0, 0)):
        there = places + step
        inside = ((there >= 0) & (there < mask.shape)).all(axis=1)
        end = number[tuple(there[inside].T)]
        start = np.flatnonzero(inside)[end >= 0]
        starts.append(start)
        ends.append(end[end >= 0])
        lengths.append(np.full(len(start), np.linalg.norm(step)))
    return places, np.concatenate(starts), np.concatenate(ends), np.concatenate(lengths)


def graph(size: int, start: Index, end: Index, cost: Array) -> csr_array:
    """Symmetric sparse graph of `size` voxels from pairs given once."""
    return csr_array((cost, (start, end)), shape=(size, size))
