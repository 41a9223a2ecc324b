import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch.utils.flop_counter import FlopCounterMode

from twostream.benchmark import training
from twostream.benchmark.forms import form_with, forms_of
from twostream.benchmark.inference import count_flop as flop_of_generator
from twostream.benchmark.inference import draw_inputs
from twostream.benchmark.training import Iteration, as_markdown, count_flop, draw_pair, measure_training
from twostream.cli import CONF

CPU = torch.device("cpu")
SIZE = (32, 16)
FORMS = ["plain", "attention", "bfloat16", "channels_last", "fused_adam", "one_pass", "frozen_discriminators", "tuned"]


@pytest.fixture(autouse=True)
def small_products(monkeypatch):
    monkeypatch.setitem(training.PRODUCT_SIZE, "cpu", 64)


@pytest.mark.slow
def test_the_numbers_of_all_forms_agree_with_one_another(benchmark_config):
    small = "{name:small,rounds:3,size:[32,16],batch_size:{cpu:2}}"
    smaller = "{name:smaller,rounds:2,size:[16,8],batch_size:{cpu:3}}"
    cfg = benchmark_config(f"training.settings=[{small},{smaller}]")
    results = measure_training(cfg, CPU)
    assert results["tuned"] == ["attention", "bfloat16", "fused_adam", "frozen_discriminators"]
    generator = {key: cfg.generator[key] for key in ("num_blocks", "width")}
    assert (results["plain"], results["generator"]) == ("32-true", generator)
    ceilings = results["gflop_per_second_of_matrix_products"]
    assert list(ceilings) == ["32-true", "bf16-mixed"]
    assert min(ceilings.values()) > 0
    small, smaller = results["settings"]
    about = [[setting[key] for key in ("name", "rounds", "size", "batch_size")] for setting in (small, smaller)]
    assert about == [["small", 3, [32, 16], 2], ["smaller", 2, [16, 8], 3]]
    assert [list(setting["forms"]) for setting in (small, smaller)] == [FORMS, ["plain", "tuned"]]
    for setting in (small, smaller):
        for name, form in setting["forms"].items():
            median, low, high = form["pairs_per_second"]
            assert 0 < low <= median <= high
            times, low, high = form["times_plain"]
            assert low <= times <= high
            assert (times == low == high == 1) == (name == "plain")
            assert form["gflop_per_second"] == pytest.approx(median * setting["gflop_per_pair"])
            ceiling = ceilings["bf16-mixed" if name in ("bfloat16", "tuned") else "32-true"]
            assert form["share_of_ceiling"] == pytest.approx(form["gflop_per_second"] / ceiling)
    lines = as_markdown(results).splitlines()
    assert sum(line.startswith(("small, 32x16, 2 pairs", "smaller, 16x8, 3 pairs")) for line in lines) == 2
    rows = [line.split(" | ") for line in lines if line.startswith("| ") and "---" not in line]
    assert [row[0] for row in rows] == [
        *("| form", "| plain", "| attention", "| bfloat16", "| channels last", "| fused adam", "| one pass"),
        *("| frozen discriminators", "| tuned", "| form", "| plain", "| tuned"),
    ]
    assert {len(row) for row in rows} == {6}
    assert rows[1][2] == rows[-2][2] == "1.00 [1.00, 1.00]"


