"""Every way a header may write its numbers, decoded to the values they mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from anatomy.errors import AnatomyError
from anatomy.scan import Scan
from tests.anatomy.dicom_files import upright, write_enhanced, write_slices


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 2000, (4, 16, 24))


@pytest.mark.parametrize("kind", ["i2", "u2", "i4", "u1"])
def test_stored_types(tmp_path: Path, values: np.ndarray, kind: str) -> None:
    stored = (values % 200 if kind == "u1" else values).astype(kind)
    signed = np.where(values % 2, stored, -stored.astype(int)) if kind.startswith("i") else stored
    write_slices(tmp_path, signed.astype(kind), upright(4), RescaleIntercept=-100, Modality="MR")
    scan = Scan.read(tmp_path)
    assert np.array_equal(scan.array, signed.astype(int) - 100)
    assert scan.array.dtype == np.int16


def test_values_beyond_sixteen_bits_are_kept(tmp_path: Path, values: np.ndarray) -> None:
    write_slices(tmp_path, (values * 1000).astype("i4"), upright(4), Modality="MR")
    scan = Scan.read(tmp_path)
    assert scan.array.dtype == np.float32
    assert np.array_equal(scan.array, values * 1000)


def test_rescale_may_differ_from_slice_to_slice(tmp_path: Path, values: np.ndarray) -> None:
    for index, path in enumerate(write_slices(tmp_path, values.astype("u2"), upright(4), Modality="PT")):
        data = pydicom.dcmread(path)
        data.RescaleSlope, data.RescaleIntercept = 0.5 + index, 3 * index
        data.save_as(path)
    expected = [(0.5 + i) * values[i] + 3 * i for i in range(4)]
    assert np.array_equal(Scan.read(tmp_path).array, np.array(expected, np.float32))


def test_bits_above_the_stored_ones_are_no_part_of_the_value(tmp_path: Path, values: np.ndarray) -> None:
    signed = values - 1000
    low = (signed & 0x0FFF) | 0x5000  # 12-bit two's complement, with an overlay's bits above it
    tags = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 1}
    write_slices(tmp_path, low.astype("u2"), upright(4), Modality="MR", **tags)
    assert np.array_equal(Scan.read(tmp_path).array, signed)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_compressed_by_pydicom(tmp_path: Path, values: np.ndarray, syntax: str) -> None:
    signed = values - 1000
    for path in write_slices(tmp_path, signed.astype("i2"), upright(4), RescaleSlope=2):
        data = pydicom.dcmread(path)
        data.compress(syntax, generate_instance_uid=False)
        data.save_as(path)
    assert np.array_equal(Scan.read(tmp_path).array, np.maximum(2 * signed, -1024))


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_native_transfer_syntaxes(tmp_path: Path, values: np.ndarray, syntax: str) -> None:
    signed = (values - 1000).astype("i2")
    for path in write_slices(tmp_path, signed, upright(4)):
        data = pydicom.Dataset(read := pydicom.dcmread(path))
        data.file_meta = read.file_meta
        if syntax == ExplicitVRBigEndian:
            data["PixelData"].value = read.pixel_array.astype(">i2").tobytes()
            data["PixelData"].VR = "OW"
        data.file_meta.TransferSyntaxUID = syntax
        pydicom.dcmwrite(
            path,
            data,
            implicit_vr=syntax == ImplicitVRLittleEndian,
            little_endian=syntax != ExplicitVRBigEndian,
            enforce_file_format=True,
        )
    assert np.array_equal(Scan.read(tmp_path).array, signed)


@pytest.mark.parametrize("coding", ["JPEG2000", "JPEG"])
def test_compressed_by_gdcm(tmp_path: Path, values: np.ndarray, coding: str) -> None:
    signed = (values - 1000).astype(np.int16)
    for index, position in enumerate(upright(4)):
        plane = sitk.GetImageFromArray(signed[index][None])
        plane.SetOrigin(position)
        plane.SetSpacing((0.8, 0.9, 2.5))
        for key, text in {
            "0008|0060": "CT",
            "0020|000e": "1.2.3.9",
            "0020|0032": "\\".join(str(v) for v in position),
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0028|0030": "0.9\\0.8",
        }.items():
            plane.SetMetaData(key, text)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(tmp_path / f"{index}.dcm"))
        writer.SetImageIO("GDCMImageIO")
        writer.UseCompressionOn()
        writer.SetCompressor(coding)
        writer.Execute(plane)
    assert pydicom.dcmread(tmp_path / "0.dcm").file_meta.TransferSyntaxUID.is_compressed
    assert np.array_equal(Scan.read(tmp_path).array, signed)


def test_padding_becomes_air(tmp_path: Path, values: np.ndarray) -> None:
    stored = (values + 1).astype("u2")
    stored[:, :3] = 63536  # what -2000 is to a tool that takes it for unsigned
    write_slices(tmp_path / "u2", stored, upright(4), RescaleIntercept=-1024, PixelPaddingValue=63536)
    scan = Scan.read(tmp_path / "u2")
    assert (scan.array[:, :3] == -1024).all()
    assert np.array_equal(scan.array[:, 3:], stored[:, 3:].astype(int) - 1024)
    ranged = (values - 500).astype("i2")
    ranged[:, :2], ranged[:, 2] = 30000, 30007
    for path in write_slices(tmp_path / "range", ranged, upright(4)):
        data = pydicom.dcmread(path)
        data.add_new("PixelPaddingValue", "SS", 30000)
        data.add_new("PixelPaddingRangeLimit", "SS", 30010)
        data.save_as(path)
    scan = Scan.read(tmp_path / "range")
    assert (scan.array[:, :3] == -1024).all()
    assert np.array_equal(scan.array[:, 3:], ranged[:, 3:])


def test_padding_that_tissue_measures_too_punches_no_holes(tmp_path: Path, values: np.ndarray) -> None:
    signed = (values - 1000).astype("i2")
    signed[1, 4] = 0
    write_slices(tmp_path, signed, upright(4), PixelPaddingValue=0)
    assert np.array_equal(Scan.read(tmp_path).array, signed)


def frames_of(count: int, **facts: object) -> list[dict[str, object]]:
    return [{"position": position, **facts} for position in upright(count)]


def test_enhanced_frames_are_sorted_and_rescaled_each(tmp_path: Path, values: np.ndarray) -> None:
    frames = [frame | {"slope": 1 + i, "intercept": -i} for i, frame in enumerate(frames_of(4))]
    order = [2, 0, 3, 1]
    path = write_enhanced(tmp_path / "one.dcm", values[order].astype("u2"), [frames[i] for i in order])
    scan = Scan.read(path)
    assert np.array_equal(scan.array, [(1 + i) * values[i] - i for i in range(4)])
    assert scan.spacing_mm == pytest.approx((0.8, 0.9, 2.5))
    assert scan.facts.slice_thickness_mm == 2.5
    assert scan.modality == "MR"


@pytest.mark.parametrize(
    ("fact", "words"), [("stack", "stack"), ("time", "time point"), ("echo", "echo time ms")]
)
def test_enhanced_stacks_are_listed_and_chosen(
    tmp_path: Path, values: np.ndarray, fact: str, words: str
) -> None:
    kinds = {"stack": ("1", "2"), "time": (1, 2), "echo": (4.0, 8.0)}[fact]
    frames = [frame for kind in kinds for frame in frames_of(2, **{fact: kind})]
    path = write_enhanced(tmp_path / "one.dcm", values.astype("u2"), frames)
    with pytest.raises(AnatomyError, match=rf"2 stacks .*1\.1 \(2 slices, {words} {kinds[0]}\), 1\.2"):
        Scan.read(path)
    assert np.array_equal(Scan.read(path, series="1.1").array, values[:2])
    assert np.array_equal(Scan.read(path, series="1.2").array, values[2:])


def test_frames_without_a_place_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    path = write_enhanced(tmp_path / "one.dcm", values.astype("u2"), frames_of(4))
    data = pydicom.dcmread(path)
    del data.PerFrameFunctionalGroupsSequence
    data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    data.PixelSpacing = [1, 1]
    data.save_as(path)
    with pytest.raises(AnatomyError, match="does not say where its slice lies"):
        Scan.read(path)


def test_a_look_up_table_is_refused_by_name(tmp_path: Path, values: np.ndarray) -> None:
    for path in write_slices(tmp_path, values.astype("u2"), upright(4)):
        data = pydicom.dcmread(path)
        table = pydicom.Dataset()
        table.add_new("LUTDescriptor", "US", [4, 0, 16])
        table.add_new("LUTData", "US", [0, 1, 2, 3])
        table.ModalityLUTType = "HU"
        data.ModalityLUTSequence = [table]
        data.save_as(path)
    with pytest.raises(AnatomyError, match="by a look-up table"):
        Scan.read(tmp_path)


@pytest.mark.parametrize("implicit", [True, False])
def test_files_without_a_preamble(tmp_path: Path, values: np.ndarray, implicit: bool) -> None:
    for path in write_slices(tmp_path, (values - 1000).astype("i2"), upright(4)):
        data = pydicom.dcmread(path)
        data.SpecificCharacterSet = "ISO_IR 100"
        with path.open("wb") as file:
            bare = pydicom.filebase.DicomFileLike(file)
            bare.is_little_endian, bare.is_implicit_VR = True, implicit
            pydicom.filewriter.write_dataset(bare, pydicom.Dataset(data))
    assert np.array_equal(Scan.read(tmp_path).array, values - 1000)


def test_headers_that_cannot_be_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    planes = values.astype("u2")
    write_slices(tmp_path / "zero", planes, upright(4), axes=(0, 0, 0, 0, 0, 0))
    write_slices(tmp_path / "skew", planes, upright(4), axes=(1, 0, 0, 0.5, 0.866, 0))
    write_slices(tmp_path / "flat", planes, upright(4), spacing=(0.0, 0.8))
    for name in ("zero", "skew", "flat"):
        with pytest.raises(AnatomyError, match="directions or pixel spacings that cannot be"):
            Scan.read(tmp_path / name)
    write_slices(tmp_path / "mosaic", planes, upright(4), ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])
    with pytest.raises(AnatomyError, match="is a mosaic of many slices"):
        Scan.read(tmp_path / "mosaic")
