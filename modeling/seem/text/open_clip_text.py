"""Text towers of open_clip as language encoder: built alone, without the image tower, from the model's name.

Letters in shapes: N texts, L tokens, W width of the tower, E width of its own embedding, P width of the joint space.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import _build_text_tower
from torch import Tensor, nn

from ....utils.errors import CheckpointError, ConfigError, did_you_mean
from ....utils.paths import user_path
from ...weights.weight_files import read_state_dict
from .open_clip_tokenizer import IdLayout, OpenClipTokenizer
from .prefix_tree import prefix_tree
from .text_towers import TextEncoder
from .tokenizer import Tokenizer, lengths

_KEY = "MODEL.TEXT.OPEN_CLIP"
_INITIAL_SCALE = math.log(1 / 0.07)  # CLIP (arXiv 2103.00020), section 2.5
# Where whole models keep the parts of a text tower that is not a module of its own.
_UNWRAPPED = ("transformer.", "token_embedding.", "ln_final.", "positional_embedding", "text_projection", "cls_emb")


class OpenClipEncoder(TextEncoder):
    """An open_clip text tower and a linear map of its embeddings into the joint space.

    The tower's own projection is applied to every token, so that tokens and texts live in the space the tower was
    trained for. ``lang_proj`` starts orthogonal: frozen, it keeps the angles between texts as far as P allows.

    Args:
        tower: ``TextTransformer`` or ``HFTextEncoder`` of open_clip.
        embed_dim: E.
        dim_proj: P.
        layout: form of the tokenizer's ids.
        structure: description of the tower.
    """

    def __init__(self, tower: nn.Module, embed_dim: int, dim_proj: int, layout: IdLayout, structure: str) -> None:
        super().__init__()
        self.structure = structure
        self.layout = layout
        self.lang_encoder = tower
        self.lang_proj = nn.Parameter(nn.init.orthogonal_(torch.empty(embed_dim, dim_proj)))
        self.logit_scale = nn.Parameter(torch.tensor(_INITIAL_SCALE))
        mask, pool = getattr(tower, "attn_mask", None), getattr(tower, "pool_type", "")
        # Such a tower, CLIP's own kind, never looks behind the end token: shorter and shared sequences do.
        self.causal = mask is not None and tower.cls_emb is None and pool in ("argmax", "eos")

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes texts.

        Args:
            ids: (N, L) int64 of :class:`OpenClipTokenizer`, or their first columns.

        Returns:
            Token embeddings (N, L, P), and text embeddings (N, P) under the tower's own pooling.
        """
        if self.causal:
            length = ids.shape[1]
            tokens = self._run(
                self.layout.native(ids), torch.arange(length, device=ids.device), self._mask()[:length, :length]
            )
            texts = tokens[torch.arange(len(ids), device=ids.device), lengths(ids) - 1]
        elif hasattr(self.lang_encoder, "pooler"):
            tokens, texts = self._hugging_face(ids)
        else:
            tokens, texts = self._whole_context(ids)
        return tokens[:, : ids.shape[1]] @ self.lang_proj, texts @ self.lang_proj

    def embed(self, ids: Tensor) -> Tensor:
        """Returns the text embeddings (N, P); a causal tower computes common beginnings of the texts once."""
        if not self.causal:
            return super().embed(ids)
        tree = prefix_tree(ids)
        forbidden = torch.zeros(tree.forbidden.shape, device=ids.device).masked_fill_(tree.forbidden, -math.inf)
        features = self._run(self.layout.native(tree.tokens[None], tails=False), tree.places, forbidden)
        return features[0, tree.ends] @ self.lang_proj

    def _run(self, ids: Tensor, places: Tensor, mask: Tensor) -> Tensor:
        """Maps native ids (N, L) at positions (L,) to projected tokens (N, L, E); mask (L, L) is added to logits."""
        tower: Any = self.lang_encoder
        x = tower.token_embedding(ids) + tower.positional_embedding[places]
        return self._project(tower.ln_final(tower.transformer(x, attn_mask=mask.to(x.dtype))))

    def _whole_context(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Runs a tower whose padding takes part; returns projected tokens (N, L', E) and texts (N, E)."""
        tower: Any = self.lang_encoder
        texts, tokens = tower(self.layout.native(self.layout.fill(ids)))
        if tower.cls_emb is not None:  # the tower normalises its extra token only
            tokens = tower.ln_final(tokens)
        return self._project(tokens), texts

    def _hugging_face(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Runs a wrapped transformer; returns projected tokens (N, L', E) and texts (N, E)."""
        tower: Any = self.lang_encoder
        native = self.layout.native(self.layout.fill(ids))
        valid = (native != tower.config.pad_token_id).long()
        output = tower.transformer(input_ids=native, attention_mask=valid)
        return tower.proj(output.last_hidden_state), tower.proj(tower.pooler(output, valid))

    def _project(self, tokens: Tensor) -> Tensor:
        projection: Any = self.lang_encoder.text_projection
        if projection is None:
            return tokens
        return projection(tokens) if isinstance(projection, nn.Linear) else tokens @ projection

    def _mask(self) -> Tensor:
        return self.lang_encoder.attn_mask  # type: ignore[return-value]


def build_open_clip(name: str, pretrained: str, dim_proj: int, download: bool) -> tuple[OpenClipEncoder, Tokenizer]:
    """Builds a text tower with its tokenizer.

    Args:
        name: model of ``open_clip.list_models()``, or ``local-dir:FOLDER`` with an ``open_clip_config.json``.
        pretrained: weight file of the whole model; with ``download`` also a tag of ``open_clip.list_pretrained()``;
            empty: random weights.
        dim_proj: P.
        download: whether what is missing on this machine may be fetched.

    Raises:
        ConfigError: the name is unknown, or something is missing and must not be fetched.
        CheckpointError: the weight file is damaged or of another model.
    """
    config = _model_config(name)
    text = {**config["text_cfg"], "output_tokens": True, "hf_model_pretrained": False}
    if text.get("hf_model_name") and not download:
        _need_local(name, text["hf_model_name"])
    tower = _build_text_tower(config["embed_dim"], text, bool(config.get("quick_gelu")))
    tokenizer = OpenClipTokenizer(name, text, getattr(tower, "vocab_size", 0), download)
    structure = f"open_clip {sorted(config['text_cfg'].items())} {config.get('quick_gelu')} {tokenizer.layout}"
    encoder = OpenClipEncoder(tower, config["embed_dim"], dim_proj, tokenizer.layout, structure)
    if pretrained:
        _load(encoder, _weight_file(name, pretrained, download))
    return encoder, tokenizer


def _model_config(name: str) -> dict[str, Any]:
    """Returns open_clip's description of a model."""
    if not name:
        raise ConfigError(f"MODEL.TEXT.ARCH open_clip needs {_KEY}.NAME, e.g. ViT-B-32 or local-dir:FOLDER")
    if name.startswith("hf-hub:"):
        raise ConfigError(f"{_KEY}.NAME {name!r}: fetch the repository into a folder, then name it local-dir:FOLDER")
    try:
        config = open_clip.get_model_config(name)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{_KEY}.NAME {name!r}: {error}") from error
    if config is None:
        known = open_clip.list_models()
        raise ConfigError(f"{_KEY}.NAME {name!r} is no model of open_clip{did_you_mean(name, known)}")
    if not {"embed_dim", "text_cfg"} <= config.keys():
        raise ConfigError(f"{_KEY}.NAME {name!r}: its description lacks embed_dim or text_cfg")
    return config


def _need_local(name: str, source: str) -> None:
    """Raises ConfigError if the description of a wrapped transformer would have to be downloaded."""
    from transformers import AutoConfig

    try:
        AutoConfig.from_pretrained(source, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{_KEY}.NAME {name!r} wraps {source!r} of the Hugging Face hub, which is not on this machine. Fetch it "
            f"once (hf download {source}), or set {_KEY}.DOWNLOAD True."
        ) from error


def _weight_file(name: str, pretrained: str, download: bool) -> Path:
    """Returns the weight file that PRETRAINED means."""
    path = user_path(pretrained)
    if path.exists():
        return path
    if not open_clip.pretrained.is_pretrained_cfg(name, pretrained):
        tags = open_clip.pretrained.list_pretrained_tags_by_model(name)
        known = f" (tags of {name}: {', '.join(tags)})" if tags else ""
        raise ConfigError(f"{_KEY}.PRETRAINED {pretrained!r} is neither a file nor a tag of {name}{known}")
    if not download:
        raise ConfigError(
            f"{_KEY}.PRETRAINED {pretrained!r} would be downloaded: set {_KEY}.DOWNLOAD True, or name a file"
        )
    return Path(open_clip.download_pretrained(open_clip.pretrained.get_pretrained_cfg(name, pretrained)))


def _load(encoder: OpenClipEncoder, file: Path) -> None:
    """Loads the text tower and the scale of the logits from a whole model's weights."""
    state = read_state_dict(file)
    found = tower_weights(state)
    own = encoder.lang_encoder.state_dict()
    wrong = [name for name, tensor in own.items() if name not in found or found[name].shape != tensor.shape]
    if wrong:
        shapes = [
            f"{n} {list(own[n].shape)} (file: {list(found[n].shape) if n in found else 'none'})" for n in wrong[:3]
        ]
        raise CheckpointError(
            f"{file} holds no text tower of this model: {len(wrong)} of {len(own)} tensors do not fit, e.g. "
            f"{', '.join(shapes)}. Check {_KEY}.NAME and PRETRAINED."
        )
    encoder.lang_encoder.load_state_dict({name: found[name] for name in own})
    if "logit_scale" in state:
        with torch.no_grad():
            encoder.logit_scale.copy_(state["logit_scale"].reshape(()))


def tower_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the text tower's weights of a whole open_clip model, under the tower's own names."""
    wrapped = {name.removeprefix("text."): tensor for name, tensor in state.items() if name.startswith("text.")}
    return wrapped or {name: tensor for name, tensor in state.items() if name.startswith(_UNWRAPPED)}
