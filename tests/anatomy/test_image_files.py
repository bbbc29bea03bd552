"""NIfTI, NRRD and MHA: which grid a file means, one volume of several, sheared axes, colour."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from anatomy.errors import AnatomyError
from anatomy.images import read_image
from anatomy.scan import Scan

SHAPE = (6, 8, 10)  # z, y, x


def voxels() -> np.ndarray:
    return np.random.default_rng(2).integers(-500, 1500, SHAPE).astype(np.int16)


def write_nifti(
    path: Path,
    array: np.ndarray,
    sform: np.ndarray | None = None,
    qform: tuple[np.ndarray, tuple[float, float, float]] | None = None,
    codes: tuple[int, int] = (0, 1),
    edges: tuple[float, float, float] = (0.8, 0.9, 2.5),
    unit: int = 2,
    order: str = "<",
) -> Path:
    """A NIfTI-1 file, written from the standard's table; `qform` is a quaternion (b, c, d) and an offset, RAS."""
    header = bytearray(352)
    put = lambda at, kind, *values: struct.pack_into(order + kind, header, at, *values)  # noqa: E731
    put(0, "i", 348)
    put(40, "8h", 3, *array.shape[::-1], 1, 1, 1, 1)
    put(70, "2h", 4, 16)
    put(76, "8f", 1.0, *edges, 0, 0, 0, 0)
    put(108, "3f", 352.0, 1.0, 0.0)
    header[123] = unit
    put(252, "2h", *codes)
    if qform is not None:
        put(256, "6f", *qform[0], *qform[1])
    if sform is not None:
        put(280, "12f", *sform[:3].ravel())
    header[344:348] = b"n+1\0"
    content = bytes(header) + array.astype(array.dtype.newbyteorder(order)).tobytes()
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path


def ras(matrix: np.ndarray, offset: tuple[float, float, float] = (5.0, -7.0, 11.0)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix, offset
    return affine


STRAIGHT = np.diag([0.8, 0.9, 2.5])


def assert_lies(scan: Scan, affine: np.ndarray, scale: float = 1.0) -> None:
    """Every corner voxel lies where the affine (RAS) says, in LPS mm."""
    for i, j, k in ((0, 0, 0), (9, 0, 0), (0, 7, 0), (0, 0, 5), (9, 7, 5)):
        expected = scale * (affine @ [i, j, k, 1.0])[:3] * [-1, -1, 1]
        assert scan.image.TransformIndexToPhysicalPoint((i, j, k)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_the_sform_places_the_voxels(tmp_path: Path, name: str, order: str) -> None:
    angle = np.radians(30)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, -1.0]])
    affine = ras(turn @ STRAIGHT)
    scan = Scan.read(write_nifti(tmp_path / name, voxels(), affine, order=order))
    assert np.array_equal(scan.array, voxels())
    assert_lies(scan, affine)


@pytest.mark.parametrize(("unit", "scale"), [(1, 1000.0), (2, 1.0), (3, 0.001), (0, 1.0), (2 + 8, 1.0)])
def test_units(tmp_path: Path, unit: int, scale: float) -> None:
    edges = np.array([0.8, 0.9, 2.5]) / scale
    affine = ras(np.diag(edges), (5.0 / scale, -7.0 / scale, 11.0 / scale))
    path = write_nifti(tmp_path / "a.nii", voxels(), affine, edges=tuple(edges), unit=unit)
    assert_lies(Scan.read(path), affine, scale)
    quaternion = (np.zeros(3), (5.0 / scale, -7.0 / scale, 11.0 / scale))
    path = write_nifti(
        tmp_path / "q.nii", voxels(), qform=quaternion, codes=(1, 0), edges=tuple(edges), unit=unit
    )
    assert_lies(Scan.read(path), affine, scale)


def test_an_unknown_unit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnatomyError, match="unknown unit"):
        Scan.read(write_nifti(tmp_path / "a.nii", voxels(), ras(STRAIGHT), unit=5))


def test_two_forms_that_disagree(tmp_path: Path) -> None:
    moved = (np.zeros(3), (5.0, -7.0, 31.0))
    # The qform leads to the scanner's space, the sform to a template's.
    path = write_nifti(tmp_path / "a.nii", voxels(), ras(STRAIGHT), moved, codes=(1, 4))
    assert_lies(Scan.read(path), ras(STRAIGHT, (5.0, -7.0, 31.0)))
    path = write_nifti(tmp_path / "b.nii", voxels(), ras(STRAIGHT), moved, codes=(2, 1))
    assert_lies(Scan.read(path), ras(STRAIGHT))
    path = write_nifti(tmp_path / "c.nii", voxels(), ras(STRAIGHT), moved, codes=(1, 1))
    with pytest.raises(AnatomyError, match=r"twice, and differently: .* up to 20\.0 mm apart"):
        Scan.read(path)
    path = write_nifti(tmp_path / "d.nii", voxels(), ras(STRAIGHT), moved, codes=(0, 0))
    with pytest.raises(AnatomyError, match="left and right are unknown"):
        Scan.read(path)


