import pytest
import torch
from hydra import compose, initialize_config_dir

from twostream.benchmark.inference import PLAIN, TUNED, as_markdown, build, count_flop, draw_inputs, measure_inference
from twostream.cli import CONF
from twostream.nets.appearance_transfer import AppearanceTransfer, DenseAppearanceTransfer

CPU = torch.device("cpu")


def compose_benchmark(*overrides):
    with initialize_config_dir(version_base="1.3", config_dir=CONF):
        return compose("benchmark", list(overrides))


@pytest.fixture
def tiny():
    return compose_benchmark(
        *(f"generators.{name}.{key}" for name in ("two_stream", "patn") for key in ("width=8", "num_blocks=2")),
        "sizes=[[16,8],[32,16]]",
        "batch_sizes.cpu=[1,3]",
        "rounds=2",
    )


def test_both_generators_run_in_both_forms_at_every_size(tiny):
    results = measure_inference(tiny, CPU)
    assert [(row["size"], row["batch_size"]) for row in results["speeds"]] == [
        ([16, 8], 1),
        ([16, 8], 3),
        ([32, 16], 1),
        ([32, 16], 3),
    ]
    for row in results["speeds"]:
        assert set(row["images_per_second"]) == {f"{n} {f}" for n in ("two_stream", "patn") for f in (PLAIN, TUNED)}
        assert all(0 < low <= median <= high for median, low, high in row["images_per_second"].values())
    lines = as_markdown(results).splitlines()
    first = results["speeds"][0]["images_per_second"]
    cells = lines[-4].split(" | ")
    assert cells[4] == f"{first['two_stream plain'][0] / first['patn plain'][0]:.2f}"
    assert cells[8] == f"{first['two_stream tuned'][0] / first['patn plain'][0]:.2f}"
    assert cells[10] == "1.22 |"


def test_the_plain_form_builds_d_and_the_tuned_one_agrees_with_it(tiny):
    plain, tuned = (build(tiny.generators.two_stream, tiny.dense, form, CPU) for form in (PLAIN, TUNED))
    assert all(type(block.at_module) is DenseAppearanceTransfer for block in plain.blocks)
    assert all(type(block.at_module) is AppearanceTransfer for block in tuned.net.blocks)
    assert {plain.training, tuned.training} == {False}
    tuned.net.load_state_dict(plain.state_dict())
    inputs = draw_inputs(2, (16, 8), CPU)
    assert (plain(*inputs) - tuned(*inputs)).abs().max() < 0.1


@pytest.mark.parametrize(
    ("size", "ours", "theirs"), [((128, 64), 47.8, 45.0), ((256, 176), 281, 248), ((256, 256), 424, 360)]
)
def test_arithmetic_at_the_papers_width(size, ours, theirs):
    """Counted by hand from the layouts, to three digits."""
    cfg = compose_benchmark()
    counts = [count_flop(cfg.generators[name], cfg.dense, size) / 1e9 for name in ("two_stream", "patn")]
    assert counts == pytest.approx([ours, theirs], rel=5e-3)
