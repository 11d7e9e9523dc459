"""The built book in a browser: no raw TeX, nothing missing, nothing asked of the network, search, a phone's width."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlparse

import pytest

from argprod.claims import ROOT
from tests.book.pages import blocks, toc_files
from theory.registry import claims

pytestmark = pytest.mark.book
HTML = ROOT / "docs" / "_build" / "html"
#: Where distributions put the browser; the first that is there is used.
BROWSERS = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
#: Width of a small phone [px].
PHONE_PX = 360
PAGES = sorted(str(path.relative_to(HTML)) for path in HTML.rglob("*.html")) if HTML.is_dir() else []
TEXT_PAGES = [page for page in PAGES if not page.startswith(("source/", "_static/"))]


class Quiet(SimpleHTTPRequestHandler):
    """Serves the book and says nothing."""

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(HTML))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: `make test-book` brings it")
    path = next((path for path in BROWSERS if Path(path).exists()), None)
    if path is None:
        pytest.fail("no Chromium was found: install the package chromium")
    with api.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def tab(browser: Any) -> Any:
    return browser.new_page(viewport={"width": PHONE_PX, "height": 740})


def test_the_book_is_built() -> None:
    assert "index.html" in PAGES, "run `make book` first"


@pytest.mark.parametrize("page", TEXT_PAGES)
def test_a_page_is_whole_on_a_phone_without_a_network(page: str, site: str, tab: Any) -> None:
    asked: list[str] = []
    failed: list[str] = []
    spoken: list[str] = []
    listeners = {
        "request": lambda request: asked.append(request.url),
        "response": lambda response: failed.append(response.url) if response.status >= 400 else None,
        "console": lambda message: spoken.append(message.text) if message.type == "error" else None,
        "pageerror": lambda fault: spoken.append(str(fault)),
    }
    for event, listener in listeners.items():
        tab.on(event, listener)
    tab.goto(f"{site}/{page}", wait_until="load")
    tab.wait_for_function(
        "!window.MathJax || !MathJax.startup || !MathJax.startup.promise || MathJax.startup.promise.then(() => true)"
    )
    for event, listener in listeners.items():
        tab.remove_listener(event, listener)
    outside = [url for url in asked if not url.startswith((site, "data:", "blob:"))]
    assert (outside, failed, spoken) == ([], [], [])
    assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE_PX
    text = tab.evaluate(TEXT_OUTSIDE_CODE)
    assert not re.search(r"\\(frac|left|right|max|min|begin|sqrt|cdot)\b|\$\$|\\\(", text), "raw TeX"
    assert tab.evaluate("document.querySelectorAll('mjx-merror').length") == 0
    assert tab.evaluate("[...document.images].filter(i => !i.naturalWidth).map(i => i.src)") == []
    assert tab.evaluate(
        "[...document.querySelectorAll('.proof .admonition-title')].every(t => /\\d \\(.+\\)/.test(t.innerText))"
    )


TEXT_OUTSIDE_CODE = """() => {
    const copy = document.querySelector('main').cloneNode(true);
    copy.querySelectorAll('pre, code, script, mjx-container').forEach(node => node.remove());
    return copy.textContent;
}"""


def test_there_is_one_search_bar_and_it_finds(site: str, browser: Any) -> None:
    wide = browser.new_page(viewport={"width": 1280, "height": 800})
    wide.goto(f"{site}/index.html")
    shown = "[...document.querySelectorAll('.search-button, .search-button__button, .search-button-field')]"
    assert (
        wide.evaluate(f"{shown}.filter(b => b.offsetParent !== null && b.getBoundingClientRect().width > 0).length")
        == 1
    )
    wide.goto(f"{site}/search.html?q=leverage")
    wide.wait_for_selector("ul.search li a", timeout=10_000)
    assert wide.locator("ul.search li a").count() > 0
    wide.close()


@pytest.mark.parametrize("page", toc_files())
def test_every_plot_is_on_its_page(page: str) -> None:
    plots = sum(block.text.count("plt.show()") for block in blocks(page) if block.kind == "{code-cell}")
    text = (HTML / page).with_suffix(".html").read_text(encoding="utf-8")
    assert len(re.findall(r'<img[^>]+src="[^"]*_images/', text)) >= plots


def test_no_line_break_parts_an_interval() -> None:
    text = (HTML / "book" / "evaluation.html").read_text(encoding="utf-8")
    assert len(re.findall(r"\[[+-]?\d+,\N{NO-BREAK SPACE}[+-]?\d+\]", text)) > 100
    assert not re.search(r"\[[+-]?\d+, [+-]?\d+\]", text)


def targets(page: str) -> set[str]:
    return set(re.findall(r'\bid="([^"]+)"', (HTML / page).read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", TEXT_PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    broken = []
    known: dict[str, set[str]] = {}
    for link in set(re.findall(r'<a\b[^>]*\bhref="([^"]+)"', (HTML / page).read_text(encoding="utf-8"))):
        if urlparse(link).scheme:
            continue
        address, anchor = urldefrag(urljoin(page, unquote(link)))
        if not (HTML / address).is_file():
            broken.append(link)
        elif anchor and address.endswith(".html"):
            known.setdefault(address, targets(address))
            broken += [] if anchor in known[address] else [link]
    assert broken == []


def test_letters_of_formulas_are_set_and_names_of_claims_are_not() -> None:
    text = (HTML / "book" / "exchange.html").read_text(encoding="utf-8")
    [block] = re.findall(r'<div class="[^"]*proof[^"]*" id="pairwise_exchange_rate">(.*?)</section>', text, re.DOTALL)
    assert '<span class="math notranslate nohighlight">\\(P_{i}\\)</span>' in block
    assert "P_i" not in re.sub(r"<[^>]+>", "", block)


@pytest.mark.parametrize("name", claims())
def test_a_claim_can_be_followed_to_code_proof_and_test(name: str) -> None:
    claim = claims()[name]
    page = claim.book.partition("#")[0].removeprefix("docs/").replace(".md", ".html")
    text = (HTML / page).read_text(encoding="utf-8")
    [block] = re.findall(rf'<div class="[^"]*proof[^"]*" id="{name}">(.*?)</section>', text, flags=re.DOTALL)
    links = re.findall(r'class="source-link[^"]*" href="([^"]+)"', block)
    places = [*claim.derivation, *claim.proof, *claim.property, *claim.measurement]
    assert len(links) == len(places)
    for link, place in zip(links, places, strict=True):
        address, anchor = urldefrag(urljoin(page, link))
        file, _, function = place.replace("::", ":").partition(":")
        assert address == f"source/{file}.html"
        shown = (HTML / address).read_text(encoding="utf-8")
        at = shown.index(f'id="{anchor}"')
        assert not function or function in re.sub(r"<[^>]+>", "", shown[at : at + 4000])
