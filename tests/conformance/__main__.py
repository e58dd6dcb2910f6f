"""``python -m tests.conformance [FOLDER]``: exit code 0 all good, 1 a value differs, 2 a golden file is unreadable."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from embedkit.recipe.reading.catalogue import GOLDEN
from tests.conformance import report
from tests.conformance.entries import GoldenError, read_folder
from tests.conformance.runner import run

DEFAULT = Path(__file__).parents[1] / "golden"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("conformance", description="Golden values of the methods' authors against ours.")
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=Path(os.environ.get("EMBEDKIT_GOLDEN") or DEFAULT),
        help="with *.json files; default: $EMBEDKIT_GOLDEN, else tests/golden",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="list what is not implemented yet, and why")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every comparison to FILE")
    parser.add_argument("--status", action="store_true", help="renew what `embedkit objectives` says of tests/golden")
    options = parser.parse_args(arguments)
    try:
        entries = read_folder(options.folder)
    except GoldenError as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2
    outcomes = run(entries)
    report.show(outcomes, verbose=options.verbose)
    if options.json:
        report.write(outcomes, options.json)
    if options.status:
        GOLDEN.write_text(json.dumps(report.status(outcomes), indent=1) + "\n", encoding="utf-8")
    return 1 if any(outcome.verdict == "FAILED" for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
