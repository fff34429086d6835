"""Fine-tuning for a foreground: losses, and whole runs step by step."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from segfoundry.datasets.stream.collate import collate
from segfoundry.modeling.finetune import apply_policy
from segfoundry.modeling.losses.dice import mask_dice
from segfoundry.modeling.losses.focal import mask_focal
from segfoundry.modeling.sam.model import SamSegmenter
from segfoundry.modeling.sam.network.input_frame import ResizeLongestSide
from segfoundry.modeling.sam.training_tasks.dlo import DICE_SMOOTH, DloTask
from segfoundry.modeling.sam.training_tasks.loss_settings import LossSettings
from segfoundry.modeling.sam.tuning import TuningSettings
from segfoundry.trainer.training.lr_schedule import lr_factor
from segfoundry.utils.draws import Draws
from segfoundry.utils.structures.samples import Batch, Sample

from .....support import goldens
from .....support.tiny_sam import foreground_sample, recorded_sam

DEFAULT_ALPHA = 0.85  # of the published program, where its option is not given
FOCAL = r"focal_(alpha[\d.]+_gamma[\d.]+)"
TOTAL = r"total_(\d+)focal([\d.]+)_dice"


def focal_names(case: goldens.Case) -> list[str]:
    """Returns the settings of the recorded focal losses, as in ``alpha0.7_gamma2.0``."""
    return [name.removeprefix("focal_") for name in goldens.keys(case, "values") if re.fullmatch(FOCAL, name)]


def _loss_case(case: goldens.Case) -> tuple[Tensor, Tensor]:
    logits = case.tensors["in/logits"].clone().requires_grad_()
    return logits, case.tensors["in/target"]


def _focal(logits: Tensor, target: Tensor, alpha: float, gamma: float) -> Tensor:
    return mask_focal(logits.view(1, -1), target.view(1, -1), alpha, gamma)[0]


def _dice(logits: Tensor, target: Tensor) -> Tensor:
    return mask_dice(logits.sigmoid().view(1, -1), target.view(1, -1), DICE_SMOOTH)[0]


def check_focal(case: goldens.Case, name: str) -> None:
    """Compares a focal loss and its gradient."""
    alpha, gamma = map(float, re.fullmatch(r"alpha([\d.]+)_gamma([\d.]+)", name).groups())
    logits, target = _loss_case(case)
    loss = _focal(logits, target, alpha, gamma)
    loss.backward()
    rtol = case.info["tol"]["rtol"]
    assert loss.item() == pytest.approx(case.info["values"][f"focal_{name}"], rel=rtol)
    goldens.assert_close(logits.grad, case.tensors[f"out/focal_grad_{name}"], rtol, name)


def check_dice(case: goldens.Case) -> None:
    """Compares the dice loss, its gradient, and what it is for empty masks."""
    logits, target = _loss_case(case)
    loss = _dice(logits, target)
    loss.backward()
    values, rtol = case.info["values"], case.info["tol"]["rtol"]
    assert loss.item() == pytest.approx(values["dice"], rel=rtol)
    goldens.assert_close(logits.grad, case.tensors["out/dice_grad"], rtol, "dice")
    empty = torch.zeros(1, target.numel())
    with torch.no_grad():
        assert _dice(logits, empty).item() == pytest.approx(values["dice_empty_target"], rel=rtol)
    assert mask_dice(empty, empty, DICE_SMOOTH).item() == values["dice_empty_both"]


def check_totals(case: goldens.Case) -> None:
    """Compares the weighted sums, which are named as in ``total_20focal0.3_dice``; gamma is the published one."""
    logits, target = _loss_case(case)
    totals = {name: form for name in case.info["values"] if (form := re.fullmatch(TOTAL, name))}
    assert totals
    for name, form in totals.items():
        weight, alpha = map(float, form.groups())
        total = weight * _focal(logits, target, alpha, LossSettings().focal_gamma) + _dice(logits, target)
        assert total.item() == pytest.approx(case.info["values"][name], rel=case.info["tol"]["rtol"])


@functools.cache
def recorded_sample(case: goldens.Case, group: str, name: str, index: int) -> Sample:
    """An image of the recorded data set as the network gets it; how it is made is the data set's part."""
    place = case.info["file_names"][group].index(name)
    if group == "fg":
        image = case.tensors[f"out/item/{place}/image"].permute(1, 2, 0).numpy()
        foreground = case.tensors[f"out/item/{place}/mask_inverted"][0].numpy() == 0
    else:
        resize = ResizeLongestSide(case.config["img_size"])
        image = resize.apply_image(case.tensors[f"in/te/{place}/image_rgb"].numpy())
        foreground = case.tensors[f"in/te/{place}/mask"].numpy() > 0
    return foreground_sample(image, foreground, index)


