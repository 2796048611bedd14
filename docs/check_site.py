"""Is the built site whole, and does it need no network? `python -m docs.check_site FOLDER`.

Every link inside the site leads to a page and, where it names one, to a heading; no page fetches
anything from elsewhere; every picture says in words what it shows; no notebook printed an error or
a warning. Links to other sites are not followed.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

if TYPE_CHECKING:
    from collections.abc import Iterator

FETCHED = (
    ("script", "src"),
    ("img", "src"),
    ("iframe", "src"),
    ("source", "src"),
    ("link", "href"),
)
NOT_FETCHED = {"canonical", "next", "prev", "author", "search", "index", "alternate", "license"}


@cache
def page_at(path: Path) -> BeautifulSoup:
    """Parse a page."""
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@cache
def anchors(path: Path) -> frozenset[str]:
    """Return what a link into a page may name."""
    page = page_at(path)
    return frozenset(
        str(tag[name]) for name in ("id", "name") for tag in page.find_all(attrs={name: True})
    )


def dead_links(path: Path, root: Path) -> Iterator[str]:
    """Links of one page that lead nowhere."""
    for tag, name in (("a", "href"), *FETCHED):
        for found in page_at(path).find_all(tag, attrs={name: True}):
            parts = urlsplit(str(found[name]))
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists() or root not in (target, *target.parents):
                yield f"{found[name]} leads nowhere"
            elif (
                parts.fragment
                and target.suffix == ".html"
                and unquote(parts.fragment) not in anchors(target)
            ):
                yield f"{found[name]}: {target.name} has no such place"


def fetched_from_elsewhere(path: Path) -> Iterator[str]:
    """Scripts, styles and pictures that a page would fetch from the network."""
    for tag, name in FETCHED:
        for found in page_at(path).find_all(tag, attrs={name: True}):
            rel = set(found.get("rel") or ())
            if urlsplit(str(found[name])).netloc and not (tag == "link" and rel & NOT_FETCHED):
                yield f"fetches {found[name]}"


def without_words(path: Path) -> Iterator[str]:
    """Pictures without a text that says what they show."""
    for picture in page_at(path).select("article img"):
        if not str(picture.get("alt") or "").strip() or "_images/" in str(picture.get("alt")):
            yield f"{picture.get('src')} has no alt text"


def complaints(path: Path) -> Iterator[str]:
    """Errors and warnings among the outputs of a notebook, and code that was not run."""
    page = page_at(path)
    for output in page.select("div.output.stderr, div.output.traceback"):
        yield f"printed {output.get_text()[:200]!r}"
    if path.parent.name == "notebooks" and not page.select("div.cell_output"):
        yield "has no outputs: it was not run"


def styles_from_elsewhere(root: Path) -> Iterator[str]:
    """Style sheets that would fetch something."""
    for sheet in sorted(root.rglob("*.css")):
        for address in re.findall(
            r"""(?:url\(|@import)\s*['"]?(https?:[^'")\s]+)""", sheet.read_text()
        ):
            yield f"{sheet.relative_to(root)}: fetches {address}"


def faults(root: Path, *, executed: bool = True) -> list[str]:
    """All that is wrong with the site in a folder, whose notebooks were executed or not."""
    found = list(styles_from_elsewhere(root))
    pages = sorted(path for path in root.rglob("*.html") if "_static" not in path.parts)
    for path in pages:
        checks = [dead_links(path, root), fetched_from_elsewhere(path), without_words(path)]
        if executed:
            checks.append(complaints(path))
        found += [f"{path.relative_to(root)}: {fault}" for check in checks for fault in check]
    return found


def main() -> int:
    """Print the faults of a site; the exit status says whether there are any."""
    root = Path(sys.argv[1]).resolve()
    found = faults(root)
    print("\n".join(found) if found else f"{root.name}: links, pictures and outputs are in order")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
