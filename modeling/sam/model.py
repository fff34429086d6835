"""SAM as a meta-architecture: fine-tuning, prediction, prompts and everything mode behind the trainer's interface.

Letters in shapes: B images, C channels, g rows and columns of the image embedding, N objects, H and W rows and columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...utils.array_cache import cache_folder
from ...utils.draws import Draws
from ...utils.structures.category import Category
from ...utils.structures.requests import PromptedMasks, Prompts, Request
from ...utils.structures.results import Prediction
from ...utils.structures.samples import Batch
from ..base import START, MetaArch, Progress, TrainPolicy
from ..feature_cache import FeatureCache
from ..finetune import is_frozen
from ..promptable import Promptable
from ..weights.layouts import PublishedLayout, TransformersLayout
from .config import SamConfig
from .everything.mask_generator import EverythingSettings, find_everything
from .network.build_sam import CustomSize, build_sam
from .network.sam import Sam
from .network.tiny_vit import TinyViT
from .prompting.answering import answer_prompts, answered_masks
from .prompting.encoded import Encoded
from .training_tasks.base import TrainingTask
from .training_tasks.dlo import DloTask
from .training_tasks.promptable import PromptableTask
from .tuning import TuningSettings, check_no_adapters, prepare_tuning, sam_policy
from .weights.load_published import adapt_state, load_base
from .weights.to_transformers import to_transformers


class SamSegmenter(Sam, MetaArch, Promptable, PublishedLayout, TransformersLayout):
    """SAM (arXiv 2304.02643) with its training tasks; the state dict has the names of the published files.

    Args:
        sam: the network, whose parts become this one's.
        task: what is trained, and predicted without prompts.
        everything_settings: of everything mode.
        cache: embeddings on the disk, for a frozen image encoder; or None.
        tuning: which parameters train.
    """

    prompt_kinds = frozenset({"stroke"})
    takes_shapes = True
    has_categories = False
    absent_hints = {"foreground": "weights that were trained for it without saying so: --overrides SAM.TASK dlo"}
    empty_hints = {"everything": "lower SAM.AMG.PRED_IOU_THRESH or SAM.AMG.STABILITY_SCORE_THRESH"}

    def __init__(
        self,
        sam: Sam,
        task: TrainingTask,
        everything_settings: EverythingSettings | None = None,
        cache: FeatureCache | None = None,
        tuning: TuningSettings | None = None,
    ) -> None:
        super().__init__(sam.image_encoder, sam.prompt_encoder, sam.mask_decoder)
        self.task = task
        self.everything_settings = everything_settings or EverythingSettings()
        self.cache = cache
        self.mask_stride = self.image_size // self.prompt_encoder.mask_input_size
        self.result_kinds = task.result_kinds | {"everything"}
        self.tasks = tuple(sorted(task.result_kinds)) or ("everything",)
        self.tuning = tuning or TuningSettings()

    @classmethod
    def from_config(cls, cfg: SamConfig, categories: Sequence[Category]) -> SamSegmenter:
        """Builds the network, with the weights of SAM.CHECKPOINT if that is set.

        Args:
            cfg: the configuration.
            categories: not needed, SAM knows none.

        Raises:
            CheckpointError: the file is unreadable or of another network.
        """
        keys = cfg.SAM
        custom = None
        if keys.TYPE == "custom":
            custom = CustomSize.from_config(keys.CUSTOM)
        sam = build_sam(keys.TYPE, keys.IMAGE_SIZE, keys.ATTENTION, keys.USE_CHECKPOINT, custom)
        cache = None
        if keys.CACHE_EMBEDDINGS:
            cache = feature_cache(sam, cache_folder("sam"), int(keys.CACHE_GB * 1e9))
        if isinstance(sam.image_encoder, TinyViT):
            sam.image_encoder.train_batch_norm = keys.TRAIN_BN and keys.TRAIN.IMAGE_ENCODER == "full"
        settings = EverythingSettings.from_config(keys.AMG)
        task: TrainingTask = (DloTask if keys.TASK == "dlo" else PromptableTask).from_config(cfg)
        tuning = TuningSettings.from_config(cfg, task.unreached)
        model = cls(sam, task, settings, cache, tuning)
        if keys.CHECKPOINT:
            load_base(model, keys.CHECKPOINT)
        if keys.REINIT_MASK_DECODER:
            reinitialise(model.mask_decoder)
        prepare_tuning(model, cfg)
        return model

    # Sam has a forward of the published form; the trainer's is the one of a meta-architecture.
    forward = MetaArch.forward  # type: ignore[assignment]

    def losses(self, batch: Batch, rng: Draws, progress: Progress = START) -> dict[str, Tensor]:
        """Returns the weighted losses of the task, see ``modeling/sam/training_tasks/``.

        Args:
            batch: images with the targets of the task.
            rng: source of the task's draws.
            progress: ignored; the losses are the same at every step.
        """
        return self.task.losses(self, batch, self.embeddings(batch), rng)

    def normalizers(self, batch: Batch) -> dict[str, float]:
        """Returns this batch's share of each loss normaliser."""
        return self.task.normalizers(batch)

    def embeddings(self, batch: Batch) -> Tensor:
        """Returns the image embeddings (B, C, g, g) float32; without gradient if the image encoder is frozen."""

        def compute(places: Sequence[int]) -> Tensor:
            images = batch.images if len(places) == len(batch) else batch.images[places]
            return self.embed(self.preprocess(images, [batch.image_sizes[place] for place in places]))

        with torch.set_grad_enabled(torch.is_grad_enabled() and not is_frozen(self.image_encoder)):
            if self.cache is not None:
                return self.cache(batch.images, batch.image_sizes, compute)
            return compute(range(len(batch))).float()

    @torch.no_grad()
    def predict(self, batch: Batch, request: Request) -> list[Prediction]:
        """Returns one prediction per image at its output size, with the loss where there is foreground ground truth.

        Raises:
            ValueError: the task does not give what is asked for, or "everything" lacks ``Sample.original``.
        """
        tasks = self._asked(request)
        encoded = tuple(task for task in tasks if task != "everything")
        predictions = [Prediction() for _ in batch.samples]
        if encoded:
            predictions = self.decode(self.encode(batch), Request(encoded))
        if "everything" in tasks:
            for sample, prediction in zip(batch.samples, predictions, strict=True):
                if sample.original is None:
                    raise ValueError("everything mode looks at the image itself, Sample.original, which is missing")
                prediction.everything = self.everything(sample.original)
        return predictions

    @torch.no_grad()
    def encode(self, batch: Batch) -> Encoded:
        """Runs the image encoder."""
        sizes, truths = [s.output_size for s in batch.samples], [s.foreground for s in batch.samples]
        return Encoded(self.embeddings(batch), list(batch.image_sizes), sizes, truths)

    @torch.no_grad()
    def decode(self, encoded: Encoded, request: Request) -> list[Prediction]:  # type: ignore[override]
        """Returns one prediction per encoded image, at its output size; errors as :meth:`predict`."""
        tasks = self._asked(request)
        if not tasks or not self.task.result_kinds.issuperset(tasks):
            raise ValueError(f"from encoded images this SAM gives no {', '.join(tasks)}")
        return self.task.predict(self, encoded)

    def _asked(self, request: Request) -> tuple[str, ...]:
        return self.tasks if request.tasks is None else tuple(request.tasks)

    def select(self, encoded: Encoded, places: Sequence[int]) -> Encoded:
        """Returns some of the encoded images, in the order of ``places``; a place may occur more than once."""
        return encoded.select(places)

    @torch.no_grad()
    def prompted(
        self,
        encoded: Encoded,
        prompts: Sequence[Prompts],
        previous: Sequence[Tensor | None] | None = None,
        rng: Draws | None = None,
    ) -> list[PromptedMasks]:
        """Answers the prompts of each encoded image; scores are predicted IoUs (``Promptable.prompted``)."""
        return answer_prompts(self, encoded, prompts, previous)

    @torch.no_grad()
    def full_masks(self, encoded: Encoded, answers: Sequence[PromptedMasks]) -> list[Tensor]:
        """Returns the answers' masks (N, H, W) bool at each image's original size."""
        return answered_masks(self, encoded, answers)

    def everything(self, image: np.ndarray) -> list[dict[str, Any]]:
        """Returns masks of all that can be told apart in one image, without prompts and categories.

        Args:
            image: (H, W, 3) uint8 RGB at its original size.

        Returns:
            Records as :attr:`Prediction.everything` describes them.
        """
        return find_everything(self, image, self.everything_settings)

    def compile_parts(self) -> list[nn.Module]:
        """Returns the parts whose inputs keep their form from step to step, as the task says."""
        return self.task.compile_parts(self)

    def train_policy(self) -> TrainPolicy:
        """Returns which parameters train (see ``modeling/sam/tuning.py``)."""
        return sam_policy(self, self.tuning)

    def train(self, mode: bool = True) -> SamSegmenter:
        """Sets the mode; frozen parts stay in eval mode."""
        super().train(mode)
        for part in (self.image_encoder, self.prompt_encoder, self.mask_decoder):
            if is_frozen(part):
                part.eval()
        return self

    def adapt_state(self, state: Mapping[str, Tensor], source: str) -> Mapping[str, Tensor]:
        """Accepts the layouts of the public files and other image sizes (``weights/load_published.py``)."""
        return adapt_state(self, state, source)

    def check_plain(self) -> None:
        """Makes sure that there are no adapters, which have no place in a published file."""
        check_no_adapters(self)

    def to_transformers(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Returns tensors and configuration of ``transformers.SamModel``."""
        return to_transformers(self)


def feature_cache(sam: Sam, folder: Path, max_bytes: int) -> FeatureCache:
    """Returns the cache of the image encoder's embeddings in a folder of at most so many bytes."""
    return FeatureCache(sam.image_encoder, folder, max_bytes, key="SAM.CACHE_GB", setting=str(sam.image_size))


def reinitialise(decoder: nn.Module) -> None:
    """Gives a mask decoder new weights: Kaiming-normal convolutions, Xavier-normal matrices, zero biases."""
    for module in decoder.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
        elif callable(reset := getattr(module, "reset_parameters", None)):
            reset()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
