"""The plan of a run: its configuration settled, its data sets found and listed, checked before torch is imported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..datasets.formats.foreground import read_foreground
from ..datasets.pipelines.base import DataKey, find_pipeline
from ..datasets.records.catalog import find_record
from ..datasets.records.image_item import ImageItem
from ..datasets.records.list_items import list_items
from ..datasets.records.record import Record
from ..datasets.records.split import Split
from ..datasets.stream.mixture import DataSet, TrainingData, has_categories, training_data, vocabulary_record
from ..modeling.weights.weight_places import find_weights, weights_in_folder
from ..utils.config.architectures import find_architecture
from ..utils.config.resolved import Resolved, origin_is_user
from ..utils.config.schema import value_at
from ..utils.config.sections import Shared
from ..utils.errors import ConfigError, DataError
from ..utils.paths import nearest_path
from ..utils.structures.category import Category

_MASKS_LOOKED_AT = 8


@dataclass(frozen=True)
class Plan:
    """A configuration whose data sets are known to exist.

    Attributes:
        resolved: the configuration, the number of classes taken from the record.
        train: training data sets; empty when only an evaluation is planned.
        test: evaluation data sets.
        notices: sentences for the user.
        data: the images of the training sets and which of them an epoch shows; None when only an evaluation is planned.
        test_items: the images of each evaluation set.
        warnings: sentences about a run that starts, which the user must not miss.
    """

    resolved: Resolved
    train: list[DataSet]
    test: list[DataSet]
    notices: list[str]
    data: TrainingData | None
    test_items: list[list[ImageItem]]
    warnings: list[str] = field(default_factory=list)

    @property
    def cfg(self) -> Shared:
        """The typed configuration."""
        return self.resolved.typed

    @property
    def categories(self) -> tuple[Category, ...]:
        """Categories that the model is built for: those of the training data, else of the first evaluation set."""
        return vocabulary_record(self.train or self.test).categories

    @property
    def training(self) -> TrainingData:
        """What is trained on."""
        assert self.data is not None, "the plan of an evaluation trains on nothing"
        return self.data


def plan_training(resolved: Resolved) -> Plan:
    """Finds all data sets and settles the number of classes.

    Raises:
        ConfigError: no training set, training sets with different categories, or a wrong number of classes.
        DataError: a data set is missing or empty.
    """
    cfg: Shared = resolved.typed
    pipeline = find_pipeline(cfg)
    own = pipeline.own_data()
    with _whose_value(resolved, "DATASETS.TRAIN"):
        train = [find_record(name, "train") for name in cfg.DATASETS.TRAIN] + own.train
    if not train:
        raise _nothing_named("DATASETS.TRAIN", pipeline.train_key)
    with _whose_value(resolved, "DATASETS.TEST", ", or [] to train without evaluation"):
        test = [find_record(name, "val") for name in cfg.DATASETS.TEST] + own.test
    with _whose_value(resolved, "DATASETS.TRAIN"):
        listed = [_require_images(record, split) for record, split in train]
    with _whose_value(resolved, "DATASETS.TEST", ", or [] to train without evaluation"):
        test_items = [_require_images(record, split) for record, split in test]
    _same_categories([record for record, split in train if has_categories(split)])
    # wrong keys are answered before anything is built
    data = training_data(cfg, train, listed, pipeline.train_key.name if pipeline.train_key else "")
    pipeline.check_training(train)
    resolved, notices = settle_classes(resolved, data.record)
    notices += find_architecture(cfg.MODEL.NAME).training_notices(cfg) + _absent_files(train)
    notices += pipeline.training_notices(train, lambda key: origin_is_user(resolved, key))
    notices += own.notices + _foreground_notices(train, listed, data.mixture.counts)
    if not test:
        keys = _keys("DATASETS.TEST", pipeline.test_key)
        notices.append(f"{keys} empty: nothing is evaluated; the last weights stand for the best ones")
    warnings = unread_weights(resolved, "unless another key names weights, training starts from RANDOM WEIGHTS")
    return Plan(resolved, train, test, notices, data, test_items, warnings)


def plan_evaluation(resolved: Resolved) -> Plan:
    """Finds the evaluation data sets.

    Raises:
        ConfigError: DATASETS.TEST is empty.
        DataError: a data set is missing or empty.
    """
    cfg: Shared = resolved.typed
    pipeline = find_pipeline(cfg)
    with _whose_value(resolved, "DATASETS.TEST"):
        test = [find_record(name, "val") for name in cfg.DATASETS.TEST] + pipeline.own_data().test
    if not test:
        raise _nothing_named("DATASETS.TEST", pipeline.test_key)
    with _whose_value(resolved, "DATASETS.TEST"):
        test_items = [_require_images(record, split) for record, split in test]
    return Plan(resolved, [], test, [], None, test_items)


def unread_weights(resolved: Resolved, instead: str) -> list[str]:
    """Returns a warning where the user names a weight file that nothing reads, as WEIGHT True is missing beside it.

    Args:
        resolved: the configuration.
        instead: what happens without the file, as a sentence without its full stop.
    """
    cfg: Shared = resolved.typed
    if not cfg.RESUME_FROM or cfg.WEIGHT or cfg.RESUME or not origin_is_user(resolved, "RESUME_FROM"):
        return []
    return [
        f"RESUME_FROM {cfg.RESUME_FROM} ({resolved.origins['RESUME_FROM']}) is NOT READ, because WEIGHT is False: "
        f"{instead}. WEIGHT True loads the file; RESUME True continues the run in that folder"
    ]


@contextmanager
def _whose_value(resolved: Resolved, key: str, otherwise: str = "") -> Iterator[None]:
    """Completes an error about data that the user did not name: its key is still as a configuration file has it."""
    try:
        yield
    except DataError as error:
        names = value_at(resolved.typed, key)
        if not names or origin_is_user(resolved, key):
            raise
        raise DataError(
            f"{error}\n{key} is still [{', '.join(names)}] of {resolved.origins[key]}; name your own data set, e.g. "
            f"--overrides {key} '[my.yaml]'{otherwise}, or put that one there"
        ) from error


def check_start(cfg: Shared, resume: str) -> str:
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
        is_file = Path(resume).is_file()
        hint = "; for a weight file use WEIGHT True and RESUME False" if is_file else nearest_path(resume)
        raise ConfigError(f"cannot resume from {resume}: expected a checkpoint or run folder{hint}")
    if cfg.WEIGHT:
        place = find_weights(cfg.RESUME_FROM)
        if place.is_dir():
            weights_in_folder(place)
    return resume


def _absent_files(train: Sequence[DataSet]) -> list[str]:
    """Returns which files the training sets lack."""
    return [
        f"{path}: not there; data set {record.name!r}, split {split.name!r}, does without it"
        for record, split in train
        for path in split.absent
    ]


def _keys(records: str, own: DataKey | None) -> str:
    """Returns which keys name data, as the start of a sentence."""
    return f"{records} is" if own is None else f"{records} and {own.name} are"


def _nothing_named(records: str, own: DataKey | None) -> ConfigError:
    more = "" if own is None else f", or folders, e.g. {own.name} '{own.example}'"
    return ConfigError(
        f"{_keys(records, own)} empty; name a data set record, e.g. --overrides {records} '[my.yaml]'{more}"
    )


def _foreground_notices(
    train: Sequence[tuple[Record, Split]], items: Sequence[Sequence[ImageItem]], counts: Sequence[int]
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


def _require_images(record: Record, split: Split) -> list[ImageItem]:
    items = list_items(record, split)
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
    key = find_architecture(resolved.typed.MODEL.NAME).class_count_key
    known, count = value_at(resolved.typed, key) if key else None, len(record.categories)
    if known is None or known == count:
        return resolved, []
    if origin_is_user(resolved, key):
        raise ConfigError(
            f"{key} is {known} ({resolved.origins[key]}), but data set {record.name!r} ({record.path}) "
            f"has {count} categories; leave the key out, the record decides"
        )
    notice = f"{key}: {known} from {resolved.origins[key]} yields to the {count} categories of {record.name!r}"
    return resolved.settled({key: count}), [notice]
