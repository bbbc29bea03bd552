"""The head of a person made from a seed, as an MR image with the truth of its brain.

Scalp, skull with marrow, fluid, a folded cortex over white matter, deep nuclei, ventricles, cerebellum with its leaves,
brain stem and cord, eyes with their fat and nerves, air cavities, muscles of face and neck: each is a signed distance
field in a head of its own size and proportions, painted one over the other. Furrows are the zero sheets of a
smooth random field as far as they reach into the brain. The scanner adds the blur of its voxels, the slow bias of its
coils, and Rician noise (Gudbjartsson & Patz 1995, Magn Reson Med 34:910). Grey values have the order of tissues in
T1-weighted and T2-weighted images; they have no unit. Same seed and voxel edge: same bits.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from sample_scans.shapes import smooth_max, smooth_min

Field = NDArray[np.float32]

#: Label values of the truth.
NAMES = {1: "brain", 2: "grey_matter", 3: "white_matter", 4: "ventricles"}

# Grey values over that of white matter (T1) or of fluid (T2).
_SHADES = {
    "T1": {
        "air": 0.0, "fat": 1.3, "muscle": 0.5, "bone": 0.08, "marrow": 0.7, "fluid": 0.2, "grey": 0.64,
        "white": 0.95, "nucleus": 0.72, "eye": 0.18, "dura": 0.42,
    },
    "T2": {
        "air": 0.0, "fat": 0.7, "muscle": 0.25, "bone": 0.05, "marrow": 0.45, "fluid": 1.0, "grey": 0.5,
        "white": 0.36, "nucleus": 0.44, "eye": 0.95, "dura": 0.15,
    },
}  # fmt: skip
_SCALE = 1000.0
_LOW_MM, _HIGH_MM = np.array([-96.0, -122.0, -128.0]), np.array([96.0, 118.0, 116.0])
_CORTEX_MM, _FURROW_MM, _FURROW_DEEP_MM = 2.8, 0.9, 17.0


@dataclass(frozen=True, eq=False)
class HeadScan:
    """A synthetic head.

    Parameters
    ----------
    scan : SimpleITK.Image
        MR image, int16, LPS mm.
    labels : LabelMap
        Truth on its grid; `brain` is what of the brain is no other label: the fluid in its furrows.
    """

    scan: sitk.Image
    labels: LabelMap


def make_head(
    seed: int = 1, *, edge_mm: float = 1.5, contrast: str = "T1", noise: float = 0.03, bias: float = 0.25
) -> HeadScan:
    """An MR image of the head of a person who does not exist.

    Parameters
    ----------
    seed : int
        Which person: 0 or more.
    edge_mm : float
        Voxel edge, 0.8 to 3 mm.
    contrast : str
        "T1" or "T2".
    noise : float
        Standard deviation of the noise over the brightest brain tissue, 0 to 0.2.
    bias : float
        Largest logarithm of the coils' factor, 0 to 1.

    Raises
    ------
    AnatomyError
        If an argument is out of its range.
    """
    if contrast not in _SHADES:
        raise AnatomyError(f"a head has no contrast '{contrast}'; choose T1 or T2")
    if not 0.8 <= edge_mm <= 3.0 or not 0.0 <= noise <= 0.2 or not 0.0 <= bias <= 1.0 or seed < 0:
        raise AnatomyError(
            "a sample head needs a seed of 0 or more, an edge of 0.8 to 3 mm, a noise of 0 to 0.2 and a bias of 0 to 1"
        )
    rng = np.random.default_rng(seed)
    head = _Head(edge_mm, rng)
    values, labels = head.painted(_SHADES[contrast])
    values = ndimage.gaussian_filter(values, 0.45)
    values *= np.exp(bias * head.slow(rng))
    real, imaginary = rng.normal(0.0, noise, (2, *values.shape)).astype(np.float32)
    values = np.hypot(values + real, imaginary)
    scan = head.image(np.rint(_SCALE * values).astype(np.int16))
    return HeadScan(scan, LabelMap(head.image(labels), NAMES))


class _Head:
    """The fields of one head on a grid, arrays (z, y, x)."""

    def __init__(self, edge_mm: float, rng: np.random.Generator) -> None:
        self.edge = edge_mm
        counts = np.ceil((_HIGH_MM - _LOW_MM) / edge_mm).astype(int)
        x, y, z = (
            (low + edge_mm * np.arange(n)).astype(np.float32) for low, n in zip(_LOW_MM, counts, strict=True)
        )
        # Heads differ in size and in their proportions by a few per cent.
        self.size = rng.normal(1.0, 0.025) * rng.normal(1.0, 0.02, 3)
        self.x = (x / self.size[0])[None, None, :].astype(np.float32)
        self.y = (y / self.size[1])[None, :, None].astype(np.float32)
        self.z = (z / self.size[2])[:, None, None].astype(np.float32)
        self.shape = (len(z), len(y), len(x))
        self.rng = rng
        self.wide = float(rng.normal(1.0, 0.12))
        self.thick = float(rng.uniform(5.5, 8.0))

    # --- shapes -----------------------------------------------------------------------------------------------

    def ellipsoid(self, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Field:
        """Approximate signed distance of an ellipsoid, mm."""
        p = [(g - c) for g, c in zip((self.x, self.y, self.z), centre, strict=True)]
        near = np.sqrt(sum((v / r) ** 2 for v, r in zip(p, radii, strict=True)))
        slope = np.sqrt(sum((v / r**2) ** 2 for v, r in zip(p, radii, strict=True)))
        found = np.where(slope > 1e-6, near * (near - 1.0) / np.maximum(slope, 1e-6), -min(radii))
        return np.asarray(found, dtype=np.float32)

    def capsule(
        self, a: tuple[float, float, float], b: tuple[float, float, float], ra: float, rb: float
    ) -> Field:
        """Signed distance of a tapering rod with round ends, mm."""
        start, along = np.array(a), np.array(b) - np.array(a)
        p = [g - s for g, s in zip((self.x, self.y, self.z), start, strict=True)]
        share = sum(v * d for v, d in zip(p, along, strict=True)) / float(along @ along)
        share = np.clip(share, 0.0, 1.0)
        gap = np.sqrt(sum((v - share * d) ** 2 for v, d in zip(p, along, strict=True)))
        return np.asarray(gap - (ra + share * (rb - ra)), dtype=np.float32)

    def both(self, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Field:
        """An ellipsoid on either side."""
        x, y, z = centre
        return np.minimum(self.ellipsoid((x, y, z), radii), self.ellipsoid((-x, y, z), radii))

    def smooth_noise(self, width_mm: float) -> Field:
        """A smooth random field of unit deviation."""
        coarse = max(1, int(width_mm / (2.5 * self.edge)))
        small = self.rng.standard_normal([n // coarse + 3 for n in self.shape]).astype(np.float32)
        small = ndimage.gaussian_filter(small, width_mm / (self.edge * coarse))
        large = ndimage.zoom(small, coarse, order=1)[tuple(slice(0, n) for n in self.shape)]
        return np.asarray(large / large.std(), dtype=np.float32)

    def slow(self, rng: np.random.Generator) -> Field:
        """The coils' bias: a random polynomial of second degree, -1 to 1."""
        axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in self.shape]
        z, y, x = axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]
        terms = (x, y, z, x * y, y * z, x * z, x * x - 0.3, y * y - 0.3, z * z - 0.3)
        field = sum(rng.normal() * t for t in terms) + np.zeros(self.shape, dtype=np.float32)
        return np.asarray(field / np.abs(field).max(), dtype=np.float32)

    # --- the brain --------------------------------------------------------------------------------------------

    def hulls(self) -> tuple[Field, Field, Field]:
        """Cerebrum, cerebellum and brain stem with the cord, without folds."""
        dome = self.ellipsoid((0, 0, 24), (65, 83, 60))
        floor = -(self.z + 14.0 - 0.12 * self.y) + np.zeros(self.shape, dtype=np.float32)
        cerebrum = smooth_max(dome, floor, 14.0)
        cerebrum = smooth_min(cerebrum, self.both((42, -12, -12), (23, 38, 21)), 8.0)
        cerebellum = smooth_min(
            self.both((23, 50, -34), (29, 25, 20)), self.ellipsoid((0, 48, -32), (14, 22, 18)), 6.0
        )
        stem = self.capsule((0, 6, 0), (0, 22, -42), 15.0, 12.0)
        cord = self.capsule((0, 22, -42), (0, 34, -140), 10.0, 5.5)
        return cerebrum, cerebellum, np.minimum(stem, cord)

    def furrows(self, cerebrum: Field, cerebellum: Field) -> NDArray[np.bool_]:
        """Fluid-filled furrows of cerebrum and cerebellum, and the fissure between the hemispheres."""
        found = np.zeros(self.shape, dtype=bool)
        for width, deep in ((6.5, _FURROW_DEEP_MM), (5.0, 0.6 * _FURROW_DEEP_MM)):
            found |= self._sheet(self.smooth_noise(width), cerebrum) & (cerebrum > -deep) & (cerebrum < 0)
        heart = self.ellipsoid((0, 2, 12), (40, 46, 22))
        found |= (np.abs(self.x) < 1.2) & (heart > 0) & (cerebrum < 0) & (self.z > -12)
        leaves = np.sin(2 * np.pi * np.arctan2(self.z + 20.0, self.y - 22.0) / 0.22)
        leaves = leaves + np.zeros(self.shape, dtype=np.float32)
        found |= self._sheet(leaves, cerebellum) & (cerebellum > -9.0) & (cerebellum < 0)
        return found

    def _sheet(self, field: Field, hull: Field) -> NDArray[np.bool_]:
        """Where a field is nought within a furrow's half width, and its sheet stands steeply on the hull."""
        slopes, normals = np.gradient(field, self.edge), np.gradient(hull, self.edge)
        slope = np.sqrt(sum(g**2 for g in slopes)) + 1e-6
        normal = np.sqrt(sum(n**2 for n in normals)) + 1e-6
        lying = np.abs(sum(g * n for g, n in zip(slopes, normals, strict=True))) / (slope * normal)
        return np.asarray((np.abs(field) / slope < _FURROW_MM) & (lying < 0.6))

    def chambers(self) -> Field:
        """Lateral, third and fourth ventricles."""
        field = self.ellipsoid((0, 4, 4), (2.2, 13, 8))
        field = np.minimum(field, self.ellipsoid((0, 33, -30), (6, 4.5, 8)))
        w = self.wide
        path = [(8, -34, 14, 4.5), (9, -12, 23, 5.5), (11, 10, 25, 5.5), (18, 30, 17, 6.5), (27, 40, 4, 4.0)]
        for sign in (-1, 1):
            for (x0, y0, z0, r0), (x1, y1, z1, r1) in itertools.pairwise(path):
                rod = self.capsule((sign * x0, y0, z0), (sign * x1, y1, z1), w * r0, w * r1)
                field = np.minimum(field, rod)
        return field

    # --- the picture -------------------------------------------------------------------------------------------

    def painted(self, shade: dict[str, float]) -> tuple[Field, NDArray[np.uint8]]:
        """Grey values and the truth."""
        cerebrum, cerebellum, stem = self.hulls()
        hull = np.minimum(np.minimum(cerebrum, cerebellum), stem)
        values = self._outside(hull, shade)
        furrows = self.furrows(cerebrum, cerebellum) & (stem > 1.0)
        tissue = (hull < 0) & ~furrows
        deep = ndimage.distance_transform_edt(tissue, sampling=self.edge).astype(np.float32)
        white = tissue & ((deep > _CORTEX_MM) | (stem < -0.5))
        nuclei = self.both((12, 10, 6), (9, 14, 9))
        nuclei = np.minimum(nuclei, self.both((25, -8, 6), (6, 19, 12)))
        ventricles = (self.chambers() < 0) & (hull < -3.0)
        grey = tissue & (~white | (nuclei < 0)) & ~ventricles
        white &= ~grey & ~ventricles
        labels = np.zeros(self.shape, dtype=np.uint8)
        brain = (hull < 0) & (self.z > -62.0)
        labels[brain] = 1
        labels[brain & grey], labels[brain & white], labels[brain & ventricles] = 2, 3, 4
        values[hull < 0] = shade["fluid"]
        values[grey], values[white], values[ventricles] = shade["grey"], shade["white"], shade["fluid"]
        values[grey & (nuclei < 0)] = shade["nucleus"]
        return values, labels

    def _outside(self, hull: Field, shade: dict[str, float]) -> Field:
        """Everything but the brain, from the air inwards."""
        case = (
            smooth_min(hull, self.ellipsoid((0, 4, 16), (62, 80, 62)), 10.0)
            - 3.0
            - 0.6 * self.smooth_noise(14.0)
        )
        skull = np.asarray(case - self.thick, dtype=np.float32)
        cranium = self.ellipsoid((0, 3, 14), (80, 99, 84))
        face = self.ellipsoid((0, -62, -62), (58, 44, 58))
        neck = self.capsule((0, 18, -60), (0, 26, -180), 62.0, 56.0)
        skin = smooth_min(smooth_min(cranium, face, 22.0), neck, 22.0)
        skin = smooth_min(skin, np.asarray(skull - 6.0, dtype=np.float32), 6.0)
        values = np.zeros(self.shape, dtype=np.float32)
        values[skin < 0] = shade["fat"]
        streaks = self.smooth_noise(5.0)
        values[(skin < -4.0) & (streaks < 0.8)] = shade["muscle"]
        upper = self.z > -20.0
        values[(skull > 0) & (skin < -1.5) & upper & (self.y > -70)] = shade["fat"]
        values[skull < 0] = shade["bone"]
        marrow = (skull < -2.0) & (case > 2.0) & (self.smooth_noise(9.0) > -0.6)
        values[marrow] = shade["marrow"]
        values[case < 0] = shade["fluid"]
        values[(case < 0) & (case > -1.0)] = shade["dura"]
        for radii, name in (((21, 19, 19), "fat"), ((12.5, 12.5, 12.5), "eye")):
            values[(self.both((32, -80, -26), radii) < 0) & (case > 1.0)] = shade[name]
        for side in (-1, 1):
            nerve = self.capsule((side * 30, -68, -26), (side * 6, -24, -19), 2.2, 2.2)
            values[(nerve < 0) & (hull > 1.0)] = shade["white"]
        air = np.minimum(self.ellipsoid((0, -72, -44), (13, 26, 22)), self.both((30, -66, -58), (14, 16, 16)))
        air = np.minimum(air, self.ellipsoid((0, -92, 2), (16, 5, 9)))
        values[(air < 0) & (case > 2.0)] = shade["air"]
        # The cord's canal keeps its fluid as far as the neck goes.
        values[(hull < 3.5) & (hull > 0) & (self.z < -45)] = shade["fluid"]
        return values

    def image(self, array: NDArray[np.int16] | NDArray[np.uint8]) -> sitk.Image:
        """An array as an image in LPS mm."""
        image = sitk.GetImageFromArray(array)
        image.SetSpacing([self.edge] * 3)
        image.SetOrigin([float(v) for v in _LOW_MM])
        return image
