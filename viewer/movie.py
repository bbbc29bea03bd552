"""Movie: frames of a replay as H.264 in an MP4 that every player and browser shows.

The file is written beside its name and renamed when it is whole, so a movie that is there can be played.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from types import TracebackType
from typing import Any

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from viewer.errors import ViewerError

FRAMES_PER_S = 30
# x264's constant rate factor: 18 is held to be visually lossless, 23 is its default.
_RATE_FACTOR = 20


class Movie:
    """A movie being written; use it as a context manager.

    Parameters
    ----------
    path : str or Path
        The .mp4 file.
    size : tuple of int
        Width and height of the frames in pixels; both even, as yuv420p asks.
    frames_per_s : int
        Frames a second.

    Raises
    ------
    ViewerError
        If a side is odd, or the folder is not there.
    """

    def __init__(self, path: str | Path, size: tuple[int, int], frames_per_s: int = FRAMES_PER_S) -> None:
        self.path = Path(path)
        self.size = size
        self.frames = 0
        if size[0] % 2 or size[1] % 2:
            raise ViewerError(f"A movie of {size[0]}x{size[1]} pixels cannot be written; give even numbers.")
        if not self.path.parent.is_dir():
            raise ViewerError(
                f"There is no folder {self.path.parent} to write {self.path.name} into; make it first."
            )
        self._partial = self.path.with_name(f".{self.path.stem}.partial.mp4")
        self._writer: Generator[None, Any, None] | None = imageio_ffmpeg.write_frames(
            str(self._partial),
            size,
            fps=frames_per_s,
            codec="libx264",
            pix_fmt_in="rgb24",
            pix_fmt_out="yuv420p",
            macro_block_size=2,
            quality=None,
            output_params=["-crf", str(_RATE_FACTOR), "-preset", "veryfast", "-movflags", "+faststart"],
            ffmpeg_log_level="error",
        )
        self._writer.send(None)

    def add(self, frame: NDArray[np.uint8]) -> None:
        """Append a frame, shape (height, width, 3) uint8.

        Raises
        ------
        ViewerError
            If it has another size, or the encoder stopped (as on a full disk).
        """
        if frame.shape != (self.size[1], self.size[0], 3):
            raise ViewerError(
                f"A frame of shape {frame.shape} does not fit a movie of {self.size[0]}x{self.size[1]}."
            )
        if self._writer is None:
            raise ViewerError(f"{self.path.name} is closed already.")
        try:
            self._writer.send(np.ascontiguousarray(frame))
        except OSError as error:
            self._give_up()
            raise ViewerError(f"{self.path} could not be written ({error}); is the disk full?") from error
        self.frames += 1

    def close(self) -> None:
        """Finish the file and give it its name.

        Raises
        ------
        ViewerError
            If it got no frame, or the encoder could not finish.
        """
        if self._writer is None:
            return
        self._writer.close()
        self._writer = None
        if not self.frames or not self._partial.is_file() or not self._partial.stat().st_size:
            self._partial.unlink(missing_ok=True)
            raise ViewerError(
                f"{self.path} could not be finished after {self.frames} frames; is the disk full?"
            )
        os.replace(self._partial, self.path)

    def _give_up(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._partial.unlink(missing_ok=True)

    def __enter__(self) -> Movie:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._give_up()
