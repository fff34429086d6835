"""A reader finds a thing where its name says: small folders, one name for one meaning, notes that are true."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

from segfoundry.datasets.tasks.registry import all_tasks
from segfoundry.utils.config.architectures import architectures

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("modeling", "datasets", "trainer", "utils")
MOST_MODULES = 20

# File names that stand in several folders, always for the same thing.
SHARED_STEMS = {
    "base": "what all files of the folder are or extend",
    "start": "where the journey of the folder begins",
    "registry": "named things of a kind",
    "promptable": "networks that take prompts",
    # the same part of each architecture
    "model": "its meta-architecture",
    "config": "its keys; the verb config shows them",
    "tuning": "which of its parameters train",
    "recognise": "which of its networks a weight file holds",
    "encoded": "images that went through its encoder",
    "answering": "its masks of prompts",
}
# What every verb of the command line, and every configuration, defines under the same name.
INTERFACES = {"add_arguments", "run", "tiny", "check", "shipped_config"}


def modules():
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "xdecoder_data" not in path.parts and path.name != "__init__.py":
                yield path.relative_to(ROOT)


def test_folders_are_small():
    count = defaultdict(int)
    for path in modules():
        count[path.parent] += 1
    assert len(count) > 40
    assert {folder: n for folder, n in count.items() if n > MOST_MODULES} == {}


def test_a_file_name_means_one_thing():
    """Tasks and architectures may have a file of their name in each folder that has a part of them."""
    own = {task.name for task in all_tasks()} | set(architectures())
    places = defaultdict(list)
    for path in modules():
        places[path.stem].append(path.as_posix())
    twice = {stem: found for stem, found in places.items() if len(found) > 1}
    assert {stem: found for stem, found in twice.items() if stem not in SHARED_STEMS and stem not in own} == {}
    assert set(SHARED_STEMS) <= set(twice), "a name of the table stands in one folder only"


def public_names(path):
    """Returns the public functions and classes of a module; sections of a configuration are named by their keys."""
    if re.fullmatch(r"config\w*|sections", path.stem):
        return set()
    body = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    named = [n.name for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    return {name for name in named if not name.startswith("_")} - INTERFACES


def rooms(path):
    """Returns the architecture whose room a module stands in, or None for what all share."""
    return path.parts[1] if path.parts[0] == "modeling" and path.parts[1] in architectures() else None


def test_a_public_name_means_one_thing():
    """Two architectures may use one word, as none reads the other's files; shared names have no second meaning."""
    places = defaultdict(list)
    for path in modules():
        for name in public_names(path):
            places[name].append(path)
    assert len(places) > 900
    twice = {}
    for name, found in places.items():
        owners = [rooms(path) for path in found]
        if len(found) > 1 and (None in owners or len(set(owners)) < len(owners)):
            twice[name] = [path.as_posix() for path in found]
    assert twice == {}


READMES = sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("README.md") if "xdecoder_data" not in p.parts)


@pytest.mark.parametrize("path", READMES, ids=lambda p: p.parent.relative_to(ROOT).as_posix())
def test_a_folder_s_readme_is_true(path):
    """It names every file and folder beside it, and nothing that is not there."""
    folder = path.parent
    named = {name for text in re.findall(r"`([^`\n]+)`", path.read_text()) for name in re.findall(r"[\w./*-]+", text)}
    files = {n for n in named if n.endswith((".py", "/"))}
    lost = [n for n in files if not (any(folder.rglob(n.rstrip("/"))) or (ROOT / n).exists() or "NAME" in n)]
    assert not lost
    beside = set() if "*.py" in files else {p.name for p in folder.glob("*.py")} - {"__init__.py"}
    beside |= {f"{p.name}/" for p in folder.iterdir() if (p / "__init__.py").exists()}
    assert beside - files == set()


def test_folders_without_an_obvious_order_have_a_readme():
    """A folder with folders in it, or with more than ten modules, says where to begin."""
    count = defaultdict(set)
    for path in modules():
        count[path.parent].add(path.name)
        if len(path.parts) > 2:
            count[path.parent.parent].add(f"{path.parent.name}/")
    large = {f for f, names in count.items() if len(names) > 10 or any(n.endswith("/") for n in names)}
    assert {p.parent.relative_to(ROOT) for p in READMES} >= large
