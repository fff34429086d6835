"""Golden tests of every system: recorded tensors, and runners that recompute them with this repository's code.

A case is a pair ``<name>.json`` (configuration, sizes, remarks) and ``<name>.safetensors`` (``param/...``, ``in/...``,
``out/...``) in ``<folder>/<system>``. The folder is ``tests/goldens`` or the one named by SEGFOUNDRY_GOLDENS. Each
system's test module calls :func:`parametrize` and :func:`check`. Readers take a case and read all sizes, switches and
names from it, so that they read another set of the same form as well.
"""

from __future__ import annotations

import fnmatch
import functools
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

DEFAULT_FOLDER = Path(__file__).resolve().parents[1] / "goldens"
DEFAULT_TOLERANCE = 1e-5


class NotBuilt(AssertionError):
    """No code computes this output yet; expected only for the outputs in a system's table of pending parts."""


@dataclass(frozen=True, eq=False)
class Case:
    """One recorded case."""

    system: str
    name: str
    path: Path

    @functools.cached_property
    def info(self) -> dict[str, Any]:
        return json.loads(self.path.read_text())

    @property
    def config(self) -> dict[str, Any]:
        return self.info["config"]

    @functools.cached_property
    def tensors(self) -> dict[str, Tensor]:
        return load_file(self.path.with_suffix(".safetensors"))

    @functools.cached_property
    def outputs(self) -> list[str]:
        """Names of the recorded outputs, without opening their values; none when their file is missing."""
        if not self.path.with_suffix(".safetensors").is_file():
            return []
        with safe_open(self.path.with_suffix(".safetensors"), "pt") as file:
            return sorted(name.removeprefix("out/") for name in file.keys() if name.startswith("out/"))  # noqa: SIM118

    @property
    def listed(self) -> set[str]:
        """Names of the tensors that the json says there are."""
        return set(self.info["tensors"])

    def numbers(self, pattern: str, names: Iterable[str] | None = None) -> list[tuple[int, ...]]:
        """Returns the numbers in the names that a pattern fits as a whole, without repetition, sorted.

        Args:
            pattern: regular expression with a group of digits for each number.
            names: where to look; None: the recorded outputs.
        """
        fits = [re.fullmatch(pattern, name) for name in (self.outputs if names is None else names)]
        return sorted({tuple(map(int, fit.groups())) for fit in fits if fit})

    def noted(self, pattern: str) -> tuple[str, ...]:
        """Returns the groups of a pattern in the case's notes, where a case states something in words alone.

        Raises:
            NotBuilt: if the notes do not say it.
        """
        found = re.search(pattern, self.info.get("notes", ""))
        if found is None:
            raise NotBuilt(f"{self.name}: the notes do not say {pattern!r}")
        return found.groups()

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Returns the tensors below ``prefix/``, without it."""
        head = prefix + "/"
        return {name.removeprefix(head): t for name, t in self.tensors.items() if name.startswith(head)}

    def load_into(self, module: nn.Module, prefix: str = "") -> nn.Module:
        """Loads the parameters below ``prefix`` strictly and returns the module in eval mode."""
        params = {n.removeprefix(prefix): t for n, t in self.group("param").items() if n.startswith(prefix)}
        module.load_state_dict(params, strict=True)
        return module.eval()


def only(config: Mapping[str, Any], **values: object) -> None:
    """Fails where a configuration asks for more than the code offers; what it leaves out has the given value.

    Raises:
        NotBuilt: if it has another value.
    """
    for name, value in values.items():
        if config.get(name, value) != value:
            raise NotBuilt(f"{name} is {config[name]!r}; there is code for {value!r} only")


Runner = Callable[[Case], Mapping[str, Tensor]]
_RUNNERS: dict[str, list[tuple[str, str, Runner]]] = {}


def runner(system: str, name: str, class_name: str = "") -> Callable[[Runner], Runner]:
    """Registers a function from a case to its outputs (names without ``out/``; those not built are left out).

    Args:
        system: folder of the cases.
        name: pattern of the case names.
        class_name: pattern of the json's ``class`` for cases of other names; empty: none.
    """

    def add(function: Runner) -> Runner:
        _RUNNERS.setdefault(system, []).append((name, class_name, function))
        return function

    return add


def parametrize(system: str, pending: Mapping[str, str], names: Sequence[str] = ("*",)) -> pytest.MarkDecorator:
    """Returns the parametrisation over all outputs of the cases of a system.

    Args:
        system: folder of the cases.
        pending: pattern of ``case/output`` -> why it is expected to fail with :class:`NotBuilt`.
        names: patterns of the cases' names, where several test modules share the system's cases.
    """
    params = []
    cases = [case for case in _cases(system) if any(fnmatch.fnmatchcase(case.name, name) for name in names)]
    for case in cases:
        for output in case.outputs or ["(no outputs)"]:
            reasons = [why for pattern, why in pending.items() if fnmatch.fnmatchcase(f"{case.name}/{output}", pattern)]
            marks = [pytest.mark.xfail(reason=reasons[0], strict=True, raises=NotBuilt)] if reasons else []
            params.append(pytest.param(case, output, id=f"golden-{system}-{case.name}-{output}", marks=marks))
    if not params:
        params = [pytest.param(None, "", id=f"golden-{system}-folder-is-empty")]
    return pytest.mark.parametrize(("case", "output"), params)


def check(case: Case | None, output: str) -> None:
    """Recomputes one output of a case and compares it with the recorded one.

    Raises:
        NotBuilt: if no runner computes it.
        AssertionError: if it differs, or the case is missing.
    """
    assert case is not None, f"no golden cases in {_folder()}"
    found, error = _run(case)
    if error is not None:
        raise error
    if output not in found:
        raise NotBuilt(f"{case.name}: the runner gives no {output!r}, only {sorted(found)}")
    compare(case, output, found[output])


def compare(case: Case, output: str, found: Tensor) -> None:
    """Compares an output with the recorded one, as closely as the case asks for."""
    tolerance = case.info.get("tol", DEFAULT_TOLERANCE)
    if isinstance(tolerance, dict) and tolerance.keys() == {"rtol", "atol"}:
        torch.testing.assert_close(found.detach(), case.tensors[f"out/{output}"], **tolerance)
        return
    tolerance = tolerance.get(output, DEFAULT_TOLERANCE) if isinstance(tolerance, dict) else tolerance
    assert_close(found, case.tensors[f"out/{output}"], float(tolerance), f"{case.name}/{output}")


def find(system: str, name: str, folder: Path | None = None) -> Case:
    """Returns a case by its name.

    Args:
        system: folder of the cases.
        name: name of the case; where it is missing, its first use fails.
        folder: folder of the systems; None: the goldens under test.
    """
    return Case(system, name, (folder or _folder()) / system / f"{name}.json")


def keys(case: Case, *path: str) -> list[str]:
    """Returns the names below a place in a case's json to parametrise tests with; for a missing file one that fails."""
    if not case.path.is_file():
        return ["(no json)"]
    place: Any = case.info
    for name in path:
        place = place[name]
    return list(place)


