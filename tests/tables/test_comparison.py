import numpy as np
import pytest
from scipy import stats

from twostream.tables.comparison import compare, holm, paired_bootstrap, paired_t_test

pytestmark = pytest.mark.usefixtures("compared_path")

KEY = ("no_at_module", "SSIM")
DRAWN = {"ssim": [0.31, 0.33, 0.30, 0.32]}
OTHER = {"ssim": [0.30, 0.30, 0.28, 0.30]}


def test_paired_bootstrap_worked_by_hand():
    # Differences 1, 3, 2, 2: variance (1 + 1) / 3; t(0.975, 11) = 2.200985 from a table.
    error = (2 / 3) ** 0.5
    low, high, p = paired_bootstrap(-2, [11, 23, 32, 42], [10, 20, 30, 40], 12)
    assert (low, high) == pytest.approx((-2 - 2.200985 * error, -2 + 2.200985 * error))
    assert p == pytest.approx(2 * stats.t.cdf(-2 / error, 11))
    assert 0.02 < p < 0.05


def test_paired_bootstrap_approximates_the_paired_t_test():
    # The error of a mean over the identities is what the bootstrap of that mean spreads by.
    random = np.random.default_rng(0)
    ours = random.normal(0.3, 0.05, 12)
    base = ours + random.normal(0.02, 0.03, 12)
    draws = random.integers(0, 12, (20000, 12))
    low, high, p = paired_bootstrap((ours - base).mean(), ours[draws].mean(1), base[draws].mean(1), 12)
    expected = stats.ttest_rel(ours, base)
    # Resampling n values spreads by the sample's deviation with ddof 0, a factor of (11 / 12) ** 0.5.
    interval = expected.confidence_interval()
    assert (high - low) / (interval.high - interval.low) == pytest.approx((11 / 12) ** 0.5, rel=0.02)
    assert p == pytest.approx(2 * stats.t.sf(abs(expected.statistic) * (12 / 11) ** 0.5, 11), rel=0.1)


def test_paired_t_test_is_scipys(agree):
    ours, base = [0.31, 0.33, 0.36], [0.30, 0.35, 0.33]
    expected = stats.ttest_rel(ours, base)
    interval = expected.confidence_interval(0.95)
    result = paired_t_test(np.subtract(ours, base).tolist())
    scipys = [interval.low, interval.high, expected.pvalue]
    agree("Statistics", "paired t-test over seeds: interval and p", "scipy's `ttest_rel`", result, scipys, 1e-9)


@pytest.mark.parametrize(("difference", "p"), [(0.0, 1), (0.25, 0)])
def test_constant_differences_are_certain(difference, p):
    assert paired_t_test([difference] * 3) == (difference, difference, p)
    replicates = [0.5 + difference, 0.75 + difference]
    assert paired_bootstrap(difference, replicates, [0.5, 0.75], 12) == (difference, difference, p)


def test_differences_equal_but_for_rounding_do_not_warn():
    low, high, p = paired_t_test([0.3 - 0.2, 0.4 - 0.3, 0.5 - 0.4])
    assert (low, high) == pytest.approx((0.1, 0.1))
    assert p < 1e-9


@pytest.mark.parametrize(
    ("p", "corrected"),
    [([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]), ([], []), ([0.04], [0.04]), ([0.6, 0.7], [1, 1])],
)
def test_holm_worked_by_hand(p, corrected):
    assert holm(p) == pytest.approx(corrected)


def test_holm_is_the_step_down_procedure(agree):
    """Holm 1979: at a level, hypotheses are rejected from the smallest p on until one is above level / number left."""
    random = np.random.default_rng(0)
    for n in range(1, 9):
        p = (random.random(n) ** 2).round(3).tolist()
        corrected = holm(p)
        for level in (0.01, 0.05, 0.2, 0.5, 0.9):
            rejected = set()
            for rank, i in enumerate(sorted(range(n), key=p.__getitem__)):
                if p[i] > level / (n - rank):
                    break
                rejected.add(i)
            decided = [str(value <= level) for value in corrected]
            expected = [str(i in rejected) for i in range(n)]
            agree("Statistics", "decisions by Holm's correction", "the procedure step by step", decided, expected, 0)


def test_one_seed_is_compared_over_identities(collected, add_run):
    add_run("full", {"ssim": 0.3}, replicates=OTHER)
    add_run("no_at_module", {"ssim": 0.32}, replicates=DRAWN)
    comparison = compare(collected())[KEY]
    expected = stats.t(11, loc=0.02, scale=np.std([0.01, 0.03, 0.02, 0.02], ddof=1))
    assert (comparison.difference_low, comparison.difference_high) == pytest.approx(expected.interval(0.95))
    assert comparison.p == comparison.p_holm == pytest.approx(2 * expected.cdf(0))
    assert (comparison.seeds, comparison.identities, comparison.contains_zero) == ((0,), 12, False)


