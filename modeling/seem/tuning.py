"""Which of SEEM's parameters train: the fine-tuning strategies, freezing by name, LoRA, what no loss reaches.

| FOCAL.FINE_TUNE | DECODER.FINE_TUNE | trains in the backbone | trains in the decoder                      |
|-----------------|-------------------|------------------------|--------------------------------------------|
| False           | True              | what FIX_PARAM leaves  | adapters only                              |
| True            | True              | adapters only          | adapters only                              |
| False           | False             | what FIX_PARAM leaves  | everything (that FIX_PARAM leaves)         |
| True            | False             | adapters only          | everything (that FIX_PARAM leaves)         |

"Decoder" is the predictor without its text encoder. A part that holds LoRA updates trains these (and its adapters)
only. SOLVER.FIX_PARAM never reaches adapters through the name of the part they sit in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from ..base import TrainPolicy
from ..finetune import OptimRules, parameter_kinds, parameter_owners
from ..layers.adapters import Adapter
from .config import SeemConfig

# Label -> prefix of the parameter names; the longest prefix wins.
PARTS = {
    "backbone": "backbone.",
    "pixel_decoder": "sem_seg_head.pixel_decoder.",
    "predictor": "sem_seg_head.predictor.",
    "lang_encoder": "sem_seg_head.predictor.lang_encoder.",
    "criterion": "criterion.",
}

# Parameters of the decoder that only strokes use, and only the memory of their masks.
STROKES_ONLY = ("mask_sptial_embed.", "pn_indicator.")
MEMORY_ONLY = ("spatial_embed.", "spatial_featured.")


@dataclass(frozen=True)
class Objective:
    """What the training objective reaches: parameters beyond it never get a gradient and are frozen.

    Attributes:
        mask: the panoptic task is on.
        spatial: the task of strokes is on.
        grounding: the task of texts is on.
        memory: strokes are followed by rounds of clicks, which remember the last mask.
        layers: decoder layers; there are three feature levels, one per layer in turn.
        supervised: predictions with losses, counted from the final one.
    """

    mask: bool = True
    spatial: bool = True
    grounding: bool = True
    memory: bool = True
    layers: int = 9
    supervised: int = 10

    @classmethod
    def from_config(cls, cfg: SeemConfig, tasks: Mapping[str, bool]) -> Objective:
        """Reads MODEL.DECODER.

        Args:
            cfg: the configuration.
            tasks: which of "mask", "spatial" and "grounding" are on.
        """
        decoder = cfg.MODEL.DECODER
        tops = [getattr(decoder, f"TOP_{name.upper()}_LAYERS") for name, on in tasks.items() if on]
        return cls(
            **tasks,
            memory=tasks["spatial"] and decoder.SPATIAL.MAX_ITER > 0,
            layers=decoder.DEC_LAYERS - 1,
            supervised=max(tops, default=1) if decoder.DEEP_SUPERVISION else 1,
        )

    def unreached(self) -> tuple[str, ...]:
        """Returns the beginnings of the names, below the decoder's, of the parameters that get no gradient."""
        names = [] if self.spatial else [*STROKES_ONLY]
        names += [] if self.memory else [*MEMORY_ONLY]
        # Strokes are compared with masks alone; classes and texts do not matter to them.
        names += [] if self.mask or self.grounding else ["class_embed", "lang_encoder."]
        names += [f"{part}.{level}" for level in range(self.layers, 3) for part in ("mask_sptial_embed", "input_proj")]
        # A prediction without losses decides where the next layer looks, which has no gradient.
        unsupervised = range(self.layers + 1 - self.supervised)
        return (*names, *(f"predictions_heads_mask_embs_adapters.{i}." for i in unsupervised))


@dataclass(frozen=True)
class PolicySettings:
    """What the configuration says about training.

    Attributes:
        optim: learning-rate factors and weight decay.
        fix_param: parts of names that are frozen.
        ignore_fix: parts of names that train all the same, unless no loss reaches them.
        backbone_adapters: MODEL.BACKBONE.FOCAL.FINE_TUNE.
        decoder_adapters: MODEL.DECODER.FINE_TUNE.
        objective: what the losses reach.
    """

    optim: OptimRules = field(default_factory=OptimRules)
    fix_param: tuple[str, ...] = ()
    ignore_fix: tuple[str, ...] = ()
    backbone_adapters: bool = False
    decoder_adapters: bool = False
    objective: Objective = field(default_factory=Objective)

    @classmethod
    def from_config(cls, cfg: SeemConfig, tasks: Mapping[str, bool]) -> PolicySettings:
        """Reads SOLVER, the FINE_TUNE keys and what decides which parameters the losses reach.

        Args:
            cfg: the configuration.
            tasks: which of "mask", "spatial" and "grounding" are on.
        """
        return cls(
            optim=OptimRules.from_config(cfg.SOLVER),
            fix_param=tuple(part for part, fixed in cfg.SOLVER.FIX_PARAM.items() if fixed),
            ignore_fix=tuple(cfg.SOLVER.IGNORE_FIX),
            backbone_adapters=cfg.MODEL.BACKBONE.FOCAL.FINE_TUNE,
            decoder_adapters=cfg.MODEL.DECODER.FINE_TUNE,
            objective=Objective.from_config(cfg, tasks),
        )


def seem_policy(model: nn.Module, settings: PolicySettings) -> TrainPolicy:
    """Decides for each parameter whether and how it trains.

    Args:
        model: a network with SEEM's parameter names.
        settings: what the configuration says.

    Returns:
        The rules of the parameters that train.
    """
    kinds = parameter_kinds(model)
    owners = parameter_owners(model)
    adapters = [name for name, module in model.named_modules() if isinstance(module, Adapter)]
    lora_parts = {_part_of(name) for name, kind in kinds.items() if kind == "lora"}
    frozen_parts = set(lora_parts)
    if settings.backbone_adapters:
        frozen_parts.add("backbone")
    if settings.decoder_adapters:
        frozen_parts.add("predictor")
    unreached = settings.objective.unreached()
    policy = TrainPolicy()
    for name, kind in kinds.items():
        if name.startswith(PARTS["predictor"]) and name.removeprefix(PARTS["predictor"]).startswith(unreached):
            policy.unreached.append(name)
            continue
        if kind == "base":
            trains = _base_trains(name, settings, frozen_parts)
        elif kind == "adapter":
            trains = not _contains(_own_name(name, adapters), settings.fix_param)
        else:
            trains = True
        if trains:
            policy.rules[name] = settings.optim.rule(name, owners[name], kind)
    return policy


def _base_trains(name: str, settings: PolicySettings, frozen_parts: set[str]) -> bool:
    """Whether a parameter of the published network trains."""
    if _contains(name, settings.ignore_fix):
        return True
    return _part_of(name) not in frozen_parts and not _contains(name, settings.fix_param)


def _own_name(name: str, adapters: Sequence[str]) -> str:
    """Returns an adapter parameter's name from the adapter's own attribute on, without the path that leads there."""
    adapter = next(a for a in adapters if name.startswith(f"{a}."))
    words = adapter.split(".")
    # A list of adapters is known by the list's name: "transformer_ffn_layers_adapters.3".
    start = -2 if words[-1].isdigit() else -1
    return ".".join(words[start:]) + name[len(adapter) :]


def _contains(name: str, parts: Sequence[str]) -> bool:
    return any(part in name for part in parts)


def _part_of(name: str) -> str:
    matching = [label for label, prefix in PARTS.items() if name.startswith(prefix)]
    return max(matching, key=lambda label: len(PARTS[label]), default="")
