"""The demo in a real browser: Debian's chromium, driven by playwright.

DEMO_SCREENSHOTS=FOLDER writes the images of docs/demo.md, with the models of DEMO_MODELS (`LABEL=RUN,...`).
"""

import os
import re
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image

from stand_ins import encoded
from twostream.demo.service import DemoService
from twostream.inference import PoseTransfer

SCREENSHOTS = os.environ.get("DEMO_SCREENSHOTS")
pytestmark = pytest.mark.slow


@pytest.fixture
def opened_page(live_server, open_page):
    """Opens the page of a service."""

    def open_demo(service, **options):
        page = open_page(live_server(service), viewport={"width": 1280, "height": 900}, **options)
        page.locator(".model a:visible").first.wait_for()
        return page

    return open_demo


@pytest.fixture
def page(opened_page, service):
    return opened_page(service)


def place(page, name, editor="pose"):
    """The centre of a joint on the screen."""
    dot = f'#{editor}-skeleton [aria-label="{name}"] .dot'
    box = page.locator(dot).evaluate("(dot) => { const { x, y, width, height } = dot.getBoundingClientRect(); "
                                     "return [x + width / 2, y + height / 2]; }")  # fmt: skip
    return box[0], box[1]


def shown(page, index=0):
    return page.locator(".model img").nth(index).get_attribute("src")


def wait_for_another(page, before, index=0):
    """Wait until the result is another image than `before`, and return it."""
    page.locator(f'.model:nth-child({index + 1}) img:not([src="{before}"])').wait_for(state="attached", timeout=10_000)
    return shown(page, index)


def drag(page, start, end, **options):
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, **options)
    page.mouse.up()


def test_dragging_a_joint_changes_the_image(page):
    before, (x, y) = shown(page), place(page, "left wrist")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 30, y - 60)
    during = wait_for_another(page, before)
    page.mouse.up()
    moved = place(page, "left wrist")
    assert abs(moved[0] - x - 30) < 2
    assert abs(moved[1] - y + 60) < 2
    assert re.fullmatch(r"\d+ ms per frame", page.locator("#speed").text_content())
    page.locator("#pose-joints").get_by_text("Reset").click()
    assert wait_for_another(page, during) == before


def test_only_the_latest_pose_is_asked_for(page):
    asked = []
    page.on("request", lambda request: asked.append(request.url.endswith("/api/generate")))
    before, start = shown(page), place(page, "left wrist")
    drag(page, start, (start[0] + 40, start[1]), steps=60)
    wait_for_another(page, before)
    assert sum(asked) < 60


def test_the_background_and_shift_move_the_whole_skeleton(page):
    box = page.locator("#pose-skeleton").bounding_box()
    corner = box["x"] + 5, box["y"] + 5
    before = place(page, "left wrist"), place(page, "nose")
    drag(page, corner, (corner[0] + 20, corner[1] + 10))
    after = place(page, "left wrist"), place(page, "nose")
    for (x, y), (new_x, new_y) in zip(before, after, strict=True):
        assert (round(new_x - x), round(new_y - y)) == (20, 10)
    page.keyboard.down("Shift")
    drag(page, after[0], (after[0][0] - 20, after[0][1] - 10))
    page.keyboard.up("Shift")
    assert [round(value) for value in place(page, "nose")] == [round(value) for value in before[1]]


def test_the_keyboard_moves_removes_and_restores_a_joint(page):
    before, (x, y) = shown(page), place(page, "right wrist")
    joint = page.locator('#pose-skeleton [aria-label="right wrist"]')
    joint.focus()
    for _ in range(4):
        page.keyboard.press("ArrowUp")
    moved = place(page, "right wrist")
    assert (round(moved[0]), moved[1] < y) == (round(x), True)
    after = wait_for_another(page, before)
    page.keyboard.press("Delete")
    restore = page.locator("#pose-joints").get_by_text("+ right wrist")
    restore.wait_for()
    assert joint.get_attribute("hidden") is not None
    without = wait_for_another(page, after)
    restore.click()
    assert joint.get_attribute("hidden") is None
    wait_for_another(page, without)
    page.locator("#pose-joints").get_by_text("Mirror").click()
    assert restore.count() == 0


