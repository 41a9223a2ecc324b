import re
from dataclasses import replace
from pathlib import Path

import pytest

from twostream.tables.render import markdown
from twostream.tables.results import collect
from twostream.tables.spec import Paper, from_config, load_spec

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
VARIANTS = {"full", "no_at_module", "target_add", "source_add", "both_add"}
VARIANTS |= {"blocks_5", "blocks_7", "blocks_11", "blocks_13"}
LABELS = ["SSIM", "IS", "Mask-SSIM", "Mask-IS"]
MORE = ["SSIM (standard)", "Mask-SSIM (standard)", "LPIPS", "FID (train)", "FID (test)", "PCKh"]
MORE += [f"{name} (evaluator)" for name in ("IS", "Mask-IS", "FD train", "FD test", "PCKh")]
MORE += ["Appearance accuracy", "Colour accuracy"]
MORE_SSIM = "{label: SSIM, metric: ssim, protocol: standard, digits: 3}"
CITED = "{label: X, paper: {SSIM: 1}}"
TABLES_3_TO_5 = {
    "table3_at_module": """
        2s-ATN (Full) | .320 3.504 .813 3.845
        w/o AT-module | .313 3.252 .812 3.793""",
    "table4_fusion": """
        T:cat, S:cat | .320 3.504 .813 3.845
        T:add, S:cat | .320 3.335 .813 3.815
        T:cat, S:add | .309 3.460 .809 3.843
        T:add, S:add | .234 3.894 .768 3.675""",
    "table5_blocks": """
        5 | .317 3.354 .813 3.783
        7 | .319 3.490 .812 3.799
        9 | .320 3.504 .813 3.845
        11 | .314 3.462 .810 3.844
        13 | .316 3.323 .813 3.852""",
}
# Five columns of Market-1501, three of DeepFashion.
TABLE_1 = """
DPIG (Ma et al. 2018) | .099 3.483 .614 3.491 - | .614 3.228 -
VUNet (Esser, Sutter, and Ommer 2018) | .266 2.965 .793 3.549 .92 | .763 3.440 .93
Deform (Siarohin et al. 2018) | .290 3.185 .805 3.502 - | .756 3.439 -
PATN (Zhu et al. 2019) | .311 3.323 .811 3.773 .94 | .773 3.209 .96
BFT (AlBahar and Huang 2019) | - - - - - | .767 3.220 -
C2GAN (Tang et al. 2019) | .282 3.349 .811 3.510 - | - - -
ADG (Men et al. 2020) | - - - - - | .772 3.364 -
APS (Huang et al. 2020) | .312 3.132 .808 3.729 .94 | .775 3.295 .96
PATN* (Zhu et al. 2019, reproduced by the paper) | .301 3.344 .805 3.773 .94 | .767 3.209 .96
2s-ATN (Full) | .320 3.504 .813 3.845 .94 | .775 3.206 .96
Real Data | 1.000 3.890 1.000 3.706 1.00 | 1.000 4.053 1.00
"""
DEEPFASHION = ["deepfashion", "deepfashion_176"]
SETS_OF_TABLE_1 = [
    ("table1_market", 1, [*LABELS, "PCKh"], Paper("market1501", "Market-1501", [128, 64]), []),
    ("table1_deepfashion", 2, ["SSIM", "IS", "PCKh"], Paper("deepfashion_176", "DeepFashion", [256, 176]), DEEPFASHION),
]


def numbers_of(text, labels, part=1):
    """Read lines `row | numbers | numbers` as the numbers of each row by label."""
    lines = (line.strip().split(" | ") for line in text.strip().splitlines())
    cells = {row: zip(labels, parts[part - 1].split(), strict=True) for row, *parts in lines}
    return {row: {label: float(cell) for label, cell in pairs if cell != "-"} for row, pairs in cells.items()}


