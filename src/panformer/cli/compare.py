"""`panformer compare`: mechanisms on one task at equal budget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    task: Annotated[str, typer.Argument(help="A task (mqar, or mqar:vocab=32) or a suite: recall, state, lra ...")],
    with_: Annotated[
        str,
        typer.Option(
            "--with",
            help="Mixers with commas (attention,linear_attention:feature=elu), other parts with their family "
            "(positions/rope), or YAML files with `model:` and `layers:`.",
        ),
    ],
    lengths: Annotated[str, typer.Option(help="Lengths with commas; default: the task's first.")] = "",
    tests: Annotated[
        str, typer.Option(help="Lengths with commas at which models of one training length are tested.")
    ] = "",
    sizes: Annotated[str, typer.Option(help="Widths of the first arm, with commas.")] = "64",
    seeds: Annotated[int, typer.Option(help="Judged runs of every arm.")] = 5,
    budget: Annotated[str, typer.Option(help="What is equal: parameters, flops or time.")] = "parameters",
    rates: Annotated[
        str, typer.Option(help="Learning rates tried by every arm, with commas; default: 1e-3,3e-3,1e-2.")
    ] = "",
    steps: Annotated[
        int | None, typer.Option(help="Training steps of the first arm; default: the task's.", min=1)
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Fewer steps for all, so that it takes about this long.")
    ] = None,
    engine: Annotated[str, typer.Option(help="local or ray.")] = "local",
    workers: Annotated[int | None, typer.Option(help="Trials at once; default: one per core.", min=1)] = None,
    null: Annotated[
        int, typer.Option(help="Instead: the first arm against itself, so many pairs of runs a task.", min=0)
    ] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder of trials and record; default: runs/compare-TASK")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the records as JSON and nothing else.")] = False,
) -> None:
    """Compare mechanisms on a task: equal budget, the same tuning, seeds with intervals, corrected tests.

    Finished trials are kept; the same command goes on where it was stopped.

    \b
    Examples:
      panformer compare mqar --with attention,mamba,linear_attention --lengths 4,8,16 --seeds 5
      panformer compare recall --with attention,delta_net --budget time --minutes 10
      panformer compare copy --with positions/rope,positions/alibi --tests 8,16,32
      panformer compare state --with attention --null 12 --steps 300
    """
    import json
    import shlex
    import sys

    from ..choose.progress import Progress
    from ..core.errors import require, unknown

    for module in ("scipy", "matplotlib"):
        require(module, "choose")
    from ..compare import engines, judge, plan, report
    from ..compare.null import null as against_itself
    from ..compare.run import compare as run

    if engine not in engines.ENGINES:
        raise unknown("engine", engine, engines.ENGINES)
    asked = plan.plans(
        task, with_, plan.numbers(lengths, int, "--lengths"), plan.numbers(sizes, int, "--sizes"), seeds, budget,
        plan.numbers(rates, float, "--rates") or (() if null else plan.RATES), steps, minutes, 1 if null else 2,
        plan.numbers(tests, int, "--tests"),
    )  # fmt: skip
    least = judge.least_seeds(max(2, len(asked[0].arms)))
    if seeds < least and not null:
        typer.echo(
            f"{seeds} seeds tell no pair of {len(asked[0].arms)} arms apart; that takes --seeds {least}", err=True
        )
    folder = out or Path("runs") / f"compare-{task.partition(':')[0]}"
    with Progress(minutes) as progress:
        if null:
            told = [against_itself(asked, folder, engine, workers, progress.say, null)]
        else:
            told = run(asked, folder, engine, workers, progress.say)
    for record in told:
        record["command"] = shlex.join(["panformer", *sys.argv[1:]])
    paths = report.write_null(told[0], folder) if null else report.write(told, folder)
    if as_json:
        return typer.echo(json.dumps(told, indent=1))
    for record in told:
        (report.null_terminal if null else report.terminal)(record)
    for path in paths:
        typer.echo(f"record: {path}")
