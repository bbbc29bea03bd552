"""The grid of a NIfTI file, worked out from its header and not left to a reader's taste.

Theory (NIfTI-1 and NIfTI-2, nifti.nimh.nih.gov): a voxel's place follows from a quaternion with an offset (`qform`,
three axes at right angles) or from three rows of an affine matrix (`sform`, any axes), each with a code that says
which space it leads to: 0 none, 1 the scanner's, 2 another scan's, 3 and 4 a template's. Millimetres are RAS+, so x
and y change sign for LPS. Where both lead somewhere and differ, the one that leads to the scanner's space is the
patient's; where neither does so alone, nobody can tell, and the file is refused.
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anatomy.errors import AnatomyError

_SCANNER = 1
_MM_OF_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
# Two grids of one file agree when no corner voxel is further off than this share of the smallest voxel edge.
_AGREE = 0.1
# Codes of the standard: 8 to 64-bit whole numbers, floating point, complex, colour.
_NUMBER_TYPES = {2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304}
_PERMISSIVE = "ITK_NIFTI_SFORM_PERMISSIVE"


@dataclass(frozen=True, eq=False)
class _Header:
    """The part of the header that speaks of space."""

    dimensions: int
    size: tuple[int, int, int]
    pixdim: NDArray[np.float64]
    unit: int
    qform_code: int
    sform_code: int
    quaternion: NDArray[np.float64]
    offset: NDArray[np.float64]
    sform: NDArray[np.float64]


def read_grid(path: Path) -> NDArray[np.float64] | None:
    """Matrix from voxel indices (i, j, k, 1) to LPS mm, shape (4, 4); None if the file is no whole NIfTI.

    Raises
    ------
    AnatomyError
        If the header does not say how the voxels lie in the patient, or says two different things.
    """
    header = _read(path)
    if header is None:
        return None
    scale = _MM_OF_UNIT.get(header.unit & 0x7)
    if scale is None:
        raise AnatomyError(
            f"{path} states its voxel edges in an unknown unit (xyzt_units {header.unit}): write it in mm"
        )
    forms = {}
    if header.qform_code > 0:
        forms["qform"] = (header.qform_code, _qform(header))
    if header.sform_code > 0:
        forms["sform"] = (header.sform_code, header.sform)
    if not forms:
        raise AnatomyError(
            f"{path} does not say how its voxels lie in the patient (qform_code and sform_code are 0), so left "
            "and right are unknown: convert it again from DICOM with a tool that keeps the orientation"
        )
    ras = _patient_form(path, header, forms, scale)
    if not np.isfinite(ras).all() or abs(np.linalg.det(ras[:3, :3])) < 1e-9:
        raise AnatomyError(f"{path} gives its voxels no volume (its matrix is singular): convert it again")
    return np.diag([-scale, -scale, scale, 1.0]) @ ras


def _patient_form(
    path: Path, header: _Header, forms: dict[str, tuple[int, NDArray[np.float64]]], scale: float
) -> NDArray[np.float64]:
    """The form that leads to the patient's space."""
    matrices = [matrix for _, matrix in forms.values()]
    if len(matrices) == 1 or _apart(header, *matrices) <= _AGREE:
        # The sform is written with more digits than the quaternion.
        return matrices[-1]
    scanner = [matrix for code, matrix in forms.values() if code == _SCANNER]
    if len(scanner) == 1:
        return scanner[0]
    worst_mm = _apart(header, *matrices) * _edge(header) * scale
    raise AnatomyError(
        f"{path} places its voxels twice, and differently: qform (code {header.qform_code}) and sform (code "
        f"{header.sform_code}) are up to {worst_mm:.1f} mm apart; convert it again from DICOM, or set the code of "
        "the wrong one to 0"
    )


def _apart(header: _Header, a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Largest distance of a corner voxel in both forms, in smallest voxel edges."""
    last = np.array(header.size) - 1
    steps = np.array(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij")).reshape(3, -1).T * last
    corners = np.column_stack([steps, np.ones(8)])
    worst = np.linalg.norm((corners @ (a - b).T)[:, :3], axis=1).max()
    return float(worst / _edge(header))


def _edge(header: _Header) -> float:
    return float(max(np.abs(header.pixdim[1:4]).min(), 1e-6))


def _qform(header: _Header) -> NDArray[np.float64]:
    """Matrix of the quaternion; b, c, d are kept and a follows from unit length."""
    b, c, d = header.quaternion
    a = np.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
    handed = -1.0 if header.pixdim[0] < 0 else 1.0
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * (header.pixdim[1:4] * [1.0, 1.0, handed])
    matrix[:3, 3] = header.offset
    return matrix


def _read(path: Path) -> _Header | None:
    """The header of NIfTI-1 (348 bytes) or NIfTI-2 (540 bytes), in either byte order."""
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
            raw = file.read(540)
    except (OSError, EOFError, zlib.error):
        return None
    for order in "<>":
        if len(raw) < 352:
            return None
        size = struct.unpack(f"{order}i", raw[:4])[0]
        if size == 348 and raw[344:347] == b"n+1":
            return _sound(_parse_first(raw, order), struct.unpack(f"{order}h", raw[70:72])[0])
        if size == 540 and len(raw) == 540 and raw[4:7] == b"n+2":
            return _sound(_parse_second(raw, order), struct.unpack(f"{order}h", raw[12:14])[0])
    return None


def _sound(header: _Header, kind: int) -> _Header | None:
    """The header, or None where its dimensions or its number type cannot be."""
    return header if 1 <= header.dimensions <= 7 and min(header.size) > 0 and kind in _NUMBER_TYPES else None


def _parse_first(raw: bytes, order: str) -> _Header:
    dim = struct.unpack(f"{order}8h", raw[40:56])
    codes = struct.unpack(f"{order}2h", raw[252:256])
    floats = np.array(struct.unpack(f"{order}18f", raw[256:328]), dtype=np.float64)
    pixdim = np.array(struct.unpack(f"{order}8f", raw[76:108]), dtype=np.float64)
    return _header(dim, pixdim, raw[123], codes, floats)


def _parse_second(raw: bytes, order: str) -> _Header:
    dim = struct.unpack(f"{order}8q", raw[16:80])
    pixdim = np.array(struct.unpack(f"{order}8d", raw[104:168]))
    codes = struct.unpack(f"{order}2i", raw[344:352])
    floats = np.array(struct.unpack(f"{order}18d", raw[352:496]))
    return _header(dim, pixdim, struct.unpack(f"{order}i", raw[500:504])[0], codes, floats)


def _header(
    dim: tuple[int, ...],
    pixdim: NDArray[np.float64],
    unit: int,
    codes: tuple[int, ...],
    floats: NDArray[np.float64],
) -> _Header:
    sform = np.vstack([floats[6:18].reshape(3, 4), [0.0, 0.0, 0.0, 1.0]])
    size = (dim[1], dim[2] if dim[0] > 1 else 1, dim[3] if dim[0] > 2 else 1)
    return _Header(dim[0], size, pixdim, unit, codes[0], codes[1], floats[:3], floats[3:6], sform)


@contextmanager
def any_axes() -> Iterator[None]:
    """Let ITK read the voxels of a file whose axes are not at right angles; the grid comes from `read_grid`."""
    before = os.environ.get(_PERMISSIVE)
    os.environ[_PERMISSIVE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_PERMISSIVE]
        else:
            os.environ[_PERMISSIVE] = before
