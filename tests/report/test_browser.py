"""The report in a real browser: Debian's chromium, driven by playwright."""

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def page(open_page, report_run):
    """The report, opened from disk without a network."""
    return open_page(report_run.as_uri(), offline=True, viewport={"width": 1200, "height": 900})


def test_a_click_and_the_arrow_keys_choose_a_pair(page):
    assert page.evaluate("window.scrollY") == 0, "opening the page does not scroll it"
    options = page.locator("#thumbnails [role=option]")
    assert options.count() == 4
    assert page.locator("#chosen").text_content().startswith("1 of 4: ")
    options.nth(2).click()
    assert page.locator("#chosen").text_content().startswith("3 of 4: ")
    assert page.locator("#detail figure").count() == 5
    page.locator("#thumbnails").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#chosen").text_content().startswith("1 of 4: ")


def test_pairs_are_sorted_and_filtered(page):
    score = page.locator("#detail small", has_text="SSIM 0").first
    page.select_option("#sort", index=1)
    lowest = score.text_content()
    page.select_option("#direction", "-1")
    highest = score.text_content()
    assert float(lowest.split()[-1]) <= float(highest.split()[-1])
    page.select_option("#identity", index=1)
    name = page.locator("#identity").input_value()
    assert f"identity {name}," in page.locator("#chosen").text_content()
    assert 1 <= page.locator("#thumbnails [role=option]").count() < 4


def test_the_viewer_shows_where_a_position_is_matched(page):
    viewer = page.locator("#viewer .overlay").first
    viewer.scroll_into_view_if_needed()
    box = viewer.bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    assert page.locator("#view").input_value() == "block_2"
    assert "Row 1, column 1 of 8x4:" in page.locator("#match").text_content()
    assert page.locator("#viewer .overlay").nth(1).locator("rect").count() == 8
    viewer.focus()
    page.keyboard.press("ArrowDown")
    assert "Row 2, column 1 of" in page.locator("#match").text_content()
    before = page.locator("#match").text_content()
    page.select_option("#view", "block_1")
    assert page.locator("#match").text_content().startswith("Row 2, column 1 of")
    assert page.locator("#match").text_content() != before


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways(open_page, report_run, scheme):
    page = open_page(report_run.as_uri(), viewport={"width": 320, "height": 740}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    # A wide figure and the rows of the last table scroll within their own frames.
    figure = page.locator(".printed img").first
    figure.scroll_into_view_if_needed()
    assert figure.bounding_box()["width"] > 1.1 * figure.locator("..").bounding_box()["width"]
    row = page.locator("#provenance tbody tr").first
    assert row.bounding_box()["height"] < 48
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (colour == "rgb(255, 255, 255)") is (scheme == "light")
