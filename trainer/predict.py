"""Predicts on images and videos and writes the results: reading ahead, batches of equal size, progress."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from segfoundry.datasets.inputs import InputFile
from segfoundry.datasets.writers import PredictionWriter
from segfoundry.trainer.predictor import Predictor
from segfoundry.utils.errors import DataError, UserError
from segfoundry.utils.files import atomic_write
from segfoundry.utils.image_io import image_size, read_image
from segfoundry.utils.logging import console, get_logger
from segfoundry.utils.structures import Category, Prediction
from segfoundry.utils.video import read_video, video_info, write_video
from segfoundry.utils.visualizer import draw_instances, draw_panoptic, draw_semantic

log = get_logger(__name__)

_READERS = 2  # threads that decode images ahead of the network
_JPEG_QUALITY = 92


@dataclass
class Summary:
    """What :func:`predict_files` did.

    Attributes:
        images: images predicted.
        frames: video frames predicted.
        skipped: files that could not be read, with the reason.
    """

    images: int = 0
    frames: int = 0
    skipped: list[str] = field(default_factory=list)


def predict_files(
    predictor: Predictor,
    inputs: Sequence[InputFile],
    output: Path,
    *,
    tasks: Sequence[str] | None = None,
    batch_size: int = 4,
    skip_corrupt: bool = False,
    force: bool = False,
) -> Summary:
    """Predicts on every input and writes the results into a folder.

    The files are those of :mod:`segfoundry.datasets.writers`, and ``overlay/NAME.jpg`` (``overlay/NAME.mp4`` for a
    video, whose frames are ``NAME/000001`` and so on). When an image cannot be read, the results of the images before
    it are complete on the disk.

    Args:
        predictor: the network.
        inputs: what to predict on.
        output: result folder.
        tasks: see :class:`Predictor`.
        batch_size: most images (of one size) per forward pass.
        skip_corrupt: leave unreadable files out instead of stopping.
        force: write into a folder that holds files already.

    Raises:
        UserError: the folder is not empty, a file is unreadable, or no file was readable.
    """
    check_output(output, force)
    limit = int(predictor.cfg.INPUT.MAX_PIXELS)
    summary = Summary()
    writer = PredictionWriter(output, predictor.categories)
    numbered = list(enumerate(inputs))
    images = [(number, file) for number, file in numbered if not file.is_video]
    try:
        with _progress(len(inputs)) as advance:
            for group in _equal_size_groups(images, batch_size, limit, skip_corrupt, summary):
                _predict_images(predictor, group, writer, tasks, limit, skip_corrupt, summary)
                advance(len(group))
            for number, file in numbered:
                if file.is_video:
                    _predict_video(predictor, file, number, writer, tasks, batch_size, skip_corrupt, summary)
                    advance(1)
    finally:
        writer.close()
    if summary.images + summary.frames == 0:
        raise DataError(f"none of the {len(inputs)} inputs could be read; the first: {summary.skipped[0]}")
    return summary


def check_output(output: Path, force: bool) -> None:
    """Refuses to write into a folder with files, unless forced.

    Raises:
        UserError: the folder is not empty, or is a file.
    """
    if output.exists() and not output.is_dir():
        raise UserError(f"--output {output} is a file; name a folder")
    if output.is_dir() and any(output.iterdir()) and not force:
        raise UserError(f"--output {output} is not empty; name another folder, or add --force to replace files in it")


def _equal_size_groups(
    images: Sequence[tuple[int, InputFile]], batch_size: int, limit: int, skip_corrupt: bool, summary: Summary
) -> Iterator[list[tuple[int, InputFile]]]:
    """Yields groups of images of one size; sizes come from the headers, so most bad files show before the work."""
    by_size: dict[tuple[int, int], list[tuple[int, InputFile]]] = {}
    for number, file in images:
        with _unreadable(file, skip_corrupt, summary):
            by_size.setdefault(image_size(file.path, limit), []).append((number, file))
    for group in by_size.values():
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size]


@contextmanager
def _unreadable(file: InputFile, skip: bool, summary: Summary) -> Iterator[None]:
    """Counts an unreadable file, or adds the way out to its error."""
    try:
        yield
    except DataError as error:
        if not skip:
            raise DataError(f"{error} (--skip-corrupt leaves unreadable files out)") from error
        log.warning("skipped: %s", error)
        summary.skipped.append(f"{file.path}: {error}")


def _predict_images(
    predictor: Predictor,
    group: Sequence[tuple[int, InputFile]],
    writer: PredictionWriter,
    tasks: Sequence[str] | None,
    limit: int,
    skip_corrupt: bool,
    summary: Summary,
) -> None:
    with ThreadPoolExecutor(_READERS) as pool:
        waiting: list[tuple[int, InputFile, Future[np.ndarray]]] = [
            (number, file, pool.submit(read_image, file.path, limit)) for number, file in group
        ]
        read = []
        for number, file, image in waiting:
            with _unreadable(file, skip_corrupt, summary):
                read.append((number, file, image.result()))
    if not read:
        return
    for (number, file, image), prediction in zip(read, predictor([r[2] for r in read], tasks), strict=True):
        writer.add((number, 0), file.name, file.image_id, file.path.name, prediction)
        _write_overlay(writer.folder / "overlay" / f"{file.name}.jpg", overlay(image, prediction, predictor.categories))
        summary.images += 1


def _predict_video(
    predictor: Predictor,
    file: InputFile,
    number: int,
    writer: PredictionWriter,
    tasks: Sequence[str] | None,
    batch_size: int,
    skip_corrupt: bool,
    summary: Summary,
) -> None:
    with _unreadable(file, skip_corrupt, summary):
        info = video_info(file.path)
        log.info(
            "%s: %d x %d, %.3g frames per second, %s frames",
            file.path,
            info.width,
            info.height,
            info.fps,
            info.frames or "?",
        )

        def overlays() -> Iterator[np.ndarray]:
            count = 0
            for frames in _chunks(read_video(file.path), batch_size):
                for frame, prediction in zip(frames, predictor(frames, tasks), strict=True):
                    count += 1
                    name = f"{file.name}/{count:06d}"
                    writer.add((number, count), name, name, f"{file.path.name}#{count}", prediction)
                    summary.frames += 1
                    yield overlay(frame, prediction, predictor.categories)

        write_video(writer.folder / "overlay" / f"{file.name}.mp4", overlays(), info.fps)


def _chunks(frames: Iterable[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    iterator = iter(frames)
    while chunk := list(islice(iterator, size)):
        yield chunk


def overlay(image: np.ndarray, prediction: Prediction, categories: Sequence[Category]) -> np.ndarray:
    """Returns the image under the richest part of the prediction: panoptic, else instances, else semantic."""
    if prediction.panoptic is not None:
        return draw_panoptic(image, prediction.panoptic, categories)
    if prediction.instances is not None:
        return draw_instances(image, prediction.instances, categories)
    if prediction.semantic is not None:
        return draw_semantic(image, prediction.semantic, categories)
    raise ValueError("the prediction is empty: no panoptic, semantic or instance part")


def _write_overlay(path: Path, picture: np.ndarray) -> None:
    data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    with atomic_write(path) as file:
        file.write(data.tobytes())


@contextmanager
def _progress(total: int):  # noqa: ANN202 - a context that gives advance(count)
    """A bar on a terminal, a line per tenth of the work elsewhere."""
    if sys.stderr.isatty():
        from rich.progress import Progress

        with Progress(console=console(), transient=True) as bar:
            task = bar.add_task("predicting", total=total)
            yield lambda count: bar.advance(task, count)
        return
    done = shown = 0

    def advance(count: int) -> None:
        nonlocal done, shown
        done += count
        if done == total or 10 * (done - shown) >= total:
            shown = done
            log.info("predicted %d of %d", done, total)

    yield advance
