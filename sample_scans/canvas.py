"""The canvas: tissue painted into the scan, one over the other, with partial volume.

A voxel covered to a fraction a by a tissue of h HU becomes (1 - a) * old + a * h; the fraction is the signed
distance of its centre over the extent of the voxel along the surface's normal, which averages over the slice
thickness as a scanner does. The last tissue whose surface encloses the centre gives the label. Coarse fields are
interpolated linearly in the plane; the slices are the scan's own.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sample_scans.frame import Frame
from sample_scans.shapes import Field

KEEP = 255


@njit(cache=True)
def _paint(hu, label, sdf, slope, value, whole, factor, mark, lo, hi, keep):  # type: ignore[no-untyped-def]
    size = hu.shape[1]
    nc = sdf.shape[1]
    for k in range(lo[0], hi[0]):
        for j in range(lo[1] * factor, min((hi[1] - 1) * factor + 1, size)):
            j0 = min(j // factor, nc - 2)
            v = np.float32(j) / factor - j0
            for i in range(lo[2] * factor, min((hi[2] - 1) * factor + 1, size)):
                i0 = min(i // factor, nc - 2)
                u = np.float32(i) / factor - i0
                a = (1 - u) * (1 - v)
                b = u * (1 - v)
                c = (1 - u) * v
                d = u * v
                s = (
                    a * sdf[k, j0, i0]
                    + b * sdf[k, j0, i0 + 1]
                    + c * sdf[k, j0 + 1, i0]
                    + d * sdf[k, j0 + 1, i0 + 1]
                )
                if s > 3.0:
                    continue
                w = slope[
                    k - lo[0],
                    min(max(j0 - lo[1], 0), hi[1] - lo[1] - 1),
                    min(max(i0 - lo[2], 0), hi[2] - lo[2] - 1),
                ]
                alpha = 0.5 - s / w
                if alpha <= 0.0:
                    continue
                if whole:
                    h = value[0, 0, 0]
                else:
                    h = (
                        a * value[k, j0, i0]
                        + b * value[k, j0, i0 + 1]
                        + c * value[k, j0 + 1, i0]
                        + d * value[k, j0 + 1, i0 + 1]
                    )
                if alpha >= 1.0:
                    hu[k, j, i] = h
                else:
                    hu[k, j, i] += alpha * (h - hu[k, j, i])
                if s < 0.0 and mark != keep:
                    label[k, j, i] = mark


@njit(cache=True)
def _extent(sdf, out, low, pixel, most):  # type: ignore[no-untyped-def]
    """Extent of a voxel along the surface's normal, from how the distance changes over a slice, mm."""
    last = sdf.shape[0] - 1
    for k in range(out.shape[0]):
        above = min(k + low[0] + 1, last)
        below = max(k + low[0] - 1, 0)
        for j in range(out.shape[1]):
            for i in range(out.shape[2]):
                g = (sdf[above, j + low[1], i + low[2]] - sdf[below, j + low[1], i + low[2]]) / max(
                    above - below, 1
                )
                out[k, j, i] = min(np.sqrt(pixel * pixel + g * g), most)


@njit(cache=True)
def _capsules(out, origin, step, starts, ends, radii, radii_end, reach):  # type: ignore[no-untyped-def]
    nz, ny, nx = out.shape
    for s in range(len(starts)):
        a = starts[s]
        b = ends[s]
        grow = max(radii[s], radii_end[s]) + reach
        lo = np.empty(3, np.int64)
        hi = np.empty(3, np.int64)
        for q in range(3):
            n = (nx, ny, nz)[q]
            lo[q] = max(0, int(np.floor((min(a[q], b[q]) - grow - origin[q]) / step[q])))
            hi[q] = min(n, int(np.ceil((max(a[q], b[q]) + grow - origin[q]) / step[q])) + 1)
        e = b - a
        length = e[0] ** 2 + e[1] ** 2 + e[2] ** 2 + 1e-12
        for k in range(lo[2], hi[2]):
            pz = origin[2] + k * step[2] - a[2]
            for j in range(lo[1], hi[1]):
                py = origin[1] + j * step[1] - a[1]
                for i in range(lo[0], hi[0]):
                    px = origin[0] + i * step[0] - a[0]
                    t = (px * e[0] + py * e[1] + pz * e[2]) / length
                    t = min(max(t, 0.0), 1.0)
                    dx = px - t * e[0]
                    dy = py - t * e[1]
                    dz = pz - t * e[2]
                    d = np.sqrt(dx * dx + dy * dy + dz * dz) - (radii[s] + t * (radii_end[s] - radii[s]))
                    if d < out[k, j, i]:
                        out[k, j, i] = d


