"""The patient's frame: from the scanner's millimetres to the standard body that the anatomy is written in, and back.

The standard body stands in LPS millimetres with z = 0 at the lower edge of the scan, the L4 vertebra, and
z = 260 through the heart. A patient differs from it by size along each axis, by how they lie on the table (shift,
roll) and by a slow warp of a few millimetres that makes both sides unlike. Fields are sampled on a coarse grid:
every slice of the scan, and every `factor`-th pixel in the plane.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sample_scans.shapes import FAR, Field, _superellipse, _tube

FIELD_OF_VIEW_MM = 384.0
LENGTH_MM = 260.0


@dataclass(eq=False)
class Frame:
    """Grids and coordinate changes of one patient.

    Parameters
    ----------
    size : int
        Pixels along x and y of the scan.
    slice_mm : float
        Distance of the slices, mm.
    rng : numpy.random.Generator
        Where shift, roll, scale and warp come from.
    """

    size: int
    slice_mm: float
    rng: np.random.Generator
    scale: NDArray[np.float64] = field(init=False)
    shift: NDArray[np.float64] = field(init=False)
    roll: float = field(init=False)

    def __post_init__(self) -> None:
        rng = self.rng
        self.pixel_mm = FIELD_OF_VIEW_MM / self.size
        self.slices = round(LENGTH_MM / self.slice_mm)
        self.factor = max(1, round(self.size / 256))
        self.coarse_size = -(-(self.size - 1) // self.factor) + 1
        build = rng.normal(0.0, 1.0)
        spread = rng.normal(0.0, 1.0, 3)
        self.scale = 1.0 + np.clip(0.022 * build + np.array([0.018, 0.02, 0.014]) * spread, -0.06, 0.05)
        self.shift = np.array([rng.uniform(-4, 4), rng.uniform(-3, 3), 0.0])
        self.roll = np.deg2rad(rng.uniform(-2.2, 2.2))
        self._waves = [
            (axis, rng.uniform(0.6, 1.3), 2 * np.pi / rng.uniform(140, 260, 3), rng.uniform(0, 2 * np.pi, 3))
            for axis in (0, 0, 0, 1, 1, 1, 2, 2)
        ]
        first = -0.5 * (self.size - 1) * self.pixel_mm
        step = self.pixel_mm * self.factor
        self.x = first + step * np.arange(self.coarse_size)
        self.y = self.x.copy()
        self.z = self.slice_mm * (np.arange(self.slices) - 0.5 * (self.slices - 1))
        self.shape = (self.slices, self.coarse_size, self.coarse_size)
        self.step = step
        x, y, z = np.meshgrid(self.x, self.y, self.z, indexing="ij", sparse=True)
        body = self._to_body(x, y, z)
        self.X, self.Y, self.Z = (np.ascontiguousarray(c.transpose(2, 1, 0), dtype=np.float32) for c in body)
        self.heights = self.Z[:, self.coarse_size // 2, self.coarse_size // 2].astype(np.float64)

    @property
    def origin(self) -> NDArray[np.float64]:
        """World position of the first voxel's centre, mm (3,)."""
        return np.array([self.x[0], self.y[0], self.z[0]])

    def _to_body(self, x, y, z):  # type: ignore[no-untyped-def]
        out = [0.0, 0.0, 0.0]
        for axis, size, k, phase in self._waves:
            wave = np.sin(k[0] * x + phase[0]) * np.sin(k[1] * y + phase[1])
            out[axis] = out[axis] + size * (wave * np.sin(k[2] * z + phase[2]))
        c, s = np.cos(self.roll), np.sin(self.roll)
        dx, dy = x - self.shift[0], y - self.shift[1]
        return (
            (c * dx + s * dy) / self.scale[0] + out[0],
            (c * dy - s * dx) / self.scale[1] + out[1],
            0.5 * LENGTH_MM + z / self.scale[2] + out[2],
        )

    def to_body(self, points: ArrayLike) -> NDArray[np.float64]:
        """Standard-body coordinates of world points (n, 3), mm."""
        p = np.asarray(points, dtype=np.float64)
        return np.stack(self._to_body(p[:, 0], p[:, 1], p[:, 2]), axis=1)

    def to_world(self, points: ArrayLike) -> NDArray[np.float64]:
        """World points (n, 3) of standard-body coordinates, mm: fixed-point inverse of `to_body`, to 1e-6 mm."""
        target = np.asarray(points, dtype=np.float64)
        world = target - [0.0, 0.0, 0.5 * LENGTH_MM]
        for _ in range(40):
            miss = target - self.to_body(world)
            world = world + miss
            if np.abs(miss).max() < 1e-6:
                break
        return world

    def index_boxes(
        self, points: NDArray[np.float64], margin: ArrayLike
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Grid indices (low, high) in (z, y, x) order around groups (n, m, 3) of standard-body points, margin mm."""
        groups, many = points.shape[:2]
        world = self.to_world(points.reshape(-1, 3)).reshape(groups, many, 3)
        step = np.array([self.step, self.step, self.slice_mm])
        room = np.broadcast_to(np.asarray(margin, dtype=np.float64), (groups,))[:, None]
        low = np.floor((world.min(axis=1) - room - self.origin) / step).astype(np.int64)
        high = np.ceil((world.max(axis=1) + room - self.origin) / step).astype(np.int64) + 1
        size = np.array(self.shape[::-1])
        low, high = np.clip(low, 0, size), np.clip(high, 0, size)
        return np.ascontiguousarray(low[:, ::-1]), np.ascontiguousarray(np.maximum(high, low)[:, ::-1])

    def empty(self) -> Field:
        """A field with nothing inside."""
        return np.full(self.shape, FAR, dtype=np.float32)

    def tube(
        self,
        points: ArrayLike,
        radii: ArrayLike | float,
        stretch: tuple[float, float, float] = (1.0, 1.0, 1.0),
        into: Field | None = None,
        margin: float = 14.0,
    ) -> Field:
        """Field of a tube along standard-body points (n, 3) with radii in mm, joined to `into` where given."""
        out = self.empty() if into is None else into
        p = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        if len(p) == 1:
            p = np.vstack([p, p + np.array([0.0, 0.0, 1e-3])])
        r = np.broadcast_to(np.asarray(radii, dtype=np.float64), (len(p),)).copy()
        wide = np.maximum(r[1:], r[:-1]) * 1.1 / min(stretch) + margin
        low, high = self.index_boxes(np.stack([p[:-1], p[1:]], axis=1), wide)
        _tube(out, self.X, self.Y, self.Z, p, r, np.array(stretch, dtype=np.float64), low, high)
        return out

    def ellipsoid(
        self,
        centre: ArrayLike,
        half: ArrayLike,
        tilt: NDArray[np.float64] | None = None,
        margin: float = 16.0,
    ) -> Field:
        """Field of an ellipsoid, first-order distance; `tilt` is a rotation (3, 3) whose rows are its axes."""
        c, h = np.asarray(centre, dtype=np.float64), np.asarray(half, dtype=np.float64)
        axes = np.eye(3) if tilt is None else tilt
        low, high = self.index_boxes(np.array([[c - h.max(), c + h.max()]]), margin)
        box = tuple(slice(a, b) for a, b in zip(low[0], high[0], strict=True))
        d = [self.X[box] - np.float32(c[0]), self.Y[box] - np.float32(c[1]), self.Z[box] - np.float32(c[2])]
        first = np.zeros_like(d[0])
        second = np.zeros_like(d[0])
        for axis, length in zip(axes, h, strict=True):
            along = sum(np.float32(axis[i]) * d[i] for i in range(3))
            first += np.square(along / np.float32(length))
            second += np.square(along / np.float32(length**2))
        radius = np.sqrt(first)
        out = self.empty()
        out[box] = radius * (radius - 1.0) / np.maximum(np.sqrt(second), 1e-6)
        return out

    def superellipse(
        self,
        centre_x: ArrayLike,
        centre_y: ArrayLike,
        half_x: ArrayLike,
        front: ArrayLike,
        back: ArrayLike,
        power: float,
    ) -> Field:
        """Field of a cylinder along z whose cross-section, slice by slice, is a superellipse; all in mm."""
        out = np.empty(self.shape, dtype=np.float32)
        rows = [np.broadcast_to(np.asarray(a, dtype=np.float64), (self.slices,)).copy() for a in
                (centre_x, centre_y, half_x, front, back)]  # fmt: skip
        _superellipse(out, self.X, self.Y, rows[0], rows[1], rows[2], rows[3], rows[4], power)
        return out

    def noise(self, wavelength_mm: float, rng: np.random.Generator) -> Field:
        """A smooth random field of unit deviation: uniform cubic B-splines on a lattice of half the wavelength."""
        pitch = 0.5 * wavelength_mm
        weights = []
        # The lattice spans the field of view whatever the grid, so that one seed is one anatomy at every size.
        for axis, half in (
            (self.z, 0.52 * LENGTH_MM),
            (self.y, 0.505 * FIELD_OF_VIEW_MM),
            (self.x, 0.505 * FIELD_OF_VIEW_MM),
        ):
            u = np.clip((axis + half) / pitch, 0.0, 2.0 * half / pitch)
            cells = np.arange(int(2.0 * half / pitch) + 4)
            t = np.abs(u[:, None] - (cells[None, :] - 1.0))
            near, far = 2.0 / 3.0 - t**2 + 0.5 * t**3, np.maximum(2.0 - t, 0.0) ** 3 / 6.0
            weights.append(np.where(t < 1.0, near, far).astype(np.float32))
        lattice = rng.standard_normal([w.shape[1] for w in weights]).astype(np.float32)
        lattice = np.tensordot(lattice, weights[2], axes=(2, 1))
        lattice = np.tensordot(lattice, weights[1], axes=(1, 1)).transpose(0, 2, 1)
        field_ = np.tensordot(weights[0], lattice, axes=(1, 0))
        return np.ascontiguousarray(field_ / max(float(field_.std()), 1e-6), dtype=np.float32)
