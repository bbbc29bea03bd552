"""Couinaud segments: portal territories with the hepatic veins as borders.

Couinaud (1957, Le foie) and Bismuth (1982, World J Surg 6:3): the right, middle and left hepatic vein stand in the
three upright borders that fan out from the inferior vena cava; the level of the portal branches divides the outer
sectors into an upper and a lower segment; the caudate lobe (segment I) lies behind them, before the cava. From the
patient's left round to the right the sectors hold II and III, IV, VIII and V, VII and VI, the upper one named first.

Each border here is the surface upright along the cava's axis that runs through its vein, curved as the vein is. It
is not cut through parenchyma: every small portal branch belongs to the segment in which most of its territory lies,
so that a segment is what one set of portal branches feeds, which is what a surgeon clamps and stains (Takasaki 1998, J
Hepatobiliary Pancreat Surg 5:286). Only along the main branches, from which segment I is fed by twigs that no scan
shows, is the border geometric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from anatomy.progress import Progress, silent
from anatomy.vessels.territories import Territories, Weighting, territories
from anatomy.vessels.tree import VesselTree

Array = NDArray[np.float64]

SEGMENTS = tuple(f"liver_segment_{number}" for number in range(1, 9))
_NUMERALS = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII")
# Upper and lower segment of each sector from the left round to the right; IV is one segment.
_UPPER, _LOWER = np.array([2, 4, 8, 7]), np.array([3, 4, 5, 6])
# The three veins have left their confluence this far from the cava, mm.
_CONFLUENCE_MM = 30.0
# Main veins stand at least this far apart around the cava, degrees.
_APART = 12.0
# A main branch feeds at least this share of the liver.
_MAIN_SHARE = 0.12
# A portal branch that feeds less than this is counted as a whole, ml.
_UNIT_ML = 30.0
# Half the width of the caudate lobe to the right of the cava's middle, and what it takes below the bifurcation, mm.
_CAUDATE_RIGHT_MM, _CAUDATE_BELOW_MM = 12.0, 10.0
# An island smaller than this goes to the segment around it, ml.
_ISLAND_ML = 1.0


def numeral(segment: str) -> str:
    """Couinaud's Roman numeral of one of `SEGMENTS`."""
    return _NUMERALS[SEGMENTS.index(segment)]


@dataclass(frozen=True, eq=False)
class Couinaud:
    """A liver's segments and what they were made from.

    Parameters
    ----------
    labels : LabelMap
        `liver_segment_1` to `liver_segment_8`, values 1 to 8, on the grid of the liver that was given.
    veins : dict of str to ndarray of int64
        Nodes of the hepatic tree along the 'right', 'middle' and 'left' vein, outwards.
    bifurcation : int
        Node of the portal tree where the left and right branch part.
    territories : Territories
        Of the portal tree.
    """

    labels: LabelMap
    veins: dict[str, NDArray[np.int64]]
    bifurcation: int
    territories: Territories


