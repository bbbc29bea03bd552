"""The liver in a CT, with or without contrast, from what is known of its place, size and evenness.

Protocol. The body's landmarks give the region: right of the spine the largest thick even organ is the liver, and
the mode of the Hounsfield units there is the patient's liver value. The region of least cost with a short,
edge-bound surface (see `region`) is then found for a liver whose mean may drift slowly through the body (beam
hardening by arms, uneven enhancement): mean and region are improved in turn, at half resolution first. Chest wall,
bone, lung, air and fat are outside by what they are; what hangs on by a neck thinner than 16 mm (stomach, kidney,
muscle) is cut off, and great vessels beside the spine are cut off where they are thinner than 26 mm. Holes are
filled, so that vessels and tumours inside belong. The border is last placed on the scan's own grid, half-way
between the values inside and outside where these differ clearly.

Sources of the method: Chan & Vese 2001, IEEE TIP 10:266 (region means); Li et al. 2008, IEEE TIP 17:1940 (means
that drift); Linguraru et al. 2010, Med Phys 37:771 (location knowledge and edge-bound finish for abdominal organs).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from anatomy.errors import AnatomyError
from anatomy.progress import Progress, silent
from anatomy.segmentation import region
from anatomy.segmentation.ct_body import Body
from anatomy.segmentation.growing import drifting_mean
from anatomy.segmentation.morphology import (
    Mask,
    closed,
    distance,
    filled,
    grow,
    largest,
    opened,
    shrink,
)

Volume = NDArray[np.float32]

# Wide of liver values met in patients: fatty livers near 0, native 40 to 70, portal venous up to 150.
_LOWEST_HU, _HIGHEST_HU = 0.0, 220.0
_FAT_HU = -20.0
# A liver below this has hardly taken up contrast (native livers are 40 to 65 HU).
NATIVE_HU = 75.0
# How far from the local mean, in standard deviations of the smoothed image, a voxel may still be liver.
_BAND = 2.5
_LEAST_NOISE_HU = 6.0
_WEIGHT_PER_MM = 0.125
_NECK_MM, _VESSEL_MM, _SHEET_MM, _CLEFT_MM = 6.0, 13.0, 3.0, 10.0
_TONGUE_MM, _KIDNEY_MM = 16.0, 10.0
_FAT_SHARE = 0.15
_DENT_MM, _LUMP_MM, _ENCLOSED_SHARE = 16.0, 4.0, 0.6
_BILE_HU = 25.0


@dataclass(frozen=True, eq=False)
class Liver:
    """The liver on the working grid.

    Parameters
    ----------
    body : Body
        The scan on the working grid and its landmarks.
    mask : ndarray, shape (z, y, x), bool
        The whole organ, with the vessels and tumours inside it.
    mean_hu : ndarray, shape (z, y, x), float32
        The parenchyma's value around each voxel.
    noise_hu : float
        Standard deviation of parenchyma in the smoothed image.
    """

    body: Body
    mask: Mask
    mean_hu: Volume
    noise_hu: float

    @property
    def value_hu(self) -> float:
        """The parenchyma's median value."""
        return float(np.median(self.mean_hu[self.mask]))


