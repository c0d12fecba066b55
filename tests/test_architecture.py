"""The house keeps its rules: imports point downward, the package is light, nothing dangerous is called."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import panformer
from panformer.core.part import FAMILIES

SRC = Path(panformer.__file__).parent
TESTS = Path(__file__).parent
LEVELS = (  # each may import from itself and from those before it
    {"core"},
    {"ops"},
    {*FAMILIES, "decoders"},
    {"model"},
    {"data", "train", "runtime", "convert", "measure", "parallel", "interpret", "export", "generate"},
    {"choose", "claims", "papers", "compare", "bench", "serve", "hf"},
    {"atlas"},
    {"cli"},
)
LEVEL = {package: i for i, level in enumerate(LEVELS) for package in level}
BASE = ("torch", "numpy", "safetensors", "pydantic", "typer", "rich", "pyyaml")
LINES = 400
DOORS = {("model/model.py", "generate")}  # the one method that leads up: model.generate, imported when it is called


def _files() -> list[Path]:
    return sorted(SRC.rglob("*.py"))


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(SRC.parent)}:{getattr(node, 'lineno', 0)}"


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield other
                yield from _running(other)
            continue
        yield node
        yield from _running(node)


def _imports(path: Path, source: str | None = None) -> Iterator[tuple[ast.AST, str]]:
    """(node, dotted name inside the package) of every import of our own modules."""
    package = ("panformer", *path.relative_to(SRC).parts[:-1])
    tree = ast.parse(source) if source is not None else _tree(path)
    for node in _running(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "panformer":
                    yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            home = package[: len(package) - node.level + 1] if node.level else ()
            base = [*home, *(node.module.split(".") if node.module else [])]
            if base and base[0] == "panformer":
                for alias in node.names:
                    yield node, ".".join([*base, alias.name])


def _upward(path: Path, source: str | None = None) -> list[str]:
    """What a file imports against the order; nothing for the package's own front door."""
    here = path.relative_to(SRC).parts
    if len(here) == 1:
        return []
    found = []
    for node, name in _imports(path, source):
        there = name.split(".")[1:]
        told = f"{_place(path, node)} imports {name}"
        if not there or not (SRC / there[0]).is_dir():  # a name of panformer/__init__.py, which leads anywhere
            if there and there[0] != "__version__":
                found.append(f"{told} through the front door")
        elif LEVEL[there[0]] > LEVEL[here[0]] and ("/".join(here), there[0]) not in DOORS:
            found.append(f"{told}: {there[0]} stands above {here[0]}")
        elif here[0] in LEVELS[2] and there[0] in LEVELS[2]:
            private = there[0] == here[0] and len(there) > 1 and there[1].startswith("_")
            if not private:
                found.append(f"{told}: a part imports no other part")
    return found


def test_every_package_has_its_level():
    packages = {p.parent.relative_to(SRC).parts[0] for p in SRC.rglob("*/*.py")}
    assert packages <= set(LEVEL), f"packages without a level: {sorted(packages - set(LEVEL))}"


def test_imports_point_downward():
    wrong = [line for path in _files() for line in _upward(path)]
    assert not wrong, "; ".join(wrong)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("core/layout.py", "from ..ops.attend import attend"),
        ("ops/attend.py", "def late():\n    from ..mixers import attention"),
        ("mixers/attention.py", "from .mamba import Mamba"),
        ("mixers/attention.py", "from ..norms import layer"),
        ("mixers/attention.py", "from panformer.model.build import build"),
        ("model/build.py", "import panformer.train.loop"),
        ("train/loop.py", "from .. import build"),
        ("model/build.py", "from ..generate.generate import generate"),
        ("train/loop.py", "from ..choose import search"),
        ("claims/run.py", "if True:\n    from ..cli.main import app"),
    ],
)
def test_the_import_rule_can_fail(file, source):
    assert len(_upward(SRC / file, source)) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("mixers/mamba.py", "from ._gated_ssm import GatedSSM\nfrom ..ops.scan import scan\nfrom ..core import state"),
        ("core/layout.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..model.model import Model"),
        ("cli/main.py", "from .. import __version__\nfrom ..core.errors import InputError"),
    ],
)
def test_the_import_rule_allows_what_it_should(file, source):
    assert _upward(SRC / file, source) == []


# ---- weight


