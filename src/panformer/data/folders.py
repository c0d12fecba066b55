"""Folders: pictures, sound or texts in one folder per class, or plain texts for a language model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from . import audio, images, text
from .assemble import assemble
from .base import Dataset
from .raw import Form, Notes, Options, Raw, some

READERS: dict[Form, tuple[tuple[str, ...], Callable[[Path], Any]]] = {
    "image": (images.SUFFIXES, images.read_image),
    "audio": (audio.SUFFIXES, audio.read_audio),
    "text": (text.SUFFIXES, text.read_text),
}
SPLITS = frozenset({"train", "training", "valid", "validation", "val", "test", "dev"})


def files_in(folder: Path) -> list[Path]:
    """All files below a folder in order, hidden ones aside."""
    found = sorted(p for p in folder.rglob("*") if p.is_file())
    return [p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts)]


def form_of(path: Path) -> Form | None:
    """image, audio or text by the ending of a file name."""
    return next((form for form, (suffixes, _) in READERS.items() if path.suffix.lower() in suffixes), None)


def open_folder(folder: Path, opt: Options) -> Dataset:
    """A folder -> classification by the names of its subfolders, or language when it holds plain text."""
    files = files_in(folder)
    if not files:
        raise InputError(f"{folder}: the folder holds no files")
    forms = Counter(form for p in files if (form := form_of(p)))
    if not forms:
        raise InputError(
            f"{folder}: holds no pictures, sound or text (found {some(sorted({p.suffix for p in files}))} files)"
        )
    form = forms.most_common(1)[0][0]
    notes = Notes()
    kept = [p for p in files if form_of(p) == form]
    notes.refused += [f"{p}: is no {form} file, as most here are" for p in files if form_of(p) != form]
    if form == "text" and opt.task in ("auto", "language"):
        documents = [(str(p), _read_or_refuse(p, text.read_text, notes)) for p in kept]
        return text.language(str(folder), [(s, t) for s, t in documents if t is not None], opt, notes)
    if opt.task not in ("auto", "classification"):
        raise InputError(f"{folder}: task {opt.task} does not fit a folder of {form} files; use classification")
    opt.refuse(f"{folder}: a folder (its subfolders are the classes)", "target")
    return assemble(_by_class(folder, kept, form, notes), opt)


def _by_class(folder: Path, files: list[Path], form: Form, notes: Notes) -> Raw:
    """Records labelled by the subfolder they are in."""
    inside = [p for p in files if p.parent != folder]
    notes.refused += [f"{p}: lies beside the class folders, so it has no class" for p in files if p.parent == folder]
    names = sorted({p.relative_to(folder).parts[0] for p in inside})
    if not names:
        raise InputError(
            f"{folder}: holds {len(files):,} {form} files but no subfolders; put each class into a folder of its own"
        )
    if {n.lower() for n in names} <= SPLITS:
        raise InputError(
            f"{folder}: its subfolders {some(names)} are splits, not classes; give one subfolder per class"
        )
    bare = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name not in names and not p.name.startswith("."))
    if bare:
        notes.warnings.append(f"no class is made of {some(bare)}: no {form} files are in there")
    notes.why.append(f"{len(inside):,} {form} files in {len(names)} subfolders -> classification by subfolder")
    read = READERS[form][1]
    found = [(p, record) for p in inside if (record := _read_or_refuse(p, read, notes)) is not None]
    if not found:
        raise InputError(f"none of the {form} files can be read; the first: {notes.refused[-len(inside)]}")
    unread = len(inside) - len(found)
    if unread:
        notes.warnings.append(f"{unread:,} of {len(inside):,} {form} files cannot be read and are left out")
    labels = [p.relative_to(folder).parts[0] for p, _ in found]
    return Raw(
        str(folder),
        form,
        [r for _, r in found],
        labels,
        [str(p) for p, _ in found],
        "the subfolder",
        notes=notes,
        classed=True,
    )


def _read_or_refuse(path: Path, read: Callable[[Path], Any], notes: Notes) -> Any | None:
    try:
        return read(path)
    except InputError as fault:
        notes.refused.append(str(fault))
        return None
