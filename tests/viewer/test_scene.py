from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import pyvista as pv

from anatomy.embedding import Embedding
from viewer import quality
from viewer.errors import ViewerError
from viewer.scene import Scene


@pytest.fixture
def plotter() -> Iterator[Any]:
    view = pv.Plotter(off_screen=True, window_size=(320, 240))
    yield view
    view.close()


def test_every_surface_moves_with_the_mesh_it_is_embedded_in(small_case: Any) -> None:
    scene = Scene(small_case)
    frame = small_case.pulled(30.0)
    scene.update(frame)
    for name, surface in small_case.surfaces.items():
        embedding = Embedding(small_case.organ, surface.points)
        expected = surface.points + embedding.matrix @ frame.displacement.astype(float)
        drawn = np.asarray(scene.skins[name].mesh.points)
        np.testing.assert_allclose(drawn, expected, atol=2e-4)  # float32 at 900 mm
    assert np.abs(scene.skins["liver"].points - scene.skins["liver"].rest).max() > 15.0


def test_points_are_written_in_place(small_case: Any) -> None:
    skin = Scene(small_case).skins["liver"]
    before = skin.mesh.GetPoints().GetData()
    address = np.asarray(skin.mesh.points).ctypes.data
    time = before.GetMTime()
    skin.move(small_case.pulled(10.0).displacement)
    assert skin.mesh.GetPoints().GetData() is before
    assert np.asarray(skin.mesh.points).ctypes.data == address == skin.points.ctypes.data
    assert before.GetMTime() > time


def test_normals_belong_to_the_present_shape(small_case: Any) -> None:
    skin = Scene(small_case).skins["liver"]
    skin.move(small_case.pulled(30.0).displacement)
    fresh = pv.PolyData.from_regular_faces(skin.points.astype(float), skin.triangles).compute_normals(
        cell_normals=False, split_vertices=False, consistent_normals=False, auto_orient_normals=False
    )
    # VTK weighs the triangles around a vertex alike, we weigh them by area.
    agreement = np.einsum("ij,ij->i", skin.normals, fresh.point_data["Normals"])
    assert np.quantile(agreement, 0.01) > 0.99
    np.testing.assert_allclose(np.linalg.norm(skin.normals, axis=1), 1.0, atol=1e-5)


def test_shading_follows_the_deformation(small_case: Any, plotter: Any) -> None:
    """A moved surface must look exactly like the same shape drawn afresh; stale normals would shade it otherwise."""
    scene = Scene(small_case, hud=False)
    scene.attach(plotter, quality.SOFTWARE)
    scene.show_structure("liver", opacity=1.0)
    plotter.show(auto_close=False)
    rest = plotter.screenshot(return_img=True).astype(int)
    scene.update(small_case.pulled(25.0))
    plotter.render()
    moved = plotter.screenshot(return_img=True).astype(int)

    skin = scene.skins["liver"]
    skin.normals[:] = (
        pv.PolyData.from_regular_faces(skin.points.astype(float), skin.triangles)
        .compute_normals(
            cell_normals=False, split_vertices=False, consistent_normals=False, auto_orient_normals=False
        )
        .point_data["Normals"]
    )
    skin.mesh.GetPointData().GetNormals().Modified()
    skin.mesh.Modified()
    plotter.render()
    fresh = plotter.screenshot(return_img=True).astype(int)
    assert np.abs(moved - rest).mean() > 2.0
    assert np.abs(moved - fresh).mean() < 0.1 * np.abs(moved - rest).mean()


def test_reading_carries_force_and_displacement(small_case: Any) -> None:
    scene = Scene(small_case)
    scene.update(small_case.pulled(20.0, time_s=2.5))
    assert scene.reading.force_N == pytest.approx(2.0)
    assert scene.reading.displacement_mm == pytest.approx(20.0, rel=0.05)
    assert scene.reading.time_s == 2.5
    scene.rest()
    assert scene.reading.force_N == 0.0
    np.testing.assert_array_equal(scene.skins["liver"].points, scene.skins["liver"].rest)


def test_jaws_follow_what_they_hold(small_case: Any, plotter: Any) -> None:
    scene = Scene(small_case)
    scene.attach(plotter, quality.SOFTWARE)
    scene.grasp("grasper", small_case.pole_mm, 10.0)
    frame = small_case.pulled(20.0)
    scene.update(frame)
    grasper = scene.graspers["grasper"]
    assert grasper.held > 3
    carried = Embedding(small_case.organ, small_case.pole_mm[None]).matrix @ frame.displacement
    assert grasper.tip_mm - small_case.pole_mm == pytest.approx(carried[0], abs=2.0)
    assert grasper.force_N == pytest.approx(2.0)
    actors = len(plotter.actors)
    scene.release("grasper")
    assert not scene.graspers
    assert len(plotter.actors) < actors


def test_tumour_inside_cannot_be_reached(small_case: Any) -> None:
    scene = Scene(small_case)
    scene.show_structure("liver", visible=False)
    assert (
        scene.pick(small_case.pole_mm - [0, 100, 0], small_case.centre_mm + np.array([25.0, 200.0, 5.0]))
        is None
    )


def test_parenchyma_lets_the_tumour_show(small_case: Any, plotter: Any) -> None:
    scene = Scene(small_case, hud=False)
    scene.attach(plotter, quality.SOFTWARE)
    plotter.show(auto_close=False)
    with_tumour = plotter.screenshot(return_img=True).astype(int)
    scene.show_structure("liver_tumour", visible=False)
    plotter.render()
    without = plotter.screenshot(return_img=True).astype(int)
    assert (np.abs(with_tumour - without).sum(axis=2) > 20).sum() > 300


def test_scale_bar_is_true(small_case: Any, plotter: Any) -> None:
    from viewer.camera import Eye

    scene = Scene(small_case)
    scene.attach(plotter, quality.SOFTWARE)
    plotter.show(auto_close=False)
    bar = scene.overlays[1]
    eye = Eye.of(plotter.camera, (320, 240))
    focus = np.array(plotter.camera.focal_point)
    left, right = eye.pixel_of(focus), eye.pixel_of(focus + bar.length_mm * eye.right)
    assert bar.length_mm in (20.0, 50.0)
    assert right[0] - left[0] == pytest.approx(bar.pixels, rel=1e-6)


def test_a_case_without_surfaces_is_refused(small_case: Any) -> None:
    from dataclasses import replace

    with pytest.raises(ViewerError, match="no surface to show"):
        Scene(replace(small_case, surfaces={}))


def test_software_driver_gets_the_software_preset(plotter: Any) -> None:
    class Window:
        def __init__(self, renderer: str) -> None:
            self.renderer = renderer

        def ReportCapabilities(self) -> str:
            return f"OpenGL vendor string:  x\nOpenGL renderer string:  {self.renderer}\n"

    class View:
        def __init__(self, renderer: str) -> None:
            self.render_window = Window(renderer)

    assert quality.suited_to(View("llvmpipe (LLVM 15.0.6, 256 bits)")) is quality.SOFTWARE
    assert quality.suited_to(View("NVIDIA RTX A2000/PCIe/SSE2")) is quality.HARDWARE
    assert quality.SOFTWARE.samples == quality.SOFTWARE.peels == 0