def couinaud_segments(
    liver: sitk.Image,
    portal: VesselTree,
    hepatic: VesselTree,
    cava_mm: ArrayLike | None = None,
    up: ArrayLike = (0.0, 0.0, 1.0),
    weighting: Weighting = "nearest",
    progress: Progress = silent,
) -> Couinaud:
    """Divide a liver into its Couinaud segments.

    Parameters
    ----------
    liver : SimpleITK.Image
        Mask of the whole liver with its vessels and tumours, LPS mm.
    portal, hepatic : VesselTree
        The trees inside it, rooted at the hilum and at the cava.
    cava_mm : array-like, shape (3,), optional
        Where the hepatic veins enter the vena cava, LPS mm; by default the mean of the hepatic tree's widest roots.
    up : array-like, shape (3,)
        Direction of the cava towards the head; default the patient's axis.
    weighting : {"nearest", "calibre"}
        See `anatomy.vessels.territories`.
    progress : Progress

    Raises
    ------
    AnatomyError
        If the three hepatic veins or the portal bifurcation are not seen in the trees.
    """
    fed = territories(liver, portal, weighting, progress=progress)
    cava = _cava(hepatic) if cava_mm is None else np.asarray(cava_mm, dtype=np.float64)
    frame = _Frame(cava, up)
    veins = main_veins(hepatic, frame)
    fork, left, right = bifurcation(portal, fed, frame)
    geometric = _geometric(fed, frame, hepatic, veins, portal, (fork, left, right))
    segment = _by_branch(fed, geometric, _main_nodes(portal, fed))
    segment = _without_islands(segment, fed.voxel_ml)
    image = sitk.GetImageFromArray(segment)
    image.CopyInformation(liver)
    labels = LabelMap(image, dict(enumerate(SEGMENTS, start=1)))
    labels.warnings += [
        f"Couinaud segment {numeral(name)} was not found: what lies there is counted to its neighbours"
        for name in labels.empty.values()
    ]
    return Couinaud(labels, veins, fork, fed)


class _Frame:
    """Cylinder coordinates around the cava: angle from the patient's left through front to right, radius, height."""

    def __init__(self, cava: Array, up: ArrayLike) -> None:
        if cava.shape != (3,) or not np.isfinite(cava).all():
            raise AnatomyError(
                "the place where the hepatic veins enter the cava is a point x, y, z in LPS mm"
            )
        self.origin = cava
        self.up = np.asarray(up, dtype=np.float64) / np.linalg.norm(up)
        left = np.array([1.0, 0.0, 0.0]) - self.up[0] * self.up
        self.left = left / np.linalg.norm(left)
        # Of the two normals of the plane of left and up, the one that points forwards.
        self.front = np.cross(self.left, self.up)
        self.front *= np.sign(-self.front[1]) or 1.0

    def __call__(self, points: Array) -> tuple[Array, Array, Array]:
        """Angle (degrees, 0 left, 90 front, 180 right, to ±180 behind), radius and height, mm."""
        moved = points - self.origin
        across, ahead = moved @ self.left, moved @ self.front
        angle = np.degrees(np.arctan2(ahead, across))
        # Behind the cava the scale is cut on the left, so that the right posterior sector stays in one piece.
        angle = np.where(angle < -60.0, angle + 360.0, angle)
        return angle, np.hypot(across, ahead), moved @ self.up

    def height(self, point: Array) -> float:
        """Height of a point above the origin, mm."""
        return float((point - self.origin) @ self.up)


def _cava(hepatic: VesselTree) -> Array:
    wide = hepatic.roots[hepatic.radius[hepatic.roots] > 0.4 * hepatic.radius[hepatic.roots].max()]
    return np.asarray(hepatic.points[wide].mean(axis=0))


def main_veins(hepatic: VesselTree, frame: _Frame) -> dict[str, NDArray[np.int64]]:
    """Nodes along the right, middle and left hepatic vein, outwards from the confluence.

    Raises
    ------
    AnatomyError
        If three veins that stand apart are not seen.
    """
    far = np.linalg.norm(hepatic.points - frame.origin, axis=1)
    up = np.maximum(hepatic.parent, 0)
    begins = np.flatnonzero((far >= _CONFLUENCE_MM) & (far[up] < _CONFLUENCE_MM) & (hepatic.parent >= 0))
    volume = hepatic.gathered(hepatic.radius**2 * hepatic.length_to_parent_mm)
    chosen: list[tuple[float, NDArray[np.int64]]] = []
    for begin in begins[np.argsort(-volume[begins], kind="stable")]:
        stem = _stem(hepatic, int(begin), volume)
        # Where it is less than half as wide as at its mouth it is one of its branches.
        stem = stem[: int(np.argmax(np.append(hepatic.radius[stem] < 0.5 * hepatic.radius[stem[0]], True)))]
        angle, _, _ = frame(hepatic.points[stem])
        weight = hepatic.length_to_parent_mm[stem] * hepatic.radius[stem] ** 2
        mean = float((angle * weight).sum() / weight.sum())
        if all(abs(mean - other) >= _APART for other, _ in chosen):
            chosen.append((mean, stem))
        if len(chosen) == 3:
            break
    if len(chosen) < 3:
        raise AnatomyError(
            f"only {len(chosen)} of the three hepatic veins are seen {_CONFLUENCE_MM:g} mm from the vena cava: "
            "Couinaud segments need the right, middle and left vein in the label map"
        )
    ordered = [stem for _, stem in sorted(chosen, key=lambda item: item[0])]
    return dict(zip(("left", "middle", "right"), ordered, strict=True))


