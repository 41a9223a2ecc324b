"""The search of the loss weights by Optuna."""

import pytest
import yaml

from commands import train
from tiny_run import compose_config
from twostream.runs import read_run


def test_the_search_maximizes_and_does_not_use_the_test_split():
    overrides = ["hparams_search=optuna", "run_dir=x", "variant=x"]
    cfg = compose_config("train", *overrides, return_hydra_config=True)
    assert cfg.evaluate is False
    sweeper = cfg.hydra.sweeper
    assert (sweeper.direction, sweeper.sampler.seed) == ("maximize", 0)
    assert sorted(sweeper.params) == ["loss.adversarial_weight", "loss.l1_weight", "loss.perceptual_weight"]


@pytest.mark.slow
def test_a_restarted_search_resumes(tmp_path, tiny):
    weights = "${loss.adversarial_weight}-${loss.l1_weight}-${loss.perceptual_weight}"
    search = ["-m", *tiny, "hparams_search=optuna", f"variant={weights}"]
    runs = tmp_path / "runs/synthetic/smoke"
    code, output = train(tmp_path, *search, "hydra.sweeper.n_trials=1")
    assert code == 0, output
    (first,) = (path.name for path in runs.glob("*-*"))
    code, output = train(tmp_path, *search, "hydra.sweeper.n_trials=2")
    assert code == 0, output
    values = {path.name: read_run(path / "seed0").progress.val_ssim for path in runs.glob("*-*")}
    assert len(values) == 2
    assert f"{first}/seed0 is finished" in output
    code, output = train(tmp_path, *search, "hydra.sweeper.n_trials=2", "hydra/launcher=joblib")
    assert code == 0, output
    assert output.count("is finished") == 2
    assert "starts" not in output
    results = yaml.safe_load((runs / "optimization_results.yaml").read_text())
    best = max(values, key=values.get)
    assert results["best_value"] == values[best]
    assert "-".join(str(weight) for weight in results["best_params"].values()) == best
    assert not list(runs.glob("*-*/seed0/images"))


@pytest.mark.slow
def test_a_failed_trial_does_not_end_the_search(tmp_path, tiny):
    search = ["-m", *tiny, "hparams_search=optuna", "variant=${generator.dropout}", "hydra.sweeper.n_trials=2"]
    # This seed draws a dropout of 2 first, which is refused, and then 0.5.
    code, output = train(tmp_path, *search, "generator.dropout=choice(2,0.5)", "hydra.sweeper.sampler.seed=1")
    assert code == 0, output
    runs = tmp_path / "runs/synthetic/smoke"
    states = {path.name: read_run(path / "seed0").state for path in runs.iterdir() if path.is_dir()}
    assert states == {"2": "failed", "0.5": "done"}
    results = yaml.safe_load((runs / "optimization_results.yaml").read_text())
    assert results["best_value"] == read_run(runs / "0.5/seed0").progress.val_ssim
