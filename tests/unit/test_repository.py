"""The repository's own promises: documents, commands they name, and shape of the code."""

import ast
import re
import shlex
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LICENSE",
    *(
        f"docs/{name}.md"
        for name in (
            "index",
            "architecture",
            "differences",
            "dependencies",
            "datasets",
            "configuration",
            "training",
            "sam",
            "benchmarks",
        )
    ),
]
MARKDOWN = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def python_files():
    folders = ("src", "modeling", "datasets", "trainer", "utils", "tests", "benchmarks")
    return [
        ROOT / "entry.py",
        *(p for f in folders for p in (ROOT / f).rglob("*.py") if "xdecoder_data" not in p.parts),
    ]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_exists(name):
    assert (ROOT / name).stat().st_size > 200


def test_licence_is_apache():
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text and "Version 2.0, January 2004" in text and "END OF TERMS AND CONDITIONS" in text


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda p: p.name)
def test_links_between_documents_lead_somewhere(path):
    prose = re.sub(r"```.*?```", "", path.read_text(), flags=re.S)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose):
        if not re.match(r"[a-z]+:", target):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


NOTES = [*MARKDOWN, *(p for f in ("modeling", "datasets", "trainer", "utils") for p in (ROOT / f).rglob("README.md"))]


@pytest.mark.parametrize("path", NOTES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_files_named_in_documents_exist(path):
    """A file may be named by the end of its path; capitals and * stand for something."""
    files = [f"/{p.relative_to(ROOT).as_posix()}" for p in python_files()]
    named = {n for text in re.findall(r"`([^`\n]+)`", path.read_text()) for n in re.findall(r"[\w./+*-]+\.py\b", text)}
    named = {name for name in named if not re.search(r"\b[A-Z]{2,}\b", name)}
    assert [name for name in named if not any(fnmatch(file, f"*/{name}") for file in files)] == []


def documented_commands():
    """Every `entry.py VERB ...` line in the documents' code blocks, continued lines joined; `legacy NAME` is a verb."""
    for path in MARKDOWN:
        for language, block in re.findall(r"```(\w*)\n(.*?)```", path.read_text(), re.S):
            if language not in ("", "bash", "sh", "console"):
                continue
            for line in block.replace("\\\n", " ").splitlines():
                match = re.search(r"entry\.py\s+(legacy [\w-]+|\w+)(.*)", line)
                if match:
                    yield path.name, match[1], match[2].split("#")[0].split(" -- ")[0]


def test_documented_options_exist():
    commands = list(documented_commands())
    assert len(commands) > 5
    help_texts = {}
    for document, verb, rest in commands:
        if verb not in help_texts:
            done = subprocess.run(
                [sys.executable, "entry.py", *verb.split(), "--help"], capture_output=True, text=True, cwd=ROOT
            )
            assert done.returncode == 0, f"{document}: entry.py {verb}: {done.stderr}"
            help_texts[verb] = done.stdout
        before_overrides = rest.split("--overrides")[0]
        for word in shlex.split(before_overrides):
            if word.startswith("--"):
                option = word.split("=")[0]
                assert re.search(rf"{re.escape(option)}\b", help_texts[verb]), f"{document}: {verb} has no {option}"


def test_documented_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][\w-]*):", makefile, re.M))
    named = {t for path in MARKDOWN for t in re.findall(r"\bmake (?:VENV=\S+ )?([a-z][\w-]*)", code_of(path))}
    assert named and named <= targets


def code_of(path):
    text = path.read_text()
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, re.S))


def test_files_and_functions_stay_readable():
    declarations = {*ROOT.glob("modeling/*/config*.py"), *ROOT.glob("utils/config/sections*.py")}
    code = [p for p in python_files() if p not in declarations]
    long_files = [str(p.relative_to(ROOT)) for p in code if len(p.read_text().splitlines()) > 450]
    assert not long_files
    long_functions = []
    for path in python_files():
        if path.parts[len(ROOT.parts)] == "tests":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and body_lines(node) > 60:
                long_functions.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert not long_functions


def body_lines(node):
    """Lines of a function without its docstring and signature."""
    first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
    return node.end_lineno - first.lineno + 1


def test_nothing_is_unpickled_or_evaluated_carelessly():
    wrong = []
    for path in python_files():
        if path.parts[len(ROOT.parts)] == "tests":
            continue
        tree = ast.parse(path.read_text())
        bases = {
            node.name: [ast.unparse(b) for b in node.bases] for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and is_unsafe(node, bases):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node.func)}")
    assert not wrong


def is_unsafe(call, bases):
    """Whether a call may run code from data; ``bases``: classes of the file -> names of their bases."""
    options = {k.arg: ast.unparse(k.value) for k in call.keywords}
    name = ast.unparse(call.func)
    if name == "torch.load":
        return options.get("weights_only") != "True"
    if name == "yaml.load":
        return "yaml.SafeLoader" not in bases.get(options.get("Loader"), [])
    return name in ("eval", "exec", "pickle.load", "pickle.loads", "yaml.full_load", "yaml.unsafe_load")


@pytest.mark.parametrize(
    ("code", "unsafe"),
    [
        ("torch.load(f)", True),
        ("torch.load(f, weights_only=True)", False),
        ("yaml.load(f, Loader=Mine)", False),
        ("yaml.load(f, Loader=Other)", True),
        ("eval(text)", True),
        ("model.eval()", False),
    ],
)
def test_unsafe_calls_are_recognised(code, unsafe):
    assert is_unsafe(ast.parse(code).body[0].value, {"Mine": ["yaml.SafeLoader"], "Other": ["Loader"]}) == unsafe


def test_no_machine_paths_in_the_repository():
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    machine_path = re.compile(r"(?<![\w.~])/(?:work|root|home/\w+)/")
    wrong = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.suffix in {".py", ".md", ".yaml", ".toml", ".txt", ".j2", ".json", ""} and path.is_file():
            if path.stat().st_size < 1_000_000 and machine_path.search(path.read_text(errors="ignore")):
                wrong.append(name)
    assert not wrong
