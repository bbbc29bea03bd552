"""A head in an MR image: what is head and what is air, an even scale of grey, and which contrast it was taken with.

The scanner's coils see near tissue brighter than far tissue; the slow factor between them is estimated by N4 (Tustison
et al. 2010, IEEE TMI 29:1310) on a shrunken image and divided out. Grey values of MR have no unit, so that the classes
of the middle of the brain serve as the scale: in T1-weighted images fluid is darkest and white matter brightest, in
T2-weighted images it is the reverse. All work is done on a grid of one edge length, axes in L-P-S order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from anatomy.errors import AnatomyError
from anatomy.progress import Progress, silent
from anatomy.scan import Scan
from anatomy.segmentation.morphology import Mask, closed, filled, grow, largest, opened

Volume = NDArray[np.float32]

_EDGE_MM = 1.5
# From the vertex to the foramen magnum adults measure less than this; below it is neck.
_HEIGHT_MM = 175.0
_LEAST_AREA_MM2 = 800.0
# The middle of the brain: a ball that holds deep white matter, basal ganglia and ventricles in every adult.
_MIDDLE_MM = 50.0
_BIAS_SHRINK = 4
# An adult's head without its neck measures more; the largest brains measure less.
_LEAST_HEAD_ML = 2300.0


@dataclass(frozen=True)
class Classes:
    """Grey values of three tissues, after the bias was removed.

    Parameters
    ----------
    fluid, grey, white : float
        Means of cerebrospinal fluid, grey and white matter.
    noise : float
        Standard deviation within white matter.
    """

    fluid: float
    grey: float
    white: float
    noise: float


@dataclass(frozen=True, eq=False)
class Head:
    """A T1-weighted head on the working grid.

    Parameters
    ----------
    image : SimpleITK.Image
        The scan on the working grid, float32, axes L, P, S.
    values : ndarray, shape (z, y, x), float32
        Grey values with the bias removed.
    log_bias : SimpleITK.Image
        Logarithm of the bias on the working grid.
    mask : ndarray, shape (z, y, x), bool
        Head and neck without the air around them.
    top : int
        Slice of the vertex.
    centre : ndarray, shape (3,)
        Centre of the upper head, voxels (z, y, x).
    classes : Classes
        Grey values of the tissues.
    warnings : tuple of str
        What a person should know.
    extracted : bool
        Whether the image holds a brain from which the rest of the head was taken away before.
    """

    image: sitk.Image
    values: Volume
    log_bias: sitk.Image
    mask: Mask
    top: int
    centre: NDArray[np.float64]
    classes: Classes
    warnings: tuple[str, ...]
    extracted: bool = False

    @property
    def edge_mm(self) -> float:
        """Voxel edge of the working grid, mm."""
        return float(self.image.GetSpacing()[0])


def find_head(scan: Scan, progress: Progress = silent) -> Head:
    """Bring an MR image of a head to the working grid, remove its bias and learn its tissues' grey values.

    Raises
    ------
    AnatomyError
        If no head ends in air at its top (an MR image of a trunk, or a head cut off), or the contrast is not T1.
    """
    progress("Finding the head", 0.0)
    image = _working_image(scan)
    edge = float(image.GetSpacing()[0])
    raw = np.asarray(sitk.GetArrayFromImage(image), dtype=np.float32)
    mask = _not_air(raw, edge)
    extracted = _is_extracted(raw, mask, edge)
    if extracted:
        mask &= raw > 0.02 * np.percentile(raw[mask], 98)
    top, warnings = _vertex(mask, edge)
    if extracted:
        warnings.append("all but the brain was taken from this image before: its border is taken as it is")
    upper = mask.copy()
    upper[: max(0, top - int(_HEIGHT_MM / edge))] = False
    progress("Removing the bias of the coils", 0.3)
    log_bias = _log_bias(image, upper)
    field = sitk.GetArrayFromImage(log_bias)
    if np.ptp(np.percentile(field[upper], [2, 98])) > np.log(2.5):
        warnings.append(
            "the coils' bias is strong (more than 2.5 times between places): grey values are less sure"
        )
    values = np.asarray(raw / np.exp(field), dtype=np.float32)
    centre = _centre(mask, top, edge)
    classes = _classes(values, mask, centre, edge)
    progress("Removing the bias of the coils", 1.0)
    return Head(image, values, log_bias, mask, top, centre, classes, tuple(warnings), extracted)


def around(shape: tuple[int, ...], centre: NDArray[np.float64], edge_mm: float) -> Volume:
    """Distance of every voxel to a place (voxels z, y, x), mm."""
    axes = np.ogrid[tuple(slice(0, n) for n in shape)]
    away = np.sqrt(sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)))
    return np.asarray(away * edge_mm, dtype=np.float32)


def _working_image(scan: Scan) -> sitk.Image:
    image = sitk.Cast(sitk.DICOMOrient(scan.image, "LPS"), sitk.sitkFloat32)
    for axis, spacing in enumerate(image.GetSpacing()):
        if 1.3 * spacing < _EDGE_MM and image.GetSize()[axis] >= 4:
            order = sitk.RecursiveGaussianImageFilter.ZeroOrder
            image = sitk.RecursiveGaussian(image, 0.4 * _EDGE_MM, False, order, axis)
    spacing = image.GetSpacing()
    size = [max(2, int(np.ceil(n * s / _EDGE_MM))) for n, s in zip(image.GetSize(), spacing, strict=True)]
    origin = image.TransformContinuousIndexToPhysicalPoint([0.5 * _EDGE_MM / s - 0.5 for s in spacing])
    return sitk.Resample(
        image, size, sitk.Transform(), sitk.sitkLinear, origin, [_EDGE_MM] * 3, image.GetDirection(), 0.0,
        sitk.sitkFloat32, True,
    )  # fmt: skip


def _not_air(values: Volume, edge: float) -> Mask:
    """The head: brighter than a tenth of the way from the 2 % to the 98 % quantile, gaps and cavities closed."""
    dark, bright = np.percentile(values, [2, 98])
    found = largest(opened(values > dark + 0.1 * (bright - dark), 2.0 * edge, edge))
    if not found.any():
        raise AnatomyError("no head is to be seen: the image is empty or of one value")
    return filled(closed(found, 8.0, edge))


def _is_extracted(values: Volume, mask: Mask, edge: float) -> bool:
    """Whether the air is exactly nothing and the rest too small for a head of that brain."""
    air = ~grow(mask, 3.0 * edge, edge)
    nothing = 1e-4 * float(np.percentile(values[mask], 98))
    empty = float(np.mean(np.abs(values[air]) < nothing)) if air.any() else 0.0
    return bool(empty > 0.995 and mask.sum() * edge**3 / 1000.0 < _LEAST_HEAD_ML)


def _vertex(mask: Mask, edge: float) -> tuple[int, list[str]]:
    """The slice where the head begins from above, and what is to be said of it."""
    area = mask.sum(axis=(1, 2)) * edge**2
    if area[-1] > 0.6 * area.max():
        raise AnatomyError(
            "no top of a head is to be seen in this MR image (the body does not end upwards): the MR protocols find "
            "the brain in T1-weighted scans of the head; give a label map for other MR images"
        )
    warnings = []
    if area[-1] > _LEAST_AREA_MM2:
        warnings.append("the top of the head is cut off: the brain's volume is that of the part seen")
    return int(np.flatnonzero(area > _LEAST_AREA_MM2).max(initial=0)), warnings


def _centre(mask: Mask, top: int, edge: float) -> NDArray[np.float64]:
    """The middle of the brain case: the widest level under the vertex, about 75 mm deep."""
    upper = mask.copy()
    upper[: max(0, top - int(150.0 / edge))] = False
    return np.asarray(ndimage.center_of_mass(upper), dtype=np.float64)


def _log_bias(image: sitk.Image, mask: Mask) -> sitk.Image:
    inside = sitk.GetImageFromArray(mask.astype(np.uint8))
    inside.CopyInformation(image)
    shrink = [_BIAS_SHRINK] * 3
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations([30, 20, 15])
    n4.SetConvergenceThreshold(1e-3)
    n4.Execute(sitk.Shrink(image, shrink), sitk.Shrink(inside, shrink))
    return n4.GetLogBiasFieldAsImage(image)


def _classes(values: Volume, mask: Mask, centre: NDArray[np.float64], edge: float) -> Classes:
    """Three classes by k-means in the middle of the brain.

    Raises
    ------
    AnatomyError
        If the brightest class is the smallest: fluid is bright, and the image T2-weighted.
    """
    sample = values[mask & (around(mask.shape, centre, edge) < _MIDDLE_MM)]
    means = np.asarray(np.percentile(sample, [8, 45, 85]), dtype=np.float64)
    for _ in range(40):
        nearest = np.searchsorted(0.5 * (means[1:] + means[:-1]), sample)
        counts = np.bincount(nearest, minlength=3)
        if (counts == 0).any():
            break
        means = np.bincount(nearest, sample, 3) / counts
    share = counts / counts.sum()
    if (counts == 0).any() or means[2] - means[0] < 1e-6:
        raise AnatomyError("the middle of the head has a single grey value: no brain is to be seen")
    if share[0] > share[2]:
        raise AnatomyError(
            "fluid is brighter than brain in this image (T2-weighted, or not of a head): the brain protocol reads "
            "T1-weighted scans; give the T1-weighted series"
        )
    white = sample[nearest == 2]
    noise = 1.4826 * float(np.median(np.abs(white - np.median(white))))
    return Classes(float(means[0]), float(means[1]), float(means[2]), noise)


def log_bias_on(image: sitk.Image, head: Head) -> NDArray[Any]:
    """Logarithm of the bias on another grid, shape (z, y, x)."""
    moved = sitk.Resample(
        head.log_bias, image, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32, True
    )
    return np.asarray(sitk.GetArrayFromImage(moved))
