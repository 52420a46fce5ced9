"""Settings of a run: flags in, checked settings out."""

import pytest

from training.config import EvaluationConfig, TrainingConfig, parse_arguments


def test_flags_become_settings_and_the_rest_are_defaults() -> None:
    config = parse_arguments(
        ["--data", "digits", "--epochs", "3", "--stem", "small", "--skip-broken"]
    )

    assert config == TrainingConfig(
        data="digits", epochs=3, stem="small", skip_broken=True
    )


def test_evaluate_takes_a_version_and_data() -> None:
    config = parse_arguments(["--evaluate", "v8", "--data", "x", "--model", "m"])

    assert config == EvaluationConfig(version="v8", data="x", model="m")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--data"),
        (["--data", "digits", "--epochs", "0"], "epochs must be at least 1"),
        (["--data", "digits", "--epochs", "x"], "invalid int"),
        (["--data", "digits", "--lr", "-1"], "lr must be above 0"),
        (["--data", "digits", "--lr", "nan"], "lr must be above 0"),
        (["--data", "digits", "--image-size", "4"], "image_size must be 8 to 512"),
        (["--data", "digits", "--per-class", "0"], "per_class must be at least 1"),
        (["--data", "digits", "--recipe", "best"], "invalid choice"),
        (["--data", "digits", "--model", "a/b"], "model must be letters"),
        (["--data", "digits", "--model", "it's"], "model must be letters"),
        (["--data", "digits", "--experiment", "../x"], "experiment must be letters"),
        (["--data", "digits", "--seed", "99999999999999"], "seed must be 0 to"),
        (["--data", "digits", "--batch-size", "1"], "batch_size must be at least 2"),
        (["--data", "digits", "--epoch", "3"], "unrecognized"),
        (["--data", "x", "--evaluate", "v8", "--epochs", "3"], "takes no --epochs"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_why(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        parse_arguments(arguments)

    assert exited.value.code == 2
    assert message in capsys.readouterr().err
