"""One scan's workspace: what several structures share is found once, and all of them end on the scan's grid."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from anatomy import structures as vocabulary
from anatomy.progress import Progress
from anatomy.scan import Scan
from anatomy.segmentation.border import border_sharpness, place_border
from anatomy.segmentation.ct_body import Body, find_body
from anatomy.segmentation.ct_liver import NATIVE_HU, Liver, find_liver
from anatomy.segmentation.ct_liver_tumour import find_tumours
from anatomy.segmentation.ct_liver_vessels import Vessels, find_vessels
from anatomy.segmentation.morphology import Mask

# Dental and joint metal exceeds what bone reaches (about 2000 HU).
_METAL_HU = 2500
# Below this share of clearly owned volume the two venous trees are not offered apart.
_TREES_LEAST = 0.6


class Abdomen:
    """Finds structures of one abdominal CT on the scan's own grid, with confidence and warnings.

    Parameters
    ----------
    scan : Scan
        The CT.
    progress : Progress
        Told the stage and its share.
    """

    def __init__(self, scan: Scan, progress: Progress) -> None:
        self.scan = scan
        self.progress = progress
        self.confidence: dict[str, float] = {}
        self.warnings: list[str] = []
        if scan.array.max() > _METAL_HU:
            self.warnings.append(
                f"metal in the scan ({scan.array.max():g} HU): streaks may spoil the borders near it"
            )

    @cached_property
    def landmarks(self) -> Body:
        """Trunk, lungs, bone, spine."""
        self.progress("Finding the body", 0.0)
        return find_body(self.scan)

    @cached_property
    def organ(self) -> Liver:
        """The liver on the working grid."""
        found = find_liver(self.landmarks, self.progress)
        self.confidence["liver"] = border_sharpness(found.body, found.mask, found.noise_hu)
        if found.value_hu < NATIVE_HU:
            self.warnings.append(
                f"the liver shows little or no contrast ({found.value_hu:.0f} HU): "
                "vessels and tumours can hardly be seen"
            )
        return found

    @cached_property
    def _liver_mask(self) -> Mask:
        found = self.organ
        return place_border(found.body, found.mask, found.noise_hu, self.scan.image)

    @cached_property
    def _blood(self) -> Vessels:
        return find_vessels(self.organ, self.scan.image, self.progress)

    def body_mask(self) -> Mask:
        """The trunk."""
        self.confidence["body"] = 1.0
        return self._moved(self.landmarks.trunk)

    def lungs(self) -> Mask:
        """Air-filled lung."""
        mask = self._moved(self.landmarks.lungs)
        self._say_if_missing("lungs", mask, 1.0)
        return mask

    def bone(self) -> Mask:
        """Bone with a cortex."""
        mask = self._moved(self.landmarks.bone) & (self.scan.array > 100)
        self._say_if_missing("bone", mask, 0.9)
        return mask

    def liver(self) -> Mask:
        """The whole liver, vessels and tumours within it included."""
        mask = self._liver_mask
        ends = self._cut_ends(mask)
        if ends:
            self.warnings.append(f"the liver reaches the {ends} of the scan: part of it is missing")
        return mask

    def tumours(self) -> Mask:
        """All dark tumours together."""
        on_working, confidence = find_tumours(self.organ, self.progress)
        mask = self._moved(on_working) & self._liver_mask
        self._say_if_missing("liver_tumour", mask, confidence)
        return mask

    def vessels(self) -> Mask:
        """All vessels inside the liver."""
        mask = self._moved(self._blood.mask, self._blood.image) & self._liver_mask
        self._say_if_missing("liver_vessels", mask, self._blood.confidence)
        return mask

    def portal_vein(self) -> Mask:
        """The portal tree inside the liver; empty where it could not be told apart."""
        self.confidence["portal_vein"] = self._blood.confidence * self._blood.trees_confidence
        return self._moved(self._blood.portal, self._blood.image) & self._liver_mask

    def hepatic_vein(self) -> Mask:
        """The hepatic tree inside the liver; empty where it could not be told apart."""
        self.confidence["hepatic_vein"] = self._blood.confidence * self._blood.trees_confidence
        return self._moved(self._blood.hepatic, self._blood.image) & self._liver_mask

    def merged_trees(self, wanted: list[str], found: dict[str, Mask]) -> list[str]:
        """The structures to offer: one `liver_vessels` where the trees asked for cannot be told apart."""
        trees = [name for name in wanted if name in ("portal_vein", "hepatic_vein")]
        if not trees or (self._blood.trees_confidence >= _TREES_LEAST and all(found[n].any() for n in trees)):
            return wanted
        if self._blood.mask.any():
            self.warnings.append(
                "portal and hepatic veins could not be told apart: they come as one 'liver_vessels'"
            )
        if "liver_vessels" not in found:
            found["liver_vessels"] = self.vessels()
        kept = ["liver_vessels" if name in trees else name for name in wanted]
        return list(dict.fromkeys(kept))

    def _say_if_missing(self, name: str, mask: Mask, confidence: float) -> None:
        self.confidence[name] = confidence if mask.any() else 0.0
        if not mask.any():
            self.warnings.append(f"{vocabulary.find(name).title}: none was found in the scan")

    def _cut_ends(self, mask: Mask) -> str:
        """'top', 'bottom' or 'top and bottom' where the mask reaches the scan's first or last axial slice."""
        direction = self.scan.direction
        axis = int(np.abs(direction[2]).argmax())
        ends = np.moveaxis(mask, 2 - axis, 0)
        first, last = ("bottom", "top") if direction[2, axis] > 0 else ("top", "bottom")
        return " and ".join(
            sorted(
                (word for word, plane in ((first, ends[0]), (last, ends[-1])) if plane.any()), reverse=True
            )
        )

    def _moved(self, mask: NDArray[np.bool_], grid: sitk.Image | None = None) -> Mask:
        """A mask of another grid on the scan's, its border interpolated linearly."""
        source = sitk.GetImageFromArray(mask.astype(np.float32))
        source.CopyInformation(grid if grid is not None else self.landmarks.image)
        moved = sitk.Resample(source, self.scan.image, sitk.Transform(), sitk.sitkLinear, 0.0)
        return np.asarray(sitk.GetArrayViewFromImage(moved) > 0.5)
