"""Time and memory of SEEM Focal-T against the reference release: a training step of all tasks, and inference.

    python benchmarks/reference_release.py --reference CHECKOUT --reference-python PYTHON --job train --classes 133
    python benchmarks/reference_release.py --reference CHECKOUT --reference-python PYTHON --job predict

CHECKOUT is branch v1.0 of the release's repository, PYTHON the interpreter of an environment with torch, detectron2,
kornia 0.7, einops and what this repository needs. Both sides have random weights of the same shapes. Training:
backbone, text encoder and pixel decoder frozen; objects, strokes and texts; up to one click round; losses, backward and
AdamW. Inference: panoptic, instance and semantic results at 640 x 480 from a 512 px image, with no query above the
panoptic threshold (as random weights have it) or, with --threshold 0, all of them above.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sides import ROOT, import_product, measure, serve, table

CONFIG = ROOT / "configs/seem/focalt_unicl_lang_v1.yaml"
SIDES = ("reference release", "seem")
TEXTS = ("the red cup", "a chair", "the table on the left", "sky")
TARGETS = {"train": {133: 1 / 4, 5: 1 / 2.2}, "predict": {133: 1 / 2, 5: 1 / 2}}
TARGET_MEMORY = 0.7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, required=True, metavar="DIR", help="checkout of the release")
    parser.add_argument("--reference-python", default=sys.executable, help="interpreter that runs the release")
    parser.add_argument("--job", choices=("train", "predict"), default="train")
    parser.add_argument("--classes", type=int, default=133)
    parser.add_argument("--rounds", type=int, default=1, help="most click rounds before the loss")
    parser.add_argument("--threshold", type=float, default=0.8, help="panoptic score threshold of inference")
    parser.add_argument("--repeats", type=int, default=6, help="measured steps per side, after one warm-up step")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        prepare: dict[str, Callable] = {"train": training, "predict": inference}
        serve(lambda: prepare[args.job](args), args.threads)
        return
    commands = {
        side: [python, __file__, "--worker", side, *sys.argv[1:]]
        for side, python in zip(SIDES, (args.reference_python, sys.executable), strict=True)
    }
    figures = measure(commands, args.repeats, args.threads)
    print(f"SEEM Focal-T, {args.job}, {args.classes} classes, CPU, {args.threads} threads, median of {args.repeats}\n")
    print(table(figures, SIDES[0]))
    ours = figures[SIDES[1]]
    print(
        f"\n{1 / ours['wall_s_ratio']:.2f} x the release's steps per second (CPU time {1 / ours['cpu_s_ratio']:.2f} x)"
    )
    wanted = TARGETS[args.job].get(args.classes)
    if wanted:
        met = ours["wall_s_ratio"] <= wanted and ours["peak_mib_ratio"] <= TARGET_MEMORY
        print(f"target: {1 / wanted:.1f} x, peak memory {TARGET_MEMORY} x: {'met' if met else 'NOT met'}")
    if args.json:
        args.json.write_text(json.dumps({"settings": {k: str(v) for k, v in vars(args).items()}, **figures}))


def training(args: argparse.Namespace) -> Callable[[int], None]:
    """Returns one training step of the side ``args.worker``."""
    import torch

    images, masks, labels, strokes = example(2, 256, args.classes)
    if args.worker == SIDES[0]:
        from reference_adapter import load_reference, training_records

        model = load_reference(
            args.reference.resolve(), args.classes, {"MODEL.DECODER.SPATIAL.MAX_ITER": args.rounds}
        ).train()
        records = training_records(images, masks, labels, strokes, TEXTS)
        losses = lambda number: model(records)  # noqa: E731
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    else:
        losses, optimizer = own_training(args, images, masks, labels, strokes)

    def step(number: int) -> None:
        optimizer.zero_grad(set_to_none=True)
        sum(losses(number).values()).backward()
        optimizer.step()

    return step


def own_training(
    args: argparse.Namespace, images: np.ndarray, masks: np.ndarray, labels: np.ndarray, strokes: np.ndarray
) -> tuple:
    """Returns losses(step number) and optimizer of this repository's model."""
    import_product()
    import torch

    from segfoundry.modeling.finetune import apply_policy, param_groups
    from segfoundry.utils.draws import Draws
    from segfoundry.utils.structures.samples import Batch, Sample, SpatialTargets, Targets, TextTargets

    model, cfg = own_model(args, ["MODEL.DECODER.SPATIAL.MAX_ITER", str(args.rounds)])
    policy = model.train().train_policy()
    apply_policy(model, policy)
    targets = [
        Targets(
            torch.from_numpy(own),
            torch.from_numpy(own_labels),
            SpatialTargets(torch.from_numpy(own[: len(stroke)]), torch.from_numpy(stroke)),
            TextTargets(list(TEXTS), torch.from_numpy(own[: len(TEXTS)])),
        )
        for own, own_labels, stroke in zip(masks, labels, strokes, strict=True)
    ]
    sizes = [image.shape[:2] for image in images]
    samples = [Sample(image[:0], i, i, "", image.shape[:2]) for i, image in enumerate(images)]
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    batch = Batch(tensor, sizes, samples, targets, positions=list(range(len(images))))
    warm = WARM_STEPS
    for number in range(warm):  # a run embeds each of the 81 templates once; then it runs warm
        model.class_embeddings.training([c.name for c in model.categories] + ["background"], Draws(0, number))

    def losses(number: int) -> dict:
        return model(batch, rng=Draws(0, number % warm))

    return losses, torch.optim.AdamW(param_groups(model, policy, cfg.SOLVER.BASE_LR))


