import json

import yaml

from twostream.build import build_datamodule, build_module, build_trainer


def test_the_loggers_are_given_the_record(tiny_config, tmp_path):
    cfg = tiny_config()
    build_trainer(cfg).fit(build_module(cfg), datamodule=build_datamodule(cfg))
    kept = yaml.safe_load((tmp_path / "run/logs/hparams.yaml").read_text())
    assert kept["record"] == json.loads((tmp_path / "run/record.json").read_text())
    assert kept["generator"]["num_blocks"] == 2
