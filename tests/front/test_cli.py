"""The command line as users and scripts meet it: exit codes, one-line errors, JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from front.synthetic import run_events, write

from grpolab import __version__, boot, cli, launch
from grpolab.errors import RequestError
from grpolab.headless import compare
from grpolab.headless.progress import Plain
from grpolab.scenario import load

ROOT = Path(__file__).parents[2]


def grpolab(*arguments: str, cwd: Path, text: str = "") -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "grpolab", *arguments],
        cwd=cwd, input=text, capture_output=True, text=True, timeout=60,
        env={"PATH": "", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def piped(
    out: int, *arguments: str, err: int = subprocess.PIPE, encoding: str = "utf-8"
) -> subprocess.CompletedProcess[bytes]:
    """The command with this stdout and stderr: buffered, as a shell starts it."""
    known = {k: v for k, v in os.environ.items() if k not in ("PYTHONUNBUFFERED", "PYTHONUTF8")}
    return subprocess.run(
        [sys.executable, "-m", "grpolab", *arguments], stdout=out, stderr=err, timeout=60,
        env=known | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}, check=False,
    )  # fmt: skip


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The command in this process: exit code, stdout, stderr."""
    try:
        code = cli.main(arguments)
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else 1
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["rnu"], "grpolab: unknown command 'rnu'; did you mean 'run'?"),
        (["mine.yaml"], "grpolab: no command given; try `grpolab run mine.yaml`"),
        (["run", "--stesp", "3"], "unknown option '--stesp'; did you mean '--steps'?"),
        (["run", "--quantize", "nf5"], "unknown value 'nf5'; did you mean 'nf4'?"),
        (["run", "--steps", "many"], "expected a whole number from 0, got 'many'"),
        (["run", "a", "b"], "unexpected argument 'b'"),
        (["replay", "x", "--speed", "0"], "expected a number above 0, got '0'"),
        (["check", "defualt"], "unknown scenario 'defualt'; did you mean 'default'?"),
        (["algorithms", "grop"], "unknown algorithm 'grop'; did you mean 'grpo'?"),
        (["scenarios", "pop"], "unknown scenario 'pop'; did you mean 'ppo'?"),
        (
            ["run", "--resume", "x", "--seed", "1"],
            "--resume continues the run as it was recorded",
        ),
        (["replay", "runs/nothing"], "runs/nothing: no such run"),
        (["check"], "name a scenario, or ask for --schema"),
    ],
)
def test_a_wrong_request_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    code, out, err = told(capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert expected in err


def test_a_wrong_scenario_is_refused_by_run_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("name: x\ntrain:\n  learning_rat: 1\n")
    done = grpolab("run", "x.yaml", "--headless", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "x.yaml:3: train.learning_rat: unknown key 'learning_rat'; did you mean 'learning_rate'?\n"
    )
    assert not (tmp_path / "runs").exists()


def test_out_must_be_empty(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    done = grpolab("run", "--headless", "--out", ".", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "--out .: the folder is not empty\n")


def test_resuming_a_run_that_is_done_says_so(tmp_path: Path) -> None:
    write(tmp_path / "runs" / "x", run_events(2))
    done = grpolab("run", "--resume", "x", "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert "is done" in done.stderr
    assert json.loads(done.stdout)["steps"] == 2


def test_replay_without_a_terminal(tmp_path: Path) -> None:
    write(tmp_path / "run", run_events(2))
    done = grpolab("replay", "run", "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout)["run"] == "run"
    assert "step 2/2" in done.stderr


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "--version") == (0, f"grpolab {__version__}\n", "")
    code, out, _ = told(capsys, "--help")
    assert code == 0
    for command in (
        "run",
        "replay",
        "watch",
        "rerun",
        "check",
        "doctor",
        "algorithms",
        "scenarios",
        "grade",
    ):
        assert f"\n    {command}" in out
        assert told(capsys, command, "--help")[0] == 0


def test_lists_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "algorithms")
    assert code == 0 and "arXiv 2402.03300" in out
    code, out, _ = told(capsys, "algorithms", "ppo")
    assert code == 0 and "gae_lambda" in out and "critic" in out
    code, out, _ = told(capsys, "scenarios")
    assert code == 0 and out.startswith("default\n")
    code, out, _ = told(capsys, "scenarios", "ppo")
    assert code == 0 and "algorithm: ppo" in out


def test_lists_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = told(capsys, "algorithms", "--json")
    by_name = {a["name"]: a for a in json.loads(out)["algorithms"]}
    assert by_name["ppo"]["needs"] == ["critic", "reference"]
    assert by_name["grpo"]["settings"]["beta"]["default"] == 0.04
    _, out, _ = told(capsys, "scenarios", "--json")
    assert json.loads(out)["scenarios"][0]["name"] == "default"


@pytest.mark.parametrize("command", ["run", "check", "doctor", "compare"])
def test_the_options_of_a_scenario_are_the_same_everywhere(command: str) -> None:
    given = ["--model", "some/model", "--quantize", "nf4", "--device", "cpu", "--steps", "3"]
    given += ["--seed", "4", "--set", "train.minibatches=2", "--threads", "1"]
    given += ["--algorithms", "ppo"] if command == "compare" else ["--algorithm", "ppo"]
    args = cli.parser().parse_args([command, "default", *given])
    assert (args.model, args.quantize, args.device) == ("some/model", "nf4", "cpu")
    assert (args.steps, args.seed, args.settings) == (3, 4, ["train.minibatches=2"])


def test_check_applies_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["check", "default", "--algorithm", "ppo", "--steps", "7", "--seed", "5", "--json"]
    code, out, _ = told(capsys, *arguments, "--set", "rollout.prompts=3", "--threads", "1")
    checked = json.loads(out)
    assert code == 0 and checked["lanes"][0]["algorithm"]["name"] == "ppo"
    assert (checked["train"]["steps"], checked["seed"]) == (7, 5)
    assert checked["rollout"]["prompts"] == 3
    two = json.loads(told(capsys, *arguments, "--threads", "2")[1])
    one = json.loads(told(capsys, *arguments, "--threads", "1")[1])
    assert two["memory"]["peak_memory_bytes"] > one["memory"]["peak_memory_bytes"]
    code, _, err = told(capsys, "check", "default", "--model", "/nowhere/at/all")
    assert code == 2 and err == "--model /nowhere/at/all: no model folder '/nowhere/at/all'\n"


@pytest.mark.parametrize(
    "arguments", [["check", "leash"], ["scenarios", "leash"], ["scenarios", "leash", "--json"]]
)
def test_the_former_name_of_a_scenario_is_found(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    code, out, err = told(capsys, *arguments)
    assert code == 0 and "kl-penalty" in out
    assert err == "the scenario 'leash' is called 'kl-penalty' now\n"


def test_a_run_of_the_former_name(tmp_path: Path) -> None:
    options = ["--steps", "0", "--set", "evaluate.prompts=1", "--set", "cues=[]", "--seed", "1"]
    _, arguments = boot.prepare(
        launch.Request("leash", load.changes(settings=["train.steps=0"]), str(tmp_path / "run"))
    )
    assert "name: kl-penalty" in Path(arguments[0], "scenario.yaml").read_text()
    args = cli.parser().parse_args(["compare", "leash", "--algorithms", "grpo", *options])
    with pytest.raises(RequestError, match="several lanes"):  # found, and refused for its lanes
        compare.Plan.of(args)


FORMER_LANES = (
    "lanes.short.algorithm.beta=3.0", "lanes.free.algorithm.beta=0.5",
    "cues=[{at: 5, do: switch, lane: long, algorithm: ppo}]",
)  # fmt: skip


@pytest.mark.parametrize("name", ["leash", "kl-penalty"])
def test_the_former_names_of_its_lanes_are_found(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    settings = [part for text in FORMER_LANES for part in ("--set", text)]
    found = json.loads(told(capsys, "check", name, "--json", *settings)[1])
    betas = {lane["name"]: lane["algorithm"]["beta"] for lane in found["lanes"]}
    assert betas == {"no-penalty": 0.5, "weak": 0.04, "strong": 3.0}
    assert found["cues"][0]["lane"] == "weak"
    now = [text.replace("short", "strong").replace("free", "no-penalty").replace("long", "weak")
           for text in FORMER_LANES]  # fmt: skip
    told_by_new = json.loads(
        told(capsys, "check", name, "--json", *(p for t in now for p in ("--set", t)))[1]
    )
    assert told_by_new["lanes"] == found["lanes"] and told_by_new["cues"] == found["cues"]
    code, _, err = told(capsys, "check", name, "--set", "lanes.shrt.algorithm.beta=1")
    assert code == 2 and "'shrt'" in err


def test_lanes_that_have_those_names_come_first(tmp_path: Path) -> None:
    lanes = "[{name: short, algorithm: grpo}, {name: strong, algorithm: grpo}]"
    mine = tmp_path / "x.yaml"
    changed = load.changes(settings=["lanes.short.algorithm.beta=3.0"])
    mine.write_text(f"name: kl-penalty\ntask: sums\nlanes: {lanes}\n")
    short, strong = load.load(str(mine), changed).complete()["lanes"]
    assert short["algorithm"]["beta"] == 3.0 != strong["algorithm"]["beta"]
    mine.write_text("name: mine\ntask: sums\nlanes: [{name: strong, algorithm: grpo}]\n")
    with pytest.raises(RequestError, match="no 'short' here"):
        load.load(str(mine), changed)


def test_a_file_of_that_name_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("leash").write_text("name: my own\n")
    assert told(capsys, "scenarios", "leash") == (0, "name: my own\n", "")


def test_check(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "check", "switch-midway")
    assert code == 0 and "2 cues" in out.splitlines()[0]
    assert json.loads(told(capsys, "check", "--schema")[1])["properties"]["train"]
    assert json.loads(told(capsys, "check", "ppo", "--json")[1])["seed"] == 0


def test_grade(tmp_path: Path) -> None:
    prompt = {
        "task": "sums",
        "text": "1+2=",
        "key": "k",
        "data": {"value": 3},
        "difficulty": "easy",
    }
    right = "<think>1+2=3</think><answer>3</answer>"
    lines = [json.dumps({"prompt": prompt, "completion": c}) for c in (right, "<answer>4</answer>")]
    done = grpolab("grade", "default", "-", cwd=tmp_path, text="\n".join(lines))
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert (first["reward"], first["parts"]) == (1.2, {"accuracy": 1.0, "format": 0.2})
    assert (second["reward"], second["answer"], second["steps"]) == (0.0, "4", [])
    assert [step["text"] for step in first["steps"]] == ["1+2=3"]


@pytest.mark.parametrize(
    ("scenario", "question", "completion", "answer", "steps"),
    [
        (
            "task-sums",
            "(47+38)*6",
            "<think>47+38=85\n85*6=500</think><answer>500</answer>",
            "500",
            [
                {"end": 15, "score": 1.0, "detail": "right", "text": "47+38=85"},
                {"end": 24, "score": 0.0, "detail": "85*6 is 510, not 500", "text": "85*6=500"},
            ],
        ),
        (
            "task-countdown",
            "make 8 from 3 5 9:",
            "<think>3+5=8</think><answer>\ud800</answer>",  # no encoding can print this one
            "\ud800",
            [{"end": 12, "score": 1.0, "detail": "right", "text": "3+5=8"}],
        ),
        pytest.param(
            "task-slots",
            "3+4; 7*2",
            "<answer>7</answer>",
            "7",
            [
                {"end": 9, "score": 1.0, "detail": "right", "text": "7"},
                {"end": 10, "score": 0.0, "detail": "a part is missing", "text": ""},
            ],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_grade_from_a_question(
    tmp_path: Path,
    scenario: str,
    question: str,
    completion: str,
    answer: str,
    steps: list[dict[str, object]],
) -> None:
    line = json.dumps({"question": question, "completion": completion})
    done = grpolab("grade", scenario, "-", cwd=tmp_path, text=line)
    assert (done.returncode, done.stderr) == (0, "")
    out = json.loads(done.stdout)
    assert (out["answer"], out["steps"]) == (answer, steps)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (
            {"question": "make 8 from 3 5"},
            "-:1: question: expected a sum like (47+38)*6=, but a number should stand before 'm'\n",
        ),
        (
            {
                "prompt": dict.fromkeys(("text", "key", "difficulty"), "")
                | {"task": "sums", "data": {}}
            },
            "-:1: prompt.data: not what sums needs to grade\n",
        ),
        pytest.param(
            {},
            "-:1: prompt: expected the task's prompt record under this key, or a text under",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_grade_names_a_prompt_that_is_wrong(
    tmp_path: Path, record: dict[str, object], expected: str
) -> None:
    line = json.dumps(record | {"completion": "<answer>3</answer>"})
    done = grpolab("grade", "task-sums", "-", cwd=tmp_path, text=line)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(expected)


def test_grade_names_the_line_that_is_wrong(tmp_path: Path) -> None:
    done = grpolab("grade", "default", "-", cwd=tmp_path, text='\n{"completion": 3}\n')
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("-:2: completion: ")


def test_boot_answers_for_the_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "runs" / "x", run_events(2))
    with pytest.raises(launch.RunIsDone):
        launch.Engine.boot(launch.Request(resume="x")).ready()
    with pytest.raises(RequestError, match="unknown scenario"):
        launch.Engine.boot(launch.Request("nothing")).ready()


def test_a_resume_may_go_back_to_a_checkpoint_also_of_a_run_that_is_done(tmp_path: Path) -> None:
    run = write(tmp_path / "x", run_events(4, threads=3))
    (run / "checkpoints" / "step-000002").mkdir(parents=True)
    for step in (0, 2):
        _, arguments = boot.prepare(launch.Request(resume=str(run), back_to=step))
        assert arguments[-3:] == ["--resume", "--from", str(step)]
    with pytest.raises(RequestError, match=r"--from 3: .* has checkpoints of the steps 0, 2"):
        boot.prepare(launch.Request(resume=str(run), back_to=3))
    done = grpolab("run", "--from", "3", "--headless", cwd=tmp_path)
    assert done.returncode == 2 and "--resume RUN --from STEP" in done.stderr
    (run / "events.jsonl").write_text("")
    with pytest.raises(RequestError, match="has not begun yet"):
        boot.prepare(launch.Request(resume=str(run), back_to=0))


def test_one_run_has_one_engine(tmp_path: Path) -> None:
    run = write(tmp_path / "x", run_events(2)[:-2])
    first = boot._own_log(run)
    with pytest.raises(RequestError, match="another process computes this run"):
        boot._own_log(run)
    os.close(first)
    os.close(boot._own_log(run))


def test_a_resume_keeps_the_recorded_threads_and_device(tmp_path: Path) -> None:
    run = write(tmp_path / "x", run_events(2, threads=3)[:-2])
    _, arguments = boot.prepare(launch.Request(resume=str(run)))
    assert arguments == [str(run), "--threads", "3", "--device", "cpu", "--resume"]
    _, arguments = boot.prepare(launch.Request(resume=str(run), threads=1, device="cuda"))
    assert arguments == [str(run), "--threads", "1", "--device", "cuda", "--resume"]


def test_threads_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(64)), raising=False)
    assert 1 <= launch.default_threads() <= launch.MOST_THREADS


@pytest.fixture
def closed() -> Iterator[int]:
    """A pipe that nobody reads, as after `| head -1`."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


@pytest.mark.parametrize(
    "arguments",
    ["--help", "algorithms", "algorithms grpo", "scenarios default", "plot qlora",
     pytest.param("lens qlora --algorithm grpo", marks=pytest.mark.slow)],
)  # fmt: skip
def test_a_pipe_that_nobody_reads_is_no_failure(closed: int, arguments: str) -> None:
    done = piped(closed, *arguments.split())
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize(
    "arguments",
    ["algorithms", "algorithms --json", "scenarios default", "check default", "plot qlora",
     pytest.param("lens qlora --algorithm grpo", marks=pytest.mark.slow)],
)  # fmt: skip
def test_a_full_disk_under_the_output_is_one_line(arguments: str) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        done = piped(full, *arguments.split())
    finally:
        os.close(full)
    assert done.returncode == 1
    assert done.stderr.decode().startswith("cannot write: No space left on device; make room")
    assert done.stderr.count(b"\n") == 1


def test_progress_that_nobody_reads_does_not_end_the_work(closed: int) -> None:
    """`grpolab run … 2>&1 | head -1`: rich would exit."""
    with os.fdopen(os.dup(closed), "w") as stream, Plain(stream) as plain:
        assert not plain.unread
        plain.say("one")
        assert plain.unread
        plain.say("two")


def test_a_replay_that_nobody_reads_ends(closed: int, tmp_path: Path) -> None:
    run = write(tmp_path / "run", run_events())
    slow = ["replay", str(run), "--headless", "--speed", "0.001"]
    assert piped(closed, *slow, err=closed).returncode == 0


def test_a_wrong_request_is_one_even_where_nobody_reads_why(closed: int) -> None:
    assert piped(closed, "check", err=closed).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "encoding"),
    [("--help", "ascii"), ("plot qlora", "ascii"), ("plot qlora", "latin-1"),
     ("algorithms grpo", "ascii:surrogateescape"), ("scenarios kl-penalty", "latin-1"),
     ("check --schema", "latin-1"),
     pytest.param("lens qlora --algorithm grpo", "ascii", marks=pytest.mark.slow)],
)  # fmt: skip
def test_where_stdout_cannot_encode_a_character_it_says_a_question_mark(
    arguments: str, encoding: str
) -> None:
    done = piped(subprocess.PIPE, *arguments.split(), encoding=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"?" in done.stdout
    if arguments == "check --schema":
        assert json.loads(done.stdout.decode(encoding.partition(":")[0]))["properties"]["train"]


def test_what_stdout_encodes_is_left_alone() -> None:
    assert "β" in piped(subprocess.PIPE, "algorithms", "grpo").stdout.decode()
    escaped = piped(subprocess.PIPE, "algorithms", "grpo", encoding="ascii:backslashreplace")
    assert b"\\u03b2" in escaped.stdout  # as the user asked
