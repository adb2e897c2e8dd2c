"""The vocabulary that components speak.

Value classes and protocols, without behaviour and without torch.

Shape suffixes: B batch, C classes, D student dimension, E teacher dimension, F backbone features, H
W pixels.
"""

from __future__ import annotations

from registry.contracts.options import (
    Average,
    Budget,
    Optimiser,
    Orientation,
    Pixels,
    Positive,
    Rate,
    Schedule,
    Share,
    Steps,
    Subset,
    Transform,
    Validation,
)
from registry.contracts.protocols import (
    BranchLoss,
    Metric,
    NamedTensors,
    PairLoss,
    Sampler,
    Scheme,
    Source,
)
from registry.contracts.rows import Recipe, Row, RowInit, RowSpec, RowTeacher, Slot
from registry.contracts.searches import Dimension, Search, Trial
from registry.contracts.stages import (
    BackboneSpec,
    ComponentSpec,
    DomainFacts,
    EvaluationSpec,
    HeadSpec,
    InitSpec,
    LossSpec,
    StageSpec,
    TeacherSpec,
    Training,
)
from registry.contracts.step import Batch, Branch, LossContext, Start

__all__ = [
    "Average",
    "BackboneSpec",
    "Batch",
    "Branch",
    "BranchLoss",
    "Budget",
    "ComponentSpec",
    "Dimension",
    "DomainFacts",
    "EvaluationSpec",
    "HeadSpec",
    "InitSpec",
    "LossContext",
    "LossSpec",
    "Metric",
    "NamedTensors",
    "Optimiser",
    "Orientation",
    "PairLoss",
    "Pixels",
    "Positive",
    "Rate",
    "Recipe",
    "Row",
    "RowInit",
    "RowSpec",
    "RowTeacher",
    "Sampler",
    "Schedule",
    "Scheme",
    "Search",
    "Share",
    "Slot",
    "Source",
    "StageSpec",
    "Start",
    "Steps",
    "Subset",
    "TeacherSpec",
    "Training",
    "Transform",
    "Trial",
    "Validation",
]
