"""Image files: read with one clear sentence on failure, written whole or not at all; grids compared.

Contract: an image inside organtwin is a three-dimensional scalar `SimpleITK.Image` whose origin, spacing and
direction are LPS millimetres (ITK's own frame; NIfTI's RAS is turned on reading and writing). A grid is the
place of an image's voxel centres in space; two grids are the same when their voxels coincide *and* are stored
in the same order, and alike when they coincide whatever the order.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from anatomy import nifti
from anatomy.errors import AnatomyError
from anatomy.files import whole_or_nothing
from anatomy.grids import affine_of, squared
from anatomy.repairs import Repair, check_repairs, refuse_needless

FILE_TYPES = (".nii.gz", ".nii", ".nrrd", ".mha")
_COMPLEX = (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64)
# Two grids count as one when no corner voxel is further off than this share of the smallest voxel edge:
# NIfTI keeps its geometry in 32-bit floats, DICOM in decimal strings.
_GRID_TOLERANCE = 0.05


def file_type(path: Path) -> str | None:
    """The image type by the end of a file's name ('.nii.gz', '.nii', '.nrrd', '.mha'), or None."""
    name = path.name.lower()
    return next((kind for kind in FILE_TYPES if name.endswith(kind)), None)


def read_image(path: Path, what: str) -> sitk.Image:
    """Read one NIfTI, NRRD or MHA file as a three-dimensional scalar image.

    Parameters
    ----------
    path : Path
        The file.
    what : str
        What it is for a person: 'scan' or 'label map'.

    Raises
    ------
    AnatomyError
        If the file is missing, of another type, damaged, not three-dimensional, not scalar or sheared.
    """
    return read_volume(path, what)[0]


def read_volume(
    path: Path, what: str, volume: str | int | None = None, repair: str | Iterable[str] | None = None
) -> tuple[sitk.Image, list[Repair]]:
    """Read a file as `read_image` does, one volume of several where there are, mended where that is asked for.

    Parameters
    ----------
    path : Path
        The file.
    what : str
        What it is for a person: 'scan' or 'label map'.
    volume : str or int, optional
        Which volume of a four-dimensional file, from 1.
    repair : str or iterable of str, optional
        'resample' for a file whose axes are not at right angles.

    Returns
    -------
    image : SimpleITK.Image
        LPS mm.
    repairs : list of Repair
        What was done.

    Raises
    ------
    AnatomyError
        As `read_image`; and if there are several volumes and none was chosen.
    """
    wanted = check_repairs(repair)
    if not path.exists():
        raise AnatomyError(f"no {what} at {path}: check the path")
    kind = file_type(path)
    if kind is None:
        dicom = ", or DICOM (a folder, a zip archive or an enhanced file)" if what == "scan" else ""
        raise AnatomyError(f"{path} is no {what} this version reads: give {', '.join(FILE_TYPES)}{dicom}")
    if path.is_dir():
        raise AnatomyError(f"{path} is a folder where one {what} file is needed")
    grid = nifti.read_grid(path) if kind in (".nii", ".nii.gz") else None
    if grid is None and kind in (".nii", ".nii.gz"):
        raise AnatomyError(_reason(path, what))
    with quiet(), nifti.any_axes():
        try:
            reader = sitk.ImageFileReader()
            reader.SetFileName(str(path))
            reader.ReadImageInformation()
            _check_shape(reader, path, what)
            _check_whole(reader, path, what)
            _choose_volume(reader, path, what, volume)
            image = reader.Execute()
        except RuntimeError as error:
            raise AnatomyError(_reason(path, what)) from error
    done: list[Repair] = []
    if image.GetDimension() == 3:
        image, done = squared(image, grid if grid is not None else affine_of(image), path, what, wanted)
    refuse_needless(done, wanted, path)
    return image, done


def _check_shape(reader: sitk.ImageFileReader, path: Path, what: str) -> None:
    size, numbers = reader.GetSize(), reader.GetNumberOfComponents()
    if numbers in (3, 4):
        raise AnatomyError(
            f"{path} has {numbers} numbers a voxel (a colour picture, RGB, or vectors), not one: give the "
            f"original grey {what}"
        )
    if numbers != 1 or reader.GetPixelID() in _COMPLEX:
        raise AnatomyError(f"{path} has {max(numbers, 2)} numbers a voxel (vectors or complex), not one")
    if len(size) not in (3, 4):
        raise AnatomyError(
            f"{path} has {len(size)} dimensions ({_times(size)}); a {what} has three: split it first"
        )


def _choose_volume(reader: sitk.ImageFileReader, path: Path, what: str, volume: str | int | None) -> None:
    """Have one volume of a four-dimensional file read, and no other."""
    size = reader.GetSize()
    count = size[3] if len(size) == 4 else 1
    number = "1" if volume is None else str(volume)
    if volume is None and count > 1:
        choice = f"choose one with series=NUMBER (--series NUMBER), 1 to {count}"
        raise AnatomyError(
            f"{path} has 4 dimensions ({_times(size)}): {count} volumes where a {what} is one; "
            + (choice if what == "scan" else "split it first")
        )
    if not number.isdigit() or not 1 <= int(number) <= count:
        raise AnatomyError(f"{path} has no volume '{volume}': it has {count}, counted from 1")
    if len(size) == 4:
        reader.SetExtractSize([*size[:3], 0])
        reader.SetExtractIndex([0, 0, 0, int(number) - 1])


