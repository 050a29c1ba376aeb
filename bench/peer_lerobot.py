"""A peer of `bench.peers`: LeRobot's asynchronous client and server (gRPC), as published, at their defaults.

    .venv-lerobot/bin/python -m bench.peer_lerobot POLICY_MS SECONDS

The client keeps its robot at 50 Hz and sends an observation at each step while less than half a chunk is left; the
server drops those whose joints are like the last one's. Only the policy is ours, a chunk of the same sway, and the
server waits as long as its own `inference_latency` says; it is spared the pictures' preparation. The server runs in a
process of its own. Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from concurrent import futures
from pathlib import Path
from typing import Any

from bench.commands import ACTION_HZ

ROOT = Path(__file__).parent.parent
PYTHON = ROOT / ".venv-lerobot" / "bin" / "python"
HORIZON = 50
WARM_UP_S = 3.0
LISTENING = "listening on port "


def missing() -> str:
    """Why it cannot run here; empty where it can."""
    if not PYTHON.exists():
        return "there is no .venv-lerobot; `make setup-lerobot` makes it"
    program = "import lerobot.async_inference.robot_client"
    with tempfile.TemporaryDirectory() as directory:  # LeRobot writes logs where it is imported
        done = subprocess.run([str(PYTHON), "-c", program], cwd=directory, capture_output=True, text=True, check=False)
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


def command(policy_ms: float, seconds: float) -> list[str]:
    """What runs client and server."""
    return [str(PYTHON), "-m", "bench.peer_lerobot", str(policy_ms), str(seconds)]


def serve(policy_ms: float) -> None:
    """LeRobot's server, until it is ended."""
    import grpc
    import torch
    from lerobot.async_inference.configs import PolicyServerConfig
    from lerobot.async_inference.policy_server import PolicyServer
    from lerobot.transport import services_pb2, services_pb2_grpc

    from bench.soak_server import sway

    class Swaying(PolicyServer):  # type: ignore[misc]
        """Loads no model; its chunk sways by the time since the begin."""

        def SendPolicyInstructions(self, request: Any, context: Any) -> Any:  # noqa: N802
            self.lerobot_features = pickle.loads(request.data).lerobot_features
            self._begun_s = time.monotonic()
            return services_pb2.Empty()

        def _predict_action_chunk(self, observation_t: Any) -> Any:
            self.last_processed_obs = observation_t
            chunk = torch.from_numpy(sway(time.monotonic() - self._begun_s))
            return self._time_action_chunk(observation_t.get_timestamp(), list(chunk), observation_t.get_timestep())

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    config = PolicyServerConfig(host="127.0.0.1", fps=round(ACTION_HZ), inference_latency=policy_ms * 1e-3)
    services_pb2_grpc.add_AsyncInferenceServicer_to_server(Swaying(config), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"{LISTENING}{port}", flush=True)
    server.wait_for_termination()


def follow(port: int, seconds: float) -> dict[str, Any]:
    """LeRobot's client for so many seconds, after a warm-up."""
    from lerobot.async_inference.configs import RobotClientConfig
    from lerobot.async_inference.robot_client import RobotClient

    from bench.peerkit import PeerKitConfig

    commands_ns: list[int] = []
    end_to_end_ms: list[float] = []
    begin_ns = time.monotonic_ns() + round(WARM_UP_S * 1e9)

    class Noted(RobotClient):  # type: ignore[misc]
        """Tells from which observation a chunk came: all of its actions lead back to that one's instant."""

        frames: dict[int, int] = {}  # noqa: RUF012
        chunk = 0

        def send_observation(self, obs: Any) -> Any:
            self.frames[_origin(obs)] = self.robot.t_frame_ns
            return super().send_observation(obs)

        def control_loop_action(self, verbose: bool = False) -> Any:
            origin = _origin(self.action_queue.queue[0])
            done = super().control_loop_action(verbose)
            now_ns = self.robot.t_command_ns
            if now_ns >= begin_ns:
                commands_ns.append(now_ns)
                if origin != self.chunk:
                    end_to_end_ms.append((now_ns - self.frames[origin]) * 1e-6)
            self.chunk = origin
            return done

    client = Noted(
        RobotClientConfig(
            policy_type="act",
            pretrained_name_or_path="none",
            robot=PeerKitConfig(),
            actions_per_chunk=HORIZON,
            fps=round(ACTION_HZ),
            server_address=f"127.0.0.1:{port}",
        )
    )
    if not client.start():
        sys.exit("LeRobot's client found no server; see above")
    threading.Timer(WARM_UP_S + seconds, client.shutdown_event.set).start()
    threading.Thread(target=client.receive_actions, daemon=True).start()
    used_s, took_s = time.process_time(), time.monotonic()
    client.control_loop(task="sway")
    used_s, took_s = time.process_time() - used_s, time.monotonic() - took_s
    return {"commands_ns": commands_ns, "end_to_end_ms": end_to_end_ms, "cpu_percent": 100 * used_s / took_s}


def _origin(timed: Any) -> int:
    """The instant at which step 0 would lie, in 0.1 ms: the same for an observation and every action made from it."""
    return round((timed.get_timestamp() - timed.get_timestep() / ACTION_HZ) * 1e4)


def main() -> None:
    """Both programs, or the server alone."""
    if sys.argv[1] == "serve":
        serve(float(sys.argv[2]))
        return
    os.environ["PYTHONPATH"] = str(ROOT)
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        program = [sys.executable, "-m", "bench.peer_lerobot", "serve", sys.argv[1]]
        with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
            try:
                assert server.stdout is not None
                line = next((line for line in server.stdout if LISTENING in line), None)
                if line is None:
                    sys.exit("LeRobot's server did not start; run `python -m bench.peer_lerobot serve 0` to see why")
                print(json.dumps(follow(int(line.rsplit(" ", 1)[1]), float(sys.argv[2]))), flush=True)
            finally:
                server.kill()
    os._exit(0)  # the receiving thread still waits for the server


if __name__ == "__main__":
    main()
