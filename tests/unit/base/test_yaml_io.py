"""YAML text of plain values."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atdsr.base import yaml_io
from atdsr.base.errors import short
from atdsr.base.yaml_io import YamlError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-4", 2e-4),
        ("1e4", 1e4),
        ("1.5E+3", 1500.0),
        ("-.5e1", -5.0),
        ("!!float 2e-4", 2e-4),
        ("3", 3),
        ("1_000", 1000),
        ("e4", "e4"),
        ("0x2e4", 0x2E4),
        ("2024-01-01", "2024-01-01"),
        ("1:30", "1:30"),
        ("-1:30:59.5", "-1:30:59.5"),
        ("010", "010"),
        ("0.25", 0.25),
        ("0", 0),
        ("-0", 0),
        ("0b11", 3),
        ("yes", True),
        ("~", None),
        ("", None),
        ("sets/a", "sets/a"),
        ("[5, 8]", [5, 8]),
        ("{a: {b: [1, x]}}", {"a": {"b": [1, "x"]}}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("1: 2", {1: 2}),
    ],
)
def test_values(text: str, value: Any) -> None:
    parsed = yaml_io.parse(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_an_alias_is_a_value_of_its_own() -> None:
    parsed = yaml_io.parse("a: &x [1]\nb: *x")
    parsed["a"].append(2)
    assert parsed["b"] == [1]


BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [", "line 1 is not valid YAML: expected the node content"),
        ("a: 1\nb: }", "line 2 is not valid YAML"),
        ("a: *b", "line 1 is not valid YAML: found undefined alias 'b'"),
        ("a: 1\n---\nb: 2", "line 2 is not valid YAML"),
        ("a: \x07", "control characters"),
        ('"\\Uffffffff"', "impossible number"),
        ("[" * 2_000, "line 1 nests more than 50 levels deep"),
        ("[" * 60 + "]" * 60, "line 1 nests more than 50 levels deep"),
        (
            "a: &a " + "[" * 30 + "]" * 30 + "\nb: " + "[" * 30 + "*a" + "]" * 30,
            "line 1 nests more",
        ),
        ("a: !!bool x", "line 1 is not valid YAML: 'x' is not a valid !!bool"),
        ("a: !!int ''", "'' is not a valid !!int"),
        ("a: !!float 1:" + ":".join(["59"] * 300), "is not a valid !!float"),
        ("a: " + "9" * 5000, "is not a valid !!int"),
        ("a: 0x" + "f" * 5000, "a very large number"),
        ("a: !!int 1:30", "'1:30' is not a valid !!int"),
        ("a: !!int 010", "'010' is not a valid !!int"),
        ('a: "\\uD800"', "is not a valid !!str"),
        ('a: "\\0"', "NUL"),
        ("a: !!python/object/apply:os.getcwd []", "more than plain values.*python/object/apply:os"),
        ("a: !mine 3", "more than plain values, which is not read: !mine"),
        ("a: !!timestamp 2024-01-01", "!!timestamp"),
        ("a: !!binary aGk=", "!!binary"),
        ("a: !!set {b}", "!!set"),
        ("a: !!str [b]", "!!str"),
        ("a: &a {b: 1}\nc:\n  <<: *a", "line 3 holds more than plain values.*!!merge"),
        ("? [a]\n: 1", "line 1 has a key that is not plain text"),
        ("a: 1\nb: 2\na: 3", "line 3 gives the key 'a' a second time"),
        ("a:\n  b: 1\n  'b': 2", "line 3 gives the key 'b' a second time"),
        (BOMB, "more than 10000 values"),
        ("a: &a [*a]", "line 1 contains itself"),
        ("a: &a {b: {c: *a}}", "line 1 contains itself"),
    ],
)
def test_what_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(YamlError, match=sentence) as caught:
        yaml_io.parse(text)
    assert len(str(caught.value)) < 200


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_a_value_or_an_error(text: str) -> None:
    try:
        value = yaml_io.parse(text)
    except YamlError:
        return
    assert value is None or isinstance(value, bool | int | float | str | list | dict)


_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63) + 1, 2**63 - 1),
    st.floats(allow_nan=False),
    st.text().filter(lambda text: "\0" not in text),
    st.sampled_from(
        [
            "2e-4",
            "1e4",
            "1.",
            "2024-01-01",
            "1:30",
            "010",
            "+0_7",
            "yes",
            "~",
            "=",
            "<<",
            "{}x2",
            "- a",
            "#",
        ]
    ),
)
_KEYS = st.text("abcdefghij -#:'", min_size=1)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        _KEYS,
        st.recursive(
            _SCALARS, lambda inner: st.lists(inner) | st.dictionaries(_KEYS, inner), max_leaves=5
        ),
    )
)
def test_what_is_written_is_read_back(values: dict[str, Any]) -> None:
    parsed = yaml_io.parse(yaml_io.write(values))
    assert parsed == values
    assert repr(parsed) == repr(values)  # so that 1 is not 1.0, in the same order


def test_a_list_of_scalars_is_one_line() -> None:
    values = {"a": {"b": [*range(60)]}, "c": [{"d": 1}, {"d": [2, 3]}]}
    text = yaml_io.write(values)
    assert text.splitlines()[1] == f"  b: {list(range(60))}"
    assert text.splitlines()[-2:] == ["- d: 1", "- d: [2, 3]"]


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    with pytest.raises(YamlError, match=r"a\.yaml does not exist; check the name"):
        yaml_io.read(path)
    with pytest.raises(YamlError, match="is a folder; name a file"):
        yaml_io.read(tmp_path)
    for data, sentence in {
        b"a: \xff": r"a\.yaml is not a YAML file: it is not UTF-8",
        b"- a": r"a\.yaml must hold `key: value` lines",
        b"": r"a\.yaml must hold `key: value` lines",
        b"a: [": r"a\.yaml: line 1 is not valid YAML",
        b"#" * 2**19: r"a\.yaml is not a YAML file of settings: it has more than 262144 bytes",
    }.items():
        path.write_bytes(data)
        with pytest.raises(YamlError, match=sentence):
            yaml_io.read(path)
    path.write_bytes(b"\xef\xbb\xbfa: \xc3\xa9\r\n")
    assert yaml_io.read(path) == {"a": "\N{LATIN SMALL LETTER E WITH ACUTE}"}


def test_values_in_sentences() -> None:
    assert short({"a": 1}) == "a mapping"
    assert short([1]) == "a list"
    assert short(10**5000) == "a very large number"
    assert len(short("x" * 10_000)) < 50
