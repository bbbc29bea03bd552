"""Recording: what is kept of every frame of a replay so that it can be drawn afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from anatomy.mesh import OrganMesh
from solver.field import FieldSnapshot, OperativeField
from solver.frame import Frame
from viewer.dressing import Dressing
from viewer.scene import Scene


@dataclass(frozen=True, eq=False)
class Moment:
    """One frame with all that is to be seen in it.

    Parameters
    ----------
    frame : Frame
    tools : dict of str to ndarray, shape (3,)
        Where every tool is that holds tissue, LPS mm.
    dressing : Dressing
    dead : ndarray, shape (n,), or None
        Thermal damage integral at the vertices.
    """

    frame: Frame
    tools: dict[str, NDArray[np.float64]]
    dressing: Dressing
    dead: NDArray[np.float64] | None


@dataclass(eq=False)
class Recording:
    """What is kept of a replay, and the state at the largest displacement.

    Parameters
    ----------
    field : OperativeField

    Attributes
    ----------
    moments : list of Moment
    meshes : dict of int to (OrganMesh, ndarray)
        Mesh of each topology in the scanned shape, and its cut faces (k, 3).
    peak : FieldSnapshot or None
        State of the frame in which every tool holds and the tissue is farthest from where it was scanned.
    peak_frame : int
    """

    field: OperativeField
    moments: list[Moment] = field(default_factory=list)
    meshes: dict[int, tuple[OrganMesh, NDArray[np.int64]]] = field(default_factory=dict)
    peak: FieldSnapshot | None = None
    peak_frame: int = 0
    _farthest: float = -1.0

    def __call__(self, frame: Frame) -> None:
        """Keep a frame."""
        live = self.field.live
        if frame.topology not in self.meshes:
            self.meshes[frame.topology] = live.body.organ, live.body.raw
        before = self.moments[-1].dressing if self.moments else None
        tools = {name: position.copy() for name, position in live.tools.items()}
        dead = self.field.vertex_data.get("thermal_damage")
        self.moments.append(Moment(frame, tools, Dressing.of(self.field, before), dead))
        if {name for name in frame.forces_N if name not in self.field.live.loads} - live.tools.keys():
            return  # a tool is letting go: its force is no held displacement that a reference solve could take
        farthest = float(np.einsum("ij,ij->i", frame.displacement, frame.displacement).max())
        if farthest > self._farthest:
            self._farthest, self.peak_frame = farthest, len(self.moments) - 1
            self.peak = self.field.snapshot()


class Show:
    """Puts recorded moments on a scene: tissue, tools, specimens and the words of the act.

    Parameters
    ----------
    scene : Scene
        Attached to a plotter.
    recording : Recording
    radius_mm : dict of str to float
        Of the grasp of each tool.
    """

    def __init__(self, scene: Scene, recording: Recording, radius_mm: dict[str, float]) -> None:
        self._scene, self._recording, self._radius = scene, recording, radius_mm
        self._held: set[str] = set()

    def fit(self, view: str) -> None:
        """Turn the camera to a view that fits what is seen at the beginning and at the end."""
        self.moment(len(self._recording.moments) - 1)
        self._scene.look_from(view)
        self.moment(0)

    def moment(self, number: int, words: str = "") -> None:
        """Show a moment."""
        moment, scene = self._recording.moments[number], self._scene
        frame, tools = moment.frame, moment.tools
        if frame.topology != scene.topology:
            scene.remesh(frame.topology, *self._recording.meshes[frame.topology])
            self._held = set()
        for tool in self._held - tools.keys():
            scene.release(tool)
        scene.update(frame)
        for tool in sorted(tools.keys() - self._held):
            scene.grasp(tool, tools[tool], self._radius[tool])
        self._held = set(tools)
        scene.dress(moment.dressing, frame.time_s, moment.dead)
        scene.annotate(words)
