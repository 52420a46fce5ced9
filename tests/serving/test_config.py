"""Settings: flags, variables, and what is refused."""

import pytest

from serving.config import ServingConfig, config_from_environment, parse_arguments


def test_every_field_is_a_flag_and_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVING_MAX_LOADED", "7")
    monkeypatch.setenv("SERVING_PORT", "1234")
    monkeypatch.setenv("SERVING_MAX_MEGAPIXELS", "48.5")

    config = parse_arguments(["--port", "0", "--versions", "v8, @best"])

    assert config == ServingConfig(
        max_loaded=7, port=0, versions="v8, @best", max_megapixels=48.5
    )
    assert config.listed == ("v8", "@best")


def test_the_services_own_names_are_its_host_and_those_that_are_allowed() -> None:
    config = parse_arguments(["--allowed-hosts", "A.example, b.example,"])

    assert config.own_names == {"127.0.0.1", "a.example", "b.example"}
    assert ServingConfig(host="Own").own_names == {"own"}
    variables = {"SERVING_ALLOWED_HOSTS": "*"}
    assert "*" in config_from_environment(variables).own_names


def test_all_is_no_list() -> None:
    assert ServingConfig().listed == ()


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("SERVING_PORT", "x", "SERVING_PORT must be a whole number, got 'x'"),
        ("SERVING_MAX_MEGAPIXELS", "0", "max_megapixels must be above 0"),
        ("SERVING_MAX_MEGAPIXELS", "48 MP", "MAX_MEGAPIXELS must be a number"),
        ("SERVING_WORKERS", "0", "workers must be at least 1"),
        ("SERVING_BACKEND", "tensorrt", "backend must be one of onnx, openvino, torch"),
        ("SERVING_PRECISION", "bf16", "bf16 is not for backend onnx, which has fp32, "),
        ("SERVING_MAX_FLIPS", "1.5", "max_flips must be 0 to 1, got 1.5"),
        ("SERVING_VERSIONS", ",", "versions must be 'all' or a list"),
        ("SERVING_VERSIONS", "a/v1,all", "versions must be 'all' alone or a list"),
        ("SERVING_SHADOW_RATE", "1.5", "shadow_rate must be 0 to 1"),
        ("SERVING_SHADOW_KEEP", "x", "shadow_keep needs shadow"),
    ],
)
def test_wrong_variables_are_named(variable: str, value: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config_from_environment({variable: value})


@pytest.mark.parametrize(
    "arguments",
    [
        ["--port", "70000"],
        ["--device", "tpu"],
        ["--max-loaded", "0"],
        ["--backend", "torch", "--precision", "int8"],
        ["--backend", "openvino", "--device", "cuda"],
    ],
)
def test_wrong_flags_exit_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        parse_arguments(arguments)

    assert exited.value.code == 2
