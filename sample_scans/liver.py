"""Liver, gallbladder and the places in them: hilum, fissures, groove of the cava, tumours' sites.

The liver fills the space under the right dome of the diaphragm; its visceral face is a sloping surface that rises
from the inferior edge on the right to the left lobe, hollowed by kidney, gallbladder, fissure of the ligamentum
teres and cava, with the caudate lobe behind. Its volume is set by moving that face: 1493 (SD 230) ml in healthy
adults by CT (Henderson et al. 1981, Radiology 141:525), here kept within 1.15 to 1.75 l.
"""

# ruff: noqa: RUF005 - `array + [x, y, z]` is a shift in millimetres here, not a list joined to a list
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sample_scans.frame import Frame
from sample_scans.shapes import Field, carve, largest_piece, smooth_max, smooth_min, spline
from sample_scans.torso import Body


def visceral_height(x, y):  # type: ignore[no-untyped-def]
    """Height of the visceral face over (x, y) in the standard body before the volume is set, mm."""
    across = np.clip(np.asarray(x, dtype=np.float64) + 120.0, -30.0, None)
    return 58.0 + 122.0 * (1.0 - np.exp(-across / 105.0)) + 0.24 * (np.asarray(y) + 60.0)


def build_liver(body: Body) -> None:
    """Liver, gallbladder, and the hilum that the portal vein enters."""
    f, rng = body.frame, body.rng
    target = float(np.clip(rng.normal(1430.0, 160.0), 1160.0, 1740.0))
    shape = {
        "tip": float(rng.uniform(58.0, 84.0)),
        "teres": float(rng.uniform(-2.0, 8.0)),
        "riedel": float(rng.uniform(0.0, 1.0)),
        "bend": float(rng.uniform(0.85, 1.15)),
    }
    envelope = smooth_max(body["room"] + np.float32(3.2), np.float32(3.4) - body["thorax_side"], 9.0)
    face = _visceral_field(body, shape)
    limits = _limits(body, shape)
    taken = np.minimum(body["kidney_right"] - np.float32(3.5), body["crura"] - np.float32(1.5))
    taken = np.minimum(taken, body["inferior_vena_cava"] - np.float32(0.3))
    taken = np.minimum(taken, body["pancreas_bed"] - np.float32(2.0))
    caudate = f.ellipsoid([-9.0, -9.0, 172.0], [16.0, 12.0, 27.0])
    shift = _fit_volume(body, envelope, face, limits, taken, caudate, target)
    body.facts["liver_volume_target_ml"] = round(target, 1)
    body.facts["teres_x"] = shape["teres"]
    body.lines["hilum"] = np.array([-27.0, -26.0, visceral_height(-27.0, -26.0) + shift + 13.0])
    _gallbladder(body, shift)
    liver = _assemble(envelope, face + np.float32(shift), limits, taken, caudate)
    liver = carve(liver, _fissures(body, shape, shift), 0.0, 2.0)
    liver = carve(liver, body["gallbladder"], 0.4, 1.5)
    body["liver"] = largest_piece(liver)
    body["gallbladder"] = largest_piece(carve(body["gallbladder"], body["liver"], 0.2))


def _visceral_field(body: Body, shape: dict[str, float]) -> Field:
    x, y, z = body.coords
    across = np.clip(x + np.float32(120.0), -30.0, None)
    curve = np.exp(-across / np.float32(105.0))
    gradient = np.float32(122.0 / 105.0) * curve
    top = 58.0 + 122.0 * (1.0 - curve) + 0.24 * (y + 60.0)
    top = top - np.float32(10.0 * shape["riedel"]) * np.exp(-np.square((x + 112.0) / 28.0))
    hollow = 7.0 * np.exp(-np.square((x + 30.0) / 26.0) - np.square((y + 20.0) / 30.0))
    top = top + hollow + 3.2 * body.n30 + 2.0 * body.n60
    return ((top - z) / np.sqrt(1.0 + np.square(gradient) + 0.06)).astype(np.float32)


def _limits(body: Body, shape: dict[str, float]) -> Field:
    """Left tip and posterior border of the left lobe, the round edge in front."""
    x, y, z = body.coords
    behind = 0.5 * shape["bend"] * (x + 20.0) + 0.84 * (y + 5.0)
    behind = smooth_min(behind.astype(np.float32), x + np.float32(37.0), 14.0)
    round_ = np.square(y + 58.0) / 70.0 + np.square(z - 188.0) / 110.0
    tip = (x - np.float32(shape["tip"]) + np.minimum(round_, 45.0)) * np.float32(0.8)
    return smooth_max(behind + 1.5 * body.n30, tip.astype(np.float32), 14.0)


