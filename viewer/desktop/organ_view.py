"""OrganView: the big picture, and the mouse in it.

The left button belongs to the tool where it meets tissue and to the camera elsewhere; the right button always turns
the camera, the middle one shifts it, the wheel comes nearer, or moves what is held along the line of sight. VTK is
only ever drawn inside Qt's paint event: anything else asks for a repaint, so that no frame is drawn twice.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QMouseEvent, QWheelEvent
from PySide6.QtWidgets import QWidget
from pyvistaqt import QtInteractor

from viewer.camera import Eye
from viewer.scene import Scene
from viewer.tools.grasping import GraspTool
from viewer.tools.pointing import Pointing

FIRST_VIEW = "surgeon"


class OrganView(QtInteractor):
    """The scene in a Qt widget.

    Parameters
    ----------
    scene : Scene
        What is drawn.
    tool : GraspTool
        Who gets the left button.
    parent : QWidget, optional
        Parent widget.
    """

    grasped = Signal()

    def __init__(self, scene: Scene, tool: GraspTool, parent: QWidget | None = None) -> None:
        super().__init__(parent, auto_update=False, multi_samples=0)
        self.scene = scene
        self.tool: GraspTool | Pointing = tool
        self.grasping = True
        self.solver_ready = False
        self._aimed = False
        self._paints: deque[float] = deque(maxlen=90)
        self.setAcceptDrops(False)
        set_style: Any = self.enable_custom_trackball_style
        set_style(
            left="rotate",
            shift_left="rotate",
            right="rotate",
            shift_right="dolly",
            middle="pan",
            control_left="pan",
        )
        self._drawing = self.GetRenderWindow().GetInteractor()
        self._drawing.EnableRenderOff()
        self._drawing.AddObserver("RenderEvent", lambda *_: self.update())

    def paintGL(self) -> None:
        """Draw; the only place where VTK renders on the screen."""
        if not self._aimed:  # only now is the size known that the organ has to fit
            self._aimed = True
            self.scene.look_from(FIRST_VIEW)
        self._drawing.EnableRenderOn()
        super().paintGL()
        self._drawing.EnableRenderOff()
        self._paints.append(time.perf_counter())

    @property
    def frames_per_s(self) -> float:
        """Pictures drawn in the last second."""
        now = time.perf_counter()
        return float(sum(now - moment <= 1.0 for moment in self._paints))

    def eye(self) -> Eye:
        """The camera at this moment, in widget pixels."""
        return Eye.of(self.camera, (self.width(), self.height()))

    def look_from(self, view: str) -> None:
        """Turn the camera to a named view."""
        self.scene.look_from(view)
        self.update()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Give the left button to the tool where it meets tissue."""
        if event.button() == Qt.MouseButton.LeftButton and self.grasping and self._press(event):
            event.accept()
            return
        super().mousePressEvent(event)

    def _press(self, event: QMouseEvent) -> bool:
        held = self.tool.holds
        where = event.position()
        if not self.solver_ready or not self.tool.press(self.eye(), where.x(), where.y(), _along(event)):
            return False
        self.setCursor(Qt.CursorShape.ClosedHandCursor)
        if not held:
            self.grasped.emit()
        self.update()
        return True

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Pull, or turn the camera."""
        if self.tool.dragging:
            where = event.position()
            self.tool.drag(self.eye(), where.x(), where.y(), _along(event))
            event.accept()
            return
        super().mouseMoveEvent(event)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Stop pulling; the jaws stay closed."""
        if self.tool.dragging and event.button() == Qt.MouseButton.LeftButton:
            self.tool.let_go_of_mouse()
            self.unsetCursor()
            event.accept()
            return
        super().mouseReleaseEvent(event)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Move what is held along the line of sight while it is dragged; else come nearer."""
        notches = event.angleDelta().y() / 120.0
        if self.tool.dragging and self.tool.notch(self.eye(), notches):
            event.accept()
            return
        self.camera.zoom(1.08**notches)
        self.renderer.ResetCameraClippingRange()
        self.update()


def _along(event: QMouseEvent) -> bool:
    return bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
