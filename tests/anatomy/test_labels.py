from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from anatomy.scan import Scan


def label_image(dtype: type = np.uint8) -> sitk.Image:
    array = np.zeros((5, 6, 8), dtype=dtype)
    array[1:4, 1:5, 1:5] = 5
    array[2, 2:4, 2:4] = 7
    array[4, 5, 7] = 9
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.5, 1.0, 2.0))
    image.SetOrigin((10.0, -20.0, 30.0))
    return image


NAMES = {5: "liver", 7: "liver_tumor", 9: "IVC"}


def test_names_volumes_and_masks() -> None:
    labels = LabelMap(label_image(), NAMES)
    assert labels.names == {5: "liver", 7: "liver_tumour", 9: "inferior_vena_cava"}
    assert labels.volumes_ml == pytest.approx(
        {"liver": 0.044, "liver_tumour": 0.004, "inferior_vena_cava": 0.001}
    )
    assert labels.mask("tumour").sum() == 4
    assert labels.image.GetSpacing() == (0.5, 1.0, 2.0)
    assert labels.array.dtype == np.uint8


def test_select_keeps_values_and_drops_the_rest() -> None:
    some = LabelMap(label_image(), NAMES).select(["liver tumour", "ivc"])
    assert some.names == {7: "liver_tumour", 9: "inferior_vena_cava"}
    assert sorted(np.unique(some.array)) == [0, 7, 9]


def test_what_is_not_there_is_said() -> None:
    labels = LabelMap(label_image(), NAMES | {11: "spleen"})
    assert labels.empty == {11: "spleen"}
    with pytest.raises(AnatomyError, match=r"names 'spleen' \(value 11\) but no voxel carries it"):
        labels.select(["spleen"])
    with pytest.raises(AnatomyError, match="unknown structure 'livr'; did you mean liver"):
        labels.mask("livr")
    with pytest.raises(AnatomyError, match="has no 'stomach'; it has liver, liver_tumour"):
        labels.mask("stomach")
    with pytest.raises(AnatomyError, match="no structure was asked for"):
        labels.select([])
    with pytest.raises(AnatomyError, match="the label map is empty"):
        LabelMap(label_image(), {3: "liver"})
    with pytest.raises(AnatomyError, match="both named 'liver'"):
        LabelMap(label_image(), {5: "liver", 7: "Liver"})


def test_whole_numbers_in_floating_point_are_labels_and_others_are_not() -> None:
    assert LabelMap(label_image(np.float64), NAMES).array.dtype == np.uint8
    with pytest.raises(AnatomyError, match="not whole numbers"):
        LabelMap(sitk.Cast(label_image(), sitk.sitkFloat64) + 0.5, {5: "liver"})
    with pytest.raises(AnatomyError, match="is it a scan"):
        LabelMap(sitk.Cast(label_image(), sitk.sitkInt16) - 100, {5: "liver"})


@pytest.mark.parametrize("name", ["labels.nrrd", "labels.seg.nrrd", "labels.nii.gz", "labels.mha"])
def test_files_round_trip_with_their_names(tmp_path: Path, name: str) -> None:
    labels = LabelMap(label_image(), NAMES | {300: "my own part"})
    labels.write(tmp_path / name)
    again = LabelMap.read(tmp_path / name)
    assert again.names == labels.names
    assert np.array_equal(again.array, labels.array)
    again.check_grid(labels)


def test_header_speaks_like_slicer(tmp_path: Path) -> None:
    LabelMap(label_image(), NAMES).write(tmp_path / "labels.seg.nrrd")
    image = sitk.ReadImage(str(tmp_path / "labels.seg.nrrd"))
    assert image.GetMetaData("Segment1_Name") == "liver_tumour"
    assert image.GetMetaData("Segment1_LabelValue") == "7"
    assert image.GetMetaData("Segment0_Extent") == "0 7 0 5 0 4"


def test_names_from_argument_file_sidecar_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "labels.nii.gz"
    sitk.WriteImage(label_image(), str(path))
    with pytest.raises(AnatomyError, match=r"put labels\.json .* beside it, or give names"):
        LabelMap.read(path)
    assert LabelMap.read(path, {"liver": 5}).names == {5: "liver"}
    assert LabelMap.read(path, {"5": "liver", "0": "background"}).names == {5: "liver"}
    (tmp_path / "names.json").write_text(json.dumps({"ivc": 9}))
    assert LabelMap.read(path, tmp_path / "names.json").names == {9: "inferior_vena_cava"}
    (tmp_path / "labels.json").write_text(json.dumps({"7": "tumour"}))
    assert LabelMap.read(path).names == {7: "liver_tumour"}
    (tmp_path / "labels.json").write_text("{")
    with pytest.raises(AnatomyError, match="is not JSON"):
        LabelMap.read(path)
    with pytest.raises(AnatomyError, match="no pair of a label value and a structure name"):
        LabelMap.read(path, {"liver": "five"})
    with pytest.raises(AnatomyError, match="cannot read the label names"):
        LabelMap.read(path, tmp_path / "nowhere.json")


def test_flipped_and_permuted_maps_are_matched_by_geometry() -> None:
    labels = LabelMap(label_image(), NAMES)
    scan = Scan(sitk.Cast(label_image(), sitk.sitkInt16))
    flipped = LabelMap(sitk.Flip(label_image(), [False, True, True]), NAMES)
    permuted = LabelMap(sitk.PermuteAxes(label_image(), [2, 0, 1]), NAMES)
    assert not np.array_equal(flipped.array, labels.array)
    for other in (flipped, permuted):
        with pytest.raises(AnatomyError, match=r"another order: use matched_to\(scan\)"):
            other.check_grid(scan)
        assert np.array_equal(other.matched_to(scan).array, labels.array)
    assert labels.matched_to(scan) is labels


def test_another_grid_is_refused_with_both() -> None:
    moved = label_image()
    moved.SetOrigin((10.3, -20.0, 30.0))
    labels = LabelMap(moved, NAMES)
    scan = Scan(sitk.Cast(label_image(), sitk.sitkInt16))
    with pytest.raises(
        AnatomyError, match=r"another grid .* Label map 8×6×5 voxels .*x 10\.3 .*; scan .*x 10\.0"
    ):
        labels.matched_to(scan)
    finer = label_image()
    finer.SetSpacing((0.45, 1.0, 2.0))
    with pytest.raises(AnatomyError, match="another grid"):
        LabelMap(finer, NAMES).check_grid(scan)


def test_real_label_maps(shared_scans: Path) -> None:
    scan = Scan.read(shared_scans / "abdomen_ct" / "ct.nii.gz")
    labels = LabelMap.read(shared_scans / "abdomen_ct" / "labels_v1.nii.gz")
    labels.check_grid(scan)
    assert labels.volumes_ml["liver"] == pytest.approx(1123, abs=1)
    contrast = Scan.read(shared_scans / "abdomen_ct_dicom" / "series")
    stored = LabelMap.read(shared_scans / "abdomen_ct_dicom" / "labels_v2.nii.gz")
    with pytest.raises(AnatomyError, match="another order"):
        stored.check_grid(contrast)
    liver = contrast.array[stored.matched_to(contrast).mask("liver")]
    assert np.median(liver) == pytest.approx(93, abs=2)