def _fresh(code: str) -> set[str]:
    """Top-level modules that code brings into a new interpreter."""
    after = "import json\nprint(json.dumps(sorted(set(sys.modules) - before)))"
    program = f"import sys\nbefore = set(sys.modules)\n{code}\n{after}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr.strip().splitlines()[-1:]
    return {m.split(".")[0] for m in json.loads(done.stdout.splitlines()[-1])}


def _base_install() -> set[str]:
    """Distributions that the base install brings, theirs included."""
    seen: set[str] = set()
    queue = list(BASE)
    while queue:
        name = re.sub(r"[-_.]+", "-", queue.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform
        queue += [re.split(r"[ ;<>=!~\[(]", n, maxsplit=1)[0] for n in needs if "extra ==" not in n]
    return seen


def test_import_is_light():
    """Nothing but the standard library is loaded before something is used."""
    found = _fresh("import panformer") - set(sys.stdlib_module_names) - {"panformer"}
    assert not found, f"import panformer loads {sorted(found)}"


def test_everything_up_to_the_model_needs_only_the_base_install():
    """All modules of core, ops, parts and model load where nothing but the base install can be imported."""
    modules = [
        "panformer." + ".".join(p.relative_to(SRC).with_suffix("").parts)
        for p in _files()
        if LEVEL.get(p.relative_to(SRC).parts[0], len(LEVELS)) <= LEVEL["model"]
        and p.name != "__init__.py"
        and not p.stem.endswith("_jit")  # compiled code, imported by the call that needs it
    ]
    allowed = _base_install() | {"panformer"}
    homes = importlib.metadata.packages_distributions()
    foreign = {m for m, d in homes.items() if not {re.sub(r"[-_.]+", "-", n).lower() for n in d} & allowed}
    code = f"""
import importlib, importlib.abc
class Bare(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {foreign!r}:
            raise ModuleNotFoundError(f"{{name}} is not in the base install", name=name)
sys.meta_path.insert(0, Bare())
for m in {modules!r}:
    importlib.import_module(m)
"""
    assert foreign, "only the base install is here, which shows nothing"
    assert "torch" in _fresh(code)


def test_help_does_not_import_torch():
    """Nor does the help of any command."""
    code = """
import contextlib, io, typer.main
from panformer.cli.main import main, program
command = typer.main.get_command(program())
calls = [["--help"]]
for name, sub in command.commands.items():
    calls += [[name, "--help"], *([name, deeper, "--help"] for deeper in getattr(sub, "commands", {}))]
for call in calls:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        try:
            main(call)
        except SystemExit as done:
            assert not done.code, (call, done.code)
    assert "Usage" in said.getvalue(), call
"""
    found = _fresh(code)
    assert not found & {"torch", "numpy", "sklearn", "optuna", "pandas"}, f"--help loads {sorted(found)}"


def test_python_m_panformer_is_the_command():
    done = subprocess.run([sys.executable, "-m", "panformer", "version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, panformer.__version__)


# ---- what is never written

MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
CALLS = {"eval", "exec", "compile", "__import__"}
METHODS = {("torch", "load"), ("yaml", "unsafe_load"), ("yaml", "full_load"), ("os", "system"), ("os", "popen")}
WORDS = {"allow_pickle", "trust_remote_code", "weights_only", "shell"}
THEIRS = {("hf", "use_cache")}  # arguments that transformers passes by name


def _dangers(path: Path, tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        at = _place(path, node)
        if isinstance(node, ast.Import):
            yield from (f"{at} imports {a.name}" for a in node.names if a.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            if (node.module or "").split(".")[0] in MODULES:
                yield f"{at} imports from {node.module}"
            yield from (f"{at} imports {node.module}.{a.name}" for a in node.names if (node.module, a.name) in METHODS)
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in CALLS:
                yield f"{at} calls {node.func.id}"
            elif isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
                called = (node.func.value.id, node.func.attr)
                if (called in METHODS and not _only_tensors(path, node)) or (
                    called == ("yaml", "load") and not _safely(node, tree)
                ):
                    yield f"{at} calls {node.func.value.id}.{node.func.attr}"
            for word in node.keywords:
                safe = isinstance(word.value, ast.Constant) and word.value.value is (word.arg == "weights_only")
                if word.arg in WORDS and not safe:
                    yield f"{at} passes {word.arg}"


def _only_tensors(path: Path, call: ast.Call) -> bool:
    """Whether this is torch.load with weights_only=True, in the one place that reads foreign checkpoints."""
    place = path.relative_to(SRC).parts[:2]
    given = {k.arg: k.value.value for k in call.keywords if isinstance(k.value, ast.Constant)}
    return place == ("convert", "sources") and given.get("weights_only") is True


def _safely(call: ast.Call, tree: ast.AST) -> bool:
    """Whether yaml.load is given the safe loader, or one that this file derives from it."""
    classes = [c for c in ast.walk(tree) if isinstance(c, ast.ClassDef)]
    own = {c.name for c in classes if any("SafeLoader" in ast.unparse(b) for b in c.bases)}
    loaders = [*call.args[1:], *(k.value for k in call.keywords if k.arg == "Loader")]
    return any(ast.unparse(loader) in {"yaml.SafeLoader", *own} for loader in loaders)


def _habits(path: Path, tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _passes_on(path, node)
            a = node.args
            for arg in (*a.posonlyargs, *a.args, *a.kwonlyargs):
                flag = arg.arg.startswith("use_") and (path.relative_to(SRC).parts[0], arg.arg) not in THEIRS
                if flag and arg.annotation is not None and "bool" in ast.unparse(arg.annotation):
                    yield f"{_place(path, arg)} has the flag {arg.arg}; make it another part"
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            if node.target.id.startswith("use_") and "bool" in ast.unparse(node.annotation):
                yield f"{_place(path, node)} has the flag {node.target.id}; make it another part"
        elif isinstance(node, ast.Global):
            yield f"{_place(path, node)} rebinds global {', '.join(node.names)}"


def _passes_on(path: Path, function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """A function that hands its own **options on to another; Python itself asks __init_subclass__ to."""
    rest = function.args.kwarg
    if rest is None or function.name == "__init_subclass__":
        return
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and any(
            k.arg is None and isinstance(k.value, ast.Name) and k.value.id == rest.arg for k in node.keywords
        ):
            yield f"{_place(path, node)} passes **{rest.arg} on"


def test_nothing_dangerous_is_called():
    found = [line for path in _files() for line in _dangers(path, _tree(path))]
    assert not found, "; ".join(found)


def test_no_flags_no_pass_through_no_globals():
    theirs = {"hf", "outside"}  # whose signatures are other libraries'
    ours = [path for path in _files() if not theirs & set(path.relative_to(SRC).parts)]
    found = [line for path in ours for line in _habits(path, _tree(path))]
    assert not found, "; ".join(found)


def test_files_can_be_read_in_one_sitting():
    length = {
        str(p): len(p.read_text(encoding="utf-8").splitlines()) for p in (*_files(), *sorted(TESTS.rglob("*.py")))
    }
    long = [f"{p} has {n} lines" for p, n in length.items() if n > LINES]
    assert not long, "; ".join(long)


@pytest.mark.parametrize(
    ("source", "finder"),
    [
        ("import pickle", _dangers),
        ("from pickle import loads", _dangers),
        ("from torch import load", _dangers),
        ("x = eval('1')", _dangers),
        ("m = torch.load('f')", _dangers),
        ("m = torch.load('f', weights_only=True)", _dangers),  # not in the place that reads foreign checkpoints
        ("f(weights_only=False)", _dangers),
        ("t = yaml.load(f)", _dangers),
        ("class Own(yaml.Loader): pass\nt = yaml.load(f, Own)", _dangers),
        ("a = np.load(f, allow_pickle=True)", _dangers),
        ("f(trust_remote_code=flag)", _dangers),
        ("def f(**kw): return g(**kw)", _habits),
        ("def f(use_bias: bool = True): pass", _habits),
        ("class C:\n    use_norm: bool = False", _habits),
        ("def f():\n    global x\n    x = 1", _habits),
    ],
)
def test_the_rules_can_fail(source, finder):
    assert len(list(finder(SRC / "core" / "planted.py", ast.parse(source)))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "np.load(f, allow_pickle=False)",
        "def f(**kw): return dict(kw)",
        "class Own(yaml.SafeLoader): pass\nt = yaml.load(f, Own)",
    ],
)
def test_the_rules_allow_what_they_should(source):
    tree = ast.parse(source)
    assert not [*_dangers(SRC / "core" / "planted.py", tree), *_habits(SRC / "core" / "planted.py", tree)]
