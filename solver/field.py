"""OperativeField: what a surgeon operates on: the live tissue, what is carried with it, and what was done to it.

Every act works on the field. The live tissue (`field.live`) answers at once; vessels, territories, temperatures
and whatever else is known of places in the organ ride on its vertices or tetrahedra and follow every change of
topology (`TopologyChange`). Things that go on in time beside the mechanics, such as an ablation, are processes.
Nothing in the field is ever written into: arrays, events and processes are replaced. A snapshot is therefore a few
references, and to go back is to put them back; the hash of a state does not know how it was reached.

A change of topology (`OperativeField.change`) reaches everything at the same moment. In real time, that is once
steps have a time budget, the tissue on the new mesh is made ready in another thread while frames go on with the old
one, and is adopted at the beginning of the first step after that; otherwise it is there at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from anatomy.lattice.topology import edges_of
from anatomy.mesh import OrganMesh
from solver.cutting.incision import FLOOR
from solver.digest import digest_of
from solver.effort import Effort
from solver.errors import SolverError
from solver.event import Event
from solver.limits import StrengthWatch
from solver.live_motion import Motion
from solver.live_relaxation import LiveRelaxation
from solver.self_contact import SelfContact
from solver.specimen import Division, Specimen, divide, specimens_of
from solver.topology import TopologyChange

if TYPE_CHECKING:
    from solver.frame import Frame
    from solver.interactive import Interactive
    from solver.snapshot import Snapshot
    from solver.successor import Successor

Array = NDArray[np.float64]

#: Length of a time step of tissue that moves, s; and most of them in a frame that has a time budget.
STEP_S, MOST_STEPS = 1.0 / 60.0, 4
NO_EFFORT = Effort()
#: Name of the load that keeps cut faces from passing through each other.
CUT_FACES = "cut faces"


class Process(Protocol):
    """Something that goes on in time beside the mechanics; a value that is replaced."""

    def advanced(self, operated: OperativeField, seconds: float) -> Process:
        """The process after some more time; may change the field's data and tell events."""
        ...

    def carried(self, change: TopologyChange) -> Process:
        """The process on another topology."""
        ...


class Carried(Protocol):
    """Something that rides on the tissue and follows its topology, such as a vessel tree; a value."""

    def carried(self, change: TopologyChange) -> Carried:
        """The same on the mesh after a change."""
        ...

    def digest(self) -> bytes:
        """What the hash of a state takes in of it."""
        ...


@dataclass(frozen=True, eq=False)
class Waiting:
    """A change that is being made ready beside the frames, and who is to be told when it is there."""

    dividing: Future[Division | None]
    making: Future[Successor | None]
    told: Callable[[TopologyChange], None]


@dataclass(frozen=True, eq=False)
class FieldSnapshot:
    """What `OperativeField.restore` needs to go back."""

    live: Snapshot
    tet_data: Mapping[str, NDArray[Any]]
    vertex_data: Mapping[str, NDArray[Any]]
    vessels: Mapping[str, Any]
    events: tuple[Event, ...]
    specimens: tuple[Specimen, ...]
    processes: Mapping[str, Process]
    waiting: Waiting | None = None
    pace: tuple[float, float] = (0.0, 0.0)
    effort: Effort = NO_EFFORT


