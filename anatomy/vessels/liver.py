"""The vessels of a liver: its trees from a label map, and the segments that follow from them.

Roots are found where a tree meets its great vessel: the portal tree at the portal trunk, the hepatic veins at the vena
cava, where either is in the label map. A portal tree whose trunk is not in the map begins where it is widest among the
places at which its wall reaches the liver's surface, for there the trunk came in; any other part begins at its widest
end. A common label `liver_vessels`
is divided first, where the great vessels allow it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from anatomy.progress import Progress, silent
from anatomy.vessels.centreline import Array, centreline
from anatomy.vessels.couinaud import Couinaud, couinaud_segments
from anatomy.vessels.grid import cubic
from anatomy.vessels.systems import LIVER_SYSTEMS, tell_apart
from anatomy.vessels.tree import VesselTree

#: What lies inside the liver and counts as liver when it is divided.
WITHIN = (
    "liver",
    "liver_tumour",
    "portal_vein",
    "hepatic_vein",
    "hepatic_artery",
    "liver_vessels",
    "bile_duct",
)
# A tree begins within this distance of the great vessel it joins, mm.
_CONTACT_MM = 6.0
# A place of contact that is less wide than this share of the widest is no mouth: a small vein that lies beside.
_MOUTH_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class LiverVessels:
    """What is known of a liver's vessels.

    Parameters
    ----------
    trees : dict of str to VesselTree
        Of `portal_vein`, `hepatic_vein`, `hepatic_artery`, those that the label map has.
    couinaud : Couinaud or None
        Its segments; None where the trees do not allow them.
    warnings : list of str
        What a person should know.
    """

    trees: dict[str, VesselTree]
    couinaud: Couinaud | None
    warnings: list[str] = field(default_factory=list)

    def describe(self) -> dict[str, Any]:
        """JSON-ready numbers: of each tree, and the volumes of the segments in ml."""
        return {
            "trees": {name: describe_tree(tree) for name, tree in self.trees.items()},
            "segments_ml": None if self.couinaud is None else self.couinaud.labels.volumes_ml,
            "warnings": self.warnings,
        }


def describe_tree(tree: VesselTree) -> dict[str, float]:
    """Branches, highest Strahler order, length (mm), blood volume (ml) and widest calibre (mm) of a tree."""
    branches = tree.branches
    return {
        "branches": len(branches),
        "strahler": int(tree.strahler.max()),
        "length_mm": round(float(tree.length_to_parent_mm.sum()), 1),
        "volume_ml": round(tree.volume_ml, 2),
        "calibre_mm": round(max((branch.calibre_mm for branch in branches), default=0.0), 2),
    }


def liver_vessels(labels: LabelMap, progress: Progress = silent) -> LiverVessels:
    """Trees and segments of the liver in a label map.

    Parameters
    ----------
    labels : LabelMap
        Holds `portal_vein`, `hepatic_vein` or `hepatic_artery` inside the liver, or `liver_vessels` with the great
        vessels they join; segments need `liver`, `portal_vein` and `hepatic_vein`.
    progress : Progress

    Returns
    -------
    LiverVessels
        Without trees where the map has no vessels.
    """
    warnings: list[str] = []
    # A label map of another organ may name vessels of which it holds no voxel.
    maps = {name: labels for name in LIVER_SYSTEMS if labels.volumes_ml.get(name, 0.0) > 0.0}
    if "liver_vessels" in labels.structures and len(maps) < 2:
        try:
            apart = tell_apart(labels)
            maps |= dict.fromkeys(apart.labels.structures, apart.labels)
        except AnatomyError as error:
            warnings.append(f"vessels inside the liver: {error}")
    trees = {}
    for number, (name, source) in enumerate(maps.items()):
        progress("following the liver's vessels", 0.5 * number / len(maps))
        mask = source.image == source.value(name)
        trees[name] = centreline(mask, _mouths(mask, name, labels))
    couinaud = _segments(labels, trees, warnings, progress)
    progress("following the liver's vessels", 1.0)
    return LiverVessels(trees, couinaud, warnings)


def whole_liver(labels: LabelMap) -> sitk.Image:
    """Mask of the liver with all that lies in it, as an image of 0 and 1."""
    values = [labels.value(name) for name in WITHIN if name in labels.structures]
    image = sitk.GetImageFromArray(np.isin(labels.array, values).astype(np.uint8))
    image.CopyInformation(labels.image)
    return image


def _segments(
    labels: LabelMap, trees: dict[str, VesselTree], warnings: list[str], progress: Progress
) -> Couinaud | None:
    if "liver" not in labels.structures or not {"portal_vein", "hepatic_vein"} <= trees.keys():
        return None
    try:
        found = couinaud_segments(
            whole_liver(labels), trees["portal_vein"], trees["hepatic_vein"],
            progress=lambda stage, share: progress(stage, 0.5 + 0.5 * share),
        )  # fmt: skip
    except AnatomyError as error:
        warnings.append(f"no Couinaud segments: {error}")
        return None
    warnings += found.labels.warnings
    return found


def _mouths(mask: sitk.Image, name: str, labels: LabelMap) -> Array | None:
    """Where a tree joins its great vessel, shape (r, 3), LPS mm; None where that vessel is not in the map."""
    joined = [great for great in LIVER_SYSTEMS[name] if great in labels.structures and great != name]
    if not joined:
        return _entrance(mask, labels) if name == "portal_vein" and "liver" in labels.structures else None
    grid = cubic(mask, margin_mm=_CONTACT_MM + 2.0)
    near = grid.near(labels.image == labels.value(joined[0]), _CONTACT_MM)
    places = np.argwhere(near)
    if not len(places):
        return None
    contact = ndimage.label(near, np.ones((3, 3, 3)))[0][near]
    depth = grid.depth[near]
    order = np.lexsort((-depth, contact))
    widest = order[np.unique(contact[order], return_index=True)[1]]
    mouths = widest[depth[widest] >= _MOUTH_SHARE * depth.max()]
    return grid.positions(places[mouths])


def _entrance(mask: sitk.Image, labels: LabelMap) -> Array | None:
    """The widest place at which a tree reaches the liver's surface, shape (1, 3), LPS mm; None where it is narrow."""
    grid = cubic(mask, margin_mm=2.0)
    below = sitk.SignedMaurerDistanceMap(
        whole_liver(labels), insideIsPositive=True, squaredDistance=False, useImageSpacing=True
    )
    depth = np.where(grid.depth > _MOUTH_SHARE * grid.depth.max(), grid.depth, 0.0)
    places = np.argwhere(depth > 0.0)
    beneath = _sampled(below, grid.positions(places))
    width = depth[tuple(places.T)]
    reaching = np.flatnonzero(beneath <= width)
    if not len(reaching):
        return None
    return grid.positions(places[reaching[[np.argmax(width[reaching])]]])


def _sampled(image: sitk.Image, points: Array) -> Array:
    """Values of an image at points (k, 3) LPS mm, linear between voxels."""
    direction = np.array(image.GetDirection()).reshape(3, 3)
    index = ((points - image.GetOrigin()) @ direction) / np.asarray(image.GetSpacing())
    return np.asarray(
        ndimage.map_coordinates(sitk.GetArrayViewFromImage(image), index[:, ::-1].T, order=1, mode="nearest")
    )
