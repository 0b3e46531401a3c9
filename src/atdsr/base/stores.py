"""Objects in stores, such as Amazon S3: their names, lists of them, reading and writing.

`locate` is the only place where a text becomes a path on disk or an object in a store. obstore
talks to the stores. It is an extra, and imported when a store is asked for something.

Nothing here keeps or shows credentials; obstore and boto3 find them.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from atdsr.base.errors import AtdsrError
from atdsr.base.extras import install_command
from atdsr.base.files import kept

SCHEMES = ("s3", "gs", "az", "memory")
"""Beginnings of the names of objects, before `://`."""

PART = 2**23
"""Bytes that are read at a time."""

SINGLE = 2**26
"""Bytes of the largest object that one request writes; a larger one is written in parts."""

_UPLOAD_PART = 2**24
_READ_SECONDS = 60  # for a request that reads: `PART` bytes, or a page of a list
_WRITE_SECONDS = 300  # for a request that writes: up to `SINGLE` bytes
_RETRIES = 8  # with waits that double from 0.1 s on, up to 15 s

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")  # a drive of Windows has one letter
_WEB = ("http", "https", "ftp")  # see `errors.no_path`

_NO_BUCKET = {"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"}
_NO_CREDENTIALS = {
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"),
    *("AuthenticationFailed", "AuthenticationRequired", "NoAuthenticationInformation"),
}
_ADVICE = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws configure`; for a public "
    "bucket, set AWS_SKIP_SIGNATURE=true",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`; for "
    "a public bucket, set GOOGLE_SKIP_SIGNATURE=true",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or run `az login` and set "
    "AZURE_USE_AZURE_CLI=true",
}


class StoreError(AtdsrError):
    """A store or an object that cannot be used; the sentence names it."""


class ObjectPath(PurePosixPath):
    """An object in a store, such as s3://photos/2024/beach.jpg, or a folder there.

    A folder is what the names of objects begin with, up to a slash. Beside what every path has,
    there are those methods of `pathlib.Path` that planning needs. Each of them asks the store.
    """

    __slots__ = ()

    def __str__(self) -> str:
        text = super().__str__()  # in which two slashes have become one
        scheme, _, rest = text.partition(":/")
        return f"{scheme}://{rest}" if scheme in SCHEMES else text

    @property
    def scheme(self) -> str:
        """What the name begins with, such as "s3"."""
        return self.parts[0].removesuffix(":")

    @property
    def bucket(self) -> str:
        """The bucket, or on Azure the container."""
        return self.parts[1]

    @property
    def top(self) -> "ObjectPath":
        """The bucket as a folder."""
        return ObjectPath(*self.parts[:2])

    @property
    def key(self) -> str:
        """The name inside the bucket; empty for the bucket itself."""
        return "/".join(self.parts[2:])

    def absolute(self) -> "ObjectPath":
        """Return the object itself, whose name is complete."""
        return self

    def is_file(self) -> bool:
        """Whether there is such an object.

        Raises:
            StoreError: The store cannot be asked.
        """
        if not self.key:
            return False
        with _sentences(self, "read"):
            try:
                _library().head(_store(self, _READ_SECONDS), self.key)
            except FileNotFoundError:
                return False
        return True

    exists = is_file

    def is_dir(self) -> bool:
        """Whether there are objects in this folder; a bucket always counts as one.

        Raises:
            StoreError: The store cannot be asked.
        """
        return not self.key or next(list_objects(self), None) is not None


Location = Path | ObjectPath
"""A file or folder on disk, or an object or folder in a store."""


def locate(text: str | PurePath) -> Location:
    """Return what a text names: a path on disk, also with `file://`, or an object in a store.

    A web address becomes a path that does not exist; `errors.missing` has a sentence about it.

    Raises:
        StoreError: No store has that scheme, or no bucket or no possible name follows.
    """
    address = _ADDRESS.match(text) if isinstance(text, str) else None
    if not isinstance(text, str) or address is None or address[1].lower() in _WEB:
        return Path(text)
    scheme, rest = address[1].lower(), text[address.end() :]
    if scheme == "file":
        return _local(text, rest)
    if scheme not in SCHEMES:
        known = ", ".join(f"{each}://" for each in ("file", *SCHEMES))
        raise StoreError(f"{text}: no store is known by {scheme}://; there are {known}.")
    bucket, *parts = rest.removesuffix("/").split("/")
    if not bucket:
        raise StoreError(f"{text} names no bucket; write it as {scheme}://BUCKET/NAME.")
    if {"", ".", ".."} & set(parts):
        raise StoreError(
            f"{text} has a part in its name that is empty or consists of dots, which atdsr does "
            "not read; give the object another name."
        )
    return ObjectPath(f"{scheme}:/{bucket}", *parts)


def _local(text: str, rest: str) -> Path:
    """Return the path of an address with `file://`, whose special characters may be escaped."""
    from urllib.request import url2pathname

    path = rest.removeprefix("localhost")
    if not path.startswith("/"):
        raise StoreError(f"{text} names another machine; write a path on this one as file:///PATH.")
    return Path(url2pathname(path))


def list_objects(folder: ObjectPath) -> Iterator[str]:
    """Yield the keys of all objects in a folder and in those inside, without holding them.

    Raises:
        StoreError: The store cannot be listed.
    """
    with _sentences(folder, "listed"):
        for page in _library().list(_store(folder, _READ_SECONDS), folder.key or None):
            for each in page:
                if each["path"] != folder.key:  # some programs make an object for a folder
                    yield each["path"]


def download(
    path: ObjectPath, target: Path, *, most_bytes: int, is_wanted: Callable[[bytes], bool]
) -> None:
    """Read an object into a file, in parts.

    Args:
        path: The object.
        target: The file.
        most_bytes: Refuse a larger object.
        is_wanted: Tells from the first bytes, up to `PART`, whether the rest is read, too.

    Raises:
        StoreError: It does not exist, is too large, changes meanwhile, or cannot be read.
        OSError: The file cannot be written.
    """
    with target.open("wb") as file:
        content, size, tag = _read_part(path, 0, None)
        if size > most_bytes:
            raise StoreError(f"{path} has {size:,} bytes, more than the limit of {most_bytes:,}.")
        file.write(content)
        done = len(content)
        while 0 < done < size and (done > len(content) or is_wanted(content)):
            part, _, _ = _read_part(path, done, tag)
            file.write(part)
            done += len(part)


def _read_part(path: ObjectPath, start: int, tag: str | None) -> tuple[bytes, int, str | None]:
    """Return a part of an object, the size of the whole, and what tells this version of it."""
    options: dict[str, Any] = {"range": (start, start + PART)}
    if tag is not None:
        options["if_match"] = tag
    from obstore.exceptions import PreconditionError  # `_library` says how to install it

    with _sentences(path, "read"):
        try:
            answer = _library().get(_store(path, _READ_SECONDS), path.key, options=options)
            return bytes(answer.bytes()), answer.meta["size"], answer.meta["e_tag"]
        except PreconditionError:
            raise StoreError(f"{path} was changed while it was read; start again.") from None
        except Exception as error:
            is_empty = _Reason(error).status == "416" or "only 0 bytes long" in str(error)
            if start == 0 and is_empty:  # there is no part of nothing
                return b"", 0, None
            raise


def upload(file: Path, path: ObjectPath, *, overwrite: bool) -> None:
    """Write an object, wholly or not at all.

    Up to `SINGLE` bytes, one request makes the object, and makes it only if there is none. A larger
    one is sent in parts, which are deleted if one of them fails; whether there is such an object is
    then asked before.

    Args:
        file: What it is to hold.
        path: The object.
        overwrite: Whether an existing one may be replaced.

    Raises:
        ExistsError: It exists and may not be replaced.
        StoreError: It cannot be written.
        OSError: The file cannot be read.
    """
    in_parts = file.stat().st_size > SINGLE
    if in_parts and not overwrite and path.is_file():
        raise kept(path)
    content = file if in_parts else file.read_bytes()
    library = _library()
    with _sentences(path, "written"):
        try:
            library.put(
                _store(path, _WRITE_SECONDS),
                path.key,
                content,
                mode="overwrite" if overwrite or in_parts else "create",
                use_multipart=in_parts,
                chunk_size=_UPLOAD_PART,
                max_concurrency=4,
            )
        except library.exceptions.AlreadyExistsError:
            raise kept(path) from None


def _library() -> Any:
    """Import obstore."""
    import obstore
    import obstore.exceptions

    return obstore


@cache
def _open(scheme: str, bucket: str, seconds: int) -> Any:
    """Return a store of obstore, with settings from the environment as it reads them."""
    from obstore import store

    if scheme == "memory":
        return store.MemoryStore()
    options: dict[str, Any] = {
        "client_options": {"timeout": timedelta(seconds=seconds)},
        "retry_config": {"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=2 * seconds)},
    }
    if scheme == "gs":
        return store.GCSStore(bucket, **options)
    if scheme == "az":
        return store.AzureStore(container_name=bucket, **options)
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    options["client_options"]["allow_http"] = endpoint.startswith("http://")
    if endpoint:
        options["endpoint"] = endpoint
    if os.environ.get("AWS_SKIP_SIGNATURE", "").lower() not in ("true", "1"):
        options["credential_provider"] = _aws_credentials()
    return store.S3Store(bucket, **options)


def _store(path: ObjectPath, seconds: int) -> Any:
    # one store of objects in memory, whatever is done with it
    return _open(path.scheme, path.bucket, 0 if path.scheme == "memory" else seconds)


def _aws_credentials() -> Any:
    """Return what finds credentials as all programs for AWS do: variables, profiles, roles."""
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        return None  # obstore itself knows variables and roles
    try:
        return Boto3CredentialProvider()
    except ValueError:
        raise _MissingCredentialsError from None


class _MissingCredentialsError(ValueError):
    """There are no credentials at all."""


class _Reason:
    """What an error of obstore says, without addresses and headers, which may hold secrets.

    Attributes:
        text: All of it.
        code: The store's word for it, such as "NoSuchBucket"; empty if there is none.
        status: The status of the answer, such as "503"; empty if there was none.
    """

    def __init__(self, error: Exception) -> None:
        self.text = str(error).partition("\n\nDebug source")[0]
        code = re.search(r"<Code>(\w+)</Code>", self.text)
        status = re.search(r"status code: (\d{3})", self.text)
        self.code = code[1] if code else ""
        self.status = status[1] if status else ""

    @property
    def answer(self) -> str:
        """The store's answer in a word or two, such as "503 SlowDown"."""
        return f"{self.status} {self.code}".strip()


