"""What the tests of anatomy share: small true DICOM series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def _write_series(
    folder: Path,
    voxels: np.ndarray,
    spacing: tuple[float, float, float] = (0.8, 0.9, 2.5),
    origin: tuple[float, float, float] = (-10.0, -20.0, 30.0),
    prefix: str = "slice",
    **tags: Any,
) -> list[Path]:
    """Write HU `voxels` (z, y, x) as one CT series whose file names run against the slices' order."""
    folder.mkdir(parents=True, exist_ok=True)
    series = tags.pop("SeriesInstanceUID", generate_uid())
    paths = []
    for index, plane in enumerate(voxels):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"{prefix}{len(voxels) - index:03d}.dcm"
        data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        data.SeriesInstanceUID, data.StudyInstanceUID = series, "1.2.3"
        data.Modality, data.PatientName, data.PatientID = "CT", "Sentinel^Patient", "SENTINEL-7"
        data.SeriesDescription, data.SeriesNumber = "Sentinel abdomen portal venous", 3
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.Rows, data.Columns = plane.shape
        data.PixelSpacing = [spacing[1], spacing[0]]
        data.SliceThickness, data.KVP = spacing[2], 120
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.ImagePositionPatient = [origin[0], origin[1], origin[2] + index * spacing[2]]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
        for name, value in tags.items():
            setattr(data, name, value)
        data.PixelData = (plane + 1024).astype("<i2").tobytes()
        data.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


@pytest.fixture(scope="session")
def write_series() -> Callable[..., list[Path]]:
    return _write_series
