"""Weight files of SAM in all the forms they come in."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from segfoundry.modeling.sam.network.build_sam import CustomSize, build_sam
from segfoundry.modeling.sam.recognise import lacks_parts, sam_type, shipped_config
from segfoundry.modeling.sam.weights.key_map import names_in_transformers
from segfoundry.modeling.sam.weights.load_published import adapt_state, load_base
from segfoundry.utils.errors import CheckpointError

VIT_B = json.loads((Path(__file__).parents[4] / "goldens/sam_state_dicts/vit_b.json").read_text())
SIZE = CustomSize(8, 32, 2, 2, (1,), 4, 32)
MOBILE = {
    "image_encoder.patch_embed.seq.2.c.weight": (64, 32, 3, 3),
    "mask_decoder.transformer.layers.0.norm1.weight": (256,),
}


def tiny(size=SIZE, image_size=64, seed=0):
    torch.manual_seed(seed)
    return build_sam("custom", image_size=image_size, custom=size)


def equal(model, state):
    return all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


@pytest.fixture
def source():
    return tiny(seed=1)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state},
        lambda state: {f"module.{k}": v for k, v in state.items()},
        lambda state: {f"sam_model.{k}": v for k, v in state.items()},
        lambda state: {"model": {f"model.{k}": v for k, v in state.items()}},
        lambda state: {"model_state": {f"sam.{k}": v for k, v in state.items()}},
        lambda state: {there: state[name] for name, names in names_in_transformers(state).items() for there in names},
        lambda state: {names[0]: state[name] for name, names in names_in_transformers(state).items()},
        lambda state: state | {"pixel_mean": torch.zeros(3, 1, 1)},
    ],
    ids=["plain", "nested", "module", "sam_model", "model", "sam", "transformers", "untied", "constants"],
)
def test_wrapped_and_renamed_files_load(tmp_path, source, wrap):
    file = tmp_path / "sam.pth"
    torch.save(wrap(source.state_dict()), file)
    model = tiny()
    report = load_base(model, file)
    assert equal(model, source.state_dict())
    assert len(report.loaded) == len(model.state_dict())


def test_safetensors_load(tmp_path, source):
    save_file(source.state_dict(), tmp_path / "sam.safetensors")
    model = tiny()
    load_base(model, tmp_path / "sam.safetensors")
    assert equal(model, source.state_dict())


def test_a_file_with_a_missing_or_an_extra_tensor_is_refused(tmp_path, source):
    state = source.state_dict()
    state.pop("mask_decoder.iou_token.weight")
    torch.save(state, tmp_path / "lacking.pth")
    with pytest.raises(CheckpointError, match=r"missing in the file[^\n]*\n.*mask_decoder.iou_token"):
        load_base(tiny(), tmp_path / "lacking.pth")
    torch.save(source.state_dict() | {"mask_decoder.hf_token.weight": torch.zeros(1)}, tmp_path / "more.pth")
    with pytest.raises(CheckpointError, match="not in the network"):
        load_base(tiny(), tmp_path / "more.pth")


def test_position_tables_are_interpolated_for_another_image_size(tmp_path, source):
    torch.save(source.state_dict(), tmp_path / "sam.pth")
    model = tiny(image_size=96)
    load_base(model, tmp_path / "sam.pth")
    state, own = source.state_dict(), model.state_dict()
    assert own["image_encoder.pos_embed"].shape == (1, 12, 12, 32)
    assert own["image_encoder.blocks.1.attn.rel_pos_h"].shape[0] == 23
    middle = own["image_encoder.pos_embed"].mean() - state["image_encoder.pos_embed"].mean()
    assert abs(middle) < 0.01
    # Tables of windows keep their length.
    assert torch.equal(own["image_encoder.blocks.0.attn.rel_pos_h"], state["image_encoder.blocks.0.attn.rel_pos_h"])


def test_another_type_is_named_with_the_key_that_selects_it():
    shapes = {name: torch.empty(shape, device="meta") for name, shape in VIT_B.items()}
    with torch.device("meta"):
        model = build_sam("vit_l")
    with pytest.raises(CheckpointError, match=r"is a vit_b, but the network is a vit_l: --overrides SAM.TYPE vit_b"):
        adapt_state(model, shapes, "file")


def test_a_decoder_alone_needs_a_base(tmp_path, source):
    decoder = {k: v for k, v in source.state_dict().items() if k.startswith("mask_decoder.")}
    torch.save(decoder, tmp_path / "decoder.pth")
    with pytest.raises(CheckpointError, match=r"(?s)SAM.CHECKPOINT.*WEIGHT True RESUME_FROM"):
        load_base(tiny(), tmp_path / "decoder.pth")
    with pytest.raises(CheckpointError, match="no base network"):
        adapt_state(tiny(), decoder, "decoder.pth")
    torch.save(source.state_dict(), tmp_path / "sam.pth")
    based = tiny()
    load_base(based, tmp_path / "sam.pth")
    changed = {name: tensor + 1 for name, tensor in decoder.items()}
    whole = adapt_state(based, changed, "decoder.pth")
    assert set(whole) == set(based.state_dict())
    assert all(torch.equal(whole[name], changed.get(name, source.state_dict()[name])) for name in whole)
    with pytest.raises(CheckpointError, match="SAM.CHECKPOINT"):
        shipped_config({k: tuple(v.shape) for k, v in decoder.items()}, "decoder.pth")


def test_a_missing_file_is_answered_with_places_and_the_public_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        load_base(tiny(), "sam_vit_h_4b8939.pth")
    for words in ("SAM.CHECKPOINT", str(tmp_path / "ckpts/base_model"), "https://dl.fbaipublicfiles.com"):
        assert words in str(caught.value)
    with pytest.raises(CheckpointError, match="SAM.CHECKPOINT ckpts/base_model/mobile_sam.pt"):
        load_base(tiny(), "ckpts/base_model/mobile_sam.pt")


def test_bare_names_are_found_in_the_folder_of_base_models(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ckpts/base_model").mkdir(parents=True)
    torch.save(source.state_dict(), tmp_path / "ckpts/base_model/mine.pth")
    model = tiny()
    load_base(model, "mine.pth")
    assert equal(model, source.state_dict())


def test_the_file_of_mobile_sam_fits_strictly_with_and_without_its_unused_head():
    names = json.loads((Path(__file__).parents[4] / "goldens/sam_state_dicts/vit_t.json").read_text())
    model = build_sam("vit_t", image_size=64)
    assert {name: list(x.shape) for name, x in model.state_dict().items()} == names
    assert shipped_config({name: tuple(shape) for name, shape in names.items()}) == "sam/vit_t.yaml"
    state = {name: torch.ones_like(x) for name, x in model.state_dict().items() if ".head." not in name}
    state = {name: x for name, x in state.items() if ".norm_head." not in name}
    assert len(state) == 439 - 4
    assert set(adapt_state(model, state, "file")) == set(names)


def test_public_files_are_recognised_in_both_layouts():
    shapes = {name: tuple(shape) for name, shape in VIT_B.items()}
    there = {other: shapes[name] for name, names in names_in_transformers(shapes).items() for other in names}
    assert sam_type(shapes) == sam_type(there) == "vit_b"
    assert shipped_config(shapes) == shipped_config(there) == "sam/vit_b.yaml"
    assert shipped_config(MOBILE) == "sam/vit_t.yaml"
    assert shipped_config({"backbone.weight": (3,)}) is None
    assert sam_type({name: tuple(x.shape) for name, x in tiny().state_dict().items()}) == "custom"


def test_only_a_whole_network_lacks_nothing(source):
    names = list(source.state_dict())
    assert not lacks_parts(names) and not lacks_parts(
        [copy for all in names_in_transformers(names).values() for copy in all]
    )
    for part in ("image_encoder.", "mask_decoder."):
        assert lacks_parts([name for name in names if name.startswith(part)])
