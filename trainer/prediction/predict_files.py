"""Predicts on images and videos and writes the results: reading ahead, batches of equal size, progress."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from ...datasets.input_files import InputFile, log_pages
from ...datasets.tasks.registry import results_of
from ...datasets.writers.predictions import PredictionWriter
from ...utils.errors import DataError, UserError
from ...utils.files import atomic_write
from ...utils.image_io import read_image, read_image_header
from ...utils.logging import console, get_logger
from ...utils.structures.category import Category
from ...utils.structures.results import Prediction
from ...utils.video import read_video, video_info, write_video
from .empty_results import EmptyResults
from .predictor import Predictor
from .result_memory import check_result_memory, largest_batch

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
        empty: in which images and frames the tasks found nothing.
    """

    images: int = 0
    frames: int = 0
    skipped: list[str] = field(default_factory=list)
    empty: EmptyResults = field(default_factory=EmptyResults)


def predict_files(
    predictor: Predictor,
    inputs: Sequence[InputFile],
    output: Path,
    *,
    tasks: Sequence[str] | None = None,
    batch_size: int = 4,
    options: Mapping[str, bool] | None = None,
    skip_corrupt: bool = False,
    force: bool = False,
) -> Summary:
    """Predicts on every input and writes the results into a folder.

    The files are those of :mod:`segfoundry.datasets.writers.predictions`, and ``overlay/NAME.jpg``
    (``overlay/NAME.mp4`` for a video, whose frames are ``NAME/000001`` and so on). When an image cannot be read, the
    results of the images before it are complete on the disk.

    Args:
        predictor: the network.
        inputs: what to predict on.
        output: result folder.
        tasks: see :class:`Predictor`.
        batch_size: most images (of one size) per forward pass.
        options: keywords of the tasks' writers, see :class:`PredictionWriter`.
        skip_corrupt: leave unreadable files out instead of stopping.
        force: write into a folder that holds files already.

    Raises:
        UserError: the folder is not empty, a file is unreadable, or no file was readable.
    """
    check_output_folder(output, force)
    writer = PredictionWriter(output, predictor.categories, **(options or {}))
    work = _Work(predictor, writer, tasks, batch_size, skip_corrupt)
    numbered = list(enumerate(inputs))
    try:
        with progress(len(inputs)) as advance:
            work.images([(number, file) for number, file in numbered if not file.is_video], advance)
            for number, file in numbered:
                if file.is_video:
                    work.video(number, file)
                    advance(1)
    finally:
        work.writer.close()
    if work.summary.images + work.summary.frames == 0:
        raise DataError(f"none of the {len(inputs)} inputs could be read; the first: {work.summary.skipped[0]}")
    work.summary.empty.report(predictor.model.empty_hints)
    return work.summary


def check_output_folder(output: Path, force: bool) -> None:
    """Refuses to write into a folder with files, unless forced.

    Raises:
        UserError: the folder is not empty, or is a file.
    """
    if output.exists() and not output.is_dir():
        raise UserError(f"--output {output} is a file; name a folder")
    if output.is_dir() and any(output.iterdir()) and not force:
        raise UserError(f"--output {output} is not empty; name another folder, or add --force to replace files in it")


