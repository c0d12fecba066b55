"""`panformer choose`, `predict`, `eval` and `train`: from data to a model, and from a model to answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Target = Annotated[str | None, typer.Option(help="Column to predict; for a forecast several, with commas.")]
TaskName = Annotated[str, typer.Option(help="auto, classification, regression, forecasting or language.")]
Horizon = Annotated[int | None, typer.Option(help="Forecasting: steps ahead.")]
Lookback = Annotated[int | None, typer.Option(help="Forecasting: steps back.")]
Season = Annotated[int | None, typer.Option(help="Forecasting: the period of the naive forecast.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable, on stdout.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a stopped run in the same folder.")]
NEEDS = ("scipy", "sklearn", "lightgbm", "optuna", "matplotlib", "jinja2")
DATA = "A built-in set (digits, spoken-digits, weather, electricity, stdlib-code ...) or your file or folder."


def choose(
    data: Annotated[str, typer.Argument(help=DATA)],
    target: Target = None,
    task: TaskName = "auto",
    minutes: Annotated[float, typer.Option(help="Time for everything together.")] = 10.0,
    max_latency_ms: Annotated[float | None, typer.Option(help="Most milliseconds of one call.")] = None,
    max_memory_mb: Annotated[float | None, typer.Option(help="Most peak memory of one call.")] = None,
    max_size_mb: Annotated[float | None, typer.Option(help="Most megabytes on disk.")] = None,
    batch: Annotated[int, typer.Option(help="Rows of one call, where latency and memory are measured.")] = 1,
    seeds: Annotated[int, typer.Option(help="Training runs of every finalist.")] = 3,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; default: runs/NAME")] = None,
    resume: Resume = False,
    include: Annotated[str, typer.Option(help="Only these mixers, with commas.")] = "",
    exclude: Annotated[str, typer.Option(help="Not these mixers, with commas.")] = "",
    seed: Annotated[int, typer.Option(help="Decides split, search and training.")] = 0,
    horizon: Horizon = None,
    lookback: Lookback = None,
    season: Season = None,
    as_json: Json = False,
) -> None:
    """Find the best efficient model for your data: try mixers and baselines, report with evidence.

    Example: panformer choose digits --minutes 3 --out runs/digits
    """
    from ..core.errors import require

    for module in NEEDS:
        require(module, "choose")
    from ..choose import report
    from ..choose.options import options
    from ..choose.progress import Progress
    from ..choose.run import choose as run
    from ..choose.run import spent

    asked = options(
        data=data, target=target, task=task, minutes=minutes, batch=batch, seeds=seeds, seed=seed,
        limits={"latency_ms": max_latency_ms, "memory_mb": max_memory_mb, "size_mb": max_size_mb},
        include=_names(include), exclude=_names(exclude), horizon=horizon, lookback=lookback, season=season,
    )  # fmt: skip
    folder = out or Path("runs") / Path(data).stem
    with Progress(minutes - (spent(folder) / 60 if resume else 0)) as progress:
        told = run(asked, folder, resume, progress.say)
    if as_json:
        typer.echo((folder / "report.json").read_text(encoding="utf-8").rstrip())
    else:
        report.terminal(told, folder)


def _names(given: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in given.split(",") if name.strip())


def predict(
    model: Annotated[str, typer.Argument(help="A model folder, such as runs/digits/best.")],
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="A file or folder as in training, without the target.")
    ],
    out: Annotated[Path | None, typer.Option(help="Write the answers to this file instead.")] = None,
    as_json: Json = False,
) -> None:
    """Answer new input with a chosen or trained model, one line per record.

    Example: panformer predict runs/flowers/best new-flowers.csv --json
    """
    import json

    from ..choose.predict import line
    from ..choose.predict import predict as run

    lines = (json.dumps(answer, ensure_ascii=False) if as_json else line(answer) for answer in run(model, source))
    if out is None:
        for told in lines:
            typer.echo(told)
        return
    from ..choose.report import replace_file

    replace_file(out, "".join(f"{told}\n" for told in lines))


def evaluate(
    model: Annotated[str, typer.Argument(help="A model folder, such as runs/digits/best.")],
    data: Annotated[str, typer.Argument(help="Labelled data as in training, or the training data itself.")],
    target: Target = None,
    as_json: Json = False,
) -> None:
    """Measure a model on labelled data; on its own training data, on the test split of that run.

    Example: panformer eval runs/digits/best digits
    """
    import json

    from ..choose.evaluate import evaluate as run
    from ..choose.report import flat

    found = run(model, data, target)
    if as_json:
        typer.echo(json.dumps(found))
        return
    typer.echo(
        f"{found['measure']} {found['value']:.6g} on {found['rows']:,} rows ({found['split']} of {found['data']})"
    )
    for name, value in found["further"].items():
        typer.echo(f"  {name}: {flat(value)}")


def train(
    spec: Annotated[
        str, typer.Argument(help="A preset name, or a .yaml or .json file; head and objective may be left to the data.")
    ],
    data: Annotated[str, typer.Argument(help=DATA)],
    out: Annotated[Path | None, typer.Option(help="Folder of the run; default: runs/SPEC-NAME")] = None,
    steps: Annotated[int, typer.Option(help="Training steps.", min=1)] = 1000,
    minutes: Annotated[
        float | None, typer.Option(help="Stop after this much training time, if steps do not end it.")
    ] = None,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 1e-3,
    batch: Annotated[int, typer.Option(help="Rows of a step.", min=1)] = 32,
    seed: Annotated[int, typer.Option(help="Decides split, weights and order.", min=0)] = 0,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="Change one key of the spec: --set width=128")
    ] = None,
    resume: Resume = False,
    target: Target = None,
    task: TaskName = "auto",
    horizon: Horizon = None,
    lookback: Lookback = None,
    season: Season = None,
    as_json: Json = False,
) -> None:
    """Train one spec on one data set.

    Example: panformer train vit digits --set embed.size=2 --set embed.channels=1 --set head.classes=10 --steps 500
    """
    import json

    from ..choose import trial
    from ..choose.fit import train as run
    from ..choose.progress import Progress
    from ..core.memory import keep_freed
    from ..core.part import parse
    from ..core.spec import locate
    from ..core.tree import read_tree
    from ..train.loop import Train
    from .spec import set_key

    keep_freed()
    tree = read_tree(locate(spec))
    for item in change or []:
        set_key(tree, item)
    how = parse(Train, {"steps": steps, "minutes": minutes, "rate": rate, "batch": batch, "seed": seed}, "train")
    wishes = {"target": target, "task": task, "seed": seed, "horizon": horizon, "lookback": lookback, "season": season}
    folder = out or Path("runs") / f"{Path(spec).stem}-{Path(data).stem}"
    with Progress() as progress:
        told = run(tree, trial.opened(data, wishes), {"data": data, **wishes}, how, folder, resume, progress.say)
    if as_json:
        typer.echo(json.dumps(told))
    else:
        found = f"test {told['measure']} {told['test']:.6g}, validation {told['valid']:.6g}"
        typer.echo(f"{found} after {told['steps']} steps; model: {folder / 'model'}")
