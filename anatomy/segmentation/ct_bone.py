"""Bone in a CT, cortex and marrow together, with the confidence measured on its surface.

Dense parts of the body, limbs beside the trunk included, are bone where they lie (around the spine, in the wall of
the chest, in a limb, or large) and are brightest at their rim: bone has a cortex, while vessels, kidneys and bowel
full of contrast are brightest inside or even throughout. The marrow of a young spine is denser than soft tissue, that
of an old hip is fat: so marrow is what the cortex encloses, in slices and along rays in all directions. Slices are
closed one by one and never across, so that the discs between vertebrae, open in front, stay out. The spinal canal is
enclosed too; it is left out by its place right behind the vertebral body and its softness.

The border lies half-way up the cortex (full width at half maximum; Prevrhal et al. 1999, Phys Med Biol 44:751), and
never above 150 HU, as the thin cortex of a rib or a vertebra shows less than half its height at such voxels.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from anatomy.segmentation.ct_body import Body
from anatomy.segmentation.morphology import Mask, grow, shrink

# What is denser may be bone; in the costal cartilages in front, which reach 150 HU, only what is denser still.
_DENSE_HU, _FRONT_HU, _FRONT_MM = 130.0, 180.0, 60.0
# A part of bone: what it reaches at least, its least volume, and the volume from which it may lie anywhere.
_PEAK_HU, _LEAST_MM3, _LARGE_MM3 = 200.0, 100.0, 5000.0
_BESIDE_SPINE_MM, _BESIDE_WALL_MM = 50.0, 6.0
# Voxels that bone shares with soft tissue: within so many voxels, above half the cortex (at most the higher value).
_RIM, _SHARED_HU, _CORTEX_HU = 1.5, 110.0, 300.0
_SOFT_HU = 40.0
# Pieces without a brighter rim: least volume, standard deviation inside, how much brighter the rim of bone is and for
# what share, and above what no contrast is taken for granted.
_PIECE_ML, _EVEN_HU, _BRIGHTER_HU, _BRIGHT_SHARE, _CONTRAST_HU = 1.0, 30.0, 40.0, 0.35, 600.0
# Marrow: gaps of the cortex closed within a slice, areas filled, and how many of 26 rays must meet bone how near.
_GAP_MM, _HOLE_MM2, _ENCLOSED_MM2 = 3.0, 1500.0, 3000.0
_RAYS, _REACH_MM = 24, 45.0
# The sacrum's cortex is thin and its foramina let rays through: three quarters of them are enough there.
_SACRAL_RAYS, _SACRUM_ASIDE_MM, _SACRUM_FRONT_MM = 20, 60.0, 20.0
# Marrow and disc against the canal's contents (20 to 40 HU).
_CANAL_HU, _CANAL_MM2, _CANAL_ASIDE_MM = 70.0, 900.0, 16.0
# Metal on the working grid, and how far its streaks spoil a border.
_METAL_HU, _STREAK_MM = 2000.0, 20.0
# A border is clear when the values beside it differ by more than these and what noise alone makes of them: the
# extremes of 27 neighbours lie two standard deviations either way.
_STEP_HU, _NOISE_STEPS = 100.0, 4.0
# Skin and fat are thicker than this and lie between bone and air, unless the field of view ends there.
_UNCOVERED_MM, _UNCOVERED_ML, _AIR_HU = 5.0, 0.2, -800.0
_SPOILT_SHARE, _THICK_MM, _UNSURE = 0.01, 4.0, 0.5


@dataclass(frozen=True, eq=False)
class WholeBone:
    """Bone with its marrow and how far it can be trusted.

    Parameters
    ----------
    mask : ndarray, shape (z, y, x), bool
        On the working grid.
    confidence : float
        Share of the bone's surface, 0 to 1, at which values fall outwards by 100 HU more than noise would make them
        and no metal is near.
    warnings : tuple of str
        What a person should know: metal, a field of view that cuts bone off, thick slices, contrast.
    """

    mask: Mask
    confidence: float
    warnings: tuple[str, ...]


def find_whole_bone(body: Body, vessels: Mask, thickest_mm: float = 0.0) -> WholeBone:
    """Bone with its marrow on the working grid.

    Parameters
    ----------
    body : Body
        The scan on the working grid.
    vessels : ndarray, shape (z, y, x), bool
        Great vessels, which may be as dense as bone and touch it with a calcified wall.
    thickest_mm : float
        Largest voxel edge of the scan itself, mm; thick slices are warned of.
    """
    edge = body.edge_mm
    place = (body.trunk | body.limbs) & ~body.lungs
    if vessels.any():
        place &= ~grow(vessels, 2.0 * edge, edge)
    dense, contrast_ml = _dense_bone(body, place)
    whole = _with_marrow(body, dense)
    whole &= place & ~_canal(body, dense, whole)
    whole = _border_at_half_height(body, whole)
    return WholeBone(whole, *_trust(body, whole, contrast_ml, thickest_mm))


def _dense_bone(body: Body, place: Mask) -> tuple[Mask, float]:
    """Cortex and dense marrow, and the volume left out as contrast, ml."""
    hu, edge = body.hu, body.edge_mm
    rows = np.arange(hu.shape[1])[None, :, None]
    in_front = (body.spine[:, 1][:, None, None] - rows) * edge > _FRONT_MM
    dense = (hu > np.where(in_front, _FRONT_HU, _DENSE_HU)) & place
    contrast = _rimless(body, dense)
    dense &= ~contrast
    bony = grow(body.chest_wall, _BESIDE_WALL_MM, edge) | body.limbs | body.near_spine(_BESIDE_SPINE_MM)
    parts, count = ndimage.label(dense)
    volume = np.bincount(parts.ravel(), minlength=count + 1) * edge**3
    peak = np.atleast_1d(ndimage.maximum(hu, parts, np.arange(count + 1)))
    placed = np.bincount(parts[bony], minlength=count + 1) > 0
    keep = (((volume > _LEAST_MM3) & placed) | (volume > _LARGE_MM3)) & (peak > _PEAK_HU)
    keep[0] = False
    dense = keep[parts]
    near = grow(dense, _RIM * edge, edge) & place & ~dense & ~contrast
    top = ndimage.maximum_filter(np.where(dense, hu, -1000.0), 3)
    shared = near & (hu > np.minimum(0.5 * (top + _SOFT_HU), _SHARED_HU))
    return dense | shared, float(contrast.sum()) * edge**3 / 1000.0


def _rimless(body: Body, dense: Mask) -> Mask:
    """Pieces as thick as a vessel or an organ, even inside, and not brighter at their rim: full of contrast.

    Pieces are even tissue a voxel below the surface: a cortex is uneven, so that a vessel which touches bone is a
    piece of its own.
    """
    hu, edge = body.hu, body.edge_mm
    below = shrink(dense, edge, edge)
    pieces, count = ndimage.label(below & (_spread(hu) < max(_EVEN_HU, 1.5 * _noise(body))))
    found = np.zeros_like(dense)
    volume = np.bincount(pieces.ravel(), minlength=count + 1) * edge**3 / 1000.0
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        if volume[number] < _PIECE_ML:
            continue
        wide = tuple(slice(max(0, s.start - 4), s.stop + 4) for s in box)
        inside = pieces[wide] == number
        around = grow(inside, 3.0 * edge, edge) & dense[wide]
        middle = float(np.median(hu[wide][inside]))
        top = ndimage.maximum_filter(np.where(dense[wide], hu[wide], -1000.0), 3)
        rim = around & ~below[wide]
        bright = (top[rim] > middle + _BRIGHTER_HU).mean() if rim.any() else 1.0
        if bright <= _BRIGHT_SHARE and middle < _CONTRAST_HU:
            found[wide] |= around & (hu[wide] < middle + _BRIGHTER_HU)
    return found


def _spread(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """Standard deviation of 27 neighbours, HU."""
    mean = ndimage.uniform_filter(hu, 3)
    return np.sqrt(np.maximum(ndimage.uniform_filter(hu * hu, 3) - mean * mean, 0.0))


def _with_marrow(body: Body, dense: Mask) -> Mask:
    """Dense bone with what it encloses in axial slices, in both kinds of longitudinal ones, or along rays."""
    edge = body.edge_mm
    axial, coronal, sagittal = (_enclosed_in_slices(dense, axis, edge) for axis in range(3))
    whole = dense | axial | (coronal & sagittal)
    needed = np.where(_sacral(body), _SACRAL_RAYS, _RAYS)
    return whole | (_rays_that_meet(whole, edge) >= needed)


def _sacral(body: Body) -> Mask:
    """Where the sacrum lies: around the spine's line and behind it, below the iliac crests."""
    z, y, x = np.ogrid[: body.hu.shape[0], : body.hu.shape[1], : body.hu.shape[2]]
    aside = np.abs(x - body.spine[:, 0][:, None, None]) * body.edge_mm
    front = (body.spine[:, 1][:, None, None] - y) * body.edge_mm
    below = z < (body.iliac_crest or 0)
    return np.asarray(below & (aside < _SACRUM_ASIDE_MM) & (front < _SACRUM_FRONT_MM))


