"""Small SEEM models, and batches with targets of all three tasks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from segfoundry.modeling.finetune import apply_policy
from segfoundry.modeling.seem.config import tiny
from segfoundry.modeling.seem.model import Seem
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.structures.category import Category
from segfoundry.utils.structures.requests import Strokes
from segfoundry.utils.structures.samples import Batch, Sample, SpatialTargets, Targets, TextTargets

CATEGORIES = [Category(i, name, i % 2 == 0, (i, i, i)) for i, name in enumerate(("cat", "sky", "cup"))]
V0 = {"MODEL__NAME": "seem_model_v0", "MODEL__DECODER__NAME": "seem_v0", "STROKE_SAMPLER__MAX_CANDIDATE": 1}
DEMO = {
    "MODEL__NAME": "seem_model_demo",
    "MODEL__DECODER__NAME": "seem_demo",
    "ATTENTION_ARCH__VARIABLE__queries": ["object"],
    "ATTENTION_ARCH__VARIABLE__tokens": ["grounding", "spatial", "visual", "audio"],
    "ATTENTION_ARCH__SELF_ATTENTION__queries__object": [
        "queries_object",
        *(f"tokens_{source}" for source in ("grounding", "spatial", "visual", "audio")),
    ],
    "ATTENTION_ARCH__SELF_ATTENTION__tokens": {
        "grounding": ["queries_object", "tokens_grounding"],
        "spatial": ["tokens_spatial"],
        "visual": ["tokens_visual"],
        "audio": ["queries_object", "tokens_audio"],
    },
    "ATTENTION_ARCH__MASKING": [f"tokens_{source}" for source in ("grounding", "spatial", "visual", "audio")],
}


def prompted_model(**options: Any) -> Seem:
    """Returns the tiny model with further keys, ``__`` for the dots; only what trains has gradients."""
    torch.manual_seed(0)
    values = tiny() | {name.replace("__", "."): value for name, value in options.items()}
    model = Seem.from_config(load_mapping(values).cfg, CATEGORIES)
    if model.criterion is not None:
        apply_policy(model, model.train_policy())
    return model


def bands(count: int, size: tuple[int, int]) -> torch.Tensor:
    """Returns (count, H, W) bool: the rows of an image, shared out."""
    height = size[0]
    masks = torch.zeros(count, *size, dtype=torch.bool)
    for k in range(count):
        masks[k, k * height // count : (k + 1) * height // count] = True
    return masks


def dots(masks: torch.Tensor) -> Strokes:
    """Returns one stroke of a few pixels in the middle of each band."""
    positive = torch.zeros_like(masks)
    for drawn, mask in zip(positive, masks, strict=True):
        rows = mask.any(dim=1).nonzero()[:, 0]
        middle = int(rows[len(rows) // 2])
        drawn[middle : middle + 2, 20:24] = True
    return Strokes(positive & masks, torch.zeros_like(masks))


def prompted_batch(
    objects: list[int] | None = None, texts: list[list[str]] | None = None, size: tuple[int, int] = (64, 64)
) -> Batch:
    """Returns images with three segments each.

    Args:
        objects: per image, how many are prompted by strokes; an image with more than one has an empty one, too.
        texts: per image, sentences; None: the mapper made no texts.
        size: of the images.
    """
    count = len(objects or texts or [0])
    rng = np.random.default_rng(3)
    images = torch.from_numpy(rng.integers(0, 256, (count, 3, *size), dtype=np.uint8))
    masks, targets = bands(3, size), []
    for i in range(count):
        spatial = None
        if objects is not None:
            chosen = bands(max(objects[i], 1), size)[: objects[i]]
            strokes = dots(chosen).positive
            if objects[i] > 1:
                chosen[-1], strokes[-1] = False, False
            spatial = SpatialTargets(chosen, strokes)
        named = None
        if texts is not None:
            named = TextTargets(texts[i], bands(4, size)[: len(texts[i])], "class" if i % 2 else "text")
        targets.append(Targets(masks, torch.tensor([i % 3, 1, 2]), spatial, named))
    samples = [Sample(np.empty((0, 0, 3), np.uint8), i, i, "", (size[0] + 5, size[1] + 3)) for i in range(count)]
    return Batch(images, [size] * count, samples, targets, list(range(count)))


def parts_of(batch: Batch) -> list[Batch]:
    """Returns each image as a batch of its own."""
    assert batch.targets is not None
    return [
        Batch(
            batch.images[i : i + 1],
            batch.image_sizes[i : i + 1],
            batch.samples[i : i + 1],
            batch.targets[i : i + 1],
            [i],
        )
        for i in range(len(batch))
    ]


def joined(shares: list[dict[str, float]]) -> dict[str, float]:
    """Joins shares of loss normalisers as the trainer does."""
    return {name: (max if name.startswith("max_") else sum)([share[name] for share in shares]) for name in shares[0]}
