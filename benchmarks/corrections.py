"""What corrections by a person are worth, and how long they take: a person played by a rule.

The rule knows the truth and always corrects the largest wrong piece that is thicker than a skin of a voxel: by outlines
of the true sections in the three slices through its deepest place, or by one scribble of seeds through it whose reach
is the piece's own. It needs `../shared/scans/abdomen_ct`; without it there are no rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import contourpy
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from anatomy import LabelMap, Scan, agreement, segment
from anatomy.progress import Progress, silent
from anatomy.segmentation.correction import Correction, Outlines, Seed, apply
from benchmarks import Row

SCANS = Path(__file__).resolve().parents[2] / "shared" / "scans"
MOST = 4

Mask = NDArray[np.bool_]


def run(progress: Progress = silent) -> list[Row]:
    """The Dice coefficient of the liver after each correction, and the seconds it took."""
    folder = SCANS / "abdomen_ct"
    if not folder.is_dir():
        return []
    scan = Scan.read(folder / "ct.nii.gz")
    truth = LabelMap.read(folder / "labels_v1.nii.gz").matched_to(scan).mask("liver")
    progress("Correcting", 0.0)
    start = segment(scan, ["liver"])
    before = float(agreement.dice(start.mask("liver"), truth))
    rows = [Row("corrections", "native CT, liver as segmented: Dice", before, "1")]
    for kind, rule in (("outlines", outlines_by_rule), ("seeds", seeds_by_rule)):
        labels = start
        for number in range(1, MOST + 1):
            correction = rule(scan, labels.mask("liver"), truth)
            if correction is None:
                break
            began = time.perf_counter()
            labels, _ = apply(scan, labels, correction)
            seconds = time.perf_counter() - began
            overlap = float(agreement.dice(labels.mask("liver"), truth))
            what = f"native CT, liver after {number} by {kind}"
            rows.append(Row("corrections", f"{what}: Dice", overlap, "1"))
            rows.append(Row("corrections", f"{what}: time", seconds, "s"))
    progress("Correcting", 1.0)
    return rows


def outlines_by_rule(scan: Scan, found: Mask, truth: Mask, name: str = "liver") -> Correction | None:
    """Outlines of the truth in the three slices through the worst place; None where nothing is wrong."""
    worst = _worst(found, truth, np.array(scan.spacing_mm)[::-1])
    return None if worst is None else outlines_through(scan.image, truth, worst[0], name)


def outlines_through(image: sitk.Image, truth: Mask, place: NDArray[np.int64], name: str) -> Outlines:
    """Outlines of the true sections in the three slices through a voxel (z, y, x)."""
    drawn = []
    for axis in range(3):
        section = np.pad(np.take(truth, place[axis], axis), 1).astype(float)
        for line in contourpy.contour_generator(z=section).lines(0.5):
            corners = np.insert(np.asarray(line)[:-1, ::-1] - 1.0, axis, place[axis], axis=1)
            if len(corners) > 4:
                drawn.append([_at(image, corner) for corner in corners])
    return Outlines(name, outlines_mm=tuple(drawn))  # type: ignore[arg-type]


def seeds_by_rule(scan: Scan, found: Mask, truth: Mask, name: str = "liver") -> Correction | None:
    """Up to six seeds through the worst piece, reaching as far as the piece does; None where nothing is wrong."""
    spacing = np.array(scan.spacing_mm)[::-1]
    worst = _worst(found, truth, spacing)
    if worst is None:
        return None
    place, piece, depth, missing = worst
    thick = np.argwhere(piece & (depth >= 0.6 * depth[tuple(place)]))
    chosen = [place]
    while len(chosen) < 6:
        gaps = np.min([np.linalg.norm((thick - c) * spacing, axis=1) for c in chosen], axis=0)
        if gaps.max() < 6.0:
            break
        chosen.append(thick[gaps.argmax()])
    far = np.min([np.linalg.norm((np.argwhere(piece) - c) * spacing, axis=1) for c in chosen], axis=0).max()
    points = tuple(_at(scan.image, c) for c in chosen)
    return Seed(name, points_mm=points, inside=missing, reach_mm=float(np.clip(far + 3.0, 5.0, 60.0)))


def _worst(
    found: Mask, truth: Mask, spacing: NDArray[np.float64]
) -> tuple[NDArray[np.int64], Mask, NDArray[np.float64], bool] | None:
    """Deepest place (z, y, x) of the largest wrong piece, the piece, depths in mm, and whether it is missing."""
    best, worst = 0, None
    radius = 1.5 * float(spacing.max())
    measure: Callable[..., NDArray[np.float64]] = ndimage.distance_transform_edt
    for wrong, missing in ((truth & ~found, True), (found & ~truth, False)):
        depth = measure(np.pad(wrong, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
        thick = wrong & (measure(depth <= radius / 1.01, sampling=spacing) <= radius)
        if not (depth > radius / 1.01).any():
            continue
        parts, _ = ndimage.label(thick)
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        if sizes.max() > best:
            best, piece = int(sizes.max()), parts == sizes.argmax()
            place = np.array(np.unravel_index(np.where(piece, depth, 0.0).argmax(), piece.shape))
            worst = (place, piece, depth, missing)
    return worst


def _at(image: sitk.Image, zyx: NDArray[np.generic]) -> tuple[float, float, float]:
    x, y, z = image.TransformContinuousIndexToPhysicalPoint([float(v) for v in np.asarray(zyx)[::-1]])
    return x, y, z
