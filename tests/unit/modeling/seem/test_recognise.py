"""Published configurations and weight files: values, sizes, what is recognised, what loads."""

import itertools
import json
import logging
from pathlib import Path

import pytest
import torch

from segfoundry.modeling.build_model import build_model
from segfoundry.modeling.finetune import apply_policy, parameter_kinds
from segfoundry.modeling.seem.config import tiny
from segfoundry.modeling.seem.recognise import shipped_config
from segfoundry.modeling.weights.load_state import load_weights
from segfoundry.utils.config.engine import load_config, load_mapping
from segfoundry.utils.config.resolved import find_value
from segfoundry.utils.errors import ConfigError
from segfoundry.utils.paths import configs_root
from segfoundry.utils.structures.category import Category

GOLDENS = Path(__file__).resolve().parents[3] / "goldens"
PUBLISHED = json.loads((GOLDENS / "seem_yaml_defaults.json").read_text())
LARGE = PUBLISHED["focall_unicl_lang_v1"]
NAMES = [name for name in PUBLISHED if name.endswith(("_v0", "_v1", "_demo"))]
FOCAL = [name for name in NAMES if name.startswith("focal")]
CATEGORIES = [Category(i, f"category {i}", i < 80, (0, 0, 0)) for i in range(133)]
BACKBONE, DECODER = "MODEL.BACKBONE.FOCAL.FINE_TUNE", "MODEL.DECODER.FINE_TUNE"


def resolved(name, *overrides):
    return load_config([str(configs_root() / "seem" / f"{name}.yaml")], overrides).cfg


def build(name, *overrides):
    with torch.device("meta"):
        return build_model(resolved(name, *overrides), CATEGORIES)


def shapes_of(name):
    """Returns names and shapes of a file in the published layout."""
    shapes = {key: tuple(tensor.shape) for key, tensor in build(name).state_dict().items()}
    if name.startswith("davit"):
        shapes["backbone.convs.0.proj.weight"] = shapes.pop("backbone.body.stem.conv.weight")
    return shapes


