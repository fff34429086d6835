"""What every architecture must do is little; what only some can do is asked for by isinstance."""

import ast
import inspect
from pathlib import Path

import pytest
import torch

from segfoundry.modeling import base
from segfoundry.modeling.base import MetaArch
from segfoundry.modeling.build_model import build_model, meta_arch
from segfoundry.modeling.exportable import Exportable
from segfoundry.modeling.finetune import is_frozen
from segfoundry.modeling.promptable import Promptable, TakesReferences, prompt_kinds
from segfoundry.modeling.seem.config import tiny
from segfoundry.modeling.weights.layouts import PublishedLayout, TransformersLayout
from segfoundry.trainer.run_folder.checkpoints import write_weights
from segfoundry.trainer.weights.convert_weights import convert_weights
from segfoundry.utils.config.dump import dump
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.errors import UserError
from segfoundry.utils.prompts import Point

from ...support.pointer import Pointer, picture, predictor
from ...support.tiny_sam import model
from ...support.toy import Toy

CAPABILITIES = (Promptable, TakesReferences, Exportable, PublishedLayout, TransformersLayout)


def test_an_architecture_must_do_four_things():
    assert MetaArch.__abstractmethods__ == {"from_config", "losses", "predict", "train_policy"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("seem", {Promptable, TakesReferences, Exportable}),
        ("sam", {Promptable, PublishedLayout, TransformersLayout}),
    ],
)
def test_an_architecture_extends_what_it_can_do(name, expected):
    assert {c for c in CAPABILITIES if issubclass(meta_arch(name), c)} == expected


def test_the_interfaces_share_no_method_and_raise_nothing():
    classes = [MetaArch, *CAPABILITIES]
    methods = [
        {n for n, _ in inspect.getmembers(c, inspect.isfunction) if n in vars(c)} - {"__init__"} for c in classes
    ]
    assert sum(map(len, methods)) == len(set.union(*methods))
    for path in Path(base.__file__).parent.glob("*.py"):
        raised = [ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Raise)]
        assert not [text for text in raised if "NotImplementedError" in text], path


def test_a_network_without_a_capability_has_no_part_of_it():
    toy = Toy()
    assert prompt_kinds(toy) == frozenset()
    assert not any(
        hasattr(toy, name) for name in ("encode", "prompted", "inference_graph", "everything", "check_plain")
    )
    assert toy.tasks == ("instance", "panoptic", "semantic")


def test_prompt_kinds_are_those_of_the_instance():
    assert prompt_kinds(Pointer()) == {"stroke", "text"} and prompt_kinds(Pointer(())) == frozenset()


def test_a_network_without_references_says_so_when_an_example_is_shown():
    session = predictor().interactive(picture())
    with pytest.raises(UserError, match="takes no objects shown on other images as prompts; it understands points"):
        session.example(Point(12, 24))


def test_a_network_without_a_class_in_transformers_says_so(tmp_path):
    resolved = load_mapping(tiny())
    weights = tmp_path / "model.safetensors"
    write_weights(weights, build_model(resolved.cfg, []).state_dict(), {"config": dump(resolved), "categories": []})
    with pytest.raises(UserError, match="Seem has no class in transformers; convert --to published or segfoundry"):
        convert_weights(str(weights), tmp_path / "out", layout="transformers")
    assert not (tmp_path / "out").exists()


def test_a_module_is_frozen_when_nothing_in_it_trains():
    module = torch.nn.Linear(2, 2)
    assert not is_frozen(module)
    module.weight.requires_grad_(False)
    assert not is_frozen(module)
    assert is_frozen(module.requires_grad_(False))


def test_the_task_of_sam_answers_for_the_network():
    dlo, promptable = model(SAM__TASK="dlo"), model(SAM__TASK="promptable")
    for network, kinds, parts in (
        (dlo, {"foreground"}, ["image_encoder", "mask_decoder"]),
        (promptable, set(), ["image_encoder"]),
    ):
        assert network.task.result_kinds == kinds and network.result_kinds == kinds | {"everything"}
        assert [id(part) for part in network.compile_parts()] == [id(network.get_submodule(name)) for name in parts]
    assert dlo.tasks == ("foreground",) and promptable.tasks == ("everything",)
