"""Write docs/outside.md from finished runs: `python tools/outside.py NAME=FOLDER ...`, with each report beside it."""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from pathlib import Path

from panformer.choose import report

DOCS = Path(__file__).parent.parent / "docs"
ABOUT = {
    "penguins": "344 penguins of three species from the R data set `palmerpenguins::penguins`, written to a CSV: measures, "
    "island, sex and year, some of them missing.",
    "pictures": "400 pictures of 28 x 28 pixels in four folders (trouser, dress, sandal, bag), cut from the Fashion-MNIST "
    "files of Debian's `dataset-fashion-mnist`.",
}


def section(name: str, folder: Path) -> str:
    told = json.loads((folder / "report.json").read_text())
    where, file = (
        told["options"]["data"],
        Path(told["options"]["data"]).name,
    )  # the folder it lay in is nobody's business
    page = (folder / "report.html").read_text().replace(where, file).replace(str(folder), f"run-{name}")
    (DOCS / "outside" / f"{name}.html").write_text(page)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        report.terminal(told, Path(f"run-{name}"))
    text = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).strip("\n").replace(where, file)
    asked = told["options"]
    words = [f"panformer choose {file}", f"--minutes {asked['minutes']:g}", f"--seeds {asked['seeds']}"]
    words += [f"--target {asked['target']}"] if asked["target"] else []
    words += [f"--include {','.join(asked['include'])}"] if asked["include"] else []
    facts = "\n".join(f"- {line}" for line in told["data"]["why"] + told["data"]["warnings"])
    return (
        f"## {name}\n\n{ABOUT[name]}\n\n```\n$ {' '.join(words)} --out run-{name}\n{text}\n```\n\n"
        f"What it found in the data:\n\n{facts}\n\nThe whole report: [outside/{name}.html](outside/{name}.html)\n"
    )


def main() -> None:
    (DOCS / "outside").mkdir(parents=True, exist_ok=True)
    parts = [section(*(f(x) for f, x in zip((str, Path), word.split("=", 1)))) for word in sys.argv[1:]]
    head = "# The main job on data that this project does not ship\n\nWritten by `tools/outside.py` from the runs themselves.\n\n"
    (DOCS / "outside.md").write_text(head + "\n".join(parts))


if __name__ == "__main__":
    main()
