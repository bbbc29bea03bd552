"""The brain in a T1-weighted MR image of the head, with grey matter, white matter and ventricles.

Protocol. The head is found and the coils' bias removed (`mr_head`); the classes of the middle of the head say what
brain looks like. Tissue as bright as brain is cut into what holds together after its surface is worn off: brain in the
middle; scalp, muscles, eyes, dura and neck elsewhere. It is worn off as little as leaves no scalp hanging on the brain,
which lies nowhere within a centimetre of the skin. Every piece then grows back along the thickest tissue
(watershed from markers), so that what belongs to a muscle goes to the muscle, and brain's is brain's: also the small
pieces beside it that are as bright as its cortex, the leaves of the cerebellum. The cord is cut where the section falls
below that of the medulla. Furrows are closed and ventricles filled, for the brain is the organ with the fluid between
its folds, but not the wide pools of fluid under it; the border is last placed on the scan's own grid half-way between
brain and what is dark around it. Classes of tissue follow within it (`mr_tissues`).

Sources of the method: Shattuck et al. 2001, NeuroImage 13:856 (wearing off and growing back); Hahn & Peitgen 2000,
MICCAI 1935:134 (watershed of the head in T1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from anatomy.progress import Progress, silent
from anatomy.scan import Scan
from anatomy.segmentation.morphology import Mask, closed, distance, grow, opened, shrink, smoothed
from anatomy.segmentation.mr_head import Head, Volume, around, find_head, log_bias_on
from anatomy.segmentation.mr_tissues import Tissues, classify, find_ventricles

#: What the protocol finds; the tissues are parts of the brain.
STRUCTURES = ("brain", "grey_matter", "white_matter", "ventricles")

# Scalp and skull together are thicker than this in adults and children of school age.
_SKIN_MM = 6.0
_SHALLOW_MM, _SHALLOW_ML = 11.0, 3.0
_WORN_MM = (1.6, 2.2, 3.1, 3.8, 4.6)
_CORD_MM2 = 700.0
# Pieces this small, this near to the core and this far on the way from the dark limit to grey matter are leaves of the
# cerebellum and tips of folds, worn off from the core; dura and muscle are darker.
_LEAF_ML, _LEAF_MM, _LEAF_BRIGHTNESS = 0.3, 5.0, 0.8
# The crest of a fold, thinner than a voxel or two, stands out this far; strands of dura and nerves reach further.
_CREST_MM = 3.0
# Half the width of the clefts that are the brain's own: folds are closed, the pools of fluid around the brain stem and
# between cerebrum and cerebellum, 1 to 2 cm wide, are not.
_FURROW_MM, _POOL_MM = 4.0, 9.0
# Brains of adults measure 1000 to 1700 ml; with fluid and extremes of age and illness, 600 to 2200.
_LEAST_ML, _MOST_ML = 500.0, 2300.0


@dataclass(frozen=True, eq=False)
class Brain:
    """A brain on the scan's own grid.

    Parameters
    ----------
    brain, grey, white, ventricles : ndarray, shape (z, y, x), bool
        The organ with the fluid in and between its folds, and its parts.
    confidence : dict of str to float
        Of each structure, 0 to 1.
    warnings : tuple of str
        What a person should know.
    """

    brain: Mask
    grey: Mask
    white: Mask
    ventricles: Mask
    confidence: dict[str, float]
    warnings: tuple[str, ...]

    def mask(self, name: str) -> Mask:
        """A structure by its name."""
        return {
            "brain": self.brain,
            "grey_matter": self.grey,
            "white_matter": self.white,
            "ventricles": self.ventricles,
        }[name]


def find_brain(scan: Scan, progress: Progress = silent) -> Brain:
    """Find the brain and its tissues.

    Parameters
    ----------
    scan : Scan
        T1-weighted MR image of the head, voxels up to about 3 mm.
    progress : Progress
        Told the stage and its share.

    Raises
    ------
    AnatomyError
        If the image shows no head, is not T1-weighted, or what is found has not the size of a brain.
    """
    head = find_head(scan, progress)
    progress("Looking for the brain", 0.0)
    organ = _extracted(head) if head.extracted else _organ(head)
    progress("Looking for the brain", 0.7)
    volume = organ.sum() * head.edge_mm**3 / 1000.0
    if not _LEAST_ML <= volume <= _MOST_ML:
        raise AnatomyError(
            f"what looks like the brain measures {volume:.0f} ml, which no whole brain does: is it a T1-weighted "
            "scan of a whole head?"
        )
    placed = _Placed(scan, head, organ)
    progress("Telling grey from white matter", 0.0)
    return placed.result(progress)


def label_brain(scan: Scan, wanted: Sequence[str], progress: Progress = silent) -> LabelMap:
    """A label map of the brain's structures that are wanted, values 1, 2, … in their order.

    Tissues take their voxels from `brain`, whose own label is then what is left: the fluid in its furrows.

    Raises
    ------
    AnatomyError
        As `find_brain`.
    """
    found = find_brain(scan, progress)
    array = np.zeros(scan.array.shape, dtype=np.uint8)
    for name in STRUCTURES:
        if name in wanted:
            array[found.mask(name)] = wanted.index(name) + 1
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(scan.image)
    confidence = {name: round(found.confidence[name], 3) for name in wanted}
    return LabelMap(image, dict(enumerate(wanted, start=1)), confidence, found.warnings)


def _organ(head: Head) -> Mask:
    """The brain on the working grid."""
    edge, classes = head.edge_mm, head.classes
    dark = 0.5 * (classes.fluid + classes.grey)
    bright = classes.white + (classes.white - classes.grey)
    depth = distance(~head.mask, edge)
    tissue = (head.values > dark) & (head.values < bright) & (depth > _SKIN_MM)
    core, others = _pieces(head, tissue, depth)
    mask = _grown_back(tissue, core, others, edge)
    mask = _without_cord(mask, head, edge)
    mask &= grow(opened(mask, 1.0 * edge, edge), _CREST_MM, edge)
    mask = closed(mask, _FURROW_MM, edge)
    return np.asarray(ndimage.binary_fill_holes(mask))


def _extracted(head: Head) -> Mask:
    """The brain where somebody took everything else away before."""
    return np.asarray(ndimage.binary_fill_holes(opened(head.mask, head.edge_mm, head.edge_mm)))


def _pieces(head: Head, tissue: Mask, depth: Volume) -> tuple[Mask, Mask]:
    """The brain's core and the cores of everything else, after the least wear that frees the brain of the scalp."""
    edge = head.edge_mm
    within = distance(~tissue, edge)
    middle = around(tissue.shape, head.centre, edge) < 45.0
    for worn in _WORN_MM:
        parts, _ = ndimage.label(within > worn)
        counts = np.bincount(parts[middle], minlength=2)
        counts[0] = 0
        core = parts == int(counts.argmax())
        shallow = np.count_nonzero(core & (depth < _SHALLOW_MM)) * edge**3 / 1000.0
        if shallow < _SHALLOW_ML:
            break
    core = _without_cord(core, head, edge)
    parts[core] = 0
    leaves = _leaves(head, parts, core)
    return core | leaves, (parts > 0) & ~leaves


