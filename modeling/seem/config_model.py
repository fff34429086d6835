"""Configuration of SEEM, continued: the network, its losses and its post-processing (MODEL)."""

from __future__ import annotations

from dataclasses import dataclass

from ...utils.config import sections
from ...utils.config.schema import key, section
from .config_backbone import LEVELS, Backbone

_SAME_COSTS = "the published matching takes CLASS_WEIGHT, MASK_WEIGHT and DICE_WEIGHT for interactive queries too"


@dataclass(frozen=True, kw_only=True)
class OpenClip:
    """A text tower of open_clip, for MODEL.TEXT.ARCH open_clip; it brings its own tokenizer and context length."""

    NAME: str = key("ViT-B-32", "Model of open_clip whose text tower is built, or local-dir:FOLDER.")
    PRETRAINED: str = key(
        "",
        "Weight file of the whole open_clip model (the image tower is left out), or, with DOWNLOAD, a tag such as "
        "laion2b_s34b_b79k. Empty: random weights, or those of RESUME_FROM.",
    )
    DOWNLOAD: bool = key(
        False, "Fetch weights of a tag, and tokenizers that are not on this machine, from the internet."
    )


@dataclass(frozen=True, kw_only=True)
class Text:
    ARCH: str = key(
        "vlpencoder",
        "Text encoder. vlpencoder: UniCL's transformer, as published. open_clip: the text tower of OPEN_CLIP.NAME.",
        choices=("vlpencoder", "open_clip"),
    )
    NAME: str = key("transformer", "Network of the vlpencoder.", choices=("transformer",))
    TOKENIZER: str = key(
        "clip", "Byte-pair vocabulary of the vlpencoder; clip: the one of CLIP ViT-B/32.", choices=("clip",)
    )
    CONTEXT_LENGTH: int = key(
        77, "Longest text of the vlpencoder in tokens, start and end included; longer ones are cut.", minimum=3
    )
    WIDTH: int = key(512, "Channels of the vlpencoder.", minimum=1)
    HEADS: int = key(8, "Attention heads of the vlpencoder; must divide WIDTH.", minimum=1)
    LAYERS: int = key(12, "Layers of the vlpencoder.", minimum=1)
    AUTOGRESSIVE: bool = key(
        True, "Tokens of the vlpencoder attend to earlier ones only; False: to all tokens that are not padding."
    )
    CACHE: bool = key(
        True,
        "Keep the embeddings of class names in $SEGFOUNDRY_CACHE/text (default ~/.cache/segfoundry/text, at most 1 GiB) "
        "for later runs; unused while the text encoder trains.",
    )
    OPEN_CLIP: OpenClip = section(OpenClip)
    PROMPT: str = key(
        "templates",
        "Text that stands for a class name. templates: a random template per name and step in training, the mean over "
        "all templates in evaluation. plain: the bare name.",
        choices=("templates", "plain"),
    )


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """Pixel decoder (the published name says encoder)."""

    NAME: str = key("transformer_encoder_fpn", "Pixel decoder: transformer_encoder_fpn or transformer_encoder_deform.")
    IGNORE_VALUE: int = key(255, "", no_effect="VOID is what no segment covers")
    NUM_CLASSES: int = key(
        133,
        "Number of categories without 'no object'. A shipped file's number yields to the data set record; one that the "
        "user wrote must equal it.",
        minimum=1,
    )
    LOSS_WEIGHT: float = key(1.0, "", no_effect="the loss weights stand in MODEL.DECODER")
    CONVS_DIM: int = key(512, "Channels of the pixel decoder; a multiple of 32.", minimum=32)
    MASK_DIM: int = key(512, "Channels of the mask features and mask embeddings.", minimum=1)
    NORM: str = key("GN", "Normalisation of the convolutions: GN (32 groups) or none.", choices=("GN", ""))
    IN_FEATURES: list[str] = key(list(LEVELS), "Backbone outputs that are read.", choices=LEVELS)
    DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES: list[str] = key(
        ["res3", "res4", "res5"], "Levels in the deformable attention; transformer_encoder_deform only.", choices=LEVELS
    )
    COMMON_STRIDE: int = key(4, "Stride of the mask features; transformer_encoder_deform only.", choices=(4,))
    TRANSFORMER_ENC_LAYERS: int = key(6, "Transformer layers of the pixel decoder.", minimum=0)


@dataclass(frozen=True, kw_only=True)
class MaskTask:
    ENABLED: bool = key(True, "Train the panoptic task: object queries with classes and masks.")


@dataclass(frozen=True, kw_only=True)
class SpatialTask:
    ENABLED: bool = key(True, "Train prompts drawn on the image.")
    MAX_ITER: int = key(
        1,
        "A step simulates 0 to this many rounds of clicks, without gradient, before its losses; 0: the memory of rounds is "
        "not trained. The published training took 5.",
        minimum=0,
    )


