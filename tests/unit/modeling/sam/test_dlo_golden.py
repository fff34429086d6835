"""The recorded fine-tuning runs: losses, confusion counts and weights, step by step."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from segfoundry.datasets.collate import collate
from segfoundry.modeling.finetune import apply_policy
from segfoundry.modeling.losses.dice import mask_dice
from segfoundry.modeling.losses.focal import mask_focal
from segfoundry.modeling.sam.dlo import DICE_SMOOTH, DloTask
from segfoundry.modeling.sam.loss_settings import LossSettings
from segfoundry.modeling.sam.model import SamSegmenter
from segfoundry.modeling.sam.transforms import ResizeLongestSide
from segfoundry.modeling.sam.tuning import TuningSettings
from segfoundry.trainer.schedule import lr_factor
from segfoundry.utils.draws import Draws

from ....support.goldens import DEFAULT_FOLDER, Case, assert_close
from ....support.tiny_sam import foreground_sample, recorded_sam

LOSSES = Case("sam", "dlo_losses_lr", DEFAULT_FOLDER / "sam" / "dlo_losses_lr.json")
RUNS = Case("sam", "dlo_finetune", DEFAULT_FOLDER / "sam" / "dlo_finetune.json")
TOLERANCE = RUNS.info["tol"]


def loss_case():
    logits = LOSSES.tensors["in/logits"].clone().requires_grad_()
    return logits, LOSSES.tensors["in/target"]


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("alpha", [0.85, 0.7, 0.3, 0.15])
def test_focal_loss_and_gradient(alpha, gamma):
    logits, target = loss_case()
    loss = mask_focal(logits.view(1, -1), target.view(1, -1), alpha, gamma)[0]
    loss.backward()
    name = f"alpha{alpha}_gamma{gamma}"
    assert loss.item() == pytest.approx(LOSSES.info["values"][f"focal_{name}"], rel=1e-5)
    assert_close(logits.grad, LOSSES.tensors[f"out/focal_grad_{name}"], 1e-5, name)


def test_dice_loss_and_gradient():
    logits, target = loss_case()
    loss = mask_dice(logits.sigmoid().view(1, -1), target.view(1, -1), DICE_SMOOTH)[0]
    loss.backward()
    values = LOSSES.info["values"]
    assert loss.item() == pytest.approx(values["dice"], rel=1e-5)
    assert_close(logits.grad, LOSSES.tensors["out/dice_grad"], 1e-5, "dice")
    empty = torch.zeros(1, target.numel())
    with torch.no_grad():
        assert mask_dice(logits.sigmoid().view(1, -1), empty, DICE_SMOOTH).item() == pytest.approx(
            values["dice_empty_target"], rel=1e-5
        )
    assert mask_dice(empty, empty, DICE_SMOOTH).item() == values["dice_empty_both"]


@functools.cache
def sample(group, name, index):
    """An image of the recorded data set as the network gets it; how it is made is the data set's part."""
    place = name.removeprefix("im_").removesuffix(".png")
    if group == "fg":
        image = RUNS.tensors[f"out/item/{place}/image"].permute(1, 2, 0).numpy()
        foreground = RUNS.tensors[f"out/item/{place}/mask_inverted"][0].numpy() == 0
    else:
        image = ResizeLongestSide(RUNS.config["img_size"]).apply_image(RUNS.tensors[f"in/te/{place}/image_rgb"].numpy())
        foreground = RUNS.tensors[f"in/te/{place}/mask"].numpy() > 0
    return foreground_sample(image, foreground, index)


def batch(group, names):
    return collate([sample(group, name, index) for index, name in enumerate(names)])


