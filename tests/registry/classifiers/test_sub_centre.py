"""Several centres per class."""

from __future__ import annotations

import numpy as np
import torch

from registry.classifiers.cosine import CosineClassifier
from registry.classifiers.sub_centre import SubCentreClassifier
from registry.contracts import Batch, Branch
from registry.losses.ce import CrossEntropy


def unit(rows: np.ndarray) -> np.ndarray:
    """Vectors divided by their lengths."""
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_it_is_sub_centre_arcface_with_the_same_weights() -> None:
    """Cosines and the loss with an angular margin equal a plain loop over images and classes."""
    random = np.random.default_rng(0)
    embedding_BD, labels = unit(random.normal(size=(6, 8))), random.integers(0, 5, 6)
    classifier = SubCentreClassifier(8, 5, k=4).double()
    kernel_CKD = random.normal(size=(5, 4, 8))
    classifier.kernel_CKD.data = torch.tensor(kernel_CKD)
    cosines = np.array(
        [[max(unit(centres) @ row) for centres in kernel_CKD] for row in embedding_BD]
    )
    cosine_BC = classifier(torch.tensor(embedding_BD))
    np.testing.assert_allclose(cosine_BC.detach().numpy(), cosines, rtol=1e-12)
    terms = []
    for row, label in zip(cosines, labels, strict=True):
        logits = 16 * row
        logits[label] = 16 * np.cos(np.arccos(row[label]) + 0.3)
        terms.append(np.log(np.exp(logits).sum()) - logits[label])
    branch = Branch(features_BF=None, embedding_BD=None, cosine_BC=cosine_BC, class_range=range(5))
    batch = Batch(images=None, labels=torch.tensor(labels), domain="a")
    loss = CrossEntropy(margin="arcface", m=0.3)(branch, batch)
    np.testing.assert_allclose(loss.item(), np.mean(terms), rtol=1e-6)


def test_only_the_nearest_centre_of_a_class_learns() -> None:
    """The others of the class get no gradient."""
    classifier = SubCentreClassifier(4, 1, k=3)
    classifier(torch.nn.functional.normalize(torch.randn(1, 4)))[0, 0].backward()
    assert (classifier.kernel_CKD.grad[0].abs().sum(1) > 0).sum() == 1


def test_with_one_centre_it_is_the_cosine_classifier() -> None:
    """The same stream of random numbers gives the same cosines."""
    torch.manual_seed(0)
    one = SubCentreClassifier(8, 5, k=1)
    torch.manual_seed(0)
    other = CosineClassifier(8, 5)
    embedding_BD = torch.nn.functional.normalize(torch.randn(6, 8))
    assert torch.equal(one(embedding_BD), other(embedding_BD))
