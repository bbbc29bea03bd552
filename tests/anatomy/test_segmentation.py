from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from anatomy.agreement import dice, surface_distances
from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from anatomy.scan import Scan
from anatomy.segmentation import available, morphology, region, segment
from benchmarks import Row
from benchmarks.agreement import Case, measured, page
from sample_scans import make_patient

WHOLE = ("liver", "liver_tumour", "portal_vein", "hepatic_vein", "liver_vessels")


def together(labels: LabelMap, names: tuple[str, ...] = WHOLE) -> np.ndarray:
    return np.isin(labels.array, [value for value, name in labels.names.items() if name in names])


@pytest.fixture(scope="module")
def patient() -> tuple[Scan, LabelMap, LabelMap, list[str]]:
    made = make_patient(1, size=256, slice_mm=4.0)
    scan = Scan(made.scan)
    stages: list[str] = []
    wanted = ["liver", "tumour", "portal_vein", "hepatic_vein", "body", "lungs", "bone"]
    found = segment(scan, wanted, lambda stage, fraction: stages.append(stage))
    return scan, made.labels, found, stages


def test_liver_of_a_made_patient(patient: tuple[Scan, LabelMap, LabelMap, list[str]]) -> None:
    scan, truth, found, stages = patient
    assert dice(together(found), together(truth)) > 0.95
    distances = surface_distances(together(found), together(truth), scan.spacing_mm)
    assert distances.average_mm < 1.5
    assert distances.hausdorff95_mm < 6.0
    assert found.confidence["liver"] > 0.9
    assert "Looking for the liver" in stages
    found.check_grid(scan)


def test_both_tumours_are_found_and_nothing_else(patient: tuple[Scan, LabelMap, LabelMap, list[str]]) -> None:
    _, truth, found, _ = patient
    parts, _ = ndimage.label(truth.mask("liver_tumour"))
    ours = found.mask("liver_tumour")
    tumours = [parts == number for number in np.unique(parts)[1:] if (parts == number).sum() > 50]
    assert len(tumours) == 2
    assert min((ours & one).sum() / one.sum() for one in tumours) > 0.4
    assert dice(ours, truth.mask("liver_tumour")) > 0.75
    assert (ours & ~truth.mask("liver_tumour")).sum() < 0.1 * ours.sum()


def test_large_vessels_are_found_and_told_apart(patient: tuple[Scan, LabelMap, LabelMap, list[str]]) -> None:
    scan, truth, found, _ = patient
    trees = ("portal_vein", "hepatic_vein")
    assert set(trees) <= set(found.structures)
    ours = together(found, trees)
    true = together(truth, trees)
    assert (ours & true).sum() / ours.sum() > 0.85
    depth = ndimage.distance_transform_edt(true, sampling=scan.spacing_mm[::-1])
    assert ours[depth > 2.5].mean() > 0.95
    for name in trees:
        both = found.mask(name) & true
        assert (both & truth.mask(name)).sum() / both.sum() > 0.75


def test_landmarks(patient: tuple[Scan, LabelMap, LabelMap, list[str]]) -> None:
    _, truth, found, _ = patient
    assert dice(found.mask("lungs"), together(truth, ("lung_left", "lung_right"))) > 0.95
    true_bone = together(truth, ("ribs", "vertebrae", "sternum"))
    assert (found.mask("bone") & true_bone).sum() / true_bone.sum() > 0.6
    liver = found.mask("liver") | found.mask("liver_tumour")
    assert not (liver & found.mask("lungs")).any()


@pytest.mark.parametrize(
    ("folder", "scan_name", "labels_name", "least", "warning"),
    [
        ("abdomen_ct", "ct.nii.gz", "labels_v1.nii.gz", 0.93, "little or no contrast"),
        ("abdomen_ct_dicom", "series", "labels_v2.nii.gz", 0.95, "reaches the top and bottom"),
    ],
)
def test_liver_of_real_scans(
    shared_scans: Path, folder: str, scan_name: str, labels_name: str, least: float, warning: str
) -> None:
    scan = Scan.read(shared_scans / folder / scan_name)
    truth = LabelMap.read(shared_scans / folder / labels_name).matched_to(scan)
    found = segment(scan, ["liver"])
    assert dice(found.mask("liver"), truth.mask("liver")) > least
    assert any(warning in said for said in found.warnings)


def test_orientation_of_storage_does_not_matter(shared_scans: Path) -> None:
    scan = Scan.read(shared_scans / "abdomen_ct_dicom" / "series")
    turned = Scan(sitk.PermuteAxes(sitk.Flip(scan.image, [True, False, True]), [2, 0, 1]), scan.facts)
    ours, theirs = segment(scan, ["liver"]), segment(turned, ["liver"])
    assert dice(theirs.matched_to(scan).mask("liver"), ours.mask("liver")) > 0.995


