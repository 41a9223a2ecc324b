"""Metrics of the surrogate evaluator, a small network for synthetic people that needs no downloaded weights.

The only module of this package that depends on `synthetic_people`.
"""

import numpy as np
from typing_extensions import override

from synthetic_people.evaluator import Evaluator
from synthetic_people.evaluator_training import EvaluatorTraining as EvaluatorTraining
from synthetic_people.people import SyntheticPeople
from twostream.metrics.inception import FeatureColumns
from twostream.metrics.metric import Columns, ImageBatch, Metric, Rows, to_tensor
from twostream.metrics.pckh import pckh, pckh_column_names, pckh_columns
from twostream.metrics.protocols import EVALUATOR


def is_synthetic(source: object) -> bool:
    """Return whether the source of a data folder is the synthetic dataset, for which alone the evaluator is trained."""
    return isinstance(source, SyntheticPeople)


class EvaluatorColumns(FeatureColumns):
    """The evaluator's features and logits of the generated images, with the counts of correct joints."""

    def __init__(self, evaluator: Evaluator, image_size: tuple[int, int]) -> None:
        super().__init__(evaluator, EVALUATOR, image_size)

    @override
    def update(self, images: ImageBatch) -> Columns:
        joints, features, logits = self.net(to_tensor(images.generated))
        counts = pckh_columns(EVALUATOR.name, joints, images.joints)
        return {self.features: features, self.logits: logits, **counts}


class EvaluatorPCKh(Metric):
    """PCKh of the joints that the evaluator finds in the generated images."""

    def __init__(self, shared: EvaluatorColumns) -> None:
        super().__init__("pckh", EVALUATOR.name, shared.details, pckh_column_names(EVALUATOR.name))
        self._shared = shared

    @override
    def update(self, images: ImageBatch) -> Columns:
        return self._shared.update(images)

    @override
    def compute(self, columns: Columns, rows: Rows) -> float:
        return pckh(np.stack([columns[name][rows] for name in self.columns], axis=1))
