"""Prints which installed packages differ from a file of constraints: what the world changed since the lock."""

import importlib.metadata
import sys
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name
from pip._vendor.packaging.version import Version

lines = (line.strip() for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines())
requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
locked = {
    canonicalize_name(r.name): Version(str(r.specifier).removeprefix("=="))
    for r in requirements
    if r.marker is None or r.marker.evaluate()
}
installed = {canonicalize_name(d.name): Version(d.version) for d in importlib.metadata.distributions() if d.name}
differing = [n for n in sorted(locked) if n in installed and installed[n].public != locked[n].public]
print(f"\n{len(differing)} of {len(locked)} packages are not the lock's:")
for name in differing:
    print(f"  {name:<24} {installed[name]!s:<14} lock {locked[name]}")
