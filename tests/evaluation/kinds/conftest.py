"""Files of every kind, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evaluation.kinds.sets import write_all


@pytest.fixture(scope="session")
def suite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_all(tmp_path_factory.mktemp("kinds"))
