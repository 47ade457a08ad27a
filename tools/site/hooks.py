"""Functions that MkDocs calls while it builds the site."""

from __future__ import annotations

import logging

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from tools.site.notebook import notebook_page
from tools.site.reference import missing_docstrings, reference_pages
from tools.site.repository import PAGES, ROOT, site_markdown

# A logger of MkDocs, so that --strict fails on its warnings.
_LOG = logging.getLogger("mkdocs.hooks.site")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are not in docs/."""

    def add(path: str, content: str | bytes) -> None:
        files.append(File.generated(config, path, content=content))

    for source, page in PAGES.items():
        path = ROOT / source
        if path.suffix == ".md":
            add(page, path.read_text("utf-8"))
            continue
        text, pictures = notebook_page(path, "notebook")
        add(page, text)
        for name, content in pictures.items():
            add(name, content)
    pages = reference_pages()
    for name in missing_docstrings(pages):
        _LOG.warning("%s is public and has no docstring", name)
    for page, text in pages.items():
        add(f"reference/{page}.md", text)
    add("site.css", (ROOT / "tools/site/site.css").read_text("utf-8"))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turns links between files of the repository into links between pages."""
    return site_markdown(markdown, page.file.src_uri)
