"""Objectives compared on one base, kind of data by kind of data, each with a learning rate chosen in the same way."""
