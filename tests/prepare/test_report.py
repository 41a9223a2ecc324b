import pytest

from twostream.prepare.preparation_report import report
from twostream.prepare.preset import Counts

PAPER = {"train": Counts(12_936, 263_632), "test": Counts(19_732, 12_000)}


@pytest.fixture
def manifest():
    counts = {
        f"num_{split}_{count}": number
        for split, images, pairs in (("train", 12_936, 263_632), ("test", 19_732, 12_000))
        for count, number in {
            "images": images,
            "annotated": images,
            "joints": 1234,
            "torsos": 99,
            "pairs": pairs,
        }.items()
    }
    words = {"annotated_by": {"train": "file a.csv", "test": "b"}, "pairs": {"train": "rule", "test": "drawn"}}
    return {"label": "Market-1501", "codec": "JPEG files as downloaded", "notes": ["n"], **words, **counts}


def test_counts_stand_beside_the_published_ones(manifest):
    assert report(manifest, PAPER).splitlines() == [
        "Market-1501",
        "                               train   published        test   published",
        "pictures                      12,936      12,936      19,732      19,732",
        "annotated pictures            12,936                  19,732",
        "joints found                   1,234                   1,234",
        "with shoulders and hips           99                      99",
        "pairs                        263,632     263,632      12,000      12,000",
        "files: JPEG files as downloaded",
        "train joints: file a.csv",
        "train pairs: rule",
        "test joints: b",
        "test pairs: drawn",
        "note: n",
        "counts of pictures and pairs: as published",
    ]


def test_every_difference_is_said_in_words(manifest):
    lines = report({**manifest, "num_train_images": 12_937, "num_test_pairs": 0}, PAPER).splitlines()
    assert lines[-2:] == [
        "difference: train pictures: 12,937 here, 12,936 published (1 more)",
        "difference: test pairs: 0 here, 12,000 published (12,000 fewer)",
    ]