def test_a_movement_is_played_until_it_is_stopped(page):
    before = shown(page)
    walk = page.get_by_role("button", name="Play: walk")
    walk.click()
    during = wait_for_another(page, before)
    during = wait_for_another(page, during)
    page.get_by_role("button", name="Play: turn").click()
    assert walk.get_attribute("aria-pressed") == "false"
    wait_for_another(page, during)
    page.get_by_role("button", name="Pose 1", exact=True).click()
    assert page.locator('#sequences [aria-pressed="true"]').count() == 0
    page.locator(f'.model:first-child img[src="{before}"]').wait_for(state="attached")
    page.wait_for_timeout(300)
    assert shown(page) == before


def test_people_poses_and_models_are_chosen(page):
    images = [shown(page)]
    page.get_by_role("button", name="Person 3", exact=True).click()
    images.append(wait_for_another(page, images[-1]))
    page.get_by_role("button", name="Pose 5", exact=True).click()
    images.append(wait_for_another(page, images[-1]))
    assert page.get_by_role("button", name="Pose 5", exact=True).get_attribute("aria-pressed") == "true"
    other = shown(page, 1)
    page.locator(".model select").first.select_option("Warp")
    assert wait_for_another(page, images[-1]) == other
    with page.expect_download() as download:
        page.locator(".model a").first.click()
    assert download.value.suggested_filename == "Warp.png"
    with Image.open(download.value.path()) as image:
        assert (image.format, image.size) == ("PNG", (16, 32))


def test_the_joints_of_the_person_are_edited(page):
    before = shown(page)
    page.locator("#edit-joints").check()
    start = place(page, "left ankle", "person")
    drag(page, start, (start[0] - 30, start[1] - 50))
    wait_for_another(page, before)


def test_pointing_at_the_result_outlines_where_it_comes_from(page):
    outlined = page.locator("#person-stage .sources rect")
    assert outlined.count() == 0
    box = page.locator(".model .stage").nth(1).bounding_box()
    page.mouse.move(box["x"] + 3, box["y"] + 3)
    outlined.first.wait_for()
    assert outlined.count() == 8
    assert re.search(r"^Warp, row 1, column 1 of 16x8: \d+ % of the attention", page.locator("#origin").text_content())
    page.locator(".model .origin select").nth(1).select_option("block_1")
    page.get_by_text("AT-block 1, row 1, column 1 of 8x4").wait_for()
    page.mouse.move(3, 3)
    outlined.first.wait_for(state="detached")
    page.locator(".model .stage").first.focus()
    page.keyboard.press("ArrowDown")
    page.get_by_text("AT-block 2, row").wait_for()
    page.locator(".model select").first.select_option("PATN")
    assert page.locator(".model .origin").first.is_hidden()


def test_a_photo_is_framed_by_its_skeleton(page, tmp_path):
    before = shown(page)
    (tmp_path / "photo.jpg").write_bytes(encoded(Image.effect_noise((600, 400), 60).convert("RGB"), "JPEG"))
    page.locator("#photo").set_input_files(tmp_path / "photo.jpg")
    placed = wait_for_another(page, before)
    page.get_by_text("Drag the joints onto the person").wait_for()
    x = page.locator("#frame rect").bounding_box()["x"]
    box = page.locator("#person-skeleton").bounding_box()
    drag(page, (box["x"] + 5, box["y"] + 5), (box["x"] + 65, box["y"] + 5))
    assert round(page.locator("#frame rect").bounding_box()["x"] - x) == 60
    wait_for_another(page, placed)
    assert page.locator("#message").is_hidden()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"this is no photo", "photo: expected a PNG, JPEG or WEBP image, got 16 bytes that can't be decoded"),
        (bytes(700_000), "photo: expected at most 0.5 MB, got 0.7 MB"),
    ],
)
def test_a_file_that_is_no_photo_gets_a_clear_message_and_changes_nothing(page, tmp_path, content, message):
    before = shown(page)
    (tmp_path / "photo.png").write_bytes(content)
    page.locator("#photo").set_input_files(tmp_path / "photo.png")
    page.get_by_text(message).wait_for()
    assert shown(page) == before
    page.locator("#poses button").nth(3).click()
    wait_for_another(page, before)
    assert page.locator("#message").is_hidden()


