"""The people and poses that the page offers: synthetic people that no training has seen."""

from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Num
from numpy.typing import NDArray

from synthetic_people import SyntheticPeople
from synthetic_people.raycast import View
from twostream.data.keypoints import MISSING, found

NUM_PEOPLE, NUM_POSES = 10, 5
NUM_BODY = 14  # joints before those of the face
SEED = 2011  # the training data's is 0
# A person that stands, seen from the front, as fractions of height and width; in the order of the joints.
STANDING = (
    *((0.13, 0.5), (0.22, 0.5)),
    *((0.22, 0.36), (0.36, 0.31), (0.49, 0.29)),
    *((0.22, 0.64), (0.36, 0.69), (0.49, 0.71)),
    *((0.5, 0.41), (0.7, 0.4), (0.89, 0.4)),
    *((0.5, 0.59), (0.7, 0.6), (0.89, 0.6)),
    *((0.115, 0.46), (0.115, 0.54), (0.125, 0.41), (0.125, 0.59)),
)


def render_examples(image_size: tuple[int, int]) -> tuple[list[tuple[NDArray[np.uint8], list[Any]]], list[list[Any]]]:
    """Render people, and poses of others, at a height and width in pixels.

    Returns for each person the RGB image (h, w, 3) and the joints, and the joints of each pose, as `plain_joints`. All
    show the whole body; the nose, the eyes and the ears may be hidden.
    """
    people = SyntheticPeople(image_size, 1, num_test_identities=100, views_per_identity=6, num_test_pairs=1, seed=SEED)
    best = (_best_view(people, identity) for identity in range(people.num_test_identities))
    whole = (view for view in best if found(view.joints)[1:NUM_BODY].all())
    shown = [(view.image, plain_joints(view.joints)) for view in islice(whole, NUM_PEOPLE)]
    return shown, [plain_joints(view.joints) for view in islice(whole, NUM_POSES)]


def _best_view(people: SyntheticPeople, identity: int) -> View:
    """Return the view of a person with the most visible joints, of the body before those of the face."""
    views = [view for _, view in people.views("test", identity)]
    return max(views, key=lambda view: (found(view.joints)[:NUM_BODY].sum(), found(view.joints).sum()))


def plain_joints(joints: Num[np.ndarray, "18 2"]) -> list[Any]:
    """Return joints, -1 or NaN if missing, as the page has them: [y, x] in pixels, None for a missing one."""
    is_found = ((joints != MISSING) & ~np.isnan(joints)).all(axis=1)
    return [joint if one else None for joint, one in zip(joints.round(2).tolist(), is_found, strict=True)]
