"""From files, the Hub or docstrings to tokenised batches: sources, sampler, views, collation."""
