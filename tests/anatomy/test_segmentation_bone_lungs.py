"""Bone and lungs: made trunks whose truth is known, and real scans with reference labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from anatomy import LabelMap, Scan, segment
from anatomy.agreement import dice
from anatomy.segmentation.ct_body import Body, find_body
from anatomy.segmentation.ct_bone import WholeBone, find_whole_bone
from anatomy.segmentation.ct_lungs import find_both_lungs
from anatomy.segmentation.morphology import Mask

EDGE = 3.0
SHAPE = (44, 76, 124)
AIR, FAT, MUSCLE, CORTEX, LUNG = -1000.0, -100.0, 50.0, 600.0, -800.0
Z, Y, X = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
BONES = ("vertebra", "rib", "hip", "sacrum", "femur", "humerus", "scapula", "clavicula", "sternum", "skull")


def tube(x: float, y: float, radius_mm: float) -> Mask:
    """Voxels of an upright cylinder, its axis at a voxel of the axial plane."""
    return np.broadcast_to(np.hypot(X - x, Y - y) * EDGE <= radius_mm, SHAPE)


def trunk_of_a_body(marrow: float = 150.0, noise_hu: float = 8.0) -> tuple[NDArray[np.float64], Mask]:
    """Values and bone of a trunk: fat around muscle, three vertebral bodies with discs, two lungs."""
    values = np.full(SHAPE, AIR)
    values[np.broadcast_to(np.hypot((X - 55) / 38, (Y - 38) / 28) <= 1, SHAPE)] = FAT
    values[np.broadcast_to(np.hypot((X - 55) / 34, (Y - 38) / 24) <= 1, SHAPE)] = MUSCLE
    for x in (38, 72):
        lung = np.hypot(np.hypot((X - x) / 9, (Y - 34) / 12), (Z - 30) / 12) <= 1
        values[lung] = LUNG
    level = np.broadcast_to(Z % 14, SHAPE)
    bone = tube(55, 48, 19.0) & (level < 11)
    shell = bone & ~(tube(55, 48, 15.5) & (level > 0) & (level < 10))
    values[bone] = marrow
    values[shell] = CORTEX
    values[tube(55, 48, 19.0) & (level >= 11)] = 90.0
    return values + np.random.default_rng(5).normal(0.0, noise_hu, SHAPE), bone


def as_scan(values: NDArray[np.float64]) -> Scan:
    image = sitk.GetImageFromArray(values.astype(np.int16))
    image.SetSpacing([EDGE] * 3)
    return Scan(image)


def on_scan(body: Body, mask: Mask, scan: Scan) -> Mask:
    source = sitk.GetImageFromArray(mask.astype(np.uint8))
    source.CopyInformation(body.image)
    return (
        sitk.GetArrayFromImage(sitk.Resample(source, scan.image, sitk.Transform(), sitk.sitkNearestNeighbor))
        > 0
    )


def bone_of(values: NDArray[np.float64], thickest_mm: float = EDGE) -> tuple[WholeBone, Mask]:
    scan = as_scan(values)
    body = find_body(scan)
    found = find_whole_bone(body, np.zeros_like(body.trunk), thickest_mm)
    return found, on_scan(body, found.mask, scan)


@pytest.mark.parametrize("marrow", [-60.0, 60.0, 160.0])
def test_vertebrae_are_found_with_any_marrow_and_without_their_discs(marrow: float) -> None:
    values, bone = trunk_of_a_body(marrow)
    found, mask = bone_of(values)
    assert dice(mask, bone) > 0.93
    inside = tube(55, 48, 12.0)
    disc = inside & np.broadcast_to(Z % 14 == 12, SHAPE) & (Z > 11)
    assert (mask & disc).sum() / disc.sum() < 0.1
    assert found.confidence > 0.9
    assert found.warnings == ()


def test_a_vessel_full_of_contrast_that_touches_bone_is_left_out() -> None:
    values, bone = trunk_of_a_body()
    vessel = tube(47, 43, 11.0) & ~bone
    values[vessel] = 320.0 + np.random.default_rng(6).normal(0.0, 8.0, int(vessel.sum()))
    found, mask = bone_of(values)
    assert (mask & vessel).sum() / vessel.sum() < 0.15
    assert dice(mask, bone) > 0.85
    assert any("without a cortex" in warning for warning in found.warnings)


def test_bowel_full_of_contrast_is_left_out() -> None:
    values, bone = trunk_of_a_body()
    bowel = (np.hypot(np.hypot((X - 55) * 1.0, (Y - 24) * 1.0), Z - 8) * EDGE <= 18.0) & ~bone
    values[bowel] = 450.0
    _, mask = bone_of(values)
    assert not (mask & bowel).any()


def test_metal_lowers_the_confidence_and_is_named() -> None:
    values, _ = trunk_of_a_body()
    clean, _ = bone_of(values)
    values[tube(55, 48, 5.0) & (Z < 22)] = 3000.0
    found, _ = bone_of(values)
    assert found.confidence < clean.confidence - 0.3
    assert any("metal" in warning for warning in found.warnings)


def test_noise_lowers_the_confidence() -> None:
    quiet, _ = bone_of(trunk_of_a_body(noise_hu=5.0)[0])
    loud, _ = bone_of(trunk_of_a_body(noise_hu=120.0)[0])
    assert loud.confidence < quiet.confidence - 0.2


def with_arm(values: NDArray[np.float64], x: float) -> Mask:
    """Adds an arm of which the bone is returned."""
    values[tube(x, 38, 24.0)] = FAT
    values[tube(x, 38, 20.0)] = MUSCLE
    bone = tube(x, 38, 10.0)
    values[bone] = CORTEX
    values[tube(x, 38, 5.5)] = FAT
    return bone


def test_an_arm_beside_the_trunk_is_found_and_the_table_is_not() -> None:
    values, bone = trunk_of_a_body()
    arm = with_arm(values, 104.0)
    table = np.broadcast_to((np.abs(Y - 72) < 1) & (X > 10) & (X < 90), SHAPE)
    values[table] = 500.0
    found, mask = bone_of(values)
    assert dice(mask, bone | arm) > 0.93
    assert not (mask & table).any()
    assert found.warnings == ()


def test_an_arm_that_the_field_of_view_cuts_through_is_named() -> None:
    values, _ = trunk_of_a_body()
    with_arm(values, 121.0)
    found, _ = bone_of(values)
    assert any("field of view" in warning for warning in found.warnings)


def test_thick_slices_are_named() -> None:
    found, _ = bone_of(trunk_of_a_body()[0], thickest_mm=5.0)
    assert any("slices 5 mm apart" in warning for warning in found.warnings)


def test_no_bone_has_no_confidence() -> None:
    scan = as_scan(trunk_of_a_body()[0])
    body = find_body(scan)
    found = find_whole_bone(body, np.ones_like(body.trunk))
    assert not found.mask.any()
    assert found.confidence == 0.0


def lungs_of(values: NDArray[np.float64]) -> tuple[float, tuple[str, ...], Mask]:
    scan = as_scan(values)
    body = find_body(scan)
    found = find_both_lungs(body, EDGE)
    return found.confidence, found.warnings, on_scan(body, found.left | found.right, scan)


def test_lungs_that_lie_in_the_scan_are_found_without_a_warning() -> None:
    values, _ = trunk_of_a_body()
    confidence, warnings, mask = lungs_of(values)
    assert dice(mask, np.abs(values - LUNG) < 100.0) > 0.97
    assert confidence > 0.9
    assert warnings == ()


def test_lungs_that_the_scan_cuts_off_are_named() -> None:
    _, warnings, _ = lungs_of(trunk_of_a_body()[0][:32])
    assert any("reach the top" in warning for warning in warnings)


def test_a_dense_lung_and_a_missing_one_are_named() -> None:
    values, _ = trunk_of_a_body()
    right = np.broadcast_to(X < 55, SHAPE) & (np.abs(values - LUNG) < 100.0)
    dense = values.copy()
    dense[right] += 250.0
    sharp, _, _ = lungs_of(values)
    confidence, warnings, _ = lungs_of(dense)
    assert any("right lung is dense" in warning for warning in warnings)
    assert confidence < sharp - 0.3
    values[right] = MUSCLE
    _, warnings, _ = lungs_of(values)
    assert any("hardly any right lung" in warning for warning in warnings)


def reference(labels: LabelMap, names: tuple[str, ...]) -> Mask:
    values = [value for value, name in labels.names.items() if name.startswith(names)]
    return np.isin(labels.array, values)


def test_bone_and_lungs_of_a_real_abdomen(shared_scans: Path) -> None:
    scan = Scan.read(shared_scans / "abdomen_ct" / "ct.nii.gz")
    found = segment(scan, ["bone", "lungs"])
    # The two references agree on the little lung in view with a Dice of 0.974.
    for version, lungs in (("v1", 0.96), ("v2", 0.95)):
        labels = LabelMap.read(shared_scans / "abdomen_ct" / f"labels_{version}.nii.gz").matched_to(scan)
        assert dice(found.mask("bone"), reference(labels, BONES)) > 0.90
        assert dice(found.mask("lungs"), reference(labels, ("lung",))) > lungs
    assert 0.5 < found.confidence["bone"] < 1.0
    assert any("within 20 mm of metal" in warning for warning in found.warnings)


def test_ribs_and_both_arms_of_a_real_scan_with_contrast(shared_scans: Path) -> None:
    """The reference leaves out bony ridges and parts of the vertebrae, so what it does hold is asked for."""
    scan = Scan.read(shared_scans / "abdomen_ct_dicom" / "series")
    labels = LabelMap.read(shared_scans / "abdomen_ct_dicom" / "labels_v2.nii.gz").matched_to(scan)
    found = segment(scan, ["bone"])
    bone = found.mask("bone")
    for name in ("humerus", "rib", "vertebrae"):
        true = reference(labels, (name,))
        assert (bone & true).sum() / true.sum() > 0.88
    for name in ("liver", "spleen", "aorta", "spinal_cord"):
        other = reference(labels, (name,))
        assert (bone & other).sum() / other.sum() < 0.02
    assert any("field of view" in warning for warning in found.warnings)
