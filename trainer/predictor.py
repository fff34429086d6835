"""A trained network ready for use: ``Predictor.from_checkpoint(...)`` once, then ``predictor.panoptic(image)`` etc.

Letters in shapes: H and W rows and columns of an image, N instances, T texts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from ..datasets.collate import collate
from ..datasets.mappers import build as _registrations  # noqa: F401  (fills the table of resizes)
from ..datasets.mappers.registry import EVAL_RESIZES
from ..datasets.transforms.resize import FixedResize
from ..modeling.base import MetaArch
from ..utils.config.engine import find_value
from ..utils.errors import UserError
from ..utils.image_io import to_rgb
from ..utils.logging import get_logger
from ..utils.structures import (
    Batch,
    Category,
    ForegroundResult,
    InstanceResult,
    PanopticResult,
    Prediction,
    ReferResult,
    Request,
    Sample,
)
from .distributed import Ranks, pick_device
from .evaluate import evaluation_mode
from .loading import load_model, parse_classes
from .memory import memory_errors
from .precision import Precision, build_precision
from .result_memory import check_result_memory

if TYPE_CHECKING:
    from PIL import Image

    from .session import InteractiveSession

    Picture = str | Path | Image.Image | np.ndarray
    """What the methods take for an image, see :func:`segfoundry.utils.image_io.to_rgb`."""

log = get_logger(__name__)

_Result = TypeVar("_Result")

_MEMORY_KEYS = ("--batch", "SAM.AMG.POINTS_PER_BATCH (everything mode)", "the size of the images", "PRECISION bf16")


@dataclass
class Predictor:
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
    cfg: Any
    categories: tuple[Category, ...]
    resize: FixedResize
    precision: Precision
    device: torch.device
    source: Path

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        conf_files: Sequence[str] = (),
        overrides: Sequence[str] = (),
        classes: str | Sequence[str] | None = None,
        device: str | None = None,
    ) -> Predictor:
        """Loads a trained network.

        Args:
            path: run folder, checkpoint folder or weight file (ours or a published one).
            conf_files: configuration files, merged over the one that the weights carry.
            overrides: words ``KEY VALUE`` or ``KEY=VALUE``.
            classes: other category names, ``"person,road:stuff"`` or ``["person", "road:stuff"]``; None: the trained.
            device: cpu, cuda, cuda:N, mps or auto; None: what DEVICE says.

        Raises:
            UserError: see :func:`load_predictor`.
        """
        if classes is not None and not isinstance(classes, str):
            classes = ",".join(classes)
        words = [*overrides, *(("DEVICE", device) if device is not None else ())]
        return load_predictor(str(path), conf_files, words, classes=classes)

    def panoptic(self, image: Picture) -> PanopticResult:
        """Returns the panoptic map of one image, at its size.

        Args:
            image: path, Pillow image, or (H, W, 3) uint8 RGB.

        Returns:
            ``ids`` (H, W) int32 and ``segments``; ``segment.category`` is a place in :attr:`categories`.

        Raises:
            UserError: the image is unreadable or too large, or the network has no such result.
        """
        return _present(self._single(image, "panoptic").panoptic)

    def semantic(self, image: Picture) -> np.ndarray:
        """Returns the place in :attr:`categories` of each pixel, (H, W) int64; argument and errors as panoptic."""
        return _present(self._single(image, "semantic").semantic)

    def instances(self, image: Picture) -> InstanceResult:
        """Returns scored instances, best first: masks (N, H, W) bool; argument and errors as panoptic."""
        return _present(self._single(image, "instance").instances)

    def foreground(self, image: Picture) -> ForegroundResult:
        """Tells foreground from background in one image: mask (H, W) bool and probability (H, W) float32.

        Argument and errors as panoptic.
        """
        return _present(self._single(image, "foreground").foreground)

    def everything(self, image: Picture) -> list[dict[str, Any]]:
        """Finds masks of all that can be told apart in one image, best first; argument and errors as panoptic.

        Returns:
            Records with ``segmentation`` (COCO run-length code), ``area``, ``bbox`` (x, y, width, height),
            ``predicted_iou``, ``stability_score``, ``point_coords`` and ``crop_box``.
        """
        return _present(self._single(image, "everything").everything)

    def refer(self, image: Picture, texts: str | Sequence[str]) -> ReferResult:
        """Finds what texts name; each text is answered on its own.

        Args:
            image: path, Pillow image, or (H, W, 3) uint8 RGB.
            texts: one or several phrases.

        Returns:
            masks (T, H, W) bool and scores (T,) float32, in the order of the texts.

        Raises:
            UserError: as panoptic; a text is empty; the network takes no texts.
        """
        from .prompting import refer

        words: list[Any] = list(texts) if isinstance(texts, (list, tuple)) else [texts]  # anything else is named there
        return refer(self, self.read(image), words)

    def interactive(self, image: Picture) -> InteractiveSession:
        """Starts a session of clicks, boxes, scribbles and texts on one image, whose features are computed now.

        Args:
            image: path, Pillow image, or (H, W, 3) uint8 RGB.

        Raises:
            UserError: the image is unreadable or too large, or the network takes no prompts.
        """
        from .session import InteractiveSession

        return InteractiveSession(self, self.read(image))

    def read(self, image: Picture) -> np.ndarray:
        """Returns any picture as (H, W, 3) uint8 RGB; errors as panoptic."""
        return to_rgb(image, int(self.cfg.INPUT.MAX_PIXELS))

    @contextmanager
    def running(self) -> Iterator[None]:
        """What every pass of the network runs under: evaluation mode, no gradients, precision, clear memory errors."""
        with evaluation_mode(self.model), memory_errors(self.device, _MEMORY_KEYS), self.precision.autocast():
            yield

    def batch(self, images: Sequence[np.ndarray]) -> Batch:
        """Returns images (H, W, 3) uint8 as the network takes them, on its device."""
        samples = [
            Sample(self.resize(image), index, index, "", (image.shape[0], image.shape[1]))
            for index, image in enumerate(images)
        ]
        return collate(samples).to(self.device)

    def result_tasks(self, tasks: Sequence[str] | None = None) -> tuple[str, ...]:
        """Returns the tasks that a call computes: those asked for, or what the network does unasked.

        Raises:
            UserError: the network cannot do one of them.
        """
        known = self.model.result_kinds
        chosen = tuple(getattr(self.model, "tasks", sorted(known)) if tasks is None else tasks)
        for task in chosen:
            if task not in known:
                offers = f"it offers {', '.join(sorted(known))}" if known else "it answers prompts only"
                if task == "foreground" and find_value(self.cfg, "SAM.TASK"):
                    offers += "; weights that were trained for it without saying so: --overrides SAM.TASK dlo"
                raise UserError(f"{self.cfg.MODEL.NAME} ({self.source}) gives no {task} result; {offers}")
        return chosen

    def _single(self, image: Picture, task: str) -> Prediction:
        return self([self.read(image)], (task,))[0]

    def __call__(self, images: Sequence[np.ndarray], tasks: Sequence[str] | None = None) -> list[Prediction]:
        """Predicts on images of one size.

        Args:
            images: (H, W, 3) uint8 RGB each. Images of different sizes would be padded to the largest one, and a
                network that pools over the whole image would answer differently; so they must not differ.
            tasks: any of "panoptic", "semantic", "instance", "foreground", "everything"; None: what the configuration
                switches on.

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
        together = tuple(task for task in asked if task != "everything")
        predictions = [Prediction() for _ in images]
        with self.running():
            if together:
                predictions = self.model(self.batch(images), request=Request(tasks=together))
            if "everything" in asked:  # asks about each image many times, at the image's own size
                model: Any = self.model
                for image, prediction in zip(images, predictions, strict=True):
                    prediction.everything = model.everything(image)
        return predictions


