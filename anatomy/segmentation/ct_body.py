"""The body in a CT: trunk, lungs, bone, spine axis and chest wall, by which the organ protocols find their way.

Thresholds are the physics of Hounsfield units rather than one scanner's: air is -1000, lung -900 to -600, fat
-120 to -60, soft tissue 0 to 80 (to 200 with contrast), cortical bone above 300 (Kalender, Computed Tomography,
2011, ch. 1). All work is done on a grid of one edge length, 2 mm (3 mm for coarser scans), axes in L-P-S order,
cropped to the body.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from anatomy.errors import AnatomyError
from anatomy.scan import Scan
from anatomy.segmentation.morphology import Mask, distance, filled, grow, largest, opened, shrink, smoothed

_BODY_HU = -300.0
_LUNG_HU = -400.0
# Gas in the bowel is as empty as air outside; the emptiest lung still holds vessels.
_GAS_HU = -950.0
_BONE_HU, _CORTEX_HU = 180.0, 350.0
_LUNG_ML = 30.0
# A forearm is at least 40 mm thick; a table's shell is not, and its foam is nearly air.
_LIMB_ML, _LIMB_DEPTH_MM = 100.0, 20.0
# A hip bone has over 100 ml of dense bone, a rib under 20.
_BESIDE_SPINE_MM, _PELVIS_ML = 35.0, 60.0


@dataclass(frozen=True, eq=False)
class Body:
    """A CT on the working grid with the landmarks of the trunk.

    Parameters
    ----------
    image : SimpleITK.Image
        The scan on the working grid, float32 HU, axes L, P, S, one edge length.
    trunk, lungs, bone : ndarray, shape (z, y, x), bool
        Masks on that grid.
    spine : ndarray, shape (z, 2), float64
        Centre of the vertebral column in each slice: (x, y) in voxels.
    """

    image: sitk.Image
    trunk: Mask
    lungs: Mask
    bone: Mask
    spine: NDArray[np.float64]

    @cached_property
    def hu(self) -> NDArray[np.float32]:
        """Hounsfield units on the working grid, shape (z, y, x)."""
        return np.asarray(sitk.GetArrayFromImage(self.image), dtype=np.float32)

    @cached_property
    def even(self) -> NDArray[np.float32]:
        """Hounsfield units smoothed between edges, clamped to -150 to 250 HU, shape (z, y, x).

        Curvature-driven anisotropic diffusion (Whitaker & Xue 2001) of the soft-tissue range.
        """
        image = sitk.Clamp(self.image, sitk.sitkFloat32, -150.0, 250.0)
        image = sitk.CurvatureAnisotropicDiffusion(
            image, timeStep=0.0625, conductanceParameter=1.5, numberOfIterations=6
        )
        return np.asarray(sitk.GetArrayFromImage(image))

    @property
    def edge_mm(self) -> float:
        """Voxel edge of the working grid, mm."""
        return float(self.image.GetSpacing()[0])

    @cached_property
    def right(self) -> Mask:
        """The patient's right half: what lies right of the spine."""
        x = np.arange(self.trunk.shape[2])[None, None, :]
        return np.broadcast_to(x < self.spine[:, 0][:, None, None], self.trunk.shape)

    @cached_property
    def iliac_crest(self) -> int | None:
        """Slice of the iliac crests' top, where the aorta divides (L4); None where no pelvis is in the scan.

        Pelvic bones are the largest bones beside the spine and lie below the lungs.
        """
        x = np.arange(self.trunk.shape[2])[None, None, :]
        aside = np.abs(x - self.spine[:, 0][:, None, None]) * self.edge_mm
        parts, count = ndimage.label(self.bone & (aside > _BESIDE_SPINE_MM))
        lungs = np.flatnonzero(self.lungs.any(axis=(1, 2)))
        tops = []
        volumes = np.bincount(parts.ravel(), minlength=count + 1) * self.edge_mm**3 / 1000.0
        for number, box in enumerate(ndimage.find_objects(parts), start=1):
            below = lungs.size == 0 or box[0].stop <= lungs[0]
            if volumes[number] > _PELVIS_ML and below:
                tops.append(box[0].stop - 1)
        return max(tops) if tops else None

    def beside_spine(self, to_side_mm: float, in_front_mm: float) -> Mask:
        """The column around the spine and in front of it, where aorta, cava and crura run."""
        _, y, x = np.ogrid[: self.trunk.shape[0], : self.trunk.shape[1], : self.trunk.shape[2]]
        aside = np.abs(x - self.spine[:, 0][:, None, None]) * self.edge_mm
        front = (self.spine[:, 1][:, None, None] - y) * self.edge_mm
        return (aside < to_side_mm) & (front < in_front_mm)

    @cached_property
    def chest_wall(self) -> Mask:
        """What lies less deep under the skin than the ribs nearby: skin, fat, muscle, between the ribs too."""
        edge = self.edge_mm
        # Repeated end slices keep the cut ends of the scan from counting as skin.
        closed_ends = np.pad(self.trunk, ((1, 1), (0, 0), (0, 0)), mode="edge")
        depth = distance(~closed_ends, edge)[1:-1]
        rib = self.bone & (depth < 60) & ~self.near_spine(60.0)
        if not rib.any():
            return rib
        weight = smoothed(rib, 15.0, edge)
        rib_depth = smoothed(rib * depth, 15.0, edge) / np.maximum(weight, 1e-6)
        return self.trunk & (depth < rib_depth + 1.0) & (distance(rib, edge) < 25.0)

    @cached_property
    def limbs(self) -> Mask:
        """Arms or legs that lie apart from the trunk in the scan; a table is thinner than they are."""
        edge = self.edge_mm
        dense = opened(self.hu > _BODY_HU, 4.0, edge)
        depth = distance(~dense, edge)
        parts, count = ndimage.label(dense)
        volume = np.bincount(parts.ravel(), minlength=count + 1) * edge**3 / 1000.0
        keep = (volume > _LIMB_ML) & (
            np.atleast_1d(ndimage.maximum(depth, parts, np.arange(count + 1))) > _LIMB_DEPTH_MM
        )
        keep[np.unique(parts[self.trunk])] = False
        keep[0] = False
        found = keep[parts]
        return filled(grow(found, edge, edge)) if found.any() else found

    def near_spine(self, radius_mm: float) -> Mask:
        """What lies within a radius of the vertebral column's centre in its axial slice."""
        _, y, x = np.ogrid[: self.trunk.shape[0], : self.trunk.shape[1], : self.trunk.shape[2]]
        sx, sy = self.spine[:, 0][:, None, None], self.spine[:, 1][:, None, None]
        near: Mask = np.hypot(x - sx, y - sy) * self.edge_mm <= radius_mm
        return near


