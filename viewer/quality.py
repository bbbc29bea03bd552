"""How much drawing a machine can bear: two presets for live views and one for movies.

Measured at 1024x768 with 50 000 deforming triangles on two cores without a graphics card: multisampling takes a
frame from 20-27 ms to 86 ms, ambient occlusion to 76-205 ms, depth peeling to 203 ms. So the software preset has
none of them; a graphics card gets multisampling and peeled transparency. Mesa's software driver takes the time
for multisampling but leaves the edges as they were, so movies smooth the finished picture (16 ms) and stills are
drawn at twice the size.
"""

from __future__ import annotations

from dataclasses import dataclass

from vtkmodules.vtkRenderingCore import vtkRenderWindow

from viewer.drawing import Plotter
from viewer.errors import ViewerError

# Renderer names of drivers that draw on the processor.
_SOFTWARE_DRIVERS = ("llvmpipe", "softpipe", "swiftshader", "swrast", "software rasterizer", "gdi generic")


@dataclass(frozen=True)
class Quality:
    """What a view spends its time on.

    Parameters
    ----------
    name : str
        As shown to a person.
    samples : int
        Samples a pixel (multisampling); 0 is off.
    peels : int
        Layers of transparency sorted by depth peeling; 0 is off.
    smooth_edges : bool
        Fast approximate anti-aliasing of the finished picture.
    """

    name: str
    samples: int
    peels: int
    smooth_edges: bool


SOFTWARE = Quality("software", samples=0, peels=0, smooth_edges=False)
HARDWARE = Quality("hardware", samples=4, peels=4, smooth_edges=False)
MOVIE = Quality("movie", samples=0, peels=0, smooth_edges=True)


def suited_to(plotter: Plotter) -> Quality:
    """Choose the preset for a plotter from what its driver reports; a silent driver counts as software."""
    report = str(_window(plotter).ReportCapabilities() or "").lower()
    renderer = next((line for line in report.splitlines() if "renderer string" in line), "")
    if not renderer or any(driver in renderer for driver in _SOFTWARE_DRIVERS):
        return SOFTWARE
    return HARDWARE


def apply(quality: Quality, plotter: Plotter) -> None:
    """Set a plotter's window and renderer to a preset."""
    _window(plotter).SetMultiSamples(quality.samples)
    renderer = plotter.renderer
    renderer.SetUseFXAA(quality.smooth_edges)
    renderer.SetUseDepthPeeling(quality.peels > 0)
    if quality.peels:
        renderer.SetMaximumNumberOfPeels(quality.peels)
        renderer.SetOcclusionRatio(0.02)
        _window(plotter).SetAlphaBitPlanes(True)


def _window(plotter: Plotter) -> vtkRenderWindow:
    window: vtkRenderWindow | None = plotter.render_window
    if window is None:
        raise ViewerError("The view was closed; open it again before drawing in it.")
    return window