def find_liver(body: Body, progress: Progress = silent) -> Liver:
    """Find the liver.

    Raises
    ------
    AnatomyError
        If nothing like a liver lies right of the spine.
    """
    progress("Looking for the liver", 0.0)
    even = body.even
    value, noise = _liver_value(body, even)
    never = ~body.trunk | body.lungs | body.bone | body.chest_wall | (even < _FAT_HU)
    progress("Looking for the liver", 0.3)
    mask, mean = _grown(body, even, never, value, noise)
    progress("Looking for the liver", 0.8)
    edge = body.edge_mm
    if value < NATIVE_HU:
        # Without contrast blood is as bright as liver, and cava and aorta hang on it.
        mask &= ~body.beside_spine(45.0, 75.0) | opened(mask, _VESSEL_MM, edge)
    bright = mean + _BAND * noise
    # What is brighter than liver and thicker than its vessels is kidney, heart or a great vessel.
    never |= opened(body.trunk & (even > bright), _KIDNEY_MM, edge)
    # Holes first: the rim of liver outside a tumour may be thinner than what opening leaves.
    mask = _with_soft_holes(mask, never)
    organ = _main_part(opened(mask, _SHEET_MM, edge), body.right, edge)
    organ = _with_hilum(organ, even, never, bright, edge)
    if value >= NATIVE_HU:
        organ = _with_surface_tumours(organ, even, never, edge)
    if organ.sum() * edge**3 < 100e3:
        raise AnatomyError("no liver was found right of the spine: is it in the scan, and is the scan a CT?")
    progress("Looking for the liver", 1.0)
    return Liver(body, organ, mean, noise)


def _liver_value(body: Body, even: Volume) -> tuple[float, float]:
    """Mode of the thick, even tissue right of the spine, and its spread, HU."""
    edge = body.edge_mm
    gradient = sitk.GradientMagnitudeRecursiveGaussian(sitk.GetImageFromArray(body.hu), 3.0 / edge)
    steep = sitk.GetArrayFromImage(gradient) > 12.0 * edge
    tissue = (even > _LOWEST_HU) & (even < _HIGHEST_HU) & body.trunk & ~body.bone
    depth = distance(~tissue | steep, edge)
    # Depth squared: the deepest even tissue there is the liver; kidney and bowel are thin beside it.
    weight = np.where(body.right & tissue, np.minimum(depth, 25.0), 0.0) ** 2
    if not weight.any():
        raise AnatomyError("no soft tissue right of the spine: is the scan a CT of the abdomen?")
    edges = np.arange(_LOWEST_HU, _HIGHEST_HU + 1.0)
    counts = ndimage.gaussian_filter1d(np.histogram(even, bins=edges, weights=weight)[0], 2.5)
    top = int(counts.argmax())
    below = np.flatnonzero(counts[: top + 1] < counts[top] / 2)
    above = np.flatnonzero(counts[top:] < counts[top] / 2)
    left = top - below[-1] if below.size else top
    right = above[0] if above.size else left
    # Full width at half maximum of a normal distribution is 2.355 standard deviations.
    return float(edges[top] + 0.5), max(_LEAST_NOISE_HU, float(left + right) / 2.355)


def _grown(body: Body, even: Volume, never: Mask, value: float, noise: float) -> tuple[Mask, Volume]:
    """Region and drifting mean, at half resolution first where the grid is fine."""
    edge = body.edge_mm
    if edge >= 2.5:
        return _in_turn(even, never, body.right, value, noise, edge, rounds=6, mean=None)
    half_even, half_never, half_right = (_halved(a) for a in (even, never, body.right))
    coarse, mean = _in_turn(
        half_even, half_never > 0.5, half_right > 0.5, value, noise, 2 * edge, rounds=8, mean=None
    )
    near = grow(_doubled(coarse, even.shape) > 0.5, 16.0, edge)
    mean = _doubled(mean, even.shape)
    if not near.any():
        return near, mean
    box = tuple(
        slice(max(0, b.start - 2), b.stop + 2) for b in ndimage.find_objects(near.astype(np.uint8))[0]
    )
    mask = np.zeros_like(near)
    mask[box], mean[box] = _in_turn(
        even[box], (never | ~near)[box], body.right[box], value, noise, edge, rounds=1, mean=mean[box]
    )
    return mask, mean


