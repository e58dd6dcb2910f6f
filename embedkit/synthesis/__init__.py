"""Training data written by a language model: a local causal LM or an OpenAI-compatible endpoint.

A task turns texts into `Call`s, an `Asker` gets their `Reply`s (from the cache on disk, else from a backend), and the
task turns those into rows. `produce.synthesize` is the way in.
"""
