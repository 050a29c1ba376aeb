"""Who is served next: in the order of coming, each client's newest request only."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from server_rig import PATIENCE_S, STATE, EchoPolicy, ask, client, frame, hosting, raw_client, scrape, until
from websockets.sync.client import ClientConnection

from policy_server.protocol import pack, unpack
from policy_server.queue import Place


class Left(Exception):
    """The client is gone."""


async def order_of_service(*puts: tuple[str, int]) -> list[tuple[str, int]]:
    """What is served, and in which order, of requests put while another client's is in work."""
    turn, served, places, tasks = asyncio.Lock(), [], {}, []

    async def converse(name: str) -> None:
        while True:
            async with places[name].serve() as request:
                served.append((name, request))

    async with turn:
        for name, request in puts:
            if name not in places:
                places[name] = Place(turn)
                tasks.append(asyncio.create_task(converse(name)))
            places[name].put(request)
            await asyncio.sleep(0)  # as between two messages from the network
            await asyncio.sleep(0)
    for place in places.values():
        while place._waiting is not None:  # noqa: SLF001
            await asyncio.sleep(0)
        place.close(Left())
    assert all(isinstance(end, Left) for end in await asyncio.gather(*tasks, return_exceptions=True))
    return served


def test_requests_are_served_in_the_order_of_coming() -> None:
    assert asyncio.run(order_of_service(("b", 1), ("a", 1), ("c", 1))) == [("b", 1), ("a", 1), ("c", 1)]


def test_a_newer_request_takes_over_the_place_of_the_older() -> None:
    puts = (("a", 1), ("b", 1), ("a", 2), ("c", 1), ("b", 2), ("a", 3))
    assert asyncio.run(order_of_service(*puts)) == [("a", 3), ("b", 2), ("c", 1)]


def test_put_tells_whether_a_request_was_replaced() -> None:
    async def run() -> list[bool]:
        place = Place[int](asyncio.Lock())
        told = [place.put(1), place.put(2)]
        async with place.serve() as request:
            told += [request == 2, place.put(3), place.put(4)]
        return told

    assert asyncio.run(run()) == [False, True, True, False, True]


def test_who_closes_drops_what_waits_and_the_first_reason_counts() -> None:
    async def run() -> None:
        place = Place[int](asyncio.Lock())
        place.put(1)
        place.close(Left("first"))
        place.close(ValueError("second"))
        with pytest.raises(Left, match="first"):
            async with place.serve():
                pass

    asyncio.run(run())


def test_an_error_in_work_gives_the_turn_on() -> None:
    async def run() -> int:
        turn = asyncio.Lock()
        one, other = Place[int](turn), Place[int](turn)
        one.put(1)
        other.put(2)
        with pytest.raises(ZeroDivisionError):
            async with one.serve():
                raise ZeroDivisionError
        async with other.serve() as request:
            return request

    assert asyncio.run(run()) == 2


# ---- as clients see it -----------------------------------------------------------------------------


@pytest.fixture
def policy() -> EchoPolicy:
    return EchoPolicy()


@pytest.fixture
def port(policy: EchoPolicy) -> Iterator[int]:
    with hosting(policy) as hosted:
        yield hosted.port
        policy.go_on.set()


def occupy(policy: EchoPolicy, connection: ClientConnection) -> None:
    """Send a request that is in work until the test lets the policy go on."""
    connection.send(pack({**STATE, "order": "wait"}))
    assert policy.busy.wait(PATIENCE_S)


def send(port: int, connection: ClientConnection, name: str) -> None:
    """Send a request and wait until the server has taken it."""
    received = scrape(port)["pi0_server_requests_total"]
    connection.send(pack({**STATE, "prompt": name}))
    until(lambda: scrape(port)["pi0_server_requests_total"] > received)


def test_a_newer_request_replaces_the_waiting_one_and_is_the_only_one_answered(policy: EchoPolicy, port: int) -> None:
    with client(port) as busy, client(port) as eager:
        occupy(policy, busy)
        for name in ("first", "second", "third"):
            send(port, eager, name)
        assert scrape(port)["pi0_server_superseded_total"] == 2
        policy.go_on.set()
        assert unpack(eager.recv(PATIENCE_S))["n"] == 1
        assert unpack(busy.recv(PATIENCE_S))["n"] == 1
        assert ask(eager, STATE)["n"] == 2
    assert [seen.get("prompt") for seen in policy.seen] == [None, "third", None]


def test_a_request_in_work_is_answered_though_a_newer_one_waits(policy: EchoPolicy, port: int) -> None:
    with client(port) as eager:
        occupy(policy, eager)
        send(port, eager, "second")
        policy.go_on.set()
        assert [unpack(eager.recv(PATIENCE_S))["n"] for _ in range(2)] == [1, 2]
        assert scrape(port)["pi0_server_superseded_total"] == 0


def test_a_client_that_floods_is_served_in_turn_with_the_others(policy: EchoPolicy, port: int) -> None:
    with client(port) as flood, client(port) as one, client(port) as other:
        occupy(policy, flood)
        for round_ in range(3):
            send(port, flood, f"flood {round_}")
        for name, connection in (("one", one), ("other", other)):
            send(port, connection, name)
        send(port, flood, "flood newest")
        policy.go_on.set()
        with ThreadPoolExecutor() as threads:
            futures = [threads.submit(connection.recv, PATIENCE_S) for connection in (flood, one, other)]
            assert all(unpack(future.result())["n"] == 1 for future in futures)
        assert unpack(flood.recv(PATIENCE_S))["n"] == 2
    served = [seen.get("prompt") for seen in policy.seen]
    assert served == [None, "one", "other", "flood newest"]


def test_the_request_of_a_client_that_left_is_not_inferred(policy: EchoPolicy) -> None:
    with hosting(policy) as hosted, client(hosted.port) as busy:
        port = hosted.port
        occupy(policy, busy)
        n_tasks = hosted.tasks()
        with client(port) as leaving:
            send(port, leaving, "too late")
        until(lambda: hosted.tasks() <= n_tasks + 1)  # its conversation, in the line; its reader has seen it go
        policy.go_on.set()
        busy.recv(PATIENCE_S)
        until(lambda: scrape(port)["pi0_server_clients"] == 1)
    assert [seen.get("prompt") for seen in policy.seen] == [None]


def test_a_client_that_does_not_read_stops_at_its_own_reply(policy: EchoPolicy, port: int) -> None:
    """Its replies are not made in advance: one is being sent, one request waits."""
    with raw_client(port) as deaf, client(port) as other:
        for n in range(1, 6):
            deaf.sendall(frame(pack({**STATE, "order": "long"})))
            until(lambda n=n: scrape(port)["pi0_server_requests_total"] == n)
        assert ask(other, STATE)["n"] == 1
        assert ask(other, STATE)["n"] == 2
        assert [seen.get("order") for seen in policy.seen].count("long") == 1
        assert scrape(port)["pi0_server_superseded_total"] == 3
