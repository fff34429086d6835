"""The text tower on recorded ids, and class embeddings on recorded names."""

from __future__ import annotations

import torch
from torch import Tensor

from segfoundry.modeling.seem.text.class_embeddings import ClassEmbeddings
from segfoundry.modeling.seem.text.text_towers import LanguageEncoder, normalize
from segfoundry.utils.class_names.text_templates import training_prompt

from .....support.goldens import Case, runner
from .....support.standin_tokenizer import StandInTokenizer


class RecordedTemplates:
    """Replays the recorded choice of templates."""

    def __init__(self, templates: Tensor) -> None:
        self.templates = templates

    def integers(self, purpose: str, high: int, shape=()) -> Tensor:
        assert purpose == "template" and tuple(shape) == tuple(self.templates.shape)
        return self.templates


@runner("seem", "lang_encoder*", "LanguageEncoder*")
def run(case: Case) -> dict[str, Tensor]:
    c, inputs, names = case.config, case.group("in"), case.info["class_names"]
    encoder = LanguageEncoder(
        c["vocab_size"],
        c["CONTEXT_LENGTH"],
        c["WIDTH"],
        c["LAYERS"],
        c["HEADS"],
        c["DIM_PROJ"],
        c["AUTOGRESSIVE"],
    )
    case.load_into(encoder)
    tokenizer = StandInTokenizer(c["vocab_size"], c["CONTEXT_LENGTH"])
    for text, ids in case.info["token_table"].items():
        assert tokenizer.ids(text) == ids, text
    assert tokenizer(case.info["texts"]).equal(inputs["input_ids"])
    templates = inputs["train_template_index"]
    drawn = [training_prompt(name, index) for name, index in zip(names, templates.tolist(), strict=True)]
    assert drawn == case.info["train_prompts"]
    prompted, plain = (ClassEmbeddings(encoder, tokenizer, prompt) for prompt in ("templates", "plain"))
    with torch.no_grad():
        tokens, texts = encoder(inputs["input_ids"])
        return {
            "token_emb": tokens,
            "class_emb": texts,
            "token_emb_normed": normalize(tokens),
            "class_emb_normed": normalize(texts),
            "sentence_emb_normed": normalize(texts),
            "text_embeddings_eval_prompted": prompted.evaluation(names),
            "text_embeddings_eval_plain": plain.evaluation(names),
            "text_embeddings_train": prompted.training(names, RecordedTemplates(templates)),
            "similarity": encoder.similarity(inputs["visual_embeddings"], prompted.evaluation(names)),
        }
