"""All papers: a row each from `index.jsonl`, its entry where one is written, its evidence where a check ran.

Status and verdict are computed here from files and never typed:
planned   no entry, or one that does not load and resolve
built     the entry loads and everything it names exists
checked   built, and the evidence is of this very spec and claim
Light: importing and listing do not need torch.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError, unknown

if TYPE_CHECKING:
    from . import schema

HERE = Path(__file__).parent
EVIDENCE = HERE / "evidence"
STATUSES = ("planned", "built", "checked")

FAMILY = {  # where a row of this kind will be filed
    "mixer": "mixers", "position": "positions", "channel_mixer": "channels", "norm_residual": "norms",
    "embedding": "embeds", "objective": "objectives", "token_reduction": "reducers", "decoding_inference": "decoders",
    "quantization": "surgery", "compression": "surgery", "peft_editing": "surgery", "training_method": "training",
    "distributed_training": "parallel", "runtime_kernel": "kernels", "interpretability": "interpret",
    "theory": "theory", "survey": "surveys", "benchmark": "benchmarks", "dataset_resource": "data",
    "codec": "codecs", "task_model": "models", "generative_model": "models", "vision_backbone": "models",
    "multimodal": "models", "rl_agent": "models", "other": "models",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One paper. `path` is its entry, None where none is written yet."""

    id: int
    slug: str
    area: str
    title: str
    kind: str
    modality: str
    centrality: int
    mechanism: str
    claim: str
    check: str
    reference: str
    path: Path | None = None
    home: Path = field(default=EVIDENCE, repr=False)

    @property
    def family(self) -> str:
        """The folder of its entry; for a planned row, the folder its kind belongs in."""
        return self.path.parent.name if self.path else FAMILY[self.kind]

    @cached_property
    def _read(self) -> tuple[schema.Paper | None, str]:
        if self.path is None:
            return None, ""
        from . import schema  # a listing whose states are known does not wait for it
        from .resolve import fault

        try:
            entry = schema.read(self.path)
        except InputError as told:
            return None, str(told)
        if entry.id != self.id:
            return None, f"{self.path.name}: id is {entry.id}, the row {self.slug!r} has {self.id}"
        line = fault(entry)
        return (None, f"{self.path.name}: {line}") if line else (entry, "")

    @property
    def entry(self) -> schema.Paper | None:
        return self._read[0]

    @property
    def fault(self) -> str:
        """Why a written entry does not count as built, or nothing."""
        return self.state[2]

    @cached_property
    def evidence(self) -> dict[str, Any] | None:
        """What the last run wrote, if it ran this very spec and claim."""
        path = self.home / f"{self.slug}.json"
        if self.entry is None or not path.is_file():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            same = (found["spec_hash"], found["claim_hash"]) == (self.entry.spec_hash, self.entry.claim_hash)
        except (ValueError, KeyError, TypeError):
            return None
        return found if same else None

    @cached_property
    def state(self) -> tuple[str, str | None, str]:
        """(status, verdict, fault)."""
        if self.entry is None:
            return "planned", None, self._read[1]
        return ("checked", self.evidence["verdict"], "") if self.evidence else ("built", None, "")

    def recall(self, status: str, verdict: str | None, fault: str) -> None:
        """Take a state that was found before; whoever calls answers for that nothing has changed."""
        self.__dict__["state"] = (status, verdict, fault)

    @property
    def status(self) -> str:
        return self.state[0]

    @property
    def verdict(self) -> str | None:
        return self.state[1]

    def public(self) -> dict[str, Any]:
        """What a listing says about the row."""
        names = ("id", "slug", "title", "area", "family", "kind", "modality", "status", "verdict")
        return {name: getattr(self, name) for name in names}


def rows(folder: Path = HERE, evidence: Path | None = None) -> tuple[Row, ...]:
    """Every row, in the order of the index; entries are read when asked for."""
    paths = {path.stem: path for path in _entries(folder)}
    home = evidence or folder / "evidence"
    with (HERE / "index.jsonl").open(encoding="utf-8") as lines:
        found = tuple(Row(**tree, path=paths.pop(tree["slug"], None), home=home) for tree in map(json.loads, lines))
    if paths:
        lost = sorted(paths)[0]
        raise InputError(f"papers/{paths[lost].parent.name}/{lost}.yaml: no row of index.jsonl has the slug {lost!r}")
    return found


def _entries(folder: Path) -> Iterator[Path]:
    seen: dict[str, Path] = {}
    for path in sorted(folder.glob("*/*.yaml")):
        if path.stem in seen:
            raise InputError(f"{path.stem}.yaml stands in {seen[path.stem].parent.name}/ and in {path.parent.name}/")
        seen[path.stem] = path
        yield path


def find(name: str, among: tuple[Row, ...] | None = None) -> Row:
    """The row with this slug or id; a miss names the closest ones."""
    among = rows() if among is None else among
    for row in among:
        if name in (row.slug, str(row.id)):
            return row
    close = difflib.get_close_matches(name, [r.slug for r in among], 3)
    near = list(dict.fromkeys([*close, *(r.slug for r in search(name, among)[:5])]))
    raise InputError(f"unknown paper {name!r}; " + (f"close: {', '.join(near)}" if near else "see: panformer papers"))


def search(query: str, among: tuple[Row, ...]) -> tuple[Row, ...]:
    """Rows in which every word of the query occurs; that very slug first, then those with the words in the title."""
    words = re.findall(r"[\w.+-]+", query.lower())
    hits = []
    for row in among:
        name = f"{row.slug} {row.title}".lower()
        rest = f"{row.id} {row.area} {row.family} {row.kind} {row.modality} {row.mechanism} {row.claim}".lower()
        if all(word in name or word in rest for word in words):
            hits.append((row.slug != "-".join(words), not all(word in name for word in words), row))
    return tuple(hit[-1] for hit in sorted(hits, key=lambda hit: hit[:2]))


def select(
    among: tuple[Row, ...],
    query: str = "",
    family: str | None = None,
    area: str | None = None,
    status: str | None = None,
) -> tuple[Row, ...]:
    """Rows that match all that is given; an unknown family, area or status is refused with the known ones."""
    if family is not None:
        _known("family", family, {r.family for r in among})
    if area is not None:
        _known("area", area, {r.area for r in among})
    if status is not None:
        _known("status", status, set(STATUSES))
    kept = search(query, among) if query.strip() else among
    kept = tuple(r for r in kept if family in (None, r.family) and area in (None, r.area))
    return kept if status is None else tuple(r for r in kept if r.status == status)


def _known(what: str, name: str, known: set[str]) -> None:
    if name not in known:
        raise unknown(what, name, known)
