"""SEEM's meta-architectures: images, class names and prompts in, losses or predictions out.

Letters in shapes: B images, K categories without background, P width of the joint text space, H and W rows and columns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...utils.draws import Draws
from ...utils.errors import ConfigError
from ...utils.structures.category import Category
from ...utils.structures.requests import PromptedMasks, Prompts, Request, Strokes
from ...utils.structures.results import Prediction
from ...utils.structures.samples import Batch, Targets
from ..base import START, MetaArch, Progress, TrainPolicy
from ..exportable import Exportable
from ..finetune import is_frozen
from ..promptable import TakesReferences
from .backbones.build_backbone import build_backbone
from .config import SeemConfig, active_tasks
from .decoder.build_decoder import build_decoder
from .decoder.decoder_output import DecoderOutput
from .decoder.decoder_prompts import DecoderPrompts, ReferencePrompt
from .decoder.image_levels import DecoderFeatures
from .decoder.query_decoder import QueryDecoder
from .image_normalizer import ImageNormalizer, pad_masks
from .losses.criterion import SetCriterion
from .panoptic_graph import PanopticGraph
from .pixel_decoders.build_pixel_decoder import build_pixel_decoder
from .prompting.answering import PromptAnswerer, full_masks
from .prompting.encoded import Encoded, EncodedGroup
from .prompting.training_prompts import (
    NamedMasks,
    StrokedObjects,
    TrainingSwitches,
    click_rounds,
    named_masks,
    spatial_targets,
    stroked_objects,
    text_targets,
    with_zero_of,
)
from .results.postprocess import PostProcessor
from .text.build_text import build_text, text_cache
from .text.class_embeddings import BACKGROUND, ClassEmbeddings
from .text.tokenizer import Tokenizer
from .tuning import PARTS, PolicySettings, seem_policy


class SegmentationHead(nn.Module):
    """Holds pixel decoder and decoder under the names of published weights.

    Args:
        pixel_decoder: backbone maps to mask features and multi-scale maps.
        predictor: decoder of queries.
    """

    def __init__(self, pixel_decoder: nn.Module, predictor: QueryDecoder) -> None:
        super().__init__()
        self.pixel_decoder = pixel_decoder
        self.predictor = predictor


class Seem(MetaArch, TakesReferences, Exportable):
    """SEEM (Segment Everything Everywhere All at Once, arXiv 2304.06718), variants v1, v0 and demo.

    Args:
        backbone: normalised images to maps "res2".."res5".
        head: pixel decoder and decoder; the decoder decides the variant.
        criterion: training losses; None: the variant cannot be trained.
        class_embeddings: embeddings of class names by the decoder's text encoder.
        normalizer: prepares images.
        postprocessor: logits to results.
        categories: training categories; predictions use them until ``set_vocabulary``.
        tasks: what ``predict`` returns unless the request says otherwise.
        policy: what the configuration says about which parameters train.
        training_tasks: what is trained.
    """

    parts = PARTS
    empty_hints = {
        "panoptic": "weights that trained too little, or names that the network does not know, give low scores; lower "
        "MODEL.DECODER.TEST.OBJECT_MASK_THRESHOLD or OVERLAP_THRESHOLD to see them"
    }

    def __init__(
        self,
        backbone: nn.Module,
        head: SegmentationHead,
        criterion: SetCriterion | None,
        class_embeddings: ClassEmbeddings,
        normalizer: ImageNormalizer,
        postprocessor: PostProcessor,
        categories: Sequence[Category],
        tasks: Sequence[str] = ("semantic", "panoptic", "instance"),
        policy: PolicySettings | None = None,
        training_tasks: TrainingSwitches | None = None,
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
        self.training_tasks = training_tasks or TrainingSwitches()
        self.answerer = PromptAnswerer(head.predictor, class_embeddings)
        self.prompt_kinds = self.answerer.kinds
        # The kernel that grows a simulated click; published weights hold it.
        self.register_buffer("dilation_kernel", torch.ones(1, 1, 3, 3))

    @classmethod
    def from_config(cls, cfg: SeemConfig, categories: Sequence[Category], tokenizer: Tokenizer | None = None) -> Seem:
        """Builds the network.

        Args:
            cfg: the configuration.
            categories: the training data set's categories, in index order; their number is the number of classes.
            tokenizer: replaces CLIP's.
        """
        model, text, test = cfg.MODEL, cfg.MODEL.TEXT, cfg.MODEL.DECODER.TEST
        lang_encoder, tokenizer = build_text(cfg, tokenizer)
        backbone = build_backbone(cfg)
        pixel_decoder = build_pixel_decoder(cfg, backbone.output_channels)
        predictor = build_decoder(cfg, lang_encoder)
        switches = {"semantic": test.SEMANTIC_ON, "panoptic": test.PANOPTIC_ON, "instance": test.INSTANCE_ON}
        tasks = active_tasks(cfg)
        return cls(
            backbone,
            SegmentationHead(pixel_decoder, predictor),
            SetCriterion.from_config(cfg, len(categories)) if any(tasks.values()) else None,
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
            PolicySettings.from_config(cfg, tasks),
            TrainingSwitches(
                **tasks, max_rounds=model.DECODER.SPATIAL.MAX_ITER, click_side=cfg.STROKE_SAMPLER.DILATION
            ),
        )

    def losses(self, batch: Batch, rng: Draws, progress: Progress = START) -> dict[str, Tensor]:
        """Returns the weighted losses ``loss_{mask,spatial,grounding}_{ce,bce,dice}_{i}`` of the tasks that are on.

        0 is the final output, then back to that of the raw queries. A task without targets has zeros.

        Args:
            batch: images with targets.
            rng: source of the draws "template", "rounds", "match/...", "points/...", and of those of the decoder,
                prefixed with "round{i}/" in the rounds of clicks before the losses.
            progress: ignored; the losses are the same at every step.
        """
        criterion, on = self._criterion(), self.training_tasks
        images = self.normalizer(batch.images, batch.image_sizes)
        size = tuple(images.shape[-2:])
        targets = [t.map(lambda x: pad_masks(x, size) if x.dim() == 3 else x) for t in _targets(batch)]
        totals = self.normalizers(batch) if batch.totals is None else batch.totals
        objects = stroked_objects(targets, int(totals["max_objects"])) if on.spatial else None
        # An image without texts silences the task for the whole step, as in the published training.
        texts_everywhere = on.grounding and totals["grounding_images"] >= totals["images"]
        named = named_masks(targets, self.class_embeddings) if texts_everywhere else None
        if not on.mask and objects is None and named is None:
            losses = criterion.zeros(self.sem_seg_head.predictor.num_layers + 1, images.device)
            return with_zero_of(losses, self)
        positions = batch.positions or range(len(batch))
        output, remembered = self._decode_step(images, objects, named, rng, positions)
        losses = criterion(
            output,
            targets,
            rng,
            positions,
            totals=totals,
            spatial_masks=objects and objects.masks,
            grounding=named and named.targets,
            logit_scale=self.sem_seg_head.predictor.lang_encoder.logit_scale,
        )
        predictor = self.sem_seg_head.predictor
        if on.spatial and objects is None or on.grounding and named is None:
            return with_zero_of(losses, predictor)
        if on.spatial and not remembered:
            return with_zero_of(losses, predictor.spatial_embed, predictor.spatial_featured)
        return losses

    def _decode_step(
        self,
        images: Tensor,
        objects: StrokedObjects | None,
        named: NamedMasks | None,
        rng: Draws,
        positions: Sequence[int],
    ) -> tuple[DecoderOutput, bool]:
        """Runs the network of a training step; tells also whether masks of a previous round were remembered."""
        on, predictor = self.training_tasks, self.sem_seg_head.predictor
        class_embeddings = self._no_classes()
        if on.mask:
            class_embeddings = self.class_embeddings.training(class_names(self.categories), rng)
        # The backward pass keeps the projections anyway: rounds of clicks share them.
        features = self._features(images, for_rounds=objects is not None)
        if objects is None and named is None:
            return predictor(features, None, class_embeddings), False
        rounds = int(rng.integers("rounds", on.max_rounds + 1)) if objects is not None else 0
        spatial = None
        if objects is not None:
            spatial = click_rounds(
                predictor, features, self._no_classes(), objects, rounds, on.click_side, rng, positions
            )
        texts = None if named is None else named.prompt
        prompts = DecoderPrompts(spatial, texts, objects=on.mask, positions=positions)
        return predictor(features, None, class_embeddings, prompts, rng), rounds > 0

    def normalizers(self, batch: Batch) -> dict[str, float]:
        """Returns this batch's share of the criterion's normalisers, and the most prompted objects of an image."""
        targets, on = _targets(batch), self.training_tasks
        spatial = [spatial_targets(target).masks for target in targets] if on.spatial else None
        shares = self._criterion().normalizers(
            targets,
            self.sem_seg_head.predictor.query_feat.num_embeddings,
            spatial_masks=spatial,
            grounding=[text_targets(target) for target in targets] if on.grounding else None,
        )
        if spatial is not None:
            shares["max_objects"] = float(max(len(masks) for masks in spatial))
        return shares

    @torch.no_grad()
    def predict(self, batch: Batch, request: Request) -> list[Prediction]:
        """Returns one prediction per image, at its original size."""
        return self.decode(self._encode(batch, for_rounds=False), request)

    @torch.no_grad()
    def encode(self, batch: Batch) -> Encoded:
        """Runs backbone and pixel decoder, and what the decoder needs of an image whatever the prompts.

        Images run together only with images of the same padded size: what is computed for an image does not depend on
        its batch.
        """
        return self._encode(batch, for_rounds=True)

    def _encode(self, batch: Batch, *, for_rounds: bool) -> Encoded:
        """Encodes images; ``for_rounds`` spends memory on faster answers (``QueryDecoder.prepare``)."""
        groups = []
        for padded_size, members in self._by_padded_size(batch.image_sizes).items():
            height, width = (min(a, b) for a, b in zip(padded_size, batch.images.shape[-2:], strict=True))
            sizes = [batch.image_sizes[i] for i in members]
            images = self.normalizer(batch.images[members, :, :height, :width], sizes)
            output_sizes = [batch.samples[i].output_size for i in members]
            features = self._features(images, for_rounds=for_rounds)
            groups.append(EncodedGroup(members, features, padded_size, sizes, output_sizes))
        return Encoded(groups)

    @torch.no_grad()
    def decode(self, encoded: Encoded, request: Request) -> list[Prediction]:
        """Returns one prediction per encoded image, at its original size.

        Raises:
            ValueError: the task "phrases" without one list of texts per image.
        """
        tasks = self.tasks if request.tasks is None else tuple(request.tasks)
        predictions = [Prediction() for _ in range(len(encoded))]
        maps = [task for task in tasks if task != "phrases"]
        if maps:
            vocabulary = self.vocabulary if request.categories is None else list(request.categories)
            self.class_embeddings.check_names([category.name for category in vocabulary])
            class_embeddings = self.class_embeddings.evaluation(class_names(vocabulary))
            isthing = [category.isthing for category in vocabulary]
            for group in encoded.groups:
                output = self.sem_seg_head.predictor(group.features, None, class_embeddings)
                sizes = (group.padded_size, group.image_sizes, group.output_sizes)
                results = self.postprocessor(output.final.logits, output.masks(), *sizes, isthing, maps)
                for place, result in zip(group.places, results, strict=True):
                    predictions[place] = result
        if "phrases" in tasks:
            for prediction, masks in zip(predictions, self.answerer.phrases(encoded, request.texts), strict=True):
                prediction.phrases = masks
        return predictions

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
        """Answers the prompts of each encoded image (``Promptable.prompted``).

        A score is the mean probability inside the mask. An object that no stroke points at gets an empty mask.
        """
        return self.answerer(encoded, prompts, previous, rng)

    @torch.no_grad()
    def full_masks(self, encoded: Encoded, answers: Sequence[PromptedMasks]) -> list[Tensor]:
        """Returns the answers' masks (N + T, H, W) bool at each image's original size."""
        return full_masks(encoded, answers)

    @torch.no_grad()
    def reference(self, encoded: Encoded, strokes: Strokes) -> ReferencePrompt:
        """Returns what strokes (1, h, w) of one object on one encoded image show (demo variant only)."""
        return self.answerer.reference(encoded, strokes)

    def set_vocabulary(self, categories: Sequence[Category]) -> None:
        """Sets the categories that ``predict`` tells apart, and warns of names alike; training keeps its own."""
        self.class_embeddings.check_names([category.name for category in categories])
        self.vocabulary = list(categories)

    def inference_graph(self) -> PanopticGraph:
        """Returns image encoder and panoptic head with the embeddings of the vocabulary as constants."""
        head, normalizer = self.sem_seg_head, self.normalizer
        embeddings = self.class_embeddings.evaluation(class_names(self.vocabulary))
        parts = (self.backbone, head.pixel_decoder, head.predictor, embeddings, normalizer.mean, normalizer.std)
        return PanopticGraph(*parts, normalizer.divisibility).eval()

    def compile_parts(self) -> list[nn.Module]:
        """Returns the parts without control flow on data; matching and losses stay eager."""
        return [self.backbone, self.sem_seg_head.pixel_decoder, self.sem_seg_head.predictor]

    def train_policy(self) -> TrainPolicy:
        """Returns which parameters train (see ``modeling/seem/tuning.py``).

        Raises:
            ConfigError: the variant cannot be trained.
        """
        self._criterion()
        return seem_policy(self, self.policy)

    def train(self, mode: bool = True) -> Seem:
        """Sets the mode; parts without a trainable parameter stay in eval mode."""
        super().train(mode)
        for part in (self.backbone, self.sem_seg_head.pixel_decoder, self.sem_seg_head.predictor.lang_encoder):
            if is_frozen(part):
                part.eval()
        return self

    def _features(self, images: Tensor, *, for_rounds: bool = False) -> DecoderFeatures:
        """Runs the network on normalised images (B, 3, H, W), up to where prompts come in."""
        head = self.sem_seg_head
        learns = torch.is_grad_enabled()
        with torch.set_grad_enabled(learns and not is_frozen(self.backbone)):
            features = self.backbone(images)
        # A frozen pixel decoder still passes gradients on to a backbone that trains.
        with torch.set_grad_enabled(learns and not (is_frozen(self.backbone) and is_frozen(head.pixel_decoder))):
            mask_features, _, maps = head.pixel_decoder(features)
        return head.predictor.prepare(maps, mask_features, for_rounds=for_rounds)

    def _no_classes(self) -> Tensor:
        """Returns class embeddings (1, P) for a pass in which nothing is classified."""
        projection = self.sem_seg_head.predictor.lang_encoder.lang_proj
        return projection.new_zeros(1, projection.shape[1])

    def _criterion(self) -> SetCriterion:
        if self.criterion is None:
            raise ConfigError(CANNOT_TRAIN)
        return self.criterion

    def _by_padded_size(self, sizes: Sequence[tuple[int, int]]) -> dict[tuple[int, int], list[int]]:
        """Returns padded size -> places of its images in the batch."""
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for place, size in enumerate(sizes):
            groups[self.normalizer.padded_size(size)].append(place)
        return groups


CANNOT_TRAIN = (
    "MODEL.NAME seem_model_demo is for prediction and the web page only: no training losses were published for it. "
    "Train seem_model_v1"
)


def class_names(categories: Sequence[Category]) -> list[str]:
    """Returns the texts of the K + 1 classes: the names, and "background"."""
    return [category.name for category in categories] + [BACKGROUND]


def _targets(batch: Batch) -> list[Targets]:
    """Returns the ground truth that training needs.

    Raises:
        ValueError: the batch has none.
    """
    if batch.targets is None:
        raise ValueError("training needs targets, this batch has none")
    return batch.targets
