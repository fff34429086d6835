"""Who may import whom, and what must not be imported: read from the syntax trees and tried in fresh interpreters."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("modeling", "datasets", "trainer", "utils")
ALLOWED = {
    "trainer": {"trainer", "modeling", "datasets", "utils"},
    "modeling": {"modeling", "utils"},
    "datasets": {"datasets", "utils"},
    "utils": {"utils"},
}
# Folders with public names of their own, which are loaded when they are asked for.
WITH_PUBLIC_NAMES = {Path("modeling/sam/__init__.py")}
GUARD = (
    'if __name__ != "segfoundry.{0}":\n'
    "    raise ImportError(\"import this folder as 'segfoundry.{0}', not as a top-level package\")\n"
)


def product_files(root=ROOT):
    return sorted(p for folder in FOLDERS for p in (root / folder).rglob("*.py") if "xdecoder_data" not in p.parts)


def module_name(path, root=ROOT):
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(("segfoundry", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def import_nodes(path, *, typing=True):
    """Yields the import statements of a file; those of TYPE_CHECKING blocks only with ``typing``."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    skipped = set()
    for node in ast.walk(tree):
        if not typing and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped.update(id(inner) for inner in ast.walk(node))
    return [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom) and id(n) not in skipped]


def base_of(node, path, root=ROOT):
    """Returns the absolute name of what a ``from`` statement imports from, by the file's own place."""
    if not node.level:
        return node.module
    package = ["segfoundry", *path.relative_to(root).parts[:-1]]
    assert node.level <= len(package), f"{path}: more dots than folders"
    return ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])


def imported(path, root=ROOT, *, typing=True):
    """Returns the absolute names a file imports: modules, and for ``from package import name`` also package.name."""
    names = []
    for node in import_nodes(path, typing=typing):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        else:
            base = base_of(node, path, root)
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return names


def own(name):
    return name.split(".")[1] if name.startswith("segfoundry.") else None


def wrong_arrows(root=ROOT):
    """Returns the imports that point against the order of the folders."""
    wrong = []
    for path in product_files(root):
        folder = path.relative_to(root).parts[0]
        for name in imported(path, root):
            target = own(name)
            if target in FOLDERS and target not in ALLOWED[folder] and not is_own_configuration(path, name, root):
                wrong.append(f"{path.relative_to(root)} imports {name}")
    return wrong


def is_own_configuration(path, name, root):
    """Whether datasets/pipelines/<name>.py imports modeling/<name>/config*.py, the one exception."""
    words = name.split(".")[1:]
    pipeline = path.relative_to(root).parts[:2] == ("datasets", "pipelines")
    return pipeline and words[:2] == ["modeling", path.stem] and len(words) > 2 and words[2].startswith("config")


def wrong_forms(root=ROOT):
    """Returns the imports inside the folders that are not relative."""
    wrong = []
    for path in product_files(root):
        for node in import_nodes(path):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            absolute = isinstance(node, ast.Import) or not node.level
            wrong += [
                f"{path.relative_to(root)} imports {name}"
                for name in names
                if absolute and name.split(".")[0] in ("segfoundry", *FOLDERS)
            ]
    return wrong


def foreign_architectures(root=ROOT):
    """Returns the imports of one architecture, or of what all share, from another architecture's folder."""
    architectures = {p.parent.name for p in root.glob("modeling/*/config.py")}
    wrong = []
    for path in product_files(root):
        parts = path.relative_to(root).parts
        if parts[0] == "modeling":
            for name in imported(path, root):
                words = name.split(".")
                if (
                    words[:2] == ["segfoundry", "modeling"]
                    and len(words) > 2
                    and words[2] in architectures - {parts[1]}
                ):
                    wrong.append(f"{path.relative_to(root)} imports {name}")
    return wrong


def as_module(place):
    """Returns the file of a module, or the folder of a package without one, at a path without suffix; or None."""
    return next((p for p in (place.with_suffix(".py"), place / "__init__.py", place) if p.exists()), None)


def unresolved(path, root=ROOT):
    """Returns the imports of ours that lead to no file, or to a file without that name."""
    wrong = []
    for node in import_nodes(path):
        if isinstance(node, ast.Import):
            wanted = [(root.joinpath("src", *a.name.split(".")), a.name, None) for a in node.names]
        elif node.level:
            place = path.parents[node.level - 1].joinpath(
                *filter(None, [node.module and node.module.replace(".", "/")])
            )
            wanted = [(place, "." * node.level + (node.module or ""), alias.name) for alias in node.names]
        else:
            place = root.joinpath("src", *node.module.split("."))
            wanted = [(place, node.module, alias.name) for alias in node.names]
        for place, base, name in wanted:
            if base.startswith(".") or base.split(".")[0] == "segfoundry":
                module = as_module(place)
                if module is None or name and not (as_module(place / name) or name in defined(module)):
                    wrong.append(f"{path.relative_to(root)} imports {' '.join(filter(None, (base, name)))}")
    return wrong


