"""report.html: one file that needs nothing else, readable in light and dark and on a phone."""

from collections.abc import Iterable
from html import escape

from shoestring.report.blocks import (
    Block,
    Browser,
    Bullets,
    Code,
    Heading,
    Plots,
    Ranges,
    Samples,
    Table,
    Text,
)
from shoestring.report.curves import Plot, svg
from shoestring.report.document import document, title
from shoestring.report.ranges import Range, range_svg
from shoestring.report.rollout_html import browser_html, content_policy
from shoestring.report.run_report import RunReport, Sample
from shoestring.report.samples import OPEN
from shoestring.report.style import CSS


def render_html(report: RunReport) -> str:
    return html_page(report.name, title(report), document(report))


def html_page(name: str, heading: str, blocks: Iterable[Block]) -> str:
    body = "\n".join(map(_block, blocks))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{content_policy()}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(name)}</title>\n<style>\n{CSS}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(heading)}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _block(block: Block) -> str:
    match block:
        case Heading(text):
            return f"<h2>{escape(text)}</h2>"
        case Text(text):
            return f"<p>{escape(text)}</p>"
        case Bullets(items):
            return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"
        case Table():
            return _table(block)
        case Plots(name, plots):
            return f'<h3>{escape(name)}</h3><div class="plots">{"".join(map(_figure, plots))}</div>'
        case Ranges(rows):
            return f'<div class="ranges">{"".join(map(_range, rows))}</div>'
        case Samples(name, samples):
            return _folded(name, "".join(map(_sample, samples)))
        case Browser(pages):
            return browser_html(pages)
        case Code(text, ""):
            return f"<pre>{escape(text)}</pre>"
        case Code(text, name):
            return _folded(name, f"<pre>{escape(text)}</pre>")


def _table(table: Table) -> str:
    def cell(tag: str, column: int, text: str) -> str:
        kind = "" if column in table.words else ' class="figure"'
        return f"<{tag}{kind}>{escape(text)}</{tag}>"

    head = "".join(cell("th", i, text) for i, text in enumerate(table.header))
    rows = []
    for number, row in enumerate(table.rows):
        mark = ' class="strong"' if number in table.strong else ""
        rows.append(f"<tr{mark}>{''.join(cell('td', i, text) for i, text in enumerate(row))}</tr>")
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'<div class="scroll" tabindex="0"><table>{body}</table></div>'


def _figure(plot: Plot) -> str:
    several = len(plot.lines) > 1
    names = [(number, line.line or "as written") for number, line in enumerate(plot.lines) if several]
    keys = "".join(f'<span class="key-{number % 6}">{escape(name)}</span> ' for number, name in names)
    return f"<figure><figcaption>{escape(plot.title)}</figcaption>{svg(plot)}<p>{keys}</p></figure>"


def _range(row: Range) -> str:
    told = f"{row.title}: {row.text}"
    return f"<figure><figcaption>{escape(told)}</figcaption>{range_svg(row)}</figure>"


def _folded(name: str, inner: str) -> str:
    return f"<details><summary>{escape(name)}</summary>{inner}</details>"


def _sample(sample: Sample) -> str:
    kind = "right" if sample.right else "open" if sample.outcome == OPEN else "wrong"
    told = f"step {sample.step}, {sample.outcome}"
    return (
        f'<div class="sample {kind}"><p class="told">{escape(told)}</p>'
        f'<pre class="prompt">{escape(sample.prompt)}</pre><pre>{escape(sample.completion)}</pre></div>'
    )
