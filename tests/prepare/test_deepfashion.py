from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stand_ins import encoded
from twostream.prepare.deepfashion import DeepFashion, frame_of, shifted

FILE = Path("a.csv")
FRONT = "img/WOMEN/Dresses/id_00000002/02_1_front.jpg"
JOINED_FRONT = "fashionWOMENDressesid0000000202_1front.jpg"
JOINED_SIDE = "fashionMENDenimid0000008001_2side.jpg"


@pytest.fixture
def wide():
    return DeepFashion("DeepFashion 256x256", 256)


@pytest.fixture
def narrow():
    return DeepFashion("DeepFashion 256x176", 176)


def joints_at(*x):
    """Joints of one image at y = 5; the others are not found."""
    joints = np.full((1, 18, 2), -1)
    joints[0, : len(x), 0] = 5
    joints[0, : len(x), 1] = x
    return joints


@pytest.mark.parametrize("start", ["", "img/", "fashion/", "In-shop Clothes Retrieval Benchmark/Img/img/"])
def test_paths_are_joined_as_patn_joins_them(wide, start):
    joined = "fashionWOMENBlouses_Shirtsid0000069302_3back.jpg"
    assert wide.image_name(f"{start}WOMEN/Blouses_Shirts/id_00000693/02_3_back.jpg") == joined
    # Of the file name only the first underscore is kept.
    assert wide.image_name(f"{start}MEN/Denim/id_00000080/01_7_a_b.jpg") == "fashionMENDenimid0000008001_7ab.jpg"


def test_other_files_are_ignored(wide):
    others = [
        "Anno/list.txt",
        "img/WOMEN/x.jpg",
        "img/WOMEN/Dresses/id_00000002/Thumbs.db",
        "img/KIDS/a/id_00000002/x.jpg",
    ]
    assert wide.find_images([*others, "__MACOSX/img/WOMEN/Dresses/id_00000002/._02_1_front.jpg"]) == {}


def test_highres_images_are_used_only_without_others(wide):
    large = FRONT.replace("img/", "img_highres/")
    assert wide.find_images([large, FRONT]) == {JOINED_FRONT: FRONT}
    assert wide.find_images([large]) == {JOINED_FRONT: large}


def test_patns_lists_split(wide):
    lists = {"train.lst": f"{JOINED_FRONT}\n\n".encode(), "test.lst": JOINED_SIDE.removesuffix(".jpg").encode()}
    assert wide.split({}, lists) == {"train": [JOINED_FRONT], "test": [JOINED_SIDE]}


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        (
            {"list_eval_partition.txt": f"1\nimage_name item_id evaluation_status\n{FRONT} id_00000002 val".encode()},
            r"list_eval_partition\.txt:3: expected NAME ITEM train, query or gallery, got 'img/WOMEN",
        ),
        (
            dict.fromkeys(["train.lst", "test.lst"], JOINED_FRONT.encode()),
            rf"train\.lst and test\.lst: 1 images are in both splits, first {JOINED_FRONT}",
        ),
        (dict.fromkeys(["train.lst", "test.lst"], b"\xff"), r"train\.lst: expected UTF-8 text"),
    ],
)
def test_malformed_lists_are_refused(wide, lists, message):
    with pytest.raises(ValueError, match=message):
        wide.split({}, lists)


def test_the_narrow_frame_is_columns_40_to_215(narrow):
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (256, 256, 3))
    content, codec = narrow.convert(encoded(Image.fromarray(np.ascontiguousarray(ramp))))
    image = Image.open(BytesIO(content))
    assert (image.format, image.width, image.height) == ("JPEG", 176, 256)
    # Sampling factors of the luma channel: 1x1 is no chroma subsampling.
    assert image.layer[0][1:3] == (1, 1)
    assert np.abs(np.asarray(image)[128].astype(int) - np.arange(40, 216)[:, None]).max() <= 2
    assert codec == "cropped by 40 pixels at each side; JPEG of quality 95 without chroma subsampling"


def test_a_cropped_file_keeps_its_comment(narrow):
    """Its bytes, and with them the data hash, would differ otherwise."""
    content, _ = narrow.convert(encoded(Image.new("RGB", (256, 256), "red"), "JPEG", comment=b"hello"))
    assert Image.open(BytesIO(content)).info["comment"] == b"hello"


def test_large_images_are_scaled_into_a_white_frame(wide, narrow):
    large = encoded(Image.new("RGB", (750, 1101), (0, 0, 255)))
    content, codec = wide.convert(large)
    framed = np.asarray(Image.open(BytesIO(content))).astype(int)
    assert framed.shape == (256, 256, 3)
    # 750 * 256 / 1101 = 174.4 wide, from column (256 - 174) / 2 = 41 on; JPEG blurs a little.
    assert np.abs(framed[:, :38] - 255).max() <= 3
    assert np.abs(framed[:, 218:] - 255).max() <= 3
    assert np.abs(framed[:, 44:212] - [0, 0, 255]).max() <= 3
    assert codec.startswith("scaled from 750x1101 and the like into a white 256x256 frame; JPEG of quality 95")
    content, codec = narrow.convert(large)
    assert Image.open(BytesIO(content)).size == (176, 256)
    assert "256x256 frame, cropped by 40 pixels at each side; JPEG of quality 95" in codec


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (encoded(Image.new("RGB", (300, 200))), "expected 256x256 or a portrait .* got 300x200"),
        (b"x", "expected an image: "),
    ],
)
def test_damaged_images_and_landscapes_are_refused(wide, image, message):
    with pytest.raises(ValueError, match=message):
        wide.convert(image)


@pytest.mark.parametrize(
    ("x", "frame"), [((-2, 100), 176), ((-40, 215), 176), ((0, 216), 256), ((9, 245), 256), ((-1, 255), 256)]
)
def test_the_frame_is_detected_from_the_range_of_x(x, frame):
    assert frame_of(joints_at(*x), FILE) == frame


AMBIGUOUS = r"x from {} to {} fits images 256 and 176 wide: pass annotation_frame=256 or annotation_frame=176"
OUTSIDE = r"expected x of one frame, 0 to 255 \(256 wide\) or -40 to 215 \(176 wide\), got {} to {}"


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ((0, 215), AMBIGUOUS.format(0, 215)),
        ((0, -1, 100), AMBIGUOUS.format(0, 100)),
        ((), AMBIGUOUS.format(0, 0)),
        *((x, OUTSIDE.format(*x)) for x in ((-41, 0), (0, 256), (-2, 216))),
    ],
)
def test_x_of_neither_or_both_frames_is_refused(x, message):
    with pytest.raises(ValueError, match=rf"a\.csv: {message}"):
        frame_of(joints_at(*x), FILE)


@pytest.mark.parametrize(
    ("joints", "made_for", "width", "moved"),
    [
        (joints_at(9, 245), 256, 176, joints_at(-31, 205)),
        (joints_at(-31, 205), 176, 256, joints_at(9, 245)),
        (joints_at(-31, 205), 176, 176, joints_at(-31, 205)),
        # A joint at column 39 is lost in the narrow frame, where it reads as missing.
        (joints_at(39), 256, 176, joints_at()),
        (joints_at(-1), 176, 256, joints_at(39)),
    ],
)
def test_found_joints_are_shifted_by_40(joints, made_for, width, moved):
    assert shifted(joints, made_for, width).tolist() == moved.tolist()


@pytest.mark.parametrize(("frame", "x"), [(256, 10), (176, 50)])
def test_a_given_frame_is_used(narrow, frame, x):
    moved, made_for = narrow.to_frame({"a.jpg": joints_at(50)[0]}, frame, FILE)
    assert (moved["a.jpg"][0].tolist(), made_for) == ([5, x], frame)


def test_another_width_and_frame_are_refused(narrow):
    with pytest.raises(ValueError, match="width: expected 256 or 176, got 192"):
        DeepFashion("x", 192)
    with pytest.raises(ValueError, match="annotation_frame: expected 256 or 176, got 192"):
        narrow.to_frame({}, 192, FILE)
