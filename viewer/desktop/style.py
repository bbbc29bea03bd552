"""Style: the room's look for Qt, from the palette in `viewer.theme`."""

from __future__ import annotations

from viewer.theme import ACCENT, BACKGROUND, BAD, HELD, LINE, MUTED, PANEL, RAISED, TEXT

SHEET = f"""
* {{ font-family: "Inter", "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif; font-size: 12px; color: {TEXT}; }}
QMainWindow, QWidget#room {{ background: {BACKGROUND}; }}
QWidget#panel, QWidget#strip {{ background: {PANEL}; }}
QWidget#strip {{ border-top: 1px solid {LINE}; }}
QToolBar {{ background: {PANEL}; border: 0; border-bottom: 1px solid {LINE}; padding: 5px 8px; spacing: 4px; }}
QToolBar::separator {{ background: {LINE}; width: 1px; margin: 5px 7px; }}
QToolButton {{ background: transparent; border: 1px solid transparent; border-radius: 5px; padding: 6px 11px; }}
QToolButton:hover {{ background: {RAISED}; border-color: {LINE}; }}
QToolButton:pressed {{ background: {LINE}; }}
QToolButton:checked {{ background: {ACCENT}; color: {BACKGROUND}; font-weight: 600; }}
QToolButton:disabled {{ color: {MUTED}; }}
QToolButton::menu-indicator {{ image: none; }}
QLabel#heading {{ color: {MUTED}; font-size: 11px; font-weight: 600; }}
QLabel#muted, QLabel#unit {{ color: {MUTED}; }}
QLabel#unit {{ font-size: 12px; }}
QLabel#number {{ font-size: 23px; font-weight: 300; }}
QLabel#force {{ font-size: 29px; font-weight: 300; color: {HELD}; }}
QLabel#hint {{ color: {MUTED}; font-size: 11px; }}
QFrame#banner {{ background: {RAISED}; border: 1px solid {LINE}; border-radius: 8px; }}
QFrame#banner[bad="true"] {{ border-color: {BAD}; }}
QPushButton {{ background: {RAISED}; border: 1px solid {LINE}; border-radius: 5px; padding: 6px 14px; }}
QPushButton:hover {{ border-color: {ACCENT}; }}
QProgressBar {{ background: {BACKGROUND}; border: 0; border-radius: 2px; max-height: 4px; }}
QProgressBar::chunk {{ background: {ACCENT}; border-radius: 2px; }}
QDoubleSpinBox {{ background: {BACKGROUND}; border: 1px solid {LINE}; border-radius: 4px; padding: 4px 7px;
  min-width: 70px; color: {TEXT}; selection-background-color: {ACCENT}; selection-color: {BACKGROUND}; }}
QDoubleSpinBox QLineEdit {{ background: transparent; border: 0; color: {TEXT}; }}
QDoubleSpinBox:focus {{ border-color: {ACCENT}; }}
QComboBox {{ background: {RAISED}; border: 1px solid {LINE}; border-radius: 4px; padding: 3px 8px; }}
QComboBox::drop-down {{ border: 0; width: 16px; }}
QComboBox QAbstractItemView, QMenu {{ background: {RAISED}; border: 1px solid {LINE}; padding: 4px;
  selection-background-color: {ACCENT}; selection-color: {BACKGROUND}; }}
QMenu::item {{ padding: 5px 22px 5px 12px; border-radius: 4px; }}
QMenu::item:selected {{ background: {ACCENT}; color: {BACKGROUND}; }}
QCheckBox {{ spacing: 8px; }}
QCheckBox::indicator {{ width: 13px; height: 13px; border-radius: 3px; border: 1px solid {MUTED};
  background: {BACKGROUND}; }}
QSlider::groove:horizontal {{ height: 3px; background: {LINE}; border-radius: 1px; }}
QSlider::sub-page:horizontal {{ background: {MUTED}; border-radius: 1px; }}
QSlider::handle:horizontal {{ width: 11px; height: 11px; margin: -4px 0; border-radius: 5px; background: {TEXT}; }}
QToolTip {{ background: {RAISED}; color: {TEXT}; border: 1px solid {LINE}; padding: 4px 7px; }}
QScrollArea {{ background: transparent; border: 0; }}
QScrollBar:vertical {{ background: transparent; width: 8px; }}
QScrollBar::handle:vertical {{ background: {LINE}; border-radius: 4px; min-height: 24px; }}
QScrollBar::add-line, QScrollBar::sub-line {{ height: 0; }}
"""