@contextmanager
def _sentences(path: ObjectPath, done: str) -> Iterator[None]:
    """Turn errors of obstore into sentences.

    Args:
        path: What is worked on.
        done: What cannot be done with it: "read", "written" or "listed".
    """
    try:
        yield
    except ImportError as error:
        raise StoreError(
            f"{path.scheme}:// needs an extra of atdsr ({error}); install it with: "
            f"{install_command('stores')}."
        ) from None
    except AtdsrError:
        raise
    except Exception as error:
        if not isinstance(error, OSError | ValueError) and not _is_of_library(error):
            raise
        raise StoreError(_sentence(path, done, error)) from None


def _is_of_library(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] in ("obstore", "botocore")


def _sentence(path: ObjectPath, done: str, error: Exception) -> str:
    reason, text = _Reason(error), str(error)
    advice = _ADVICE.get(path.scheme, "")
    if reason.code in _NO_BUCKET:
        return f"{path.top} does not exist; check the name of the bucket."
    if isinstance(error, FileNotFoundError):
        return f"{path} does not exist; check the name."
    if isinstance(error, _MissingCredentialsError) or "metadata" in text.partition("\n")[0]:
        return f"{path} cannot be {done}: there are no credentials; {advice}."
    if reason.code in _NO_CREDENTIALS or reason.status == "401":
        return f"{path} cannot be {done}: the store refuses the credentials ({reason.answer})."
    if reason.status == "403":
        return (
            f"{path} cannot be {done}: the credentials do not permit it ({reason.answer}); ask the "
            "owner of the bucket, or use others."
        )
    if reason.code in ("PermanentRedirect", "AuthorizationHeaderMalformed"):
        return f"{path.top} is in another region; set AWS_REGION to it."
    if reason.status.startswith("5") or reason.status == "429":
        return (
            f"{path} cannot be {done}: the store fails, also when asked again ({reason.answer}); "
            "start again later."
        )
    if reason.status:
        return f"{path} cannot be {done}: the store answers {reason.answer}."
    if "empty path segment" in reason.text:
        return (
            f"{path} cannot be {done}: it holds an object with an empty part in its name (//); "
            "give that another name, or list the names of the others with --manifest."
        )
    if "HTTP error" in reason.text or "sending request" in reason.text:
        return (
            f"{path} cannot be {done}: the store cannot be reached, or the connection breaks; "
            "check the network, and the address of the store."
        )
    return f"{path} cannot be {done}: the settings for {path.scheme}:// are wrong; {advice}."