@pytest.mark.parametrize("name", TABLES_3_TO_5)
def test_spec_holds_the_papers_numbers(name):
    spec = load_spec(EXPERIMENTS / f"{name}.yaml")
    assert {row.variant for row in spec.rows} <= VARIANTS
    assert {row.label: row.paper for row in spec.rows} == numbers_of(TABLES_3_TO_5[name], LABELS)
    assert [column.label for column in spec.columns] == LABELS
    assert spec.paper == Paper("market1501", "Market-1501", [128, 64])
    assert spec.base() in spec.rows
    assert spec.compare_with == "full"
    assert [column.label for column in spec.more_columns] == MORE
    assert (spec.only_data, spec.intervals) == ([], True)


@pytest.mark.parametrize(("name", "part", "labels", "paper", "only_data"), SETS_OF_TABLE_1)
def test_table_1_has_two_rows_of_ours_and_what_the_paper_cites(name, part, labels, paper, only_data):
    spec = load_spec(EXPERIMENTS / f"{name}.yaml")
    expected = numbers_of(TABLE_1, labels, part)
    assert {row.variant: row.paper for row in spec.rows} == {"full": expected.pop("2s-ATN (Full)"), "patn": {}}
    assert [(row.label, row.paper) for row in spec.cited] == [(key, cells) for key, cells in expected.items() if cells]
    assert [(column.label, column.protocol) for column in spec.columns] == [(label, "patn") for label in labels]
    assert (spec.number, replace(spec.paper, note=""), spec.only_data, spec.compare_with) == (
        1,
        paper,
        only_data,
        "full",
    )


def test_correspondence_is_a_table_of_the_synthetic_people_only():
    spec = load_spec(EXPERIMENTS / "correspondence.yaml")
    assert (spec.number, spec.paper, spec.compare_with, spec.more_columns) == (None, None, None, [])
    assert (spec.only_data, spec.intervals) == (["synthetic"], False)
    assert {row.variant for row in spec.rows} == VARIANTS - {"no_at_module"}
    metrics = ["same_place", "chance", *(f"block_{number}" for number in range(1, 14))]
    assert [column.key for column in spec.columns] == [(f"correspondence_{name}", "pck@0.1") for name in metrics]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("digits: 3", "digit: 3", r"digit: Key 'digit' not in 'Column'"),
        ("digits: 3", "digits: 3.5", r"digits: Value '3.5' of type 'float' could not be converted to Integer"),
        ("digits: 3", "digits: -1", r"digits: expected 0 to 10, got -1"),
        ("digits: 3", "digits: 1000000000", r"digits: expected 0 to 10, got 1000000000"),
        ("digits: 3", "digits: 3, count: 1000000000", r"count: expected at most 100, got 1000000000"),
        ("SSIM: 0.313", "SSIM: .nan", r"paper: SSIM: expected a finite number, got nan"),
        ("SSIM: 0.313", "SIM: 0.313", r"rows: paper: expected one of SSIM, PCKh, got SIM"),
        ("SSIM: 0.313", "SSIM: high", r"paper\.SSIM: Value 'high' of type 'str' could not be converted to Float"),
        ("title: A table & its title.", "", r"title: .* has missing mandatory value: title"),
        ("paper: {data: market1501, label: Market-1501, image_size: [128, 64]}", "", r"paper: expected the data of"),
        ("[128, 64]", "[128]", r"image_size: expected \[height, width\], got \[128\]"),
        ("label: PCKh", "label: SSIM", r"columns: expected each once, got 'SSIM' 2 times"),
        ("variant: no_at_module", "variant: full", r"rows: expected each once, got 'full' 2 times"),
        (", variant: no_at_module", "", r"rows: w/o: variant: expected the name of a variant, got none"),
        ("rows:", "compare_with: x\nrows:", r"compare_with: expected one of full, no_at_module, got x"),
        ("rows:", f"more_columns: [{MORE_SSIM}]\nrows:", r"more_columns: expected each once, got 'SSIM' 2 times"),
        ("rows:", "more_columns: [{label: X}]\nrows:", r"more_columns\[0\]\.metric: .* missing mandatory value"),
        ("rows:", "cited: [{label: X, paper: {}}]\nrows:", r"cited: X: paper: expected at least one number, got none"),
        ("rows:", "cited: [{label: X, paper: {IS: 3}}]\nrows:", r"paper: expected one of SSIM, PCKh, got IS"),
        ("rows:", "cited: [{label: X, variant: x}]\nrows:", r"cited: X: variant: expected none, got x"),
        ("rows:", f"cited: [{CITED}, {CITED}]\nrows:", r"cited: expected each once, got 'X' 2 times"),
        ("rows:", "base: [\nrows:", r"expected YAML, got: "),
        ("rows:", "base: none.yaml\nrows:", r"base: expected a spec in the same folder, file not found: none.yaml"),
    ],
)
def test_wrong_spec_is_refused(spec_path, old, new, message):
    spec_path.write_text(spec_path.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=message) as error:
        load_spec(spec_path)
    assert str(error.value).startswith(f"{spec_path}: ")
    assert "\n" not in str(error.value)


