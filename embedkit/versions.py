"""Versions of installed packages, and what to say where two of them do not work together."""

from __future__ import annotations

from embedkit.errors import VersionError

CURE = "install the tested versions (docs/start.md, Installing), or upgrade both"


def installed(package: str) -> str:
    """The installed version of a package, by its name on PyPI; "not installed" without one."""
    import importlib.metadata  # slow to import, and --help must not wait for it

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def disagreement(what: str, where: str, *packages: str, cure: str = CURE) -> VersionError:
    """The error that names the packages with their versions.

    Args:
        what: what fails, in a few words.
        where: key of the recipe, or a file.
        packages: names on PyPI.
        cure: what to do.
    """
    named = " and ".join(f"{name} {installed(name)}" for name in packages)
    return VersionError(f"{what} with {named}", where, cure)
