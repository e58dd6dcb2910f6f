"""Entries that record what released code computes by mistake: why embedkit does not, and what stands for them."""

LEFT_OUT = {
    "isogclr_bimodal": "the code makes a mask of negatives and does not use it; its bimodal variants are not built",
    "conr": "the code adds e^0 for everything that is no positive; `conr_clean` is what was meant",
    "supremix": "the code shifts texts and mixtures by maxima of their own, no softmax; see `supremix_consistent`",
    "core_tuning_focal": "the code divides by the batch's size, not the positives'; see `core_tuning_focal_paper`",
}
"""By the name of the entry."""
