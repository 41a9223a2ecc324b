"""The report of a tiny run, read as a parser reads it; `test_browser.py` opens it in a browser."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from twostream.files import write_json
from twostream.report.page import table_context, write_report
from twostream.report.pair_browser import PER_ROW, sprite
from twostream.report.plots import OUTCOMES, Curve, Interval, plot_curves, plot_forest, read_curve, svg
from twostream.tables.results import collect_all
from twostream.tables.spec import load_spec


class Page(HTMLParser):
    """Collects the ids, links and scripts of a page, and its text."""

    def __init__(self, text: str):
        super().__init__()
        self.ids, self.links, self.text, self.open = [], [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values[name] for name in ("href", "src", "xlink:href") if values.get(name)]
        self.open.append(tag)

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="session")
def report(report_run):
    return report_run.read_text()


@pytest.fixture
def written(tmp_path):
    """Writes the report of tables, with one pair and without figures, and returns it."""
    return lambda tables: write_report(tables, [], tmp_path / "report.html", max_pairs=1).read_text()


def tables_of(folder, labels):
    """The tables of a spec whose rows are variants with these labels."""
    column = "{label: SSIM, metric: ssim, protocol: patn, digits: 3}"
    rows = ", ".join(f"{{label: {label}, variant: {variant}}}" for variant, label in labels.items())
    spec = folder.parent / "rows.yaml"
    spec.write_text(f"title: T\nquestion: Q?\nrow_heading: R\ncolumns: [{column}]\nrows: [{rows}]\n")
    return collect_all([spec], folder, [0])


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_the_page_is_complete_and_needs_no_other_file(report):
    page = Page(report)
    assert len(page.ids) == len(set(page.ids))
    assert {"tables", "figures", "pairs", "correspondence", "curves", "provenance"} <= set(page.ids)
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert "url(http" not in report
    assert "Table 3" in page.text
    assert "2s-ATN (Full)" in page.text
    assert "SSIM, SSIM (standard)similarity of the structures" in page.text
    assert "Block 1, Block 2fraction of target positions" in page.text
    assert "no_at_module/seed0" in page.text  # has no result


def test_the_scripts_get_the_pairs_with_their_scores_and_matches(report):
    data = data_of(report)
    assert data["size"] == [32, 16]
    assert [method["label"] for method in data["methods"]] == ["2s-ATN (Full)"]
    assert len(data["pairs"]) == 4
    for pair in data["pairs"]:
        assert np.shape(pair["joints"]) == (2, 18, 2)
        assert {"SSIM", "Mask-SSIM (standard)"} <= set(pair["scores"][0])
        assert not [name for name in pair["scores"][0] if "pckh" in name.lower()]
    [viewer] = data["correspondence"]
    assert list(viewer["views"]) == ["block_1", "block_2"]
    for view in viewer["views"].values():
        assert view["map"] == [8, 4]
        assert np.shape(view["sources"]) == np.shape(view["weights"]) == (len(viewer["pairs"]), 32, 8)
        assert np.max(view["sources"]) < 32
        # In order, as multiples of uniform attention; eight of 32 weights sum to no more than 32.
        assert (np.diff(view["weights"]) <= 0).all()
        assert np.sum(view["weights"], axis=-1).max() <= 32.5


def test_the_page_says_which_correspondence_is_missing_and_how_to_make_it(runs, written, tmp_path):
    folder = shutil.copytree(runs / "synthetic", tmp_path / "synthetic") / "smoke"
    stored = folder / "full/seed0/correspondence.json"

    def lines_and_links():
        page = Page(written(tables_of(folder, {"full": "2s-ATN (Full)"})))
        assert ("#correspondence" in page.links) is ("correspondence" in page.ids)
        assert "viewer" not in page.ids
        return [line for line in page.text.splitlines() if "twostream-evaluate" in line and not line.startswith("{")]

    command = f"twostream-evaluate run={stored.parent}"
    stored.write_text('{"pairs": [["a.jpg", "b.jpg"]], "views": {}}')
    (line,) = lines_and_links()
    assert line.startswith(f"2s-ATN (Full): {stored}: expected positions for each pair and view, got an image 'a.jpg'")
    assert line.endswith(command)
    stored.unlink()
    assert lines_and_links() == [f"No correspondence.json: 2s-ATN (Full). Written for each run by: {command}"]
    config = json.loads((stored.parent / "config.json").read_text())
    config["generator"]["at_module"] = {"option": "NoAppearanceTransfer"}
    write_json(stored.parent / "config.json", config)
    assert lines_and_links() == []


@pytest.fixture
def copies(runs, tmp_path):
    """Copies the run to variants and returns their tables."""

    def make(labels, other_pairs=()):
        folder = tmp_path / "synthetic/smoke"
        for variant in labels:
            path = shutil.copytree(runs / "synthetic/smoke/full", folder / variant) / "seed0/metrics.json"
            content = json.loads(path.read_text())
            content["run"]["variant"] = variant
            content["test"]["pairs_hash"] = "other" if variant in other_pairs else "p"
            write_json(path, content)
        return tables_of(folder, labels)

    return make


def methods_of(page):
    return [method["label"] for method in data_of(page)["methods"]]


def test_variants_of_equal_labels_are_told_apart(copies, written):
    page = written(copies({"full": "One", "warp": "One", "patn": "Other"}))
    assert methods_of(page) == ["One (full)", "One (warp)", "Other"]


def test_runs_on_other_pairs_than_the_first_are_named_but_not_drawn(copies, written):
    page = written(copies({"full": "First", "warp": "Second", "patn": "Third"}, other_pairs=["warp"]))
    assert methods_of(page) == ["First", "Third"]
    note = "Not drawn, as data, test pairs or image size are not those of First: Second."
    assert note in Page(page).text


def test_an_evaluation_that_begins_meanwhile_does_not_stop_the_report(copies, written):
    tables = copies({"full": "One"})
    (tables[0].folder / "full/seed0/metrics.json").unlink()
    assert "full/seed0" in Page(written(tables).split('id="provenance"')[1]).text


def test_an_evaluation_with_several_sources_is_in_the_tables_alone(runs, written, tmp_path):
    folder = shutil.copytree(runs / "synthetic", tmp_path / "synthetic") / "smoke"
    content = json.loads((folder / "full/seed0/metrics.json").read_text())
    content["run"]["variant"] = "full@2"
    (folder / "full/seed0/sources_2").mkdir()
    write_json(folder / "full/seed0/sources_2/metrics.json", content)
    page = written(tables_of(folder, {"full": "One", "full@2": "Two"}))
    assert "Two" in Page(page).text
    assert methods_of(page) == ["One"]


def test_a_sprite_has_every_image_in_its_place():
    images = [np.full((4, 2, 3), 10 * i, np.uint8) for i in range(PER_ROW + 2)]
    import base64
    from io import BytesIO

    kind, content = sprite(images).split(",")
    assert kind == "data:image/webp;base64"
    sheet = np.asarray(Image.open(BytesIO(base64.b64decode(content))))
    assert sheet.shape == (8, 2 * PER_ROW, 3)
    assert (sheet[5, 3] == 10 * (PER_ROW + 1)).all()
    assert (sheet[1, 7] == 30).all()


@pytest.fixture(scope="module")
def table(runs, specs):
    return table_context(*collect_all(specs[:1], runs / "synthetic/smoke", [0]))


def test_a_cell_shows_its_interval_within_the_range_of_its_column(table):
    assert table["columns"]
    for row in table["rows"]:
        for cell in row["cells"]:
            if cell["bar"]:
                low, middle, high = cell["bar"]
                assert 0 <= low <= middle <= high <= 100.001
    assert any(cell["bar"] for row in table["rows"] for cell in row["cells"])


def test_a_table_names_the_columns_that_it_leaves_out(specs, table):
    assert "LPIPS" in table["left_out"]
    assert "LPIPS" not in table["columns"]
    assert table["has_reasons"]
    assert {*table["columns"], *table["left_out"]} == {column.label for column in load_spec(specs[0]).all_columns()}


def test_the_notes_are_of_what_the_page_shows(table):
    notes = table["notes"]
    assert notes[0] == "Bar: 95 % interval of a single run, bootstrap over the test identities."
    assert any(note.startswith("w/o AT-module: seed 0 not run") for note in notes)
    assert not [note for note in notes if note.startswith(("[1]", "±", "Intervals", "p:"))]


def test_a_smoke_run_says_what_its_images_are(report):
    text = " ".join(Page(report).text.split())
    assert "At scale smoke the generated images show little more than blobs of colour" in text
    assert "make ablations DATA=synthetic SCALE=small trains to where images mean something" in text


def test_a_difference_is_better_or_worse_by_the_metric():
    above, below, around = Interval("a", 2, 1, 3), Interval("b", -2, -3, -1), Interval("c", 1, 0, 2)
    outcomes = {better: [one.outcome(better) for one in (above, below, around)] for better in (1, -1)}
    assert outcomes == {
        1: ["better", "worse", "the interval includes 0"],
        -1: ["worse", "better", "the interval includes 0"],
    }
    for better, order in ((1, "better worse"), (-1, "worse better")):
        figure = plot_forest([above, below, around], "base", better)
        lines = [line for line in figure.axes[0].lines if line.get_marker() in "^vo"]
        expected = [*order.split(), "the interval includes 0"]
        assert [(line.get_marker(), line.get_color()) for line in lines] == [
            (OUTCOMES[outcome][0], OUTCOMES[outcome][2]) for outcome in expected
        ]


def test_a_curve_is_read_with_its_minutes(tmp_path):
    path = tmp_path / "metrics.csv"
    header = "step,throughput/iterations_per_second,val/l1"
    path.write_text("\n".join([header, "60,2,", "60,,0.5", "120,1,", "120,,0.4"]))
    assert read_curve(path, "val/l1") == Curve([60, 120], [0.5, 1.5], [0.5, 0.4])
    assert read_curve(path, "val/ssim").values == []
    assert read_curve(tmp_path / "none.csv", "val/l1").values == []


def test_plots_are_equal_for_equal_values_and_have_real_text():
    curves = {"one": [Curve([1, 2], [0.1, 0.2], [0.5, 0.6])]}
    for over_time, text in ((False, "iterations"), (True, "minutes of training")):
        plot = svg(plot_curves(curves, "val/ssim", over_time))
        assert plot == svg(plot_curves(curves, "val/ssim", over_time))
        assert f">{text}</text>" in plot
    forest = svg(plot_forest([Interval("w/o AT", -0.1, -0.2, 0.0), Interval("other", 0.1, 0.05, 0.2)], "full", 1))
    assert ">w/o AT</text>" in forest
    assert ">difference to full</text>" in forest


def test_no_two_of_thirty_curves_look_alike():
    curves = {str(number): [Curve([1, 2], [0.1, 0.2], [0.5, 0.6])] for number in range(30)}
    lines = plot_curves(curves, "SSIM", False).axes[0].lines
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 30


def test_without_a_result_there_is_no_report(specs, tmp_path):
    with pytest.raises(ValueError, match=r"smoke: expected an evaluated run of seeds 0, 1, got none"):
        write_report(collect_all(specs, tmp_path / "synthetic/smoke", [0, 1]), [], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
