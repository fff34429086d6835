"""Resizing, semantic, panoptic and instance results of recorded logits."""

from __future__ import annotations

import torch
from torch import Tensor

from segfoundry.modeling.seem.results.mask_resize import MaskResizer
from segfoundry.modeling.seem.results.postprocess import (
    boxes_to_output,
    category_scores,
    class_probabilities,
    instances,
    late_category_scores,
    panoptic_map,
)
from segfoundry.utils.structures.results import InstanceResult, PanopticResult

from .....support.goldens import Case, runner


def panoptic_outputs(result: PanopticResult) -> dict[str, Tensor]:
    """Names a panoptic result as the recorded cases do."""
    rows = [[s.id, int(s.isthing), s.category] for s in result.segments]
    segments = torch.tensor(rows, dtype=torch.int64).reshape(-1, 3)
    return {"panoptic_seg": torch.from_numpy(result.ids), "segments": segments}


def instance_outputs(result: InstanceResult, name: str) -> dict[str, Tensor]:
    """Names instances as the recorded cases do."""
    values = {"scores": result.scores, "classes": result.categories, "masks": result.masks}
    return {f"{name}.{key}": torch.from_numpy(value) for key, value in values.items()}


@runner("seem", "postprocess*")
def run(case: Case) -> dict[str, Tensor]:
    config, inputs = case.config, case.group("in")
    logits, masks = inputs["mask_cls"], inputs["mask_logits"]
    padded, image, output = (tuple(config[f"{name}_size"]) for name in ("padded", "image", "output"))
    isthing = [k in config["thing_classes"] for k in range(config["num_classes"])]
    thresholds = (config["object_mask_threshold"], config["overlap_threshold"])
    size = tuple(masks.shape[1:])
    resizer = MaskResizer(size, padded, image, output)
    late = late_category_scores(logits, masks, padded, image)
    everything = instances(logits, masks, resizer, config["top_k"])
    return {
        "upsampled": MaskResizer(size, padded, padded, padded)(masks),
        "postprocessed": resizer(masks),
        "sem_seg": category_scores(class_probabilities(logits), resizer(masks)),
        "sem_seg_late": MaskResizer(image, image, image, output)(late),
        **panoptic_outputs(panoptic_map(logits, masks, resizer, isthing, *thresholds)),
        **instance_outputs(instances(logits, masks, resizer, config["top_k"], isthing), "instances_things_only"),
        **instance_outputs(everything, "instances_all"),
        "instances_boxes_from_masks": torch.from_numpy(everything.boxes),
        "box_postprocessed": boxes_to_output(inputs["box_pred"], padded, image, output),
    }
