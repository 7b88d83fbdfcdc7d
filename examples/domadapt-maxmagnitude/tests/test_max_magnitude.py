"""The method against adapt's own checks, and on numbers that can be checked by hand."""

from __future__ import annotations

import torch

from domadapt.testing import check_pack
from domadapt_maxmagnitude import MaxMagnitude


def merged(ancestor: list[float], tuned: list[list[float]], weights: list[float]) -> list[float]:
    tensors = [torch.tensor(values) for values in tuned]
    result: list[float] = MaxMagnitude().merge_tensor("w", torch.tensor(ancestor), tensors, weights, None).tolist()
    return result


def test_the_plugin_does_what_adapt_expects_of_one() -> None:
    check_pack("maxmagnitude")


def test_each_weight_takes_the_largest_change_with_its_sign() -> None:
    assert merged([1.0, 1.0, 0.0], [[1.5, -2.0, 0.25], [0.0, 2.0, -0.5]], [0.5, 0.5]) == [0.0, -2.0, -0.5]


def test_a_models_share_counts() -> None:
    assert merged([0.0, 0.0], [[1.0, 1.0], [-2.0, -4.0]], [0.75, 0.25]) == [1.0, -4.0]  # 0.75 > 0.5; 0.75 < 1


def test_of_equal_changes_the_first_models_is_taken() -> None:
    assert merged([0.0], [[-3.0], [3.0]], [0.5, 0.5]) == [-3.0]


def test_a_model_that_changed_nothing_leaves_the_other_one_as_it_is() -> None:
    ancestor = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    other = ancestor + 1
    assert torch.equal(MaxMagnitude().merge_tensor("w", ancestor, [ancestor, other], [0.5, 0.5], None), other)
