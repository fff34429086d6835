"""Speed of SAM's everything mode on a photograph, ours against the original.

    pip install --no-deps --target PEER segment-anything==1.0
    python benchmarks/sam_everything.py --peer PEER [--part all | prompts | masks]

vit_b with random weights, the same on both sides; masks scaled and thresholds lowered so that a third of the masks pass
by their predicted IoU and half of those by their stability. Parts: *all* from the image to the records; *prompts* from
the encoded image on; *masks* from the answers of the decoder on (smooth random blobs), which is what everything mode
itself does.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sides import ROOT, import_product, measure, serve, table

OURS, ORIGINAL = "segfoundry", "segment-anything"
TARGET = 1.3
PHOTO = Path(os.environ.get("SEGFOUNDRY_DATA", ROOT.parent / "shared" / "data")) / "mobile_sam" / "images" / "truck.jpg"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="folder with the package segment_anything; default: importable")
    parser.add_argument("--part", choices=("all", "prompts", "masks"), default="all")
    parser.add_argument("--image", type=Path, help="default: MobileSAM's truck, else scikit-image's astronaut")
    parser.add_argument("--points", type=int, default=32, help="points along each side of the grid")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--side", choices=(OURS, ORIGINAL), help=argparse.SUPPRESS)
    parser.add_argument("--shared", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        serve(lambda: prepare(args), args.threads)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_shared(args, Path(folder))
        own = [sys.executable, __file__, *sys.argv[1:], "--shared", folder, "--side"]
        figures = measure({side: [*own, side] for side in (OURS, ORIGINAL)}, args.repeats, args.threads)
    height, width = photograph(args).shape[:2]
    print(f"vit_b, {args.part}, {args.points} x {args.points} points, {width} x {height}, {args.threads} threads\n")
    print(table(figures, ORIGINAL))
    ratio = figures[ORIGINAL]["wall_s"] / figures[OURS]["wall_s"]
    print(f"\n{ratio:.2f} times as fast; target {TARGET}: {'met' if ratio >= TARGET else 'NOT met'}")


def photograph(args: argparse.Namespace) -> np.ndarray:
    """Returns the image (H, W, 3) uint8 RGB."""
    from PIL import Image

    if args.image or PHOTO.is_file():
        return np.asarray(Image.open(args.image or PHOTO).convert("RGB"))
    import skimage

    return skimage.data.astronaut()


def write_shared(args: argparse.Namespace, folder: Path) -> None:
    """Writes the weights and the settings of both sides."""
    import_product()
    import torch

    from segfoundry.modeling.sam.everything.mask_generator import SamAutomaticMaskGenerator
    from segfoundry.modeling.sam.network.build_sam import build_sam

    torch.manual_seed(0)
    model = build_sam("vit_b").eval()
    settings = {"pred_iou_thresh": 0.7, "stability_score_thresh": 0.8}
    if args.part != "masks":
        rescale(model)
        trial = SamAutomaticMaskGenerator(model, 4, 16, 0, 0, box_nms_thresh=1.0, output_mode="coco_rle")
        records = trial.generate(photograph(args))
        least = float(np.quantile([r["predicted_iou"] for r in records], 2 / 3))
        stable = float(np.median([r["stability_score"] for r in records if r["predicted_iou"] > least]))
        settings = {"pred_iou_thresh": least, "stability_score_thresh": stable}
    (folder / "settings.json").write_text(json.dumps(settings))
    torch.save(model.state_dict(), folder / "weights.pth")


def rescale(model: Any) -> None:
    """Gives random weights predicted IoUs around 1, and logits as large as a trained network's."""
    import torch

    with torch.no_grad():
        model.mask_decoder.iou_prediction_head.layers[-1].bias += 1
        pixels = model.preprocess(torch.rand(1, 3, 1024, 1024) * 255)
        points, labels = torch.full((1, 1, 2), 512.0), torch.ones(1, 1, dtype=torch.int64)
        low_res, _ = model.predict_masks(model.embed(pixels), points=points, labels=labels)
        for mlp in model.mask_decoder.output_hypernetworks_mlps:
            mlp.layers[-1].weight *= 5 / low_res.std()
            mlp.layers[-1].bias *= 5 / low_res.std()


def prepare(args: argparse.Namespace) -> Callable[[int], object]:
    """Returns one step of a side: everything in the photograph once."""
    import torch

    if args.side == OURS:
        import_product()
        from segfoundry.modeling.sam.everything.mask_generator import SamAutomaticMaskGenerator
        from segfoundry.modeling.sam.network.build_sam import build_sam

        model: Any = build_sam("vit_b")
    else:
        sys.path[:0] = [str(args.peer)] if args.peer else []
        from segment_anything import SamAutomaticMaskGenerator, sam_model_registry

        model = sam_model_registry["vit_b"]()
    model.load_state_dict(torch.load(args.shared / "weights.pth", weights_only=True))
    settings = json.loads((args.shared / "settings.json").read_text())
    generator = SamAutomaticMaskGenerator(model.eval(), args.points, output_mode="coco_rle", **settings)
    image = photograph(args)
    if args.part != "all":
        hold(generator.predictor, image, encode=args.part == "prompts")
    if args.part == "masks":
        model.mask_decoder = stored_answers()
    return lambda _: generator.generate(image)


def hold(predictor: Any, image: np.ndarray, encode: bool) -> None:
    """Makes a predictor keep one image, encoded or with a stand-in for its embedding."""
    import torch

    if not encode:
        predictor.model.image_encoder.forward = lambda pixels: torch.zeros(1, 256, 64, 64)
    predictor.set_image(image)
    predictor.set_image = lambda image: None
    predictor.reset_image = lambda: None


def stored_answers() -> Any:
    """Returns a mask decoder that gives the same blobs and IoUs whatever it is asked."""
    import torch
    from torch.nn import functional as F

    noise = torch.randn(192, 1, 10, 10, generator=torch.Generator().manual_seed(0)) - 0.7
    blobs = 12 * F.interpolate(noise, (256, 256), mode="bicubic").view(64, 3, 256, 256)
    iou = torch.rand(64, 3, generator=torch.Generator().manual_seed(1))

    class Stored(torch.nn.Module):
        def forward(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
            return blobs, iou

    return Stored()


if __name__ == "__main__":
    main()
