"""What the scan shows of the chest: the bases of the lungs, the heart on the diaphragm, the oesophagus.

Heart: left ventricle 9 mm thick in diastole, right ventricle 4 mm (Lang et al. 2015, J Am Soc Echocardiogr 28:1).
"""

from __future__ import annotations

import numpy as np

from sample_scans.shapes import carve, largest_piece, smooth_max, smooth_min, spline
from sample_scans.torso import Body, spine_y


def build_heart(body: Body) -> None:
    """Heart with its chambers, and the pericardial fat around it."""
    f = body.frame
    turn = body.rng.uniform(-4.0, 4.0)
    apex = np.array([62.0 + turn, -66.0, 214.0])
    base = np.array([8.0, -24.0, 252.0])
    axis = (apex - base) / np.linalg.norm(apex - base)
    across = np.cross(axis, [0.0, 0.0, 1.0])
    across /= np.linalg.norm(across)
    tilt = np.array([axis, across, np.cross(axis, across)])
    left = f.ellipsoid(0.45 * apex + 0.55 * base + [8, 4, -2], [54.0, 33.0, 34.0], tilt)
    right = f.ellipsoid([4.0, -56.0, 226.0], [48.0, 29.0, 30.0])
    atrium = f.ellipsoid([-28.0, -34.0, 250.0], [24.0, 28.0, 32.0])
    heart = smooth_min(smooth_min(left, right, 12.0), atrium, 10.0) + 1.0 * body.n30
    ceiling = body["thorax_side"] + np.float32(0.8)
    heart = smooth_max(heart, ceiling, 4.0)
    heart = np.maximum(heart, body["cavity"] + np.float32(9.0))
    body["heart"] = largest_piece(heart)
    inside = f.ellipsoid(0.45 * apex + 0.55 * base + [8, 4, -2], [42.0, 22.0, 23.0], tilt)
    body["left_ventricle"] = np.maximum(inside + 1.2 * body.n14, heart + np.float32(8.0))
    right_blood = smooth_min(right + np.float32(4.5), atrium + np.float32(3.0), 8.0)
    body["right_heart"] = np.maximum(carve(right_blood, left, 1.0), heart + np.float32(3.5))
    body["heart_bed"] = np.maximum(heart - np.float32(7.0) - 2.0 * body.n30, ceiling - np.float32(6.0))


def build_gullet(body: Body) -> None:
    """Oesophagus beside the aorta, through the hiatus to the cardia."""
    line = spline(
        [[4.0, spine_y(285) - 38.0, 285.0], [6.0, 0.0, 230.0], [13.0, -6.0, 205.0], [30.0, -12.0, 190.0]], 24
    )
    body["esophagus"] = body.frame.tube(line, 7.5, (0.8, 1.15, 1.0))


def build_lungs(body: Body) -> None:
    """Lung bases left and right, down into the costophrenic recess."""
    f = body.frame
    x = body.coords[0]
    zs = np.linspace(150.0, 290.0, 15)
    middle = f.tube(np.stack([3.0 + 0 * zs, spine_y(zs) - 30.0, zs], axis=1), 24.0, (0.85, 0.9, 1.0))
    front = f.tube(np.stack([3.0 + 0 * zs, -92.0 + 0 * zs, zs], axis=1), 16.0, (0.7, 0.6, 1.0))
    media = smooth_min(smooth_min(middle, body["heart_bed"], 10.0), front, 8.0)
    lungs = smooth_max(body["room"] + np.float32(2.5), body["thorax_side"] + np.float32(0.8), 4.0)
    lungs = carve(lungs, media, 1.0, 4.0)
    for name, side in (("lung_right", 1.0), ("lung_left", -1.0)):
        body[name] = largest_piece(
            np.maximum(lungs, np.float32(side) * (x - np.float32(3.0)) + np.float32(1.0))
        )
