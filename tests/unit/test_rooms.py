"""What is one architecture's stands in its own rooms: shared files name none of its keys, sections or folders."""

import ast
import re
from pathlib import Path

import pytest

from segfoundry.utils.config.architectures import architectures
from segfoundry.utils.config.schema import collect
from segfoundry.utils.config.sections import Shared

ROOT = Path(__file__).resolve().parents[2]
SHARED_FOLDERS = ("trainer", "utils", "datasets")
# The rooms of the architectures on the side of data, and the tables of original command lines.
OWN_ROOMS = ("datasets/pipelines/", "trainer/legacy/")


def shared_files():
    for folder in SHARED_FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(OWN_ROOMS) and "xdecoder_data" not in path.parts:
                yield name, path.read_text(encoding="utf-8")


def prefixes(keys):
    """Returns dotted keys and the dotted names of all sections around them."""
    return {".".join(key.split(".")[:n]) for key in keys for n in range(1, key.count(".") + 2)}


SHARED = prefixes(collect(Shared))
OWN = set().union(*(prefixes(arch.leaves) for arch in architectures().values())) - SHARED
SECTIONS = {name for name in OWN if "." not in name}


def named_keys(text):
    """Returns the architectures' keys and sections that a module names, in its code, texts and comments."""
    found = set()
    for word in re.findall(r"\b[A-Z][A-Z0-9_]*(?:\.[A-Za-z0-9_]+)+", text):
        parts = word.split(".")
        found |= {word for n in range(2, len(parts) + 1) if ".".join(parts[:n]) in OWN}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and node.value in SECTIONS:
            found.add(node.value)
        elif isinstance(node, ast.Attribute) and node.attr in SECTIONS and ast.unparse(node.value).endswith("cfg"):
            found.add(f"{ast.unparse(node.value)}.{node.attr}")
    return found


def named_architectures(text):
    """Returns the architectures and values of MODEL.NAME that stand in a module's code as texts of their own."""
    names = {name for arch in architectures().values() for name in (arch.name, *arch.model_names)}
    return {n.value for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Constant) and n.value in names}


@pytest.mark.parametrize("found_in", [named_keys, named_architectures])
def test_shared_files_name_no_architecture(found_in):
    found = {name: sorted(words) for name, text in shared_files() if (words := found_in(text))}
    assert found == {}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('x = "SAM" in cfg', {"SAM"}),
        ("x = cfg.STROKE_SAMPLER", {"cfg.STROKE_SAMPLER"}),
        ("x = self.cfg.SAM.TASK", {"SAM.TASK", "self.cfg.SAM"}),
        ('raise E(f"lower SAM.DLO.TRAIN.{n}.percentage")', {"SAM.DLO.TRAIN"}),
        ("y = 1  # as MODEL.DECODER says", {"MODEL.DECODER"}),
        ('"""Reads MODEL.NAME, TEST.EVALUATORS and SOLVER.BASE_LR."""', set()),
        ("from pycocotools.coco import COCO\nside = module.COCO()", set()),
    ],
)
def test_a_planted_key_is_found(line, expected):
    assert named_keys(line) == expected


def test_a_planted_architecture_is_found():
    assert named_architectures('x = cfg.MODEL.NAME == "sam"') == {"sam"} and len(OWN) > 300