@dataclass(frozen=True, kw_only=True)
class GroundingTask:
    ENABLED: bool = key(
        True, "Train phrases that name a mask. An image without any silences the task for its whole step."
    )
    MAX_LEN: int = key(5, "An image gets 1..MAX_LEN-1 phrases.", minimum=2)
    TEXT_WEIGHT: float = key(2.0, "Loss factor of images with real sentences.", minimum=0)
    CLASS_WEIGHT: float = key(0.5, "Loss factor of images whose class names stand in for sentences.", minimum=0)


@dataclass(frozen=True, kw_only=True)
class Retrieval:
    ENABLED: bool = key(False, "", no_effect="SEEM has no retrieval loss")


@dataclass(frozen=True, kw_only=True)
class Lvis:
    ENABLED: bool = key(
        True, "Train things with the finer masks of a second instance file (LVIS) where a data set names one."
    )
    THRES: float = key(
        0.7,
        "Overlap (intersection over union, 0..1) of the boxes above which the best fitting finer mask is taken.",
        minimum=0,
        maximum=1,
    )


@dataclass(frozen=True, kw_only=True)
class OpenImageGrounding:
    ENABLED: bool = key(False, "", no_effect="the Open Images task is not built")
    MAX_LEN: int = key(5, "", no_effect="the Open Images task is not built")


@dataclass(frozen=True, kw_only=True)
class OpenImage:
    ENABLED: bool = key(False, "", no_effect="the Open Images task is not built")
    NEGATIVE_SAMPLES: int = key(5, "", no_effect="the Open Images task is not built")
    GROUNDING: OpenImageGrounding = section(OpenImageGrounding)


@dataclass(frozen=True, kw_only=True)
class Caption:
    ENABLED: bool = key(False, "", no_effect="SEEM has no caption loss")
    PHRASE_PROB: float = key(0.5, "", no_effect="SEEM has no caption loss")
    SIM_THRES: float = key(0.95, "", no_effect="SEEM has no caption loss")


@dataclass(frozen=True, kw_only=True)
class Prompt:
    ENABLED: bool = key(False, "", no_effect="the demo variant is not built")


@dataclass(frozen=True, kw_only=True)
class CostSpatial:
    CLASS_WEIGHT: float = key(
        5.0, "Matching cost of the class of an interactive query.", minimum=0, no_effect=_SAME_COSTS
    )
    MASK_WEIGHT: float = key(
        2.0, "Matching cost of the mask of an interactive query.", minimum=0, no_effect=_SAME_COSTS
    )
    DICE_WEIGHT: float = key(
        2.0, "Matching cost of the dice of an interactive query.", minimum=0, no_effect=_SAME_COSTS
    )


