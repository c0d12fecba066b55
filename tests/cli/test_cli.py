"""The command line: quick help, one-line errors, exit codes."""

import json
import subprocess
import sys
import warnings

import pytest

from panformer.cli.main import main

COMMANDS = [
    "choose", "predict", "eval", "train", "generate", "import", "export", "optimize", "stream", "estimate", "doctor", "papers", "check", "spec",
    "parts", "bench", "atlas", "version",
]  # fmt: skip


def process(*args, **kw):
    """A process of its own, as from a shell."""
    return subprocess.run([sys.executable, "-m", "panformer", *args], capture_output=True, text=True, timeout=120, **kw)


@pytest.fixture
def run(capsys):
    """The same entry point in this process: importing torch again for every call would take most of the time.

    A warning, which a shell would show between the lines, is a fault.
    """

    def call(*args):
        capsys.readouterr()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for silent in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
                warnings.simplefilter("ignore", silent)
            with pytest.raises(SystemExit) as end:
                main(list(args))
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(args, end.value.code, out, err)

    return call


def alone(asked, then):
    """A process that runs one command, and then lines about the modules it has."""
    code = (
        "import sys; from panformer.cli.main import main\n"
        f"try: main([{asked!r}])\n"
        "except SystemExit as done: assert done.code == 0\n"
        f"{then}\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-500:]
    return done


def test_help_lists_every_command_without_torch():
    done = alone(
        "--help",
        "heavy = {'torch', 'numpy', 'sklearn', 'optuna', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, f'--help imports {heavy}'",
    )
    missing = [c for c in COMMANDS if c not in done.stdout]
    assert not missing, f"--help does not show {missing}"


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in ("papers", "spec")])
def test_every_command_has_an_example(run, command):
    done = run(command, "--help")
    assert done.returncode == 0
    text = " ".join(done.stdout.split())
    assert "Example" in text and f"panformer {command} " in text.partition("Example")[2], (
        f"{command} --help shows no example"
    )


REFUSED = [
    (["choos"], "choos"),
    (["choose", "--minuts", "3", "digits"], "unknown option --minuts; known: "),
    (["choose"], "data"),
    (["choose", "nowhere.csv"], "nowhere.csv"),
    (["spec", "show", "bret"], "did you mean 'bert'"),
    (["spec", "show", "gpt2", "--set", "widht=3"], "did you mean 'width'"),
    (["spec", "show", "gpt2", "--set", "width"], "KEY=VALUE"),
    (["spec", "show", "gpt2", "--set", "schedule.7.repeat=1"], "nothing at '7'"),
    (["spec", "validate", "missing.yaml"], "no such file"),
    (["parts", "mixer"], "did you mean 'mixers'"),
    (["parts", "mambo"], "did you mean 'mamba'"),
    (["parts", "none"], "in several families; say which: positions/none"),
    (["parts", "--matrix", "a.png"], "name it"),
    (["parts", "norms/layer", "--matrix", "a.png"], "draws mixers"),
    (["parts", "mamba", "--matrix", "a.jpeg"], ".png, .svg, .pdf"),
    (["parts", "mamba", "--matrix", "a.png", "--length", "9" * 20], "--length"),
    (["parts", "mamba", "--matrix", "a.png", "--set", "stat=3"], "did you mean 'state'"),
    (["parts", "cross_attention", "--matrix", "a.png"], "needs memory"),
    (["papers", "show", "mamab"], "mamba"),
    (["check", "no-such-paper"], "no-such-paper"),
    (["bench", "encodr"], "did you mean 'encoder'"),
    (["predict", "nowhere", "x.csv"], "nowhere"),
    (["eval", "nowhere", "digits"], "nowhere"),
    (["optimize", "nowhere", "--out", "there"], "nowhere"),
    (["stream", "nowhere"], "nowhere"),
    (["optimize", "nowhere", "--out", "."], "is there already"),
]


FROM_A_SHELL = {args[0]: args for args, _ in REFUSED}  # the last call of every command


@pytest.mark.parametrize(("args", "says"), REFUSED, ids=[" ".join(a) for a, _ in REFUSED])
def test_bad_calls_are_one_line_and_exit_2(args, says, tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = (process if args is FROM_A_SHELL[args[0]] else run)(*args)
    assert done.returncode == 2, f"exit {done.returncode}: {done.stderr[-300:]}"
    assert says in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not list(tmp_path.iterdir()), "something was written"


def test_spec_show_json(run):
    tree = json.loads(run("spec", "show", "gpt2", "--set", "width=96", "--set", "schedule.0.repeat=2", "--json").stdout)
    assert tree["spec"]["width"] == 96
    assert tree["cost"]["parameters"] > 0


def test_spec_schema_is_json_schema(run):
    whole = json.loads(run("spec", "schema").stdout)
    schema = whole["$defs"][whole["$ref"].rpartition("/")[2]]
    assert schema["additionalProperties"] is False
    assert {"width", "embed", "schedule"} <= set(schema["required"])


def test_parts_show_one_and_draw_its_matrix(tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = run("parts", "mixers/mamba").stdout
    assert "h_t = exp(delta_t A)" in said and "rank: default None; width of the step size's bottleneck" in said
    done = run("parts", "mamba", "--matrix", "m.png", "--set", "state=2", "--length", "9", "--json")
    (row,) = json.loads(done.stdout)
    assert row["matrix"]["says"] == "weight of a value in selective_scan" and row["matrix"]["spec"]["state"] == 2
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")


def test_parts_list_mixers():
    rows = json.loads(process("parts", "mixers", "--json").stdout)
    assert len(rows) >= 10
    assert all(r["what"] for r in rows)


def test_a_command_that_is_asked_for_does_not_wait_for_the_others():
    alone(
        "version",
        "others = [m for m in sys.modules if m.startswith('panformer.cli.') and m != 'panformer.cli.main']\n"
        "assert not others, others",
    )


def test_no_command_shows_the_help_and_no_error(run):
    done = run()
    assert done.returncode == 2 and "Usage" in done.stdout + done.stderr and "error:" not in done.stderr, done.stderr


def test_a_place_that_cannot_be_written_is_named(run):
    done = run("parts", "attention", "--matrix", "/proc/a.png")
    assert done.returncode == 2 and done.stderr == "error: /proc/a.png: No such file or directory\n", done.stderr


def test_the_folder_of_a_run_names_its_model(run, tmp_path):
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "manifest.json").write_text("{}")
    done = run("predict", str(tmp_path), "x.csv")
    assert done.returncode == 2 and f"holds a run; its model is {tmp_path / 'best'}" in done.stderr, done.stderr
