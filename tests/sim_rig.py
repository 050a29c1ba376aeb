"""The motion rig with the simulated robot as its plant, and the contact guard watching it, all in virtual time."""

from dataclasses import dataclass, field

import numpy as np

from controller.follower import Mode
from controller.planner import Phase
from controller.robots.sim import SimRobot
from controller.settings import contact_watch
from controller.sim import kit, task
from controller.states import State
from policy_server import scripted
from tests.guard_rig import GuardedRig
from tests.motion_rig import MS, SIM, Row


@dataclass
class SimRig(GuardedRig):
    """`efforts`: the external effort at each motor tick. ends_on_contact: as the motor process does."""

    q_start: np.ndarray = field(default_factory=lambda: np.tile(kit.START_POSE, 2))
    seed: int = 0
    ends_on_contact: bool = True
    efforts: list = field(default_factory=list)

    def __post_init__(self):
        self.robot = SimRobot(seed=self.seed, clock=lambda: self.t_ns)
        self.robot.connect()
        self.contact = contact_watch(SIM)
        super().__post_init__()

    def motor(self):
        state = self.robot.read(self.t_ns)
        self.q_measured = state.q
        self.efforts.append(state.external_effort)
        while self.sent and self.sent[0][0] <= self.t_ns:
            self.command = self.sent.pop(0)[1]
        alarm = self.contact.check(self.t_ns, self.follower.mode is Mode.FOLLOW, state.external_effort)
        self.follower.step(self.t_ns, self.permit(), self.command, state.q, alarm if self.ends_on_contact else None)
        self.robot.write(self.t_ns, self.follower.q, self.follower.qd)
        follower, moving = self.follower, self.permit().moving(self.t_ns)
        self.log.append(
            Row(self.t_ns, follower.mode, follower.q.copy(), follower.qd.copy(), moving, follower.motion_id, self.dry)
        )

    def home(self):
        """Drive to the home pose and be idle there."""
        self.begin(State.HOMING)
        while self.planner.phase is not Phase.DONE:
            self.advance(100)
            assert self.planner.fault is None, self.planner.fault
            assert self.follower.fault is None, self.follower.fault
        self.state = State.IDLE
        self.advance(50)

    def demo(self, seconds, delay_ms=70):
        """The scripted policy drives the arms until the lighter is in the cup and they rest. True when it is."""
        session = scripted.ScriptedPolicy(seed=self.seed, clock=lambda: self.t_ns / 1e9).new_session()
        self.home()
        self.run(self._ask(session))
        end_ns = self.t_ns + round(seconds * 1e9)
        chunk_id = 2
        while self.t_ns < end_ns and self.planner.fault is None and self.follower.fault is None:
            t_observed_ns, actions = self.t_ns, self._ask(session)
            self.advance(delay_ms)
            self.receive(actions, age_ms=(self.t_ns - t_observed_ns) // MS, chunk_id=chunk_id)
            chunk_id += 1
            if task.lighter_in_cup(self.robot.environment) and session.phase is scripted.Phase.REST:
                return True
        return False

    def _ask(self, session):
        observation = {"state": self.q_measured, "environment_state": self.robot.environment, "prompt": "go"}
        return session.infer(observation)["actions"]