def test_a_row_of_the_table_says_what_a_form_does():
    def form(rate, times, gflop, share, peak):
        return {
            "pairs_per_second": (rate, rate - 0.1, rate + 0.1),
            "times_plain": (times, times - 0.02, times + 0.01),
            "gflop_per_second": gflop,
            "share_of_ceiling": share,
            "peak_bytes": peak,
        }

    forms = {"plain": form(0.5, 1, 150.4, 0.3, 3 * 2**30), "one_pass": form(0.75, 1.4, 1225.6, 0.456, 2**29)}
    setting = {"name": "Market-1501", "rounds": 3, "size": [128, 64], "batch_size": 2, "gflop_per_pair": 300.84}
    lines = as_markdown(
        {
            "generator": {"num_blocks": 9, "width": 64},
            "plain": "32-true",
            "tuned": ["attention", "one_pass"],
            "gflop_per_second_of_matrix_products": {"32-true": 501.4, "bf16-mixed": 2000.2},
            "settings": [setting | {"forms": forms}],
        }
    ).splitlines()
    assert lines[0] == (
        "Products of large matrices: 501 GFLOP/s in float32, 2,000 GFLOP/s in bfloat16. 9 blocks, width 64. "
        "Plain: float32. Tuned: attention, one_pass. The other forms are plain but for what they are named after. "
        "Times plain is taken round by round."
    )
    about = "Market-1501, 128x64, 2 pairs an iteration, 300.8 GFLOP a pair; median of 3 rounds [quartiles]:"
    assert lines[2] == about
    assert lines[-2:] == [
        "| plain | 0.5 [0.4, 0.6] | 1.00 [0.98, 1.01] | 150 | 30% | 3.00 |",
        "| one pass | 0.75 [0.65, 0.85] | 1.40 [1.38, 1.41] | 1,226 | 46% | 0.50 |",
    ]


def test_every_form_begins_as_the_plain_one_and_trains(benchmark_config):
    cfg = benchmark_config("generator.dropout=0", "schedule.learning_rate=1e-3")
    steps = {}
    for name, form in forms_of(cfg, CPU).items():
        iteration = Iteration(cfg, form, SIZE, 2, CPU)
        steps[name] = [{key: value.item() for key, value in iteration().items()} for _ in range(3)]
    plain = steps.pop("plain")
    assert {"l1", "appearance_discriminator", "shape_accuracy"} < plain[0].keys()
    assert plain[2]["l1"] < 0.999 * plain[0]["l1"]
    for name, (first, _, last) in steps.items():
        tolerance = 0.03 if name in ("bfloat16", "tuned") else 1e-4
        assert first["l1"] == pytest.approx(plain[0]["l1"], rel=tolerance), name
        assert first["shape_discriminator"] == pytest.approx(plain[0]["shape_discriminator"], rel=tolerance), name
        # Adam's first steps are as large as can be whatever the gradient, where that is rounding too.
        assert last["l1"] == pytest.approx(plain[2]["l1"], rel=max(tolerance, 2e-3)), name


def test_an_iteration_takes_another_batch(benchmark_config):
    cfg = benchmark_config()
    iteration = Iteration(cfg, form_with(cfg, []), SIZE, 2, CPU)
    pair = draw_pair(3, (16, 8), CPU)
    shapes = []
    iteration.module.generator.register_forward_hook(lambda _, inputs, output: shapes.append(output.shape))
    iteration(pair)
    iteration()
    assert shapes == [(3, 3, 16, 8), (2, 3, 32, 16)]


def test_the_peak_holds_weights_their_states_and_more_with_more_pairs(benchmark_config):
    cfg = benchmark_config()
    iterations = [Iteration(cfg, form_with(cfg, []), SIZE, size, CPU) for size in (1, 4)]
    for iteration in iterations:
        iteration()
    weights = 4 * sum(weight.numel() for net in iterations[0].module.nets.values() for weight in net.parameters())
    one, four = (iteration.peak_bytes() for iteration in iterations)
    # Adam keeps two numbers a weight; a pair more has a generated image and its 64 features more at least.
    assert one > 3 * weights
    assert four - one > 3 * (3 + 64) * 32 * 16 * 4


def test_drawn_pairs_are_as_those_of_the_data():
    pair = draw_pair(5, (16, 8), CPU)
    assert [tuple(tensor.shape) for tensor in pair] == [(5, c, 16, 8) for c in (3, 18, 18, 3)]
    for image in (pair.source_image, pair.target_image):
        assert -1 <= image.min() < -0.9
        assert 0.9 < image.max() <= 1
    assert not torch.equal(pair.source_image, pair.target_image)
    assert 0 <= pair.source_heatmaps.min() < 0.1


