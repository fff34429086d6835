import pickle
import zipfile

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from segfoundry.modeling.layers.lora import apply_lora
from segfoundry.modeling.weights.load_state import load_state, load_weights
from segfoundry.modeling.weights.weight_files import read_state_dict
from segfoundry.modeling.weights.weight_places import find_weights
from segfoundry.utils.errors import CheckpointError


class Code:
    """Runs code when unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


class Net(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 2))
        self.criterion = nn.Module()
        self.criterion.register_buffer("empty_weight", torch.ones(classes + 1))


@pytest.fixture
def state():
    torch.manual_seed(1)
    return Net().state_dict()


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrap", ["", "module.", "model.", "module.model."])
@pytest.mark.parametrize("nest", [(), ("model",), ("state_dict",), ("module",), ("module", "model")])
def test_reads_wrapped_and_nested_files(tmp_path, state, legacy, wrap, nest):
    value = {wrap + name: tensor for name, tensor in state.items()}
    for key in nest:
        value = {key: value, "epoch": 3, "optimizer": {"state": {}}}
    path = tmp_path / "weights.pth"
    torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    assert equal(read_state_dict(path), state)


def test_format_is_told_by_content(tmp_path, state):
    save_file(state, tmp_path / "weights.pt")
    assert equal(read_state_dict(tmp_path / "weights.pt"), state)


@pytest.mark.parametrize(
    "place",
    [
        "model.safetensors",
        "weights/best/model.safetensors",
        "checkpoints/step-00000020/model.safetensors",
        "default/model_state_dict.pt",
        "default/module_training_states.pt",
        "model_state_dict_best.pt",
    ],
)
def test_folders_of_ours_and_of_seems_trainer(tmp_path, state, place):
    file = tmp_path / place
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save({"module": state, "optimizer": {}} if "training" in place else state, file)
    assert equal(read_state_dict(tmp_path), state)


def test_the_latest_checkpoint_of_a_run_is_taken(tmp_path, state):
    for step in (5, 20, 10):
        folder = tmp_path / "checkpoints" / f"step-{step:08d}"
        folder.mkdir(parents=True)
        save_file({name: torch.full_like(t, step) for name, t in state.items()}, folder / "model.safetensors")
    assert read_state_dict(tmp_path)["body.0.weight"][0, 0] == 20


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, state, recwarn):
    marker = tmp_path / "ran"
    for value in (Code(marker), {**state, "extra": Code(marker)}):
        for legacy in (False, True):
            path = tmp_path / "evil.pt"
            torch.save(value, path, _use_new_zipfile_serialization=not legacy)
            with pytest.raises(CheckpointError, match=r"evil.pt holds Python objects.*save its tensors alone"):
                read_state_dict(path)
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Code(marker)))
    with pytest.raises(CheckpointError, match="plain.pkl"):
        read_state_dict(tmp_path / "plain.pkl")
    assert not marker.exists()
    assert not recwarn.list


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "neither"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"hello world, not weights", "neither"),
    ],
)
def test_files_that_are_no_weights(tmp_path, content, message):
    path = tmp_path / "w.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_state_dict(path)


def test_files_without_tensors(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "a.pt")
    torch.save([torch.zeros(2)], tmp_path / "b.pt")
    for name in ("a.pt", "b.pt"):
        with pytest.raises(CheckpointError, match="holds no tensors"):
            read_state_dict(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "c.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        read_state_dict(tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match="holds no weights; looked for"):
        (tmp_path / "empty").mkdir()
        read_state_dict(tmp_path / "empty")


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(share=st.floats(0, 0.999), kind=st.sampled_from(["zip", "legacy", "safetensors"]))
def test_a_file_cut_anywhere_is_refused(tmp_path, state, share, kind):
    path = tmp_path / "cut"
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match="cut"):
        read_state_dict(path)


def test_report_of_a_partial_load(tmp_path, state):
    state = {**state, "old.head.weight": torch.zeros(2), "criterion.empty_weight": torch.ones(134)}
    del state["body.1.bias"]
    state["body.1.weight"] = torch.zeros(7, 7)
    torch.save(state, tmp_path / "w.pt")
    net = Net()
    untouched = net.body[1].weight.clone()
    report = load_weights(net, tmp_path / "w.pt")
    assert report.loaded == ["body.0.weight", "body.0.bias"]
    assert report.missing == ["body.1.bias"] and report.unexpected == ["old.head.weight"]
    assert torch.equal(net.body[0].weight, state["body.0.weight"]) and torch.equal(net.body[1].weight, untouched)
    text = report.text()
    assert "loaded 2 of 5 tensors" in text and "body.1: 1 (body.1.bias)" in text and "old.head: 1" in text
    assert "body.1.weight [7, 7] in the file, [2, 5] in the network" in text
    assert "criterion.empty_weight [134] in the file, [4] in the network: follows from your own categories" in text
    with pytest.raises(CheckpointError, match="do not fit exactly"):
        load_weights(net, tmp_path / "w.pt", strict=True)


def test_strict_load_of_an_exact_file(tmp_path, state):
    torch.save(state, tmp_path / "w.pt")
    net = Net()
    report = load_weights(net, tmp_path / "w.pt", strict=True)
    assert report.complete and report.text() == f"loaded 5 of 5 tensors from {tmp_path / 'w.pt'}"
    assert equal(net.state_dict(), state)


def test_weights_of_another_architecture_are_refused(tmp_path, state):
    foreign = {"image_encoder.weight": torch.zeros(3), "criterion.empty_weight": torch.ones(4)}
    torch.save(foreign, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"another architecture.*image_encoder.weight.*body.0.bias"):
        load_weights(Net(), tmp_path / "w.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value):
    model = nn.Linear(2, 2)
    state = {"weight": torch.tensor([[1.0, value], [0.0, 0.0]]), "bias": torch.zeros(2)}
    before = model.weight.clone()
    with pytest.raises(CheckpointError, match=r"run/m\.pt: 1 of 2 parameters hold inf or nan, e\.g\. weight"):
        load_state(model, state, source="run/m.pt")
    assert torch.equal(model.weight, before)


def test_published_weights_load_around_new_lora_updates(state):
    net = Net()
    apply_lora(net, ["body.0"], rank=2)
    report = load_state(net, state, source="here")
    assert len(report.loaded) == 5 and sorted(report.new) == ["body.0.lora_down", "body.0.lora_up"]
    assert "2 new adapter and LoRA tensors" in report.text()


def test_names_are_translated_by_the_network(state):
    net = Net()
    net.key_map = lambda name: name.replace("trunk", "body")
    report = load_state(net, {name.replace("body", "trunk"): t for name, t in state.items()}, source="here")
    assert report.complete


def test_bare_names_are_looked_for_in_the_pretrained_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as error:
        find_weights("seem_focall_v1.pt")
    assert f"{tmp_path}/datasets/xdecoder_data/pretrained" in str(error.value)
    assert "https://huggingface.co/xdecoder/SEEM/resolve/main/seem_focall_v1.pt" in str(error.value)
    assert "focalt" not in str(error.value)
    folder = tmp_path / "datasets/xdecoder_data/pretrained"
    folder.mkdir(parents=True)
    (folder / "seem_focall_v1.pt").touch()
    assert find_weights("seem_focall_v1.pt") == folder / "seem_focall_v1.pt"
    (tmp_path / "seem_focall_v1.pt").touch()
    assert find_weights("seem_focall_v1.pt").resolve() == tmp_path / "seem_focall_v1.pt"


def test_wrong_paths_name_the_closest_file(tmp_path):
    (tmp_path / "weights_v2.pt").touch()
    with pytest.raises(CheckpointError, match=r"weights_v1.pt'.*did you mean 'weights_v2.pt'"):
        find_weights(str(tmp_path / "weights_v1.pt"))
    with pytest.raises(CheckpointError, match="RESUME_FROM is empty"):
        find_weights("")
    with pytest.raises(CheckpointError, match=r"(?s)'sam_vit_b_01ec64.pth'.*set MODEL.BACKBONE.PRETRAINED"):
        find_weights("sam_vit_b_01.pth", "MODEL.BACKBONE.PRETRAINED")


def test_key_maps_of_parts_translate_the_names_below_them(tmp_path):
    net = nn.ModuleDict({"trunk": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    net["trunk"].key_map = lambda name: name.replace("kernel", "weight")
    state = {"trunk.kernel": torch.ones(2, 2), "trunk.bias": torch.ones(2), "head.kernel": torch.ones(2, 2)}
    report = load_state(net, state, source="file")
    assert report.loaded == ["trunk.weight", "trunk.bias"] and report.unexpected == ["head.kernel"]
    assert torch.equal(net["trunk"].weight, torch.ones(2, 2))
