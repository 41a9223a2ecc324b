"""README and docs agree with the files that they describe."""

import json
import re
import shlex
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest

from tiny_run import compose_config
from twostream.tables.comparison import paired_t_test

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "experiments/README.md", *sorted((ROOT / "docs").glob("*.md"))]

METHODS = {"patn": "PATN", "full": "2s-ATN", "warp": "Warp"}
METRICS = {
    ("ssim", "patn"): ("SSIM", 3),
    ("ssim", "standard"): ("SSIM (standard)", 3),
    ("mask_ssim", "standard"): ("Mask-SSIM (standard)", 3),
    ("pckh", "evaluator"): ("PCKh", 3),
    ("appearance_accuracy", "evaluator"): ("Appearance", 3),
    ("colour_accuracy", "evaluator"): ("Colour", 3),
    ("frechet_train", "evaluator"): ("Frechet distance", 1),
}
# The commands of docs/extending.md need its files, see test_extending.py.
COMPOSABLE = [page for page in PAGES if page.stem != "extending"]
NOT_OUR_WORDS = r"pictures?|judges?|levers?|tuned|generated people|D never built|anew|whole way|cut off|at work"


def results_table(folder: Path) -> str:
    """Means over seeds of the values in a folder of results with their deviations, and gains, as in the README."""
    lines = [f"| method | {' | '.join(label for label, _ in METRICS.values())} |", f"| --- |{' ---: |' * len(METRICS)}"]
    values = {variant: values_by_seed(folder / variant) for variant in METHODS}
    for variant, label in METHODS.items():
        cells = [
            f"{mean(values[variant][key]):.{digits}f} ± {stdev(values[variant][key]):.{digits}f}"
            for key, (_, digits) in METRICS.items()
        ]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    for variant, other in (("full", "patn"), ("warp", "full")):
        if len(values[other]["ssim", "patn"]) < 3:
            continue
        cells = []
        for key, (_, digits) in METRICS.items():
            gains = [one - two for one, two in zip(values[variant][key], values[other][key], strict=True)]
            low, high, _ = paired_t_test(gains)
            cells.append(f"{mean(gains):+.{digits}f} ± {(high - low) / 2:.{digits}f}")
        lines.append(f"| {METHODS[variant]} - {METHODS[other]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def values_by_seed(folder: Path) -> dict[tuple[str, str], list[float]]:
    """The values of the `metrics.json` of seed 0 in a folder, and of further seeds in `seed<k>/`, by metric."""
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for seed, path in enumerate([folder / "metrics.json", *sorted(folder.glob("seed*/metrics.json"))]):
        content = json.loads(path.read_text())
        assert (content["run"]["variant"], content["run"]["seed"]) == (folder.name, seed)
        for entry in content["values"]:
            values[entry["metric"], entry["protocol"]].append(entry["value"])
    return values


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def commands(page: Path) -> set[tuple[str, ...]]:
    """The `twostream-*` commands in a page's examples with the first choice of each of their overrides, unquoted."""
    found = set()
    for block in re.findall(r"^```sh$(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE):
        for name, rest in re.findall(r"twostream-(\w+) (.*)", block.replace("\\\n", "")):
            words = [word for word in shlex.split(rest, comments=True) if "=" in word and not word.startswith("hydra")]
            found.add((name, *(word if set("[{") & set(word) else word.split(",")[0] for word in words)))
    return found


def section(heading: str) -> str:
    return README.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]


def test_readme_results_are_those_of_the_file():
    match = re.search(r"<!-- results: (\S+) -->\n(.*?)\n<!-- /results -->", README.read_text(), re.DOTALL)
    folder = ROOT / match[1]
    assert match[2] == results_table(folder)
    content = json.loads((folder / "full" / "metrics.json").read_text())
    (accuracy,) = re.findall(r"PCKh (\d\.\d{3})", " ".join(content["run"]["notes"]))
    assert f"its own PCKh is {accuracy}" in README.read_text()
    (of_true,) = [entry["true_images"] for entry in content["values"] if entry["metric"] == "colour_accuracy"]
    assert f"its colour accuracy is {of_true:.3f}" in README.read_text()


def test_readme_values_of_real_people_are_those_of_the_files():
    ssim, fid = [], []
    for variant in ("patn", "full", "warp"):
        content = json.loads((ROOT / "experiments/results/real" / variant / "metrics.json").read_text())
        values = {(entry["metric"], entry["protocol"]): entry["value"] for entry in content["values"]}
        ssim.append(f"{values['ssim', 'patn']:.3f}")
        fid.append(f"{values['fid_test', 'standard']:.0f}")
    said = "an SSIM of {}, {} and {}, and an FID to test images of {}, {} and {}.".format(*ssim, *fid)
    assert f"PATN, 2s-ATN and Warp reach {said}" in " ".join(README.read_text().split())


def intervals(text: str) -> list[tuple[str, str]]:
    """The intervals that follow a value."""
    number = r"[-+]?\d+(?:\.\d+)?"
    return re.findall(rf"\d\s+\[({number}),\s+({number})\]", text)


@pytest.mark.parametrize("page", [page for page in PAGES if intervals(prose(page))], ids=lambda page: page.stem)
def test_every_interval_is_that_of_a_stored_table(page):
    """With the digits that are shown, of the value or of its negative."""
    tables = (ROOT / "experiments/results").rglob("*.md")
    stored = np.array([interval for table in tables for interval in intervals(table.read_text())], dtype=float)
    stored = np.concatenate([stored, -stored[:, ::-1]])
    for interval in intervals(prose(page)):
        tolerance = 0.51 * 10 ** -len(interval[0].partition(".")[2])
        assert (abs(stored - np.array(interval, dtype=float)) <= tolerance).all(axis=1).any(), interval


def test_readme_is_short():
    assert len(README.read_text().splitlines()) <= 160


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_page_has_short_lines_plain_words_and_links_that_resolve(page):
    assert [line for line in page.read_text().splitlines() if len(line) > 150] == []
    assert re.findall(rf"\b(?:{NOT_OUR_WORDS})\b", page.read_text(), re.IGNORECASE) == []
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose(page)):
        name, _, anchor = link.partition("#")
        target = (page.parent / name) if name else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings], link


