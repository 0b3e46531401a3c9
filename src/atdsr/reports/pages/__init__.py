"""What all pages have in common: one file, light and dark, that asks the network for nothing."""

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files

from atdsr.base import escaping


def head(
    title: str,
    kicker: str,
    facts: Mapping[str, str],
    *,
    styles: str = "",
    script: str = "",
) -> str:
    """Everything above a page's first section; what comes from names is text.

    The policy lets the page run that script alone and fetch nothing.

    Args:
        title: of the page and of the window.
        kicker: a line above it.
        facts: what stands below it, by name, if anything.
        styles: CSS beside what all pages share.
        script: what `end` is called with.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"; script-src 'sha256-{digest}'" if script else ""
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"style-src 'unsafe-inline'{allowed}"
    )
    listed = "".join(
        f"<div><dt>{escaping.html(name)}</dt><dd>{escaping.html(value)}</dd></div>"
        for name, value in facts.items()
    )
    listed = f'<dl class="machine">{listed}</dl>\n' if facts else ""
    base = (files("atdsr.reports.pages") / "base.css").read_text("utf-8")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escaping.html(title)} · atdsr</title>
<link rel="icon" href="data:,">
<style>
{base}{styles}</style>
</head>
<body>
<main>
<header class="top">
<p class="kicker">{escaping.html(kicker)}</p>
<h1>{escaping.html(title)}</h1>
{listed}</header>
"""


def end(script: str = "") -> str:
    """Everything below a page's last section."""
    return f"</main>{f'<script>{script}</script>' if script else ''}</body></html>\n"


def data_address(data: bytes, kind: str) -> str:
    """A file of that kind, such as `image/png`, as a `data:` address."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