def _enclosed_in_slices(bone: Mask, axis: int, edge: float) -> Mask:
    """What bone encloses within each slice across an axis, small gaps of its outline closed."""
    found = np.zeros_like(bone)
    radius = max(1, round(_GAP_MM / edge))
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disc = y**2 + x**2 <= radius**2 + 0.5
    for plane, into in zip(np.moveaxis(bone, axis, 0), np.moveaxis(found, axis, 0), strict=True):
        if not plane.any():
            continue
        wide = np.pad(plane, radius + 1)
        shut = ndimage.binary_closing(wide, disc) | wide
        inside = ndimage.binary_fill_holes(shut)
        holes = _small_parts(ndimage.binary_fill_holes(wide) & ~wide, _HOLE_MM2 / edge**2)
        # Of what closing adds only that is marrow which borders on an enclosed hole.
        parts, count = ndimage.label(inside & ~wide)
        small = np.bincount(parts.ravel(), minlength=count + 1) < _ENCLOSED_MM2 / edge**2
        open_before = np.zeros(count + 1, dtype=bool)
        open_before[np.unique(parts[inside & ~shut])] = True
        open_before[0] = False
        holes |= (small & open_before)[parts]
        into[:] = holes[radius + 1 : -radius - 1, radius + 1 : -radius - 1]
    return found


