"""What is refused before anything is written."""

import shutil

import pytest


@pytest.fixture
def source(market, tmp_path):
    return market.zip(tmp_path / "source/m.zip")


def test_a_download_of_something_else_is_refused(prepare_tiny, source):
    message = r"m\.zip: expected pictures of DeepFashion 256x256 \(img/WOMEN/CATEGORY/.*\), got none"
    with pytest.raises(ValueError, match=message):
        prepare_tiny("deepfashion", source)


def test_a_download_without_one_half_is_refused(market, prepare_tiny, tmp_path):
    source = market.folder(tmp_path / "source")
    shutil.rmtree(source / "Market-1501-v15.09.15/bounding_box_test")
    with pytest.raises(ValueError, match=r"expected pictures for train and test, got none for test; wanted: bounding_"):
        prepare_tiny("market1501", source)


def test_a_first_picture_of_another_size_is_refused_at_once(market, prepare_tiny, tmp_path):
    source = market.folder(tmp_path / "source")
    first = min((source / "Market-1501-v15.09.15/bounding_box_train").glob("*.jpg"))
    first.write_bytes(b"x")
    with pytest.raises(ValueError, match=rf"source: .*{first.name}: the picture can't be read"):
        prepare_tiny("market1501", source)


@pytest.mark.parametrize("setting", ["annotations_train", "annotations_test", "pairs_train", "pairs_test", "test_list"])
def test_a_named_file_that_is_not_there_is_refused(prepare_tiny, source, tmp_path, setting):
    with pytest.raises(ValueError, match=rf"{setting}: expected a file, there is none at .*none\.csv"):
        prepare_tiny("market1501", source, **{setting: tmp_path / "none.csv"})


def test_a_list_where_folders_split_is_refused(prepare_tiny, source):
    with pytest.raises(ValueError, match="train_list: expected none, as Market-1501 is split by its folders"):
        prepare_tiny("market1501", source, train_list=source)


def test_an_annotation_folder_that_is_not_there_is_refused(prepare_tiny, source, tmp_path):
    with pytest.raises(ValueError, match=r"annotations: expected a folder, there is none at .*none"):
        prepare_tiny("market1501", source, tmp_path / "none")


def test_an_annotation_folder_without_annotations_does_not_start_the_estimator(prepare_tiny, source, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"annotations: expected one of market-annotation-train\.csv in .*empty, got"):
        prepare_tiny("market1501", source, tmp_path / "empty")


def test_two_published_files_to_choose_from_are_refused(fashion, prepare_tiny, tmp_path):
    tables = fashion.annotate(tmp_path / "tables")
    (tables / "fashion-annotation-train.csv").write_text("")
    message = (
        r"tables: expected one file, got fasion-resize-annotation-train\.csv and fashion-annotation-train\.csv: name"
    )
    with pytest.raises(ValueError, match=rf"{message} one with annotations_train=FILE"):
        prepare_tiny("deepfashion", fashion.folder(tmp_path / "source"), tables)


def test_an_empty_annotation_file_is_refused(market, prepare_tiny, source, tmp_path):
    tables = market.annotate(tmp_path / "tables")
    (tables / "market-annotation-train.csv").write_text("name:keypoints_y:keypoints_x\n")
    with pytest.raises(ValueError, match=r"market-annotation-train\.csv: expected annotated pictures, got none"):
        prepare_tiny("market1501", source, tables)
