"""The kidneys in a CT, with or without contrast.

Protocol. A kidney is a bean of soft tissue 11 cm long (Glodny et al. 2009, BMC Urol 9:19) that lies in fat beside the
spine, its upper pole leaning inwards. The place is found by a matched filter: an ellipsoid of that size should hold
tissue and the shell around it fat, near where a kidney lies beside the spine. The values inside give the kidney's
range, whatever the phase; the region of that range near the ellipsoid (see `growing`) is the kidney. Fat of the
sinus and a wide renal pelvis stay outside. A side where no place fits, or where what was found has no kidney's size
or values, is empty: a kidney may be missing or lie in the pelvis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage, signal

from anatomy.segmentation.border import half_way
from anatomy.segmentation.ct_body import Body
from anatomy.segmentation.growing import Values, grown, values_in, without_necks
from anatomy.segmentation.morphology import (
    Mask,
    distance,
    grow,
    largest,
    opened,
    parts_above,
    shrink,
    smoothed,
)

Volume = NDArray[np.float32]

# Semi-axes of a kidney of 11 cm, mm; the hilum makes the ellipsoid that fits inside narrower than the kidney.
_SEMI_AXES_MM = (23.0, 26.0, 50.0)
_SCALES = (0.8, 1.0, 1.18)
# Where kidneys lie beside the centre of the vertebral column and in front of it, mm: middle and spread.
_ASIDE_MM, _ASIDE_SPREAD_MM = 72.0, 14.0
_FRONT_MM, _FRONT_SPREAD_MM = 14.0, 18.0
_LEAN = 0.22
_SHELL = (1.25, 1.6)
_COARSE_MM = 4.0
_LEAST_SCORE = 0.4
# Both kidneys of a patient have the same phase; what differs by more is something else in an empty bed.
_ALIKE_HU = 40.0
_BRIGHT_HU, _BRIGHT_SCORE = 130.0, 0.4
_LEAST_ML, _MOST_ML = 40.0, 550.0
_LOWEST_HU, _HIGHEST_HU = 0.0, 245.0
_FAT_HU = -15.0
_REACH_MM, _FADE_MM = 8.0, 5.0
# Urine is water; a kidney without contrast lies 10 to 30 HU above it.
_URINE_HU, _URINE_WIDTH_MM, _CORTEX_MM = 6.0, 3.0, 9.0
_LEAST_URINE_HU, _NATIVE_HU, _PELVIS_MM, _PELVIS_ML = -12.0, 60.0, 4.5, 2.0


@dataclass(frozen=True, eq=False)
class Kidney:
    """One kidney on the working grid.

    Parameters
    ----------
    mask : ndarray, shape (z, y, x), bool
        The kidney without the fat of its sinus.
    values : Values
        Its range.
    fit : float
        How well the ellipsoid fitted: tissue inside less tissue around it, 0 to 1.
    """

    mask: Mask
    values: Values
    fit: float


def find_kidneys(body: Body) -> dict[str, Kidney]:
    """Both kidneys: `left` and `right`, each only where it was found."""
    found = {}
    for side in ("left", "right"):
        kidney = _find(body, side)
        if kidney is not None:
            found[side] = kidney
    if len(found) == 2 and abs(found["left"].values.middle - found["right"].values.middle) > _ALIKE_HU:
        del found[min(found, key=lambda side: found[side].fit)]
    return found


def _find(body: Body, side: str) -> Kidney | None:
    edge = body.edge_mm
    tissue = body.trunk & ~body.lungs & (body.even > _FAT_HU)
    # With contrast a kidney outshines what touches it, and is fitted by itself.
    bright = _best_place(body, tissue & (body.even > _BRIGHT_HU) & ~opened(body.bone, 4.0, edge), side)
    plain = _best_place(body, tissue, side)
    best = bright if bright is not None and bright[0] > _BRIGHT_SCORE else plain
    if best is None:
        return None
    fit, centre, scale = best
    radius = _ellipsoid(body, centre, scale, side)
    core = (radius < 0.8) & tissue & ~body.bone & (body.even < _HIGHEST_HU + 5)
    core = shrink(core, edge, edge)
    if core.sum() * edge**3 < 1e3 * _LEAST_ML / 4:
        return None
    values = values_in(body.even, core)
    if not _LOWEST_HU < values.middle <= _HIGHEST_HU + 5:
        return None
    beyond = distance(radius < 1.0, edge)
    place = np.maximum((beyond - _REACH_MM) / _FADE_MM, 0.0).astype(np.float32)
    never = ~tissue | (body.bone & (radius > 0.9))
    mask = grown(body.even, never, core, place, values, edge)
    mask = without_necks(opened(mask, edge, edge), core, 5.0, edge)
    if mask.any():
        mask = half_way(body, mask, values.noise, body.lungs | ~body.trunk)
    mask = _without_pelvis(body, _with_holes_of_tissue(mask, tissue), values.noise, side)
    if mask[0].any() and mask[-1].any():  # too short a scan to tell a kidney by its shape
        return None
    if not _LEAST_ML <= mask.sum() * edge**3 / 1e3 <= _MOST_ML:
        return None
    return Kidney(mask, values, fit)


def _best_place(body: Body, tissue: Mask, side: str) -> tuple[float, NDArray[np.float64], float] | None:
    """The best fit: its score, centre (z, y, x) in voxels, and scale; None where none is good enough."""
    step = max(1, round(_COARSE_MM / body.edge_mm))
    image = sitk.GetImageFromArray(tissue.astype(np.float32))
    factors = [min(step, n) for n in image.GetSize()]
    coarse = sitk.GetArrayFromImage(sitk.BinShrink(image, factors))
    edge = body.edge_mm * step
    prior = _where_expected(body, coarse.shape, step, side)
    best: tuple[float, NDArray[np.float64], float] | None = None
    most = -np.inf
    for scale in _SCALES:
        score = _fit(coarse, edge, scale, side)
        place = np.unravel_index(int((score + prior).argmax()), score.shape)
        if score[place] > _LEAST_SCORE and prior[place] > -1.0 and (score + prior)[place] > most:
            most = float((score + prior)[place])
            centre = (np.array(place, dtype=np.float64) + 0.5) * step - 0.5
            best = float(score[place]), centre, scale
    return best


def _fit(tissue: Volume, edge: float, scale: float, side: str) -> Volume:
    """Tissue in the ellipsoid less tissue in the shell around it, for an ellipsoid centred on every voxel.

    What lies beyond the scan counts neither way; where over a third of the ellipsoid does, the fit is 0.
    """
    reach = [int(np.ceil(a * scale * _SHELL[1] / edge)) for a in _SEMI_AXES_MM]
    z, y, x = np.mgrid[-reach[2] : reach[2] + 1, -reach[1] : reach[1] + 1, -reach[0] : reach[0] + 1].astype(
        np.float64
    )
    radius = _normal_radius(x * edge, y * edge, z * edge, scale, side)
    score = np.zeros(tissue.shape, dtype=np.float32)
    known = np.ones_like(tissue)
    parts = []
    for kernel in (radius < 1.0, (radius > _SHELL[0]) & (radius < _SHELL[1])):
        k = kernel.astype(np.float32)[::-1, ::-1, ::-1]
        share = signal.fftconvolve(known, k, mode="same") / k.sum()
        parts.append((signal.fftconvolve(tissue, k, mode="same") / k.sum() / np.maximum(share, 0.1), share))
    (inside, seen), (around, _) = parts
    fits = seen > 0.66
    score[fits] = (inside - 0.8 * around)[fits]
    return score


def _normal_radius(x, y, z, scale: float, side: str) -> NDArray[np.float64]:  # type: ignore[no-untyped-def]
    """Distance from the ellipsoid's centre, 1 on its surface; offsets in mm. The upper pole leans to the spine."""
    inwards = -1.0 if side == "left" else 1.0
    a, b, c = (scale * axis for axis in _SEMI_AXES_MM)
    across = x - inwards * _LEAN * z
    back = y - _LEAN * z
    return np.asarray(np.sqrt((across / a) ** 2 + (back / b) ** 2 + (z / c) ** 2))


