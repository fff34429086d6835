"""The meta-architecture: names of weights, training, prediction, vocabulary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from segfoundry.modeling.finetune import apply_policy
from segfoundry.modeling.seem.config import tiny
from segfoundry.modeling.seem.image_normalizer import ImageNormalizer
from segfoundry.modeling.seem.model import Seem
from segfoundry.utils.config.engine import load_config, load_mapping
from segfoundry.utils.draws import Draws
from segfoundry.utils.paths import configs_root
from segfoundry.utils.structures.category import Category
from segfoundry.utils.structures.requests import Request
from segfoundry.utils.structures.samples import Batch, Sample, Targets

DATA = Path(__file__).parent / "data"


def categories(*names: str) -> list[Category]:
    return [Category(i, name, i % 2 == 0, (i, i, i)) for i, name in enumerate(names)]


def make(names: tuple[str, ...] = ("cat", "sky", "cup"), **options: Any) -> Seem:
    torch.manual_seed(0)
    values = tiny() | {name.replace("__", "."): value for name, value in options.items()}
    model = Seem.from_config(load_mapping(values).cfg, categories(*names))
    apply_policy(model, model.train_policy())
    return model


def make_batch(sizes: list[tuple[int, int]], masks: int | list[int] = 2, num_classes: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(3)
    height, width = (max(side) for side in zip(*sizes, strict=True))
    images = torch.zeros(len(sizes), 3, height, width, dtype=torch.uint8)
    targets, samples = [], []
    counts = [masks] * len(sizes) if isinstance(masks, int) else masks
    for i, ((h, w), count) in enumerate(zip(sizes, counts, strict=True)):
        images[i, :, :h, :w] = torch.randint(0, 256, (3, h, w), generator=generator, dtype=torch.uint8)
        mask = torch.zeros(count, height, width, dtype=torch.bool)
        for k in range(count):
            mask[k, k * h // count : (k + 1) * h // count, :w] = True
        targets.append(Targets(mask, torch.randint(0, num_classes, (count,), generator=generator)))
        samples.append(Sample(np.empty((0, 0, 3), np.uint8), i, i, "", (h + 5, w + 3)))
    return Batch(images, sizes, samples, targets, list(range(len(sizes))))


def part(batch: Batch, i: int, totals: dict[str, float] | None = None) -> Batch:
    """One image of a batch, cut to its own size."""
    h, w = batch.image_sizes[i]
    targets = batch.targets[i]
    return Batch(
        batch.images[i : i + 1, :, :h, :w],
        [(h, w)],
        [batch.samples[i]],
        [Targets(targets.masks[:, :h, :w], targets.labels)],
        [batch.positions[i]],
        totals,
    )


@pytest.mark.parametrize("name", ["focall", "focalt"])
def test_weights_have_the_published_names_and_shapes(name: str) -> None:
    cfg = load_config([configs_root() / "seem" / f"{name}_unicl_lang_v1.yaml"]).cfg
    with torch.device("meta"):
        model = Seem.from_config(cfg, categories(*(f"class {i}" for i in range(133))))
    found = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert found == json.loads((DATA / f"{name}_state_dict.json").read_text())


def test_a_few_steps_lower_the_loss() -> None:
    model = make().train()
    batch = make_batch([(64, 64), (64, 64)])
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    objective = []
    for _ in range(8):
        losses = model(batch, rng=Draws(0, 0))
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        objective.append(total.item())
    assert all(value.dtype == torch.float32 and value.dim() == 0 for value in losses.values())
    assert objective[-1] < 0.8 * objective[0]


def gradients(model: Seem) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_every_trainable_parameter_gets_a_gradient() -> None:
    model = make().train()
    sum(model(make_batch([(64, 64)]), rng=Draws(0, 0)).values()).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_two_micro_batches_equal_one_batch() -> None:
    model = make().train()
    batch = make_batch([(64, 64), (64, 64)], masks=[3, 1])
    whole = model(batch, rng=Draws(0, 4))
    sum(whole.values()).backward()
    expected = gradients(model)
    model.zero_grad()
    shares = [model.normalizers(part(batch, i)) for i in range(2)]
    totals = {name: shares[0][name] + shares[1][name] for name in shares[0]}
    parts = [model(part(batch, i, totals), rng=Draws(0, 4)) for i in range(2)]
    sum(sum(losses.values()) for losses in parts).backward()
    for name, value in whole.items():
        torch.testing.assert_close(parts[0][name] + parts[1][name], value, atol=1e-5, rtol=1e-5)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-3, msg=name)


@pytest.mark.parametrize("masks", [[0, 0], [0, 2]])
def test_images_without_objects_train(masks: list[int]) -> None:
    model = make().train()
    losses = model(make_batch([(64, 64), (64, 64)], masks), rng=Draws(0, 0))
    total = sum(losses.values())
    total.backward()
    assert total.isfinite()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_one_category_trains_and_predicts() -> None:
    model = make(("cup",)).train()
    sum(model(make_batch([(64, 64)], num_classes=1), rng=Draws(0, 0)).values()).backward()
    [prediction] = model.eval()(make_batch([(64, 64)]))
    assert prediction.semantic.shape == (69, 67) and prediction.semantic.max() == 0


@pytest.mark.parametrize("size", [(40, 72), (33, 64)])
def test_training_images_of_any_size_are_padded(size: tuple[int, int]) -> None:
    losses = make().train()(make_batch([size]), rng=Draws(0, 0))
    assert sum(losses.values()).isfinite()


def test_prediction_of_an_image_does_not_depend_on_its_batch() -> None:
    model = make().eval()
    batch = make_batch([(64, 96), (70, 50), (60, 90)])
    with torch.no_grad():
        together = model(batch)
        for i, found in enumerate(together):
            [alone] = model(part(batch, i))
            assert found.semantic.shape == batch.samples[i].output_size
            assert (found.semantic == alone.semantic).mean() > 0.999
            assert np.array_equal(found.panoptic.ids, alone.panoptic.ids)
            np.testing.assert_allclose(found.instances.scores, alone.instances.scores, atol=1e-4)


def test_request_chooses_the_tasks() -> None:
    model = make().eval()
    [prediction] = model(make_batch([(64, 64)]), request=Request(tasks=["semantic"]))
    assert prediction.semantic is not None and prediction.panoptic is None and prediction.instances is None


def test_vocabulary_can_be_switched_for_prediction_and_leaves_training_alone() -> None:
    model = make()
    batch = make_batch([(64, 64)])
    before = sum(model.train()(batch, rng=Draws(0, 0)).values())
    model.eval()
    [trained] = model(batch)
    [asked] = model(batch, request=Request(categories=categories("dog")))
    [again] = model(batch)
    assert asked.semantic.max() == 0
    assert np.array_equal(trained.semantic, again.semantic)
    model.set_vocabulary(categories("cup", "cat", "sky"))
    [turned] = model(batch)
    assert np.array_equal(turned.semantic, (trained.semantic + 1) % 3)
    assert torch.equal(before, sum(model.train()(batch, rng=Draws(0, 0)).values()))


def test_frozen_parts_stay_in_eval_mode_without_gradients() -> None:
    model = make(SOLVER__FIX_PARAM={"backbone": True, "pixel_decoder": True, "lang_encoder": True}).train()
    head = model.sem_seg_head
    assert model.training and head.predictor.training
    assert not model.backbone.training and not head.pixel_decoder.training
    assert not head.predictor.lang_encoder.training
    seen = []
    head.predictor.register_forward_hook(lambda module, inputs, output: seen.append(output))
    model(make_batch([(64, 64)]), rng=Draws(0, 0))
    assert not seen[-1].mask_features.requires_grad and seen[-1].final.logits.requires_grad


def test_frozen_pixel_decoder_passes_gradients_to_the_backbone() -> None:
    model = make(SOLVER__FIX_PARAM={"pixel_decoder": True, "lang_encoder": True}).train()
    sum(model(make_batch([(64, 64)]), rng=Draws(0, 0)).values()).backward()
    assert model.backbone.patch_embed.proj.weight.grad.abs().sum() > 0


def test_trained_text_encoder_learns() -> None:
    model = make(SOLVER__FIX_PARAM={}).train()
    sum(model(make_batch([(64, 64)]), rng=Draws(0, 0)).values()).backward()
    assert model.sem_seg_head.predictor.lang_encoder.lang_proj.grad.abs().sum() > 0


def test_padding_is_zero_after_normalising() -> None:
    normalizer = ImageNormalizer([10.0, 20.0, 30.0], [2.0, 4.0, 5.0], 32)
    images = torch.full((1, 3, 40, 30), 50, dtype=torch.uint8)
    found = normalizer(images, [(33, 20)])
    assert found.shape == (1, 3, 64, 32) and found.dtype == torch.float32
    assert found[0, :, 0, 0].tolist() == [20.0, 7.5, 4.0]
    assert found[0, :, 33:].abs().sum() == 0 and found[0, :, :, 20:].abs().sum() == 0
    assert normalizer.state_dict() == {}


def test_a_vocabulary_of_names_alike_is_told_when_it_is_set_and_when_it_is_asked_for(caplog) -> None:
    model = make()
    model.set_vocabulary(categories("cup", "cat", "cups"))
    assert not caplog.records
    model.set_vocabulary(categories("Cup", "cup", "cat"))
    model.eval()(
        make_batch([(64, 64)]), request=Request(categories=categories("cat", "Dog", "dog"), tasks=["semantic"])
    )
    first, second = (record.getMessage() for record in caplog.records)
    assert "'Cup' and 'cup'" in first and "'Dog' and 'dog'" in second
