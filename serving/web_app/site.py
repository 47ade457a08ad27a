"""Writes the static folder of a page that classifies pictures on the user's device."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from levit_common.files import atomic_path, size_of
from levit_common.json_files import write_json
from levit_common.regular_files import ModelFileError
from levit_common.shipped_names import INPUT, LOGITS, PROBABILITIES, SIGNATURE
from levit_lite.cropping import LARGEST_SIDE_WITHOUT_MARGIN, RESIZE_RATIO
from levit_lite.prediction.predictor import load_tflite_predictor
from levit_lite.prediction.tflite_network import open_tflite
from serving.web_app import FILES
from serving.web_app.packages import LITERT, WASM_UTILS, archive_of, files_in

_PAGE = Path(__file__).parent / "page"
_SHARED = Path(__file__).parents[1] / "web"
_SHARED_FILES = ("page.js", "style.css", "icon.svg")
# The parts of LiteRT's WebAssembly that a page without threads loads, depending on the browser.
_WASM = re.compile(r"wasm/litert_wasm(_compat)?_internal\.(js|wasm)")
_CHANGES = (
    # A browser finds modules by their address, not by the name of the package.
    (f'"{WASM_UTILS.name}"'.encode(), b'"./wasm-utils.js"'),
    # LiteRT looks for a graphics adapter, which is not used here, and complains if there is none.
    (b"await Environment.create()", b"await Environment.create({ webGpuDevice: null })"),
)
_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "img-src 'self' blob:; media-src 'self' blob:; connect-src 'self'; worker-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'"
)


def write_site(
    model: str | os.PathLike,
    output: str | os.PathLike,
    *,
    labels: str | os.PathLike | None = None,
    packages: str | os.PathLike | None = None,
    overwrite: bool = False,
) -> int:
    """Writes the folder, which any web server can serve.

    Args:
      model: a `.tflite` file of a classifier.
      output: the folder to write.
      labels: class names, one per line; by default those of the file.
      packages: folder of npm's archives, see `archive_of`.
      overwrite: whether to replace an existing folder.

    Returns:
      The number of bytes in it.

    Raises:
      FileExistsError: `output` exists.
      ModelFileError: the file is damaged, or not a classifier.
      ConnectionError, FileNotFoundError, ValueError: LiteRT.js is not available.
    """
    model = Path(model)
    config = _config(model, labels)
    with atomic_path(output, overwrite, FILES, [model]) as temporary:
        folder = Path(temporary)
        (folder / "litert" / "wasm").mkdir(parents=True)
        shutil.copyfile(model, folder / "model.tflite")
        write_json(folder / "config.json", config)
        write_json(folder / "manifest.webmanifest", _manifest(config["name"]))
        for name in _SHARED_FILES:
            shutil.copyfile(_SHARED / name, folder / name)
        for name in ("app.js", "pixels.js"):
            shutil.copyfile(_PAGE / name, folder / name)
        (folder / "index.html").write_text(_html(), encoding="utf-8")
        _write_litert(folder / "litert", packages)
        _write_service_worker(folder)
        return size_of(folder)


def _config(model: Path, labels: str | os.PathLike | None) -> dict[str, Any]:
    """Returns the page's configuration for the model file."""
    predictor = load_tflite_predictor(model, labels)
    runner = open_tflite(model, run_first=False).get_signature_runner(SIGNATURE)
    inputs, outputs = runner.get_input_details(), runner.get_output_details()
    if inputs[INPUT]["shape"][0] != 1:
        raise ModelFileError(
            f"{model}: takes {inputs[INPUT]['shape'][0]} pictures at a time; the page gives it one."
        )
    if inputs[INPUT]["shape"][3] != 3:
        raise ModelFileError(
            f"{model}: takes {inputs[INPUT]['shape'][3]} channel; the page gives it RGB pictures."
        )
    name = PROBABILITIES if PROBABILITIES in outputs else LOGITS
    small = max(predictor.input_size) <= LARGEST_SIDE_WITHOUT_MARGIN
    return {
        "name": model.stem,
        "signature": SIGNATURE,
        "size": list(predictor.input_size),
        "ratio": [1, 1] if small else list(RESIZE_RATIO),
        "input": {"name": INPUT, **_values(inputs[INPUT])},
        "output": {"name": name, **_values(outputs[name])},
        "labels": predictor.class_names,
    }


def _values(detail: dict[str, Any]) -> dict[str, Any]:
    scale, zero_point = detail["quantization"]
    dtype = detail["dtype"].__name__
    return {"dtype": dtype, "scale": float(scale), "zero_point": int(zero_point)}


def _manifest(name: str) -> dict[str, Any]:
    return {
        "name": f"What is in the picture? ({name})",
        "short_name": name,
        "start_url": "index.html",
        "display": "standalone",
        "icons": [{"src": "icon.svg", "sizes": "any", "type": "image/svg+xml"}],
    }


def _html() -> str:
    """Returns the server's page, without the choice of a server."""
    page = (_SHARED / "index.html").read_text(encoding="utf-8")
    changes = (
        (r'(http-equiv="Content-Security-Policy" content=")[^"]*', rf"\g<1>{_POLICY}"),
        (r'<script src="classify\.js"', '<script src="app.js"'),
        (r"The server names what it sees\.", "It is named on this device, and never leaves it."),
        (r'accept="image/\*">\n( *<label)', r'accept="image/*,video/*">\n\1'),
        (r' *<div class="settings".*?</div>\n    </div>\n\n', ""),
        (r"(?=</head>)", '  <link rel="manifest" href="manifest.webmanifest">\n'),
        (r"The picture that was sent", "The picture"),
    )
    for pattern, text in changes:
        page, count = re.subn(pattern, text, page, flags=re.DOTALL)
        if count != 1:
            raise RuntimeError(f"serving/web/index.html has {pattern!r} {count} times, not once")
    return page


def _write_litert(folder: Path, packages: str | os.PathLike | None) -> None:
    for name, content in files_in(archive_of(LITERT, packages)):
        if name == "dist/index.js":
            for own, other in _CHANGES:
                if content.count(own) != 1:
                    raise RuntimeError(f"{LITERT.name}: {name} has {own!r} not once")
                content = content.replace(own, other)
            (folder / "index.js").write_bytes(_without_map(content))
        elif _WASM.fullmatch(name):
            (folder / name).write_bytes(content)
    for name, content in files_in(archive_of(WASM_UTILS, packages)):
        if name == "dist/index.js":
            (folder / "wasm-utils.js").write_bytes(_without_map(content))


def _without_map(script: bytes) -> bytes:
    return re.sub(rb"\n//# sourceMappingURL=.*", b"\n", script)


def _write_service_worker(folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    version = hashlib.sha256()
    for path in files:
        version.update(path.read_bytes())
    # Both variants of LiteRT are cached, since it is unknown which one a browser uses.
    names = ["./", *(path.relative_to(folder).as_posix() for path in files)]
    script = (_PAGE / "service-worker.js").read_text(encoding="utf-8")
    script = script.replace("VERSION", version.hexdigest()[:16], 1)
    script = script.replace("const FILES = [];", f"const FILES = {json.dumps(names)};", 1)
    (folder / "service-worker.js").write_text(script, encoding="utf-8")
