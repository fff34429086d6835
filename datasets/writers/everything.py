"""Masks of everything to files, as the published command writes them.

``everything/NAME.json``: a list of records (``segmentation`` as COCO RLE, ``area``, ``bbox`` ...), best first; or, as
images, ``everything/NAME/0.png``, ``1.png`` ... (255 = mask) with a row each in ``everything/NAME/metadata.csv``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.files import atomic_write_json, atomic_write_text
from ...utils.image_io import write_png
from ...utils.masks import decode_masks

Record = Mapping[str, Any]

CSV_COLUMNS = (
    "id,area,bbox_x0,bbox_y0,bbox_w,bbox_h,point_input_x,point_input_y,predicted_iou,stability_score,"
    "crop_box_x0,crop_box_y0,crop_box_w,crop_box_h"
).split(",")


def write_everything_json(folder: Path, name: str, records: Sequence[Record]) -> None:
    """Writes ``NAME.json``.

    Args:
        folder: where.
        name: output name of the image, which may contain folders.
        records: as :attr:`segfoundry.utils.structures.results.Prediction.everything` describes them.
    """
    atomic_write_json(folder / f"{name}.json", [_without_nan(record) for record in records], indent=None)


def write_everything_png(folder: Path, name: str, records: Sequence[Record]) -> None:
    """Writes ``NAME/0.png``, ``NAME/1.png`` ... and ``NAME/metadata.csv``; arguments as for JSON."""
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(CSV_COLUMNS)
    for number, record in enumerate(records):
        code = record["segmentation"]
        write_png(folder / name / f"{number}.png", decode_masks([code], code["size"])[0] * np.uint8(255))
        figures = (record["predicted_iou"], record["stability_score"])
        rows.writerow(
            (number, record["area"], *record["bbox"], *record["point_coords"][0], *figures, *record["crop_box"])
        )
    atomic_write_text(folder / name / "metadata.csv", table.getvalue())


def _without_nan(record: Record) -> dict[str, Any]:
    """Returns the record with null for a stability that has no value (of an empty mask): JSON knows no NaN."""
    return {k: None if isinstance(v, float) and isnan(v) else v for k, v in record.items()}
