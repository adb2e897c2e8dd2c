"""The losses of pytorch-metric-learning: https://kevinmusgrave.github.io/pytorch-metric-learning."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from torch import Tensor, nn

from registry import losses
from registry.contracts import Batch, Branch, LossContext
from registry.losses.pml_arguments import FILLED, arguments_of, problems


@losses.register("pml")
class Pml(nn.Module):
    """A loss of pytorch-metric-learning by its name, on embeddings and labels.

    It is called (branch, batch), on the student's or the teacher's branch, and returns a float32
    scalar of the embeddings float [B, D] and the labels int64 [B]. All pairs or triplets of the
    batch count: there is no miner. A batch without any gives 0.

    A loss with proxies of its own has them once per domain. They are trained with the heads, and
    are in the checkpoint but in no model that is kept. Its `num_classes` and `embedding_size` are
    set here. The model's own class columns are others, which it does not train: for ArcFace,
    CosFace, Proxy-Anchor and the like prefer `ce`, a classifier and `proxy_anchor`, so that logits,
    distillation and loss are of the same columns.

    Many of these losses count pairs, for which the host waits for the device in every step.
    `supcon` and `proxy_anchor` have the same values and do not. The library is an extra:
    `pip install 'udonx[metric]'`.

    Args:
        context: what the stage is.
        loss: the name of a class of `pytorch_metric_learning.losses`.
        kwargs: what it is built from.

    Attributes:
        parts: the loss, or one for each domain where it has to know the classes.

    Raises:
        ValueError: the library is absent, lacks the loss, or cannot build it.

    Source: Musgrave et al., PyTorch Metric Learning, 2020, https://arxiv.org/abs/2008.09164; each
    loss names its paper.

    Example:
        `losses.pairs = { use = "pml", loss = "MultiSimilarityLoss", kwargs = { alpha = 2 } }`
    """

    def __init__(
        self,
        context: LossContext,
        *,
        loss: Annotated[
            str,
            Field(description="The library's name of the loss: `MultiSimilarityLoss`."),
        ],
        kwargs: Annotated[
            dict[str, Any] | None,
            Field(description="Passed to the loss, such as `{ alpha = 2, beta = 50 }`."),
        ] = None,
    ) -> None:
        super().__init__()
        options = {"use": "pml", "loss": loss, "kwargs": kwargs}
        for _, why in problems(options, lambda library, make: make()):
            raise ValueError(f"loss 'pml' ({loss}): {why}")
        from pytorch_metric_learning import losses as library

        target = getattr(library, loss)
        dim = context.teacher_dim if context.on == "teacher" else context.student_dim
        filled = set(FILLED) & set(arguments_of(target))
        self.position = {domain: position for position, domain in enumerate(context.domains)}
        self.parts = nn.ModuleList()
        for domain in context.domains if filled else context.domains[:1]:
            known = {
                "num_classes": len(context.class_counts[domain]),
                "embedding_size": dim,
                "descriptors_dim": dim,
            }
            self.parts.append(
                _built(target, {name: known[name] for name in filled}, dict(kwargs or {}))
            )

    def forward(self, branch: Branch, batch: Batch) -> Tensor:
        """The loss, a scalar, of embeddings [B, D] against the batch's labels int64 [B]."""
        part = self.parts[self.position[batch.domain] if len(self.parts) > 1 else 0]
        return part(branch.embedding_BD.float(), batch.labels)


def _built(target: type[nn.Module], known: dict[str, Any], kwargs: dict[str, Any]) -> nn.Module:
    """A loss of the library.

    Raises:
        ValueError: it does not take these kwargs.
    """
    try:
        return target(**known, **kwargs)
    except Exception as error:  # the library states its limits in asserts and in plain exceptions
        why = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"loss 'pml': {target.__name__} cannot be built with kwargs = {kwargs}: {why:.300}"
        ) from error
