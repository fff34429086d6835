"""Configurations, data and command lines for runs that last a few seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from segfoundry.utils.config.architectures import architectures

from .tiny_data import write_dataset, write_foreground

ROOT = Path(__file__).resolve().parents[2]
ENTRY = ROOT / "entry.py"
ARCHITECTURES = sorted(name for name in architectures() if (ROOT / "modeling" / name / "model.py").is_file())
# Further ways to train an architecture: name -> (its folder, keys that differ from its smallest configuration).
VARIANTS = {
    "sam-foreground": (
        "sam",
        {"SAM.TASK": "dlo", "SAM.DLO.INPUT.STANDARD_SIZE": [48, 64], "SAM.LOSS.DICE_PER_IMAGE": True},
    )
}
TRAINABLE = [*ARCHITECTURES, *VARIANTS]


def write_variant(folder: Path, name: str = "seem", **values) -> Path:
    """Writes the configuration of one of ``TRAINABLE`` with its data; see :func:`write_config`."""
    if name not in VARIANTS:
        return write_config(folder, name, **values)
    arch, keys = VARIANTS[name]
    data = write_foreground(folder / "foreground")
    changes = {
        **keys,
        "DATASETS.TRAIN": [],
        "DATASETS.TEST": [],
        "SAM.DLO.TRAIN": [{"data_dir": str(data / "train")}],
        "SAM.DLO.TEST": {"data_dir": str(data / "val")},
    }
    return write_config(folder, arch, **{key.replace(".", "__"): value for key, value in changes.items()}, **values)


def write_config(folder: Path, arch: str = "seem", **values) -> Path:
    """Writes the architecture's smallest configuration, with a data set beside it; returns the YAML file.

    Args:
        folder: gets ``data/`` (once), the file and later ``runs/``.
        arch: folder name of the architecture.
        **values: further keys, ``__`` for the dots.
    """
    record = folder / "data" / "tiny.yaml"
    if not record.exists():
        (folder / "data").mkdir(parents=True, exist_ok=True)
        write_dataset(folder / "data")
    settings = dict(architectures()[arch].tiny())
    settings |= {"DATASETS.TRAIN": [str(record)], "DATASETS.TEST": [str(record)], "SAVE_DIR": str(folder / "runs")}
    settings |= {"DEVICE": "cpu", "DATALOADER.NUM_WORKERS": 0, "LOG_EVERY": 1, "TENSORBOARD": False}
    settings |= {name.replace("__", "."): value for name, value in values.items()}
    tree: dict = {}
    for name, value in settings.items():
        node = tree
        *parts, last = name.split(".")
        for part in parts:
            node = node.setdefault(part, {})
        node[last] = value
    path = folder / f"{arch}.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def command(*words, processes: int = 0) -> list[str]:
    """Returns the command line of the product, under torchrun when ``processes`` is given."""
    torchrun = ["-m", "torch.distributed.run", f"--nproc_per_node={processes}", "--standalone"] if processes else []
    return [sys.executable, *torchrun, str(ENTRY), *map(str, words)]


def run(*words, processes: int = 0, env: dict | None = None, timeout: float = 800) -> subprocess.CompletedProcess:
    """Runs the command line in a process of its own."""
    environ = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    return subprocess.run(
        command(*words, processes=processes), env=environ, capture_output=True, text=True, timeout=timeout
    )


def records(run_folder: Path, kind: str) -> dict[int, dict]:
    """Returns step -> record of one kind from metrics.jsonl; a doubled step is an error."""
    lines = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if line["kind"] == kind]
    assert len({line["step"] for line in lines}) == len(lines), "a step was recorded twice"
    return {line["step"]: line for line in lines}
