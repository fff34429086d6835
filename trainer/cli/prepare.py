"""``prepare``: makes a data set from images and colour-coded masks, converts annotations, draws the embedded sets."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...utils.errors import UserError, did_you_mean
from .common import count_option

if TYPE_CHECKING:
    from ...datasets.prepare.left_out import LostRow

HELP = "Turn masks or COCO annotations into a data set (record, panoptic and semantic PNGs, sentences)."
EXAMPLES = """
  python entry.py prepare --images photos --masks masks --colors colors.yaml --output data/kitchen --split 0.8
  python entry.py prepare --embedded scenes --output data/scenes
  python entry.py prepare --embedded cables --output data/cables
  python entry.py prepare --convert detection2panoptic --input instances.json --overlap area --output panoptic.json
  python entry.py prepare --convert panoptic2detection --input panoptic.json --masks panoptic --output instances.json
  python entry.py prepare --convert panoptic2semantic --input panoptic.json --output semantic
"""

KINDS = ("detection2panoptic", "panoptic2detection", "panoptic2semantic", "2channels2panoptic", "combine")
_COMMON = {"output", "force", "workers", "seed"}
_MASKS = {"images", "masks", "colors", "split", "name", "instances", "min_area", "tolerance", "sentences"}
_MASKS |= {"mask_suffix", "copy", "skip_orphans", "alias"}
# mode -> (options it needs, further options it reads)
_MODES: dict[str, tuple[set[str], set[str]]] = {
    "masks": ({"images", "masks", "colors", "output"}, _MASKS | _COMMON),
    "--embedded": ({"output"}, {"embedded", "name", "alias"} | _COMMON),
    "detection2panoptic": ({"input", "output"}, {"stuff", "categories", "overlap", "skip_bad"} | _COMMON),
    "panoptic2detection": ({"input", "output"}, {"masks", "things_only"} | _COMMON - {"seed"}),
    "panoptic2semantic": ({"input", "output"}, {"masks", "dataset_ids", "things_other"} | _COMMON - {"seed"}),
    "2channels2panoptic": ({"input", "masks", "categories", "output"}, {"void"} | _COMMON),
    "combine": ({"input", "stuff", "image_list", "categories", "output"}, {"skip_bad"} | _COMMON),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this verb."""
    _option(
        parser,
        "--output",
        metavar="PATH",
        help="what to write: a new folder, or a file for converters that give a JSON",
    )
    _option(parser, "--force", action="store_true", help="replace an earlier result (never other files)")
    _option(
        parser,
        "--workers",
        type=count_option,
        metavar="N",
        help="processes (default: as many as processors, at most 8)",
    )
    _option(parser, "--seed", type=int, metavar="N", help="of split, segment colours and sentences (default 0)")
    _option(
        parser,
        "--embedded",
        choices=("scenes", "cables"),
        help="draw a data set of small pictures: landscapes with objects, or cables on photographs (for SAM)",
    )
    _add_mask_options(parser)
    _add_converter_options(parser)


def _add_mask_options(parser: argparse.ArgumentParser) -> None:
    masks = parser.add_argument_group("colour-coded masks")
    _option(masks, "--images", metavar="DIR", help="images, sub-folders included")
    _option(
        masks, "--masks", metavar="DIR", help="masks with the images' names, any suffix; with --convert: PNG folder"
    )
    _option(masks, "--colors", metavar="TABLE", help="YAML, JSON or CSV: name, color, isthing (or kind) per category")
    _option(
        masks,
        "--split",
        type=float,
        metavar="SHARE",
        help="share of training images (default: folders train/, val/, test/ in both, else 0.8)",
    )
    _option(masks, "--name", help="name of the record (default: name of the output folder)")
    _option(
        masks,
        "--instances",
        choices=("component", "color"),
        help="how things are split: connected pixels (default), or one instance per exact colour",
    )
    _option(
        masks, "--min_area", type=count_option, metavar="PIXELS", help="smaller things become unlabelled (default 0)"
    )
    _option(
        masks, "--tolerance", type=count_option, metavar="N", help="largest colour difference per channel (default 0)"
    )
    _option(masks, "--sentences", metavar="FILE", help="your own sentences (YAML or JSON); templates fill the gaps")
    _option(masks, "--mask_suffix", metavar="TEXT", help="what mask names have behind the image's name, e.g. _mask")
    _option(masks, "--copy", action="store_true", help="copy images instead of hard-linking them")
    _option(masks, "--skip_orphans", action="store_true", help="leave out files without a partner")
    _option(masks, "--alias", nargs="+", metavar="NAME[:SPLIT]", help="further names the record answers to in $DATASET")


