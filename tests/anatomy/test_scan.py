from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from anatomy.errors import AnatomyError
from anatomy.scan import Scan

WriteSeries = Callable[..., list[Path]]


@pytest.fixture
def voxels() -> np.ndarray:
    return np.random.default_rng(4).integers(-1000, 1500, (6, 9, 11)).astype(np.int16)


def image_of(array: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-12.0, 34.0, 56.0))
    return image


def test_series_is_read_by_position_not_by_name(
    write_series: WriteSeries, tmp_path: Path, voxels: np.ndarray
) -> None:
    write_series(tmp_path / "series", voxels)
    (tmp_path / "series" / "notes.txt").write_text("no image")
    scan = Scan.read(tmp_path)
    assert np.array_equal(scan.array, voxels)
    assert scan.array.dtype == np.int16
    assert scan.spacing_mm == pytest.approx((0.8, 0.9, 2.5))
    assert scan.origin_mm == pytest.approx((-10.0, -20.0, 30.0))
    assert np.array_equal(scan.direction, np.eye(3))
    assert (scan.modality, scan.facts.kvp, scan.facts.slice_thickness_mm) == ("CT", 120.0, 2.5)
    assert scan.facts.contrast == "portal venous"


def test_no_identity_is_carried_along(write_series: WriteSeries, tmp_path: Path, voxels: np.ndarray) -> None:
    write_series(tmp_path / "series", voxels)
    scan = Scan.read(tmp_path / "series")
    scan.write(tmp_path / "scan.nrrd")
    header = (tmp_path / "scan.nrrd").read_bytes().split(b"\n\n")[0]
    assert b"entinel" not in header.lower()
    assert not [key for key in scan.image.GetMetaDataKeys() if "0010" in key]
    assert "entinel" not in repr(vars(scan.facts))
    again = Scan.read(tmp_path / "scan.nrrd")
    assert again.facts == scan.facts
    assert again.source_sha256 == scan.source_sha256


def test_oblique_slices_keep_their_place(
    write_series: WriteSeries, tmp_path: Path, voxels: np.ndarray
) -> None:
    angle = np.radians(20)
    row, column = np.array([1.0, 0, 0]), np.array([0, np.cos(angle), np.sin(angle)])
    normal = np.cross(row, column)
    for index, path in enumerate(write_series(tmp_path, voxels)):
        data = pydicom.dcmread(path)
        data.ImageOrientationPatient = [*row, *np.round(column, 6)]
        data.ImagePositionPatient = [
            float(v) for v in np.round(np.array([5.0, 6, 7]) + 3 * index * normal, 4)
        ]
        data.save_as(path)
    scan = Scan.read(tmp_path)
    assert np.array_equal(scan.array, voxels)
    assert scan.spacing_mm[2] == pytest.approx(3.0, abs=1e-4)
    assert scan.direction == pytest.approx(np.column_stack([row, column, normal]), abs=1e-6)


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.nrrd", "scan.mha"])
def test_files_round_trip(tmp_path: Path, voxels: np.ndarray, name: str) -> None:
    Scan(image_of(voxels)).write(tmp_path / name)
    scan = Scan.read(tmp_path / name)
    assert np.array_equal(scan.array, voxels)
    assert scan.origin_mm == pytest.approx((-12.0, 34.0, 56.0), abs=1e-4)
    assert scan.modality == "unknown"
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_values_become_int16_where_whole_and_float32_otherwise(voxels: np.ndarray) -> None:
    assert Scan(image_of(voxels.astype(np.float64))).array.dtype == np.int16
    assert Scan(image_of(voxels + 0.25)).array.dtype == np.float32
    assert Scan(image_of(voxels.astype(np.int32) * 100)).array.dtype == np.float32


