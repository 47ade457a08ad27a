"""Pages of the repository outside docs/, and links that work both there and in the site."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = "docs"
# Files at the root that are pages of the site.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "reporting.md",
    "examples/levit_tf.ipynb": "notebook.md",
}
_LINK = re.compile(r"(?P<before>\]\()(?P<target>[^)\s#:]+)(?P<anchor>#[^)\s]*)?(?P<after>\))")
_DIRECTIVE = re.compile(r"<!-- docs-test: (?:(?!-->).)* -->\n", re.DOTALL)


def site_markdown(text: str, page: str) -> str:
    """Returns the text of a page with its links adapted to the site.

    Args:
      text: Markdown, whose links are relative to its file in the repository.
      page: path of the page in the site, such as "index.md".

    Returns:
      The text, without directives for the runner of its blocks. Links to files that are not in the
      site stay unchanged, and MkDocs warns about them.
    """
    sources = {site: source for source, site in PAGES.items()}
    source = sources.get(page, f"{DOCS}/{page}")

    def linked(match: re.Match) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match["target"]))
        place = PAGES.get(target)
        if place is None and target.startswith(f"{DOCS}/"):
            place = target.removeprefix(f"{DOCS}/")
        if place is None:
            return match[0]
        relative = posixpath.relpath(place, posixpath.dirname(page) or ".")
        return f"{match['before']}{relative}{match['anchor'] or ''}{match['after']}"

    return _LINK.sub(linked, _DIRECTIVE.sub("", text))
