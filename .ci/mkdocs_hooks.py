"""The front page is the README, and links to files of the repository outside of docs/ become their names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = re.compile(r"\[([^\]]+)\]\((?!https?:|#)([^)#\s]+)(#[^)]*)?\)")


GUIDES = (
    "start",
    "choose",
    "recipes",
    "data",
    "views",
    "synthesis",
    "mining",
    "publishing",
    "evaluation",
    "report",
    "vectors",
    "scale",
    "others",
)
"""Pages in the order of their reading; what is not named here follows them."""
ROOMS = {
    "Cookbook": "cookbook",
    "Methods": "methods",
    "Results": "results",
    "Objectives": "objectives",
    "Reference": "reference",
}
TOP = {"README.md": "index.md", "ARCHITECTURE.md": "ARCHITECTURE.md", "SECURITY.md": "SECURITY.md"}
"""Pages of the site that stand at the top of the repository."""


def on_config(config: Any) -> Any:
    """The table of contents: guides, then a section for each folder, then how it is built."""
    docs = ROOT / "docs"
    inside = ("engine", "adding-a-method", "CONTRIBUTING", "CHANGELOG")
    found = sorted(path.stem for path in docs.glob("*.md") if path.stem not in inside)
    ordered = [name for name in GUIDES if name in found] + [name for name in found if name not in GUIDES]
    rooms = [{title: _pages(docs, folder)} for title, folder in ROOMS.items() if (docs / folder).is_dir()]
    built = ["ARCHITECTURE.md", *(f"{name}.md" for name in inside), "SECURITY.md"]
    config.nav = ["index.md", {"Guides": [f"{name}.md" for name in ordered]}, *rooms, {"How it is built": built}]
    return config


def _pages(docs: Path, folder: str) -> list[str]:
    pages = sorted(path.name for path in (docs / folder).glob("*.md"))
    return [f"{folder}/{name}" for name in sorted(pages, key=lambda name: name != "README.md")]


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of `TOP`."""
    for name, target in TOP.items():
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, target, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """A link that leaves the site would be dead there: its words stay, as code where it is a file."""
    folder = Path(page.file.src_uri).parent
    base = ROOT if page.file.src_uri in TOP.values() else ROOT / "docs" / folder

    def kept(match: re.Match[str]) -> str:
        words, target, _ = match.groups()
        path = (base / target).resolve()
        if path.is_relative_to(ROOT / "docs") or not path.exists():
            return match.group(0)  # of the site, or a mistake that the build tells of
        if path.parent == ROOT and files.get_file_from_path(path.name):
            return f"[{words}]({'../' * len(folder.parts)}{path.name})"
        return words if words.startswith("`") else f"`{words}`"

    return OUTSIDE.sub(kept, markdown)