def _box(inside: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Index box (low, high) of what is true, one cell wider."""
    low, high = [], []
    for axis in range(3):
        line = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        if not line.size:
            return None
        low.append(max(int(line[0]) - 1, 0))
        high.append(min(int(line[-1]) + 2, inside.shape[axis]))
    return np.array(low), np.array(high)


class Canvas:
    """The scan being painted.

    Attributes
    ----------
    hu : ndarray (slices, size, size) float32
        Attenuation, HU.
    label : ndarray (slices, size, size) uint8
        Label value of the tissue that holds the voxel's centre.
    """

    def __init__(self, frame: Frame, background_hu: float) -> None:
        shape = (frame.slices, frame.size, frame.size)
        self.frame = frame
        self.hu = np.full(shape, background_hu, dtype=np.float32)
        self.label = np.zeros(shape, dtype=np.uint8)

    def paint(self, sdf: Field, value: float | Field, mark: int = KEEP) -> None:
        """Paint a coarse field with one HU value or a field of values; `mark` KEEP leaves the labels."""
        self._paint(np.ascontiguousarray(sdf), value, mark, self.frame.factor, self.hu, self.label)

    def _paint(
        self,
        sdf: Field,
        value: float | Field,
        mark: int,
        factor: int,
        hu: NDArray[np.float32],
        label: NDArray[np.uint8],
    ) -> None:
        box = _box(sdf < 3.0)
        if box is None:
            return
        low, high = box
        part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        pixel, thick = self.frame.pixel_mm, 1.2 * self.frame.slice_mm
        slope = np.empty(sdf[part].shape, dtype=np.float32)
        _extent(sdf, slope, low, pixel, pixel + thick)
        whole = np.isscalar(value)
        values = np.full((1, 1, 1), value, np.float32) if whole else np.ascontiguousarray(value, np.float32)
        _paint(hu, label, sdf, slope, values, whole, factor, mark, low, high, KEEP)

    def vessels(
        self,
        starts: NDArray[np.float64],
        ends: NDArray[np.float64],
        radii: NDArray[np.float64],
        radii_end: NDArray[np.float64],
        value: float,
        mark: int = KEEP,
        within: NDArray[np.uint8] | None = None,
    ) -> None:
        """Paint capsules between world points (n, 3), mm, on the scan's own grid; `within` limits them to labels."""
        frame = self.frame
        step = np.array([frame.pixel_mm, frame.pixel_mm, frame.slice_mm])
        reach = 1.5 * frame.slice_mm
        grow = float(max(radii.max(), radii_end.max())) + reach + step
        low = (np.minimum(starts, ends).min(axis=0) - grow - frame.origin) / step
        high = (np.maximum(starts, ends).max(axis=0) + grow - frame.origin) / step
        most = np.array(self.hu.shape[::-1])
        low = np.clip(np.floor(low), 0, most - 2).astype(int)
        high = np.clip(np.ceil(high) + 1, low + 2, most).astype(int)
        box = tuple(slice(a, b) for a, b in zip(low[::-1], high[::-1], strict=True))
        hu, label = self.hu[box], self.label[box]
        sdf = np.full(hu.shape, 4.0, dtype=np.float32)
        _capsules(sdf, frame.origin + low * step, step, starts, ends, radii, radii_end, reach)
        if within is not None:
            sdf[~np.isin(label, within)] = 4.0
        self._paint(sdf, value, mark, 1, hu, label)

    def lines(self, curves: list[tuple[NDArray[np.float64], NDArray[np.float64]]], value: float) -> None:
        """Paint tapering vessels, each standard-body points (n, 3) and radii (n,), mm; labels stay."""
        starts, ends, radii, radii_end = [], [], [], []
        for points, radius in curves:
            world = self.frame.to_world(points)
            starts.append(world[:-1])
            ends.append(world[1:])
            radii.append(radius[:-1])
            radii_end.append(radius[1:])
        self.vessels(
            np.vstack(starts), np.vstack(ends), np.concatenate(radii), np.concatenate(radii_end), value
        )
