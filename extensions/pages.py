"""Pages that escape whatever they show."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

from aiohttp import web

from spanledger.exporters.text import printable

_STYLE = """
body{font:14px/1.45 system-ui,sans-serif;margin:1.5rem;color:#1c2733;background:#fff}
h1{font-size:1.25rem;margin:.6rem 0 .75rem}h2{font-size:1rem;margin:1.25rem 0 .4rem}
nav a{margin-right:1rem}a{color:#1456a8}
table{border-collapse:collapse}td,th{padding:.25rem .7rem;white-space:nowrap;border-bottom:1px solid #dde3ea;
text-align:left;vertical-align:top}th{font-weight:600;background:#f4f6f9}td.number{text-align:right;font-variant-numeric:tabular-nums}
pre{background:#f4f6f9;padding:.6rem;overflow:auto}.bad{color:#b3261e}.good{color:#1b7a3d}
@media (prefers-color-scheme:dark){body{color:#dfe6ee;background:#14191f}th,pre{background:#1f262e}
td,th{border-color:#333c46}a{color:#7db4f5}.bad{color:#f28b82}.good{color:#81c995}}
"""


class Html(str):
    """Markup that is safe already; anything else is escaped."""

    __slots__ = ()


def escape(value: object) -> Html:
    """Return `value` as text of a page, of 300 characters and an ellipsis at most.

    What does not print is escaped too: pages are also read in terminals.
    """
    return value if isinstance(value, Html) else Html(html.escape(printable(str(value), 300)))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    """Return a table; numbers stand to the right."""
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="number">{escape(cell)}</td>'
            if isinstance(cell, int | float) and not isinstance(cell, bool)
            else f"<td>{escape(cell)}</td>"
            for cell in row
        )
        + "</tr>"
        for row in rows
    )
    return Html(f"<table><tr>{titles}</tr>{body}</table>")


def page(title: str, parts: Mapping[str, Html], links: Mapping[str, str]) -> web.Response:
    """Return a whole page: a heading, links to its neighbours, and parts under their own headings."""
    nav = "".join(f'<a href="{escape(path)}">{escape(name)}</a>' for name, path in links.items())
    body = "".join((f"<h2>{escape(name)}</h2>" if name else "") + part for name, part in parts.items())
    text = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)} · spanledger</title>'
        f"<style>{_STYLE}</style><nav>{nav}</nav><h1>{escape(title)}</h1>{body}</html>"
    )
    # Attributes are hostile: nothing on a page may run or load, whatever got past the escaping.
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return web.Response(
        text=text,
        content_type="text/html",
        headers={"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"},
    )
