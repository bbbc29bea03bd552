from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.sr.codedict import codes
from pydicom.uid import RLELossless

from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from anatomy.scan import Scan

FRAME = "1.2.3.4"
SHAPE = (7, 12, 10)


@pytest.fixture
def series(tmp_path: Path, write_series: Callable[..., list[Path]]) -> Path:
    """Seven slices whose file names run against their positions."""
    write_series(tmp_path / "series", np.zeros(SHAPE, int), FrameOfReferenceUID=FRAME)
    return tmp_path / "series"


def values() -> np.ndarray:
    """Two structures; slices 0, 3 and 6 are empty."""
    array = np.zeros(SHAPE, np.uint8)
    array[1:3, 2:7, 3:8] = 1
    array[4:6, 3:5, 1:4] = 2
    array[5, 8, 9] = 1
    return array


def masks() -> np.ndarray:
    """The two structures as segments (slice, row, column, segment), overlapping in twelve voxels."""
    stacked = np.stack([values() == 1, values() == 2], axis=3)
    stacked[1, 2:5, 3:7, 1] = True
    return stacked


def write(path: Path, series: Path, pixels: np.ndarray, kind: str = "BINARY", **changes: object) -> Path:
    """A SEG by highdicom of pixels in the order of the slices along z."""
    source = [pydicom.dcmread(p, stop_before_pixels=True) for p in series.iterdir()]
    for one in source:
        for tag in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"):
            setattr(one, tag, None)
        one.ReferringPhysicianName = None
    source.sort(key=lambda one: float(one.ImagePositionPatient[2]))
    count = pixels.shape[3] if pixels.ndim == 4 else int(pixels.max())
    anatomy = codes.cid7150.AnatomicalStructure
    described = [
        highdicom.seg.SegmentDescription(n, f"part {n}", anatomy, anatomy, "MANUAL")
        for n in range(1, count + 1)
    ]
    seg = highdicom.seg.Segmentation(
        source, pixels, kind, described, highdicom.UID(), 1, highdicom.UID(), 1, "a", "b", "c", "d", **changes
    )
    seg.save_as(path)
    return path


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP", "FRACTIONAL"])
@pytest.mark.parametrize("omit", [True, False])
def test_every_type_with_and_without_empty_frames(
    tmp_path: Path, series: Path, kind: str, omit: bool
) -> None:
    path = write(tmp_path / "seg.dcm", series, values(), kind, omit_empty_frames=omit)
    labels = LabelMap.read(path, scan=Scan.read(series), source=series)
    assert labels.names == {1: "part 1", 2: "part 2"}
    assert np.array_equal(labels.array, values())
    alone = LabelMap.read(path)
    assert alone.array.shape[0] == (5 if omit else 7)
    assert alone.image.GetOrigin()[2] == (32.5 if omit else 30.0)


@pytest.mark.parametrize("kind", ["LABELMAP", "FRACTIONAL"])
def test_compressed_frames(tmp_path: Path, series: Path, kind: str) -> None:
    path = write(tmp_path / "seg.dcm", series, values(), kind, transfer_syntax_uid=RLELossless)
    assert np.array_equal(LabelMap.read(path, scan=Scan.read(series)).array, values())


def test_fractions_are_cut_where_stated_and_the_cut_is_recorded(tmp_path: Path, series: Path) -> None:
    shares = np.zeros((*SHAPE, 1), np.float32)
    shares[3, 5, 2:8, 0] = [0.2, 0.4, 0.5, 0.6, 0.8, 1.0]
    path = write(tmp_path / "seg.dcm", series, shares, "FRACTIONAL", max_fractional_value=10)
    scan = Scan.read(series)
    for threshold, count in ((0.5, 4), (0.8, 2), (0.3, 5), (1.0, 1)):
        labels = LabelMap.read(path, scan=scan, threshold=threshold)
        assert (labels.array > 0).sum() == count, threshold
        assert f"cut at a share of {threshold:g}" in labels.warnings[0]
    with pytest.raises(AnatomyError, match=r"lies in \(0, 1\], not at 1.5"):
        LabelMap.read(path, threshold=1.5)


