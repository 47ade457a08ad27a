"""Which blocks of a document are run, and how."""

import pytest

from tests.run_docs import ROOT, Expectation, blocks_of

PAGES = ["README.md", "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]

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


CONTINUED = """
```python
one = 1
```
Text.

<!-- docs-test: continues; on tensorflow, jax -->
```python
print(one)
```

<!-- docs-test: continues; expect "1" -->
```python
raise ValueError(one)
```
"""


def test_a_block_that_continues_is_part_of_the_program_before_it(tmp_path):
    (tmp_path / "page.md").write_text(CONTINUED)
    (program,) = blocks_of(tmp_path / "page.md")
    assert program.place == "page.md:2"
    assert program.expected == (Expectation("1"),)
    lines = ("\n" * program.line + program.code).splitlines()
    document = CONTINUED.splitlines()
    code = [(n, line) for n, line in enumerate(lines) if line]
    assert code == [(n, document[n]) for n in (2, 8, 13)]


def test_a_block_of_other_backends_is_left_out_of_the_program(tmp_path):
    (tmp_path / "page.md").write_text(CONTINUED)
    skipped, program = blocks_of(tmp_path / "page.md", "torch")
    assert (skipped.place, skipped.skipped) == ("page.md:8", "not on torch")
    assert "print" not in program.code
    assert "raise" in program.code


@pytest.mark.parametrize("directive", ["continues", "on numpy", "continues; twice"])
def test_a_block_that_continues_nothing_or_runs_on_no_backend_is_refused(tmp_path, directive):
    (tmp_path / "page.md").write_text(f"<!-- docs-test: {directive} -->\n```python\n1\n```\n")
    with pytest.raises(ValueError, match=r"page.md:2: "):
        list(blocks_of(tmp_path / "page.md"))


JUDGED = """
<!-- docs-test: expect top-1 >= 80; "photo.jpg" -->
```sh
python -m training.evaluate --model=a.keras
```
"""

TABLES = """
photo.jpg: 93 %
| model   | top-1, % | top-5, % |
|---------|---------:|---------:|
| a.keras |    93.00 |    12.00 |
| b.keras |    81.50 |    12.00 |

| other | top-5, % |
|-------|---------:|
| c     |     1.00 |
"""


def test_what_a_block_expects_is_held_against_its_output(tmp_path):
    (tmp_path / "page.md").write_text(JUDGED)
    (block,) = blocks_of(tmp_path / "page.md")
    assert block.expected == (Expectation("top-1", 80), Expectation("photo.jpg"))
    assert [expectation.problem(TABLES) for expectation in block.expected] == [None, None]
    assert Expectation("top-1", 82).problem(TABLES) == "top-1 is 81.5, expected at least 82"
    assert "no table with a column 'top-2'" in Expectation("top-2", 1).problem(TABLES)
    assert "does not print 'b.jpg'" in Expectation("b.jpg").problem(TABLES)


@pytest.mark.parametrize("module", ["training.main", "training.evaluate", "levit_tf.classify"])
def test_a_block_that_could_end_well_with_any_result_must_expect_one(tmp_path, module):
    (tmp_path / "page.md").write_text(f"```sh\npython -m {module} --model=a.keras\n```\n")
    with pytest.raises(ValueError, match=r"page.md:1: trains, evaluates or classifies"):
        list(blocks_of(tmp_path / "page.md"))


def test_an_expectation_of_another_form_is_refused(tmp_path):
    (tmp_path / "page.md").write_text("<!-- docs-test: expect much -->\n```sh\nls\n```\n")
    with pytest.raises(ValueError, match=r"page.md:2: expected 'COLUMN >= NUMBER'"):
        list(blocks_of(tmp_path / "page.md"))


def test_every_page_can_be_read_and_says_what_its_trainings_give():
    blocks = [block for page in PAGES for block in blocks_of(ROOT / page)]
    judged = [block for block in blocks if block.expected]
    assert len(judged) >= 4
    assert sum("--config=imagefolder" in block.code for block in judged) == 1
