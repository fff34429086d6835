"""Masks of prompted objects to files.

Layout of the output folder, NAME being the image's output name::

    prompted.json         a COCO instance file: images, annotations, categories (the objects' names); annotations also
                          hold object (from 1 in each image), name, text, prompts, score, mask (the PNG in this folder)
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

UNNAMED = "object"
"""Category of objects that were pointed at and have no name."""


class ObjectDocument:
    """The objects of images as one COCO instance file, which other tools read."""

    def __init__(self) -> None:
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._categories: dict[str, int] = {}

    def add_image(self, image_id: int | str, file_name: str, size: tuple[int, int]) -> None:
        """Begins an image of (height, width) pixels; the objects after it are its own, counted from 1."""
        self._images.append({"id": image_id, "file_name": file_name, "height": size[0], "width": size[1]})

    def add_object(self, number: int, asked: ObjectToSegment, mask: Rle, score: float, file: str = "") -> None:
        """Adds an object of the image begun last.

        Args:
            number: of the object in its image, from 1.
            asked: what was asked for.
            mask: its mask.
            score: 0..1.
            file: its mask as a picture; empty: there is none.
        """
        name = asked.name or asked.text
        category = self._categories.setdefault(name or UNNAMED, len(self._categories) + 1)
        self._annotations.append(
            {
                "id": len(self._annotations) + 1,
                "image_id": self._images[-1]["id"],
                "category_id": category,
                "object": number,
                "name": name or f"object {number}",
                "text": asked.text,
                "prompts": prompts_as_entries(asked.prompts),
                "segmentation": mask,
                "bbox": [float(v) for v in rle_boxes([mask])[0]],
                "area": int(rle_areas([mask])[0]),
                "iscrowd": 0,
                "score": score,
                **({"mask": file} if file else {}),
            }
        )

    def as_json(self) -> dict[str, Any]:
        """Returns plain data."""
        categories = [{"id": number, "name": name} for name, number in self._categories.items()]
        return {"images": self._images, "annotations": self._annotations, "categories": categories}


class PromptedWriter:
    """Writes the objects of many images into one folder: PNG files at once, the JSON file by :meth:`close`.

    Args:
        folder: output folder; created.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._document = ObjectDocument()
        self._name, self._size, self._objects = "", (0, 0), 0
        self.folder.mkdir(parents=True, exist_ok=True)

    def add_image(self, name: str, image_id: int | str, file_name: str, size: tuple[int, int]) -> None:
        """Begins an image; the objects after it are its own.

        Args:
            name: output name without suffix.
            image_id: id in the JSON file.
            file_name: name of the input file.
            size: (height, width).
        """
        self._document.add_image(image_id, file_name, size)
        self._name, self._size, self._objects = name, size, 0

    def add_object(self, asked: ObjectToSegment, mask: Rle, score: float) -> None:
        """Writes one object of the image begun last."""
        self._objects += 1
        file = f"masks/{self._name}/{self._objects:03d}.png"
        write_png(self.folder / file, decode_masks([mask], self._size)[0] * np.uint8(255))
        self._document.add_object(self._objects, asked, mask, score, file)

    def close(self) -> None:
        """Writes ``prompted.json``."""
        atomic_write_json(self.folder / "prompted.json", self._document.as_json(), indent=None)