def _ellipsoid(body: Body, centre: NDArray[np.float64], scale: float, side: str) -> Volume:
    z, y, x = np.ogrid[: body.trunk.shape[0], : body.trunk.shape[1], : body.trunk.shape[2]]
    edge = body.edge_mm
    offsets = ((x - centre[2]) * edge, (y - centre[1]) * edge, (z - centre[0]) * edge)
    return np.asarray(_normal_radius(*offsets, scale, side), dtype=np.float32)


def _where_expected(body: Body, shape: tuple[int, ...], step: int, side: str) -> Volume:
    """What a place beside the spine adds to the fit: 0 where kidneys lie, less elsewhere."""
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    rows = np.minimum(((z[:, 0, 0] + 0.5) * step).astype(int), len(body.spine) - 1)
    spine = body.spine[rows]
    edge = body.edge_mm
    sign = 1.0 if side == "left" else -1.0
    aside = sign * ((x + 0.5) * step - 0.5 - spine[:, 0][:, None, None]) * edge
    front = (spine[:, 1][:, None, None] - ((y + 0.5) * step - 0.5)) * edge
    away = ((aside - _ASIDE_MM) / _ASIDE_SPREAD_MM) ** 2 + ((front - _FRONT_MM) / _FRONT_SPREAD_MM) ** 2
    return np.asarray(
        np.where(aside < 20.0, -9.0, np.where(away > 7.0, -3.0, -0.05 * away)), dtype=np.float32
    )


