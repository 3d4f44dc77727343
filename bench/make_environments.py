"""Make the peers' virtual environments, with the versions that the figures in README are of.

    python bench/make_environments.py [--folder bench/.envs] [--torch-index URL] [keras] [torch]

keras: Keras on TensorFlow. torch: PyTorch for CPUs, the exporter to ONNX, and ONNX Runtime. Together some 3 GB.
compare.py finds them in bench/.envs; for another folder give it --keras-python and --torch-python. An environment that
is there is made anew; a folder of that name that holds something else is left alone.
"""

import argparse
import os
import subprocess
import sys
import venv
from pathlib import Path

from common import ENVIRONMENTS

PACKAGES = {
    "keras": ["keras==3.15.1", "tensorflow-cpu==2.21.0", "numpy==2.4.6"],
    "torch": ["torch==2.13.0", "numpy==2.4.6", "onnx==1.23.2", "onnxscript==0.7.2", "onnxruntime==1.30.0"],
}
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
"""PyTorch's index of wheels without CUDA; those for Linux on PyPI bring 5 GB of it."""


def python_of(environment: Path) -> Path:
    """The interpreter of a virtual environment."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def make(name: str, folder: Path, torch_index: str) -> bool:
    """The environment of that name, made anew. Whether that went well; what did not is said."""
    environment = folder / name
    if environment.exists() and not (environment / "pyvenv.cfg").exists():
        print(f"make_environments: {environment} is there and is no environment; move it, or give another --folder.")
        return False
    venv.create(environment, clear=True, with_pip=True)
    further = ["--extra-index-url", torch_index] if name == "torch" and torch_index else []
    install = [str(python_of(environment)), "-m", "pip", "install", "--quiet"]
    try:
        subprocess.run([*install, *PACKAGES[name], *further], check=True)
    except subprocess.CalledProcessError:
        print(f"make_environments: pip could not install {', '.join(PACKAGES[name])}; see above.")
        return False
    print(f"{name}: {python_of(environment)}")
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{' '.join(PACKAGES)}; all if none is given")
    parser.add_argument("--folder", type=Path, default=ENVIRONMENTS)
    parser.add_argument(
        "--torch-index", default=CPU_WHEELS, help="where else pip looks for PyTorch; '' for pip's own index alone"
    )
    args = parser.parse_args()
    unknown = set(args.names) - set(PACKAGES)
    if unknown:
        parser.error(f"unknown environment {', '.join(sorted(unknown))}; choose from {', '.join(PACKAGES)}")
    made = [make(name, args.folder, args.torch_index) for name in args.names or PACKAGES]
    sys.exit(0 if all(made) else 1)


if __name__ == "__main__":
    main()