def _assemble(envelope, face, limits, taken, caudate):  # type: ignore[no-untyped-def]
    liver = smooth_max(smooth_max(envelope, face, 6.0), limits, 7.0)
    liver = smooth_min(liver, np.maximum(caudate, envelope), 5.0)
    return smooth_max(liver, -taken, 3.0)


def _fit_volume(body, envelope, face, limits, taken, caudate, target):  # type: ignore[no-untyped-def]
    """Move the visceral face (mm, positive upwards) until the volume is met; bisection on a thinned grid."""
    thin = (
        slice(None, None, 1 if body.frame.slice_mm > 4 else 2),
        slice(None, None, 2),
        slice(None, None, 2),
    )
    parts = [a[thin] for a in (envelope, face, limits, taken, caudate)]
    cell = body.frame.step**2 * 4.0 * body.frame.slice_mm * (thin[0].step or 1) / 1000.0
    low, high = -32.0, 40.0
    for _ in range(11):
        middle = 0.5 * (low + high)
        volume = cell * np.count_nonzero(_assemble(parts[0], parts[1] + np.float32(middle), *parts[2:]) < 0.0)
        # The fissures and the gallbladder's bed take about 3 % more.
        low, high = (middle, high) if 0.97 * volume > target else (low, middle)
    return 0.5 * (low + high)


def _gallbladder(body: Body, shift: float) -> None:
    """Pear on the visceral face between right lobe and segment IV; 3 to 4 cm across, 7 to 10 cm long."""
    size = float(body.rng.uniform(0.82, 1.12))
    sway = float(body.rng.uniform(-5.0, 5.0))
    xy = np.array(
        [[-33.0, -32.0], [-39.0, -40.0], [-45.0 + sway, -54.0], [-49.0 + sway, -68.0], [-51.0 + sway, -76.0]]
    )
    z = visceral_height(xy[:, 0], xy[:, 1]) + shift + np.array([2.0, -1.0, -4.0, -6.0, -8.0])
    radius = size * np.array([3.0, 6.5, 12.0, 14.5, 12.5])
    line = spline(np.column_stack([xy, z, radius]), 20)
    body.lines["gallbladder"] = line
    field = body.frame.tube(line[:, :3], line[:, 3], (1.06, 1.0, 0.94)) + 0.5 * body.n30
    body["gallbladder"] = np.maximum(field, body["cavity"] + np.float32(5.0))


def _fissures(body: Body, shape: dict[str, float], shift: float) -> Field:
    """Fat clefts: ligamentum teres in front, ligamentum venosum before the caudate lobe, porta hepatis."""
    x, y, z = body.coords
    bottom = (visceral_height(x, y) + shift).astype(np.float32)
    wander = 2.0 * body.n30
    deep = np.clip((-30.0 - y) / 35.0, 0.0, 1.0)
    teres = np.abs(x - np.float32(shape["teres"]) + wander) - (4.2 - 0.11 * np.clip(z - bottom, 0.0, None))
    teres = smooth_max(teres, z - bottom - (13.0 + 10.0 * deep), 6.0)
    teres = np.maximum(teres, y + np.float32(30.0)) * np.float32(0.8)
    plane = (0.28 * x + y + 23.5 + wander) * np.float32(0.96)
    venosum = np.abs(plane) - np.float32(1.5)
    venosum = np.maximum(venosum, np.maximum(-18.0 - x, np.maximum(z - 196.0, bottom - 30.0 - z)))
    hilum = body.lines["hilum"]
    porta = body.frame.ellipsoid(hilum + [4.0, -1.0, -7.0], [21.0, 7.5, 9.0])
    return smooth_min(np.minimum(teres, venosum).astype(np.float32), porta, 4.0)


