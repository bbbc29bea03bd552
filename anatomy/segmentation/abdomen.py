"""One scan's workspace: what several structures share is found once, and all of them end on the scan's grid."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cached_property

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from anatomy import structures as vocabulary
from anatomy.errors import AnatomyError
from anatomy.progress import Progress
from anatomy.scan import Scan
from anatomy.segmentation import ct_warnings
from anatomy.segmentation.border import border_sharpness, place_border
from anatomy.segmentation.ct_body import Body, find_body
from anatomy.segmentation.ct_bone import find_whole_bone
from anatomy.segmentation.ct_gallbladder import find_gallbladder
from anatomy.segmentation.ct_great_vessels import GreatVessel, find_aorta, find_cava
from anatomy.segmentation.ct_kidneys import Kidney, find_kidneys
from anatomy.segmentation.ct_liver import NATIVE_HU, Liver, find_liver
from anatomy.segmentation.ct_liver_tumour import find_tumours
from anatomy.segmentation.ct_liver_vessels import Vessels, find_vessels
from anatomy.segmentation.ct_lungs import Lungs, find_both_lungs
from anatomy.segmentation.ct_spleen import find_spleen
from anatomy.segmentation.morphology import Mask

# Below this share of clearly owned volume the two venous trees are not offered apart.
_TREES_LEAST = 0.6
# A kidney's ellipsoid fits this well when all of it lies in fat.
_GOOD_FIT = 0.6
_UNSURE = 0.5
# These run on beyond any scan of the abdomen.
_RUNNING_THROUGH = ("aorta", "inferior_vena_cava")


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
        self.warnings: list[str] = ct_warnings.metal(scan)

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

    @cached_property
    def _thickest_mm(self) -> float:
        return float(max(self.scan.spacing_mm))

    @cached_property
    def _both_lungs(self) -> Lungs:
        found = find_both_lungs(self.landmarks, self._thickest_mm)
        self.warnings += found.warnings
        return found

    def lungs(self) -> Mask:
        """Both lungs."""
        found = self._both_lungs
        return self._told("lungs", self._moved(found.left | found.right), found.confidence)

    def lung_left(self) -> Mask:
        """The left lung."""
        return self._told("lung_left", self._moved(self._both_lungs.left), self._both_lungs.confidence)

    def lung_right(self) -> Mask:
        """The right lung."""
        return self._told("lung_right", self._moved(self._both_lungs.right), self._both_lungs.confidence)

    def bone(self) -> Mask:
        """Bone with its marrow."""
        aorta = self._aorta
        vessels = aorta.mask if aorta is not None else np.zeros_like(self.landmarks.trunk)
        found = find_whole_bone(self.landmarks, vessels, self._thickest_mm)
        self.warnings += found.warnings
        return self._told("bone", self._moved(found.mask), found.confidence)

    @cached_property
    def _kidneys(self) -> dict[str, Kidney]:
        self.progress("Looking for the kidneys", 0.0)
        return find_kidneys(self.landmarks)

    def kidney_left(self) -> Mask:
        """The left kidney without the fat of its sinus."""
        return self._kidney("left")

    def kidney_right(self) -> Mask:
        """The right kidney without the fat of its sinus."""
        return self._kidney("right")

    def _kidney(self, side: str) -> Mask:
        found = self._kidneys.get(side)
        if found is None:
            return self._told(f"kidney_{side}", self._nothing(), 0.0)
        return self._placed(f"kidney_{side}", found.mask, found.values.noise, found.fit / _GOOD_FIT)

    def spleen(self) -> Mask:
        """The spleen."""
        self.progress("Looking for the spleen", 0.0)
        found = find_spleen(self.landmarks, self._other_organs())
        if found is None:
            return self._told("spleen", self._nothing(), 0.0)
        return self._placed("spleen", found.mask, found.values.noise, 1.0)

    @cached_property
    def _aorta(self) -> GreatVessel | None:
        self.progress("Following the great vessels", 0.0)
        return find_aorta(self.landmarks)

    def aorta(self) -> Mask:
        """The descending aorta down to where it divides."""
        return self._great_vessel("aorta", self._aorta)

    def cava(self) -> Mask:
        """The inferior vena cava."""
        aorta = self._aorta
        others = aorta.mask if aorta is not None else np.zeros_like(self.landmarks.trunk)
        return self._great_vessel("inferior_vena_cava", find_cava(self.landmarks, others))

    def _great_vessel(self, name: str, found: GreatVessel | None) -> Mask:
        if found is None:
            return self._told(name, self._nothing(), 0.0, " that stands out from what lies beside it")
        return self._placed(name, found.mask, found.values.noise, found.score)

    def gallbladder(self) -> Mask:
        """The gallbladder, only where everything speaks for it."""
        self.progress("Looking for the gallbladder", 0.0)
        liver = self.organ
        others = np.zeros_like(liver.mask)
        for kidney in self._kidneys.values():
            others |= kidney.mask
        if self._aorta is not None:
            others |= self._aorta.mask
        found = find_gallbladder(self.landmarks, liver.mask, liver.value_hu, liver.noise_hu, others)
        if found is None:
            reason = " for certain: it may be removed, empty, or hold stones or dense bile"
            return self._told("gallbladder", self._nothing(), 0.0, reason)
        return self._placed("gallbladder", found.mask, found.values.noise, found.evidence)

    def _other_organs(self) -> Mask:
        """Kidneys, and the liver where there is one."""
        others = np.zeros_like(self.landmarks.trunk)
        for kidney in self._kidneys.values():
            others |= kidney.mask
        with contextlib.suppress(AnatomyError):
            others |= self.organ.mask
        return others

    def liver(self) -> Mask:
        """The whole liver, vessels and tumours within it included."""
        mask = self._liver_mask
        self._say_of("liver", mask)
        return mask

    @cached_property
    def _aorta_hu(self) -> float | None:
        return None if self._aorta is None else self._aorta.values.middle

    def _say_phase(self, name: str) -> None:
        """Warn once where a structure needs another contrast phase than the scan's."""
        phase = ct_warnings.phase(self._aorta_hu, self.organ.value_hu)
        self.warnings += ct_warnings.another_phase(name, phase, self._aorta_hu)

    def _say_of(self, name: str, mask: Mask) -> None:
        """Warn where an organ is cut off, or where a whole one has an odd size."""
        cut = ct_warnings.cut_off(name, mask, self.scan)
        self.warnings += cut or ct_warnings.odd_size(name, mask, self.scan)

    def tumours(self) -> Mask:
        """All dark tumours together."""
        self._say_phase("liver_tumour")
        on_working, confidence = find_tumours(self.organ, self.progress)
        mask = self._moved(on_working) & self._liver_mask
        return self._told("liver_tumour", mask, confidence)

    def vessels(self) -> Mask:
        """All vessels inside the liver."""
        self._say_phase("liver_vessels")
        mask = self._moved(self._blood.mask, self._blood.image) & self._liver_mask
        return self._told("liver_vessels", mask, self._blood.confidence)

    def portal_vein(self) -> Mask:
        """The portal tree inside the liver; empty where it could not be told apart."""
        self._say_phase("portal_vein")
        self.confidence["portal_vein"] = self._blood.confidence * self._blood.trees_confidence
        return self._moved(self._blood.portal, self._blood.image) & self._liver_mask

    def hepatic_vein(self) -> Mask:
        """The hepatic tree inside the liver; empty where it could not be told apart."""
        self._say_phase("hepatic_vein")
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

    def _nothing(self) -> Mask:
        return np.zeros(self.scan.array.shape, dtype=bool)

    def _placed(self, name: str, mask: Mask, noise_hu: float, sure: float) -> Mask:
        """An organ of the working grid on the scan's, with its confidence and what should be said of it."""
        body = self.landmarks
        sharp = border_sharpness(body, mask, noise_hu)
        placed = self._told(name, place_border(body, mask, noise_hu, self.scan.image), min(1.0, sure) * sharp)
        title = vocabulary.find(name).title
        if name not in _RUNNING_THROUGH:
            self._say_of(name, placed)
        if self.confidence[name] < _UNSURE and placed.any():
            self.warnings.append(
                f"the {title} is uncertain (confidence {self.confidence[name]:.2f}): look at its border"
            )
        return placed

    def _told(self, name: str, mask: Mask, confidence: float, reason: str = "") -> Mask:
        """The mask, its confidence noted; a warning where there is none."""
        self.confidence[name] = confidence if mask.any() else 0.0
        if not mask.any():
            self.warnings.append(f"{vocabulary.find(name).title}: none was found in the scan{reason}")
        return mask

    def _moved(self, mask: NDArray[np.bool_], grid: sitk.Image | None = None) -> Mask:
        """A mask of another grid on the scan's, its border interpolated linearly."""
        source = sitk.GetImageFromArray(mask.astype(np.float32))
        source.CopyInformation(grid if grid is not None else self.landmarks.image)
        moved = sitk.Resample(source, self.scan.image, sitk.Transform(), sitk.sitkLinear, 0.0)
        return np.asarray(sitk.GetArrayViewFromImage(moved) > 0.5)


#: What finds each structure of a CT. Later ones take their voxels from earlier ones: a tumour from the liver.
PROTOCOLS: dict[str, Callable[[Abdomen], Mask]] = {
    "body": Abdomen.body_mask,
    "lungs": Abdomen.lungs,
    "lung_left": Abdomen.lung_left,
    "lung_right": Abdomen.lung_right,
    "bone": Abdomen.bone,
    "liver": Abdomen.liver,
    "spleen": Abdomen.spleen,
    "kidney_left": Abdomen.kidney_left,
    "kidney_right": Abdomen.kidney_right,
    "gallbladder": Abdomen.gallbladder,
    "inferior_vena_cava": Abdomen.cava,
    "aorta": Abdomen.aorta,
    "liver_tumour": Abdomen.tumours,
    "liver_vessels": Abdomen.vessels,
    "portal_vein": Abdomen.portal_vein,
    "hepatic_vein": Abdomen.hepatic_vein,
}
