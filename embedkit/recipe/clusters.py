"""Batches that are made by clusters of rows."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from embedkit.recipe.base import Block, Leads, invalid


class Clusters(Block):
    """Which rows share a batch: those of one cluster (TAS-B, arXiv 2104.06967; MCL, arXiv 2402.11816), or no two of one
    (G-SimCLR, arXiv 2009.12007). Clusters are the role `cluster`, or found by k-means."""

    batches: Literal["together", "apart"] = Field(
        description="together: a batch holds rows of one cluster, hard negatives for each other. apart: no two rows of "
        "any batch are of one cluster."
    )
    kmeans: int | None = Field(
        None, ge=2, description="Clusters found among the embeddings before training. None: the role `cluster`."
    )
    of: Literal["query", "positive"] = Field(
        "query", description="What k-means embeds; of several positives the first."
    )
    model: Annotated[str | tuple[str, ...] | None, Leads("folder")] = Field(
        None,
        description="What embeds for k-means: a folder or a Hub id; in a recipe with stages also the name of an "
        "earlier one, or `base`, what the first began with. Several: each has clusters of its own, and rows are "
        "together that share the clusters of all (MCL's stages). None: the recipe's own base model.",
    )
    iterations: int = Field(25, ge=1, le=1000, description="Of k-means.")
    rest: Literal["mix", "drop"] = Field(
        "mix",
        description="together: what becomes of rows that do not fill a batch of their cluster. mix: they share "
        "batches, cluster after cluster (as TAS-B does). drop: they are left out of this epoch (MCL).",
    )

    @model_validator(mode="after")
    def _used(self) -> Clusters:
        if self.batches == "apart" and self.rest != "mix":
            raise invalid("`rest` is about clusters that are kept together", "leave it out")
        if self.kmeans is None and (self.model is not None or self.of != "query"):
            raise invalid("without kmeans nothing is embedded", "set kmeans, or leave model and of out")
        if self.model == () or len(set(self.models)) < len(self.models):
            raise invalid("`model` names one model at least, and none twice", "leave it out for the base model")
        return self

    @property
    def models(self) -> tuple[str | None, ...]:
        """What embeds, one after the other; None is the recipe's own base model."""
        return self.model if isinstance(self.model, tuple) else (self.model,)
