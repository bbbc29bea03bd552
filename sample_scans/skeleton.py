"""Vertebrae with discs, ribs with their cartilages, and the lower sternum.

Heights and widths of the lumbar vertebrae follow Panjabi et al. 1992 (Spine 17:299), of the thoracic ones Panjabi
et al. 1991 (Spine 16:888); a bone is a cortical shell about a millimetre thick around cancellous bone. Ribs run
along the wall of the cavity, falling forwards; the costal cartilages of ribs 7 to 10 rise again to the sternum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sample_scans.shapes import Field, carve, smooth_min
from sample_scans.torso import CAVITY_POWER, Body, cavity_half_axes, spine_y

# (name, lower end-plate, height of body and disc) in standard-body mm, from below.
LEVELS = (
    ("L5", -38.0, 37.0), ("L4", -1.0, 36.5), ("L3", 35.5, 36.0), ("L2", 71.5, 35.0), ("L1", 106.5, 33.5),
    ("T12", 140.0, 31.0), ("T11", 171.0, 28.5), ("T10", 199.5, 27.0), ("T9", 226.5, 26.0), ("T8", 252.5, 25.0),
)  # fmt: skip
DISC_MM = {"L": 9.5, "T": 5.0}


def build_spine(body: Body) -> None:
    """Vertebrae, discs, spinal canal."""
    f = body.frame
    x, y, z = body.coords
    keep = (np.abs(x) < 52.0) & (y > -25.0) & (y < 112.0)
    ys, xs = np.flatnonzero(keep.any(axis=(0, 2))), np.flatnonzero(keep.any(axis=(0, 1)))
    box = (slice(None), slice(ys[0], ys[-1] + 1), slice(xs[0], xs[-1] + 1))
    lean = body.rng.uniform(-2.5, 2.5)
    u0, v0, z0 = (
        x[box] - np.float32(lean) * np.sin(z[box] / 70.0),
        y[box] - spine_y(z[box]).astype(np.float32),
        z[box],
    )
    u0 = u0.astype(np.float32)
    vertebrae = np.full(u0.shape, 60.0, np.float32)
    discs = vertebrae.copy()
    for name, low, height in LEVELS:
        disc = DISC_MM[name[0]]
        inside = np.flatnonzero((z0.max(axis=(1, 2)) > low - 22) & (z0.min(axis=(1, 2)) < low + height + 14))
        if not inside.size:
            continue
        cut = slice(inside[0], inside[-1] + 1)
        bone, cushion = _vertebra(
            u0[cut], v0[cut], z0[cut] - np.float32(low), height, disc, name[0] == "L", low
        )
        vertebrae[cut] = np.minimum(vertebrae[cut], bone)
        discs[cut] = np.minimum(discs[cut], cushion)
    canal = np.sqrt(np.square(u0 / 1.25) + np.square(v0 - 26.0)) - 8.0
    full = {"vertebrae": vertebrae + 0.35 * body.n8[box], "discs": discs, "canal": np.float32(1) * canal}
    for name, part in full.items():
        body[name] = f.empty()
        body[name][box] = part
    body["vertebrae"] = carve(body["vertebrae"], body["canal"], 0.3)
    body["discs"] = carve(carve(body["discs"], body["vertebrae"], 0.0), body["canal"], 0.3)


def _vertebra(u, v, w, height, disc, lumbar, low):  # type: ignore[no-untyped-def]
    """Field of one vertebra and of the disc under it; (u, v, w) from the body's centre line and lower edge."""
    wide = float(np.interp(low, [-40, 140, 260], [25.0, 21.5, 16.5]))
    deep = float(np.interp(low, [-40, 140, 260], [17.0, 16.0, 14.5]))
    tall = height - disc
    middle = w - np.float32(disc + 0.5 * tall)
    waist = 1.0 - 0.07 * np.clip(1.0 - np.square(middle / (0.5 * tall)), 0.0, 1.0)
    round_ = _ellipse(
        u, v + np.float32(2.2) * np.exp(-np.square(u / 7.0)) * (v > 0), wide * waist, deep * waist, 2.3
    )
    body = smooth_max_(round_, np.abs(middle) - np.float32(0.5 * tall), 3.0)
    cushion = np.maximum(round_ + 0.8, np.abs(w - np.float32(0.5 * disc)) - np.float32(0.5 * disc))
    canal = np.sqrt(np.square(u / 1.25) + np.square(v - 26.0)) - 8.0
    ring = np.maximum(canal - 5.5, np.abs(middle - 1.0) - np.float32(0.32 * height))
    ring = np.maximum(ring, 9.0 - v)
    pedicle = np.maximum(
        np.abs(np.abs(u) - 13.5) - 4.0, np.maximum(np.abs(v - 18.0) - 10.0, np.abs(middle - 5) - 6.5)
    )
    droop = 4.0 if lumbar else 18.0
    tip = 60.0 if lumbar else 52.0
    along = np.clip((v - 36.0) / (tip - 36.0), 0.0, 1.0)
    spinous = np.maximum(
        np.abs(u) - (2.6 + 1.2 * along),
        np.maximum(
            np.abs(middle + 5.0 + droop * along) - (9.0 if lumbar else 6.0), np.maximum(v - tip, 34.0 - v)
        ),
    )
    reach = 40.0 if lumbar else 30.0
    back = np.clip((np.abs(u) - 14.0) / (reach - 14.0), 0.0, 1.0) * (4.0 if lumbar else 14.0)
    transverse = np.sqrt(np.square((v - 25.0 - back) / 0.8) + np.square(middle - 5.0)) - 5.0
    transverse = np.maximum(transverse, np.maximum(np.abs(u) - reach, 11.0 - np.abs(u)))
    facet = np.sqrt(np.square(np.abs(u) - 16.5) + np.square(v - 31.0)) - 5.2
    facet = np.maximum(facet, np.abs(w - 2.0) - 12.0)
    gap = np.abs(v - 31.0 - 0.2 * (np.abs(u) - 16.5)) * 1.0
    facet = np.maximum(facet, np.where(np.abs(w - 2.0) < 10.0, 0.7 - gap, -5.0))
    arch = smooth_min(np.minimum(ring, spinous), np.minimum(transverse, pedicle), 3.0)
    bone = smooth_min(body.astype(np.float32), np.minimum(arch, facet).astype(np.float32), 2.5)
    return bone.astype(np.float32), cushion.astype(np.float32)


