"""Zip archives of slices: read as their folder, and unable to do harm."""

from __future__ import annotations

import stat
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from anatomy.dicom.archive import unpacked
from anatomy.errors import AnatomyError
from anatomy.scan import Scan
from tests.anatomy.dicom_files import upright, write_slices


@pytest.fixture
def planes() -> np.ndarray:
    return np.random.default_rng(5).integers(-900, 1500, (6, 9, 11)).astype(np.int16)


@pytest.fixture
def study(tmp_path: Path, planes: np.ndarray) -> list[Path]:
    return write_slices(tmp_path / "study", planes, upright(6))


def zipped(path: Path, files: list[Path], folder: str = "a/b") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for index, file in enumerate(files):
            # Same names in different folders, as exports have them.
            archive.write(file, f"{folder}/{index % 2}/IM{index // 2}")
    return path


def test_nested_folders_with_equal_names(
    tmp_path: Path, study: list[Path], planes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    assert np.array_equal(Scan.read(zipped(tmp_path / "study.zip", study)).array, planes)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_errors_name_the_archive(tmp_path: Path, study: list[Path]) -> None:
    with pytest.raises(AnatomyError, match=r"5 mm between .*study\.zip") as error:
        Scan.read(zipped(tmp_path / "study.zip", study[:2] + study[3:]))
    assert "organtwin-" not in str(error.value)
    with zipfile.ZipFile(tmp_path / "words.zip", "w") as archive:
        archive.writestr("words.txt", "no image")
    with pytest.raises(AnatomyError, match=r"no DICOM images in .*words\.zip"):
        Scan.read(tmp_path / "words.zip")


def test_names_that_lead_out_and_links_stay_inside(
    tmp_path: Path, study: list[Path], planes: np.ndarray
) -> None:
    with zipfile.ZipFile(tmp_path / "slip.zip", "w") as archive:
        for index, file in enumerate(study):
            archive.write(file, f"../../escaped/{index}.dcm")
        archive.writestr("/absolute.txt", "x")
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with unpacked(tmp_path / "slip.zip") as folder:
        inside = [path for path in folder.rglob("*") if path.is_file()]
        assert len(inside) == 7
        assert not any(path.is_symlink() for path in folder.rglob("*"))
        assert not list(folder.parent.glob("escaped*"))
    assert np.array_equal(Scan.read(tmp_path / "slip.zip").array, planes)


def test_more_than_the_bound_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(5_000_000))
    with (
        pytest.raises(AnatomyError, match=r"unpacks to 1 files of 0\.0 GiB in all, more than"),
        unpacked(tmp_path / "bomb.zip", most_bytes=1_000_000),
    ):
        pass


def test_cut_short_and_locked_archives(tmp_path: Path, study: list[Path]) -> None:
    path = zipped(tmp_path / "study.zip", study)
    content = bytearray(path.read_bytes())
    content[200:260] = bytes(60)
    (tmp_path / "bad.zip").write_bytes(content)
    with pytest.raises(AnatomyError, match=r"bad\.zip is a damaged or cut-short archive"):
        Scan.read(tmp_path / "bad.zip")
    (tmp_path / "cut.zip").write_bytes(content[: len(content) // 2])
    with pytest.raises(AnatomyError, match=r"cut\.zip"):
        Scan.read(tmp_path / "cut.zip")
    # The flag of encryption in both headers of the first member.
    locked = bytearray(path.read_bytes())
    locked[6] |= 1
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(locked)
    with pytest.raises(AnatomyError, match="locked with a password"):
        Scan.read(tmp_path / "locked.zip")


def test_a_dicomdir_stands_for_its_folder(tmp_path: Path, study: list[Path], planes: np.ndarray) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MediaStorageDirectoryStorage, "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("DICOMDIR", {}, file_meta=meta, preamble=b"\0" * 128)
    data.FileSetID, data.DirectoryRecordSequence = "SENTINEL", []
    data.save_as(tmp_path / "DICOMDIR", enforce_file_format=True)
    assert np.array_equal(Scan.read(tmp_path / "DICOMDIR").array, planes)
    assert np.array_equal(Scan.read(tmp_path).array, planes)
