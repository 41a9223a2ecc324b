import pytest
from hydra.utils import instantiate

from twostream.data.datamodule import split_identities
from twostream.data.pairs import identity_of


def identities(pairs):
    return {identity_of(name) for pair in pairs for name in pair}


def test_identities_of_train_validation_and_test_are_disjoint(tiny_config):
    data = instantiate(tiny_config().data)
    data.prepare_data()
    data.setup("fit")
    train, val, test = (identities(dataset.pairs) for dataset in (data.train, data.val, data.test_dataset()))
    assert (len(train), len(val)) == (4, 1)
    assert not train & val
    assert not (train | val) & test


def test_validation_pairs_do_not_depend_on_the_seed(tiny_config):
    datas = [instantiate(tiny_config(f"seed={seed}").data) for seed in (0, 1)]
    for data in datas:
        data.setup("fit")
    assert datas[0].val.pairs == datas[1].val.pairs


def test_refuses_to_hold_out_everybody():
    with pytest.raises(ValueError, match=r"data\.num_val_identities: expected fewer than the 2 training identities"):
        split_identities([("1_a", "1_b"), ("2_a", "2_b")], 2, 1)


def test_refuses_a_folder_that_is_not_there(tiny_config, tmp_path):
    data = instantiate(tiny_config("data.source=null", f"data.root={tmp_path / 'nothere'}").data)
    with pytest.raises(ValueError, match=r"data\.root: expected a prepared data folder, there is none at .*nothere"):
        data.prepare_data()


@pytest.mark.parametrize("key", ["batch_size", "num_val_identities", "num_val_pairs", "heatmap_sigma"])
def test_refuses_counts_of_zero(tiny_config, key):
    with pytest.raises(Exception, match=rf"data\.{key}: expected more than 0, got 0"):
        instantiate(tiny_config(f"data.{key}=0").data)