def stems(body: Body) -> tuple[list[NDArray[np.float64]], list[int], list[NDArray[np.float64]], list[int]]:
    """First branches that every liver has, as skeletons in the standard body: points and parents, portal then hepatic.

    Portal: main, right (anterior, posterior) and left (transverse, umbilical part). Hepatic: right, middle and left
    vein from the cava below the dome; the middle and left vein share a trunk.
    """
    hilum = body.lines["hilum"]
    jitter = lambda: body.rng.normal(0.0, 2.5, 3)  # noqa: E731
    fork = hilum + [-9.0, -1.0, 7.0]
    right = hilum + np.array([-30.0, 2.0, 11.0]) + jitter()
    teres = float(body.facts["teres_x"])  # type: ignore[arg-type]
    left = np.array([-7.0, -36.0, hilum[2] + 16.0]) + jitter()
    umbilical = np.array([teres - 1.0, -54.0, hilum[2] + 24.0])
    portal = [hilum, fork, right, right + [-22.0, -22.0, 8.0] + jitter(), right + [-24.0, 22.0, -4.0] + jitter(),
              left, umbilical]  # fmt: skip
    cava = body.lines["cava"]
    at = lambda z: np.array([np.interp(z, cava[:, 2], cava[:, i]) for i in range(3)])  # noqa: E731
    mouth = at(190.0)
    trunk = mouth + [4.0, -15.0, 0.0]
    hepatic = [mouth + [-6.0, 0.0, -1.0], mouth + [-32.0, 7.0, -3.0], mouth + [-58.0, 12.0, -32.0] + jitter(),
               mouth + [0.0, -6.0, 0.0], trunk, trunk + [-12.0, -24.0, -17.0] + jitter(),
               trunk + [20.0, -15.0, -6.0] + jitter()]  # fmt: skip
    return portal, [-1, 0, 1, 2, 2, 1, 5], hepatic, [-1, 0, 1, -1, 3, 4, 4]


def tumour_sites(body: Body, stem_points, stem_radii):  # type: ignore[no-untyped-def]
    """Where the two tumours lie, the first in the right lobe: in the liver, beside a first branch, apart.

    Returns centres (2, 3) in world mm and radii (2,) in mm. A tumour's surface is 2 to 4 mm from a first branch
    where the liver has such a place, else as near as it goes.
    """
    frame, rng = body.frame, body.rng
    radii = np.array([rng.uniform(16.0, 19.0), rng.uniform(9.0, 11.5)])
    draws = frame.to_world(rng.uniform([-130.0, -100.0, 70.0], [50.0, 65.0, 215.0], (12000, 3)))
    depth = -_distance(frame, body["liver"], draws)
    world, depth = draws[depth > 11.0], depth[depth > 11.0]
    gap = (np.linalg.norm(world[:, None] - stem_points[None], axis=2) - stem_radii[None]).min(axis=1)
    on_right = frame.to_body(world)[:, 0] < -40.0
    apart = np.ones(len(world), dtype=np.bool_)
    centres = []
    for radius, want_right in zip(radii, (True, None), strict=True):
        side = on_right if want_right else apart
        wrong = (
            np.maximum(0.9 * radius + 2.0 - depth, 0.0) * 4.0
            + np.maximum(1.12 * radius + 2.0 - gap, 0.0) * 6.0
            + np.maximum(gap - 1.12 * radius - 4.0, 0.0) * 2.0
            + np.where(side, 0.0, 1e3)
        )
        pick = int(wrong.argmin())
        centres.append(world[pick])
        apart = np.linalg.norm(world - world[pick], axis=1) > radii.sum() + 22.0
    return np.array(centres), radii


def _distance(frame: Frame, field: Field, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """A field's value at world points (n, 3)."""
    step = np.array([frame.step, frame.step, frame.slice_mm])
    return ndimage.map_coordinates(field, ((points - frame.origin) / step).T[::-1], order=1, mode="nearest")


def tumour_field(body: Body, centre, radius: float) -> Field:  # type: ignore[no-untyped-def]
    """A lobulated sphere in world coordinates, kept inside the liver."""
    frame, rng = body.frame, body.rng
    low = np.floor(
        (centre - radius * 1.6 - 4 - frame.origin) / [frame.step, frame.step, frame.slice_mm]
    ).astype(int)
    high = np.ceil(
        (centre + radius * 1.6 + 4 - frame.origin) / [frame.step, frame.step, frame.slice_mm]
    ).astype(int)
    box = tuple(slice(max(a, 0), b + 1) for a, b in zip(low[::-1], high[::-1], strict=True))
    dz, dy, dx = np.meshgrid(frame.z[box[0]] - centre[2], frame.y[box[1]] - centre[1], frame.x[box[2]] - centre[0],
                             indexing="ij")  # fmt: skip
    r = np.sqrt(dx**2 + dy**2 + dz**2) + 1e-6
    bumps = np.zeros_like(r)
    for _ in range(14):
        way = rng.normal(size=3)
        way /= np.linalg.norm(way)
        cosine = (dx * way[0] + dy * way[1] + dz * way[2]) / r
        bumps += rng.normal(0.0, 0.035) * np.cos(rng.uniform(2.0, 5.5) * np.arccos(np.clip(cosine, -1, 1)))
    out = frame.empty()
    out[box] = r - radius * (1.0 + bumps) + 0.02 * radius * body.n8[box]
    return np.maximum(out, body["liver"] + np.float32(2.0))