def test_what_cannot_be_segmented_is_refused(shared_scans: Path) -> None:
    magnet = Scan.read(shared_scans / "abdomen_mr" / "mr.nii.gz")
    with pytest.raises(AnatomyError, match=r"no Hounsfield units.*find liver in CT.*--labels"):
        segment(magnet, ["liver"])
    chest = Scan.read(shared_scans / "spine_ct" / "sub-ct_label-22_ct.nii.gz")
    with pytest.raises(AnatomyError, match="unknown structure 'livr'; did you mean liver"):
        segment(chest, ["livr"])
    with pytest.raises(AnatomyError, match="no protocol finds 'pancreas' in a scan yet"):
        segment(chest, ["pancreas"])
    with pytest.raises(AnatomyError, match="no structure was asked for"):
        segment(chest, [])
    assert "liver" in available()


def test_a_box_of_air_or_water_is_refused() -> None:
    air = Scan(sitk.GetImageFromArray(np.full((20, 40, 40), -1000, dtype=np.int16)))
    with pytest.raises(AnatomyError, match="no body is to be seen"):
        segment(air, ["liver"])
    array = np.full((30, 60, 60), -1000, dtype=np.int16)
    array[:, 15:45, 10:50] = 40
    water = sitk.GetImageFromArray(array)
    water.SetSpacing((5.0, 5.0, 5.0))
    with pytest.raises(AnatomyError, match="no vertebral column"):
        segment(Scan(water), ["liver"])


def test_region_is_the_ball_where_cost_says_so_and_drops_specks() -> None:
    z, y, x = np.mgrid[:24, :24, :24]
    inside = (z - 12) ** 2 + (y - 12) ** 2 + (x - 12) ** 2 < 49
    rng = np.random.default_rng(2)
    cost = np.where(inside, -1.0, 1.0).astype(np.float32)
    noisy = np.where(rng.random(cost.shape) < 0.1, -cost, cost).astype(np.float32)
    u = (noisy < 0).astype(np.float32)
    change = region.minimise(noisy, np.ones_like(cost), u, 1.0, 300)
    assert dice(u > 0.5, inside) > 0.97
    assert change < 1e-3


def test_energy_falls_to_the_minimum_of_a_known_problem() -> None:
    # A slab of cost -w over t voxels pays for its two faces exactly when w * t > 2.
    for weight, expected in ((0.6, 1.0), (0.4, 0.0)):
        cost = np.ones((40, 8, 8), dtype=np.float32) * 3
        cost[18:22] = -weight
        u = np.full(cost.shape, 0.5, dtype=np.float32)
        region.minimise(cost, np.ones_like(cost), u, 1.0, 3000)
        assert u[18:22].mean() == pytest.approx(expected, abs=0.02)


def test_morphology_in_millimetres() -> None:
    point = np.zeros((31, 31, 31), dtype=bool)
    point[15, 15, 15] = True
    ball = morphology.grow(point, 10.0, 2.0)
    z, y, x = np.mgrid[:31, :31, :31]
    exact = (z - 15) ** 2 + (y - 15) ** 2 + (x - 15) ** 2 <= 25
    assert np.array_equal(ball, exact)
    assert morphology.shrink(ball, 9.0, 2.0)[15, 15, 15]
    bridge = ball | np.roll(ball, 12, axis=2) & False
    bridge[15, 15, 15:30] = True
    assert not morphology.opened(bridge, 4.0, 2.0)[15, 15, 28]
    assert np.isinf(morphology.distance(point & False, 1.0)).all()


def test_the_page_of_agreement_shows_aims_beside_what_was_reached() -> None:
    rows = [
        Row("agreement", "scan A: segmentation", 12.0, "s"),
        Row("agreement", "scan A: spleen, Dice", 0.91, "1"),
        Row("agreement", "scan A: spleen, average surface distance", 1.4, "mm"),
        Row("agreement", "scan A: spleen, 95 % Hausdorff distance", 6.0, "mm"),
        Row("agreement", "scan A: kidney_left, absent, found", 0.0, "ml"),
        Row("agreement", "scan B: not measured, no liver was found", 0.0, "1"),
    ]
    text = page(rows)
    assert "| scan A | spleen | 0.910 | 0.92 | **no** | 1.4 | 6.0 |" in text
    assert "| scan A | kidney_left | 0 |" in text
    assert "Not measured: scan B (no liver was found)." in text
    assert "| scan A | 12 |" in text


def test_a_case_that_fails_stops_no_other() -> None:
    def broken() -> tuple[Scan, LabelMap]:
        raise AnatomyError("the file is cut short")

    (row,) = measured(Case("scan C", broken, ("liver",)))
    assert row.quantity == "scan C: not measured, the file is cut short"
