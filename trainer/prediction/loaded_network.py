"""A loaded network: what runs on it, on batches of images, whoever asks.

Letters in shapes: H and W rows and columns of an image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...datasets.stream.collate import collate
from ...datasets.tasks.registry import all_result_tasks
from ...datasets.transforms.resize import FixedResize
from ...modeling.base import MetaArch
from ...modeling.evaluation_mode import evaluation_mode
from ...utils.config.architectures import find_architecture
from ...utils.config.sections import Shared
from ...utils.errors import UserError
from ...utils.image_io import to_rgb
from ...utils.structures.category import Category
from ...utils.structures.requests import Request
from ...utils.structures.results import Prediction
from ...utils.structures.samples import Batch, Sample
from ..machine.memory_use import memory_errors
from ..machine.precision import Precision
from .result_memory import check_result_memory

if TYPE_CHECKING:
    from PIL import Image

    Picture = str | Path | Image.Image | np.ndarray
    """What the methods take for an image, see :func:`segfoundry.utils.image_io.to_rgb`."""


@dataclass
class LoadedNetwork:
    """A network with its vocabulary and the size it wants images in.

    Attributes:
        model: the network, on its device, in evaluation mode.
        cfg: its configuration.
        categories: the vocabulary, in index order.
        resize: fixed resize of an image before it enters the network.
        precision: arithmetic of the forward pass.
        device: where the network is.
        source: the weight file.
    """

    model: MetaArch
    cfg: Shared
    categories: tuple[Category, ...]
    resize: FixedResize
    precision: Precision
    device: torch.device
    source: Path

    def read(self, image: Picture) -> np.ndarray:
        """Returns any picture as (H, W, 3) uint8 RGB.

        Raises:
            UserError: it is unreadable, has more pixels than INPUT.MAX_PIXELS, or values above INPUT.BIT_DEPTH.
        """
        return to_rgb(image, int(self.cfg.INPUT.MAX_PIXELS), str(self.cfg.INPUT.BIT_DEPTH))

    @contextmanager
    def running(self) -> Iterator[None]:
        """What every pass of the network runs under: evaluation mode, no gradients, precision, clear memory errors."""
        own = find_architecture(self.cfg.MODEL.NAME).prediction_memory
        keys = ("--batch", *own, "the size of the images", "PRECISION bf16")
        with evaluation_mode(self.model), memory_errors(self.device, keys), self.precision.autocast():
            yield

    def batch(self, images: Sequence[np.ndarray], *, originals: bool = False) -> Batch:
        """Returns images (H, W, 3) uint8 as the network takes them, on its device; with the images themselves if asked.

        Args:
            images: the images.
            originals: hand them over at their own size, too (``Sample.original``).
        """
        samples = [
            Sample(self.resize(image), index, index, "", image.shape[:2], original=image if originals else None)
            for index, image in enumerate(images)
        ]
        return collate(samples).to(self.device)

    def result_tasks(self, tasks: Sequence[str] | None = None) -> tuple[str, ...]:
        """Returns the tasks that a call computes: those asked for, or what the network does unasked.

        Raises:
            UserError: the network cannot do one of them.
        """
        known = self.model.result_kinds
        chosen = tuple(self.model.tasks if tasks is None else tasks)
        for task in chosen:
            if task not in known:
                offers = f"it offers {', '.join(sorted(known))}" if known else "it answers prompts only"
                offers += f"; {hint}" if (hint := self.model.absent_hints.get(task)) else ""
                raise UserError(f"{self.cfg.MODEL.NAME} ({self.source}) gives no {task} result; {offers}")
        return chosen

    def __call__(self, images: Sequence[np.ndarray], tasks: Sequence[str] | None = None) -> list[Prediction]:
        """Predicts on images of one size.

        Args:
            images: (H, W, 3) uint8 RGB each. Images of different sizes would be padded to the largest one, and a
                network that pools over the whole image would answer differently; so they must not differ.
            tasks: names of tasks, see :mod:`segfoundry.datasets.tasks`; None: what the configuration switches on.

        Returns:
            One prediction per image, at the image's size.

        Raises:
            ValueError: the images differ in size.
            UserError: out of memory, or the results would be larger than TEST.MAX_RESULT_GB; names what to lower.
        """
        sizes = {image.shape[:2] for image in images}
        if len(sizes) > 1:
            raise ValueError(f"images of one size are needed, found {sorted(sizes)}")
        asked = self.result_tasks(tasks)
        for size in sizes:
            check_result_memory(self.cfg, size, asked, len(images))
        originals = any(task.needs_original for task in all_result_tasks() if task.name in asked)
        with self.running():
            return self.model(self.batch(images, originals=originals), request=Request(tasks=asked))
