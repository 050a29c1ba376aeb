"""The daemon's HTTP interface on the unix socket: status, commands and the stream of events, all in JSON.

Runs in the supervisor's asyncio loop, so no handler may block it. Must always hold: `stop` and `estop` are
taken whatever else is going on and whatever their body says, and every command is logged with the peer that
sent it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from aiohttp import web

from controller import jog as jogs
from controller.bodies import BY, DRY, HORIZON, JOINT, PROMPT, SEAM, SEED, SPEED, Body, Key, RequestError, read
from controller.events import Event, Subscription
from controller.jog import Jog, JogError
from controller.logs import fields
from controller.refused import Refused
from controller.run_options import RunOptions, Seam
from controller.unix_socket import Claim, Peer, identify

MAX_BODY_B = 16 * 1024
SHUTDOWN_TIMEOUT_S = 2.0
GONE_PERIOD_S = 1.0

ANSWERED = ("state", "homed", "motion_id", "dry", "run")
"""What the answer to a command repeats of the status."""

logger = logging.getLogger(__name__)


class Operations(Protocol):
    """What an operator can ask of the supervisor.

    Every command may raise Refused, and has then changed nothing, or TimeoutError when its effect did not show in
    time.
    """

    async def home(self, speed: float) -> None:
        """Returns once homing has begun."""

    async def jog(self, jog: Jog, speed: float) -> None:
        """Returns once the joint begins to move."""

    async def run(self, prompt: str, options: RunOptions) -> None:
        """Returns once running, with the first action chunk in hand."""

    async def adjust(self, speed: float | None, seam: Seam | None) -> None:
        """Plays the run that goes on in another way; returns at once. None: as before."""

    def usual_options(self) -> RunOptions:
        """How a run is played where it is not said."""

    async def stop(self) -> None:
        """Returns once the arms are at rest."""

    async def estop(self, who: str) -> None:
        """Raises the emergency-stop fault; returns at once."""

    async def reset(self) -> None:
        """Clears the fault."""

    async def shutdown(self) -> None:
        """Begins the daemon's orderly end; returns at once."""

    async def reload(self, who: str) -> tuple[str, ...]:
        """Reads the configuration again; returns what has changed once that is in effect."""

    async def lay_out_scene(self, seed: int) -> None:
        """Lays out the simulated scene anew; refused on a real robot."""

    def status(self) -> dict[str, Any]:
        """A snapshot in JSON types; what is not known is None."""

    def events(self) -> Subscription:
        """A new reader of the event bus."""


@dataclass(frozen=True, slots=True)
class Command:
    """One POST route. takes: its body's keys; None: the body is not even read."""

    name: str
    what: str
    takes: tuple[Key, ...] | None
    call: Callable[[Operations, Body, Peer], Awaitable[dict[str, Any] | None]]
    """Returns what its answer has beyond that of every command."""


def _options(usual: RunOptions, body: Body) -> RunOptions:
    return replace(usual, **{name: value for name, value in body.items() if name != PROMPT.name})


def _adjust(operations: Operations, body: Body) -> Awaitable[None]:
    if not body:
        raise RequestError("", f"nothing to adjust; give {SPEED.name}, {SEAM.name} or both")
    return operations.adjust(body.get(SPEED.name), body.get(SEAM.name))


def _jog(operations: Operations, body: Body) -> Awaitable[None]:
    try:
        jog = Jog(body[JOINT.name], body[BY.name])
    except JogError as error:
        raise RequestError(BY.name, str(error)) from error
    return operations.jog(jog, body.get(SPEED.name, jogs.SPEED))


async def _reload(operations: Operations, peer: Peer) -> dict[str, Any]:
    return {"changed": await operations.reload(_who(peer))}


def _who(peer: Peer) -> str:
    return f"{peer.user} (uid {peer.uid}, pid {peer.pid})"


COMMANDS = (
    Command(
        "home",
        "move to the home pose; answers when the motion has begun",
        (SPEED,),
        lambda do, body, _p: do.home(body.get(SPEED.name, 1.0)),
    ),
    Command(
        "jog",
        "move one joint a little; answers when the motion has begun",
        (JOINT, BY, SPEED),
        lambda do, body, _p: _jog(do, body),
    ),
    Command(
        "run",
        "follow the policy; answers when its first actions are in hand",
        (PROMPT, SEAM, SPEED, DRY, HORIZON),
        lambda do, body, _p: do.run(body[PROMPT.name], _options(do.usual_options(), body)),
    ),
    Command(
        "adjust",
        "play the run that goes on in another way",
        (SPEED, SEAM),
        lambda do, body, _p: _adjust(do, body),
    ),
    Command("stop", "brake and hold; answers when the arms are at rest", None, lambda do, _b, _p: do.stop()),
    Command(
        "estop",
        "brake, hold and latch a fault",
        None,
        lambda do, _b, peer: do.estop(_who(peer)),
    ),
    Command("reset", "clear the fault", (), lambda do, _b, _p: do.reset()),
    Command(
        "reload",
        "read the configuration again, in idle; answers when what has changed is in effect",
        (),
        lambda do, _b, peer: _reload(do, peer),
    ),
    Command("shutdown", "end the daemon", (), lambda do, _b, _p: do.shutdown()),
    Command(
        "scene",
        "lay out the simulated scene anew",
        (SEED,),
        lambda do, body, _p: do.lay_out_scene(body[SEED.name]),
    ),
)


