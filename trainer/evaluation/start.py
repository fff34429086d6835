"""The verb ``evaluate``: weights, model, every data set of DATASETS.TEST, result files."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...datasets.records.record import parse_categories
from ...modeling.base import MetaArch
from ...modeling.build_model import build_model
from ...modeling.weights.load_state import LoadReport, load_state
from ...modeling.weights.part_files import missing_parts
from ...modeling.weights.weight_files import read_state_dict
from ...modeling.weights.weight_places import find_weights
from ...utils.config.architectures import find_architecture
from ...utils.config.sections import Shared
from ...utils.errors import ConfigError
from ...utils.logging import get_logger, setup_logging
from ...utils.structures.category import Category
from ..machine.distributed import Processes, pick_device
from ..machine.environment import check_torch, seed_all
from ..machine.launch import read_ranks
from ..machine.precision import build_precision
from ..machine.signals import StopSignals
from ..plan import Plan, settle_classes, unread_weights
from ..run_folder.report_page import refresh_report
from ..run_folder.run_folder import RunFolder, run_weights
from ..weights.load_model import part_sources, read_weight_header
from .measure import measure
from .result_names import dataset_label, scalars

log = get_logger(__name__)


def choose_weights(cfg: Shared, given: str | None, run: Path) -> Path:
    """Returns the weight file to evaluate: ``--weights``, else RESUME_FROM, else what the run folder holds.

    Raises:
        ConfigError: nothing names weights; says which key does.
        CheckpointError: the path holds none.
    """
    if given or (cfg.WEIGHT or cfg.RESUME) and cfg.RESUME_FROM:
        path = find_weights(given or cfg.RESUME_FROM, "--weights" if given else "RESUME_FROM")
        return run_weights(path) if path.is_dir() else path
    if RunFolder(run).holds_run():
        return run_weights(run)
    raise ConfigError(
        "no weights to evaluate: add --overrides WEIGHT True RESUME_FROM FILE, or --weights FILE|RUN "
        f"({run} holds no run)"
    )


def trained_categories(path: Path) -> tuple[Category, ...] | None:
    """Returns the categories that a weight file of ours was trained with, None for other files."""
    text = read_weight_header(path).get("categories")
    return parse_categories(json.loads(text), f"{path}: categories") if text else None


def evaluate_plan(plan: Plan, *, name: str, weights: str | None = None, output: str | None = None) -> int:
    """Evaluates on every data set of the plan and writes ``eval/<dataset>/``.

    Args:
        plan: the checked configuration.
        name: run folder's name when EXP_NAME is empty.
        weights: file, checkpoint folder or run folder; None: see :func:`choose_weights`.
        output: folder for the results; None: ``eval/`` of the run folder.

    Returns:
        Exit code: 0, or 128 + signal when broken off.
    """
    cfg = plan.cfg
    run = Path(cfg.SAVE_DIR) / (cfg.EXP_NAME or name)
    if weights and output is None and Path(weights).is_dir():
        run = Path(weights)
    path = choose_weights(cfg, weights, run)
    unread = [] if weights else unread_weights(plan.resolved, f"{path} is measured")
    target = Path(output) if output else run / "eval"
    check_torch()
    ranks = read_ranks(port=cfg.PORT)
    setup_logging(quiet=not ranks.main)
    device = pick_device(cfg.DEVICE, ranks)
    with StopSignals("breaking the evaluation off after this batch") as stop, Processes(ranks, device) as processes:
        for warning in unread:
            log.warning("%s", warning)
        plan = _for_categories(plan, trained_categories(path))
        seed_all(cfg.SEED)
        model, report = _load(plan, path)
        log.log(logging.INFO if report.complete else logging.WARNING, "%s", report.text())
        model.to(device).requires_grad_(False)
        precision = build_precision(plan.cfg, device)
        done: list[str] = []
        for (record, split), items in zip(plan.test, plan.test_items, strict=True):
            label = dataset_label(done, record.name, split.name)
            done.append(label)
            summary = measure(
                model,
                record,
                split,
                plan.cfg,
                processes=processes,
                precision=precision,
                folder=target / label,
                about={"weights": str(path)},
                stopped=lambda: stop.received,
                items=items,
            )
            if summary is None:
                log.warning("evaluation of %s broken off; none of its results were written", label)
                return stop.exit_code or 1
            _report(label, summary, target / label)
    if ranks.main and output is None:
        refresh_report(run)
    return 0


def _load(plan: Plan, path: Path) -> tuple[MetaArch, LoadReport]:
    """Builds the model and loads its weights.

    What this program wrote holds the whole network, but for re-loadable parts; a bare file may lack parts that have
    weights of their own.
    """
    state = read_state_dict(path)
    header = read_weight_header(path)
    parts = "config" not in header and find_architecture(plan.cfg.MODEL.NAME).lacks_parts(state.keys())
    model = build_model(plan.cfg, plan.categories, part_weights=parts)
    left_out = missing_parts(model, state, part_sources(header), str(path))
    return model, load_state(model, state, source=str(path), parts=left_out.tensors)


def _for_categories(plan: Plan, categories: Sequence[Category] | None) -> Plan:
    """Builds the model for the categories that the weights know, not for those of the evaluation set."""
    record = plan.test[0][0]
    if categories is not None:
        record = dataclasses.replace(record, categories=tuple(categories))
    resolved, notices = settle_classes(plan.resolved, record)
    for notice in notices:
        log.info("note: %s", notice)
    return dataclasses.replace(plan, resolved=resolved, train=[(record, plan.test[0][1])])


def _report(label: str, summary: dict[str, Any], folder: Path) -> None:
    for name, value in scalars(label, summary).items():
        log.info("%-40s %8.3f", name, value)
    log.info("results in %s", folder)
