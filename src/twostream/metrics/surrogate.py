"""Metrics of the surrogate evaluator, a small network for synthetic people that needs no downloaded weights.

The only module of this package that depends on `synthetic_people`.
"""

from collections.abc import Callable, Sequence

import numpy as np
from typing_extensions import override

from synthetic_people.clothes import GARMENT_KINDS
from synthetic_people.evaluator import Evaluator
from synthetic_people.evaluator_training import EvaluatorTraining as EvaluatorTraining
from synthetic_people.people import SyntheticPeople
from twostream.data.pairs import identity_of
from twostream.metrics.inception import FeatureColumns
from twostream.metrics.metric import Columns, ImageBatch, Metric, Rows, SharedMetric, to_tensor
from twostream.metrics.pckh import pckh, pckh_column_names, pckh_columns
from twostream.metrics.protocols import EVALUATOR


def is_synthetic(source: object) -> bool:
    """Return whether the source of a data folder is the synthetic dataset, for which alone the evaluator is trained."""
    return isinstance(source, SyntheticPeople)


Clothes = Callable[[str], Sequence[int]]
"""Returns the classes of the clothes of the person in a true image, given its name."""


def clothes_of(source: object) -> Clothes | None:
    """Return the clothes of the people of a data source, None if it isn't the synthetic dataset."""
    return (lambda name: source.garments(identity_of(name))) if isinstance(source, SyntheticPeople) else None


class EvaluatorColumns(FeatureColumns):
    """The evaluator's features and logits of the generated images, with the counts of correct joints.

    With `clothes`, also whether it reads each kind of garment class right from the generated and from the true image.
    """

    def __init__(self, evaluator: Evaluator, image_size: tuple[int, int], clothes: Clothes | None = None) -> None:
        super().__init__(evaluator, EVALUATOR, image_size)
        self.clothes = clothes

    @override
    def update(self, images: ImageBatch) -> Columns:
        predictions = self.net(to_tensor(images.generated))
        columns = {self.features: predictions.features, self.logits: predictions.logits}
        columns |= pckh_columns(EVALUATOR.name, predictions.joints, images.joints)
        if self.clothes is not None:
            worn = np.array([self.clothes(target) for _, target in images.pairs])
            of_true = self.net(to_tensor(images.true)).garments == worn
            of_generated = predictions.garments == worn
            for kind, right, right_of_true in zip(GARMENT_KINDS, of_generated.T, of_true.T, strict=True):
                numbers = {f"{kind}/evaluator": right, f"{kind}_of_true/evaluator": right_of_true}
                columns |= {name: number.astype(np.int64) for name, number in numbers.items()}
        return columns


class AppearanceAccuracy(SharedMetric):
    """The share of generated images in which the evaluator reads the clothes that the person in the true image wears.

    Of one kind of garment class or of all three together. `true_images` is the same share of the true images.
    """

    def __init__(self, kinds: Sequence[str], shared: EvaluatorColumns) -> None:
        name = f"{kinds[0]}_accuracy" if len(kinds) == 1 else "appearance_accuracy"
        columns = [f"{kind}{of}/evaluator" for of in ("", "_of_true") for kind in kinds]
        super().__init__(name, EVALUATOR.name, shared.details, columns)
        self.measure = shared.update
        self._num_kinds = len(kinds)

    @override
    def compute(self, columns: Columns, rows: Rows) -> float:
        return float(np.all([columns[name][rows] for name in self.columns[: self._num_kinds]], axis=0).mean())

    @override
    def extras(self, columns: Columns) -> dict[str, float]:
        return {
            "true_images": float(np.all([columns[name] for name in self.columns[self._num_kinds :]], axis=0).mean())
        }


def appearance_accuracies(shared: EvaluatorColumns) -> list[Metric]:
    """Return the accuracy of all kinds of garment classes together and of each one, if the clothes are known."""
    if shared.clothes is None:
        return []
    return [AppearanceAccuracy(kinds, shared) for kinds in (GARMENT_KINDS, *([kind] for kind in GARMENT_KINDS))]


class EvaluatorPCKh(SharedMetric):
    """PCKh of the joints that the evaluator finds in the generated images."""

    def __init__(self, shared: EvaluatorColumns) -> None:
        super().__init__("pckh", EVALUATOR.name, shared.details, pckh_column_names(EVALUATOR.name))
        self.measure = shared.update

    @override
    def compute(self, columns: Columns, rows: Rows) -> float:
        return pckh(np.stack([columns[name][rows] for name in self.columns], axis=1))