def _stem(tree: VesselTree, begin: int, weight: Array) -> NDArray[np.int64]:
    """Nodes from one outwards, at every fork along the branch of most weight."""
    children: dict[int, list[int]] = {}
    for row in tree.below(begin).tolist():
        children.setdefault(int(tree.parent[row]), []).append(row)
    stem = [begin]
    while stem[-1] in children:
        stem.append(max(children[stem[-1]], key=lambda row: float(weight[row])))
    return np.array(stem, dtype=np.int64)


def bifurcation(portal: VesselTree, fed: Territories, frame: _Frame) -> tuple[int, int, int]:
    """Node where the portal vein divides, and the first nodes of its left and right branch.

    Raises
    ------
    AnatomyError
        If no fork is seen at which both branches feed a good part of the liver.
    """
    total = fed.fed_ml[portal.roots].sum()
    node = int(portal.roots[np.argmax(fed.fed_ml[portal.roots])])
    while True:
        children = np.flatnonzero(portal.parent == node)
        if not len(children):
            raise AnatomyError(
                "the portal vein is not seen to divide into a left and a right branch: Couinaud segments need both"
            )
        order = children[np.argsort(-fed.fed_ml[children], kind="stable")]
        if len(order) > 1 and fed.fed_ml[order[1]] >= _MAIN_SHARE * total:
            break
        node = int(order[0])
    across = [float((_centre(fed, int(child)) - frame.origin) @ frame.left) for child in order[:2]]
    left, right = (order[0], order[1]) if across[0] > across[1] else (order[1], order[0])
    return node, int(left), int(right)


def _centre(fed: Territories, node: int) -> Array:
    """Mean position of what a node feeds, weighted by volume and told from the nodes."""
    below = fed.tree.below(node)
    weight = fed.node_ml[below] + 1e-9
    return np.asarray((fed.tree.points[below] * weight[:, None]).sum(axis=0) / weight.sum())


def _main_nodes(portal: VesselTree, fed: Territories) -> NDArray[np.bool_]:
    """Nodes of the main branches: they feed more than a counted unit and still divide."""
    return np.asarray((fed.fed_ml > _UNIT_ML) & (portal.strahler > 1))


def _geometric(
    fed: Territories,
    frame: _Frame,
    hepatic: VesselTree,
    veins: dict[str, NDArray[np.int64]],
    portal: VesselTree,
    forks: tuple[int, int, int],
) -> NDArray[np.uint8]:
    """Segment of each voxel by where it lies between the veins' and the portal branches' borders."""
    places = np.argwhere(fed.node >= 0)
    direction = np.array(fed.image.GetDirection()).reshape(3, 3)
    points = (
        np.asarray(fed.image.GetOrigin())
        + (places[:, ::-1] * np.asarray(fed.image.GetSpacing())) @ direction.T
    )
    angle, radius, height = frame(points)
    sector = np.zeros(len(places), dtype=np.int64)
    for name in ("left", "middle", "right"):
        at, out, _ = frame(hepatic.points[veins[name]])
        order = np.argsort(out, kind="stable")
        sector += angle > np.interp(radius, out[order], _evened(at[order]))
    fork, left, right = forks
    upper = height > frame.height(portal.points[_divides(portal, fed, right)])
    # Segment II lies above and behind the umbilical part of the left branch, III below and before it.
    umbilical = _divides(portal, fed, left)
    moved = points - portal.points[umbilical]
    lateral = sector < 1
    upper[lateral] = (moved @ frame.up > moved @ frame.front)[lateral]
    segment = np.where(upper, _UPPER[sector], _LOWER[sector])
    segment[_caudate(points, frame, portal, fork, umbilical)] = 1
    array = np.zeros(fed.node.shape, dtype=np.uint8)
    array[tuple(places.T)] = segment
    return array


