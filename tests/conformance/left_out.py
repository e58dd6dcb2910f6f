"""Entries that embedkit does not compare: why, and what stands for them."""

LEFT_OUT = {
    "isogclr_bimodal": "the code makes a mask of negatives and does not use it; its bimodal variants are not built",
    "conr": "the code adds e^0 for everything that is no positive; `conr_clean` is what was meant",
    "supremix": "the code shifts texts and mixtures by maxima of their own, no softmax; see `supremix_consistent`",
    "core_tuning_focal": "the code divides by the batch's size, not the positives'; see `core_tuning_focal_paper`",
    "fsc_local_hard_negative": "it compares tokens of two texts, and an objective sees one vector of a text: texts are "
    "encoded in any micro-batch and gathered without their tokens; `fsc_global_hard_negative` is the loss without them",
}
"""By the name of the entry."""
