import pytest

from twostream.tables.results import collect
from twostream.tables.spec import load_spec

SPEC = """\
number: 9
title: A table & its title.
question: Does it help?
paper: {data: market1501, label: Market-1501, image_size: [128, 64]}
row_heading: Method
columns:
  - {label: SSIM, metric: ssim, protocol: patn, digits: 3}
  - {label: PCKh, metric: pckh, protocol: patn, digits: 2}
rows:
  - {label: A_1 (Full), variant: full, paper: {SSIM: 0.320, PCKh: 0.94}}
  - {label: w/o, variant: no_at_module, paper: {SSIM: 0.313}}
"""
# A third row, further columns and a comparison with the first row.
COMPARED = (
    SPEC
    + """\
  - {label: cat, variant: both_add}
more_columns:
  - {label: LPIPS, metric: lpips, protocol: standard, digits: 3}
  - {label: FID, metric: fid_test, protocol: standard, digits: 1}
compare_with: full
"""
)


@pytest.fixture
def spec_path(tmp_path):
    path = tmp_path / "table9_test.yaml"
    path.write_text(SPEC)
    return path


@pytest.fixture
def compared_path(spec_path):
    spec_path.write_text(COMPARED)
    return spec_path


@pytest.fixture
def change():
    """Replaces a text in a file."""

    def replace(path, old, new):
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return replace


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def collected(spec_path, runs):
    """Collects the runs of the spec as it is when this is called."""
    return lambda seeds=(0,), data="synthetic": collect(load_spec(spec_path), runs / data / "smoke", seeds)