class OperativeField:
    """The live tissue and all that rides on it.

    Parameters
    ----------
    live : Interactive
        Brought back to rest first.
    vessels : mapping of str to Carried, optional
        Vessel trees by system, carried by the tissue.
    tet_data : mapping of str to ndarray, shape (m, ...), optional
        What is known of tetrahedra, such as the branch that feeds each.
    vertex_data : mapping of str to ndarray, shape (n, ...), optional
        What is known at vertices.
    processes : mapping of str to Process, optional
        What goes on from the beginning, such as the circulation.
    cut_faces_touch : bool
        Whether cut faces that close again press on each other (`solver.self_contact`). Off unless asked for: with
        sutures drawn tight over a cut the iterations may not come to rest.

    Attributes
    ----------
    whole_ml : float
        Volume of the whole mesh before anything was taken out, ml.
    """

    def __init__(
        self,
        live: Interactive,
        vessels: Mapping[str, Any] | None = None,
        tet_data: Mapping[str, NDArray[Any]] | None = None,
        vertex_data: Mapping[str, NDArray[Any]] | None = None,
        processes: Mapping[str, Process] | None = None,
        cut_faces_touch: bool = False,
    ) -> None:
        live.reset()
        self.live = live
        self.vessels: dict[str, Any] = dict(vessels or {})
        self.tet_data: dict[str, NDArray[Any]] = dict(tet_data or {})
        self.vertex_data: dict[str, NDArray[Any]] = dict(vertex_data or {})
        self.events: tuple[Event, ...] = ()
        self.specimens: tuple[Specimen, ...] = ()
        self.processes: dict[str, Process] = {"strength": StrengthWatch.new(), **(processes or {})}
        self.effort = Effort()
        self.cut_faces_touch = cut_faces_touch
        self.whole_ml = float(self.organ.tet_volumes.sum()) / 1000.0
        self._real_time = False
        # Length of a time step of tissue that moves, s, 0 where it is quasi-static; and time that is still to pass.
        self._step_s = self._owed_s = 0.0
        self._waiting: Waiting | None = None
        self._seen_held: tuple[Any, ...] = ()
        self._rest = self.snapshot()

    @property
    def organ(self) -> OrganMesh:
        """The mesh as it is now, in the scanned shape."""
        return self.live.body.organ

    @cached_property
    def floor_mm(self) -> float:
        """Shortest part of an edge that a cut leaves, the same however often the organ is cut."""
        edges, _ = edges_of(self._rest.live.body.organ.tets)
        points = self._rest.live.body.organ.points
        return FLOOR * float(np.linalg.norm(points[edges[:, 1]] - points[edges[:, 0]], axis=1).mean())

    def tell(self, kind: str, text: str, **values: Any) -> None:
        """Note something a surgeon must know; `values` are the numbers in the sentence."""
        self.events = (*self.events, Event(kind, self.live.time_s, text, values))

    def step(
        self, budget_s: float | None = None, iterations: int | None = None, advance_s: float = 0.0
    ) -> Frame:
        """Bring tissue and processes forward; arguments as of `Interactive.step`."""
        self._real_time = budget_s is not None
        if self._waiting is not None and (not self._real_time or self._waiting.making.done()):
            self.finish()
        if self._waiting is None:
            self._shed()
        for name in list(self.processes):
            self.processes[name] = self.processes[name].advanced(self, advance_s)
        frame, passed_s = self._stepped(budget_s, iterations, advance_s)
        if passed_s is not None:
            self.effort = self.effort.after(self.tools_mm, frame.forces_N, passed_s)
        return frame

    def _stepped(
        self, budget_s: float | None, iterations: int | None, advance_s: float
    ) -> tuple[Frame, float | None]:
        """Bring the tissue forward, in steps of one length where it moves in time.

        Returns
        -------
        frame : Frame
        passed_s : float or None
            Time that has passed in the tissue; None where it waits for the end of a step.
        """
        if not self._step_s:
            return self.live.step(budget_s=budget_s, iterations=iterations, advance_s=advance_s), advance_s
        self._owed_s += advance_s
        steps = int(self._owed_s / self._step_s + 1e-9)
        if not steps:
            # Not even the tools go on: what they did without time would be a jump the tissue's speed knows nothing of.
            return self.live.present(), None
        self._owed_s -= steps * self._step_s
        # Where the machine cannot keep up, time in the tissue passes more slowly instead of in longer steps.
        steps = steps if budget_s is None else min(steps, MOST_STEPS)
        share_s = None if budget_s is None else budget_s / steps
        for _ in range(steps):
            frame = self.live.step(budget_s=share_s, iterations=iterations, advance_s=self._step_s)
        return frame, steps * self._step_s

    @property
    def tools_mm(self) -> dict[str, Array]:
        """Where every tool is that holds or may touch tissue, by name, mm, LPS."""
        places = dict(self.live.tools)
        for load in self.live.loads.values():
            places.update(load.tools_mm())
        return places

    def move_in_time(self, step_s: float = STEP_S) -> None:
        """Let the tissue answer in time from now on, with inertia, viscosity and relaxation.

        Parameters
        ----------
        step_s : float
            Length of a time step, s, whatever the frame rate.
        """
        live = self.live
        self._step_s, self._owed_s = step_s, 0.0
        live.add_load("inertia", Motion.of(live.body, live.positions))
        relaxation = LiveRelaxation.of(live.body, live.positions)
        if relaxation is not None:
            live.add_load("relaxation", relaxation)

    def rest_at_once(self) -> None:
        """Let the tissue go from equilibrium to equilibrium again."""
        self._step_s = self._owed_s = 0.0
        for name in ("inertia", "relaxation"):
            if name in self.live.loads:
                self.live.remove_load(name)

    # ------------------------------------------------------------------ topology

    def change(self, change: TopologyChange | None, taken: NDArray[np.bool_] | None = None) -> None:
        """Go on on another mesh, with all that rides on it.

        Pieces that are taken out, or that neither an attachment nor a tool holds after the change, become
        specimens.

        Parameters
        ----------
        change : TopologyChange or None
            From the present mesh; None cuts nothing.
        taken : ndarray of bool, shape (m',), optional
            Tetrahedra of the mesh after the change to take out.

        Raises
        ------
        SolverError
            If nothing would stay, nothing would hold it, or the change folds the tissue; then nothing has changed.
            In real time such a refusal is told as an event "refused" instead, some frames later.
        """
        self.cut(lambda: (change, taken))

    def cut(
        self,
        making: Callable[[], tuple[TopologyChange | None, NDArray[np.bool_] | None]],
        told: Callable[[TopologyChange], None] = lambda change: None,
    ) -> None:
        """The same for a change that is yet to be made, in real time beside the frames.

        Parameters
        ----------
        making : callable
            Gives the arguments of `change`. In real time it is called in another thread, while the mesh stays as it
            is and the tissue goes on moving.
        told : callable
            Called with the cut, before pieces were taken away, when it has been carried out.
        """
        self.finish()
        body, held = self.live.body, self._held()
        if not self._real_time:
            division = divide(body, *making(), held)
            if division is not None:
                self._apply(division, told)
            return
        succeed = self.live.successor_maker()
        dividing = self.live.beside(lambda: divide(body, *making(), held))

        def make() -> Successor | None:
            division = dividing.result()
            return None if division is None else succeed(division.change, division.body)

        self._waiting = Waiting(dividing, self.live.beside(make), told)

    def _apply(self, division: Division, told: Callable[[TopologyChange], None]) -> None:
        following = self._following(division, told)
        self.live.change(division.change, division.body)
        following()

    def finish(self) -> None:
        """Wait for a change that is being made ready beside the frames, if there is one, and adopt it.

        A change that cannot be carried out, because it was refused or the tissue has moved so that it would fold, is
        told as an event "refused" and forgotten.
        """
        if self._waiting is None:
            return
        waiting, self._waiting = self._waiting, None
        try:
            division, successor = waiting.dividing.result(), waiting.making.result()
            if division is None or successor is None:
                return
            following = self._following(division, waiting.told)
            self.live.adopt(successor)
        except SolverError as error:
            self._refuse(error)
        else:
            following()

    def _refuse(self, error: SolverError) -> None:
        """Tell of a cut that could not be carried out after all."""
        self.tell("refused", f"The cut could not be carried out: {error}")

    def _following(self, division: Division, told: Callable[[TopologyChange], None]) -> Callable[[], None]:
        """Work out all that rides on the tissue after a change; returns what puts it in place, which cannot fail."""
        change = division.change
        out: tuple[Specimen, ...] = ()
        if division.gone.max() >= 0:
            place, now = self.live.displacement, self.live.time_s
            out = specimens_of(division, place, now, self.tet_data, self.vertex_data)
        tet_data = {name: change.of_tets(values) for name, values in self.tet_data.items()}
        vertex_data = {name: change.interpolate(values) for name, values in self.vertex_data.items()}
        vessels = {name: tree.carried(change) for name, tree in self.vessels.items()}
        processes = {name: process.carried(change) for name, process in self.processes.items()}

        def put() -> None:
            self.tet_data, self.vertex_data = tet_data, vertex_data
            self.vessels, self.processes = vessels, processes
            if self.cut_faces_touch and len(self.live.body.raw) and CUT_FACES not in self.live.loads:
                self.live.add_load(CUT_FACES, SelfContact.of(self.live.body))
            if division.whole is not None:
                told(division.whole)
            if out:
                self.specimens = (*self.specimens, *out)
                self._tell_specimens(out)

        return put

    def _tell_specimens(self, out: tuple[Specimen, ...]) -> None:
        millilitres = sum(specimen.volume_ml for specimen in out)
        share = 100.0 * millilitres / self.whole_ml
        volume = f"{millilitres:.3g}" if millilitres < 100.0 else f"{millilitres:.0f}"
        number = "" if len(out) == 1 else f" in {len(out)} pieces"
        self.tell(
            "specimen",
            f"{volume} ml was taken out{number}, {share:.3g} % of the whole.",
            volume_ml=millilitres,
            share_percent=share,
            pieces=len(out),
        )

    def _held(self) -> NDArray[np.int64]:
        """Vertices that tools hold."""
        held = [self.live.held_by(tool) for tool in self.live.tools]
        return np.concatenate([np.zeros(0, dtype=np.int64), *held])

    def _shed(self) -> None:
        """Take out what a tool or an attachment was the last to hold, once it is let go."""
        held = (self.live.topology, self.live.body.attachments, tuple(self.live.tools))
        if held != self._seen_held and self.live.body.components.any():
            self.change(None)
        self._seen_held = (self.live.topology, self.live.body.attachments, tuple(self.live.tools))

    # ------------------------------------------------------------------ states

    def snapshot(self) -> FieldSnapshot:
        """The present state."""
        return FieldSnapshot(
            self.live.snapshot(), dict(self.tet_data), dict(self.vertex_data), dict(self.vessels),
            self.events, self.specimens, dict(self.processes), self._waiting,
            (self._step_s, self._owed_s), self.effort,
        )  # fmt: skip

    def restore(self, snapshot: FieldSnapshot) -> None:
        """Go back to a state of this field."""
        self._waiting = None
        self.live.restore(snapshot.live)
        self.tet_data, self.vertex_data = dict(snapshot.tet_data), dict(snapshot.vertex_data)
        self.vessels = dict(snapshot.vessels)
        self.events, self.specimens = snapshot.events, snapshot.specimens
        self.processes = dict(snapshot.processes)
        self._step_s, self._owed_s = snapshot.pace
        self.effort = snapshot.effort
        if snapshot.waiting is not None:
            try:
                division = snapshot.waiting.dividing.result()
                if division is not None:
                    self._apply(division, snapshot.waiting.told)
            except SolverError as error:
                self._refuse(error)

    def reset(self) -> None:
        """Go back to where it all began."""
        self.restore(self._rest)

    def state_hash(self) -> str:
        """SHA-256 of the state: mesh, place and time, what tools and attachments hold, what acts on it and goes on
        beside it, what the tools have done, and what is known of it.

        A change that is being made ready is waited for.
        """
        self.finish()
        digest = hashlib.sha256(repr(self.live.time_s).encode())
        for tool, position in sorted(self.live.tools.items()):
            digest.update(tool.encode() + position.tobytes() + self.live.held_by(tool).tobytes())
        for what in (self.live.loads, self.processes, self.effort, self._step_s, self._owed_s):
            digest.update(digest_of(what))
        organ = self.organ
        for array in (organ.points, organ.tets, organ.region, self.live.displacement):
            digest.update(np.ascontiguousarray(array).tobytes())
        for attachment in self.live.body.attachments:
            digest.update(f"{attachment.name} {attachment.released}".encode())
        for data in (self.tet_data, self.vertex_data):
            for name in sorted(data):
                digest.update(name.encode())
                digest.update(np.ascontiguousarray(data[name]).tobytes())
        for name in sorted(self.vessels):
            digest.update(self.vessels[name].digest())
        for specimen in self.specimens:
            digest.update(np.ascontiguousarray(specimen.organ.points).tobytes() + digest_of(specimen))
        for event in self.events:
            digest.update(repr(event.to_json()).encode())
        return digest.hexdigest()
