"""A few small pictures with exact panoptic annotations, written as files: two backgrounds and discs on them."""

import json
from pathlib import Path

import cv2
import numpy as np

CATEGORIES = (
    {"id": 1, "name": "sky", "isthing": False, "color": [70, 130, 180]},
    {"id": 2, "name": "ground", "isthing": False, "color": [120, 90, 60]},
    {"id": 7, "name": "ball", "isthing": True, "color": [220, 20, 60]},
)


def write_dataset(folder: Path, *, train: int = 6, val: int = 3, size: int = 64, name: str = "tiny") -> Path:
    """Writes a data set with the splits train and val and returns its record file."""
    splits = {split: _write_split(folder, split, count, size) for split, count in (("train", train), ("val", val))}
    record = {"name": name, "root": ".", "categories": list(CATEGORIES), "splits": splits}
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(record))  # JSON is YAML
    return path


def write_foreground(folder: Path, *, train: int = 6, val: int = 3, size: int = 64) -> Path:
    """Writes the same pictures as folders train/ and val/ with imgs/ and masks/ of the discs; returns ``folder``."""
    for split, count in (("train", train), ("val", val)):
        for kind in ("imgs", "masks"):
            (folder / split / kind).mkdir(parents=True)
        for number in range(1, count + 1):
            picture, ids, _ = _scene(np.random.default_rng([number, len(split)]), size)
            cv2.imwrite(str(folder / split / "imgs" / f"{number:03d}.png"), picture[..., ::-1])
            cv2.imwrite(str(folder / split / "masks" / f"{number:03d}.png"), np.uint8(255) * (ids > 2))
    return folder


def _write_split(folder: Path, split: str, count: int, size: int) -> dict[str, str]:
    images, masks = folder / split / "images", folder / split / "panoptic"
    for path in (images, masks):
        path.mkdir(parents=True)
    annotations, infos = [], []
    for number in range(1, count + 1):
        picture, ids, segments = _scene(np.random.default_rng([number, len(split)]), size)
        cv2.imwrite(str(images / f"{number:03d}.png"), picture[..., ::-1])
        cv2.imwrite(
            str(masks / f"{number:03d}.png"), np.stack([ids >> 16, ids >> 8 & 255, ids & 255], -1).astype(np.uint8)
        )
        annotations.append({"image_id": number, "file_name": f"{number:03d}.png", "segments_info": segments})
        infos.append({"id": number, "file_name": f"{number:03d}.png", "height": size, "width": size})
    content = {"images": infos, "annotations": annotations, "categories": list(CATEGORIES)}
    (folder / split / "panoptic.json").write_text(json.dumps(content))
    return {"images": f"{split}/images", "panoptic_json": f"{split}/panoptic.json", "panoptic": f"{split}/panoptic"}


def _scene(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray, list[dict]]:
    """Returns picture (H, W, 3) uint8 RGB, ids (H, W) and the segments of one scene."""
    colors = {c["id"]: np.array(c["color"]) for c in CATEGORIES}
    ids = np.full((size, size), 1, np.int64)
    ids[rng.integers(size // 3, 2 * size // 3) :] = 2
    category = {1: 1, 2: 2}
    rows, columns = np.mgrid[:size, :size]
    for number in range(3, 3 + int(rng.integers(1, 4))):
        center, radius = rng.integers(size // 5, size - size // 5, 2), rng.integers(size // 10, size // 5)
        ids[(rows - center[0]) ** 2 + (columns - center[1]) ** 2 <= radius**2] = number
        category[number] = 7
    picture = np.zeros((size, size, 3))
    segments = []
    for number in np.unique(ids).tolist():
        inside = ids == number
        picture[inside] = colors[category[number]]
        y, x = np.nonzero(inside)
        box = [int(x.min()), int(y.min()), int(np.ptp(x)) + 1, int(np.ptp(y)) + 1]
        segments.append(
            {"id": number, "category_id": category[number], "area": int(inside.sum()), "bbox": box, "iscrowd": 0}
        )
    noise = rng.normal(0, 8, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8), ids, segments
