"""Which of SAM's parameters train: a way for each of image encoder, prompt encoder and mask decoder (SAM.TRAIN).

| way     | trains                                                                       |
|---------|------------------------------------------------------------------------------|
| frozen  | nothing                                                                      |
| full    | all parameters                                                               |
| lora    | low-rank updates of attention projections and perceptrons (SAM.LORA)         |
| adapter | small perceptrons beside the perceptrons (SAM.TRAIN.ADAPTER_DIM)             |
| bias    | all biases, those of norms included                                          |
| norm    | weights and biases of normalisation layers                                   |
| last_n  | the last blocks of the part (SAM.TRAIN.LAST_N) and what follows them         |

What no loss depends on is frozen in any case. SOLVER.FIX_PARAM freezes parameters of the published network by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ...utils.errors import ConfigError, UserError
from ..base import TrainPolicy
from ..finetune import NORMS, OptimRules, parameter_kinds, parameter_owners
from ..layers.image_encoder_vit import ImageEncoderViT
from ..layers.lora import add_lora
from .config import SamConfig
from .config_training import LoraUpdates
from .network.lora_qkv import PROJECTIONS, add_qkv_lora
from .network.parallel_adapter import ParallelAdapter, add_adapter
from .network.sam import Sam
from .network.two_way_transformer import Attention
from .weights.load_published import UNUSED

PARTS = ("image_encoder", "prompt_encoder", "mask_decoder")
# What enters the first block of a part, although it stands behind the blocks.
BEFORE_BLOCKS = {"image_encoder": (), "mask_decoder": ("iou_token.", "mask_tokens.")}
# Names of the perceptrons' linear layers, of the plain Vision Transformer and the decoder, and of TinyViT.
PERCEPTRONS = (("lin1", "lin2"), ("fc1", "fc2"))


@dataclass(frozen=True)
class TuningSettings:
    """What the configuration says about training.

    Attributes:
        ways: part -> how it trains; parts that are absent are frozen.
        last_n: for the way "last_n".
        optim: learning-rate factors and weight decay.
        fix_param: parts of names that are frozen.
        ignore_fix: parts of names that are exempt from it.
        unreached: tells whether no loss depends on the parameter of a name.
    """

    ways: Mapping[str, str] = field(default_factory=dict)
    last_n: int = 2
    optim: OptimRules = field(default_factory=OptimRules)
    fix_param: tuple[str, ...] = ()
    ignore_fix: tuple[str, ...] = ()
    unreached: Callable[[str], bool] = lambda name: False

    @classmethod
    def from_config(cls, cfg: SamConfig, unreached: Callable[[str], bool]) -> TuningSettings:
        """Reads SAM.TRAIN and SOLVER.

        Args:
            cfg: the configuration.
            unreached: see the attribute.
        """
        keys = cfg.SAM.TRAIN
        return cls(
            ways={part: getattr(keys, part.upper()) for part in PARTS},
            last_n=keys.LAST_N,
            optim=OptimRules.from_config(cfg.SOLVER),
            fix_param=tuple(part for part, fixed in cfg.SOLVER.FIX_PARAM.items() if fixed),
            ignore_fix=tuple(cfg.SOLVER.IGNORE_FIX),
            unreached=unreached,
        )


def prepare_tuning(model: Sam, cfg: SamConfig) -> None:
    """Inserts the low-rank updates and adapters that SAM.TRAIN asks for, in place; the function is unchanged.

    Args:
        model: the network; weights may be loaded before or after.
        cfg: the configuration.

    Raises:
        ConfigError: SAM.LORA.BLOCKS names a block that does not exist.
    """
    for part in PARTS:
        way = getattr(cfg.SAM.TRAIN, part.upper())
        if way == "lora":
            _insert_lora(model.get_submodule(part), part, cfg.SAM.LORA)
        elif way == "adapter":
            _insert_adapters(model.get_submodule(part), cfg.SAM.TRAIN.ADAPTER_DIM)


def sam_policy(model: Sam, settings: TuningSettings) -> TrainPolicy:
    """Decides for each parameter whether and how it trains.

    Args:
        model: the network, after :func:`prepare_tuning`.
        settings: what the configuration says.

    Raises:
        ConfigError: SAM.TRAIN.LAST_N exceeds the blocks of a part.
    """
    kinds, owners = parameter_kinds(model), parameter_owners(model)
    ways = {part: _trained_by(model.get_submodule(part), part, settings) for part in PARTS}
    policy = TrainPolicy()
    for name, kind in kinds.items():
        part, _, own = name.partition(".")
        if name.startswith(UNUSED) or settings.unreached(name):
            policy.unreached.append(name)
        elif kind != "base" or (ways[part](own, owners[name]) and not _fixed(name, settings)):
            policy.rules[name] = settings.optim.rule(name, owners[name], kind)
    return policy


def check_no_adapters(model: nn.Module) -> None:
    """Makes sure that no adapter was inserted.

    Raises:
        UserError: there are some; they act beside the perceptrons and cannot be merged into them.
    """
    names = [name for name, module in model.named_modules() if isinstance(module, ParallelAdapter)]
    if names:
        raise UserError(
            f"the network has {len(names)} adapters ({names[0]}, ...), which act beside its layers and cannot be "
            "merged into them as LoRA updates can; keep the layout segfoundry, which holds them"
        )


def blocks_of(part: nn.Module) -> list[tuple[str, nn.Module]]:
    """Returns names and modules of the transformer blocks of an encoder or decoder, first to last.

    The convolutional blocks of TinyViT's first stage are not among them.
    """
    return [
        (name, module)
        for name, module in part.named_modules()
        if isinstance(getattr(module, "mlp", None), nn.Module) and name.rpartition(".")[2].isdigit()
    ]


def _trained_by(part: nn.Module, label: str, settings: TuningSettings) -> Callable[[str, nn.Module], bool]:
    """Returns what tells by name (within the part) and owner whether a parameter of the published network trains."""
    way = settings.ways.get(label, "frozen")
    if way == "bias":
        return lambda name, owner: name.endswith("bias")
    if way == "norm":
        return lambda name, owner: isinstance(owner, NORMS)
    if way == "last_n":
        frozen = _before_last(part, label, settings.last_n)
        return lambda name, owner: not name.startswith(frozen)
    return lambda name, owner: way == "full"


def _before_last(part: nn.Module, label: str, count: int) -> tuple[str, ...]:
    """Returns the beginnings of the names of what precedes the last ``count`` blocks."""
    blocks = [name for name, _ in blocks_of(part)]
    if count > len(blocks):
        raise ConfigError(f"SAM.TRAIN.LAST_N is {count}, but the {label.replace('_', ' ')} has {len(blocks)} blocks")
    names = [name for name, _ in part.named_parameters()]
    first = next(place for place, name in enumerate(names) if name.startswith(f"{blocks[-count]}."))
    # Parameters are listed in the order in which the modules were made, which is the order of the computation but for
    # the tokens.
    return (*BEFORE_BLOCKS[label], *names[:first])


def _fixed(name: str, settings: TuningSettings) -> bool:
    """Whether SOLVER.FIX_PARAM freezes a parameter."""
    exempt = any(word in name for word in settings.ignore_fix)
    return not exempt and any(word in name for word in settings.fix_param)


def _insert_lora(part: nn.Module, label: str, keys: LoraUpdates) -> None:
    """Inserts the updates that section SAM.LORA describes."""
    options: dict[str, Any] = {"rank": keys.RANK, "alpha": keys.ALPHA, "dropout": keys.DROPOUT}
    blocks = blocks_of(part)
    if label == "image_encoder" and keys.BLOCKS:
        if max(keys.BLOCKS) >= len(blocks):
            raise ConfigError(
                f"SAM.LORA.BLOCKS names block {max(keys.BLOCKS)}, but the image encoder has {len(blocks)} with "
                "attention, counted from 0"
            )
        blocks = [blocks[number] for number in sorted(set(keys.BLOCKS))]
    projections = [name for name in PROJECTIONS if name in keys.TARGETS]
    # The decoder also attends after its last block.
    holders = [part] if label == "mask_decoder" else [block for _, block in blocks]
    if projections:
        attention: Any
        for attention in [module for holder in holders for module in holder.modules()]:
            if isinstance(attention, Attention):
                for name in projections:
                    add_lora(attention.get_submodule(f"{name}_proj"), **options)
            elif hasattr(attention, "qkv"):
                groups = 1 if isinstance(part, ImageEncoderViT) else attention.num_heads
                add_qkv_lora(attention.qkv, projections, groups=groups, **options)
    if "mlp" in keys.TARGETS:
        for layer in [layer for _, block in blocks for layer in _perceptron_layers(block)]:
            add_lora(layer, **options)


def _insert_adapters(part: nn.Module, hidden_dim: int) -> None:
    """Puts an adapter beside the perceptron of each block."""
    for _, block in blocks_of(part):
        first, _second = _perceptron_layers(block)
        add_adapter(block.get_submodule("mlp"), first.in_features, hidden_dim)


def _perceptron_layers(block: nn.Module) -> Sequence[nn.Linear]:
    """Returns the two linear layers of a block's perceptron."""
    perceptron = block.get_submodule("mlp")
    return next([getattr(perceptron, name) for name in names] for names in PERCEPTRONS if hasattr(perceptron, names[0]))
