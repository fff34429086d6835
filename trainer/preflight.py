"""What can be found wrong before a model is built: data sets, class counts, weight files. Imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..datasets.catalog import find_record, load_items
from ..datasets.formats.dlo import TEST_KEY, TRAIN_KEY, dlo_sets
from ..datasets.formats.foreground import read_foreground
from ..datasets.formats.record import Record, Split
from ..datasets.items import Item
from ..datasets.mixture import has_categories, mix, vocabulary_record
from ..utils.config.architectures import training_notices
from ..utils.config.engine import Resolved, find_value, origin_is_user
from ..utils.errors import ConfigError, DataError
from ..utils.structures import Category

CLASSES_KEY = "MODEL.ENCODER.NUM_CLASSES"
_MASKS_LOOKED_AT = 8


@dataclass(frozen=True)
class Plan:
    """A configuration whose data sets are known to exist.

    Attributes:
        resolved: the configuration, the number of classes taken from the record.
        train: training data sets; empty when only an evaluation is planned.
        test: evaluation data sets.
        notices: sentences for the user.
    """

    resolved: Resolved
    train: list[tuple[Record, Split]]
    test: list[tuple[Record, Split]]
    notices: list[str]

    @property
    def cfg(self) -> Any:
        """The configuration tree."""
        return self.resolved.cfg

    @property
    def categories(self) -> tuple[Category, ...]:
        """Categories that the model is built for: those of the training data, else of the first evaluation set."""
        return vocabulary_record(self.train or self.test).categories


def check_training(resolved: Resolved) -> Plan:
    """Finds all data sets and settles the number of classes.

    Raises:
        ConfigError: no training set, training sets with different categories, or a wrong NUM_CLASSES.
        DataError: a data set is missing or empty.
    """
    cfg = resolved.cfg
    folders = dlo_sets(cfg)
    train = [find_record(name, "train") for name in cfg.DATASETS.TRAIN] + folders.train
    if not train:
        raise _nothing_named(cfg, "DATASETS.TRAIN", TRAIN_KEY, "[{data_dir: my_cables}]")
    test = [find_record(name, "val") for name in cfg.DATASETS.TEST] + folders.test
    items = [_require_images(record, split) for record, split in train]
    for record, split in test:
        _require_images(record, split)
    _same_categories([record for record, split in train if has_categories(split)])
    mixture = mix(cfg, train, [len(found) for found in items])  # wrong keys are answered before anything is built
    _check_cache(cfg, train)
    resolved, notices = settle_classes(resolved, vocabulary_record(train))
    notices += training_notices(cfg) + _data_notices(resolved, train)
    notices += folders.notices + _foreground_notices(train, items, mixture.counts)
    if not test:
        keys = _data_keys(cfg, "DATASETS.TEST", TEST_KEY)
        notices.append(f"{keys} empty: nothing is evaluated; the last weights stand for the best ones")
    return Plan(resolved, train, test, notices)


def check_evaluation(resolved: Resolved) -> Plan:
    """Finds the evaluation data sets.

    Raises:
        ConfigError: DATASETS.TEST is empty.
        DataError: a data set is missing or empty.
    """
    cfg = resolved.cfg
    folders = dlo_sets(cfg)
    test = [find_record(name, "val") for name in cfg.DATASETS.TEST] + folders.test
    if not test:
        raise _nothing_named(cfg, "DATASETS.TEST", TEST_KEY, "{data_dir: my_cables}")
    for record, split in test:
        _require_images(record, split)
    return Plan(resolved, [], test, [])


def check_start(cfg: Any, resume: str) -> str:
    """Checks what the run starts from and returns the value for ``--resume``: RESUME True means RESUME_FROM.

    Raises:
        ConfigError: RESUME without RESUME_FROM, or with a file.
        CheckpointError: the weight file does not exist.
    """
    if cfg.RESUME and not cfg.RESUME_FROM:
        raise ConfigError("RESUME is on, but RESUME_FROM is empty; it must name a checkpoint or run folder")
    if cfg.RESUME and resume == "auto":
        resume = cfg.RESUME_FROM
    if resume not in ("auto", "never") and not Path(resume).is_dir():
        hint = "; for a weight file use WEIGHT True and RESUME False" if Path(resume).is_file() else ""
        raise ConfigError(f"cannot resume from {resume}: expected a checkpoint or run folder{hint}")
    if cfg.WEIGHT:
        from ..modeling.checkpoint import find_weights

        find_weights(cfg.RESUME_FROM)
    return resume


def _data_notices(resolved: Resolved, train: Sequence[tuple[Record, Split]]) -> list[str]:
    """Returns which files the training sets lack, and what the user switched on that needs them."""
    notices = [
        f"{path}: not there; data set {record.name!r}, split {split.name!r}, does without it"
        for record, split in train
        for path in split.absent
    ]
    if find_value(resolved.cfg, "MODEL.DECODER.GROUNDING.ENABLED"):
        notices += [
            f"data set {record.name!r}, split {split.name!r} has neither phrases nor categories: as published, a step "
            "with one of its images trains no texts at all (MODEL.DECODER.GROUNDING)"
            for record, split in train
            if not split.referring and not has_categories(split)
        ]
    key = "MODEL.DECODER.LVIS.ENABLED"
    wanted = find_value(resolved.cfg, key) and origin_is_user(resolved, key)
    if not wanted or any(split.instances for _, split in train):
        return notices
    return [*notices, f"{key} changes nothing: no training set names a file of finer masks (`instances` of its split)"]


def _data_keys(cfg: Any, records: str, folders: str) -> str:
    """Returns which keys name data, as the start of a sentence."""
    return f"{records} and {folders} are" if _takes(cfg, folders) else f"{records} is"


def _takes(cfg: Any, folders: str) -> bool:
    """Tells whether the network takes what SAM.DLO.TRAIN or TEST names."""
    return "SAM" in cfg and (folders == TRAIN_KEY or cfg.SAM.TASK == "dlo")


def _nothing_named(cfg: Any, records: str, folders: str, example: str) -> ConfigError:
    more = f", or folders, e.g. {folders} '{example}'" if _takes(cfg, folders) else ""
    return ConfigError(
        f"{_data_keys(cfg, records, folders)} empty; name a data set record, e.g. --overrides {records} '[my.yaml]'"
        f"{more}"
    )


def _check_cache(cfg: Any, train: Sequence[tuple[Record, Split]]) -> None:
    """Refuses a cache of embeddings of images that are new in each epoch.

    Raises:
        ConfigError: names the keys and what changes the images.
    """
    if "SAM" not in cfg or not cfg.SAM.CACHE_EMBEDDINGS or cfg.SAM.CACHE_VARIANTS:
        return
    reasons = [
        f"{'w_aug' if split.augment else 'bg_paths'} of {record.path}"
        for record, split in train
        if split.augment or split.backgrounds
    ]
    if cfg.SAM.TASK == "promptable" and cfg.SAM.PROMPTABLE.FLIP_P > 0:
        reasons.append("SAM.PROMPTABLE.FLIP_P")
    if reasons:
        named = ", ".join(dict.fromkeys(reasons))  # entries may share a folder
        raise ConfigError(
            f"SAM.CACHE_EMBEDDINGS keeps embeddings of images that do not change; {named} changes them "
            "at random in each epoch: set SAM.CACHE_VARIANTS to a number of fixed variants (8, say), switch the random "
            "change off, or SAM.CACHE_EMBEDDINGS"
        )


def _foreground_notices(
    train: Sequence[tuple[Record, Split]], items: Sequence[Sequence[Item]], counts: Sequence[int]
) -> list[str]:
    """Returns what training sets with foreground masks will not give: images left out, masks without foreground."""
    notices = []
    for (record, split), found, count in zip(train, items, counts, strict=True):
        if not count:
            notices.append(
                f"{record.path}: percentage {split.share:g} of {len(found)} images gives none: the set is left out"
            )
        masks = [item.foreground for item in found if item.foreground is not None]
        sample = masks[:: -(-len(masks) // _MASKS_LOOKED_AT)] if masks else []
        if sample and not any(_shows_foreground(mask) for mask in sample):
            notices.append(
                f"{split.foreground}: no foreground in {len(sample)} of {len(masks)} masks that were looked at; "
                "`validate` looks at all"
            )
    return notices


def _shows_foreground(mask: Path) -> bool:
    try:
        return bool(read_foreground(mask).any())
    except DataError:
        return True  # the loader or `validate` says what is wrong with it


def _require_images(record: Record, split: Split) -> list[Item]:
    items = load_items(record, split)
    if not items:
        raise DataError(f"data set {record.name!r}, split {split.name!r}: no image with annotations in {split.images}")
    return items


def _same_categories(records: Sequence[Record]) -> None:
    for first, other in zip(records, records[1:], strict=False):
        if [(c.id, c.name, c.isthing) for c in first.categories] != [
            (c.id, c.name, c.isthing) for c in other.categories
        ]:
            raise ConfigError(
                f"DATASETS.TRAIN: {first.path} and {other.path} have different categories; training sets that are used "
                "together need the same list in the same order"
            )


def settle_classes(resolved: Resolved, record: Record) -> tuple[Resolved, list[str]]:
    """Gives the number of classes from the record to the configuration.

    A shipped file's number yields, with a notice; one that the user wrote must equal the record's.

    Raises:
        ConfigError: the user's number contradicts the record; names both.
    """
    node = resolved.cfg
    for part in CLASSES_KEY.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    count = len(record.categories)
    if node is None or node == count:
        return resolved, []
    if origin_is_user(resolved, CLASSES_KEY):
        raise ConfigError(
            f"{CLASSES_KEY} is {node} ({resolved.origins[CLASSES_KEY]}), but data set {record.name!r} ({record.path}) "
            f"has {count} categories; leave the key out, the record decides"
        )
    cfg = resolved.cfg.clone()
    cfg.defrost()
    cfg.MODEL.ENCODER.NUM_CLASSES = count
    cfg.freeze()
    origin = resolved.origins[CLASSES_KEY]
    notice = f"{CLASSES_KEY}: {node} from {origin} yields to the {count} categories of {record.name!r}"
    return dataclasses.replace(resolved, cfg=cfg), [notice]
