from __future__ import annotations

import pytest

from embedkit.data.harvest import bare, harvest, locate, split_docstring


def test_summary_and_rest_without_markup_examples_and_headings():
    text = """Solve a *triangular* system with :func:`~lib.solve`.

    The matrix ``a`` is **not** checked, see `the guide <https://example.org>`_.

    .. versionadded:: 1.2
    .. note:: Slow for tall matrices.

    Parameters
    ----------
    a : array
        The matrix.

    >>> solve(1)
    2

    Examples
    --------
    >>> solve(2)
    3
    """
    assert split_docstring(text) == (
        "Solve a triangular system with lib.solve.",
        "The matrix a is not checked, see the guide. Slow for tall matrices. Parameters a : array The matrix.",
    )


@pytest.mark.parametrize(
    "text",
    [
        "Only a summary, nothing else to tell.",
        "Parameters\n----------\na : int\n    First.\n\nmore words follow here",
        "input_ids (Tensor of shape (b, n)):\n    Indices.\n\nmore words follow here",
        ":param a: first\n\nmore words follow here",
        "Summary of it.\n\nExamples\n--------\n>>> f()\n1",
        "Summary of it all.\n\nSummary of it all",
        "",
    ],
)
def test_docstrings_that_make_no_pair(text):
    assert split_docstring(text) is None


def test_a_signature_is_not_a_summary():
    assert split_docstring("dot(a, b, out=None) -> array\n\nProduct of two.\n\nFor vectors.") == (
        "Product of two.",
        "For vectors.",
    )


@pytest.mark.parametrize(
    "rest",
    [
        "Sort the table by columns. Missing values go last.",
        "SORT THE TABLE, by columns! Missing values go last.",
        "Note that this will sort the table by columns in place. Missing values go last.",
    ],
)
def test_the_summary_does_not_leak_into_the_rest(rest):
    assert split_docstring(f"Sort the table by columns.\n\n{rest}") == (
        "Sort the table by columns.",
        "Missing values go last.",
    )


def test_a_leak_across_sentences_drops_the_pair():
    assert split_docstring("Read it. Then write it.\n\nFirst read it? Then write it twice: done") is None


def test_every_documented_object_is_found_and_nothing_runs(tmp_path, monkeypatch):
    package = tmp_path / "fakepack"
    (package / "tests").mkdir(parents=True)
    (package / "__init__.py").write_text('"""The package.\n\nDoes things."""\nraise RuntimeError("imported")\n')
    (package / "mod.py").write_text(
        '''
import os
class A:
    """Class A.

    About a."""
    async def go(self):
        """Go on.

        Far away."""
if os.name:
    def inner():
        """Inner one.

        In a branch."""
'''
    )
    (package / "broken.py").write_text("def (:\n")
    (package / "tests" / "x.py").write_text('"""A test.\n\nNot read."""\n')
    (package / "test_y.py").write_text('"""A test.\n\nNot read."""\n')
    monkeypatch.syspath_prepend(tmp_path)
    assert [(d.origin, d.rest) for d in harvest("fakepack", locate("fakepack"))] == [
        ("fakepack", "Does things."),
        ("fakepack.mod.A", "About a."),
        ("fakepack.mod.A.go", "Far away."),
        ("fakepack.mod.inner", "In a branch."),
    ]
    assert locate("no_such_package") is None


def test_bare():
    assert bare("  The `X`-axis,  of\nÉté. ") == "the x axis of été"
