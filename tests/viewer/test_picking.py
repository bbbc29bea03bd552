from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import pyvista as pv

from viewer.camera import VIEWS, Eye, view_of
from viewer.picking import Picker
from viewer.scene import Scene
from viewer.skin import Skin


def on_ellipsoid(small_case: Any, direction: np.ndarray) -> np.ndarray:
    direction = direction / np.linalg.norm(direction)
    return small_case.centre_mm + direction / np.linalg.norm(direction / small_case.radii_mm)


def test_a_ray_lands_on_the_surface(small_case: Any) -> None:
    scene = Scene(small_case)
    rng = np.random.default_rng(3)
    for direction in rng.normal(size=(40, 3)):
        target = on_ellipsoid(small_case, direction)
        hit = scene.pick(small_case.centre_mm + 6 * (target - small_case.centre_mm), small_case.centre_mm)
        assert hit is not None
        assert hit.structure == "liver"
        assert np.linalg.norm(hit.point_mm - target) < 0.5  # chords of an 80-sided ball
        np.testing.assert_allclose(hit.rest_mm, hit.point_mm, atol=1e-3)
        assert hit.normal @ direction > 0


def test_picking_follows_the_deformation_and_remembers_the_scan(small_case: Any) -> None:
    scene = Scene(small_case)
    pole = small_case.pole_mm
    ray = (pole - [0, 300, 0], small_case.centre_mm)
    before = scene.pick(*ray)
    scene.update(small_case.pulled(30.0))
    after = scene.pick(*ray)
    assert before is not None
    assert after is not None
    assert before.point_mm[1] - after.point_mm[1] > 20.0
    assert np.linalg.norm(after.rest_mm - before.rest_mm) < 3.0
    skin = scene.skins["liver"]
    row = skin.triangles[after.triangle]
    plane = np.cross(*(skin.points[row[1:]] - skin.points[row[0]]).astype(float))
    assert abs((after.point_mm - skin.points[row[0]]) @ plane / np.linalg.norm(plane)) < 1e-3


def test_a_miss_is_none_and_the_nearer_of_two_wins() -> None:
    near, far = pv.Sphere(center=(0, 0, 10)), pv.Sphere(center=(0, 0, 0))
    skins = [Skin(name, np.asarray(b.points), b.regular_faces) for name, b in (("far", far), ("near", near))]
    picker = Picker()
    hit = picker.pick(skins, np.array([0.0, 0.0, 50.0]), np.array([0.0, 0.0, -50.0]))
    assert hit is not None
    assert hit.structure == "near"
    assert hit.point_mm[2] == pytest.approx(10.5, abs=1e-2)
    assert picker.pick(skins, np.array([9.0, 0.0, 50.0]), np.array([9.0, 0.0, -50.0])) is None


@pytest.mark.parametrize("name", list(VIEWS))
def test_pixels_and_points_agree(small_case: Any, name: str) -> None:
    camera = pv.Camera()
    points = small_case.centre_mm + np.random.default_rng(1).normal(size=(200, 3)) * [40, 20, 30]
    view_of(name, points).apply(camera, (640, 480))
    eye = Eye.of(camera, (640, 480))
    for point in points:
        x, y = eye.pixel_of(point)
        assert 0 <= x <= 640
        assert 0 <= y <= 480
        start, end = eye.ray(x, y)
        along = (end - start) / np.linalg.norm(end - start)
        gap = point - start - ((point - start) @ along) * along
        assert np.linalg.norm(gap) < 1e-6


def test_eye_draws_where_vtk_draws(small_case: Any) -> None:
    """A small ball seen by VTK must lie at the pixel that `Eye` computes for its centre."""
    plotter = pv.Plotter(off_screen=True, window_size=(400, 300))
    centre = small_case.centre_mm + np.array([21.0, -5.0, 13.0])
    plotter.add_mesh(pv.Sphere(radius=2.0, center=centre), color="white", lighting=False)
    plotter.set_background("black")
    view_of("surgeon", small_case.surfaces["liver"].points).apply(plotter.camera, (400, 300))
    plotter.renderer.ResetCameraClippingRange()
    plotter.show(auto_close=False)
    bright = np.argwhere(plotter.screenshot(return_img=True)[..., 0] > 128)
    row, column = bright.mean(axis=0)
    eye = Eye.of(plotter.camera, (400, 300))
    plotter.close()
    assert (column, row) == pytest.approx(eye.pixel_of(centre), abs=0.6)
