"""Which blocks of a document are run, and how."""

import pytest

from tests.run_docs import blocks_of

DOCUMENT = """
<!-- docs-test: not run: needs a TPU -->
```sh
one
```

<!-- docs-test: background, port 8500 -->
```sh
two
```

```python
three
```

```text
four
```
"""


def test_a_directive_is_of_the_block_that_follows_it_and_of_no_other(tmp_path):
    (tmp_path / "page.md").write_text(DOCUMENT)
    one, two, three = blocks_of(tmp_path / "page.md")
    assert (one.skipped, one.port) == ("needs a TPU", None)
    assert (two.skipped, two.port) == (None, 8500)
    assert (three.language, three.skipped, three.port) == ("python", None, None)
    assert [block.code.strip() for block in (one, two, three)] == ["one", "two", "three"]


def test_an_unknown_directive_is_refused_with_its_place(tmp_path):
    (tmp_path / "page.md").write_text("<!-- docs-test: sometimes -->\n```sh\nls\n```\n")
    with pytest.raises(ValueError, match=r"page.md:2: unknown directive 'sometimes'"):
        list(blocks_of(tmp_path / "page.md"))