def _evened(angle: Array) -> Array:
    """Angles along a vein as a running mean of five, so that a border does not copy the jitter of a centreline."""
    return np.asarray(ndimage.uniform_filter1d(angle, 5, mode="nearest"))


def _divides(portal: VesselTree, fed: Territories, begin: int) -> int:
    """Node at which a main branch divides into large ones, or its first node where it does not."""
    share = 0.25 * fed.fed_ml[begin]
    node = begin
    while True:
        children = np.flatnonzero(portal.parent == node)
        large = children[fed.fed_ml[children] >= share]
        if len(large) != 1:
            return node if len(large) else begin
        node = int(large[0])


def _caudate(
    points: Array, frame: _Frame, portal: VesselTree, fork: int, umbilical: int
) -> NDArray[np.bool_]:
    """Voxels of segment I: behind the transverse part of the left portal branch, before and to the left of the cava."""
    transverse = [umbilical]
    while transverse[-1] != fork:
        transverse.append(int(portal.parent[transverse[-1]]))
    line = portal.points[transverse] - frame.origin
    across, ahead = line @ frame.left, line @ frame.front
    order = np.argsort(across, kind="stable")
    moved = points - frame.origin
    x, y, z = moved @ frame.left, moved @ frame.front, moved @ frame.up
    between = (x > -_CAUDATE_RIGHT_MM) & (x < across.max())
    above = z > frame.height(portal.points[fork]) - _CAUDATE_BELOW_MM
    return np.asarray(between & (y < np.interp(x, across[order], ahead[order])) & above & (z < 0.0))


def _by_branch(fed: Territories, geometric: NDArray[np.uint8], main: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Segment of each voxel: that of most of its branch's territory; along the main branches its own."""
    parent = fed.tree.parent
    unit = np.full(len(parent), -1, dtype=np.int64)
    count = 0
    for row in range(len(parent)):
        if main[row]:
            continue
        above = parent[row]
        if above >= 0 and not main[above]:
            unit[row] = unit[above]
        else:
            unit[row], count = count, count + 1
    own = np.concatenate([unit, [-1]])[fed.node]
    inside = own >= 0
    votes = np.zeros((max(count, 1), 9), dtype=np.int64)
    np.add.at(votes, (own[inside], geometric[inside]), 1)
    segment = geometric.copy()
    segment[inside] = votes.argmax(axis=1).astype(np.uint8)[own[inside]]
    return segment


def _without_islands(segment: NDArray[np.uint8], voxel_ml: float) -> NDArray[np.uint8]:
    """Small pieces of a segment that are cut off from its largest one go to the nearest other segment."""
    box = ndimage.find_objects((segment > 0).view(np.uint8))[0]
    whole, segment = segment, segment[box]
    stays = np.zeros(segment.shape, dtype=bool)
    for value in range(1, 9):
        parts, count = ndimage.label(segment == value)
        if count == 0:
            continue
        size = np.bincount(parts.ravel())
        size[0] = 0
        keep = size * voxel_ml >= _ISLAND_ML
        keep[int(size.argmax())] = True
        keep[0] = False
        stays |= keep[parts]
    near = ndimage.distance_transform_edt(~stays, return_distances=False, return_indices=True)
    whole[box] = np.where(segment > 0, segment[tuple(near)], 0)
    return whole
