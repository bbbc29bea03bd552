"""The aorta and the inferior vena cava in a CT, with or without contrast, from below the lungs' roots to where they
divide.

Both run along the front of the spine, the aorta left of the middle, the cava right of it and further forwards the
higher up. Each is followed as a chain of discs (see `tube`) with the place beside and in front of the vertebral
bodies as prior; bone counts as fat, so that the vertebra behind makes an edge too. The region of the vessel's own
values within the chain of discs is the vessel (see `growing`). Where no disc stands out from what surrounds it, the
vessel ends; where the cava cannot be told from the liver beside it, it is not given at all rather than guessed. The
ascending aorta and the arch are not followed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from anatomy.segmentation.border import half_way
from anatomy.segmentation.ct_body import Body
from anatomy.segmentation.growing import Values, grown, values_in
from anatomy.segmentation.morphology import Mask, distance, grow, largest, shrink
from anatomy.segmentation.tube import best_chain, disc_scores

# Radii met: abdominal aorta 7 to 15 mm, beyond that an aneurysm; cava 6 to 16 mm, flat when the patient is dry.
_RADII_MM = {"aorta": (7.0, 9.0, 11.0, 13.0, 15.5), "cava": (6.0, 8.0, 10.0, 12.0, 14.5)}
# Centre beside the spine's (left is positive) and in front of the vertebral body's front edge: middle, spread, mm.
_ASIDE_MM = {"aorta": (13.0, 12.0), "cava": (-22.0, 11.0)}
_FRONT_MM = {"aorta": (13.0, 9.0), "cava": (20.0, 13.0)}
_WINDOW_MM = (75.0, 15.0, 95.0)
_STEP_HU, _FAT_HU = 45.0, -100.0
_MOVE_COST = 0.04
# The front edge of a vertebral body lies so far before the column's centre, mm: usual, least and most. The centre may
# lie in the arch, whose bone is thicker than an old vertebral body's cortex.
_HALF_BODY_MM, _LEAST_FRONT_MM, _MOST_FRONT_MM = 17.0, 8.0, 60.0
_STRIP_MM = 10.0
# The aorta divides at the iliac crests' level (L4), the cava one vertebra lower.
_BELOW_CREST_MM = {"aorta": 5.0, "cava": 18.0}
_LEAST_SCORE, _LEAST_LENGTH_MM = 0.22, 25.0
_REACH_MM, _FADE_MM = 2.5, 1.0
# The share of a disc's rim, a ring so far outside it, that may have the disc's own value.
_RIM_MM = (2.0, 5.0)
_ALIKE_HU, _MOST_ALIKE = 12.0, 0.25


@dataclass(frozen=True, eq=False)
class GreatVessel:
    """One vessel on the working grid.

    Parameters
    ----------
    mask : ndarray, shape (z, y, x), bool
        The vessel.
    values : Values
        Its range.
    score : float
        How clearly its discs stand out of what surrounds them, 0 to 1.
    """

    mask: Mask
    values: Values
    score: float


def find_aorta(body: Body) -> GreatVessel | None:
    """The descending aorta; None where none is seen."""
    return _follow(body, "aorta", np.zeros_like(body.trunk))


def find_cava(body: Body, others: Mask) -> GreatVessel | None:
    """The inferior vena cava; None where none is seen. `others` (the aorta) it cannot be."""
    return _follow(body, "cava", others)


def _follow(body: Body, kind: str, others: Mask) -> GreatVessel | None:
    edge = body.edge_mm
    window, prior = _window(body, kind)
    hidden = body.bone | others | body.lungs
    image = np.where(hidden, _FAT_HU, np.clip(body.even, _FAT_HU, 250.0))[window].astype(np.float32)
    radii = np.array(_RADII_MM[kind]) / edge
    scores = disc_scores(image, radii, _STEP_HU, 1.5 / edge + 0.25)
    chain = best_chain(scores + prior[..., None], _MOVE_COST)
    rows = np.arange(len(chain))
    seen = scores[rows, chain[:, 0], chain[:, 1], chain[:, 2]]
    clear = ndimage.gaussian_filter1d(seen, 8.0 / edge, mode="nearest") > _LEAST_SCORE
    if kind == "cava":
        clear &= _tells_itself(body, window, chain, radii)
    runs, count = ndimage.label(clear)
    if count == 0:
        return None
    # One chain: from the first clear slice to the last.
    lengths = np.bincount(runs)[1:] * edge
    keep = np.flatnonzero(lengths >= _LEAST_LENGTH_MM) + 1
    if keep.size == 0:
        return None
    first, last = np.flatnonzero(np.isin(runs, keep))[[0, -1]]
    if body.iliac_crest is not None:
        first = max(first, body.iliac_crest - round(_BELOW_CREST_MM[kind] / edge))
    if (last - first) * edge < _LEAST_LENGTH_MM:
        return None
    discs = _discs(body, window, chain, radii, int(first), int(last))
    return _region(body, discs, hidden, float(np.clip(np.median(seen[first : last + 1]), 0.0, 1.0)))


def _tells_itself(
    body: Body, window: tuple[slice, slice, slice], chain: NDArray[np.int64], radii: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Slices where the disc is a vessel of its own.

    Where the cava is as bright as the liver, the caudate lobe beside it makes the better disc: it is as large as the
    discs get, and liver of the same value goes on behind a part of its rim.
    """
    edge = body.edge_mm
    alike = np.zeros(len(chain))
    y, x = np.ogrid[: body.trunk.shape[1], : body.trunk.shape[2]]
    for z, (row, column, number) in enumerate(chain):
        away = np.hypot(y - row - window[1].start, x - column - window[2].start) * edge
        radius = radii[number] * edge
        inside = body.even[z][away < radius - 2.0]
        rim = body.even[z][(away > radius + _RIM_MM[0]) & (away < radius + _RIM_MM[1])]
        alike[z] = float((np.abs(rim - np.median(inside)) < _ALIKE_HU).mean()) if rim.size else 1.0
    width = 8.0 / edge
    largest_disc = ndimage.gaussian_filter1d(
        (chain[:, 2] == len(radii) - 1).astype(float), width, mode="nearest"
    )
    apart = ndimage.gaussian_filter1d(alike, width, mode="nearest") < _MOST_ALIKE
    return np.asarray(apart & (largest_disc < 0.5))


