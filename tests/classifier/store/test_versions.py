"""Versions, their names, tags and int8 forms."""

from dataclasses import replace

import pytest

from classifier.store.versions import (
    UnknownVersion,
    Version,
    canonical_name,
    find_version,
    split_name,
    with_int8_forms,
)

QUANTISED = Version(
    model="m",
    number="16",
    model_id="m-fp32",
    run_id="training",
    aliases=("best",),
    tags={
        "epoch": "16",
        "val_top1_accuracy": "0.34",
        "temperature": "1.7",
        "int8_val_top1_accuracy": "0.33",
        "int8_run_id": "quantising",
        "int8_model_id": "m-int8",
    },
)
PLAIN = Version(model="m", number="2", model_id="m-2", aliases=("best-loss",))
VERSIONS = [PLAIN, QUANTISED]


LISTED = [
    Version(model="m", number=str(number), model_id=None, aliases=aliases)
    for number, aliases in ((1, ()), (2, ("best",)), (10, ("best-loss", "v-old")))
]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("v2", "2"),
        ("V2", "2"),
        ("2", "2"),
        ("v002", "2"),
        ("best", "2"),
        ("@best", "2"),
        ("@best-loss", "10"),
        ("v-old", "10"),
        ("latest", "10"),
        ("Latest", "10"),
    ],
)
def test_a_version_can_be_named_in_every_way(name: str, number: str) -> None:
    assert find_version(LISTED, name, model="m").number == number


@pytest.mark.parametrize("name", ["v3", "0", "worst", "@", "", "v", "1.0", "v1 "])
def test_the_error_of_an_unknown_version_lists_the_others(name: str) -> None:
    with pytest.raises(UnknownVersion, match=r"v1, v2, v10, @best, @best-loss"):
        find_version(LISTED, name, model="m")


def test_many_versions_are_listed_as_a_range() -> None:
    versions = [replace(LISTED[0], number=str(number)) for number in range(1, 17)]

    with pytest.raises(UnknownVersion, match="there is v1 to v16"):
        find_version(versions, "v17", model="m")


@pytest.mark.parametrize(
    "name",
    ["v16.int8", "V16.INT8", "16.int8", "best.int8", "@best.int8", "latest.int8"],
)
def test_an_int8_form_can_be_named_in_every_way(name: str) -> None:
    found = find_version(VERSIONS, name, model="m")

    assert (found.number, found.model_id, found.base) == (
        "16.int8",
        "m-int8",
        QUANTISED,
    )
    # Among served versions, a form may stand without its base.
    assert find_version([PLAIN, found], name, model="m") == found


def test_an_int8_form_has_the_tags_measured_of_it_alone() -> None:
    form = QUANTISED.int8

    assert form is not None
    assert (form.epoch, form.val_top1_accuracy) == (16, 0.33)
    assert form.run_id == form.tags["run_id"] == "quantising"
    assert "temperature" not in form.tags
    assert form.aliases == ()
    assert form.int8 is None


def test_a_version_without_an_int8_form_says_how_to_make_one() -> None:
    for name in ("v2.int8", "best-loss.int8"):
        with pytest.raises(UnknownVersion, match=r"training --quantize v2 --data PATH"):
            find_version(VERSIONS, name, model="m")


@pytest.mark.parametrize("name", ["v3.int8", ".int8", "v16.int8.int8", "v16.int4"])
def test_the_error_of_an_unknown_int8_form_lists_the_others(name: str) -> None:
    with pytest.raises(UnknownVersion, match=r"v2, v16, v16\.int8, @best, @best-loss"):
        find_version(VERSIONS, name, model="m")


def test_names_without_the_suffix_never_mean_an_int8_form() -> None:
    form = QUANTISED.int8
    assert form is not None

    assert find_version([QUANTISED, form, PLAIN], "latest", model="m") == QUANTISED
    with pytest.raises(UnknownVersion, match=r"there is v2, v16\.int8, @best-loss"):
        find_version([PLAIN, form], "v16", model="m")


def test_int8_forms_are_listed_after_their_versions_and_once() -> None:
    listed = with_int8_forms(VERSIONS)

    assert [version.number for version in listed] == ["2", "16", "16.int8"]
    assert with_int8_forms(listed) == listed


def test_the_longest_possible_name_is_found() -> None:
    named = replace(QUANTISED, aliases=("a" * 255,))

    assert find_version([named], f"@{'a' * 255}.int8", model="m") == named.int8
    assert find_version([named], f"v{'0' * 200}16", model="m") == named


