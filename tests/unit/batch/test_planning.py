"""Which files inputs name, and which file becomes of each."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atdsr import batch, imaging
from atdsr.base.errors import AtdsrError
from atdsr.batch import BatchConfig, BatchError, BatchItem, Factor, Plan, TargetBox, TargetSize
from atdsr.imaging import Picture
from helpers.upscaling import forbid_listing, touch

X2 = BatchConfig(Factor(2))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan(
    *inputs: str, out: str | None = None, target_size: TargetSize = X2.size, **config: Any
) -> Plan:
    return batch.plan(inputs, out, BatchConfig(target_size, **config))


def pairs(*inputs: str, **config: Any) -> dict[str, str]:
    return {str(item.source): str(item.target) for item in plan(*inputs, **config).items}


def test_one_picture_goes_beside_itself_or_where_it_is_told():
    touch("p/a.png", "folder/b.png")
    assert pairs("p/a.png") == {"p/a.png": "p/a_x2.png"}
    assert pairs("p/a.png", target_size=Factor(3)) == {"p/a.png": "p/a_x3.png"}
    assert pairs("p/a.png", out="new.jpg") == {"p/a.png": "new.jpg"}
    assert pairs("p/a.png", out="new/") == {"p/a.png": "new/a_x2.png"}
    assert pairs("p/a.png", out="folder") == {"p/a.png": "folder/a_x2.png"}
    assert not plan("p/a.png").several


@pytest.mark.parametrize("name", ["a.pfm", "a.ICO", "a.j2k"])
def test_what_is_only_read_becomes_png(name):
    touch(name)
    assert pairs(name) == {name: "a_x2.png"}


def test_suffixes_stay_unless_a_format_is_named():
    touch("a.PNG", "b.jpeg")
    assert pairs("a.PNG", "b.jpeg") == {"a.PNG": "a_x2.PNG", "b.jpeg": "b_x2.jpeg"}
    assert pairs("a.PNG", "b.jpeg", format_name="tiff") == {
        "a.PNG": "a_x2.tiff",
        "b.jpeg": "b_x2.tiff",
    }
    assert pairs("a.PNG", out="new", format_name="webp") == {"a.PNG": "new.webp"}
    assert pairs("a.PNG", out="new.WEBP", format_name="webp") == {"a.PNG": "new.WEBP"}
    assert pairs("a.PNG", out="new.tif", format_name="tiff") == {"a.PNG": "new.tif"}
    with pytest.raises(BatchError, match=r"new\.jpg does not end in \.webp"):
        plan("a.PNG", out="new.jpg", format_name="webp")


def test_a_folder_is_its_visible_pictures_in_order():
    touch("f/b.PNG", "f/a.jpg", "f/notes.txt", "f/._a.jpg", "f/deeper/c.png")
    Path("f/looks-like.png").mkdir()
    assert pairs("f") == {"f/a.jpg": "f/a_x2.jpg", "f/b.PNG": "f/b_x2.PNG"}
    assert pairs("f", out="new") == {"f/a.jpg": "new/a_x2.jpg", "f/b.PNG": "new/b_x2.PNG"}
    assert plan("f").several


def test_globs_are_their_pictures_also_of_folders_inside():
    touch("f/b.png", "f/a.png", "f/notes.txt", "f/deeper/c.png")
    assert list(pairs("f/*")) == ["f/a.png", "f/b.png"]
    assert list(pairs("f/[ab].png")) == ["f/a.png", "f/b.png"]
    assert list(pairs("f/**/*.png")) == ["f/a.png", "f/b.png", "f/deeper/c.png"]
    assert pairs("f/b*", out="new") == {"f/b.png": "new/b_x2.png"}
    assert plan("f/b*").several


def test_a_file_called_like_a_glob_is_that_file():
    touch("[1].png", "1.png", "a*.png", "ab.png")
    assert list(pairs("[1].png")) == ["[1].png"]
    assert list(pairs("a*.png")) == ["a*.png"]


def test_a_picture_named_twice_is_done_once():
    touch("f/a.png", "f/b.png")
    assert list(pairs("f/b.png", "f", "./f/b.png")) == ["f/b.png", "f/a.png"]


@pytest.mark.parametrize("named", [("f",), ("f/*",), ("f/a.png", "f/a_x2.png", "f/a_x3.jpg")])
def test_earlier_outputs_are_left_out_of_lists(named: tuple[str, ...]):
    touch("f/a.png", "f/a_x2.png", "f/a_x3.jpg")
    made = plan(*named)
    assert made.items == (BatchItem(Path("f/a.png"), Path("f/a_x2.png")),)
    assert made.left_out == (Path("f/a_x3.jpg"),)  # a_x2.png is kept or replaced by its own item


def test_what_only_looks_like_an_output_is_taken():
    touch("f/a_x2.png", "f/b.png", "f/b_y5.png", "f/_x2.png", "g/a.png")
    assert list(pairs("f", "g")) == [
        "f/_x2.png",
        "f/a_x2.png",
        "f/b.png",
        "f/b_y5.png",
        "g/a.png",
    ]
    touch("f/a.png")
    assert pairs("f/a_x2.png") == {"f/a_x2.png": "f/a_x2_x2.png"}  # named alone


def test_a_missing_file_is_left_to_its_turn():
    assert list(pairs("missing.png", "also.png")) == ["missing.png", "also.png"]


@pytest.mark.parametrize(
    ("inputs", "out", "words"),
    [
        (["empty"], None, "empty is a folder without pictures"),
        (["a.png", "*.webp"], None, r"no picture matches \*\.webp"),
        ([""], None, "an INPUT is empty"),
        (["a.png", "b.png"], "notes.txt", r"notes\.txt is a file; name a folder"),
        (["a.png"], "notes.txt/", r"notes\.txt/ is a file; name a folder"),
        (["a.png", "b.png"], "new.png", r"new\.png looks like one file for several pictures"),
        (["a.png", "f/a.png"], "new", "a.png and f/a.png would both become new/a_x2.png"),
        (["a.png", "f/a.png"], "new", r'fields of --name, such as "{parent}_{name}_large"\.'),
        (
            ["a.png"],
            "/dev/null",
            "/dev/null exists and is not a folder, and its name has no suffix",
        ),
        (["a.png"], "plain", "plain exists and is not a folder, and its name has no suffix"),
        (["a.png"], "holiday.2024", r"'\.2024'; add a suffix such as \.png to .*, or / to that of"),
        (["a.png"], "a.png", "a.png is an input and is never overwritten"),
        (["a.png"], "link.png", "link.png is an input and is never overwritten"),
        (["a.png"], "hard.png", "hard.png is an input and is never overwritten"),
        (["link.png"], "./a.png", "a.png is an input and is never overwritten"),
        (["n" * 300], None, "cannot be read: File name too long"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(
    inputs: list[str], out: str | None, words: str
):
    touch("a.png", "b.png", "f/a.png", "notes.txt", "plain")
    Path("empty").mkdir()
    Path("link.png").symlink_to("a.png")
    Path("hard.png").hardlink_to("a.png")
    with pytest.raises(BatchError, match=words):
        plan(*inputs, out=out)


def test_two_outputs_that_are_one_file_by_links_are_refused():
    touch("a.png", "b.png", "f/a_x2.png")
    Path("f/b_x2.png").symlink_to("a_x2.png")
    with pytest.raises(BatchError, match="would both become"):
        plan("a.png", "b.png", out="f")


def test_a_loop_of_links_is_no_traceback():
    Path("loop.png").symlink_to("loop.png")
    assert pairs("loop.png") == {"loop.png": "loop_x2.png"}


def test_an_unreadable_folder_is_a_sentence(monkeypatch: pytest.MonkeyPatch):
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    Path("f").mkdir()
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(BatchError, match="f cannot be read: Permission denied"):
        plan("f")


@pytest.mark.parametrize(
    "name", ["a_x2.png", "a_x3.5.jpg", "a_1920x1080.webp", "a_1920x.png", "a_x1080.png"]
)
def test_every_usual_name_is_known_again(name: str):
    touch("f/a.png", f"f/{name}")
    made = plan("f", target_size=Factor(4))
    assert made.left_out == (Path("f", name),)
    assert [item.source for item in made.items] == [Path("f/a.png")]


# Folders inside folders


def test_recursion_keeps_the_tree():
    touch(
        "in/a.png", "in/p/b.jpg", "in/p/q/c.png", "in/p/notes.txt", "in/.git/d.png", "in/p/.e.png"
    )
    assert pairs("in", recursive=True) == {
        "in/a.png": "in/a_x2.png",
        "in/p/b.jpg": "in/p/b_x2.jpg",
        "in/p/q/c.png": "in/p/q/c_x2.png",
    }
    assert pairs("in", recursive=True, out="new") == {
        "in/a.png": "new/a_x2.png",
        "in/p/b.jpg": "new/p/b_x2.jpg",
        "in/p/q/c.png": "new/p/q/c_x2.png",
    }
    assert pairs("in", out="new") == {"in/a.png": "new/a_x2.png"}


def test_recursion_knows_earlier_outputs_and_leaves_out_their_folder():
    touch("in/a.png", "in/a_x2.png", "in/p/a_x2.png", "in/big/a_x2.png", "in/big/p/a_x2_x2.png")
    made = plan("in", recursive=True, out="in/big")
    assert [str(item.source) for item in made.items] == ["in/a.png", "in/p/a_x2.png"]
    assert made.left_out == (Path("in/a_x2.png"),)
    assert len(plan("in", recursive=True, out="in").items) == 4  # outputs among the inputs


def test_links_to_folders_are_not_entered_but_may_be_named():
    touch("in/a.png", "other/b.png")
    Path("in/loop").symlink_to(".", target_is_directory=True)
    Path("in/other").symlink_to("../other", target_is_directory=True)
    Path("in/b.png").symlink_to("../other/b.png")
    assert list(pairs("in", recursive=True)) == ["in/a.png", "in/b.png"]
    assert list(pairs("in/other", recursive=True)) == ["in/other/b.png"]


def test_a_folder_inside_that_cannot_be_read_is_a_problem_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
):
    touch("in/a.png", "in/secret/b.png")
    forbid_listing(monkeypatch, "secret")
    made = plan("in", recursive=True)
    assert made.items == (BatchItem(Path("in/a.png"), Path("in/a_x2.png")),)
    assert made.problems == ((Path("in/secret"), "in/secret cannot be read: Permission denied."),)
    assert made.total == 2


def test_a_folder_with_folders_only_tells_of_recursion():
    touch("in/p/a.png")
    with pytest.raises(BatchError, match="folder without pictures; --recursive looks into"):
        plan("in")
    assert len(plan("in", recursive=True).items) == 1


# Names


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{stem}_big", "a_big.png"),
        ("{stem}{ext}", "a.png"),
        ("{stem}-{scale}.webp", "a-2.webp"),
        ("{name}", "a.png.png"),
        ("{model}/{parent}-{stem}{ext}", "light/p-a.png"),
        ("{width}x{height}_{stem}", "8x4_a.png"),
        ("{stem} v1.5", "a v1.5.png"),
        ("{{{stem}}}", "{a}.png"),
    ],
)
def test_templates(template: str, name: str):
    Path("p").mkdir()
    imaging.write(Picture(np.zeros((2, 4, 3), np.uint8)), "p/a.png")
    assert pairs("p/a.png", out="new", template=template, models={2: "light"}) == {
        "p/a.png": f"new/{name}"
    }


def test_templates_follow_the_goal_and_the_format():
    imaging.write(Picture(np.zeros((2, 4, 3), np.uint8)), "a.png")
    template = "{stem}_{scale}_{width}{ext}"
    for target_size, name in (
        (Factor(3.5), "a_3.5_14.png"),
        (TargetBox(10, 10), "a_2.5_10.png"),
        (TargetBox(None, 1), "a_0.5_2.png"),
    ):
        assert pairs("a.png", target_size=target_size, template=template) == {"a.png": name}
    assert pairs("a.png", template="{stem}_b", format_name="jpg") == {"a.png": "a_b.jpg"}
    assert pairs("a.png", template="{stem}.jpeg", format_name="jpg") == {"a.png": "a.jpeg"}
    assert pairs("a.png", target_size=TargetBox(9, 9)) == {"a.png": "a_9x9.png"}
    assert pairs("a.png", target_size=TargetBox(None, 9)) == {"a.png": "a_x9.png"}
    assert pairs("a.png", target_size=Factor(2.5)) == {"a.png": "a_x2.5.png"}


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{step}", r"unknown field \{step\}; a name has text and the fields \{stem\} \{name\}"),
        ("{stem.parent}", r"unknown field \{stem\.parent\}"),
        ("{stem!r}", r"unknown field \{stem!r\}"),
        ("{width:05}", r"unknown field \{width:05\}"),
        ("{}", r"unknown field \{\}"),
        ("{0}", r"unknown field \{0\}"),
        ("{stem", "an unmatched brace"),
        ("stem}", "an unmatched brace"),
        ("", "names no file; .* fields"),
        ("  ", "names no file"),
        ("{ext}", "names no file"),
        (".png", "names no file"),
        ("{stem}/", "names no file"),
        ("../{stem}", "not a valid name here; .* fields"),
        ("{stem}/../../b", "not a valid name here"),
        ("/tmp/{stem}", "not a valid name here"),
        ("{stem}.xyz", r"no format has the suffix '\.xyz'"),
        ("{stem}", "a.png is an input and is never overwritten"),
        ("big", r'a\.png and b\.png would both become big\.png; .*, such as "{name}_large"\.'),
    ],
)
def test_templates_that_make_no_names(template: str, words: str):
    touch("a.png", "b.png")
    with pytest.raises(AtdsrError, match=words):
        plan("a.png", "b.png", template=template)


def test_a_name_of_dots_does_not_lead_out():
    touch("f/...png")  # its stem is two dots
    with pytest.raises(BatchError, match="not a valid name here"):
        plan("f/...png", template="{stem}/b")


def test_a_template_and_the_rest_of_the_command():
    touch("a.png")
    with pytest.raises(BatchError, match=r"ends in \.webp; let it end in \{ext\}, or drop "):
        plan("a.png", template="{stem}.webp", format_name="png")
    with pytest.raises(BatchError, match="with --name, -o names a folder"):
        plan("a.png", template="{stem}_b", out="b.png")
    assert pairs("a.png", template="{stem}_b", out="b.png/") == {"a.png": "b.png/a_b.png"}


@pytest.mark.parametrize(
    ("template", "outputs"),
    [
        ("{stem}-big", ["a-big.png", "a-big.webp"]),
        ("big_{stem}_{scale}_{width}", ["big_a_3.5_100.png"]),
        ("{model} {name}", ["other a.png.png"]),
        ("{scale}/{stem}", ["2/a.png"]),
        ("{stem}/{stem}", ["a/a.png"]),
        ("{parent}.webp", []),  # nothing tells of which picture it is
        ("{stem}{ext}", []),
    ],
)
def test_earlier_outputs_of_a_template_are_left_out(template: str, outputs: list[str]):
    others = ["b-big.png", "b/a.png", "big_c_2_2.png", "x/a/b.png"]
    touch("f/a.png", *(f"f/{name}" for name in others + outputs))
    found = batch.Template.from_config(BatchConfig(Factor(2), template=template)).earlier_outputs(
        [path for path in Path("f").rglob("*.*") if path.is_file()]
    )
    assert found == {Path("f", name) for name in outputs}


def test_a_picture_of_unknown_size_gets_no_name_that_tells_it():
    imaging.write(Picture(np.zeros((2, 4, 3), np.uint8)), "f/a.png")
    Path("f/b.png").write_bytes(b"no picture")
    made = plan("f", template="{stem}_{width}")
    assert [item.target.name for item in made.items] == ["a_8.png"]
    (problem,) = made.problems
    assert problem[0] == Path("f/b.png")
    assert "f/b.png: not a picture" in problem[1]


# Qualities


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp", ".avif"])
def test_a_quality_is_for_outputs_that_can_use_it(suffix: str):
    touch("f/a.png", f"g/a{suffix}", "g/b.png")
    assert len(plan("g", quality=50).items) == 2
    with pytest.raises(BatchError, match="--quality applies only to JPEG, WebP, AVIF and JPEG XL"):
        plan("f", quality=50)
    assert len(plan("f", quality=50, defaults=frozenset({"quality"})).items) == 1
    name = imaging.format_of(Path(f"a{suffix}"))
    assert len(plan("f", quality=50, format_name=name).items) == 1


# Sizes


@pytest.mark.parametrize(
    ("target_size", "size"),
    [
        (Factor(2), (200, 102)),
        (Factor(3.5), (350, 179)),
        (Factor(1.004), (100, 51)),
        (TargetBox(1920, 1080), (1920, 979)),
        (TargetBox(1920, 100), (196, 100)),
        (TargetBox(1920, None), (1920, 979)),
        (TargetBox(None, 1080), (2118, 1080)),
        (TargetBox(50, 50), (50, 26)),
        (TargetBox(1, 1), (1, 1)),
        (TargetBox(7, 900, exact=True), (7, 900)),
    ],
)
def test_sizes(target_size: TargetSize, size: tuple[int, int]):
    assert target_size.resolve(100, 51) == size


@pytest.mark.parametrize(
    ("factor", "scales", "chosen"),
    [
        (1.5, [2, 3, 4], 2),
        (2, [2, 3, 4], 2),
        (2, [2], 2),
        (2.5, [2, 3, 4], 4),
        (3, [2, 3], 3),
        (3.5, [2], 2),
        (3.5, [2, 3], 3),  # twice either way
        (6, [2, 3, 4], 4),
        (9, [2, 3], 3),  # 8 would take three passes, and 16 four
        (16, [2, 3, 4], 4),
    ],
)
def test_the_network_for_a_factor(factor: float, scales: list[int], chosen: int):
    assert batch.choose_network_scale(factor, scales) == chosen


def test_the_model_in_a_name_is_the_one_that_is_chosen_for_the_picture():
    for name, size in (("small", (10, 10)), ("large", (20, 30))):  # 4 and 1.3 times
        imaging.write(Picture(np.zeros((*size, 3), np.uint8)), f"p/{name}.png")
    models = {2: "two", 4: "four"}
    made = pairs("p", template="{stem}-{model}{ext}", models=models, target_size=TargetBox(40, 40))
    assert made == {"p/large.png": "p/large-two.png", "p/small.png": "p/small-four.png"}


@pytest.mark.parametrize(
    ("inputs", "out", "config"),
    [
        (["in"], None, {"template": "{stem}-large"}),
        (["in"], None, {"template": "large {width}x{height}{ext}"}),
        (["in"], None, {"template": "{parent}{scale}_{height}"}),
        (["in"], None, {"recursive": True, "template": "{model}/{stem}.webp"}),
        (["in"], None, {"recursive": True, "template": "{parent}/{stem}"}),
        (["in"], "in/out", {"recursive": True}),
        (["in/*/*.png"], "in/out", {}),
        (["in", "in/out"], "in/out", {}),
        (["in/p", "in"], "in", {"recursive": True}),
        (["in"], "in/p", {}),
        (["in/p", "in"], "in", {"template": "{stem}{scale}"}),
    ],
)
def test_the_same_command_again_has_the_same_pictures_to_do(
    inputs: list[str], out: str | None, config: dict[str, Any]
):
    for name, height in (("in/a.png", 10), ("in/p/b.png", 12)):
        imaging.write(Picture(np.zeros((height, 14, 3), np.uint8)), name)
    first = plan(*inputs, out=out, models={2: "m"}, **config)
    for item in first.items:
        imaging.write(Picture(np.zeros((20, 28, 3), np.uint8)), item.target)
    again = plan(*inputs, out=out, models={2: "m"}, **config)
    assert [item.source for item in again.items] == [item.source for item in first.items]


def test_results_of_another_size_are_known_by_a_template_without_the_inputs_name():
    imaging.write(Picture(np.zeros((10, 14, 3), np.uint8)), "in/a.png")
    imaging.write(Picture(np.zeros((20, 28, 3), np.uint8)), "in/large 28.png")
    made = plan("in", template="large {width}", target_size=Factor(3))
    assert [item.source for item in made.items] == [Path("in/a.png")]
    assert made.left_out == (Path("in/large 28.png"),)


def test_an_input_that_another_would_become_is_never_overwritten():
    for name in ("in/a.png", "in/b.png", "in/out/a2.png"):
        imaging.write(Picture(np.zeros((4, 4, 3), np.uint8)), name)
    options: dict[str, Any] = {"template": "{stem}{scale}", "out": "in/out"}
    assert pairs("in", "in/out", **options) == {
        "in/a.png": "in/out/a2.png",
        "in/b.png": "in/out/b2.png",
    }
    with pytest.raises(BatchError, match="is an input and is never overwritten"):
        plan("in", "in/out", overwrite=True, **options)
    with pytest.raises(BatchError, match="is an input and is never overwritten"):
        plan("in/a.png", "in/out/a2.png", **options)
