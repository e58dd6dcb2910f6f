"""What becomes of a run's negatives at a refresh: small classes, one a file."""
