"""Kidneys, adrenals, spleen, stomach and pancreas.

Kidney length 11 cm, left longer than right (Emamian et al. 1993, AJR 160:83); spleen 219 (SD 76) ml (Henderson et
al. 1981, Radiology 141:525); pancreas: head 23, body 20, tail 15 mm thick (Kreel et al. 1973, Br J Radiol 46:598).
An organ that is built later makes room for those built before it.
"""

# ruff: noqa: RUF005 - `array + [x, y, z]` is a shift in millimetres here, not a list joined to a list
from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from sample_scans.shapes import carve, largest_piece, smooth_max, smooth_min, spline
from sample_scans.torso import Body
from sample_scans.vessels import union_of


def build_kidneys(body: Body) -> None:
    """Both kidneys, their sinus fat, pelvis, and where cortex turns into medulla."""
    f, rng = body.frame, body.rng
    for side, name in ((-1.0, "right"), (1.0, "left")):
        length = rng.uniform(51.0, 57.0) + (1.5 if side > 0 else 0.0)
        centre = np.array([side * 66.0, 24.0, 103.0 if side < 0 else 117.0]) + rng.uniform(-3.0, 3.0, 3)
        # The upper poles lean backwards and towards the spine; the hilum looks inwards and forwards.
        lean = Rotation.from_euler("zyx", [side * 28.0, side * 11.0, 17.0], degrees=True).as_matrix().T
        shell = f.ellipsoid(centre, [26.0, 30.5, length], lean)
        inward = -side * lean[0]
        hollow = f.ellipsoid(centre + 29.0 * inward, [13.0, 8.0, 16.0], lean)
        sinus = f.ellipsoid(centre + 14.0 * inward, [13.0, 10.0, 25.0], lean) + 1.8 * body.n14
        kidney = smooth_max(shell + 0.9 * body.n30, -hollow, 7.0)
        kidney = smooth_max(kidney, body["room"] + np.float32(4.0), 12.0)
        kidney = carve(kidney, body["psoas"], 2.5, 10.0)
        body["kidney_whole_" + name] = kidney
        body["kidney_" + name] = largest_piece(carve(kidney, sinus, 0.0, 2.5))
        body["sinus_" + name] = np.maximum(smooth_min(sinus, hollow + 4.0, 6.0), kidney - np.float32(2.0))
        pelvis = f.tube(
            [centre + 8.0 * inward, centre + 21.0 * inward, centre + 30.0 * inward + [0, 0, -14.0]],
            [5.0, 5.5, 2.5],
        )
        for up in (-17.0, -4.0, 11.0, 22.0):
            tip = centre + 4.0 * inward + up * lean[2] * 1.05 + rng.uniform(-4.0, 4.0) * lean[1]
            f.tube([tip, centre + 12.0 * inward + 0.3 * up * lean[2]], [3.6, 2.4], into=pelvis)
        body["kidney_pelvis_" + name] = np.maximum(pelvis + 0.5 * body.n14, sinus + 0.8)
        pyramids = np.cos(np.float32(0.30) * _along(body, centre, lean[2])) * np.cos(
            0.24 * _along(body, centre, lean[1])
        )
        depth = np.maximum(np.float32(7.0) - 2.2 * pyramids + kidney, 1.2 - sinus)
        body["medulla_" + name] = np.maximum(depth, 1.6 - 4.0 * np.abs(pyramids) + 0.8 * body.n14)
        body.lines["hilum_" + name] = centre + 25.0 * inward
        body.lines["ureter_" + name] = np.array(
            [centre + 30.0 * inward + [0, 0, -14.0], [side * 34.0, 8.0, 40.0], [side * 33.0, 4.0, -25.0]]
        )


def _along(body: Body, centre, axis):  # type: ignore[no-untyped-def]
    x, y, z = body.coords
    a = axis.astype(np.float32)
    return (
        a[0] * (x - np.float32(centre[0]))
        + a[1] * (y - np.float32(centre[1]))
        + a[2] * (z - np.float32(centre[2]))
    )


def build_adrenals(body: Body) -> None:
    """Adrenal glands: an inverted Y above and before each kidney."""
    f = body.frame
    for side, name, base in ((-1.0, "right", [-33.0, 15.0, 166.0]), (1.0, "left", [34.0, 4.0, 158.0])):
        b = np.array(base)
        gland = f.tube([b + [0, -6, 4], b, b + [side * 4, 9, -8]], [2.4, 2.6, 1.7])
        f.tube([b, b + [-side * 3, 11, -9]], [2.4, 1.6], into=gland)
        gland = carve(gland, union_of(body, ("crura", "inferior_vena_cava")), 1.0)
        body["adrenal_gland_" + name] = carve(gland, body["kidney_whole_" + name], 1.5)


