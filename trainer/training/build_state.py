"""Build a run, first: network, weights, optimizer and average, as they are before the first step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ...modeling.base import MetaArch
from ...modeling.build_model import build_model
from ...modeling.finetune import apply_policy, param_groups, param_table
from ...modeling.weights.load_state import load_state
from ...modeling.weights.part_files import LoadedParts, check_frozen, read_parts
from ...modeling.weights.weight_files import read_state_dict
from ...modeling.weights.weight_places import find_weights, weights_in_folder
from ...utils.config.architectures import find_architecture
from ..machine.environment import seed_all, set_deterministic
from ..machine.precision import build_precision
from ..plan import Plan
from ..weights.load_model import part_sources, read_weight_header
from .ema import Ema
from .optimizer import build_optimizer, parameter_names
from .state import TrainState


def build_state(plan: Plan, device: torch.device, *, load: bool) -> tuple[TrainState, str]:
    """Builds model, optimizer and state.

    Args:
        plan: the checked configuration.
        device: where the model goes.
        load: load the weight files that the configuration names (WEIGHT and RESUME_FROM, and those of parts); not
            needed when a checkpoint follows, which lacks re-loadable parts only: their files are always read.

    Returns:
        The state at step 0, and the report for people: loaded weights and parameter table.
    """
    cfg = plan.cfg
    seed_all(cfg.SEED)
    set_deterministic(cfg.DETERMINISTIC)
    file = find_weights(cfg.RESUME_FROM) if load and cfg.WEIGHT else None
    state = None if file is None else read_state_dict(file)
    parts = load and (state is None or find_architecture(cfg.MODEL.NAME).lacks_parts(state.keys()))
    model = build_model(cfg, plan.categories, part_weights=parts)
    model.set_vocabulary(plan.categories)  # says now, not in the first evaluation, which names are alike
    fixed, report = _load_weights(model, file, state)
    policy = model.train_policy()
    apply_policy(model, policy)
    check_frozen(fixed, policy.rules)
    report.append(param_table(model, policy, cfg.SOLVER.BASE_LR))
    model.to(device)
    optimizer = build_optimizer(cfg.SOLVER, param_groups(model, policy, cfg.SOLVER.BASE_LR), device)
    ema = Ema(parameter_names(model, optimizer), cfg.TRAIN.EMA) if cfg.TRAIN.EMA > 0 else None
    return TrainState(model, optimizer, build_precision(cfg, device), ema, fixed), "\n".join(report)


def _load_weights(
    model: MetaArch, file: Path | None, state: Mapping[str, Tensor] | None
) -> tuple[LoadedParts, list[str]]:
    """Loads the tensors of a weight file, if there is one, and the files of re-loadable parts, which come after it.

    Returns:
        What the files of the parts hold, and the report's paragraphs.
    """
    if file is None or state is None:
        parts = read_parts(model, {}, "the configuration")
        model.load_state_dict(parts.tensors, strict=False)
        report = []
    else:
        header = read_weight_header(weights_in_folder(file) if file.is_dir() else file)
        parts = read_parts(model, part_sources(header), str(file))
        report = [load_state(model, state, source=str(file), parts=parts.tensors).text()]
    return parts, [*report, *([parts.text()] if parts.sources else [])]
