"""Entries that embedkit does not compare: why, and what stands for them."""

LEFT_OUT = {
    "fsc_local_hard_negative": "it compares tokens of two texts, and an objective sees one vector of a text: texts are "
    "encoded in any micro-batch and gathered without their tokens; `fsc_global_hard_negative` is the loss without them",
}
"""By the name of the entry."""
