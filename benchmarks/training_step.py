"""Time and memory of one training step of SEEM against transformers' Mask2Former of the same widths and layers.

Both sides: FocalNet-tiny widths, backbone and pixel decoder frozen, decoder trained; forward, matching, losses,
backward and AdamW on the same images and masks. Each side runs in its own process; steps alternate between the
processes, so that a busy machine slows both. Memory is the growth of the peak resident set over the loaded model.

    python benchmarks/training_step.py --repeats 5
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from sides import ROOT, import_product, measure, serve, table

CONFIG = ROOT / "configs/seem/focalt_unicl_lang_v1.yaml"
NUM_CLASSES = 133
PEER = "mask2former"
OURS = ("seem, warm text cache", "seem, cold text cache")
TARGET_TIME, TARGET_MEMORY = 0.8, 0.9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="measured steps per side, after one warm-up step")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, default=256, help="image side in pixels")
    parser.add_argument("--targets", type=int, default=8, help="masks per image")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--worker", choices=(PEER, *OURS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        serve(lambda: step_of(args), args.threads)
        return
    sizes = [str(v) for name in ("threads", "batch", "size", "targets") for v in (f"--{name}", getattr(args, name))]
    commands = {side: [sys.executable, __file__, "--worker", side, *sizes] for side in (PEER, *OURS)}
    figures = measure(commands, args.repeats, args.threads)
    print(
        f"SEEM Focal-T training step, {args.size} px, batch {args.batch}, {NUM_CLASSES} classes, {args.targets} "
        f"targets per image, CPU, {args.threads} threads, median of {args.repeats}\n\n{table(figures, PEER)}"
    )
    warm = figures[OURS[0]]
    met = warm["wall_s_ratio"] <= TARGET_TIME and warm["growth_mib_ratio"] <= TARGET_MEMORY
    print(f"\ntarget with a warm cache: {TARGET_TIME} x time, {TARGET_MEMORY} x growth: {'met' if met else 'NOT met'}")
    if args.json:
        args.json.write_text(json.dumps({"settings": {k: v for k, v in vars(args).items() if k != "json"}, **figures}))


def step_of(args: argparse.Namespace) -> Any:
    """Returns the function that does one training step of the side ``args.worker``."""
    side = Mask2FormerSide(args) if args.worker == PEER else SeemSide(args, cold=args.worker == OURS[1])

    def step(number: int) -> None:
        side.optimizer.zero_grad(set_to_none=True)
        side.loss(number).backward()
        side.optimizer.step()

    return step


def example(args: argparse.Namespace) -> tuple[Any, Any, Any]:
    """Returns images (B, H, W, 3) uint8, masks (B, M, H, W) bool that tile each image, and labels (B, M)."""
    import numpy as np

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (args.batch, args.size, args.size, 3), dtype=np.uint8)
    grid = np.stack(np.mgrid[: args.size, : args.size], axis=-1)
    masks = []
    for _ in range(args.batch):
        centres = rng.uniform(0, args.size, (args.targets, 2))
        owner = ((grid[:, :, None] - centres) ** 2).sum(-1).argmin(-1)  # nearest centre
        masks.append(owner == np.arange(args.targets)[:, None, None])
    return images, np.stack(masks), rng.integers(0, NUM_CLASSES, (args.batch, args.targets))


class SeemSide:
    """This repository's model, panoptic task only; frozen: backbone, text encoder, pixel decoder."""

    def __init__(self, args: argparse.Namespace, cold: bool) -> None:
        import_product()
        import torch

        from segfoundry.datasets.records.catalog import find_record
        from segfoundry.modeling.build_model import build_model
        from segfoundry.modeling.finetune import apply_policy, param_groups
        from segfoundry.utils.config.engine import load_config
        from segfoundry.utils.structures.samples import Batch, Sample, Targets

        tasks_off = [v for task in ("SPATIAL", "GROUNDING") for v in (f"MODEL.DECODER.{task}.ENABLED", "False")]
        size = ["MODEL.ENCODER.NUM_CLASSES", str(NUM_CLASSES), "COCO.INPUT.IMAGE_SIZE", str(args.size)]
        cfg = load_config([CONFIG], [*tasks_off, *size]).typed
        self.cold = cold
        self.model = build_model(cfg, find_record("coco_2017", "train")[0].categories).train()
        policy = self.model.train_policy()
        apply_policy(self.model, policy)
        self.optimizer = torch.optim.AdamW(param_groups(self.model, policy, cfg.SOLVER.BASE_LR))
        images, masks, labels = example(args)
        samples = [Sample(image[:0], i, i, "", image.shape[:2]) for i, image in enumerate(images)]
        targets = [Targets(torch.from_numpy(m), torch.from_numpy(k)) for m, k in zip(masks, labels, strict=True)]
        tensor = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
        sizes = [image.shape[:2] for image in images]
        self.batch = Batch(tensor, sizes, samples, targets, positions=list(range(len(images))))

    def loss(self, number: int) -> Any:
        from segfoundry.utils.draws import Draws

        # The step's number draws the prompt templates: a new number brings texts that are not in the cache yet.
        return sum(self.model(self.batch, rng=Draws(0, number if self.cold else 0)).values())


class Mask2FormerSide:
    """transformers' Mask2Former with the same widths, layers, queries and points; backbone and pixel decoder frozen."""

    def __init__(self, args: argparse.Namespace) -> None:
        import torch
        from transformers import FocalNetConfig, Mask2FormerConfig, Mask2FormerForUniversalSegmentation

        backbone = FocalNetConfig(
            embed_dim=96,
            hidden_sizes=[192, 384, 768, 768],
            depths=[2, 2, 6, 2],
            focal_levels=[3, 3, 3, 3],
            focal_windows=[3, 3, 3, 3],
            use_conv_embed=True,
            use_post_layernorm=True,
            use_layerscale=True,
            normalize_modulator=True,
            out_features=["stem", "stage1", "stage2", "stage4"],  # strides 4, 8, 16, 32
        )
        config = Mask2FormerConfig(
            backbone_config=backbone,
            feature_size=512,
            mask_feature_size=512,
            hidden_dim=512,
            encoder_layers=6,
            encoder_feedforward_dim=1024,
            decoder_layers=10,
            num_attention_heads=8,
            dim_feedforward=2048,
            num_queries=101,
            num_labels=NUM_CLASSES,
            train_num_points=12544,
        )
        self.model = Mask2FormerForUniversalSegmentation(config).train()
        frozen = self.model.model.pixel_level_module.eval()
        frozen.requires_grad_(False)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.05)
        images, masks, labels = example(args)
        mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
        pixels = ((torch.from_numpy(images).float() - mean) / std).permute(0, 3, 1, 2).contiguous()
        self.inputs = {
            "pixel_values": pixels,
            "mask_labels": [torch.from_numpy(m).float() for m in masks],
            "class_labels": [torch.from_numpy(k) for k in labels],
        }

    def loss(self, number: int) -> Any:
        return self.model(**self.inputs).loss


if __name__ == "__main__":
    main()
