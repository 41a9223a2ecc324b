from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twostream.data.keypoints import found
from twostream.prepare.deepfashion import DeepFashion, frame_of, joined_name, shifted
from twostream.prepare.preset import ListFile

FILE = Path("a.csv")
FRONT = "img/WOMEN/Dresses/id_00000002/02_1_front.jpg"
SIDE = "img/MEN/Denim/id_00000080/01_2_side.jpg"
JOINED_FRONT = "fashionWOMENDressesid0000000202_1front.jpg"
JOINED_SIDE = "fashionMENDenimid0000008001_2side.jpg"


@pytest.fixture
def wide():
    return DeepFashion("DeepFashion 256x256", 256)


@pytest.fixture
def narrow():
    return DeepFashion("DeepFashion 256x176", 176)


def encoded(image, kind="PNG"):
    file = BytesIO()
    image.save(file, kind)
    return file.getvalue()


def joints_at(*x):
    """Joints of one picture, all at y = 5, the rest not found."""
    joints = np.full((1, 18, 2), -1)
    joints[0, : len(x), 0] = 5
    joints[0, : len(x), 1] = x
    return joints


@pytest.mark.parametrize("start", ["", "img/", "fashion/", "In-shop Clothes Retrieval Benchmark/Img/img/"])
def test_a_path_is_joined_as_patn_joins_it(wide, start):
    path = f"{start}WOMEN/Blouses_Shirts/id_00000693/02_3_back.jpg"
    assert joined_name(path) == wide.plain_name(path) == "fashionWOMENBlouses_Shirtsid0000069302_3back.jpg"
    assert wide.find([path]) == {joined_name(path): path}


def test_only_the_first_underscore_of_the_file_stays():
    assert joined_name("img/MEN/Denim/id_00000080/01_7_a_b.jpg") == "fashionMENDenimid0000008001_7ab.jpg"


def test_other_files_are_no_pictures(wide):
    others = [
        "Anno/list.txt",
        "img/WOMEN/x.jpg",
        "img/WOMEN/Dresses/id_00000002/Thumbs.db",
        "img/KIDS/a/id_00000002/x.jpg",
    ]
    assert wide.find([*others, "__MACOSX/img/WOMEN/Dresses/id_00000002/._02_1_front.jpg"]) == {}


def test_large_pictures_are_taken_where_there_are_no_small_ones(wide):
    large = FRONT.replace("img/", "img_highres/")
    assert wide.find([large, FRONT]) == {JOINED_FRONT: FRONT}
    assert wide.find([large]) == {JOINED_FRONT: large}


def test_two_copies_of_a_picture_are_refused(wide):
    with pytest.raises(ValueError, match=f"{JOINED_FRONT} is there twice: {FRONT} and copy/{FRONT}; name the folder"):
        wide.find([FRONT, f"copy/{FRONT}"])


def test_patns_lists_go_before_the_official_partition(wide):
    lists = {
        "train.lst": ListFile("train.lst", f"{JOINED_FRONT}\n\n".encode()),
        "test.lst": ListFile("test.lst", JOINED_SIDE.removesuffix(".jpg").encode()),
        "list_eval_partition.txt": ListFile("list_eval_partition.txt", b"?"),
    }
    split = wide.split({}, lists)
    assert split.names == {"train": [JOINED_FRONT], "test": [JOINED_SIDE]}
    assert split.said_by == ("train.lst", "test.lst")


def partition(*rows):
    content = "\n".join(["3", "image_name item_id evaluation_status", *rows]).encode()
    return {"list_eval_partition.txt": ListFile("list_eval_partition.txt", content)}


def test_query_and_gallery_of_the_official_partition_are_the_test_half(wide):
    back = FRONT.replace("front", "back")
    rows = (f"{FRONT} id_00000002 train", f"{SIDE}   id_00000080 query", f"{back} id_00000002 gallery")
    assert wide.split({}, partition(*rows)).names == {
        "train": [JOINED_FRONT],
        "test": [JOINED_SIDE, JOINED_FRONT.replace("front", "back")],
    }


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({}, r"expected PATN's train\.lst and test\.lst, or the official list_eval.*got none of them; name them with"),
        ({"train.lst": ListFile("train.lst", b"")}, r"got train\.lst; name them with train_list=FILE test_list=FILE"),
        (partition(f"{FRONT} id_00000002 val"), r"list_eval_partition\.txt:3: expected NAME ITEM train, query or"),
        (
            {f"{split}.lst": ListFile(f"{split}.lst", JOINED_FRONT.encode()) for split in ("train", "test")},
            rf"train\.lst and test\.lst: 1 pictures are in both splits, first {JOINED_FRONT}",
        ),
        ({f"{s}.lst": ListFile(f"{s}.lst", b"\xff") for s in ("train", "test")}, r"train\.lst: expected UTF-8 text"),
    ],
)
def test_splits_that_can_not_be_told_are_refused(wide, lists, message):
    with pytest.raises(ValueError, match=message):
        wide.split({}, lists)