def test_overlap_is_refused_then_decided(tmp_path: Path, series: Path) -> None:
    path = write(tmp_path / "seg.dcm", series, masks().astype(np.uint8))
    scan = Scan.read(series)
    with pytest.raises(AnatomyError, match=r"'part 1' and 'part 2' share 12 voxels.*priority.*only"):
        LabelMap.read(path)
    for first, second in ((1, 2), (2, 1)):
        labels = LabelMap.read(path, scan=scan, priority=[f"part {first}"])
        assert np.array_equal(labels.mask(f"part {first}"), masks()[..., first - 1])
        assert np.array_equal(
            labels.mask(f"part {second}"), masks()[..., second - 1] & ~masks()[..., first - 1]
        )
        alone = LabelMap.read(path, scan=scan, only=[f"part {first}"])
        assert np.array_equal(alone.array > 0, masks()[..., first - 1])
    with pytest.raises(AnatomyError, match="has no 'part 3' to give priority to; did you mean part"):
        LabelMap.read(path, priority=["part 3"])
    with pytest.raises(AnatomyError, match="has none of liver; it has part 1, part 2: ask for those"):
        LabelMap.read(path, only=["liver"])


def test_the_order_of_frames_does_not_matter(tmp_path: Path, series: Path) -> None:
    path = write(tmp_path / "seg.dcm", series, values(), "LABELMAP", omit_empty_frames=False)
    data = pydicom.dcmread(path)
    order = [4, 0, 6, 2, 5, 1, 3]
    data.PixelData = data.pixel_array[order].tobytes()
    data.PerFrameFunctionalGroupsSequence = [data.PerFrameFunctionalGroupsSequence[i] for i in order]
    data.save_as(path)
    assert np.array_equal(LabelMap.read(path, scan=Scan.read(series)).array, values())


def test_flipped_rows_and_columns(tmp_path: Path, series: Path) -> None:
    path = write(tmp_path / "seg.dcm", series, values(), "LABELMAP", omit_empty_frames=False)
    data = pydicom.dcmread(path)
    data.PixelData = data.pixel_array[:, ::-1, ::-1].tobytes()
    shared = data.SharedFunctionalGroupsSequence[0]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]
    for frame in data.PerFrameFunctionalGroupsSequence:
        x, y, z = frame.PlanePositionSequence[0].ImagePositionPatient
        frame.PlanePositionSequence[0].ImagePositionPatient = [float(x) + 9 * 0.8, float(y) + 11 * 0.9, z]
    data.save_as(path)
    labels = LabelMap.read(path)
    assert np.array_equal(labels.array, values()[:, ::-1, ::-1])
    assert np.array_equal(labels.matched_to(Scan.read(series)).array, values())


def test_slices_at_uneven_distances_need_the_scan(tmp_path: Path, series: Path) -> None:
    pixels = values()
    pixels[[0, 3, 6]] = 0
    pixels[3, 0, 0], pixels[1] = 1, 0
    path = write(tmp_path / "seg.dcm", series, pixels, "LABELMAP")
    data = pydicom.dcmread(path)
    measures = data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.pop("SpacingBetweenSlices", None)
    measures.SliceThickness = 2.5
    data.PixelData = data.pixel_array[[0, 1, 3]].tobytes()
    data.NumberOfFrames = 3
    data.PerFrameFunctionalGroupsSequence = [data.PerFrameFunctionalGroupsSequence[i] for i in (0, 1, 3)]
    data.save_as(path)
    heights = [
        f.PlanePositionSequence[0].ImagePositionPatient[2] for f in data.PerFrameFunctionalGroupsSequence
    ]
    assert [float(z) for z in heights] == [42.5, 40.0, 35.0]
    pixels[3] = 0
    assert np.array_equal(LabelMap.read(path, scan=Scan.read(series)).array, pixels)
    data.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0].ImagePositionPatient[2] = 38.6
    data.save_as(path)
    with pytest.raises(AnatomyError, match=r"uneven distances, so they are no volume: give the scan"):
        LabelMap.read(path)
    with pytest.raises(AnatomyError, match="uneven distances and not on the scan's"):
        LabelMap.read(path, scan=Scan.read(series))


