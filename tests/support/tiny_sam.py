"""Small SAMs, from a configuration or as the recorded cases describe them, and batches of drawn images for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from segfoundry.datasets.pipelines.base import find_pipeline
from segfoundry.datasets.records.record import Record
from segfoundry.datasets.stream.collate import collate
from segfoundry.modeling.base import MetaArch
from segfoundry.modeling.build_model import build_model
from segfoundry.modeling.finetune import apply_policy, param_groups
from segfoundry.modeling.layers.image_encoder_vit import EPS, ConvNeck, ImageEncoderViT
from segfoundry.modeling.sam.config import tiny
from segfoundry.modeling.sam.network.mask_decoder import MaskDecoder
from segfoundry.modeling.sam.network.prompt_encoder import PromptEncoder
from segfoundry.modeling.sam.network.sam import Sam
from segfoundry.modeling.sam.network.two_way_transformer import TwoWayTransformer
from segfoundry.trainer.machine.precision import build_precision
from segfoundry.trainer.prediction.predictor import Predictor
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.draws import Draws
from segfoundry.utils.structures.samples import Batch, Sample, Targets

from .goldens import only

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


def recorded_encoder(config: Mapping[str, Any], **options: Any) -> ImageEncoderViT:
    """Builds the image encoder that the ``config`` of a recorded case describes; what it leaves out is as published.

    Args:
        config: sizes and switches.
        **options: further arguments of the encoder, e.g. how attention is computed.
    """
    encoder = ImageEncoderViT(
        embed_dim=config["embed_dim"],
        depth=config["depth"],
        num_heads=config["num_heads"],
        global_attn_indexes=config["global_attn_indexes"],
        neck=ConvNeck(config["embed_dim"], config["out_chans"]),
        img_size=config["img_size"],
        patch_size=config["patch_size"],
        mlp_ratio=config.get("mlp_ratio", 4),
        window_size=config["window_size"],
        **options,
    )
    only(config, qkv_bias=True, use_rel_pos=True)
    for block in encoder.blocks:
        set_norm_eps(block, config)
    return encoder


def set_norm_eps(block: nn.Module, config: Mapping[str, Any]) -> None:
    """Gives a block's norms the constant of a recorded case."""
    block.norm1.eps = block.norm2.eps = config.get("norm_eps", EPS)


def recorded_sam(config: Mapping[str, Any]) -> Sam:
    """Builds the network that the ``config`` of a recorded case describes; what it leaves out is as published."""
    decoder, dim = config["decoder"], config["out_chans"]
    only(decoder, embedding_dim=dim)
    encoder = recorded_encoder(config)
    transformer = TwoWayTransformer(
        decoder["transformer_depth"],
        dim,
        decoder["num_heads"],
        decoder["mlp_dim"],
        decoder.get("attention_downsample_rate", 2),
    )
    grid = config["img_size"] // config["patch_size"]
    return Sam(
        encoder,
        PromptEncoder(dim, grid, config["img_size"], config["mask_in_chans"]),
        MaskDecoder(
            dim,
            transformer,
            num_multimask_outputs=decoder.get("num_multimask_outputs", 3),
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


def config(**values: Any) -> Any:
    """Returns a frozen configuration: the smallest one with other values, ``__`` for the dots."""
    return load_mapping(tiny() | {name.replace("__", "."): value for name, value in values.items()}).cfg


def model(seed: int = 0, **values: Any) -> MetaArch:
    """Builds the network of :func:`config` with seeded random weights."""
    torch.manual_seed(seed)
    return build_model(config(**values), ())


def predictor(**values: Any) -> Predictor:
    """Returns a Predictor around :func:`model`."""
    cfg, cpu = config(**values), torch.device("cpu")
    network = model(**values).eval()
    resize = find_pipeline(cfg).eval_resize(Record("", Path(), Path(), (), None, {}))
    return Predictor(network, cfg, (), resize, build_precision(cfg, cpu), cpu, Path("sam.pt"))


def batch(seed: int = 0, count: int = 2, objects: int = 3, side: int = 64) -> Batch:
    """Returns images with noise, discs as objects and a disc as foreground."""
    rng = np.random.default_rng(seed)
    targets, samples = [], []
    size = (side, side * 3 // 4)
    for index in range(count):
        masks = np.stack([_disc(rng, size) for _ in range(objects)]) if objects else np.zeros((0, *size), bool)
        foreground = torch.from_numpy(_disc(rng, size)[None])
        labels = torch.zeros(objects, dtype=torch.int64)
        targets.append(Targets(torch.from_numpy(masks), labels, foreground=foreground))
        samples.append(Sample(np.zeros((0, 0, 3), np.uint8), index, index, f"{index}.jpg", size))
    images = torch.from_numpy(rng.integers(0, 256, (count, 3, *size), dtype=np.uint8))
    return Batch(images, [size] * count, samples, targets, list(range(count)))


def step(network: MetaArch, data: Batch, rate: float = 1e-2, number: int = 0) -> dict[str, float]:
    """Makes one training step by the network's own policy; returns the losses."""
    policy = network.train_policy()
    apply_policy(network, policy)
    network.train()
    optimizer = torch.optim.Adam(param_groups(network, policy, rate))
    losses = network(data, rng=Draws(0, number))
    sum(losses.values()).backward()
    optimizer.step()
    return {name: float(value.detach()) for name, value in losses.items()}


def _disc(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]]
    row, column, radius = rng.uniform(0.3, 0.7) * size[0], rng.uniform(0.3, 0.7) * size[1], rng.uniform(0.1, 0.25)
    return (rows - row) ** 2 + (columns - column) ** 2 < (radius * size[1]) ** 2
