"""Several pictures of the screen as one animated SVG: no script, nothing from elsewhere.

Neighboring pictures have most of their rows in common, so what stands in several of them is drawn
once and shown for as long as it stands there. CSS keyframes switch opacity, which also works where
a page shows the file as an image.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate

STYLE = re.compile(r"\.(?P<id>terminal-\d+)-(?P<name>r\d+) \{ (?P<rule>[^}]*) \}")
DRAWN = re.compile(
    r"<rect fill=[^>]*shape-rendering[^>]*/>|<text class=\"terminal-\d+-r[^>]*>[^<]*</text>"
)
AREA = re.compile(r' clip-path="url\(#terminal-\d+-(line-\d+)\)"')
"""Of a row. Rich writes none for the last one, and names it all the same."""

FONT = "'Fira Code', 'DejaVu Sans Mono', Menlo, Consolas, monospace"

Frames = tuple[int, ...]


def animated(pictures: Sequence[str], seconds: Sequence[float]) -> str:
    """One SVG that shows these SVGs of one size, as Textual exports them, each for so many seconds,
    again and again. Raises ValueError where sizes or numbers differ."""
    if len(pictures) != len(seconds) or not pictures:
        raise ValueError(f"{len(pictures)} pictures and {len(seconds)} durations")
    views = {found[1] for p in pictures if (found := re.search(r'viewBox="([^"]*)"', p))}
    if len(views) != 1:
        raise ValueError(f"pictures of one size are needed, not of {len(views)}")
    rules: dict[str, str] = {}
    parts: dict[str, list[int]] = {}
    for i, picture in enumerate(pictures):
        for part in _parts(picture, rules):
            at = parts.setdefault(part, [])
            if at[-1:] != [i]:
                at.append(i)
    groups: dict[Frames, list[str]] = {}
    for part in sorted(parts, key=lambda part: part.startswith("<text")):  # the ground comes first
        groups.setdefault((*parts[part], *_kind(part)), []).append(part)
    bodies, styles = [], []
    for (*frames, text), drawn in sorted(groups.items(), key=lambda g: g[0][-1]):
        name = f"f{'t' if text else 'b'}{'-'.join(map(str, frames))}"
        if len(frames) == len(pictures):
            bodies.append(f"<g>{''.join(drawn)}</g>")
        else:
            bodies.append(f'<g class="{name}">{"".join(drawn)}</g>')
            styles.append(_keyframes(name, frames, seconds))
    known = "\n".join(f".{name} {{ {rule} }}" for rule, name in rules.items())
    head, frame, clips = _surroundings(pictures[0])
    return (
        f"{head}\n<style>\n.m {{ font-family: {FONT}; font-size: 20px; line-height: 24.4px; "
        f"font-variant-east-asian: full-width; }}\n{known}\n{''.join(styles)}</style>\n"
        f'<defs>{clips}</defs>\n{frame}\n<g transform="translate(9, 41)" clip-path="url(#screen)">'
        f'<g class="m">\n{chr(10).join(bodies)}\n</g></g>\n</svg>\n'
    )


def _kind(part: str) -> tuple[int]:
    return (int(part.startswith("<text")),)


def _parts(picture: str, rules: dict[str, str]) -> list[str]:
    """What a picture draws, in names that all pictures share; their styles are added to `rules`."""
    names = {m["name"]: _shared(m["rule"].strip(), rules) for m in STYLE.finditer(picture)}
    areas = set(re.findall(r'<clipPath id="terminal-\d+-(line-\d+)"', picture))
    out = []
    for drawn in DRAWN.findall(picture):
        named = re.sub(r'class="terminal-\d+-(r\d+)"', lambda m: f'class="{names[m[1]]}"', drawn)
        out.append(AREA.sub(lambda m: f' clip-path="url(#{m[1]})"' * (m[1] in areas), named))
    return out


def _shared(rule: str, rules: dict[str, str]) -> str:
    return rules.setdefault(rule, f"s{len(rules)}")


def _surroundings(picture: str) -> tuple[str, str, str]:
    """The opening tag, the window's frame, and the areas that clip its rows."""
    view = re.search(r'<svg[^>]*viewBox="([^"]*)"', picture)
    width, height = (view[1] if view else "0 0 0 0").split()[2:]
    head = (
        f'<svg viewBox="{view[1] if view else ""}" width="{width}" height="{height}" '
        'xmlns="http://www.w3.org/2000/svg">'
    )
    start, end = picture.find("</defs>") + len("</defs>"), picture.find('<g transform="translate(9')
    frame = re.sub(r'<text class="[^"]*-title"', f'<text font-family="{FONT.replace(chr(39), "")}"',
                   picture[start:end])  # fmt: skip
    clips = re.findall(r"<clipPath id=.*?</clipPath>", picture, re.S)
    shared = "".join(re.sub(r'id="terminal-\d+-', 'id="', clip) for clip in clips)
    return head, frame.strip(), shared.replace('id="clip-terminal"', 'id="screen"')


def _keyframes(name: str, frames: Sequence[int], seconds: Sequence[float]) -> str:
    """Opaque during these frames, and not seen during others."""
    whole = sum(seconds)
    starts = [0.0, *accumulate(seconds)]
    stops: list[str] = []
    before: bool | None = None
    for i, start in enumerate(starts[:-1]):
        seen = i in frames
        if seen != before:
            stops.append(f"{100 * start / whole:.4g}% {{ opacity: {int(seen)} }}")
        before = seen
    return (
        f"@keyframes {name} {{ {' '.join(stops)} 100% {{ opacity: {int(bool(before))} }} }}\n"
        f".{name} {{ animation: {name} {whole:g}s step-end infinite; "
        f"opacity: {int(0 in frames)} }}\n"
    )
