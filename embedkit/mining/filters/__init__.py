"""Which retrieved documents may become negatives: filters, composable, each counting what it removed."""
