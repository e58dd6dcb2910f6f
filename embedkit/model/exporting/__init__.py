"""Models for other runtimes: written by the libraries that know them, read back from the folder alone."""
