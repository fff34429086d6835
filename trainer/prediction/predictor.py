"""A trained network ready for use: ``Predictor.from_checkpoint(...)`` once, then ``predictor.panoptic(image)`` etc.

Letters in shapes: H and W rows and columns of an image, N instances, T texts.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ...datasets.pipelines.base import find_pipeline
from ...utils.config.sections import Shared
from ...utils.logging import get_logger
from ...utils.structures.results import ForegroundResult, InstanceResult, PanopticResult, Prediction, ReferResult
from ..machine.distributed import pick_device
from ..machine.launch import Ranks
from ..machine.precision import build_precision
from ..weights.load_model import load_model, parse_classes
from .encoded_image import refer
from .interactive_session import InteractiveSession
from .loaded_network import LoadedNetwork

if TYPE_CHECKING:
    from .loaded_network import Picture

log = get_logger(__name__)

_Result = TypeVar("_Result")


class Predictor(LoadedNetwork):
    """A loaded network with a method per kind of question; called, it predicts on several images of one size."""

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
        words: list[Any] = list(texts) if isinstance(texts, (list, tuple)) else [texts]  # anything else is named there
        return refer(self, self.read(image), words)

    def interactive(self, image: Picture) -> InteractiveSession:
        """Starts a session of clicks, boxes, scribbles and texts on one image, whose features are computed now.

        Args:
            image: path, Pillow image, or (H, W, 3) uint8 RGB.

        Raises:
            UserError: the image is unreadable or too large, or the network takes no prompts.
        """
        return InteractiveSession(self, self.read(image))

    def _single(self, image: Picture, task: str) -> Prediction:
        return self([self.read(image)], (task,))[0]


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
            :func:`segfoundry.trainer.weights.load_model.parse_classes`.

    Raises:
        CheckpointError: the weights are missing, damaged or of another architecture.
        ConfigError: there is no configuration, or it does not fit.
    """
    vocabulary = None if classes is None else parse_classes(classes)
    loaded = load_model(weights, conf_files, overrides, config_overrides, vocabulary)
    log.log(logging.INFO if loaded.report.complete else logging.WARNING, "%s", loaded.report.text())
    cfg: Shared = loaded.resolved.typed
    device = pick_device(cfg.DEVICE, Ranks())
    model = loaded.model.to(device)
    resize = find_pipeline(cfg).eval_resize(loaded.record)
    return Predictor(model, cfg, loaded.vocabulary, resize, build_precision(cfg, device), device, loaded.file)
