"""The picture of a report for the README: ``python docs/picture.py RUN [OUT]``.

It is the top of ``RUN/report/index.html``. It needs Chromium; the run is one that `embedkit train` has written.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
WIDTH, HEIGHT = 900, 1260


def main(run: Path, out: Path) -> None:
    """Write the picture."""
    from tests.browser import browser

    with tempfile.TemporaryDirectory() as profile, browser(Path(profile)) as page:
        page.show(run / "report" / "index.html", width=WIDTH, dark=False)
        out.parent.mkdir(parents=True, exist_ok=True)
        page.picture(out, width=WIDTH, height=HEIGHT)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "docs" / "images" / "report.png")