def _window(body: Body, kind: str) -> tuple[tuple[slice, slice, slice], NDArray[np.float32]]:
    """The column around the spine, and what a place there adds to a disc's score."""
    edge = body.edge_mm
    side, behind, ahead = (w / edge for w in _WINDOW_MM)
    x0, x1 = body.spine[:, 0].min() - side, body.spine[:, 0].max() + side
    front = _vertebral_front(body)
    y0, y1 = front.min() - ahead, front.max() + behind
    _, ny, nx = body.trunk.shape
    rows = slice(max(0, int(y0)), min(ny, int(y1) + 1))
    columns = slice(max(0, int(x0)), min(nx, int(x1) + 1))
    y = np.arange(rows.start, rows.stop)[None, :, None]
    x = np.arange(columns.start, columns.stop)[None, None, :]
    aside = (x - body.spine[:, 0][:, None, None]) * edge
    ahead_mm = (front[:, None, None] - y) * edge
    (a, sa), (f, sf) = _ASIDE_MM[kind], _FRONT_MM[kind]
    away = ((aside - a) / sa) ** 2 + ((ahead_mm - f) / sf) ** 2
    return (slice(0, len(body.trunk)), rows, columns), np.maximum(-0.1 * away, -3.0).astype(np.float32)


def _vertebral_front(body: Body) -> NDArray[np.float64]:
    """Row of the vertebral bodies' front edge in every slice, smoothed; voxels.

    Only bone counts, which has a cortex: vessels full of contrast are as dense. Slices through a disc, which show
    none, take the edge of their neighbours.
    """
    edge = body.edge_mm
    front = np.full(len(body.spine), np.nan)
    reach, half = int(_MOST_FRONT_MM / edge), _STRIP_MM / edge
    for z, (x, y) in enumerate(body.spine):
        columns = slice(max(0, round(x - half)), max(1, round(x + half) + 1))
        low = max(0, int(y) - reach)
        strip = ndimage.binary_fill_holes(body.bone[z])[low : int(y) + 1, columns]
        rows = np.flatnonzero(strip.mean(axis=1) > 0.5) if strip.size else np.empty(0)
        if rows.size and (y - low - rows[0]) * edge > _LEAST_FRONT_MM:
            front[z] = low + rows[0]
    every, seen = np.arange(len(front)), np.flatnonzero(np.isfinite(front))
    if seen.size == 0:
        return np.asarray(body.spine[:, 1] - _HALF_BODY_MM / edge)
    near = max(1, round(20.0 / edge))
    steady = np.array([np.median(front[seen[np.abs(seen - z) <= near]]) for z in seen])
    return np.asarray(ndimage.gaussian_filter1d(np.interp(every, seen, steady), 8.0 / edge))


def _discs(
    body: Body,
    window: tuple[slice, slice, slice],
    chain: NDArray[np.int64],
    radii: NDArray[np.float64],
    first: int,
    last: int,
) -> Mask:
    centre = ndimage.gaussian_filter1d(chain[:, :2].astype(float), 1.5, axis=0, mode="nearest")
    radius = ndimage.gaussian_filter1d(radii[chain[:, 2]], 1.5, mode="nearest")
    y, x = np.ogrid[: body.trunk.shape[1], : body.trunk.shape[2]]
    discs = np.zeros_like(body.trunk)
    for z in range(first, last + 1):
        discs[z] = (
            np.hypot(y - centre[z, 0] - window[1].start, x - centre[z, 1] - window[2].start) <= radius[z]
        )
    return discs


def _region(body: Body, discs: Mask, hidden: Mask, score: float) -> GreatVessel | None:
    edge = body.edge_mm
    core = shrink(discs, 0.4 * edge + 2.0, edge) & ~hidden
    if not core.any():
        return None
    values = values_in(body.even, core)
    levels = np.flatnonzero(discs.any(axis=(1, 2)))
    place = np.maximum((distance(discs, edge) - _REACH_MM) / _FADE_MM, 0.0) * 4.0
    place[: levels[0]] = place[levels[-1] + 1 :] = 4.0
    # Inside the discs the place speaks for the vessel, so that a calcified or unclear part stays with it.
    place -= 1.0 * (distance(~discs, edge) > edge)
    never = ~body.trunk | (hidden & ~discs) | (body.even < -40.0)
    mask = largest(grown(body.even, never, core, place.astype(np.float32), values, edge))
    if not mask.any():
        return None
    mask = half_way(body, mask, values.noise, hidden | ~grow(discs, _REACH_MM + edge, edge))
    return GreatVessel(mask, values, score)
