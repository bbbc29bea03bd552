"""A folder of DICOM slices as one volume, with a geometry worked out here rather than believed.

Theory: the centre of the first voxel of a slice is ImagePositionPatient p, its rows run along the first half
of ImageOrientationPatient and its columns along the second (DICOM PS3.3 C.7.6.2.1.1). With the normal
n = row × column the slices are sorted by p·n, and the stack is a volume only if those numbers grow by one
constant gap and the slices sit straight above each other (no shear). Everything else is refused by name,
because a reader that guesses bends the anatomy. Pixels are decoded by GDCM, slice by slice. Patient identity
is never read into the result: only technical facts are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from anatomy.errors import AnatomyError
from anatomy.images import quiet
from anatomy.progress import Progress, silent

_TAGS = [
    "SOPClassUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality", "ImageType", "Rows",
    "Columns", "SamplesPerPixel", "NumberOfFrames", "PixelSpacing", "ImagePositionPatient",
    "ImageOrientationPatient", "SliceThickness", "KVP", "ContrastBolusAgent",
]  # fmt: skip
# A gap may differ from the mean by 1 %, or by the rounding of positions written with two decimals.
_GAP_SHARE, _GAP_ROUNDING_MM = 0.01, 0.02
_PHASES = {
    "native": r"\bnativ|without contrast|non.?contrast|unenhanced|\bplain\b",
    "arterial": r"arteri",
    "portal venous": r"portal|venous|venös|\bpv\b",
    "delayed": r"delay|late|spät|excret",
}


@dataclass(frozen=True)
class Slice:
    """What one file's header says about the place and kind of its pixels."""

    path: Path
    header: pydicom.Dataset

    @property
    def position(self) -> NDArray[np.float64]:
        """Centre of the first voxel, LPS mm, shape (3,)."""
        return np.array([float(v) for v in self.header.ImagePositionPatient])

    @property
    def axes(self) -> NDArray[np.float64]:
        """Row and column direction, shape (2, 3)."""
        return np.array([float(v) for v in self.header.ImageOrientationPatient]).reshape(2, 3)

    @property
    def shape(self) -> tuple[int, int, float, float]:
        """Columns, rows and the mm between them, rounded to what a header can mean."""
        down, across = (float(v) for v in self.header.PixelSpacing)
        return int(self.header.Columns), int(self.header.Rows), round(across, 4), round(down, 4)


@dataclass(frozen=True)
class Facts:
    """Technical facts about a series; nothing that points to a person."""

    modality: str
    kvp: float | None = None
    contrast: str | None = None
    slice_thickness_mm: float | None = None


def read_series(
    folder: Path, series: str | int | None = None, progress: Progress = silent
) -> tuple[sitk.Image, Facts]:
    """Read the one image series in a folder and its sub-folders.

    Parameters
    ----------
    folder : Path
        Where the slices are; other files are passed over.
    series : str or int, optional
        Which series where the folder has several: its number in the refusal's list, or its SeriesInstanceUID.
    progress : Progress
        Told about files and slices read.

    Returns
    -------
    image : SimpleITK.Image
        int16 or float32 after the modality rescale, LPS mm; in CT, padding below -1024 HU is set to -1024 HU.
    facts : Facts
        Technical facts.

    Raises
    ------
    AnatomyError
        If there is no image, or several series and none chosen, or the slices are no regular volume.
    """
    chosen = _choose(folder, _slices(folder, progress), series)
    _check_kind(chosen)
    _check_alike(chosen)
    ordered, spacing = _stack(chosen)
    voxels = _decode(ordered, progress)
    header = ordered[0].header
    modality = str(header.get("Modality", "")) or "unknown"
    if modality == "CT":
        np.maximum(voxels, -1024, out=voxels)
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing([float(v) for v in spacing])
    image.SetOrigin(ordered[0].position.tolist())
    image.SetDirection(_frame(ordered[0].axes).T.ravel().tolist())
    return image, Facts(
        modality, _number(header, "KVP"), _contrast(header), _number(header, "SliceThickness")
    )


def is_dicom(path: Path) -> bool:
    """Whether a file starts like DICOM (PS3.10: 128 bytes, then DICM)."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _slices(folder: Path, progress: Progress) -> list[Slice]:
    """Every image slice below the folder, whatever its series."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.name.startswith(".")]
    found = []
    for count, path in enumerate(files):
        header = _header(path)
        if header is not None and "Rows" in header and header.get("Modality") != "SEG":
            found.append(Slice(path, header))
        if count % 20 == 0:
            progress("Reading the scan's headers", count / len(files))
    if not found:
        raise AnatomyError(
            f"no DICOM images in {folder} ({len(files)} files): give the folder that holds the slices"
        )
    return found


