"""Files of rows, read record by record with a place for each; what is broken, hidden or without bound gets a name.

The plan of a recipe and the loading of its data both read here, so that they cannot differ.
"""
