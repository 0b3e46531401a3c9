"""One name has one meaning: no two public classes of the package share one."""

import ast
from collections import defaultdict
from pathlib import Path

import atdsr

SOURCES = Path(atdsr.__file__).parent


def test_public_classes_have_distinct_names() -> None:
    modules: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                modules[node.name].append(path.relative_to(SOURCES).as_posix())
    assert len(modules) > 50
    assert {name: paths for name, paths in modules.items() if len(paths) > 1} == {}
