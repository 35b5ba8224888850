"""The book in a real browser: from the file system and from a folder of a server, in light and dark, wide and narrow."""

from pathlib import Path

import axe_playwright_python
import pytest

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
VIEWS = {"wide and light": ({"width": 1300, "height": 900}, "light"), "phone": ({"width": 390, "height": 844}, "dark")}
# The words of code are what axe takes longest for, and all code looks the same: it reads that of these pages only. In
# the dark it sees no others, one of each kind.
READ_WHOLE = ("index.html", "02_moe_routing.html", "claims.html", "llama4.html", "scout-proxy.html", "search.html")
# axe would load the style sheets once more, which pages from the file system may not.
RUN_AXE = """([rules, left_out]) => axe.run(
  {include: [["html"]], exclude: left_out}, {runOnly: rules, resultTypes: ["violations"], preload: false}
)"""

# Boxes of which a part is beyond their sides, and that do not show it or cannot be reached with the keyboard. What
# MathJax hides for screen readers is no such box.
UNMARKED = """() => [...document.querySelectorAll(".bd-article *")].filter((box) => {
  const scrolls = ["auto", "scroll", "hidden"].includes(getComputedStyle(box).overflowX) && box.clientWidth > 0;
  const beyond = box.scrollWidth - box.clientWidth > 1 && !box.closest("mjx-assistive-mml, span.math");
  return scrolls && beyond && !(box.tabIndex >= 0 && getComputedStyle(box).maskImage.includes("40px"));
}).map((box) => box.outerHTML.slice(0, 100))"""
LETTERS = "[...document.querySelectorAll('[data-explorer] svg text')].map(text => text.getBoundingClientRect().height)"


