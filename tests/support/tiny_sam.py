"""Small SAMs: as the recorded cases describe them, and batches of drawn foregrounds for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from segfoundry.datasets.collate import collate
from segfoundry.modeling.layers.image_encoder_vit import ConvNeck, ImageEncoderViT
from segfoundry.modeling.sam.mask_decoder import MaskDecoder
from segfoundry.modeling.sam.network import Sam
from segfoundry.modeling.sam.prompt_encoder import PromptEncoder
from segfoundry.modeling.sam.two_way_transformer import TwoWayTransformer
from segfoundry.utils.structures import Batch, Sample, Targets

TINY = {
    "img_size": 64,
    "patch_size": 8,
    "embed_dim": 16,
    "depth": 2,
    "num_heads": 2,
    "out_chans": 16,
    "window_size": 3,
    "global_attn_indexes": [1],
    "mask_in_chans": 8,
    "decoder": {"transformer_depth": 2, "num_heads": 4, "mlp_dim": 32, "iou_head_depth": 3, "iou_head_hidden_dim": 16},
}
"""A network that answers in milliseconds."""


def recorded_sam(config: Mapping[str, Any]) -> Sam:
    """Builds the network that the ``config`` of a recorded case describes."""
    decoder, dim = config["decoder"], config["out_chans"]
    encoder = ImageEncoderViT(
        embed_dim=config["embed_dim"],
        depth=config["depth"],
        num_heads=config["num_heads"],
        global_attn_indexes=config["global_attn_indexes"],
        neck=ConvNeck(config["embed_dim"], dim),
        img_size=config["img_size"],
        patch_size=config["patch_size"],
        window_size=config["window_size"],
    )
    grid = config["img_size"] // config["patch_size"]
    transformer = TwoWayTransformer(decoder["transformer_depth"], dim, decoder["num_heads"], decoder["mlp_dim"])
    return Sam(
        encoder,
        PromptEncoder(dim, grid, config["img_size"], config["mask_in_chans"]),
        MaskDecoder(
            dim,
            transformer,
            iou_head_depth=decoder["iou_head_depth"],
            iou_head_hidden_dim=decoder["iou_head_hidden_dim"],
        ),
    )


def foreground_sample(image: np.ndarray, foreground: np.ndarray, index: int = 0) -> Sample:
    """Returns an image (h, w, 3) at the network's size with a foreground (H, W) for training and evaluation."""
    targets = Targets(np.zeros((0, *image.shape[:2]), bool), np.zeros(0, np.int64), foreground=foreground[None])
    size = (foreground.shape[0], foreground.shape[1])
    return Sample(image, index, index, f"{index}.png", size, targets=targets, foreground=foreground)


def drawn_batch(sizes: Sequence[tuple[int, int]], seed: int = 0) -> Batch:
    """Returns random images of the given sizes with a bright bar each, the foreground at twice the size."""
    rng = np.random.default_rng(seed)
    samples = []
    for index, (height, width) in enumerate(sizes):
        image = rng.integers(0, 120, (height, width, 3), dtype=np.uint8)
        foreground = np.zeros((2 * height, 2 * width), bool)
        row = int(rng.integers(2, height - 6))
        image[row : row + 4, 3:-3] += 100
        foreground[2 * row : 2 * row + 8, 6:-6] = True
        samples.append(foreground_sample(image, foreground, index))
    return collate(samples)
