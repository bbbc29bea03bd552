"""Slice: what a header says of the place and kind of one picture, in a file of its own or a frame of many.

Theory: the centre of the first voxel is ImagePositionPatient, its rows run along the first half of
ImageOrientationPatient and its columns along the second (DICOM PS3.3 C.7.6.2.1.1). Classic objects hold one
picture and say this once; enhanced ones say it in functional groups, shared by all frames or for each frame
(PS3.3 C.7.6.16). The value of a voxel is slope times the stored number plus intercept (C.11.1), which again may
differ from picture to picture. Patient identity is never read: only the tags named here are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from anatomy.errors import AnatomyError
from anatomy.images import file_type
from anatomy.progress import Progress

_TAGS = [
    "SOPClassUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality", "ImageType", "Rows",
    "Columns", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "PixelSpacing",
    "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "KVP", "ContrastBolusAgent",
    "InstanceNumber", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "TemporalPositionIdentifier",
    "EchoTime", "InversionTime", "DiffusionBValue", "TriggerTime", "AcquisitionNumber",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip
# Pictures that are no scan: label maps, doses, presentation states with thumbnails.
_NO_SCANS = {"SEG", "RTDOSE", "RTIMAGE", "PR", "KO", "SR"}

# What tells pictures at one place apart, in words; for each, where a classic header and an enhanced one say it.
_KINDS: tuple[tuple[str, str, str, str], ...] = (
    ("time point", "TemporalPositionIdentifier", "FrameContentSequence", "TemporalPositionIndex"),
    ("echo time ms", "EchoTime", "MREchoSequence", "EffectiveEchoTime"),
    ("inversion time ms", "InversionTime", "MRModifierSequence", "InversionTimes"),
    ("b-value s/mm²", "DiffusionBValue", "MRDiffusionSequence", "DiffusionBValue"),
    ("cardiac delay ms", "TriggerTime", "CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    ("image type", "ImageType", "MRImageFrameTypeSequence", "FrameType"),
    ("frame type", "", "CTImageFrameTypeSequence", "FrameType"),
    ("image component", "", "MRImageFrameTypeSequence", "ComplexImageComponent"),
    ("acquisition", "AcquisitionNumber", "FrameContentSequence", "FrameAcquisitionNumber"),
)
KINDS = tuple(words for words, *_ in _KINDS)


@dataclass(frozen=True, eq=False)
class Slice:
    """One picture's place and kind.

    Parameters
    ----------
    path : Path
        Its file.
    frame : int
        Which picture of the file, from 0.
    header : pydicom.Dataset
        The file's header, technical tags only.
    position : ndarray, shape (3,)
        Centre of the first voxel, LPS mm.
    axes : ndarray, shape (2, 3)
        Row and column direction.
    across_mm, down_mm : float
        Distance of neighbouring voxels within a row and within a column, mm.
    slope, intercept : float
        Of the modality rescale.
    thickness_mm : float, optional
        Slice thickness, mm.
    stack : str
        The stack it belongs to, where the file says so.
    kinds : mapping of str to str
        What tells it from other pictures at its place, by the words of `KINDS`.
    missing : str
        The tag without which it has no place; '' where it has one.
    """

    path: Path
    frame: int
    header: Dataset
    position: NDArray[np.float64]
    axes: NDArray[np.float64]
    across_mm: float
    down_mm: float
    slope: float
    intercept: float
    thickness_mm: float | None
    stack: str
    kinds: Mapping[str, str]
    missing: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        return int(self.header.Columns), int(self.header.Rows)

    @property
    def number(self) -> tuple[int, int]:
        """What it is sorted by among slices at one place: its instance and frame number."""
        return int(number_of(self.header, "InstanceNumber") or 0), self.frame

    @property
    def name(self) -> str:
        """What a person finds it by: its file, and its frame in a file of many."""
        frames = number_of(self.header, "NumberOfFrames") or 1
        return self.path.name if frames == 1 else f"frame {self.frame + 1} of {self.path.name}"

    @property
    def has_true_axes(self) -> bool:
        """Whether rows and columns are unit directions at right angles, and pixels have an extent."""
        products = self.axes @ self.axes.T
        spacing = min(self.across_mm, self.down_mm)
        return bool(
            np.abs(products - np.eye(2)).max() < 0.01 and spacing > 0 and np.isfinite(self.position).all()
        )

    @property
    def is_localiser(self) -> bool:
        """Whether its header calls it a localiser (scout view)."""
        kinds = (str(part).upper() for part in self.header.get("ImageType", None) or [])
        return any("LOCALIZER" in kind or "SCOUT" in kind for kind in kinds)

    @property
    def is_colour(self) -> bool:
        """Whether it is a colour picture."""
        photometric = str(self.header.get("PhotometricInterpretation", "") or "")
        return (number_of(self.header, "SamplesPerPixel") or 1) != 1 or photometric == "PALETTE COLOR"


def is_dicom(path: Path) -> bool:
    """Whether a file starts like DICOM (PS3.10: 128 bytes, then DICM)."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def slices_below(folder: Path, progress: Progress) -> list[Slice]:
    """Every picture in a folder and its sub-folders, whatever its series.

    Raises
    ------
    AnatomyError
        If there is none, or a file is damaged.
    """
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.name.startswith(".")]
    found: list[Slice] = []
    for count, path in enumerate(files):
        found += slices_in(path)
        if count % 20 == 0:
            progress("Reading the scan's headers", count / len(files))
    if not found:
        volumes = [p.name for p in files if file_type(p)]
        hint = (
            f"give the file itself, such as {volumes[0]}"
            if volumes
            else "give the folder that holds the slices"
        )
        raise AnatomyError(f"no DICOM images in {folder} ({counted(len(files), 'file')}): {hint}")
    return found