@functools.cache
def defined(path):
    """Returns the names at the top of a module, those behind ``if`` and ``try`` and those of __getattr__ included."""
    if path.is_dir():
        return set()
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)  # __all__, and the tables of names that load on demand
    return names


def circles(root=ROOT):
    """Returns a path around each import circle, those through imports inside functions or for typing included."""
    files = {module_name(path, root): path for path in product_files(root)}
    arrows = {name: sorted({n for n in imported(path, root) if n in files} - {name}) for name, path in files.items()}
    found, done = [], set()

    def follow(name, trail):
        if name in trail:
            found.append(" -> ".join([*trail[trail.index(name) :], name]))
        elif name not in done:
            for other in arrows[name]:
                follow(other, [*trail, name])
            done.add(name)

    for name in arrows:
        follow(name, [])
    return found


def borrowed_names(root=ROOT):
    """Returns the imports of a name of ours from a file that has imported it itself."""
    files = {module_name(path, root): path for path in product_files(root)}
    wrong = []
    for path in files.values():
        for node in import_nodes(path):
            source = files.get(base_of(node, path, root)) if isinstance(node, ast.ImportFrom) else None
            for alias in node.names if source else ():
                home = next((n for n in import_nodes(source) if imports_name(n, alias.name)), None)
                if home and (own(base_of(home, source, root) or "") in FOLDERS):
                    wrong.append(f"{path.relative_to(root)} imports {alias.name} from {source.relative_to(root)}")
    return wrong


def imports_name(node, name):
    return isinstance(node, ast.ImportFrom) and any((a.asname or a.name) == name for a in node.names)


CHECKS = {
    "arrows": wrong_arrows,
    "forms": wrong_forms,
    "architectures": foreign_architectures,
    "circles": circles,
    "borrowed": borrowed_names,
}


@pytest.mark.parametrize("check", CHECKS)
def test_imports_keep_the_rule(check):
    assert not CHECKS[check]()


def test_every_import_of_ours_leads_to_a_file_with_that_name():
    outside = [ROOT / "entry.py", *(ROOT / "src" / "segfoundry").glob("*.py")]
    outside += [p for folder in ("tests", "benchmarks") for p in (ROOT / folder).rglob("*.py")]
    files = [*product_files(), *outside]
    assert sum(len(import_nodes(path)) for path in files) > 3000
    assert not [line for path in files for line in unresolved(path)]


@pytest.fixture
def small_tree(tmp_path):
    """A checkout of a few modules without any fault; returns a function that writes a file into it."""

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    for folder in FOLDERS:
        write(f"{folder}/__init__.py", "")
    (tmp_path / "src" / "segfoundry").mkdir(parents=True)
    for folder in FOLDERS:
        (tmp_path / "src" / "segfoundry" / folder).symlink_to(tmp_path / folder)
    write("utils/errors.py", "class UserError(Exception): ...")
    write("modeling/one/config.py", "class OneConfig: ...")
    write("modeling/two/config.py", "")
    write("datasets/pipelines/one.py", "from ...modeling.one.config import OneConfig")
    write("trainer/run.py", "from ..modeling.one.config import OneConfig")
    return write


PLANTED = {
    "arrows": ("datasets/a.py", "from ..modeling.one import config", "datasets/a.py imports segfoundry.modeling.one"),
    "arrows in a function": (
        "utils/a.py",
        "def f():\n    from ..trainer.run import UserError",
        "segfoundry.trainer.run",
    ),
    "arrows for typing": (
        "modeling/a.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..datasets import x",
        "modeling/a.py imports segfoundry.datasets",
    ),
    "arrows from deep inside": ("modeling/one/a.py", "from ... import datasets", "segfoundry.datasets"),
    "arrows from a pipeline": ("datasets/pipelines/one.py", "from ...modeling.one import model", "modeling.one.model"),
    "arrows to another's configuration": (
        "datasets/pipelines/two.py",
        "from ...modeling.one.config import X",
        "datasets/pipelines/two.py imports segfoundry.modeling.one.config",
    ),
    "forms": ("trainer/a.py", "from segfoundry.utils.errors import UserError", "trainer/a.py imports segfoundry.utils"),
    "forms, bare": ("trainer/a.py", "import utils.errors", "trainer/a.py imports utils.errors"),
    "architectures": ("modeling/one/a.py", "from ..two.config import X", "segfoundry.modeling.two.config"),
    "architectures, shared": ("modeling/a.py", "from .two import config", "segfoundry.modeling.two.config"),
    "borrowed": ("trainer/a.py", "from ..utils.other import UserError", "UserError from utils/other.py"),
    "circles": ("utils/errors.py", "def f():\n    from . import other", "utils.errors -> segfoundry.utils.other"),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_import_is_found(kind, small_tree, tmp_path):
    check = CHECKS[re.match(r"\w+", kind)[0]]
    small_tree("utils/other.py", "from .errors import UserError")
    assert check(tmp_path) == []
    name, text, expected = PLANTED[kind]
    small_tree(name, text)
    found = check(tmp_path)
    assert found and any(expected in line for line in found), found


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("from ..utils.errors import UserError", None),
        ("from ..utils import errors", None),
        ("from segfoundry.utils import errors", None),
        ("from ..utils.errors import UserErr", "..utils.errors UserErr"),
        ("from .utils.errors import UserError", ".utils.errors UserError"),
        ("from ...utils.errors import UserError", "...utils.errors UserError"),
        ("from segfoundry.utils.error import UserError", "segfoundry.utils.error UserError"),
        ("import segfoundry.utils.error", "segfoundry.utils.error"),
    ],
)
def test_an_import_that_leads_nowhere_is_found(text, ends, small_tree, tmp_path):
    small_tree("trainer/a.py", text)
    found = unresolved(tmp_path / "trainer" / "a.py", tmp_path)
    assert [line.split(" imports ")[1] for line in found] == ([] if ends is None else [ends])


