"""What a recipe says about the model that comes out of it, and where it goes: its card, and a place on the Hub.

Neither changes a weight, so that neither is part of a recipe's hash: a card may be reworded, and the run still goes on.
"""

from __future__ import annotations

import re

from pydantic import Field, field_validator, model_validator

from embedkit.recipe.base import LONG_TEXTS, Block, invalid

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_LANGUAGE = re.compile(r"[a-z]{2,3}|code|multilingual")
_REPO = re.compile(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?/[A-Za-z0-9_](?:[\w.-]*[\w])?")
_LONGEST = 96
"""Characters of a name on the Hub, owner included."""


class Benchmark(Block):
    """A task of the suite that is a benchmark of the Hub: its result goes to the leaderboard of that data set."""

    task: str = Field(description="Name of the task in the suite.")
    dataset: str = Field(description="Data set on the Hub that keeps the leaderboard.")
    task_id: str = Field(description="Name of the task in that data set's eval.yaml.")
    revision: str | None = Field(None, description="Commit of the data set that the files are of.")

    @field_validator("dataset")
    @classmethod
    def _dataset_is_one(cls, value: str) -> str:
        return checked_repo(value)


class Card(Block):
    """What the model's card says in its owner's words. Results, data and settings come from the run."""

    model_config = LONG_TEXTS

    title: str | None = Field(None, description="Heading of the card; default: the name of the run or of the place.")
    description: str | None = Field(None, description="Markdown that follows the heading.")
    license: str | None = Field(
        None,
        description="The Hub's name of a licence: apache-2.0, mit, cc-by-4.0, other. None: that of the base model, "
        "where the base's own card tells it; else none is stated.",
    )
    license_name: str | None = Field(None, description="Its name, for `license: other`.")
    license_link: str | None = Field(None, description="Address of its text, for `license: other`.")
    languages: tuple[str, ...] = Field(
        (), description="Codes of ISO 639 (en, deu), or multilingual. None: those that the base model's card tells."
    )
    tags: tuple[str, ...] = Field((), description="Tags beside the ones that say what the model is.")
    benchmarks: tuple[Benchmark, ...] = Field((), description="Tasks that are benchmarks of the Hub.")

    @field_validator("license")
    @classmethod
    def _license_is_a_name(cls, value: str | None) -> str | None:
        if value is not None and not _LICENSE.fullmatch(value):
            raise invalid(f"{value!r} is no name of a licence as the Hub writes them", "e.g. apache-2.0, mit, other")
        return value

    @field_validator("languages")
    @classmethod
    def _languages_are_codes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for language in value:
            if not _LANGUAGE.fullmatch(language):
                raise invalid(f"{language!r} is no code of a language", "two or three letters such as en or deu")
        return value

    @model_validator(mode="after")
    def _other_has_a_name(self) -> Card:
        if (self.license == "other") != (self.license_name is not None):
            raise invalid(
                "license_name belongs to `license: other`, and the other way round", "give both, or a licence by name"
            )
        return self


class Publish(Block):
    """Push the model to the Hub when it is trained and measured. Needs a token: HF_TOKEN, or `hf auth login`."""

    to: str = Field(description="Where: owner/name.")
    private: bool = Field(True, description="Only the owner sees it. A place that is public already is refused then.")
    revision: str | None = Field(None, description="A branch, made where there is none; main by default.")
    pr: bool = Field(False, description="Open a pull request instead of writing to the branch.")
    message: str | None = Field(None, description="First line of the commit.")
    overwrite: bool = Field(False, description="Replace another model that is there.")

    @model_validator(mode="after")
    def _one_way(self) -> Publish:
        if self.pr and self.revision is not None:
            raise invalid("a pull request goes to main", "give revision or pr, not both")
        return self

    @field_validator("to")
    @classmethod
    def _place_is_one(cls, value: str) -> str:
        return checked_repo(value)


def in_words(asked: Publish) -> str:
    """Where a recipe pushes its model, for the plan."""
    where = "as a pull request" if asked.pr else f"branch {asked.revision}" if asked.revision else "main"
    return f"to {asked.to}, {'private' if asked.private else 'public'}, {where}, when it is trained and measured"


def checked_repo(name: str) -> str:
    """A name that the Hub can have, with its owner.

    Raises:
        PydanticCustomError: it cannot.
    """
    bad = not _REPO.fullmatch(name) or ".." in name or "--" in name or name.endswith(".git") or len(name) > _LONGEST
    if bad:
        raise invalid(f"{name!r} is no name on the Hub", "owner/name, of letters, digits, `-`, `_` and `.`")
    return name
