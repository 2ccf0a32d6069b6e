"""Mutation check: break formulas one at a time and see whether a test fails.

    python scripts/mutate.py [MODULE ...] [--sample 15] [--seed 1] [--jobs 1] [--tests tests/theory] [--map FILE]
                             [--package qmodel.theory]

MODULE is a name in the package (`rank.soap`), all of them by default. Each mutant changes one place of a module:

    plus, minus         a + b <-> a - b                  comparison    a < b <-> a <= b, a < b -> a >= b, == <-> !=
    times, over         a * b <-> a / b; a ** b -> a * b  boolean       and <-> or; `not` dropped
    factor, term        a * b, a / b -> a; a + b -> a    slice         x[i:] -> x[i + 1:], x[:i] -> x[:i - 1]
    sign                -a -> a                          range         range(n) -> range(n - 1)
    constant            n -> n + 1, n -> 2 n             extreme       min <-> max

Left alone: constants under 1e-5 (tolerances), texts and errors, default arguments, annotations, decorators. The
source stays as it is: tests are collected once; each mutant lives in a fork, in which the functions' code is
replaced and the tests that reach the changed function run, those that are quick and reach little else first,
until one fails (killed), or takes several times as long as usual (killed), or none does or tests of `--budget`
CPU seconds have passed (survived). A first run without mutants finds who reaches what; `--map` keeps that for
the next time. Mutants that compute the same as the original are listed, with the reason, in
`scripts/equivalent_mutants.toml` (`package` where that is not qmodel.theory). Exit code 1 if any other survives.
"""

from __future__ import annotations

import argparse
import ast
import copy
import gc
import importlib
import inspect
import json
import os
import pkgutil
import random
import resource
import sys
import time
import tomllib
import types
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

PACKAGE = "qmodel.theory"
KEEPS_RESULTS = "qmodel.theory"
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.toml")
TOLERANCE = 1e-5
KILLED, BROKEN = 1, 3
SILENT = ("NotAnalysable", "InputError")

Change = Callable[[ast.AST], ast.AST]


@dataclass(frozen=True)
class Mutant:
    """One change: where it is, what it was and became, and the module's code with it."""

    module: str
    function: str
    line: int
    before: str
    after: str
    code: types.CodeType

    def __str__(self) -> str:
        return f"{self.module}:{self.line} {self.function.split(':')[1]}: {self.before}  ->  {self.after}"

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.module, self.function.split(":")[1], self.before, self.after


# --- what can be changed --------------------------------------------------------------------------


def _swapped(operator: type[ast.operator]) -> Change:
    return lambda node: ast.BinOp(node.left, operator(), node.right)


def _compared(operator: type[ast.cmpop]) -> Change:
    return lambda node: ast.Compare(node.left, [operator(), *node.ops[1:]], node.comparators)


BINARY: dict[type[ast.operator], list[Change]] = {
    ast.Add: [_swapped(ast.Sub), lambda node: node.left],
    ast.Sub: [_swapped(ast.Add), lambda node: node.left],
    ast.Mult: [_swapped(ast.Div), lambda node: node.left, lambda node: node.right],
    ast.Div: [_swapped(ast.Mult), lambda node: node.left],
    ast.Pow: [_swapped(ast.Mult)],
}
COMPARED: dict[type[ast.cmpop], list[Change]] = {
    ast.Lt: [_compared(ast.LtE), _compared(ast.GtE)],
    ast.LtE: [_compared(ast.Lt), _compared(ast.Gt)],
    ast.Gt: [_compared(ast.GtE), _compared(ast.LtE)],
    ast.GtE: [_compared(ast.Gt), _compared(ast.Lt)],
    ast.Eq: [_compared(ast.NotEq)],
    ast.NotEq: [_compared(ast.Eq)],
}


def changes(node: ast.AST) -> list[Change]:
    """The changes of this node, by the table at the top."""
    if isinstance(node, ast.BinOp):
        return [] if _is_text(node) else BINARY.get(type(node.op), [])
    if isinstance(node, ast.Compare):
        return COMPARED.get(type(node.ops[0]), [])
    if isinstance(node, ast.BoolOp):
        other = ast.Or if isinstance(node.op, ast.And) else ast.And
        return [lambda node: ast.BoolOp(other(), node.values)]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        return [lambda node: node.operand]
    if isinstance(node, ast.Constant) and _is_number(node.value):
        one = [lambda node: ast.Constant(node.value + 1)]
        return one if node.value == 0 or node.value == 1 else [*one, lambda node: ast.Constant(2 * node.value)]
    return _calls(node) + _slices(node)


