"""A patient as a DICOM CT series: one CT Image Storage object a slice, as a scanner writes it.

Attributes follow PS3.3 A.3 (CT Image IOD) with all of type 1 and 2; explicit VR little endian, 16-bit, rescale
-1024. Nothing pretends to be a person: the name is PHANTOM, the identity was never there, and Synthetic Data
(0008,001C) says YES. UIDs are 2.25 integers (PS3.5 B.2) derived from the seed and the labels, so that the same
patient is the same study everywhere.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from anatomy.errors import AnatomyError
from anatomy.progress import Progress, silent
from sample_scans.frame import FIELD_OF_VIEW_MM
from sample_scans.patient import Patient

RESCALE_INTERCEPT = -1024
DATE, TIME = "20240102", "093000"


def write_dicom(patient: Patient, folder: Path | str, progress: Progress = silent) -> list[Path]:
    """Write the scan as a CT series.

    Parameters
    ----------
    patient : Patient
        From `make_patient`.
    folder : path
        Where the series goes; made here. Must not hold files yet.
    progress : Progress
        Told of each slice.

    Returns
    -------
    list of Path
        The files, from the lowest slice to the highest.

    Raises
    ------
    AnatomyError
        If the folder holds files already or cannot be written; nothing half-written is left.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise AnatomyError(f"'{folder}' is not an empty folder; name a new one for the series")
    waiting = folder.with_name(f".{folder.name}.writing")
    try:
        shutil.rmtree(waiting, ignore_errors=True)
        waiting.mkdir(parents=True)
        names = _write_slices(patient, waiting, progress)
        if folder.exists():
            folder.rmdir()
        waiting.rename(folder)
    except OSError as error:
        raise AnatomyError(f"cannot write the series to '{folder}': {error.strerror or error}") from error
    finally:
        shutil.rmtree(waiting, ignore_errors=True)
    return [folder / name for name in names]


def _write_slices(patient: Patient, folder: Path, progress: Progress) -> list[str]:
    pixels = sitk.GetArrayViewFromImage(patient.scan)
    names = []
    for number, plane in enumerate(pixels):
        progress("writing the series", number / len(pixels))
        name = f"CT{number + 1:04d}.dcm"
        _slice(patient, number, plane).save_as(folder / name, enforce_file_format=True)
        names.append(name)
    return names


def _uid(patient: Patient, *parts: object) -> UID:
    """A 2.25 UID from the patient and what is named."""
    key = "/".join(str(p) for p in ("organtwin", patient.description["labels_sha256"], *parts))
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "big")
    # Version and variant bits of a name-based UUID (RFC 9562), which 2.25 asks for.
    number = number & ~(0xF << 76) & ~(0x3 << 62) | (0x8 << 76) | (0x2 << 62)
    return UID(f"2.25.{number}")


def _slice(patient: Patient, number: int, plane: NDArray[np.int16]) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = _uid(patient, "instance", number)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID("2.25.232704420736447710317909004159492840763")
    meta.ImplementationVersionName = "ORGANTWIN"
    ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)  # type: ignore[arg-type]
    _patient_and_study(ds, patient)
    _series_and_equipment(ds, patient)
    _acquisition(ds)
    _image(ds, patient, number, plane)
    return ds


def _patient_and_study(ds: Dataset, patient: Patient) -> None:
    seed = int(patient.description["seed"])  # type: ignore[call-overload]
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.PatientName = f"PHANTOM^SEED-{seed:04d}"
    ds.PatientID = f"PHANTOM-{seed:04d}"
    ds.PatientBirthDate = ""
    ds.PatientSex = "O"
    ds.PatientAge = ""
    ds.QualityControlSubject = "YES"
    ds.PatientIdentityRemoved = "YES"
    ds.DeidentificationMethod = "Synthetic: there never was a patient"
    ds.StudyInstanceUID = _uid(patient, "study")
    ds.StudyDate, ds.StudyTime = DATE, TIME
    ds.StudyID = f"S{seed:04d}"
    ds.AccessionNumber = ""
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = "Synthetic upper abdomen"


def _series_and_equipment(ds: Dataset, patient: Patient) -> None:
    ds.Modality = "CT"
    ds.SeriesInstanceUID = _uid(patient, "series", patient.scan.GetSize(), patient.scan.GetSpacing())
    ds.SeriesNumber = 2
    ds.SeriesDate, ds.SeriesTime = DATE, TIME
    ds.SeriesDescription = "Abdomen portal-venous (synthetic)"
    ds.BodyPartExamined = "ABDOMEN"
    ds.PatientPosition = "HFS"
    ds.Laterality = ""
    ds.SyntheticData = "YES"
    ds.FrameOfReferenceUID = _uid(patient, "frame")
    ds.PositionReferenceIndicator = ""
    ds.Manufacturer = "organtwin"
    ds.ManufacturerModelName = "sample_scans"
    ds.InstitutionName = ""
    ds.SoftwareVersions = "organtwin"


def _acquisition(ds: Dataset) -> None:
    ds.AcquisitionNumber = 1
    ds.AcquisitionDate, ds.AcquisitionTime = DATE, TIME
    ds.ScanOptions = "HELICAL MODE"
    ds.KVP = 120
    ds.DataCollectionDiameter = 500
    ds.ReconstructionDiameter = FIELD_OF_VIEW_MM
    ds.GantryDetectorTilt = 0
    ds.RotationDirection = "CW"
    ds.ExposureTime = 500
    ds.XRayTubeCurrent = 240
    ds.Exposure = 120
    ds.ConvolutionKernel = "SOFT"
    ds.ContrastBolusAgent = "Iodinated contrast (simulated)"
    ds.ContrastBolusRoute = "IV"
    ds.ContrastBolusVolume = 100
    ds.ContrastBolusIngredient = "IODINE"
    ds.ContrastBolusIngredientConcentration = 350


def _image(ds: Dataset, patient: Patient, number: int, plane: NDArray[np.int16]) -> None:
    scan = patient.scan
    column_mm, row_mm, slice_mm = scan.GetSpacing()
    position = scan.TransformIndexToPhysicalPoint((0, 0, number))
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID
    ds.InstanceNumber = number + 1
    ds.ContentDate, ds.ContentTime = DATE, TIME
    ds.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
    ds.DerivationDescription = "Computed from a model of anatomy; no patient was scanned"
    ds.ImagePositionPatient = [round(v, 6) for v in position]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.SliceLocation = round(position[2], 6)
    ds.SliceThickness = slice_mm
    ds.SpacingBetweenSlices = slice_mm
    ds.PixelSpacing = [row_mm, column_mm]
    ds.TableHeight = 150
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = plane.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PixelRepresentation = 0
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = RESCALE_INTERCEPT, 1, "HU"
    ds.WindowCenter, ds.WindowWidth = 40, 400
    ds.WindowCenterWidthExplanation = "ABDOMEN"
    ds.BurnedInAnnotation = "NO"
    ds.LossyImageCompression = "00"
    ds.PixelData = (plane.astype(np.int32) - RESCALE_INTERCEPT).astype("<u2").tobytes()
