"""A patient made from a seed: the scan, its truth, and what a textbook would say of them.

The organs are built one after the other, each making room for those before it; the vessel trees are grown inside
the finished liver; everything is then painted into the scan. Same seed, size and slice distance: same bits.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from anatomy.progress import Progress, silent
from sample_scans import bowel, chest, liver, skeleton, torso, vessels, viscera
from sample_scans.frame import Frame
from sample_scans.rendering import NAMES, VALUE, render
from sample_scans.shapes import Field
from sample_scans.torso import Body
from sample_scans.trees import MURRAY_EXPONENT, VesselTree, grow_tree

PORTAL_TERMINALS, HEPATIC_TERMINALS = 150, 120
HEPATIC_UNIT_MM = 1.16


@dataclass(frozen=True, eq=False)
class Patient:
    """A synthetic patient.

    Parameters
    ----------
    scan : SimpleITK.Image
        CT, int16 HU, LPS mm.
    labels : LabelMap
        Truth on the grid of the scan, uint8.
    trees : dict of str to VesselTree
        `portal_vein` and `hepatic_vein` inside the liver, as graphs in LPS mm.
    description : dict
        JSON-ready: seed, volumes (ml), tumours (centre LPS mm, diameter mm), habitus.
    """

    scan: sitk.Image
    labels: LabelMap
    trees: dict[str, VesselTree]
    description: dict[str, object]


def make_patient(
    seed: int = 1, *, size: int = 512, slice_mm: float = 2.5, progress: Progress = silent
) -> Patient:
    """A portal-venous CT of the upper abdomen of a patient who does not exist.

    Parameters
    ----------
    seed : int
        Which patient: 0 or more. Anatomy, lie on the table and noise follow from it alone.
    size : int
        Pixels along x and y, 96 to 768; the field of view is 384 mm.
    slice_mm : float
        Distance of the slices and their thickness, 1 to 6 mm; the scan is 260 mm long.
    progress : Progress
        Told of each stage.

    Raises
    ------
    AnatomyError
        If an argument is out of its range.
    """
    _check(seed, size, slice_mm)
    rng = np.random.default_rng(seed)
    progress("shaping the body", 0.0)
    body = Body(Frame(size, slice_mm, rng), rng)
    _build(body, progress)
    progress("growing vessels", 0.0)
    trees, tumours, facts = _inside_liver(body)
    hounsfield, labels = render(body, tumours, trees, rng, progress)
    liver_value = VALUE["liver"]
    labels = _one_piece(labels, liver_value, body)
    scan, truth = _image(hounsfield, body.frame), LabelMap(_image(labels, body.frame), _names(labels))
    progress("done", 1.0)
    return Patient(scan, truth, trees, _describe(seed, body, truth, facts, labels))


def _check(seed: int, size: int, slice_mm: float) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 10**9:
        raise AnatomyError(
            f"the seed of a sample patient is {seed!r}; give a whole number from 0 to 999999999"
        )
    if not isinstance(size, int | np.integer) or not 96 <= size <= 768:
        raise AnatomyError(
            f"a sample scan of {size} pixels cannot be made; give a whole number from 96 to 768"
        )
    if not 1.0 <= slice_mm <= 6.0:
        raise AnatomyError(f"a sample scan with {slice_mm} mm slices cannot be made; give 1 to 6 mm")


def _build(body: Body, progress: Progress) -> None:
    """Every organ's field, in the order in which organs make room for one another."""
    stages = (
        torso.build_trunk, skeleton.build_spine, skeleton.build_ribs, vessels.build_great_vessels, chest.build_heart,
        chest.build_gullet, chest.build_lungs, viscera.build_kidneys, viscera.plan_pancreas, liver.build_liver,
        vessels.build_portal, viscera.build_adrenals, viscera.build_spleen, viscera.build_pancreas,
        viscera.build_stomach, bowel.build_duodenum, bowel.build_colon, bowel.build_loops,
    )  # fmt: skip
    for number, stage in enumerate(stages):
        progress("shaping the body", number / len(stages))
        stage(body)


