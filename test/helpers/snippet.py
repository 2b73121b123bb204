"""Checks and runs a snippet of Python: snippet.py imports|compile|run FILE

`# -> value` behind an expression is asserted, as in the TypeScript ones; `await` may stand at the top.
imports prints the modules that it imports and this Python does not have.
"""

import ast
import asyncio
import importlib.util
import inspect
import re
import sys

ASYNC = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


def parse(path):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    return compile(text, path, "exec", flags=ast.PyCF_ONLY_AST | ASYNC), text.splitlines()


class Checks(ast.NodeTransformer):
    """Puts every value that a comment tells in a call that compares them."""

    def __init__(self, lines):
        self.wanted = {}
        for number, line in enumerate(lines, 1):
            comment = re.search(r"# -> (.*)$", line)
            if comment:
                self.wanted[number] = comment.group(1)
        self.found = set()

    def visit_Expr(self, node):
        wanted = self.wanted.get(node.end_lineno)
        if wanted is None:
            return self.generic_visit(node)
        self.found.add(node.end_lineno)
        expected = ast.parse(wanted, mode="eval").body
        check = ast.Call(
            func=ast.Name(id="_show", ctx=ast.Load()),
            args=[ast.Constant(node.end_lineno), node.value, expected],
            keywords=[],
        )
        return ast.copy_location(ast.Expr(value=check), node)


def run(path):
    tree, lines = parse(path)
    checks = Checks(lines)
    tree = ast.fix_missing_locations(checks.visit(tree))
    missing = set(checks.wanted) - checks.found
    assert not missing, f"no expression on line {sorted(missing)}"
    reached = set()

    def show(line, value, expected):
        reached.add(line)
        assert value == expected, f"line {line}: {value!r} is not {expected!r}"

    code = compile(tree, path, "exec", flags=ASYNC)
    main = eval(code, {"__name__": "__main__", "_show": show})
    if inspect.iscoroutine(main):
        asyncio.run(main)
    assert reached == checks.found, f"lines {sorted(checks.found - reached)} were not reached"


def imports(path):
    names = set()
    for node in ast.walk(parse(path)[0]):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.split(".")[0])
    print("\n".join(sorted(name for name in names if importlib.util.find_spec(name) is None)))


{"imports": imports, "compile": parse, "run": run}[sys.argv[1]](sys.argv[2])
