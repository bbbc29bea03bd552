"""What lies over the picture: the numbers, a scale bar, and a cube that says which way the patient faces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyvista as pv

# Registers the classes that really draw: mappers and text made before these are loaded never show.
import vtkmodules.vtkRenderingFreeType
import vtkmodules.vtkRenderingOpenGL2  # noqa: F401
from matplotlib import get_data_path
from vtkmodules.vtkCommonCore import VTK_FONT_FILE, vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
from vtkmodules.vtkRenderingAnnotation import vtkAnnotatedCubeActor
from vtkmodules.vtkRenderingCore import vtkActor2D, vtkPolyDataMapper2D, vtkRenderer, vtkTextActor

from viewer import theme
from viewer.drawing import Plotter

if TYPE_CHECKING:
    from viewer.scene import Reading

# Round lengths for the scale bar, mm.
_LENGTHS_MM = (1, 2, 5, 10, 20, 50, 100, 200)
_CUBE_SHARE = 0.13
_FONTS = Path(get_data_path()) / "fonts" / "ttf"


def text_actor(size: int, colour: str, bold: bool = False) -> vtkTextActor:
    """Return a 2-D text of `size` points in a hex colour."""
    actor = vtkTextActor()
    style = actor.GetTextProperty()
    style.SetFontFamily(VTK_FONT_FILE)
    style.SetFontFile(str(_FONTS / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")))
    style.SetFontSize(size)
    style.SetColor(*theme.rgb(colour))
    return actor


class Hud:
    """The case, the act and the numbers, written into the picture itself: for movies and stills."""

    def __init__(self) -> None:
        self._title = text_actor(15, theme.TEXT, bold=True)
        self._note = text_actor(14, theme.MUTED)
        self._unit = text_actor(14, theme.MUTED)
        self._force = text_actor(34, theme.TEXT)
        self._state = text_actor(14, theme.GOOD, bold=True)
        self._details = text_actor(14, theme.MUTED)
        # Text, size in points and place in pixels of a picture 768 high; a negative height counts from the top.
        self._rows = (
            (self._title, 15, -40),
            (self._note, 14, -64),
            (self._unit, 14, 108),
            (self._force, 34, 64),
            (self._state, 14, 40),
            (self._details, 14, 20),
        )

    def attach(self, plotter: Plotter) -> None:
        """Draw on a plotter; sizes and places follow its height."""
        for actor, _, _ in self._rows:
            plotter.renderer.AddViewProp(actor)
        plotter.renderer.AddObserver("StartEvent", lambda *_: self._lay_out(plotter.renderer.GetSize()[1]))

    def _lay_out(self, height: int) -> None:
        scale = height / 768
        for actor, size, place in self._rows:
            actor.GetTextProperty().SetFontSize(max(8, round(size * scale)))
            actor.SetPosition(24 * scale, place * scale + (height if place < 0 else 0))

    def write(self, title: str, reading: Reading) -> None:
        """Write a frame's numbers."""
        self._title.SetInput(title)
        self._note.SetInput(reading.note or " ")
        self._unit.SetInput("Force on the tissue")
        self._force.SetInput(f"{reading.force_N:.2f} N")
        self._state.SetInput(reading.state)
        self._state.GetTextProperty().SetColor(
            *theme.rgb(theme.STATE_COLOURS.get(reading.state, theme.MUTED))
        )
        self._details.SetInput(details_line(reading))


def details_line(reading: Reading) -> str:
    """Displacement, distance to the converged shape, time and frame rate in one line."""
    parts = [f"moved {reading.displacement_mm:.1f} mm", f"within {reading.distance_mm:.2f} mm of equilibrium"]
    parts.append(f"{reading.time_s:.1f} s")
    if reading.frames_per_s is not None:
        parts.append(f"{reading.frames_per_s:.0f} frames/s")
    return "   ".join(parts)