def _ellipse(u, v, a, b, power):  # type: ignore[no-untyped-def]
    f = (np.abs(u / a) ** power + np.abs(v / b) ** power) ** (1.0 / power)
    return (f - 1.0) * np.minimum(a, b)


def smooth_max_(a, b, k):  # type: ignore[no-untyped-def]
    """Rounded intersection for parts of a grid."""
    h = np.maximum(k - np.abs(a - b), 0.0)
    return np.maximum(a, b) + 0.25 * h * h / k


def rib_path(number: int, side: float) -> tuple[NDArray[np.float64], int]:
    """Centre line of a rib in the standard body (n, 3), mm, and the row where bone turns into cartilage."""
    head = {6: 312.0, 7: 290.0, 8: 266.0, 9: 241.0, 10: 215.0, 11: 190.0, 12: 163.0}[number]
    bone_end = {6: 2.45, 7: 2.36, 8: 2.22, 9: 2.05, 10: 1.85, 11: 1.5, 12: 0.95}[number]
    fall = {6: 105.0, 7: 118.0, 8: 122.0, 9: 120.0, 10: 112.0, 11: 92.0, 12: 60.0}[number]
    ends_at = {6: 2.98, 7: 2.98, 8: 2.80, 9: 2.55, 10: 2.25}.get(number, bone_end)
    rise = {6: 62.0, 7: 78.0, 8: 62.0, 9: 44.0, 10: 28.0}.get(number, 0.0)
    angle = np.linspace(0.30, ends_at, 70)
    bone = angle <= bone_end
    z = head + 4.0 - fall * np.clip((angle - 0.3) / (2.36 - 0.3), 0, None) ** 1.15
    z_end = float(np.interp(bone_end, angle, z))
    cartilage = np.clip((angle - bone_end) / max(ends_at - bone_end, 1e-6), 0.0, 1.0)
    z = np.where(bone, z, z_end - 6.0 * np.sin(np.pi * cartilage) + rise * cartilage**1.4)
    cy, a, front, back = cavity_half_axes(z)
    out = 5.0
    sx, sy = np.sin(angle), np.cos(angle)
    half_y = np.where(sy > 0, back, front) + out
    x = (a + out) * np.sign(sx) * np.abs(sx) ** (2 / CAVITY_POWER)
    y = cy + half_y * np.sign(sy) * np.abs(sy) ** (2 / CAVITY_POWER)
    to_spine = np.clip((0.75 - angle) / 0.45, 0.0, 1.0) ** 1.5
    x = x * (1 - to_spine) + 22.0 * to_spine
    y = y * (1 - to_spine) + (spine_y(z) + 24.0) * to_spine
    path = np.stack([side * x, y, z], axis=1)
    return path, int(bone.sum())


def build_ribs(body: Body) -> None:
    """Ribs 6 to 12 of both sides, their cartilages and the xiphoid."""
    f = body.frame
    ribs, cartilage = f.empty(), f.empty()
    for number in range(6, 13):
        for side in (-1.0, 1.0):
            path, turn = rib_path(number, side)
            path = path + np.r_[0.0, 0.0, body.rng.uniform(-3.0, 3.0)]
            seen = (path[:, 2] > -15.0) & (path[:, 2] < 285.0)
            _ribbon(body, ribs, path[: turn + 1], seen[: turn + 1], 3.3, 6.4)
            _ribbon(body, cartilage, path[turn:], seen[turn:], 3.9, 6.2)
    body["ribs"] = ribs + 0.25 * body.n14
    body["cartilage"] = carve(cartilage, ribs, 0.0)
    low = np.array([[0.0, -104.0, 183.0], [0.0, -106.0, 215.0]])
    xiphoid = f.tube(low, [4.5, 5.0], (0.75, 1.4, 1.0))
    high = np.array([[0.0, -104.0, 224.0], [0.0, -101.0, 290.0]])
    body["sternum"] = f.tube(high, [9.0, 11.0], (0.6, 1.7, 1.0))
    body["cartilage"] = carve(np.minimum(body["cartilage"], xiphoid), body["sternum"], 0.5)


def _ribbon(body: Body, into: Field, path, seen, thin, tall):  # type: ignore[no-untyped-def]
    """A flat rod: two thin tubes one above the other, rounded together."""
    rows = np.flatnonzero(seen)
    if rows.size < 2:
        return
    path = path[rows[0] : rows[-1] + 1]
    along = np.gradient(path, axis=0)
    outward = np.stack([path[:, 0], path[:, 1] + 15.0, np.zeros(len(path))], axis=1)
    up = np.cross(outward, along)
    up /= np.linalg.norm(up, axis=1, keepdims=True)
    for offset in np.linspace(-1.0, 1.0, 3):
        body.frame.tube(
            path + offset * (tall - thin) * up, thin * (1.0 - 0.12 * abs(offset)), into=into, margin=6.0
        )