def _is_text(node: ast.BinOp) -> bool:
    sides = (node.left, node.right)
    return any(isinstance(side, ast.JoinedStr | ast.List | ast.Tuple) or _is_word(side) for side in sides)


def _is_word(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_number(value: object) -> bool:
    """A number that is no tolerance, and that 1 more changes."""
    if type(value) not in (int, float):
        return False
    return not 0 < abs(value) < TOLERANCE and value + 1 != value  # type: ignore[arg-type, operator]


def _calls(node: ast.AST) -> list[Change]:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or not node.args:
        return []
    if node.func.id == "range":
        fewer = lambda node: ast.Call(node.func, [*node.args[:-1], _less(node.args[-1])], node.keywords)  # noqa: E731
        return [fewer] if len(node.args) < 3 else []
    other = {"min": "max", "max": "min"}.get(node.func.id)
    return [] if other is None else [lambda node: ast.Call(ast.Name(other, ast.Load()), node.args, node.keywords)]


def _slices(node: ast.AST) -> list[Change]:
    if not isinstance(node, ast.Slice):
        return []
    found: list[Change] = []
    if node.lower is not None and not isinstance(node.lower, ast.Constant):
        found.append(
            lambda node: ast.Slice(ast.BinOp(node.lower, ast.Add(), ast.Constant(1)), node.upper, node.step)
        )
    if node.upper is not None and not isinstance(node.upper, ast.Constant):
        found.append(lambda node: ast.Slice(node.lower, _less(node.upper), node.step))
    return found


def _less(node: ast.expr) -> ast.expr:
    return ast.BinOp(node, ast.Sub(), ast.Constant(1))


# --- where ----------------------------------------------------------------------------------------


def places(tree: ast.Module) -> Iterator[tuple[str, ast.AST, ast.AST, str, int | None]]:
    """Nodes inside functions: (outermost function, node, its parent, the parent's field, index in the field)."""

    def walk(
        node: ast.AST, owner: str | None, path: str
    ) -> Iterator[tuple[str, ast.AST, ast.AST, str, int | None]]:
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "args") and not isinstance(node, ast.Call):
                continue
            several = isinstance(value, list)
            for index, child in enumerate(value if several else [value]):
                if not isinstance(child, ast.AST) or _is_silent(child):
                    continue
                inner, below = owner, path
                if isinstance(child, ast.FunctionDef | ast.ClassDef):
                    below = f"{path}.{child.name}".lstrip(".")
                if owner is None and isinstance(child, ast.FunctionDef | ast.Lambda):
                    inner = below if isinstance(child, ast.FunctionDef) else f"lambda@{child.lineno}"
                if inner is not None and not isinstance(child, ast.FunctionDef | ast.Lambda):
                    yield inner, child, node, name, index if several else None
                yield from walk(child, inner, below)

    yield from walk(tree, None, "")


def _is_silent(node: ast.AST) -> bool:
    """Texts, errors and refusals: nothing that computes."""
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Assert):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in SILENT


def mutants(module: str, count: int, seed: int) -> list[Mutant]:
    """A sample of the module's mutants, spread over its places: no place twice while others are left."""
    file = _file(module)
    source = file.read_text(encoding="utf-8")
    tree = ast.parse(source)
    sites = [(number, changes(place[1])) for number, place in enumerate(places(tree))]
    chance = random.Random(f"{module} {seed}")
    offers = []
    for number, possible in sites:
        order = chance.sample(range(len(possible)), len(possible))
        offers += [(turn, chance.random(), number, which) for turn, which in enumerate(order)]
    chosen = sorted(offers)[:count] if count else offers
    return [_mutant(module, file, tree, number, which) for _, _, number, which in sorted(c[:4] for c in chosen)]


def _mutant(module: str, file: Path, tree: ast.Module, number: int, which: int) -> Mutant:
    changed = copy.deepcopy(tree)
    owner, node, parent, field, index = list(places(changed))[number]
    after = ast.fix_missing_locations(ast.copy_location(changes(node)[which](copy.deepcopy(node)), node))
    mutant_parent = copy.copy(parent)
    if index is None:
        setattr(parent, field, after)
    else:
        getattr(parent, field)[index] = after
    code = compile(ast.fix_missing_locations(changed), str(file), "exec")
    shown = _in_context(mutant_parent, node, parent, after)
    line = getattr(node, "lineno", getattr(parent, "lineno", 0))
    return Mutant(module, f"{module}:{owner}", line, *shown, code)


def _in_context(before: ast.AST, node: ast.AST, after: ast.AST, changed: ast.AST) -> tuple[str, str]:
    """The change in words: with what stands around a bare constant, the node itself otherwise."""
    if isinstance(node, ast.Constant | ast.Slice) and isinstance(after, ast.expr):
        told = ast.unparse(after)
        original = copy.copy(after)
        for name, value in ast.iter_fields(after):
            if value is changed:
                setattr(original, name, node)
            elif isinstance(value, list):
                setattr(original, name, [node if item is changed else item for item in value])
        return ast.unparse(original), told
    return ast.unparse(node), ast.unparse(changed)