def _add_converter_options(parser: argparse.ArgumentParser) -> None:
    convert = parser.add_argument_group("converters")
    _option(convert, "--convert", metavar="KIND", help=", ".join(KINDS))
    _option(
        convert, "--input", metavar="JSON", help="annotations to convert (2channels2panoptic: any JSON with images)"
    )
    _option(convert, "--stuff", metavar="JSON", help="COCO stuff JSON that fills the gaps between things")
    _option(convert, "--image_list", metavar="JSON", help="combine: any JSON with images")
    _option(convert, "--categories", metavar="FILE", help="categories with isthing and color (JSON, YAML or a record)")
    _option(
        convert,
        "--overlap",
        choices=("error", "area", "score", "order"),
        help="what lies on top: refuse (default), the smaller, the higher score, the later",
    )
    _option(convert, "--skip_bad", action="store_true", help="leave faulty annotations out, and name them")
    _option(convert, "--things_only", action="store_true", help="leave stuff out")
    _option(convert, "--things_other", action="store_true", help="all things become one category")
    _option(convert, "--dataset_ids", action="store_true", help="semantic PNGs hold category ids, 0 = unlabelled")
    _option(
        convert,
        "--void",
        type=count_option,
        metavar="N",
        help="two-channel PNGs: R value of unlabelled pixels (default 0)",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    given = {name: value for name, value in vars(args).items() if name in _OPTIONS}
    mode = _mode(given)
    needed, known = _MODES[mode]
    label = "prepare from masks" if mode == "masks" else f"--convert {mode}" if mode in KINDS else mode
    missing = sorted(needed - set(given))
    if missing:
        raise UserError(f"{label} needs {', '.join('--' + name for name in missing)}")
    useless = sorted(set(given) - needed - known - {"convert"})
    if useless:
        raise UserError(f"{', '.join('--' + name for name in useless)}: no effect with {label}; remove it")
    if mode == "masks":
        return _run_masks(given)
    return _run_embedded(given) if mode == "--embedded" else _run_convert(mode, given)


_OPTIONS: set[str] = set()


def _option(parser: argparse._ActionsContainer, flag: str, **settings) -> None:
    """Adds an option that is absent from the namespace unless given; ``--a-b`` is read as ``--a_b``."""
    name = flag.lstrip("-")
    _OPTIONS.add(name)
    spellings = [flag, flag.replace("_", "-")] if "_" in flag else [flag]
    parser.add_argument(*spellings, dest=name, default=argparse.SUPPRESS, **settings)


def _mode(given: dict) -> str:
    if "convert" in given and given["convert"] not in KINDS:
        kind = given["convert"]
        raise UserError(f"--convert {kind}: unknown kind{did_you_mean(kind, KINDS) or '.'} Known: {', '.join(KINDS)}.")
    modes = [m for m, on in (("--embedded", "embedded" in given), (given.get("convert", ""), "convert" in given)) if on]
    if len(modes) > 1:
        raise UserError("--embedded and --convert exclude each other")
    return modes[0] if modes else "masks"


def _aliases(words: list[str]) -> dict[str, str | None]:
    return {name: split or None for name, _, split in (word.partition(":") for word in words)}


def _prepare_options(given: dict):
    from ...datasets.prepare.color_masks import MaskRules
    from ...datasets.prepare.prepare_dataset import PrepareOptions

    rules = {k: given[k] for k in ("instances", "min_area", "tolerance") if k in given}
    keys = ("name", "split", "seed", "mask_suffix", "copy", "skip_orphans", "force", "workers")
    options = {k: given[k] for k in keys if k in given}
    return PrepareOptions(rules=MaskRules(**rules), aliases=_aliases(given.get("alias", [])), **options)


def _run_masks(given: dict) -> int:
    from ...datasets.formats.color_table import read_color_table
    from ...datasets.formats.grounding import read_sentences
    from ...datasets.prepare.prepare_dataset import prepare_color_masks

    table = read_color_table(given["colors"])
    sentences = read_sentences(given["sentences"], table.categories) if "sentences" in given else None
    inputs = [Path(given[k]) for k in ("colors", "sentences") if k in given]
    images, masks, output = (Path(given[k]) for k in ("images", "masks", "output"))
    _report(prepare_color_masks(images, masks, table, output, _prepare_options(given), sentences, inputs))
    return 0


def _run_embedded(given: dict) -> int:
    output, options = Path(given["output"]), _prepare_options(given)
    if given["embedded"] == "cables":
        from ...datasets.embedded.cables import DATA_FILE, prepare_cables

        _report(prepare_cables(output, options), DATA_FILE)
    else:
        from ...datasets.embedded.scenes import prepare_scenes

        _report(prepare_scenes(output, options))
    return 0


def _report(summary, data_file: str = "") -> None:
    from ...utils.class_names.same_names import list_names, names_read_the_same

    images = ", ".join(f"{count} {part}" for part, count in summary.images.items())
    print(f"images: {images}")
    print("segments: " + ", ".join(f"{name} {count}" for name, count in summary.segments.items()))
    for group in names_read_the_same(list(summary.segments)):
        print(f"warning: to networks that read names the categories {list_names(group)} are one: rename them")
    absent = [name for name, count in summary.segments.items() if not count]
    if absent:
        print(f"warning: no image shows {', '.join(absent)}")
    if summary.dropped:
        print(f"{summary.dropped} things below --min_area became unlabelled")
    if summary.transparent:
        count, first = len(summary.transparent), summary.transparent[0]
        print(f"transparent pixels of {count} masks became unlabelled, whatever their colour (first: {first})")
    if summary.orphans:
        print(f"{len(summary.orphans)} files without a partner were left out")
    print(f"record: {summary.record}")
    record = shlex.quote(str(summary.record))
    print(f"next: python entry.py validate {record}")
    if data_file:
        data = shlex.quote(str(summary.record.with_name(data_file)))
        print(f"      python entry.py train --conf_files configs/sam/tiny.yaml {data}")
        return
    held_back = {"val": record, "test": f"{record}:test"}
    test = next((names for part, names in held_back.items() if summary.images.get(part)), "'[]'")
    names = f"DATASETS.TRAIN {record} DATASETS.TEST {test}"
    print(f"      python entry.py train --conf_files CONFIG.yaml --overrides {names}")


def _run_convert(kind: str, given: dict) -> int:
    from ...datasets.prepare.to_panoptic import ConvertOptions

    options = ConvertOptions(**{k: given[k] for k in ("seed", "force", "workers") if k in given})
    output = Path(given["output"])
    if kind == "panoptic2semantic":
        _to_semantic(given, output, options)
    elif kind == "panoptic2detection":
        from ...datasets.prepare.from_panoptic import panoptic_to_detection

        output = output if output.suffix == ".json" else output / "instances.json"
        count = panoptic_to_detection(*_panoptic(given), output, options, things_only=given.get("things_only", False))
        print(f"{count} annotations")
    else:
        output = output if output.suffix == ".json" else output / "panoptic.json"
        _to_panoptic(kind, given, output, options)
    print(f"written: {output}")
    return 0


def _panoptic(given: dict) -> tuple[Path, Path]:
    source = Path(given["input"])
    return source, Path(given["masks"]) if "masks" in given else source.with_suffix("")


def _to_semantic(given: dict, output: Path, options) -> None:
    from ...datasets.prepare import from_panoptic

    other = given.get("things_other", False)
    if output.suffix == ".json":
        if "dataset_ids" in given:
            raise UserError("--dataset_ids: no effect with a JSON output, which always holds data set ids; remove it")
        count = from_panoptic.panoptic_to_semantic_json(*_panoptic(given), output, options, things_other=other)
        print(f"{count} annotations")
        return
    ids = given.get("dataset_ids", False)
    from_panoptic.panoptic_to_semantic_png(*_panoptic(given), output, options, dataset_ids=ids, things_other=other)


def _to_panoptic(kind: str, given: dict, output: Path, options) -> None:
    from ...datasets.prepare.categories import read_categories

    source, folder = Path(given["input"]), output.with_suffix("")
    categories = read_categories(given["categories"]) if "categories" in given else ()
    if kind == "detection2panoptic":
        from ...datasets.prepare.to_panoptic import detection_to_panoptic

        stuff = Path(given["stuff"]) if "stuff" in given else None
        rule = given.get("overlap", "error")
        lost = detection_to_panoptic(
            source,
            output,
            folder,
            options,
            stuff_json=stuff,
            categories=categories or None,
            overlap=rule,
            skip_bad=given.get("skip_bad", False),
        )
        _print_lost(lost)
    elif kind == "2channels2panoptic":
        from ...datasets.prepare.to_panoptic import two_channel_to_panoptic

        void = given.get("void", 0)
        two_channel_to_panoptic(Path(given["masks"]), source, output, folder, categories, options, void=void)
    else:
        from ...datasets.prepare.combine import combine_predictions

        semantic, images = Path(given["stuff"]), Path(given["image_list"])
        skip = given.get("skip_bad", False)
        lost = combine_predictions(semantic, source, images, output, folder, categories, options, skip_bad=skip)
        _print_lost(lost)
    print(f"panoptic PNGs: {folder}")


def _print_lost(lost: Sequence[LostRow]) -> None:
    from ...datasets.prepare.left_out import left_out_lines

    for line in left_out_lines(lost):
        print(line)
