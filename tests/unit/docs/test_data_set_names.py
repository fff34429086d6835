"""Names of data sets in docs/datasets.md are those of the built-in records and of the shipped configurations."""

import re
import shlex
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from segfoundry.datasets.records.record import read_record
from segfoundry.utils.config.engine import load_config

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "datasets.md").read_text()
WORDS = {"SPLIT": "*", "PROMPT": "*"}


def expanded(text):
    """Returns what the braces of a shell word stand for."""
    found = re.search(r"\{([^{}]*)\}", text)
    if found is None:
        return [text]
    return [
        name for part in found[1].split(",") for name in expanded(text[: found.start()] + part + text[found.end() :])
    ]


def names(cell):
    texts = re.findall(r"`([^`]+)`", cell)
    return [re.sub("|".join(WORDS), lambda m: WORDS[m[0]], name) for text in texts for name in expanded(text)]


@pytest.fixture(scope="module")
def records_found():
    return {path.stem: read_record(path) for path in (ROOT / "datasets" / "records").glob("*.yaml")}


def rows():
    table = PAGE.partition("### Built-in records")[2].partition("\n## ")[0]
    cells = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| `")]
    return [(names(records), names(aliases)) for records, _, aliases in cells]


def test_the_table_of_built_in_records_names_them_all_with_their_aliases(records_found):
    listed = [name for records, _ in rows() for name in records]
    assert sorted(listed) == sorted(records_found)
    for records, patterns in rows():
        aliases = [alias for name in records for alias in records_found[name].aliases]
        assert [a for a in aliases if not any(fnmatchcase(a, p) for p in patterns)] == []
        assert [p for p in patterns if not any(fnmatchcase(a, p) for a in aliases)] == []


def test_the_command_that_keeps_published_names_fits_its_configuration():
    (block,) = (text for text in PAGE.split("```")[1::2] if "--alias coco" in text)
    prepare, train = (shlex.split(line) for line in block.replace("\\\n", " ").strip().splitlines())
    aliases = [word.partition(":") for word in prepare[prepare.index("--alias") + 1 :]]
    cfg = load_config([train[train.index("--conf_files") + 1]]).cfg
    assert [name for name, _, split in aliases if split == "train"] == cfg.DATASETS.TRAIN
    assert [name for name, _, split in aliases if split == "val"] == cfg.DATASETS.TEST


def test_data_sets_of_shipped_configurations_are_built_in(records_found):
    known = {name for record in records_found.values() for name in (record.name, *record.aliases)}
    files = [path for path in (ROOT / "configs").glob("*/*.yaml") if "DATASETS" in path.read_text()]
    assert files
    for path in files:
        cfg = load_config([path]).cfg
        assert {*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST} <= known