def slices_in(path: Path) -> list[Slice]:
    """The pictures of one file; none if it is no DICOM image.

    Raises
    ------
    AnatomyError
        If the file is damaged.
    """
    header = _header(path)
    if header is None or header.get("Modality") in _NO_SCANS:
        return []
    try:
        return list(_pictures(path, header))
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise AnatomyError(
            f"{path} says where its slices lie in a way that cannot be read: give the original series"
        ) from error


def counted(count: int, noun: str) -> str:
    """A number with its noun, such as '1 slice' or '3 slices'."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def number_of(header: Dataset, tag: str) -> float | None:
    """A header's number, or None where it has none."""
    try:
        return float(header.get(tag, None))
    except (TypeError, ValueError):
        return None


def read_dataset(path: Path, tags: Sequence[str], stop_before_pixels: bool = False) -> FileDataset:
    """Read some tags of a file; one without the preamble (of before 1996) is taken for what its bytes say.

    Raises
    ------
    InvalidDicomError
        If the file is no DICOM file; other errors where it is damaged.
    """
    with pydicom.config.disable_value_validation():
        data = pydicom.dcmread(
            path, stop_before_pixels=stop_before_pixels, specific_tags=list(tags), force=_is_bare(path)
        )
    if "TransferSyntaxUID" not in data.file_meta:
        implicit = data.original_encoding[0]
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return data


def _is_bare(path: Path) -> bool:
    """Whether a file starts with the first attributes of an image, little endian, without preamble."""
    with path.open("rb") as file:
        group, element = file.read(2), file.read(2)
    return group == b"\x08\x00" and element in (
        b"\x00\x00",
        b"\x01\x00",
        b"\x05\x00",
        b"\x08\x00",
        b"\x16\x00",
    )


def _header(path: Path) -> Dataset | None:
    """A file's header, or None for a file that is no DICOM image."""
    try:
        header = read_dataset(path, _TAGS, stop_before_pixels=True)
        # Values are decoded when first asked for: all now, so that a damaged one is found here.
        for _ in header.iterall():
            pass
        kind = header.file_meta.get("MediaStorageSOPClassUID", header.get("SOPClassUID", ""))
    except InvalidDicomError:
        return None
    except Exception as error:  # whatever pydicom trips over in a damaged file
        raise AnatomyError(f"{path} is a damaged or cut-short DICOM file: copy the series again") from error
    size = [header.get(tag, None) for tag in ("Rows", "Columns")]
    if all(isinstance(value, int) and value > 0 for value in size):
        return header
    if size != [None, None] or "Image Storage" in getattr(kind, "name", ""):
        raise AnatomyError(
            f"{path} is a damaged or cut-short DICOM file (an image without rows or columns): copy the series "
            "again"
        )
    return None


def _pictures(path: Path, header: Dataset) -> Iterator[Slice]:
    frames = header.get("PerFrameFunctionalGroupsSequence", None)
    if not frames:
        # Frames without functional groups (secondary captures) have one place at most, which is none.
        for frame in range(int(header.get("NumberOfFrames", 1) or 1)):
            yield _picture(path, frame, header, [header])
        return
    shared = header.get("SharedFunctionalGroupsSequence", None)
    for frame, groups in enumerate(frames):
        yield _picture(path, frame, header, [groups, *(shared or []), header])


def _picture(path: Path, frame: int, header: Dataset, sources: list[Dataset]) -> Slice:
    """A slice from the places that may speak of it, the nearest first."""
    position = _find(sources, "PlanePositionSequence", "ImagePositionPatient")
    axes = _find(sources, "PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = _find(sources, "PixelMeasuresSequence", "PixelSpacing")
    given = {"ImagePositionPatient": position, "ImageOrientationPatient": axes, "PixelSpacing": spacing}
    missing = next((tag for tag, value in given.items() if not value), "")
    if not missing and len(sources) == 1 and int(header.get("NumberOfFrames", 1) or 1) > 1:
        missing = "place of each frame"
    down, across = (float(v) for v in spacing) if spacing else (np.nan, np.nan)
    slope = _find(sources, "PixelValueTransformationSequence", "RescaleSlope")
    intercept = _find(sources, "PixelValueTransformationSequence", "RescaleIntercept")
    thickness = _find(sources, "PixelMeasuresSequence", "SliceThickness")
    return Slice(
        path,
        frame,
        header,
        np.array([float(v) for v in position]).reshape(3) if position else np.full(3, np.nan),
        np.array([float(v) for v in axes]).reshape(2, 3) if axes else np.full((2, 3), np.nan),
        across,
        down,
        1.0 if slope in (None, "") else float(slope),
        0.0 if intercept in (None, "") else float(intercept),
        float(thickness) if thickness not in (None, "") else None,
        str(_find(sources, "FrameContentSequence", "StackID") or ""),
        dict(_kinds(sources)),
        missing,
    )


def _find(sources: list[Dataset], group: str, tag: str) -> Any:
    """A value from the functional group of the first source that has it, or from the header itself."""
    for source in sources:
        inner = source.get(group, None) if group else None
        if inner and (value := inner[0].get(tag, None)) is not None:
            return value
    return sources[-1].get(tag, None)


def _kinds(sources: list[Dataset]) -> Iterator[tuple[str, str]]:
    for words, classic, group, tag in _KINDS:
        value = _find(sources, group, tag)
        if value is None and classic:
            value = sources[-1].get(classic, None)
        if value is not None and value != "":
            many = isinstance(value, (list, tuple, pydicom.multival.MultiValue))
            yield words, "/".join(str(v) for v in value) if many else str(value)
