"""Pictures: stills and movie frames of a case, off screen, and the slices of its scan with the outlines.

A studio is an off-screen plotter with a scene in it. Stills are drawn at twice their size and averaged down, which
smooths every edge on any driver; movie frames smooth the finished picture, which is faster.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anatomy.files import whole_or_nothing
from viewer import quality, theme
from viewer.drawing import off_screen_plotter
from viewer.errors import ViewerError
from viewer.scene import Scene, ShownCase
from viewer.slices import PLANES, SliceModel

STILL_SIZE = (1600, 1000)
MOVIE_SIZE = (1280, 720)
# Around the labelled tissue, so much of the patient is shown in the slice figure.
_SLICE_MARGIN_MM = 30.0


class Studio:
    """A place to draw a case without a window.

    Use it as a context manager, so that the graphics memory is given back.

    Parameters
    ----------
    case : ShownCase
        The case to draw.
    size : tuple of int
        Width and height of a movie frame in pixels.
    view : str
        Where the eye stands, of `viewer.camera.VIEWS`.
    hud : bool
        Whether the numbers are written into the pictures.

    Raises
    ------
    ViewerError
        If this machine cannot draw, or the case has no surface.
    """

    def __init__(
        self, case: ShownCase, size: tuple[int, int] = MOVIE_SIZE, view: str = "surgeon", hud: bool = True
    ) -> None:
        self.scene = Scene(case, hud=hud)
        self.size = size
        try:
            self.plotter = off_screen_plotter(size)
            self.scene.attach(self.plotter, quality.MOVIE)
            self.scene.look_from(view)
            self.plotter.show(auto_close=False)
        except (RuntimeError, ImportError) as error:
            raise ViewerError(
                f"This machine cannot draw off screen ({error}); install libegl1, libgl1 and libgl1-mesa-dri."
            ) from error

    def __enter__(self) -> Studio:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the graphics memory back."""
        self.plotter.close()

    def frame(self) -> NDArray[np.uint8]:
        """Draw what the scene shows now; shape (height, width, 3) uint8 of the studio's size."""
        self.plotter.render()
        return np.asarray(self.plotter.screenshot(return_img=True), dtype=np.uint8)

    def still(self, path: str | Path | None = None, size: tuple[int, int] = STILL_SIZE) -> NDArray[np.uint8]:
        """Draw what the scene shows now with smooth edges.

        Parameters
        ----------
        path : str or Path, optional
            PNG file to write, whole or not at all.
        size : tuple of int
            Width and height in pixels.

        Returns
        -------
        ndarray, shape (height, width, 3), uint8
        """
        self.plotter.window_size = [2 * size[0], 2 * size[1]]
        self.plotter.renderer.SetUseFXAA(False)
        large = self.frame().astype(np.uint16)
        self.plotter.renderer.SetUseFXAA(quality.MOVIE.smooth_edges)
        self.plotter.window_size = list(self.size)
        picture = (large.reshape(size[1], 2, size[0], 2, 3).sum(axis=(1, 3)) + 2) // 4
        smooth = picture.astype(np.uint8)
        if path is not None:
            _write_png(smooth, Path(path))
        return smooth


def picture(
    case: ShownCase,
    path: str | Path | None = None,
    size: tuple[int, int] = STILL_SIZE,
    view: str = "surgeon",
) -> NDArray[np.uint8]:
    """Draw a case at rest, without a window.

    Parameters
    ----------
    case : Case
        The case to draw.
    path : str or Path, optional
        PNG file to write.
    size : tuple of int
        Width and height in pixels.
    view : str
        Where the eye stands: surgeon, anterior, posterior, left, right, superior or inferior.

    Returns
    -------
    ndarray, shape (height, width, 3), uint8

    Raises
    ------
    ViewerError
        If this machine cannot draw or the case has no surface.
    """
    with Studio(case, size, view, hud=False) as studio:
        return studio.still(path, size)


