import csv

import pytest
from scipy import stats

from twostream.tables.render import differences_csv, values_csv


def rows_of(text):
    return list(csv.DictReader(text.splitlines()))


def test_csv_is_unrounded(collected, add_run):
    add_run("full", {"ssim": {"value": 0.1 + 0.2, "interval": [0.25, 1 / 3], "splits_std": 0.5}})
    lines = values_csv(collected()).splitlines()
    assert lines == [
        "table,row,variant,data,label,scale,seed,iterations,batch_size,image_size,commit,dirty,data_hash,"
        "column,metric,protocol,value,n,interval_low,interval_high,splits_std,paper,missing",
        "9,A_1 (Full),full,synthetic,synthetic people,smoke,0,100,8,64x32,abc1234,False,d1,"
        "SSIM,ssim,patn,0.30000000000000004,64,0.25,0.3333333333333333,0.5,0.32,",
        "9,A_1 (Full),full,synthetic,synthetic people,smoke,0,100,8,64x32,abc1234,False,d1,"
        "PCKh,pckh,patn,,,,,,0.94,not computed",
        "9,w/o,no_at_module,synthetic,,smoke,0,,,,,,,SSIM,ssim,patn,,,,,,0.313,not run",
        "9,w/o,no_at_module,synthetic,,smoke,0,,,,,,,PCKh,pckh,patn,,,,,,,not run",
    ]


@pytest.mark.usefixtures("compared_path")
def test_csv_has_each_seed_and_hidden_columns_with_their_reason(collected, add_run):
    for seed, value in enumerate([0.31, 0.32]):
        add_run("full", {"ssim": value}, seed, missing={"lpips/standard": "no weights"})
    rows = [row for row in rows_of(values_csv(collected((0, 1)))) if row["variant"] == "full"]
    assert [(row["seed"], float(row["value"])) for row in rows if row["value"]] == [("0", 0.31), ("1", 0.32)]
    reasons = {row["column"]: row["missing"] for row in rows}
    assert reasons == {"SSIM": "", "PCKh": "not computed", "LPIPS": "no weights", "FID": "not computed"}


@pytest.mark.usefixtures("compared_path")
def test_differences_of_one_seed(collected, add_run):
    add_run("full", {"ssim": 0.5, "pckh": 0.9}, replicates={"ssim": [0.5, 0.5, 0.5]})
    add_run("no_at_module", {"ssim": 0.25, "pckh": 0.9}, replicates={"ssim": [0.25, 0.5, 0.0]})
    lines = differences_csv(collected()).splitlines()
    margin, p = stats.t.ppf(0.975, 11) * 0.25, 2 * stats.t.cdf(-1, 11)
    assert lines[0] == (
        "table,row,variant,compare_with,data,scale,column,metric,protocol,"
        "seeds,identities,difference,difference_low,difference_high,p,p_holm,missing"
    )
    about = "9,w/o,no_at_module,full,synthetic,smoke"
    assert lines[1] == f"{about},SSIM,ssim,patn,0,12,-0.25,{-0.25 - margin},{-0.25 + margin},{p},{p},"
    assert lines[2] == f"{about},PCKh,pckh,patn,,,,,,,,no_at_module/seed0 has no replicates in bootstrap.json"
    assert lines[3:] == [
        f"9,cat,both_add,full,synthetic,smoke,{column},patn,,,,,,,,a row has no value"
        for column in ("SSIM,ssim", "PCKh,pckh")
    ]


@pytest.mark.usefixtures("compared_path")
def test_differences_of_several_seeds(collected, add_run):
    for seed in (0, 1):
        add_run("full", {"ssim": 0.5}, seed)
        add_run("both_add", {"ssim": 0.25 + seed / 4}, seed)
    rows = rows_of(differences_csv(collected((0, 1))))
    found = next(row for row in rows if (row["variant"], row["column"]) == ("both_add", "SSIM"))
    assert (found["seeds"], found["identities"], found["difference"]) == ("0 1", "", "-0.125")


def test_csv_has_each_number_that_the_paper_cites(spec_path, collected):
    cited = "cited: [{label: Other, paper: {PCKh: 0.912}}, {label: Real, paper: {SSIM: 1, PCKh: 1}}]\n"
    spec_path.write_text(spec_path.read_text() + cited)
    rows = rows_of(values_csv(collected((0, 1))))
    assert len(rows) == 2 * 2 * 2 + 3
    ssim = {"column": "SSIM", "metric": "ssim", "protocol": "patn", "missing": "cited"}
    pckh = {"column": "PCKh", "metric": "pckh", "protocol": "patn", "missing": "cited"}
    assert [{key: cell for key, cell in row.items() if cell} for row in rows[-3:]] == [
        {"table": "9", "row": "Other", "paper": "0.912", **pckh},
        {"table": "9", "row": "Real", "paper": "1.0", **ssim},
        {"table": "9", "row": "Real", "paper": "1.0", **pckh},
    ]
