"""Segments what prompts point at or texts name in image files, and writes the masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ...datasets.formats.prompt_file import ObjectToSegment
from ...datasets.input_files import InputFile, log_pages
from ...datasets.writers.prompted_objects import PromptedWriter
from ...utils.errors import DataError, UserError
from ...utils.image_io import read_image_header
from ...utils.logging import get_logger
from ...utils.palette import distinct_color
from ...utils.prompts import PromptError, check_prompt
from ...utils.structures.category import Category
from ...utils.structures.results import InstanceResult
from ...utils.visualizer import draw_instances
from .interactive_session import InteractiveSession
from .predict_files import Summary, check_output_folder, progress, write_overlay
from .predictor import Predictor

log = get_logger(__name__)

ObjectsOf = Callable[[Path], Sequence[ObjectToSegment]]


def check_objects(inputs: Sequence[InputFile], objects_of: ObjectsOf) -> None:
    """Checks the prompts against the images' sizes, before anything slow begins; unreadable images are passed over.

    Raises:
        UserError: an input is a video, a prompt is outside its image or says nothing, or no image has a prompt.
    """
    for file in inputs:
        if file.is_video:
            raise UserError(f"{file.path}: prompts are for images; leave videos out")
        try:
            header = read_image_header(file.path, np.iinfo(np.int64).max)
        except DataError:
            continue
        log_pages(file.path, header.pages)
        size = header.height, header.width
        for asked in objects_of(file.path):
            for prompt in asked.prompts:
                try:
                    check_prompt(prompt, size)
                except PromptError as error:
                    raise PromptError(f"{file.path}: {error}") from error
    if not any(objects_of(file.path) for file in inputs):
        raise UserError(f"none of the {len(inputs)} inputs has a prompt")


def predict_prompted(
    predictor: Predictor,
    inputs: Sequence[InputFile],
    objects_of: ObjectsOf,
    output: Path,
    *,
    skip_corrupt: bool = False,
    force: bool = False,
) -> Summary:
    """Segments the objects of every image; files as :mod:`segfoundry.datasets.writers.prompted_objects`, and overlays.

    Args:
        predictor: the network.
        inputs: images.
        objects_of: an image's path -> its objects; an image without any is left out.
        output: result folder.
        skip_corrupt: leave unreadable files out instead of stopping.
        force: write into a folder that holds files already.

    Raises:
        UserError: a prompt does not fit, the network does not understand it, a file is unreadable, or none is readable.
    """
    check_output_folder(output, force)
    asked = [(file, objects_of(file.path)) for file in inputs]
    empty = [str(file.path) for file, objects in asked if not objects]
    if empty:
        log.warning("no prompt for %d images, which are left out: %s", len(empty), ", ".join(empty[:3]))
    asked = [(file, objects) for file, objects in asked if objects]
    summary, writer = Summary(), PromptedWriter(output)
    found = Counter[bool]()
    try:
        with progress(len(asked)) as advance:
            for file, objects in asked:
                found += _image(predictor, file, objects, writer, summary, skip_corrupt)
                advance(1)
    finally:
        writer.close()
    if summary.images == 0:
        raise DataError(f"none of the {len(asked)} inputs could be read; the first: {summary.skipped[0]}")
    if missed := found[False]:
        log.warning("the mask of %d of %d objects is empty: nothing was found at their prompts", missed, found.total())
    return summary


def _image(
    predictor: Predictor,
    file: InputFile,
    objects: Sequence[ObjectToSegment],
    writer: PromptedWriter,
    summary: Summary,
    skip_corrupt: bool,
) -> Counter[bool]:
    """Segments the objects of one image and writes them; returns how many masks have pixels and how many have none."""
    try:
        image = predictor.read(file.path)
    except DataError as error:
        if not skip_corrupt:
            raise DataError(f"{error} (--skip-corrupt leaves unreadable files out)") from error
        log.warning("skipped: %s", error)
        summary.skipped.append(f"{file.path}: {error}")
        return Counter()
    session = InteractiveSession(predictor, image)
    for asked in objects:
        session.new_object()
        try:
            session.add(*asked.prompts, text=asked.text)
        except PromptError as error:
            raise PromptError(f"{file.path}: {error}") from error
    masks = session.masks
    writer.add_image(file.name, file.image_id, file.path.name, session.size)
    for asked, found in zip(objects, session.objects, strict=True):
        writer.add_object(asked, found.rle, found.score)
    write_overlay(writer.folder / "overlay" / f"{file.name}.jpg", _overlay(image, objects, masks, session.scores))
    summary.images += 1
    return Counter(bool(mask.any()) for mask in masks)


def _overlay(
    image: np.ndarray, objects: Sequence[ObjectToSegment], masks: np.ndarray, scores: np.ndarray
) -> np.ndarray:
    """Returns the image with each object in a colour of its own."""
    names = [asked.name or asked.text or f"object {number}" for number, asked in enumerate(objects, start=1)]
    colors = [Category(number, name, True, distinct_color(number)) for number, name in enumerate(names)]
    return draw_instances(image, InstanceResult(masks, np.arange(len(masks)), scores), colors, min_score=0.0)