def test_spec_that_is_no_mapping_is_refused(spec_path):
    spec_path.write_text("- 1\n")
    with pytest.raises(ValueError, match=r"table9_test.yaml: expected a mapping, got \[1\]"):
        load_spec(spec_path)
    with pytest.raises(ValueError, match="x: expected a mapping, got None"):
        from_config(Paper, None, "x")


ALIASES = "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30))
DOUBLED = "\n".join(f"a{i}: ${{a{i + 1}}}${{a{i + 1}}}" for i in range(60))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"a0: &a0 [x]\n{ALIASES}", r"t\.yaml:2: expected values, each written out, got an alias"),
        ("a: &a\n  b: *a", r"t\.yaml:2: expected values, each written out, got an alias"),
        (DOUBLED, r"t\.yaml:1: expected values, each written out, got \$\{a1\}\$\{a1\}"),
        ("title: ${oc.env:HOME}", r"t\.yaml:1: expected values, each written out, got \$\{oc\.env:HOME\}"),
        ("[" * 3000, r"t\.yaml:1: expected at most 20 levels of lists and mappings, got more"),
        ("".join(f"{' ' * i}a:\n" for i in range(300)), r"t\.yaml:21: expected at most 20 levels"),
        ("x" * 70_000, r"t\.yaml: expected at most 65,536 bytes, got 70,000"),
        (f"- {'x' * 60_000}", r"t\.yaml: expected a mapping, got \['x{118}\.\.\. \(60,004 characters\)$"),
        (f"title: {'x' * 60_000}\nnumber: {'y' * 1000}", r"t\.yaml: number: Value 'y{250,}\.\.\. \(\d"),
    ],
)
def test_a_small_spec_of_a_large_content_is_refused_at_once(tmp_path, text, message):
    path = tmp_path / "t.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        load_spec(path)
    assert len(str(error.value)) < len(str(path)) + 400


def test_a_value_of_a_file_stands_for_itself_alone():
    with pytest.raises(ValueError, match=r"^x: expected values, each written out, got \$\{oc\.env:HOME\}$"):
        from_config(Paper, {"data": "d", "label": "${oc.env:HOME}", "image_size": [2, 1]}, "x")


def test_a_spec_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nothere\.yaml: expected a spec, file not found; the project's are in"):
        load_spec(tmp_path / "nothere.yaml")


def test_base_gives_the_keys_that_a_spec_does_not_replace(spec_path):
    base = "title: Replaced\nmore_columns:\n"
    base += "  - {label: SSIM, metric: ssim, protocol: patn, digits: 4}\n"
    base += "  - {label: 'X{}', metric: 'x_{}', protocol: patn, digits: 1, count: 2}\n"
    spec_path.with_name("_base.yaml").write_text(base)
    spec_path.write_text(spec_path.read_text() + "base: _base.yaml\n")
    spec = load_spec(spec_path)
    assert (spec.name, spec.title) == ("table9_test", "A table & its title.")
    # A column that is among the spec's own is not repeated.
    assert [(column.label, column.metric) for column in spec.more_columns] == [("X1", "x_1"), ("X2", "x_2")]


