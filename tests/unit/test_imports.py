"""Who may import whom, and what must not be imported: read from the syntax trees and tried in fresh interpreters."""

import ast
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
# The configuration engine mounts modeling/<arch>/config.py by folder name; those modules hold declarations only.
CONFIG_MODULES = {f"segfoundry.modeling.{p.parent.name}.config" for p in ROOT.glob("modeling/*/config.py")}
GUARD = (
    'if __name__ != "segfoundry.{0}":\n'
    "    raise ImportError(\"import this folder as 'segfoundry.{0}', not as a top-level package\")\n"
)


def product_files():
    return sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py") if "xdecoder_data" not in p.parts)


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("segfoundry", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def imported(path):
    """Returns the absolute names a file imports, TYPE_CHECKING blocks included; relative imports as "."."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append("." if node.level else node.module)
    return names


def own(name):
    return name.split(".")[1] if name.startswith("segfoundry.") else None


def test_arrows_point_one_way():
    wrong = []
    for path in product_files():
        folder = path.relative_to(ROOT).parts[0]
        for name in imported(path):
            target = own(name)
            if target and target not in ALLOWED[folder] and not (target not in FOLDERS or name in CONFIG_MODULES):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_imports_are_absolute_and_start_with_the_import_root():
    wrong = []
    for path in product_files():
        for name in imported(path):
            if name == "." or name.split(".")[0] in FOLDERS:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_no_architecture_imports_another():
    architectures = {p.parent.name for p in ROOT.glob("modeling/*/config.py")}
    wrong = []
    for path in product_files():
        parts = path.relative_to(ROOT).parts
        if parts[0] == "modeling" and parts[1] in architectures | {"layers", "losses"}:
            for name in imported(path):
                words = name.split(".")
                if (
                    words[:2] == ["segfoundry", "modeling"]
                    and len(words) > 2
                    and words[2] in architectures - {parts[1]}
                ):
                    wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


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
    """Follows the imports of a verb through our own files, those inside functions too."""
    reached, queue = set(), [f"segfoundry.trainer.cli.{module}"]
    while queue:
        name = queue.pop()
        words = name.split(".")
        path = ROOT.joinpath(*words[1:-1], f"{words[-1]}.py")
        if name in reached or own(name) not in FOLDERS or not path.is_file():
            continue
        reached.add(name)
        for other in imported_at_run_time(path):
            assert other.split(".")[0] not in HEAVY[:5], f"{path.relative_to(ROOT)} imports {other}"
            queue.append(other)
    assert len(reached) > 1


def imported_at_run_time(path):
    """Like ``imported``, without TYPE_CHECKING blocks; names each ``from package import module`` too."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped.update(id(inner) for inner in ast.walk(node))
    names = []
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


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