def _check_whole(reader: sitk.ImageFileReader, path: Path, what: str) -> None:
    """Refuse a NIfTI file that was cut short: ITK would fill what is missing with zeros and say nothing."""
    kind = file_type(path)
    if kind not in (".nii", ".nii.gz"):
        return
    start = float(reader.GetMetaData("vox_offset"))
    bits = int(reader.GetMetaData("bitpix"))
    expected = int(start) + int(np.prod(reader.GetSize(), dtype=np.int64)) * bits // 8
    found = path.stat().st_size if kind == ".nii" else _unpacked_bytes(path, expected)
    if found < expected:
        raise AnatomyError(
            f"{path} is cut short: the {what} has {found:,} of {expected:,} bytes; copy the file again"
        )


def _unpacked_bytes(path: Path, expected: int) -> int:
    """How many bytes a gzip file holds; its last four say so (RFC 1952), if it is whole and one member."""
    with path.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        if int.from_bytes(file.read(4), "little") == expected % 2**32:
            return expected
    total = 0
    try:
        with gzip.open(path) as packed:
            while chunk := packed.read(1 << 20):
                total += len(chunk)
    except (EOFError, OSError, zlib.error):
        return total
    return total


def _reason(path: Path, what: str) -> str:
    return (
        f"{path} cannot be read as a {what}: the file is damaged, cut short or of another type; copy it again"
    )


@contextmanager
def quiet() -> Iterator[None]:
    """ITK prints warnings to the terminal; what matters is raised."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


def write_image(image: sitk.Image, path: Path, what: str) -> None:
    """Write an image compressed, whole or not at all: to a temporary sibling that is then renamed.

    Raises
    ------
    AnatomyError
        If the type is unknown, the folder is missing, or the file cannot be written whole (a full disk).
    """
    kind = file_type(path)
    if kind is None:
        raise AnatomyError(f"cannot write a {what} to {path}: the name must end in {', '.join(FILE_TYPES)}")
    if not path.parent.is_dir():
        raise AnatomyError(f"cannot write {path}: there is no folder {path.parent}")
    with whole_or_nothing(path) as temporary:
        try:
            with quiet():
                sitk.WriteImage(image, str(temporary), useCompression=True)
                # ITK's writers do not all notice a full disk: read back and compare.
                again = sitk.ReadImage(str(temporary))
        except RuntimeError as error:
            raise AnatomyError(f"cannot write {path}: is the disk full or the folder read-only?") from error
        if not np.array_equal(sitk.GetArrayViewFromImage(again), sitk.GetArrayViewFromImage(image)):
            raise AnatomyError(
                f"cannot write {path}: what arrived on disk is not what was sent; is the disk full?"
            )


def corners(image: sitk.Image) -> NDArray[np.float64]:
    """Centres of the eight corner voxels, shape (8, 3), LPS mm, in the order of the stored axes."""
    last = np.array(image.GetSize()) - 1
    steps = np.array(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij")).reshape(3, -1).T * last
    direction = np.array(image.GetDirection()).reshape(3, 3)
    return np.array(image.GetOrigin()) + (steps * np.array(image.GetSpacing())) @ direction.T


def same_grid(a: sitk.Image, b: sitk.Image) -> bool:
    """Whether the voxels of both coincide and are stored in the same order."""
    if a.GetSize() != b.GetSize():
        return False
    return _coincide(corners(a), corners(b), a)


def alike_grid(a: sitk.Image, b: sitk.Image) -> bool:
    """Whether the voxels of both coincide, whatever order (flips, permuted axes) they are stored in."""
    if sorted(a.GetSize()) != sorted(b.GetSize()):
        return False
    ca, cb = corners(a), corners(b)
    nearest = np.argmin(np.linalg.norm(ca[:, None] - cb[None], axis=2), axis=1)
    if len(set(nearest.tolist())) != 8 or not _coincide(ca, cb[nearest], a):
        return False
    # Equal corners do not make equal voxels when two unequal axes change places: compare the steps too.
    return bool(np.allclose(_size_in_space(a), _size_in_space(b), atol=0.1))


def _size_in_space(image: sitk.Image) -> NDArray[np.float64]:
    direction = np.array(image.GetDirection()).reshape(3, 3)
    return np.abs(direction) @ np.array(image.GetSize(), dtype=float)


def _coincide(a: NDArray[np.float64], b: NDArray[np.float64], image: sitk.Image) -> bool:
    worst = float(np.max(np.linalg.norm(a - b, axis=1)))
    return worst <= _GRID_TOLERANCE * min(image.GetSpacing())


def describe_grid(image: sitk.Image) -> str:
    """A grid in words: voxels, spacing, and the box of its voxel centres in LPS mm."""
    low, high = corners(image).min(axis=0), corners(image).max(axis=0)
    box = ", ".join(f"{axis} {a:.1f} to {b:.1f}" for axis, a, b in zip("xyz", low, high, strict=True))
    spacing = "×".join(f"{s:.3g}" for s in image.GetSpacing())
    return f"{_times(image.GetSize())} voxels of {spacing} mm ({box} mm)"


def _times(size: tuple[int, ...]) -> str:
    return "×".join(str(n) for n in size)
