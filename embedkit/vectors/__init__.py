"""Embeddings on disk, found by their text: encoded once for a model, read by mining, evaluation and the shell."""