def test_an_estimator_finds_the_joints_of_photos_and_their_poses(opened_page, models, service, tmp_path):
    class Estimator:
        name, weights_hash = "stand-in", ""

        def __call__(self, images):
            # The pose of the first person, at twice its size.
            joints = service.content["people"][0]["joints"]
            return 2 * torch.tensor([joint or [-0.5, -0.5] for joint in joints])[None].long().numpy()

    page = opened_page(DemoService({"2s-ATN": models["2s-ATN"]}, Estimator()))
    (tmp_path / "photo.png").write_bytes(encoded(Image.effect_noise((64, 64), 60).convert("RGB")))
    before = shown(page)
    page.locator("#pose-photo").set_input_files(tmp_path / "photo.png")
    after = wait_for_another(page, before)
    page.locator("#photo").set_input_files(tmp_path / "photo.png")
    wait_for_another(page, after)
    page.get_by_text("Drag joints that were not found well.").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways(opened_page, service, scheme):
    page = opened_page(service, color_scheme=scheme, has_touch=True)
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (colour == "rgb(255, 255, 255)") is (scheme == "light")
    page.locator(".model .stage").nth(1).tap()
    page.locator("#origin-stage rect").first.wait_for()


def test_a_phone_shows_messages_where_one_is_and_covers_no_button(opened_page, service, tmp_path):
    page = opened_page(service, has_touch=True)
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator("#photo-label").evaluate("(label) => label.scrollIntoView({ block: 'end' })")
    page.locator("#photo-label").evaluate("() => window.scrollBy(0, 200)")
    (tmp_path / "photo.png").write_bytes(b"this is no photo")
    page.locator("#photo").set_input_files(tmp_path / "photo.png")
    page.locator("#message").wait_for()
    assert page.evaluate("scrollY") > 200
    assert 0 <= page.locator("#message").bounding_box()["y"] < 100
    for index in (0, 1):
        stage, link = page.locator(".model .stage").nth(index), page.locator(".model a").nth(index)
        stage.tap()
        page.locator("#origin-stage rect").first.wait_for()
        link.evaluate("(link) => link.scrollIntoView({ block: 'end' })")
        for place in ("#origin-stage", "#message"):
            other, box = page.locator(place).bounding_box(), link.bounding_box()
            assert other["y"] >= box["y"] + box["height"] or other["y"] + other["height"] <= box["y"]
        top = page.locator("#origin-stage").bounding_box()["y"]
        assert 0 <= top - box["y"] - box["height"] < 60, "below the result"


@pytest.mark.skipif(SCREENSHOTS is None, reason="DEMO_SCREENSHOTS names no folder")
def test_screenshots(opened_page):
    paths = dict(model.split("=") for model in os.environ["DEMO_MODELS"].split(","))
    page = opened_page(DemoService({label: PoseTransfer.load(path, "cpu") for label, path in paths.items()}))
    page.locator("#people button").nth(1).click()
    page.locator("#poses button").nth(5).click()
    page.wait_for_timeout(1500)
    box = page.locator(".model .stage").first.bounding_box()
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.3 * box["height"])
    page.locator("#person-stage .sources rect").first.wait_for()
    with Image.open(BytesIO(page.screenshot(full_page=True))) as image:
        # Without the noise of the last two bits the file is a third smaller.
        image.convert("RGB").point(lambda value: value & 252 if value < 250 else value).save(
            Path(SCREENSHOTS, "demo.png"), optimize=True
        )
