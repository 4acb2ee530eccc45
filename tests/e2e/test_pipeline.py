"""File, clock or HTTP -> relay -> broker -> consumer -> file, as processes, whatever is killed on the way."""

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from peekaping_producer.demo.messages.clients import ApiClients
from tests.kit.pipelines import BrokerOfTest, Command, OnAsynq, OnRabbitMq, asynq_broker, http_endpoint
from tests.kit.processes import free_port
from tests.kit.waiting import until

LINES = 3000
PRODUCED = 60
"""Messages over HTTP before an event, and again after it, at least."""
MANY_LINES = int(os.environ.get("PIPELINE_LINES", "50000"))
"""`make soak` sets a million."""
TAKEN_OVER_S = 30 + 30 + 60 + 44
"""A killed consumer's task on asynq: its lease, 30 s, the recoverer's next turn, the longest delay of a retry."""
WITHIN_S = TAKEN_OVER_S + 60 + MANY_LINES / 500
pytestmark = pytest.mark.timeout(3 * WITHIN_S)


class Pipeline:
    """The two ends of one broker, and their files."""

    def __init__(self, broker: BrokerOfTest, folder: Path) -> None:
        self.broker = broker
        self.folder = folder
        self.input = folder / "input.txt"
        self.output = folder / "output.txt"
        self.commands: list[Command] = []

    def relay(self, *arguments: str) -> Command:
        return self._command("relay", *(arguments or ("--from", "file", "--path", str(self.input))))

    def consume(self, *arguments: str) -> Command:
        return self._command("consume", "--to-file", str(self.output), *arguments)

    def serve(self, port: int) -> Command:
        return self._command("serve", PORT=str(port))

    def _command(self, *arguments: str, **env: str) -> Command:
        self.commands.append(Command(self.folder, {**self.broker.env, **env}, *arguments))
        return self.commands[-1]

    def write(self, lines: range) -> None:
        with self.input.open("ab") as file:
            file.write(b"".join(b"line %d %s\n" % (number, b"x" * (number % 90)) for number in lines))

    @property
    def written(self) -> int:
        """Bytes of the output."""
        for command in self.commands:
            command.require_running()
        return self.output.stat().st_size if self.output.exists() else 0

    async def reaches(self, share: float) -> None:
        """Wait until the output has this share of the input."""
        goal = self.input.stat().st_size * share
        await until(lambda: self.written >= goal, f"{share:.0%} of the input is written", within_s=WITHIN_S)

    async def is_whole(self, *, in_order: bool = True) -> None:
        await self.reaches(1.0)
        self.compare(in_order=in_order)

    def compare(self, *, in_order: bool = True) -> None:
        """The output is the input; with `in_order` byte for byte, else as a collection of lines."""
        output, sent = self.output.read_bytes(), self.input.read_bytes()
        if in_order:
            assert output == sent
        else:
            assert sorted(output.splitlines()) == sorted(sent.splitlines())

    def keeps_order(self, event: str) -> bool:
        """Whether lines arrive in order: on asynq, those that a killed consumer held follow after their leases."""
        return not (event == "consumer killed" and isinstance(self.broker, OnAsynq))


@pytest_asyncio.fixture(params=["asynq", "rabbitmq", "http"])
async def pipeline(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pipeline]:
    async with AsyncExitStack() as stack:
        broker: BrokerOfTest
        if request.param == "rabbitmq":
            broker = OnRabbitMq(request.getfixturevalue("rabbitmq_node"), request.getfixturevalue("vhost_of_node"))
        elif request.param == "asynq":
            broker = await stack.enter_async_context(asynq_broker(tmp_path))
        else:
            broker = await stack.enter_async_context(http_endpoint(tmp_path / "output.txt"))
        pipeline = Pipeline(broker, tmp_path)
        yield pipeline
        for command in pipeline.commands:
            command.kill()


only_rabbitmq = pytest.mark.parametrize("pipeline", ["rabbitmq"], indirect=True)