def _inside_liver(body: Body) -> tuple[dict[str, VesselTree], list[Field], list[dict[str, object]]]:
    """Vessel trees and tumours: first branches, then tumours beside them, then the finer tree around both."""
    frame, rng = body.frame, body.rng
    portal, portal_parents, hepatic, hepatic_parents = liver.stems(body)
    portal_world, hepatic_world = frame.to_world(np.array(portal)), frame.to_world(np.array(hepatic))
    stem_points, stem_radii = _stem_samples(portal_world, portal_parents, hepatic_world, hepatic_parents)
    centres, radii = liver.tumour_sites(body, stem_points, stem_radii)
    tumours = [liver.tumour_field(body, c, float(r)) for c, r in zip(centres, radii, strict=True)]
    solid = np.column_stack([centres, centres, radii * 1.14])
    step = np.array([frame.step, frame.step, frame.slice_mm])
    organ = (np.ascontiguousarray(body["liver"]), frame.origin, step)
    hepatic_stems = _capsules(hepatic_world, hepatic_parents, 4.2)
    root = float(body.lines["portal_main"][-1, 3])
    leaves = len(set(range(len(portal))) - set(portal_parents))
    unit = root / np.cbrt(PORTAL_TERMINALS + leaves)
    portal_tree = grow_tree(
        portal_world, portal_parents, PORTAL_TERMINALS, unit, organ, np.vstack([solid, hepatic_stems]), rng
    )
    starts, ends, thick = portal_tree.segments
    hepatic_tree = grow_tree(
        hepatic_world, hepatic_parents, HEPATIC_TERMINALS, HEPATIC_UNIT_MM, organ,
        np.vstack([solid, np.column_stack([starts, ends, thick])]), rng,
    )  # fmt: skip
    facts: list[dict[str, object]] = [
        {"centre_mm": np.round(c, 2).tolist(), "diameter_mm": round(2.0 * float(r), 2)}
        for c, r in zip(centres, radii, strict=True)
    ]
    return {"portal_vein": portal_tree, "hepatic_vein": hepatic_tree}, tumours, facts


def _capsules(points: NDArray[np.float64], parents: list[int], radius: float) -> NDArray[np.float64]:
    rows = [r for r, up in enumerate(parents) if up >= 0]
    ups = [parents[r] for r in rows]
    return np.column_stack([points[ups], points[rows], np.full(len(rows), radius)])


def _stem_samples(portal, portal_parents, hepatic, hepatic_parents):  # type: ignore[no-untyped-def]
    """Points along the first branches and their calibres, for the distance from tumours; thin ends are left out."""
    parts = []
    for points, parents, radius in ((portal, portal_parents, 4.8), (hepatic, hepatic_parents, 4.2)):
        ends = _capsules(points, parents, radius)
        leaf = np.array([row not in parents for row, up in enumerate(parents) if up >= 0])
        for t in np.linspace(0.0, 1.0, 9):
            thick = ends[~leaf] if t > 0.55 else ends
            parts.append(np.column_stack([thick[:, :3] + t * (thick[:, 3:6] - thick[:, :3]), thick[:, 6]]))
    all_ = np.vstack(parts)
    return all_[:, :3], all_[:, 3]


def _one_piece(labels: NDArray[np.uint8], value: int, body: Body) -> NDArray[np.uint8]:
    """Voxels of an organ cut off from its largest piece become the fat around it."""
    pieces, count = ndimage.label(labels == value)
    if count > 1:
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        labels[(pieces > 0) & (pieces != sizes.argmax())] = VALUE["torso_fat"]
    return labels


def _names(labels: NDArray[np.uint8]) -> dict[int, str]:
    present = np.bincount(labels.ravel(), minlength=len(NAMES) + 1)
    return {value: name for value, name in enumerate(NAMES, start=1) if present[value]}


def _image(array: NDArray[np.int16] | NDArray[np.uint8], frame: Frame) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((frame.pixel_mm, frame.pixel_mm, frame.slice_mm))
    image.SetOrigin([float(v) for v in frame.origin])
    return image


def _describe(seed, body, truth, tumours, labels):  # type: ignore[no-untyped-def]
    """What is known of the patient, ready for JSON."""
    volumes = {name: round(ml, 2) for name, ml in truth.volumes_ml.items()}
    inside = ("liver", "liver_tumour", "portal_vein", "hepatic_vein")
    return {
        "seed": int(seed),
        "phase": "portal-venous",
        "volumes_ml": volumes,
        "liver_with_contents_ml": round(sum(volumes.get(n, 0.0) for n in inside), 1),
        "tumours": tumours,
        "scale": [round(float(s), 4) for s in body.frame.scale],
        "roll_deg": round(float(np.rad2deg(body.frame.roll)), 3),
        "subcutaneous_fat_front_mm": round(body.fat_front, 1),
        "murray_exponent": MURRAY_EXPONENT,
        "labels_sha256": hashlib.sha256(labels.tobytes()).hexdigest(),
    }
