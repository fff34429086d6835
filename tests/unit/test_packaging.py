"""The wheel: one top-level name, nothing large, nothing of the user's, and a command that starts from anywhere."""

import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "assets" / "requirements"


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def lines(name):
    text = (REQUIREMENTS / name).read_text().splitlines()
    return [line.strip() for line in text if line.strip() and not line.startswith(("#", "-c "))]


def plain(requirement):
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")


def test_requirement_files_and_package_metadata_agree():
    build_tools = ["setuptools", "wheel"]  # for the packages of requirements_custom.txt
    assert lines("requirements.txt") == project()["dependencies"] + build_tools
    assert lines("requirements_dev.txt") == project()["optional-dependencies"]["dev"]


def test_the_plain_pip_line_installs_the_pinned_versions():
    assert "-c constraints.txt" in (REQUIREMENTS / "requirements.txt").read_text().splitlines()


def test_constraints_pin_every_requirement_and_the_torch_pair():
    pins = dict(line.split("==") for line in lines("constraints.txt"))
    assert pins["torch"] == "2.15.0" and pins["torchvision"] == "0.29.2"
    pinned = {plain(name) for name in pins}
    for requirement in lines("requirements.txt") + lines("requirements_dev.txt"):
        assert plain(requirement) in pinned, requirement


def test_optional_sources_are_pinned_to_commits():
    found = {}
    for line in lines("requirements_custom.txt"):
        source = re.search(r"git\+https://\S+/(\w+)\.git@([0-9a-f]{40})(#egg=\1)?$", line)
        found[source[1]] = source[2]
    assert found.keys() == {"detectron2", "panopticapi"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    private = ROOT / "datasets" / "xdecoder_data" / "packaging_test.txt"
    private.parent.mkdir(exist_ok=True)
    private.write_text("weights of a user")
    try:
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        private.unlink()
        if not any(private.parent.iterdir()):
            private.parent.rmdir()
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_wheel_has_one_name_and_nothing_large(wheel):
    with zipfile.ZipFile(wheel) as archive:
        entries = archive.infolist()
    names = [e.filename for e in entries]
    tops = {n.split("/")[0] for n in names}
    assert {t for t in tops if not t.endswith(".dist-info")} == {"segfoundry"}
    assert max(e.file_size for e in entries) < 1_000_000
    assert not [n for n in names if "xdecoder_data" in n]
    # Each module once: the links in src/segfoundry lead to folders that are there by themselves.
    folders = ("modeling", "datasets", "trainer", "utils")
    modules = [p.relative_to(ROOT) for folder in folders for p in (ROOT / folder).rglob("*.py")]
    modules = [p.as_posix() for p in modules if "xdecoder_data" not in p.parts] + ["__init__.py", "__main__.py"]
    assert sorted(n for n in names if n.endswith(".py")) == sorted(f"segfoundry/{name}" for name in modules)
    assert len(set(names)) == len(names)
    expected = [
        "py.typed",
        "modeling/seem/config.py",
        "trainer/demo/static/index.html",
        "trainer/run_folder/templates/report.html.j2",
        "configs/seem/tiny.yaml",
    ]
    records = [p.relative_to(ROOT).as_posix() for p in ROOT.glob("datasets/records/*.yaml")]
    assert records
    for name in expected + records:
        assert f"segfoundry/{name}" in names, name


@pytest.mark.slow
def test_the_source_archive_is_a_checkout_without_links(tmp_path):
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        names = archive.getnames()
        archive.extractall(tmp_path, filter="data")
    (root,) = (path for path in tmp_path.iterdir() if path.is_dir())
    modules = [
        p.relative_to(ROOT).as_posix()
        for f in ("modeling", "datasets", "trainer", "utils")
        for p in ROOT.glob(f"{f}/**/*.py")
    ]
    for name in [*(m for m in modules if "xdecoder_data" not in m), "src/segfoundry/__init__.py", "Makefile"]:
        assert names.count(f"{root.name}/{name}") == 1, name
    assert not (root / "src/segfoundry/modeling").exists()
    words = [sys.executable, "entry.py", "config", "--conf_files", "configs/seem/tiny.yaml"]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0 and "MODEL:" in done.stdout, done.stderr


@pytest.mark.slow
def test_installed_command_runs_from_elsewhere_beside_a_package_called_datasets(wheel, tmp_path):
    home = tmp_path / "env"
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    query = "import site; print(site.getsitepackages()[0])"
    site = Path(subprocess.run([python, "-c", query], capture_output=True, text=True, check=True).stdout.strip())
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "datasets.py").write_text("OTHER = True\n")
    # Third-party packages come from the environment that runs the tests.
    own = subprocess.run([sys.executable, "-c", query], capture_output=True, text=True, check=True).stdout.strip()
    (site / "outer.pth").write_text(own + "\n")
    code = (
        "import datasets; assert datasets.OTHER\n"
        "import sys; from segfoundry.trainer.cli.main import main\n"
        "import segfoundry; assert segfoundry.__file__.startswith(sys.prefix), segfoundry.__file__\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}

    def run(*arguments):
        return subprocess.run(
            [python, "-c", code, *arguments], capture_output=True, text=True, cwd=tmp_path, env=environment
        )

    done = run("--version")
    assert done.returncode == 0 and project_version() in done.stdout, done.stderr
    done = run("prepare", "--embedded", "scenes", "--output", "data")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "data").glob("*.yaml"))
    with zipfile.ZipFile(wheel) as archive:
        (entry,) = [n for n in archive.namelist() if n.endswith("entry_points.txt")]
        assert "segfoundry = segfoundry.trainer.cli.main:main" in archive.read(entry).decode()


def project_version():
    return re.search(r'__version__ = "(.+)"', (ROOT / "src/segfoundry/__init__.py").read_text())[1]
