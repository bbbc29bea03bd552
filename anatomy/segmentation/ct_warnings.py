"""What a person should know of a CT and of what was found in it: contrast phase, metal, parts beyond the scan, size.

The phase is guessed from blood and liver, since the scanner's own note of it is often missing or wrong. In the late
arterial phase the aorta has 290 to 360 HU and the liver is hardly brighter than without contrast (radiopaedia.org,
late arterial phase); unenhanced blood has 40 to 50 HU. Sizes are compared with those of healthy adults; outside lies
disease as well as error, so a warning says the number and the range and judges neither.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anatomy import structures as vocabulary
from anatomy.scan import Scan
from anatomy.segmentation.morphology import Mask

# Dental and joint metal exceeds what bone reaches (about 2000 HU).
_METAL_HU = 2500
_CONTRAST_HU, _ARTERIAL_HU = 90.0, 220.0
# The liver has taken up contrast by the portal venous phase: half the aorta's value or more.
_PORTAL_SHARE = 0.45
# Central 95 % of 2989 healthy liver donors, ml (Kim et al. 2021, "Population-based and personalized
# reference intervals for liver and spleen volumes", Radiology).
_VOLUMES_ML = {"liver": (824.5, 1700.0), "spleen": (81.1, 322.0)}
# Mean and two standard deviations of 2068 kidneys' length in CT, mm (Glodny et al. 2009, BMC Urol 9:19).
_LENGTHS_MM = {"kidney_right": (84.1, 132.9), "kidney_left": (86.1, 136.5)}
_NEEDS_PORTAL = ("liver_tumour", "liver_vessels", "portal_vein", "hepatic_vein")


def metal(scan: Scan) -> list[str]:
    """A warning where the scan holds metal."""
    highest = float(scan.array.max())
    if highest <= _METAL_HU:
        return []
    return [f"metal in the scan ({highest:g} HU): streaks may spoil the borders near it"]


def phase(aorta_hu: float | None, liver_hu: float | None) -> str | None:
    """The contrast phase guessed from blood and liver, HU; None where neither tells.

    Returns
    -------
    str or None
        'without contrast', 'arterial', or 'portal venous or later'.
    """
    if aorta_hu is None:
        return None
    if aorta_hu < _CONTRAST_HU:
        return "without contrast"
    if aorta_hu > _ARTERIAL_HU and (liver_hu is None or liver_hu < _PORTAL_SHARE * aorta_hu):
        return "arterial"
    return "portal venous or later"


def another_phase(name: str, found: str | None, aorta_hu: float | None) -> list[str]:
    """A warning where a structure shows best in another phase than the scan's."""
    if name not in _NEEDS_PORTAL or found in (None, "portal venous or later"):
        return []
    title = vocabulary.find(name).title
    return [
        f"{title}: they show in the portal venous phase, and this scan looks {_looks(found)} (aorta {aorta_hu:.0f} HU)"
    ]


def _looks(found: str | None) -> str:
    return f"{found}" if found == "without contrast" else f"like the {found} phase"


def cut_off(name: str, mask: Mask, scan: Scan) -> list[str]:
    """A warning where a structure reaches the scan's border, so that a part of it is missing."""
    places = _borders(mask, scan.direction)
    return [
        f"the {vocabulary.find(name).title} reaches the {places} of the scan: part of it is missing"
    ] * bool(places)


def _borders(mask: Mask, direction: NDArray[np.float64]) -> str:
    """'top', 'top and bottom', 'side', … where the mask lies in the outermost voxels."""
    axial = int(np.abs(direction[2]).argmax())
    found = set()
    for axis in range(3):
        ends = np.moveaxis(mask, 2 - axis, 0)
        words = ("side", "side")
        if axis == axial:
            words = ("bottom", "top") if direction[2, axis] > 0 else ("top", "bottom")
        found |= {word for word, plane in zip(words, (ends[0], ends[-1]), strict=True) if plane.any()}
    return " and ".join(word for word in ("top", "bottom", "side") if word in found)


def odd_size(name: str, mask: Mask, scan: Scan) -> list[str]:
    """A warning where an organ lies outside the sizes of healthy adults."""
    if not mask.any():
        return []
    title = vocabulary.find(name).title
    if name in _VOLUMES_ML:
        low, high = _VOLUMES_ML[name]
        volume = float(mask.sum() * np.prod(scan.spacing_mm)) / 1000.0
        if not low <= volume <= high:
            return [
                f"the {title} has {volume:.0f} ml; 95 % of healthy adults have {low:.0f} to {high:.0f} ml"
            ]
    if name in _LENGTHS_MM:
        low, high = _LENGTHS_MM[name]
        length = _length_mm(mask, scan)
        if not low <= length <= high:
            return [f"the {title} is {length:.0f} mm long; 95 % of adults have {low:.0f} to {high:.0f} mm"]
    return []


def _length_mm(mask: Mask, scan: Scan) -> float:
    """Extent along the longest principal axis, mm."""
    points = np.argwhere(mask)[:, ::-1] * np.asarray(scan.spacing_mm)
    points = points - points.mean(axis=0)
    along = points @ np.linalg.eigh(points.T @ points)[1][:, -1]
    return float(along.max() - along.min())
