"""Writes `docs/errors.md`, a table of every message with which the program refuses something.

    python benchmarks/errors.py

The messages are read from the source: each place that makes an error of the project's, with the
values in it as words in capitals. A test checks that the page is up to date.
"""

import ast
import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from atdsr.base.escaping import markdown
from atdsr.base.scales import SCALES, list_scales

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src/atdsr"
PAGE = ROOT / "docs/errors.md"

FRAGMENTS = {"ValueError", "TagError", "_RefusedError", "_RejectedError", "_BusyError"}
"""Errors whose text another one puts into its sentence."""

_OURS = {
    "AtdsrError",
    "BadParameter",
    "UsageError",
    "section_error",
    "_InvalidValueError",
    *FRAGMENTS,
}
_WORDS = {
    "base.units",
    "base.escaping",
    "base.extras",
    "base.scales",
    "short",
    "shown_name",
    "_line",
}
"""Modules and functions that make words of a value, and no sentences."""

_PASSED_ON = re.compile(r"(\S+: )*[^a-z]+")
"""A message that is another one, after a name."""

_MESSAGE_AT = {"_InvalidValueError": 1}  # which argument it is, where not the first

HEADINGS = {
    "cli": "The command line",
    "batch": "`atdsr upscale`",
    "inference": "Enlarging",
    "imaging": "Pictures",
    "weights": "Models and weights",
    "evaluation": "`atdsr eval`",
    "datasets": "`atdsr data` and training sets",
    "training": "`atdsr train`",
    "reports": "`atdsr runs`, `atdsr explain` and pages",
    "export": "`atdsr export`",
    "web": "`atdsr web`",
    "network": "Configurations of networks",
    "base": "Files, settings and values",
}
"""Headings of the page by package; a package that is not here goes by its name, at the end."""

_HEAD = """# Errors

What atdsr says when it refuses something. The command line prints `error: ` before the sentence
and exits with 1; a wrong command line ends with 2. In Python, the sentence is the message of an
exception, and each of these exceptions derives from `atdsr.AtdsrError`.

Words in capitals stand for values, such as the name of a file. Words in brackets are there in some
cases only, and a bar separates what is there instead. Where no file or option is named, it stands
before the sentence. `benchmarks/errors.py` has written this page.
"""


@dataclass(frozen=True)
class Message:
    """A message of the program.

    Attributes:
        text: The sentence, with values as words in capitals.
        kind: The class of the error.
        module: The module that makes it, such as `weights.files`.
        line: Number of the line in that module.
    """

    text: str
    kind: str
    module: str
    line: int


def messages() -> list[Message]:
    """Return every message in the source, by module and line."""
    source = _Source.read()
    found: list[Message] = []
    for module, tree in source.trees.items():
        for call, scope in _calls(tree, source.scopes[module]):
            kind = ast.unparse(call.func).rpartition(".")[2]
            position = _MESSAGE_AT.get(kind, 0)
            if kind not in source.kinds or len(call.args) <= position:
                continue
            texts = source.texts(call.args[position], scope)
            texts = [text for text in texts if not _PASSED_ON.fullmatch(text)]
            found += [Message(text, kind, module, call.lineno) for text in texts]
    return list(dict.fromkeys(found))


def page(found: list[Message]) -> str:
    """Return the page with a table for each package."""
    packages = {message.module.partition(".")[0] for message in found}
    lines = [_HEAD]
    for package in [*HEADINGS, *sorted(packages - HEADINGS.keys())]:
        rows: dict[str, set[str]] = {}
        for message in found:
            if message.module.partition(".")[0] == package:
                rows.setdefault(message.text, set()).add(_shown(message.kind))
        if rows:
            lines += [
                f"\n## {HEADINGS.get(package, package)}\n",
                "| message | exception |",
                "|---|---|",
            ]
            lines += [
                f"| {markdown(text)} | {', '.join(sorted(kinds))} |"
                for text, kinds in sorted(rows.items(), key=lambda row: row[0].lower())
            ]
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def _shown(kind: str) -> str:
    if kind in ("BadParameter", "UsageError"):
        return "exit code 2"
    if kind in FRAGMENTS or kind.startswith(("_", "section")):
        return "part of others"
    return f"`{kind}`"