@dataclass(frozen=True, kw_only=True)
class DecoderTest:
    SEMANTIC_ON: bool = key(True, "Predict and evaluate semantic maps.")
    INSTANCE_ON: bool = key(True, "Predict and evaluate instances.")
    PANOPTIC_ON: bool = key(True, "Predict and evaluate panoptic maps.")
    OVERLAP_THRESHOLD: float = key(
        0.8, "A panoptic segment keeps at least this share of its own mask.", minimum=0, maximum=1
    )
    OBJECT_MASK_THRESHOLD: float = key(
        0.8, "Queries with a lower class score leave the panoptic map.", minimum=0, maximum=1
    )
    SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE: bool = key(
        False, "Resize mask logits to the output size before classes are summed; always so with panoptic or instances."
    )
    DETECTIONS_PER_IMAGE: int = key(100, "", no_effect="TEST.DETECTIONS_PER_IMAGE decides")


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """SEEM decoder: queries, heads, losses, post-processing."""

    NAME: str = key("seem_v1", "Decoder: seem_v1, seem_v0 or seem_demo, that of MODEL.NAME.")
    TRANSFORMER_IN_FEATURE: str = key(
        "multi_scale_pixel_decoder", "Features that queries attend to.", choices=("multi_scale_pixel_decoder",)
    )
    MASK: MaskTask = section(MaskTask)
    DETECTION: bool = key(False, "", no_effect="box prediction is not built")
    SPATIAL: SpatialTask = section(SpatialTask)
    GROUNDING: GroundingTask = section(GroundingTask)
    RETRIEVAL: Retrieval = section(Retrieval)
    LVIS: Lvis = section(Lvis)
    OPENIMAGE: OpenImage = section(OpenImage)
    CAPTION: Caption = section(Caption)
    VISUAL: Prompt = section(Prompt)
    AUDIO: Prompt = section(Prompt)
    DEEP_SUPERVISION: bool = key(True, "Losses on the prediction after every layer, not only on the last.")
    NO_OBJECT_WEIGHT: float = key(0.1, "Weight of 'no object' in the class loss.", minimum=0)
    GCLASS_WEIGHT: float = key(0.4, "Loss weight: class of grounded masks.", minimum=0)
    GMASK_WEIGHT: float = key(1.0, "Loss weight: mask of grounded masks.", minimum=0)
    GDICE_WEIGHT: float = key(1.0, "Loss weight: dice of grounded masks.", minimum=0)
    SCLASS_WEIGHT: float = key(0.4, "Loss weight: class of interactive masks.", minimum=0)
    SMASK_WEIGHT: float = key(1.0, "Loss weight: mask of interactive masks.", minimum=0)
    SDICE_WEIGHT: float = key(1.0, "Loss weight: dice of interactive masks.", minimum=0)
    OCLASS_WEIGHT: float = key(0.4, "", no_effect="the Open Images task is not built")
    OMASK_WEIGHT: float = key(1.0, "", no_effect="the Open Images task is not built")
    ODICE_WEIGHT: float = key(1.0, "", no_effect="the Open Images task is not built")
    CLASS_WEIGHT: float = key(2.0, "Loss weight and matching cost: class of object queries.", minimum=0)
    MASK_WEIGHT: float = key(5.0, "Loss weight and matching cost: mask of object queries.", minimum=0)
    DICE_WEIGHT: float = key(5.0, "Loss weight and matching cost: dice of object queries.", minimum=0)
    BBOX_WEIGHT: float = key(5.0, "", no_effect="box prediction is not built")
    GIOU_WEIGHT: float = key(2.0, "", no_effect="box prediction is not built")
    CAPTION_WEIGHT: float = key(2.0, "", no_effect="SEEM has no caption loss")
    COST_SPATIAL: CostSpatial = section(CostSpatial)
    HIDDEN_DIM: int = key(512, "Channels of the queries; a multiple of 4 and of NHEADS.", minimum=4)
    NUM_OBJECT_QUERIES: int = key(101, "Learned queries: masks, and the last one for the whole image.", minimum=2)
    NHEADS: int = key(8, "Attention heads of decoder and pixel decoder.", minimum=1)
    DROPOUT: float = key(0.0, "Dropout of the pixel decoder.", minimum=0, maximum=1)
    DIM_FEEDFORWARD: int = key(2048, "Hidden channels of the feed-forward networks.", minimum=1)
    MAX_SPATIAL_LEN: list[int] = key(
        [512] * 4,
        "Most stroke pixels of an image that are read, positive and negative ones apart: of each of the three feature "
        "levels, coarse to fine, and for the objects' means. Small strokes keep as many as large ones.",
        minimum=1,
    )
    PRE_NORM: bool = key(False, "LayerNorm before attention and feed-forward; False: after.")
    ENFORCE_INPUT_PROJ: bool = key(False, "Project the features even if CONVS_DIM equals HIDDEN_DIM.")
    SIZE_DIVISIBILITY: int = key(32, "Images of a batch are padded to a multiple of this, in pixels.", minimum=1)
    TRAIN_NUM_POINTS: int = key(12544, "Points per mask in losses and matching.", minimum=1)
    OVERSAMPLE_RATIO: float = key(
        3.0, "Candidate points per point kept, before the uncertain ones are chosen.", minimum=1
    )
    IMPORTANCE_SAMPLE_RATIO: float = key(
        0.75, "Share of points chosen by uncertainty; the rest is random.", minimum=0, maximum=1
    )
    DEC_LAYERS: int = key(10, "Supervised predictions: one from the raw queries, then one per layer.", minimum=2)
    TOP_MASK_LAYERS: int = key(10, "Predictions with panoptic losses, counted from the last.", minimum=1)
    TOP_GROUNDING_LAYERS: int = key(10, "Predictions with grounding losses, counted from the last.", minimum=1)
    TOP_SPATIAL_LAYERS: int = key(10, "Predictions with interactive losses, counted from the last.", minimum=1)
    TOP_CAPTION_LAYERS: int = key(10, "", no_effect="SEEM has no caption loss")
    TOP_OPENIMAGE_LAYERS: int = key(10, "", no_effect="the Open Images task is not built")
    FINE_TUNE: bool = key(
        False, "Put adapters into the decoder and train exactly these there; False: the whole decoder trains."
    )
    ADAPTER: str = key(
        "light",
        "light: bottlenecks of HIDDEN_DIM / ADAPTER_RATIO channels. dense: of HIDDEN_DIM / 2, as published.",
        choices=("light", "dense"),
    )
    ADAPTER_INIT: str = key(
        "neutral",
        "neutral: adapters change nothing at start. reference: random, as published.",
        choices=("neutral", "reference"),
    )
    ADAPTER_RATIO: int = key(4, "Channels of the queries divided by those of a light adapter.", minimum=1)
    TEST: DecoderTest = section(DecoderTest)


@dataclass(frozen=True, kw_only=True)
class Model(sections.Model):
    NAME: str = key("", "Chooses the model; of SEEM: seem_model_v1, seem_model_v0 or seem_model_demo.")
    HEAD: str = key("xdecoder_head", "Joins pixel decoder and decoder.", choices=("xdecoder_head",))
    MASK_ON: bool = key(False, "", no_effect="never read by the reference")
    KEYPOINT_ON: bool = key(False, "", no_effect="never read by the reference")
    LOAD_PROPOSALS: bool = key(False, "", no_effect="proposals are not used")
    DIM_PROJ: int = key(512, "Channels of the space that text and class embeddings share.", minimum=1)
    TEXT: Text = section(Text)
    BACKBONE: Backbone = section(Backbone)
    ENCODER: Encoder = section(Encoder, "Pixel decoder.")
    DECODER: Decoder = section(Decoder)