def _with_holes_of_tissue(mask: Mask, tissue: Mask) -> Mask:
    """The mask with the calyces and stones it encloses in axial slices, but without enclosed fat."""
    holes = np.stack([ndimage.binary_fill_holes(plane) for plane in mask]) & ~mask
    return mask | (holes & tissue)


def _without_pelvis(body: Body, mask: Mask, noise_hu: float, side: str) -> Mask:
    """The mask without a wide renal pelvis, whose urine is hardly darker than a kidney without contrast.

    Urine differs by less than the noise of a voxel, so means over a Gaussian are compared with the parenchyma's value
    under the surface. Only what lies on the spine's side of the kidney's middle is taken away: dark parts elsewhere
    are cysts.
    """
    edge = body.edge_mm
    if not mask.any():
        return mask
    depth = distance(~mask, edge)
    parenchyma = float(np.median(body.even[mask & (depth > edge) & (depth < _CORTEX_MM)]))
    if parenchyma > _NATIVE_HU:
        return mask
    # Voxels shared with fat are darker too and count for nothing.
    pure = mask & (body.even > _LEAST_URINE_HU)
    weight = smoothed(pure, _URINE_WIDTH_MM, edge)
    mean = smoothed(np.where(pure, body.even, 0.0), _URINE_WIDTH_MM, edge) / np.maximum(weight, 1e-3)
    x = np.arange(mask.shape[2])
    middle = float(np.nonzero(mask)[2].mean())
    towards_spine = (x < middle) if side == "left" else (x > middle)
    dark = mask & (mean < parenchyma - max(_URINE_HU, noise_hu)) & towards_spine
    pelvis = parts_above(opened(dark & pure, _PELVIS_MM, edge), _PELVIS_ML, edge)
    if not pelvis.any():
        return mask
    rim = grow(pelvis, 2.0 * edge, edge) & dark
    kept = largest(opened(mask & ~pelvis & ~rim, edge, edge))
    return kept if kept.sum() > 0.5 * mask.sum() else mask
