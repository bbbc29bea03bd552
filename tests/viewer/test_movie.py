from __future__ import annotations

from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from viewer.errors import ViewerError
from viewer.movie import Movie


def moving_bar(count: int, size: tuple[int, int]) -> list[np.ndarray]:
    frames = []
    for k in range(count):
        frame = np.full((size[1], size[0], 3), 20, dtype=np.uint8)
        frame[:, 4 * k : 4 * k + 24] = (220, 140, 60)
        frames.append(frame)
    return frames


def test_movie_decodes_to_what_went_in(tmp_path: Path) -> None:
    size, frames = (160, 90), moving_bar(30, (160, 90))
    with Movie(tmp_path / "movie.mp4", size, frames_per_s=30) as movie:
        for frame in frames:
            movie.add(frame)
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "movie.mp4"))
    facts = next(reader)
    decoded = [np.frombuffer(data, np.uint8).reshape(90, 160, 3) for data in reader]
    assert facts["codec"].startswith("h264")
    assert facts["pix_fmt"].startswith("yuv420p")
    assert facts["size"] == size
    assert facts["fps"] == 30
    assert len(decoded) == len(frames) == movie.frames
    error = [np.abs(a.astype(int) - b).mean() for a, b in zip(decoded, frames, strict=True)]
    assert max(error) < 8.0
    assert [p.name for p in tmp_path.iterdir()] == ["movie.mp4"]


def test_a_movie_that_stops_midway_leaves_nothing(tmp_path: Path) -> None:
    def stop_midway() -> None:
        with Movie(tmp_path / "movie.mp4", (64, 64)) as movie:
            movie.add(np.zeros((64, 64, 3), np.uint8))
            raise RuntimeError("the solver stopped")

    with pytest.raises(RuntimeError, match="the solver stopped"):
        stop_midway()
    assert list(tmp_path.iterdir()) == []


def test_refusals_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(ViewerError, match="even numbers"):
        Movie(tmp_path / "movie.mp4", (161, 90))
    with pytest.raises(ViewerError, match="There is no folder"):
        Movie(tmp_path / "nowhere" / "movie.mp4", (160, 90))
    with pytest.raises(ViewerError, match="does not fit"), Movie(tmp_path / "movie.mp4", (160, 90)) as movie:
        movie.add(np.zeros((90, 158, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []
