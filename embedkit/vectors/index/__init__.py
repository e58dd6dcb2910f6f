"""Nearest neighbours by inner product: exact, or by an index whose recall is measured when it is built."""
