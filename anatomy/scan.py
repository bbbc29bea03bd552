"""Scan: one checked three-dimensional image of a patient, with what its header says but for identity.

Contract: the image stays on its own grid in LPS millimetres, int16 where every value is a whole number
that fits and float32 otherwise; CT values are Hounsfield units. Names, dates, numbers and free text of the
header are never carried along.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from anatomy import dicom, images
from anatomy.errors import AnatomyError
from anatomy.facts import Facts
from anatomy.progress import Progress, silent
from anatomy.repairs import Repair

_MODALITIES = {"CT": "CT", "MR": "MR"}


class Scan:
    """A scan in LPS millimetres.

    Parameters
    ----------
    image : SimpleITK.Image
        Three-dimensional scalar image, LPS mm; Hounsfield units for CT.
    facts : Facts
        Modality ('CT', 'MR' or 'unknown') and technical facts.

    Raises
    ------
    AnatomyError
        If the image is not three-dimensional and scalar, has an edge of one voxel or fewer, or holds values
        that are no numbers.
    """

    def __init__(self, image: sitk.Image, facts: Facts | None = None) -> None:
        if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
            raise AnatomyError("a scan is one three-dimensional image with one number a voxel")
        if min(image.GetSize()) < 2:
            size = "×".join(str(n) for n in image.GetSize())
            raise AnatomyError(f"the scan has {size} voxels, which is no volume: give a stack of slices")
        self._image = _plain(image)
        self.facts = facts or Facts("unknown")

    @property
    def image(self) -> sitk.Image:
        """The image: int16 or float32, LPS mm. Treat as read-only."""
        return self._image

    @cached_property
    def array(self) -> NDArray[Any]:
        """Voxel values, shape (z, y, x), int16 or float32; read-only."""
        view = sitk.GetArrayViewFromImage(self._image)
        view.flags.writeable = False
        return view

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel edges along the image's x, y, z axes, mm."""
        sx, sy, sz = self._image.GetSpacing()
        return sx, sy, sz

    @property
    def origin_mm(self) -> tuple[float, float, float]:
        """Centre of the first voxel, LPS mm."""
        x, y, z = self._image.GetOrigin()
        return x, y, z

    @property
    def direction(self) -> NDArray[np.float64]:
        """Direction of the image's axes in LPS, one a column, shape (3, 3)."""
        return np.array(self._image.GetDirection()).reshape(3, 3)

    @property
    def modality(self) -> str:
        """'CT', 'MR' or 'unknown' (NIfTI and foreign NRRD do not say)."""
        return _MODALITIES.get(self.facts.modality, "unknown")

    @property
    def repairs(self) -> tuple[Repair, ...]:
        """What was done to make a volume of what was read, in the order it was done; empty where nothing was."""
        return self.facts.repairs

    @cached_property
    def source_sha256(self) -> str:
        """SHA-256 of the voxel values (little endian, z slowest): names the scan, not the patient."""
        little = self.array.astype(self.array.dtype.newbyteorder("<"), copy=False)
        return hashlib.sha256(np.ascontiguousarray(little).tobytes()).hexdigest()

    def __repr__(self) -> str:
        return f"Scan({self.modality}, {images.describe_grid(self._image)})"

    @classmethod
    def read(
        cls,
        path: str | Path,
        series: str | int | None = None,
        progress: Progress = silent,
        *,
        repair: str | Iterable[str] | None = None,
    ) -> Scan:
        """Read DICOM (a folder of slices, a zip archive of them, an enhanced file), NIfTI, NRRD or MHA.

        Parameters
        ----------
        path : str or Path
            Folder, archive or file. A DICOMDIR stands for the folder it lies in.
        series : str or int, optional
            Which of several: a series ('2') or a stack of one ('2.1') of a DICOM folder by its number in the
            refusal's list, a series by its UID, or a volume of a four-dimensional file, from 1.
        progress : Progress
            Told about what is read.
        repair : str or iterable of str, optional
            What may be mended: 'drop', 'deskew', 'resample' (see `anatomy.repairs`). Nothing is mended unasked,
            and what was done is in `repairs`.

        Raises
        ------
        AnatomyError
            If nothing is there, the file is damaged or of another type, there is a choice and none was made, or
            the slices are no regular volume; the sentence names the fault and the repair that mends it.
        """
        path = Path(path)
        if path.name.upper() == "DICOMDIR" and path.is_file():
            path = path.parent
        if path.is_dir():
            return cls(*dicom.read_series(path, series, repair, progress))
        if path.is_file() and images.file_type(path) is None:
            if dicom.is_archive(path):
                with dicom.unpacked(path) as folder:
                    return cls(*dicom.read_series(folder, series, repair, progress))
            if dicom.is_dicom(path):
                return cls(*dicom.read_series(path, series, repair, progress))
        image, done = images.read_volume(path, "scan", series, repair)
        try:
            facts = Facts.from_metadata(
                {key: image.GetMetaData(key) for key in Facts.KEYS if image.HasMetaDataKey(key)}
            )
            chosen = facts.series if series is None else str(series)
            return cls(image, replace(facts, series=chosen, repairs=(*facts.repairs, *done)))
        except AnatomyError as error:
            raise AnatomyError(f"{path}: {error}") from error

    def write(self, path: str | Path) -> None:
        """Write compressed, whole or not at all: NRRD (keeps the technical facts), NIfTI or MHA.

        Raises
        ------
        AnatomyError
            If the type is unknown or the file cannot be written whole.
        """
        path = Path(path)
        image = sitk.Image(self._image)
        if images.file_type(path) == ".nrrd":
            for key, value in self.facts.to_metadata().items():
                image.SetMetaData(key, value)
        images.write_image(image, path, "scan")


def _plain(image: sitk.Image) -> sitk.Image:
    """The image as int16 or float32 without the metadata of its file."""
    if image.GetPixelID() == sitk.sitkInt16 and not image.GetMetaDataKeys():
        # What DICOM gives: shared with the caller until one of the two writes to it.
        return sitk.Image(image)
    array = sitk.GetArrayViewFromImage(image)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise AnatomyError(
            "the scan holds values that are no numbers (NaN or infinite): fill them and write it again"
        )
    small = bool(array.min() >= -32768 and array.max() <= 32767)
    # Whole numbers in floating point (a NIfTI scale factor of 1) are whole numbers.
    whole = small and (array.dtype.kind in "iu" or bool((array == np.round(array)).all()))
    plain = sitk.GetImageFromArray(array.astype(np.int16 if whole else np.float32))
    plain.CopyInformation(image)
    return plain
