"""What the documentation site makes of the repository's files."""

import importlib.util
import json

import pytest

from tools.site.notebook import notebook_page
from tools.site.repository import ROOT, site_markdown

needs_griffe = pytest.mark.skipif(
    importlib.util.find_spec("griffe") is None, reason="make docs makes its environment"
)


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("index.md", "docs/models.md#other-sizes", "models.md#other-sizes"),
        ("index.md", "docs/pictures/a.png", "pictures/a.png"),
        ("index.md", "examples/levit_tf.ipynb", "notebook.md"),
        ("security.md", "../SECURITY.md", "reporting.md"),
        ("models.md", "keras.md", "keras.md"),
        ("models.md", "../converters/nothing.py", "../converters/nothing.py"),
        ("models.md", "https://example.org/docs/a.md", "https://example.org/docs/a.md"),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(page, link, expected):
    assert site_markdown(f"see [it]({link}).", page) == f"see [it]({expected})."


def test_every_page_has_a_place_in_the_site():
    navigation = (ROOT / "tools/site/mkdocs.yml").read_text("utf-8")
    pages = [path.name for path in (ROOT / "docs").glob("*.md")]
    assert len(pages) > 10
    assert [page for page in pages if f"- {page}\n" not in navigation] == []


def test_what_only_the_runner_of_blocks_reads_is_left_out():
    text = '<!-- docs-test: expect "a";\n"b" -->\n```sh\nls\n```\n'
    assert site_markdown(text, "index.md") == "```sh\nls\n```\n"


def cell(kind, source, *outputs):
    return {"cell_type": kind, "source": [source], "outputs": list(outputs)}


def written(folder, *cells):
    path = folder / "a.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    return path


def test_a_notebook_becomes_a_page_with_its_pictures(tmp_path):
    printed = {"output_type": "stream", "text": ["\x1b[31mred\x1b[0m\n"]}
    drawn = {"output_type": "display_data", "data": {"image/png": "UE5H\n", "text/plain": ["<>"]}}
    path = written(tmp_path, cell("markdown", "# Title"), cell("code", "draw()", printed, drawn))
    page, pictures = notebook_page(path, "notebook")
    assert page.startswith("# Title\n\n```python\ndraw()\n```\n\n```text\nred\n```\n\n![")
    assert pictures == {"notebook/1.png": b"PNG"}
    assert "(notebook/1.png)" in page


def test_a_notebook_with_an_error_is_refused(tmp_path):
    error = {"output_type": "error", "ename": "ValueError"}
    with pytest.raises(ValueError, match=r"a\.ipynb: a cell wrote error"):
        notebook_page(written(tmp_path, cell("code", "1 / 0", error)), "notebook")


@needs_griffe
def test_the_reference_has_every_command_and_the_lite_predictor():
    from tools.site.reference import missing_docstrings, reference_pages

    pages = reference_pages()
    for name in ("edge", "batch", "server", "export"):
        assert f"\n## python -m serving.{name}\n" in pages["serving"]
    assert "::: levit_lite.prediction.predictor\n" in pages["levit_lite"]
    # What a command says that it offers must be there, too.
    assert list(missing_docstrings({"training": pages["training"]})) == []


@needs_griffe
def test_a_public_object_without_a_docstring_is_named(tmp_path):
    from tools.site.reference import missing_docstrings

    (tmp_path / "somewhere.py").write_text(
        '"""Documented."""\ndef bare(): pass\ndef _private(): pass\n'
        'class Layer:\n    """Documented."""\n    def call(self): pass\n    def other(self): pass\n'
    )
    found = list(missing_docstrings({"page": "::: somewhere\n"}, tmp_path))
    assert found == ["somewhere.bare", "somewhere.Layer.other"]
