"""What predictions, reports, checkpoints, weights and the page read: prompts, figures, headers, requests."""

from __future__ import annotations

import http.client
import json
import logging
import os
import threading
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from segfoundry.utils.errors import UserError
from segfoundry.utils.structures.results import PanopticResult, Prediction, Segment

from ..support.cable_data import write_backgrounds, write_cables
from ..support.pointer import Pointer, picture, predictor
from .odd_values import to_json
from .target import Target

_PROMPTS = {
    "images": {
        "photo.jpg": [
            {"text": "the left cup"},
            {"name": "plate", "prompts": [
                {"point": [12, 8]}, {"point": [4, 3], "positive": False}, {"box": [1, 2, 20, 18]},
                {"scribble": [[1, 4], [6, 4]], "width": 5}, {"polygon": [[5, 5], [20, 5], [5, 20]]},
                {"circle": [9, 7, 3]}]},
        ],
        "folder/other.png": [{"text": "cup", "prompts": [{"point": [1, 1]}]}],
    }
}  # fmt: skip


def _read_prompts(folder: Path) -> None:
    from segfoundry.datasets.formats.prompt_file import prompts_as_entries, read_prompt_file
    from segfoundry.utils.prompts import rasterize

    found = read_prompt_file(folder / "prompts.yaml")
    for objects in (*found.by_name.values(), found.everywhere or ()):
        for one in objects:
            json.dumps(prompts_as_entries(one.prompts))
            if one.prompts:
                rasterize([one.prompts], (24, 32), (48, 64))


_FOLDERS = {
    "dataset": {
        "train": [
            {"data_dir": "a", "bg_paths": ["bg"], "w_aug": True, "aug_details": ["crop_foreground"], "percentage": 0.5},
            {"data_dir": "b", "bg_paths": None, "w_aug": False},
        ],
        "test": {"data_dir": "a", "bg_paths": "bg", "w_aug": False},
    }
}


def _absolute(folder: Path) -> None:
    """Makes folders of cables, and the working directory the one that a relative ``data_dir`` starts from."""
    for name in ("a", "b"):
        if not (folder / name).exists():
            write_cables(folder / name, 2, (12, 16))
    if not (folder / "bg").exists():
        write_backgrounds(folder / "bg", 1)
    os.chdir(folder)


def _read_folders(folder: Path) -> None:
    from segfoundry.trainer.plan import plan_training
    from segfoundry.utils.config.engine import load_config

    _absolute(folder)
    plan_training(load_config(["configs/sam/tiny.yaml", folder / "data.yaml"]))


# ---- what a run leaves -----------------------------------------------------------------------------------------------

_LINES = [
    {"step": 1, "epoch": 0, "losses": {"loss": 2.0}},
    {"step": 2, "losses": {"loss": 1.0}, "metrics": {"panoptic": {"PQ": 41.5}}},
]
_METRICS = {
    "unit": "percent", "metric_version": 1, "protocol": {"panoptic": {"rule": "x"}},
    "panoptic": {"PQ": 41.5, "SQ": None, "per_class": {"sky": {"PQ": 1.5, "iou": 2}, "ball": {"PQ": None}}},
    "semantic": {"mIoU": 50.0, "IoU-c": {"sky": 3.0, "ball": 4}, "ACC-c": {"sky": 3.0}},
    "interactive": {"noc@0.85": 4.5, "iou_per_click": {"1": 50.0, "2": 60.5}},
}  # fmt: skip


def _report(folder: Path) -> None:
    from segfoundry.datasets.tasks.registry import report_figures
    from segfoundry.trainer.run_folder.report_page import write_report

    write_report(folder, report_figures())


_CONFIG = "MODEL: {NAME: sam}\nSAM: {TYPE: vit_t}\nSEED: 3\n"
_META = {
    "format": 1,
    "counters": {"step": 5, "updates": 5, "skipped": 0, "images": 20, "evaluated": -1, "best": None},
    "categories": [{"id": 1, "name": "foreground", "isthing": True, "color": [220, 20, 60]}],
    "config": _CONFIG,
    "files": {"model.safetensors": {"bytes": 3, "crc32": f"{zlib.crc32(b'abc'):08x}"}},
}


def _checkpoint(folder: Path) -> None:
    """Reads a checkpoint whose checksum is right: as another version, or a hand, may have written it."""
    from segfoundry.trainer.run_folder.checkpoints import CheckpointStore, open_checkpoint
    from segfoundry.trainer.run_folder.run_folder import saved_config

    mark = '"crc32_of_this_file": "'
    path = folder / "step-00000005" / "meta.json"
    text = (folder / "meta.json").read_bytes().decode("utf-8", "surrogateescape").rstrip()
    if text.endswith("}"):
        text = f'{text[:-1]}, {mark}00000000"}}'
        digest = f"{zlib.crc32(text.encode('utf-8', 'surrogateescape')):08x}"
        text = text[: -len('00000000"}')] + digest + '"}'
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert CheckpointStore(folder).steps()
    found = open_checkpoint(folder / "step-00000005")
    assert isinstance(found.step, int)
    saved_config(found)