def stale_patterns(system: str, pending: Mapping[str, str]) -> list[str]:
    """Returns the patterns of the table of pending parts that match no output."""
    names = [f"{case.name}/{output}" for case in _cases(system) for output in case.outputs]
    return [pattern for pattern in pending if not fnmatch.filter(names, pattern)]


def uses_default_folder() -> bool:
    """Whether the goldens of this repository are the ones under test."""
    return _folder() == DEFAULT_FOLDER


def assert_close(actual: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    """Compares floats by largest difference relative to the largest magnitude; everything else exactly.

    Infinities and NaN must stand in the same places.
    """
    actual = torch.as_tensor(actual).detach().cpu()
    assert actual.shape == expected.shape, f"{what}: shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    if not expected.is_floating_point():
        wrong = int((actual != expected).sum())
        assert not wrong, f"{what}: {wrong} of {expected.numel()} elements differ"
        return
    finite = expected.isfinite()
    special = torch.allclose(actual[~finite].float(), expected[~finite].float(), equal_nan=True)
    assert special, f"{what}: infinities or NaN in other places"
    difference = (actual[finite].double() - expected[finite].double()).abs()
    scale = expected[finite].abs().max().item() if finite.any() else 0.0
    error = difference.max().item() if difference.numel() else 0.0
    assert error <= tolerance * scale, f"{what}: differs by {error:.3g}, allowed {tolerance:g} x {scale:.3g}"


def _folder() -> Path:
    return Path(os.environ.get("SEGFOUNDRY_GOLDENS") or DEFAULT_FOLDER)


@functools.cache
def _cases(system: str) -> list[Case]:
    # Half a case is a case, too: it fails for what it lacks.
    files = [path for suffix in ("json", "safetensors") for path in (_folder() / system).glob(f"*.{suffix}")]
    return [Case(system, path.stem, path) for path in sorted({path.with_suffix(".json") for path in files})]


@functools.cache
def _run(case: Case) -> tuple[Mapping[str, Tensor], Exception | None]:
    """Runs a case once for all its outputs; the error, if any, is kept for each of them."""
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return _find_runner(case)(case), None
    except Exception as error:
        return {}, error


def _find_runner(case: Case) -> Runner:
    runners = _RUNNERS.get(case.system, [])
    for name, _, function in runners:
        if fnmatch.fnmatchcase(case.name, name):
            return function
    for _, class_name, function in runners:
        if class_name and fnmatch.fnmatchcase(case.info.get("class", ""), class_name):
            return function
    raise NotBuilt(f"no runner for the case {case.name!r} (class {case.info.get('class')!r})")
