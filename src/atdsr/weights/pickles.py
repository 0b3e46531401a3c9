"""A look at a pickle before PyTorch reads it: what it would call, and what it would cost.

`torch.load(weights_only=True)` calls nothing but functions on a list of its own. Some of these
make much out of little, and a few hundred bytes can keep it busy for hours. So the operations
are followed here first, by size only: nothing is made.
"""

import pickletools
from typing import IO, Any

_MOST_OPERATIONS = 500_000  # a tensor takes about 30, and an ATD-light has 683 of them
_LARGEST_TUPLE = 10_000  # values in a tuple and the tuples in it, each as often as it occurs

DAMAGED = "is no PyTorch file or is damaged; fetch it again."
"""What to say of a file that cannot be read as what it seems to be."""

_LATER_PROTOCOL = (
    "is a pickle of another protocol than 2, which PyTorch does not read safely; save the model's "
    "state_dict with torch.save and its default protocol."
)

_ALLOWED_NAMES = {
    "collections.Counter",
    "collections.OrderedDict",
    "builtins.complex",
    "builtins.set",
    "torch.Size",
    "torch.device",
    "torch.nn.parameter.Parameter",
    "torch.serialization._get_layout",
    "torch._utils._rebuild_meta_tensor_no_storage",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch._utils._rebuild_qtensor",
    "torch._utils._rebuild_sparse_tensor",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",
}
_ALLOWED_TYPES = {
    *("float16", "float32", "float64", "bfloat16", "half", "float", "double"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"),
    *("complex32", "complex64", "complex128", "qint8", "quint8", "qint32"),
    *("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"),
    *("per_tensor_affine", "per_tensor_symmetric", "per_channel_affine"),
    *("per_channel_symmetric", "per_channel_affine_float_qparams"),
}
"""In the module torch; names of storages, such as `FloatStorage`, are allowed as well."""

_RUNS_CODE = {
    "commands", "ctypes", "importlib", "nt", "os", "platform", "posix", "pty", "runpy", "shutil",
    "socket", "subprocess", "sys", "webbrowser", "builtins.__import__", "builtins.compile",
    "builtins.eval", "builtins.exec", "builtins.getattr", "builtins.open",
}  # fmt: skip
"""Modules and functions that have no place among weights."""

_CONSTANTS = {
    "NONE", "NEWFALSE", "NEWTRUE", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_SET", "EMPTY_TUPLE",
    "BININT", "BININT1", "BININT2", "BINFLOAT", "LONG1", "BINUNICODE", "SHORT_BINSTRING",
    "SHORT_BINUNICODE", "BINUNICODE8",
}  # fmt: skip
_LATER = {"SHORT_BINUNICODE", "BINUNICODE8", "MEMOIZE", "STACK_GLOBAL", "FRAME"}
_TAKEN = {"APPEND": 1, "SETITEM": 2, "BUILD": 1}  # values that vanish into the one below
_REPLACED = {"REDUCE": 2, "NEWOBJ": 2, "BINPERSID": 1}  # values that become another
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Refused(Exception):  # noqa: N818 - becomes a sentence about the file
    pass


def objection(stream: IO[bytes], count: int = 1) -> str | None:
    """Why pickles are not to be read.

    Args:
        stream: of bytes, at the first of them.
        count: how many there are, one after the other.

    Returns:
        A sentence without its beginning, the file's name; None if there is nothing against it.
    """
    budget = _MOST_OPERATIONS
    try:
        for _ in range(count):
            follower = _Follower()
            for operation, argument, _ in pickletools.genops(stream):
                budget -= 1
                if budget < 0:
                    return "holds more values than any file of weights; it was not loaded."
                follower.step(operation.name, argument)
            if follower.is_later:
                return _LATER_PROTOCOL
    except _Refused as refused:
        return str(refused)
    except Exception:  # a pickle that is damaged fails in as many ways as it can be damaged
        return DAMAGED
    return None


class _Follower:
    """Follows the operations of a pickle; a value is the number of values in it, or a text.

    Attributes:
        is_later: whether an operation was of a later protocol than 2.
    """

    def __init__(self) -> None:
        self.is_later = False
        self._stack: list[int | str] = []
        self._outer: list[list[int | str]] = []
        self._memo: dict[int, int | str] = {}

    def step(self, name: str, argument: Any) -> None:
        """Take one operation.

        Raises:
            _Refused: it is not allowed.
            IndexError, KeyError, ValueError: it makes no sense here.
        """
        self.is_later = self.is_later or name in _LATER
        if name == "GLOBAL":
            _check_global(*argument.rsplit(" ", 1))
            self._stack.append(1)
        elif name == "STACK_GLOBAL":
            attribute, module = self._stack.pop(), self._stack.pop()
            _check_global(str(module), str(attribute))
            self._stack.append(1)
        elif name in _CONSTANTS:
            self._stack.append(argument if isinstance(argument, str) else 1)
        elif name in ("MARK", "TUPLE", "APPENDS", "SETITEMS"):
            self._mark(name)
        elif name in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self._stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self._stack.append(self._memo[argument])
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self._stack[-1]
        elif name in _TAKEN:
            self._pop(_TAKEN[name])
        elif name in _REPLACED:
            self._pop(_REPLACED[name])
            self._stack.append(1)
        elif name in _TUPLES:
            self._tuple(self._pop(_TUPLES[name]))
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise _Refused(_LATER_PROTOCOL)

    def _mark(self, name: str) -> None:
        if name == "MARK":
            self._outer.append(self._stack)
            self._stack = []
            return
        values, self._stack = self._stack, self._outer.pop()
        if name == "TUPLE":
            self._tuple(values)

    def _pop(self, count: int) -> list[int | str]:
        values = self._stack[-count:]
        if len(values) < count:
            raise IndexError
        del self._stack[-count:]
        return values

    def _tuple(self, values: list[int | str]) -> None:
        size = 1 + sum(1 if isinstance(value, str) else value for value in values)
        if size > _LARGEST_TUPLE:  # it would be gone through wherever it is a key
            raise _Refused("holds tuples too large for a file of weights; it was not loaded.")
        self._stack.append(size)


def _check_global(module: str, name: str) -> None:
    """Refuse what PyTorch would not call, or what makes much out of little.

    Raises:
        _Refused: naming it.
    """
    module = "builtins" if module == "__builtin__" else module
    full = f"{module}.{name}"
    is_storage = module in ("torch", "torch.storage") and name.endswith("Storage")
    if full in _ALLOWED_NAMES or is_storage or (module == "torch" and name in _ALLOWED_TYPES):
        return
    shown = repr(full[:100])
    if _RUNS_CODE & {module.partition(".")[0], full}:
        raise _Refused(f"would run code when read ({shown}); it was not loaded.")
    raise _Refused(
        f"holds objects other than tensors and plain values ({shown}), which are never loaded; "
        "save the model's state_dict alone with torch.save."
    )
