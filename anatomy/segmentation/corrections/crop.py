"""A crop of the scan's grid around a correction, in which all work on it is done."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from anatomy.errors import AnatomyError

Points = Sequence[tuple[float, float, float]]


@dataclass(frozen=True, eq=False)
class Crop:
    """A box of voxels.

    Parameters
    ----------
    image : SimpleITK.Image
        The whole grid (only its geometry is used).
    low, high : ndarray, shape (3,), int
        First voxel and one past the last along z, y, x.
    """

    image: sitk.Image
    low: NDArray[np.int64]
    high: NDArray[np.int64]

    @classmethod
    def around(cls, image: sitk.Image, points_mm: Points, margin_mm: float, what: str) -> Crop:
        """The box of points and a margin around them.

        Raises
        ------
        AnatomyError
            If a point lies outside the image.
        """
        places = indices(image, points_mm)
        size = np.array(image.GetSize()[::-1])
        outside = ((places < -0.5) | (places > size - 0.5)).any(axis=1)
        if outside.any():
            where = ", ".join(f"{c:.1f}" for c in points_mm[int(np.flatnonzero(outside)[0])])
            raise AnatomyError(f"{what} lies at ({where}) mm, outside the scan")
        margin = margin_mm / np.array(image.GetSpacing()[::-1])
        low = np.maximum(np.floor(places.min(axis=0) - margin).astype(int), 0)
        high = np.minimum(np.ceil(places.max(axis=0) + margin).astype(int) + 1, size)
        return cls(image, low, high)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Where the box lies in an array (z, y, x)."""
        z, y, x = (slice(int(a), int(b)) for a, b in zip(self.low, self.high, strict=True))
        return z, y, x

    @property
    def spacing(self) -> NDArray[np.float64]:
        """Voxel edges along z, y, x, mm."""
        return np.array(self.image.GetSpacing()[::-1])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""
        z, y, x = (int(n) for n in self.high - self.low)
        return z, y, x

    def of(self, array: NDArray[Any]) -> NDArray[Any]:
        """The part of a whole array that lies in the box (a view)."""
        return array[self.slices]

    def places(self, points_mm: Points) -> NDArray[np.float64]:
        """Points as continuous voxel indices (z, y, x) of the box."""
        return indices(self.image, points_mm) - self.low

    def stroke(self, path_mm: Points, radius_mm: float) -> NDArray[np.bool_]:
        """Voxels whose centre is at most the radius from the path."""
        nodes = self.places(path_mm) * self.spacing
        axes = np.ogrid[tuple(slice(0, n) for n in self.shape)]
        centre = [axis * edge for axis, edge in zip(axes, self.spacing, strict=True)]
        near = np.zeros(self.shape, dtype=bool)
        ends = itertools.pairwise(nodes) if len(nodes) > 1 else [(nodes[0], nodes[0])]
        for start, end in ends:
            along = end - start
            length = float(along @ along)
            offset = [c - s for c, s in zip(centre, start, strict=True)]
            share = sum(o * a for o, a in zip(offset, along, strict=True)) / length if length > 0 else 0.0
            share = np.clip(share, 0.0, 1.0)
            gap = sum((o - share * a) ** 2 for o, a in zip(offset, along, strict=True))
            near |= gap <= radius_mm**2
        return near


def indices(image: sitk.Image, points_mm: Points) -> NDArray[np.float64]:
    """Points (n, 3) in LPS mm as continuous voxel indices (z, y, x), shape (n, 3)."""
    direction = np.array(image.GetDirection()).reshape(3, 3)
    offset = np.asarray(points_mm, dtype=float) - np.array(image.GetOrigin())
    found = np.linalg.solve(direction * np.array(image.GetSpacing()), offset.T).T
    return np.asarray(found[:, ::-1])