# ------------------------------------------------------------------------------------- the source

Scope = Mapping[str, ast.expr]
"""What names stand for: the value of each that is assigned once."""


@dataclass(frozen=True)
class _Source:
    """The modules of the project by their names.

    Attributes:
        trees: Their syntax.
        scopes: What the names of each stand for, imported ones too.
        functions: What each function returns, by the name of the function.
    """

    trees: Mapping[str, ast.Module]
    scopes: Mapping[str, Scope]
    functions: Mapping[str, list[tuple[ast.expr, Scope]]]

    @classmethod
    def read(cls) -> "_Source":
        """Read the source."""
        trees = {
            ".".join(path.relative_to(SOURCE).with_suffix("").parts): ast.parse(
                path.read_text("utf-8")
            )
            for path in sorted(SOURCE.rglob("*.py"))
        }
        own = {module: _assigned(tree.body) for module, tree in trees.items()}
        constants = {k: v for scope in own.values() for k, v in scope.items() if k.isupper()}
        scopes = {
            module: constants | _imported(tree.body, own) | own[module]
            for module, tree in trees.items()
        }
        functions: dict[str, list[tuple[ast.expr, Scope]]] = {}
        for module, tree in trees.items():
            for node in ast.walk(tree) if module not in _WORDS else ():
                if isinstance(node, ast.FunctionDef) and node.name not in _WORDS:
                    scope = {**scopes[module], **_assigned(node.body)}
                    values = [
                        r.value for r in ast.walk(node) if isinstance(r, ast.Return) and r.value
                    ]
                    texts = [value for value in values if _is_text(value)]
                    texts += [value for value in values if isinstance(value, ast.Call)]
                    functions.setdefault(node.name, []).extend((value, scope) for value in texts)
        return cls(trees, scopes, functions)

    @cached_property
    def kinds(self) -> set[str]:
        """The names of the project's errors."""
        classes = [
            node
            for tree in self.trees.values()
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef)
        ]
        kinds = set(_OURS)
        for _ in range(4):  # levels of inheritance
            kinds |= {
                c.name for c in classes if kinds & {ast.unparse(b).split(".")[-1] for b in c.bases}
            }
        return kinds

    def texts(self, node: ast.expr, scope: Scope, depth: int = 0) -> list[str]:
        """Return the texts that an expression can stand for, with words for unknown values."""
        if isinstance(node, ast.Constant):
            return [str(node.value)]
        if isinstance(node, ast.JoinedStr):
            return self._joined(node.values, scope, depth)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return self._joined([node.left, node.right], scope, depth)
        if isinstance(node, ast.FormattedValue):
            quotes = "'" if node.conversion == ord("r") else ""
            return [f"{quotes}{text}{quotes}" for text in self.texts(node.value, scope, depth)]
        if isinstance(node, ast.IfExp):
            first, second = (self.texts(n, scope, depth)[0] for n in (node.body, node.orelse))
            return [f"[{first or second}]" if not (first and second) else f"[{first} | {second}]"]
        if isinstance(node, ast.BoolOp):  # such as `error.strerror or error`
            return self.texts(node.values[0], scope, depth)
        if isinstance(node, ast.Name) and node.id in scope and depth < 4:
            value = scope[node.id]
            if isinstance(value, ast.Constant) and node.id.isupper():
                return [str(value.value)]
            if ast.unparse(value) == "math.lcm(*SCALES)":
                return [str(math.lcm(*SCALES))]
            if _is_text(value) or (isinstance(value, ast.Call) and self._called(value)):
                return self.texts(value, {**scope, node.id: ast.Name("")}, depth + 1)
        if isinstance(node, ast.Attribute) and node.attr.isupper() and node.attr in scope:
            return self.texts(ast.Name(node.attr), scope, depth)  # of another module
        if isinstance(node, ast.Call) and depth < 4 and self._called(node):
            return [
                t
                for value, inner in self._called(node)
                for t in self.texts(value, inner, depth + 1)
            ]
        return [_word(node)]

    def _joined(self, parts: list[ast.expr], scope: Scope, depth: int) -> list[str]:
        choices = [self.texts(part, scope, depth) for part in parts]
        return ["".join(texts) for texts in itertools.product(*choices)]

    def _called(self, call: ast.Call, depth: int = 0) -> list[tuple[ast.expr, Scope]]:
        """Return the sentences that a call can return, and what names stand for in each."""
        returned = self.functions.get(ast.unparse(call.func).rpartition(".")[2], [])
        return [
            (value, scope)
            for value, scope in returned
            if not isinstance(value, ast.Call) or (depth < 2 and self._called(value, depth + 1))
        ]