_HEADER = {
    "format": "pt",
    "config": None,
    "categories": json.dumps(_META["categories"]),
    "vocabulary": json.dumps(_META["categories"]),
    "step": "5",
    "test_size": json.dumps(["tiny", 480, 640, "bilinear"]),
    "reloadable": json.dumps({}),
}


@cache
def _small_network() -> tuple[str, dict[str, Any]]:
    """Returns configuration and weights of a SAM that loads in milliseconds."""
    from segfoundry.modeling.build_model import build_model
    from segfoundry.modeling.sam.config import tiny
    from segfoundry.utils.config.dump import dump
    from segfoundry.utils.config.engine import load_mapping

    resolved = load_mapping(tiny())
    return dump(resolved), {k: v.contiguous() for k, v in build_model(resolved.typed, ()).state_dict().items()}


def _weights(folder: Path) -> None:
    """Loads weights with the header that the file holds; a header holds texts only."""
    from safetensors.torch import save_file

    from segfoundry.trainer.weights.load_model import load_model

    config, state = _small_network()
    try:
        header = json.loads((folder / "header.json").read_bytes())
    except (ValueError, RecursionError):
        header = {}
    header = header if isinstance(header, dict) else {}
    found = {name: value if isinstance(value, str) else to_json(value) for name, value in header.items()}
    found = {n: v for n, v in found.items() if not any("\ud800" <= c <= "\udfff" for c in n + v)}
    if header.get("config", "") is None:
        found["config"] = config
    save_file(state, folder / "model.safetensors", found)
    load_model(str(folder / "model.safetensors"))


def _weight_bytes(folder: Path) -> None:
    from segfoundry.trainer.weights.load_model import load_model

    load_model(str(folder / "model.safetensors"))


# ---- the page --------------------------------------------------------------------------------------------------------

_REQUESTS = (
    {"action": "prompt", "prompts": _PROMPTS["images"]["photo.jpg"][1]["prompts"]},  # type: ignore[index]
    {"action": "text", "text": "the red thing"},
    {"action": "select", "object": 0},
    {"action": "remove", "object": 0},
)


class _OneThing(Pointer):
    """Finds one object, the whole image, of the first category: whatever the vocabulary, there is one."""

    def _everything(self, size: tuple[int, int]) -> Prediction:
        ids = np.ones(size, np.int32)
        return Prediction(
            ids.astype(np.int64) - 1, PanopticResult(ids, [Segment(1, 0, True, area=ids.size, score=0.9)])
        )


class _Page(logging.Handler):
    """A page with an open image, in this process; keeps what the server logs about its own failures."""

    def __init__(self) -> None:
        from segfoundry.trainer.demo import server

        super().__init__()
        self.failures: list[BaseException] = []
        server.log.addHandler(self)
        self.server = server.DemoServer(predictor(_OneThing()), "127.0.0.1", 0, server.DemoLimits(images=2))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.key, _ = self.server.images.open("a.png", picture())

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the error of a request that failed."""
        if record.levelno >= logging.ERROR and record.exc_info and record.exc_info[1]:
            self.failures.append(record.exc_info[1])

    def ask(self, method: str, path: str, body: bytes | None = None) -> int:
        """Returns the status of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        try:
            connection.request(method, path, body)
            reply = connection.getresponse()
            json.loads(reply.read())
            return reply.status
        finally:
            connection.close()


@cache
def _page(process: int) -> _Page:
    """Returns the page of a process: a forked one inherits the other's, without the threads that answer."""
    return _Page()


def _ask(what: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        page = _page(os.getpid())
        page.ask("POST", f"/api/images/{page.key}/actions", b'{"action": "prompt", "prompts": [{"point": [9, 9]}]}')
        status = page.ask("POST", f"/api/images/{page.key}/{what}", (folder / "request.json").read_bytes())
        found = page.ask("GET", f"/api/images/{page.key}/result.json")
        if page.failures:
            raise page.failures.pop()
        assert status < 500 and found < 500, f"the server failed: {status}, {found}"
        page.ask("POST", f"/api/images/{page.key}/actions", b'{"action": "reset"}')
        if status != 200:
            raise UserError(f"status {status}")

    return read


RUNS = (
    Target("prompts", "prompts.yaml", "yaml", _PROMPTS, _read_prompts, images=False),
    Target("folders of masks", "data.yaml", "yaml", _FOLDERS, _read_folders, images=False),
    Target("training log", "metrics.jsonl", "lines", _LINES, _report, {"log.txt": b"x"}, images=False),
    Target("figures", "eval/tiny/metrics.json", "json", _METRICS, _report, {"log.txt": b"x"}, images=False),
    Target("environment", "environment.json", "json", {"torch": "2", "gpus": [1], "a": {"b": None}}, _report,
           {"log.txt": b"x"}, images=False),
    Target("checkpoint", "meta.json", "json", _META, _checkpoint, {"step-00000005/model.safetensors": b"abc"},
        images=False),
    Target("weight header", "header.json", "json", _HEADER, _weights, images=False),
    *(Target(f"request {r['action']}", "request.json", "json", r, _ask("actions"), images=False) for r in _REQUESTS),
    Target("request everything", "request.json", "json", {"categories": "red,green:stuff"}, _ask("everything"),
        images=False),
)  # fmt: skip