def _present(result: _Result | None) -> _Result:
    """Returns a part of a prediction that was asked for, and so is there."""
    assert result is not None
    return result


def load_predictor(
    weights: str,
    conf_files: Sequence[str] = (),
    overrides: Sequence[str] = (),
    config_overrides: Sequence[str] = (),
    classes: str | None = None,
) -> Predictor:
    """Builds the network that made a weight file, and loads it.

    Args:
        weights: run folder, checkpoint folder or weight file. What this program wrote carries its configuration and
            category names; a bare published file is recognised by its parameters, any other one needs ``conf_files``;
            both stand for COCO's categories.
        conf_files: configuration files; merged over the one the weights carry.
        overrides: words ``KEY VALUE`` or ``KEY=VALUE``.
        config_overrides: pieces of a JSON object.
        classes: vocabulary instead of the trained one, see
            :func:`segfoundry.trainer.loading.parse_classes`.

    Raises:
        CheckpointError: the weights are missing, damaged or of another architecture.
        ConfigError: there is no configuration, or it does not fit.
    """
    vocabulary = None if classes is None else parse_classes(classes)
    loaded = load_model(weights, conf_files, overrides, config_overrides, vocabulary)
    log.log(logging.INFO if loaded.report.complete else logging.WARNING, "%s", loaded.report.text())
    cfg = loaded.resolved.cfg
    device = pick_device(cfg.DEVICE, Ranks())
    model = loaded.model.to(device)
    resize = EVAL_RESIZES.get(model.mapper)(cfg, loaded.record)
    return Predictor(model, cfg, loaded.vocabulary, resize, build_precision(cfg, device), device, loaded.file)
