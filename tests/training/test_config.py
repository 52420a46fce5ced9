"""Settings of a run: flags in, checked settings out."""

from dataclasses import fields
from pathlib import Path

import pytest

from training.config.commands import (
    EvaluationConfig,
    QuantizeConfig,
    ResumeConfig,
    parse_arguments,
)
from training.config.launch import is_first_process, program
from training.config.recipe_flags import RecipeConfig
from training.config.settings import TrainingConfig
from training.publishing.tracking import run_tags
from training.recipes import Recipe

PEER = {
    "WORLD_SIZE": "2",
    "RANK": "0",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}
"""Variables of the first of two processes."""


def test_flags_become_settings_and_the_rest_are_defaults() -> None:
    config = parse_arguments(
        ["--data", "digits", "--epochs", "3", "--stem", "small", "--skip-broken"]
    )

    assert config == TrainingConfig(
        data="digits", epochs=3, stem="small", skip_broken=True
    )


def test_evaluate_and_quantize_take_a_version_and_data() -> None:
    evaluate = parse_arguments(["--evaluate", "v8", "--data", "/x", "--model", "m"])
    quantize = parse_arguments(["--quantize", "v8", "--data", "/x", "--skip-broken"])

    assert evaluate == EvaluationConfig(version="v8", data="/x", model="m")
    assert quantize == QuantizeConfig(version="v8", data="/x", skip_broken=True)


@pytest.mark.parametrize("errand", [[], ["--evaluate", "v8"], ["--quantize", "v8"]])
def test_the_limit_of_pixels_is_a_flag_of_each_errand(errand: list[str]) -> None:
    arguments = [*errand, "--data", "/x"]
    config = parse_arguments(arguments)
    larger = parse_arguments([*arguments, "--max-megapixels", "150.5"])

    assert not isinstance(config, ResumeConfig)
    assert not isinstance(larger, ResumeConfig)
    assert (config.max_megapixels, larger.max_megapixels) == (100, 150.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "x", "--max-megapixels", "0"], "above 0 and at most 1,000"),
        (["--data", "x", "--max-megapixels", "nan"], "above 0 and at most 1,000"),
        ([], "--data"),
        (["--data", "digits", "--epochs", "0"], "epochs must be at least 1"),
        (
            ["--data", "digits", "--epochs", "x"],
            "must be a whole number, got",
        ),
        (["--data", "digits", "--lr", "-1"], "lr must be above 0"),
        (["--data", "digits", "--lr", "nan"], "lr must be above 0"),
        (["--data", "digits", "--image-size", "4"], "image_size must be 8 to 1024"),
        (["--data", "digits", "--per-class", "0"], "per_class must be at least 1"),
        (["--data", "digits", "--recipe", "best"], "invalid choice"),
        (["--data", "digits", "--randaugment", "31"], "randaugment must be 0 to 30"),
        (["--data", "digits", "--least-area", "0"], "least_area must be 0.01 to 1"),
        (["--data", "digits", "--nesterov", "yes"], "invalid choice"),
        (["--data", "digits", "--model", "a/b"], "model must be letters"),
        (["--data", "digits", "--model", "it's"], "model must be letters"),
        (["--data", "digits", "--experiment", "../x"], "experiment must be letters"),
        (["--data", "digits", "--seed", "99999999999999"], "seed must be 0 to"),
        (["--data", "digits", "--minutes", "0"], "minutes must be above 0"),
        (["--data", "digits", "--stop-after", "0"], "stop_after must be at least 1"),
        (
            ["--data", "x", "--evaluate", "v1", "--out", "/nowhere/x.json"],
            "out must be a file in a folder that is there",
        ),
        (["--data", "digits", "--val-fraction", "1"], "val_fraction must be above 0"),
        (
            ["--data", "x", "--class-weights", "balanced", "--sampler", "balanced"],
            "do the same, and both would do it twice",
        ),
        (["--data", "digits", "--batch-size", "1"], "batch_size must be at least 2"),
        (["--data", "digits", "--batch-size", "0"], "batch_size must be at least 2"),
        (
            ["--data", "digits", "--batch-size", "all"],
            "a whole number or auto, got",
        ),
        (["--data", "digits", "--epoch", "3"], "unrecognized"),
        (["--data", "x", "--evaluate", "v8", "--epochs", "3"], "takes no --epochs"),
        (["--data", "x", "--quantize", "v8", "--device", "cpu"], "takes no --device"),
        (["--data", "x", "--quantize", "v8", "--evaluate", "v8"], "not allowed with"),
        (["--resume", "last", "--evaluate", "v8"], "not allowed with"),
        (["--quantize", "v8"], "--data"),
        (["--data", ""], "--data: must be a path"),
        (["--data", "~nobody-here/x", "--epochs", "0"], "epochs must be at least 1"),
        (["--data", "digits", "--cache="], "--cache: must be a path"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_why(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        parse_arguments(arguments)

    assert exited.value.code == 2
    assert message in capsys.readouterr().err


def test_a_run_goes_on_with_its_own_flags_or_with_what_is_typed_again() -> None:
    config = parse_arguments(["--resume", "last", "--epochs", "3"])

    assert config == ResumeConfig(run="last", given={"epochs": 3})


def test_data_is_found_again_from_any_folder() -> None:
    config = parse_arguments(["--data", "images"])

    assert isinstance(config, TrainingConfig)
    assert config.data == str(Path.cwd() / "images")


def test_functions_that_may_run_are_named_one_by_one() -> None:
    config = parse_arguments(
        ["--resume", "last", *("--allow-network", "a:b"), *("--allow-network", "c.d:e")]
    )

    assert isinstance(config, ResumeConfig)
    assert config.allow_network == ("a:b", "c.d:e")


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("v16", "v16"),
        ("birds/v3", "birds/v3"),
        ("models:/birds@best", "models:/birds@best"),
        ("v2.int8", "v2.int8"),
        ("w.pth", str(Path.cwd() / "w.pth")),
        ("imagenet", "imagenet"),
    ],
)
def test_weights_are_a_version_or_a_file(text: str, weights: str) -> None:
    config = parse_arguments(["--data", "digits", "--weights", text])

    assert isinstance(config, TrainingConfig)
    assert config.weights == weights


