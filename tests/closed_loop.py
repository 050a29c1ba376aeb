"""A scripted policy and the simulated robot in one thread, on a fake clock: what a controller does, in miniature."""

import math
from dataclasses import dataclass, field

import numpy as np

from controller.robots.base import GRIPPERS, N_JOINTS
from controller.robots.sim import SimRobot
from controller.sim import task
from policy_server.scripted import ACTION_RATE_HZ, HORIZON, STAGED, Phase, ScriptedPolicy

TICK_NS = 5_000_000
FADE_S = 0.1
ARMS = [joint for joint in range(N_JOINTS) if joint not in GRIPPERS]


@dataclass
class Loop:
    """Ticks at 200 Hz; requests leave when the last answer is in; answers arrive delay_s() later.

    frozen: commands no longer reach the arms, requests go on. contacts: which kinds of bodies have touched.
    speed: of the policy's time, which is told with each request (None: real time, not told). rtc: requests carry what
    is left of the chunk.
    """

    seed: int
    delay_s: object
    velocity_feedforward: bool = True
    speed: float | None = None
    rtc: bool = False
    frozen: bool = False
    t_ns: int = 1_000_000_000
    phases: list = field(default_factory=list)
    commands: list = field(default_factory=list)
    contacts: set = field(default_factory=set)

    def __post_init__(self):
        self.robot = SimRobot(seed=self.seed, velocity_feedforward=self.velocity_feedforward, clock=lambda: self.t_ns)
        self.robot.connect()
        self.session = ScriptedPolicy(seed=self.seed, clock=lambda: self.t_ns / 1e9).new_session()
        self.chunk = self.old = self.coming = None
        self.tau_ns = self.spliced_ns = 0  # of the policy's time
        self.home()

    def home(self, seconds=2.0):
        start = self.robot.read(self.t_ns).q
        goal = np.tile(np.append(STAGED, 0.03), 2)
        ticks = round(seconds * 1e9) // TICK_NS
        for tick in range(1, ticks + 100):
            share = min(tick / ticks, 1.0)
            self.t_ns += TICK_NS
            self.robot.read(self.t_ns)
            self.robot.write(self.t_ns, start + share * (goal - start), (goal - start) / seconds * (share < 1.0))

    def run(self, seconds, until=None):
        """Tick until `until(self)` or the time is over; True when `until` came true."""
        end_ns = self.t_ns + round(seconds * 1e9)
        while self.t_ns < end_ns:
            self.tick()
            if until is not None and until(self):
                return True
        return False

    def tick(self):
        self.t_ns += TICK_NS
        self.tau_ns += round(TICK_NS * (self.speed or 1.0))
        state = self.robot.read(self.t_ns)
        if self.coming is None:
            self.request(state)
        if self.coming is not None and self.t_ns >= self.coming[0]:
            self.old, self.chunk, self.coming = self.chunk, self.coming[1], None
            self.spliced_ns = self.tau_ns
        if self.chunk is not None and not self.frozen:
            velocity = (self.target(1e-3) - self.target(-1e-3)) / 2e-3
            self.robot.write(self.t_ns, self.target(0.0), velocity * (self.speed or 1.0))
            self.commands.append(self.target(0.0))
        self.watch()

    def request(self, state):
        observation = {"state": state.q, "environment_state": self.robot.environment, "prompt": "go"}
        delay_ns = max(round(self.delay_s() * 1e9), 20_000_000)
        if self.speed is not None:
            observation["playback_s"] = self.tau_ns / 1e9
        if self.rtc and self.chunk is not None:
            begun = (self.tau_ns - self.chunk[0]) / 1e9
            steps = max(1, HORIZON - int(begun * ACTION_RATE_HZ))
            rest = np.array([self.sample(self.chunk, step / ACTION_RATE_HZ) for step in range(steps)])
            delay_steps = math.ceil(delay_ns / 1e9 * (self.speed or 1.0) * ACTION_RATE_HZ)
            observation["rtc"] = {"actions": rest, "delay_steps": min(delay_steps, steps)}
        reply = self.session.infer(observation)
        assert reply["actions"].shape == (HORIZON, N_JOINTS)
        assert reply["actions"].dtype == np.float64
        self.coming = (self.t_ns + delay_ns - TICK_NS, (self.tau_ns, reply["actions"]))
        if not self.phases or self.phases[-1] is not self.session.phase:
            self.phases.append(self.session.phase)

    def target(self, ahead_s):
        new = self.sample(self.chunk, ahead_s)
        faded = min(max((self.tau_ns - self.spliced_ns) / 1e9 + ahead_s, 0.0) / FADE_S, 1.0)
        return new if self.old is None else faded * new + (1.0 - faded) * self.sample(self.old, ahead_s)

    def sample(self, chunk, ahead_s):
        start_ns, actions = chunk
        step = min(max(((self.tau_ns - start_ns) / 1e9 + ahead_s) * ACTION_RATE_HZ, 0.0), HORIZON - 1.001)
        low = int(step)
        return actions[low] + (step - low) * (actions[low + 1] - actions[low])

    def move_lighter(self, pose):
        """Somebody's hand: the lighter lies elsewhere from now on."""
        places = self.robot._kit.environment_qpos[:7]  # noqa: SLF001
        self.robot._data.qpos[places] = pose  # noqa: SLF001
        self.robot._data.qvel[-12:-6] = 0.0  # noqa: SLF001

    def watch(self):
        model, data = self.robot._model, self.robot._data  # noqa: SLF001
        for pair in data.contact.geom:
            names = sorted(model.body(model.geom_bodyid[geom]).name.split("_")[0] for geom in pair)
            self.contacts.add(tuple(names))

    @property
    def in_cup(self):
        return task.lighter_in_cup(self.robot.environment)


def done(loop):
    """The lighter is in the cup and the arms are back at rest."""
    return loop.in_cup and loop.phases[-1] is Phase.REST