async def serve(operations: Operations, claim: Claim) -> web.AppRunner:
    """Serve `operations` on the claimed socket until `runner.cleanup()`, which also releases the claim."""
    api = _Api(operations)
    app = api.application()

    async def release(_app: web.Application) -> None:
        claim.release()

    app.on_cleanup.append(release)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
    await runner.setup()
    await web.SockSite(runner, claim.listener).start()
    return runner


class _Api:
    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._readers: set[Subscription] = set()
        self._asked = 0
        """Commands so far; the number ties together what the log says of one."""

    def application(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_B, middlewares=[_errors_as_json])
        app.router.add_get("/", self._index, allow_head=False)
        app.router.add_get("/status", self._status, allow_head=False)
        app.router.add_get("/events", self._events, allow_head=False)
        for command in COMMANDS:
            app.router.add_post(f"/{command.name}", self._handler(command))
        app.on_shutdown.append(self._end_streams)
        return app

    async def _index(self, _request: web.Request) -> web.Response:
        reading = [
            {"method": "GET", "path": "/", "what": "this list", "body": None},
            {"method": "GET", "path": "/status", "what": "state, processes, timings", "body": None},
            {
                "method": "GET",
                "path": "/events",
                "what": "one JSON line per event; ?replay=1: the kept ones first",
                "body": None,
            },
        ]
        commands = [
            {
                "method": "POST",
                "path": f"/{command.name}",
                "what": command.what,
                "body": {key.name: key.what for key in command.takes or ()} or None,
            }
            for command in COMMANDS
        ]
        return web.json_response({"routes": reading + commands})

    async def _status(self, _request: web.Request) -> web.Response:
        return web.json_response(self._operations.status())

    def _handler(self, command: Command) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            peer = await _peer(request)
            self._asked += 1
            told = fields(
                command=command.name, request_id=self._asked, peer_pid=peer.pid, peer_uid=peer.uid, user=peer.user
            )
            logger.info("command=%s %s", command.name, peer, extra=told)
            try:
                body = {} if command.takes is None else read(await request.read(), command.takes)
                more = await command.call(self._operations, body, peer)
            except (Refused, RequestError) as refused:
                logger.info("command=%s %s refused=%s", command.name, peer, json.dumps(refused.reason), extra=told)
                raise
            except TimeoutError as error:  # such as arms that do not come to rest
                logger.error("command=%s %s timeout=%s", command.name, peer, json.dumps(str(error)), extra=told)  # noqa: TRY400
                raise
            status = self._operations.status()
            answer = {"done": command.name, **{key: status.get(key) for key in ANSWERED}, **(more or {})}
            return web.json_response(answer)

        return handle

    async def _events(self, request: web.Request) -> web.StreamResponse:
        replay = request.query.get("replay", "0")
        if replay not in ("0", "1"):
            raise RequestError("replay", f"replay={replay!r}: 0 or 1 is possible")
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        async with self._operations.events() as subscription:
            await response.prepare(request)
            if request.transport is not None:
                subscription.on_drop = request.transport.abort
            self._readers.add(subscription)
            watch = asyncio.create_task(_close_when_gone(request, subscription))
            try:
                for event in subscription.kept if replay == "1" else ():
                    await response.write(_line(event))
                async for event in subscription:
                    await response.write(_line(event))
            except ConnectionError:
                pass  # the reader left, or was dropped because it does not read
            finally:
                watch.cancel()
                self._readers.discard(subscription)
        return response

    async def _end_streams(self, _app: web.Application) -> None:
        for subscription in tuple(self._readers):
            subscription.close()


async def _close_when_gone(request: web.Request, subscription: Subscription) -> None:
    """A reader that leaves while nothing happens is noticed by nobody else."""
    while request.transport is not None:
        await asyncio.sleep(GONE_PERIOD_S)
    subscription.close()


def _line(event: Event) -> bytes:
    return json.dumps(event).encode() + b"\n"


async def _peer(request: web.Request) -> Peer:
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the peer left before it could be identified")
    return await identify(transport.get_extra_info("socket"))


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refused as refused:
        answer = {"error": "refused", "reason": refused.reason, "allowed": refused.allowed}
        return web.json_response(answer, status=409)
    except RequestError as bad:
        return web.json_response({"error": "bad request", "key": bad.key, "reason": bad.reason}, status=400)
    except TimeoutError as error:
        reason = str(error) or f"{request.path} was begun, but its effect did not show in time: see GET /status"
        return web.json_response({"error": "timeout", "reason": reason}, status=504)
    except web.HTTPClientError as error:
        answer = {
            "error": error.reason.lower(),
            "reason": f"{request.method} {request.path}: GET / lists the routes",
        }
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return web.json_response(answer, status=error.status, headers=allow)
