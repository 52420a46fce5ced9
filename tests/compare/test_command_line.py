"""Keys as files have them."""

from pathlib import Path

import pytest

from compare.command_line import NotAKey, read_key


@pytest.mark.parametrize(
    "content", [b"", b"\nkey\n", b"two words\n", b"\xff\xfe", "schlüssel".encode()]
)
def test_a_first_line_that_no_header_could_carry_is_refused(
    content: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)

    with pytest.raises(NotAKey):
        read_key(file)