def test_a_small_picture_stays_byte_for_byte(wide):
    picture = encoded(Image.new("RGB", (256, 256), "red"), "JPEG")
    assert wide.convert(picture) == picture
    assert wide.codec(picture) == "JPEG files as downloaded"


def test_the_narrow_frame_is_columns_40_to_215(narrow):
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (256, 256, 3))
    picture = encoded(Image.fromarray(np.ascontiguousarray(ramp)))
    with Image.open(BytesIO(narrow.convert(picture))) as file:
        assert file.format == "JPEG"
        assert (file.width, file.height) == (176, 256)
        # Sampling factors of the luma channel: 1x1 is no chroma subsampling.
        assert file.layer[0][1:3] == (1, 1)
        row = np.asarray(file)[128].astype(int)
    assert np.abs(row - np.arange(40, 216)[:, None]).max() <= 2
    assert narrow.codec(picture) == "cropped by 40 pixels at each side; JPEG of quality 95 without chroma subsampling"


def test_a_large_picture_is_scaled_into_a_white_frame(wide, narrow):
    picture = encoded(Image.new("RGB", (750, 1101), (0, 0, 255)))
    with Image.open(BytesIO(wide.convert(picture))) as file:
        framed = np.asarray(file).astype(int)
    assert framed.shape == (256, 256, 3)
    # 750 * 256 / 1101 = 174.4 wide, from column (256 - 174) / 2 = 41 on; JPEG blurs a little.
    assert np.abs(framed[:, :38] - 255).max() <= 3
    assert np.abs(framed[:, 218:] - 255).max() <= 3
    assert np.abs(framed[:, 44:212] - [0, 0, 255]).max() <= 3
    with Image.open(BytesIO(narrow.convert(picture))) as file:
        assert file.size == (176, 256)
    assert wide.codec(picture).startswith("scaled from 750x1101 and the like into a white 256x256 frame; JPEG of")


@pytest.mark.parametrize(
    ("picture", "message"),
    [(encoded(Image.new("RGB", (300, 200))), "expected 256x256 or a portrait .* got 300x200"), (b"x", "can't be read")],
)
def test_pictures_that_do_not_fit_are_refused(wide, picture, message):
    with pytest.raises(ValueError, match=message):
        wide.convert(picture)


def test_refuses_another_width():
    with pytest.raises(ValueError, match="width: expected 256 or 176, got 192"):
        DeepFashion("x", 192)


@pytest.mark.parametrize(
    ("x", "frame"), [((-2, 100), 176), ((-40, 215), 176), ((0, 216), 256), ((9, 245), 256), ((-1, 255), 256)]
)
def test_the_range_of_x_tells_the_frame(x, frame):
    assert frame_of(joints_at(*x), FILE) == frame


@pytest.mark.parametrize("x", [(0, 215), (0, -1, 100), ()])
def test_an_undecided_frame_asks(x):
    with pytest.raises(ValueError, match=r"a\.csv: x from 0 to \d+ fits pictures 256 and 176 wide: say which with"):
        frame_of(joints_at(*x), FILE)


@pytest.mark.parametrize("x", [(-41, 0), (0, 256), (-2, 216)])
def test_x_of_no_frame_is_refused(x):
    message = rf"a\.csv: expected x of one frame, 0 to 255 \(256 wide\) or -40 to 215 .* got {x[0]} to {x[1]}"
    with pytest.raises(ValueError, match=message):
        frame_of(joints_at(*x), FILE)


def test_joints_are_shifted_by_40_and_what_is_not_found_stays():
    assert shifted(joints_at(9, 245), 256, 176)[0, :3].tolist() == [[5, -31], [5, 205], [-1, -1]]
    assert shifted(joints_at(-31, 205), 176, 256)[0, :3].tolist() == [[5, 9], [5, 245], [-1, -1]]
    assert shifted(joints_at(-31, 205), 176, 176)[0, :3].tolist() == [[5, -31], [5, 205], [-1, -1]]


def test_a_joint_at_column_39_is_lost_in_the_narrow_frame_and_comes_back_from_its_y():
    assert not found(shifted(joints_at(39), 256, 176)[0]).any()
    assert shifted(joints_at(-1), 176, 256)[0, :2].tolist() == [[5, 39], [-1, -1]]


def test_the_frame_can_be_said(narrow):
    joints = {"a.jpg": joints_at(50)[0]}
    moved, made_for = narrow.to_frame(joints, 256, FILE)
    assert (moved["a.jpg"][0].tolist(), made_for) == ([5, 10], 256)
    moved, made_for = narrow.to_frame(joints, 176, FILE)
    assert (moved["a.jpg"][0].tolist(), made_for) == ([5, 50], 176)
    with pytest.raises(ValueError, match="annotation_frame: expected 256 or 176, got 192"):
        narrow.to_frame(joints, 192, FILE)
