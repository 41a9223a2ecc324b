import re

import numpy as np
import pytest

from twostream.data.pairs import identity_of, matching_pairs, read_pairs, split_identities, write_pairs

FULL = np.ones((18, 2), dtype=int)
NO_HIP = FULL.copy()
NO_HIP[8] = -1


def test_identity_of():
    assert identity_of("0002_c1s1_000451_03.jpg") == "0002"
    assert identity_of("-1_c1s1_000401_03.jpg") == "-1"
    outfit = "fashionWOMENBlouses_Shirtsid0000069302"
    assert identity_of(f"{outfit}_3back.jpg") == identity_of(f"{outfit}_1front.jpg") == outfit
    assert identity_of("image.png") == "image.png"


def test_pairs_are_all_ordered_pairs_of_an_identity_with_shoulders_and_hips():
    joints = {"1_a.jpg": FULL, "1_b.jpg": FULL, "1_c.jpg": NO_HIP, "2_a.jpg": FULL, "-1_a.jpg": FULL}
    joints |= {"-1_b.jpg": FULL, "0000_a.jpg": FULL, "0000_b.jpg": FULL}
    assert matching_pairs(joints) == [("1_a.jpg", "1_b.jpg"), ("1_b.jpg", "1_a.jpg")]


def test_pairs_are_those_of_the_rule_tested_for_every_two_images(agree):
    random = np.random.default_rng(0)
    joints = {}
    for name in random.permutation([f"{identity:04d}_{i}.jpg" for identity in range(12) for i in range(6)]):
        joints[str(name)] = np.where(random.random((18, 1)) < 0.04, -1, random.integers(0, 99, (18, 2)))
    order = list(dict.fromkeys(name[:4] for name in joints))
    expected = [
        (source, target)
        for identity in order
        for source in joints
        for target in joints
        if source != target and source[:4] == target[:4] == identity != "0000"
        if not any((joints[name][joint] == -1).all() for name in (source, target) for joint in (2, 5, 8, 11))
    ]
    agree("Data", "pairs and their order", "the rule tested for every two images", matching_pairs(joints), expected, 0)


def test_refuses_to_hold_out_every_identity():
    with pytest.raises(ValueError, match=r"data\.num_val_identities: expected fewer than the 2 training identities"):
        split_identities([("1_a", "1_b"), ("2_a", "2_b")], 2, 1)


def test_round_trip_and_variants(tmp_path):
    pairs = [("a.jpg", "b.jpg"), ("b.jpg", "a.jpg")]
    write_pairs(tmp_path / "p.csv", pairs)
    assert read_pairs(tmp_path / "p.csv") == pairs
    for content in (b"a.jpg,b.jpg\nb.jpg,a.jpg\n", b"from,to\r\na.jpg, b.jpg\r\n\r\nb.jpg,a.jpg\r\n"):
        (tmp_path / "p.csv").write_bytes(content)
        assert read_pairs(tmp_path / "p.csv") == pairs


PAIR = "from,to\na.jpg,b.jpg\n"
NOT_ANNOTATED = ":3: expected names of annotated images, got 'nobody.jpg'"


@pytest.mark.parametrize(
    ("text", "known", "message"),
    [
        *(
            (f"{PAIR}\n{row}", None, f":4: expected two names separated by ',', got {row!r}")
            for row in ("a.jpg", "a.jpg,b.jpg,c.jpg", "a.jpg,", "a.jpg;b.jpg")
        ),
        (f"{PAIR}b.jpg,b.jpg", None, ":3: expected two different images, got 'b.jpg' twice"),
        (f"{PAIR}a.jpg, b.jpg", None, ":3: expected each pair once, got 'a.jpg, b.jpg' in line 2 too"),
        (f"{PAIR}a.jpg,../a.jpg", None, ":3: expected the name of an image in the folder of images, got '../a.jpg'"),
        (f"{PAIR}a.jpg,nobody.jpg", {"a.jpg", "b.jpg"}, NOT_ANNOTATED),
        (f"{PAIR}nobody.jpg,a.jpg", {"a.jpg", "b.jpg"}, NOT_ANNOTATED),
        *((text, None, ": expected at least one pose pair, got none") for text in ("", "\n\n", "from,to\n")),
    ],
)
def test_malformed_files_are_refused_with_file_and_line(tmp_path, text, known, message):
    path = tmp_path / "p.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}{message}')}$"):
        read_pairs(path, known)


@pytest.mark.parametrize("row", ["{}", "{},{}", "a.jpg,{}", "a.jpg,b.jpg\na.jpg,b.jpg{}"])
def test_a_long_line_is_quoted_by_its_beginning(tmp_path, row):
    path = tmp_path / "p.csv"
    path.write_text(row.format(*["x" * 1_000_000] * 2))
    for known in (None, {"a.jpg", "b.jpg"}):
        with pytest.raises(ValueError, match=r"p\.csv:\d: expected .*\.\.\. \(\d,000,0\d\d characters\)") as error:
            read_pairs(path, known)
        assert len(str(error.value)) < len(str(path)) + 250
