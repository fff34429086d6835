"""Writes image encoder and panoptic head as a graph for other programs: ``torch.export`` (.pt2) or ONNX (.onnx).

Beside the graph lies FILE.json: classes, size, normalisation (which is inside the graph) and how far the exported graph
is from the network it was made from.
"""

from __future__ import annotations

import importlib.util
import json
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...modeling.exportable import Exportable, InferenceGraph
from ...utils.errors import UserError
from ...utils.files import TEMP_MARK, atomic_write_json, disk_errors, fsync_file, fsync_folder
from ...utils.logging import get_logger
from ...utils.version import __version__
from .predictor import Predictor

log = get_logger(__name__)

FORMATS = (".pt2", ".onnx")
OUTPUTS = ("class_probabilities", "mask_logits")
TOLERANCE = 1e-3
_ONNX_OPSET = 18
_ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")

Run = Callable[[Tensor], Sequence[Tensor]]


def check_format(path: Path) -> None:
    """Refuses a file name that stands for no format, or for one whose packages are not installed.

    Raises:
        UserError: names the formats or the packages.
    """
    if path.suffix not in FORMATS:
        raise UserError(f"--output {path}: the name must end in {' (torch.export) or '.join(FORMATS)} (ONNX)")
    missing = [name for name in _ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if path.suffix == ".onnx" and missing:
        raise UserError(f"ONNX needs packages that are not installed: pip install {' '.join(missing)}")


def export(predictor: Predictor, path: Path, size: tuple[int, int]) -> dict[str, Any]:
    """Writes a network and its vocabulary for images of one size.

    The written file is read again and compared with the network; a graph that differs is not left behind.

    Args:
        predictor: the network; float32 on the CPU.
        path: file to write or replace, ``.pt2`` or ``.onnx``.
        size: (height, width) of its images.

    Returns:
        What FILE.json holds.

    Raises:
        UserError: the size does not fit, a package is missing, the graph cannot be exported, or it differs from the
            network by more than 1e-3.
    """
    check_format(path)
    graph = inference_graph(predictor.model)
    _check_size(size, graph.divisibility)
    example = _images(size, count=1)[0]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters warn of their own internals
        program = torch.export.export(graph, (example,), strict=False)
        shapes = [list(output.shape) for output in graph(example)]
    about = _about(predictor, size, shapes)
    temporary = path.with_name(f".{path.stem}{TEMP_MARK}{os.getpid()}{path.suffix}")
    write, load = (_write_torch, _load_torch) if path.suffix == ".pt2" else (_write_onnx, _load_onnx)
    try:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write(program, temporary, about)
            about["largest_difference"] = compare(graph, load(temporary), size)
            fsync_file(temporary)
            os.replace(temporary, path)
            fsync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    atomic_write_json(path.with_name(f"{path.name}.json"), about)
    return about


def inference_graph(model: nn.Module) -> InferenceGraph:
    """Returns a network as one graph, with its present vocabulary.

    Raises:
        UserError: the architecture cannot be exported.
    """
    if not isinstance(model, Exportable):
        raise UserError("this architecture cannot be exported; networks of SEEM can")
    return model.inference_graph()


def compare(graph: InferenceGraph, exported: Run, size: tuple[int, int]) -> float:
    """Returns the largest difference of the outputs on a few images.

    Probabilities count as they are, mask logits in units of the largest one (if that is above 1).

    Raises:
        UserError: it is above 1e-3.
    """
    worst = 0.0
    for image in _images(size, count=3):
        with torch.no_grad():
            expected, found = graph(image), exported(image)
        for a, b in zip(expected, found, strict=True):
            difference = (a - b).abs().max() / a.abs().max().clamp(min=1.0)
            # A comparison with NaN is false, so ask for what is wanted.
            worst = max(worst, float(difference)) if bool(difference <= TOLERANCE) else float("inf")
            if worst > TOLERANCE:
                raise UserError(
                    f"the exported graph differs from the network by {float(difference):.2g} (allowed {TOLERANCE:g}); "
                    "nothing was written"
                )
    return worst


def _check_size(size: tuple[int, int], divisibility: int) -> None:
    fitting = [max(divisibility, round(side / divisibility) * divisibility) for side in size]
    if list(size) != fitting:
        raise UserError(
            f"--size {size[0]} {size[1]}: both sides must be multiples of {divisibility}, "
            f"e.g. {fitting[0]} {fitting[1]}"
        )


def _images(size: tuple[int, int], count: int) -> list[Tensor]:
    """Returns images (1, 3, H, W) of smooth colours under noise, the same ones every time."""
    generator = torch.Generator().manual_seed(0)
    images = []
    for _ in range(count):
        coarse = torch.rand(1, 3, 4, 4, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, size, mode="bicubic", align_corners=False)
        noise = torch.randn(1, 3, *size, generator=generator)
        images.append((255 * smooth + 16 * noise).clamp(0, 255))
    return images


def _about(predictor: Predictor, size: tuple[int, int], shapes: Sequence[list[int]]) -> dict[str, Any]:
    """Returns what another program must know to use the graph."""
    cfg = predictor.cfg
    classes = [{"id": c.id, "name": c.name, "isthing": c.isthing, "color": list(c.color)} for c in predictor.categories]
    return {
        "input": {"name": "image", "shape": [1, 3, *size], "dtype": "float32", "range": [0, 255], "channels": "RGB"},
        "outputs": {name: {"shape": shape, "dtype": "float32"} for name, shape in zip(OUTPUTS, shapes, strict=True)},
        "classes": classes,
        "no_object": len(classes),
        "normalization_inside": {"mean": list(cfg.INPUT.PIXEL_MEAN), "std": list(cfg.INPUT.PIXEL_STD)},
        "weights": predictor.source.name,
        "model": cfg.MODEL.NAME,
        "segfoundry": __version__,
        "torch": torch.__version__,
    }


def _write_torch(program: torch.export.ExportedProgram, path: Path, about: dict[str, Any]) -> None:
    torch.export.save(program, path, extra_files={"metadata.json": json.dumps(about)})


def _load_torch(path: Path) -> Run:
    return torch.export.load(path).module()


def _write_onnx(program: torch.export.ExportedProgram, path: Path, about: dict[str, Any]) -> None:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            onnx_program = torch.onnx.export(
                program,
                dynamo=True,
                input_names=["image"],
                output_names=list(OUTPUTS),
                opset_version=_ONNX_OPSET,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            lines = str(error).strip().splitlines() or ["no reason given"]
            raise UserError(f"torch {torch.__version__} cannot write this network as ONNX: {lines[0]}") from error
    if onnx_program is None:
        raise UserError("torch.onnx wrote nothing")
    onnx_program.model.metadata_props["segfoundry"] = json.dumps(about)
    onnx_program.save(path, external_data=False)


def _load_onnx(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda image: [torch.from_numpy(x) for x in session.run(list(OUTPUTS), {"image": image.numpy()})]
