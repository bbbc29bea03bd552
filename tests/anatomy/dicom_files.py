"""True DICOM files of small arrays: slices anywhere in space, and enhanced objects of many frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)


def write_slice(
    path: Path,
    plane: np.ndarray,
    position: Sequence[float],
    axes: Sequence[float] = (1, 0, 0, 0, 1, 0),
    spacing: tuple[float, float] = (0.9, 0.8),
    **tags: Any,
) -> Path:
    """Write one classic CT slice; `plane` holds stored numbers, `spacing` is (down, across) as in the header."""
    data = _object(path, CTImageStorage)
    data.Modality, data.SeriesInstanceUID, data.SeriesNumber = "CT", "1.2.3.4", 3
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    _pixels(data, plane)
    data.PixelSpacing = list(spacing)
    data.ImageOrientationPatient = [float(v) for v in axes]
    data.ImagePositionPatient = [float(v) for v in position]
    data.RescaleSlope, data.RescaleIntercept = 1, 0
    for name, value in tags.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path


def write_slices(
    folder: Path,
    planes: np.ndarray,
    positions: Sequence[Sequence[float]],
    prefix: str = "s",
    **tags: Any,
) -> list[Path]:
    """Write classic CT slices, one a position, numbered in this order."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        write_slice(
            folder / f"{prefix}{index:03d}.dcm", plane, position, **{"InstanceNumber": index + 1} | tags
        )
        for index, (plane, position) in enumerate(zip(planes, positions, strict=True))
    ]


def upright(count: int, gap: float = 2.5) -> list[tuple[float, float, float]]:
    """Positions straight above each other."""
    return [(-10.0, -20.0, 30.0 + gap * index) for index in range(count)]


def write_enhanced(path: Path, planes: np.ndarray, frames: Sequence[dict[str, Any]]) -> Path:
    """Write one enhanced MR object; of each frame: position, and where wanted stack, time, echo, slope, intercept."""
    data = _object(path, EnhancedMRImageStorage)
    data.Modality, data.SeriesInstanceUID, data.SeriesNumber = "MR", generate_uid(), 5
    data.ImageType, data.NumberOfFrames = ["ORIGINAL", "PRIMARY", "M", "NONE"], len(planes)
    _pixels(data, planes)
    shared = Dataset()
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.9, 0.8], 2.5
    orientation.ImageOrientationPatient = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    data.SharedFunctionalGroupsSequence = [shared]
    data.PerFrameFunctionalGroupsSequence = [_frame(**frame) for frame in frames]
    data.save_as(path, enforce_file_format=True)
    return path


def _frame(
    position: Sequence[float],
    stack: str = "1",
    time: int = 1,
    echo: float = 4.0,
    slope: float = 1.0,
    intercept: float = 0.0,
) -> Dataset:
    groups, place, content, values, echoes = (Dataset() for _ in range(5))
    place.ImagePositionPatient = [float(v) for v in position]
    content.StackID, content.TemporalPositionIndex = stack, time
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = slope, intercept, "US"
    echoes.EffectiveEchoTime = echo
    groups.PlanePositionSequence, groups.FrameContentSequence = [place], [content]
    groups.PixelValueTransformationSequence, groups.MREchoSequence = [values], [echoes]
    return groups


def _object(path: Path, kind: UID) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID = "1.2.3"
    data.PatientName, data.PatientID = "Sentinel^Patient", "SENTINEL-7"
    return data


def _pixels(data: FileDataset, stored: np.ndarray) -> None:
    data.Rows, data.Columns = stored.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    bits = 8 * stored.dtype.itemsize
    data.BitsAllocated, data.BitsStored, data.HighBit = bits, bits, bits - 1
    data.PixelRepresentation = int(stored.dtype.kind == "i")
    data.PixelData = stored.astype(stored.dtype.newbyteorder("<")).tobytes()


def skewed_by_itk(
    voxels: np.ndarray, first: np.ndarray, steps: np.ndarray, onto: sitk.Image, outside: float
) -> np.ndarray:
    """A stack whose axes `steps` (columns, mm) need not be at right angles, resampled by ITK's affine transform."""
    back = np.linalg.inv(steps)
    transform = sitk.AffineTransform(back.ravel().tolist(), (-back @ first).tolist())
    grid = sitk.Cast(onto, sitk.sitkFloat64)
    moving = sitk.GetImageFromArray(voxels.astype(np.float64))
    return sitk.GetArrayFromImage(sitk.Resample(moving, grid, transform, sitk.sitkLinear, outside))