def _small_parts(plane: Mask, most: float) -> Mask:
    parts, _ = ndimage.label(plane)
    small = np.bincount(parts.ravel()) < most
    small[0] = False
    return np.asarray(small[parts])


def _rays_that_meet(bone: Mask, edge: float) -> NDArray[np.uint8]:
    """Of the 26 rays from each voxel to its neighbours and beyond, how many meet bone within reach."""
    hits = np.zeros(bone.shape, dtype=np.uint8)
    for step in product((-1, 0, 1), repeat=3):
        if step == (0, 0, 0):
            continue
        to = tuple(slice(max(0, -d), n - max(0, d)) for d, n in zip(step, bone.shape, strict=True))
        ahead = tuple(slice(max(0, d), n - max(0, -d)) for d, n in zip(step, bone.shape, strict=True))
        seen = bone.copy()
        for _ in range(int(_REACH_MM / edge / np.linalg.norm(step))):
            further = bone.copy()
            further[to] |= seen[ahead]
            seen = further
        hits += seen
    return hits


def _canal(body: Body, bone: Mask, shut: Mask) -> Mask:
    """The contents of the vertebral canal: soft holes in axial slices right behind the vertebral bodies."""
    edge = body.edge_mm
    canal = np.zeros_like(shut)
    soft = body.even < _CANAL_HU
    for z, plane in enumerate(shut):
        holes, count = ndimage.label(ndimage.binary_fill_holes(plane) & soft[z] & ~bone[z])
        if count == 0:
            continue
        numbers = np.arange(1, count + 1)
        area = np.bincount(holes.ravel(), minlength=count + 1)[1:] * edge**2
        centre = np.atleast_2d(ndimage.center_of_mass(holes > 0, holes, numbers))
        aside = np.abs(centre[:, 1] - body.spine[z, 0]) * edge
        behind = (centre[:, 0] - body.spine[z, 1]) * edge
        right_place = (aside < _CANAL_ASIDE_MM) & (behind > 4.0) & (behind < 45.0)
        canal[z] = np.isin(holes, numbers[right_place & (area > 60.0) & (area < _CANAL_MM2)])
    return canal