# Modules that are found by name when the program runs, which no import statement shows: file -> what it looks for.
FOUND_BY_NAME = {
    "modeling/build_model.py": "modeling/NAME/model.py",
    "modeling/sam/__init__.py": "names that SAM's users know",
    "modeling/seem/backbones/build_backbone.py": "the backbone that MODEL.BACKBONE.NAME chooses",
    "datasets/pipelines/base.py": "datasets/pipelines/NAME.py",
    "datasets/tasks/registry.py": "datasets/tasks/*.py",
    "trainer/cli/main.py": "trainer/cli/VERB.py",
    "utils/config/architectures.py": "modeling/*/config.py",
    "utils/config/sections.py": "the names of the tasks, for TEST.EVALUATORS",
    "utils/masks.py": "an optional package",
    "utils/version.py": "the import root",
}


def test_what_is_found_by_name_is_known():
    found = {
        path.relative_to(ROOT).as_posix()
        for path in product_files()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__")
    }
    assert found == set(FOUND_BY_NAME)


def test_folders_hold_a_guard_or_nothing():
    for path in product_files():
        if path.name == "__init__.py" and path.relative_to(ROOT) not in WITH_PUBLIC_NAMES:
            parts = path.relative_to(ROOT).parts
            expected = GUARD.format(parts[0]) if len(parts) == 2 else ""
            assert path.read_text() == expected, path


@pytest.mark.parametrize("folder", FOLDERS)
def test_guard_answers_a_bare_import(folder):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {folder}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"import this folder as 'segfoundry.{folder}'" in done.stderr


LIGHT_COMMANDS = [
    ["--help"],
    ["--version"],
    *(
        [verb, "--help"]
        for verb in ("train", "evaluate", "predict", "prepare", "validate", "score", "config", "report")
    ),
    ["config", "--conf_files", "configs/seem/tiny.yaml"],
]
HEAVY = ("torch", "torchvision", "transformers", "timm", "open_clip", "wandb", "matplotlib")


@pytest.mark.parametrize("arguments", LIGHT_COMMANDS, ids=" ".join)
def test_light_commands_import_nothing_heavy(arguments):
    code = (
        "import sys\n"
        "from segfoundry.trainer.cli.main import main\n"
        "try:\n"
        f"    status = main({arguments!r})\n"
        "except SystemExit as stop:\n"
        "    status = stop.code\n"
        f"print('heavy:', sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)\n"
        "sys.exit(status)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert done.stderr.strip().splitlines()[-1] == "heavy: []"


@pytest.mark.parametrize("module", ["prepare", "validate", "score", "config"])
def test_verbs_without_a_model_never_name_torch(module):
    """Follows the imports of a verb, and of the tasks that it finds by name, through our files, in functions too."""
    tasks = [module_name(path) for path in (ROOT / "datasets" / "tasks").glob("*.py")]
    reached, queue = set(), [f"segfoundry.trainer.cli.{module}", *tasks]
    while queue:
        name = queue.pop()
        words = name.split(".")
        path = ROOT.joinpath(*words[1:-1], f"{words[-1]}.py")
        if name in reached or own(name) not in FOLDERS or not path.is_file():
            continue
        reached.add(name)
        for other in imported(path, typing=False):
            assert other.split(".")[0] not in HEAVY[:5], f"{path.relative_to(ROOT)} imports {other}"
            queue.append(other)
    assert len(reached) > 1


@pytest.mark.slow
def test_every_module_can_be_imported_first():
    """Each module is the first of ours in a forked child, so that no import cycle hides behind another module."""
    code = (
        "import os, sys, traceback\n"
        "import numpy, cv2, torch, torchvision\n"  # paid once; ours are not loaded yet
        "bad = 0\n"
        "for name in sys.stdin.read().split():\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        try:\n"
        "            __import__(name)\n"
        "        except BaseException:\n"
        "            print(name); traceback.print_exc(); os._exit(1)\n"
        "        os._exit(0)\n"
        "    bad += os.waitpid(child, 0)[1] != 0\n"
        "sys.exit(bad != 0)\n"
    )
    names = "\n".join(module_name(p) for p in product_files())
    done = subprocess.run([sys.executable, "-c", code], input=names, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr
