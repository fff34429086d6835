"""The one table of golden outputs whose code is not built yet: pattern of ``case/output`` -> reason.

Each is a strict expected failure: an entry whose output is computed makes the test fail until it is removed here.
"""

SPATIAL = "visual prompts (strokes, spatial queries, memory) are not built"
GROUNDING = "text prompts (grounding queries and tokens) are not built"

PENDING = {
    "full_model*/grounding_mask": GROUNDING,
    "full_model*/interactive.*": SPATIAL,
    "full_model*/train.loss_spatial_*": SPATIAL,
    "full_model*/train.loss_grounding_*": GROUNDING,
    "full_model*/train.total": f"the sum holds the losses of both prompt tasks: {SPATIAL}; {GROUNDING}",
    "full_model*/train.grad.*": f"gradients of that sum: {SPATIAL}; {GROUNDING}",
}