def _file(module: str) -> Path:
    return Path(str(importlib.import_module(f"{PACKAGE}.{module}").__file__))


# --- code that lives ------------------------------------------------------------------------------


def live_with(code: types.CodeType) -> None:
    """Give every living function of the module the code it has in `code`."""
    by_place: dict[tuple[str, int], types.CodeType] = {}
    pending = [code]
    while pending:
        each = pending.pop()
        by_place[each.co_qualname, each.co_firstlineno] = each
        pending += [inner for inner in each.co_consts if isinstance(inner, types.CodeType)]
    for function in living().get(code.co_filename, []):
        new = by_place.get((function.__code__.co_qualname, function.__code__.co_firstlineno))
        if new is not None and new.co_freevars == function.__code__.co_freevars:
            function.__code__ = new


@cache
def living() -> dict[str, list[types.FunctionType]]:
    """The functions of every file, found once: the inner ones made later take their code from the outer ones."""
    found: dict[str, list[types.FunctionType]] = {}
    for each in gc.get_objects():
        if type(each) is types.FunctionType:
            found.setdefault(each.__code__.co_filename, []).append(each)
    return found


@cache
def keeping() -> list[Any]:
    """Functions that keep results of the package: a mutant, or who reaches what, would not show in those."""
    kept = [each for each in gc.get_objects() if hasattr(type(each), "cache_clear")]
    return [each for each in kept if str(getattr(each, "__module__", "")).startswith((PACKAGE, KEEPS_RESULTS))]


def forget() -> None:
    for each in keeping():
        each.cache_clear()


