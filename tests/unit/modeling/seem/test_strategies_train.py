"""Two training steps of the tiny model under every fine-tuning strategy: what should move moves, the rest does not."""

import numpy as np
import pytest
import torch

from segfoundry.modeling.build_model import build_model
from segfoundry.modeling.finetune import apply_policy, param_groups, param_table, parameter_kinds
from segfoundry.modeling.layers.adapters import Adapter
from segfoundry.modeling.layers.lora import LoraUpdate, apply_lora
from segfoundry.modeling.seem.config import tiny
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.draws import Draws
from segfoundry.utils.structures.category import Category
from segfoundry.utils.structures.samples import Batch, Sample, Targets

CATEGORIES = [Category(i, name, True, (0, 0, 0)) for i, name in enumerate(("sky", "cat", "red ball"))]
FREEZE = {"backbone": True, "lang_encoder": True, "pixel_decoder": True}


def build(**overrides):
    torch.manual_seed(0)
    values = {**tiny(), "SOLVER.FIX_PARAM": FREEZE, **{k.replace("__", "."): v for k, v in overrides.items()}}
    return build_model(load_mapping(values).cfg, CATEGORIES).train()


def batch():
    rng = np.random.default_rng(0)
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[0, :40], masks[1, 40:] = True, True
    images = torch.from_numpy(rng.integers(0, 256, (2, 3, 64, 64), dtype=np.uint8))
    samples = [Sample(np.empty(0), i, i, f"{i}.png", (64, 64)) for i in range(2)]
    targets = [Targets(masks, torch.tensor([0, 2])), Targets(masks[:1], torch.tensor([1]))]
    return Batch(images, [(64, 64)] * 2, samples, targets, positions=[0, 1])


def train(model, steps=2):
    """Returns the names of the parameters that moved; asserts that trainable ones have gradients and others none."""
    policy = model.train_policy()
    apply_policy(model, policy)
    optimizer = torch.optim.AdamW(param_groups(model, policy, 1e-3))
    model.train()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    for step in range(steps):
        optimizer.zero_grad()
        sum(model(batch(), rng=Draws(0, step)).values()).backward()
        without = {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None}
        assert not without, "DistributedDataParallel would wait for these"
        assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
        optimizer.step()
    return {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}


@pytest.mark.parametrize("backbone", ["focal", "focal_dw"])
@pytest.mark.parametrize("variant", ["light", "dense"])
@pytest.mark.parametrize("flags", [(False, True), (True, True), (False, False), (True, False)])
def test_what_is_promised_moves_and_nothing_else(backbone, variant, flags):
    model = build(
        MODEL__BACKBONE__NAME=backbone,
        MODEL__BACKBONE__FOCAL__FINE_TUNE=flags[0],
        MODEL__BACKBONE__FOCAL__ADAPTER=variant,
        MODEL__DECODER__FINE_TUNE=flags[1],
        MODEL__DECODER__ADAPTER=variant,
    )
    moved, kinds = train(model), parameter_kinds(model)
    assert moved <= set(model.train_policy().rules)
    predictor = {n for n in moved if n.startswith("sem_seg_head.predictor.")}
    assert {kinds[n] for n in moved - predictor} == ({"adapter"} if flags[0] else set())
    assert {kinds[n] for n in predictor} == ({"adapter"} if flags[1] else {"base"})
    for name, module in model.named_modules():
        if isinstance(module, Adapter):
            assert any(n.startswith(name + ".") for n in moved), f"{name} did not learn"


def test_lora_updates_learn_and_their_base_stays():
    model = build(LORA__TARGETS=["backbone.*.mlp.fc*", "sem_seg_head.predictor.transformer_*attn"], LORA__RANK=2)
    updates = [name for name, module in model.named_modules() if isinstance(module, LoraUpdate)]
    assert len(updates) > 8
    moved, kinds = train(model), parameter_kinds(model)
    assert {kinds[n] for n in moved} == {"lora"}
    assert all(f"{name}.lora_up" in moved for name in updates)


def test_everything_can_train():
    model = build(SOLVER__FIX_PARAM={})
    names = {n for n, _ in model.named_parameters()}
    assert set(model.train_policy().rules) < names
    moved = train(model)
    assert any(n.startswith("sem_seg_head.predictor.lang_encoder.") for n in moved)
    assert any(n.startswith("backbone.") for n in moved) and any("pixel_decoder" in n for n in moved)


@pytest.mark.parametrize("size", [(64, 96), (45, 70)])
def test_neutral_adapters_and_updates_leave_the_network_as_it_was(size):
    model, plain = build(MODEL__BACKBONE__FOCAL__FINE_TUNE=True, MODEL__DECODER__FINE_TUNE=True), build()
    apply_lora(model, ["sem_seg_head.pixel_decoder.*"])
    model.load_state_dict(plain.state_dict(), strict=False)
    images = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8)
    given = Batch(images, [size], [Sample(np.empty(0), 0, 0, "a.png", size)])
    with torch.no_grad():
        found, expected = (m.eval()(given)[0] for m in (model, plain))
    assert np.array_equal(found.semantic, expected.semantic)
    assert np.array_equal(found.instances.scores, expected.instances.scores)


def test_table_names_the_parts_of_seem():
    model = build()
    rows = [line.split()[0] for line in param_table(model, model.train_policy(), 1e-4).splitlines()]
    assert rows == ["module", "backbone", "pixel_decoder", "predictor", "lang_encoder", "criterion", "all"]