def test_cited_numbers_need_the_data_of_the_paper(spec_path):
    text = re.sub(r"paper: \{data.*\n", "", spec_path.read_text())
    spec_path.write_text(f"cited: [{CITED}]\n" + re.sub(r"paper: \{(SSIM|PCKh).*?\}", "paper: {}", text))
    with pytest.raises(ValueError, match=r"table9_test\.yaml: paper: expected the data of the paper's numbers"):
        load_spec(spec_path)


def test_columns_in_the_paper_are_those_of_all_rows(spec_path, change):
    change(spec_path, ", PCKh: 0.94", "")
    assert load_spec(spec_path).in_paper() == {"SSIM"}
    change(spec_path, "rows:", "cited: [{label: X, paper: {PCKh: 1}}]\nrows:")
    assert load_spec(spec_path).in_paper() == {"SSIM", "PCKh"}


# SSIM, LPIPS, FID of IMAGPose (Shen and Tang 2024), Table 1; LPIPS, FID of GFLA (Ren et al. 2020), Table 1.
FIELD = {
    "table_field_market": """
        PATN (Zhu et al. 2019) | .2821 .3196 22.66
        GFLA (Ren et al. 2020) | .2883 .2817 19.75
        DPTN (Zhang et al. 2022) | .2854 .2711 19.00
        PIDM (Bhunia et al. 2023) | .3054 .2415 14.45
        PCDMs (Shen et al. 2024) | .3169 .2238 13.90
        IMAGPose (Shen and Tang 2024) | .3282 .2104 12.66
        """,
    "table_field_deepfashion": """
        ADGAN (Men et al. 2020) | .6721 .2283 14.46
        GFLA (Ren et al. 2020) | .7074 .2341 10.57
        DPTN (Zhang et al. 2022) | .7112 .1931 11.39
        NTED (Ren et al. 2022) | .7182 .1752 8.68
        PIDM (Bhunia et al. 2023) | .7312 .1678 6.37
        CFLD (Lu et al. 2024) | .7378 .1519 6.80
        PCDMs (Shen et al. 2024) | .7444 .1365 7.47
        IMAGPose (Shen and Tang 2024) | .7561 .1284 5.87
        """,
}


OF_GFLA = {
    "table_field_market": "Def-GAN (Siarohin et al. 2018) | .2994 25.36",
    "table_field_deepfashion": "Def-GAN (Siarohin et al. 2018) | .2330 18.46",
}


def test_a_number_says_outside_of_its_table_what_it_counts():
    blocks, methods = (load_spec(EXPERIMENTS / f"{name}.yaml") for name in ("table5_blocks", "table3_at_module"))
    assert [blocks.full_label(row) for row in blocks.rows[:2]] == ["5 AT-blocks", "7 AT-blocks"]
    assert [methods.full_label(row) for row in methods.rows] == ["2s-ATN (Full)", "w/o AT-module"]


@pytest.mark.parametrize("name", FIELD)
def test_the_tables_of_the_field_hold_published_numbers(name, tmp_path):
    spec = load_spec(EXPERIMENTS / f"{name}.yaml")
    labels = ["SSIM", "LPIPS", "FID"]
    assert {row.label: row.paper for row in spec.cited[1:]} == numbers_of(FIELD[name], labels)
    assert {spec.cited[0].label: spec.cited[0].paper} == numbers_of(OF_GFLA[name], labels[1:])
    assert [column.label for column in spec.columns] == labels
    assert {row.variant for row in spec.rows} == {"full", "patn"}
    table = markdown(collect(spec, tmp_path / spec.only_data[0] / "paper", [0]))
    assert "| Method | SSIM | published |" in re.sub(" +", " ", table)
    assert (
        "cited: numbers from IMAGPose (Shen and Tang 2024), Table 1; Def-GAN: GFLA (Ren et al. 2020), Table 1, without"
        in table
    )
