from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import pyvista as pv

from viewer.camera import Eye, view_of
from viewer.scene import Scene
from viewer.tools.grasping import NOTCH_MM, GraspTool

SIZE = (640, 480)


class Notes:
    """Hands that write down what they are asked to do."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def grasp(self, tool: str, point_mm: np.ndarray, radius_mm: float) -> None:
        self.asked.append(("grasp", tool, point_mm.copy(), radius_mm))

    def move(self, tool: str, position_mm: np.ndarray) -> None:
        self.asked.append(("move", tool, position_mm.copy()))

    def release(self, tool: str) -> None:
        self.asked.append(("release", tool))


@pytest.fixture
def eye(small_case: Any) -> Eye:
    camera = pv.Camera()
    view_of("surgeon", small_case.surfaces["liver"].points).apply(camera, SIZE)
    return Eye.of(camera, SIZE)


@pytest.fixture
def hands() -> Notes:
    return Notes()


@pytest.fixture
def tool(small_case: Any, hands: Notes) -> GraspTool:
    return GraspTool(Scene(small_case), hands)


def test_dragging_keeps_the_tissue_under_the_cursor(
    small_case: Any, eye: Eye, tool: GraspTool, hands: Notes
) -> None:
    x, y = eye.pixel_of(small_case.centre_mm)
    assert tool.press(eye, x, y)
    kind, name, point, radius = hands.asked[0]
    assert (kind, name, radius) == ("grasp", "grasper", 8.0)
    assert eye.pixel_of(point) == pytest.approx((x, y), abs=0.01)
    tool.drag(eye, x + 40, y - 25)
    position = hands.asked[-1][2]
    assert eye.pixel_of(position) == pytest.approx((x + 40, y - 25), abs=0.01)
    assert eye.depth_of(position) == pytest.approx(eye.depth_of(point))


def test_shift_moves_in_depth_and_changing_back_does_not_jump(
    small_case: Any, eye: Eye, tool: GraspTool, hands: Notes
) -> None:
    x, y = eye.pixel_of(small_case.centre_mm)
    tool.press(eye, x, y)
    start = hands.asked[0][2]
    tool.drag(eye, x, y, along=True)
    tool.drag(eye, x, y - 50, along=True)
    moved = hands.asked[-1][2] - start
    step = eye.mm_per_pixel(eye.depth_of(start))
    np.testing.assert_allclose(moved, 50 * step * eye.forward, atol=1e-9)
    tool.drag(eye, x, y - 50, along=False)
    np.testing.assert_allclose(hands.asked[-1][2] - start, moved, atol=1e-9)


def test_the_wheel_moves_in_depth_and_the_drag_goes_on_from_there(
    small_case: Any, eye: Eye, tool: GraspTool, hands: Notes
) -> None:
    x, y = eye.pixel_of(small_case.centre_mm)
    assert not tool.notch(eye, 1.0)
    tool.press(eye, x, y)
    start = hands.asked[0][2]
    assert tool.notch(eye, -2.0)
    np.testing.assert_allclose(hands.asked[-1][2] - start, -2 * NOTCH_MM * eye.forward, atol=1e-9)
    tool.drag(eye, x, y)
    np.testing.assert_allclose(hands.asked[-1][2] - start, -2 * NOTCH_MM * eye.forward, atol=1e-9)


def test_what_is_held_can_be_taken_up_again_and_only_there(
    small_case: Any, eye: Eye, tool: GraspTool, hands: Notes
) -> None:
    x, y = eye.pixel_of(small_case.centre_mm)
    tool.press(eye, x, y)
    tool.let_go_of_mouse()
    assert tool.holds
    assert not tool.dragging
    assert not tool.press(eye, x + 150, y)
    assert tool.press(eye, x + 5, y)
    assert [entry[0] for entry in hands.asked] == ["grasp"]
    assert tool.release()
    assert not tool.release()
    assert hands.asked[-1] == ("release", "grasper")
    assert not tool.scene.graspers


def test_beside_the_tissue_the_camera_gets_the_gesture(eye: Eye, tool: GraspTool, hands: Notes) -> None:
    assert not tool.press(eye, 2.0, 2.0)
    assert hands.asked == []
