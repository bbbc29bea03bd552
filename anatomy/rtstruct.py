"""RTSTRUCT in: contours drawn in planes become voxels of the scan they were drawn on.

Theory: a structure set holds points in LPS mm, a closed polygon a plane and part (DICOM PS3.3 C.8.8.6). With the
scan's grid the points become voxel indices; contours drawn on slices then share one index along the slice axis,
however oblique the scan lies in the patient. Contours of one region in one plane count by exclusive or, so that
inner contours and keyholes are holes. Planes between slices, and planes further apart than the slices, are
interpolated by shape: the signed distance to the outline is interpolated linearly along the axis (Raya & Udupa, IEEE
Trans Med Imaging 9:32, 1990). Each plane stands for a slab of half its distance to the next on either side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray

from anatomy import images
from anatomy.dicom_object import check_frame, coded, one_sentence
from anatomy.errors import AnatomyError
from anatomy.polygons import inside
from anatomy.segments import Found, Reading, Segment, flatten
from anatomy.structures import Coded

# Voxels by which the points of one contour may leave their plane, and a plane its slice, and still lie on it.
_FLAT, _ON_SLICE = 0.1, 0.05
# Share of the usual distance between planes from which a distance is a gap in the structure, not a step.
_GAP = 1.5
# Share of the smaller contour by which a hole may reach out of its outline, or two neighbours into each other.
_TOUCH = 0.05
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


@dataclass(frozen=True)
class _Plane:
    """The contours of one region in one plane: its index along the slice axis, and polygons (n, 2) in the others."""

    height: float
    polygons: list[NDArray[np.float64]]


def read_contours(path: Path, reading: Reading) -> Found:
    """Read an RTSTRUCT as a label image on the grid of the scan it was drawn on.

    Parameters
    ----------
    path : Path
        The file.
    reading : Reading
        The scan's grid (needed) and frames; names by ROI number, choice and priority.

    Returns
    -------
    Found
        Label image on the scan's grid; label values are ROI numbers.

    Raises
    ------
    AnatomyError
        If there is no scan, no closed contour or none that lies in the scan, the file is damaged or of another frame
        of reference, contours lie in no plane of the scan's voxels, or regions overlap without a priority.
    """
    if reading.grid is None:
        raise AnatomyError(
            f"{path} holds contours, not voxels (RTSTRUCT): give the scan they were drawn on as well"
        )
    grid = reading.grid
    warnings: list[str] = []
    with one_sentence(path, "RTSTRUCT"), pydicom.config.disable_value_validation():
        regions = _regions(pydicom.dcmread(path), reading, path, warnings)
    segments = [
        Segment(number, r.name, partial(_voxels, r, grid, path, warnings), r.what)
        for number, r in zip(_numbers(regions), regions, strict=True)
    ]
    found = flatten(segments, grid, reading, str(path))
    if not sitk.GetArrayViewFromImage(found.image).any():
        raise AnatomyError(
            f"no contour of {path} lies in the scan: it was drawn on another scan. "
            f"The scan has {images.describe_grid(grid)}"
        )
    found.warnings.extend(warnings)
    return found


@dataclass(frozen=True)
class _Region:
    number: int
    name: str
    contours: list[NDArray[np.float64]]
    what: Coded | None


def _regions(data: pydicom.Dataset, reading: Reading, path: Path, warnings: list[str]) -> list[_Region]:
    """Regions with closed contours, in the order of the file."""
    drawn = {int(item.ReferencedROINumber): item for item in data.get("ROIContourSequence") or []}
    codes = {
        int(item.ReferencedROINumber): coded(item.get("RTROIIdentificationCodeSequence"))
        for item in data.get("RTROIObservationsSequence") or []
    }
    regions, without = [], []
    for item in data.get("StructureSetROISequence") or []:
        number = int(item.ROINumber)
        name = str(item.get("ROIName") or f"region {number}")
        contours = _closed(drawn.get(number), name, warnings)
        if not contours:
            without.append(name)
            continue
        check_frame(_frame_of(item, data), reading.frames, path)
        regions.append(_Region(number, name, contours, codes.get(number)))
    if not regions:
        raise AnatomyError(
            f"{path} holds no closed contour ({'of ' + ', '.join(without[:5]) if without else 'no region at all'}): "
            "export it with its contours"
        )
    if without:
        warnings.append(f"left out, for they have no closed contour: {', '.join(without)}")
    return regions


def _closed(item: pydicom.Dataset | None, name: str, warnings: list[str]) -> list[NDArray[np.float64]]:
    """The closed contours of a region, each (n, 3), LPS mm; points and open lines enclose nothing."""
    found: list[NDArray[np.float64]] = []
    seen, twice = set(), 0
    for contour in (item.get("ContourSequence") if item is not None else None) or []:
        kind = str(contour.get("ContourGeometricType", ""))
        if kind not in _CLOSED or "ContourData" not in contour:
            continue
        points = _coordinates(contour).reshape(-1, 3)
        if not np.isfinite(points).all():
            raise ValueError("a contour has coordinates that are no numbers")
        # A plain contour that is there twice would cancel itself; CLOSEDPLANAR_XOR says that it shall.
        same = kind == "CLOSED_PLANAR" and points.tobytes() in seen
        seen.add(points.tobytes())
        twice += same
        if len(points) > 2 and not same:
            found.append(
                points + np.array([float(v) for v in contour.get("ContourOffsetVector") or (0, 0, 0)])
            )
    if twice:
        warnings.append(f"'{name}' has {twice} contour{'s' if twice > 1 else ''} twice; each was taken once")
    return found


def _coordinates(contour: pydicom.Dataset) -> NDArray[np.float64]:
    """The numbers of ContourData, from the bytes of the file: pydicom makes an object of each, six times slower."""
    value = contour.get_item("ContourData").value
    if not value:
        return np.zeros(0)
    if isinstance(value, bytes):
        return np.array(value.strip(b" \0").split(b"\\")).astype(np.float64)
    return np.array([float(v) for v in value])


def _frame_of(item: pydicom.Dataset, data: pydicom.Dataset) -> str:
    """Frame of reference of a region: its own entry, else the structure set's."""
    own = item.get("ReferencedFrameOfReferenceUID")
    for referenced in data.get("ReferencedFrameOfReferenceSequence") or []:
        own = own or referenced.get("FrameOfReferenceUID")
    return str(own or data.get("FrameOfReferenceUID", ""))