class Run:
    """Repeats one recorded run by the network's own interface."""

    def __init__(self, name):
        self.recorded = RUNS.info["runs"][name]
        self.args = args = self.recorded["args"]
        alpha = 0.85 if args["alpha"] is None else args["alpha"]
        network = recorded_sam(RUNS.config)
        network.load_state_dict(RUNS.group("param"), strict=True)
        task = DloTask(LossSettings(focal_alpha=alpha), invert_target=not args["no_inv"])
        tuning = TuningSettings(ways={"mask_decoder": "full"}, unreached=task.unreached)
        self.model = SamSegmenter(network, task, tuning=tuning)
        apply_policy(self.model, self.model.train_policy())
        self.optimizer = torch.optim.Adam([p for p in self.model.parameters() if p.requires_grad], lr=args["lr"])
        self.log, self.counts = [], []

    def train(self):
        args, virtual = self.args, self.args["virtual_batch_size"] or 1
        loads = self.recorded["batch_names_in_order_of_loading"]
        micro = [batch("fg", names) for names in loads if len(names) == args["batch_size"]]
        for number in range(1, len(micro) + 1):
            if number % virtual == 0:
                self.step(micro[number - virtual : number], number // virtual)
            if number % args["test_interval"] == 0:
                self.test(number)
        return self

    def step(self, micro_batches, number):
        solver = SimpleNamespace(
            LR_SCHEDULER_NAME="WarmupStepExp",
            COUNT_MICRO_ITERS=True,
            WARMUP_ITERS=1000,
            DECAY_INTERVAL=100,
            GAMMA=0.98946,
            MIN_LR=1e-7,
            BASE_LR=self.args["lr"],
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.args["lr"] * lr_factor(solver, number - 1, 10**6, len(micro_batches))
        totals = {}
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
    def test(self, number):
        self.model.eval()
        counts, losses = np.zeros(4, np.int64), []
        for name in RUNS.info["file_names"]["te"]:
            one = batch("te", [name])
            found = self.model(one)[0].foreground
            # The reference counts the trained class: the background when the target is inverted.
            inverted = not self.args["no_inv"]
            truth, predicted = one.samples[0].foreground != inverted, found.mask != inverted
            counts += [np.sum(p & t) for p, t in ((predicted, truth), (~predicted, ~truth), (predicted, ~truth),
                                                  (~predicted, truth))]  # fmt: skip
            losses.append(found.loss)
        self.counts.append(counts.tolist())
        self.log.append({"step": number, "test_loss": float(np.mean(losses))})


@pytest.mark.parametrize("name", RUNS.info["runs"])
def test_run(name):
    """The virtual run's last two micro-batches make no step, as recorded."""
    run = Run(name).train()
    wanted = run.recorded["log"]
    assert [entry["step"] for entry in run.log] == [entry["step"] for entry in sorted_like(run.log, wanted)]
    for found, recorded in zip(run.log, sorted_like(run.log, wanted), strict=True):
        kind = "test_loss" if "test_loss" in found else "training_loss"
        assert found[kind] == pytest.approx(recorded[kind], rel=TOLERANCE["loss"]), found
    assert run.counts == run.recorded["test_tp_tn_fp_fn"]
    state = run.model.mask_decoder.state_dict()
    expected = RUNS.group(f"out/{name}/mask_decoder")
    assert (name in ("base", "virtual")) == bool(expected)
    for key, tensor in expected.items():
        # A bias of keys changes no softmax: its gradient is rounding, which Adam brings to the size of a step.
        if not key.endswith("k_proj.bias"):
            assert_close(state[key], tensor, TOLERANCE["weights"], key)


def sorted_like(log, recorded):
    """Returns the recorded entries in the order of ours: the reference logs a step after the test that follows it."""
    kinds = ("test_loss", "training_loss")
    by_kind = {kind: iter([entry for entry in recorded if kind in entry]) for kind in kinds}
    return [next(by_kind["test_loss" if "test_loss" in entry else "training_loss"]) for entry in log]


def test_training_leaves_encoders_and_unreached_heads_alone():
    run = Run("base").train()
    state, before = run.model.state_dict(), RUNS.group("param")
    changed = {name for name, tensor in state.items() if not torch.equal(tensor, before[name])}
    assert changed and all(name.startswith("mask_decoder.") for name in changed)
    assert not any("iou_prediction_head" in name or "hypernetworks_mlps.1" in name for name in changed)
