"""Synthetic patients: the same from the same seed, anatomically in order, HU as the table says."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from sample_scans import Patient, imaging, make_patient
from sample_scans.frame import Frame
from sample_scans.hounsfield import table

SEEDS = (1, 2, 3)
NEEDED = [
    "subcutaneous_fat",
    "muscle",
    "ribs",
    "vertebrae",
    "lung_left",
    "lung_right",
    "heart",
    "liver",
    "liver_tumour",
    "portal_vein",
    "hepatic_vein",
    "portal_vein_and_splenic_vein",
    "gallbladder",
    "kidney_left",
    "kidney_right",
    "kidney_pelvis_left",
    "kidney_pelvis_right",
    "spleen",
    "stomach",
    "pancreas",
    "duodenum",
    "colon",
    "aorta",
    "inferior_vena_cava",
]
# Millilitres: mean and spread of healthy adults (Henderson 1981, Kreel 1973, Emamian 1993), cut where the scan ends.
NORMS = {
    "liver": (1050, 1800), "spleen": (110, 340), "kidney_left": (90, 200), "kidney_right": (90, 200),
    "gallbladder": (10, 70), "pancreas": (35, 120), "stomach": (100, 600), "liver_tumour": (15, 45),
    "portal_vein": (12, 60), "hepatic_vein": (12, 60), "vertebrae": (250, 480), "heart": (200, 700),
}  # fmt: skip


@pytest.fixture(scope="module", params=SEEDS)
def patient(request: pytest.FixtureRequest) -> Patient:
    return make_patient(request.param, size=128, slice_mm=5.0)


def _centre(patient: Patient, name: str) -> np.ndarray:
    """Centre of a structure, LPS mm."""
    index = np.argwhere(patient.labels.mask(name)).mean(axis=0)[::-1]
    return np.array(patient.scan.TransformContinuousIndexToPhysicalPoint(index.tolist()))


def _digest(patient: Patient) -> str:
    parts = (patient.scan, patient.labels.image)
    trees = b"".join(t.points.tobytes() + t.radius.tobytes() for t in patient.trees.values())
    return hashlib.sha256(b"".join(sitk.GetArrayFromImage(p).tobytes() for p in parts) + trees).hexdigest()


def test_the_same_seed_gives_the_same_bits_and_another_seed_another_patient():
    first, again, other = (make_patient(s, size=96, slice_mm=6.0) for s in (5, 5, 6))
    assert _digest(first) == _digest(again)
    assert first.description == again.description
    assert _digest(first) != _digest(other)
    assert first.description["scale"] != other.description["scale"]


def test_a_seed_is_one_patient_at_every_size():
    small = make_patient(2, size=96, slice_mm=6.0).description
    finer = make_patient(2, size=160, slice_mm=4.0).description
    assert small["tumours"] == finer["tumours"]
    assert small["scale"] == finer["scale"]
    assert small["liver_with_contents_ml"] == pytest.approx(finer["liver_with_contents_ml"], rel=0.03)


def test_geometry_and_types(patient: Patient):
    assert patient.scan.GetPixelID() == sitk.sitkInt16
    assert patient.scan.GetSize() == (128, 128, 52)
    assert patient.scan.GetSpacing() == (3.0, 3.0, 5.0)
    assert patient.scan.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert isinstance(patient.labels, LabelMap)
    assert patient.labels.image.GetPixelID() == sitk.sitkUInt8
    assert patient.labels.image.GetOrigin() == patient.scan.GetOrigin()
    json.dumps(patient.description)


def test_every_structure_is_there_with_a_volume_in_the_norm(patient: Patient):
    volumes = patient.labels.volumes_ml
    assert set(NEEDED) <= set(volumes)
    outside = {n: round(volumes[n], 1) for n, (low, high) in NORMS.items() if not low <= volumes[n] <= high}
    assert outside == {}


def test_liver_is_one_piece_with_and_without_what_is_in_it(patient: Patient):
    liver = patient.labels.mask("liver")
    whole = liver | np.any(
        [patient.labels.mask(n) for n in ("liver_tumour", "portal_vein", "hepatic_vein")], axis=0
    )
    assert ndimage.label(liver)[1] == 1
    filled = ndimage.label(whole)[0]
    assert np.bincount(filled.ravel())[1:].max() > 0.998 * whole.sum()


def test_organs_are_in_order(patient: Patient):
    at = {name: _centre(patient, name) for name in NEEDED}
    spine = at["vertebrae"]
    assert at["liver"][0] < spine[0] - 20.0
    assert at["gallbladder"][0] < spine[0]
    assert at["inferior_vena_cava"][0] < at["aorta"][0]
    assert at["spleen"][0] > spine[0] + 60.0
    assert at["stomach"][0] > spine[0] + 15.0
    assert at["kidney_right"][0] < spine[0] - 40.0 < spine[0] + 40.0 < at["kidney_left"][0]
    assert at["lung_right"][0] < spine[0] < at["lung_left"][0]
    assert all(at[n][1] < spine[1] - 15.0 for n in ("liver", "stomach", "aorta", "pancreas", "heart"))
    assert at["heart"][2] > at["liver"][2] > at["kidney_right"][2]
    assert all(at[n][2] > at["liver"][2] for n in ("lung_right", "lung_left"))


def test_right_lobe_lies_under_the_diaphragm(patient: Patient):
    # Going up from the liver's dome, lung comes within 12 mm (muscle, a trace of fat).
    labels = patient.labels
    liver, lung = labels.mask("liver"), labels.mask("lung_right")
    column = liver.sum(axis=0)
    row, col = np.unravel_index(column.argmax(), column.shape)
    top = np.flatnonzero(liver[:, row, col]).max()
    above = np.flatnonzero(lung[:, row, col])
    assert above.size > 0
    assert 0 < (above[above > top].min() - top) * 5.0 <= 15.0


def test_stomach_air_lies_above_its_fluid(patient: Patient):
    values = sitk.GetArrayFromImage(patient.scan)
    stomach = patient.labels.mask("stomach")
    air = np.argwhere(stomach & (values < -800))
    fluid = np.argwhere(stomach & (np.abs(values - 25) < 40))
    assert len(air) > 20
    assert len(fluid) > 20
    assert air[:, 1].max() <= fluid[:, 1].max()
    assert air[:, 1].mean() < fluid[:, 1].mean() - 3.0


@pytest.mark.parametrize(
    ("organ", "tissue", "steps"),
    [
        ("liver", "liver", 2), ("spleen", "spleen", 2), ("aorta", "aorta", 2), ("gallbladder", "gallbladder", 2),
        ("inferior_vena_cava", "inferior_vena_cava", 2), ("pancreas", "pancreas", 2), ("liver_tumour", "tumour", 2),
        ("portal_vein_and_splenic_vein", "portal_vein", 2), ("subcutaneous_fat", "subcutaneous_fat", 2),
    ],
)  # fmt: skip
def test_hounsfield_units_inside_organs(organ: str, tissue: str, steps: int):
    values = sitk.GetArrayFromImage(_fine().scan)
    inside = ndimage.binary_erosion(_fine().labels.mask(organ), iterations=steps)
    assert inside.sum() > 30
    middle = np.median if organ in ("subcutaneous_fat", "aorta") else np.mean  # septa; calcified plaques
    assert float(middle(values[inside])) == pytest.approx(table()[tissue], abs=3.0)


def test_noise_in_the_liver_is_that_of_a_clinical_scan():
    values = sitk.GetArrayFromImage(_fine().scan).astype(float)
    inside = ndimage.binary_erosion(_fine().labels.mask("liver"), iterations=3)
    assert 9.0 < values[inside].std() < 14.0


def test_noise_power_is_a_ramp_that_rolls_off():
    # f exp(-(f/f0)^2) peaks at f0 / sqrt(2) = 0.21 per mm and falls to nothing towards f = 0.
    frame = Frame(256, 6.0, np.random.default_rng(0))
    noise = np.zeros((frame.slices, 256, 256), dtype=np.float32)
    imaging.add_noise(noise, frame, np.full(frame.shape, -105.0, np.float32), np.random.default_rng(1))
    power = (np.abs(np.fft.fft2(noise)) ** 2).mean(axis=0)
    axis = np.fft.fftfreq(256, frame.pixel_mm)
    radius = np.hypot(axis[None, :], axis[:, None])
    edges = np.linspace(0.0, 0.33, 34)
    profile = np.array([power[(radius >= a) & (radius < b)].mean() for a, b in pairwise(edges)])
    peak = edges[:-1][profile.argmax()] + 0.005
    assert peak == pytest.approx(imaging.ROLL_OFF_PER_MM / np.sqrt(2.0), abs=0.035)
    assert profile[0] < 0.2 * profile.max()
    theory = lambda f: f * np.exp(-((f / imaging.ROLL_OFF_PER_MM) ** 2)) + 2e-3  # noqa: E731
    assert profile[5] / profile[11] == pytest.approx(theory(0.055) / theory(0.115), rel=0.1)


def test_outside_the_reconstruction_circle_is_padding():
    values = sitk.GetArrayViewFromImage(_fine().scan)
    assert (values[:, :5, :5] == -1024).all()
    assert values.min() == -1024


_KEPT: list[Patient] = []


def _fine() -> Patient:
    if not _KEPT:
        _KEPT.append(make_patient(1, size=256, slice_mm=4.0))
    return _KEPT[0]


def test_tumours_are_where_the_description_says(patient: Patient):
    tumours = patient.description["tumours"]
    mask = patient.labels.mask("liver_tumour")
    pieces, count = ndimage.label(mask)
    assert count == 2
    assert 30.0 <= tumours[0]["diameter_mm"] <= 40.0
    assert 16.0 <= tumours[1]["diameter_mm"] <= 24.0
    found = set()
    for tumour in tumours:
        x, y, z = patient.scan.TransformPhysicalPointToIndex(tumour["centre_mm"])
        found.add(int(pieces[z, y, x]))
    assert found == {1, 2}


def test_a_tumour_lies_close_to_a_major_vessel(patient: Patient):
    gaps = []
    for tumour in patient.description["tumours"]:
        for tree in patient.trees.values():
            big = tree.radius > 2.5
            far = np.linalg.norm(tree.points[big] - np.array(tumour["centre_mm"]), axis=1)
            gaps.append((far - tree.radius[big]).min() - 0.5 * tumour["diameter_mm"])
    assert min(gaps) < 8.0


@pytest.mark.parametrize(
    "wrong",
    [{"seed": -1}, {"seed": 1.5}, {"size": 20}, {"size": 4000}, {"slice_mm": 0.1}, {"slice_mm": 20.0}],
)
def test_impossible_requests_are_refused_in_one_sentence(wrong: dict[str, float]):
    seed = wrong.pop("seed", 1)
    with pytest.raises(AnatomyError, match="give") as caught:
        make_patient(seed, **wrong)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