class Run:
    """Repeats one recorded run by the network's own interface.

    Args:
        case: the ``dlo_finetune`` case.
        name: name of the run.
    """

    def __init__(self, case: goldens.Case, name: str) -> None:
        self.case = case
        self.recorded = case.info["runs"][name]
        self.args = args = self.recorded["args"]
        network = recorded_sam(case.config)
        network.load_state_dict(case.group("param"), strict=True)
        alpha = DEFAULT_ALPHA if args["alpha"] is None else args["alpha"]
        task = DloTask(LossSettings(focal_alpha=alpha), invert_target=not args["no_inv"])
        tuning = TuningSettings(ways={"mask_decoder": "full"}, unreached=task.unreached)
        self.model = SamSegmenter(network, task, tuning=tuning)
        apply_policy(self.model, self.model.train_policy())
        self.optimizer = torch.optim.Adam([p for p in self.model.parameters() if p.requires_grad], lr=args["lr"])
        self.log: list[dict[str, Any]] = []
        self.counts: list[list[int]] = []

    def train(self) -> Run:
        """Takes all recorded batches."""
        virtual = self.args["virtual_batch_size"] or 1
        micro = [self.batch("fg", names) for names in self.train_loads()]
        for number in range(1, len(micro) + 1):
            if number % virtual == 0:
                self.step(micro[number - virtual : number], number // virtual)
            if number % self.args["test_interval"] == 0:
                self.test(number)
        return self

    def train_loads(self) -> list[list[str]]:
        """Returns the names of the training batches; the loads of a test follow the batch that it comes after."""
        test_names = self.case.info["file_names"]["te"]
        goldens.only({"images of a test batch": max(1, self.args["batch_size"] // 4)}, **{"images of a test batch": 1})
        loads, found = iter(self.recorded["batch_names_in_order_of_loading"]), []
        for names in loads:
            assert len(names) <= self.args["batch_size"]
            found.append(names)
            if len(found) % self.args["test_interval"] == 0:
                assert [next(loads) for _ in test_names] == [[name] for name in test_names]
        return found

    def batch(self, group: str, names: Sequence[str]) -> Batch:
        """Returns a batch of recorded images."""
        return collate([recorded_sample(self.case, group, name, index) for index, name in enumerate(names)])

    def step(self, micro_batches: Sequence[Batch], number: int) -> None:
        """Makes one optimizer step."""
        solver = SimpleNamespace(
            LR_SCHEDULER_NAME="WarmupStepExp",
            COUNT_MICRO_ITERS=True,
            WARMUP_ITERS=int(self.case.noted(r"warm-up takes (\d+) iterations")[0]),
            DECAY_INTERVAL=100,
            GAMMA=0.98946,
            MIN_LR=1e-7,
            BASE_LR=self.args["lr"],
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.args["lr"] * lr_factor(solver, number - 1, 10**6, len(micro_batches))
        totals: dict[str, float] = {}
        for one in micro_batches:
            for name, value in self.model.normalizers(one).items():
                totals[name] = totals.get(name, 0.0) + value
        self.model.train()
        self.optimizer.zero_grad()
        for one in micro_batches:
            one.totals = totals
            objective = sum(self.model(one, rng=Draws(0, number)).values())
            objective.backward()
            loss = objective.item() * len(micro_batches)  # the reference logs the last micro-batch
        self.optimizer.step()
        self.log.append({"step": number, "training_loss": loss})

    @torch.no_grad()
    def test(self, number: int) -> None:
        """Counts over the test images."""
        self.model.eval()
        counts, losses = np.zeros(4, np.int64), []
        for name in self.case.info["file_names"]["te"]:
            one = self.batch("te", [name])
            found = self.model(one)[0].foreground
            # The reference counts the trained class: the background when the target is inverted.
            inverted = not self.args["no_inv"]
            truth, predicted = one.samples[0].foreground != inverted, found.mask != inverted
            counts += [np.sum(p & t) for p, t in ((predicted, truth), (~predicted, ~truth), (predicted, ~truth),
                                                  (~predicted, truth))]  # fmt: skip
            losses.append(found.loss)
        self.counts.append(counts.tolist())
        tp, tn, fp, fn = counts.tolist()
        ratios = {"accuracy": (tp + tn, sum(counts)), "precision": (tp, tp + fp), "recall": (tp, tp + fn)}
        scores = {f"test_{name}": part / whole for name, (part, whole) in ratios.items()}
        self.log.append({"step": number, "test_loss": float(np.mean(losses)), **scores})


def check_run(case: goldens.Case, name: str) -> None:
    """Compares losses, counts and trained weights; micro-batches that fill no virtual batch make no step."""
    run, tolerance = Run(case, name).train(), case.info["tol"]
    wanted = sorted_like(run.log, run.recorded["log"])
    assert [entry["step"] for entry in run.log] == [entry["step"] for entry in wanted]
    for found, recorded in zip(run.log, wanted, strict=True):
        assert found.keys() == recorded.keys()
        for key in found.keys() - {"step"}:
            assert found[key] == pytest.approx(recorded[key], rel=tolerance["loss"]), (key, found)
    assert run.counts == run.recorded["test_tp_tn_fp_fn"]
    state = run.model.mask_decoder.state_dict()
    place = f"out/{name}/mask_decoder"
    expected = case.group(place)
    assert {f"{place}/{key}" for key in expected} == {key for key in case.listed if key.startswith(f"{place}/")}
    for key, tensor in expected.items():
        # A bias of keys changes no softmax: its gradient is rounding, which Adam brings to the size of a step.
        if not key.endswith("k_proj.bias"):
            goldens.assert_close(state[key], tensor, tolerance["weights"], key)


def sorted_like(log: Sequence[Mapping], recorded: Sequence[Mapping]) -> list[Mapping]:
    """Returns the recorded entries in the order of ours: the reference logs a step after the test that follows it."""
    kinds = ("test_loss", "training_loss")
    by_kind = {kind: iter([entry for entry in recorded if kind in entry]) for kind in kinds}
    return [next(by_kind["test_loss" if "test_loss" in entry else "training_loss"]) for entry in log]
