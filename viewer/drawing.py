"""Drawing: how every surface gets onto a plotter, so that all of them are lit and pushed in the same way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyvista as pv
from numpy.typing import NDArray
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonCore import vtkLogger

from viewer.theme import Colour

# A PyVista plotter or Qt interactor. Its own annotations take keywords that mypy cannot match, hence Any.
Plotter = Any


def off_screen_plotter(size: tuple[int, int]) -> Plotter:
    """Open a plotter of `size` (width, height) pixels that draws without a window."""
    # Without a display VTK complains of the X server before it takes EGL, which draws as well.
    said = vtkLogger.GetCurrentVerbosityCutoff()
    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_ERROR)
    try:
        return pv.Plotter(off_screen=True, window_size=list(size))
    finally:
        vtkLogger.SetStderrVerbosity(said)


def add_surface(plotter: Plotter, mesh: pv.PolyData, colour: Colour | str, **look: Any) -> pv.Actor:
    """Add a mesh without copying it, drawing now or touching the camera; `look` goes to `add_mesh`."""
    quiet: dict[str, Any] = {
        "copy_mesh": False,
        "render": False,
        "reset_camera": False,
        "show_scalar_bar": False,
    }
    actor: pv.Actor = plotter.add_mesh(mesh, color=colour, smooth_shading=False, **quiet, **look)
    actor.prop.interpolation = "Phong"
    actor.mapper.scalar_visibility = False
    return actor


def shared_mesh(points: NDArray[np.float32], triangles: NDArray[np.int64]) -> pv.PolyData:
    """Return a mesh whose points are the array itself: write into it, then call `moved`."""
    faces: Any = triangles
    mesh = pv.PolyData.from_regular_faces(points.astype(float), faces)
    mesh.GetPoints().SetData(numpy_to_vtk(points, deep=False))
    return mesh


def moved(mesh: pv.PolyData) -> None:
    """Tell VTK that the points, and the normals if there are any, were written to."""
    mesh.GetPoints().GetData().Modified()
    mesh.GetPoints().Modified()
    normals = mesh.GetPointData().GetNormals()
    if normals is not None:
        normals.Modified()
    mesh.Modified()
