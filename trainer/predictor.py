"""A trained network ready for use: ``load_predictor(...)`` once, then ``predictor(images)``."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segfoundry.datasets.catalog import find_record
from segfoundry.datasets.collate import collate
from segfoundry.datasets.formats.record import Record, parse_categories
from segfoundry.datasets.mappers.build import eval_resize
from segfoundry.datasets.transforms.resize import ResizeLongest, ResizeShortest
from segfoundry.modeling.base import MetaArch
from segfoundry.modeling.build import build_model
from segfoundry.modeling.checkpoint import find_weights, load_weights, read_state_dict
from segfoundry.trainer.distributed import Ranks, pick_device
from segfoundry.trainer.evaluate import evaluation_mode
from segfoundry.trainer.memory import memory_errors
from segfoundry.trainer.precision import Precision, build_precision
from segfoundry.trainer.run_folder import run_weights
from segfoundry.utils.config.architectures import recognise
from segfoundry.utils.config.engine import Resolved, load_config
from segfoundry.utils.errors import CheckpointError, ConfigError, UserError
from segfoundry.utils.logging import get_logger
from segfoundry.utils.palette import distinct_color
from segfoundry.utils.structures import Category, Prediction, Request, Sample

log = get_logger(__name__)

PUBLISHED_RECORD = "coco_2017"  # vocabulary of published weights, which carry no names
_MEMORY_KEYS = ("--batch", "the size of the images", "PRECISION bf16")


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
    resize: ResizeLongest | ResizeShortest
    precision: Precision
    device: torch.device
    source: Path

    def __call__(self, images: Sequence[np.ndarray], tasks: Sequence[str] | None = None) -> list[Prediction]:
        """Predicts on images of one size.

        Args:
            images: (H, W, 3) uint8 RGB each. Images of different sizes would be padded to the largest one, and a
                network that pools over the whole image would answer differently; so they must not differ.
            tasks: any of "panoptic", "semantic", "instance"; None: what the configuration switches on.

        Returns:
            One prediction per image, at the image's size.

        Raises:
            ValueError: the images differ in size.
            UserError: out of memory; names what to lower.
        """
        sizes = {image.shape[:2] for image in images}
        if len(sizes) > 1:
            raise ValueError(f"images of one size are needed, found {sorted(sizes)}")
        samples = [
            Sample(self.resize(image), index, index, "", (image.shape[0], image.shape[1]))
            for index, image in enumerate(images)
        ]
        batch = collate(samples).to(self.device)
        with evaluation_mode(self.model), memory_errors(self.device, _MEMORY_KEYS), self.precision.autocast():
            return self.model(batch, request=Request(tasks=tasks))


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
        classes: vocabulary instead of the trained one, see :func:`parse_classes`.

    Raises:
        CheckpointError: the weights are missing, damaged or of another architecture.
        ConfigError: there is no configuration, or it does not fit.
    """
    file = run_weights(Path(weights)) if Path(weights).is_dir() else find_weights(weights)
    header = read_header(file)
    resolved = _configuration(file, header.get("config"), conf_files, overrides, config_overrides)
    cfg = resolved.cfg
    trained = _trained_categories(file, header.get("categories"))
    device = pick_device(cfg.DEVICE, Ranks())
    model = build_model(cfg, trained)
    report = load_weights(model, file)
    log.log(logging.INFO if report.complete else logging.WARNING, "%s", report.text())
    model.to(device).eval().requires_grad_(False)
    categories = parse_classes(classes) if classes is not None else trained
    if classes is not None:
        model.set_vocabulary(categories)
    resize = eval_resize(cfg, _size_record(cfg, header, trained))
    return Predictor(model, cfg, categories, resize, build_precision(cfg, device), device, file)


def parse_classes(text: str) -> tuple[Category, ...]:
    """Reads a vocabulary: names separated by commas, ``name:stuff`` for what is not countable.

    Ids count from 1 in the order given.

    Raises:
        UserError: no name, an empty or repeated one, or another word than thing or stuff after the colon.
    """
    categories: list[Category] = []
    for part in text.split(","):
        name, colon, kind = (word.strip() for word in part.partition(":"))
        if not name:
            raise UserError(f"--classes {text!r}: a name is empty; write them as: person,car,road:stuff")
        if colon and kind not in ("thing", "stuff"):
            raise UserError(f"--classes: {part.strip()!r} ends with {kind!r}, expected {name}:thing or {name}:stuff")
        if any(name == c.name for c in categories):
            raise UserError(f"--classes names {name!r} twice")
        index = len(categories)
        categories.append(Category(index + 1, name, kind != "stuff", distinct_color(index)))
    return tuple(categories)


def read_header(file: Path) -> dict[str, str]:
    """Returns the text entries in a .safetensors file's header; nothing for other files.

    Raises:
        CheckpointError: the file is damaged.
    """
    if file.suffix != ".safetensors":
        return {}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            return opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} is no readable safetensors file: {error}") from error


def _configuration(
    file: Path,
    carried: str | None,
    conf_files: Sequence[str],
    overrides: Sequence[str],
    config_overrides: Sequence[str],
) -> Resolved:
    if carried is None:
        return load_config(conf_files or [_recognised(file)], overrides, config_overrides)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(carried, encoding="utf-8")
        return load_config([path, *conf_files], overrides, config_overrides)


def _recognised(file: Path) -> Path:
    """Returns the shipped configuration of a published weight file, which carries none of its own."""
    config = recognise({name: tuple(tensor.shape) for name, tensor in read_state_dict(file).items()}, file.name)
    if config is None:
        raise ConfigError(
            f"{file} carries no configuration and is no published file with one of ours; name the one it was trained "
            "with, e.g. --conf_files configs/seem/focalt_unicl_lang_v1.yaml"
        )
    log.info("%s has the layout of %s, which is used", file, config.name)
    return config


def _trained_categories(file: Path, carried: str | None) -> tuple[Category, ...]:
    if carried is None:
        return find_record(PUBLISHED_RECORD, "val")[0].categories
    try:
        return parse_categories(json.loads(carried), f"{file}: categories")
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{file}: the category names in its header are damaged: {error}") from error


def _size_record(cfg: Any, header: dict[str, str], categories: tuple[Category, ...]) -> Record:
    """Returns the data set whose evaluation size predictions use; where it is not at hand, one that asks for none."""
    names = [*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN] if header else [PUBLISHED_RECORD]
    for name in names:
        try:
            return find_record(name, "val")[0]
        except UserError:
            continue
    return Record("", Path(), Path(), categories, None, {})
