"""The command's other doors: which command, which options, which packages."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import pytest
from server_rig import command

from policy_server import serve
from policy_server.__main__ import main
from policy_server.config import ConfigError, shipped_configs
from policy_server.noise import Noise
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


@pytest.mark.parametrize("name", ["scripted", "bimodal"])
def test_policies_without_a_model_are_served_by_name(name: str) -> None:
    with command("--port", "0", policy=name) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().rstrip().endswith(f"policy={name}")
        finally:
            process.kill()


def test_a_model_is_loaded_with_its_defaults(loads: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--config", "pi0_base", "--checkpoint", "x"]) == 78
    assert capsys.readouterr().err.endswith("pi0-policy-server: seen\nenough\n"), "lists of leaves keep their lines"
    ((args, options),) = loads
    assert args == ("pi0_base", Path("x"))
    assert options.pop("seed") >= 0
    assert options.pop("say")
    assert options.pop("compile_cache") == serve.CACHE.expanduser()
    assert options == {"dtype": "bfloat16", "num_steps": 10, "rtc": True}


def test_a_model_is_loaded_as_told(loads: list[Any]) -> None:
    more = ["--dtype", "float32", "--num-steps", "5", "--seed", "0", "--no-rtc", "--no-compile-cache"]
    assert main(["serve", "--config", "mine.toml", "--checkpoint", "x", *more]) == 78
    options = loads[0][1]
    del options["say"]
    assert options == {"dtype": "float32", "num_steps": 5, "seed": 0, "rtc": False, "compile_cache": None}


@pytest.mark.parametrize(
    "more", [[], ["--checkpoint", "x", "--host", "0.0.0.0"], ["--checkpoint", "x", "--tls-key", "k"]]
)
def test_what_cannot_work_is_refused_before_a_model_is_loaded(loads: list[Any], more: list[str]) -> None:
    assert main(["serve", "--config", "pi0_base", *more]) == 78
    assert loads == []


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **options: Any) -> None:
        raise ValueError("shapes do not fit")

    monkeypatch.setitem(sys.modules, "policy_server.pi0", SimpleNamespace(load_policy=broken))
    with pytest.raises(ValueError, match="shapes do not fit"):
        main(["serve", "--config", "pi0_base", "--checkpoint", "x"])


@pytest.mark.parametrize("seed", ["-1", str(2**63), "99999999999999999999", "x"])
def test_a_seed_that_noise_cannot_be_made_from_is_wrong_usage(seed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--policy", "scripted", "--latency-ms", "-1", "--seed", seed])  # which is never served
    assert ended.value.code == 2
    assert "argument --seed: " in capsys.readouterr().err


def test_the_largest_seed_makes_noise(loads: list[Any]) -> None:
    assert main(["serve", "--config", "pi0_base", "--checkpoint", "x", "--seed", str(2**63 - 1)]) == 78
    assert Noise(loads[0][1]["seed"], (2, 3)).draw().shape == (2, 3)


def test_without_a_home_the_compile_cache_needs_a_place(
    loads: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", nobody)
    monkeypatch.setattr(serve, "CACHE", Path("~/.cache/compiled"))
    model = ["serve", "--config", "pi0_base", "--checkpoint", "x"]
    assert main(model) == 78
    assert loads == []
    assert capsys.readouterr().err == (
        "pi0-policy-server: cannot keep compiled programs in ~/.cache/compiled: no such home directory is known; "
        "set HOME, or give --compile-cache DIR or --no-compile-cache\n"
    )
    for told, place in ((["--compile-cache", "/some"], Path("/some")), (["--no-compile-cache"], None)):
        assert main([*model, *told]) == 78
        assert loads.pop()[1]["compile_cache"] == place


@pytest.mark.parametrize(
    ("platforms", "error", "text"),
    [
        ("foo", RuntimeError("no backend foo"), " (no backend foo) with JAX_PLATFORMS=foo; unset it, or see Install"),
        ("cuda", AssertionError(), " with JAX_PLATFORMS=cuda; unset it, or see Install"),
        (None, RuntimeError("no driver"), " (no driver); see Install"),
    ],
)
def test_jax_without_a_device_is_refused_in_one_line(
    platforms: str | None,
    error: Exception,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def no_device(*args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(jax, "local_devices", no_device)
    monkeypatch.setitem(sys.modules, "policy_server.pi0", SimpleNamespace(load_policy=no_device))
    if platforms is None:
        monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    else:
        monkeypatch.setenv("JAX_PLATFORMS", platforms)
    assert main(["serve", "--config", "pi0_base", "--checkpoint", "x", "--no-compile-cache"]) == 1
    message = f"pi0-policy-server: JAX finds no device{text} in docs/policy-server.md\n"
    assert capsys.readouterr().err.endswith(message)


FULL = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.\nmore")
FULL_TEXT = "the device has no memory left (RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.); "


class Full(ScriptedPolicy):
    def warm_up(self, say: Callable[[str], None]) -> None:
        raise FULL


@pytest.mark.parametrize("when", ["loading", "warming up"])
def test_a_full_device_is_told_in_one_line(
    when: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(*args: Any, **options: Any) -> ScriptedPolicy:
        if when == "loading":
            raise FULL
        return Full()

    monkeypatch.setitem(sys.modules, "policy_server.pi0", SimpleNamespace(load_policy=load))
    options = ["--checkpoint", "x", "--no-compile-cache", "--port", "0"]
    assert main(["serve", "--config", "pi0_base", *options]) == 1
    err = capsys.readouterr().err
    assert err.splitlines()[-1].startswith(f"pi0-policy-server: {FULL_TEXT}end what else runs there (nvidia-smi")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "error", [RuntimeError("a bug"), AssertionError(), jax.errors.JaxRuntimeError("INVALID_ARGUMENT: a bug")]
)
def test_an_error_of_a_model_whose_device_is_well_keeps_its_traceback(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setitem(sys.modules, "policy_server.pi0", SimpleNamespace(load_policy=broken))
    with pytest.raises(type(error)) as raised:
        main(["serve", "--config", "pi0_base", "--checkpoint", "x", "--no-compile-cache"])
    assert raised.value is error


def test_only_warnings_of_jax_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.NOTSET, "jax")
    jax_s = logging.getLogger("jax._src.xla_bridge")
    assert jax_s.isEnabledFor(logging.INFO)
    assert main(["configs"]) == 0
    assert not jax_s.isEnabledFor(logging.INFO)
    assert jax_s.isEnabledFor(logging.WARNING)


def test_noise_is_drawn_where_there_is_no_cpu_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_default(backend: str | None = None) -> list[jax.Device]:
        if backend is not None:
            raise RuntimeError(f"Unknown backend {backend}")
        return devices

    expected, devices = Noise(3, (2, 3)).draw(), jax.local_devices()
    monkeypatch.setattr(jax, "local_devices", only_default)
    assert Noise(3, (2, 3)).draw().tolist() == expected.tolist()


def test_noise_stays_on_the_cpu_whatever_the_default_device() -> None:
    """Two CPUs stand for a CPU and a GPU, which is the default."""
    script = (
        "import jax\n"
        "from policy_server.noise import Noise\n"
        "cpu, gpu = jax.local_devices()\n"
        "jax.config.update('jax_default_device', gpu)\n"
        "noise = Noise(0, (2, 3))\n"
        "noise.draw()\n"
        "assert noise._key.devices() == {cpu}, noise._key.devices()\n"
    )
    devices = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", script], env=os.environ | devices, timeout=60, check=True)


def test_a_missing_package_is_named_with_the_way_to_get_it() -> None:
    script = (
        "import sys\n"
        "for name in ('jax', 'tensorstore', 'sentencepiece', 'pyarrow'): sys.modules[name] = None\n"
        "from policy_server.__main__ import main\n"
        "sys.exit(main(['serve', '--config', 'pi0_base', '--checkpoint', '/']))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].endswith("; run: uv pip install -e '.[pi0]'")
    assert "Traceback" not in run.stderr


def test_the_scripted_policy_needs_no_model_packages() -> None:
    script = (
        "import sys\n"
        "from policy_server import server, serve, scripted\n"
        "sys.exit(bool(sys.modules.keys() & {'jax', 'tensorstore', 'sentencepiece', 'pyarrow'}))\n"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0
