"""The trunk: skin, fat, muscle wall, abdominal and thoracic cavity, diaphragm, and the large muscles of the back.

The cavity is a superellipse whose half axes change with height; wall, fat and skin lie outside it as larger ones.
The diaphragm is a height over the (x, y) plane: two domes and the saddle under the heart, falling off towards the
wall, so that lung reaches down behind liver and spleen into the costophrenic recess. The right dome is the higher
(about half a vertebra, Lennon & Simon 1965, Br J Radiol 38:937).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sample_scans.frame import Frame
from sample_scans.shapes import Field, carve, smooth_max, smooth_min


@dataclass(eq=False)
class Body:
    """One patient while being built: frame, seed, slow random fields, habitus, and every organ's field by name."""

    frame: Frame
    rng: np.random.Generator
    fields: dict[str, Field] = field(default_factory=dict)
    lines: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    facts: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        f, rng = self.frame, self.rng
        self.n60, self.n30, self.n14, self.n8 = (f.noise(w, rng) for w in (60.0, 30.0, 14.0, 8.0))
        self.fat_front = float(np.clip(rng.lognormal(np.log(16.0), 0.30), 9.0, 26.0))
        self.fat_flank = float(np.clip(0.75 * self.fat_front * rng.uniform(0.85, 1.15), 8.0, 19.0))
        self.fat_back = float(np.clip(0.6 * self.fat_front, 7.0, 13.0))
        self.visceral_gap = float(rng.uniform(0.6, 1.4))

    def __getitem__(self, name: str) -> Field:
        return self.fields[name]

    def __setitem__(self, name: str, value: Field) -> None:
        self.fields[name] = value.astype(np.float32, copy=False)

    @property
    def coords(self) -> tuple[Field, Field, Field]:
        """Standard-body coordinates of the grid, mm."""
        return self.frame.X, self.frame.Y, self.frame.Z


def spine_y(z):  # type: ignore[no-untyped-def]
    """Where the vertebral bodies' centres lie: lumbar lordosis turning into thoracic kyphosis, mm."""
    return 25.0 + 19.0 * np.square((np.asarray(z) - 55.0) / 200.0)


def cavity_half_axes(z):  # type: ignore[no-untyped-def]
    """Centre y, half width, front and back half depth of the cavity at height z, mm."""
    z = np.asarray(z, dtype=np.float64)
    half_x = np.interp(z, [-20, 0, 60, 120, 180, 230, 280], [131, 132, 134, 137, 137, 131, 121])
    front = np.interp(z, [-20, 0, 60, 120, 180, 230, 280], [80, 82, 86, 90, 91, 88, 80])
    back = np.interp(z, [-20, 0, 100, 180, 280], [76, 80, 87, 93, 103])
    return np.full_like(z, -15.0), half_x, front, back


CAVITY_POWER = 2.3


def build_trunk(body: Body) -> None:
    """Cavity, wall, skin, diaphragm and muscles of the back."""
    _layers(body)
    _diaphragm(body)
    _back_muscles(body)


def _layers(body: Body) -> None:
    f = body.frame
    x, y, z = body.coords
    cy, half_x, front, back = cavity_half_axes(f.heights)
    body["cavity"] = f.superellipse(0.0, cy, half_x, front, back, CAVITY_POWER) + 0.8 * body.n60
    groove = np.exp(-np.square(x / 11.0)) * np.clip((y - 50.0) / 20.0, 0.0, 1.0)
    thorax = np.clip((f.heights - 120.0) / 60.0, 0.0, 1.0)
    wall = f.superellipse(
        0.0, cy, half_x + 15.0 + 2.0 * thorax, front + 10.0 + 4.0 * thorax, back + 25.0, 2.25
    )
    wall = wall + np.float32(6.0) * groove + body.n60
    body["wall"] = smooth_max(wall, y - np.float32(99.0), 18.0)
    thin = 1.0 - 0.25 * thorax
    skin = f.superellipse(
        0.0,
        cy,
        half_x + 15.0 + 2.0 * thorax + body.fat_flank * thin,
        front + 10.0 + 4.0 * thorax + body.fat_front * thin,
        back + 25.0 + body.fat_back,
        2.35,
    )
    skin = skin + np.float32(3.5) * groove + 0.6 * body.n60
    navel = np.exp(-np.square(x / 7.0) - np.square((z - 2.0) / 9.0)) * (y < -60)
    skin = skin + np.float32(0.5 * body.fat_front) * navel
    body["skin"] = smooth_max(skin, y - np.float32(99.0 + body.fat_back), 14.0)
    body["wall"] = np.maximum(body["wall"], body["skin"] + np.float32(4.0))


