"""Slices: three orthogonal cuts through a scan, as a radiologist reads them, without any window toolkit.

Contract: the scan is turned (by whole axes, no resampling) so that its array runs to the patient's left, back and
head. A plane then is one row of an array: showing it costs an index, a window and a copy. Pictures follow the
radiological convention: the patient's right is on the left of the axial and coronal picture, the front is up on the
axial one and left on the sagittal one, the head is up. Positions are LPS millimetres; of an oblique scan the planes
follow the scan's own axes, as scanner consoles do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import contourpy
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from viewer.errors import ViewerError

PLANES = ("axial", "coronal", "sagittal")
# Of each plane: the axis cut (0 left, 1 back, 2 head), the axis to the right and the axis down of its picture, and
# whether down runs against the axis; letters at the picture's left, right, top and bottom.
_LAYOUT: dict[str, tuple[int, int, int, bool, str]] = {
    "axial": (2, 0, 1, False, "RLAP"),
    "coronal": (1, 0, 2, True, "RLSI"),
    "sagittal": (0, 1, 2, True, "APSI"),
}


@dataclass(frozen=True)
class Window:
    """Which values are drawn black and white: `level` is mid-grey, `width` the range (HU for CT)."""

    name: str
    level: float
    width: float


# Customary windows for CT of the trunk, HU (Hounsfield units).
CT_WINDOWS = (
    Window("Abdomen", 50, 400),
    Window("Liver", 90, 160),
    Window("Lung", -500, 1500),
    Window("Bone", 400, 1800),
)


class ShownImage(Protocol):
    """A three-dimensional image in LPS mm: a `Scan` or a `LabelMap`."""

    @property
    def image(self) -> sitk.Image:
        """The image."""


class ShownLabels(ShownImage, Protocol):
    """A label map: image and the structure of each value."""

    @property
    def names(self) -> Mapping[int, str]:
        """Structure of each value."""


@dataclass(frozen=True)
class Contour:
    """Outline of a structure on a plane: lines of (k, 2) picture coordinates (right, down), pixels."""

    structure: str
    lines: list[NDArray[np.float64]]


class SliceModel:
    """What three linked slice views show.

    Parameters
    ----------
    scan : ShownImage
        The image (Hounsfield units for CT).
    labels : ShownLabels, optional
        Label map on the same grid, for outlines.

    Attributes
    ----------
    position_mm : ndarray, shape (3,)
        Where the planes cross, LPS; change it with `move_to` or `scroll`.
    window : Window
        Present grey window.

    Raises
    ------
    ViewerError
        If the label map lies on another grid than the scan.
    """

    def __init__(self, scan: ShownImage, labels: ShownLabels | None = None) -> None:
        image = sitk.DICOMOrient(scan.image, "LPS")
        self._image = image
        self._values = sitk.GetArrayViewFromImage(image).transpose(2, 1, 0)
        self.spacing_mm = np.array(image.GetSpacing())
        self._axes = np.array(image.GetDirection()).reshape(3, 3)
        self._origin = np.array(image.GetOrigin())
        self.shape = np.array(image.GetSize())
        self._labels, self._names = self._oriented_labels(labels)
        self.windows = self._windows(getattr(scan, "modality", "CT"))
        self.window = self.windows[0]
        self.index = self.shape // 2
        self._outlines: dict[tuple[str, int], list[Contour]] = {}
        if self._labels is not None and self._names:
            self.move_to(self._fullest_place())

    def _oriented_labels(self, labels: ShownLabels | None) -> tuple[NDArray[Any] | None, dict[int, str]]:
        if labels is None:
            return None, {}
        image = sitk.DICOMOrient(labels.image, "LPS")
        same = image.GetSize() == self._image.GetSize() and np.allclose(
            image.GetOrigin(), self._image.GetOrigin(), atol=1e-2
        )
        if not same:
            raise ViewerError("The label map lies on another grid than the scan; build the case again.")
        self._label_image = image  # an array view does not keep its image alive
        return sitk.GetArrayViewFromImage(image).transpose(2, 1, 0), dict(labels.names)

    def _windows(self, modality: str) -> tuple[Window, ...]:
        darkest = float(self._values[::4, ::4, ::2].min())
        if modality == "CT" or darkest <= -200:
            return CT_WINDOWS
        low, high = np.percentile(self._values[::4, ::4, ::2], (1, 99.5))
        return (Window("Full", float(low + high) / 2, max(float(high - low), 1.0)),)

    def _fullest_place(self) -> NDArray[np.float64]:
        """Middle of the slices that show most labelled tissue, LPS mm."""
        return self.to_mm(np.array([float(np.argmax(count)) for count in self._labelled]))

    @cached_property
    def _labelled(self) -> list[NDArray[np.int64]]:
        """Labelled voxels of every slice across left, back and head."""
        assert self._labels is not None  # asked only with labels
        marked = self._labels > 0
        across = np.count_nonzero(marked, axis=2)
        return [across.sum(axis=1), across.sum(axis=0), np.count_nonzero(marked, axis=(0, 1))]

    def extent(self, plane: str, margin_mm: float) -> tuple[float, float, float, float]:
        """Part of a plane's picture that holds all labelled tissue of the whole volume and a margin around it.

        Returns
        -------
        tuple of float
            Left, right, top, bottom in picture coordinates; the whole picture without labels.
        """
        rows, columns = self.picture(plane).shape
        if self._labels is None:
            return -0.5, columns - 0.5, -0.5, rows - 0.5
        marked = [np.flatnonzero(count) for count in self._labelled]
        corners = np.array([[m[0] for m in marked], [m[-1] for m in marked]], dtype=float)
        ends = np.sort(self.to_picture(plane, corners), axis=0)
        margin = margin_mm / np.array(self.pixel_mm(plane))
        low = np.maximum(ends[0] - margin, -0.5)
        high = np.minimum(ends[1] + margin, [columns - 0.5, rows - 0.5])
        return float(low[0]), float(high[0]), float(low[1]), float(high[1])

    @property
    def structures(self) -> list[str]:
        """Names of the structures that have outlines."""
        return list(self._names.values())

    # Where ---------------------------------------------------------------------------------------------

    def to_mm(self, index: NDArray[np.floating]) -> NDArray[np.float64]:
        """LPS mm of voxel indices (..., 3) along left, back, head."""
        return np.asarray(self._origin + (index * self.spacing_mm) @ self._axes.T, dtype=np.float64)

    def to_index(self, point_mm: NDArray[np.floating]) -> NDArray[np.float64]:
        """Continuous voxel indices (..., 3) along left, back, head of LPS mm."""
        return np.asarray(((np.asarray(point_mm) - self._origin) @ self._axes) / self.spacing_mm)

    @property
    def position_mm(self) -> NDArray[np.float64]:
        """Where the three planes cross, LPS mm, shape (3,)."""
        return self.to_mm(self.index.astype(float))

    def move_to(self, point_mm: NDArray[np.floating]) -> set[str]:
        """Let the planes cross at the voxel nearest to a point; return the planes whose picture changed."""
        index = np.clip(np.round(self.to_index(point_mm)), 0, self.shape - 1).astype(int)
        changed = {plane for plane in PLANES if index[_LAYOUT[plane][0]] != self.index[_LAYOUT[plane][0]]}
        self.index = index
        return changed

    def scroll(self, plane: str, steps: int) -> None:
        """Move one plane by whole slices along its axis (left, back or head); stops at the last one."""
        axis = _LAYOUT[plane][0]
        self.index[axis] = np.clip(self.index[axis] + steps, 0, self.shape[axis] - 1)

    def depth_mm(self, plane: str) -> float:
        """Position of a plane along its own axis, LPS mm."""
        return float(self.position_mm[_LAYOUT[plane][0]])

    # What ----------------------------------------------------------------------------------------------

    def picture(self, plane: str) -> NDArray[np.uint8]:
        """Windowed grey values of a plane, shape (rows, columns) uint8, contiguous."""
        axis, _, _, flipped, _ = _LAYOUT[plane]
        cut = _cut(self._values, axis, int(self.index[axis]))
        if flipped:
            cut = cut[::-1]
        low = self.window.level - self.window.width / 2
        grey = np.clip((cut.astype(np.float32) - low) * (255.0 / self.window.width), 0, 255)
        return np.ascontiguousarray(grey.astype(np.uint8))

    def pixel_mm(self, plane: str) -> tuple[float, float]:
        """Width and height of a pixel of a plane's picture, mm."""
        _, right, down, _, _ = _LAYOUT[plane]
        return float(self.spacing_mm[right]), float(self.spacing_mm[down])

    @staticmethod
    def letters(plane: str) -> str:
        """Which side of the patient is at the left, right, top and bottom of a plane's picture."""
        return _LAYOUT[plane][4]

    def to_picture(self, plane: str, index: NDArray[np.floating]) -> NDArray[np.float64]:
        """Picture coordinates (..., 2), right and down in pixels, of voxel indices (..., 3)."""
        _, right, down, flipped, _ = _LAYOUT[plane]
        x, y = index[..., right], index[..., down]
        return np.stack([x, self.shape[down] - 1 - y if flipped else y], axis=-1).astype(np.float64)

    def from_picture(self, plane: str, x: float, y: float) -> NDArray[np.float64]:
        """LPS mm of picture coordinates on the present slice of a plane."""
        axis, right, down, flipped, _ = _LAYOUT[plane]
        index = np.empty(3)
        index[axis], index[right] = self.index[axis], x
        index[down] = self.shape[down] - 1 - y if flipped else y
        return self.to_mm(index)

    def outlines(self, plane: str) -> list[Contour]:
        """Outlines of the labelled structures on the present slice of a plane, as they were segmented."""
        axis = _LAYOUT[plane][0]
        key = (plane, int(self.index[axis]))
        if self._labels is None:
            return []
        if key not in self._outlines:
            if len(self._outlines) > 400:
                self._outlines.clear()
            self._outlines[key] = self._trace(plane, _cut(self._labels, axis, key[1]))
        return self._outlines[key]

    def _trace(self, plane: str, cut: NDArray[Any]) -> list[Contour]:
        if _LAYOUT[plane][3]:
            cut = cut[::-1]
        found = []
        for value in np.unique(cut):
            if int(value) in self._names:
                inside = np.pad((cut == value).astype(np.float64), 1)
                lines: Any = contourpy.contour_generator(z=inside).lines(0.5)
                found.append(Contour(self._names[int(value)], [np.asarray(line) - 1.0 for line in lines]))
        return found

    def cut_surface(
        self, plane: str, points_mm: NDArray[np.floating], triangles: NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """Where a surface meets the present slice: segments (s, 2, 2) in picture coordinates.

        Parameters
        ----------
        points_mm : ndarray, shape (k, 3)
            Present positions of the surface, LPS mm.
        triangles : ndarray, shape (t, 3)
            Vertex indices.
        """
        axis = _LAYOUT[plane][0]
        height = (points_mm - self._origin.astype(points_mm.dtype)) @ self._axes[:, axis].astype(
            points_mm.dtype
        )
        height = height / self.spacing_mm[axis] - self.index[axis] - 1e-4
        above = (height > 0)[triangles]
        hit = triangles[above.any(axis=1) & ~above.all(axis=1)]
        if not len(hit):
            return np.empty((0, 2, 2))
        # Turn each triangle so that its first vertex stands alone on its side of the plane.
        side = height[hit] > 0
        lone = np.where(side.sum(axis=1) == 1, side.argmax(axis=1), (~side).argmax(axis=1))
        turned = hit[np.arange(len(hit))[:, None], (lone[:, None] + np.arange(3)) % 3]
        h, index = height[turned], self.to_index(points_mm[turned])
        ends = [
            index[:, 0] + (h[:, 0] / (h[:, 0] - h[:, other]))[:, None] * (index[:, other] - index[:, 0])
            for other in (1, 2)
        ]
        return self.to_picture(plane, np.stack(ends, axis=1))


def _cut(volume: NDArray[Any], axis: int, number: int) -> NDArray[Any]:
    """One slice of a volume across an axis as a view, rows down; `np.take` would copy the whole volume first."""
    where: list[slice | int] = [slice(None)] * 3
    where[axis] = number
    return volume[tuple(where)].T