class _Work:
    """One call of :func:`predict_files`."""

    def __init__(
        self,
        predictor: Predictor,
        writer: PredictionWriter,
        tasks: Sequence[str] | None,
        batch_size: int,
        skip_corrupt: bool,
    ) -> None:
        self.predictor = predictor
        self.writer = writer
        self.tasks = tasks
        self.batch_size = batch_size
        self.skip_corrupt = skip_corrupt
        self.max_pixels = int(predictor.cfg.INPUT.MAX_PIXELS)
        self.bit_depth = str(predictor.cfg.INPUT.BIT_DEPTH)
        self.asked = predictor.result_tasks(tasks)
        self.summary = Summary()

    def images(self, files: Sequence[tuple[int, InputFile]], advance: Callable[[int], None]) -> None:
        """Predicts on images, the next group being decoded meanwhile."""
        groups = iter(self._equal_size_groups(files))
        with ThreadPoolExecutor(_READERS) as pool:

            def start(group: list[tuple[int, InputFile]]) -> list[tuple[int, InputFile, Future[np.ndarray]]]:
                return [(n, f, pool.submit(read_image, f.path, self.max_pixels, self.bit_depth)) for n, f in group]

            ahead = deque(map(start, islice(groups, 1)))
            while ahead:
                ahead.extend(map(start, islice(groups, 1)))
                group = ahead.popleft()
                self._image_group(group)
                advance(len(group))

    def _equal_size_groups(self, files: Sequence[tuple[int, InputFile]]) -> Iterator[list[tuple[int, InputFile]]]:
        """Yields images of one size; sizes come from the headers, so that most bad files show before the work."""
        by_size: dict[tuple[int, int], list[tuple[int, InputFile]]] = {}
        for number, file in files:
            with self._reading(file):
                header = read_image_header(file.path, self.max_pixels)
                log_pages(file.path, header.pages)
                by_size.setdefault((header.height, header.width), []).append((number, file))
        for size in by_size:
            check_result_memory(self.predictor.cfg, size, self.asked)
        for size, group in by_size.items():
            step = largest_batch(self.predictor.cfg, size, self.asked, self.batch_size)
            for start in range(0, len(group), step):
                yield group[start : start + step]

    def _image_group(self, group: Sequence[tuple[int, InputFile, Future[np.ndarray]]]) -> None:
        """Predicts on the readable images of a group; raises for an unreadable one afterwards."""
        read, failure = [], None
        for number, file, future in group:
            try:
                with self._reading(file):
                    read.append((number, file, future.result()))
            except DataError as error:
                failure = error
                break
        if read:
            predictions = self.predictor([image for _, _, image in read], self.tasks)
            for (number, file, image), prediction in zip(read, predictions, strict=True):
                self._write((number, 0), file.name, file.image_id, file.path.name, prediction)
                picture = overlay(image, prediction, self.predictor.categories)
                write_overlay(self.writer.folder / "overlay" / f"{file.name}.jpg", picture)
                self.summary.images += 1
        if failure is not None:
            raise failure

    def video(self, number: int, file: InputFile) -> None:
        """Predicts on the frames of a video."""
        with self._reading(file):
            info = video_info(file.path)
            size = f"{info.width} x {info.height}"
            log.info("%s: %s, %.3g frames per second, %s frames", file.path, size, info.fps, info.frames or "?")
            target = self.writer.folder / "overlay" / f"{file.name}.mp4"
            write_video(target, self._frame_overlays(number, file), info.fps)

    def _frame_overlays(self, number: int, file: InputFile) -> Iterator[np.ndarray]:
        """Predicts frame by frame, writes the label files and yields the overlays."""
        count = 0
        for frames in _chunks(read_video(file.path), self.batch_size):
            for frame, prediction in zip(frames, self.predictor(frames, self.tasks), strict=True):
                count += 1
                name = f"{file.name}/{count:06d}"
                self._write((number, count), name, name, f"{file.path.name}#{count}", prediction)
                self.summary.frames += 1
                yield overlay(frame, prediction, self.predictor.categories)

    def _write(
        self, place: tuple[int, int], name: str, image_id: int | str, file_name: str, prediction: Prediction
    ) -> None:
        """Writes the label files of an image; counts the tasks that found nothing in it."""
        self.writer.add(place, name, image_id, file_name, prediction)
        self.summary.empty.add(prediction)

    @contextmanager
    def _reading(self, file: InputFile) -> Iterator[None]:
        """Counts an unreadable file, or adds the way out to its error."""
        try:
            yield
        except DataError as error:
            if not self.skip_corrupt:
                raise DataError(f"{error} (--skip-corrupt leaves unreadable files out)") from error
            log.warning("skipped: %s", error)
            self.summary.skipped.append(f"{file.path}: {error}")


def _chunks(frames: Iterable[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    iterator = iter(frames)
    while chunk := list(islice(iterator, size)):
        yield chunk


def overlay(image: np.ndarray, prediction: Prediction, categories: Sequence[Category]) -> np.ndarray:
    """Returns the image under the first task's part of a prediction."""
    for task, result in results_of(prediction):
        return task.draw(image, result, categories)
    raise ValueError("the prediction is empty: nothing to draw")


def write_overlay(path: Path, picture: np.ndarray) -> None:
    """Writes a picture (H, W, 3) uint8 RGB as a JPEG file, atomically."""
    data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    with atomic_write(path) as file:
        file.write(data.tobytes())


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], None]]:
    """Gives ``advance(count)``: a bar on a terminal, a line per tenth of the work elsewhere."""
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