class TestArithmetic:
    """Counted by hand from the layouts."""

    WIDTH, BLOCKS, POSITIONS = 8, 2, SIZE[0] * SIZE[1]

    def config_of(self, *overrides):
        small = [f"generator.width={self.WIDTH}", f"generator.num_blocks={self.BLOCKS}"]
        with initialize_config_dir(version_base="1.3", config_dir=CONF):
            return compose("benchmark", [*small, *overrides])

    @staticmethod
    def conv(kernel, ins, outs, positions):
        """Multiplications and additions; of a transposed convolution the positions are those of its input."""
        return 2 * kernel**2 * ins * outs * positions

    def stems(self, num_channels):
        """The 7x7 convolutions of inputs of so many channels together."""
        return self.conv(7, num_channels, self.WIDTH, self.POSITIONS)

    def encoder(self):
        """An encoder but for its stem."""
        w, n = self.WIDTH, self.POSITIONS
        return self.conv(3, w, 2 * w, n // 4) + self.conv(3, 2 * w, 4 * w, n // 16)

    def patn(self):
        w, n = self.WIDTH, self.POSITIONS
        c, conv = 4 * w, self.conv
        encoders = self.stems(3 + 36) + 2 * self.encoder()
        first = 4 * conv(3, c, c, n // 16)
        second = 2 * conv(3, c, c, n // 16) + conv(3, 2 * c, 2 * c, n // 16) + conv(3, 2 * c, c, n // 16)
        decoder = conv(3, c, 2 * w, n // 16) + conv(3, 2 * w, w, n // 4) + conv(7, w, 3, n)
        return encoders + first + second + decoder

    def perceptual(self):
        """Both images, and the generated one's gradient."""
        return 3 * (self.conv(3, 3, 64, self.POSITIONS) + self.conv(3, 64, 64, self.POSITIONS))

    def test_of_a_generator_of_convolutions_alone(self):
        """A convolution takes three times its forward pass, one that pictures come to has no gradient of them."""
        cfg = self.config_of("generator=patn", "discriminators=none")
        assert flop_of_generator(cfg, cfg.generator, SIZE) == self.patn()
        assert count_flop(cfg, SIZE) == 3 * self.patn() - self.stems(39) + self.perceptual()

    def test_of_a_discriminator(self):
        """The generator's phase takes no gradients of its weights, its own takes them of two images."""
        w, n = self.WIDTH, self.POSITIONS
        small = [f"discriminators.appearance.width={w}", "discriminators.appearance.num_blocks=1"]
        cfg = self.config_of("generator=patn", "discriminators=appearance", *small)
        without = self.config_of("generator=patn", "discriminators=none")
        once = self.stems(6) + self.encoder() + 2 * self.conv(3, 4 * w, 4 * w, n // 16)
        own_phase = 2 * (3 * once - self.stems(6))
        assert count_flop(cfg, SIZE) - count_flop(without, SIZE) == 2 * once + own_phase

    def test_of_products_with_d(self):
        """D is made once, whatever the form is that runs, and each of its two products has two gradients."""
        cfg = self.config_of("discriminators=none")
        forward = flop_of_generator(cfg, cfg.generator, SIZE)
        assert count_flop(cfg, SIZE) == 3 * forward - self.stems(39) + self.perceptual()
        c, n = 4 * self.WIDTH, self.POSITIONS // 16
        off = self.config_of("discriminators=none", "generator/at_module=off")
        convolutions = 2 * self.conv(1, c, c // 8, n) + 2 * self.conv(1, c, c // 2, n)
        products = 2 * n * n * (c // 8 + c // 2)
        with torch.device("meta"):
            without = instantiate(off.generator)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            without(*draw_inputs(1, SIZE, torch.device("meta")))
        assert forward - counter.get_total_flops() == self.BLOCKS * (convolutions + products)
