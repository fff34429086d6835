"""HTML report of a validation: one file, no network, pictures inside."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np

from ...utils.errors import DataError
from ...utils.files import atomic_write_text
from ...utils.image_io import read_image
from ...utils.structures.category import Category
from ...utils.structures.results import PanopticResult, Segment
from ...utils.visualizer import draw_panoptic, draw_semantic
from ..formats.foreground import read_foreground
from ..formats.label_maps import read_label_map, unlabelled_value
from ..formats.panoptic import read_panoptic_png
from ..records.record import FOREGROUND
from .scan import Target
from .validate_record import Result, SplitSummary

_SIDE = 480  # longest side of an overlay in pixels
_SEED = 0


def write_html(result: Result, folder: Path, samples: int = 12) -> Path:
    """Writes ``FOLDER/index.html`` and returns its path.

    Args:
        result: of :func:`validate_record`.
        folder: created when missing.
        samples: overlays per split, drawn at random with a fixed seed.
    """
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(Path(__file__).with_name("html_report.html.j2").read_text(encoding="utf-8"))
    splits = [_split_view(result, summary, samples) for summary in result.splits]
    page = template.render(result=result, splits=splits)
    atomic_write_text(folder / "index.html", page)
    return folder / "index.html"


def _split_view(result: Result, summary: SplitSummary, samples: int) -> dict[str, Any]:
    total, most = max(int(summary.pixels.sum()), 1), max(int(summary.segments.max(initial=0)), 1)
    # Foreground masks alone know no categories.
    counted = (
        zip(result.record.categories, summary.segments, summary.pixels, strict=True) if summary.pixels.any() else ()
    )
    bars = [
        {
            "name": category.name,
            "kind": "thing" if category.isthing else "stuff",
            "color": "#%02x%02x%02x" % category.color,  # noqa: UP031 (a colour)
            "segments": int(count),
            "share": 100 * int(pixels) / total,
            "width": 100 * int(count) / most,
        }
        for category, count, pixels in counted
    ]
    rng = np.random.Generator(np.random.Philox(_SEED))
    chosen = sorted(rng.permutation(len(summary.targets))[:samples].tolist())
    pictures = [view for i in chosen if (view := _overlay(result, summary.targets[i])) is not None]
    return {"summary": summary, "bars": bars, "pictures": pictures}


def _overlay(result: Result, target: Target) -> dict[str, str] | None:
    """Returns name and data URI of an image with its annotation; None when they cannot be shown (a finding then)."""
    try:
        drawn = _draw(target, result.record.categories)
    except (DataError, ValueError):
        return None
    if drawn is None:
        return None
    scale = _SIDE / max(drawn.shape[:2])
    if scale < 1:
        drawn = cv2.resize(drawn, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", drawn[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return {"name": target.image.name, "uri": "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()}


def _draw(target: Target, categories: Sequence[Category]) -> np.ndarray | None:
    image = read_image(target.image)
    if target.png is not None:
        ids = read_panoptic_png(target.png)
        known = [(s["id"], s["index"]) for s in target.segments if s["index"] is not None]
        segments = [Segment(identifier, index, categories[index].isthing) for identifier, index in known]
        fits = ids.shape == image.shape[:2]
        return draw_panoptic(image, PanopticResult(ids, segments), categories) if fits else None
    if target.semantic is None and target.foreground is not None:
        mask = read_foreground(target.foreground)
        labels = np.where(mask, 0, 255).astype(np.int64)
        return draw_semantic(image, labels, [FOREGROUND]) if mask.shape == image.shape[:2] else None
    if target.semantic is None:
        return None
    label = read_label_map(target.semantic, void=unlabelled_value(target.semantic_coding))
    if target.semantic_coding is not None:
        label = target.semantic_coding.decode(label)
    if label.shape != image.shape[:2]:
        return None
    return draw_semantic(image, label.astype(np.int64), categories)
