"""Names, shapes and counts of the published configurations' parameters, on the meta device (no memory, no time)."""

import json
from pathlib import Path

import pytest
import torch

from segfoundry.modeling.build_model import build_model
from segfoundry.modeling.finetune import apply_policy, parameter_kinds
from segfoundry.utils.config.engine import load_config
from segfoundry.utils.paths import configs_root
from segfoundry.utils.structures.category import Category

LISTS = Path(__file__).resolve().parents[3] / "goldens" / "seem_state_dicts"
CATEGORIES = [Category(i, f"category {i}", i < 80, (0, 0, 0)) for i in range(133)]

# Trainable millions in the backbone and in the decoder, by (FOCAL.FINE_TUNE, DECODER.FINE_TUNE), dense adapters.
STRATEGIES = {
    (False, True): (0, 9.75),
    (True, True): (400.49, 9.75),
    (False, False): (0, 39.81),
    (True, False): (400.49, 39.81),
}


def build(name, *overrides):
    resolved = load_config([str(configs_root() / "seem" / f"{name}_unicl_lang_v1.yaml")], overrides)
    with torch.device("meta"):
        return build_model(resolved.cfg, CATEGORIES)


@pytest.mark.parametrize("name", ["focall", "focalt"])
def test_names_and_shapes_are_the_published_ones(name):
    expected = json.loads((LISTS / f"{name}.json").read_text())
    assert {k: list(v.shape) for k, v in build(name).state_dict().items()} == expected


@pytest.mark.parametrize(
    ("name", "encoder", "counts"),
    [
        ("focall", "fpn", (205_746_936, 32_193_536, 39_812_608, 63_428_097)),
        ("focalt", "fpn", (29_922_288, 31_456_256, 39_812_608, 63_428_097)),
        ("focall", "deform", (205_746_936, 14_456_000, 39_812_608, 63_428_097)),
    ],
)
def test_parameter_counts(name, encoder, counts):
    model = build(name, "MODEL.ENCODER.NAME", f"transformer_encoder_{encoder}")
    head = model.sem_seg_head
    language = count(head.predictor.lang_encoder)
    assert (count(model.backbone), count(head.pixel_decoder), count(head.predictor) - language, language) == counts


@pytest.mark.parametrize("flags", list(STRATEGIES))
def test_the_four_strategies_train_what_they_promise(flags):
    model = build(
        "focall",
        *("MODEL.BACKBONE.FOCAL.FINE_TUNE", str(flags[0]), "MODEL.BACKBONE.FOCAL.ADAPTER", "dense"),
        *("MODEL.DECODER.FINE_TUNE", str(flags[1]), "MODEL.DECODER.ADAPTER", "dense"),
        *("MODEL.DECODER.SPATIAL.ENABLED", "True", "MODEL.DECODER.GROUNDING.ENABLED", "True"),
    )
    apply_policy(model, model.train_policy())
    predictor = model.sem_seg_head.predictor
    found = (count(model.backbone, trainable=True) / 1e6, count(predictor, trainable=True) / 1e6)
    assert found == pytest.approx(STRATEGIES[flags], abs=0.006)
    others = (model.sem_seg_head.pixel_decoder, predictor.lang_encoder)
    assert not any(p.requires_grad for part in others for p in part.parameters())
    kinds = parameter_kinds(model)
    for part, adapters_only in zip(("backbone.", "sem_seg_head.predictor."), flags, strict=True):
        trainable = {kinds[n] for n, p in model.named_parameters() if n.startswith(part) and p.requires_grad}
        assert trainable == ({"adapter"} if adapters_only else {"base"} if part != "backbone." else set())


def test_dense_decoder_adapters_have_the_published_size():
    model = build("focall", "MODEL.DECODER.FINE_TUNE", "True", "MODEL.DECODER.ADAPTER", "dense")
    kinds = parameter_kinds(model)
    assert sum(p.numel() for n, p in model.named_parameters() if kinds[n] == "adapter") == 9_748_234


@pytest.mark.parametrize("name", ["focall", "focalt"])
def test_light_adapters_are_the_default_and_small(name):
    model = build(name, "MODEL.BACKBONE.FOCAL.FINE_TUNE", "True", "MODEL.DECODER.FINE_TUNE", "True")
    kinds = parameter_kinds(model)
    adapters = sum(p.numel() for n, p in model.named_parameters() if kinds[n] == "adapter")
    assert 0 < adapters < 0.08 * count(model)


def count(module, trainable=False):
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable)