def test_bad_folders_are_refused_in_one_sentence(
    write_series: WriteSeries, tmp_path: Path, voxels: np.ndarray
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(AnatomyError, match=r"no DICOM images in .*empty"):
        Scan.read(tmp_path / "empty")
    (tmp_path / "files").mkdir()
    sitk.WriteImage(sitk.Image(4, 4, 4, sitk.sitkInt16), str(tmp_path / "files" / "ct.nii.gz"))
    with pytest.raises(AnatomyError, match=r"\(1 file\): give the file itself, such as ct\.nii\.gz"):
        Scan.read(tmp_path / "files")
    with pytest.raises(AnatomyError, match="check the path"):
        Scan.read(tmp_path / "nowhere")
    single = write_series(tmp_path / "single", voxels[:1])[0]
    with pytest.raises(AnatomyError, match="no volume"):
        Scan.read(tmp_path / "single")
    with pytest.raises(AnatomyError, match="is a single DICOM file"):
        Scan.read(single.rename(single.with_suffix("")))


def test_several_series_are_listed_and_one_can_be_chosen(
    write_series: WriteSeries, tmp_path: Path, voxels: np.ndarray
) -> None:
    write_series(tmp_path, voxels, prefix="a", SeriesNumber=1)
    write_series(tmp_path, voxels[:4] // 2, prefix="b", SeriesNumber=2, SeriesDescription="thin")
    write_series(tmp_path, voxels[:2], prefix="s", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    with pytest.raises(
        AnatomyError, match=r"2 series: 1 \(CT, 6 slices.*2 \(CT, 4 slices, thin\); choose one"
    ):
        Scan.read(tmp_path)
    assert np.array_equal(Scan.read(tmp_path, series=2).array, voxels[:4] // 2)
    with pytest.raises(AnatomyError, match="has no series '9'"):
        Scan.read(tmp_path, series=9)


def test_irregular_stacks_are_refused_by_name(
    write_series: WriteSeries, tmp_path: Path, voxels: np.ndarray
) -> None:
    missing = write_series(tmp_path / "gap", voxels)
    missing[2].unlink()
    with pytest.raises(
        AnatomyError, match=r"not evenly spaced: 5 mm between slice005\.dcm and slice003\.dcm"
    ):
        Scan.read(tmp_path / "gap")
    twice = write_series(tmp_path / "twice", voxels)
    (tmp_path / "twice" / "copy.dcm").write_bytes(twice[0].read_bytes())
    with pytest.raises(AnatomyError, match="two slices lie at one position"):
        Scan.read(tmp_path / "twice")
    shape = write_series(tmp_path / "shape", voxels, SeriesInstanceUID="1.2.9")
    write_series(
        tmp_path / "shape", voxels[:1, :5], prefix="odd", origin=(-10, -20, 99), SeriesInstanceUID="1.2.9"
    )
    assert len(shape) == 6
    with pytest.raises(AnatomyError, match="differ in size or spacing"):
        Scan.read(tmp_path / "shape")


@pytest.mark.parametrize("share", [0.97, 0.3])
def test_truncated_slice_is_named(
    write_series: WriteSeries, tmp_path: Path, voxels: np.ndarray, share: float
) -> None:
    path = write_series(tmp_path, np.repeat(np.repeat(voxels, 8, axis=1), 8, axis=2))[3]
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(AnatomyError, match=r"slice003\.dcm is damaged or cut short"):
        Scan.read(tmp_path)


def test_slice_cut_in_its_header_is_named(
    write_series: WriteSeries, tmp_path: Path, voxels: np.ndarray
) -> None:
    path = write_series(tmp_path, voxels)[5]
    path.write_bytes(path.read_bytes()[:420])
    with pytest.raises(AnatomyError, match=r"slice001\.dcm is a damaged or cut-short DICOM file"):
        Scan.read(tmp_path)


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.nrrd", "scan.mha"])
def test_truncated_file_is_refused(tmp_path: Path, voxels: np.ndarray, name: str) -> None:
    path = tmp_path / name
    Scan(image_of(np.repeat(voxels, 20, axis=0))).write(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AnatomyError, match="cut short"):
        Scan.read(path)


def test_gzip_of_several_members_is_whole(tmp_path: Path, voxels: np.ndarray) -> None:
    Scan(image_of(voxels)).write(tmp_path / "scan.nii")
    raw = (tmp_path / "scan.nii").read_bytes()
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(raw[:500]) + gzip.compress(raw[500:]))
    assert np.array_equal(Scan.read(tmp_path / "scan.nii.gz").array, voxels)


def test_what_is_no_volume_is_refused(tmp_path: Path, voxels: np.ndarray) -> None:
    (tmp_path / "scan.nrrd").write_text("not an image")
    with pytest.raises(AnatomyError, match="cannot be read as a scan"):
        Scan.read(tmp_path / "scan.nrrd")
    (tmp_path / "scan.txt").write_text("words")
    with pytest.raises(AnatomyError, match="is no scan this version reads"):
        Scan.read(tmp_path / "scan.txt")
    sitk.WriteImage(sitk.JoinSeries([image_of(voxels)] * 3), str(tmp_path / "time.nii"))
    with pytest.raises(AnatomyError, match="has 4 dimensions"):
        Scan.read(tmp_path / "time.nii")
    sitk.WriteImage(sitk.Compose([image_of(voxels)] * 3), str(tmp_path / "colour.nrrd"))
    with pytest.raises(AnatomyError, match="3 numbers a voxel"):
        Scan.read(tmp_path / "colour.nrrd")
    holes = voxels.astype(np.float32)
    holes[0, 0, 0] = np.nan
    with pytest.raises(AnatomyError, match="NaN"):
        Scan(image_of(holes))


def test_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    program = (
        "import resource, signal, sys, numpy as np, SimpleITK as sitk\n"
        "from anatomy.scan import Scan; from anatomy.errors import AnatomyError\n"
        "scan = Scan(sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 999, (40, 64, 64)).astype('i2')))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "try:\n    scan.write(sys.argv[1])\n"
        "except AnatomyError as error:\n    print('refused:', error)\n"
    )
    for name in ("scan.nrrd", "scan.nii.gz", "scan.mha"):
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / name)], capture_output=True, text=True, check=True
        )
        assert "refused: cannot write" in done.stdout
        assert list(tmp_path.iterdir()) == []