def _in_turn(
    even: Volume,
    never: Mask,
    right: Mask,
    value: float,
    noise: float,
    edge: float,
    rounds: int,
    mean: Volume | None,
) -> tuple[Mask, Volume]:
    """Improve region and mean in turn."""
    gradient = sitk.GetArrayFromImage(sitk.GradientMagnitude(sitk.GetImageFromArray(even)))
    weight = np.asarray(0.15 + 1.0 / (1.0 + (gradient / (1.5 * noise)) ** 2), dtype=np.float32)
    if mean is None:
        mean = np.full(even.shape, value, dtype=np.float32)
    u: Volume | None = None
    part: Mask | None = None
    for _ in range(rounds):
        away = ((even - mean) / noise) ** 2 / 2 - _BAND**2 / 2
        cost = np.asarray(np.clip(away, -(_BAND**2) / 2, 4.0), dtype=np.float32)
        cost[never] = 4.0
        if u is None:
            u = (cost < 0).astype(np.float32)
        region.minimise(cost, weight, u, _WEIGHT_PER_MM * edge, 50)
        part = _main_part(u > 0.5, right if part is None else part, edge)
        mean = drifting_mean(even, shrink(part, 3.0, edge), value, edge)
    return (np.zeros(even.shape, dtype=bool) if part is None else part), mean


def _main_part(mask: Mask, where: Mask, edge: float) -> Mask:
    """The part whose core has most voxels in `where`, without what hangs on by a neck."""
    cores, count = ndimage.label(shrink(mask, _NECK_MM, edge))
    if count == 0:
        return np.zeros_like(mask)
    sizes = np.bincount(cores[where], minlength=count + 1)
    sizes[0] = 0
    core = cores == int(sizes.argmax())
    return largest(grow(core, _TONGUE_MM, edge) & mask)


def _with_hilum(organ: Mask, even: Volume, never: Mask, bright: Volume, edge: float) -> Mask:
    """The organ with the bright vessels in its clefts and what they close off."""
    cleft = closed(organ, _CLEFT_MM, edge) & ~organ & ~never
    return _with_soft_holes(organ | opened(cleft & (even > bright), edge, edge), never)


def _with_surface_tumours(organ: Mask, even: Volume, never: Mask, edge: float) -> Mask:
    """The organ with the soft lumps in its surface that it mostly encloses: tumours whose rim has broken open."""
    dent = closed(organ, _DENT_MM, edge) & ~organ & ~never & (even > _BILE_HU)
    parts, _ = ndimage.label(opened(dent, _LUMP_MM, edge))
    added = organ.copy()
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        wide = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in box)
        part = parts[wide] == number
        shell = ndimage.binary_dilation(part) & ~part
        if organ[wide][shell].mean() > _ENCLOSED_SHARE:
            added[wide] |= part
    return added


def _with_soft_holes(mask: Mask, never: Mask) -> Mask:
    """The mask with its holes (axial slices) filled, but for holes of fat and kidney."""
    holes = filled(mask) & ~mask
    parts, _ = ndimage.label(holes)
    lined = np.bincount(parts.ravel(), weights=never.ravel()) / np.maximum(np.bincount(parts.ravel()), 1)
    soft = lined < _FAT_SHARE
    soft[0] = False
    return np.asarray(mask | soft[parts])


def _halved(array: NDArray[np.generic]) -> Volume:
    image = sitk.GetImageFromArray(array.astype(np.float32))
    factors = [2 if n >= 4 else 1 for n in image.GetSize()]
    return np.asarray(sitk.GetArrayFromImage(sitk.BinShrink(image, factors)))


def _doubled(array: NDArray[np.generic], shape: tuple[int, ...]) -> Volume:
    """Twice the resolution by linear interpolation; `shape` is what was halved."""
    large = ndimage.zoom(
        array.astype(np.float32), [2 if n >= 4 else 1 for n in shape], order=1, grid_mode=True, mode="nearest"
    )
    missing = [(0, max(0, n - m)) for n, m in zip(shape, large.shape, strict=True)]
    return np.asarray(
        np.pad(large, missing, mode="edge")[tuple(slice(0, n) for n in shape)], dtype=np.float32
    )
