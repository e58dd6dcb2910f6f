"""Choosing what is contrasted with what."""
