import numpy as np
import pytest
from PIL import Image

from twostream.benchmark.plots import (
    apart,
    curves_figure,
    draw_curves,
    draw_growth,
    draw_inference,
    draw_training,
    growth_figure,
    inference_figure,
    smoothed,
    training_figure,
    whiskers,
)

ABOUT = {"hardware": "cpu, x86_64, 2 threads", "commit": "abc123", "dirty": False, "versions": {"torch": "2.15.0"}}
FORMS = ["two_stream plain", "two_stream attention", "two_stream tuned", "patn plain", "patn tuned"]


def around(value):
    """A median with its quartiles, as far from it below as twice above."""
    return value, 0.9 * value, 1.05 * value


def speeds(size, batch_size, *rates):
    by_form = {form: around(rate) for form, rate in zip(FORMS, rates, strict=True)}
    return {"size": size, "batch_size": batch_size, "images_per_second": by_form}


def form(times, share, gib):
    return {"times_plain": around(times), "share_of_ceiling": share, "peak_bytes": int(gib * 2**30)}


def line(seconds, gib):
    return {"seconds": [around(value) for value in seconds], "peak_bytes": [int(value * 2**30) for value in gib]}


INFERENCE = {
    **ABOUT,
    "rounds": 3,
    "gflop": [{"size": [128, 64]}, {"size": [256, 176]}],
    "speeds": [
        speeds([128, 64], 1, 10, 12, 20, 8, 1600),
        speeds([128, 64], 2, 9, 15, 24.25, 10, 1800),
        speeds([256, 176], 1, 0.21, 0.3, 0.4, 0.25, 0.5),
    ],
}
TRAINING = {
    **ABOUT,
    "settings": [
        {
            "name": "Market-1501",
            "rounds": 3,
            "size": [128, 64],
            "batch_size": 2,
            "forms": {"plain": form(1, 0.4, 2.5), "one_pass": form(1.1, 0.44, 2.75), "tuned": form(2, 0.3, 1.25)},
        },
        {
            "name": "DeepFashion",
            "rounds": 2,
            "size": [256, 256],
            "batch_size": 1,
            "forms": {"plain": form(1, 0.35, 6), "tuned": form(2.5, 0.25, 3)},
        },
    ],
}
GROWTH = {
    **ABOUT,
    "rounds": 2,
    "start": {"size": [128, 64], "num_blocks": 9, "width": 64},
    "axes": [
        {
            "name": "positions",
            "unit": "height x width / 16",
            "values": [128, 512, 2048],
            "lines": {
                "2s-ATN": line([0.25, 1, 4], [0.5, 1, 3]),
                "2s-ATN, D built": line([0.25, 1.5, 8], [0.5, 2, 9]),
                "PATN": line([0.25, 0.75, 3], [0.5, 1, 2]),
            },
        },
        {
            "name": "width",
            "unit": "channels at full size",
            "values": [16, 64],
            "lines": {"2s-ATN": line([0.125, 1], [0.25, 1]), "PATN": line([0.125, 0.5], [0.25, 0.75])},
        },
    ],
}
CURVES = {
    **ABOUT,
    "iterations": 8,
    "setting": "synthetic people, 128x64",
    "curves": {
        "plain": [8, 7, 6, 5, 4, 3, 2, 1],
        "one_pass": [8, 7, 6, 5, 4, 3, 2, 6],
        "tuned": [9.0] * 8,
        "plain, seed 1": [7, 6, 5, 4, 3, 2, 1, 0],
        "plain, seed 2": [8.0] * 8,
    },
}
PARTS = [
    (draw_inference, inference_figure, INFERENCE),
    (draw_training, training_figure, TRAINING),
    (draw_growth, growth_figure, GROWTH),
    (draw_curves, curves_figure, CURVES),
]
by_part = pytest.mark.parametrize(("draw", "make", "results"), PARTS, ids=lambda value: getattr(value, "__name__", ""))


def texts_of(panel):
    """What stands at the bars."""
    return [text.get_text() for text in panel.texts]


def widths_of(panel):
    return [bar.get_width() for bar in panel.patches]


def lines_of(panel):
    """Label -> x and y of a line in a panel."""
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in panel.get_lines()}


@by_part
def test_a_plot_is_a_small_png(draw, make, results, tmp_path):
    draw(results, tmp_path / "new" / "plot.png")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["plot.png"]
    with Image.open(tmp_path / "new" / "plot.png") as picture:
        assert picture.format == "PNG"
        assert np.allclose(picture.info["dpi"], 150, atol=0.1)
        assert picture.size == tuple(np.round(make(results).get_size_inches() * 150))
        # White paper, with something on it.
        values, counts = np.unique(np.asarray(picture.convert("L")), return_counts=True)
        assert values[counts.argmax()] == 255
        assert 0.5 < counts.max() / counts.sum() < 0.99
    assert (tmp_path / "new" / "plot.png").stat().st_size < 120_000


