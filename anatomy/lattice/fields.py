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
from typing import Any, NamedTuple

import numba
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import find_objects, gaussian_filter
from scipy.special import ndtr

# Width of the Gaussian in units of the coarsest voxel edge: the least that takes the stair steps of 3 mm
# slices out of the interface.
_BLUR = 0.65
_REACH = 4.0
# The blur's σ, as a share of a structure's calibre, that leaves the structure standing.
_BLUR_CALIBRE = 0.25


# The fields of two labels differ by less than 1 beside their interface, so the biases of two labels may differ by
# this much; inwards a label goes half of it at most, where thin ones would go under.
LARGEST_BIAS = 0.9
# Halvings of an edge in search of its crossing, before the last straight line.
_BISECTIONS = 7


class Blocks(NamedTuple):
    """The blocks of all labels behind one another, for compiled loops.

    Parameters
    ----------
    data : ndarray, float32
        Field values, block after block, each in C order of (x, y, z).
    offset : ndarray, shape (L,), int64
        Where each block begins in `data`.
    first, shape : ndarray, shape (L, 3), int64
        Image index of each block's first voxel, and its size.
    """

    data: NDArray[np.float32]
    offset: NDArray[np.int64]
    first: NDArray[np.int64]
    shape: NDArray[np.int64]