def _calls(node: ast.AST, scope: Scope) -> Iterator[tuple[ast.Call, Scope]]:
    """Yield the calls in a part of a module, with what names stand for there."""
    for child in ast.iter_child_nodes(node):
        inner = scope
        if isinstance(child, ast.FunctionDef):
            inner = {**scope, **_assigned(child.body)}
        if isinstance(child, ast.Call):
            yield child, scope
        yield from _calls(child, inner)


def _assigned(body: list[ast.stmt]) -> dict[str, ast.expr]:
    """Return the values of the names that some statements assign once."""
    values: dict[str, list[ast.expr]] = {}
    for node in itertools.chain.from_iterable(map(ast.walk, body)):
        if isinstance(node, ast.Assign):
            for target, value in _pairs(node.targets[0], node.value):
                if isinstance(target, ast.Name):
                    values.setdefault(target.id, []).append(value)
        elif isinstance(node, ast.For):  # each name stands for several values
            for name in ast.walk(node.target):
                if isinstance(name, ast.Name):
                    values.setdefault(name.id, []).extend([name, name])
    return {name: assigned[0] for name, assigned in values.items() if len(assigned) == 1}


def _imported(body: list[ast.stmt], own: Mapping[str, Scope]) -> dict[str, ast.expr]:
    """Return the values of the names that a module imports from others of the project."""
    return {
        alias.name: own[origin][alias.name]
        for node in body
        if isinstance(node, ast.ImportFrom)
        for origin in [(node.module or "").removeprefix("atdsr.")]
        for alias in node.names
        if alias.name in own.get(origin, ())
    }


def _pairs(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    """Return what is assigned to what, also by `a, b = 1, 2`."""
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        return list(zip(target.elts, value.elts, strict=False))
    return [(target, value)]


def _is_text(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str)
    if isinstance(node, ast.IfExp):
        return _is_text(node.body) and _is_text(node.orelse)
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Add) and _is_text(node.left)
    return isinstance(node, ast.JoinedStr)


def _word(node: ast.expr) -> str:
    """Return a word in capitals for a value."""
    if isinstance(node, ast.Name):
        return node.id.strip("_").upper()
    if isinstance(node, ast.Attribute):
        return "REASON" if node.attr == "strerror" else node.attr.strip("_").upper()
    if isinstance(node, ast.Subscript):
        place = ast.unparse(node.slice)
        if isinstance(node.value, ast.Attribute) and node.value.attr == "shape":
            return {"0": "HEIGHT", "1": "WIDTH"}.get(place, "CHANNELS")
        return _word(node.value)
    if isinstance(node, ast.Call):
        function = ast.unparse(node.func).rpartition(".")[2]
        if function == "list_scales":
            return list_scales(*(ast.literal_eval(argument) for argument in node.args))
        if function == "_line":
            return "line N"
        if function == "len":
            return "N"
        if function == "join" and isinstance(node.args[0], ast.GeneratorExp):
            return _word(node.args[0].generators[0].iter)
        if isinstance(node.func, ast.Attribute) and not isinstance(
            node.func.value, ast.Constant | ast.Name
        ):
            return _word(node.func.value)
        if isinstance(node.func, ast.Name) and isinstance(node.args[0], ast.Constant):
            return _word(node.func)
        return _word(node.args[0] if node.args else node.func)
    return "N" if isinstance(node, ast.BinOp) else "VALUE"


if __name__ == "__main__":
    PAGE.write_text(page(messages()), "utf-8")