def _dome_heights(body: Body) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Diaphragm height over a 2 mm raster of the standard body, and the cosine of its slope."""
    axis = np.arange(-170.0, 171.0, 2.0)
    x, y = np.meshgrid(axis, axis)
    cy, a, front, back = (float(v) for v in cavity_half_axes(172.0))
    b = np.where(y < cy, front, back)
    level = (np.abs(x / a) ** CAVITY_POWER + np.abs((y - cy) / b) ** CAVITY_POWER) ** (1 / CAVITY_POWER)
    inward = np.clip((1.0 - level) * np.minimum(a, b), 0.0, None)
    spine = np.sqrt(np.square(x / 1.15) + np.square(y - 42.0)) - 30.0
    inward = np.minimum(inward, np.clip(spine, 0.0, None) + 13.0)
    rise = body.rng.uniform(-4.0, 5.0, 2)
    right = 219.0 + rise[0] - np.square(x + 64.0) / 200.0 - np.square(y + 5.0) / 330.0
    left = 207.0 + rise[1] - np.square(x - 70.0) / 190.0 - np.square(y + 5.0) / 330.0
    saddle = 207.0 + rise.mean() - np.square(x - 8.0) / 300.0 - np.square(y + 40.0) / 300.0
    dome = np.logaddexp(np.logaddexp(right / 5.0, left / 5.0), saddle / 5.0) * 5.0 - 3.0
    fall = 42.0 + 52.0 * np.clip((y + 75.0) / 70.0, 0.0, 1.0) ** 1.3
    height = ndimage.gaussian_filter(dome - fall * np.exp(-inward / 11.5), 2.0)
    gy, gx = np.gradient(height, 2.0)
    return height, 1.0 / np.sqrt(1.0 + gx**2 + gy**2)


def _diaphragm(body: Body) -> None:
    x, y, z = body.coords
    height, cosine = _dome_heights(body)
    at = [(np.clip(y, -169, 169) + 170.0) / 2.0, (np.clip(x, -169, 169) + 170.0) / 2.0]
    top = ndimage.map_coordinates(height.astype(np.float32), at, order=1)
    slope = ndimage.map_coordinates(cosine.astype(np.float32), at, order=1)
    body["thorax_side"] = -(z - top) * slope + 0.7 * body.n60  # negative above the diaphragm


def _back_muscles(body: Body) -> None:
    f = body.frame
    zs = np.linspace(-25.0, 285.0, 24)
    ys = spine_y(zs)
    muscles = f.empty()
    for side in (-1.0, 1.0):
        size = np.interp(zs, [0, 80, 160, 285], [24.0, 24.0, 21.0, 17.0])
        spread = np.interp(zs, [0, 120, 285], [35.0, 33.0, 27.0])
        path = np.stack([side * spread, ys + 48.0 - 0.04 * zs * 0.5, zs], axis=1)
        f.tube(path, size, (0.78, 1.05, 1.0), into=muscles)
    body["erector"] = np.maximum(muscles, body["wall"] + np.float32(1.0))
    psoas = f.empty()
    lumborum = f.empty()
    for side in (-1.0, 1.0):
        low = np.linspace(-25.0, 138.0, 14)
        radius = np.interp(low, [-25, 40, 100, 138], [22.0, 18.5, 11.0, 3.5])
        path = np.stack(
            [side * np.interp(low, [-25, 40, 138], [45, 38, 24]), spine_y(low) + 2.0, low], axis=1
        )
        f.tube(path, radius, (1.0, 0.9, 1.0), into=psoas)
        low = np.linspace(-25.0, 128.0, 10)
        path = np.stack([side * np.interp(low, [-25, 128], [72, 52]), spine_y(low) + 29.0, low], axis=1)
        f.tube(path, np.interp(low, [-25, 90, 128], [10.0, 8.0, 4.0]), (0.55, 1.0, 1.0), into=lumborum)
    body["psoas"] = psoas + 0.7 * body.n14
    body["lumborum"] = lumborum + 0.5 * body.n14
    column = _column(body)
    # What the spine and its muscles push into the cavity is not free for organs.
    body["room"] = carve(body["cavity"], smooth_min(column, smooth_min(psoas, lumborum, 4.0), 4.0), 2.0, 8.0)
    body["psoas"] = carve(body["psoas"], column, 0.5)


def _column(body: Body) -> Field:
    """The vertebral column as one smooth rod with what lies behind it."""
    f = body.frame
    zs = np.linspace(-25.0, 285.0, 20)
    width = np.interp(zs, [-25, 140, 285], [25.0, 23.0, 19.0])
    rod = f.tube(np.stack([0 * zs, spine_y(zs) + 4.0, zs], axis=1), width, (1.0, 1.2, 1.0))
    behind = f.tube(np.stack([0 * zs, spine_y(zs) + 42.0, zs], axis=1), width + 14.0, (1.0, 1.2, 1.0))
    return smooth_min(rod, behind, 8.0)