def test_every_second_slice_without_a_stated_distance(tmp_path: Path, series: Path) -> None:
    pixels = np.zeros(SHAPE, np.uint8)
    pixels[[1, 3, 5], 4:8, 3:6] = 1
    path = write(tmp_path / "seg.dcm", series, pixels, "LABELMAP")
    data = pydicom.dcmread(path)
    data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].pop("SpacingBetweenSlices", None)
    data.save_as(path)
    assert np.array_equal(LabelMap.read(path, scan=Scan.read(series)).array, pixels)


def test_wrong_objects_get_one_sentence(
    tmp_path: Path, series: Path, write_series: Callable[..., object]
) -> None:
    path = write(tmp_path / "seg.dcm", series, values())
    other = tmp_path / "other"
    write_series(other, np.zeros(SHAPE, int), FrameOfReferenceUID="1.2.9")
    with pytest.raises(AnatomyError, match="another frame of reference than the scan"):
        LabelMap.read(path, source=other)
    assert LabelMap.read(path, source=other, any_frame=True).structures == ["part 1", "part 2"]
    far = tmp_path / "far"
    write_series(far, np.zeros(SHAPE, int), origin=(-10.0, -20.0, 130.0), FrameOfReferenceUID=FRAME)
    with pytest.raises(AnatomyError, match="no label lies inside the scan: they belong to another scan"):
        LabelMap.read(path, scan=Scan.read(far), source=far)
    empty = write(tmp_path / "empty.dcm", series, np.zeros((*SHAPE, 1), np.uint8), omit_empty_frames=False)
    with pytest.raises(AnatomyError, match="the label map is empty"):
        LabelMap.read(empty)
    for cut in (200, 2000, path.stat().st_size - 40):
        (tmp_path / "cut.dcm").write_bytes(path.read_bytes()[:cut])
        with pytest.raises(AnatomyError, match=r"cut\.dcm.*(damaged|cut short)") as caught:
            LabelMap.read(tmp_path / "cut.dcm")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(24))