def _border_at_half_height(body: Body, whole: Mask) -> Mask:
    """The mask without those voxels of its surface that hold less than half the cortex beside them."""
    surface = whole & ~shrink(whole, body.edge_mm, body.edge_mm)
    cortex = ndimage.maximum_filter(np.where(whole, body.hu, -1000.0), 3)
    return whole & ~(surface & (body.hu < 0.5 * np.minimum(cortex, _CORTEX_HU)))


def _trust(body: Body, whole: Mask, contrast_ml: float, thickest_mm: float) -> tuple[float, tuple[str, ...]]:
    """Confidence and warnings."""
    if not whole.any():
        return 0.0, ()
    hu, edge = body.hu, body.edge_mm
    metal = hu > _METAL_HU
    spoilt = grow(metal, _STREAK_MM, edge) & whole
    inside = ndimage.maximum_filter(np.where(whole, hu, -1000.0), 3)
    outside = ndimage.minimum_filter(np.where(whole, 3000.0, hu), 3)
    surface = whole & ~shrink(whole, edge, edge)
    step = _STEP_HU + _NOISE_STEPS * _noise(body)
    clear = surface & (inside - outside > step) & ~spoilt
    confidence = float(clear.sum() / max(1, surface.sum()))
    warnings = []
    share = float(spoilt.sum() / whole.sum())
    if share > _SPOILT_SHARE:
        warnings.append(
            f"{100 * share:.0f} % of the bone lies within {_STREAK_MM:.0f} mm of metal: "
            "streaks may count as bone there, and metal does"
        )
    if _cut_off(body, whole):
        warnings.append("bone reaches the side of the scan: the field of view cuts part of it off")
    if thickest_mm > _THICK_MM:
        warnings.append(
            f"slices {thickest_mm:g} mm apart: thin bone (ribs, processes) is lost or shown too thick"
        )
    if contrast_ml > _PIECE_ML:
        warnings.append(
            f"{contrast_ml:.0f} ml as dense as bone but without a cortex were left out as contrast "
            "(vessels, kidneys, bowel): look where they touch bone"
        )
    if confidence < _UNSURE:
        warnings.append(f"the bone is uncertain (confidence {confidence:.2f}): look at its border")
    return confidence, tuple(warnings)


def _noise(body: Body) -> float:
    """Standard deviation of soft tissue against its neighbourhood on the working grid, HU."""
    soft = body.trunk & (body.even > 0.0) & (body.even < 100.0)
    if not soft.any():
        return 0.0
    rest = (body.hu - ndimage.uniform_filter(body.hu, 3))[soft]
    # 1.4826 makes the median absolute deviation a standard deviation (Rousseeuw & Croux 1993, JASA 88:1273).
    return 1.4826 * float(np.median(np.abs(rest - np.median(rest))))


def _cut_off(body: Body, bone: Mask) -> bool:
    """Bone at the side of the image, or bare in the air where a round field of view ends."""
    if bone[:, [0, -1]].any() or bone[:, :, [0, -1]].any():
        return True
    edge = body.edge_mm
    beyond = (body.hu < _AIR_HU) & ~body.trunk & ~body.limbs
    bare = bone & grow(beyond, max(_UNCOVERED_MM, 1.5 * edge), edge)
    return float(bare.sum()) * edge**3 / 1000.0 > _UNCOVERED_ML
