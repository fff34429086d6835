"""From a weight file to the network that made it: configuration, categories and tensors, whoever wrote the file."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...datasets.records.catalog import find_data_set, find_record
from ...datasets.records.fields import LARGEST
from ...datasets.records.record import RESIZES, Record, parse_categories
from ...modeling.base import MetaArch
from ...modeling.build_model import build_model, meta_arch
from ...modeling.weights.load_state import LoadReport, load_state, own_names
from ...modeling.weights.part_files import Sources, missing_parts
from ...modeling.weights.weight_files import read_state_dict
from ...modeling.weights.weight_places import find_weights
from ...utils.config.architectures import architectures, recognise
from ...utils.config.engine import load_config
from ...utils.config.resolved import Resolved
from ...utils.config.sections import Shared
from ...utils.errors import CheckpointError, ConfigError, UserError
from ...utils.json_text import parse_json
from ...utils.logging import get_logger
from ...utils.palette import distinct_color
from ...utils.structures.category import Category
from ..run_folder.run_folder import run_weights

log = get_logger(__name__)

PUBLISHED_RECORD = "coco_2017"  # vocabulary of published weights, which carry no names


@dataclass
class LoadedModel:
    """A network with its weights, on the CPU, and what its file says.

    Attributes:
        model: the network; its vocabulary is set.
        resolved: its configuration.
        trained: the categories it was trained with, in index order.
        vocabulary: the categories that it is to tell apart.
        record: the data set whose evaluation size predictions use; only its sizes and name count.
        report: which tensors were loaded.
        file: the weight file.
        names: the file's parameter names -> the network's.
    """

    model: MetaArch
    resolved: Resolved
    trained: tuple[Category, ...]
    vocabulary: tuple[Category, ...]
    record: Record
    report: LoadReport
    file: Path
    names: dict[str, str] = field(repr=False)


def load_model(
    weights: str,
    conf_files: Sequence[str] = (),
    overrides: Sequence[str] = (),
    config_overrides: Sequence[str] = (),
    vocabulary: Sequence[Category] | None = None,
) -> LoadedModel:
    """Builds the network that made a weight file, and loads it.

    Args:
        weights: run folder, checkpoint folder or weight file. What this program wrote carries its configuration and
            category names; a bare published file is recognised by its parameters, any other one needs ``conf_files``.
        conf_files: configuration files; merged over the one the weights carry.
        overrides: words ``KEY VALUE`` or ``KEY=VALUE``.
        config_overrides: pieces of a JSON object.
        vocabulary: categories to tell apart instead of the trained ones. A file that carries no names was trained
            with these if their number fits, else with COCO's.

    Raises:
        CheckpointError: the weights are missing, damaged or of another architecture.
        ConfigError: there is no configuration, or it does not fit.
        UserError: a vocabulary for a network that tells no categories apart.
    """
    place = find_weights(weights)
    file = run_weights(place) if place.is_dir() else place
    header = read_weight_header(file)
    resolved = configuration(file, header.get("config"), conf_files, overrides, config_overrides)
    state = read_state_dict(file)
    if vocabulary is not None and not meta_arch(resolved.arch).has_categories:
        raise UserError(f"{resolved.typed.MODEL.NAME} tells no categories apart: leave out --classes, or --record")
    trained = _header_categories(file, header, "categories")
    if trained is None:
        per_class = architectures()[resolved.arch].class_weights
        classes = len(state[per_class]) - 1 if per_class in state else None
        fitting = vocabulary is not None and len(vocabulary) == classes
        if fitting or not meta_arch(resolved.arch).has_categories:
            trained = tuple(vocabulary or ())
        else:
            trained = find_record(PUBLISHED_RECORD, "val")[0].categories
    parts = "config" not in header and architectures()[resolved.arch].lacks_parts(state.keys())
    model = build_model(resolved.typed, trained, part_weights=parts)
    left_out = missing_parts(model, state, part_sources(header), str(file))
    report = load_state(model, state, source=str(file), parts=left_out.tensors)
    vocabulary = tuple(vocabulary or _header_categories(file, header, "vocabulary") or trained)
    model.set_vocabulary(vocabulary)
    model.eval().requires_grad_(False)
    names = own_names(model, state)
    return LoadedModel(
        model, resolved, trained, vocabulary, _size_record(resolved.typed, header, trained), report, file, names
    )


def parse_classes(text: str, option: str = "--classes") -> tuple[Category, ...]:
    """Reads a vocabulary: names separated by commas, ``name:stuff`` for what is not countable.

    Ids count from 1 in the order given; ``option`` stands in error messages.

    Raises:
        UserError: no name, an empty or repeated one, or another word than thing or stuff after the colon.
    """
    categories: list[Category] = []
    for part in text.split(","):
        name, colon, kind = (word.strip() for word in part.partition(":"))
        if not name:
            raise UserError(f"{option} {text!r}: a name is empty; write them as: person,car,road:stuff")
        if colon and kind not in ("thing", "stuff"):
            raise UserError(f"{option}: {part.strip()!r} ends with {kind!r}, expected {name}:thing or {name}:stuff")
        if any(name == c.name for c in categories):
            raise UserError(f"{option} names {name!r} twice")
        index = len(categories)
        categories.append(Category(index + 1, name, kind != "stuff", distinct_color(index)))
    return tuple(categories)


def record_categories(name: str) -> tuple[Category, ...]:
    """Returns the categories of a record, named by file, folder or name.

    Raises:
        DataError: there is none, or it is faulty.
    """
    return find_data_set(name)[0].categories


def read_weight_header(file: Path) -> dict[str, str]:
    """Returns the text entries in a .safetensors file's header; nothing for other files.

    Raises:
        CheckpointError: the file is damaged, or an entry that holds JSON is none of ours.
    """
    if file.suffix != ".safetensors":
        return {}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            header = opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} is no readable safetensors file: {error}") from error
    for entry, (form, fits) in _JSON_ENTRIES.items():
        if entry in header and not fits(_parsed(header[entry])):
            raise CheckpointError(f"{file}: {entry} in its header is {header[entry]!r}, expected {form}")
    return header


def _parsed(text: str) -> Any:
    """Returns what JSON text says, None where it is none."""
    try:
        return parse_json(text)
    except ValueError:
        return None


def _are_sources(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(source, dict) and all(isinstance(source.get(key), str) for key in ("file", "sha256"))
        for source in value.values()
    )


def _is_test_size(value: Any) -> bool:
    """Whether a list holds name, short side, upper limit of the long side, and how images are resized."""
    if not isinstance(value, list) or len(value) != 4 or not isinstance(value[0], str) or value[3] not in RESIZES:
        return False
    return all(side is None or isinstance(side, int) and 0 < side <= LARGEST for side in value[1:3])


_JSON_ENTRIES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "categories": ("a list of categories", lambda value: isinstance(value, list)),
    "vocabulary": ("a list of categories", lambda value: isinstance(value, list)),
    "reloadable": ("files and digests of parts", _are_sources),
    "test_size": ("[name, short side, long side, resize]", _is_test_size),
}
"""Entries of a header that hold JSON: their form in words, and whether a value has it."""


def part_sources(header: Mapping[str, str]) -> Sources:
    """Returns which parts a weight file leaves out and the files they come from, by its header."""
    return json.loads(header.get("reloadable", "{}"))


def configuration(
    file: Path,
    carried: str | None,
    conf_files: Sequence[str] = (),
    overrides: Sequence[str] = (),
    config_overrides: Sequence[str] = (),
) -> Resolved:
    """Composes the configuration of a weight file: the one it carries or a shipped one, and what the user adds.

    Args:
        file: the weight file.
        carried: configuration in its header as YAML, or None.
        conf_files: see :func:`load_model`.
        overrides: see :func:`load_model`.
        config_overrides: see :func:`load_model`.

    Raises:
        ConfigError: there is none, or it does not fit.
    """
    if carried is None:
        return load_config(conf_files or [recognised_config(file)], overrides, config_overrides)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(carried, encoding="utf-8")
        return load_config([path, *conf_files], overrides, config_overrides)


def recognised_config(file: Path) -> Path:
    """Returns the shipped configuration of a published weight file, which carries none of its own.

    Raises:
        ConfigError: no architecture knows the file.
    """
    config = recognise({name: tuple(tensor.shape) for name, tensor in read_state_dict(file).items()}, file.name)
    if config is None:
        raise ConfigError(
            f"{file} carries no configuration and is no published file with one of ours; name the one it was trained "
            "with, e.g. --conf_files configs/seem/focalt_unicl_lang_v1.yaml"
        )
    log.info("%s has the layout of %s, which is used", file, config.name)
    return config


def _header_categories(file: Path, header: dict[str, str], entry: str) -> tuple[Category, ...] | None:
    if entry not in header:
        return None
    found = json.loads(header[entry])
    return parse_categories(found, f"{file}: {entry}") if found else ()


def _size_record(cfg: Shared, header: dict[str, str], categories: tuple[Category, ...]) -> Record:
    """Returns the data set whose evaluation size predictions use; where it is not at hand, one that asks for none."""
    if "test_size" in header:
        name, *sizes = json.loads(header["test_size"])
        wanted = dict(zip(("min_size_test", "max_size_test", "resize_test"), sizes, strict=False))
        return Record(name, Path(), Path(), categories, None, {}, **wanted)
    names = [*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN] if header else [PUBLISHED_RECORD]
    for name in names:
        try:
            return find_record(name, "val")[0]
        except UserError:
            continue
    return Record("", Path(), Path(), categories, None, {})
