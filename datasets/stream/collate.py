"""Samples -> one batch of tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from ...utils.structures.samples import Batch, Sample, Targets

_NO_IMAGE = np.zeros((0, 0, 3), np.uint8)


def collate(samples: Sequence[Sample], positions: Sequence[int] | None = None) -> Batch:
    """Stacks samples, zero-padded at the right and bottom to the largest image.

    Args:
        samples: B samples; all with targets, or none.
        positions: place of each sample within the step's whole batch; default 0..B-1.

    Returns:
        The batch: images (B, 3, H, W) uint8 with channels last in memory, masks (M, H, W) bool and labels (M,) int64
        per image.
    """
    sizes = [(s.image.shape[0], s.image.shape[1]) for s in samples]
    height, width = max(h for h, _ in sizes), max(w for _, w in sizes)
    images = np.zeros((len(samples), height, width, 3), np.uint8)
    for image, sample, (h, w) in zip(images, samples, sizes, strict=True):
        image[:h, :w] = sample.image
    given = [s.targets for s in samples if s.targets is not None]
    if given and len(given) != len(samples):
        raise ValueError("some samples of the batch have targets and some have none")
    return Batch(
        images=torch.from_numpy(images).permute(0, 3, 1, 2),
        image_sizes=sizes,
        samples=[dataclasses.replace(s, image=_NO_IMAGE, targets=None) for s in samples],
        targets=[_padded(t, height, width) for t in given] if given else None,
        positions=list(positions) if positions is not None else list(range(len(samples))),
    )


def _padded(targets: Targets, height: int, width: int) -> Targets:
    """Returns the targets as tensors, masks (M, h, w) zero-padded to (M, height, width).

    Neither ``foreground`` nor ``extra`` is padded: they need not have the image's size.
    """
    as_they_are = [targets.foreground, *targets.extra.values()]

    def convert(array: np.ndarray) -> torch.Tensor:
        if any(array is one for one in as_they_are):
            return torch.from_numpy(np.ascontiguousarray(array))
        if array.ndim == 3 and array.shape[1:] != (height, width):
            full = np.zeros((len(array), height, width), bool)
            full[:, : array.shape[1], : array.shape[2]] = array
            array = full
        return torch.from_numpy(np.ascontiguousarray(array, np.int64 if array.ndim == 1 else None))

    return targets.map(convert)