def test_a_sheared_sform_is_refused_and_set_upright(tmp_path: Path) -> None:
    shear = np.array([[1, 0, 0], [0, 1, 0.2], [0, 0, 1.0]]) @ STRAIGHT
    affine = ras(shear)
    k, j, i = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    places = np.stack([i, j, k, np.ones(SHAPE)], axis=-1) @ affine.T
    field = places[..., :3] @ [2.0, -3.0, 4.0] + 200.0
    path = write_nifti(tmp_path / "a.nii", np.rint(field).astype(np.int16), affine)
    with pytest.raises(AnatomyError, match=r"not at right angles \(11\.3° off.*--repair resample interp"):
        Scan.read(path)
    with pytest.raises(AnatomyError, match=r"a sheared label map.*resample it onto its scan"):
        read_image(path, "label map")
    scan = Scan.read(path, repair="resample")
    assert scan.direction @ scan.direction.T == pytest.approx(np.eye(3), abs=1e-12)
    assert scan.repairs[0].what.startswith("axes 11.3° off a right angle")
    back = np.linalg.inv(affine)
    compared = 0
    for at in np.ndindex(scan.array.shape):
        place = np.array(scan.image.TransformIndexToPhysicalPoint([int(n) for n in at[::-1]])) * [-1, -1, 1]
        index = (back @ [*place, 1.0])[:3]
        if (index >= 0).all() and (index <= np.array(SHAPE[::-1]) - 1).all():
            assert abs(scan.array[at] - (place @ [2.0, -3.0, 4.0] + 200.0)) <= 1.0
            compared += 1
    assert compared > 0.5 * np.prod(SHAPE)


def test_rounded_axes_are_set_at_right_angles(tmp_path: Path) -> None:
    angle = np.radians(12)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = ras(np.round(turn, 3) @ STRAIGHT)
    scan = Scan.read(write_nifti(tmp_path / "a.nii", voxels(), affine))
    assert scan.direction @ scan.direction.T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.array_equal(scan.array, voxels())
    assert scan.image.TransformIndexToPhysicalPoint((9, 7, 5)) == pytest.approx(
        (affine @ [9, 7, 5, 1])[:3] * [-1, -1, 1], abs=0.02
    )


def test_a_sheared_nrrd_is_refused_and_set_upright(tmp_path: Path) -> None:
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 10 8 6\n"
        "space directions: (0.8,0,0) (0,0.9,0) (0,0.5,2.5)\nkinds: domain domain domain\nendian: little\n"
        "encoding: raw\nspace origin: (1,2,3)\n\n"
    )
    path = tmp_path / "a.nrrd"
    path.write_bytes(header.encode() + voxels().tobytes())
    with pytest.raises(AnatomyError, match=r"not at right angles .*--repair resample"):
        Scan.read(path)
    scan = Scan.read(path, repair="resample")
    assert scan.repairs[0].name == "resample"
    assert scan.array.shape[0] >= 6


@pytest.mark.parametrize("name", ["t.nii.gz", "t.nrrd", "t.mha"])
def test_one_volume_of_several(tmp_path: Path, name: str) -> None:
    volumes = [voxels() + 10 * n for n in range(3)]
    images = []
    for volume in volumes:
        image = sitk.GetImageFromArray(volume)
        image.SetSpacing((0.8, 0.9, 2.5))
        image.SetOrigin((1.0, 2.0, 3.0))
        images.append(image)
    sitk.WriteImage(sitk.JoinSeries(images), str(tmp_path / name))
    with pytest.raises(AnatomyError, match=r"4 dimensions \(10×8×6×3\): 3 volumes .* 1 to 3"):
        Scan.read(tmp_path / name)
    scan = Scan.read(tmp_path / name, series=2)
    assert np.array_equal(scan.array, volumes[1])
    assert scan.spacing_mm == pytest.approx((0.8, 0.9, 2.5))
    assert scan.origin_mm == pytest.approx((1.0, 2.0, 3.0))
    for wrong in (0, 4, "two"):
        with pytest.raises(AnatomyError, match=f"has no volume '{wrong}': it has 3"):
            Scan.read(tmp_path / name, series=wrong)


def test_colour_and_complex_files_are_refused(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(voxels())
    sitk.WriteImage(sitk.Compose([sitk.Cast(image, sitk.sitkUInt8)] * 3), str(tmp_path / "c.nii.gz"))
    with pytest.raises(AnatomyError, match="a colour picture"):
        Scan.read(tmp_path / "c.nii.gz")
    real = sitk.Cast(image, sitk.sitkFloat32)
    sitk.WriteImage(sitk.RealAndImaginaryToComplex(real, real), str(tmp_path / "z.mha"))
    with pytest.raises(AnatomyError, match="2 numbers a voxel"):
        Scan.read(tmp_path / "z.mha")


@pytest.mark.parametrize("kind", ["u1", "i2", "u2", "i4", "f4", "f8"])
def test_number_types(tmp_path: Path, kind: str) -> None:
    values = (voxels().astype(int) % 200).astype(kind)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / "a.nii.gz"))
    scan = Scan.read(tmp_path / "a.nii.gz")
    assert np.array_equal(scan.array, values)
    assert scan.array.dtype == np.int16
