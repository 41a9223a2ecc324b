import pytest

from twostream.data.keypoints import JOINT_NAMES
from twostream.data.visualize import POINT_COLOURS
from twostream.report import correspondence_figure
from twostream.report.correspondence_figure import CorrespondenceSpec
from twostream.report.figures import load_figure
from twostream.report.pair_figure import PairImages

JOINTS = ["left hip", "neck"]


def test_a_report_has_the_figure(report_run):
    assert (report_run.parent / "figures" / "figure_correspondence.png").is_file()


def test_images_are_embedded_in_the_pdf_and_the_files_are_repeatable(runs, tmp_path):
    spec = CorrespondenceSpec("a", "full", "attention", count=2, joints=JOINTS)
    png, pdf = spec.make(runs / "synthetic" / "smoke", 0, tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG")
    content = pdf.read_bytes()
    # Of each of two pairs two rows of two images and one for each block.
    assert content.count(b"/Subtype /Image") == 2 * 2 * (2 + 2)
    first = png.read_bytes(), content
    spec.make(runs / "synthetic" / "smoke", 0, tmp_path)
    assert (png.read_bytes(), pdf.read_bytes()) == first


def test_the_joints_of_the_spec_are_marked(runs, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(correspondence_figure, "save_figure", lambda figure, *_: drawn.append(figure) or [])
    folder = runs / "synthetic" / "smoke"
    CorrespondenceSpec("a", "full", joints=JOINTS, count=1).make(folder, 0, tmp_path)
    (figure,) = drawn
    assert [text.get_text() for text in figure.legends[0].get_texts()] == JOINTS
    titles = [text.get_text() for text in figure.texts]
    assert {"source", "block 1", "1 matched", "generated"} <= set(titles)
    marks = {
        line.get_markerfacecolor(): (float(line.get_ydata()[0]), float(line.get_xdata()[0]))
        for line in figure.axes[titles.index("points")].lines
    }
    run_dir = folder / "full" / "seed0"
    data = PairImages.of_run(run_dir)
    stored = correspondence_figure.read_correspondence(run_dir, data.joints)
    of_target = data.joints[stored["pairs"][0][1]]
    expected = {
        colour: tuple(of_target[JOINT_NAMES.index(name)])
        for name, colour in zip(JOINTS, POINT_COLOURS.values(), strict=False)
        if (of_target[JOINT_NAMES.index(name)] >= 0).all()
    }
    assert marks == expected
    assert marks


@pytest.mark.parametrize(
    ("joints", "message"),
    [
        ("[nose, tail]", "joints: expected some of nose, neck, .*, got tail"),
        ("[nose, nose]", "joints: expected each once, got 'nose' 2 times"),
        ("[]", "joints: expected 1 to 6, got 0"),
        ("[nose, neck, left hip, right hip, left eye, right eye, left ear]", "joints: expected 1 to 6, got 7"),
    ],
)
def test_wrong_joints_are_refused(tmp_path, joints, message):
    path = tmp_path / "wrong.yaml"
    path.write_text(f"title: a\nvariant: full\njoints: {joints}\n")
    with pytest.raises(ValueError, match=rf"^{path}: {message}$"):
        load_figure(path)


def test_without_stored_matches_the_command_that_writes_them_is_named(runs, tmp_path):
    with pytest.raises(ValueError, match=r"seed1: expected the correspondence.json of .*evaluate run=.*seed1$"):
        CorrespondenceSpec("a", "full", "attention").make(runs / "synthetic" / "smoke", 1, tmp_path)
