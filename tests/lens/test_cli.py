"""`grpolab lens` and `grpolab algorithms` as people and scripts meet them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from front.synthetic import started, write

from grpolab import cli
from grpolab.algorithms import ALGORITHMS
from grpolab.lens import __main__ as lens_process
from tests.algorithms.lens_batches import make_batch, random_batch
from tests.lens.test_recorded import step_of

ROOT = Path(__file__).parents[2]
PARTS = ("ask", "batch_file", "show")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "batch.json"
    path.write_text(json.dumps(random_batch(1, groups=3)))
    return path


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """The process behind the command, in this process: exit code, stdout, stderr."""
    code = lens_process.main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def grpolab(
    *arguments: object, cwd: Path, text: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "grpolab", *map(str, arguments)],
        cwd=cwd, input=text, capture_output=True, text=True, timeout=120,
        env={"PATH": "", "PYTHONPATH": str(ROOT)} | environment,
    )  # fmt: skip


# ---------------------------------------------------------------- the process


def test_the_command_computes_in_a_child(tmp_path: Path) -> None:
    """From stdin, with a file in the folder that must not be imported."""
    (tmp_path / "torch.py").write_text("raise SystemExit('the wrong torch')")
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')")
    eight = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    one = {"logprobs": [-1.0], "old_logprobs": [-1.0], "ref_logprobs": [-1.0]}
    samples = [{"reward": r} | one for r in eight]
    text = json.dumps(make_batch([{"prompt": "", "samples": samples}], 4))
    arguments = ["lens", "-", "--algorithm", "grpo", "--preset", "trl-1.16", "--json"]
    script = f"import sys; sys.argv = ['grpolab'] + {arguments}; from grpolab.cli import main; "
    done = subprocess.run(
        [sys.executable, "-P", "-c", script + "sys.exit(main())"],
        cwd=tmp_path, input=text, capture_output=True, text=True, timeout=120,
        env={"PATH": "", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    entry = json.loads(done.stdout)["algorithms"]["grpo"]
    advantages = [s["advantages"][0] for s in entry["groups"][0]["samples"]]
    assert advantages == pytest.approx([1.61984 if r else -0.53995 for r in eight], abs=6e-6)
    assert entry["settings"]["beta"] == 0.0


def test_exit_codes(tmp_path: Path, file: Path) -> None:
    batch = random_batch(1)
    batch["groups"][0]["samples"][1]["logprobs"][0] = float("nan")
    (tmp_path / "nan.json").write_text(json.dumps(batch))
    done = grpolab("lens", "nan.json", cwd=tmp_path)
    line = "nan.json: groups[0].samples[1].logprobs[0]: NaN is not a log-probability\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)
    done = grpolab("lens", file, "--set", "bata=1", cwd=tmp_path)
    line = "no algorithm has a setting 'bata'; did you mean 'beta'?\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


@pytest.mark.slow
def test_a_reader_that_leaves_is_no_failure(file: Path, tmp_path: Path) -> None:
    read, write_end = os.pipe()
    os.close(read)
    with os.fdopen(write_end, "w") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "grpolab.lens", str(file)], stdout=gone, stderr=subprocess.PIPE,
            cwd=ROOT, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_what_a_viewer_may_import_loads_no_torch() -> None:
    """Module by module, in one interpreter: the first that loads too much is named."""
    code = (
        "import sys; from importlib import import_module\n"
        "for name in sys.argv[1:]:\n"
        "    import_module(name)\n"
        "    found = {'torch', 'numpy', 'transformers'} & {*sys.modules}\n"
        "    assert not found, (name, found)"
    )
    modules = ["grpolab.commands", *[f"grpolab.lens.{part}" for part in PARTS]]
    done = subprocess.run(
        [sys.executable, "-c", code, *modules], cwd=ROOT, stderr=subprocess.PIPE, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- what may be asked


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--algorithm", "gpro"], "unknown algorithm 'gpro'; did you mean "),
        (["--algorithm", "grpo", "--preset", "trl"], "grpo has no preset 'trl'"),
        (["--set", "beta"], "--set beta: expected key=value"),
        (["--set", "beta=[1"], "--set beta=[1: not valid YAML"),
        (["--set", "beta=-1"], "reinforce does not take beta=-1: expected a value greater"),
        (["--explain", "0,0"], "--explain 0,0: expected group, sample and token"),
        (["--explain", "0,0,-1"], "--explain 0,0,-1: expected group, sample and token"),
        (["--explain", "9,0,0"], "no group 9 in the batch; valid: 0 to 2"),
        (["--disagree", "grpo"], "--disagree grpo: expected two algorithms"),
        (["--disagree", "grpo,gpro"], "unknown algorithm 'gpro'"),
        (["--disagree", "grpo,ppo", "--set", "tau=.1"], "grpo has no setting 'tau'"),
        (["--step", "3"], "--step: "),
        (["--lane", "main"], "--lane: "),
    ],
)
def test_a_wrong_request_is_one_line(
    capsys: pytest.CaptureFixture[str], file: Path, arguments: list[str], line: str
) -> None:
    code, out, err = told(capsys, file, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(line)


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("no.json", "no.json: no such file or directory"),
        ("no-run", "no-run: no such run"),
        ("last", "there is no run under runs/ yet"),
        (".", ".: is no run: it has no events.jsonl"),
    ],
)
def test_a_source_that_is_not_there(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    line: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = told(capsys, source)
    assert (code, out) == (2, "")
    assert err.startswith(line)


def test_json(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    arguments = ("--algorithm", "grpo", "--explain", "0,0,0", "--disagree", "grpo,ppo", "--json")
    code, out, err = told(capsys, file, *arguments, "--set", "beta=1e-3")
    assert (code, err, out.count("\n")) == (0, "", 1)
    answer = json.loads(out)
    assert list(answer["algorithms"]) == ["grpo", "ppo"]
    assert set(answer["cosine"]["grpo"]) == {"grpo", "ppo"}
    assert answer["algorithms"]["ppo"]["settings"]["beta"] == 1e-3
    assert answer["algorithms"]["grpo"]["explain"]["push"] in ("up", "down", "nowhere")
    assert len(answer["disagree"]["tokens"]) == 10


def test_stdin(
    capsys: pytest.CaptureFixture[str], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(file.read_text()))
    assert told(capsys, "-", "--algorithm", "grpo")[0] == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO("{"))
    assert told(capsys, "-")[2].startswith("stdin:1: not valid JSON")


def test_settings_are_read_as_yaml(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    given = ["baseline=none", "clip_high=none", "whiten=false", "algorithm.beta=0"]
    for text, name, key, value in [
        (given[0], "reinforce", "baseline", "none"),
        (given[1], "grpo", "clip_high", None),
        (given[2], "ppo", "whiten", False),
        (given[3], "grpo", "beta", 0.0),
    ]:
        _, out, err = told(capsys, file, "--algorithm", name, "--set", text, "--json")
        assert err == ""
        assert json.loads(out)["algorithms"][name]["settings"][key] == value


def test_a_recorded_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one, two = random_batch(2, noise=0.01), random_batch(3, noise=0.01)
    run = write(Path("runs/made-up"), [started(), *step_of(one, 1), *step_of(two, 2)])

    def rewards(*arguments: object) -> list[float]:
        code, out, err = told(capsys, *arguments, "--algorithm", "grpo", "--json")
        assert (code, err) == (0, "")
        return [s["reward"] for g in json.loads(out)["groups"] for s in g["samples"]]

    first, second = ([s["reward"] for g in b["groups"] for s in g["samples"]] for b in (one, two))
    for name in (run, "made-up", "last", run / "events.jsonl"):
        assert rewards(name) == second
    assert rewards("last", "--step", 1, "--lane", "main") == first
    code, out, err = told(capsys, "last", "--step", "7")
    assert (code, out) == (2, "")
    assert err == "runs/made-up: no step 7 in lane main; recorded: 1 to 2\n"


# ---------------------------------------------------------------- for people


def told_lines(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    code, out, err = told(capsys, *arguments)
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 100
    return out.splitlines()


def test_the_table(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    lines = told_lines(capsys, file)
    assert lines[0].startswith("3 groups, 12 answers, ")
    table = [line.split() for line in lines[3:]]
    names = [row[0] for row in table if row and row[0] in ALGORITHMS]
    assert names == list(ALGORITHMS)
    grpo = next(row for row in table if row and row[0] == "grpo")
    assert grpo[-1] == "1.0000"
    assert grpo[4] == "—"  # no critic, no value loss
    assert any("A loss near 0 does not mean" in line for line in lines)
    assert not any("Every ratio is 1" in line for line in lines)


def test_the_table_says_why_the_clip_does_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    batch = random_batch(1, noise=0.0, values=False)
    for sample in batch["groups"][0]["samples"]:
        sample["reward"] = 1.0
    (tmp_path / "b.json").write_text(json.dumps(batch))
    lines = told_lines(capsys, tmp_path / "b.json")
    assert any(line.startswith("Every ratio is 1 here") for line in lines)
    assert "; 1 group of zero variance: no gradient" in lines[0]
    at = next(i for i, line in enumerate(lines) if line.startswith("not computed: "))
    assert lines[at + 1].startswith("  trpo: needs values")


def test_explain_and_disagree(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    lines = told_lines(capsys, file, "--explain", "1,0,0", "--disagree", "ppo,gspo")
    at = next(
        i for i, line in enumerate(lines) if line.startswith("token 0 of sample 0 in group 1")
    )
    assert "[t0]" in lines[at]
    assert lines[at + 2] == "reinforce"
    pushed = [line for line in lines[at:] if "∂objective/∂log π" in line]
    assert len(pushed) == len(ALGORITHMS)
    at = next(i for i, line in enumerate(lines) if line.startswith("where ppo and gspo disagree"))
    assert len(lines) == at + 2 + 10


def test_tokens_cannot_command_the_terminal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    batch = random_batch(1)
    hostile = ["\x1b[2J", "\ud800", "\n", "x" * 300, "\u202e", "\x9b31m", "\t", "好"]
    for group in batch["groups"]:
        for sample in group["samples"]:
            sample["tokens"] = [hostile[i % 8] for i in range(len(sample["logprobs"]))]
    (tmp_path / "b.json").write_text(json.dumps(batch))
    for t in range(len(batch["groups"][0]["samples"][0]["tokens"])):
        arguments = ("--algorithm", "grpo", "--explain", f"0,0,{t}", "--disagree", "grpo,dapo")
        lines = told_lines(capsys, tmp_path / "b.json", *arguments)
        "\n".join(lines).encode()
        assert all(line.isprintable() for line in lines)
    code, out, _ = told(capsys, tmp_path / "b.json", "--json")
    assert code == 0
    assert out.isascii()


# ---------------------------------------------------------------- the list of algorithms


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["algorithms", *arguments]) == 0
    return capsys.readouterr().out


def test_a_card(capsys: pytest.CaptureFixture[str]) -> None:
    card = listed(capsys, "grpo")
    assert "  ρ    ratio: probability now / probability when sampled" in card
    assert "  ppo: the group's mean and std replace the critic" in card
    assert "aggregation  seq-mean-token-mean" in card
    assert "trl-1.16: beta=0.0" in card
    assert "needs        reference" in card
    assert "needs        greedy answer" in listed(capsys, "remax")
    for name in ALGORITHMS:
        assert listed(capsys, name).startswith(f"{name}: ")


def test_the_difference_of_two(capsys: pytest.CaptureFixture[str]) -> None:
    lines = listed(capsys, "grpo", "--diff", "dr-grpo").splitlines()
    assert "- Â = (r − m) / s" in lines
    assert "+ Â = r − m" in lines
    assert "- aggregation = seq-mean-token-mean" in lines
    assert "+ aggregation = seq-mean-token-sum-norm" in lines
    assert "- beta = 0.04" in lines
    assert "- std_epsilon = 0.0" in lines
    assert all(line[:2] in ("- ", "+ ", "  ", "") for line in lines)
    same = listed(capsys, "grpo", "--diff", "grpo").splitlines()[2:]
    assert not any(line.startswith(("-", "+")) for line in same)


def test_the_family_tree(capsys: pytest.CaptureFixture[str]) -> None:
    lines = listed(capsys, "--lineage").splitlines()
    names = [line.strip().partition(":")[0] for line in lines]
    for name in ALGORITHMS:
        assert names.count(name) == 1
    assert lines[0].startswith("reinforce: ")
    assert lines[names.index("dapo")].startswith(
        lines[names.index("grpo")].partition("grpo")[0] + "   dapo: "
    )
    assert max(map(len, lines)) <= 100
    one = listed(capsys, "gspo-token", "--lineage").splitlines()
    assert one[0].startswith("gspo-token ← gspo: ")
    assert one[1].startswith("gspo ← grpo: ")
    assert listed(capsys, "reinforce", "--lineage").startswith("reinforce is derived from none")


def test_lists_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    found: list[dict[str, Any]] = json.loads(listed(capsys, "--json"))["algorithms"]
    assert [a["name"] for a in found] == list(ALGORITHMS)
    for a in found:
        assert {
            "title", "paper", "formula", "terms", "lineage", "presets", "settings", "aggregation",
            "needs", "source",
        } <= set(a)  # fmt: skip
        assert a["aggregation"] == ALGORITHMS[a["name"]].mean() != ""
        assert all(t["symbol"] and t["meaning"] for t in a["terms"])
    by_name = {a["name"]: a for a in found}
    assert by_name["gspo"]["lineage"][0]["ancestor"] == "grpo"
    assert by_name["grpo-process"]["needs"] == ["reference", "graded steps"]
    two = json.loads(listed(capsys, "grpo", "--diff", "dapo", "--json"))
    assert [a["name"] for a in two["algorithms"]] == ["grpo", "dapo"]
    assert {kind for d in two["difference"] for kind, _ in d["parts"]} == {"same", "left", "right"}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--diff", "grpo"], "--diff grpo: name an algorithm to compare it with"),
        (["grpo", "--diff", "dapp"], "unknown algorithm 'dapp'; did you mean 'dapo'?"),
    ],
)
def test_wrong_lists(capsys: pytest.CaptureFixture[str], arguments: list[str], line: str) -> None:
    assert cli.main(["algorithms", *arguments]) == 2
    assert capsys.readouterr().err == line + "\n"
