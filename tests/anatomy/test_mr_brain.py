"""The brain in T1-weighted MR: a head of known truth, a real head, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from anatomy import AnatomyError, LabelMap, Scan, segment
from anatomy.agreement import dice, surface_distances
from anatomy.segmentation.mr_brain import STRUCTURES
from anatomy.segmentation.mr_head import Classes
from anatomy.segmentation.mr_tissues import classify
from sample_scans.brain import make_head

# A head whose template is in Debian's package mricron-data: Colin27 and its brain as BET found it.
MRICRON = Path("/usr/share/mricron/templates")


def brain_of(labels: LabelMap) -> NDArray[np.bool_]:
    """The organ with everything in it."""
    return labels.array > 0


@pytest.fixture(scope="module")
def head() -> tuple[Scan, LabelMap, LabelMap]:
    """A made head stored as scanners store sagittal series, its truth, and what is found in it."""
    made = make_head(11, edge_mm=2.0)
    turned = sitk.DICOMOrient(made.scan, "PIL")
    scan = Scan(turned)
    truth = LabelMap(sitk.DICOMOrient(made.labels.image, "PIL"), made.labels.names)
    return scan, truth, segment(scan, STRUCTURES)


def test_brain_and_tissues_of_a_made_head(head: tuple[Scan, LabelMap, LabelMap]) -> None:
    scan, truth, found = head
    found.check_grid(scan)
    assert set(found.structures) == set(STRUCTURES)
    assert dice(brain_of(found), brain_of(truth)) > 0.96
    distances = surface_distances(brain_of(found), brain_of(truth), scan.spacing_mm)
    # Voxels are 2 mm wide.
    assert distances.average_mm < 1.5
    assert distances.hausdorff95_mm < 5.0
    assert dice(found.mask("grey_matter"), truth.mask("grey_matter")) > 0.90
    assert dice(found.mask("white_matter"), truth.mask("white_matter")) > 0.95
    assert dice(found.mask("ventricles"), truth.mask("ventricles")) > 0.80
    assert found.confidence["brain"] > 0.9


def test_brain_of_a_real_head() -> None:
    if not (MRICRON / "ch2.nii.gz").is_file():
        pytest.skip(f"no real head here: install Debian's mricron-data, which puts one into {MRICRON}")
    scan = Scan.read(MRICRON / "ch2.nii.gz")
    reference = sitk.GetArrayFromImage(sitk.ReadImage(str(MRICRON / "ch2bet.nii.gz"))) > 0
    found = segment(scan, ["brain"])
    assert found.structures == ["brain"]
    assert dice(brain_of(found), reference) > 0.96


def test_an_extracted_brain_is_taken_as_it_is() -> None:
    made = make_head(4, edge_mm=2.5)
    brain = made.labels.array > 0
    values = sitk.GetArrayFromImage(made.scan) * brain
    image = sitk.GetImageFromArray(values)
    image.CopyInformation(made.scan)
    found = segment(Scan(image), STRUCTURES)
    assert dice(brain_of(found), brain) > 0.97
    assert any("taken from this image before" in said for said in found.warnings)


def test_other_images_are_refused_in_words(shared_scans: Path) -> None:
    with pytest.raises(AnatomyError, match="no top of a head is to be seen"):
        segment(Scan.read(shared_scans / "abdomen_mr" / "mr.nii.gz"), ["brain"])
    with pytest.raises(AnatomyError, match="no top of a head"):
        segment(Scan.read(shared_scans / "spine_mr" / "sub-mri_label-6_T2w.nii.gz"), ["brain"])
    with pytest.raises(AnatomyError, match="the scan is a CT"):
        segment(Scan.read(shared_scans / "spine_ct" / "sub-ct_label-22_ct.nii.gz"), ["brain"])
    with pytest.raises(AnatomyError, match="are found in MR images and liver in CT"):
        segment(Scan.read(shared_scans / "abdomen_mr" / "mr.nii.gz"), ["brain", "liver"])


def test_t2_is_told_apart_and_refused() -> None:
    with pytest.raises(AnatomyError, match=r"fluid is brighter than brain in this image \(T2-weighted"):
        segment(Scan(make_head(2, edge_mm=2.5, contrast="T2").scan), ["brain"])


def test_an_empty_image_is_refused() -> None:
    with pytest.raises(AnatomyError, match="no head is to be seen"):
        segment(Scan(sitk.GetImageFromArray(np.zeros((30, 30, 30), dtype=np.int16))), ["brain"])


def test_classes_are_those_of_a_known_mixture_and_specks_are_smoothed_away() -> None:
    rng = np.random.default_rng(5)
    truth = np.zeros((30, 30, 30), dtype=int)
    truth[:, 10:20] = 1
    truth[:, 20:] = 2
    means = np.array([20.0, 60.0, 90.0])
    values = (means[truth] + rng.normal(0.0, 9.0, truth.shape)).astype(np.float32)
    found = classify(values, np.ones(truth.shape, dtype=bool), Classes(25.0, 55.0, 95.0, 9.0), np.ones(3))
    by_value_alone = np.mean(np.searchsorted([40.0, 75.0], values) != truth)
    ours = 1 * found.grey + 2 * found.white
    assert np.mean(ours != truth) < 0.35 * by_value_alone
    assert found.separation == pytest.approx(30.0 / 9.0, rel=0.1)


def test_heads_follow_from_their_seed_alone() -> None:
    first, again, other = (make_head(seed, edge_mm=3.0) for seed in (5, 5, 6))
    assert np.array_equal(sitk.GetArrayViewFromImage(first.scan), sitk.GetArrayViewFromImage(again.scan))
    assert np.array_equal(first.labels.array, again.labels.array)
    assert not np.array_equal(first.labels.array, other.labels.array)
    volume = sum(first.labels.volumes_ml.values())
    assert 1000.0 < volume < 1900.0
    with pytest.raises(AnatomyError, match="choose T1 or T2"):
        make_head(1, contrast="PD")
    with pytest.raises(AnatomyError, match=r"an edge of 0\.8 to 3 mm"):
        make_head(1, edge_mm=9.0)
