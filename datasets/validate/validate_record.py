"""Checks a data set before training."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.class_names.same_names import list_names, names_read_the_same
from ..prepare.parallel import run_parallel
from ..records.record import Record
from ..records.split import Split
from . import foreground
from .findings import ERROR, NOTE, WARNING, Finding, Findings
from .image_annotations import check_by_image
from .index import index_split
from .pictures import check_depths
from .scan import Limits, Scan, Target, scan_image


@dataclass
class SplitSummary:
    """Numbers of a split.

    Attributes:
        name: of the split.
        images: images opened.
        pixels: (K,) labelled pixels per category index.
        segments: (K,) segments per category index.
        void: unlabelled share of all pixels, 0..1.
        thing_pixels: share of things in the labelled pixels, 0..1.
        sentences: phrases, that is objects with sentences.
        objects: objects in the object PNGs.
        foreground: share of foreground in the pixels of the foreground masks, 0..1; None without such masks.
        targets: the images, for the overlays of the report.
    """

    name: str
    images: int
    pixels: np.ndarray
    segments: np.ndarray
    void: float
    thing_pixels: float
    sentences: int = 0
    objects: int = 0
    foreground: float | None = None
    targets: list[Target] = field(default_factory=list, repr=False)


@dataclass
class Result:
    """What a validation found."""

    record: Record
    findings: list[Finding]
    splits: list[SplitSummary]

    @property
    def ok(self) -> bool:
        """No error: training would work."""
        return not any(f.kind.level == ERROR for f in self.findings)

    def count(self, level: str) -> int:
        """Returns how many kinds of fault of that level were found."""
        return sum(f.kind.level == level for f in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Returns plain data."""
        names = [category.name for category in self.record.categories]
        splits = {
            s.name: {
                "images": s.images,
                "void_share": round(s.void, 6),
                "thing_share": round(s.thing_pixels, 6),
                "grounding": s.sentences,
                "objects": s.objects,
                "foreground_share": None if s.foreground is None else round(s.foreground, 6),
                "segments": dict(zip(names, s.segments.tolist(), strict=True)),
                "pixels": dict(zip(names, s.pixels.tolist(), strict=True)),
            }
            for s in self.splits
        }
        counts = {level: self.count(level) for level in (ERROR, WARNING, NOTE)}
        findings = [f.as_json() for f in self.findings]
        return {"record": str(self.record.path), "ok": self.ok, "found": counts, "findings": findings, "splits": splits}


def validate_record(
    record: Record, splits: list[Split], limits: Limits | None = None, workers: int | None = None
) -> Result:
    """Runs all checks on the given splits; faults become findings, never exceptions."""
    limits = limits or Limits()
    findings = Findings()
    summaries: list[SplitSummary] = []
    seen: dict[str, tuple[str, str]] = {}
    depths: list[tuple[Path, int | None]] = []
    for group in names_read_the_same([category.name for category in record.categories]):
        findings.add("names-alike", "", f"{record.path}: {list_names(group)}")
    for split in splits:
        targets = index_split(record, split, findings, limits)
        scans = []
        for target, scan in zip(
            targets, run_parallel(scan_image, targets, workers=workers, label=f"validate {split.name}"), strict=True
        ):
            findings.extend(split.name, scan.faults)
            _check_duplicate(split, target, scan, seen, findings)
            scans.append(scan)
            depths.append((target.image, scan.bits))
        summary = _summarize(record, split, targets, scans)
        summary.sentences = check_by_image(record, split, findings)
        _check_content(record, split, summary, limits, findings)
        foreground.check_content(split, scans, findings)
        foreground.check_backgrounds(split, findings, workers)
        summaries.append(summary)
    check_depths(depths, findings)
    return Result(record, findings.sorted(), summaries)


def distinct_splits(record: Record) -> list[Split]:
    """Returns the splits of a record without those that show an earlier one's images in another way."""
    found: dict[tuple[Any, ...], Split] = {}
    for split in record.splits.values():
        part = split.refs_split if split.refs is not None else ""
        found.setdefault((split.images, split.image_list, part), split)
    return list(found.values())


def _check_duplicate(
    split: Split, target: Target, scan: Scan, seen: dict[str, tuple[str, str]], findings: Findings
) -> None:
    if scan.digest is None:
        return
    first_split, first = seen.setdefault(scan.digest, (split.name, str(target.image)))
    # Folders that are mixed for training are splits train.0, train.1, ...; none of them is for testing.
    same_use = first_split.partition(".")[0] == split.name.partition(".")[0]
    if first != str(target.image) or (split.masks_only and not same_use):
        code = "duplicate-in-split" if same_use else "duplicate-across-splits"
        findings.add(code, split.name, f"{target.image} = {first}")


def _summarize(record: Record, split: Split, targets: list[Target], scans: list[Scan]) -> SplitSummary:
    count = len(record.categories)
    pixels = sum((s.pixels for s in scans), np.zeros(count, np.int64))
    segments = sum((s.counts for s in scans), np.zeros(count, np.int64))
    void, labelled = sum(s.void for s in scans), int(pixels.sum())
    things = np.array([category.isthing for category in record.categories])
    return SplitSummary(
        split.name,
        len(scans),
        pixels,
        segments,
        void / max(void + labelled, 1),
        int(pixels[things].sum()) / max(labelled, 1),
        objects=sum(s.objects for s in scans),
        foreground=_foreground_share(scans) if split.foreground else None,
        targets=targets,
    )


def _foreground_share(scans: list[Scan]) -> float:
    return sum(s.foreground for s in scans) / max(sum(s.mask_pixels for s in scans), 1)


def _check_content(record: Record, split: Split, summary: SplitSummary, limits: Limits, findings: Findings) -> None:
    add = lambda code, place: findings.add(code, split.name, place)  # noqa: E731
    if not summary.images or (split.panoptic is None and split.semantic is None and split.objects is None):
        return
    if split.panoptic is None and split.semantic is None and summary.objects:
        return
    if not summary.segments.any():
        add("nothing-annotated", f"{summary.images} images")
        return
    if summary.void > limits.max_void:
        add("void-share", f"{100 * summary.void:.1f} % of the pixels, the limit is {100 * limits.max_void:.0f} %")
    for category, count in zip(record.categories, summary.segments.tolist(), strict=True):
        if count == 0:
            add("category-absent", category.name)
        elif count < limits.min_segments and split.name == "train":
            add("category-rare", f"{category.name}: {count}")
    share = summary.thing_pixels
    if share in (0.0, 1.0) or not 0.02 <= share <= 0.98:
        add("balance", f"things cover {100 * share:.1f} % of the labelled pixels, stuff {100 * (1 - share):.1f} %")
