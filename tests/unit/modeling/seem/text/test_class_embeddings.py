"""Prompts and the cache of class embeddings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from segfoundry.modeling.seem.text.class_embeddings import ClassEmbeddings
from segfoundry.modeling.seem.text.text_towers import LanguageEncoder, normalize
from segfoundry.utils.array_cache import ArrayCache
from segfoundry.utils.class_names.text_templates import TEMPLATES, evaluation_prompts, training_prompt
from segfoundry.utils.draws import Draws

from .....support.standin_tokenizer import StandInTokenizer

NAMES = ["tree-merged", "light mold", "void", "background"]


class CountingEncoder(LanguageEncoder):
    """Counts how often the tower runs."""

    calls = 0

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        return super().forward(ids)

    def embed(self, ids: Tensor) -> Tensor:
        self.calls += 1
        return super().embed(ids)


def make(
    prompt: str = "templates", frozen: bool = True, disk: ArrayCache | None = None, seed: int = 0
) -> ClassEmbeddings:
    torch.manual_seed(seed)
    encoder = CountingEncoder(97, 20, 16, 2, 4, 12).eval().requires_grad_(not frozen)
    return ClassEmbeddings(encoder, StandInTokenizer(97, 20), prompt, disk)


def test_templates_are_the_published_set() -> None:
    assert len(TEMPLATES) == len(set(TEMPLATES)) == 81
    assert all(template.count("{}") == 1 and template.endswith(".") for template in TEMPLATES)
    assert {"{}.", "itap of my {}.", "a origami {}.", "the {} in a video game."} <= set(TEMPLATES)


def test_names_lose_coco_suffixes_and_training_prompts_also_commas_and_plus() -> None:
    assert training_prompt("wall-other-merged", 0) == "wall."
    assert training_prompt("cup, mug+plate", 1) == "a photo of a cup mug plate."
    assert evaluation_prompts("food-other")[:2] == ["food.", "a photo of a food."]
    assert evaluation_prompts("cup, mug")[0] == "cup, mug."


def test_templates_vary_between_steps_but_each_text_runs_once() -> None:
    embeddings = make()
    steps = [embeddings.training(NAMES, Draws(0, step)) for step in range(5)]
    assert any(not torch.equal(steps[0], other) for other in steps[1:])
    calls = embeddings.encoder.calls
    again = [embeddings.training(NAMES, Draws(0, step)) for step in range(5)]
    assert embeddings.encoder.calls == calls
    assert all(torch.equal(a, b) for a, b in zip(steps, again, strict=True))


def test_training_reuses_what_evaluation_computed() -> None:
    embeddings = make()
    embeddings.evaluation(NAMES)
    calls = embeddings.encoder.calls
    embeddings.training(NAMES, Draws(0, 7))
    embeddings.evaluation(NAMES[::-1])
    assert embeddings.encoder.calls == calls


def test_embedding_does_not_depend_on_the_other_texts() -> None:
    texts = [f"a photo of number {i}" for i in range(37)]
    together = make().encode(texts)
    one_by_one = make()
    assert torch.equal(together, torch.cat([one_by_one.encode([text]) for text in reversed(texts)]).flip(0))


def test_evaluation_is_the_normalised_mean_over_templates() -> None:
    embeddings = make()
    found = embeddings.evaluation(["void"])[0]
    mean = embeddings.encode(evaluation_prompts("void")).mean(dim=0)
    torch.testing.assert_close(found, mean / mean.norm())


def test_plain_prompt_is_the_bare_name_in_training_and_evaluation() -> None:
    embeddings = make("plain")
    training, evaluation = embeddings.training(NAMES, Draws(0, 0)), embeddings.evaluation(NAMES)
    assert torch.equal(training, evaluation)
    ids = embeddings.tokenizer(NAMES)
    torch.testing.assert_close(evaluation, normalize(embeddings.encoder(ids)[1]), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("change", ["load", "step", "move"])
def test_cache_forgets_when_the_weights_change(change: str) -> None:
    embeddings = make()
    before = embeddings.evaluation(NAMES)
    if change == "load":
        state = {name: value + 0.1 for name, value in embeddings.encoder.state_dict().items()}
        embeddings.encoder.load_state_dict(state)
    elif change == "step":
        with torch.no_grad():
            embeddings.encoder.lang_proj.mul_(torch.linspace(0.5, 2, 12))
    else:
        embeddings.encoder.double()
    calls = embeddings.encoder.calls
    after = embeddings.evaluation(NAMES)
    assert embeddings.encoder.calls > calls
    assert change == "move" or not torch.allclose(before, after)


def test_trainable_encoder_gets_gradients_every_step_and_evaluation_follows_it() -> None:
    embeddings = make(frozen=False)
    before = embeddings.evaluation(NAMES)
    optimizer = torch.optim.SGD(embeddings.encoder.parameters(), lr=1.0)
    embeddings.training(NAMES, Draws(0, 0))[0, 0].backward()
    assert embeddings.encoder.lang_encoder.token_embedding.weight.grad.abs().sum() > 0
    optimizer.step()
    assert not torch.equal(before, embeddings.evaluation(NAMES))


def test_scale_of_the_logits_alone_may_train_without_running_the_tower() -> None:
    embeddings = make()
    embeddings.encoder.logit_scale.requires_grad_(True)
    assert not embeddings.training(NAMES, Draws(0, 0)).requires_grad


def test_cache_is_full_precision_under_autocast() -> None:
    expected = make().encode(NAMES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(make().encode(NAMES), expected)


def test_prompts_computed_together_equal_those_computed_alone() -> None:
    embeddings = make()
    prompts = evaluation_prompts("hot air balloon")
    ids = embeddings.tokenizer(prompts)
    torch.testing.assert_close(embeddings.encoder.embed(ids), embeddings.encoder(ids)[1], atol=1e-6, rtol=1e-5)
    encoder = LanguageEncoder(97, 20, 16, 2, 4, 12, causal=False).eval()
    torch.testing.assert_close(encoder.embed(ids), encoder(ids)[1], atol=1e-6, rtol=1e-5)


def test_a_later_run_reads_what_an_earlier_one_computed(tmp_path: Path) -> None:
    first, second = make(disk=ArrayCache(tmp_path)), make(disk=ArrayCache(tmp_path))
    trained, evaluated = first.training(NAMES, Draws(0, 3)), first.evaluation(NAMES)
    assert torch.equal(second.evaluation(NAMES[::-1]).flip(0), evaluated)
    assert torch.equal(second.training(NAMES, Draws(0, 3)), trained)
    assert first.encoder.calls == len(NAMES) and second.encoder.calls == 0
    plain = make()
    assert torch.equal(plain.training(NAMES, Draws(0, 3)), trained), "the cache must not change the numbers"
    assert torch.equal(plain.evaluation(NAMES), evaluated)


@pytest.mark.parametrize("other", ["weights", "structure", "dtype"])
def test_embeddings_on_disk_belong_to_one_encoder(tmp_path: Path, other: str) -> None:
    make(disk=ArrayCache(tmp_path)).evaluation(NAMES)
    second = make(disk=ArrayCache(tmp_path), seed=int(other == "weights"))
    if other == "structure":
        second.encoder.structure += "!"
    elif other == "dtype":
        second.encoder.double()
    second.evaluation(NAMES)
    assert second.encoder.calls == len(NAMES)


def test_damaged_embeddings_are_computed_again(tmp_path: Path) -> None:
    expected = make(disk=ArrayCache(tmp_path)).evaluation(NAMES)
    for file in tmp_path.glob("*.array"):
        file.write_bytes(file.read_bytes()[:-7])
    again, third = make(disk=ArrayCache(tmp_path)), make(disk=ArrayCache(tmp_path))
    assert torch.equal(again.evaluation(NAMES), expected)
    assert torch.equal(third.evaluation(NAMES), expected) and third.encoder.calls == 0


def test_nothing_goes_to_disk_while_the_encoder_trains(tmp_path: Path) -> None:
    embeddings = make(frozen=False, disk=ArrayCache(tmp_path))
    embeddings.training(NAMES, Draws(0, 0))
    embeddings.evaluation(NAMES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("prompt", "names", "expected"),
    [
        ("templates", ["Cup", "cup", "ball"], ["'Cup' and 'cup'"]),
        ("templates", ["tree-merged", "tree", "ball"], ["'tree-merged' and 'tree'"]),
        ("plain", ["tree-merged", "tree", "ball"], []),
        ("templates", ["red " * 20 + "cup", "red " * 20 + "ball"], ["red cup' and 'red"]),
        ("templates", ["cup", "cups"], []),
    ],
)
def test_names_of_the_same_ids_are_told_once(prompt, names, expected, caplog) -> None:
    caplog.set_level("WARNING", logger="segfoundry")
    embeddings = make(prompt)
    for _ in range(2):
        embeddings.check_names(names)
    embeddings.check_names([*names, "dog"])
    found = [r.getMessage() for r in caplog.records if "same text" in r.getMessage()]
    assert len(found) == len(expected) and all(part in text for part, text in zip(expected, found, strict=True))
