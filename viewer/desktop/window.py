"""The window: the organ in the middle, its structures on the left, the scan on the right, the numbers below.

A timer asks the solver's process for its newest frame about sixty times a second and never waits for it, so the
window answers whatever the solver does. Everything drawn comes from the toolkit-free `Scene` and `SliceModel`.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QAction, QCloseEvent, QKeySequence
from PySide6.QtWidgets import (
    QApplication,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QMainWindow,
    QMenu,
    QSizePolicy,
    QToolBar,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from solver.actions import Act
from solver.attachments import from_anatomy
from solver.errors import SolverError
from twin.errors import TwinError
from viewer import quality, theme
from viewer.camera import VIEWS
from viewer.desktop.act_panel import ActPanel, Findings
from viewer.desktop.engine import Engine
from viewer.desktop.organ_view import OrganView
from viewer.desktop.panels import Banner, NumberStrip, StructureList, label, named
from viewer.desktop.slice_view import SliceView
from viewer.desktop.style import SHEET
from viewer.scene import Scene
from viewer.slices import PLANES, SliceModel
from viewer.tools.grasping import GraspTool
from viewer.tools.pointing import PLANS, Plan, Pointing, mobilising, putting_away

_POLL_MS = 16
# Numbers that change with every frame cannot be read: they are written so often a second, outlines so often.
_WRITE_EVERY_S = 0.1
_OUTLINE_EVERY_S = 0.2
_SAID_FOR_S = 6.0
_HINT = "Drag tissue to grasp and pull · Shift or wheel while dragging: in depth · Right-drag: turn · Wheel: nearer"
_HINT_HELD = "Drag the amber patch to pull on · Space: let go · R: back to rest"


class RehearsalWindow(QMainWindow):
    """The window on one case.

    Parameters
    ----------
    case : Case
        The case to rehearse on.
    """

    def __init__(self, case: Any) -> None:
        super().__init__()
        self.engine = Engine(case)  # first, so that the solver builds while the window does
        self.case = case
        self.scene = Scene(case, hud=False)
        self.tool = GraspTool(self.scene, self.engine)
        self.pointing: Pointing | None = None
        self._plan: Plan | None = None
        self._acts = 0
        self.slices = SliceModel(case.scan, case.labels)
        self._written = self._outlined = self._said_until = 0.0
        self._new = False
        self.setWindowTitle(f"{case.title} – {theme.WORDMARK}")
        self.setStyleSheet(SHEET)
        self.resize(1500, 920)
        self._build()
        self._add_actions()
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._tick)
        self._timer.start(_POLL_MS)

    # Parts ---------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.view = OrganView(self.scene, self.tool)
        self.view.grasped.connect(self._show_grasped_slices)
        self.banner = Banner()
        self.banner.restart.connect(self._restart)
        middle = named(QWidget(), "room")
        stack = QGridLayout(middle)
        stack.setContentsMargins(0, 0, 0, 0)
        stack.addWidget(self.view, 0, 0, 3, 1)
        stack.addWidget(self.banner, 1, 0, Qt.AlignmentFlag.AlignHCenter)
        self.asking = ActPanel()
        self.asking.cancelled.connect(self.stop_pointing)
        self.asking.go.connect(self._do_it)
        stack.addWidget(self.asking, 1, 0, Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        stack.setRowMinimumHeight(0, 20)
        stack.setRowStretch(2, 1)
        self.structures = StructureList(self.scene, _volumes(self.case))
        self.structures.changed.connect(self._structure_changed)
        self.findings = Findings()
        left = named(QWidget(), "panel")
        left.setFixedWidth(self.structures.width() or 250)
        beside = QVBoxLayout(left)
        beside.setContentsMargins(0, 0, 0, 0)
        beside.addWidget(self.structures, 1)
        beside.addWidget(self.findings)
        self.strip = NumberStrip()
        self.strip.hint.setText(_HINT)
        room = named(QWidget(), "room")
        across = QHBoxLayout()
        across.setSpacing(0)
        across.addWidget(left)
        across.addWidget(middle, 1)
        across.addWidget(self._slice_column())
        down = QVBoxLayout(room)
        down.setContentsMargins(0, 0, 0, 0)
        down.setSpacing(0)
        down.addLayout(across, 1)
        down.addWidget(self.strip)
        self.setCentralWidget(room)
        self.scene.attach(self.view, quality.suited_to(self.view))

    def _slice_column(self) -> QWidget:
        column = named(QWidget(), "panel")
        column.setFixedWidth(330)
        rows = QVBoxLayout(column)
        rows.setContentsMargins(10, 10, 10, 10)
        rows.setSpacing(6)
        top = QHBoxLayout()
        top.addWidget(label("Scan", "heading"))
        top.addStretch(1)
        self.windows = QComboBox()
        self.windows.addItems([window.name for window in self.slices.windows])
        self.windows.setToolTip("Grey window (W for the next)")
        self.windows.currentIndexChanged.connect(self._choose_window)
        top.addWidget(self.windows)
        rows.addLayout(top)
        self.planes = {plane: SliceView(self.slices, plane) for plane in PLANES}
        for plane in self.planes.values():
            plane.moved.connect(self._slices_moved)
            rows.addWidget(plane, 1)
        return column

    def _add_actions(self) -> None:
        bar = QToolBar()
        bar.setMovable(False)
        bar.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
        self.addToolBar(bar)
        self.grasp_action = self._action(
            bar, "Grasp", "G", self._set_grasping, "Left drag takes hold of tissue"
        )
        self.grasp_action.setCheckable(True)
        self.grasp_action.setChecked(True)
        self.release_action = self._action(bar, "Release", "Space", self.release, "Open the jaws")
        bar.addWidget(self._act_button())
        self._action(bar, "Undo", "Ctrl+Z", self.undo, "Take back the last act")
        self._action(bar, "Redo", "Ctrl+Shift+Z", self.redo, "Do again what was taken back")
        self._action(bar, "Reset", "R", self.reset, "Back to the untouched organ")
        bar.addSeparator()
        bar.addWidget(self._view_button())
        self._action(bar, "Glass", "X", self._toggle_glass, "See through the organ, or not")
        bar.addSeparator()
        self._action(bar, "Screenshot", "Ctrl+P", self._ask_screenshot, "Save a picture of the window")
        self._action(
            bar, "Save rehearsal", "Ctrl+S", self._ask_log, "Save what was done as a script to replay"
        )
        gap = QWidget()
        gap.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        bar.addWidget(gap)
        bar.addWidget(label(f"{theme.RESEARCH_NOTICE}  "))
        for key, slot in (
            ("W", self._next_window),
            ("Escape", self.stop_pointing),
            ("Ctrl+Q", self.close),
        ):
            action = QAction(self)
            action.setShortcut(QKeySequence(key))
            action.triggered.connect(slot)
            self.addAction(action)

    def _action(self, bar: QToolBar, name: str, key: str, slot: Any, tip: str) -> QAction:
        action = QAction(name, self)
        action.setShortcut(QKeySequence(key))
        action.setToolTip(f"{tip} ({key})")
        action.triggered.connect(slot)
        bar.addAction(action)
        return action

    def _act_button(self) -> QToolButton:
        menu = QMenu(self)
        for plan in PLANS:
            if plan is None:
                menu.addSeparator()
            else:
                menu.addAction(plan.name, partial(self.point, plan))
        free = menu.addMenu("Divide a ligament")
        for held in from_anatomy(self.case.organ):
            free.addAction(held.name, partial(self.point, mobilising(held.name)))
        away = menu.addMenu("Put away")
        away.aboutToShow.connect(partial(self._list_what_is_there, away))
        button = QToolButton()
        button.setText("Act  ▾")
        button.setToolTip("Probe, cut, resect, clamp, pierce, ablate, suture …")
        button.setMenu(menu)
        button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        return button

    def _list_what_is_there(self, menu: QMenu) -> None:
        """Fill a menu with what can be taken away now."""
        menu.clear()
        plans = putting_away(self.engine.acts)
        for plan in plans:
            menu.addAction(plan.name, partial(self.point, plan))
        if not plans:
            menu.addAction("Nothing is on the organ").setEnabled(False)

    def _view_button(self) -> QToolButton:
        menu = QMenu(self)
        for number, name in enumerate(VIEWS, start=1):
            action = QAction(f"{name.capitalize()}", self)
            action.setShortcut(QKeySequence(str(number)))
            action.triggered.connect(lambda _checked=False, view=name: self.view.look_from(view))
            menu.addAction(action)
            self.addAction(action)
        button = QToolButton()
        button.setText("View  ▾")
        button.setToolTip("Where the eye stands (1 to 7)")
        button.setMenu(menu)
        button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        return button

    # The clock -----------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Take what the solver has; called about sixty times a second."""
        failure, busy = self.engine.failure, self.engine.busy
        if failure:
            if self._plan is not None:
                self.stop_pointing()
            self.banner.failed(failure)
            self.strip.say_state("stopped", theme.BAD)
        elif busy is not None:
            self.banner.starting(*busy)
            self.strip.say_state("starting", theme.MUTED)
        else:
            self.banner.hide()
        self.view.solver_ready = not failure and busy is None
        frame = self.engine.new_frame()
        for sentence in self.engine.refusals():
            self.say(sentence)
            if frame is None or self.tool.name not in frame.forces_N:
                self.tool.forget()
        if frame is not None:
            if frame.topology != self.scene.topology:
                self.tool.forget()
                self.scene.remesh(frame.topology, *self.engine.mesh(frame.topology))
            self.scene.update(frame)
            self._new = True
            self.view.update()
        now = perf_counter()
        if now - self._written >= _WRITE_EVERY_S:
            self._written = now
            self._write_numbers(running=not failure and busy is None)
        if self._new and now - self._outlined >= _OUTLINE_EVERY_S:
            self._outlined, self._new = now, False
            self._outline()

    def _write_numbers(self, running: bool) -> None:
        self.findings.write(self.engine.measures, self.engine.events)
        if running:
            self.strip.write(
                self.scene.reading, self.engine.step_ms, self.view.frames_per_s, self.engine.age_s
            )
        self.release_action.setEnabled(self.tool.holds)
        if self.pointing is not None:
            self.asking.say(self.pointing.hint)
        if perf_counter() > self._said_until:
            self.strip.hint.setText(_HINT_HELD if self.tool.holds else _HINT)

    def _outline(self) -> None:
        """Draw where the tissue is now over the slices of the scan, while anything is moved."""
        grasper = self.scene.graspers.get(self.tool.name)
        moved = self.scene.reading.displacement_mm > 0.5
        skins = [skin for skin in self.scene.skins.values() if skin.carried] if moved else []
        for name, plane in self.planes.items():
            plane.tissue = [(s.name, self.slices.cut_surface(name, s.points, s.triangles)) for s in skins]
            plane.tool_mm = None if grasper is None else grasper.tip_mm
            plane.update()

    def say(self, sentence: str) -> None:
        """Show a sentence in the strip for some seconds."""
        self._said_until = perf_counter() + _SAID_FOR_S
        self.strip.hint.setText(sentence)

    # What a person does --------------------------------------------------------------------------------

    def release(self) -> None:
        """Open the jaws."""
        if not self.tool.release():
            self.say("Nothing is held.")
        self.view.update()

    def point(self, plan: Plan) -> None:
        """Have an act told: its numbers in the panel, its points by clicks or a stroke on the organ."""
        self.stop_pointing()
        self._plan = plan
        self.asking.ask(plan)
        if not plan.hints and not plan.numbers:
            self._do_it()
        elif plan.hints:
            self._point_again()

    def _point_again(self) -> None:
        assert self._plan is not None
        self._acts += 1
        self.pointing = Pointing(
            self.scene,
            self._plan,
            lambda: self.asking.numbers,
            self._acts,
            self._pointed_out,
            self._not_pointed_out,
        )
        self.view.tool = self.pointing
        self.view.setCursor(Qt.CursorShape.CrossCursor)

    def _pointed_out(self, act: Act) -> None:
        self.engine.perform(act)
        self.stop_pointing()

    def _not_pointed_out(self, sentence: str) -> None:
        self.stop_pointing()
        self.say(sentence)

    def _do_it(self) -> None:
        """Carry out an act that needs nothing to be pointed at."""
        plan = self._plan
        if plan is not None:
            self._acts += 1
            try:
                self.engine.perform(plan.make((), self.asking.numbers, self._acts))
            except SolverError as error:
                self.say(str(error))
        self.stop_pointing()

    def stop_pointing(self) -> None:
        """Back to grasping."""
        if self.pointing is not None:
            self.pointing.cancel()
        self.pointing = self._plan = None
        self.view.tool = self.tool
        self.view.unsetCursor()
        self.asking.hide()
        self.view.update()

    def undo(self) -> None:
        """Take back the last act."""
        self._elsewhere(self.engine.undo)

    def redo(self) -> None:
        """Do again what was last taken back."""
        self._elsewhere(self.engine.redo)

    def _elsewhere(self, command: Callable[[], None]) -> None:
        self.stop_pointing()
        self.tool.forget()
        command()
        self.view.update()

    def reset(self) -> None:
        """Back to the untouched organ, nothing held."""
        self.stop_pointing()
        self.tool.forget()
        self.engine.reset()
        self.view.update()

    def _restart(self) -> None:
        self.engine.restart()

    def _set_grasping(self, on: bool) -> None:
        self.view.grasping = on

    def _toggle_glass(self) -> None:
        slider = self.structures.sliders[self.scene.main]
        slider.setValue(100 if slider.value() < 100 else round(100 * theme.PARENCHYMA.opacity))

    def _structure_changed(self, name: str) -> None:
        hidden = {structure for structure, chosen in self.scene.appearance.items() if not chosen.visible}
        for plane in self.planes.values():
            plane.hidden = hidden
            plane.update()
        self.view.update()

    def _show_grasped_slices(self) -> None:
        hit = self.view.tool.hit
        if hit is not None:
            self.slices.move_to(hit.rest_mm)
            self._slices_moved()

    def _slices_moved(self) -> None:
        for plane in self.planes.values():
            plane.refresh()
        self._outline()

    def _choose_window(self, number: int) -> None:
        self.slices.window = self.slices.windows[number]
        for plane in self.planes.values():
            plane.refresh()

    def _next_window(self) -> None:
        self.windows.setCurrentIndex((self.windows.currentIndex() + 1) % self.windows.count())

    # Files ---------------------------------------------------------------------------------------------

    def _ask_screenshot(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self, "Save a screenshot", f"{_stamp()}.png", "PNG picture (*.png)"
        )
        if path:
            self.save_screenshot(path)

    def save_screenshot(self, path: str) -> None:
        """Write a picture of the whole window as PNG and say so."""
        written = self.grab().save(path, "PNG")
        self.say(
            f"Saved {Path(path).name}." if written else f"{path} cannot be written; choose another place."
        )

    def _ask_log(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self, "Save the rehearsal", f"{_stamp()}.json", "Rehearsal (*.json)"
        )
        if path:
            self.save_log(path)

    def save_log(self, path: str) -> None:
        """Write what was done as a script for `organtwin replay`, and say so."""
        try:
            acts = self.engine.save_log(path)
        except TwinError as error:
            self.say(str(error))
            return
        self.say(f"Saved {acts} acts to {Path(path).name}.")

    def closeEvent(self, event: QCloseEvent) -> None:
        """End the solver's process and give the graphics memory back before Qt takes the window apart."""
        self._timer.stop()
        self.engine.close()
        self.view.close()
        super().closeEvent(event)


def _volumes(case: Any) -> dict[str, float]:
    """Volume of each structure in the label map, ml, from the case's facts; else of the mesh."""
    entries = getattr(case, "facts", {}).get("structures")
    if entries:
        return {entry["name"]: float(entry["volume_ml"]) for entry in entries}
    return dict(case.organ.volumes_ml)


def _stamp() -> str:
    return datetime.now().strftime("rehearsal %Y-%m-%d %H.%M")


def run(case: Any) -> None:
    """Open the window and stay until it is closed; Ctrl-C in the terminal closes it too."""
    app = QApplication.instance() or QApplication(sys.argv[:1])
    window = RehearsalWindow(case)
    # The timer lets Python look at signals between Qt's events.
    before = signal.signal(signal.SIGINT, lambda *_: window.close())
    try:
        window.show()
        app.exec()
    finally:
        window.close()
        signal.signal(signal.SIGINT, before)