class OrientationCube:
    """A small cube lettered R, L, A, P, S, I that turns with the camera, in a corner of its own."""

    def __init__(self) -> None:
        cube = vtkAnnotatedCubeActor()
        cube.SetXPlusFaceText("L")
        cube.SetXMinusFaceText("R")
        cube.SetYPlusFaceText("P")
        cube.SetYMinusFaceText("A")
        cube.SetZPlusFaceText("S")
        cube.SetZMinusFaceText("I")
        cube.SetFaceTextScale(0.62)
        # Without these turns the letters of the side, front and back faces would lie on their side.
        cube.SetXFaceTextRotation(0)
        cube.SetYFaceTextRotation(0)
        cube.SetZFaceTextRotation(-90)
        cube.GetCubeProperty().SetColor(*theme.rgb(theme.RAISED))
        cube.GetCubeProperty().SetAmbient(0.45)
        cube.GetTextEdgesProperty().SetColor(*theme.rgb(theme.LINE))
        for part in ("XPlus", "XMinus", "YPlus", "YMinus", "ZPlus", "ZMinus"):
            face = getattr(cube, f"Get{part}FaceProperty")()
            face.SetColor(*theme.rgb(theme.ACCENT if part[0] == "Y" else theme.TEXT))
            face.SetInterpolationToFlat()
            face.SetAmbient(0.6)
        self._cube = cube
        self._corner = vtkRenderer()
        self._corner.AddActor(cube)
        self._corner.SetLayer(1)
        self._corner.InteractiveOff()

    def attach(self, plotter: Plotter) -> None:
        """Draw in the lower right corner of a plotter, turned as its camera is."""
        window = plotter.render_window
        window.SetNumberOfLayers(2)
        window.AddRenderer(self._corner)
        main = plotter.renderer
        main.AddObserver("StartEvent", lambda *_: self._turn(main))

    def _turn(self, main: vtkRenderer) -> None:
        width, height = main.GetSize()
        share = _CUBE_SHARE * height / max(width, 1)
        self._corner.SetViewport(1 - share - 0.008, 0.008, 1 - 0.008, _CUBE_SHARE + 0.008)
        camera, source = self._corner.GetActiveCamera(), main.GetActiveCamera()
        away = np.subtract(source.GetPosition(), source.GetFocalPoint())
        camera.SetFocalPoint(0, 0, 0)
        camera.SetPosition(*(away / np.linalg.norm(away) * 4.2))
        camera.SetViewUp(source.GetViewUp())
        self._corner.ResetCameraClippingRange()


class ScaleBar:
    """A bar of a round number of millimetres, true at the depth the camera looks at."""

    def __init__(self) -> None:
        self._points = vtkPoints()
        self._points.SetNumberOfPoints(6)
        lines = vtkCellArray()
        for ends in ((0, 1), (2, 3), (4, 5)):
            lines.InsertNextCell(2, ends)
        self._shape = vtkPolyData()
        self._shape.SetPoints(self._points)
        self._shape.SetLines(lines)
        mapper = vtkPolyDataMapper2D()
        mapper.SetInputData(self._shape)
        self._bar = vtkActor2D()
        self._bar.SetMapper(mapper)
        self._bar.GetProperty().SetColor(*theme.rgb(theme.MUTED))
        self._bar.GetProperty().SetLineWidth(1.5)
        self._label = text_actor(13, theme.MUTED)
        self._label.GetTextProperty().SetJustificationToRight()
        self.length_mm = 0.0
        self.pixels = 0.0

    def attach(self, plotter: Plotter) -> None:
        """Draw left of the orientation cube on a plotter."""
        plotter.renderer.AddViewProp(self._bar)
        plotter.renderer.AddViewProp(self._label)
        plotter.renderer.AddObserver("StartEvent", lambda *_: self._fit(plotter))

    def _fit(self, plotter: Plotter) -> None:
        size = tuple(plotter.renderer.GetSize())
        camera = plotter.renderer.GetActiveCamera()
        mm_per_pixel = _mm_per_pixel_at_focus(camera, size[1])
        longest = 0.16 * size[0] * mm_per_pixel
        self.length_mm = float(max((mm for mm in _LENGTHS_MM if mm <= longest), default=_LENGTHS_MM[0]))
        self.pixels = self.length_mm / mm_per_pixel
        right = size[0] - _CUBE_SHARE * size[1] - 0.045 * size[1]
        left, y, tick = right - self.pixels, 0.03 * size[1], 0.006 * size[1]
        ends = (
            (left, y),
            (right, y),
            (left, y - tick),
            (left, y + tick),
            (right, y - tick),
            (right, y + tick),
        )
        for i, (px, py) in enumerate(ends):
            self._points.SetPoint(i, px, py, 0.0)
        self._points.Modified()
        self._label.GetTextProperty().SetFontSize(max(9, round(13 * size[1] / 768)))
        self._label.SetInput(f"{self.length_mm:g} mm")
        self._label.SetPosition(right, y + 2 * tick)


def _mm_per_pixel_at_focus(camera: pv.Camera, height: int) -> float:
    span = 2 * camera.GetDistance() * np.tan(np.radians(camera.GetViewAngle()) / 2)
    return float(span / max(height, 1))
