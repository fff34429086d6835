"""Images and colour-coded masks -> a complete data set with record, panoptic and semantic PNGs and sentences."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.errors import DataError
from ...utils.files import atomic_write_json
from ...utils.image_io import encode_png, read_color_label, read_image, transparent_pixels
from ...utils.mask_runs import encode_labels
from ..formats.color_table import ColorTable
from ..formats.foreign_names import KnownNames
from ..formats.grounding import OwnSentences, outermost_places, own_segment_sentences, template_sentences
from ..formats.listing import list_images
from ..formats.panoptic import encode_panoptic_png
from ..records.record import category_mapping, write_record
from .color_masks import MaskRules, UnknownColor, segment_mask, semantic_png
from .image_splits import check_aliases, choose_splits
from .mask_errors import describe_unknown, size_mismatch
from .parallel import run_parallel
from .segment_ids import SegmentIds
from .spooled_results import SpooledResults
from .staging import MANIFEST, check_output, count_files, made_by_prepare, staged

_SHOWN = 20
_SEMANTIC_LIMIT = 255  # categories that an 8-bit map can hold beside VOID


@dataclass(frozen=True)
class PrepareOptions:
    """What ``prepare`` may be told beside its inputs.

    Attributes:
        name: of the record; default: name of the output folder.
        split: share of the images that becomes the training split, the others become "val"; None: see
            :func:`~segfoundry.datasets.prepare.image_splits.choose_splits`.
        seed: of the split, the segment colours and the sentences.
        rules: how masks are read.
        mask_suffix: what a mask's stem has behind the image's stem, such as "_mask".
        copy: copy images; else they are hard-linked where the file system allows.
        skip_orphans: leave out images without mask and masks without image instead of stopping.
        force: replace an earlier result.
        workers: processes, see :func:`run_parallel`.
        aliases: further names of the record -> split or None.
    """

    name: str | None = None
    split: float | None = None
    seed: int = 0
    rules: MaskRules = field(default_factory=MaskRules)
    mask_suffix: str = ""
    copy: bool = False
    skip_orphans: bool = False
    force: bool = False
    workers: int | None = None
    aliases: dict[str, str | None] = field(default_factory=dict)


@dataclass
class PrepareSummary:
    """What was written.

    Attributes:
        record: file.
        images: per split.
        segments: per category name.
        dropped: small things.
        orphans: files without a partner.
        transparent: masks with transparent pixels.
    """

    record: Path
    images: dict[str, int]
    segments: dict[str, int]
    dropped: int
    orphans: list[str]
    transparent: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Task:
    """One image; everything a worker process needs."""

    image_id: int
    name: str
    image: Path
    mask: Path
    folder: Path
    table: ColorTable
    sentences: OwnSentences
    options: PrepareOptions


@dataclass
class _Done:
    """Result of one image: JSON entries, or the problem."""

    info: dict[str, Any] = field(default_factory=dict)
    annotation: dict[str, Any] = field(default_factory=dict)
    grounding: list[dict[str, Any]] = field(default_factory=list)
    dropped: int = 0
    transparent: bool = False
    problem: str = ""
    mask: Path | None = None
    unknown: list[UnknownColor] = field(default_factory=list)


def prepare_color_masks(
    images: Path,
    masks: Path,
    table: ColorTable,
    output: Path,
    options: PrepareOptions,
    sentences: OwnSentences | None = None,
    inputs: Sequence[Path] = (),
) -> PrepareSummary:
    """Builds a data set from colour-coded masks.

    Writes ``OUTPUT/<name>.yaml`` (record), and per split ``images/``, ``panoptic/``, ``panoptic.json``, ``semantic/``
    (up to 255 categories) and ``grounding.json``. All faults are found before anything is written under ``output``.

    Args:
        images: folder of images (searched with its sub-folders).
        masks: folder of masks; a mask has its image's relative path, any image suffix.
        table: what the colours mean.
        output: new folder.
        options: see there.
        sentences: the user's own sentences; templates fill the gaps.
        inputs: further files being read, so that the output is not laid over them.

    Raises:
        DataError: orphans, unreadable files, sizes that differ, colours not in the table (with count and first places).
    """
    output = output.absolute()
    sentences = sentences or OwnSentences()
    if options.split is not None and not 0 < options.split <= 1:
        raise DataError(f"--split {options.split}: expected the share of training images, above 0 and at most 1")
    for name in ("min_area", "tolerance"):
        if getattr(options.rules, name) < 0:
            raise DataError(f"--{name} {getattr(options.rules, name)}: expected 0 or more")
    check_output(output, force=options.force, inputs=[images, masks, *inputs], replaceable=made_by_prepare)
    pairs, orphans = pair_files(images, masks, options.mask_suffix)
    if orphans and not options.skip_orphans:
        raise DataError(_list(f"{len(orphans)} files without a partner (leave them out with --skip_orphans):", orphans))
    if not pairs:
        raise DataError(f"{images} and {masks}: no image has a mask; they pair by file name without suffix")
    sentences = _by_own_names(sentences, pairs)
    parts = choose_splits(list(pairs), options.split, options.seed)
    check_aliases(options.aliases, parts)
    name = options.name or output.name
    with staged(output) as (folder,):
        summary = _convert_all(pairs, parts, masks, images, folder, table, sentences, options)
        _write_record(folder / f"{name}.yaml", name, table, parts, options)
        manifest = _manifest(images, masks, options, summary) | {"files": count_files(folder) + 1}
        atomic_write_json(folder / MANIFEST, manifest)
    return PrepareSummary(
        output / f"{name}.yaml", summary.images, summary.segments, summary.dropped, orphans, summary.transparent
    )


def pair_files(images: Path, masks: Path, mask_suffix: str = "") -> tuple[dict[str, str], list[str]]:
    """Pairs images with masks by relative path without suffix.

    Returns:
        Image name -> mask name (sorted), and the files without a partner.

    Raises:
        DataError: a folder is missing or empty, or two files share a stem.
    """
    image_names, mask_names = _by_stem(images, ""), _by_stem(masks, mask_suffix)
    pairs = {image_names[stem]: mask_names[stem] for stem in image_names if stem in mask_names}
    orphans = [str(images / name) for stem, name in image_names.items() if stem not in mask_names]
    orphans += [str(masks / name) for stem, name in mask_names.items() if stem not in image_names]
    return dict(sorted(pairs.items())), orphans


def _by_stem(folder: Path, suffix: str) -> dict[str, str]:
    found: dict[str, str] = {}
    names = list_images(folder)
    if not names:
        raise DataError(f"{folder}: no image files in this folder")
    for name in names:
        stem = Path(name).with_suffix("").as_posix()
        if suffix and not stem.endswith(suffix):
            continue
        stem = stem[: len(stem) - len(suffix)] if suffix else stem
        if stem in found:
            raise DataError(f"{folder}: {found[stem]} and {name} have the same name without suffix; rename one of them")
        found[stem] = name
    if not found:
        raise DataError(f"{folder}: no file name ends with {suffix!r} before its suffix")
    return found


def _convert_all(
    pairs: dict[str, str],
    parts: dict[str, list[str]],
    masks: Path,
    images: Path,
    folder: Path,
    table: ColorTable,
    sentences: OwnSentences,
    options: PrepareOptions,
) -> PrepareSummary:
    part_of = {name: part for part, members in parts.items() for name in members}
    ids = _image_ids(list(pairs))
    tasks = [
        _Task(ids[name], name, images / name, masks / mask, folder / part_of[name], table, sentences, options)
        for name, mask in pairs.items()
    ]
    counts = {category.name: 0 for category in table.categories}
    index_of = {category.id: category.name for category in table.categories}
    dropped, transparent = 0, []
    faulty: list[_Done] = []
    with ExitStack() as stack:
        collected = {part: stack.enter_context(SpooledResults(folder)) for part in parts}
        results = run_parallel(_convert_one, tasks, workers=options.workers, label="prepare")
        for task, done in zip(tasks, results, strict=True):
            if done.problem or done.unknown:
                faulty.append(done)
                continue
            collected[part_of[task.name]].append([done.info, done.annotation, done.grounding])
            dropped += done.dropped
            transparent += [str(task.mask)] if done.transparent else []
            for segment in done.annotation["segments_info"]:
                counts[index_of[segment["category_id"]]] += 1
        if faulty:
            _raise_faults(faulty, table, len(tasks))
        for part, spooled in collected.items():
            _write_json(folder / part, spooled, table)
        images_of = {part: len(spooled) for part, spooled in collected.items()}
        return PrepareSummary(folder, images_of, counts, dropped, [], transparent)


def _image_ids(names: Sequence[str]) -> dict[str, int]:
    """Returns image name -> id: the number where all names are numbers (as COCO's are), else 1, 2, 3, ..."""
    stems = [Path(name).stem for name in names]
    if all(stem.isascii() and stem.isdigit() for stem in stems) and len({int(stem) for stem in stems}) == len(stems):
        return {name: int(stem) for name, stem in zip(names, stems, strict=True)}
    return {name: number for number, name in enumerate(names, 1)}


def _convert_one(task: _Task) -> _Done:
    """Converts one image in a worker process."""
    try:
        image = read_image(task.image)
        mask = read_color_label(task.mask)
        if mask.shape != image.shape:
            raise DataError(size_mismatch(task.image, image.shape[:2], task.mask, mask.shape[:2]))
        ids = SegmentIds(task.table.categories, task.options.seed, task.name)
        transparent = transparent_pixels(task.mask)
        result = segment_mask(mask, task.table, task.options.rules, ids, transparent)
        if result.unknown:
            return _Done(unknown=result.unknown, mask=task.mask)
        png = f"{Path(task.name).with_suffix('')}.png"
        _store(task, png, result.ids, result.semantic)
        for segment in result.segments:
            segment["category_id"] = task.table.categories[segment["category"]].id
        grounding = _ground(task, result.ids, result.segments)
    except DataError as error:
        return _Done(problem=str(error))
    info = {"id": task.image_id, "file_name": task.name, "height": mask.shape[0], "width": mask.shape[1]}
    keys = ("id", "category_id", "area", "bbox", "iscrowd")
    segments = [{key: segment[key] for key in keys} for segment in result.segments]
    annotation = {"image_id": task.image_id, "file_name": png, "segments_info": segments}
    return _Done(info, annotation, grounding, result.dropped, transparent is not None)


def _store(task: _Task, png: str, ids: np.ndarray, semantic: np.ndarray) -> None:
    # No fsync per file: the whole folder takes its name only when it is complete.
    contents = {"panoptic": encode_panoptic_png(ids)}
    if len(task.table.categories) <= _SEMANTIC_LIMIT:
        contents["semantic"] = encode_png(semantic_png(semantic))
    for kind, data in contents.items():
        path = task.folder / kind / png
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    target = task.folder / "images" / task.name
    target.parent.mkdir(parents=True, exist_ok=True)
    if not task.options.copy:
        try:
            os.link(task.image, target)
            return
        except OSError:  # another disk, or a file system without links
            pass
    shutil.copy2(task.image, target)


def _ground(task: _Task, ids: np.ndarray, segments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns grounding entries of one image, without ``id``."""
    categories = task.table.categories
    names = {s["id"]: categories[s["category"]].name for s in segments}
    own = own_segment_sentences(task.sentences.images.get(task.name, ()), ids, names, task.name)
    digest = hashlib.blake2b(
        f"{task.options.seed}/sentences/{task.name}".encode("utf-8", "surrogatepass"), digest_size=16
    ).digest()
    rng = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
    alike: dict[int, list[dict[str, Any]]] = {}
    for segment in segments:
        alike.setdefault(segment["category"], []).append(segment)
    places: dict[int, str] = {}
    for members in alike.values():
        named = outermost_places([s["bbox"] for s in members])
        places |= {s["id"]: place for s, place in zip(members, named, strict=True)}
    rows = []
    for segment, code in zip(segments, encode_labels(ids, list(names)), strict=True):
        category = categories[segment["category"]]
        templates = template_sentences(category, places[segment["id"]], rng)
        texts = own.get(segment["id"]) or task.sentences.categories.get(category.name) or templates
        row = {"image_id": task.image_id, "category_id": category.id, "segment_id": segment["id"]}
        row |= {"area": segment["area"], "bbox": segment["bbox"]}
        row["segmentation"] = code
        row["sentences"] = [{"sent_id": i, "raw": text} for i, text in enumerate(texts)]
        rows.append(row)
    return rows


def _write_json(folder: Path, results: SpooledResults, table: ColorTable) -> None:
    """Writes the entries (info, annotation, grounding) of the images of a split."""
    categories = [category_mapping(c) | {"isthing": int(c.isthing)} for c in table.categories]
    head = {"images": [info for info, _, _ in results], "categories": categories}
    annotations = (annotation for _, annotation, _ in results)
    atomic_write_json(folder / "panoptic.json", head | {"annotations": annotations}, indent=None)
    rows = ({"id": i, **row} for i, row in enumerate((row for _, _, grounding in results for row in grounding), 1))
    atomic_write_json(folder / "grounding.json", head | {"annotations": rows}, indent=None)


def _write_record(
    path: Path, name: str, table: ColorTable, parts: dict[str, list[str]], options: PrepareOptions
) -> None:
    semantic = len(table.categories) <= _SEMANTIC_LIMIT
    splits = {}
    for part in parts:
        files = {"images": "images", "panoptic_json": "panoptic.json", "panoptic": "panoptic"}
        files |= ({"semantic": "semantic"} if semantic else {}) | {"grounding": "grounding.json"}
        splits[part] = {kind: f"{part}/{file}" for kind, file in files.items()}
    data: dict[str, Any] = {"name": name, "root": "."}
    if options.aliases:
        data["aliases"] = options.aliases
    if table.ignore_colors:
        data["ignore_color"] = list(table.ignore_colors[0])
    write_record(path, data | {"categories": [category_mapping(c) for c in table.categories], "splits": splits})


def _manifest(images: Path, masks: Path, options: PrepareOptions, summary: PrepareSummary) -> dict[str, Any]:
    settings = {k: v for k, v in asdict(options).items() if k not in ("force", "workers")}
    counts = {"images": summary.images, "segments": summary.segments, "dropped": summary.dropped}
    return {
        "made_by": "segfoundry prepare",
        "source": {"images": str(images), "masks": str(masks)},
        **settings,
        **counts,
    }


def _by_own_names(sentences: OwnSentences, pairs: dict[str, str]) -> OwnSentences:
    """Returns the sentences filed under the images' own names.

    Raises:
        DataError: a name means no image, or several.
    """
    known = KnownNames(pairs)
    images: dict[str, list[Mapping[str, Any]]] = {}
    unknown = []
    for name, entries in sentences.images.items():
        found = name if name in pairs else known.only(name, "the sentence file")
        if found is None:
            unknown.append(name + (f" ({hint})" if (hint := known.explain(name)) else ""))
        else:
            images.setdefault(found, []).extend(entries)
    if unknown:
        raise DataError(_list(f"{len(unknown)} images of the sentence file are not in the data set:", unknown))
    return replace(sentences, images=images)


def _raise_faults(faulty: list[_Done], table: ColorTable, total: int) -> None:
    lines = [done.problem for done in faulty if done.problem]
    unknown = [(done.mask, done.unknown) for done in faulty if done.unknown and done.mask is not None]
    text = _list(f"{len(lines)} of {total} images cannot be used:", lines) if lines else ""
    raise DataError("\n".join(part for part in (text, describe_unknown(unknown, table)) if part))


def _list(start: str, names: Sequence[str]) -> str:
    more = [f"... and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return "\n  ".join([start, *names[:_SHOWN], *more])
