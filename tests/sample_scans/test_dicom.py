"""The series on disk: what a reader gets back is the scan in memory, and nothing in it claims to be a person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from anatomy.errors import AnatomyError
from sample_scans import Patient, make_patient, write_dicom
from sample_scans.__main__ import main


@pytest.fixture(scope="module")
def patient() -> Patient:
    return make_patient(3, size=96, slice_mm=6.0)


@pytest.fixture(scope="module")
def files(patient: Patient, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_dicom(patient, tmp_path_factory.mktemp("dicom") / "series")


def test_simpleitk_reads_back_the_scan(patient: Patient, files: list[Path]):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(files[0].parent)))
    image = reader.Execute()
    assert image.GetSize() == patient.scan.GetSize()
    np.testing.assert_allclose(image.GetSpacing(), patient.scan.GetSpacing(), atol=1e-6)
    np.testing.assert_allclose(image.GetOrigin(), patient.scan.GetOrigin(), atol=1e-5)
    assert image.GetDirection() == patient.scan.GetDirection()
    assert (sitk.GetArrayFromImage(image) == sitk.GetArrayFromImage(patient.scan)).all()


def test_slices_are_evenly_spaced_and_say_where_they_are(patient: Patient, files: list[Path]):
    heads = [pydicom.dcmread(f, stop_before_pixels=True) for f in files]
    z = np.array([float(h.ImagePositionPatient[2]) for h in heads])
    np.testing.assert_allclose(np.diff(z), patient.scan.GetSpacing()[2], atol=1e-6)
    assert [h.InstanceNumber for h in heads] == list(range(1, len(heads) + 1))
    assert all(h.ImageOrientationPatient == [1, 0, 0, 0, 1, 0] for h in heads)
    assert len({h.SOPInstanceUID for h in heads}) == len(heads)
    assert len({h.SeriesInstanceUID for h in heads}) == len({h.FrameOfReferenceUID for h in heads}) == 1


def test_header_is_that_of_a_synthetic_ct(files: list[Path]):
    head = pydicom.dcmread(files[0])
    assert head.SOPClassUID == pydicom.uid.CTImageStorage
    assert head.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    assert head.file_meta.MediaStorageSOPInstanceUID == head.SOPInstanceUID
    assert str(head.PatientName) == "PHANTOM^SEED-0003"
    assert head.SyntheticData == "YES"
    assert head.BurnedInAnnotation == "NO"
    assert head.PatientIdentityRemoved == "YES"
    assert (head.Modality, head.RescaleSlope, head.RescaleIntercept) == ("CT", 1, -1024)
    assert head.ContrastBolusRoute == "IV"
    uids = [head.StudyInstanceUID, head.SeriesInstanceUID, head.SOPInstanceUID, head.FrameOfReferenceUID]
    assert all(u.startswith("2.25.") and u.is_valid and len(u) <= 64 for u in uids)
    # Type 1 and 2 attributes of the modules of the CT Image IOD (PS3.3 A.3.3).
    for keyword in [
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "ReferringPhysicianName",
        "StudyID",
        "SeriesNumber",
        "PositionReferenceIndicator",
        "Manufacturer",
        "InstanceNumber",
        "ImageType",
        "SamplesPerPixel",
        "KVP",
        "PhotometricInterpretation",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "AcquisitionNumber",
        "SliceThickness",
        "PixelSpacing",
        "PatientPosition",
        "ContrastBolusAgent",
        "WindowCenter",
        "WindowWidth",
        "Rows",
        "Columns",
        "PixelRepresentation",
        "RescaleType",
    ]:
        assert keyword in head, keyword


def test_writing_twice_gives_the_same_bytes(patient: Patient, files: list[Path], tmp_path: Path):
    again = write_dicom(patient, tmp_path / "again")
    assert [f.read_bytes() for f in files] == [f.read_bytes() for f in again]


def test_a_folder_with_files_is_refused_and_left_alone(patient: Patient, tmp_path: Path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(AnatomyError, match="not an empty folder"):
        write_dicom(patient, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failed_write_leaves_nothing(patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pydicom.dataset.FileDataset, "save_as", full)
    with pytest.raises(AnatomyError, match="No space left"):
        write_dicom(patient, tmp_path / "series")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_series_labels_and_description(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "p"
    assert main(["--seed", "2", "--size", "96", "--slice", "6", "-o", str(out)]) == 0
    assert len(list((out / "series").glob("*.dcm"))) == 43
    assert (out / "labels.nrrd").is_file()
    assert (out / "description.json").is_file()
    assert main(["--size", "96", "--slice", "6", "-o", str(out)]) == 1
    said = capsys.readouterr()
    assert "not an empty folder" in said.err
    assert main(["--size", "7", "-o", str(tmp_path / "q")]) == 1
    assert not (tmp_path / "q").exists()
