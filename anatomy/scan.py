"""Scan: one checked three-dimensional image of a patient, with what its header says but for identity.

Contract: the image stays on its own grid in LPS millimetres, int16 where every value is a whole number
that fits and float32 otherwise; CT values are Hounsfield units. Names, dates, numbers and free text of the
header are never carried along.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from anatomy import dicom, images
from anatomy.dicom import Facts
from anatomy.errors import AnatomyError
from anatomy.progress import Progress, silent

_MODALITIES = {"CT": "CT", "MR": "MR"}
_KEYS = {"modality": "organtwin_modality", "kvp": "organtwin_kvp", "contrast": "organtwin_contrast"}
_THICKNESS_KEY = "organtwin_slice_thickness_mm"


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

    @cached_property
    def source_sha256(self) -> str:
        """SHA-256 of the voxel values (little endian, z slowest): names the scan, not the patient."""
        little = self.array.astype(self.array.dtype.newbyteorder("<"), copy=False)
        return hashlib.sha256(np.ascontiguousarray(little).tobytes()).hexdigest()

    def __repr__(self) -> str:
        return f"Scan({self.modality}, {images.describe_grid(self._image)})"

    @classmethod
    def read(cls, path: str | Path, series: str | int | None = None, progress: Progress = silent) -> Scan:
        """Read a folder of DICOM slices, or one NIfTI (.nii, .nii.gz), NRRD or MHA file.

        Parameters
        ----------
        path : str or Path
            Folder or file.
        series : str or int, optional
            Which series of a DICOM folder that holds several: its number in the refusal's list, or its UID.
        progress : Progress
            Told about what is read.

        Raises
        ------
        AnatomyError
            If nothing is there, the file is damaged or of another type, or the slices are no regular volume.
        """
        path = Path(path)
        if path.is_dir():
            image, facts = dicom.read_series(path, series, progress)
            return cls(image, facts)
        if path.is_file() and images.file_type(path) is None and dicom.is_dicom(path):
            raise AnatomyError(f"{path} is a single DICOM file: give the folder that holds the whole series")
        image = images.read_image(path, "scan")
        try:
            return cls(image, _facts_of(image))
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
            for name, key in _KEYS.items():
                value = getattr(self.facts, name)
                if value is not None:
                    image.SetMetaData(key, str(value))
            if self.facts.slice_thickness_mm is not None:
                image.SetMetaData(_THICKNESS_KEY, str(self.facts.slice_thickness_mm))
        images.write_image(image, path, "scan")


def _plain(image: sitk.Image) -> sitk.Image:
    """The image as int16 or float32 without the metadata of its file."""
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


def _facts_of(image: sitk.Image) -> Facts:
    """The facts this package wrote into an NRRD header; other files state none."""
    text = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if key.startswith("organtwin_")}
    kvp, thickness = text.get(_KEYS["kvp"]), text.get(_THICKNESS_KEY)
    try:
        return Facts(
            text.get(_KEYS["modality"], "unknown"),
            float(kvp) if kvp else None,
            text.get(_KEYS["contrast"]),
            float(thickness) if thickness else None,
        )
    except ValueError as error:
        raise AnatomyError("the header's organtwin entries are damaged: write the scan again") from error
