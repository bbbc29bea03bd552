"""Duodenum, colon with haustra, loops of jejunum, and the mesentery's vessels between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sample_scans.shapes import Field, carve, largest_piece, smooth_max, spline
from sample_scans.torso import Body

SOLID = ("liver", "gallbladder", "spleen", "stomach", "pancreas", "kidney_whole_right", "kidney_whole_left")
TRUNKS = ("aorta", "inferior_vena_cava", "portal_vein_and_splenic_vein")


def build_duodenum(body: Body) -> None:
    """Bulb, descending part beside the pancreatic head, third part between aorta and mesenteric artery."""
    line = spline([[-22, -50, 122, 11], [-35, -46, 124, 12.5], [-46, -34, 114, 12], [-47, -24, 94, 12],
                   [-45, -20, 74, 12],
                   [-32, -22, 60, 11.5], [-8, -27, 58, 9.5], [14, -28, 61, 9.5], [30, -28, 72, 11],
                   [34, -32, 90, 11]], 44)  # fmt: skip
    duodenum = body.frame.tube(line[:, :3], line[:, 3]) + 1.0 * body.n14
    duodenum = smooth_max(duodenum, body["room"] + np.float32(3.0), 3.0)
    body["duodenum"] = largest_piece(_make_room(body, duodenum, (*SOLID, *TRUNKS), 1.2))


def _make_room(body: Body, field: Field, names: tuple[str, ...], gap: float) -> Field:
    for name in names:
        field = carve(field, body[name], gap, 2.0)
    return field


def build_colon(body: Body) -> None:
    """Ascending, transverse and descending colon; the haustra are a rhythm in the calibre."""
    rng = body.rng
    hang = float(rng.uniform(-8.0, 12.0))
    wide = float(rng.uniform(0.9, 1.1))
    line = spline([[-100, 2, -30, 24], [-103, 4, 10, 23], [-101, 2, 38, 21], [-92, -22, 58, 19], [-78, -56, 56, 18],
                   [-50, -78, 50 - hang, 18], [-10, -84, 42 - hang, 17], [30, -82, 48 - hang, 17],
                   [66, -74, 74, 17], [90, -58, 112, 18], [97, -46, 146, 18], [106, -22, 140, 16],
                   [109, 2, 118, 14], [110, 16, 84, 12.5],
                   [106, 26, 50, 12], [106, 22, -30, 12]], 220)  # fmt: skip
    run = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(line[:, :3], axis=0), axis=1))]
    line[:, 3] *= wide * (1.0 - 0.26 * np.abs(np.sin(np.pi * run / 30.0 + rng.uniform(0, 3))) ** 10)
    colon = body.frame.tube(line[:, :3], line[:, 3]) + 1.8 * body.n30 + 0.9 * body.n14
    colon = smooth_max(colon, body["room"] + np.float32(4.0), 4.0)
    colon = _make_room(body, colon, (*SOLID, *TRUNKS, "duodenum"), 1.8)
    body["colon"] = largest_piece(colon, 0.05)
    body.lines["colon"] = line
    body["colon_inside"] = body["colon"] + np.float32(2.6)


def build_loops(body: Body) -> None:
    """Loops of small bowel in the lower left of the scan: short bent tubes that press on each other."""
    f, rng = body.frame, body.rng
    first = np.full(f.shape, 60.0, dtype=np.float32)
    second = first.copy()
    taken: list[NDArray[np.float64]] = []
    for _ in range(1500):
        if len(taken) >= 46:
            break
        centre = np.array([rng.uniform(-66.0, 96.0), rng.uniform(-86.0, 2.0), rng.uniform(-25.0, 128.0)])
        if centre[0] < 20.0 and centre[2] > 75.0:
            continue
        if any(np.linalg.norm((centre - t) / [1.0, 1.0, 1.1]) < 25.0 for t in taken):
            continue
        taken.append(centre)
        way = rng.normal(size=3) * [1.0, 0.8, 0.7]
        way /= np.linalg.norm(way)
        side = np.cross(way, rng.normal(size=3))
        side /= np.linalg.norm(side)
        reach = rng.uniform(15.0, 26.0)
        line = spline(
            [centre - reach * way + 9 * side, centre - 4 * side, centre + reach * way + 9 * side], 7
        )
        loop = f.tube(line, rng.uniform(10.5, 13.5))
        second = np.minimum(second, np.maximum(first, loop))
        first = np.minimum(first, loop)
    loops = np.maximum(first, 0.5 * (first - second)) + 0.7 * body.n14
    loops = smooth_max(loops, body["room"] + np.float32(5.0), 4.0)
    body["small_bowel"] = _make_room(body, loops, (*SOLID, *TRUNKS, "duodenum", "colon"), 1.6)


def mesenteric_twigs(body: Body) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Branches (points (n, 3), radii (n,)) fanning from the mesenteric trunk and through the omentum, standard body."""
    rng = body.rng
    twigs = []
    for _ in range(110):
        z = rng.uniform(-15.0, 80.0)
        start = np.array([rng.uniform(-6.0, 10.0), rng.uniform(-40.0, -30.0), z])
        end = np.array([rng.uniform(-75.0, 90.0), rng.uniform(-88.0, -10.0), z + rng.uniform(-28.0, 18.0)])
        middle = 0.5 * (start + end) + rng.normal(0.0, 8.0, 3)
        line = spline([start, middle, end], 12)
        twigs.append((line, np.linspace(rng.uniform(1.1, 1.9), 0.7, 12)))
    for _ in range(60):
        centre = np.array([rng.uniform(-70.0, 95.0), rng.uniform(-97.0, -80.0), rng.uniform(10.0, 130.0)])
        line = spline(
            [centre, centre + rng.normal(0, 9, 3) * [1, 0.3, 1], centre + rng.normal(0, 16, 3) * [1, 0.3, 1]],
            8,
        )
        twigs.append((line, np.linspace(1.1, 0.6, 8)))
    return twigs
