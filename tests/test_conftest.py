"""The stamp that tells whether Numba's cached kernels are stale."""

from tests.conftest import clear_stale_kernels


def test_kernels_are_cleared_when_any_file_changed_and_only_then(tmp_path):
    folders = [tmp_path / "kernels", tmp_path / "steps"]
    for folder in folders:
        (folder / "__pycache__").mkdir(parents=True)
        (folder / "a.py").write_text("one = 1\n")
    other = tmp_path / "geometry.py"
    other.write_text("one = 1\n")
    cached = [folder / "__pycache__" / f"a.f-1.py311.{end}" for folder in folders for end in ("nbi", "1.nbc")]
    elsewhere = tmp_path / "cache" / "kernels_0123" / "a.f-1.py311.nbi"
    elsewhere.parent.mkdir(parents=True)

    def fill():
        for file in [*cached, elsewhere]:
            file.touch()

    def cleared():
        fill()
        return clear_stale_kernels(folders, [other], tmp_path / "cache")

    assert cleared() == 5  # no stamp yet
    assert cleared() == 0
    assert all(file.exists() for file in [*cached, elsewhere])
    for changed in (folders[1] / "a.py", other):
        changed.write_text("one = 2\n")
        assert cleared() == 5
        assert not any(file.exists() for file in [*cached, elsewhere])
