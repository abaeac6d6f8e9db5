"""The rollout browser as HTML: a place, its data, its script, and the page's promise to fetch nothing."""

import base64
import hashlib
from collections.abc import Sequence

from shoestring.report.rollout_page import RolloutPage, page_json
from shoestring.report.rollout_script import SCRIPT


def browser_html(pages: Sequence[RolloutPage]) -> str:
    return (
        '<div id="browser" class="browser"><noscript><p>With JavaScript on, the groups can be looked through '
        f"here; without it there are the samples below.</p></noscript></div>\n"
        f'<script type="application/json" id="browser-data">{page_json(pages)}</script>\n'
        f"<script>{SCRIPT}</script>"
    )


def content_policy() -> str:
    """Of the whole page: no address may be fetched, and of all scripts only the browser's own may run."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
