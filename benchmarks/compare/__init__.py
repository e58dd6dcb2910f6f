"""Methods side by side: same base, same text, same updates, several seeds. Run as ``python -m benchmarks.compare``."""
