"""A picture of a tetrahedral mesh cut open, whole tetrahedra kept, so that its inside can be judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyvista as pv
from numpy.typing import NDArray
from PIL import Image

from anatomy.files import whole_or_nothing
from anatomy.mesh import OrganMesh, unpaired_facets
from viewer import theme
from viewer.drawing import Plotter, off_screen_plotter
from viewer.errors import ViewerError


def mesh_cutaway(
    organ: OrganMesh,
    path: str | Path | None = None,
    size: tuple[int, int] = (1400, 900),
    normal: tuple[float, float, float] = (0.0, -1.0, 0.25),
) -> NDArray[np.uint8]:
    """Draw a mesh with the half in front of its middle taken away.

    Parameters
    ----------
    organ : OrganMesh
        The mesh, LPS mm.
    path : str or Path, optional
        PNG or JPEG file to write, whole or not at all.
    size : tuple of int
        Width and height in pixels.
    normal : tuple of float
        Out of the cut towards the eye, LPS; from the patient's front and a little from above by default.

    Returns
    -------
    ndarray, shape (height, width, 3), uint8

    Raises
    ------
    ViewerError
        If this machine cannot draw off screen.
    """
    towards = np.array(normal) / np.linalg.norm(normal)
    centroid = organ.points[organ.tets].mean(axis=1)
    middle = np.average(centroid, axis=0, weights=organ.tet_volumes)
    kept = (centroid - middle) @ towards < 0
    facets, behind = unpaired_facets(organ.tets[kept])
    region = organ.region[kept][behind]
    try:
        plotter = off_screen_plotter((2 * size[0], 2 * size[1]))
        plotter.set_background("white")
        for value in np.unique(region).tolist():
            faces: Any = facets[region == value]
            mesh = pv.PolyData.from_regular_faces(organ.points, faces)
            plotter.add_mesh(
                mesh,
                color=theme.colour_of(organ.structures[value]),
                show_edges=True,
                edge_color="#2b3640",
                line_width=1.2,
                ambient=0.35,
                diffuse=0.7,
                specular=0.0,
                smooth_shading=False,
            )
        plotter.view_vector(towards, viewup=(0.0, 0.0, 1.0))
        _fill(plotter, organ.points[organ.tets[kept]].reshape(-1, 3), towards, size)
        large = np.asarray(plotter.screenshot(return_img=True), dtype=np.uint16)
        plotter.close()
    except (RuntimeError, ImportError) as error:
        raise ViewerError(
            f"This machine cannot draw off screen ({error}); install libegl1, libgl1 and libgl1-mesa-dri."
        ) from error
    smooth = ((large.reshape(size[1], 2, size[0], 2, 3).sum(axis=(1, 3)) + 2) // 4).astype(np.uint8)
    if path is not None:
        form = "JPEG" if Path(path).suffix.lower() in (".jpg", ".jpeg") else "PNG"
        with whole_or_nothing(Path(path), ViewerError) as partial:
            Image.fromarray(smooth).save(partial, format=form, quality=86)
    return smooth


def _fill(
    plotter: Plotter, points: NDArray[np.float64], towards: NDArray[np.float64], size: tuple[int, int]
) -> None:
    """Let points (n, 3) mm fill the picture, seen without perspective."""
    right = np.cross((0.0, 0.0, 1.0), towards)
    right /= np.linalg.norm(right)
    up = np.cross(towards, right)
    x, y = points @ right, points @ up
    middle = 0.5 * ((x.min() + x.max()) * right + (y.min() + y.max()) * up)
    middle = middle + (points @ towards).mean() * towards
    camera = plotter.camera
    camera.parallel_projection = True
    camera.focal_point = middle.tolist()
    camera.position = (middle + 2.0 * np.ptp(points, axis=0).max() * towards).tolist()
    camera.up = (0.0, 0.0, 1.0)
    camera.parallel_scale = 0.53 * max(np.ptp(y), np.ptp(x) * size[1] / size[0])
    plotter.reset_camera_clipping_range()
