import json
from dataclasses import asdict, fields

import pytest

from atdsr import imaging
from atdsr.web.options import FORMAT_NAMES, PARAMETERS, Options
from atdsr.web.problems import ProblemError, for_client


def refused(*query: tuple[str, str]) -> str:
    with pytest.raises(ProblemError) as caught:
        Options.parse(query)
    assert caught.value.status == 400
    return str(caught.value)


def test_there_is_a_field_for_every_parameter():
    assert {item.name for item in fields(Options)} == set(PARAMETERS)


def test_the_formats_are_those_that_are_written():
    assert set(FORMAT_NAMES) == set(imaging.FORMATS)


def test_values():
    options = Options.parse(
        [("scale", "3"), ("size", "1920x"), ("format", ".JPEG"), ("strip_metadata", "true")]
    )
    assert options == Options(scale=3, size=(1920, None, False), format="jpg", strip_metadata=True)


def test_they_survive_json():
    options = Options.parse([("filename", "a.png"), ("size", "9x8!"), ("tile", "64")])
    assert Options.from_record(json.loads(json.dumps(asdict(options)))) == options
    assert Options.from_record(json.loads(json.dumps(asdict(Options())))) == Options()


@pytest.mark.parametrize(
    ("name", "shown", "suffix"),
    [
        ("photo.jpg", "photo.jpg", ".jpg"),
        ("../../etc/passwd", "passwd", ""),
        ("C:\\pictures\\a.PNG", "a.PNG", ".PNG"),
        ("..", "", ""),
        ("a\u202egpj.exe", "a\\u202egpj.exe", ".exe"),
        ("a.b c", "a.b c", ""),
        ("a./b", "b", ""),
        ("tar.gz\0.png", "tar.gz\\x00.png", ".png"),
    ],
)
def test_a_name_is_never_a_path(name, shown, suffix):
    options = Options.parse([("filename", name)])
    assert options.filename == shown
    assert options.source_suffix == suffix


def test_sentences():
    assert refused(("sclae", "2")) == "there is no parameter 'sclae'; did you mean scale?"
    assert refused(("scale", "2"), ("scale", "3")) == "scale is given twice; give it once."
    assert (
        refused(("scale", "5"))
        == "Invalid value for 'scale': '5' is not 2, 3 or 4; use outscale 5."
    )
    assert refused(("tile", "0")) == "Invalid value for 'tile': 0 is no tile; write tile off."
    assert "exclude each other" in refused(("size", "9x9"), ("outscale", "2.5"))
    assert "neither true nor false" in refused(("ensemble", "maybe"))
    assert "no format is called 'psd'" in refused(("format", "psd"))
    assert "16 to 64" in refused(("group", "short"))
    assert "precision is" in refused(("precision", "fp64"))
    assert "255" in refused(("filename", "a" * 256))
    assert "255" in refused(("model", "a" * 256))


def test_sentences_of_the_command_line_name_parameters_and_the_clients_file():
    sentence = "/tmp/x/picture.png: --strip-metadata and --quality exclude each other."
    assert (
        for_client(sentence, {"/tmp/x/picture.png": "cat.png"})
        == "cat.png: strip_metadata and quality exclude each other."
    )
    assert for_client("a--b and 5--6 stay") == "a--b and 5--6 stay"
