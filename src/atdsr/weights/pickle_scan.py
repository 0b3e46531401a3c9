"""Scan a pickle before PyTorch reads it, for what it would call and what it would cost.

`torch.load(weights_only=True)` calls only functions on a list of its own. Some of these create
large objects from a few bytes, and a few hundred bytes can keep it busy for hours. So the
operations are interpreted here first, tracking sizes only: no object is created.
"""

import pickletools
from typing import IO, Any

_MAX_OPERATIONS = 500_000  # a tensor takes about 30, and an ATD-light has 683 of them
_MAX_TUPLE_SIZE = 10_000  # values in a tuple and its inner tuples, each as often as it occurs

DAMAGED = "is not a PyTorch file, or it is damaged; fetch it again."
"""The message about a file that cannot be read as what it seems to be."""

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
"""Names in the module torch; storages such as `FloatStorage` are allowed as well."""

_RUNS_CODE = {
    "commands", "ctypes", "importlib", "nt", "os", "platform", "posix", "pty", "runpy", "shutil",
    "socket", "subprocess", "sys", "webbrowser", "builtins.__import__", "builtins.compile",
    "builtins.eval", "builtins.exec", "builtins.getattr", "builtins.open",
}  # fmt: skip
"""Modules and functions with which a pickle would run code."""

_CONSTANTS = {
    "NONE", "NEWFALSE", "NEWTRUE", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_SET", "EMPTY_TUPLE",
    "BININT", "BININT1", "BININT2", "BINFLOAT", "LONG1", "BINUNICODE", "SHORT_BINSTRING",
    "SHORT_BINUNICODE", "BINUNICODE8",
}  # fmt: skip
_LATER_OPERATIONS = {"SHORT_BINUNICODE", "BINUNICODE8", "MEMOIZE", "STACK_GLOBAL", "FRAME"}
_CONSUMED = {"APPEND": 1, "SETITEM": 2, "BUILD": 1}  # values that go into the one below them
_REPLACED = {"REDUCE": 2, "NEWOBJ": 2, "BINPERSID": 1}  # values that are replaced by a result
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _RejectedError(Exception):
    """A pickle that is not to be read; the message becomes a sentence about the file."""


def pickle_rejection(stream: IO[bytes], count: int = 1) -> str | None:
    """Return why pickles must not be read, or None if they may be.

    Args:
        stream: Stream of bytes, positioned at the first pickle.
        count: Number of pickles, one after the other.

    Returns:
        A sentence that lacks its first words, the name of the file.
    """
    budget = _MAX_OPERATIONS
    try:
        for _ in range(count):
            interpreter = _SizeInterpreter()
            for operation, argument, _ in pickletools.genops(stream):
                budget -= 1
                if budget < 0:
                    return "holds more values than any file of weights; it was not loaded."
                interpreter.step(operation.name, argument)
            if interpreter.uses_later_protocol:
                return _LATER_PROTOCOL
    except _RejectedError as rejected:
        return str(rejected)
    except Exception:  # a pickle that is damaged fails in as many ways as it can be damaged
        return DAMAGED
    return None


class _SizeInterpreter:
    """Interpret the operations of a pickle, with the number of values in place of each object.

    Texts are kept as they are, since they may name a module.

    Attributes:
        uses_later_protocol: Whether an operation belongs to a later protocol than 2.
    """

    def __init__(self) -> None:
        self.uses_later_protocol = False
        self._stack: list[int | str] = []
        self._outer_stacks: list[list[int | str]] = []
        self._memo: dict[int, int | str] = {}

    def step(self, name: str, argument: Any) -> None:
        """Interpret one operation.

        Raises:
            _RejectedError: The operation is not allowed.
            IndexError, KeyError, ValueError: The operation makes no sense at this point.
        """
        self.uses_later_protocol |= name in _LATER_OPERATIONS
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
        elif name in _CONSUMED:
            self._pop(_CONSUMED[name])
        elif name in _REPLACED:
            self._pop(_REPLACED[name])
            self._stack.append(1)
        elif name in _TUPLES:
            self._tuple(self._pop(_TUPLES[name]))
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise _RejectedError(_LATER_PROTOCOL)

    def _mark(self, name: str) -> None:
        if name == "MARK":
            self._outer_stacks.append(self._stack)
            self._stack = []
            return
        values, self._stack = self._stack, self._outer_stacks.pop()
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
        if size > _MAX_TUPLE_SIZE:  # as a key it would be hashed again and again
            raise _RejectedError("holds tuples too large for a file of weights; it was not loaded.")
        self._stack.append(size)


def _check_global(module: str, name: str) -> None:
    """Reject what PyTorch would not call, and what creates large objects from a few bytes.

    Raises:
        _RejectedError: The sentence names the object.
    """
    module = "builtins" if module == "__builtin__" else module
    full = f"{module}.{name}"
    is_storage = module in ("torch", "torch.storage") and name.endswith("Storage")
    if full in _ALLOWED_NAMES or is_storage or (module == "torch" and name in _ALLOWED_TYPES):
        return
    shown = repr(full[:100])
    if _RUNS_CODE & {module.partition(".")[0], full}:
        raise _RejectedError(f"would run code when read ({shown}); it was not loaded.")
    raise _RejectedError(
        f"holds objects other than tensors and plain values ({shown}), which are never loaded; "
        "save the model's state_dict alone with torch.save."
    )
