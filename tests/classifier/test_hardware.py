"""The cores that this process may use."""

from pathlib import Path

import pytest

from classifier.hardware import _quota_v1, _quota_v2, usable_cores


def test_there_is_at_least_one_core() -> None:
    assert usable_cores() >= 1


@pytest.mark.parametrize(
    ("text", "cores"), [("150000 100000", 1.5), ("max 100000", None), ("", None)]
)
def test_the_quota_of_a_container_is_read(
    tmp_path: Path, text: str, cores: float | None
) -> None:
    (tmp_path / "cpu.max").write_text(text)

    assert _quota_v2(tmp_path / "cpu.max") == cores


def test_the_quota_of_an_old_container_is_read(tmp_path: Path) -> None:
    (tmp_path / "cpu.cfs_quota_us").write_text("50000\n")
    (tmp_path / "cpu.cfs_period_us").write_text("100000\n")

    assert _quota_v1(tmp_path) == 0.5
    (tmp_path / "cpu.cfs_quota_us").write_text("-1\n")
    assert _quota_v1(tmp_path) is None
