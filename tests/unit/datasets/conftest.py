"""Small synthetic ground truth and predictions in memory, and the real COCO sample."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from segfoundry.utils.structures.category import Category
from segfoundry.utils.structures.results import InstanceResult, PanopticResult, Prediction, Segment
from segfoundry.utils.structures.samples import Sample

CATEGORIES = (
    Category(10, "wall", False, (1, 1, 1)),
    Category(20, "cup", True, (2, 2, 2)),
    Category(7, "fork", True, (3, 3, 3)),
    Category(8, "sky", False, (4, 4, 4)),
)
IGNORED = 255


def semantic(panoptic: PanopticResult) -> np.ndarray:
    """Category index per pixel, 255 = VOID."""
    labels = np.full(panoptic.ids.shape, IGNORED, np.int64)
    for segment in panoptic.segments:
        labels[panoptic.ids == segment.id] = segment.category
    return labels


def panoptic(rng: np.random.Generator, crowd: bool) -> PanopticResult:
    """A 24 x 32 map of rectangles over a wall."""
    ids = np.full((24, 32), 70001, np.int32)
    segments = [Segment(70001, 0, False)]
    for number in range(2, 6):
        y, x = rng.integers(0, 16, 2)
        ids[y : y + rng.integers(4, 12), x : x + rng.integers(4, 16)] = number
        segments.append(Segment(number, int(rng.integers(1, 3)), True, iscrowd=crowd and number == 2))
    if crowd:
        ids[:2] = 0
    present = set(np.unique(ids).tolist())
    return PanopticResult(ids, [s for s in segments if s.id in present])


def image(index: int) -> tuple[Sample, Prediction]:
    """One image with ground truth, and a prediction that is partly right."""
    gt = panoptic(np.random.default_rng(index), crowd=True)
    pred = panoptic(np.random.default_rng(index), crowd=False)
    pred.ids[1:] = pred.ids[:-1].copy()
    present = set(np.unique(pred.ids).tolist())
    pred.segments = [s for s in pred.segments if s.id in present]
    things = [s for s in pred.segments if s.isthing]
    masks = np.stack([pred.ids == s.id for s in things]) if things else np.zeros((0, 24, 32), bool)
    scores = np.linspace(0.9, 0.5, len(things)).astype(np.float32)
    instances = InstanceResult(masks, np.array([s.category for s in things], np.int64), scores)
    sample = Sample(
        np.zeros((0, 0, 3), np.uint8), index, index + 100, f"{index}.jpg", (24, 32), panoptic=gt, semantic=semantic(gt)
    )
    return sample, Prediction(semantic=semantic(pred), panoptic=pred, instances=instances)


@pytest.fixture
def categories() -> tuple[Category, ...]:
    return CATEGORIES


@pytest.fixture
def images() -> list[tuple[Sample, Prediction]]:
    return [image(i) for i in range(7)]


@pytest.fixture(scope="session")
def coco_sample() -> SimpleNamespace:
    """Folder and expected figures of two COCO images; skipped where the files are absent."""
    default = Path(__file__).resolve().parents[4] / "shared" / "data"
    root = Path(os.environ.get("SEGFOUNDRY_DATA", default)) / "panoptic_sample"
    if not (root / "expected.json").is_file():
        pytest.skip(f"no real data at {root} (SEGFOUNDRY_DATA)")
    return SimpleNamespace(root=root, expected=json.loads((root / "expected.json").read_text()))