@dataclass
class Fields:
    """Smooth fields of the labels of an image.

    Attributes
    ----------
    values : ndarray, shape (L + 1,)
        Label values; the background, 0, comes first. Below, labels are named by their index in it.
    blocks : Blocks
        For each label but the background a block of its field.
    masks : list of ndarray of bool
        For each its voxels in the label map, of the block's shape.
    bias : ndarray, shape (L + 1,)
        Added to the fields before they compete.
    origin : ndarray, shape (3,)
        Centre of the image's first voxel, mm LPS.
    to_index : ndarray, shape (3, 3)
        Takes mm from there to voxels.
    blur_mm : float
        Width σ of the Gaussian, mm.
    """

    values: NDArray[np.int64]
    blocks: Blocks
    masks: list[NDArray[np.bool_]]
    bias: NDArray[np.float64]
    origin: NDArray[np.float64]
    to_index: NDArray[np.float64]
    blur_mm: float

    def index(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Image index (n, 3), with fractions, of points (n, 3) mm."""
        return np.asarray((points - self.origin) @ self.to_index.T)

    def at(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Fields with bias at points (n, 3) mm; shape (n, L + 1), columns as `values`."""
        values: NDArray[np.float64] = _at(self.index(points), *self.blocks, self.bias)
        return values

    def winner(self, points: NDArray[np.float64]) -> NDArray[np.int64]:
        """Index of the label at each point (n, 3) mm; shape (n,)."""
        found: NDArray[np.int64] = _winner(self.index(points), *self.blocks, self.bias)
        return found

    def near(self, points: NDArray[np.float64], least: float) -> NDArray[np.bool_]:
        """Whether the fields of all labels but the background add up to `least` at each point; shape (n,)."""
        total: NDArray[np.float64] = _total(self.index(points), *self.blocks)
        return total >= least

    def lead(self, points: NDArray[np.float64], index: int) -> NDArray[np.float64]:
        """Field of a label less the largest of all others, at each point (n, 3) mm; shape (n,)."""
        lead: NDArray[np.float64] = _lead(self.index(points), index, *self.blocks, self.bias)
        return lead

    def leader(self, points: NDArray[np.float64], among: NDArray[np.int64]) -> NDArray[np.int64]:
        """The label with the largest field at each point (n, 3) mm among a set (n, s) padded with -1; shape (n,)."""
        found: NDArray[np.int64] = _first_of(self.index(points), among, *self.blocks, self.bias)
        return found

    def crossings(
        self,
        a: NDArray[np.float64],
        b: NDArray[np.float64],
        first: NDArray[np.int64],
        second: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """Where from points a to b (k, 3) mm the labels of one set give way to those of another.

        Parameters
        ----------
        first, second : ndarray, shape (k, s), int64
            Sets of label indices of the two ends, padded with -1.

        Returns
        -------
        ndarray, shape (k,)
            Share of the way, 0 to 1.
        """
        shares: NDArray[np.float64] = _crossings(
            self.index(a), self.index(b), first, second, *self.blocks, self.bias
        )
        return shares

    def shifted(self, outward_mm: NDArray[np.float64]) -> Fields:
        """The same fields with every label's surface `outward_mm` (L + 1,) outside the place that bias 0 gives it.

        Across a plane interface the field of the outer label falls as the kernel's profile, Φ the normal
        distribution: F(x) = 2 Φ(x/σ) − Φ(x/√2σ); a bias of 2 F(d) − 1 moves the interface by d.
        """
        x = outward_mm / self.blur_mm
        bias = 2 * (2 * ndtr(x) - ndtr(x / 2**0.5)) - 1
        bias = np.maximum(np.where(x > 1.0, np.maximum(bias, LARGEST_BIAS), bias), -0.5 * LARGEST_BIAS)
        return replace(self, bias=np.minimum(bias, LARGEST_BIAS + min(0.0, float(bias.min()))))


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
    reach_mm = _blur_edges(array, spacing, values, blocks := find_objects(array))
    blur_mm = _BLUR * float(reach_mm.prod()) ** (1 / 3)
    sigma = _BLUR * reach_mm / spacing
    margin = np.ceil(_REACH * sigma).astype(int)
    firsts, smooth, masks = [], [], []
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
        firsts.append(low)
        masks.append(block > 0)
        smooth.append(2 * once - twice)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    return Fields(
        values=np.array([0, *values]),
        blocks=Blocks(
            np.concatenate([block.reshape(-1) for block in smooth]),
            np.cumsum([0, *(block.size for block in smooth)])[:-1],
            np.array(firsts, dtype=np.int64),
            np.array([block.shape for block in smooth], dtype=np.int64),
        ),
        masks=masks,
        bias=np.zeros(len(values) + 1),
        origin=np.array(image.GetOrigin()),
        to_index=np.linalg.inv(direction * spacing),
        blur_mm=blur_mm,
    )


def _blur_edges(
    array: NDArray[np.integer[Any]],
    spacing: NDArray[np.float64],
    values: list[int],
    blocks: list[tuple[slice, slice, slice]],
) -> NDArray[np.float64]:
    """The voxel edge (mm) that the blur along each axis is measured by.

    It is the coarsest edge of the three, for the steps between thick slices show in all directions; but less along
    the finer axes where that would drown the thinnest label, whose calibre across each axis is estimated from
    disc-like cross-sections: a disc of radius r has area π r² and 8 r of voxel edges around it.
    """
    coarsest = spacing.max()
    edges = np.full(3, coarsest)
    for axis in np.flatnonzero(spacing < 0.9 * coarsest):
        thinnest = np.inf
        for value in values:
            mask = np.pad(array[blocks[value - 1]] == value, 1)
            walls = np.count_nonzero(np.diff(mask, axis=axis))
            # Mean chord along the axis, 2 V / walls in voxels, of a disc is π r / 2.
            thinnest = min(thinnest, 2 * np.count_nonzero(mask) / walls * spacing[axis] * 4 / np.pi)
        edges[axis] = min(coarsest, max((spacing[axis] * coarsest) ** 0.5, _BLUR_CALIBRE * thinnest / _BLUR))
    return edges


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
        around = (at[None] + stencil[:, None]).reshape(-1, 3)
        lead = fields.lead(around, index).reshape(7, len(points))
        slope = (lead[1:4] - lead[4:]).T / (2 * h)
        steep = np.einsum("ij,ij->i", slope, slope)
        # Where the fields are flat there is no surface near; the step stays bounded.
        step = -lead[0][:, None] * slope / np.maximum(steep, 1e-4 / fields.blur_mm**2)[:, None]
        step *= np.minimum(1.0, fields.blur_mm / np.maximum(np.linalg.norm(step, axis=1), 1e-12))[:, None]
        drift = at + step - points
        far = np.linalg.norm(drift, axis=1)
        at = points + drift * np.minimum(1.0, reach_mm / np.maximum(far, 1e-12))[:, None]
    return at


@numba.njit(cache=True)
def _field(label, x, y, z, data, offset, first, shape):  # type: ignore[no-untyped-def]
    """Field of a label (from 1) at an image index, trilinear; 0 outside its block."""
    k = label - 1
    x, y, z = x - first[k, 0], y - first[k, 1], z - first[k, 2]
    nx, ny, nz = shape[k, 0], shape[k, 1], shape[k, 2]
    if not (0.0 <= x < nx - 1 and 0.0 <= y < ny - 1 and 0.0 <= z < nz - 1):
        return 0.0
    i, j, m = int(x), int(y), int(z)
    u, v, w = x - i, y - j, z - m
    at = offset[k] + (i * ny + j) * nz + m
    ahead = ny * nz
    low = (1 - v) * ((1 - w) * data[at] + w * data[at + 1]) + v * (
        (1 - w) * data[at + nz] + w * data[at + nz + 1]
    )
    at += ahead
    high = (1 - v) * ((1 - w) * data[at] + w * data[at + 1]) + v * (
        (1 - w) * data[at + nz] + w * data[at + nz + 1]
    )
    return (1 - u) * low + u * high


@numba.njit(cache=True)
def _at(index, data, offset, first, shape, bias):  # type: ignore[no-untyped-def]
    out = np.empty((len(index), len(bias)))
    for n in range(len(index)):
        rest = 1.0
        for label in range(1, len(bias)):
            value = _field(label, index[n, 0], index[n, 1], index[n, 2], data, offset, first, shape)
            rest -= value
            out[n, label] = value + bias[label]
        out[n, 0] = rest + bias[0]
    return out


@numba.njit(cache=True)
def _winner(index, data, offset, first, shape, bias):  # type: ignore[no-untyped-def]
    out = np.empty(len(index), np.int64)
    for n in range(len(index)):
        rest, best, most = 1.0, 0, -np.inf
        for label in range(1, len(bias)):
            value = _field(label, index[n, 0], index[n, 1], index[n, 2], data, offset, first, shape)
            rest -= value
            if value + bias[label] > most:
                best, most = label, value + bias[label]
        out[n] = 0 if rest + bias[0] >= most else best
    return out


@numba.njit(cache=True)
def _lead(index, mine, data, offset, first, shape, bias):  # type: ignore[no-untyped-def]
    out = np.empty(len(index))
    for n in range(len(index)):
        rest, most, own = 1.0, -np.inf, 0.0
        for label in range(1, len(bias)):
            value = _field(label, index[n, 0], index[n, 1], index[n, 2], data, offset, first, shape)
            rest -= value
            if label == mine:
                own = value + bias[label]
            else:
                most = max(most, value + bias[label])
        out[n] = own - max(most, rest + bias[0]) if mine else rest + bias[0] - most
    return out


@numba.njit(cache=True)
def _total(index, data, offset, first, shape):  # type: ignore[no-untyped-def]
    out = np.zeros(len(index))
    for n in range(len(index)):
        for label in range(1, len(offset) + 1):
            out[n] += _field(label, index[n, 0], index[n, 1], index[n, 2], data, offset, first, shape)
    return out


@numba.njit(cache=True)
def _leader(x, y, z, labels, data, offset, first, shape, bias):  # type: ignore[no-untyped-def]
    """Largest field with bias among a set of labels."""
    most = -np.inf
    for label in labels:
        if label > 0:
            value = _field(label, x, y, z, data, offset, first, shape)
        elif label == 0:
            value = 1.0
            for other in range(1, len(bias)):
                value -= _field(other, x, y, z, data, offset, first, shape)
        else:
            continue
        most = max(most, value + bias[label])
    return most


@numba.njit(cache=True)
def _first_of(index, among, data, offset, first, shape, bias):  # type: ignore[no-untyped-def]
    out = np.empty(len(index), np.int64)
    one = np.empty(1, np.int64)
    for n in range(len(index)):
        best, most = -1, -np.inf
        for label in among[n]:
            one[0] = label
            value = _leader(index[n, 0], index[n, 1], index[n, 2], one, data, offset, first, shape, bias)
            if label >= 0 and value > most:
                best, most = label, value
        out[n] = best
    return out


@numba.njit(cache=True)
def _crossings(a, b, ours, theirs, data, offset, first, shape, bias):  # type: ignore[no-untyped-def]
    out = np.empty(len(a))
    for n in range(len(a)):
        low, high, at_low, at_high = 0.0, 1.0, 0.0, 0.0
        for step in range(-2, _BISECTIONS):
            t = 0.0 if step == -2 else 1.0 if step == -1 else 0.5 * (low + high)
            x, y, z = (
                a[n, 0] + t * (b[n, 0] - a[n, 0]),
                a[n, 1] + t * (b[n, 1] - a[n, 1]),
                a[n, 2] + t * (b[n, 2] - a[n, 2]),
            )
            lead = _leader(x, y, z, ours[n], data, offset, first, shape, bias) - _leader(
                x, y, z, theirs[n], data, offset, first, shape, bias
            )
            if step == -2 or (step >= 0 and lead > 0):
                low, at_low = t, lead
            else:
                high, at_high = t, lead
        fall = at_low - at_high
        share = min(1.0, max(0.0, at_low / fall)) if fall > 0 else min(1.0, max(0.0, at_low))
        out[n] = low + share * (high - low)
    return out