def watch(module: str, reached: set[str]) -> None:
    """Have every function of the module note that it was reached."""
    file = _file(module)
    tree = ast.parse(file.read_text(encoding="utf-8"))

    def note(owner: str) -> ast.expr:
        return ast.parse(f"__reached__.add({f'{module}:{owner}'!r})", mode="eval").body

    def visit(node: ast.AST, path: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                visit(child, f"{path}.{child.name}".lstrip("."))
            elif isinstance(child, ast.FunctionDef):
                child.body.insert(0, ast.Expr(note(f"{path}.{child.name}".lstrip("."))))
            elif isinstance(child, ast.Lambda):
                both = ast.Tuple([note(f"lambda@{child.lineno}"), child.body], ast.Load())
                child.body = ast.Subscript(both, ast.Constant(1), ast.Load())
            else:
                visit(child, path)

    visit(tree, "")
    for node in ast.walk(tree):
        if "lineno" in getattr(node, "_attributes", ()) and not hasattr(node, "lineno"):
            node.lineno = node.end_lineno = 1  # type: ignore[attr-defined]
            node.col_offset = node.end_col_offset = 0  # type: ignore[attr-defined]
    vars(importlib.import_module(f"{PACKAGE}.{module}"))["__reached__"] = reached
    live_with(compile(tree, str(file), "exec"))


# --- running --------------------------------------------------------------------------------------


class Check:
    """A pytest plugin: in place of running the collected tests once, it runs them against every mutant."""

    def __init__(self, options: argparse.Namespace, modules: list[str]) -> None:
        self.options, self.modules, self.failed = options, modules, False
        self.survivors: list[Mutant] = []
        self.known = _equivalents()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.failed |= report.failed

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.items = {item.nodeid: item for item in session.items}
        living()
        forget()
        gc.freeze()  # forks need not look through all that is there
        kept = self.options.map and self.options.map.exists()
        self.seen = json.loads(self.options.map.read_text()) if kept else self._map()
        every, killed, same = 0, 0, 0
        for module in self.modules:
            tally = self._module(module)
            every, killed, same = every + tally.total(), killed + tally["killed"], same + tally["equivalent"]
        print(f"{killed} of {every - same} mutants killed, {same} equivalent")
        return True

    def _map(self) -> dict[str, tuple[float, list[str]]]:
        """Seconds of every test and the functions it reaches, found in a fork."""
        read, write = os.pipe()
        if os.fork() == 0:
            self._quiet()
            reached: set[str] = set()
            for module in all_modules():
                watch(module, reached)
            seen = {}
            for name, item in self.items.items():
                reached.clear()
                forget()
                self.failed, begin = False, time.process_time()
                item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
                if not self.failed:
                    seen[name] = (round(time.process_time() - begin, 3), sorted(reached))
            with os.fdopen(write, "w") as pipe:
                json.dump(seen, pipe)
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            text = pipe.read()
        os.wait()
        failing = [name for name in self.items if name not in json.loads(text)]
        print(
            f"{len(failing)} of {len(self.items)} tests fail without a mutant: {' '.join(failing[:5])}", flush=True
        )
        if self.options.map:
            self.options.map.write_text(text)
        return json.loads(text)

    def _module(self, module: str) -> Counter[str]:
        tally: Counter[str] = Counter()
        begin, running = time.time(), {}
        pending = mutants(module, self.options.sample, self.options.seed)
        while pending or running:
            while pending and len(running) < self.options.jobs:
                mutant = pending.pop()
                running[self._start(mutant)] = mutant
            process, status = os.wait()
            mutant = running.pop(process)
            if os.WIFEXITED(status) and os.WEXITSTATUS(status) == BROKEN:
                raise RuntimeError(f"the check itself failed on {mutant}")
            if status != 0:
                tally["killed"] += 1
            elif mutant.key in self.known:
                tally["equivalent"] += 1
            else:
                tally["survived"] += 1
                self.survivors.append(mutant)
                print(f"survived  {mutant}", flush=True)
        counts = ", ".join(f"{tally[word]} {word}" for word in ("killed", "survived", "equivalent"))
        print(f"{module:28} {counts} ({time.time() - begin:.0f} s)", flush=True)
        return tally

    def _start(self, mutant: Mutant) -> int:
        """A fork that ends with 0 if no test fails."""
        process = os.fork()
        if process:
            return process
        said = os.dup(1)
        self._quiet()
        try:
            loud = self.options.verbose
            self._run(mutant, lambda name: loud and os.write(said, f"killed    {mutant}  by {name}\n".encode()))
        finally:
            os._exit(BROKEN)

    def _run(self, mutant: Mutant, tell: Callable[[str], object]) -> None:
        tests = [
            (took * len(reached), took, name)
            for name, (took, reached) in self.seen.items()
            if mutant.function in reached
        ]
        live_with(mutant.code)
        usual, begin = 0.0, time.process_time()
        for _, took, name in sorted(tests):
            usual += took
            if usual > self.options.budget or time.process_time() - begin > 2.0 * self.options.budget:
                break
            if name not in self.items:
                continue
            limit = int(time.process_time() + 5 + 5 * took)
            resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))
            self.failed = False
            self.items[name].ihook.pytest_runtest_protocol(item=self.items[name], nextitem=None)
            if self.failed:
                tell(name)
                os._exit(KILLED)
        os._exit(0)

    def _quiet(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _equivalents() -> set[tuple[str, str, str, str]]:
    if not EQUIVALENT.exists():
        return set()
    every = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))["mutant"]
    listed = [each for each in every if each.get("package", PACKAGE) == PACKAGE]
    return {(each["module"], each["function"], each["before"], each["after"]) for each in listed}


def all_modules() -> list[str]:
    package = importlib.import_module(PACKAGE)
    inside = pkgutil.walk_packages(package.__path__, f"{PACKAGE}.")
    return sorted(found.name.removeprefix(f"{PACKAGE}.") for found in inside if not found.ispkg)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=inspect.getdoc(sys.modules[__name__]).partition("\n")[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE")
    parser.add_argument("--package", default=PACKAGE, help="whose modules are changed")
    parser.add_argument("--sample", type=int, default=15, help="mutants a module; 0: all of them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--tests", default="tests/theory")
    parser.add_argument("--budget", type=float, default=60.0, help="CPU seconds of tests a mutant, as usual")
    parser.add_argument("--verbose", action="store_true", help="name the test that kills each mutant")
    parser.add_argument("--map", type=Path, help="JSON file for which test reaches what; written if missing")
    return parser.parse_args()


def main() -> int:
    global PACKAGE
    from hypothesis import Phase, settings

    phases = (Phase.explicit, Phase.generate)
    settings.register_profile("mutation", derandomize=True, deadline=None, database=None, phases=phases)
    os.environ["HYPOTHESIS_PROFILE"] = "mutation"
    sys.path.insert(0, str(Path.cwd()))
    options = arguments()
    PACKAGE = options.package
    check = Check(options, options.modules or all_modules())
    for module in all_modules():
        importlib.import_module(f"{PACKAGE}.{module}")
    marked = [
        "-q",
        "-s",
        "-m",
        "not slow and not torch",
        "-p",
        "no:cacheprovider",
        "--disable-warnings",
        "--no-summary",
    ]
    code = pytest.main([*options.tests.split(), *marked], plugins=[check])
    return int(bool(check.survivors)) or int(code)


if __name__ == "__main__":
    sys.exit(main())
