"""Names of objects, and reading and writing them; `tests/flow/test_upscale_stores.py` has more."""

import copy
import os
import pickle
import sys
from pathlib import Path

import pytest

from atdsr.base import stores
from atdsr.base.extras import install_command
from atdsr.base.files import ExistsError
from atdsr.base.stores import ObjectPath, StoreError, locate
from helpers.stores import Proxy, first, needs_s3


def test_an_object_is_named_as_a_path():
    path = locate("s3://photos/2024/beach x#1~.jpg")
    assert isinstance(path, ObjectPath)
    assert str(path) == "s3://photos/2024/beach x#1~.jpg"
    assert (path.scheme, path.bucket, path.key) == ("s3", "photos", "2024/beach x#1~.jpg")
    assert (path.name, path.stem, path.suffix) == ("beach x#1~.jpg", "beach x#1~", ".jpg")
    assert str(path.parent) == "s3://photos/2024"
    assert str(path.top) == "s3://photos"
    assert path.top.key == ""
    assert path.top / "2024" / path.name == path
    assert str(path.with_name("a.png")) == "s3://photos/2024/a.png"
    assert str(path.relative_to(path.top)) == "2024/beach x#1~.jpg"
    for same in (pickle.loads(pickle.dumps(path)), copy.deepcopy(path), ObjectPath(str(path))):
        assert same == path
        assert hash(same) == hash(path)
        assert str(same) == str(path)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a/b.png", "a/b.png"),
        ("C:/a.png", "C:/a.png"),
        ("file:///a/b%20c.png", "/a/b c.png"),
        ("FILE://localhost/a.png", "/a.png"),
        ("https://b.org/c.jpg", "https:/b.org/c.jpg"),
    ],
)
def test_what_is_on_disk(text: str, path: str):
    found = locate(text)
    assert isinstance(found, Path)
    assert str(found) == path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("s3://", "s3:// names no bucket; write it as s3://BUCKET/NAME."),
        ("gs:///a", "gs:///a names no bucket"),
        ("az://box/a//b", "has a part in its name that is empty or consists of dots"),
        ("s3://photos/../a", "has a part in its name that is empty or consists of dots"),
        ("hdfs://a/b", "no store is known by hdfs://; there are file://, s3://, gs://, az://, "),
        ("file://there/a", "names another machine; write a path on this one as file:///PATH."),
    ],
)
def test_what_no_object_can_be(text: str, words: str):
    with pytest.raises(StoreError) as caught:
        locate(text)
    assert words in str(caught.value)


def test_settings_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("obstore", reason="obstore is not installed (the extra `stores`)")
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    with pytest.raises(StoreError, match=r"az:// are wrong; set AZURE_STORAGE_ACCOUNT_NAME and "):
        locate("az://box/a.png").exists()


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(StoreError) as caught:
        locate("s3://photos/a.png").exists()
    assert str(caught.value).startswith("s3:// needs an extra of atdsr (")
    assert str(caught.value).endswith(f"; install it with: {install_command('stores')}.")


# ------------------------------------------------------------------------------------- contents


@pytest.fixture(params=["memory", pytest.param("s3", marks=[needs_s3, pytest.mark.slow])])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectPath:
    """An empty folder in a store."""
    pytest.importorskip("obstore", reason="obstore is not installed (the extra `stores`)")
    name = request.getfixturevalue("bucket") if request.param == "s3" else tmp_path.name
    path = locate(f"{request.param}://{name}/folder")
    assert isinstance(path, ObjectPath)
    return path


def read(path: ObjectPath, target: Path) -> bytes:
    stores.download(path, target, most_bytes=10**9, is_wanted=lambda _: True)
    return target.read_bytes()


def test_what_is_written_is_read(
    folder: ObjectPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stores, "PART", 1000)
    file, path = tmp_path / "file", folder / "a b#~[1].png"
    for size in (0, 1, 999, 1000, 1001, 2500):
        file.write_bytes(os.urandom(size))
        stores.upload(file, path, overwrite=True)
        assert read(path, tmp_path / "read") == file.read_bytes()
    with pytest.raises(ExistsError):
        stores.upload(file, path, overwrite=False)
    stores.download(path, file, most_bytes=2500, is_wanted=lambda start: len(start) != 1000)
    assert file.stat().st_size == 1000
    with pytest.raises(StoreError, match=r"has 2,500 bytes, more than the limit of 2,499\."):
        stores.download(path, file, most_bytes=2499, is_wanted=lambda _: True)


def test_files_and_folders(folder: ObjectPath, tmp_path: Path):
    assert not folder.is_dir()
    (tmp_path / "file").write_bytes(b"1")
    for name in ("a", "p/b", "p.c"):
        stores.upload(tmp_path / "file", folder / name, overwrite=False)
    assert folder.is_dir()
    assert folder.top.is_dir()
    assert not folder.is_file()
    assert (folder / "a").is_file()
    assert not (folder / "a").is_dir()
    assert not (folder / "p").exists()
    assert list(stores.list_objects(folder / "p")) == ["folder/p/b"]  # and not p.c
    assert sorted(stores.list_objects(folder.top)) == ["folder/a", "folder/p.c", "folder/p/b"]
    with pytest.raises(StoreError, match="p does not exist; check the name"):
        read(folder / "p", tmp_path / "read")


@needs_s3
@pytest.mark.slow
def test_many_objects_are_listed_page_by_page(s3: Proxy, bucket: str):
    pytest.importorskip("obstore", reason="obstore is not installed (the extra `stores`)")
    names = [f"{number:04}" for number in range(1001)]
    for name in names:
        s3.put(bucket, name, b"")
    folder = locate(f"s3://{bucket}")
    assert isinstance(folder, ObjectPath)
    found = stores.list_objects(folder)
    assert next(found) == "0000"
    assert s3.count()["GET"] == 1
    assert [*found] == names[1:]
    assert s3.count()["GET"] == 2


@needs_s3
@pytest.mark.slow
def test_large_objects_go_in_parts_and_none_of_them_stays(
    s3: Proxy, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("obstore", reason="obstore is not installed (the extra `stores`)")
    monkeypatch.setattr(stores, "SINGLE", 2**20)
    monkeypatch.setattr(stores, "_UPLOAD_PART", 5 * 2**20)
    file, path = tmp_path / "file", locate(f"s3://{bucket}/a")
    assert isinstance(path, ObjectPath)
    file.write_bytes(os.urandom(11 * 2**20))
    for fault in (
        first(999, "503", "PUT", "partNumber=2"),
        first(999, "drop", "PUT", "partNumber=3"),
        first(999, "403", "PUT", "partNumber=1"),
        first(999, "503", "POST", "uploadId="),
    ):
        s3.fault = fault
        with pytest.raises(StoreError, match="a cannot be written: the "):
            stores.upload(file, path, overwrite=False)
        assert s3.keys(bucket) == []
        assert s3.uploads(bucket) == []
    s3.fault = first(2, "503", "PUT")
    stores.upload(file, path, overwrite=False)
    assert s3.get(bucket, "a") == file.read_bytes()
    with pytest.raises(ExistsError):
        stores.upload(file, path, overwrite=False)
    stores.upload(file, path, overwrite=True)
    assert s3.uploads(bucket) == []