@pytest.mark.parametrize(("text", "size"), [("auto", "auto"), ("10", 10)])
def test_a_batch_size_is_a_number_or_auto(text: str, size: object) -> None:
    config = parse_arguments(["--data", "digits", "--batch-size", text])

    assert isinstance(config, TrainingConfig)
    assert config.batch_size == size


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RANK": "a"}, "RANK must be a whole number, got 'a'"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE is 2 without RANK"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "without MASTER_ADDR"),
        ({**PEER, "MASTER_PORT": "x"}, "MASTER_PORT must be a whole number"),
        ({**PEER, "MASTER_PORT": "99999"}, "the largest port is 65535"),
        ({**PEER, "RANK": "2"}, "RANK is 2, and there are 2 processes"),
        ({**PEER, "LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "1"}, "LOCAL_RANK is 1"),
    ],
)
def test_variables_that_torchrun_does_not_set_so_exit_with_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variables: dict[str, str],
    message: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit) as exited:
        parse_arguments(["--data", "digits"])

    assert exited.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variables", "typed", "first"),
    [
        ({}, "python -m training", True),
        ({"WORLD_SIZE": "1", "RANK": "0"}, "python -m training", True),
        (
            {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": "1"},
            "torchrun --nproc-per-node 2 -m training",
            False,
        ),
        (
            {
                "WORLD_SIZE": "8",
                "LOCAL_WORLD_SIZE": "4",
                "GROUP_WORLD_SIZE": "2",
                "RANK": "0",
            },
            "torchrun --nnodes 2 --nproc-per-node 4 -m training",
            True,
        ),
    ],
)
def test_a_run_names_the_program_that_was_typed(
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    typed: str,
    first: bool,
) -> None:
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert program() == typed
    assert is_first_process() is first
    assert run_tags(["--seed", "3"])["command"] == f"{typed} --seed 3"


def test_flags_change_the_fields_of_a_recipe() -> None:
    given = (
        "--ema 0 --nesterov off --mirror on --schedule constant --body-rate 0.5 "
        "--randaugment 9 --weight-decay 0"
    )

    config = parse_arguments(["--data", "digits", *given.split()])

    assert isinstance(config, TrainingConfig)
    assert config.recipe_changes == {
        "average_epochs": 0.0,
        "nesterov": False,
        "mirror": True,
        "schedule": "constant",
        "body_rate": 0.5,
        "randaugment": 9,
        "weight_decay": 0.0,
    }


def test_every_choice_of_a_recipe_is_a_flag() -> None:
    flags = {field.name for field in fields(RecipeConfig)}
    # Under names of their own: --ema, --warmup-epochs. The last is no choice.
    renamed = {"average_epochs", "warm_up", "average_every"}

    assert {field.name for field in fields(Recipe)} - flags == renamed