def build_spleen(body: Body) -> None:
    """Spleen: under the left dome behind the stomach, hollowed by stomach and kidney."""
    f, rng = body.frame, body.rng
    target = float(np.clip(rng.normal(219.0, 45.0), 140.0, 310.0))
    centre = np.array([104.0, 34.0, 154.0]) + rng.uniform(-3.0, 3.0, 3)
    lean = Rotation.from_euler("zy", [-20.0, -14.0], degrees=True).as_matrix().T
    bulk = f.ellipsoid(centre, [33.0, 50.0, 56.0], lean, 45.0) + 1.5 * body.n30
    room = smooth_max(body["room"] + np.float32(3.4), np.float32(3.4) - body["thorax_side"], 6.0)
    hollow = f.ellipsoid(centre + [-50.0, -34.0, 4.0], [40.0, 52.0, 75.0], None, 40.0)
    cell = f.step**2 * f.slice_mm / 1000.0
    low, high = -20.0, 34.0
    for _ in range(9):
        grow = 0.5 * (low + high)
        spleen = smooth_max(bulk - np.float32(grow), room, 5.0)
        spleen = carve(carve(spleen, hollow, 0.0, 9.0), body["kidney_whole_left"], 4.0, 5.0)
        low, high = (low, grow) if cell * np.count_nonzero(spleen < 0.0) > target else (grow, high)
    body["spleen"] = largest_piece(spleen)


def build_stomach(body: Body) -> None:
    """Stomach from the fundus under the left dome to the pylorus right of the midline."""
    f, rng = body.frame, body.rng
    fill = float(rng.uniform(0.86, 1.10))
    line = spline([[30, -12, 190, 12], [52, -2, 186, 36], [62, -14, 172, 36], [67, -38, 152, 31], [54, -56, 132, 24],
                   [26, -64, 119, 20], [-4, -58, 117, 16], [-22, -50, 122, 11]], 40)  # fmt: skip
    line[:, 3] *= fill
    stomach = f.tube(line[:, :3], line[:, 3]) + 1.8 * body.n30 + 0.9 * body.n14
    stomach = smooth_max(stomach, body["room"] + np.float32(4.5), 8.0)
    stomach = smooth_max(stomach, np.float32(4.0) - body["thorax_side"], 8.0)
    stomach = carve(carve(stomach, body["liver"], 2.0, 5.0), body["spleen"], 3.0, 6.0)
    for name in ("crura", "gallbladder", "kidney_whole_left", "portal_vein_and_splenic_vein", "pancreas"):
        stomach = carve(stomach, body[name], 2.5, 3.0)
    body["stomach"] = largest_piece(stomach)
    body["stomach_inside"] = body["stomach"] + 3.6 + 0.9 * body.n8
    body.facts["stomach_level_y"] = float(rng.uniform(-62.0, -44.0))


def plan_pancreas(body: Body) -> None:
    """Where the pancreas will lie, so that the liver leaves it room."""
    plump = float(body.rng.uniform(1.12, 1.32))
    line = spline([[-25, -22, 88, 10], [-25, -26, 102, 13], [-17, -33, 115, 11], [-3, -38, 122, 9], [18, -40, 128, 10],
                   [42, -26, 138, 10.5], [64, -8, 148, 10], [80, 6, 154, 8]], 34)  # fmt: skip
    line[:, 3] *= plump
    body.lines["pancreas"] = line
    body["pancreas_bed"] = body.frame.tube(line[:, :3], 0.85 * line[:, 3])


def build_pancreas(body: Body) -> None:
    """Pancreas: head in the bend of the duodenum, neck before the confluence, tail to the splenic hilum."""
    line = body.lines["pancreas"]
    pancreas = body.frame.tube(line[:, :3], line[:, 3]) + 1.1 * body.n14 + 1.1 * body.n8
    for name, gap in (("portal_vein_and_splenic_vein", 0.2), ("aorta", 4.0), ("inferior_vena_cava", 2.0),
                      ("kidney_whole_left", 4.0), ("spleen", 3.0), ("liver", 2.0), ("crura", 3.0)):  # fmt: skip
        pancreas = carve(pancreas, body[name], gap)
    body["pancreas"] = largest_piece(pancreas)
