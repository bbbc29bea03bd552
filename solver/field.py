"""OperativeField: what a surgeon operates on: the live tissue, what is carried with it, and what was done to it.

Every act works on the field. The live tissue (`field.live`) answers at once; vessels, territories, temperatures
and whatever else is known of places in the organ ride on its vertices or tetrahedra and follow every change of
topology (`TopologyChange`). Things that go on in time beside the mechanics, such as an ablation, are processes.
Nothing in the field is ever written into: arrays, events and processes are replaced. A snapshot is therefore a few
references, and to go back is to put them back; the hash of a state does not know how it was reached.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from anatomy.mesh import OrganMesh
from solver.effort import Effort
from solver.event import Event
from solver.limits import StrengthWatch
from solver.topology import TopologyChange

if TYPE_CHECKING:
    from solver.frame import Frame
    from solver.interactive import Interactive, Snapshot

Array = NDArray[np.float64]


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


@dataclass(frozen=True, eq=False)
class Specimen:
    """A piece that was taken out.

    Parameters
    ----------
    organ : OrganMesh
        The piece in the scanned shape, mm, LPS.
    displacement : ndarray, shape (n, 3), float64
        From there to where it was when it was taken out, mm.
    time_s : float
        Time of the rehearsal.
    tet_data, vertex_data : mapping of str to ndarray
        The field's data at that moment.
    """

    organ: OrganMesh
    displacement: Array
    time_s: float
    tet_data: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    vertex_data: Mapping[str, NDArray[Any]] = field(default_factory=dict)


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
    effort: Mapping[str, Effort] = field(default_factory=dict)


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
    """

    def __init__(
        self,
        live: Interactive,
        vessels: Mapping[str, Any] | None = None,
        tet_data: Mapping[str, NDArray[Any]] | None = None,
        vertex_data: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        live.reset()
        self.live = live
        self.vessels: dict[str, Any] = dict(vessels or {})
        self.tet_data: dict[str, NDArray[Any]] = dict(tet_data or {})
        self.vertex_data: dict[str, NDArray[Any]] = dict(vertex_data or {})
        self.events: tuple[Event, ...] = ()
        self.specimens: tuple[Specimen, ...] = ()
        self.processes: dict[str, Process] = {"strength": StrengthWatch.new()}
        self.effort: dict[str, Effort] = {}
        self._rest = self.snapshot()

    @property
    def organ(self) -> OrganMesh:
        """The mesh as it is now, in the scanned shape."""
        return self.live.body.organ

    def tell(self, kind: str, text: str, **values: Any) -> None:
        """Note something a surgeon must know; `values` are the numbers in the sentence."""
        self.events = (*self.events, Event(kind, self.live.time_s, text, values))

    def step(
        self, budget_s: float | None = None, iterations: int | None = None, advance_s: float = 0.0
    ) -> Frame:
        """Bring tissue and processes forward; arguments as of `Interactive.step`."""
        for name in list(self.processes):
            self.processes[name] = self.processes[name].advanced(self, advance_s)
        frame = self.live.step(budget_s=budget_s, iterations=iterations, advance_s=advance_s)
        self._spend(frame)
        return frame

    @property
    def tools_mm(self) -> dict[str, Array]:
        """Where every tool is that holds or may touch tissue, by name, mm, LPS."""
        places = dict(self.live.tools)
        for load in self.live.loads.values():
            places.update(load.tools_mm())
        return places

    def _spend(self, frame: Frame) -> None:
        """Add what the tools did in a step to their effort."""
        places = self.tools_mm
        for tool in places.keys() | self.effort.keys():
            before = self.effort.get(tool, Effort())
            self.effort[tool] = before.after(places.get(tool), frame.forces_N.get(tool))

    # ------------------------------------------------------------------ states

    def snapshot(self) -> FieldSnapshot:
        """The present state."""
        return FieldSnapshot(
            self.live.snapshot(), dict(self.tet_data), dict(self.vertex_data), dict(self.vessels),
            self.events, self.specimens, dict(self.processes), dict(self.effort),
        )  # fmt: skip

    def restore(self, snapshot: FieldSnapshot) -> None:
        """Go back to a state of this field."""
        self.live.restore(snapshot.live)
        self.tet_data, self.vertex_data = dict(snapshot.tet_data), dict(snapshot.vertex_data)
        self.vessels = dict(snapshot.vessels)
        self.events, self.specimens = snapshot.events, snapshot.specimens
        self.processes = dict(snapshot.processes)
        self.effort = dict(snapshot.effort)

    def reset(self) -> None:
        """Go back to where it all began."""
        self.restore(self._rest)

    def state_hash(self) -> str:
        """SHA-256 of the state: the mesh, where it is and when, what tools hold, and what is known of it."""
        digest = hashlib.sha256(repr(self.live.time_s).encode())
        for tool, position in sorted(self.live.tools.items()):
            digest.update(tool.encode() + position.tobytes() + self.live.held_by(tool).tobytes())
        for load in self.live.loads.values():
            for tool, position in sorted(load.tools_mm().items()):
                digest.update(tool.encode() + position.tobytes())
        organ = self.organ
        for array in (organ.points, organ.tets, organ.region, self.live.displacement):
            digest.update(np.ascontiguousarray(array).tobytes())
        for data in (self.tet_data, self.vertex_data):
            for name in sorted(data):
                digest.update(name.encode())
                digest.update(np.ascontiguousarray(data[name]).tobytes())
        for specimen in self.specimens:
            digest.update(np.ascontiguousarray(specimen.organ.points).tobytes())
        for event in self.events:
            digest.update(repr(event.to_json()).encode())
        return digest.hexdigest()
