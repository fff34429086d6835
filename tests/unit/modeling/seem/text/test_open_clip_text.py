"""open_clip text towers: the tower's own numbers, any tokenizer's form of ids, freezing, weight files, bad names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

open_clip = pytest.importorskip("open_clip")

from segfoundry.datasets.stream.collate import collate  # noqa: E402
from segfoundry.modeling.build_model import build_model  # noqa: E402
from segfoundry.modeling.seem.config import tiny  # noqa: E402
from segfoundry.modeling.seem.text.class_embeddings import ClassEmbeddings  # noqa: E402
from segfoundry.modeling.seem.text.open_clip_text import build_open_clip  # noqa: E402
from segfoundry.modeling.seem.text.open_clip_tokenizer import IdLayout  # noqa: E402
from segfoundry.modeling.seem.text.tokenizer import lengths  # noqa: E402
from segfoundry.utils.class_names.text_templates import evaluation_prompts  # noqa: E402
from segfoundry.utils.config.engine import load_mapping  # noqa: E402
from segfoundry.utils.errors import CheckpointError, ConfigError  # noqa: E402
from segfoundry.utils.structures.category import Category  # noqa: E402
from segfoundry.utils.structures.requests import Request  # noqa: E402
from segfoundry.utils.structures.samples import Sample  # noqa: E402

TEXTS = ["a dog", "a very small photo of the red car", "", "one two three four five six seven eight nine ten eleven"]
TEXT = {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
VISION = {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16}
VARIANTS: dict[str, dict[str, Any]] = {
    "clip": {},
    "no_projection": {"proj_type": "none"},
    "linear_bias": {"proj_bias": True},
    "bidirectional": {"no_causal_mask": True},
    "bidirectional_last": {"no_causal_mask": True, "pool_type": "last"},
    "coca": {"embed_cls": True, "context_length": 11},
}


def describe(folder: Path, **text: Any) -> str:
    """Writes a model description; returns its name."""
    config = {"embed_dim": 16 if text.get("proj_type") == "none" else 24, "vision_cfg": VISION, "text_cfg": TEXT | text}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    return f"local-dir:{folder}"


@pytest.fixture
def random_seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_text_embeddings_are_the_towers_own_projected(tmp_path: Path, variant: str, random_seed: None) -> None:
    name = describe(tmp_path, **VARIANTS[variant])
    encoder, tokenizer = build_open_clip(name, "", 20, download=False)
    native = open_clip.get_tokenizer(name)(TEXTS)
    expected = encoder.eval().lang_encoder(native)[0] @ encoder.lang_proj
    ids = tokenizer(TEXTS)
    tokens, texts = encoder(ids)
    torch.testing.assert_close(texts, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(encoder.embed(ids), expected, atol=1e-5, rtol=1e-4)
    assert tokens.shape == (4, ids.shape[1], 20)
    assert encoder.causal == (variant in ("clip", "no_projection", "linear_bias"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_columns_behind_the_longest_text_change_nothing(tmp_path: Path, variant: str, random_seed: None) -> None:
    encoder, tokenizer = build_open_clip(describe(tmp_path, **VARIANTS[variant]), "", 20, download=False)
    ids = tokenizer(TEXTS[:2])
    length = int(lengths(ids).max())
    assert length < ids.shape[1]
    (tokens, texts), (cut_tokens, cut_texts) = encoder.eval()(ids), encoder(ids[:, :length])
    torch.testing.assert_close(cut_texts, texts, atol=1e-5, rtol=1e-4)
    for row, count in enumerate(lengths(ids).tolist()):
        torch.testing.assert_close(cut_tokens[row, :count], tokens[row, :count], atol=1e-5, rtol=1e-4)


def test_tokens_of_a_causal_tower_end_in_the_text_embedding(tmp_path: Path) -> None:
    encoder, tokenizer = build_open_clip(describe(tmp_path), "", 20, download=False)
    ids = tokenizer(TEXTS)
    tokens, texts = encoder(ids)
    torch.testing.assert_close(tokens[torch.arange(4), lengths(ids) - 1], texts)


def test_class_embeddings_run_on_it(tmp_path: Path) -> None:
    encoder, tokenizer = build_open_clip(describe(tmp_path), "", 20, download=False)
    embeddings = ClassEmbeddings(encoder.eval().requires_grad_(False), tokenizer)
    found = embeddings.evaluation(["dog", "road"])
    assert found.shape == (2, 20) and torch.allclose(found.norm(dim=1), torch.ones(2))
    mean = embeddings.encode(evaluation_prompts("road")).mean(dim=0)
    torch.testing.assert_close(found[1], mean / mean.norm(), atol=1e-5, rtol=1e-4)
    assert encoder.similarity(torch.randn(1, 3, 20), found).shape == (1, 3, 2)


def test_a_tuned_tower_gets_gradients(tmp_path: Path) -> None:
    encoder, tokenizer = build_open_clip(describe(tmp_path), "", 20, download=False)
    ClassEmbeddings(encoder, tokenizer, "plain").encode(["dog", "cat"]).square().sum().sub(
        encoder.lang_proj.sum()
    ).backward()
    assert encoder.lang_proj.grad is not None and encoder.lang_encoder.token_embedding.weight.grad is not None


def test_frozen_projection_keeps_angles(tmp_path: Path) -> None:
    encoder, _ = build_open_clip(describe(tmp_path), "", 32, download=False)
    torch.testing.assert_close(encoder.lang_proj @ encoder.lang_proj.T, torch.eye(24), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("custom", [False, True])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_of_whole_models_give_their_text_tower(tmp_path: Path, custom: bool, suffix: str) -> None:
    name = describe(tmp_path)
    whole = open_clip.create_model(name, pretrained=None, load_weights=False, force_custom_text=custom).eval()
    with torch.no_grad():
        whole.logit_scale.fill_(3.5)
    file = tmp_path / f"weights{suffix}"
    state = {key: value.contiguous() for key, value in whole.state_dict().items()}
    save_file(state, file) if suffix == ".safetensors" else torch.save({"state_dict": state}, file)
    encoder, tokenizer = build_open_clip(name, str(file), 24, download=False)
    expected = whole.encode_text(open_clip.get_tokenizer(name)(TEXTS)) @ encoder.lang_proj
    torch.testing.assert_close(encoder(tokenizer(TEXTS))[1], expected, atol=1e-5, rtol=1e-4)
    assert encoder.logit_scale.item() == 3.5


def test_a_weight_file_of_another_model_is_refused(tmp_path: Path) -> None:
    name = describe(tmp_path)
    encoder, _ = build_open_clip(name, "", 24, download=False)
    save_file(
        {f"text.{k}": v.contiguous() for k, v in encoder.lang_encoder.state_dict().items()}, tmp_path / "w.safetensors"
    )
    other = describe(tmp_path, width=32)
    with pytest.raises(CheckpointError, match="no text tower of this model.*PRETRAINED"):
        build_open_clip(other, str(tmp_path / "w.safetensors"), 24, download=False)


@pytest.mark.parametrize(
    ("name", "pretrained", "found"),
    [
        ("", "", "needs MODEL.TEXT.OPEN_CLIP.NAME"),
        ("ViT-B-23", "", "did you mean 'ViT-B-32'"),
        ("hf-hub:some/model", "", "local-dir:FOLDER"),
        ("local-dir:/nowhere", "", "/nowhere"),
        ("roberta-ViT-B-32", "", "not on this machine.*DOWNLOAD"),
        ("ViT-B-16-SigLIP", "", "not on this machine.*DOWNLOAD"),
    ],
)  # fmt: skip
def test_names_that_cannot_be_built_say_why(
    name: str, pretrained: str, found: str, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=found):
        build_open_clip(name, pretrained, 16, download=False)


def test_tags_are_fetched_only_when_asked(tmp_path: Path, monkeypatch) -> None:
    import segfoundry.modeling.seem.text.open_clip_text as module

    with pytest.raises(ConfigError, match="neither a file nor a tag.*laion2b_s34b_b79k"):
        module._weight_file("ViT-B-32", "laion3b", False)
    with pytest.raises(ConfigError, match="would be downloaded.*DOWNLOAD True"):
        module._weight_file("ViT-B-32", "laion2b_s34b_b79k", False)
    monkeypatch.setattr(open_clip, "download_pretrained", lambda cfg: str(tmp_path / cfg["hf_hub"].split("/")[1]))
    assert module._weight_file("ViT-B-32", "laion2b_s34b_b79k", True).parent == tmp_path


@pytest.mark.parametrize(
    "rows",
    [
        [[1, 5, 2, 0, 0, 0], [1, 6, 2, 0, 0, 0], [1, 5, 6, 7, 8, 2]],  # an end token, then padding
        [[5, 1, 1, 1, 1, 1], [6, 1, 1, 1, 1, 1], [5, 6, 7, 8, 9, 1]],  # the end token pads
        [[1, 5, 0, 0, 0, 0], [1, 6, 0, 0, 0, 0], [1, 5, 6, 7, 8, 0]],  # the end token was turned into padding
        [[1, 5, 2, 0, 0, 9], [1, 6, 2, 0, 0, 9], [1, 5, 6, 7, 2, 9]],  # a class token in the last place
    ],
)
def test_id_forms_of_all_tokenizers_translate_back_and_forth(rows: list[list[int]]) -> None:
    native = torch.tensor(rows)
    layout = IdLayout.probe(native[0], native[1], 10)
    ours = layout.ours(native)
    assert torch.equal(layout.native(ours), native)
    assert torch.equal(layout.native(layout.fill(ours[:2, : int(lengths(ours[:2]).max())])), native[:2])
    assert (ours[:2].sort(dim=1).values == ours[:2]).all() and (ours[:, -1] == 10).all()


def test_a_wrapped_transformer_with_its_own_tokenizer(tmp_path: Path, random_seed: None) -> None:
    transformers = pytest.importorskip("transformers")
    letters = [chr(ord("a") + i) for i in range(26)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters)]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary))
    transformers.BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    transformers.BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    ).save_pretrained(tmp_path)
    wrapped = {"hf_model_name": str(tmp_path), "hf_tokenizer_name": str(tmp_path), "hf_proj_type": "mlp"}
    for pooler in ("mean_pooler", "cls_pooler"):
        name = describe(tmp_path, hf_pooler_type=pooler, **wrapped)
        encoder, tokenizer = build_open_clip(name, "", 20, download=False)
        native = open_clip.get_tokenizer(name)(TEXTS)
        expected = encoder.eval().lang_encoder(native)[0] @ encoder.lang_proj
        ids = tokenizer(TEXTS)
        assert torch.equal(encoder.layout.native(ids), native)
        tokens, texts = encoder(ids[:, : int(lengths(ids).max())])
        torch.testing.assert_close(texts, expected, atol=1e-5, rtol=1e-4)
        assert tokens.shape == (4, int(lengths(ids).max()), 20)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_whole_model_with_the_tower_frozen_or_tuned(tmp_path: Path, frozen: bool) -> None:
    values = {
        **tiny(),
        "MODEL.ENCODER.NUM_CLASSES": 2,
        "MODEL.TEXT.ARCH": "open_clip",
        "MODEL.TEXT.OPEN_CLIP.NAME": describe(tmp_path),
        "SOLVER.FIX_PARAM": {"lang_encoder": frozen},
    }
    categories = [Category(1, "sky", False, (0, 0, 255)), Category(2, "cup", True, (255, 0, 0))]
    model = build_model(load_mapping(values).cfg, categories).eval()
    prefix = "sem_seg_head.predictor.lang_encoder."
    trained = {name for name in model.train_policy().rules if name.startswith(prefix)}
    assert trained == (set() if frozen else {name for name, _ in model.named_parameters() if name.startswith(prefix)})
    sample = Sample(np.zeros((64, 64, 3), np.uint8), 1, 0, "", (64, 64))
    (prediction,) = model(collate([sample]), request=Request(tasks=("semantic",)))
    assert prediction.semantic is not None and prediction.semantic.shape == (64, 64)
