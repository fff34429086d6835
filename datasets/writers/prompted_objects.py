"""Masks of prompted objects to files.

Layout of the output folder, NAME being the image's output name::

    prompted.json         images; annotations: image_id, object (from 1), name, text, prompts, segmentation (COCO RLE),
                          bbox (x, y, width, height), area, score, mask (the PNG below this folder)
    masks/NAME/001.png    255 = object, 0 = not
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...utils.files import atomic_write_json
from ...utils.image_io import write_png
from ...utils.masks import Rle, decode_masks, rle_areas, rle_boxes
from ..formats.prompt_file import ObjectToSegment, prompts_as_entries


class PromptedWriter:
    """Writes the objects of many images into one folder: PNG files at once, the JSON file by :meth:`close`.

    Args:
        folder: output folder; created.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self.folder.mkdir(parents=True, exist_ok=True)

    def add_image(self, name: str, image_id: int | str, file_name: str, size: tuple[int, int]) -> None:
        """Begins an image; the objects after it are its own.

        Args:
            name: output name without suffix.
            image_id: id in the JSON file.
            file_name: name of the input file.
            size: (height, width).
        """
        entry = {"id": image_id, "file_name": file_name, "height": size[0], "width": size[1]}
        self._images.append({**entry, "name": name, "objects": 0})

    def add_object(self, asked: ObjectToSegment, mask: Rle, score: float) -> None:
        """Writes one object of the image begun last."""
        image = self._images[-1]
        image["objects"] += 1
        file = f"masks/{image['name']}/{image['objects']:03d}.png"
        size = (image["height"], image["width"])
        write_png(self.folder / file, decode_masks([mask], size)[0] * np.uint8(255))
        self._annotations.append(
            {"image_id": image["id"], **object_entry(image["objects"], asked, mask, score), "mask": file}
        )

    def close(self) -> None:
        """Writes ``prompted.json``."""
        images = [{k: v for k, v in image.items() if k not in ("name", "objects")} for image in self._images]
        content = {"images": images, "annotations": self._annotations}
        atomic_write_json(self.folder / "prompted.json", content, indent=None)


def object_entry(number: int, asked: ObjectToSegment, mask: Rle, score: float) -> dict[str, Any]:
    """Returns one object as ``prompted.json`` holds it, without its file and image."""
    return {
        "object": number,
        "name": asked.name or asked.text or f"object {number}",
        "text": asked.text,
        "prompts": prompts_as_entries(asked.prompts),
        "segmentation": mask,
        "bbox": [float(v) for v in rle_boxes([mask])[0]],
        "area": int(rle_areas([mask])[0]),
        "score": score,
    }
