"""The losses against the official implementation's numbers, and against slow NumPy where it has
none.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from registry import losses
from registry.classifiers.cosine import CosineClassifier
from registry.contracts import Batch, Branch
from registry.heads.initialisers import l2_normalise
from registry.heads.linear import LinearHead
from registry.losses import functional
from tests.parity import below, classifier_state, linear_state, read_arrays, read_json, tensor

CASES = ("B16_C10", "B16_C78")
MARGINS = [
    ("normface", 0.0),
    *((margin, m) for margin in ("cosface", "arcface") for m in (0.0, 0.1, 0.3)),
]
TERMS = ("teacher_ce", "student_ce", "logit_distill", "simil_distill")
VARIANTS = {
    "default": TERMS,
    "no_logit_distill": ("teacher_ce", "student_ce", "simil_distill"),
    "no_simil_distill": ("teacher_ce", "student_ce", "logit_distill"),
    "no_distill": ("teacher_ce", "student_ce"),
} | {f"only_{term}": (term,) for term in TERMS}


@pytest.fixture(scope="module")
def arrays(shared_dir: Path):
    return read_arrays(shared_dir, "losses")


@pytest.fixture(scope="module")
def values(shared_dir: Path):
    return read_json(shared_dir, "losses")["cases"]


def close(got, expected, *, rtol=1e-5, atol=0.0):
    np.testing.assert_allclose(np.asarray(got.detach()), expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("side", ["teacher", "student"])
@pytest.mark.parametrize(("margin", "m"), MARGINS)
def test_cross_entropy_has_the_official_value(arrays, values, case, side, margin, m):
    """The classification loss equals the official one for every margin."""
    cosine_BC, labels_B = (
        tensor(arrays[f"{case}/{side}_cos_logits"]),
        tensor(arrays[f"{case}/labels"]),
    )
    close(
        functional.cross_entropy(cosine_BC, labels_B, margin=margin, m=m),
        values[case][f"ce_{side}_{margin}_m{m}"],
    )


@pytest.mark.parametrize(("teacher_temperature", "student_temperature"), [(0.1, 0.1), (0.05, 0.2)])
@pytest.mark.parametrize("case", CASES)
def test_kl_logit_has_the_official_value(
    arrays, values, case, teacher_temperature, student_temperature
):
    """Logit distillation equals the official one, each temperature on its own side."""
    got = functional.kl_logit(
        tensor(arrays[f"{case}/student_cos_logits"]),
        tensor(arrays[f"{case}/teacher_cos_logits"]),
        student_temperature=student_temperature,
        teacher_temperature=teacher_temperature,
    )
    close(got, values[case][f"logit_distill_tT{teacher_temperature}_tS{student_temperature}"])


@pytest.mark.parametrize("case", CASES)
def test_relational_has_the_official_value(arrays, values, case):
    """Relational distillation is a quarter of the official sum / B, and `mean` the mean square over
    the pairs.
    """
    student_BD, teacher_BE = (
        tensor(arrays[f"{case}/student_embedding"]),
        tensor(arrays[f"{case}/teacher_embedding"]),
    )
    close(functional.relational(student_BD, teacher_BE), values[case]["relational_with_coeff"])
    close(
        functional.relational(student_BD, teacher_BE, reduction="mean"),
        values[case]["relational_without_coeff"] / len(student_BD),
    )


def replay(arrays, case, terms):
    """Loss and the tensors with gradients of head, classifier and losses together, on the shared
    features of a case.
    """
    params = below(arrays, f"params/{case.split('_')[1]}/")
    labels_B = tensor(arrays[f"{case}/labels"])
    cls_BF = tensor(arrays[f"{case}/cls_features"]).requires_grad_()
    backbone_BF = l2_normalise(cls_BF)
    backbone_BF.retain_grad()
    side = {}
    for role, dim, head_name, kernel_name in (
        ("teacher", 256, "teacher_projection_domain_0/Dense_0/", "teacher_output_projection_0/"),
        (
            "student",
            64,
            "universal_student_projection_domain_0/Dense_0/",
            "universal_student_output_projection_0/",
        ),
    ):
        head = LinearHead(cls_BF.shape[1], dim)
        head.load_state_dict(linear_state(below(params, head_name)))
        classifier = CosineClassifier(dim, params[kernel_name + "kernel"].shape[1])
        classifier.load_state_dict(classifier_state(below(params, kernel_name)))
        embedding = head(backbone_BF)
        embedding.retain_grad()
        cosine_BC = classifier(embedding)
        branch = Branch(
            features_BF=backbone_BF,
            embedding_BD=embedding,
            cosine_BC=cosine_BC,
            class_range=range(cosine_BC.shape[1]),
        )
        side[role] = SimpleNamespace(head=head, classifier=classifier, branch=branch)
    batch = Batch(images=None, labels=labels_B, domain="first")
    student, teacher = side["student"].branch, side["teacher"].branch
    ce, kl, relational = (losses.get(name)() for name in ("ce", "kl_logit", "relational"))
    values = {
        "teacher_ce": lambda: ce(teacher, batch),
        "student_ce": lambda: ce(student, batch),
        "logit_distill": lambda: kl(student, teacher, batch),
        "simil_distill": lambda: relational(student, teacher, batch),
    }
    loss = torch.stack([values[term]() for term in terms]).mean()
    loss.backward()
    grads = {"backbone_out": backbone_BF.grad, "cls_features": cls_BF.grad}
    for role, parts in side.items():
        grads |= {
            f"{role}_embedding": parts.branch.embedding_BD.grad,
            f"{role}_classifier_kernel": parts.classifier.kernel_CD.grad,
            f"{role}_projection_kernel": parts.head.projection.weight.grad,
            f"{role}_projection_bias": parts.head.projection.bias.grad,
        }
    turned = {
        name: grad.T if grad is not None and name.endswith("kernel") else grad
        for name, grad in grads.items()
    }
    return loss, turned, side


@pytest.mark.parametrize("case", CASES)
def test_embeddings_and_cosines_are_the_official_ones(arrays, case):
    """Head and classifier give the official embeddings and cosines of both sides."""
    _, _, side = replay(arrays, case, TERMS)
    for role, parts in side.items():
        close(parts.branch.embedding_BD, arrays[f"{case}/{role}_embedding"], rtol=0, atol=2e-6)
        close(parts.branch.cosine_BC, arrays[f"{case}/{role}_cos_logits"], rtol=0, atol=2e-6)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("case", CASES)
def test_total_loss_has_the_official_value(arrays, values, case, variant):
    """The mean of the active terms is the official total loss, in every ablation."""
    loss, _, _ = replay(arrays, case, VARIANTS[variant])
    close(loss, values[case][f"total_loss_{variant}"])


# The single terms' gradients are stored for the small case alone.
@pytest.mark.parametrize(
    ("case", "variant"),
    [(case, name) for case in CASES for name in VARIANTS if case == CASES[0] or "only" not in name],
)
def test_gradients_are_the_official_ones(arrays, case, variant):
    """Every stored gradient, from the loss through cosines, classifier norms and heads to the
    features, is the official one.
    """
    _, grads, _ = replay(arrays, case, VARIANTS[variant])
    stored = below(arrays, f"{case}/{variant}/grad_")
    assert len(stored) >= 10
    for name, expected in stored.items():
        grad = grads[name.removesuffix("_first32rows").removesuffix("_norm")]
        grad = torch.zeros(()) if grad is None else grad
        if name.endswith("_norm"):
            grad = grad.norm()
        elif name.endswith("_first32rows"):
            grad = grad[:32] if grad.ndim else grad
        close(grad.expand(expected.shape), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("case", CASES)
def test_gradients_flow_exactly_where_the_official_ones_do(arrays, values, case, variant):
    """Norms of all gradients are the official ones, and exactly zero where those are: no
    distillation into the teacher.
    """
    _, grads, _ = replay(arrays, case, VARIANTS[variant])
    for name, expected in values[case]["gradflow"][variant].items():
        grad = grads[name.removeprefix("grad_")]
        norm = 0.0 if grad is None else grad.norm().item()
        assert norm == 0 if expected == 0 else norm == pytest.approx(expected, rel=1e-4), name


@pytest.mark.parametrize("case", CASES)
def test_the_classifier_norm_receives_gradient(arrays, case):
    """The gradient of each class column is orthogonal to the column."""
    _, _, side = replay(arrays, case, ("student_ce",))
    kernel_CD = side["student"].classifier.kernel_CD
    radial_C = (kernel_CD.grad * kernel_CD).sum(1) / kernel_CD.norm(dim=1)
    assert radial_C.abs().max() < 1e-6


@pytest.mark.parametrize("margin", ["normface", "cosface", "arcface"])
def test_without_a_margin_the_gradient_is_finite_at_the_poles(margin):
    """With m = 0 all margins are softmax cross-entropy with finite gradients where a cosine is
    exactly 1 or -1.
    """
    cosine_BC = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], requires_grad=True)
    functional.cross_entropy(cosine_BC, torch.tensor([0, 0]), margin=margin).backward()
    probability = 1 / (1 + np.exp(32.0))
    close(
        cosine_BC.grad,
        16 / 2 * np.array([[-probability, probability], [probability - 1, 1 - probability]]),
        atol=1e-6,
    )


def test_arcface_does_not_fall_back_beyond_pi():
    """arcface is cos(acos(c) + m) also where the angle passes pi, and other columns
    are left alone.
    """
    cosine = np.array([[-0.99, 0.2, 0.1]])
    logits = 16 * np.array([[np.cos(np.arccos(-0.99) + 0.5), 0.2, 0.1]])
    expected = np.log(np.exp(logits).sum()) - logits[0, 0]
    got = functional.cross_entropy(
        torch.tensor(cosine, dtype=torch.float32), torch.tensor([0]), margin="arcface", m=0.5
    )
    close(got, expected)


def test_a_margin_needs_a_margin_function():
    """normface with m > 0 is refused, by the function and by the component."""
    with pytest.raises(ValueError, match="normface has no margin"):
        functional.cross_entropy(torch.zeros(1, 2), torch.tensor([0]), m=0.1)
    with pytest.raises(ValueError, match="normface has no margin"):
        losses.get("ce")(m=0.1)


def test_kl_logit_does_not_underflow():
    """Cosines at opposite ends with tiny temperatures give the exact finite divergence."""
    student_BC, teacher_BC = torch.tensor([[1.0, -1.0]]), torch.tensor([[-1.0, 1.0]])
    got = functional.kl_logit(
        student_BC, teacher_BC, student_temperature=0.01, teacher_temperature=0.01
    )
    close(got, 200.0)


def test_losses_are_float32_whatever_comes_in():
    """bfloat16 inputs are computed in float32."""
    rows = torch.eye(3, dtype=torch.bfloat16)
    results = [
        functional.cross_entropy(rows, torch.arange(3)),
        functional.kl_logit(rows, rows),
        functional.relational(rows, rows),
    ]
    assert [result.dtype for result in results] == [torch.float32] * 3


def joint_and_own(generator):
    """A joint student over 2 + 3 + 2 classes whose domain has columns 2 to 4, and a teacher of that
    domain alone.
    """

    def draw(*shape):
        return 2 * torch.rand(*shape, generator=generator) - 1

    student = Branch(
        features_BF=None, embedding_BD=draw(4, 5), cosine_BC=draw(4, 7), class_range=range(2, 5)
    )
    teacher = Branch(
        features_BF=None, embedding_BD=draw(4, 6), cosine_BC=draw(4, 3), class_range=range(3)
    )
    return student, teacher, Batch(images=None, labels=torch.tensor([0, 2, 1, 2]), domain="second")


def test_a_joint_classifier_competes_over_all_classes():
    """Cross-entropy on a joint branch targets the shifted column and normalises over the columns of
    all domains.
    """
    student, _, batch = joint_and_own(torch.Generator().manual_seed(0))
    logits = 16 * student.cosine_BC.double().numpy()
    expected = np.mean(
        [
            np.log(np.exp(row).sum()) - row[2 + label]
            for row, label in zip(logits, batch.labels.tolist(), strict=True)
        ]
    )
    close(losses.get("ce")()(student, batch), expected)


def test_a_joint_student_is_distilled_within_its_domain():
    """Logit distillation on a joint student uses the columns of the batch's domain only."""
    student, teacher, batch = joint_and_own(torch.Generator().manual_seed(1))
    p, q = (
        np.exp(teacher.cosine_BC.double().numpy() / 0.2),
        np.exp(student.cosine_BC.double().numpy()[:, 2:5] / 0.3),
    )
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    got = losses.get("kl_logit")(student_temperature=0.3, teacher_temperature=0.2)(
        student, teacher, batch
    )
    close(got, (p * np.log(p / q)).sum(1).mean())


def test_losses_say_what_they_need_and_take():
    """Each built-in loss declares its options, and whether it needs a teacher, by its signature."""
    declared = {name: losses.describe(name) for name in ("ce", "kl_logit", "relational")}
    assert {name: found.facts["needs_teacher"] for name, found in declared.items()} == {
        "ce": False,
        "kl_logit": True,
        "relational": True,
    }
    assert declared["ce"].defaults() == {"margin": "normface", "m": 0.0, "scale": 16.0}
    assert declared["kl_logit"].defaults() == {
        "student_temperature": 0.1,
        "teacher_temperature": 0.1,
    }
    assert declared["relational"].defaults() == {"reduction": "official"}