def _leaves(head: Head, parts: NDArray[np.int32], core: Mask) -> Mask:
    """Of the numbered pieces beside the brain's core, those that are brain as well."""
    edge, classes = head.edge_mm, head.classes
    numbers = np.arange(parts.max() + 1)
    near = np.zeros(len(numbers), dtype=bool)
    near[parts[distance(core, edge) <= _LEAF_MM]] = True
    small = np.bincount(parts.ravel()) * edge**3 / 1000.0 < _LEAF_ML
    dark = 0.5 * (classes.fluid + classes.grey)
    least = dark + _LEAF_BRIGHTNESS * (classes.grey - dark)
    bright = np.asarray(ndimage.median(head.values, parts, numbers)) > least
    leaf = near & small & bright
    leaf[0] = False
    return np.asarray(leaf[parts])


def _grown_back(tissue: Mask, core: Mask, others: Mask, edge: float) -> Mask:
    """Every tissue voxel to the core from which it is reached along the thickest tissue."""
    near = distance(core, edge) < 12.0
    box = ndimage.find_objects(near.astype(np.uint8))[0]
    markers = np.zeros(tissue[box].shape, dtype=np.uint8)
    markers[others[box]] = 2
    markers[~near[box] & tissue[box] & ~core[box]] = 2
    markers[core[box]] = 1
    markers[~tissue[box]] = 3
    thin = sitk.GetImageFromArray(-distance(~tissue[box], edge))
    flooded = sitk.MorphologicalWatershedFromMarkers(thin, sitk.GetImageFromArray(markers), False, False)
    mask = np.zeros_like(tissue)
    mask[box] = (sitk.GetArrayFromImage(flooded) == 1) & tissue[box]
    return mask


