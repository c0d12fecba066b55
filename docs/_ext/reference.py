"""Writes docs/reference/ from docstrings and Configs before the pages are read: the public names, the contracts, the parts."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path
from typing import Any

CONTRACTS = {
    "core.layout": ("Layout",),
    "core.part": ("Config", "Part"),
    "core.families": ("Embed", "Mixer", "Channel", "Norm", "Residual", "Reducer", "Head", "Objective", "Linear", "Feature",
                      "Normaliser", "Pattern", "Depth"),
    "core.position": ("Position",),
    "core.score": ("Score",),
    "core.schedule": ("Stage", "Layer"),
    "core.shared": ("Shared",),
    "core.errors": ("PanformerError", "InputError", "EnvironmentGap"),
}  # fmt: skip


def setup(app: Any) -> dict[str, Any]:
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / "reference"))
    return {"parallel_read_safe": True}


def write(folder: Path) -> None:
    """All pages anew."""
    import importlib

    import panformer
    from panformer.core.part import FAMILIES

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    public = [_page(name, getattr(panformer, name)) for name in panformer.__all__ if name != "__version__"]
    (folder / "public.md").write_text("# Public names\n\n`import panformer` gives these; each is loaded on first use.\n\n" + "\n".join(public))  # fmt: skip
    contracts = []
    for module, names in CONTRACTS.items():
        home = importlib.import_module(f"panformer.{module}")
        contracts += [_page(name, getattr(home, name)) for name in names]
    (folder / "contracts.md").write_text(
        "# Contracts\n\nWhat the pieces promise each other.\n\n" + "\n".join(contracts)
    )
    for family in FAMILIES:
        (folder / f"{family}.md").write_text(_family(family))
    listed = "\n".join(["public", "contracts", *FAMILIES])
    (folder / "index.md").write_text(
        "# Reference\n\nMade from the docstrings and options of the code.\n\n```{toctree}\n:maxdepth: 1\n\n"
        + listed
        + "\n```\n"
    )


def _page(name: str, thing: Any) -> str:
    """One name: how it is called, its docstring, and the public methods of a class."""
    out = [f"## {name}", "", _source(thing), "", *_code(name, thing)]
    if inspect.isclass(thing) and not issubclass(thing, Exception):
        for key, member in vars(thing).items():
            member = getattr(member, "__func__", member)
            if not key.startswith("_") and inspect.isfunction(member) and member.__doc__:
                out += ["", *_code(key, member)]
    return "\n".join(out) + "\n"


def _code(name: str, thing: Any) -> list[str]:
    """Signature and docstring, as they stand."""
    try:
        called = f"{name}{inspect.signature(thing)}"
    except (TypeError, ValueError):
        called = name
    doc = ((thing.__doc__ or "") and inspect.getdoc(thing)) or ""
    return ["```text", called, "", *("    " + line if line else "" for line in doc.splitlines()), "```"]


def _family(family: str) -> str:
    from panformer.core.part import find, known

    out = [f"# {family}", ""]
    for use in known(family):
        cls = find(family, use)
        out += [f"## {family}/{use}", "", _source(cls), "", "```text", inspect.getdoc(cls) or "", "```", ""]
        if cls.Config.model_fields:
            out += ["| option | default | |", "|---|---|---|"]
            for key, field in cls.Config.model_fields.items():
                default = "required" if field.is_required() else repr(field.get_default(call_default_factory=True))
                out.append(f"| `{key}` | `{_cell(default)}` | {_cell(field.description or '')} |")
            out.append("")
        if cls.paper:
            out += [f"Source: {_escape(cls.paper)}", ""]
    return "\n".join(out)


def _source(thing: Any) -> str:
    module = inspect.getmodule(thing)
    return f"`{(module.__name__ if module else 'panformer').replace('.', '/')}.py`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _escape(text: str) -> str:
    return text.replace("*", "\\*").replace("_", "\\_").replace("[", "\\[")
