"""The notebook runs from top to bottom, and is stored with what it shows."""

import importlib.util
import json
import subprocess
import sys

import pytest

from tools.run_notebook import LARGEST_BYTES, ROOT

NOTEBOOK = ROOT / "examples/levit_tf.ipynb"


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("nbclient") is None, reason="make docs-test makes its environment"
)
def test_the_notebook_runs_from_top_to_bottom():
    command = [sys.executable, "-m", "tools.run_notebook", str(NOTEBOOK)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_notebook_is_small_and_has_its_outputs():
    assert NOTEBOOK.stat().st_size < LARGEST_BYTES
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 4
    assert all(output["output_type"] != "error" for output in outputs)