def test_writing_where_nothing_can_be_written(tmp_path: Path, voxels: np.ndarray) -> None:
    scan = Scan(image_of(voxels))
    with pytest.raises(AnatomyError, match="there is no folder"):
        scan.write(tmp_path / "nowhere" / "scan.nrrd")
    with pytest.raises(AnatomyError, match="must end in"):
        scan.write(tmp_path / "scan.png")


def test_real_awkward_series(shared_scans: Path) -> None:
    refused = {
        "failing_gantrytilting/001": r"sheared by 14\.0°",
        "failing_notavolume/001": "all slices lie at one position",
        "failing_sliceincrement/001": "10 mm between .* 5 mm elsewhere",
        "failing_sliceorientation/001": "different directions",
        "generic_rgb/001": "colour picture",
    }
    for name, why in refused.items():
        with pytest.raises(AnatomyError, match=why):
            Scan.read(shared_scans / "dicom_cases" / name)
    with pytest.raises(AnatomyError, match="no DICOM images"):
        Scan.read(shared_scans / "licences")


@pytest.mark.parametrize("coding", ["j2k", "jpeg", "jpegls", "rle"])
def test_real_compressed_series_match_their_truth(shared_scans: Path, coding: str) -> None:
    folder = shared_scans / "dicom_cases" / f"generic_compressed_{coding}"
    scan = Scan.read(folder / "001")
    truth = sitk.Resample(
        sitk.ReadImage(str(folder / "001_ground_truth.nii.gz"), sitk.sitkFloat32),
        scan.image, sitk.Transform(), sitk.sitkNearestNeighbor, -1.0,
    )  # fmt: skip
    assert np.array_equal(sitk.GetArrayFromImage(truth), scan.array)