def test_paths_in_readme_exist():
    tree = re.search(r"```\n(.*?)```", section("Layout"), re.DOTALL)[1]
    paths = [line.split()[0] for line in tree.splitlines()]
    paths += re.findall(r"(?:src|conf|experiments)/[\w*./]+", section("From the paper to the code"))
    assert len(paths) > 25
    assert [path for path in paths if not any(ROOT.glob(path))] == []


def test_every_folder_of_the_package_is_in_the_tree():
    folders = {f"src/twostream/{path.parent.name}/" for path in (ROOT / "src/twostream").glob("*/__init__.py")}
    assert [folder for folder in sorted(folders) if folder not in section("Layout")] == []


def test_every_option_of_a_config_group_is_in_its_page():
    rows = re.findall(r"^\| (`[^|]*) \| ([^|]*) \|", (ROOT / "docs/config.md").read_text(), re.MULTILINE)
    options = {group: text for names, text in rows for group in re.findall(r"`([\w/]+)(?:@[\w.]+)?`", names)}
    for path in (ROOT / "conf").rglob("[!_]*.yaml"):
        group = path.parent.relative_to(ROOT / "conf").as_posix()
        if group in options and group != "ablation":
            assert f"`{path.stem}`" in options[group], (group, path.stem)


@pytest.mark.slow
def test_audit_has_the_comparisons_of_the_tests(tmp_path):
    def compared(path):
        rows = [line.split(" | ") for line in path.read_text().splitlines() if line.startswith("| ")]
        return [(what, against, limit, test) for what, against, _, limit, test in rows]

    options = ["-q", "-m", "", f"--audit={tmp_path / 'audit.md'}", "-p", "no:cacheprovider"]
    subprocess.run([sys.executable, "-m", "pytest", *options], check=True, cwd=ROOT, capture_output=True, text=True)
    assert sorted(compared(tmp_path / "audit.md")) == sorted(compared(ROOT / "docs/audit.md"))


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in COMPOSABLE if commands(page)], ids=lambda page: page.stem)
def test_every_command_of_a_page_composes(page):
    for name, *overrides in sorted(commands(page)):
        quoted = [re.sub(r"^(\w+/\w+)=(\d+)$", r"\1='\2'", override) for override in overrides]
        assert compose_config(name, *quoted), (name, overrides)
