"""`explain` while the database does not answer: monitors are found by their ids in Redis."""

from peekaping_producer.operations.explain.document import candidates_document
from peekaping_producer.operations.explain.text import candidate_lines
from peekaping_producer.operations.explain.verdict import verdict_of
from peekaping_producer.operations.moments import Moments
from peekaping_producer.operations.naming import Candidate
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.targets import DatabaseTarget, RedisTarget
from tests.kit.explained import ID, Scene
from tests.kit.processes import free_port


async def test_an_id_is_found_without_the_database(scene: Scene) -> None:
    await scene.insert()
    await scene.place()
    scene.database_target = DatabaseTarget(dialect="postgres", host="127.0.0.1", port=free_port(), name="none")
    for text in (ID[:4], ID[:9].upper()):
        explained = await scene.explain(text)
        assert explained.facts
        assert (explained.facts.monitor_id, explained.exit_code) == (ID, 3)
    other = f"{ID[:8]}-ffff-4b8e-9a50-7e1f2b6c9d04"
    await scene.redis.zadd(KEYS.lease, {other: scene.clock.now_ms})
    several = await scene.explain(ID[:8])
    assert (several.facts, several.candidates) == (None, (Candidate(ID), Candidate(other)))
    document = candidates_document(several.candidates, several.database_error)
    assert document["candidates"][0] == {"id": ID, "name": None, "interval_s": None}
    assert "cannot connect" in document["errors"]["database"]
    lines = candidate_lines(ID[:8], several.candidates, several.database_error)
    assert lines[:3] == [f"2 monitors match '{ID[:8]}'; name one by its id:", f"  {ID}", f"  {other}"]
    assert lines[3].startswith("Only ids of the schedule were searched: ")


async def test_a_short_text_is_searched_in_names_only(scene: Scene) -> None:
    await scene.insert()
    verdicts = {}
    for text in (ID[:3], "pay"):
        facts = (await scene.explain(text)).facts
        assert facts
        verdicts[text] = verdict_of(facts, Moments(facts.now_ms))
    assert verdicts[ID[:3]].code == "row.absent"
    expected = "No monitor has a name that contains it; by id, only 4 or more characters are searched."
    assert verdicts[ID[:3]].sentence == expected
    assert verdicts["pay"].code == "schedule.absent"


async def test_what_is_not_found_without_the_database(scene: Scene) -> None:
    scene.database_target = DatabaseTarget(dialect="postgres", host="127.0.0.1", port=free_port(), name="none")
    by_name = await scene.explain("payments")
    assert (by_name.facts, by_name.exit_code) == (None, 3)
    assert by_name.problem.startswith(
        "MONITOR: expected the id of a scheduled monitor, since the database does not answer, got 'payments'. "
        "Names cannot be searched without the database: use an id, or four or more characters of its beginning: "
    )
    verdict = await scene.verdict()
    assert verdict.code == "database.unavailable"
    assert verdict.sentence.startswith("It is not in the schedule, and the database cannot be read: ")
    scene.redis_target = RedisTarget(host="127.0.0.1", port=free_port())
    nothing = await scene.explain("payments")
    assert "MONITOR: expected a whole id, since neither Redis nor the database can be read, got" in nothing.problem
    assert nothing.exit_code == 3
