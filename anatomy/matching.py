"""A label image brought onto a scan's grid by where its voxels lie, never by the order they are stored in.

Theory: voxel index i of an image lies at x = o + D S i (origin, direction cosines, spacing; LPS mm). The index in
the scan of the label image's voxel i is therefore j = A i + b with A = (D S)ₛ⁻¹ (D S)ₗ and
b = (D S)ₛ⁻¹ (oₗ − oₛ). Where A permutes and turns axes only and b is whole, the voxels coincide: flips, permuted
axes and maps that cover a part of the scan (3D Slicer crops its segmentations, DICOM-SEG leaves out empty slices)
are then copied without any interpolation. Every other grid is resampled only when a person asks for it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from anatomy import images
from anatomy.errors import AnatomyError

#: How labels on another grid become the scan's: the nearest voxel's label (a surface moves by up to half a voxel), or
#: the label of the largest weight when each is interpolated linearly on its own (a vote; thin structures suffer).
Resampling = Literal["nearest", "linear"]

# Share of a voxel that the voxels of two grids may lie apart and still count as the same.
_TOLERANCE = 0.05
_INTERPOLATORS = {"nearest": sitk.sitkNearestNeighbor, "linear": sitk.sitkLabelLinear}


def on_grid(
    labels: sitk.Image, scan: sitk.Image, resample: Resampling | None
) -> tuple[sitk.Image, list[str]]:
    """The label image on the scan's grid.

    Parameters
    ----------
    labels : SimpleITK.Image
        Labels, uint8 or uint16, LPS mm.
    scan : SimpleITK.Image
        The grid, LPS mm.
    resample : {'nearest', 'linear'} or None
        What to do where the voxels do not coincide; None refuses.

    Returns
    -------
    image : SimpleITK.Image
        Labels on the scan's grid; 0 where the label image does not reach.
    warnings : list of str
        What was lost or interpolated.

    Raises
    ------
    AnatomyError
        If the grids do not coincide and no resampling was asked for, or no labelled voxel lies in the scan.
    """
    steps, offset = _index_map(labels, scan)
    if _coincide(steps, offset, labels.GetSize()):
        image = _copied(labels, scan, np.rint(steps).astype(int), np.rint(offset).astype(int))
        warnings = []
    elif resample is None:
        raise AnatomyError(
            "the label map lies on another grid than the scan: label the scan itself, or have the map resampled "
            f"('nearest' or 'linear'; --label-resample). {both_grids(labels, scan)}"
        )
    elif resample not in _INTERPOLATORS:
        raise AnatomyError(f"labels are resampled by 'nearest' or 'linear', not by '{resample}'")
    else:
        image = sitk.Resample(
            labels, scan, sitk.Transform(), _INTERPOLATORS[resample], 0, labels.GetPixelID()
        )
        way = "nearest voxel" if resample == "nearest" else "linear vote of the labels"
        warnings = [f"the labels were resampled to the scan's grid ({way}). {both_grids(labels, scan)}"]
    lost = _share_outside(labels, steps, offset, scan.GetSize())
    if lost == 1.0 or not sitk.GetArrayViewFromImage(image).any():
        raise AnatomyError(
            f"no label lies inside the scan: they belong to another scan or another place. "
            f"{both_grids(labels, scan)}"
        )
    if lost:
        warnings.append(f"{lost:.1%} of the labelled volume lies outside the scan and was left out")
    return image, warnings


def both_grids(labels: sitk.Image, scan: sitk.Image) -> str:
    """The two grids in words, for a message."""
    return f"Label map {images.describe_grid(labels)}; scan {images.describe_grid(scan)}"


def _index_map(labels: sitk.Image, scan: sitk.Image) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A, shape (3, 3), and b, shape (3,), of index in the scan = A index in the label image + b."""
    back = np.linalg.inv(_axes(scan))
    steps = back @ _axes(labels)
    # An axis of one voxel has no step; that of the scan's axis which is left keeps the map invertible.
    for axis in np.flatnonzero(np.array(labels.GetSize()) == 1):
        length = np.linalg.norm(steps[:, axis])
        steps[:, axis] /= length if length else 1.0
    return steps, back @ (np.array(labels.GetOrigin()) - np.array(scan.GetOrigin()))


def _axes(image: sitk.Image) -> NDArray[np.float64]:
    """The steps of the image's index axes, mm, one a column, shape (3, 3)."""
    return np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())


def _coincide(steps: NDArray[np.float64], offset: NDArray[np.float64], size: tuple[int, ...]) -> bool:
    """Whether every voxel of the label image lies on a voxel of the scan's lattice."""
    whole = np.rint(steps)
    if not (np.abs(whole).sum(axis=0) == 1).all() or not (np.abs(whole).sum(axis=1) == 1).all():
        return False
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in size], indexing="ij")).reshape(3, -1)
    apart = steps @ corners + offset[:, None]
    apart -= whole @ corners + np.rint(offset)[:, None]
    return bool(np.abs(apart).max() <= _TOLERANCE)


def _copied(
    labels: sitk.Image, scan: sitk.Image, steps: NDArray[np.int_], offset: NDArray[np.int_]
) -> sitk.Image:
    """The voxels put where they belong; `steps` is a signed permutation, `offset` whole."""
    order = [int(np.flatnonzero(row)[0]) for row in steps]
    turned = sitk.GetArrayViewFromImage(labels).transpose(2, 1, 0).transpose(order)
    signs = steps.sum(axis=1)
    turned = turned[tuple(slice(None, None, int(sign)) for sign in signs)]
    low = np.where(signs > 0, offset, offset - np.array(turned.shape) + 1)
    high = np.minimum(low + np.array(turned.shape), scan.GetSize())
    start = np.maximum(low, 0)
    values = np.zeros(scan.GetSize(), dtype=turned.dtype)
    if (start < high).all():
        there = tuple(slice(int(a), int(b)) for a, b in zip(start, high, strict=True))
        here = tuple(slice(int(a - c), int(b - c)) for a, b, c in zip(start, high, low, strict=True))
        values[there] = turned[here]
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0)))
    image.CopyInformation(scan)
    return image


def _share_outside(
    labels: sitk.Image, steps: NDArray[np.float64], offset: NDArray[np.float64], size: tuple[int, ...]
) -> float:
    """Share of the labelled voxels whose centre lies outside the scan's voxels."""

    def outside(index: NDArray[np.int_]) -> NDArray[np.bool_]:
        there = index @ steps.T + offset
        edge: NDArray[np.bool_] = ((there < -0.5) | (there > np.array(size) - 0.5)).any(axis=1)
        return edge

    corners = np.array(np.meshgrid(*[(0, n - 1) for n in labels.GetSize()], indexing="ij")).reshape(3, -1).T
    if not outside(corners).any():
        return 0.0
    labelled = np.argwhere(sitk.GetArrayViewFromImage(labels))[:, ::-1]
    return float(outside(labelled).mean())
