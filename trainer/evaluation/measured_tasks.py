"""What is measured on a data set: what was asked for, as far as configuration, annotations and network allow it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache

from ...datasets.evaluators.build_evaluators import possible_kinds
from ...datasets.records.record import Record
from ...datasets.records.split import Split
from ...datasets.tasks.registry import prompt_of
from ...utils.config.architectures import find_architecture
from ...utils.config.schema import value_at
from ...utils.config.sections import Shared
from ...utils.errors import ConfigError
from ...utils.logging import get_logger

log = get_logger(__name__)


def evaluation_kinds(
    cfg: Shared,
    record: Record,
    split: Split,
    prompt_kinds: Collection[str] = (),
    result_kinds: Collection[str] | None = None,
) -> list[str]:
    """Returns what is scored: TEST.EVALUATORS or what the record offers, as far as it is possible.

    What the configuration has switched off is left out; what was asked for and cannot be done is named in the log. A
    network that gives none of the results a record offers is measured by what else the annotations allow.

    Args:
        cfg: configuration.
        record: the data set.
        split: its part.
        prompt_kinds: prompts that the model takes (``Promptable.prompt_kinds``).
        result_kinds: results that the model gives (``MetaArch.result_kinds``); None: all.

    Raises:
        ConfigError: if nothing is left, or TEST.EVALUATORS asks for what the model does not take or give.
    """
    switches = _Switches(cfg)
    asked, possible = list(cfg.TEST.EVALUATORS), possible_kinds(split)
    wanted = asked or list(record.evaluators_for(split))
    if not asked and result_kinds is not None and not any(prompt_of(k) or k in result_kinds for k in wanted):
        results = [k for k in possible if k in result_kinds]
        wanted = results or [k for k in possible if prompt_of(k)] or wanted
    kinds = []
    for kind in wanted:
        obstacle = _obstacle(cfg, kind, prompt_kinds, result_kinds)
        if asked and kind not in possible:
            _note(f"{record.name}: no {kind} evaluation, its annotations do not allow it ({', '.join(possible)} only)")
        elif not switches.on(kind):
            if prompt_of(kind):
                _note(f"{record.name}: no {kind} evaluation, {switches.keys[kind]} is off")
        elif obstacle:
            if asked:
                raise ConfigError(f"TEST.EVALUATORS: {obstacle}")
            _note(f"{record.name}: {obstacle}")
        else:
            kinds.append(kind)
    if not kinds:
        _refuse(cfg, record, [kind for kind in wanted if kind in possible] or possible, possible)
    return kinds


def _obstacle(
    cfg: Shared, kind: str, prompt_kinds: Collection[str], result_kinds: Collection[str] | None
) -> str | None:
    """Returns why a model cannot be measured by a kind of evaluator, or None."""
    prompt = prompt_of(kind)
    if prompt:
        verb, needed, offered = "takes", f"{prompt} prompts", prompt_kinds
        missing = prompt not in prompt_kinds
    else:
        verb, needed, offered = "gives", f"{kind} results", result_kinds or ()
        missing = result_kinds is not None and kind not in result_kinds
    if not missing:
        return None
    has = ", ".join(sorted(offered)) or "none"
    return f"the {kind} evaluation needs a model that {verb} {needed}; {cfg.MODEL.NAME} {verb} {has}"


def _refuse(cfg: Shared, record: Record, offered: Sequence[str], possible: Sequence[str]) -> None:
    """Raises a ConfigError: nothing can be measured; ``offered`` is what could be, but for the configuration."""
    asked = list(cfg.TEST.EVALUATORS)
    switches = _Switches(cfg)
    off = [switches.keys[kind] for kind in offered if not switches.on(kind)]
    ways = [f"switch on one of {', '.join(off)}"] if off else []
    if asked:
        ways.append(f"change TEST.EVALUATORS {asked}")
    ways = ways or [f"{cfg.MODEL.NAME} gives no such result; name another data set in DATASETS.TEST, or [] for none"]
    raise ConfigError(f"nothing to evaluate on {record.name!r}: it offers {', '.join(possible)}; {', or '.join(ways)}")


class _Switches:
    """The keys that switch tasks off; a task without one is on."""

    def __init__(self, cfg: Shared) -> None:
        self.keys = find_architecture(cfg.MODEL.NAME).task_switches
        self._cfg = cfg

    def on(self, kind: str) -> bool:
        return kind not in self.keys or bool(value_at(self._cfg, self.keys[kind]))


@cache
def _note(text: str) -> None:
    """Tells the user once, however many evaluations follow."""
    log.info("note: %s", text)
