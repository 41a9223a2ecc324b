"""The models that come with the package reach what their configs say."""

import json
from itertools import chain

import numpy as np
import pytest
from PIL import Image

from synthetic_people.people import SyntheticPeople, render_identity
from twostream.data.images import read_image
from twostream.data.pairs import identity_of, matching_pairs, split_identities
from twostream.inference import PoseTransfer
from twostream.metrics.protocols import STANDARD
from twostream.metrics.ssim import ssim
from twostream.model_package import MODELS, find_model, packaged_models
from twostream.registry import build

MAX_MIB = 12


@pytest.fixture(scope="module", params=packaged_models())
def package(request):
    return MODELS / request.param


@pytest.fixture(scope="module")
def config(package):
    return json.loads((package / "config.json").read_text())


def validation_pairs(people: SyntheticPeople, data: dict, folder):
    """Render the people that training held out; return their images' joints and the validation pairs."""
    names = [people.draw("train", index)[0] for index in range(people.num_train_identities)]
    stand_ins = {name: [(f"{name}_a", f"{name}_b")] for name in names}
    _, held_out = split_identities([*chain(*stand_ins.values())], data["num_val_identities"], len(names))
    (folder / "train").mkdir()
    joints, made = {}, {}
    for name in {identity_of(source) for source, _ in held_out}:
        seen = render_identity(people, folder, "train", names.index(name))
        made[name] = matching_pairs(dict(sorted(seen.items())))
        joints |= seen
    pairs = [*chain(*(stand_ins | made).values())]
    return joints, split_identities(pairs, data["num_val_identities"], data["num_val_pairs"])[1]


def test_a_packaged_model_is_small(package):
    size = sum(path.stat().st_size for path in package.iterdir())
    assert size < MAX_MIB * 2**20


@pytest.mark.slow
def test_a_packaged_model_reaches_its_validation_ssim(package, config, tmp_path):
    data = config["data"]
    joints, pairs = validation_pairs(build(data["source"], "data.source"), data, tmp_path)
    (stated,) = (
        value["value"]
        for value in config["evaluation"]["val"]["values"]
        if (value["metric"], value["protocol"]) == ("ssim", "standard")
    )
    model = PoseTransfer.load(package.name, "cpu")
    values = []
    for source, target in pairs:
        image, true = (read_image(tmp_path / "train" / name) for name in (source, target))
        generated = np.asarray(model(Image.fromarray(image), joints[target], joints[source]))
        values.append(ssim(generated, true, STANDARD))
    assert np.mean(values) == pytest.approx(stated, abs=5e-4)


def test_a_name_is_found_unless_a_path_is(tmp_path, monkeypatch):
    name = packaged_models()[0]
    assert find_model(name) == MODELS / name
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    assert str(find_model(name)) == name
    with pytest.raises(ValueError, match=rf"^model: expected a model package, .* or one of .*{name}.*, got 'wrap'$"):
        find_model("wrap")
