import pytest
import torch
from torch import nn

from segfoundry.modeling.finetune import OptimRules, apply_policy, param_groups, param_table, parameter_kinds
from segfoundry.modeling.layers.adapters import BottleneckAdapter
from segfoundry.modeling.layers.attention import MultiheadAttention
from segfoundry.modeling.layers.lora import apply_lora
from segfoundry.modeling.seem.backbones.focalnet import FocalNet
from segfoundry.modeling.seem.tuning import PARTS, Objective, PolicySettings, seem_policy
from segfoundry.utils.errors import ConfigError

FREEZE = ("backbone", "lang_encoder", "pixel_decoder")


class Net(nn.Module):
    """SEEM's parts and names, with next to nothing inside."""

    parts = PARTS

    def __init__(self, backbone_adapter=None, decoder_adapters=False, depthwise=False):
        super().__init__()
        sizes = {"embed_dim": 8, "depths": (1, 1), "focal_levels": (1, 1), "focal_windows": (3, 3)}
        self.backbone = FocalNet(**sizes, out_indices=(0, 1), depthwise=depthwise, adapter=backbone_adapter)
        self.sem_seg_head = nn.Module()
        self.sem_seg_head.pixel_decoder = nn.Sequential(nn.Conv2d(8, 32, 1), nn.GroupNorm(32, 32))
        self.sem_seg_head.predictor = predictor = nn.Module()
        predictor.attn = MultiheadAttention(8, 2)
        predictor.query_feat = nn.Embedding(3, 8)
        predictor.decoder_norm = nn.LayerNorm(8)
        predictor.pn_indicator = nn.Embedding(2, 8)
        predictor.mask_sptial_embed = nn.ParameterList([nn.Parameter(torch.zeros(8, 8))])
        predictor.lang_encoder = nn.Sequential(nn.Embedding(5, 8), nn.LayerNorm(8, eps=1e-12))
        if decoder_adapters:
            predictor.transformer_ffn_layers_adapters = nn.ModuleList([BottleneckAdapter(8)])


def trainable(net, **settings):
    policy = seem_policy(net, PolicySettings(**settings))
    apply_policy(net, policy)
    assert {n for n, p in net.named_parameters() if p.requires_grad} == set(policy.rules)
    return set(policy.rules)


def named(net, part="", kind=None):
    kinds = parameter_kinds(net)
    return {n for n in kinds if n.startswith(PARTS.get(part, part)) and kind in (None, kinds[n])}


def decoder(net):
    return named(net, "predictor", "base") - named(net, "lang_encoder")


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("backbone_adapter", [None, "light", "dense"])
@pytest.mark.parametrize("decoder_adapters", [False, True])
def test_strategies_for_every_backbone(depthwise, backbone_adapter, decoder_adapters):
    net = Net(backbone_adapter, decoder_adapters, depthwise)
    found = trainable(
        net, fix_param=FREEZE, backbone_adapters=backbone_adapter is not None, decoder_adapters=decoder_adapters
    )
    expected = named(net, "backbone", "adapter")
    expected |= named(net, "predictor", "adapter") if decoder_adapters else decoder(net)
    assert found == expected


def test_adapters_in_an_unfrozen_backbone_still_train_alone():
    net = Net("light")
    found = trainable(net, fix_param=("lang_encoder",), backbone_adapters=True)
    assert found & named(net, "backbone") == named(net, "backbone", "adapter")


def test_everything_trains_when_nothing_is_frozen():
    net = Net()
    assert trainable(net) == named(net)


def test_a_task_that_is_off_is_frozen_whatever_else_is_said():
    net = Net()
    off = {n for n in named(net) if "pn_indicator" in n or "mask_sptial_embed" in n}
    assert len(off) == 2
    objective = Objective(spatial=False, memory=False)
    assert trainable(net, objective=objective, ignore_fix=("pn_indicator",)) == named(net) - off


def test_ignore_fix_exempts_from_freezing():
    net = Net()
    found = trainable(net, fix_param=FREEZE, ignore_fix=("backbone.norm",))
    assert found - decoder(net) == {n for n in named(net) if n.startswith("backbone.norm")}


