"""Reading and writing video files (PyAV)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from .errors import DataError, UserError

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"})


@dataclass(frozen=True)
class VideoInfo:
    """What a video's header says.

    Attributes:
        height: rows of a frame as shown, pixels.
        width: columns of a frame as shown, pixels.
        fps: frames per second (average).
        frames: number of frames; 0 when the container does not say.
    """

    height: int
    width: int
    fps: float
    frames: int


def video_info(path: Path) -> VideoInfo:
    """Reads a video's header and first frame.

    Raises:
        DataError: if the file is missing, is no video or holds no frame.
    """
    import av

    frame = next(read_video(path))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        rate = stream.average_rate or stream.guessed_rate
        return VideoInfo(frame.shape[0], frame.shape[1], float(rate) if rate else 25.0, int(stream.frames))


def read_video(path: Path) -> Iterator[np.ndarray]:
    """Yields the frames of a video in order, (H, W, 3) uint8 RGB, turned as its rotation tag says.

    Raises:
        DataError: if the file is missing, is no video, holds no frame or breaks off.
    """
    import av

    path = Path(path)
    if not path.is_file():
        raise DataError(f"video {path} does not exist")
    count = 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataError(f"{path} holds no video stream")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                count += 1
                # rotation is counter-clockwise degrees, a multiple of 90
                yield np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4))
    except av.FFmpegError as error:
        raise DataError(f"cannot read video {path} after {count} frames: {error}") from error
    if count == 0:
        raise DataError(f"video {path} holds no frame")


def write_video(path: Path, frames: Iterable[np.ndarray], fps: float) -> int:
    """Writes frames, (H, W, 3) uint8 RGB of one size, as H.264 in the container of the suffix; returns their number.

    Odd sizes are extended by one repeated row or column, as H.264 needs even ones. Parent folders are created; the file
    appears under its name when it is complete.

    Raises:
        DataError: if there is no frame, or frames differ in size.
        UserError: if the file cannot be written.
    """
    import av

    path = Path(path)
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    count = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(part), "w") as container:
            stream = None
            for frame in frames:
                if stream is None:
                    size = frame.shape[:2]
                    stream = container.add_stream(
                        "libx264", rate=Fraction(fps).limit_denominator(1001), options={"crf": "20"}
                    )
                    stream.height, stream.width = size[0] + size[0] % 2, size[1] + size[1] % 2
                    stream.pix_fmt = "yuv420p"
                if frame.shape[:2] != size:
                    raise DataError(f"{path}: frame {count} has size {frame.shape[:2]}, the first one {size}")
                even = np.pad(frame, ((0, size[0] % 2), (0, size[1] % 2), (0, 0)), mode="edge")
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")))
                count += 1
            if stream is None:
                raise DataError(f"no frame to write into {path}")
            container.mux(stream.encode(None))
        os.replace(part, path)
    except (av.FFmpegError, OSError) as error:
        raise UserError(f"cannot write video {path}: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    return count
