"""Which flags go together, and what they become."""

from pathlib import Path

import pytest

from compare.collect.images import Shard
from compare.config.command_line import parse_arguments
from compare.config.settings import (
    CompareConfig,
    JoinConfig,
    MatrixConfig,
    RedrawConfig,
)
from compare.config.values import JOB_INDEX, read_key

PAIR = ["--a", "v1", "--b", "v2"]
GATE = ["--non-inferior", "0.005"]


def test_two_names_are_a_comparison_with_the_defaults_of_its_settings() -> None:
    assert parse_arguments(PAIR) == CompareConfig(a="v1", b="v2")


def test_photos_that_training_takes_are_compared() -> None:
    config = parse_arguments(["--a", "v8", "--b", "v16"])
    larger = parse_arguments(["--a", "v8", "--b", "v16", "--max-megapixels", "200"])

    assert isinstance(config, CompareConfig)
    assert isinstance(larger, CompareConfig)
    assert (config.max_megapixels, larger.max_megapixels) == (100, 200)


def test_non_inferior_is_a_gate_on_the_lower_end() -> None:
    config = parse_arguments([*PAIR, "--non-inferior", "0.005"])

    assert isinstance(config, CompareConfig)
    (gate,) = config.gates
    assert gate.path == ("top1", "delta", "low")
    assert gate.trips(-0.0051)
    assert not gate.trips(-0.005)


def test_a_folder_is_drawn_again_with_its_own_gates_or_others() -> None:
    same = parse_arguments(["--from", "x", "--show", "3"])
    other = parse_arguments(["--from", "x", "--fail-on", "images>1", "--no-mlflow"])

    assert same == RedrawConfig(folder=Path("x"), show=3)
    assert isinstance(other, RedrawConfig)
    assert other.gates is not None
    assert [gate.expression for gate in other.gates] == ["images>1"]


def test_a_shard_is_numbered_from_0_as_the_pods_of_a_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(JOB_INDEX, "3")

    typed, automatic = (
        parse_arguments([*PAIR, "--shard", text]) for text in ("3/16", "auto/16")
    )

    assert typed == automatic == CompareConfig(a="v1", b="v2", shard=Shard(3, 16))
    assert Shard(3, 16).folder == "shard-03-of-16"


def test_shards_are_joined_from_one_folder_or_several() -> None:
    one, several = (parse_arguments(["--join", *x]) for x in (["x"], ["x", "y"]))

    assert one == JoinConfig(folders=(Path("x"),))
    assert several == JoinConfig(folders=(Path("x"), Path("y")))


def test_versions_for_a_matrix_are_handed_on_as_they_are_written() -> None:
    config = parse_arguments(["--matrix", "v1..v16", "--model", "m", "--out", "x"])

    assert config == MatrixConfig(versions="v1..v16", model="m", out=Path("x"))


def test_the_alias_to_promote_may_be_written_with_its_sign() -> None:
    gate = ["--fail-on", "broken>9"]
    config = parse_arguments([*PAIR, *gate, "--promote", "@champion"])

    assert isinstance(config, CompareConfig)
    assert config.promote == "champion"


def test_a_key_is_a_files_first_line_and_is_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("s3cret \nanother\n")

    config = parse_arguments([*PAIR, "--key", str(file)])

    assert isinstance(config, CompareConfig)
    assert config.key == "s3cret"
    assert "s3cret" not in repr(config)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--a, --b is missing"),
        (["--a", "v1"], "--b is missing"),
        (["--from", "x", "--a", "v1", "--url", "http://x"], "not go with --a, --url"),
        (["--from", "x", "--promote", "champion"], "not go with --promote"),
        (["--from", "x", "--matrix", "v1..v2"], "not go with --matrix"),
        (["--from", "x", "--show", "-1"], "show must be at least 0"),
        (["--matrix", "v1..v2", "--a", "v1"], "not go with --a"),
        (["--shadow", "http://x", "--promote", "y"], "not go with --promote"),
        (["--shadow", "x"], "url must begin with http:// or https://"),
        ([*PAIR, "--promote", "latest"], "names a version"),
        ([*PAIR, "--promote", "LATEST"], "names a version"),
        ([*PAIR, "--promote", "v8"], "names a version"),
        ([*PAIR, "--promote", "8"], "names a version"),
        ([*PAIR, "--promote", "v8.int8"], "is no name for an alias"),
        ([*PAIR, "--promote", "a" * 256], "is no name for an alias"),
        ([*PAIR, "--promote", ""], "is no name for an alias"),
        ([*PAIR, "--promote", "champion"], "--promote champion needs a gate"),
        ([*PAIR, *GATE, "--b", "v2.int8", "--promote", "x"], "compare v2, or leave"),
        ([*PAIR, *GATE, "--b", "@best.INT8", "--promote", "x"], "compare @best, or"),
        ([*PAIR, "--key", "/nowhere/key"], "cannot be read: No such file"),
        ([*PAIR, "--summary-md", "/nowhere/x.md"], "there is no folder /nowhere"),
        ([*PAIR, "--summary-md", "/"], "--summary-md: / is a folder"),
        ([*PAIR, "--summary-md", "x" * 300], "File name too long"),
        ([*PAIR, "--fail-on", "nonsense>1"], "nothing in summary.json is called"),
        ([*PAIR, "--fail-on", "images>nan"], "is not a finite number"),
        ([*PAIR, "--non-inferior", "1"], "must be 0 to 1"),
        ([*PAIR, "--data", ""], "--data: must be a path"),
        ([*PAIR, "--out", ""], "--out: must be a path"),
        (["--from", ""], "--from: must be a path"),
        ([*PAIR, "--export", "x.json"], "must end with .csv or .parquet"),
        ([*PAIR, "--export", "a=/nowhere/x.csv"], "there is no folder /nowhere"),
        ([*PAIR, "--no-mlf"], "unrecognized arguments"),
        ([*PAIR, "--shard", "16/16"], "those of 16 are 0/16 to 15/16"),
        ([*PAIR, "--shard", "0/0"], "there must be one shard at least"),
        ([*PAIR, "--shard", "3"], "must be I/N, such as 0/16, or auto/16, got '3'"),
        ([*PAIR, "--shard", "auto/16"], "JOB_COMPLETION_INDEX, which is not set"),
        ([*PAIR, *GATE, "--shard", "0/2"], "--fail-on or --non-inferior to --join"),
        ([*PAIR, "--show", "3", "--shard", "0/2"], "give --show to --join"),
        (["--join", "x", "--a", "v1"], "--join does not go with --a"),
        (["--join", "x", "--promote", "champion"], "--promote champion needs a gate"),
        ([*PAIR, "--engine", "ray", "--url", "http://x"], "leave out --url and --key"),
        (["--a", "x.csv", "--b", "v2", "--engine", "ray"], "and x.csv is a file"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        parse_arguments(arguments)

    assert exited.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("errand", [["--from", "x"], ["--shadow", "http://x"]])
def test_what_logs_nothing_may_be_told_not_to(errand: list[str]) -> None:
    assert parse_arguments([*errand, "--no-mlflow"]) == parse_arguments(errand)


@pytest.mark.parametrize(
    "content", [b"", b"\nkey\n", b"two words\n", b"\xff\xfe", "schlüssel".encode()]
)
def test_a_first_line_that_no_header_could_carry_is_refused(
    content: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)

    with pytest.raises(ValueError, match=r"cannot be read|first line must be"):
        read_key(str(file))