def _numbers(regions: Sequence[_Region]) -> list[int]:
    """ROI numbers as label values; the order in the file where some are no label values."""
    given = [region.number for region in regions]
    usable = all(0 < n <= 65535 for n in given) and len(set(given)) == len(given)
    return given if usable else list(range(1, len(given) + 1))


def _voxels(region: _Region, grid: sitk.Image, path: Path, warnings: list[str]) -> NDArray[np.bool_]:
    """Voxels of a region on the scan's grid, shape (z, y, x) bool."""
    indices = [_index(points, grid) for points in region.contours]
    for axis in (2, 1, 0):
        if all(np.ptp(points[:, axis]) <= _FLAT for points in indices):
            return _fill(region.name, indices, grid, axis, warnings)
    own = _own_grid(region, grid, path)
    mask = _fill(region.name, [_index(points, own) for points in region.contours], own, 2, warnings)
    image = sitk.GetImageFromArray(mask.astype(np.float32))
    image.CopyInformation(own)
    moved = sitk.Resample(image, grid, sitk.Transform(), sitk.sitkLinear, 0.0)
    warnings.append(
        f"the contours of '{region.name}' lie in planes oblique to the scan's slices and were interpolated"
    )
    return np.asarray(sitk.GetArrayViewFromImage(moved) >= 0.5)


def _index(points: NDArray[np.float64], grid: sitk.Image) -> NDArray[np.float64]:
    """Continuous voxel indices (x, y, z) of points in LPS mm, shape (n, 3)."""
    direction = np.array(grid.GetDirection()).reshape(3, 3)
    return (points - np.array(grid.GetOrigin())) @ direction / np.array(grid.GetSpacing())


def _own_grid(region: _Region, grid: sitk.Image, path: Path) -> sitk.Image:
    """A grid along the planes of a region whose contours are oblique to the scan, as fine as the scan."""
    step = float(min(grid.GetSpacing()))
    longest = max(region.contours, key=lambda points: float(np.ptp(points, axis=0).max()))
    axes = np.linalg.svd(longest - longest.mean(axis=0), full_matrices=False)[2]
    if np.linalg.det(axes) < 0:
        axes[2] *= -1
    if any(np.ptp(points @ axes[2]) > _FLAT * step for points in region.contours):
        raise AnatomyError(
            f"the contours of '{region.name}' in {path} lie in planes of different directions or in none: "
            "draw them on parallel planes, or leave the region out with only"
        )
    local = np.concatenate(region.contours) @ axes.T
    low, high = local.min(axis=0) - 2 * step, local.max(axis=0) + 2 * step
    # The first slice is one of the planes: the others are often a whole number of steps away.
    low[2] = local[:, 2].min() - 2 * step
    own = sitk.Image([int(n) for n in np.ceil((high - low) / step) + 1], sitk.sitkUInt8)
    own.SetSpacing([step] * 3)
    own.SetOrigin((low @ axes).tolist())
    own.SetDirection(axes.T.ravel().tolist())
    return own


