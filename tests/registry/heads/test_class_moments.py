"""Sums by class against plain loops over all features at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from registry.heads.class_moments import ClassMoments

DOMAINS = {"cars": 3, "dishes": 2}


@pytest.fixture
def parts() -> list[tuple[torch.Tensor, torch.Tensor, str]]:
    """Features of two domains in batches; a class of the second has one image."""
    rng = torch.Generator().manual_seed(0)
    cars = [0, 1, 1, 2, 0, 2, 2, 0]
    dishes = [0, 1, 0, 0]
    batches = [("cars", cars[:5]), ("cars", cars[5:]), ("dishes", dishes)]
    return [
        (torch.randn(len(labels), 4, generator=rng), torch.tensor(labels), domain)
        for domain, labels in batches
    ]


def test_every_class_and_every_domain_counts_the_same(
    parts: list[tuple[torch.Tensor, torch.Tensor, str]],
) -> None:
    """Mean and scatters are means over domains, and over classes, however many images they have."""
    moments = ClassMoments(4, DOMAINS)
    for part in parts:
        moments.add(*part)
    within, means = [], []
    for domain, classes in DOMAINS.items():
        features = np.concatenate([each[0].double().numpy() for each in parts if each[2] == domain])
        labels = np.concatenate([each[1].numpy() for each in parts if each[2] == domain])
        centres = np.stack([features[labels == label].mean(0) for label in range(classes)])
        rest = features - centres[labels]
        within.append(rest.T @ rest / (len(labels) - classes))
        means.append(centres)
    mean = np.mean([each.mean(0) for each in means], axis=0)
    between = np.mean([(each - mean).T @ (each - mean) / len(each) for each in means], axis=0)
    scatter = moments.scatter()
    np.testing.assert_allclose(scatter.mean_F, mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(scatter.within_FF, np.mean(within, axis=0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(scatter.between_FF, between, rtol=0, atol=1e-12)
    assert scatter.classes == 5


@pytest.mark.parametrize("after", [1, 2, 3])
def test_they_go_on_from_their_state_bit_for_bit(
    parts: list[tuple[torch.Tensor, torch.Tensor, str]], after: int
) -> None:
    """Sums that were kept amid or after a domain and went on elsewhere equal those that were not
    interrupted.
    """
    whole, first, second = (ClassMoments(4, DOMAINS) for _ in range(3))
    for number, part in enumerate(parts):
        whole.add(*part)
        (first if number < after else second).add(*part)
        if number == after - 1:
            second.load_state_dict(first.state_dict())
    ours, theirs = second.scatter(), whole.scatter()
    assert torch.equal(ours.within_FF, theirs.within_FF)
    assert torch.equal(ours.between_FF, theirs.between_FF)


def test_without_two_images_of_a_class_nothing_is_known() -> None:
    """Nothing added, or one image a class, is refused."""
    moments = ClassMoments(2, {"cars": 2})
    with pytest.raises(ValueError, match="no class has two images"):
        moments.scatter()
    with pytest.raises(ValueError, match="no class has two images"):
        moments.add(torch.eye(2), torch.tensor([0, 1]), "cars").scatter()
