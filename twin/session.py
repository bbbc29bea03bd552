"""Session: a rehearsal under way: acts carried out on the field, taken back, done again, tried another way.

After every act the field's state is kept (a few references, see `solver.field`), so that to undo is to put one
back; only the newest states are kept, and an older one is reached again from the nearest kept before it by carrying
out what lies between, which gives the same state because acts are deterministic. An act that is refused leaves the
field as it was.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from anatomy.progress import Progress, silent
from solver.actions import Act, Hold
from solver.actions.act import FRAME_S, ITERATIONS
from solver.errors import SolverError
from twin.errors import TwinError
from twin.log import ROOT, ActLog
from twin.rehearsal import Rehearsal

if TYPE_CHECKING:
    from solver.field import FieldSnapshot, OperativeField
    from solver.frame import Frame

# States kept to go back to. Most of what they hold they share with each other; a cut keeps a mesh and a factor.
KEPT = 48
# Where acts are carried out in few frames, each may take as many iterations, so that it arrives.
RESUME_ITERATIONS = 8


class Session:
    """A rehearsal on a field.

    Parameters
    ----------
    field : OperativeField
        Reset first.
    title : str
    frame_s : float
        Time of the rehearsal between frames, s.
    iterations : int
        Quasi-Newton iterations a frame at most.
    """

    def __init__(
        self,
        field: OperativeField,
        title: str = "",
        frame_s: float = FRAME_S,
        iterations: int = ITERATIONS,
    ) -> None:
        field.reset()
        self.field, self.title = field, title
        self.frame_s, self.iterations = frame_s, iterations
        self.log = ActLog()
        self._kept: OrderedDict[int, FieldSnapshot] = OrderedDict({ROOT: field.snapshot()})
        self._before: FieldSnapshot | None = None

    @property
    def rehearsal(self) -> Rehearsal:
        """What was done, to be written or replayed."""
        return Rehearsal.of_log(self.title, self.log)

    def perform(self, act: Act) -> Iterator[Frame]:
        """Carry an act out, frame by frame, and note it.

        Raises
        ------
        SolverError
            If it cannot be carried out; the field is then as it was.
        """
        carry = self.begin(act)
        try:
            yield from act.run(self.field, self.frame_s, self.iterations, carry)
        except BaseException:
            self.cancel()
            raise
        self.done(act)

    # An act in real time: begun, carried by whoever has the clock, and done or cancelled.

    def begin(self, act: Act) -> Callable[[float], None]:
        """Start an act; returns what brings it to a share of its course.

        Raises
        ------
        SolverError
            If it cannot be carried out; the field is then as it was.
        """
        self._before = self.field.snapshot()
        try:
            return act.begin(self.field)
        except SolverError:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Go back to before the act that was begun."""
        if self._before is not None:
            self.field.restore(self._before)
            self._before = None

    def done(self, act: Act) -> None:
        """Note an act whose result is the present state."""
        self._before = None
        self._keep(self.log.do(act))

    # ------------------------------------------------------------------ going back and elsewhere

    def undo(self, pauses_too: bool = False) -> None:
        """Take the last act back.

        Parameters
        ----------
        pauses_too : bool
            Take back the pauses after it as well, which a person at the window never asked for.

        Raises
        ------
        TwinError
            If there is none.
        """
        self.cancel()
        acts = 1
        if pauses_too:
            line = [node.act for node in self.log.line()]
            while acts < len(line) and isinstance(line[-acts], Hold):
                acts += 1
        self._reach(self.log.undo(acts))

    def redo(self) -> None:
        """Do again what was last taken back.

        Raises
        ------
        TwinError
            If nothing was.
        """
        self.cancel()
        self._reach(self.log.redo())

    def reset(self) -> None:
        """Begin the present plan anew from the untouched organ."""
        self.cancel()
        self._reach(self.log.reset())

    def branch(self, name: str) -> None:
        """Begin an alternative here."""
        self.log.branch(name)

    def go(self, name: str, progress: Progress = silent) -> None:
        """Make another alternative the present one."""
        self.cancel()
        self._reach(self.log.go(name), progress)

    def edit(self, number: int, act: Act, progress: Progress = silent) -> None:
        """Put another act in the place of an earlier one, and carry out again what followed.

        Raises
        ------
        TwinError
            If there is no such act, or it or one that follows cannot be carried out; nothing has then changed.
        """
        self.cancel()
        trial = ActLog(self.log.entries)
        head = trial.edit(number, act)
        before, log = self.field.snapshot(), self.log
        self.log = trial
        try:
            self._reach(head, progress)
        except (SolverError, TwinError) as error:
            self.log = log
            for tried in [node for node in self._kept if node > log.count]:
                del self._kept[tried]
            self.field.restore(before)
            raise TwinError(f"The change cannot be carried through: {error}") from error

    def resume(self, log: ActLog, progress: Progress = silent, frames: int | None = None) -> None:
        """Go to where another log ends.

        Parameters
        ----------
        log : ActLog
            Taken over.
        progress : Progress
        frames : int, optional
            Carry each act out in this many frames at most, for speed; the state then agrees within what counts as
            converged instead of to the last bit.
        """
        self.log = log
        root = self._kept[ROOT]
        self._kept = OrderedDict({ROOT: root})
        self._reach(log.head, progress, frames)

    def _keep(self, node: int) -> None:
        self._kept[node] = self.field.snapshot()
        self._kept.move_to_end(node)
        while len(self._kept) > KEPT:
            oldest = next(n for n in self._kept if n != ROOT)
            del self._kept[oldest]

    def _reach(self, head: int, progress: Progress = silent, frames: int | None = None) -> None:
        """Bring the field to the state after an act."""
        way: list[int] = []
        at = head
        while at not in self._kept:
            way.append(at)
            at = self.log.node(at).before
        self.field.restore(self._kept[at])
        for done, number in enumerate(reversed(way)):
            progress("rehearsing again", done / len(way))
            act = self.log.node(number).act
            frame_s = self.frame_s if frames is None else max(self.frame_s, act.length_s / frames)
            iterations = self.iterations if frames is None else max(self.iterations, RESUME_ITERATIONS)
            for _ in act.run(self.field, frame_s, iterations):
                pass
            self._keep(number)
        progress("rehearsing again", 1.0)