def _fill(
    name: str, contours: list[NDArray[np.float64]], grid: sitk.Image, axis: int, warnings: list[str]
) -> NDArray[np.bool_]:
    """Voxels inside contours that are flat along one index axis of the grid, shape (z, y, x) bool."""
    across = [a for a in (0, 1, 2) if a != axis]
    size = grid.GetSize()
    shape = (size[across[1]], size[across[0]])
    spacing = (grid.GetSpacing()[across[1]], grid.GetSpacing()[across[0]])
    planes = _planes([(float(p[:, axis].mean()), p[:, across]) for p in contours])
    crossing = sum(_crossing(plane.polygons, shape) for plane in planes)
    if crossing:
        warnings.append(
            f"contours of '{name}' cross each other in {crossing} plane{'s' if crossing > 1 else ''}: "
            "where they overlap nothing is filled (exclusive or)"
        )
    stack = _slabs(planes, size[axis], shape, spacing)
    heights = np.array([plane.height for plane in planes])
    steps = np.diff(heights)
    gaps = int((steps > _GAP * np.median(steps)).sum()) if steps.size else 0
    if gaps:
        warnings.append(
            f"'{name}' is interrupted {gaps} time{'s' if gaps > 1 else ''} along its slices; "
            "nothing was filled in there"
        )
    # (axis, rows, columns) to (z, y, x): the image's axes are x, y, z.
    order = [axis, across[1], across[0]]
    return stack.transpose([order.index(a) for a in (2, 1, 0)])


def _crossing(polygons: list[NDArray[np.float64]], shape: tuple[int, int]) -> bool:
    """Whether two polygons of a plane overlap in part: neither apart nor one a hole or an island in the other."""
    boxes = [(p.min(axis=0), p.max(axis=0)) for p in polygons]
    for i, j in combinations(range(len(polygons)), 2):
        if (boxes[i][0] > boxes[j][1]).any() or (boxes[j][0] > boxes[i][1]).any():
            continue
        a, b = inside([polygons[i]], shape), inside([polygons[j]], shape)
        shared, least = int((a & b).sum()), min(int(a.sum()), int(b.sum()))
        if _TOUCH * least < shared < (1 - _TOUCH) * least:
            return True
    return False


def _planes(flat: list[tuple[float, NDArray[np.float64]]]) -> list[_Plane]:
    """Contours gathered by the plane they lie in."""
    planes: list[_Plane] = []
    for height, polygon in sorted(flat, key=lambda pair: pair[0]):
        if planes and height - planes[-1].height <= _FLAT:
            planes[-1].polygons.append(polygon)
        else:
            planes.append(_Plane(height, [polygon]))
    return planes


def _slabs(
    planes: list[_Plane], count: int, shape: tuple[int, int], spacing: tuple[float, float]
) -> NDArray[np.bool_]:
    """Slices (count, rows, columns) from planes: on a plane its inside, between planes by interpolated shape."""
    stack = np.zeros((count, *shape), dtype=bool)
    heights = np.array([plane.height for plane in planes])
    usual = float(np.median(np.diff(heights))) if len(planes) > 1 else 1.0
    masks: dict[int, NDArray[np.bool_]] = {}
    shapes: dict[int, NDArray[np.float64]] = {}

    def mask(plane: int) -> NDArray[np.bool_]:
        if plane not in masks:
            masks[plane] = inside(planes[plane].polygons, shape)
        return masks[plane]

    def signed(plane: int) -> NDArray[np.float64]:
        if plane not in shapes:
            shapes[plane] = _signed_distance(mask(plane), spacing)
        return shapes[plane]

    low = max(0, int(np.ceil(heights[0] - usual / 2 - _ON_SLICE)))
    high = min(count - 1, int(np.floor(heights[-1] + usual / 2)))
    for k in range(low, high + 1):
        nearest = int(np.abs(heights - k).argmin())
        above = int(np.searchsorted(heights, k))
        if abs(heights[nearest] - k) <= _ON_SLICE:
            stack[k] = mask(nearest)
        elif 0 < above < len(planes) and heights[above] - heights[above - 1] <= _GAP * usual:
            share = (k - heights[above - 1]) / (heights[above] - heights[above - 1])
            stack[k] = (1 - share) * signed(above - 1) + share * signed(above) > 0
        elif -usual / 2 <= k - heights[nearest] < usual / 2:
            stack[k] = mask(nearest)
    return stack


def _signed_distance(mask: NDArray[np.bool_], spacing: tuple[float, float]) -> NDArray[np.float64]:
    """Distance to the outline, mm, positive inside; far outside everywhere where nothing is inside."""
    # Loading scipy.ndimage takes half a second, and contours drawn on slices need none of it.
    from scipy.ndimage import distance_transform_edt

    if not mask.any():
        return np.full(mask.shape, -float(np.hypot(*(np.array(mask.shape) * spacing))))
    within: NDArray[np.float64] = distance_transform_edt(np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1]
    outside: NDArray[np.float64] = distance_transform_edt(~mask, sampling=spacing)
    return within - outside