def test_damage_anywhere_is_one_sentence_or_still_labels(tmp_path: Path, series: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    raw = bytearray(write(tmp_path / "seg.dcm", series, values()).read_bytes())
    for _ in range(1 + 6 * (seed % 3)):
        raw[rng.integers(132, len(raw))] = rng.integers(0, 256)
    (tmp_path / "hurt.dcm").write_bytes(raw)
    with suppress(AnatomyError):
        assert LabelMap.read(tmp_path / "hurt.dcm").structures
        return
    with pytest.raises(AnatomyError, match=r"^[^\n]*hurt\.dcm[^\n]*$"):
        LabelMap.read(tmp_path / "hurt.dcm")


def test_names_come_from_the_label_the_code_or_the_person(tmp_path: Path, series: Path) -> None:
    path = write(tmp_path / "seg.dcm", series, values())
    data = pydicom.dcmread(path)
    for segment, value, label in zip(
        data.SegmentSequence, ("78961009", "10200004"), ("Milz", "spleen"), strict=True
    ):
        segment.SegmentedPropertyTypeCodeSequence[0].CodeValue = value
        segment.SegmentLabel = label
    data.save_as(path)
    with pytest.raises(AnatomyError, match="both named 'spleen'"):
        LabelMap.read(path)
    data.SegmentSequence[1].SegmentLabel = "gallbladder"
    data.save_as(path)
    labels = LabelMap.read(path)
    assert labels.names == {1: "spleen", 2: "gallbladder"}
    assert labels.warnings == ["segment 2 is called 'gallbladder' but coded as liver: the name was taken"]
    assert LabelMap.read(path, {2: "liver"}).names == {2: "liver"}
    folder = tmp_path / "folder"
    folder.mkdir()
    path.rename(folder / "seg.dcm")
    assert LabelMap.read(folder).names == {1: "spleen", 2: "gallbladder"}


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_written_segments_are_coded_and_refer_to_their_slices(
    tmp_path: Path, series: Path, kind: str
) -> None:
    scan = Scan.read(series)
    array = values()
    array[2, 10, 1:4], array[4, 0, 0] = 3, 4
    image = sitk.GetImageFromArray(np.array([0, 5, 7, 300, 9], np.uint16)[array])
    image.CopyInformation(scan.image)
    names = {5: "liver", 7: "kidney_tumour_left", 300: "kidney_left", 9: "my own part"}
    labels = LabelMap(sitk.Flip(image, [True, False, True]), names)
    labels.write(tmp_path / "seg.dcm", series, kind=kind)
    again = LabelMap.read(tmp_path / "seg.dcm", scan=scan, source=series)
    assert set(again.structures) == set(labels.structures)
    for name in names.values():
        assert np.array_equal(again.mask(name), labels.matched_to(scan).mask(name))
    assert list(again.names) == ([5, 7, 9, 300] if kind == "LABELMAP" else [1, 2, 3, 4])
    data = pydicom.dcmread(tmp_path / "seg.dcm")
    assert (str(data.PatientName), data.PatientID, data.StudyInstanceUID) == (
        "Sentinel^Patient",
        "SENTINEL-7",
        "1.2.3",
    )
    assert data.FrameOfReferenceUID == FRAME
    referred = data.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert len(referred) == SHAPE[0]
    segments = {s.SegmentLabel: s for s in data.SegmentSequence}
    assert coded(segments["liver"]) == "10200004"
    assert coded(segments["my own part"]) == "123037004"
    tumour, kidney = segments["kidney_tumour_left"], segments["kidney_left"]
    assert coded(tumour) == "108369006"
    region = tumour.AnatomicRegionSequence[0]
    assert (region.CodeValue, region.AnatomicRegionModifierSequence[0].CodeValue) == ("64033007", "7771000")
    kind_of = kidney.SegmentedPropertyTypeCodeSequence[0]
    assert kind_of.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == "7771000"
    assert not any("99" in e.value for e in data.iterall() if e.keyword == "CodingSchemeDesignator")
    for frame in data.PerFrameFunctionalGroupsSequence:
        uid = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        height = float(frame.PlanePositionSequence[0].ImagePositionPatient[2])
        slices = [pydicom.dcmread(p, stop_before_pixels=True) for p in series.iterdir()]
        assert next(float(s.ImagePositionPatient[2]) for s in slices if s.SOPInstanceUID == uid) == height


def coded(segment: pydicom.Dataset) -> str:
    return str(segment.SegmentedPropertyTypeCodeSequence[0].CodeValue)


def test_what_cannot_be_written_is_said_and_nothing_is_left(
    tmp_path: Path, series: Path, write_series: Callable[..., object]
) -> None:
    image = sitk.GetImageFromArray(values())
    image.CopyInformation(Scan.read(series).image)
    labels = LabelMap(image, {1: "liver", 2: "spleen"})
    with pytest.raises(AnatomyError, match="give the folder of the series that was labelled"):
        labels.write(tmp_path / "seg.dcm")
    with pytest.raises(AnatomyError, match="is no folder"):
        labels.write(tmp_path / "seg.dcm", tmp_path / "nowhere")
    far = tmp_path / "far"
    write_series(far, np.zeros(SHAPE, int), origin=(-10.0, -20.0, 130.0), FrameOfReferenceUID=FRAME)
    with pytest.raises(AnatomyError, match="holds no DICOM series where the labels lie"):
        labels.write(tmp_path / "seg.dcm", far)
    write_series(
        series, np.zeros(SHAPE, int), prefix="second", SeriesInstanceUID="1.2.77", FrameOfReferenceUID=FRAME
    )
    with pytest.raises(AnatomyError, match=r"2 series in .* choose one by its series UID \(.*1\.2\.77"):
        labels.write(tmp_path / "seg.dcm", series)
    labels.write(tmp_path / "seg.dcm", series, series="1.2.77")
    assert pydicom.dcmread(tmp_path / "seg.dcm").ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.77"
    (tmp_path / "seg.dcm").unlink()
    write_series(tmp_path / "bare", np.zeros(SHAPE, int), StudyInstanceUID="", FrameOfReferenceUID=FRAME)
    with pytest.raises(AnatomyError, match="state no StudyInstanceUID"):
        labels.write(tmp_path / "seg.dcm", tmp_path / "bare")
    assert not list(tmp_path.glob("*.dcm"))
    assert not list(tmp_path.glob(".writing*"))
