"""Package metadata of levit_tf; the tested set of exact versions is constraints.txt."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent


def _version() -> str:
    """The version, whose one home is levit_tf/__init__.py, read without importing Keras."""
    source = (HERE / "levit_tf" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"', source, re.MULTILINE).group(1)


# Lower bounds are the oldest versions that the tests were run with, upper bounds exclude what is
# not released yet; where only one version was tried, both close in on it. Where a package of an
# extra has many releases, its lower bound is close to constraints.txt, as an old pip may download
# and try each (`make test-resolver`).
EXTRAS = {
    "train": [
        "matplotlib>=3.10,<4",
        "tensorflow-datasets>=4.9.10,<5",
        "importlib_resources",  # which tensorflow-datasets imports and does not ask for
    ],
    "serve": [
        "tensorflow-serving-api>=2.21,<2.22",
        "grpcio>=1.85,<2",
        "grpcio-health-checking>=1.85,<2",
        "aiohttp>=3.14,<4",
        "prometheus-client>=0.26,<1",
        "urllib3>=2.6,<3",
    ],
    "tflite": [
        "ai-edge-litert>=2.3,<2.4",
        "ai-edge-quantizer>=0.10,<0.11",
        "flatbuffers>=25.9,<26",
    ],
    # What `serving.edge` needs, beside a levit_tf that was installed with --no-deps.
    "edge": ["numpy>=2.1,<3", "pillow>=11,<14", "ai-edge-litert>=2.3,<2.4"],
    "hub": ["huggingface_hub>=2.4,<3"],
    # With which neither TensorFlow nor "test" resolves: an environment of its own, as docs/batch.md
    # has it.
    "beam": [
        "apache-beam>=2.77,<3",
        "google-crc32c",
        "numpy>=2.1,<3",
        "pillow>=11,<14",
        "ai-edge-litert>=2.3,<2.4",
    ],
    "qat": ["tensorflow-model-optimization>=0.8.1,<0.9", "tf-keras>=2.21,<2.22"],
    "onnx": ["tf2onnx>=1.17,<1.18", "onnxscript>=0.7.2,<0.8", "onnxruntime>=1.31,<2"],
    "torch": ["torch>=2.13,<2.14"],
    "jax": ["jax>=0.10,<0.11"],
}
# A training run ends with its artefacts, each of them checked; the digits are scikit-learn's too.
EXTRAS["train"] += EXTRAS["tflite"]
EXTRAS["test"] = [
    *(EXTRAS["train"] + EXTRAS["qat"] + EXTRAS["onnx"] + EXTRAS["torch"] + EXTRAS["serve"]),
    *EXTRAS["hub"],
    "hypothesis>=6.170,<7",
    "import-linter>=2.5,<3",
    "pytest>=9.2,<10",
    "pytest-xdist>=3.8,<4",
    "ruff>=0.17,<0.18",
    "selenium>=4.50,<5",
    # The references that the model is tested against. timm, the other one, asks for torchvision,
    # which has no CPU-only build for every platform, so the Makefile installs it without that.
    "transformers>=5.23,<6",
]
# The peers that are measured beside it; timm again by the Makefile.
EXTRAS["bench"] = [
    *(EXTRAS["train"] + EXTRAS["qat"] + EXTRAS["onnx"] + EXTRAS["torch"] + EXTRAS["serve"]),
    "keras-cv-attention-models>=1.4.3,<1.5",
    "nncf>=3.4,<3.5",
    "openvino>=2026.4,<2026.5",
    "transformers>=5.23,<6",
]
# What builds the site, runs the notebook, and runs docs/keras.md on each of Keras' backends.
EXTRAS["docs"] = [
    *(EXTRAS["train"] + EXTRAS["onnx"] + EXTRAS["torch"] + EXTRAS["jax"]),
    "ipykernel>=7.4,<8",
    "mkdocs-material>=9.8,<10",
    "mkdocstrings[python]>=1.0.8,<2",
    "nbclient>=0.11,<0.12",
    "pytest>=9.2,<10",
]
EXTRAS["all"] = sorted(
    {requirement for name, extra in EXTRAS.items() if name != "beam" for requirement in extra}
)

setup(
    name="levit_tf",
    version=_version(),
    description="LeViT for TensorFlow and Keras: training, PyTorch weights, TFLite, serving",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=find_packages(
        include=[
            "levit_common*",
            "levit_lite*",
            "levit_tf*",
            "converters*",
            "training*",
            "serving*",
        ]
    ),
    package_data={
        "levit_lite": ["imagenet_classes.txt"],
        "levit_tf": ["weights/files/*"],
        "serving": ["web/*", "web_app/page/*"],
        "training": ["keypoints/lspet_split.json"],
    },
    entry_points={
        "console_scripts": [
            f"levit-{name} = levit_common.scripts:{name.replace('-', '_')}"
            for name in (
                "train",
                "probe",
                "evaluate",
                "classify",
                "convert",
                "export",
                "serve",
                "client",
                "edge",
                "batch",
                "web-app",
            )
        ]
    },
    # PYTHONS of the Makefile, which `make test-pythons` tries.
    python_requires=">=3.11,<3.14",
    classifiers=[
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    install_requires=[
        "tensorflow>=2.20,<2.22",
        "keras>=3.12,<3.16",
        "numpy>=2.1,<3",
        "absl-py>=1.4,<2",
        "pillow>=11,<14",
        "safetensors>=0.8,<1",
        "scikit-learn>=1.5,<2",  # whose pictures every exported file is checked on
        "scipy>=1.15,<2",  # bounds of a dynamic network's thresholds; scikit-learn needs it anyway
    ],
    extras_require=EXTRAS,
)
