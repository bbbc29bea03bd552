"""RTSTRUCT files of analytic shapes, written with pydicom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

FRAME = "1.2.3.4"


@dataclass
class Region:
    """A region to write: contours are (n, 3) points in LPS mm."""

    name: str
    contours: Sequence[np.ndarray]
    kind: str = "CLOSED_PLANAR"
    code: tuple[str, str] | None = None
    number: int | None = None


def write_structure_set(path: Path, regions: Sequence[Region], frame: str = FRAME) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = RTStructureSetStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = RTStructureSetStorage, meta.MediaStorageSOPInstanceUID
    data.Modality, data.StructureSetLabel = "RTSTRUCT", "test"
    listed, drawn, observed = [], [], []
    for index, region in enumerate(regions, start=1):
        number = index if region.number is None else region.number
        entry = Dataset()
        entry.ROINumber, entry.ROIName, entry.ReferencedFrameOfReferenceUID = number, region.name, frame
        listed.append(entry)
        item, contours = Dataset(), []
        for points in region.contours:
            contour = Dataset()
            contour.ContourGeometricType = region.kind
            contour.NumberOfContourPoints = len(points)
            contour.ContourData = [f"{v:.6f}"[:16] for v in np.asarray(points).ravel()]
            contours.append(contour)
        item.ReferencedROINumber, item.ContourSequence = number, Items(contours)
        drawn.append(item)
        about = Dataset()
        about.ObservationNumber, about.ReferencedROINumber = index, number
        if region.code:
            code = Dataset()
            code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = (
                region.code[0],
                region.code[1],
                "x",
            )
            about.RTROIIdentificationCodeSequence = Items([code])
        observed.append(about)
    data.StructureSetROISequence, data.ROIContourSequence = Items(listed), Items(drawn)
    data.RTROIObservationsSequence = Items(observed)
    data.save_as(path, enforce_file_format=True)
    return path


def circle(radius: float, points: int = 400) -> np.ndarray:
    """Corners (x, y) of a polygon of the circle's own area."""
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    radius *= np.sqrt(2 * np.pi / points / np.sin(2 * np.pi / points))
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
