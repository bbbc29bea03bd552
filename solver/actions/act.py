"""Act: what every surgical act can do, and how acts become JSON and come back."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from solver.errors import SolverError

if TYPE_CHECKING:
    from solver.field import OperativeField
    from solver.frame import Frame

Vector = tuple[float, float, float]

FRAME_S = 1.0 / 30.0
# Quasi-Newton iterations a frame of a replay; the lifted predictor leaves one or two to do.
ITERATIONS = 3

# An act of more than an hour of the rehearsal is a slip of the pen, and would keep the machine for days.
LONGEST_S = 3600.0

_KINDS: dict[str, type[Act]] = {}


@dataclass(frozen=True)
class Act(ABC):
    """One surgical act.

    Subclasses are frozen dataclasses with an `act` name, whose fields are numbers, strings, vectors or None.
    """

    act: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _KINDS[cls.act] = cls

    @property
    def length_s(self) -> float:
        """Time the act takes, s."""
        return float(getattr(self, "duration_s", 0.0))

    @abstractmethod
    def begin(self, field: OperativeField) -> Callable[[float], None]:
        """Start the act; returns what brings it to a share (0 to 1) of its course.

        Raises
        ------
        SolverError
            If it cannot be carried out in this field now.
        """

    def run(
        self,
        field: OperativeField,
        frame_s: float = FRAME_S,
        iterations: int = ITERATIONS,
        carry: Callable[[float], None] | None = None,
    ) -> Iterator[Frame]:
        """Carry the act out, frame by frame.

        Parameters
        ----------
        field : OperativeField
        frame_s : float
            Time between frames, s; an act without duration takes one frame.
        iterations : int
            Quasi-Newton iterations a frame at most.
        carry : callable, optional
            What `begin` gave, where the act was begun already.

        Yields
        ------
        Frame
        """
        carry = self.begin(field) if carry is None else carry
        frames = max(1, round(self.length_s / frame_s))
        for number in range(1, frames + 1):
            carry(number / frames)
            yield field.step(iterations=iterations, advance_s=frame_s)

    def to_json(self) -> dict[str, Any]:
        """The act as JSON-ready data, without what is left at None."""
        data: dict[str, Any] = {"act": self.act}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if value is not None:
                data[entry.name] = _listed(value)
        return data


def known_acts() -> dict[str, type[Act]]:
    """Every kind of act, by its `act` key."""
    return dict(_KINDS)


def from_json(data: Any, place: str = "action") -> Act:
    """An act from JSON data.

    Parameters
    ----------
    data : mapping
        With the key `act` and the act's own fields.
    place : str
        Where it stands, for messages.

    Raises
    ------
    SolverError
        Naming the place, if the act or a key is unknown, a value is missing, of the wrong kind or out of range.
    """
    if not isinstance(data, Mapping):
        raise SolverError(f"{place}: an act is an object with the key 'act', not {type(data).__name__}.")
    kind = _KINDS.get(str(data.get("act")))
    if kind is None:
        raise SolverError(
            f"{place}: the act {data.get('act')!r} is unknown; known are {', '.join(sorted(_KINDS))}."
        )
    known = {field.name: field for field in fields(kind)}
    extra = sorted(set(data) - set(known) - {"act"})
    if extra:
        raise SolverError(f"{place}: {kind.act} has no key '{extra[0]}'; it has {', '.join(known)}.")
    missing = [n for n, f in known.items() if f.default is MISSING and n not in data]
    if missing:
        raise SolverError(f"{place}: {kind.act} needs the key '{missing[0]}'.")
    values = {name: _frozen(v) for name, v in data.items() if name != "act"}
    for name, value in values.items():
        if isinstance(value, Mapping) or (value is None and known[name].default is not None):
            raise SolverError(
                f"{place}: {name} is {value!r}; give a value, or leave the key out where it may be."
            )
        if not _finite(value):
            raise SolverError(f"{place}: {name} is {value!r}; give finite numbers.")
    try:
        return kind(**values)
    except SolverError as error:
        raise SolverError(f"{place}: {error}") from error


def _finite(value: Any) -> bool:
    """Whether all numbers in nested tuples are finite."""
    if isinstance(value, tuple):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _listed(value: Any) -> Any:
    return [_listed(v) for v in value] if isinstance(value, tuple) else value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value


def checked_number(value: Any, what: str, positive: bool = False) -> float:
    """A finite number, at least 0 (more than 0 if `positive`)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise SolverError(f"{what} is {value!r}; give a finite number.")
    if value < 0 or (positive and value == 0):
        raise SolverError(f"{what} is {value:g}; it must {'be positive' if positive else 'not be negative'}.")
    return float(value)


def checked_duration(value: Any, what: str = "duration_s") -> float:
    """A time in the rehearsal, s, of an hour at most."""
    seconds = checked_number(value, what)
    if seconds > LONGEST_S:
        raise SolverError(f"{what} is {seconds:g}; an act takes at most {LONGEST_S:g} s of the rehearsal.")
    return seconds


def checked_vector(value: Any, what: str) -> Vector:
    """Three finite numbers."""
    try:
        x, y, z = (float(v) for v in value)
    except (TypeError, ValueError) as error:
        raise SolverError(f"{what} is {value!r}; give three numbers.") from error
    if not all(map(math.isfinite, (x, y, z))):
        raise SolverError(f"{what} is {value!r}; give finite numbers.")
    return x, y, z


def checked_name(value: Any, what: str) -> str:
    """A name that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise SolverError(f"{what} is {value!r}; give a name.")
    return value


def checked_flag(value: Any, what: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise SolverError(f"{what} is {value!r}; give true or false.")
    return value