def test_seeds_in_common_are_compared_in_pairs(collected, add_run):
    for seed, value in {0: 0.31, 2: 0.36, 3: 0.9}.items():
        add_run("no_at_module", {"ssim": value}, seed)
    for seed, value in {0: 0.30, 1: 0.1, 2: 0.33}.items():
        add_run("full", {"ssim": value}, seed)
    comparison = compare(collected((0, 1, 2, 3)))[KEY]
    assert comparison.difference == pytest.approx(0.02)
    assert comparison.p == pytest.approx(stats.ttest_rel([0.31, 0.36], [0.30, 0.33]).pvalue)
    assert (comparison.seeds, comparison.identities, comparison.contains_zero) == ((0, 2), None, True)


def test_holms_family_is_a_column(collected, add_run):
    add_run("full", {"ssim": 0.3, "pckh": 0.3}, replicates={**OTHER, "pckh": OTHER["ssim"]})
    add_run("no_at_module", {"ssim": 0.32, "pckh": 0.32}, replicates={**DRAWN, "pckh": DRAWN["ssim"]})
    add_run("both_add", {"ssim": 0.3}, replicates=DRAWN)
    found = compare(collected())
    assert list(found) == [KEY, ("both_add", "SSIM"), ("no_at_module", "PCKh")]
    assert found[KEY].p_holm == 2 * found[KEY].p
    assert found["both_add", "SSIM"].p_holm == found["both_add", "SSIM"].p == 1
    assert found["no_at_module", "PCKh"].p_holm == found["no_at_module", "PCKh"].p


def test_nothing_is_compared_without_compare_with_or_values(compared_path, collected, add_run, change):
    add_run("no_at_module", {"ssim": 0.32}, replicates=DRAWN)
    assert compare(collected()) == {}
    add_run("full", {"ssim": 0.3}, replicates=OTHER)
    change(compared_path, "compare_with: full", "")
    assert compare(collected()) == {}


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("metrics", '"p1"', '"p2"', "no_at_module/seed0 was scored on other test pairs than full/seed0"),
        ("metrics", '"d1"', '"d2"', "no_at_module/seed0 was scored on other test pairs than full/seed0"),
        ("metrics", '"n": 64', '"n": 64, "w": 1', "no_at_module/seed0 was scored with other settings than full/seed0"),
        ("bootstrap", '"p1"', '"p2"', "no_at_module/seed0 has a bootstrap.json of other test pairs"),
        ("bootstrap", '"ssim"', '"pckh"', "no_at_module/seed0 has no replicates in bootstrap.json"),
        ("bootstrap", ' 0, "id', ' 1, "id', "no_at_module/seed0 and full/seed0 were resampled with other identities"),
        ("bootstrap", ": 12", ": 11", "no_at_module/seed0 and full/seed0 were resampled with other identities"),
        ("bootstrap", "0.33, ", "", "no_at_module/seed0 and full/seed0 have 3 and 4 replicates"),
    ],
)
def test_runs_that_can_not_be_paired_are_refused(collected, add_run, change, file, old, new, reason):
    add_run("full", {"ssim": 0.3}, replicates=OTHER)
    path = add_run("no_at_module", {"ssim": 0.32}, replicates=DRAWN)
    change(path.with_name(f"{file}.json"), old, new)
    assert compare(collected()) == {KEY: reason}


@pytest.mark.parametrize("without", ["full", "no_at_module"])
def test_run_without_bootstrap_is_not_compared(collected, add_run, without):
    for variant in ("full", "no_at_module"):
        add_run(variant, {"ssim": 0.3}, replicates=None if variant == without else DRAWN)
    assert compare(collected()) == {KEY: f"{without}/seed0 has no bootstrap.json"}


@pytest.mark.parametrize(("replicates", "identities"), [([0.3], 12), ([0.3, 0.4], 1)])
def test_too_few_replicates_or_identities_are_refused(collected, add_run, change, replicates, identities):
    for variant in ("full", "no_at_module"):
        path = add_run(variant, {"ssim": 0.3}, replicates={"ssim": replicates})
        change(path.with_name("bootstrap.json"), ": 12", f": {identities}")
    reason = "no_at_module/seed0 and full/seed0 have fewer than two replicates or test identities"
    assert compare(collected()) == {KEY: reason}


def test_rows_without_a_seed_in_common_are_not_compared(collected, add_run):
    add_run("full", {"ssim": 0.3}, 0, replicates=OTHER)
    add_run("no_at_module", {"ssim": 0.3}, 1, replicates=DRAWN)
    assert compare(collected((0, 1))) == {KEY: "no_at_module and full have no seed in common"}
