import pytest

from twostream.evaluation.names import Names, is_picture, source_and_target, stem_of

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
    assert source_and_target(name) == (source, target)


@pytest.mark.parametrize(
    "name",
    [f"{A}.jpg", f"{A}_vis.jpg", f"{BLOUSE}.jpg", "a_b.png", "a.jpg_b.png", "_2_b.png", "a_2_.png", "a_2_vis.png"],
)
def test_a_name_of_no_form_tells_nothing(name):
    assert source_and_target(name) is None


@pytest.mark.parametrize("name", ["a_2_b_2_c.png", "a_2_2_b.png", "a___b___c.png", "a___b_2_c.png"])
def test_a_name_that_splits_in_two_ways_tells_nothing(name):
    assert source_and_target(name) is None
    assert source_and_target(name, Names(["a", "b", "c"])) is None


@pytest.mark.parametrize(
    ("name", "known", "pair"),
    [
        ("a_2_b_2_c.png", ["a.jpg", "b_2_c.jpg", "c.jpg"], ("a", "b_2_c")),
        ("a_2_b_2_c_vis.jpg", ["a.jpg", "a_2_b.jpg", "c.jpg"], ("a_2_b", "c")),
        ("a_2_2_b.png", ["a_2", "b", "a"], ("a_2", "b")),
        ("a___b_2_c.png", ["a___b", "c"], ("a___b", "c")),
    ],
)
def test_the_split_into_two_known_names_is_taken(name, known, pair):
    assert source_and_target(name, Names(known)) == pair


def test_two_splits_into_known_names_tell_nothing():
    assert source_and_target("a_2_b_2_c.png", Names(["a", "b_2_c", "a_2_b", "c"])) is None


def test_a_single_split_needs_no_known_names():
    assert source_and_target("a_2_b.png", Names(["c"])) == ("a", "b")


def test_only_a_pictures_extension_is_cut_off():
    assert [stem_of(name) for name in ("a.jpg", "a.JPeG", "a.b.png", "v1.5", "a.jpg_b")] == [
        "a",
        "a",
        "a.b",
        "v1.5",
        "a.jpg_b",
    ]
    assert [is_picture(name) for name in ("a.PNG", "a.jpeg", "a.gif", "png", "a.png.txt")] == [True, True, *[False] * 3]


def test_a_name_is_found_under_its_own_spelling_first():
    names = Names(["a.jpg", "a.png", "b.jpg"])
    assert names.find("a.png") == ["a.png"]
    assert names.find("a") == names.find("a.jpeg") == ["a.jpg", "a.png"]
    assert names.find("b") == names.find("b.PNG") == ["b.jpg"]
    assert names.find("c.jpg") == []
