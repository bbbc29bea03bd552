"""Surgical acts as data: frozen, replayable, one a file.

An act is a frozen dataclass that knows its physics, its units and its limits. `act.run(live, …)` carries it out on
an `Interactive` body and yields the frames; a replay and the live service share that one way. `to_json` and
`from_json` write and read it by its `act` key. The same list of acts is undo history, script, audit record and test
fixture.
"""

from solver.actions.ablate import Ablate
from solver.actions.act import Act, from_json
from solver.actions.clamp import Clamp, Declamp
from solver.actions.desufflate import Desufflate
from solver.actions.divide import Divide
from solver.actions.grasp import Grasp
from solver.actions.hold import Hold
from solver.actions.incise import Incise
from solver.actions.insufflate import Insufflate
from solver.actions.mobilise import Mobilise
from solver.actions.needle import InsertNeedle
from solver.actions.palpate import Palpate
from solver.actions.probe import Probe
from solver.actions.pull import Pull
from solver.actions.release import Release
from solver.actions.resect import Resect
from solver.actions.respond import Respond
from solver.actions.staple import Staple
from solver.actions.suture import Suture
from solver.actions.tilt import Tilt
from solver.actions.withdraw import WithdrawNeedle

__all__ = [
    "Ablate",
    "Act",
    "Clamp",
    "Declamp",
    "Desufflate",
    "Divide",
    "Grasp",
    "Hold",
    "Incise",
    "InsertNeedle",
    "Insufflate",
    "Mobilise",
    "Palpate",
    "Probe",
    "Pull",
    "Release",
    "Resect",
    "Respond",
    "Staple",
    "Suture",
    "Tilt",
    "WithdrawNeedle",
    "from_json",
]
