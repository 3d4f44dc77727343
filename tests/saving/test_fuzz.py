"""Mutated files end in a model or in one of minicnn's own errors: no crash, no hang. MINICNN_FUZZ=20000 for more."""

import os

import pytest

pytest.importorskip("resource", reason="address space is limited by POSIX alone")


def test_mutated_files():
    from tests.saving import fuzz

    assert fuzz.run(int(os.environ.get("MINICNN_FUZZ", "300"))) == []
