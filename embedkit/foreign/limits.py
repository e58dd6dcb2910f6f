"""Bounds of what is read and shown: damaged, oversized or hostile input ends in an error, never in lost memory or time.

Nothing that trains an encoder comes near any of them; each has a typed error that names it.
"""

from __future__ import annotations

# Data files ---------------------------------------------------------------------------------------------------------

LINE = 2**24
"""Characters of one line, and of one CSV record over several lines."""
BLANK_LINES = 1_000_000
"""Blank lines in a row."""
RECORD_LINES = 10_000
"""Lines of one CSV record."""
LONG_RECORD = 5
"""Lines of a CSV record above which it is told of: a quote may have been left open."""
UNPACKED, UNPACKED_RATIO = 2**26, 200
"""A gzipped file may unpack to this many bytes, or to this many times its size, whichever is more. Text packs 3 to 50
times; gzip's own limit is 1032."""

# Recipes and suites -------------------------------------------------------------------------------------------------

RECIPE_BYTES = 2**22
"""Of a YAML file."""
NODES = 100_000
"""Values of a YAML document, those of repeated anchors counted each time."""
CHARACTERS = 2**22
"""Of all texts of a YAML document together, those of repeated anchors counted each time."""
DEPTH = 100
"""Levels of lists and mappings inside each other, also of a key path."""
DIGITS = 400
"""Of a written number."""
NAME = 1000
"""Characters of a recipe's text that is no prompt: a name, a path, an id."""
SEED = 2**32 - 1
"""The largest seed that NumPy's and every library's generator take."""
WIDTH = 2**16
"""Of a layer that a recipe adds."""
BATCH = 10**7
"""Examples of one batch."""
WHOLE, NUMBER = 2**53 - 1, 1e12
"""The largest whole number and the largest number of a recipe, of either sign: above the one JSON and floats are not
exact, beyond the other float32 arithmetic on it overflows."""

# Messages -----------------------------------------------------------------------------------------------------------

SHOWN_CHARACTERS = 60
"""Of one foreign text in a message."""
SHOWN_LINE = 200
"""Of an override, and of another library's message."""
SHOWN_PROBLEMS = 50
"""Problems of a recipe that are told at once."""
SHOWN_NAMES = 20
"""Of a list of names in a message."""
COMPARED_NAMES, COMPARED_CHARACTERS = 1000, 100
"""Names that are looked through for one like a mistyped one, and characters of that."""
