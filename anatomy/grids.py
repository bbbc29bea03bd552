"""Grids of files: axes at right angles, or the shear named and, where asked for, resampled away.

Theory: a file's matrix A takes voxel indices to LPS mm. The nearest grid with axes at right angles has the columns'
lengths as edges and, as directions, the orthogonal factor of the polar decomposition of the columns' directions
(Higham 1986, SIAM J. Sci. Stat. Comput. 7, 1160). Where it moves no corner voxel by more than a rounding of the
header it is the file's grid; where it does, the file is sheared, and the value at a point p of an upright grid is
that of the file at the indices A⁻¹ p, interpolated linearly.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from anatomy.errors import AnatomyError
from anatomy.repairs import Fault, Repair, refuse_unmended

# A header's rounding moves no corner voxel further than this share of the smallest voxel edge.
_ROUNDING = 0.1
# Gantries tilt by up to 30°; beyond twice that an upright grid is mostly empty.
_MOST_SHEAR_DEGREES = 60.0


def affine_of(image: sitk.Image) -> NDArray[np.float64]:
    """Matrix from an image's voxel indices (i, j, k, 1) to LPS mm, shape (4, 4)."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    return matrix


def squared(
    image: sitk.Image, affine: NDArray[np.float64], path: Path, what: str, wanted: frozenset[str]
) -> tuple[sitk.Image, list[Repair]]:
    """An image on a grid with axes at right angles, where its voxels lie by `affine`.

    Parameters
    ----------
    image : SimpleITK.Image
        The voxels; its own grid is passed over.
    affine : ndarray, shape (4, 4)
        From voxel indices to LPS mm.
    path, what : Path, str
        The file and what it is, for the message.
    wanted : frozenset of str
        Repairs that were asked for.

    Raises
    ------
    AnatomyError
        If the axes are not at right angles and 'resample' was not asked for.
    """
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    u, _, vt = np.linalg.svd(affine[:3, :3] / edges)
    direction = u @ vt
    last = np.array(image.GetSize()) - 1
    steps = np.array(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij")).reshape(3, -1).T * last
    moved = float(np.linalg.norm(steps @ (affine[:3, :3] - direction * edges).T, axis=1).max())
    if moved <= _ROUNDING * edges.min():
        image.SetSpacing(edges.tolist())
        image.SetOrigin(affine[:3, 3].tolist())
        image.SetDirection(direction.ravel().tolist())
        return image, []
    shear = _shear_degrees(affine[:3, :3] / edges)
    words = f"{path}: its axes are not at right angles ({shear:.1f}° off, a sheared {what})"
    if what == "scan":
        refuse_unmended([Fault(words, "resample", "interpolates it onto an upright grid")], wanted)
    else:
        refuse_unmended([Fault(words + ": resample it onto its scan first")], frozenset())
    if shear > _MOST_SHEAR_DEGREES:
        raise AnatomyError(
            f"{words}, which is more than any scanner's: its matrix is damaged; convert it again"
        )
    upright = _upright(image, affine, direction, edges)
    return upright, [Repair("resample", f"axes {shear:.1f}° off a right angle set upright, linear")]


def _shear_degrees(axes: NDArray[np.float64]) -> float:
    """How far the worst pair of axes is from a right angle."""
    cosines = np.abs((axes.T @ axes)[np.triu_indices(3, 1)])
    return float(np.degrees(np.arcsin(min(1.0, cosines.max()))))


def _upright(
    image: sitk.Image, affine: NDArray[np.float64], direction: NDArray[np.float64], edges: NDArray[np.float64]
) -> sitk.Image:
    """The image on the smallest grid of these directions and edges that holds all its voxels."""
    last = np.array(image.GetSize()) - 1
    steps = np.array(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij")).reshape(3, -1).T * last
    along = (steps @ affine[:3, :3].T) @ direction / edges
    low, high = along.min(axis=0), along.max(axis=0)
    size = np.ceil(high - low - 1e-6).astype(int) + 1
    origin = affine[:3, 3] + direction @ (low * edges)
    array = sitk.GetArrayViewFromImage(image)
    # As floating point: ITK cuts interpolated whole numbers off instead of rounding them.
    indexed = sitk.GetImageFromArray(array.astype(np.float32))
    back = np.linalg.inv(affine)
    transform = sitk.AffineTransform(back[:3, :3].ravel().tolist(), back[:3, 3].tolist())
    upright = sitk.Resample(
        indexed, size.tolist(), transform, sitk.sitkLinear, origin.tolist(), edges.tolist(),
        direction.ravel().tolist(), float(array.min()),
    )  # fmt: skip
    if array.dtype.kind == "f":
        return upright
    whole = sitk.GetImageFromArray(np.rint(sitk.GetArrayViewFromImage(upright)).astype(np.int32))
    whole.CopyInformation(upright)
    return whole
