"""The pages' files: what they refer to is there, nothing is inline, libraries are what is listed."""

import hashlib
import re
from html.parser import HTMLParser

import pytest

from serve.stub_chat import WEB

VENDOR = WEB / "vendor"
PAGES = sorted(WEB.glob("*.html"))


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_refers_to_files_that_are_there_and_has_nothing_inline(page):
    tags = Tags(page.read_text()).found
    assert len(tags) > 30
    for tag, attributes in tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert tag != "style"
        assert tag != "script" or "src" in attributes
        for name in ("src", "href"):
            link = attributes.get(name)
            if link and not link.startswith("#"):
                assert (WEB / ("index.html" if link == "./" else link)).is_file(), link


def test_imports_lead_to_files_that_are_there():
    for file in WEB.glob("js/*.js"):
        links = re.findall(r'(?:from|import|import\() ?"(\.[^"]+)"', file.read_text())
        assert all((file.parent / link).resolve().is_file() for link in links), file.name


def test_the_worker_keeps_every_file_that_the_pages_need():
    named = re.search(r"FILES = `([^`]+)`", (WEB / "sw.js").read_text()).group(1).split()
    needed = [f.relative_to(WEB).as_posix() for f in WEB.rglob("*") if f.is_file() and f.suffix != ".txt"]
    assert sorted(named) == sorted({"./", *needed} - {"sw.js"})


def test_our_own_files_name_no_other_host():
    for file in [*WEB.glob("*.*"), *WEB.glob("js/*"), *WEB.glob("css/*")]:
        links = set(re.findall(r"https?://[\w./-]+", file.read_text()))
        assert links <= {"http://www.w3.org/2000/svg"}, file.name


def test_libraries_are_those_that_are_listed():
    text = (VENDOR / "VERSIONS.txt").read_text()
    listed = dict(re.findall(r"(\S+\.(?:js|css|woff2))\s+(?:\S+\s+)?([0-9a-f]{64})", text))
    there = {
        f.relative_to(VENDOR).as_posix(): f
        for f in VENDOR.rglob("*")
        if f.suffix in (".js", ".css", ".woff2")
    }
    assert set(listed) == set(there)
    for name, file in there.items():
        assert hashlib.sha256(file.read_bytes()).hexdigest() == listed[name], name
    assert {file.stem for file in VENDOR.glob("licences/*.txt")} == {
        *("marked", "dompurify", "katex", "highlight", "uplot")
    }


def test_the_policy_of_the_pages_is_the_one_they_are_served_under():
    pytest.importorskip("starlette")
    from shoestring.serve.pages import POLICY

    for page in PAGES:
        metas = [attributes for tag, attributes in Tags(page.read_text()).found if tag == "meta"]
        own = next(m["content"] for m in metas if m.get("http-equiv") == "Content-Security-Policy")
        assert f"{own}; frame-ancestors 'none'" == POLICY  # which a page can't say of itself
