"""The exercise sheet in the shared folder: its code as one script, and the tables that it prints.

The sheet is text of a PDF: code stands between lines of three backquotes, broken at the pages' ends, among the
exercises' words and tables.
"""

import re
from pathlib import Path

from tests.shared import shared_folder

MODELS = ("model_1", "model_2", "model_3", "model_4", "model_5", "model_6_1", "model_6_2", "model_6_3")
PARAMETERS = (34_826, 34_826, 34_826, 61_706, 21_601_130, 5_097_866, 83_214, 21_627_658)

IMPORTS = (
    (r"from (?:tensorflow\.)?keras\b", "from minicnn"),
    (r"(from .* import .*),$", r"\1"),  # the sheet has a comma at the end of one import line, which no Python takes
    (r"import (?:pandas as pd|tensorflow as tf|seaborn as sn)$", ""),
    (r"sn\.set\(\).*$", ""),
)
"""What is changed of the sheet's code, line by line, everywhere."""

SLIP = (("model_6_1.", "model_6_2."), ("history_6_1 =", "history_6_2 ="))
"""And in exercise 7.2, which by a slip of the pen compiles and trains the model of 7.1."""


def sheet_text() -> str | None:
    """The sheet, or None where there is no shared folder."""
    shared = shared_folder()
    files: list[Path] = sorted((shared / "seed").glob("*.txt")) if shared is not None else []
    return files[0].read_text(encoding="utf-8") if files else None


def code_blocks(text: str) -> list[str]:
    """What stands between backquotes, without the outputs of summary() that do so as well."""
    blocks = re.split(r"^```$", text, flags=re.MULTILINE)[1::2]
    return [block for block in blocks if not re.match(r'\s*(Model: "|Layer \(type\)|Total params)', block)]


def script(text: str) -> str:
    """The whole sheet as a script for minicnn: the changes above and nothing else."""
    before, exercise, after = re.split(r"^(Bài 7\.2: .*?)(?=^Bài 7\.3: )", text, flags=re.MULTILINE | re.DOTALL)
    for slip, meant in SLIP:
        exercise = exercise.replace(slip, meant)
    lines = "".join(code_blocks(before + exercise + after)).splitlines()
    for pattern, replacement in IMPORTS:
        lines = [re.sub(f"^{pattern}", replacement, line) for line in lines]
    return "\n".join(lines) + "\n"


def rows(text: str) -> list[tuple[str, str, str]]:
    """Name, output shape and number of parameters in every row of the summaries in a text."""
    return re.findall(r"^([a-z0-9_]+) \(.*?(\(None(?:, \d+)+\))\s+(\d+)\s*$", text, re.MULTILINE)


def totals(text: str) -> list[tuple[int, int, int]]:
    """Total, trainable and non-trainable parameters of every summary in a text."""
    kinds = ("Total", "Trainable", "Non-trainable")
    found = [re.findall(rf"^ *{kind} params: ([\d,]+)", text, re.MULTILINE) for kind in kinds]
    return [tuple(int(n.replace(",", "")) for n in numbers) for numbers in zip(*found, strict=True)]
