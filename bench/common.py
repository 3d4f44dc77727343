"""What the benches share: describing the machine, running a process that measures, the images, and keeping results."""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

BENCH = Path(__file__).resolve().parent
RESULTS = BENCH / "results"  # the records that README.md shows; benches write there if they are told to
OUT = BENCH / "out"
RESTARTED = "MINICNN_BENCH_RESTARTED"
ENVIRONMENTS = BENCH / ".envs"

NOT_INHERITED = (
    "PYTHONDONTWRITEBYTECODE",  # every process would compile minicnn's sources anew, which pip spares a user
    *("OPENBLAS_", "GOTO_", "BLIS_", "MKL_", "OMP_", "GOMP_", "KMP_", "MALLOC_"),
    *("NUMBA_", "TF_", "XLA_", "ONEDNN_", "DNNL_", "KERAS_BACKEND", "TORCH"),
)
"""How the settings of the caller's shell begin that measured processes do not see: engines run with their defaults."""

INTERESTING_FEATURES = {
    *("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_bf16", "neon", "asimd", "sve", "sve2"),
}
"""What /proc/cpuinfo may say that bears on arithmetic."""


class ChildFailedError(RuntimeError):
    """A measuring process ended badly; the message holds the end of what it said."""


def run_child(
    python: str | Path, script: Path, job: Mapping[str, Any], environment: Mapping[str, str], timeout: float = 1800
) -> Any:
    """Run `python script JOB RESULT` and return what it wrote to RESULT. environment: variables beside the caller's.

    Raises ChildFailedError if it fails or takes more than `timeout` seconds.
    """
    with tempfile.TemporaryDirectory() as name:
        job_file, result_file = Path(name) / "job.json", Path(name) / "result.json"
        job_file.write_text(json.dumps(job))
        try:
            done = subprocess.run(
                [str(python), str(script), str(job_file), str(result_file)],
                env=child_environment(environment),
                capture_output=True,
                text=True,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            raise ChildFailedError(f"{script.name}: took more than {timeout:.0f} s") from None
        except OSError as error:
            raise ChildFailedError(
                f"{script.name}: cannot run {python} ({error.strerror}); make it with `python "
                "bench/make_environments.py`, or name another one (see --help)."
            ) from None
        if done.returncode or not result_file.exists():
            said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
            raise ChildFailedError(f"{script.name}: ended with {done.returncode}\n{said}")
        return json.loads(result_file.read_text())


def child_environment(further: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without NOT_INHERITED, and with the further variables."""
    return {**{key: value for key, value in os.environ.items() if not key.startswith(NOT_INHERITED)}, **further}


def clear_settings() -> None:
    """Drop NOT_INHERITED from this process's own environment, but for the kernel cache; for benches that measure in it.

    To be called before NumPy's BLAS is used. OpenBLAS reads its variables when NumPy is imported, so a process that had
    them starts itself anew.
    """
    unwanted = [key for key in os.environ if key.startswith(NOT_INHERITED) and key != "NUMBA_CACHE_DIR"]
    if unwanted and RESTARTED not in os.environ:  # once, whatever the new process finds set
        os.environ[RESTARTED] = "1"
        for key in unwanted:
            del os.environ[key]
        os.execv(sys.executable, [sys.executable, *sys.argv])


def load_average() -> float | None:
    """How many processes wanted a core in the last minute, on average; None where the system does not say."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def machine() -> dict[str, Any]:
    """Processor, cores, memory, system and date: what a figure was measured on."""
    return {
        "processor": _cpuinfo("model name") or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "features": [f for f in (_cpuinfo("flags") or _cpuinfo("Features")).split() if f in INTERESTING_FEATURES],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cache": _caches(),
        "memory_gb": _memory_gb(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "load": load_average(),
    }


def describe(facts: Mapping[str, Any]) -> str:
    """machine() on one line."""
    wide = [f for f in facts["features"] if f in ("avx2", "avx512f", "amx_tile", "neon", "asimd", "sve")]
    return f"{facts['cores']} cores of {facts['processor']} ({', '.join(wide)}), {facts['system']}, {facts['date']}"


def _cpuinfo(field: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == field), "")


def _caches() -> dict[str, str]:
    """Size of each cache of the first core, by level and type."""
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        found[f"L{level} {kind.lower()}"] = size
    return found


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def images(dataset: str, count: int) -> tuple[Any, Any, str]:
    """count images uint8 (N, H, W, C), their labels int64 (N,), and where they are from.

    The data set's own if it can be loaded (again from the start if it is smaller), else random ones of its shape.
    """
    from minicnn.datasets import DATASETS
    from minicnn.errors import DatasetError

    try:
        (x, y), _ = DATASETS[dataset].load_data()
        source = dataset
    except DatasetError:
        rng = np.random.default_rng(0)
        shape = (32, 32, 3) if dataset == "cifar10" else (28, 28)
        x, y = rng.integers(0, 256, (count, *shape), np.uint8), rng.integers(0, 10, count)
        source = f"random, of the shape of {dataset}"
    rows = np.arange(count) % len(x)
    x = x[rows]
    return x[..., None] if x.ndim == 3 else x, y.reshape(-1)[rows].astype(np.int64), source


class RecordError(ValueError):
    """A file does not hold what the bench that is said to have written it writes."""


def positive(text: str) -> int:
    """An argument of the command line that counts something."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {text}")
    return value


def json_file(text: str) -> Path:
    """An argument that names a record. Its tables and its plot are kept beside it, under the same name."""
    path = Path(text)
    if path.suffix != ".json":
        raise argparse.ArgumentTypeError(f"{text}: must end in .json; tables and plot stand beside it as .md and .png")
    return path


def json_to_write(text: str) -> Path:
    """json_file, of which it is known before anything is measured that it can be written; its folder is made."""
    path = json_file(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: cannot be written (it is a folder)")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text}: cannot be written ({error.strerror})") from error
    return path


def read_json(path: Path, maker: str) -> Any:
    """What write_json wrote. maker: the script that did. Raises RecordError for what cannot be read or is no JSON."""
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise RecordError(f"{path}: is no JSON ({error}); give what {maker} --json wrote.") from error


def write_json(path: Path, content: Any) -> None:
    """The file appears whole or not at all, so that an interrupted run keeps what it had."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    partial.replace(path)


def markdown_table(header: list[str], rows: list[list[str]], words: Sequence[str] = ()) -> str:
    """A table in Markdown. Columns to the right, as numbers stand, but for the first and those headed by `words`."""
    sides = ["---" if k == 0 or name in words else "---:" for k, name in enumerate(header)]
    lines = [header, sides, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float | None, digits: int = 3) -> str:
    """Three significant digits, without exponents; a dash for what was not measured."""
    if value is None:
        return "–"
    if value >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:#.{digits}g}".rstrip(".")
