"""The command's other doors: which command, which options, which packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from policy_server import serve
from policy_server.__main__ import main
from policy_server.config import ConfigError, shipped_configs
from policy_server.scripted import ScriptedPolicy


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """What a model is asked to load with; none is loaded."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def load_policy(*args: Any, **options: Any) -> ScriptedPolicy:
        calls.append((args, options))
        raise ConfigError("seen\nenough")

    monkeypatch.setitem(sys.modules, "policy_server.pi0", SimpleNamespace(load_policy=load_policy))
    return calls


def test_configs_lists_what_is_shipped(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == shipped_configs()
    assert all(len(line.split()) > 2 for line in lines)


@pytest.mark.parametrize("name", ["serve", "inspect", "norm-stats", "configs"])
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert f"usage: pi0-policy-server {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv", [[], ["bogus"], ["--help-me"], ["serve"], ["serve", "--config", "a", "--policy", "scripted"]]
)
def test_wrong_usage_is_status_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2
    assert "usage: pi0-policy-server" in capsys.readouterr().err


def test_a_model_is_loaded_with_its_defaults(loads: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--config", "pi0_base", "--checkpoint", "x"]) == 1
    assert capsys.readouterr().err.endswith("pi0-policy-server: seen\nenough\n"), "lists of leaves keep their lines"
    ((args, options),) = loads
    assert args == ("pi0_base", Path("x"))
    assert options.pop("seed") >= 0
    assert options.pop("say")
    assert options.pop("compile_cache") == serve.CACHE.expanduser()
    assert options == {"dtype": "bfloat16", "num_steps": 10, "rtc": True}


def test_a_model_is_loaded_as_told(loads: list[Any]) -> None:
    more = ["--dtype", "float32", "--num-steps", "5", "--seed", "0", "--no-rtc", "--no-compile-cache"]
    assert main(["serve", "--config", "mine.toml", "--checkpoint", "x", *more]) == 1
    options = loads[0][1]
    del options["say"]
    assert options == {"dtype": "float32", "num_steps": 5, "seed": 0, "rtc": False, "compile_cache": None}


@pytest.mark.parametrize(
    "more", [[], ["--checkpoint", "x", "--host", "0.0.0.0"], ["--checkpoint", "x", "--tls-key", "k"]]
)
def test_what_cannot_work_is_refused_before_a_model_is_loaded(loads: list[Any], more: list[str]) -> None:
    assert main(["serve", "--config", "pi0_base", *more]) == 1
    assert loads == []


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **options: Any) -> None:
        raise ValueError("shapes do not fit")

    monkeypatch.setitem(sys.modules, "policy_server.pi0", SimpleNamespace(load_policy=broken))
    with pytest.raises(ValueError, match="shapes do not fit"):
        main(["serve", "--config", "pi0_base", "--checkpoint", "x"])


def test_a_missing_package_is_named_with_the_way_to_get_it() -> None:
    script = (
        "import sys\n"
        "for name in ('jax', 'tensorstore', 'sentencepiece', 'pyarrow'): sys.modules[name] = None\n"
        "from policy_server.__main__ import main\n"
        "sys.exit(main(['serve', '--config', 'pi0_base', '--checkpoint', '/']))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].endswith("; run: pip install 'pi0-controller[pi0]'")
    assert "Traceback" not in run.stderr


def test_the_scripted_policy_needs_no_model_packages() -> None:
    script = (
        "import sys\n"
        "from policy_server import server, serve, scripted\n"
        "sys.exit(bool(sys.modules.keys() & {'jax', 'tensorstore', 'sentencepiece', 'pyarrow'}))\n"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0
