"""The bundled rehearsals, each carried out in few frames on coarse meshes, with what must come of it.

Every case is built once for all tests, and its territories and factors are kept between them: each test begins anew
at rest. A heating of minutes is shortened, everything else is done as the scripts say.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from anatomy.labels import LabelMap
from sample_scans import bundled_rehearsal, bundled_rehearsals, make_patient
from solver.actions import Ablate
from solver.field import OperativeField
from twin.build import Choice, build_case
from twin.case import Case
from twin.meter import OperationMeter
from twin.operating import operative_field
from twin.rehearsal import Rehearsal
from twin.replay import Outcome, replay
from twin.session import Session

# Few frames, so that all acts of all rehearsals take seconds; the window and the command draw thirty a second.
FRAME_S = 0.25
HEATING_S, COOLING_S = 120.0, 30.0
LIVER_EDGE_MM, KIDNEY_EDGE_MM = 16.0, 6.5
LIVER = ("liver", "liver_tumour", "portal_vein", "hepatic_vein")
OF_LIVER = (
    "ablation_beside_vein",
    "insufflation_and_tilt",
    "lift_liver_edge",
    "mobilised_left_lobe",
    "needle_deep_tumour",
    "right_hepatectomy",
    "wedge_10mm",
)
OF_ABDOMEN = ("abdomen_ablation", "abdomen_needle", "abdomen_right_hepatectomy", "abdomen_wedge")
OF_KIDNEYS = ("abdomen_partial_nephrectomy", "partial_nephrectomy")


@dataclass
class Operated:
    """A rehearsal carried out, and what was measured."""

    field: OperativeField
    outcome: Outcome
    measured: dict[str, Any]
    whole_ml: float

    def values(self, kind: str) -> list[dict[str, Any]]:
        return [dict(event.values) for event in self.field.events if event.kind == kind]


class Theatre:
    """A case and its field, built once; `operate` begins anew each time."""

    def __init__(self, case: Case) -> None:
        self.case, self.field = case, operative_field(case)

    @property
    def edge_mm(self) -> float:
        """Edge of a regular tetrahedron of the mean volume."""
        return float(np.cbrt(6.0 * np.sqrt(2.0) * self.case.organ.tet_volumes.mean()))

    def operate(self, name: str) -> Operated:
        self.field.reset()
        meter = OperationMeter(self.field, self.case.vessels)
        whole = float(self.field.organ.tet_volumes.sum()) / 1000.0
        rehearsal = shortened(Rehearsal.read(bundled_rehearsal(name)))
        outcome = replay(rehearsal, self.field, on_frame=meter.watch, frame_s=FRAME_S)
        operated = Operated(self.field, outcome, meter.measured(acts=len(rehearsal)), whole)
        assert_sound(operated)
        return operated


def shortened(rehearsal: Rehearsal) -> Rehearsal:
    """The same with less heating, which costs by the minute."""
    acts = [
        replace(act, heating_s=HEATING_S, cooling_s=COOLING_S) if isinstance(act, Ablate) else act
        for act in rehearsal
    ]
    return Rehearsal(rehearsal.title, acts)


def assert_sound(operated: Operated) -> None:
    """Whatever was done: nothing inside out, nothing lost, forces and places finite."""
    assert operated.outcome.minimum_jacobian.min() > 0.0
    assert np.isfinite(operated.field.live.positions).all()
    assert all(np.isfinite(force).all() for force in operated.outcome.forces_N.values())
    left = float(operated.field.organ.tet_volumes.sum()) / 1000.0
    taken = sum(specimen.volume_ml for specimen in operated.field.specimens)
    assert left + taken == pytest.approx(operated.whole_ml, rel=1e-6)


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("patient")
    made = make_patient(1, size=160, slice_mm=4.0)
    scan, labels = folder / "scan.nrrd", folder / "labels.nrrd"
    sitk.WriteImage(made.scan, str(scan))
    made.labels.write(labels)
    return scan, labels


def theatre(scan: Path, labels: Path, structures: tuple[str, ...], edge_mm: float, folder: Path) -> Theatre:
    """A case of the given structures alone: nothing else is followed, meshed or shown."""
    own = folder / "labels.nrrd"
    LabelMap.read(labels).select(structures).write(own)
    choice = Choice(structures=structures, edge_mm=edge_mm)
    return Theatre(build_case(scan, folder / "case", labels=own, choice=choice))


@pytest.fixture(scope="module")
def liver(patient: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Theatre:
    return theatre(*patient, LIVER, LIVER_EDGE_MM, tmp_path_factory.mktemp("liver"))


@pytest.fixture(scope="module")
def kidney(patient: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Theatre:
    return theatre(*patient, ("kidney_left",), KIDNEY_EDGE_MM, tmp_path_factory.mktemp("kidney"))


@pytest.fixture(scope="module")
def real_liver(shared_scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Theatre:
    scans, folder = shared_scans / "abdomen_ct", tmp_path_factory.mktemp("real_liver")
    return theatre(scans / "ct.nii.gz", scans / "labels_v1.nii.gz", ("liver",), LIVER_EDGE_MM, folder)


@pytest.fixture(scope="module")
def real_kidney(shared_scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Theatre:
    scans, folder = shared_scans / "abdomen_ct", tmp_path_factory.mktemp("real_kidney")
    return theatre(scans / "ct.nii.gz", scans / "labels_v1.nii.gz", ("kidney_left",), KIDNEY_EDGE_MM, folder)


def test_every_bundled_rehearsal_can_be_read_and_is_tested_here() -> None:
    assert sorted((*OF_LIVER, *OF_ABDOMEN, *OF_KIDNEYS)) == bundled_rehearsals()
    for name in bundled_rehearsals():
        assert Rehearsal.read(bundled_rehearsal(name)).title


def test_right_hepatectomy_leaves_the_perfused_left_side(liver: Theatre) -> None:
    operated = liver.operate("right_hepatectomy")
    found = operated.measured["organs"]["liver"]
    assert found["remnant_ml"] + found["specimen_ml"] == pytest.approx(found["whole_ml"], rel=1e-6)
    clamped = operated.values("clamp")[0]
    # What is taken out is what the clamp made ischaemic, but for the smoothing of its border.
    assert found["specimen_ml"] == pytest.approx(clamped["ischaemic_ml"], rel=0.05)
    assert 15.0 < found["future_remnant_percent"] < 45.0
    # The cut leaves tissue of the other side by at most a quarter of an edge.
    border_ml = 0.25 * liver.edge_mm * operated.values("resection")[0]["area_mm2"] / 1000.0
    assert found["future_remnant_ml"] - found["future_remnant_perfused_ml"] < border_ml < 100.0
    assert len(operated.field.specimens) >= 1


def test_right_hepatectomy_twice_gives_one_hash_and_undo_goes_back(liver: Theatre) -> None:
    first = liver.operate("right_hepatectomy").outcome.state_hash
    session = Session(liver.field, frame_s=FRAME_S)
    before = {}
    for act in Rehearsal.read(bundled_rehearsal("right_hepatectomy")):
        before[act.act] = liver.field.state_hash()
        for _ in session.perform(act):
            pass
        if act.act == "resect":
            cut = liver.field.state_hash()
            session.undo()
            assert liver.field.state_hash() == before["resect"] != cut
            session.redo()
            assert liver.field.state_hash() == cut
    assert liver.field.state_hash() == first


def test_a_wedge_of_one_tumour_keeps_its_margin(liver: Theatre) -> None:
    operated = liver.operate("wedge_10mm")
    meant, other = operated.measured["tumours"].values()
    assert meant["left_ml"] == 0.0
    # The cut snaps to the mesh by at most a quarter of an edge.
    assert meant["margin"]["scanned"]["minimum_mm"] >= 10.0 - 0.25 * liver.edge_mm
    assert other["left_ml"] == pytest.approx(other["volume_ml"], rel=1e-6)
    assert operated.measured["organs"]["liver"]["specimen_ml"] > 60.0
    assert operated.measured["bleeding"]["ischaemia_s"] > 1.0


def test_a_needle_reaches_the_deep_tumour(liver: Theatre) -> None:
    operated = liver.operate("needle_deep_tumour")
    (arrived,) = operated.values("needle")
    assert arrived["targeting_error_mm"] < 5.0
    assert operated.measured["organs"]["liver"]["specimen_ml"] == pytest.approx(0.0, abs=1e-9)
    assert not any(name == "needle" for name in operated.field.live.loads)


def test_an_ablation_beside_a_vein_kills_tumour(liver: Theatre) -> None:
    operated = liver.operate("ablation_beside_vein")
    (found,) = operated.values("ablation")
    assert found["lethal_ml"] > 10.0
    assert 0.0 < found["tumour_coverage"] <= 1.0
    assert operated.field.vertex_data["thermal_damage"].max() > 1.0


def test_gas_and_tilt_move_the_liver(liver: Theatre) -> None:
    first = liver.operate("insufflation_and_tilt")
    assert first.values("pneumoperitoneum")[0]["pressure_mmHg"] == 12.0
    assert first.values("tilt")[0]["off_level_deg"] == pytest.approx(20.0)
    assert first.outcome.peak_displacement_mm > 0.5
    assert first.outcome.state_hash == liver.operate("insufflation_and_tilt").outcome.state_hash


def test_a_mobilised_left_lobe_is_lifted_with_less_force(liver: Theatre) -> None:
    freed = liver.operate("mobilised_left_lobe").outcome.peak_force_N
    liver.field.reset()
    acts = [a for a in Rehearsal.read(bundled_rehearsal("mobilised_left_lobe")) if a.act != "mobilise"]
    held = replay(Rehearsal("held", acts), liver.field, frame_s=FRAME_S).peak_force_N
    assert 0.0 < freed < held


def assert_nephrectomy(operated: Operated) -> None:
    found = operated.measured["organs"]["kidney_left"]
    assert 8.0 < found["specimen_percent"] < 35.0
    assert operated.values("clamp")[0]["ischaemic_percent"] == pytest.approx(100.0)
    assert found["ischaemic_ml"] == pytest.approx(0.0, abs=1e-9)
    assert {"stitch 1", "stitch 2", "stitch 3"} <= set(operated.field.live.loads)
    assert operated.outcome.peak_displacement_mm > 1.0


def test_partial_nephrectomy_with_clamp_and_suture(kidney: Theatre) -> None:
    assert_nephrectomy(kidney.operate("partial_nephrectomy"))


# The real abdomen ----------------------------------------------------------------------------------------


def test_partial_nephrectomy_of_a_real_kidney(real_kidney: Theatre) -> None:
    assert_nephrectomy(real_kidney.operate("abdomen_partial_nephrectomy"))


def test_right_hepatectomy_of_a_real_liver(real_liver: Theatre) -> None:
    operated = real_liver.operate("abdomen_right_hepatectomy")
    found = operated.measured["organs"]["liver"]
    assert found["remnant_ml"] + found["specimen_ml"] == pytest.approx(found["whole_ml"], rel=1e-6)
    assert 40.0 < found["specimen_percent"] < 80.0


def test_wedge_of_a_real_liver(real_liver: Theatre) -> None:
    found = real_liver.operate("abdomen_wedge").measured["organs"]["liver"]
    assert 1.0 < found["specimen_percent"] < 25.0


def test_needle_into_a_real_liver(real_liver: Theatre) -> None:
    (arrived,) = real_liver.operate("abdomen_needle").values("needle")
    assert arrived["targeting_error_mm"] < 5.0


def test_ablation_in_a_real_liver(real_liver: Theatre) -> None:
    (found,) = real_liver.operate("abdomen_ablation").values("ablation")
    assert 5.0 < found["lethal_ml"] < 80.0


def test_gas_and_tilt_and_mobilisation_of_a_real_liver(real_liver: Theatre) -> None:
    assert real_liver.operate("insufflation_and_tilt").outcome.peak_displacement_mm > 0.5
    assert real_liver.operate("mobilised_left_lobe").outcome.peak_force_N > 0.0