def find_body(scan: Scan) -> Body:
    """Bring a CT to the working grid and find the trunk's landmarks.

    Raises
    ------
    AnatomyError
        If no body or no vertebral column is to be seen.
    """
    image = working_image(scan)
    edge = image.GetSpacing()[0]
    hu = sitk.GetArrayFromImage(image)
    trunk = find_trunk(hu, edge)
    bone = find_bone(hu, trunk, edge)
    return Body(image, trunk, find_lungs(hu, trunk, edge), bone, find_spine(bone, trunk, edge))


def working_image(scan: Scan) -> sitk.Image:
    """The scan in L-P-S order at 2 to 3 mm, float32, smoothed to that grid and cropped to the body."""
    image = _cropped(sitk.DICOMOrient(scan.image, "LPS"))
    edge = float(np.clip(max(image.GetSpacing()[:2]), 2.0, 3.0))
    image = sitk.Cast(image, sitk.sitkFloat32)
    for axis, spacing in enumerate(image.GetSpacing()):
        if edge > 1.3 * spacing and image.GetSize()[axis] >= 4:
            image = sitk.RecursiveGaussian(
                image, 0.4 * edge, False, sitk.RecursiveGaussianImageFilter.ZeroOrder, axis
            )
    spacing = image.GetSpacing()
    size = [max(2, int(np.ceil(n * s / edge))) for n, s in zip(image.GetSize(), spacing, strict=True)]
    # The first voxel of the new grid starts where the first voxel of the old one starts.
    origin = image.TransformContinuousIndexToPhysicalPoint([0.5 * edge / s - 0.5 for s in spacing])
    return sitk.Resample(
        image,
        size,
        sitk.Transform(),
        sitk.sitkLinear,
        origin,
        [edge] * 3,
        image.GetDirection(),
        -1024.0,
        sitk.sitkFloat32,
        True,
    )


def _cropped(image: sitk.Image) -> sitk.Image:
    """The part of the image around the body, full height."""
    steps = [max(1, round(4.0 / s)) for s in image.GetSpacing()]
    coarse = image[:: steps[0], :: steps[1], :: steps[2]]
    dense = sitk.GetArrayViewFromImage(coarse) > _BODY_HU
    body = _body_parts(ndimage.binary_opening(dense, np.ones((1, 3, 3))), coarse.GetSpacing()[::-1])
    if not body.any():
        raise AnatomyError("no body is to be seen in the scan: is it a CT in Hounsfield units?")
    box = ndimage.find_objects(body.astype(np.uint8))[0]
    start, stop = [0, 0, 0], list(image.GetSize())
    for axis in (0, 1):
        found = box[2 - axis]
        margin = int(np.ceil(8.0 / image.GetSpacing()[axis]))
        start[axis] = max(0, found.start * steps[axis] - margin)
        stop[axis] = min(stop[axis], found.stop * steps[axis] + margin)
    return image[start[0] : stop[0], start[1] : stop[1], :]


