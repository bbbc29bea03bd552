"""DICOM as one volume, with a geometry worked out here rather than believed.

A folder, a zip archive or one enhanced file is read into slices (`slices`), one series and one stack of it is
chosen (`series`), its places are checked (`stack`) and mended where a person asks for it (`repair`), and the
pixels are decoded (`pixels`). Everything that is no regular volume is refused by name, because a reader that
guesses bends the anatomy. Patient identity is never read into the result: only technical facts are.
"""

from anatomy.dicom.archive import is_archive, unpacked
from anatomy.dicom.reader import read_series
from anatomy.dicom.slices import is_dicom

__all__ = ["is_archive", "is_dicom", "read_series", "unpacked"]
