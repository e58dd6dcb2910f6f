"""GRACE's reward of generated rationales (arXiv 2510.04506): the reward only, as plain functions of embeddings.

GRACE trains a language model to write a rationale whose embedding retrieves well, by policy gradient
(`embedkit.auxiliary.grace`). Rows are rollouts: several per prompt, and a prompt's rollouts are a group.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from embedkit.objectives.logits import products, unit

UNFINISHED = -1.0
"""Reward of a rollout that reached the length limit without an end."""


@dataclass(frozen=True)
class Settings:
    """What every reward shares.

    Attributes:
        temperature: divides every cosine.
        clustering_weight, cross_group_weight: of the terms of the same names.
    """

    temperature: float = 0.1
    clustering_weight: float = 0.2
    cross_group_weight: float = 0.2


DEFAULTS = Settings()
"""The authors'."""


@dataclass(frozen=True)
class Reward:
    """Rewards of R rollouts and what they are made of; the parts are cosines / temperature, without their weights.

    Attributes:
        total: [R] the reward.
        positive: [R] similarity of query and document.
        negative: [R] minus the similarity of the group's first query and first negative; None where there are none.
        clustering: [R] mean similarity of the document to the others of its group.
        cross_group: [R] minus the similarity to other groups.
    """

    total: Tensor
    positive: Tensor
    negative: Tensor | None
    clustering: Tensor
    cross_group: Tensor


def supervised_reward(
    query: Tensor,
    document: Tensor,
    negative: Tensor,
    group: Tensor,
    settings: Settings = DEFAULTS,
    finished: Tensor | None = None,
) -> Reward:
    """Reward of rollouts of queries with given documents and negatives.

    For rollout i of group g, cosines divided by the temperature::

        r_i = cos(q_i, d_i) - cos(q_g0, n_g0) + 0.2 mean_{j in g, j != i} cos(d_i, d_j)
              - 0.2 mean_{g' != g} max_{k in g'} cos(q_i, d_k)

    The second term is the same for a whole group, so it cancels in `advantage`; the last does not depend on d_i.

    Args:
        query, document, negative: [R, d].
        group: [R] id of the prompt.
        settings: temperature and weights.
        finished: [R] bool; False gives `UNFINISHED`. All finished when None.
    """
    q, d, n = unit(query), unit(document), unit(negative)
    index, first = _groups(group)
    best = products(q, d).new_full((len(q), len(first)), -torch.inf)
    best = best.scatter_reduce(1, index.expand(len(q), -1), products(q, d), "amax")
    cross = -_other_groups(best, index)
    separate = -(q[first] * n[first]).sum(1)[index]
    return _reward(q, d, index, cross, separate, settings, finished)


def unsupervised_reward(
    query: Tensor,
    document: Tensor,
    group: Tensor,
    settings: Settings = DEFAULTS,
    finished: Tensor | None = None,
) -> Reward:
    """Reward without labels: the query is a second rollout of the document's prompt.

    As `supervised_reward` without negatives, and with ``- 0.2 mean_{g' != g} cos(d_i, q_g'0)`` as the last term.
    """
    q, d = unit(query), unit(document)
    index, first = _groups(group)
    cross = -_other_groups(products(d, q[first]), index)
    return _reward(q, d, index, cross, None, settings, finished)


def advantage(reward: Tensor, group: Tensor) -> Tensor:
    """[R] reward less the mean of its group (GRPO without division by the deviation)."""
    index, first = _groups(group)
    total = reward.new_zeros(len(first)).index_add(0, index, reward)
    return reward - (total / torch.bincount(index))[index]


def _groups(group: Tensor) -> tuple[Tensor, Tensor]:
    """[R] index of each rollout's group, [G] first rollout of each group."""
    _, index = group.unique(return_inverse=True)
    place = torch.arange(len(group), device=group.device)
    first = place.new_full((int(index.max()) + 1,), len(group)).scatter_reduce(0, index, place, "amin")
    return index, first


def _other_groups(similarity: Tensor, index: Tensor) -> Tensor:
    """[R] mean of similarity [R, G] over the groups that are not the row's own; 0 where there is only one."""
    own = similarity.gather(1, index[:, None]).squeeze(1)
    return (similarity.sum(1) - own) / max(similarity.shape[1] - 1, 1)


def _reward(
    q: Tensor,
    d: Tensor,
    index: Tensor,
    cross: Tensor,
    separate: Tensor | None,
    settings: Settings,
    finished: Tensor | None,
) -> Reward:
    temperature = settings.temperature
    mates = index[:, None] == index
    mates.fill_diagonal_(False)
    cluster = (products(d, d) * mates).sum(1) / mates.sum(1).clamp_min(1)
    positive, cluster, cross = (q * d).sum(1) / temperature, cluster / temperature, cross / temperature
    total = positive + settings.clustering_weight * cluster + settings.cross_group_weight * cross
    if separate is not None:
        separate = separate / temperature
        total = total + separate
    if finished is not None:
        total = total.masked_fill(~finished, UNFINISHED)
    return Reward(total, positive, separate, cluster, cross)
