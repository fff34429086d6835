"""Checks of a grounding JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segfoundry.datasets.formats.detection import decode_segmentation
from segfoundry.datasets.formats.json_file import read_json
from segfoundry.datasets.formats.record import Split
from segfoundry.datasets.validate.findings import Findings
from segfoundry.utils.errors import DataError


def check_grounding(split: Split, findings: Findings) -> int:
    """Checks the grounding JSON of a split, if it has one; returns the number of its annotations."""
    if split.grounding is None:
        return 0
    try:
        data = read_json(split.grounding)
        if not isinstance(data, dict) or not isinstance(data.get("annotations"), list):
            raise DataError(f"{split.grounding}: no list `annotations`")
    except DataError as error:
        findings.add("grounding-invalid", split.name, str(error))
        return 0
    images = {i.get("id"): i for i in data.get("images", []) if isinstance(i, Mapping)}
    for number, annotation in enumerate(data["annotations"]):
        problem = _problem(annotation, images, split.grounding)
        if problem:
            findings.add("grounding-invalid", split.name, f"{split.grounding}: annotations[{number}]: {problem}")
    return len(data["annotations"])


def _problem(annotation: Any, images: Mapping[Any, Mapping[str, Any]], path: Path) -> str:
    """Returns what is wrong with an annotation, or an empty string."""
    if not isinstance(annotation, Mapping) or not {"image_id", "segmentation", "sentences"} <= set(annotation):
        return "needs image_id, segmentation and sentences"
    info = images.get(annotation["image_id"])
    if images and info is None:
        return f"image id {annotation['image_id']!r} is not in `images`"
    sentences = annotation["sentences"]
    texts = [s.get("raw") if isinstance(s, Mapping) else None for s in sentences] if isinstance(sentences, list) else []
    if not texts or not all(isinstance(t, str) and t.strip() for t in texts):
        return "sentences must be a list of {raw: text} with at least one entry"
    if info is None or "height" not in info or "width" not in info:
        return ""
    try:
        mask = decode_segmentation(annotation["segmentation"], info["height"], info["width"], f"{path.name}")
    except DataError as error:
        return str(error)
    return "" if mask.any() else "its mask is empty"
