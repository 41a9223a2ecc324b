import pytest

from twostream.evaluation.external import NameIndex, source_and_target, stem_of

UNKNOWN = NameIndex([])
A, B = "0002_c1s1_000451_03", "0002_c2s1_000301_01"
BLOUSE, BACK = "fashionWOMENBlouses_Shirtsid0000069302_2side", "fashionWOMENBlouses_Shirtsid0000069302_3back"


@pytest.mark.parametrize(
    ("name", "source", "target"),
    [
        (f"{A}.jpg___{B}.jpg_vis.jpg", f"{A}.jpg", f"{B}.jpg"),
        (f"{A}.jpg___{B}.jpg_vis.png", f"{A}.jpg", f"{B}.jpg"),
        (f"{A}.jpg___{B}.jpg.png", f"{A}.jpg", f"{B}.jpg"),
        (f"{A}___{B}.png", A, B),
        (f"{BLOUSE}.jpg___{BACK}.jpg_vis.jpg", f"{BLOUSE}.jpg", f"{BACK}.jpg"),
        (f"{A}.jpg_{B}.jpg.png", f"{A}.jpg", f"{B}.jpg"),
        (f"{A}.jpg_{B}.jpg_vis.png", f"{A}.jpg", f"{B}.jpg"),
        (f"{BLOUSE}.jpg_{BACK}.jpg.png", f"{BLOUSE}.jpg", f"{BACK}.jpg"),
        (f"{A}.JPG_{B}.JPEG.PNG", f"{A}.JPG", f"{B}.JPEG"),
        (f"{A}_2_{B}_vis.jpg", A, B),
        (f"{A}_2_{B}_vis.JPEG", A, B),
        (f"{A}_2_{B}.png", A, B),
        (f"{BLOUSE}_2_{BACK}.png", BLOUSE, BACK),
        (f"{BLOUSE}_2_{BACK}_vis.jpg", BLOUSE, BACK),
        (f"{A}.jpg_2_{B}_vis.png", f"{A}.jpg", B),
        (f"{A}.jpg_2_{B}.jpg.png", f"{A}.jpg", f"{B}.jpg"),
        ("me_2_a.jpg_you_2_b.jpg.png", "me_2_a.jpg", "you_2_b.jpg"),
        ("me_2_a.jpg___you_2_b.jpg_vis.jpg", "me_2_a.jpg", "you_2_b.jpg"),
        ("v1.5_2_v1.6.png", "v1.5", "v1.6"),
    ],
)
def test_source_and_target_are_read_from_every_form(name, source, target):
    assert source_and_target(name, UNKNOWN) == (source, target)


@pytest.mark.parametrize(
    "name",
    [f"{A}.jpg", f"{A}_vis.jpg", f"{BLOUSE}.jpg", "a_b.png", "a.jpg_b.png", "_2_b.png", "a_2_.png", "a_2_vis.png"],
)
def test_a_name_of_no_form_is_not_parsed(name):
    assert source_and_target(name, UNKNOWN) is None


@pytest.mark.parametrize("name", ["a_2_b_2_c.png", "a_2_2_b.png", "a___b___c.png", "a___b_2_c.png"])
@pytest.mark.parametrize("known", [[], ["a", "b", "c"]])
def test_an_ambiguous_name_is_not_parsed(name, known):
    assert source_and_target(name, NameIndex(known)) is None


@pytest.mark.parametrize(
    ("name", "known", "pair"),
    [
        ("a_2_b_2_c.png", ["a.jpg", "b_2_c.jpg", "c.jpg"], ("a", "b_2_c")),
        ("a_2_b_2_c_vis.jpg", ["a.jpg", "a_2_b.jpg", "c.jpg"], ("a_2_b", "c")),
        ("a_2_2_b.png", ["a_2", "b", "a"], ("a_2", "b")),
        ("a___b_2_c.png", ["a___b", "c"], ("a___b", "c")),
    ],
)
def test_an_ambiguous_name_is_split_into_known_names(name, known, pair):
    assert source_and_target(name, NameIndex(known)) == pair


def test_two_splits_into_known_names_are_ambiguous():
    assert source_and_target("a_2_b_2_c.png", NameIndex(["a", "b_2_c", "a_2_b", "c"])) is None


def test_a_single_split_requires_no_known_names():
    assert source_and_target("a_2_b.png", NameIndex(["c"])) == ("a", "b")


def test_only_the_extension_of_an_image_is_removed():
    names = {
        "a.jpg": "a",
        "a.JPeG": "a",
        "a.b.png": "a.b",
        "v1.5": "v1.5",
        "a.jpg_b": "a.jpg_b",
        "a.png.txt": "a.png.txt",
    }
    assert {name: stem_of(name) for name in names} == names


def test_an_equal_name_is_found_before_those_of_equal_stem():
    names = NameIndex(["a.jpg", "a.png", "b.jpg"])
    assert names.find("a.png") == ["a.png"]
    assert names.find("a") == names.find("a.jpeg") == ["a.jpg", "a.png"]
    assert names.find("b") == names.find("b.PNG") == ["b.jpg"]
    assert names.find("c.jpg") == []
