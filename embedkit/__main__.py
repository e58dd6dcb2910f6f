"""``python -m embedkit``: what torchrun starts."""

from embedkit.cli import main

main()