@pytest.mark.parametrize("event", ["nothing", "broker restarted", "relay killed", "consumer killed"])
async def test_the_output_equals_the_input_whatever_is_killed(pipeline: Pipeline, event: str) -> None:
    if event == "consumer killed" and not pipeline.broker.has_queue:
        event = "relay killed"  # over HTTP the endpoint is the consumer; it is restarted in another case
    pipeline.write(range(LINES // 2))
    relay = pipeline.relay()
    consumer = pipeline.consume("--dedup") if pipeline.broker.has_queue else relay
    await pipeline.reaches(0.05)
    pipeline.write(range(LINES // 2, LINES))
    if event == "broker restarted":
        await pipeline.broker.restart()
    elif event == "relay killed":
        relay.kill_and_restart()
    elif event == "consumer killed":
        consumer.kill_and_restart()
    await pipeline.is_whole(in_order=pipeline.keeps_order(event))
    assert relay.terminate() == 0
    if consumer is not relay:
        assert consumer.terminate() == 0
    pipeline.compare(in_order=pipeline.keeps_order(event))


@pytest.mark.parametrize("event", ["nothing", "broker restarted", "relay killed", "consumer killed"])
async def test_ticks_of_a_clock_arrive_in_order_and_go_on_after_each_event(pipeline: Pipeline, event: str) -> None:
    relay = pipeline.relay("--from", "clock", "--every", "0.02", "--name", "test")
    consumer = pipeline.consume("--dedup") if pipeline.broker.has_queue else relay
    await until(lambda: pipeline.written > 500)
    if event == "broker restarted":
        await pipeline.broker.restart()
    elif event != "nothing":
        (relay if event == "relay killed" else consumer).kill_and_restart()
    after = pipeline.written
    await until(lambda: pipeline.written > after + 500)
    assert relay.terminate() == 0
    if consumer is not relay:  # which may be writing a line
        assert consumer.terminate() == 0
    times = [json.loads(line)["datetime"] for line in pipeline.output.read_bytes().splitlines()]
    assert times == sorted(times) or not pipeline.keeps_order(event)


@pytest.mark.parametrize("event", ["nothing", "broker restarted", "relay killed", "consumer killed"])
async def test_what_the_api_answers_with_200_arrives_once_whatever_is_killed(pipeline: Pipeline, event: str) -> None:
    port = free_port()
    server = pipeline.serve(port)
    consumer = pipeline.consume("--dedup") if pipeline.broker.has_queue else server
    clients = ApiClients(port)
    running = asyncio.create_task(clients.run())
    await until(lambda: len(clients.answered) >= PRODUCED)
    before = clients.repeated
    if event == "broker restarted":
        await pipeline.broker.restart()
    elif event == "relay killed":
        server.kill_and_restart()
        await until(lambda: clients.repeated > before)
    elif event == "consumer killed":
        consumer.kill_and_restart()
    goal = len(clients.answered) + PRODUCED
    await until(lambda: running.done() or len(clients.answered) >= goal)
    clients.finish()
    await running

    def arrived() -> list[str]:
        return [json.loads(line)["id"] for line in pipeline.output.read_bytes().splitlines(keepends=True)[:-1]]

    await until(
        lambda: pipeline.written > 0 and len(arrived()) >= len(clients.answered) - 1,
        "also the messages that a killed consumer held",
        within_s=WITHIN_S,
    )
    assert server.terminate() == 0
    if consumer is not server:
        assert consumer.terminate() == 0
    ids = [json.loads(line)["id"] for line in pipeline.output.read_bytes().splitlines()]
    assert len(ids) == len(set(ids))
    assert set(ids) == clients.answered


@only_rabbitmq
async def test_many_lines_survive_three_kills_of_both_ends_and_one_of_the_broker(pipeline: Pipeline) -> None:
    """docs/reliability.md has the figures of longer runs."""
    dice = random.Random(13)
    relay, consumer = pipeline.relay(), pipeline.consume("--dedup")
    kills: list[Callable[[], object]] = [relay.kill_and_restart, consumer.kill_and_restart] * 3
    dice.shuffle(kills)
    steps = len(kills) + 1
    for step in range(steps):
        pipeline.write(range(step * MANY_LINES // steps, (step + 1) * MANY_LINES // steps))
        await pipeline.reaches(dice.uniform(0.3, 0.9))
        if step < len(kills):
            kills[step]()
        if step == steps // 2:
            await pipeline.broker.restart()
    await pipeline.is_whole()
    assert relay.terminate() == 0
    assert consumer.terminate() == 0
    assert pipeline.output.read_bytes() == pipeline.input.read_bytes()


@only_rabbitmq
async def test_without_dedup_nothing_is_missing(pipeline: Pipeline) -> None:
    pipeline.write(range(LINES))
    relay, consumer = pipeline.relay(), pipeline.consume()
    await pipeline.reaches(0.2)
    relay.kill_and_restart()
    consumer.kill_and_restart()
    await pipeline.reaches(1.0)
    await until(lambda: set(pipeline.output.read_bytes().splitlines()) == set(pipeline.input.read_bytes().splitlines()))


async def test_a_relay_that_starts_before_its_broker_and_its_file_waits_for_both(tmp_path: Path) -> None:
    async with asynq_broker(tmp_path) as broker:
        pipeline = Pipeline(broker, tmp_path)
        try:
            relay = pipeline.relay()
            await asyncio.sleep(0)
            consumer = pipeline.consume("--dedup")
            await broker.restart()
            pipeline.write(range(100))
            await pipeline.is_whole()
            assert (relay.terminate(), consumer.terminate()) == (0, 0)
        finally:
            for command in pipeline.commands:
                command.kill()


@pytest.mark.parametrize("command", ["relay", "consume"])
async def test_readiness_reports_a_broker_that_is_away_and_its_return(tmp_path: Path, command: str) -> None:
    async with asynq_broker(tmp_path) as broker:
        broker.env |= {"METRICS_ADDR": "127.0.0.1:0"}
        pipeline = Pipeline(broker, tmp_path)
        pipeline.write(range(1))
        process = pipeline.relay() if command == "relay" else pipeline.consume()
        try:
            await until(lambda: reports(process, None), "it is ready at first")
            await broker.stop()
            pipeline.write(range(1, 2))
            await until(lambda: reports(process, "broker_unavailable"))
            assert (await process.get("/livez"))[0] == 200
            await broker.start()
            await until(lambda: reports(process, None))
            assert process.terminate() == 0
            logged = [event for event in process.events() if event.startswith("dependency.")]
            assert logged[-1] == "dependency.recovered"
            assert logged.count("dependency.recovered") <= 2, "two where a call of before succeeds after a failed one"
        finally:
            process.kill()


async def reports(process: Command, reason: str | None) -> bool:
    status, body = await process.get("/readyz")
    return status == 200 if reason is None else status == 503 and list(json.loads(body)["reasons"]) == [reason]


async def test_a_handler_in_worker_processes_gets_each_message_and_one_that_kills_them_is_dead_lettered(
    tmp_path: Path,
) -> None:
    (tmp_path / "jobs.py").write_text(
        "import os\n"
        "def handle(message):\n"
        "    if message.body == b'poison': os._exit(9)\n"
        "    with open('handled.txt', 'ab') as file: file.write(message.body + b'\\n')\n"
    )
    async with asynq_broker(tmp_path) as broker:
        broker.env |= {"CONSUME_PROCESSES": "2"}
        pipeline = Pipeline(broker, tmp_path)
        pipeline.input.write_bytes(b"one\npoison\ntwo\n")
        relay, consumer = pipeline.relay(), pipeline._command("consume", "--handler", "jobs:handle")
        try:
            await until(lambda: "message.dead_lettered" in consumer.log.read_text())
            handled = tmp_path / "handled.txt"
            await until(lambda: handled.exists() and set(handled.read_bytes().splitlines()) == {b"one", b"two"})
            assert (relay.terminate(), consumer.terminate()) == (0, 0)
        finally:
            for command in pipeline.commands:
                command.kill()


@only_rabbitmq
async def test_slow_handlers_share_a_queue_with_a_second_consumer(pipeline: Pipeline) -> None:
    """A consumer that fetched what it has no handler for would keep it from others, until RabbitMQ times it out."""
    (pipeline.folder / "jobs.py").write_text(
        "import os, pathlib, time\n"
        "def handle(message):\n"
        "    pathlib.Path(os.environ['SERVICE_NAME'] + '-' + message.body.decode()).touch()\n"
        "    time.sleep(600)\n"
    )
    pipeline.broker.env |= {"CONSUME_CONCURRENCY": "2", "SHUTDOWN_GRACE": "0.1"}
    pipeline.input.write_bytes(b"1\n2\n3\n4\n")
    relay = pipeline.relay()

    async def handles_two(name: str) -> None:
        pipeline.broker.env["SERVICE_NAME"] = name
        pipeline._command("consume", "--handler", "jobs:handle")
        await until(lambda: len(list(pipeline.folder.glob(f"{name}-*"))) == 2, f"{name} handles two")

    await handles_two("first")
    await handles_two("second")
    assert relay.terminate() == 0