@by_part
def test_a_plot_says_what_it_shows_of_which_device_and_names_its_axes(draw, make, results):
    figure = make(results)
    what, where = figure.get_suptitle().split("\n")
    assert what
    rounds = f"; medians of {results['rounds']} rounds, whiskers are quartiles" if "rounds" in results else ""
    assert where == f"cpu, x86_64, 2 threads; commit abc123; torch 2.15.0{rounds}"
    changed = make({**results, "dirty": True}).get_suptitle()
    assert "; commit abc123 with changes; torch" in changed
    grid = figure.axes[0].get_gridspec()
    for panel in figure.axes:
        place = panel.get_subplotspec()
        assert panel.get_xlabel() or place.rowspan.stop < grid.nrows
        # Bars lie beside names in place of a label.
        assert panel.get_ylabel() or place.colspan.start or panel.get_yticklabels()[0].get_text()


@by_part
def test_nothing_is_left_of_a_plot_that_fails(draw, make, results, tmp_path, monkeypatch):
    path = tmp_path / "plot.png"
    path.write_bytes(b"the last one")

    def fill_the_disk(self, file, **_):
        file.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", fill_the_disk)
    with pytest.raises(OSError, match="no space left"):
        draw(results, path)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("plot.png", b"the last one")]


def test_bars_of_inference_are_batch_1_and_the_best_batch_of_each_form():
    figure = inference_figure(INFERENCE)
    small, large = figure.axes
    assert (small.get_title(), large.get_title()) == ("128x64 pixels", "256x176 pixels")
    assert {panel.get_xlabel() for panel in figure.axes} == {"images/s"}
    assert widths_of(small) == [10, 12, 20, 8, 1600, 10, 15, 24.25, 10, 1800]
    batch_1, best = ["10", "12", "20", "8", "1,600"], ["10 (1)", "15 (2)", "24.2 (2)", "10 (2)", "1,800 (2)"]
    assert texts_of(small) == batch_1 + best
    names = ["2s-ATN plain", "2s-ATN without D", "2s-ATN tuned", "PATN plain", "PATN tuned"]
    assert [label.get_text() for label in small.get_yticklabels()] == names
    # The best batch lies below batch 1 of the same form; where there is one batch it has the place of both.
    heights = [bar.get_y() + bar.get_height() / 2 for bar in small.patches]
    assert np.allclose(heights, [*(np.arange(5) - 0.2), *(np.arange(5) + 0.2)])
    assert small.yaxis_inverted()
    assert widths_of(large) == [0.21, 0.3, 0.4, 0.25, 0.5]
    assert texts_of(large) == ["0.21", "0.3", "0.4", "0.25", "0.5"]


def test_a_network_has_a_colour_for_batch_1_and_one_for_the_best_batch_as_the_legend_says():
    figure = inference_figure(INFERENCE)
    (legend,) = figure.legends
    named = {
        text.get_text(): patch.get_facecolor() for text, patch in zip(legend.texts, legend.get_patches(), strict=True)
    }
    assert len(set(named.values())) == len(named) == 4
    batch_1 = [named[f"{net}, batch 1"] for net in ["2s-ATN"] * 3 + ["PATN"] * 2]
    best = [named[f"{net}, best batch (its size)"] for net in ["2s-ATN"] * 3 + ["PATN"] * 2]
    small, large = figure.axes
    assert [bar.get_facecolor() for bar in small.patches] == batch_1 + best
    assert [bar.get_facecolor() for bar in large.patches] == batch_1


def test_bars_of_training_are_times_plain_with_the_share_of_the_ceiling_and_the_memory():
    speed, memory, speed_2, memory_2 = training_figure(TRAINING).axes
    assert speed.get_title() == "Market-1501, 128x64, batches of 2; 3 rounds, medians and quartiles"
    assert [label.get_text() for label in speed.get_yticklabels()] == ["plain", "one pass", "tuned"]
    assert widths_of(speed) == pytest.approx([1, 1.1, 2])
    assert texts_of(speed) == ["1.00 (40%)", "1.10 (44%)", "2.00 (30%)"]
    assert widths_of(memory) == [2.5, 2.75, 1.25]
    assert texts_of(memory) == ["2.50", "2.75", "1.25"]
    assert widths_of(speed_2) == pytest.approx([1, 2.5])
    assert texts_of(memory_2) == ["6.00", "3.00"]
    assert (speed_2.get_xlabel()[:7], memory_2.get_xlabel()) == ("pairs/s", "peak memory, GiB")


