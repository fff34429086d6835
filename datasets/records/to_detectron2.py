"""Records of ours for detectron2's catalogs; detectron2 (and torch) is loaded only on use."""

from __future__ import annotations

from typing import Any

from ...utils.errors import DataError
from .list_items import list_items
from .record import Record
from .split import Split


def register_record(record: Record) -> list[str]:
    """Registers each split of a record with detectron2 as ``<record>_<split>``; returns the names.

    Categories are given as all things and all stuff in one index space, as Mask2Former and SEEM register them.

    Semantic PNGs are handed on only where their values are category indices: detectron2 reads no others.

    Raises:
        DataError: a name is already taken.
    """
    from detectron2.data import DatasetCatalog, MetadataCatalog

    names = []
    for split in record.splits.values():
        name = f"{record.name}_{split.name}"
        if name in DatasetCatalog.list():
            raise DataError(f"detectron2's DatasetCatalog already holds {name!r}; give the record another name")
        DatasetCatalog.register(name, lambda record=record, split=split: _as_detectron2(record, split))
        ids = {category.id: index for index, category in enumerate(record.categories)}
        MetadataCatalog.get(name).set(
            thing_classes=[c.name for c in record.categories],
            stuff_classes=[c.name for c in record.categories],
            thing_colors=[list(c.color) for c in record.categories],
            stuff_colors=[list(c.color) for c in record.categories],
            thing_dataset_id_to_contiguous_id={c.id: ids[c.id] for c in record.categories if c.isthing},
            stuff_dataset_id_to_contiguous_id=ids,
            ignore_label=255,
            label_divisor=1000,
            image_root=str(split.images),
            panoptic_root=None if split.panoptic is None else str(split.panoptic),
            panoptic_json=None if split.panoptic_json is None else str(split.panoptic_json),
            sem_seg_root=None if split.semantic is None else str(split.semantic),
        )
        names.append(name)
    return names


def _as_detectron2(record: Record, split: Split) -> list[dict[str, Any]]:
    entries = []
    for item in list_items(record, split):
        entry: dict[str, Any] = {"file_name": str(item.image), "image_id": item.image_id}
        if item.height is not None:
            entry |= {"height": item.height, "width": item.width}
        if item.panoptic is not None:
            entry["pan_seg_file_name"] = str(item.panoptic)
            entry["segments_info"] = [
                {"id": s.id, "category_id": s.category, "isthing": s.isthing, "iscrowd": int(s.iscrowd), "area": s.area}
                for s in item.segments
            ]
        if item.semantic is not None and item.semantic_coding is None:
            entry["sem_seg_file_name"] = str(item.semantic)
        entries.append(entry)
    return entries