WARM_STEPS = 8
"""Steps whose prompt templates are embedded before the measurement."""


def inference(args: argparse.Namespace) -> Callable[[int], None]:
    """Returns inference on one image by the side ``args.worker``."""
    import torch

    image = example(1, 512, args.classes)[0][0]
    key = "MODEL.DECODER.TEST.OBJECT_MASK_THRESHOLD"
    if args.worker == SIDES[0]:
        from reference_adapter import load_reference

        model = load_reference(args.reference.resolve(), args.classes, {key: args.threshold}).eval()
        encoder = model.sem_seg_head.predictor.lang_encoder
        with torch.no_grad():  # what its evaluation does once per data set; here without templates
            encoder.get_text_embeddings(model.train_class_names, is_eval=True, prompt=False)
        model.sem_seg_head.num_classes = args.classes
        model.metadata.thing_dataset_id_to_contiguous_id = {i: i for i in range(min(80, args.classes))}
        records = [{"image": torch.from_numpy(image).permute(2, 0, 1).float(), "height": 480, "width": 640}]
        predict = lambda: model(records)  # noqa: E731
    else:
        import_product()
        from segfoundry.utils.structures.requests import Request
        from segfoundry.utils.structures.samples import Batch, Sample

        model, _ = own_model(args, [key, str(args.threshold), "MODEL.TEXT.PROMPT", "plain"])
        model.eval()
        tensor = torch.from_numpy(image).permute(2, 0, 1)[None].contiguous()
        batch = Batch(tensor, [(512, 512)], [Sample(image[:0], 0, 0, "", (480, 640))])
        predict = lambda: model(batch, request=Request(("panoptic", "instance", "semantic")))  # noqa: E731

    def step(number: int) -> None:
        with torch.no_grad():
            predict()

    return step


def own_model(args: argparse.Namespace, overrides: list[str]) -> tuple:
    """Returns this repository's model with random weights, and its configuration."""
    from segfoundry.datasets.records.catalog import find_record
    from segfoundry.modeling.build_model import build_model
    from segfoundry.utils.config.engine import load_config

    cfg = load_config([CONFIG], ["MODEL.ENCODER.NUM_CLASSES", str(args.classes), *overrides]).typed
    return build_model(cfg, find_record("coco_2017", "train")[0].categories[: args.classes]), cfg


def example(batch: int, size: int, num_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns images (B, S, S, 3), masks (B, 8, S, S) that tile them, labels (B, 8) and strokes (B, 1, S, S)."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
    grid = np.stack(np.mgrid[:size, :size], axis=-1)
    masks = []
    for _ in range(batch):
        centres = rng.uniform(0, size, (8, 2))
        owner = ((grid[:, :, None] - centres) ** 2).sum(-1).argmin(-1)  # nearest centre
        masks.append(owner == np.arange(8)[:, None, None])
    strokes = np.zeros((batch, 1, size, size), bool)
    for stroke, own in zip(strokes, masks, strict=True):
        rows, columns = np.nonzero(own[0])
        chosen = rng.choice(len(rows), 200, replace=False)
        stroke[0, rows[chosen], columns[chosen]] = True
    return images, np.stack(masks), rng.integers(0, num_classes, (batch, 8)), strokes


if __name__ == "__main__":
    main()
