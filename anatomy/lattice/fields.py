"""Smooth label fields: what lies where between the voxel centres.

Each label's indicator (1 in its voxels, 0 elsewhere) is blurred by a Gaussian G of about a voxel and sharpened
again by 2G − G²: the second moment of that kernel is zero, so curved surfaces do not shrink to first order as
under a plain blur (which moves a cylinder's wall inwards by σ²/2R), while the stair steps of the voxels go. The
kernel is linear and keeps constants, so the fields of all labels and of the background add up to one. The label
at a point is the one with the largest field plus `bias`; interfaces are where two are equal. The bias (a number
a label) moves a label's surface out or in, which is how the mesh is made to keep the label map's volumes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import find_objects, gaussian_filter, map_coordinates

# Width of the Gaussian in units of the coarsest voxel edge: the least that takes the stair steps of 3 mm
# slices out of the interface.
_BLUR = 0.65
_REACH = 4.0


# Slope of a label's field across a plane interface, times σ: (2 − 1/√2)/√(2π), from the kernel 2G − G².
_SLOPE = (2 - 0.5**0.5) / (2 * np.pi) ** 0.5
# The fields of two labels differ by less than 1 within 1.5 σ of their interface: a bias stays below that, and
# grows in steps, as the fields are linear only in the middle.
_LARGEST_BIAS, _LARGEST_STEP = 0.45, 0.3


@dataclass
class Fields:
    """Smooth fields of the labels of an image.

    Attributes
    ----------
    values : ndarray, shape (L + 1,)
        Label values; the background, 0, comes first. Below, labels are named by their index in it.
    boxes : list of (ndarray, shape (3,), ndarray float32)
        For each label but the background a block of its field, axes x, y, z, and its first voxel's index.
    bias : ndarray, shape (L + 1,)
        Added to the fields before they compete.
    """

    values: NDArray[np.int64]
    boxes: list[tuple[NDArray[np.int64], NDArray[np.float32]]]
    bias: NDArray[np.float64]
    origin: NDArray[np.float64]
    to_index: NDArray[np.float64]
    blur_mm: float

    def at(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Fields with bias at points (n, 3) mm; shape (n, L + 1), columns as `values`."""
        index = (points - self.origin) @ self.to_index.T
        out = np.zeros((len(points), len(self.values)))
        for column, (first, block) in enumerate(self.boxes, start=1):
            local = index - first
            near = np.flatnonzero(((local > -1) & (local < block.shape)).all(axis=1))
            if len(near):
                out[near, column] = map_coordinates(block, local[near].T, order=1, mode="constant")
        out[:, 0] = 1.0 - out[:, 1:].sum(axis=1)
        return out + self.bias

    def winner(self, points: NDArray[np.float64]) -> NDArray[np.int64]:
        """Index of the label at each point (n, 3) mm; shape (n,)."""
        return self.at(points).argmax(axis=1)

    def shifted(self, outward_mm: NDArray[np.float64]) -> Fields:
        """The same fields with every label's surface moved outwards by about so many mm, shape (L + 1,)."""
        step = 2 * _SLOPE / self.blur_mm * outward_mm
        bias = self.bias + np.clip(step, -_LARGEST_STEP, _LARGEST_STEP)
        return replace(self, bias=np.clip(bias, -_LARGEST_BIAS, _LARGEST_BIAS))


def label_fields(image: sitk.Image, values: list[int]) -> Fields:
    """Fields of the given label values of an image.

    Parameters
    ----------
    image : SimpleITK.Image
        Label image, LPS mm.
    values : list of int
        Labels to keep; every other voxel counts as background.
    """
    array = sitk.GetArrayViewFromImage(image).transpose(2, 1, 0)
    spacing = np.array(image.GetSpacing())
    blur_mm = _BLUR * float(spacing.max())
    sigma = blur_mm / spacing
    margin = np.ceil(_REACH * sigma).astype(int)
    blocks = find_objects(array)
    boxes = []
    for value in values:
        low = np.array([s.start for s in blocks[value - 1]]) - margin
        high = np.array([s.stop for s in blocks[value - 1]]) + margin
        block = np.zeros(high - low, dtype=np.float32)
        inner_low, inner_high = np.maximum(low, 0), np.minimum(high, array.shape)
        inside = tuple(slice(a, b) for a, b in zip(inner_low, inner_high, strict=True))
        target = tuple(slice(a, b) for a, b in zip(inner_low - low, inner_high - low, strict=True))
        block[target] = array[inside] == value
        once = gaussian_filter(block, sigma, mode="constant", truncate=_REACH / 2)
        twice = gaussian_filter(once, sigma, mode="constant", truncate=_REACH / 2)
        boxes.append((low, 2 * once - twice))
    direction = np.array(image.GetDirection()).reshape(3, 3)
    return Fields(
        values=np.array([0, *values]),
        boxes=boxes,
        bias=np.zeros(len(values) + 1),
        origin=np.array(image.GetOrigin()),
        to_index=np.linalg.inv(direction * spacing),
        blur_mm=blur_mm,
    )


def to_surface(
    fields: Fields, points: NDArray[np.float64], index: int, reach_mm: float, steps: int = 4
) -> NDArray[np.float64]:
    """Points (n, 3) mm moved along the gradient to the surface of the label with an index.

    The surface is where the label's field equals the largest of all others. No point moves farther than
    `reach_mm` in all.
    """
    h = 0.25 * fields.blur_mm
    stencil = np.concatenate([np.zeros((1, 3)), h * np.eye(3), -h * np.eye(3)])
    at = points.copy()
    for _ in range(steps):
        values = fields.at((at[None] + stencil[:, None]).reshape(-1, 3))
        own = values[:, index].copy()
        values[:, index] = -np.inf
        lead = (own - values.max(axis=1)).reshape(7, len(points))
        slope = (lead[1:4] - lead[4:]).T / (2 * h)
        steep = np.einsum("ij,ij->i", slope, slope)
        # Where the fields are flat there is no surface near; the step stays bounded.
        step = -lead[0][:, None] * slope / np.maximum(steep, 1e-4 / fields.blur_mm**2)[:, None]
        step *= np.minimum(1.0, fields.blur_mm / np.maximum(np.linalg.norm(step, axis=1), 1e-12))[:, None]
        drift = at + step - points
        far = np.linalg.norm(drift, axis=1)
        at = points + drift * np.minimum(1.0, reach_mm / np.maximum(far, 1e-12))[:, None]
    return at
