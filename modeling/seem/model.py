"""The meta-architecture ``seem_model_v1``: images and class names in, losses or predictions out.

Letters in shapes: B images, K categories without background, P width of the joint text space, H and W rows and columns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from segfoundry.modeling.base import MetaArch, TrainPolicy
from segfoundry.modeling.seem.backbone import build_backbone
from segfoundry.modeling.seem.config import active_tasks
from segfoundry.modeling.seem.criterion import SetCriterion
from segfoundry.modeling.seem.decoder import SeemDecoder
from segfoundry.modeling.seem.images import ImageNormalizer, pad_masks
from segfoundry.modeling.seem.outputs import DecoderOutput
from segfoundry.modeling.seem.pixel_decoder import build_pixel_decoder
from segfoundry.modeling.seem.policy import PARTS, PolicySettings, seem_policy
from segfoundry.modeling.seem.postprocess import PostProcessor
from segfoundry.modeling.seem.text import build_text, text_cache
from segfoundry.modeling.seem.tokenizer import Tokenizer
from segfoundry.modeling.seem.vocabulary import BACKGROUND, ClassEmbeddings
from segfoundry.utils.draws import Draws
from segfoundry.utils.structures import Batch, Category, Prediction, Request, Targets


class SegmentationHead(nn.Module):
    """Holds pixel decoder and decoder under the names of published weights.

    Args:
        pixel_decoder: backbone maps to mask features and multi-scale maps.
        predictor: decoder of queries.
    """

    def __init__(self, pixel_decoder: nn.Module, predictor: SeemDecoder) -> None:
        super().__init__()
        self.pixel_decoder = pixel_decoder
        self.predictor = predictor


class Seem(MetaArch):
    """SEEM (Segment Everything Everywhere All at Once, arXiv 2304.06718), variant v1.

    Args:
        backbone: normalised images to maps "res2".."res5".
        head: pixel decoder and decoder.
        criterion: training losses.
        class_embeddings: embeddings of class names by the decoder's text encoder.
        normalizer: prepares images.
        postprocessor: logits to results.
        categories: training categories; predictions use them until ``set_vocabulary``.
        tasks: what ``predict`` returns unless the request says otherwise.
        policy: what the configuration says about training.
    """

    parts = PARTS

    def __init__(
        self,
        backbone: nn.Module,
        head: SegmentationHead,
        criterion: SetCriterion,
        class_embeddings: ClassEmbeddings,
        normalizer: ImageNormalizer,
        postprocessor: PostProcessor,
        categories: Sequence[Category],
        tasks: Sequence[str] = ("semantic", "panoptic", "instance"),
        policy: PolicySettings | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.sem_seg_head = head
        self.criterion = criterion
        self.class_embeddings = class_embeddings
        self.normalizer = normalizer
        self.postprocessor = postprocessor
        self.categories = list(categories)
        self.vocabulary = list(categories)
        self.tasks = tuple(tasks)
        self.policy = policy or PolicySettings()
        # The kernel that grows a simulated click; published weights hold it.
        self.register_buffer("dilation_kernel", torch.ones(1, 1, 3, 3))

    @classmethod
    def from_config(cls, cfg: Any, categories: Sequence[Category], tokenizer: Tokenizer | None = None) -> Seem:
        """Builds the network.

        Args:
            cfg: frozen configuration tree.
            categories: the training data set's categories, in index order; their number is the number of classes.
            tokenizer: replaces CLIP's.
        """
        model, text, test = cfg.MODEL, cfg.MODEL.TEXT, cfg.MODEL.DECODER.TEST
        lang_encoder, tokenizer = build_text(cfg, tokenizer)
        backbone = build_backbone(cfg)
        pixel_decoder = build_pixel_decoder(cfg, backbone.output_channels)
        predictor = SeemDecoder.from_config(cfg, lang_encoder)
        switches = {"semantic": test.SEMANTIC_ON, "panoptic": test.PANOPTIC_ON, "instance": test.INSTANCE_ON}
        tasks, _ = active_tasks(cfg)
        return cls(
            backbone,
            SegmentationHead(pixel_decoder, predictor),
            SetCriterion.from_config(cfg, len(categories)),
            ClassEmbeddings(lang_encoder, tokenizer, text.PROMPT, text_cache(cfg)),
            ImageNormalizer(cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD, model.DECODER.SIZE_DIVISIBILITY),
            PostProcessor(
                test.OBJECT_MASK_THRESHOLD,
                test.OVERLAP_THRESHOLD,
                cfg.TEST.DETECTIONS_PER_IMAGE,
                resize_first=test.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE or test.PANOPTIC_ON or test.INSTANCE_ON,
                instances_of_things_only=test.PANOPTIC_ON,
            ),
            categories,
            [task for task, on in switches.items() if on],
            PolicySettings.from_config(cfg, spatial=tasks["spatial"]),
        )

    def losses(self, batch: Batch, rng: Draws) -> dict[str, Tensor]:
        """Returns the weighted losses ``loss_mask_{ce,bce,dice}_{i}``; 0 is the final output, then back to the first.

        Args:
            batch: images with targets.
            rng: source of the draws "template", "match/..." and "points/...".
        """
        images = self.normalizer(batch.images, batch.image_sizes)
        size = tuple(images.shape[-2:])
        targets = [Targets(pad_masks(t.masks, size), t.labels) for t in _targets(batch)]
        class_embeddings = self.class_embeddings.training(class_names(self.categories), rng)
        output = self._decode(images, class_embeddings)
        positions = batch.positions or range(len(batch))
        return self.criterion(output, targets, rng, positions, totals=batch.totals)

    def normalizers(self, batch: Batch) -> dict[str, float]:
        """Returns this batch's share of the criterion's normalisers."""
        return self.criterion.normalizers(_targets(batch), self.sem_seg_head.predictor.query_feat.num_embeddings)

    @torch.no_grad()
    def predict(self, batch: Batch, request: Request) -> list[Prediction]:
        """Returns one prediction per image, at its original size.

        Images run together only with images of the same padded size: what is predicted for an image does not depend
        on its batch.
        """
        vocabulary = self.vocabulary if request.categories is None else list(request.categories)
        tasks = self.tasks if request.tasks is None else tuple(request.tasks)
        class_embeddings = self.class_embeddings.evaluation(class_names(vocabulary))
        predictions: dict[int, Prediction] = {}
        for padded_size, members in self._by_padded_size(batch.image_sizes).items():
            height, width = (min(a, b) for a, b in zip(padded_size, batch.images.shape[-2:], strict=True))
            sizes = [batch.image_sizes[i] for i in members]
            images = self.normalizer(batch.images[members, :, :height, :width], sizes)
            output = self._decode(images, class_embeddings)
            results = self.postprocessor(
                output.final.logits,
                output.masks(),
                padded_size,
                sizes,
                [batch.samples[i].output_size for i in members],
                [category.isthing for category in vocabulary],
                tasks,
            )
            predictions.update(zip(members, results, strict=True))
        return [predictions[i] for i in range(len(batch))]

    def set_vocabulary(self, categories: Sequence[Category]) -> None:
        """Sets the categories that ``predict`` tells apart; training keeps its own."""
        self.vocabulary = list(categories)

    def compile_parts(self) -> list[nn.Module]:
        """Returns the parts without control flow on data; matching and losses stay eager."""
        return [self.backbone, self.sem_seg_head.pixel_decoder, self.sem_seg_head.predictor]

    def train_policy(self) -> TrainPolicy:
        """Returns which parameters train (see ``modeling/seem/policy.py``)."""
        return seem_policy(self, self.policy)

    def train(self, mode: bool = True) -> Seem:
        """Sets the mode; parts without a trainable parameter stay in eval mode."""
        super().train(mode)
        for part in (self.backbone, self.sem_seg_head.pixel_decoder, self.sem_seg_head.predictor.lang_encoder):
            if is_frozen(part):
                part.eval()
        return self

    def _decode(self, images: Tensor, class_embeddings: Tensor) -> DecoderOutput:
        """Runs the network on normalised images (B, 3, H, W) with class embeddings (K + 1, P)."""
        head = self.sem_seg_head
        learns = torch.is_grad_enabled()
        with torch.set_grad_enabled(learns and not is_frozen(self.backbone)):
            features = self.backbone(images)
        # A frozen pixel decoder still passes gradients on to a backbone that trains.
        with torch.set_grad_enabled(learns and not (is_frozen(self.backbone) and is_frozen(head.pixel_decoder))):
            mask_features, _, maps = head.pixel_decoder(features)
        return head.predictor(maps, mask_features, class_embeddings)

    def _by_padded_size(self, sizes: Sequence[tuple[int, int]]) -> dict[tuple[int, int], list[int]]:
        """Returns padded size -> places of its images in the batch."""
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for place, size in enumerate(sizes):
            groups[self.normalizer.padded_size(size)].append(place)
        return groups


def class_names(categories: Sequence[Category]) -> list[str]:
    """Returns the texts of the K + 1 classes: the names, and "background"."""
    return [category.name for category in categories] + [BACKGROUND]


def is_frozen(module: nn.Module) -> bool:
    """True if no parameter of the module trains."""
    return not any(p.requires_grad for p in module.parameters())


def _targets(batch: Batch) -> list[Targets]:
    """Returns the ground truth that training needs.

    Raises:
        ValueError: the batch has none.
    """
    if batch.targets is None:
        raise ValueError("training needs targets, this batch has none")
    return batch.targets
