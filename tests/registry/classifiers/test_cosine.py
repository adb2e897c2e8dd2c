"""The cosine classifier; its official gradients are checked with the losses."""

from pathlib import Path

import numpy as np
import pytest

from registry.classifiers.cosine import CosineClassifier
from tests.parity import below, classifier_state, read_arrays, tensor


@pytest.mark.parametrize(("domain", "classes"), [(0, 7), (1, 11), (2, 5)])
def test_cosines_are_the_official_ones(shared_dir: Path, domain, classes):
    """On official student embeddings each domain's classifier gives the official cosines."""
    arrays = below(read_arrays(shared_dir, "forward"), "udon_vit/")
    classifier = CosineClassifier(64, classes)
    classifier.load_state_dict(
        classifier_state(below(arrays, f"params/universal_student_output_projection_{domain}/"))
    )
    cosine_BC = classifier(
        tensor(arrays[f"train_domain{domain}/embeddings/universal_student_embedd"])
    )
    expected = arrays[f"train_domain{domain}/classifier/universal_student_logits"]
    np.testing.assert_allclose(cosine_BC.detach().numpy(), expected, rtol=0, atol=2e-6)
