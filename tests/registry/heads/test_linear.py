"""The linear head; its official embeddings and gradients are checked with the losses."""

from pathlib import Path

import numpy as np
import pytest
import torch

from registry import heads
from registry.heads.linear import LinearHead
from tests.parity import below, linear_state, read_arrays, tensor


@pytest.mark.parametrize("domain", [0, 1, 2])
def test_linear_head_gives_the_official_teacher_embedding(shared_dir: Path, domain):
    """On official backbone features each domain's teacher head gives the official embedding."""
    arrays = below(read_arrays(shared_dir, "forward"), "udon_vit/")
    head = LinearHead(64, 256)
    head.load_state_dict(
        linear_state(below(arrays, f"params/teacher_projection_domain_{domain}/Dense_0/"))
    )
    embedding_BD = head(tensor(arrays[f"train_domain{domain}/embeddings/backbone_out"]))
    expected = arrays[f"train_domain{domain}/embeddings/teacher_embedd"]
    np.testing.assert_allclose(embedding_BD.detach().numpy(), expected, rtol=0, atol=2e-6)


def test_linear_head_starts_without_a_bias():
    """A fresh head has a zero bias and unit rows."""
    head = LinearHead(32, 8)
    assert head.projection.bias.abs().max() == 0
    torch.testing.assert_close(head(torch.randn(5, 32)).norm(dim=1), torch.ones(5))


def test_dropout_is_of_training_alone():
    """In training a share of the features is zeroed and the others are scaled up, in evaluation
    nothing changes; without it training and evaluation are the same.
    """
    head, plain = LinearHead(1000, 8, dropout=0.2), LinearHead(1000, 8)
    plain.load_state_dict(head.state_dict())
    features_BF = torch.randn(5, 1000)
    assert torch.equal(head.eval()(features_BF), plain.train()(features_BF))
    seen_BF = {}
    head.train().projection.register_forward_pre_hook(
        lambda _, inputs: seen_BF.update(features=inputs[0])
    )
    head(features_BF)
    kept_BF = seen_BF["features"] != 0
    assert 0.15 < 1 - kept_BF.float().mean() < 0.25
    torch.testing.assert_close(seen_BF["features"][kept_BF], features_BF[kept_BF] / 0.8)


def test_heads_say_what_they_take():
    """The built-in heads declare their options by their signature, and whether they are fitted."""
    declared = {name: heads.describe(name) for name in ("lda", "linear", "mlp", "pca")}
    assert {name: found.defaults() for name, found in declared.items()} == {
        "linear": {"dropout": None},
        "mlp": {"hidden": [512]},
        "lda": {"shrinkage": 0.75},
        "pca": {"whiten": False},
    }
    assert [name for name, found in declared.items() if found.facts["fitted"]] == ["lda", "pca"]
