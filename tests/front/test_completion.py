"""`grpolab completion`: scripts that their shells accept and that offer the right words."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from grpolab import cli
from grpolab.headless.completion import script

SHELLS = ("bash", "zsh", "fish")


def have(shell: str) -> bool:
    return shutil.which(shell) is not None


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_and_name_is_in_the_script(shell: str) -> None:
    text = script(cli.parser(), shell)
    for word in ("compare", "completion", "grpo-iterative", "switch-midway", "quantize", "nf4"):
        assert word in text


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_accepts_it(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    if not have(shell):
        pytest.skip(f"{shell} is not installed")
    assert cli.main(["completion", shell]) == 0
    text = capsys.readouterr().out
    done = subprocess.run([shell, "-n"], input=text, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not have("bash"), reason="bash is not installed")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("grpolab comp", {"compare", "completion"}),
        ("grpolab run kl-e", {"kl-estimators"}),
        ("grpolab run --algorithm grpo-p", {"grpo-process"}),
        ("grpolab compare default --algorithms dr", {"dr-grpo"}),
        ("grpolab algorithms dr", {"dr-grpo"}),
        ("grpolab scenarios switch", {"switch-midway"}),
        ("grpolab replay la", {"last"}),
        ("grpolab watch my", {"my-run"}),
        ("grpolab check default --quantize nf", {"nf4"}),
        ("grpolab doctor --mod", {"--model"}),
    ],
)
def test_what_bash_offers(tmp_path: Path, line: str, offered: set[str]) -> None:
    (tmp_path / "runs" / "my-run").mkdir(parents=True)
    words = line.split()
    ask = (
        f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}\n"
        "function=$(complete -p grpolab | sed 's/.* -F \\([^ ]*\\) .*/\\1/')\n"
        f'$function grpolab "{words[-1]}" "{words[-2]}"\n'
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "--norc"], input=script(cli.parser(), "bash") + "\n" + ask, cwd=tmp_path,
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert set(done.stdout.split()) == offered


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["completion", "tcsh"])
    assert "unknown value 'tcsh'" in capsys.readouterr().err