def _without_cord(mask: Mask, head: Head, edge: float) -> Mask:
    """The mask above the level where its section falls below the medulla's, seen from the middle downwards."""
    sections = ndimage.gaussian_filter1d(mask.sum(axis=(1, 2)) * edge**2, 1.0)
    middle = int(head.centre[0])
    small = np.flatnonzero(sections[:middle] < _CORD_MM2)
    cut = int(small.max()) if small.size else 0
    # The medulla goes on a little below the cerebellum.
    kept = mask.copy()
    kept[: max(0, cut - int(6.0 / edge))] = False
    return kept


class _OrderLPS:
    """Masks of an image turned to axes L, P, S and back."""

    def __init__(self, image: sitk.Image) -> None:
        self.image = image
        self.spacing = np.array(sitk.DICOMOrient(image, "LPS").GetSpacing()[::-1])

    def turned(self, mask: Mask) -> Mask:
        """A mask of the image in L-P-S order."""
        part = sitk.GetImageFromArray(mask.astype(np.uint8))
        part.CopyInformation(self.image)
        return np.asarray(sitk.GetArrayFromImage(sitk.DICOMOrient(part, "LPS")), dtype=bool)

    def back(self, mask: Mask) -> Mask:
        """A mask in L-P-S order in the image's own."""
        part = sitk.GetImageFromArray(mask.astype(np.uint8))
        part.CopyInformation(sitk.DICOMOrient(self.image, "LPS"))
        moved = sitk.Resample(part, self.image, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
        return np.asarray(sitk.GetArrayFromImage(moved), dtype=bool)


class _Placed:
    """The brain brought to the scan's own grid, with its tissues."""

    def __init__(self, scan: Scan, head: Head, organ: Mask) -> None:
        self.scan, self.head, self.organ = scan, head, organ

    def result(self, progress: Progress) -> Brain:
        """Everything, in the scan's own voxel order."""
        tissues = self.tissues
        progress("Telling grey from white matter", 0.7)
        ventricles = self._ventricles()
        warnings = list(self.head.warnings) + self._warnings()
        confidence = self._confidence()
        if not ventricles.any():
            warnings.append("no ventricle was found: is fluid dark in this image?")
        progress("Telling grey from white matter", 1.0)
        brain, grey, white, pools = map(self._whole, (self.brain, tissues.grey, tissues.white, ventricles))
        return Brain(brain, grey, white, pools, confidence, tuple(warnings))

    @cached_property
    def box(self) -> tuple[slice, slice, slice]:
        """Voxels (z, y, x) of the scan's grid that hold the brain."""
        level = self._moved(self.scan.image)
        z, y, x = ndimage.find_objects((level > 0.02).astype(np.uint8))[0]
        return z, y, x

    def _moved(self, image: sitk.Image) -> Volume:
        soft = sitk.GetImageFromArray(smoothed(self.organ, 1.0, self.head.edge_mm))
        soft.CopyInformation(self.head.image)
        moved = sitk.Resample(soft, image, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)
        return np.asarray(sitk.GetArrayFromImage(moved))

    @cached_property
    def image(self) -> sitk.Image:
        """The scan's part in the box, float32."""
        z, y, x = self.box
        part = self.scan.image[x.start : x.stop, y.start : y.stop, z.start : z.stop]
        return sitk.Cast(part, sitk.sitkFloat32)

    @cached_property
    def values(self) -> Volume:
        """Grey values in the box, the bias removed."""
        raw = sitk.GetArrayFromImage(self.image)
        return np.asarray(raw / np.exp(log_bias_on(self.image, self.head)), dtype=np.float32)

    @cached_property
    def spacing(self) -> NDArray[np.float64]:
        """Voxel edges along z, y, x, mm."""
        return np.array(self.image.GetSpacing()[::-1])

    @cached_property
    def brain(self) -> Mask:
        """The brain in the box; near its border a voxel's own value decides whether it is brain."""
        level = self._moved(self.image)
        classes = self.head.classes
        half = 0.5 * (classes.grey + classes.fluid)
        share = np.clip((self.values - classes.fluid) / (classes.grey - classes.fluid), 0.0, 1.0)
        border = (level > 0.25) & (level < 0.75) & (self.values < half + 2.0 * (classes.white - half))
        level = np.where(border, 0.6 * level + 0.4 * share, level)
        return np.asarray(level > 0.5)

    @cached_property
    def tissues(self) -> Tissues:
        """Classes within the brain."""
        return classify(self.values, self.brain, self.head.classes, self.spacing)

    def _ventricles(self) -> Mask:
        # The place of ventricles is told in the patient's axes, whatever the order of the scan's voxels.
        order = _OrderLPS(self.image)
        fluid, depth = order.turned(self.tissues.fluid), self._depth()
        return order.back(find_ventricles(fluid, depth > 0, depth, order.spacing))

    def _depth(self) -> Volume:
        """Depth in the box under the brain's outline, the pools of fluid under it taken in, mm; axes L, P, S."""
        edge = self.head.edge_mm
        whole = np.pad(closed(self.organ, _POOL_MM, edge), 1)
        depth = sitk.GetImageFromArray(distance(~whole, edge)[1:-1, 1:-1, 1:-1])
        depth.CopyInformation(self.head.image)
        grid = sitk.DICOMOrient(self.image, "LPS")
        moved = sitk.Resample(depth, grid, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)
        return np.asarray(sitk.GetArrayFromImage(moved))

    def _whole(self, part: Mask) -> Mask:
        whole = np.zeros(self.scan.array.shape, dtype=bool)
        whole[self.box] = part
        return whole

    def _confidence(self) -> dict[str, float]:
        sharp = self._border_sharpness()
        # Two Gaussians with means d deviations apart are told right with probability (1 + erf(d / sqrt(8))) / 2.
        told = float(np.clip(self.tissues.separation / 4.0, 0.0, 1.0))
        return {"brain": sharp, "grey_matter": sharp * told, "white_matter": told, "ventricles": told}

    def _border_sharpness(self) -> float:
        """Share of the brain's surface outside of which, within 4 mm, it is dark as fluid or skull."""
        edge = self.head.edge_mm
        half = 0.5 * (self.head.classes.fluid + self.head.classes.grey)
        dark = (self.head.values < half) & ~shrink(self.organ, 2.0, edge)
        surface = self.organ & ~ndimage.binary_erosion(self.organ)
        return float(grow(dark, 4.0, edge)[surface].mean())

    def _warnings(self) -> list[str]:
        said = []
        for axis, word in ((0, "top or bottom"), (1, "front or back"), (2, "side")):
            ends = np.take(self.organ, [0, -1], axis).any()
            if ends:
                said.append(f"the brain reaches the {word} of the scan: its volume is that of the part seen")
        if self.tissues.separation < 2.0:
            said.append("grey and white matter differ little from the noise: their border is unsure")
        return said