def test_whiskers_reach_to_the_quartiles():
    assert np.allclose(whiskers([(10, 9, 12), (1, 0.5, 1)]), [[1, 0.5], [2, 0]])
    speed = training_figure(TRAINING).axes[0]
    bars = next(container for container in speed.containers if hasattr(container, "errorbar"))
    (whisker,) = bars.errorbar.lines[2]
    ends = [[x for x, _ in segment] for segment in whisker.get_segments()]
    assert np.allclose(ends, [[0.9, 1.05], [0.99, 1.155], [1.8, 2.1]])


def test_lines_of_growth_are_milliseconds_above_gib_from_0():
    figure = growth_figure(GROWTH)
    times, times_2, memories, memories_2 = figure.axes
    ours, dense, patn = (container.lines[0] for container in times.containers)
    assert list(ours.get_xdata()) == [128, 512, 2048]
    assert [list(line.get_ydata()) for line in (ours, dense, patn)] == [
        [250, 1000, 4000],
        [250, 1500, 8000],
        [250, 750, 3000],
    ]
    assert lines_of(memories)["2s-ATN, D built"] == ([128, 512, 2048], [0.5, 2, 9])
    assert lines_of(memories_2) == {"2s-ATN": ([16, 64], [0.25, 1]), "PATN": ([16, 64], [0.25, 0.75])}
    assert len(times_2.containers) == 2
    assert (times.get_ylabel(), memories.get_ylabel()) == ("ms an iteration", "peak memory, GiB")
    assert memories.get_xlabel() == "positions (height x width / 16)"
    assert {(panel.get_xlim()[0], panel.get_ylim()[0]) for panel in figure.axes} == {(0, 0)}
    assert [text.get_text() for text in figure.legends[0].texts] == ["2s-ATN", "2s-ATN, D built", "PATN"]


def test_a_line_that_lacks_on_the_first_axis_is_in_the_legend():
    axes = list(reversed(GROWTH["axes"]))
    (legend,) = growth_figure({**GROWTH, "axes": axes}).legends
    assert {text.get_text() for text in legend.texts} == {"2s-ATN", "2s-ATN, D built", "PATN"}


def test_curves_are_running_means_and_their_differences_from_plain():
    figure = curves_figure(CURVES)
    loss, difference = map(lines_of, figure.axes)
    # Of 8 iterations: 1 to 5, 2 to 6, 3 to 7 and 4 to 8.
    iterations = [3, 4, 5, 6]
    assert np.allclose(loss["plain"], (iterations, [6, 5, 4, 3]))
    assert np.allclose(loss["one pass"], (iterations, [6, 5, 4, 4]))
    assert np.allclose(difference["one pass"], (iterations, [0, 0, 0, 1]))
    assert np.allclose(difference["tuned"], (iterations, [3, 4, 5, 6]))
    seeds = [line for line in figure.axes[1].get_lines() if line.get_color() == "#BBBBBB"]
    assert np.allclose([line.get_ydata() for line in seeds], [[-1] * 4, [2, 3, 4, 5]])
    labels = [text.get_text() for text in figure.legends[0].texts]
    assert sorted(labels) == ["one pass", "plain", "plain, other seeds", "tuned"]


def test_the_plain_curve_is_black_on_top_and_the_seeds_are_grey_below_the_levers():
    panel = curves_figure(CURVES).axes[0]
    *others, plain = sorted(panel.get_lines(), key=lambda line: line.get_zorder())
    assert (plain.get_label(), plain.get_color()) == ("plain", "black")
    assert [line.get_color() for line in others[:2]] == ["#BBBBBB"] * 2
    assert len({line.get_color() for line in others[2:]} - {"#BBBBBB", "black"}) == 2


def test_every_lever_on_a_gpu_has_a_look_of_its_own():
    names = ["plain", *(f"lever_{index}" for index in range(10)), "plain, seed 1"]
    panel = curves_figure({**CURVES, "curves": {name: [1.0] * 8 for name in names}}).axes[0]
    looks = {(line.get_color(), line.get_linestyle()) for line in panel.get_lines()}
    assert len(looks) == len(names)


def test_few_iterations_are_smoothed_as_one():
    assert np.allclose(smoothed(np.array([1.0, 2, 6])), [3])
    assert np.allclose(smoothed(np.arange(7.0)), [2, 3, 4])


def test_labels_on_an_axis_stand_apart():
    assert apart([128, 512, 2048, 2816, 4096]) == [512, 2048, 2816, 4096]
    assert apart([5, 9, 13]) == [5, 9, 13]
    assert apart([7]) == [7]
