"""How fine the lattice must be where: cubes that are small against the thickness of what they hold.

The thickness of a label at a point is the diameter of the largest ball that lies in the label and covers the
point. A label is thinner than 2r where opening it by a ball of radius r (all balls of that radius inside it)
leaves it uncovered; both steps are thresholds of distance maps. A label that is thick as a whole is not refined
for a few thin rims: only when more than a stated share of its volume is thin.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from anatomy.lattice.fields import Fields
from anatomy.lattice.octree import Octree, balanced

_ALL_AROUND = np.ones((3, 3, 3), dtype=bool)
# Largest edge of the working voxels in units of the radius that is asked for.
_WORKING_STEP = 0.35
# A convex rim is uncovered by its opening to a depth below this share of the radius (a right angle: √2 − 1).
_RIM = 0.41
# A label whose thin part is a smaller share of its volume than this is left at the coarser size.
_LEAST_THIN_SHARE = 0.1


def graded_lattice(fields: Fields, cube_mm: float, edges_mm: list[float], across: float) -> Octree:
    """A balanced octree around all labels.

    Parameters
    ----------
    fields : Fields
        The labels.
    cube_mm : float
        Edge of the coarsest cubes.
    edges_mm : list of float
        Mean edge of the lattice on each level, coarse to fine; its length is the number of levels.
    across : float
        Edges that a thickness must hold; where it holds fewer, the cubes are halved while levels last.
    """
    labels = list(zip(fields.blocks.first, fields.masks, strict=True))
    everything = np.concatenate([_all_voxels(fields, first, mask, cube_mm) for first, mask in labels])
    origin = everything.min(axis=0) - 3.3 * cube_mm
    active = np.zeros(((everything.max(axis=0) - origin) / cube_mm).astype(np.int64) + 4, dtype=bool)
    active[tuple(((everything - origin) / cube_mm).astype(np.int64).T)] = True
    active = binary_dilation(active, _ALL_AROUND, iterations=2)
    wanted = [np.zeros(np.array(active.shape) << level, dtype=bool) for level in range(len(edges_mm))]
    for first, mask in labels:
        for level in range(1, len(edges_mm)):
            thin = _thin_voxels(fields, first, mask, 0.5 * across * edges_mm[level - 1])
            if thin is None:
                break
            cube = ((thin - origin) / cube_mm * 2**level).astype(np.int64)
            wanted[level][tuple(cube.T)] = True
    return balanced(wanted, active, origin, cube_mm)


def _stride(fields: Fields, step_mm: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """How many voxels a working step of at most `step_mm` spans along each axis, and the step that makes, mm."""
    spacing = np.linalg.norm(np.linalg.inv(fields.to_index), axis=0)
    stride = np.maximum(1, (step_mm / spacing).astype(np.int64))
    return stride, spacing * stride


def _anywhere(mask: NDArray[np.bool_], stride: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether any voxel of each working step is set."""
    for axis, step in enumerate(stride.tolist()):
        if step > 1:
            mask = np.logical_or.reduceat(mask, np.arange(0, mask.shape[axis], step), axis=axis)
    return mask


def _positions(
    fields: Fields, first: NDArray[np.int64], stride: NDArray[np.int64], where: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Positions (k, 3) mm of what is set in a strided mask."""
    index = np.argwhere(where) * stride + first
    return np.asarray(index @ np.linalg.inv(fields.to_index).T + fields.origin)


def _all_voxels(
    fields: Fields, first: NDArray[np.int64], mask: NDArray[np.bool_], cube_mm: float
) -> NDArray[np.float64]:
    stride, _ = _stride(fields, cube_mm / 4)
    return _positions(fields, first, stride, _anywhere(mask, stride))


def _thin_voxels(
    fields: Fields, first: NDArray[np.int64], mask: NDArray[np.bool_], radius: float
) -> NDArray[np.float64] | None:
    """Positions (k, 3) mm where a label is thinner than twice the radius; None where the label is thick."""
    stride, step = _stride(fields, _WORKING_STEP * radius)
    at_all = _anywhere(mask, stride)
    mask = mask[:: stride[0], :: stride[1], :: stride[2]]
    half = 0.5 * float(step.mean())
    kept = _distance(~mask, step) - half >= radius
    thin = mask & (_distance(kept, step) > radius * (1 + _RIM) + half) if kept.any() else mask
    # What the working steps stride over is thin, too.
    thin = thin | (at_all & ~binary_dilation(mask, _ALL_AROUND))
    if thin.sum() <= _LEAST_THIN_SHARE * at_all.sum():
        return None
    return _positions(fields, first, stride, thin)


def _distance(mask: NDArray[np.bool_], spacing: NDArray[np.float64]) -> NDArray[np.float32]:
    """Distance (mm) of every voxel to the nearest that is set."""
    image = sitk.GetImageFromArray(mask.astype(np.uint8).transpose(2, 1, 0))
    image.SetSpacing(spacing.tolist())
    found = sitk.SignedMaurerDistanceMap(
        image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True
    )
    return np.maximum(sitk.GetArrayViewFromImage(found).transpose(2, 1, 0), 0)
