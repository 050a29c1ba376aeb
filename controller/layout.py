"""Every record in shared memory, byte by byte: who writes it, who reads it, in which unit.

Pure: numpy dtypes only. Change a dtype and raise VERSION: a reader with another layout refuses to attach.
Instants are CLOCK_MONOTONIC in ns (`t_..._ns`); joint vectors follow robots.base.JOINT_NAMES.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from controller.robots.base import N_JOINTS

VERSION = 5
MAX_STEPS = 128
"""Longest action chunk that fits a CHUNK (pi0 uses 50)."""

MAX_ENVIRONMENT = 32
"""Longest environment_state vector a robot may publish (the simulated kit uses 14)."""

_JOINTS = ("f8", (N_JOINTS,))

# ---- written by the supervisor -----------------------------------------------------------------------

PERMIT = np.dtype(
    [
        ("t_ns", "i8"),  # when this was written
        ("lease_until_ns", "i8"),  # motion is allowed before this instant only
        ("state", "u1"),  # states.State code; motion needs HOMING or RUNNING
        ("exit", "u1"),  # 1: children end, the motor process after it has braked
        ("dry", "u1"),  # 1: control plans as ever, the motor process commands nothing
        ("seam", "u1"),  # run_options.Seam: how control goes from chunk to chunk, may change during a run
        ("speed", "f8"),  # of the policy's time against real time, may change during a run; or of a move to a pose
        ("goal", *_JOINTS),  # homing: the pose to move to
        ("motion_id", "u8"),  # one number per motion; a piece of another motion is ignored
        ("reset_count", "u8"),  # raised by an operator's reset: children clear their latched fault
        ("scene_count", "u8"),  # raised to lay out the simulated scene anew (idle only)
        ("scene_seed", "u8"),
        ("log_level", "u1"),  # logs.LEVELS: how much children say
        ("dismissed", "i4", (16,)),  # pids of children that end now, to be started anew; 0: none
    ],
    align=True,
)

LINK_ORDER = np.dtype(
    [
        ("t_ns", "i8"),
        ("motion_id", "u8"),  # 0: no requests wanted
        ("prompt", "S1024"),  # utf-8
        ("seam", "u1"),  # run_options.Seam; RTC: send what is left of the chunk with each request
        ("execution_horizon", "u4"),  # steps of the newest chunk to be past before the next request; 0: none
    ],
    align=True,
)

# ---- written by each child -----------------------------------------------------------------------------

_BEAT = [
    ("t_ns", "i8"),  # heartbeat
    ("pid", "i4"),
    ("fault", "u2"),  # faults.FaultCode value, 0: none; latched until reset_count rises
    ("fault_motion_id", "u8"),
    ("reset_count", "u8"),  # the last reset this child has obeyed
    ("fault_text", "S240"),
    ("realtime", "S160"),  # what realtime.py was granted and what not
]

LATENESS_BINS = 64
"""Bin i counts lateness in [2**(i/4), 2**((i+1)/4)) microseconds: a factor of 1.19 per bin, up to 65 ms."""

CONTROL_STATUS = np.dtype(
    [
        *_BEAT,
        ("ticks", "u8"),
        ("missed", "u8"),  # deadlines skipped because a tick came a whole period late
        ("lateness", "u4", (LATENESS_BINS,)),
        ("lateness_max_us", "f8"),
        ("stall_ticks", "u8"),  # ticks of a run, after its first chunk, without a plan to follow
        ("chunks", "u8"),  # spliced
        ("late_chunks", "u8"),  # refused: all of it was already past
        ("phase", "u1"),  # planner.Phase
        ("phase_motion_id", "u8"),
        ("plan_left_s", "f8"),  # how much timeline is left
        ("seam", "u1"),  # run_options.Seam in effect
        ("speed", "f8"),  # of the policy's time against real time
        # one value per run_options.Seam since the daemon's start, arm joints only: how the methods compare
        ("seams", "u8", (4,)),  # splices made
        ("gap_last_rad", "f8", (4,)),  # old plan to new plan at the splice, the joint farthest apart
        ("gap_max_rad", "f8", (4,)),
        ("seam_acceleration", "f8", (4,)),  # largest commanded within the cross-fade after a splice, rad/s2
        ("inside_acceleration", "f8", (4,)),  # largest commanded elsewhere
    ],
    align=True,
)

MOTOR_STATUS = np.dtype(
    [
        *_BEAT,
        ("ticks", "u8"),
        ("missed", "u8"),
        ("lateness", "u4", (LATENESS_BINS,)),
        ("lateness_max_us", "f8"),
        ("mode", "u1"),  # follower.Mode: HOLD, FOLLOW, BRAKE
        ("mode_motion_id", "u8"),
        ("lease_margin_min_us", "f8"),  # smallest lease left at any tick of a motion
        ("refused", "u8"),  # commands the last gate refused
        ("joints_alarm", "u2"),  # faults.FaultCode of what is wrong with the joint readings now, 0: nothing
        ("temperature", *_JOINTS),  # degrees Celsius, nan: the driver does not say
    ],
    align=True,
)

CAMERA_STATUS = np.dtype(
    [
        *_BEAT,
        ("frames", "u8"),
        ("skipped", "u8"),  # by the device's own frame number
        ("repeated", "u8"),  # came once more under the number of the frame before; they are not passed on
        ("rate_hz", "f8"),  # set
        ("measured_hz", "f8"),
        ("letterbox_us", "f8"),  # of the last frame
        ("watch_us", "f8"),  # what looking at that frame took
        # see picture_watch.PictureWatch
        ("same_frames", "u4"),  # frames in a row that show one picture to the bit
        ("t_same_ns", "i8"),  # arrival of the first of them
        ("dark_frames", "u4"),  # frames in a row that are too dark
        ("brightness", "f8"),  # of the last frame, 0 to 255
        ("backwards", "u8"),  # frames not exposed after the one before them; they are not passed on
        ("t_backwards_ns", "i8"),  # arrival of the newest of those
    ],
    align=True,
)

LINK_STATUS = np.dtype(
    [
        *_BEAT,
        ("connected", "u1"),
        ("server", "S1024"),  # JSON: what the server said of itself
        ("error", "S240"),  # why not connected, or what the last answer lacked
        ("requests", "u8"),
        ("answers", "u8"),
        ("reconnects", "u8"),
        ("first_chunk_motion_id", "u8"),  # the newest motion with a chunk delivered
        ("inference_ms", "f8"),  # server-side, of the last answer
        ("build_ms", "f8"),  # observation copied and packed
        ("expected_delay_ms", "f8"),  # from an observation's joint reading to the use of its actions; nan: unknown
        ("same_answers", "u4"),  # answers in a row that were the same to the bit
    ],
    align=True,
)

GUARD_STATUS = np.dtype(
    [
        *_BEAT,
        ("checks", "u8"),
        ("checked_motion_id", "u8"),
        ("t_checked_ns", "i8"),  # begin of the newest look at that motion that was brought to an end
        ("check_ms", "f8"),  # how long the newest one of a motion to come took
        ("check_max_ms", "f8"),
        ("nearest", "S120"),  # the two bodies with the least room in the horizon, empty when none are near
        ("nearest_m", "f8"),
        ("nearest_bound_m", "f8"),
        ("nearest_s", "f8"),  # how far ahead
        ("stop_clear", "u1"),  # 1: braking at once would come to rest with all clearances kept
    ],
    align=True,
)

RECORDER_STATUS = np.dtype(
    [
        *_BEAT,
        ("recording", "u1"),
        ("directory", "S240"),
        ("rows", "u8"),
        ("dropped", "u8"),
        ("video_frames", "u8"),
    ],
    align=True,
)

# ---- data on its way to the motors ---------------------------------------------------------------------

TRACE = [
    ("chunk_id", "u8"),
    ("t_exposure_oldest_ns", "i8"),  # oldest exposure in the observation: its age is the action's age
    ("t_frame_ns", "i8"),  # newest frame of the observation lay in host memory: end to end starts here
    ("t_ready_ns", "i8"),  # the last of its frames lay in shared memory, letterboxed
    ("t_asked_ns", "i8"),  # the link began to build the request
    ("t_sent_ns", "i8"),  # it was packed
    ("t_received_ns", "i8"),
    # durations told by the server, nan: not told; instants never cross machines
    ("queue_ms", "f8"),  # from the request's arrival to the begin of work on it
    ("inference_ms", "f8"),
    ("server_ms", "f8"),  # from the request's arrival to its answer
]

CHUNK = np.dtype(  # policy link -> control, recorder
    [
        *TRACE,
        ("motion_id", "u8"),
        ("t_observation_ns", "i8"),  # action k belongs at t_observation_ns + k / action_rate_hz
        ("action_rate_hz", "f8"),
        ("n_steps", "u4"),
        ("actions", "f8", (MAX_STEPS, N_JOINTS)),
    ],
    align=True,
)

PLAN = np.dtype(  # control -> link, guard: what control follows; written at every change of it
    [
        ("t_ns", "i8"),
        ("motion_id", "u8"),
        ("phase", "u1"),  # planner.Phase
        # the policy's time as a function of real time, see playback.Playback
        ("t_play_ns", "i8"),
        ("tau_play_ns", "i8"),
        ("play_from", "f8"),
        ("play_to", "f8"),
        # the newest chunk: its action k belongs at the policy's time tau0_ns + k / action_rate_hz
        ("chunk_id", "u8"),
        ("tau0_ns", "i8"),
        ("action_rate_hz", "f8"),
        ("goal", *_JOINTS),  # while homing and ramping: where the move leads
        ("move_speed", "f8"),  # 1: within robot.homing or control.ramp; slower in time by this factor
        # what is left of the timeline, seams included: row k belongs at the policy's time tau_row0_ns + k * dtau_ns
        ("tau_row0_ns", "i8"),
        ("dtau_ns", "i8"),
        ("n_rows", "u4"),
        ("q", "f8", (MAX_STEPS, N_JOINTS)),
        ("qd", "f8", (MAX_STEPS, N_JOINTS)),  # per second of the policy's time
        # how hard it may be, on the policy's time, until then; see easing.Ease
        ("ease", *_JOINTS),
        ("ease_until_ns", "i8"),
    ],
    align=True,
)

PIECE = np.dtype(  # control -> motor: one cubic Hermite piece, evaluated at the instant of use
    [
        *TRACE,
        ("t_spliced_ns", "i8"),
        ("t_planned_ns", "i8"),  # this piece was ready to be sent
        ("motion_id", "u8"),
        ("t0_ns", "i8"),
        ("t1_ns", "i8"),  # after this instant the command is stale and the motor process brakes
        ("q0", *_JOINTS),
        ("qd0", *_JOINTS),
        ("q1", *_JOINTS),
        ("qd1", *_JOINTS),
        ("brake", "u1"),  # 1: nothing left to follow; brake now
    ],
    align=True,
)

JOINTS = np.dtype(  # motor -> control, link, recorder, supervisor: every command, with the reading it was made by
    [
        ("t_ns", "i8"),  # of the reading
        ("q", *_JOINTS),
        ("qd", *_JOINTS),
        ("effort", *_JOINTS),
        ("external_effort", *_JOINTS),  # what contacts exert, as the driver estimates it; nan: it does not
        ("t_command_ns", "i8"),
        ("q_command", *_JOINTS),
        ("qd_command", *_JOINTS),
        ("mode", "u1"),
        ("motion_id", "u8"),
        ("piece", "u8"),  # number of the piece the command came from
    ],
    align=True,
)

HANDED = np.dtype(  # motor -> recorder, supervisor: the first command made from each chunk
    [
        *TRACE,
        ("t_spliced_ns", "i8"),
        ("t_planned_ns", "i8"),
        ("t_command_ns", "i8"),  # the motor process began to work it out
        ("t_handed_ns", "i8"),
        ("motion_id", "u8"),
    ],
    align=True,
)

TICK = np.dtype(  # control -> recorder: every control tick
    [
        ("t_ns", "i8"),
        ("deadline_ns", "i8"),
        ("missed", "u4"),  # deadlines skipped before this tick
        ("state", "u1"),
        ("phase", "u1"),
        ("stalled", "u1"),
        ("woken", "u1"),  # 1: a chunk's arrival woke this step, between two ticks
        ("limited", "u1"),  # 1: the limiter shaped this step
        ("seam", "u1"),  # run_options.Seam in effect
        ("dry", "u1"),
        ("speed", "f8"),  # of the policy's time against real time at this instant
        ("tau_ns", "i8"),  # the policy's time at this instant
        ("motion_id", "u8"),
        ("chunk_id", "u8"),
        ("plan_left_s", "f8"),
        ("q_target", *_JOINTS),  # what the timeline asks for at the end of the piece
        ("q1", *_JOINTS),  # what was sent
    ],
    align=True,
)

WORLD = np.dtype(  # robot -> cameras, link: what a simulated robot knows beyond its joints
    [
        ("t_ns", "i8"),
        ("scene_count", "u8"),
        ("scene_seed", "u8"),
        ("qpos", "f8", (64,)),  # the physics model's own generalised positions
        ("n_qpos", "u4"),
        ("environment", "f8", (MAX_ENVIRONMENT,)),  # LeRobot's environment_state
        ("n_environment", "u4"),
    ],
    align=True,
)

EVENT = np.dtype(  # supervisor -> recorder
    [("t_ns", "i8"), ("kind", "S32"), ("text", "S400")],
    align=True,
)

FAULT = np.dtype(  # supervisor -> recorder: every fault that was latched
    [
        ("t_ns", "i8"),
        ("time", "S32"),  # wall time, ISO 8601, UTC, as the daemon's status tells it
        ("code", "u2"),  # faults.FaultCode
        ("state_before", "S16"),
        ("motion_id", "u8"),
        ("prompt", "S1024"),  # utf-8; empty if no run was under way
        ("message", "S400"),
    ],
    align=True,
)


def frame(height: int, width: int, tile: int) -> np.dtype[np.void]:
    """Camera -> link, recorder: one frame as taken (HWC RGB) and letterboxed for the policy (CHW RGB)."""
    return np.dtype(
        [
            ("t_exposure_ns", "i8"),
            ("t_arrival_ns", "i8"),
            ("t_ready_ns", "i8"),  # this record was complete
            ("number", "u8"),
            ("exposure_known", "u1"),
            ("t_device_ns", "i8"),  # as the device stamped it, by its own clock; 0: it does not
            ("exposure_us", "f8"),  # nan: not told
            ("rate_hz", "f8"),  # the camera was set to
            ("pixels", "u1", (height, width, 3)),
            ("tile", "u1", (3, tile, tile)),
        ],
        align=True,
    )


def text(field: np.ndarray[Any, Any]) -> str:
    """A bytes field of a record as text."""
    value: bytes = field.item()
    return value.decode(errors="replace")