@pytest.fixture
def open_page(browser, request):
    """Opens a page by its address; its `faults` are what the console and the network said."""
    contexts = []

    def opened(address: str, view: str = "wide and light", **options):
        size, scheme = VIEWS[view]
        context = browser.new_context(viewport=size, color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        page.faults = []
        page.on("pageerror", lambda error: page.faults.append(f"script: {error}"))
        page.on(
            "console",
            lambda said: page.faults.append(f"console: {said.text}") if said.type in ("error", "warning") else None,
        )
        home = address.rsplit("/", 1)[0]
        page.on(
            "request",
            lambda asked: None if asked.url.startswith((home, "data:")) else page.faults.append(f"asks {asked.url}"),
        )
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()


@pytest.mark.parametrize("view", VIEWS)
def test_every_page_loads_fits_and_can_be_used_by_all(open_page, book, view):
    problems = []
    files = sorted(book.glob("*.html"))
    for file in files:
        page = open_page(file.as_uri(), view)
        page.evaluate("window.MathJax?.startup?.promise")
        problems += [f"{file.name}: {fault}" for fault in page.faults]
        wide, shown = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        if wide > shown:
            problems.append(f"{file.name} is {wide} pixels wide on {shown}")
        left_out = [] if file.name in READ_WHOLE else [["pre"]]
        if view == "phone":
            page.evaluate("for (const fold of document.querySelectorAll('details')) fold.open = true")
            page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")
            page.evaluate("Promise.all(document.getAnimations().map((fading) => fading.finished))")
            problems += [f"{file.name}: {box} hides what is beyond its side" for box in page.evaluate(UNMARKED)]
        if view == "phone" and left_out:
            page.context.close()
            continue
        page.evaluate(AXE)
        for violation in page.evaluate(RUN_AXE, [RULES, left_out])["violations"]:
            problems.append(f"{file.name}: {violation['id']} at {violation['nodes'][0]['html'][:150]}")
        page.context.close()
    assert len(files) > 30
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("place", ["a folder of a server", "the file system"])
def test_search_for_chunk_wall_finds_07(open_page, book, address, place):
    home = address if place != "the file system" else book.as_uri() + "/"
    page = open_page(home + "index.html")
    page.keyboard.press("Control+k")
    page.keyboard.type("chunk wall")
    page.keyboard.press("Enter")
    found = page.locator("#search-results a[href*='07_positions_and_walls.html']").first
    found.wait_for()
    page.wait_for_load_state("networkidle")
    assert not page.faults
    shown = found.locator("xpath=..").locator("p.context").inner_text()
    assert "wall" in shown and len(shown) > 100
    found.click()
    assert page.locator("h1").first.inner_text().startswith("07 · ")


@pytest.mark.parametrize("picture", ["figures/", "plots/"])
def test_a_picture_opens_large_and_closes(open_page, book, picture):
    page = open_page((book / "09_long_context_behavior.html").as_uri(), "phone")
    page.evaluate("for (const fold of document.querySelectorAll('details')) fold.open = true")
    link, dialog = page.locator(f"a.picture[href^='{picture}']").first, page.locator("dialog.enlarged")
    closings = {
        "a tap on the picture": lambda: dialog.locator("img").click(),
        "Esc": lambda: page.keyboard.press("Escape"),
        "its button": lambda: dialog.get_by_role("button", name="Close").click(),
    }
    for name, close in closings.items():
        link.focus()
        page.keyboard.press("Enter") if name == "Esc" else link.click()
        dialog.wait_for()
        assert dialog.locator("img").bounding_box()["width"] >= 900
        page.keyboard.press("ArrowRight")
        page.wait_for_function("document.querySelector('dialog.enlarged .area').scrollLeft > 0")
        close()
        dialog.wait_for(state="hidden")
        assert link.evaluate("link => link === document.activeElement"), f"after {name}"
    link.click()
    page.evaluate(AXE)
    assert not page.evaluate(RUN_AXE, [RULES, [["article"]]])["violations"]
    assert not page.faults


def test_a_picture_opens_alone_without_scripts(open_page, book):
    page = open_page((book / "02_moe_routing.html").as_uri(), "phone", java_script_enabled=False)
    page.locator("a.picture").first.click()
    page.wait_for_url("**/figures/*.svg")


def test_nothing_covers_text_at_the_bottom(open_page, book):
    page = open_page((book / "02_moe_routing.html").as_uri(), "phone")
    for step in (3000, -400):  # what leads back to the top comes when one scrolls up
        page.mouse.wheel(0, step)
        page.wait_for_timeout(300)
    covering = """[...document.querySelectorAll("body *")].filter((one) => {
      const box = one.getBoundingClientRect();
      const is_seen = one.checkVisibility({ visibilityProperty: true, opacityProperty: true });
      const is_there = box.width > 0 && box.left < innerWidth && box.right > 0 && box.top < innerHeight;
      return getComputedStyle(one).position === "fixed" && is_seen && is_there && box.bottom > innerHeight / 2;
    }).map((one) => one.outerHTML.slice(0, 100))"""
    assert page.evaluate("scrollY") > 2000
    assert page.evaluate(covering) == []


def test_explorers_can_be_read_on_a_phone(open_page, book):
    for notebook in ("07_positions_and_walls", "10_cost_of_context"):
        page = open_page((book / f"{notebook}.html").as_uri(), "phone")
        assert page.locator("[data-explorer] svg").bounding_box()["width"] > 340
        assert all(height > 13 for height in page.evaluate(LETTERS))


def test_folds_open_by_keyboard(open_page, address):
    page = open_page(address + "02_moe_routing.html")
    hint = page.locator("details:has(> summary:text-is('Hint'))").first
    hint.locator("summary").focus()
    page.keyboard.press("Enter")
    assert hint.get_attribute("open") is not None
    solution = page.locator("details:has(> summary:text-is('Solution of exercise 02.1'))")
    assert not solution.locator("pre").is_visible()
    solution.locator("summary").focus()
    page.keyboard.press("Space")
    assert "top1_scores_solution" in solution.locator("pre").inner_text()


def test_an_answer_opens_with_its_outputs(open_page, address):
    page = open_page(address + "02_moe_routing.html")
    output = page.locator(".tag_answer-1 > details.hide table")
    assert not output.is_visible()
    page.locator("details.answer[data-answer='1'] > summary").click()
    output.wait_for()
    page.locator("details.answer[data-answer='1'] > summary").click()
    output.wait_for(state="hidden")


@pytest.mark.parametrize(
    ("notebook", "control", "key"),
    [
        ("01_the_herd", "Experts", "ArrowUp"),
        ("07_positions_and_walls", "Query", "ArrowLeft"),
        ("10_cost_of_context", "Sequences at once", "ArrowRight"),
    ],
)
def test_explorers_move(open_page, address, notebook, control, key):
    page = open_page(f"{address}{notebook}.html")
    shown = page.locator("[data-explorer] [role='status']")
    before = shown.inner_html()
    field = page.locator("[data-explorer] label", has_text=control).first.locator("select, input")
    field.focus()
    page.keyboard.press(key)
    assert shown.inner_html() != before
    assert not page.faults


def test_the_ledger_is_sorted_and_filtered(open_page, address):
    page = open_page(address + "claims.html")
    heading = page.locator("th", has_text="evidence")
    column = (
        "[...document.querySelectorAll('table.sortable tbody tr:not([hidden])')].map(row => row.cells[4].innerText)"
    )
    heading.locator("button").focus()
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    evidence = page.evaluate(column)
    assert evidence == sorted(evidence) and evidence[0] == "computed" and evidence[-1] == "published"
    page.keyboard.press("Enter")
    assert page.evaluate(column) == evidence[::-1]
    page.get_by_label("Show rows with").fill("video")
    assert 0 < len(page.evaluate(column)) < len(evidence)


def test_formulas_are_drawn(open_page, book):
    page = open_page((book / "10_cost_of_context.html").as_uri())
    page.locator("mjx-container svg").first.wait_for()
    assert not page.faults


def test_light_and_dark_can_be_chosen(open_page, address):
    page = open_page(address + "index.html")
    for mode in ("dark", "light"):
        page.locator("button.theme-switch-button:visible").first.click()
        page.locator(f"button.theme-change-button[data-mode='{mode}']:visible").first.click()
        assert page.evaluate("document.documentElement.dataset.theme") == mode
