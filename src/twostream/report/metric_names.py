"""What a reader sees in place of a metric's name in the files of runs: a name, which way is better, and the meaning."""

from collections.abc import Iterable
from typing import NamedTuple

from twostream.tables.spec import Spec

HIGHER, LOWER, NEITHER = 1, -1, 0  # sign of a difference that is an improvement
DIRECTIONS = {HIGHER: "higher is better", LOWER: "lower is better"}


class Metric(NamedTuple):
    """A metric in words."""

    name: str
    better: int
    meaning: str

    @property
    def text(self) -> str:
        """The meaning, and which way is better."""
        return "; ".join(filter(None, (self.meaning, DIRECTIONS.get(self.better))))


METRICS = {
    "ssim": Metric("SSIM", HIGHER, "similarity of the structures of generated and true image; 1 is equal"),
    "mask_ssim": Metric("Mask-SSIM", HIGHER, "SSIM of the person without the background"),
    "psnr": Metric("PSNR", HIGHER, "peak signal-to-noise ratio in dB"),
    "inception_score": Metric("IS", HIGHER, "how certain and how varied a classifier finds the images"),
    "mask_inception_score": Metric("Mask-IS", HIGHER, "IS of the person without the background"),
    "lpips": Metric("LPIPS", LOWER, "distance to the true image in a network's features"),
    "mask_lpips": Metric("Mask-LPIPS", LOWER, "LPIPS of the person without the background"),
    "fid_train": Metric("FID (train)", LOWER, "Frechet distance of the images' features to those of training images"),
    "fid_all_train": Metric("FID (all train)", LOWER, "the same distance to all training images"),
    "fid_test": Metric("FID (test)", LOWER, "the same distance to the true test images"),
    "frechet_train": Metric("FD train", LOWER, "Frechet distance by the evaluator's features to training images"),
    "frechet_test": Metric("FD test", LOWER, "the same distance to the true test images"),
    "pckh": Metric("PCKh", HIGHER, "fraction of keypoints found where the target pose has them"),
    "appearance_accuracy": Metric(
        "Appearance accuracy",
        HIGHER,
        "fraction of people whose colour, pattern and legwear are read as in the true image",
    ),
    "colour_accuracy": Metric(
        "Colour accuracy", HIGHER, "fraction of people whose upper garment is read to have the colour of the true one"
    ),
    "correspondence": Metric(
        "Correspondence", HIGHER, "fraction of target positions whose match is close to the true one"
    ),
    "correspondence_same_place": Metric(
        "Same position", NEITHER, "the same fraction if each position of the target were matched with itself"
    ),
    "correspondence_chance": Metric("Chance", NEITHER, "the same fraction if matches were drawn at random"),
}
CURVES = {"val/ssim": "SSIM of validation pairs", "val/l1": "L1 loss of validation pairs"}


def metric_of(name: str) -> Metric | None:
    """Return the metric of a name in `metrics.json`, None of an unknown one; `correspondence_*` of modules are one."""
    return METRICS.get(name) or METRICS.get("correspondence" if name.startswith("correspondence_") else "")


def score_name(column: str) -> str:
    """Return a column of `scores.csv`, such as `mask_ssim/patn`, as a reader knows it: Mask-SSIM (patn)."""
    name, _, protocol = column.partition("/")
    metric = metric_of(name)
    return f"{metric.name} ({protocol})" if metric else column


def score_headings(specs: Iterable[Spec]) -> dict[str, str]:
    """Return the headings that tables give to columns of `scores.csv`; the first column of a heading has it alone."""
    headings: dict[str, str] = {}
    for spec in specs:
        for column in spec.all_columns():
            if column.label not in headings.values():
                headings.setdefault(f"{column.metric}/{column.protocol}", column.label)
    return headings
