from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from viewer.errors import ViewerError
from viewer.slices import CT_WINDOWS, PLANES, SliceModel


def corners_scan(orientation: str) -> SimpleNamespace:
    """A volume whose value says where it lies: 100 * (x > 0) + 10 * (y > 0) + (z > 0), stored in any axis order."""
    axis = np.arange(-4.5, 5)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    values = (100 * (x > 0) + 10 * (y > 0) + (z > 0)).astype(np.int16)
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0)))
    image.SetOrigin((-4.5, -4.5, -4.5))
    return SimpleNamespace(image=sitk.DICOMOrient(image, orientation), modality="MR")


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "LAS", "PSL", "SLA"])
def test_pictures_follow_the_radiological_convention(orientation: str) -> None:
    """Right of the patient on the picture's left, front up (axial) or left (sagittal), head up: however stored."""
    model = SliceModel(corners_scan(orientation))
    model.move_to(np.array([2.0, 2.0, 2.0]))
    model.window = type(model.window)("all", 127.5, 255.0)
    left, back, head = 100, 10, 1
    axial, coronal, sagittal = (model.picture(plane).astype(int) for plane in PLANES)
    assert [axial[0, 0], axial[0, -1], axial[-1, 0]] == pytest.approx([head, left + head, back + head], abs=1)
    assert [coronal[0, 0], coronal[0, -1], coronal[-1, 0]] == pytest.approx(
        [back + head, left + back + head, back], abs=1
    )
    assert [sagittal[0, 0], sagittal[0, -1], sagittal[-1, 0]] == pytest.approx(
        [left + head, left + back + head, left], abs=1
    )
    assert [model.letters(plane) for plane in PLANES] == ["RLAP", "RLSI", "APSI"]


def test_windows_map_hounsfield_units_to_grey(small_case: Any) -> None:
    model = SliceModel(small_case.scan, small_case.labels)
    assert model.windows == CT_WINDOWS
    model.move_to(small_case.centre_mm)
    values = sitk.GetArrayFromImage(small_case.scan.image)[model.index[2]]
    expected = np.clip((values - (50 - 200)) / 400 * 255, 0, 255)
    np.testing.assert_allclose(model.picture("axial"), expected, atol=1.0)


def test_picture_coordinates_go_there_and_back(small_case: Any) -> None:
    model = SliceModel(small_case.scan, small_case.labels)
    model.move_to(small_case.centre_mm + np.array([10.0, 5.0, -7.5]))
    here = model.position_mm
    for plane in PLANES:
        x, y = model.to_picture(plane, model.index.astype(float))
        np.testing.assert_allclose(model.from_picture(plane, x, y), here, atol=1e-9)


def test_outlines_enclose_what_was_segmented(small_case: Any) -> None:
    model = SliceModel(small_case.scan, small_case.labels)
    model.move_to(small_case.centre_mm)
    found = {contour.structure: contour for contour in model.outlines("axial")}
    assert set(found) == {"liver", "liver_tumour"}
    outer = max(found["liver"].lines, key=len)
    width, height = np.ptp(outer, axis=0) * model.pixel_mm("axial")
    assert (width, height) == pytest.approx((2 * small_case.radii_mm[0], 2 * small_case.radii_mm[1]), abs=4.0)


def test_surface_cut_lies_on_the_surface(small_case: Any) -> None:
    model = SliceModel(small_case.scan, small_case.labels)
    model.move_to(small_case.centre_mm + np.array([4.0, -2.0, 5.0]))
    surface = small_case.surfaces["liver"]
    for plane in PLANES:
        segments = model.cut_surface(plane, surface.points, surface.triangles)
        assert len(segments) > 60
        ends = [model.from_picture(plane, *point) for point in segments.reshape(-1, 2)]
        radius = (((np.array(ends) - small_case.centre_mm) / small_case.radii_mm) ** 2).sum(axis=1)
        np.testing.assert_allclose(radius, 1.0, atol=0.01)
        # A closed curve: every end is shared by two segments.
        _, counts = np.unique(np.round(segments.reshape(-1, 2), 5), axis=0, return_counts=True)
        assert (counts == 2).mean() > 0.97


def test_scrolling_stops_at_the_last_slice(small_case: Any) -> None:
    model = SliceModel(small_case.scan)
    model.scroll("axial", 10_000)
    assert model.index[2] == model.shape[2] - 1
    assert model.picture("axial").shape == (model.shape[1], model.shape[0])


def test_labels_on_another_grid_are_refused(small_case: Any) -> None:
    image = sitk.Image(small_case.labels.image)
    image.SetOrigin((0.0, 0.0, 0.0))
    with pytest.raises(ViewerError, match="another grid"):
        SliceModel(small_case.scan, SimpleNamespace(image=image, names={1: "liver"}))
