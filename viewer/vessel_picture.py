"""Picture of a liver's segments with the vessel trees in them, from the front and from below.

Segments let light through, so that the trees are seen that feed and drain them; each is named by its Couinaud numeral
at its middle. Vessels are tubes of their measured calibre.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyvista as pv
from numpy.typing import NDArray
from PIL import Image

from anatomy.files import whole_or_nothing
from anatomy.labels import LabelMap
from anatomy.surfaces import show_surface
from anatomy.vessels import VesselTree
from anatomy.vessels.couinaud import numeral
from twin.case import Case
from viewer import theme
from viewer.camera import VIEWS, View
from viewer.drawing import Plotter, add_surface, off_screen_plotter
from viewer.errors import ViewerError

SIZE = (1000, 760)
_TRIANGLES = 12_000
_LIGHT = theme.Look(opacity=0.5, specular=0.3, gloss=30.0)
# A tube narrower than this is not seen; drawing it wider would lie about its calibre.
_LEAST_RADIUS_MM = 0.4


def picture_vessels(case: Case, path: str | Path) -> None:
    """Write the picture of a case's segments and trees.

    Parameters
    ----------
    case : Case
        With vessel trees; segments are shown where it has them.
    path : str or Path
        PNG or JPEG file to write, whole or not at all.

    Raises
    ------
    ViewerError
        If the case has no vessel trees, the file is of another type, or this machine cannot draw.
    """
    path = Path(path)
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ViewerError(f"'{path}' is no name for a picture; it must end in .png, .jpg or .jpeg.")
    if not case.vessels:
        raise ViewerError(
            f"The case {case.path} has no vessel trees to draw; build it with vessels among its structures."
        )
    both = np.concatenate([_view(case, view) for view in ("anterior", "inferior")], axis=1)
    with whole_or_nothing(path, ViewerError) as partial:
        Image.fromarray(both).save(partial, quality=88)


def _view(case: Case, view: str) -> NDArray[np.uint8]:
    try:
        plotter = off_screen_plotter((2 * SIZE[0], 2 * SIZE[1]))
    except (RuntimeError, ImportError) as error:
        raise ViewerError(
            f"This machine cannot draw off screen ({error}); install libegl1, libgl1 and libgl1-mesa-dri."
        ) from error
    plotter.set_background(theme.BACKGROUND, top=theme.BACKGROUND_TOP)
    points = [tree.points for tree in case.vessels.values()]
    for name, tree in case.vessels.items():
        add_surface(plotter, tubes(tree), theme.colour_of(name), specular=0.4, specular_power=30.0)
    if case.segments is not None:
        points += [_add_segment(plotter, case.segments, name) for name in case.segments.structures]
    towards_eye, up = (np.array(axis) for axis in VIEWS[view])
    View(np.concatenate(points), towards_eye, up).apply(plotter.camera, SIZE)
    plotter.add_text(view.capitalize(), position="upper_left", font_size=22, color=theme.MUTED)
    for number, name in enumerate(case.vessels):
        plotter.add_text(
            theme.title_of(name), position=(24, 24 + 48 * number), font_size=18, color=theme.colour_of(name)
        )
    # Seen from the front or from below the patient's right is on the left.
    plotter.add_text("R", position=(24, SIZE[1]), font_size=22, color=theme.TEXT)
    plotter.add_text("L", position=(2 * SIZE[0] - 64, SIZE[1]), font_size=22, color=theme.TEXT)
    plotter.renderer.ResetCameraClippingRange()
    large = np.asarray(plotter.screenshot(return_img=True), dtype=np.uint16)
    plotter.close()
    return ((large.reshape(SIZE[1], 2, SIZE[0], 2, 3).sum(axis=(1, 3)) + 2) // 4).astype(np.uint8)


def _add_segment(plotter: Plotter, segments: LabelMap, name: str) -> NDArray[np.float64]:
    """Draw one segment with its numeral; gives its points, LPS mm."""
    surface = show_surface(segments, name, target_triangles=_TRIANGLES)
    faces: Any = surface.triangles
    mesh = pv.PolyData.from_regular_faces(surface.points, faces)
    colour = theme.colour_of(name)
    add_surface(
        plotter, mesh.compute_normals(split_vertices=False), colour,
        opacity=_LIGHT.opacity, specular=_LIGHT.specular, specular_power=_LIGHT.gloss,
    )  # fmt: skip
    plotter.add_point_labels(
        surface.points.mean(axis=0)[None], [numeral(name)], font_size=44, text_color=theme.TEXT, shape=None,
        show_points=False, always_visible=True, bold=True,
    )  # fmt: skip
    return np.asarray(surface.points)


def tubes(tree: VesselTree) -> pv.PolyData:
    """Tubes of a tree's calibre, one a branch, LPS mm."""
    parts = []
    for branch in tree.branches:
        line = pv.lines_from_points(tree.points[branch.nodes])
        # A branch begins as wide as itself, not as the vessel that it leaves.
        radius = tree.radius[branch.nodes].copy()
        radius[0] = radius[1]
        line["radius"] = np.maximum(radius, _LEAST_RADIUS_MM)
        parts.append(line.tube(scalars="radius", absolute=True, n_sides=12, capping=True))
    merged = pv.merge(parts) if len(parts) > 1 else parts[0]
    return merged.extract_surface(algorithm=None) if not isinstance(merged, pv.PolyData) else merged