def _body_parts(dense: Mask, spacing: tuple[float, ...]) -> Mask:
    """The largest part and others as thick as a limb, on a grid of any spacing (z, y, x) in mm."""
    parts, count = ndimage.label(dense)
    volume = np.bincount(parts.ravel(), minlength=count + 1) * float(np.prod(spacing)) / 1000.0
    depth = ndimage.distance_transform_edt(dense, sampling=spacing)
    keep = (volume > _LIMB_ML) & (
        np.atleast_1d(ndimage.maximum(depth, parts, np.arange(count + 1))) > _LIMB_DEPTH_MM
    )
    keep[0] = False
    return np.asarray(keep[parts]) | largest(dense)


def find_trunk(hu: NDArray[Any], edge: float) -> Mask:
    """The body without table and air around it, lungs and bowel gas filled in."""
    dense = largest(opened(hu > _BODY_HU, 4.0, edge))
    return filled(grow(dense, edge, edge))


def find_lungs(hu: NDArray[Any], trunk: Mask, edge: float) -> Mask:
    """Both lungs with what they hold of air; bowel gas is told apart by being empty.

    Every part of air inside the trunk of at least 30 ml whose inside is denser than gas counts as lung.
    """
    air = (hu < _LUNG_HU) & shrink(trunk, 6.0, edge)
    parts, count = ndimage.label(air)
    lungs = np.zeros_like(air)
    inside = distance(~air, edge) > 4.0
    boxes = ndimage.find_objects(parts)
    for number in range(1, count + 1):
        box = boxes[number - 1]
        part = parts[box] == number
        deep = part & inside[box]
        if part.sum() * edge**3 / 1000.0 >= _LUNG_ML and deep.any() and np.median(hu[box][deep]) > _GAS_HU:
            lungs[box] |= part
    return lungs


def find_bone(hu: NDArray[Any], trunk: Mask, edge: float) -> Mask:
    """Dense parts that have a cortex; vessels and kidneys full of contrast have none."""
    dense = (hu > _BONE_HU) & trunk
    parts, _ = ndimage.label(dense)
    sizes = np.maximum(np.bincount(parts.ravel()), 1)
    cortex = np.bincount(parts.ravel(), weights=(hu > _CORTEX_HU).ravel()) / sizes
    keep = (cortex > 0.1) & (sizes * edge**3 > 100.0)
    keep[0] = False
    return np.asarray(keep[parts])


def find_spine(bone: Mask, trunk: Mask, edge: float) -> NDArray[np.float64]:
    """Centre of the vertebral column in every slice, (x, y) in voxels, smoothed along z.

    The thickest bone in the middle of the back half; slices without one take their neighbours' centre.

    Raises
    ------
    AnatomyError
        If no slice shows one.
    """
    centres = np.array([_spine_centre(bone[z], trunk[z], edge) for z in range(len(bone))])
    seen = np.flatnonzero(np.isfinite(centres[:, 0]))
    if seen.size == 0:
        raise AnatomyError(
            "no vertebral column is to be seen in the scan: does it show the trunk, feet downwards?"
        )
    every = np.arange(len(bone))
    # The median over nearby slices drops single slices led astray by a rib or the aorta.
    reach = max(1, round(25.0 / edge))
    steady = np.array([np.median(centres[seen[np.abs(seen - z) <= reach]], axis=0) for z in seen])
    line = np.stack([np.interp(every, seen, steady[:, axis]) for axis in (0, 1)], axis=1)
    return np.asarray(ndimage.gaussian_filter1d(line, 8.0 / edge, axis=0, mode="nearest"))


def _spine_centre(bone: Mask, trunk: Mask, edge: float) -> tuple[float, float]:
    nothing = (np.nan, np.nan)
    if not trunk.any():
        return nothing
    columns, rows = np.flatnonzero(trunk.any(axis=0)), np.flatnonzero(trunk.any(axis=1))
    middle, half = (columns[0] + columns[-1]) / 2, 45.0 / edge
    x0, x1 = max(0, int(middle - half)), int(middle + half)
    y0 = int(rows[0] + 0.4 * (rows[-1] - rows[0]))
    solid = ndimage.binary_fill_holes(bone[y0:, x0:x1])
    depth = ndimage.distance_transform_edt(solid) * edge
    if depth.max(initial=0.0) < 6.0:
        return nothing
    y, x = np.nonzero(depth > 0.7 * depth.max())
    return float(x.mean() + x0), float(y.mean() + y0)
