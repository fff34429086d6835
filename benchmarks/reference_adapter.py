"""Runs the SEEM reference release (branch v1.0 of its repository) on a CPU with current libraries.

Nothing of the release is part of this repository: the user names a checkout. What is adapted is where the release asks
for CUDA, MPI, a tokenizer download, or names that current numpy and torch no longer have; the arithmetic is untouched.
"""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from sides import import_product

CONFIG = "configs/seem/focalt_unicl_lang_v1.yaml"
FROZEN = ("backbone", "lang_encoder", "pixel_decoder")  # parts of names, as in the configuration's FIX_PARAM


def load_reference(checkout: Path, num_classes: int, settings: dict[str, Any] | None = None) -> torch.nn.Module:
    """Builds the release's Focal-T model with random weights.

    Args:
        checkout: folder of the release.
        num_classes: number of COCO's panoptic classes that are kept.
        settings: dotted configuration key -> value.
    """
    _adapt_libraries()
    tokenizer = _tokenizer()
    sys.path.insert(0, str(checkout))
    os.chdir(checkout)
    import modeling.language.vlpencoder as language
    from modeling.architectures.build import build_model
    from modeling.architectures.seem_model_v1 import GeneralizedSEEM  # noqa: F401  (fills the table of models)

    language.build_tokenizer = lambda config: tokenizer
    config = yaml.safe_load(Path(CONFIG).read_text())
    config["VERBOSE"] = False
    config["MODEL"]["ENCODER"]["NUM_CLASSES"] = num_classes
    for key, value in (settings or {}).items():
        node = config
        *parents, last = key.split(".")
        for name in parents:
            node = node[name]
        node[last] = value
    model = build_model(config)
    names = model.train_class_names
    model.train_class_names = [*names[:num_classes], names[-1]]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not any(part in name for part in FROZEN))
    return model


def training_records(
    images: np.ndarray, masks: np.ndarray, labels: np.ndarray, strokes: np.ndarray, texts: Sequence[str]
) -> list[dict]:
    """Returns a batch as the release's mapper makes it.

    Args:
        images: (B, H, W, 3) uint8.
        masks: (B, M, H, W) bool.
        labels: (B, M) category indices.
        strokes: (B, N, H, W) bool, strokes on the first N masks of each image.
        texts: sentences about the first masks of each image.
    """
    from detectron2.structures import BitMasks, Boxes, Instances

    records = []
    for image, own_masks, own_labels, own_strokes in zip(images, masks, labels, strokes, strict=True):
        own = torch.from_numpy(own_masks)
        instances = Instances(image.shape[:2])
        instances.gt_masks = BitMasks(own)
        instances.gt_boxes = Boxes(torch.zeros(len(own), 4))  # box losses are off
        instances.gt_classes = torch.from_numpy(own_labels)
        instances.is_things = torch.ones(len(own), dtype=torch.bool)
        records.append(
            {
                "image": torch.from_numpy(image).permute(2, 0, 1).float(),
                "height": image.shape[0],
                "width": image.shape[1],
                "instances": instances,
                "spatial_query": {"rand_shape": torch.from_numpy(own_strokes), "gt_masks": own[: len(own_strokes)]},
                "groundings": {
                    "masks": own[: len(texts)].float(),
                    "texts": list(texts),
                    "mode": "text",
                    "hash": np.arange(len(texts)),
                },
            }
        )
    return records


def _adapt_libraries() -> None:
    np.int, np.float = int, float  # type: ignore[attr-defined]
    mpi = types.ModuleType("mpi4py")
    mpi.MPI = types.SimpleNamespace(COMM_WORLD=None)  # type: ignore[attr-defined]
    sys.modules.setdefault("mpi4py", mpi)
    torch.Tensor.cuda = lambda self, *args, **kwargs: self  # type: ignore[method-assign]
    torch.cuda.current_device = lambda: torch.device("cpu")  # type: ignore[assignment, return-value]
    read, write = torch.Tensor.__getitem__, torch.Tensor.__setitem__
    torch.Tensor.__getitem__ = lambda self, index: read(self, _index(index))  # type: ignore[method-assign, assignment]
    torch.Tensor.__setitem__ = lambda self, index, value: write(self, _index(index), value)  # type: ignore[method-assign, assignment]


def _index(index: Any) -> Any:
    """Returns a list of index lists as the tuple that it meant to older releases of torch."""
    if isinstance(index, list) and index and isinstance(index[0], list):
        return tuple(torch.as_tensor(part) for part in index)
    return index


def _tokenizer() -> Any:
    import_product()
    from segfoundry.modeling.seem.text.tokenizer import ClipTokenizer

    clip = ClipTokenizer()

    class Tokenizer:
        vocab_size = clip.vocabulary_size

        def __call__(self, texts: str | Sequence[str], **options: Any) -> dict[str, torch.Tensor]:
            ids = clip([texts] if isinstance(texts, str) else list(texts))
            text = torch.arange(ids.shape[1]) <= ids.argmax(dim=1)[:, None]
            return {"input_ids": ids, "attention_mask": text.long()}

    return Tokenizer()