@pytest.mark.parametrize("name", [f"v{'0' * 300}16", "0" * 262, f"{'x' * 300}.int8"])
def test_a_name_that_is_too_long_is_unknown_and_not_repeated(name: str) -> None:
    with pytest.raises(UnknownVersion, match=r"no version '.{40}' of") as raised:
        find_version(VERSIONS, name, model="m")

    assert len(str(raised.value)) < 150


@pytest.mark.parametrize(
    ("name", "spellings"),
    [
        ("8", ["8", "v8", "V8", "008", "v008", "@v8"]),
        ("0", ["0", "v0", "000"]),
        ("8.int8", ["8.int8", "v8.INT8", "V008.Int8", "@v8.int8"]),
        ("latest", ["latest", "LATEST", "@latest", "@Latest"]),
        ("latest.int8", ["latest.int8", "LATEST.INT8", "@latest.int8"]),
        ("@prod", ["prod", "@prod"]),
        ("@prod.int8", ["prod.int8", "@prod.INT8"]),
        # The registry allows these aliases, and Prod beside prod.
        ("@8", ["@8"]),
        ("@Prod", ["Prod", "@Prod"]),
        ("@v", ["v", "@v"]),
        ("@", ["", "@"]),
        ("birds/8", ["birds/v8", "birds/008", "models:/birds/8", "models:/birds/v8"]),
        ("birds/@best", ["birds/best", "models:/birds@best", "models:/birds/best"]),
        ("birds/8.int8", ["birds/v8.INT8", "models:/birds/8.int8"]),
    ],
)
def test_all_spellings_of_a_name_are_one(name: str, spellings: list[str]) -> None:
    assert {canonical_name(spelling) for spelling in spellings} == {name}
    assert canonical_name(name) == name


def test_an_alias_that_looks_like_a_number_is_named_with_its_sign() -> None:
    versions = [PLAIN, replace(QUANTISED, aliases=("2",))]

    assert find_version(versions, "2", model="m").number == "2"
    assert find_version(versions, "@2", model="m").number == "16"


ODD = ("", " ", "soon", "n/a", "nan", "inf", "-inf", "1e400", "-1", "None", "\x1b[2J")
"""Texts that a tag for a number may have, as anybody can write tags."""


def _tagged(**tags: str) -> Version:
    return Version(model="m", number="1", model_id="m-1", tags=tags)


UNFIT = ("", "a\nb", "\x1b]0;x\x07", "\ud800")
ELSEWHERE = ("data", "../data", "~/data", "Digits", "file:///data")
"""Sources that mean another place in another folder or on another machine."""


@pytest.mark.parametrize(
    ("tag", "texts"),
    [
        ("epoch", [*ODD, "8.0", "1_0", "+8", "\u0668", "9" * 10, "0x8"]),
        ("val_top1_accuracy", [*ODD, "1.7", "100.0000001"]),
        ("val_top5_accuracy", [*ODD, "1.7", "100.0000001"]),
        ("val_loss", ODD),
        ("dataset_name", UNFIT),
        ("dataset_digest", UNFIT),
        ("dataset_source", [*UNFIT, *ELSEWHERE]),
    ],
)
def test_an_odd_tag_is_none(tag: str, texts: list[str]) -> None:
    found = {text: getattr(_tagged(**{tag: text}), tag) for text in texts}

    assert found == dict.fromkeys(texts)


def test_tags_that_training_writes_are_read() -> None:
    version = _tagged(
        epoch="16",
        val_loss="1e-07",
        val_top1_accuracy="1.0",
        val_top5_accuracy="0.0",
        dataset_name="birds",
        dataset_source="/data/\u9ce5\u3000birds",
    )

    assert (version.epoch, version.val_loss) == (16, 1e-7)
    assert (version.val_top1_accuracy, version.val_top5_accuracy) == (1.0, 0.0)
    assert version.dataset_name == "birds"
    assert version.dataset_source == "/data/\u9ce5\u3000birds"
    assert version.dataset_digest is None
    assert (_tagged().epoch, _tagged().val_top1_accuracy) == (None, None)


def test_an_int8_form_without_a_logged_model_is_none() -> None:
    assert _tagged(int8_model_id="").int8 is None


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("birds/v3", ("birds", "v3")),
        ("birds/@best", ("birds", "@best")),
        ("models:/birds/3", ("birds", "3")),
        ("models:/birds@champion", ("birds", "@champion")),
        ("models:/birds/3.int8", ("birds", "3.int8")),
        ("v3", (None, "v3")),
        ("@best", (None, "@best")),
        ("models:/birds", (None, "models:/birds")),
        ("/v3", (None, "/v3")),
        ("birds/", (None, "birds/")),
    ],
)
def test_a_name_may_have_its_model_before_it(
    text: str, parts: tuple[str | None, str]
) -> None:
    assert split_name(text) == parts
