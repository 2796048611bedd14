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
    ("script", "src"), ("img", "src"), ("iframe", "src"), ("embed", "src"), ("source", "src"),
    ("video", "src"), ("audio", "src"), ("object", "data"), ("link", "href"),
)  # fmt: skip
NOT_FETCHED = {"canonical", "next", "prev", "author", "search", "index", "alternate", "license"}
FOLLOWED = {"http", "https", "mailto"}
"""Links to other sites, which are not followed here; of no other scheme should there be any."""
IN_STYLES = re.compile(r"""(?:url\(|@import)\s*['"]?((?:https?:)?//[^'")\s]+)""")
IN_SCRIPTS = re.compile(r"""(?:import\(|importScripts\(|fetch\()\s*['"]((?:https?:)?//[^'"]+)""")


@cache
def page_at(path: Path) -> BeautifulSoup:
    """Parse a page."""
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@cache
def anchors(path: Path) -> frozenset[str]:
    """Return what a link into a page may name."""
    page = page_at(path)
    named = [tag["name"] for tag in page.find_all("a", attrs={"name": True})]
    return frozenset(map(str, [*named, *(tag["id"] for tag in page.find_all(id=True))]))


def addresses(path: Path) -> Iterator[tuple[str, bool]]:
    """Every address on a page, and whether it is fetched with the page."""
    page = page_at(path)
    for found in page.find_all("a", attrs={"href": True}):
        yield str(found["href"]), False
    for tag, name in FETCHED:
        for found in page.find_all(tag, attrs={name: True}):
            rel = set(found.get("rel") or ())
            yield str(found[name]), not (tag == "link" and rel & NOT_FETCHED)
    for found in page.find_all(["img", "source"], attrs={"srcset": True}):
        for one in str(found["srcset"]).split(","):
            yield one.split()[0], True


def wrong_addresses(path: Path, root: Path) -> Iterator[str]:
    """Links of one page that lead nowhere, and what it would fetch from elsewhere."""
    for address, fetched in addresses(path):
        parts = urlsplit(address)
        if parts.netloc or parts.scheme in FOLLOWED:
            if fetched:
                yield f"fetches {address}"
            continue
        if parts.scheme == "data":  # the picture itself
            continue
        if parts.scheme:
            yield f"{address} is of no use elsewhere"
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if not target.is_file() or root not in target.parents:
            yield f"{address} leads nowhere"
        elif (
            parts.fragment
            and target.suffix == ".html"
            and unquote(parts.fragment) not in anchors(target)
        ):
            yield f"{address}: {target.name} has no such place"


def fetched_by_code(path: Path) -> Iterator[str]:
    """What styles and scripts on a page would fetch from the network."""
    page = page_at(path)
    styles = [tag.get_text() for tag in page.find_all("style")]
    styles += [str(tag["style"]) for tag in page.find_all(style=True)]
    scripts = [tag.get_text() for tag in page.find_all("script")]
    for pattern, texts in ((IN_STYLES, styles), (IN_SCRIPTS, scripts)):
        for text in texts:
            yield from (f"fetches {address}" for address in pattern.findall(text))


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
        for address in IN_STYLES.findall(sheet.read_text(encoding="utf-8")):
            yield f"{sheet.relative_to(root)}: fetches {address}"


def faults(root: Path, *, executed: bool = True) -> list[str]:
    """All that is wrong with the site in a folder, whose notebooks were executed or not."""
    found = list(styles_from_elsewhere(root))
    pages = [
        path
        for path in sorted(root.rglob("*.html"))
        if "_static" not in path.relative_to(root).parts
    ]
    if not pages:
        return [f"{root} has no pages"]
    for path in pages:
        checks = [wrong_addresses(path, root), fetched_by_code(path), without_words(path)]
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