def test_every_published_configuration_is_shipped():
    assert len(NAMES) == 10
    assert {path.stem for path in (configs_root() / "seem").glob("*_unicl_lang_*.yaml")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_shipped_values_are_the_published_ones(name):
    cfg = resolved(name)
    assert load_config([str(configs_root() / "seem" / f"{name}.yaml")]).notices == []
    changes = {} if name == "focall_unicl_lang_v1" else PUBLISHED[name]
    relevant = {k: v for k, v in changes.items() if k.startswith(("MODEL.", "ATTENTION_ARCH.", "COCO.INPUT.M"))}
    assert {k: find_value(cfg, k) for k in relevant} == relevant
    if name != "focall_unicl_lang_v1":
        load_mapping({**LARGE, **changes})  # the published file itself is valid, too


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("flags", list(itertools.product((False, True), repeat=2)))
def test_every_fine_tune_combination_builds_or_says_why_not(name, flags):
    overrides = (BACKBONE, str(flags[0]), DECODER, str(flags[1]))
    if flags[0] and name not in FOCAL:
        with pytest.raises(ConfigError, match=r"FOCAL.FINE_TUNE True: the backbone.*LORA.TARGETS"):
            build(name, *overrides)
        return
    model = build(name, *overrides)
    kinds = parameter_kinds(model)
    parts = dict(zip(("backbone.", "sem_seg_head.predictor."), flags, strict=True))
    with_adapters = {p for p in parts if any(n.startswith(p) and kind == "adapter" for n, kind in kinds.items())}
    assert with_adapters == {part for part, on in parts.items() if on}
    if name.endswith("demo"):
        with pytest.raises(ConfigError, match=r"MODEL.NAME seem_model_demo is for prediction"):
            model.train_policy()
        return
    apply_policy(model, model.train_policy())
    for part, has_adapters in parts.items():
        trainable = {kinds[n] for n, p in model.named_parameters() if n.startswith(part) and p.requires_grad}
        assert has_adapters == (trainable == {"adapter"})


@pytest.mark.parametrize(
    ("name", "backbone", "pixel_decoder"),
    [
        ("focall_unicl_lang_v0", 205_746_936, 32_193_536),
        ("focalt_unicl_lang_v0", 29_922_288, 31_456_256),
        ("focall_unicl_lang_demo", 205_746_936, 32_193_536),
        ("focalt_unicl_lang_demo", 29_922_288, 31_456_256),
    ],
)
def test_parameter_counts(name, backbone, pixel_decoder):
    model = build(name)
    language = count(model.sem_seg_head.predictor.lang_encoder)
    decoder = count(model.sem_seg_head.predictor) - language
    assert (count(model.backbone), count(model.sem_seg_head.pixel_decoder)) == (backbone, pixel_decoder)
    assert (decoder, language) == (39_812_608, 63_428_097)


@pytest.mark.parametrize(
    ("name", "backbone"),
    [("samvitb", 98_358_464), ("samvitl", 323_333_504), ("davitd3", 86_927_360), ("davitd5", 360_632_320)],
)
def test_parameter_counts_of_the_other_backbones(name, backbone):
    assert count(build(f"{name}_unicl_lang_v1").backbone) == backbone


@pytest.mark.parametrize("name", FOCAL)
def test_names_and_shapes_are_the_published_ones(name):
    published = json.loads((GOLDENS / "seem_state_dicts" / f"{name[:6]}.json").read_text())
    if name.endswith("demo"):
        published.pop("criterion.empty_weight")
    found = {key: list(tensor.shape) for key, tensor in build(name).state_dict().items()}
    assert {k: v for k, v in found.items() if k in published} == published
    assert set(found) - set(published) <= {"criterion.empty_weight"}


def test_the_vit_keeps_the_names_of_sam():
    listed = json.loads((GOLDENS / "sam_state_dicts" / "vit_b.json").read_text())
    encoder = {k.removeprefix("image_encoder."): v for k, v in listed.items() if k.startswith("image_encoder.")}
    own = {k: list(v.shape) for k, v in build("samvitb_unicl_lang_v1").backbone.state_dict().items()}
    assert {k: v for k, v in own.items() if not k.startswith("neck.")} == {
        k: v for k, v in encoder.items() if not k.startswith("neck.")
    }


@pytest.mark.parametrize("name", NAMES)
def test_published_files_are_recognised(name):
    assert shipped_config(shapes_of(name), f"seem_{name.replace('_unicl_lang', '')}.pt") == f"seem/{name}.yaml"


def test_without_a_hint_v1_is_taken_and_the_log_says_so(caplog):
    shapes = shapes_of("focalt_unicl_lang_v0")
    with caplog.at_level(logging.WARNING):
        assert shipped_config(shapes, "model.pt") == "seem/focalt_unicl_lang_v1.yaml"
    assert "v0" in caplog.text and "model.pt" in caplog.text
    del shapes["criterion.empty_weight"]
    assert shipped_config(shapes, "model.pt") == "seem/focalt_unicl_lang_demo.yaml"


def test_other_files_are_not_recognised():
    shapes = shapes_of("focalt_unicl_lang_v1")
    del shapes["sem_seg_head.predictor.spatial_featured.weight"]
    assert shipped_config(shapes, "xdecoder_focalt_last.pt") is None
    assert shipped_config({}) is None and shipped_config({"backbone.pos_embed": (1, 64, 64, 768)}) is None


# ---- files in the true layout, with tiny tensors ---------------------------------------------------------------------


def tiny_model(seed=0, **values):
    torch.manual_seed(seed)
    return build_model(load_mapping({**tiny(), **values}).cfg, CATEGORIES[:3])


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model."])
@pytest.mark.parametrize("place", ["file", "default/model_state_dict.pt", "model_state_dict_best.pt"])
def test_prefixes_and_trainer_folders_load_completely(prefix, place, tmp_path):
    donor, model = tiny_model(1), tiny_model(2)
    file = tmp_path / ("seem.pt" if place == "file" else place)
    file.parent.mkdir(exist_ok=True)
    torch.save({prefix + name: tensor for name, tensor in donor.state_dict().items()}, file)
    report = load_weights(model, file if place == "file" else tmp_path)
    assert report.complete
    assert all(torch.equal(t, donor.state_dict()[n]) for n, t in model.state_dict().items())


def test_a_training_state_with_nested_weights_loads(tmp_path):
    donor = tiny_model(1)
    torch.save(
        {"module": {f"model.{n}": t for n, t in donor.state_dict().items()}}, tmp_path / "module_training_states.pt"
    )
    assert load_weights(tiny_model(2), tmp_path).complete


def test_x_decoder_files_start_a_seem_and_are_reported(tmp_path):
    """X-Decoder has the same names for what both have, parameters for captions, and none for strokes."""
    head = "sem_seg_head.predictor"
    state = {n: t for n, t in tiny_model(1).state_dict().items() if "spatial" not in n and "sptial" not in n}
    state = {n: t for n, t in state.items() if n not in (f"{head}.pn_indicator.weight", "dilation_kernel")}
    shared = len(state) - 1
    state[f"{head}.query_feat.weight"] = torch.zeros(21, 32)  # as many object queries as xdecoder_focall has, and more
    state |= {f"{head}.caping_embed": torch.zeros(32, 32), f"{head}.pos_embed_caping.weight": torch.zeros(16, 32)}
    state["backbone_proj"] = torch.zeros(64, 32)
    torch.save(state, tmp_path / "xdecoder.pt")
    report = load_weights(tiny_model(2), tmp_path / "xdecoder.pt")
    assert len(report.loaded) == shared
    assert {n.rpartition(".")[2] if n.count(".") < 2 else n.split(".")[2] for n in report.unexpected} == {
        "caping_embed",
        "pos_embed_caping",
        "backbone_proj",
    }
    assert report.mismatched == [(f"{head}.query_feat.weight", (21, 32), (11, 32))]
    assert all("spatial" in n or "sptial" in n or "pn_" in n or n == "dilation_kernel" for n in report.missing)
    text = report.text()
    assert "query_feat.weight [21, 32] in the file, [11, 32] in the network" in text and "caping_embed" in text


def test_a_davit_file_in_the_published_layout_loads_into_the_whole_network(tmp_path):
    values = {
        "MODEL.BACKBONE.NAME": "davit",
        "MODEL.BACKBONE.DAVIT.DIM_EMBED": [8, 8, 16, 16],
        "MODEL.BACKBONE.DAVIT.NUM_HEADS": [2, 2, 2, 2],
        "MODEL.BACKBONE.DAVIT.NUM_GROUPS": [2, 2, 2, 2],
        "MODEL.BACKBONE.DAVIT.DEPTHS": [1, 1, 1, 1],
    }
    donor, model = tiny_model(1, **values), tiny_model(2, **values)
    renamed = {}
    for name, tensor in donor.state_dict().items():
        name = name.replace("body.stem.conv", "convs.0.proj").replace("body.stem.norm", "convs.0.norm")
        for i in range(4):
            name = name.replace(f"body.stages.{i}.downsample.conv", f"convs.{i}.proj")
            name = name.replace(f"body.stages.{i}.downsample.norm", f"convs.{i}.norm")
            name = name.replace(f"body.stages.{i}.blocks.", f"blocks.{i}.")
        attention = "window_attn" if "spatial_block" in name else "channel_attn"
        if name.startswith("backbone.blocks."):
            for ours, published in (
                *((".norm1.", f".{attention}.norm."), (".attn.", f".{attention}.fn."), (".norm2.", ".ffn.norm.")),
                *((".mlp.", ".ffn.fn.net."), (".cpe1.proj.", ".conv1.fn.dw."), (".cpe2.proj.", ".conv2.fn.dw.")),
            ):
                name = name.replace(ours, published)
        renamed[name] = tensor
    assert not any("body." in name for name in renamed)
    torch.save(renamed, tmp_path / "seem_davit.pt")
    assert load_weights(model, tmp_path / "seem_davit.pt", strict=True).complete
    torch.save(donor.state_dict(), tmp_path / "ours.pt")
    assert load_weights(model, tmp_path / "ours.pt", strict=True).complete


def count(module):
    return sum(p.numel() for p in module.parameters())