def test_lora_freezes_the_base_of_its_part_only():
    net = Net()
    apply_lora(net, ["backbone.*.mlp.fc*"], rank=2)
    found = trainable(net, fix_param=("lang_encoder", "pixel_decoder"))
    assert found == named(net, "backbone", "lora") | decoder(net)
    assert len(named(net, "backbone", "lora")) == 8
    net = Net()
    apply_lora(net, ["sem_seg_head.predictor.attn"], rank=2)
    assert trainable(net, fix_param=FREEZE) == named(net, "predictor", "lora")


def test_learning_rate_and_decay_follow_name_and_module():
    optim = OptimRules(0.05, 0.01, 0.02, 0.03, {"backbone": 0.1, "norm": 0.5})
    rules = seem_policy(Net(), PolicySettings(optim=optim)).rules
    found = {n: (r.lr_multiplier, r.weight_decay) for n, r in rules.items()}
    assert found["backbone.norm0.bias"] == pytest.approx((0.05, 0.01))
    assert found["backbone.layers.0.blocks.0.mlp.fc1.weight"] == (0.1, 0.05)
    assert found["backbone.layers.0.blocks.0.mlp.fc1.bias"] == (0.1, 0.03)
    assert found["sem_seg_head.predictor.attn.in_proj_bias"] == (1.0, 0.03)
    assert found["sem_seg_head.predictor.query_feat.weight"] == (1.0, 0.02)
    assert found["sem_seg_head.predictor.lang_encoder.1.weight"] == (1.0, 0.01)
    assert found["sem_seg_head.pixel_decoder.1.weight"] == (1.0, 0.01)


def test_groups_are_merged_and_hold_each_trainable_parameter_once():
    net = Net("light", True)
    policy = seem_policy(net, PolicySettings(fix_param=FREEZE, backbone_adapters=True))
    with pytest.raises(AssertionError, match="apply_policy"):
        param_groups(net, policy, 1e-3)
    apply_policy(net, policy)
    groups = param_groups(net, policy, 1e-3)
    hyper = [(g["lr"], g["weight_decay"]) for g in groups]
    assert len(hyper) == len(set(hyper)) == 2
    parameters = dict(net.named_parameters())
    assert sorted(n for g in groups for n in g["names"]) == sorted(policy.rules)
    for group in groups:
        assert all(parameters[n] is p for n, p in zip(group["names"], group["params"], strict=True))


def test_table_counts_add_up():
    net = Net("light", True)
    settings = PolicySettings(
        optim=OptimRules(lr_multiplier={"backbone": 0.1}), fix_param=FREEZE, backbone_adapters=True
    )
    header, *rows = param_table(net, seem_policy(net, settings), 1e-2).splitlines()
    assert header.split()[:5] == ["module", "total", "trainable", "frozen", "adapters"]
    cells = {row.split()[0]: row.replace(",", "").split()[1:] for row in rows}
    assert list(cells) == ["backbone", "pixel_decoder", "predictor", "lang_encoder", "criterion", "all"]
    for column in range(4):
        assert sum(int(cells[part][column]) for part in PARTS) == int(cells["all"][column])
    for row in cells.values():
        assert int(row[0]) == int(row[1]) + int(row[2])
    assert cells["backbone"][1] == cells["backbone"][3] != "0"
    assert cells["backbone"][4] == "0.001" and cells["predictor"][4] == "0.01"
    assert cells["pixel_decoder"][4:] == cells["criterion"][4:] == ["-", "-"]


def test_runs_that_could_not_learn_are_refused():
    with pytest.raises(ConfigError, match="nothing trains"):
        trainable(Net(), fix_param=("",))
    with pytest.raises(ConfigError, match="adopter_layer is enabled but none of its weights trains"):
        trainable(Net("light"), fix_param=("adopter_layer",), backbone_adapters=True)
    policy = seem_policy(Net(), PolicySettings())
    policy.rules["no.such.parameter"] = policy.rules["backbone.norm0.bias"]
    with pytest.raises(ValueError, match="no.such.parameter"):
        apply_policy(Net(), policy)
