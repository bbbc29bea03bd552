"""Scene: what is drawn of a case, without any window toolkit.

State goes in (a frame's displacement and forces, what is held, what is visible), actors come out. The same scene
draws in the desktop window, off screen for pictures, and for every frame of a movie: `attach` puts its actors on
any PyVista plotter. Opaque structures are drawn first, then the parenchyma over them as one culled, translucent
skin whose rim is denser than its face (as glass is), which needs no sorting and so no depth peeling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyvista as pv
from numpy.typing import NDArray

from anatomy.embedding import Embedding
from anatomy.mesh import OrganMesh
from solver.frame import Frame
from twin.margins import cut_faces as cut_facets
from viewer import quality, theme
from viewer.camera import view_of
from viewer.cut_surfaces import Tie, cut_faces, cut_surface
from viewer.drawing import Plotter, add_surface
from viewer.dressing import Dressing
from viewer.errors import ViewerError
from viewer.grasper import Grasper
from viewer.overlays import Hud, OrientationCube, ScaleBar
from viewer.picking import Hit, Picker
from viewer.props import Props, SpecimenOnSide, beside
from viewer.skin import Skin

# What tissue looks like that has lost its inflow, its outflow, or its life.
_BLOODLESS, _CONGESTED, _DEAD = (0.42, 0.33, 0.50), (0.36, 0.08, 0.16), (0.90, 0.85, 0.76)
# A surface whose points lie farther than this from the meshed tissue (median, mm) is a neighbour, not a part.
_CARRIED_WITHIN_MM = 3.0
_MARK_MM = 1.6


class ShownSurface(Protocol):
    """A surface for showing."""

    @property
    def points(self) -> NDArray[np.float64]:
        """Vertices (k, 3), LPS mm."""

    @property
    def triangles(self) -> NDArray[np.int64]:
        """Vertex indices (t, 3), normals outward."""


class ShownCase(Protocol):
    """What the scene needs of a case."""

    @property
    def title(self) -> str:
        """What a person calls it."""

    @property
    def organ(self) -> OrganMesh:
        """The mechanical mesh, mm."""

    @property
    def surfaces(self) -> Mapping[str, ShownSurface]:
        """Shown surface of each structure."""


@dataclass
class Appearance:
    """What a person has chosen for one structure."""

    visible: bool
    opacity: float


@dataclass
class Reading:
    """The numbers of the present frame, as shown to a person."""

    time_s: float = 0.0
    force_N: float = 0.0
    displacement_mm: float = 0.0
    distance_mm: float = 0.0
    residual: float = 0.0
    state: str = "converged"
    frames_per_s: float | None = None
    note: str = ""
    forces_N: dict[str, float] = field(default_factory=dict)


class Scene:
    """A case as it looks now.

    Parameters
    ----------
    case : ShownCase
        Title, organ mesh and shown surfaces.
    hud : bool
        Whether the numbers are written into the picture (the window writes them beside it instead).

    Raises
    ------
    ViewerError
        If the case has no surface to show.
    """

    def __init__(self, case: ShownCase, hud: bool = True) -> None:
        if not case.surfaces:
            raise ViewerError(
                f"The case '{case.title}' has no surface to show; build it again from its scan."
            )
        self.case = case
        self.reading = Reading()
        self.picker = Picker()
        self.graspers: dict[str, Grasper] = {}
        self.main = main_structure(case)
        self.skins, self._carriers = _skins(case)
        self._whole = self.skins
        self.organ, self.topology = case.organ, 0
        # Cut faces, by the structure behind them.
        self.faces: dict[str, Skin] = {}
        self.specimens: list[SpecimenOnSide] = []
        self._seen_specimens: tuple[object, ...] = ()
        self._props: Props | None = None
        self.appearance = {name: Appearance(True, self._look(name).opacity) for name in self.skins}
        self._reachable = reachable_structures(case.organ)
        self._actors: dict[str, pv.Actor] = {}
        self._face_actors: dict[str, pv.Actor] = {}
        self._aside: list[pv.Actor] = []
        self._wall: pv.Actor | None = None
        self._marks: pv.Actor | None = None
        self._plotter: Plotter | None = None
        self.overlays = (OrientationCube(), ScaleBar())
        self._hud = Hud() if hud else None

    def _look(self, name: str) -> theme.Look:
        return theme.PARENCHYMA if name == self.main else theme.look_of(name)

    # What is drawn -------------------------------------------------------------------------------------

    def attach(self, plotter: Plotter, preset: quality.Quality | None = None) -> None:
        """Draw on a plotter from now on.

        Parameters
        ----------
        plotter : pyvista.BasePlotter
            Off-screen plotter or Qt interactor.
        preset : Quality, optional
            Chosen from the driver's report when absent.
        """
        self._plotter = plotter
        quality.apply(preset or quality.suited_to(plotter), plotter)
        plotter.set_background(theme.BACKGROUND, top=theme.BACKGROUND_TOP)
        _light(plotter)
        self._draw_skins(plotter)
        self._props = Props(plotter)
        for overlay in self.overlays:
            overlay.attach(plotter)
        if self._hud is not None:
            self._hud.attach(plotter)
        for grasper in self.graspers.values():
            grasper.attach(plotter)
        self.look_from("surgeon")
        self._refresh()

    def _draw_skins(self, plotter: Plotter) -> None:
        """Put the surfaces as they are tied now on the plotter, in place of what is there."""
        for actor in (self._wall, *self._actors.values(), *self._face_actors.values()):
            if actor is not None:
                plotter.remove_actor(actor, render=False, reset_camera=False)
        self._actors.clear()
        self._wall = _add_inner_wall(plotter, self.skins[self.main])
        self._face_actors = {name: self._add_face(plotter, name) for name in self.faces}
        for name in sorted(self.skins, key=lambda name: name == self.main):
            if len(self.skins[name].triangles):  # nothing is left of what was taken out
                self._actors[name] = self._add_skin(plotter, name)
                self._appear(name)

    def _add_face(self, plotter: Plotter, name: str) -> pv.Actor:
        return self._add_cut(plotter, self.faces[name])

    def _add_cut(self, plotter: Plotter, face: Skin) -> pv.Actor:
        red, green, blue = theme.colour_of(face.name)
        colour = (0.80 * red, 0.62 * green, 0.62 * blue)  # wet and bleeding
        return add_surface(plotter, face.mesh, colour, specular=0.35, specular_power=18.0, ambient=0.12)

    def _add_skin(self, plotter: Plotter, name: str) -> pv.Actor:
        look = self._look(name)
        colour = theme.colour_of(name)
        actor = add_surface(
            plotter,
            self.skins[name].mesh,
            colour,
            name=name,
            specular=look.specular,
            specular_power=look.gloss,
            ambient=0.08,
            diffuse=0.95,
        )
        if name == self.main:
            _densify_rim(actor)
        return actor

    def _appear(self, name: str) -> None:
        """Bring the actors of a structure in line with what was chosen for it."""
        chosen = self.appearance[name]
        shown, clear = chosen.visible and chosen.opacity > 0.0, chosen.opacity < 1.0
        actor = self._actors[name]
        actor.SetVisibility(shown)
        actor.prop.opacity = chosen.opacity
        actor.prop.culling = "back" if clear else "none"
        if name in self._face_actors:
            self._face_actors[name].SetVisibility(shown)
        if name == self.main and self._wall is not None:
            self._wall.SetVisibility(shown and clear)
            self._wall.prop.opacity = min(1.0, chosen.opacity / theme.PARENCHYMA.opacity)

    def show_structure(self, name: str, visible: bool | None = None, opacity: float | None = None) -> None:
        """Show or hide a structure, or let more light through it (`opacity` 0 to 1)."""
        chosen = self.appearance[name]
        if visible is not None:
            chosen.visible = visible
        if opacity is not None:
            chosen.opacity = float(np.clip(opacity, 0.0, 1.0))
        if name in self._actors:
            self._appear(name)

    def look_from(self, view: str) -> None:
        """Turn the camera to a named view (`viewer.camera.VIEWS`) that fits everything visible."""
        if self._plotter is None:
            return
        shown = [skin.rest for skin in self._visible()]
        shown += [skin.points for one in self.specimens for skin in one.skins]
        points = np.concatenate(shown or [self.skins[self.main].rest])
        width, height = (max(side, 1) for side in self._plotter.window_size)
        view_of(view, points).apply(self._plotter.camera, (width, height))
        self._plotter.renderer.ResetCameraClippingRange()

    # State in ------------------------------------------------------------------------------------------

    def remesh(self, topology: int, organ: OrganMesh, raw: NDArray[np.int64]) -> None:
        """Tie everything to another mesh; frames of that topology can be shown from then on.

        Parameters
        ----------
        topology : int
            Its number, of `Frame.topology`.
        organ : OrganMesh
            The mesh, in the scanned shape.
        raw : ndarray, shape (k, 3), int64
            Its cut faces.
        """
        if topology == self.topology:
            return
        self.topology, self.organ = topology, organ
        for tool in list(self.graspers):
            self.release(tool)
        if organ is self.case.organ:
            self.skins, self.faces = self._whole, {}
        else:
            tie = Tie(self.case.organ, organ, raw)
            self.skins = {name: self._tied(name, skin, tie) for name, skin in self._whole.items()}
            faces = cut_faces(organ, raw)
            self.faces = {n: Skin(n, f.points, f.triangles, f.weights) for n, f in faces.items()}
        self._reachable = reachable_structures(organ)
        if self._plotter is not None:
            self._draw_skins(self._plotter)

    def _tied(self, name: str, skin: Skin, tie: Tie) -> Skin:
        if not skin.carried:
            return skin
        surface = self.case.surfaces[name]
        points = np.asarray(surface.points, dtype=np.float64)
        shown = cut_surface(points, surface.triangles, *self._carriers[name], tie)
        return Skin(name, shown.points, shown.triangles, shown.weights)

    def dress(self, dressing: Dressing, time_s: float, dead: NDArray[np.float64] | None = None) -> None:
        """Show instruments and specimens, and the state of the tissue.

        Parameters
        ----------
        dressing : Dressing
            Of the mesh the scene is tied to.
        time_s : float
            Of the rehearsal: specimens glide aside.
        dead : ndarray, shape (n,), optional
            Thermal damage integral at the mesh's vertices; 1 is dead.
        """
        if self._plotter is None or self._props is None:
            return
        self._props.show(dressing)
        if dressing.specimens != self._seen_specimens:
            self._lay_aside(dressing)
        for specimen in self.specimens:
            specimen.move(time_s)
        self._tint(dressing, dead)

    def _lay_aside(self, dressing: Dressing) -> None:
        """Draw the specimens of a dressing beside the organ, each as it came out."""
        for actor in self._aside:
            self._plotter.remove_actor(actor, render=False, reset_camera=False)
        self._aside, self.specimens = [], []
        self._seen_specimens = dressing.specimens
        camera = self._plotter.camera
        away = np.subtract(camera.position, camera.focal_point)
        up = np.asarray(camera.up, dtype=np.float64)
        right = np.cross(up, away)
        right /= np.linalg.norm(right)
        others = np.concatenate([self.skins[n].points for n in self.skins if len(self.skins[n].triangles)])
        others = others.astype(np.float64)
        for one in dressing.specimens:
            facets = cut_facets(one.organ, self.case.organ)
            tie = Tie(self.case.organ, one.organ, facets)
            skins = [self._tied(n, skin, tie) for n, skin in self._whole.items() if skin.carried]
            faces = cut_faces(one.organ, facets)
            raw = {n: Skin(n, f.points, f.triangles, f.weights) for n, f in faces.items()}
            piece = SpecimenOnSide([*skins, *raw.values()], one.displacement, one.time_s)
            piece.away_mm = beside(piece.points, others, right, up)
            others = np.concatenate([others, piece.points + piece.away_mm])
            self.specimens.append(piece)
            for skin in piece.skins:
                if skin in raw.values():
                    actor = self._add_cut(self._plotter, skin)
                else:
                    look = self._look(skin.name)
                    actor = add_surface(
                        self._plotter, skin.mesh, theme.colour_of(skin.name), specular=look.specular,
                        specular_power=look.gloss, ambient=0.08, diffuse=0.95, opacity=look.opacity,
                        culling="back" if look.opacity < 1.0 else "none",
                    )  # fmt: skip
                self._aside.append(actor)

    def _tint(self, dressing: Dressing, dead: NDArray[np.float64] | None) -> None:
        """Colour the surfaces by what has become of the tissue beneath."""
        shares = [
            (vertex_share(self.organ, dressing.bloodless), _BLOODLESS),
            (vertex_share(self.organ, dressing.congested), _CONGESTED),
            (None if dead is None else np.clip(1.0 - np.exp(-dead), 0.0, 1.0), _DEAD),
        ]
        seen = [(values, colour) for values, colour in shares if values is not None and values.any()]
        groups = ((self.skins, self._actors, 1.0), (self.faces, self._face_actors, 0.75))
        for skins, actors, light in groups:
            for name, actor in actors.items():
                if skins[name].carried and (seen or actor.mapper.scalar_visibility):
                    skins[name].tint(
                        np.asarray(actor.prop.color.float_rgb), [(v, light * np.asarray(c)) for v, c in seen]
                    )
                    actor.mapper.color_mode = "direct"
                    actor.mapper.scalar_visibility = bool(seen)

    def update(self, frame: Frame) -> None:
        """Move everything to a solver frame, in place.

        Parameters
        ----------
        frame : Frame
            `displacement` (n, 3) float32 mm from the scanned shape, `forces_N` {tool: (3,)} on the tissue.
        """
        for skin in (*self.skins.values(), *self.faces.values()):
            skin.move(frame.displacement)
        moved = float(np.sqrt(np.einsum("ij,ij->i", frame.displacement, frame.displacement).max()))
        forces = {tool: float(np.linalg.norm(force)) for tool, force in frame.forces_N.items()}
        self.reading.time_s = float(frame.time_s)
        self.reading.displacement_mm = moved
        self.reading.forces_N = forces
        self.reading.force_N = max(forces.values(), default=0.0)
        self.reading.distance_mm = float(frame.distance_mm)
        self.reading.residual = float(frame.residual)
        self.reading.state = str(frame.state)
        for tool, grasper in self.graspers.items():
            grasper.follow(frame.forces_N.get(tool))
        self._refresh()

    def grasp(self, tool: str, point_mm: NDArray[np.float64], radius_mm: float) -> None:
        """Show a tool closed on the tissue within `radius_mm` of a point of the present shape (LPS mm)."""
        self.release(tool)
        grasper = Grasper(tool, self._graspable(), np.asarray(point_mm, dtype=np.float64), radius_mm)
        self.graspers[tool] = grasper
        if self._plotter is not None:
            grasper.attach(self._plotter)

    def release(self, tool: str) -> None:
        """Take a tool away; no matter if it holds nothing."""
        grasper = self.graspers.pop(tool, None)
        if grasper is not None and self._plotter is not None:
            grasper.detach(self._plotter)

    def rest(self) -> None:
        """Put everything back to the scanned shape, nothing held."""
        for tool in list(self.graspers):
            self.release(tool)
        nothing = np.zeros_like(self.organ.points, dtype=np.float32)
        for skin in (*self.skins.values(), *self.faces.values()):
            skin.move(nothing)
        self.reading = Reading(frames_per_s=self.reading.frames_per_s)
        self._refresh()

    def annotate(self, note: str = "", frames_per_s: float | None = None) -> None:
        """Write a line of text (what is being done) and the frame rate into the display."""
        self.reading.note = note
        self.reading.frames_per_s = frames_per_s
        self._refresh()

    def _refresh(self) -> None:
        if self._hud is not None:
            self._hud.write(self.case.title, self.reading)

    # What a person points at ---------------------------------------------------------------------------

    def pick(self, origin_mm: NDArray[np.float64], end_mm: NDArray[np.float64]) -> Hit | None:
        """Return where a ray first meets a visible surface that can be grasped, or None."""
        return self.picker.pick(
            (s for s in self._graspable() if self.appearance[s.name].visible), origin_mm, end_mm
        )

    def pick_inside(self, origin_mm: NDArray[np.float64], end_mm: NDArray[np.float64]) -> Hit | None:
        """Return where a ray first meets what is seen inside the organ, a vessel or a tumour; else as `pick`."""
        inner = [skin for skin in self._visible() if skin.name != self.main and len(skin.triangles)]
        return self.picker.pick(inner, origin_mm, end_mm) or self.pick(origin_mm, end_mm)

    def mark(self, points_mm: Sequence[NDArray[np.float64]], joined: bool = False) -> None:
        """Show points that were pointed at (LPS mm, present shape), joined by a line or not; none takes them away."""
        if self._plotter is None:
            return
        if self._marks is not None:
            self._plotter.remove_actor(self._marks, render=False, reset_camera=False)
            self._marks = None
        if len(points_mm):
            drawn = pv.PolyData(np.asarray(points_mm, dtype=np.float64)).glyph(
                geom=pv.Sphere(radius=_MARK_MM), scale=False, orient=False
            )
            if joined and len(points_mm) > 1:
                drawn = drawn.merge(pv.lines_from_points(np.asarray(points_mm)).tube(radius=0.6 * _MARK_MM))
            self._marks = add_surface(self._plotter, drawn.extract_surface(), theme.HELD, ambient=0.4)

    def _graspable(self) -> list[Skin]:
        reached = [
            skin for skin in self.skins.values() if skin.name in self._reachable and len(skin.triangles)
        ]
        return [*reached, *self.faces.values()]

    def _visible(self) -> list[Skin]:
        return [self.skins[name] for name, chosen in self.appearance.items() if chosen.visible]


def _skins(
    case: ShownCase,
) -> tuple[dict[str, Skin], dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]]:
    """Tie the surfaces to the mesh, all points at once; one that lies outside the tissue stands still.

    Returns the skins, and of each their points' tetrahedra and distances from the mesh, mm.
    """
    names = list(case.surfaces)
    points = [np.asarray(case.surfaces[name].points, dtype=np.float64) for name in names]
    embedding = Embedding(case.organ, np.concatenate(points))
    ends = np.cumsum([0, *map(len, points)])
    skins, carriers = {}, {}
    for i, name in enumerate(names):
        rows = slice(ends[i], ends[i + 1])
        carried = np.median(embedding.outside_mm[rows]) <= _CARRIED_WITHIN_MM
        weights = embedding.matrix[rows] if carried else None
        skins[name] = Skin(name, points[i], case.surfaces[name].triangles, weights)
        carriers[name] = embedding.tet[rows], embedding.outside_mm[rows]
    return skins, carriers


def main_structure(case: ShownCase) -> str:
    """Name of the structure the case is about: of the shown ones, the largest in the mesh by volume."""
    volumes = case.organ.volumes_ml
    return max(case.surfaces, key=lambda name: volumes.get(name, 0.0))


def reachable_structures(organ: OrganMesh) -> set[str]:
    """Names of the structures with a side that a tool can reach: what lies wholly inside another has none."""
    facets = np.bincount(organ.region[organ.exterior_tets], minlength=256)
    return {name for value, name in organ.structures.items() if facets[value]}


def vertex_share(organ: OrganMesh, tets: NDArray[np.bool_] | None) -> NDArray[np.float64] | None:
    """Share of the tissue around each vertex, by volume, that lies in some tetrahedra; None where there are none."""
    if tets is None or len(tets) != len(organ.tets):
        return None
    corners, volume = organ.tets.ravel(), np.repeat(organ.tet_volumes, 4)
    count = len(organ.points)
    around = np.bincount(corners, volume, minlength=count)
    inside = np.bincount(corners, volume * np.repeat(tets, 4), minlength=count)
    return np.asarray(inside / np.maximum(around, 1e-300))


def _light(plotter: Plotter) -> None:
    """Set a theatre lamp by the surgeon's head, a soft fill from the other side and a rim from behind."""
    plotter.remove_all_lights()
    for place, strength in (((-0.45, 0.7, 1.0), 0.92), ((0.9, -0.2, 0.8), 0.40), ((0.1, 0.7, -1.0), 0.30)):
        lamp = pv.Light(position=place, focal_point=(0, 0, 0), intensity=strength, light_type="camera light")
        plotter.add_light(lamp)


def _add_inner_wall(plotter: Plotter, skin: Skin) -> pv.Actor:
    """Draw the far inside of a translucent organ, opaque and darker, so that what is in it stands before tissue."""
    red, green, blue = theme.colour_of(skin.name)
    colour = (0.62 * red, 0.62 * green, 0.62 * blue)
    return add_surface(plotter, skin.mesh, colour, culling="front", ambient=0.12, specular=0.0)


def _densify_rim(actor: pv.Actor) -> None:
    """Let a translucent skin stop more light where it is seen edge on, as a real translucent body does."""
    actor.GetShaderProperty().AddFragmentShaderReplacement(
        "//VTK::Light::Impl",
        True,
        "//VTK::Light::Impl\n"
        "  if (fragOutput0.a < 0.995) {\n"
        "    float edgeOn = 1.0 - abs(normalVCVSOutput.z);\n"
        "    fragOutput0.a = clamp(fragOutput0.a * (0.55 + 1.6 * edgeOn * edgeOn) + 0.15 * edgeOn, 0.0, 1.0);\n"
        "  }\n",
        False,
    )