def slice_figure(
    case: Any, path: str | Path, displacement: NDArray[np.float32] | None = None, scene: Scene | None = None
) -> None:
    """Write an axial, a coronal and a sagittal slice with outlines over them as a PNG.

    They cross in the middle of what is labelled, or with a displacement where it is greatest.

    Parameters
    ----------
    case : Case
        Scan, labels and surfaces.
    path : str or Path
        PNG file to write, whole or not at all.
    displacement : ndarray, shape (n, 3), float32, optional
        With it, the moved outlines are drawn over the segmented ones, mm.
    scene : Scene, optional
        Scene of the same case, to use its surfaces rather than tie them to the mesh again.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    model = SliceModel(case.scan, case.labels)
    skins = list((scene or Scene(case, hud=False)).skins.values()) if displacement is not None else []
    if displacement is not None:
        farthest = int(np.einsum("ij,ij->i", displacement, displacement).argmax())
        organ = case.organ if scene is None else scene.organ
        model.move_to(organ.points[farthest] + displacement[farthest] / 2)
    for skin in skins:
        skin.move(np.ascontiguousarray(displacement, dtype=np.float32))
    spans = [_span_mm(model, plane) for plane in PLANES]
    height = max(span[1] for span in spans)
    width = sum(span[0] for span in spans)
    figure = Figure(figsize=(12.0, 12.0 * height / width + 0.6), dpi=140)
    figure.patch.set_facecolor(theme.BACKGROUND)
    grid = figure.add_gridspec(
        1,
        3,
        width_ratios=[span[0] for span in spans],
        left=0.005,
        right=0.995,
        top=0.925,
        bottom=0.085,
        wspace=0.02,
    )
    for i, plane in enumerate(PLANES):
        axes = figure.add_subplot(grid[0, i], facecolor="black")
        _draw_plane(axes, model, plane, faint=bool(skins))
        for skin in skins:
            segments = model.cut_surface(plane, skin.points, skin.triangles)
            colour = theme.hex_colour(theme.colour_of(skin.name))
            axes.add_collection(LineCollection(list(segments), colors=colour, linewidths=1.6))
    _legend(figure, list(model.structures), moved=bool(skins))
    with whole_or_nothing(Path(path), ViewerError) as partial:
        figure.savefig(partial, facecolor=figure.get_facecolor(), format="png")


def _span_mm(model: SliceModel, plane: str) -> tuple[float, float]:
    left, right, top, bottom = model.extent(plane, _SLICE_MARGIN_MM)
    width, height = model.pixel_mm(plane)
    return (right - left) * width, (bottom - top) * height


def _draw_plane(axes: Any, model: SliceModel, plane: str, faint: bool) -> None:
    width, height = model.pixel_mm(plane)
    axes.imshow(
        model.picture(plane), cmap="gray", vmin=0, vmax=255, aspect=height / width, interpolation="bilinear"
    )
    for contour in model.outlines(plane):
        for line in contour.lines:
            colour = theme.hex_colour(theme.colour_of(contour.structure))
            axes.plot(
                line[:, 0], line[:, 1], color=colour, lw=0.8 if faint else 1.2, alpha=0.6 if faint else 1.0
            )
    start, end, upper, lower = model.extent(plane, _SLICE_MARGIN_MM)
    axes.set_xlim(start, end)
    axes.set_ylim(lower, upper)
    axes.set_axis_off()
    axes.set_anchor("N")
    left, right, top, bottom = tuple(model.letters(plane))
    style = {"color": theme.TEXT, "fontsize": 10, "transform": axes.transAxes, "ha": "center", "va": "center"}
    for letter, x, y in ((left, 0.025, 0.5), (right, 0.975, 0.5), (top, 0.5, 0.965), (bottom, 0.5, 0.035)):
        axes.text(x, y, letter, **style)
    axes.set_title(
        f"{plane.capitalize()}  {model.depth_mm(plane):.0f} mm", color=theme.MUTED, fontsize=9, loc="left"
    )


def _legend(figure: Any, structures: list[str], moved: bool) -> None:
    from matplotlib.lines import Line2D

    entries = [
        Line2D([], [], color=theme.hex_colour(theme.colour_of(s)), lw=2, label=theme.title_of(s))
        for s in structures
    ]
    if moved:
        entries.append(Line2D([], [], color=theme.TEXT, lw=0.8, alpha=0.6, label="thin: as scanned"))
        entries.append(Line2D([], [], color=theme.TEXT, lw=1.6, label="bold: as pulled"))
    figure.legend(
        handles=entries,
        loc="lower left",
        ncols=8,
        frameon=False,
        fontsize=8,
        labelcolor=theme.TEXT,
        borderaxespad=0.3,
    )


def _write_png(pixels: NDArray[np.uint8], path: Path) -> None:
    with whole_or_nothing(path, ViewerError) as partial:
        Image.fromarray(pixels).save(partial, format="PNG", optimize=False)