def _header(path: Path) -> pydicom.Dataset | None:
    """A file's header, or None for a file that is no DICOM image."""
    try:
        with pydicom.config.disable_value_validation():
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
        kind = header.file_meta.get("MediaStorageSOPClassUID", header.get("SOPClassUID", ""))
        if "Rows" not in header and "Image Storage" in getattr(kind, "name", ""):
            raise EOFError("an image without rows")
        return header
    except InvalidDicomError:
        return None
    except (OSError, EOFError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise AnatomyError(f"{path} is a damaged or cut-short DICOM file: copy the series again") from error


def _choose(folder: Path, slices: list[Slice], series: str | int | None) -> list[Slice]:
    """The slices of the one series, or of the chosen one; scout views and single pictures do not count."""
    groups: dict[str, list[Slice]] = {}
    for one in slices:
        groups.setdefault(str(one.header.get("SeriesInstanceUID", "")), []).append(one)
    volumes = {uid: group for uid, group in groups.items() if _may_be_volume(group)}
    listed = sorted(volumes, key=lambda uid: (_number(volumes[uid][0].header, "SeriesNumber") or 0, uid))
    if series is not None:
        for number, uid in enumerate(listed, start=1):
            if str(series) in (str(number), uid):
                return volumes[uid]
        raise AnatomyError(f"{folder} has no series '{series}': it has {_list(volumes, listed)}")
    if len(listed) > 1:
        raise AnatomyError(
            f"{folder} holds {len(listed)} series: {_list(volumes, listed)}; choose one with series=NUMBER, "
            "or give a folder with that series alone"
        )
    if not listed:
        raise AnatomyError(
            f"{folder} holds {len(slices)} single picture(s) and no volume: give a series of slices"
        )
    return volumes[listed[0]]


def _may_be_volume(group: list[Slice]) -> bool:
    scout = any("LOCALIZER" in str(part).upper() for part in group[0].header.get("ImageType", None) or [])
    frames = int(group[0].header.get("NumberOfFrames", 1) or 1)
    return not scout and (len(group) > 1 or frames > 1)


def _list(volumes: dict[str, list[Slice]], listed: list[str]) -> str:
    parts = []
    for number, uid in enumerate(listed, start=1):
        header = volumes[uid][0].header
        about = str(header.get("SeriesDescription", "") or "").strip()
        words = f"{header.get('Modality', 'image')}, {len(volumes[uid])} slices" + (
            f", {about}" if about else ""
        )
        parts.append(f"{number} ({words})")
    return ", ".join(parts)


def _check_kind(slices: list[Slice]) -> None:
    """Refuse what is not one grey picture a file with a place in the patient."""
    for one in slices:
        header = one.header
        if int(header.get("NumberOfFrames", 1) or 1) > 1:
            raise AnatomyError(
                f"{one.path} is an enhanced multi-frame image, which this version does not read: "
                "export the series as classic single slices"
            )
        if int(header.get("SamplesPerPixel", 1) or 1) != 1:
            raise AnatomyError(f"{one.path} is a colour picture: give the original grey series")
        for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            if not header.get(tag):
                raise AnatomyError(
                    f"{one.path} does not say where its slice lies (no {tag}): give the original series"
                )


def _check_alike(slices: list[Slice]) -> None:
    """Refuse slices of different directions or sizes in one series."""
    first = slices[0]
    for one in slices[1:]:
        if np.abs(one.axes - first.axes).max() > 1e-3:
            raise AnatomyError(
                f"slices of one series lie in different directions ({first.path.name} and {one.path.name} "
                f"in {first.path.parent}): they are several stacks; give a folder with one of them"
            )
        if one.shape != first.shape:
            raise AnatomyError(
                f"the slices of one series differ in size or spacing ({first.path.name} is {_size(first)}, "
                f"{one.path.name} is {_size(one)}, in {first.path.parent}): give a folder with one kind"
            )


def _size(one: Slice) -> str:
    columns, rows, across, down = one.shape
    return f"{columns}×{rows} of {across:g}×{down:g} mm"


def _stack(slices: list[Slice]) -> tuple[list[Slice], NDArray[np.float64]]:
    """Slices sorted along their normal, and the voxel edges (x, y, z) in mm; refuses an irregular stack."""
    normal = _frame(slices[0].axes)[2]
    ordered = sorted(slices, key=lambda one: float(one.position @ normal))
    heights = np.array([float(one.position @ normal) for one in ordered])
    gaps = np.diff(heights)
    _check_distinct(ordered, gaps)
    usual = float(np.median(gaps))
    _check_gaps(ordered, gaps, usual)
    _check_shear(ordered, normal)
    down, across = (float(v) for v in ordered[0].header.PixelSpacing)
    return ordered, np.array([across, down, (heights[-1] - heights[0]) / len(gaps)])


def _check_distinct(ordered: list[Slice], gaps: NDArray[np.float64]) -> None:
    same = np.flatnonzero(gaps < 1e-3)
    if same.size == 0:
        return
    a, b = ordered[same[0]].path, ordered[same[0] + 1].path
    where = "all slices lie" if same.size == gaps.size else f"{same.size + 1} slices lie"
    raise AnatomyError(
        f"{where if same.size > 1 else 'two slices lie'} at one position (such as {a.name} and {b.name} in "
        f"{a.parent}): copies, several phases or a time series; keep one slice for each position"
    )


def _check_gaps(ordered: list[Slice], gaps: NDArray[np.float64], usual: float) -> None:
    wrong = np.flatnonzero(np.abs(gaps - usual) > max(_GAP_SHARE * usual, _GAP_ROUNDING_MM))
    if wrong.size == 0:
        return
    at = int(wrong[0])
    a, b = ordered[at].path, ordered[at + 1].path
    raise AnatomyError(
        f"the slices are not evenly spaced: {gaps[at]:.4g} mm between {a.name} and {b.name} in {a.parent}, "
        f"{usual:.4g} mm elsewhere ({wrong.size} such gap(s)); some are missing: copy the whole series again"
    )


def _check_shear(ordered: list[Slice], normal: NDArray[np.float64]) -> None:
    """Refuse a stack whose slices do not sit straight above each other (a tilted gantry)."""
    way = ordered[-1].position - ordered[0].position
    aside = float(np.linalg.norm(way - (way @ normal) * normal))
    if aside > 0.5 * min(ordered[0].shape[2:]):
        angle = np.degrees(np.arctan2(aside, float(way @ normal)))
        raise AnatomyError(
            f"the slices in {ordered[0].path.parent} are sheared by {angle:.1f}° (a tilted gantry): "
            "resample the series to upright slices first"
        )


def _decode(ordered: list[Slice], progress: Progress) -> NDArray[Any]:
    """Voxels (z, y, x), int16 where every value is a whole number that fits, else float32."""
    planes = []
    for count, one in enumerate(ordered):
        planes.append(_pixels(one))
        if count % 10 == 0:
            progress("Reading the scan's slices", count / len(ordered))
    voxels = np.stack(planes)
    if voxels.dtype.kind in "iu" and voxels.min() >= -32768 and voxels.max() <= 32767:
        return voxels.astype(np.int16)
    return voxels.astype(np.float32)


def _pixels(one: Slice) -> NDArray[Any]:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(os.fspath(one.path))
    with quiet():
        try:
            plane = sitk.GetArrayFromImage(reader.Execute())
        except RuntimeError as error:
            raise AnatomyError(
                f"{one.path} is damaged or cut short (its pixels cannot be decoded): copy the series again"
            ) from error
    return plane.reshape(int(one.header.Rows), int(one.header.Columns))


def _frame(axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row, column and normal direction, orthonormal, shape (3, 3); headers round their cosines."""
    row = axes[0] / np.linalg.norm(axes[0])
    column = axes[1] - (axes[1] @ row) * row
    column /= np.linalg.norm(column)
    return np.array([row, column, np.cross(row, column)])


def _number(header: pydicom.Dataset, tag: str) -> float | None:
    try:
        return float(header.get(tag, None))
    except (TypeError, ValueError):
        return None


def _contrast(header: pydicom.Dataset) -> str | None:
    """The contrast phase in one of our own words: free text may hold anything, so none of it is copied."""
    text = str(header.get("SeriesDescription", "") or "").lower()
    words: Iterable[str] = (phase for phase, pattern in _PHASES.items() if re.search(pattern, text))
    phase = next(iter(words), None)
    given = str(header.get("ContrastBolusAgent", "") or "").strip()
    if phase is None and given:
        return "contrast given, phase not stated"
    return phase
