"""The page around a report's tables and charts: one HTML file that loads nothing.

Every text from outside passes through `escape`. Charts are embedded as JSON in which no "<" is left, so that no name
can end the script element it stands in. A content security policy forbids the page to fetch anything.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Sequence

from plotly.offline import get_plotlyjs

from ray_jobs.report.charts import Chart
from ray_jobs.report.style import SCRIPT, STYLE

_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"

MISSING = "\N{EN DASH}"


def escape(text: object) -> str:
    return html.escape(str(text))


def number(value: float | int | None, *, digits: int = 4) -> str:
    """A number for people: `digits` significant ones, thousands apart; a dash for what is missing or not finite."""
    if value is None or not math.isfinite(value):
        return MISSING
    size = abs(value)
    if size >= 10**9 or 0 < size < 1e-4:
        return f"{value:.{digits - 1}e}"
    decimals = max(0, digits - 1 - (math.floor(math.log10(size)) if size else 0))
    return f"{value:,.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def bold_best(values: Sequence[float | None], minimise: bool) -> list[str]:
    """The numbers of a column, the best of them (all that are equal to it) bold."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    best = (min(known) if minimise else max(known)) if known else None
    return [f"<b>{number(value)}</b>" if value is not None and value == best else number(value) for value in values]


def chart(name: str, figure: Chart, height: int) -> str:
    """A place for a chart and its data; `name` is unique on the page and made of letters, digits and dashes."""
    data = json.dumps(figure, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    safe = data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return (
        f'<div class="chart" id="{name}" style="height:{height}px"></div>'
        f'<script type="application/json" id="{name}-data">{safe}</script>'
    )


def section(identifier: str, title: str, caption: str, *parts: str, kind: str = "") -> str:
    """A titled part of the page; caption and parts are HTML, the title is text."""
    said = f'<p class="caption">{caption}</p>' if caption else ""
    body = "".join(parts)
    return f'<section id="{identifier}" class="{kind}"><h2>{escape(title)}</h2>{said}{body}</section>\n'


def table(head: Iterable[str], rows: Iterable[str], *, kind: str = "") -> str:
    """A table that scrolls on its own; head and rows are whole <tr> elements."""
    return (
        f'<div class="scroll {kind}"><table><thead>{"".join(head)}</thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def cells(values: Sequence[str], *, tag: str = "td", text: int = 1) -> str:
    """Table cells of HTML; the first `text` of them are aligned to the left."""
    return "".join(
        f'<{tag} class="text">{value}</{tag}>' if i < text else f"<{tag}>{value}</{tag}>"
        for i, value in enumerate(values)
    )


def tiles(facts: Iterable[tuple[str, str]]) -> str:
    """Small cards: a value and what it is, both text."""
    made = (f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for name, value in facts)
    return f'<div class="tiles">{"".join(made)}</div>'


def listing(sentences: Iterable[str]) -> str:
    """A list of sentences, text."""
    return f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences)}</ul>"


def page(title: str, body: str) -> str:
    """The whole file: plotly.js stands in it once, and nothing in it refers to another place."""
    library = get_plotlyjs().replace("</script", "<\\/script").replace("<!--", "<\\!--")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n"
        "<noscript><main>The charts need JavaScript; the tables do not.</main></noscript>\n"
        f"<script>{library}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )
