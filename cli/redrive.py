"""Dead letters read from their topic, and sent again: each once, however many people ask at the same time.

In order: shut out any earlier redrive, read the topic to its end, then, batch by batch, in one transaction each,
write the delivery to the first retry topic and the record that takes its dead letter back.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from actions.services import services_of
from cli.codecs import codec_for
from cli.dead_letters import DeadLetter, OpenLetters, Wanted
from cli.errors import Refused
from cli.reach import require
from schemas.delivery_headers import REDRIVEN, DeliveryHeaders, encode_headers
from streams.fenced_writer import FencedWriter, Outgoing, Overtaken, WriteError
from streams.topic_reader import scan
from topology.names import EVENTS_DLQ, RETRY_1M
from topology.rights import REDRIVE_WRITER
from topology.settings import Settings

BATCH_LETTERS = 500
BATCH_BYTES = 8 * 1024 * 1024


def open_letters(settings: Settings, wanted: Wanted, *, keep_records: bool = False) -> OpenLetters:
    """The dead letters that are open now. Raises ``Refused`` where there is no such topic."""
    require(settings, "dlq list")
    found = OpenLetters(codec_for(settings).decode_event, services_of(settings), wanted, keep_records=keep_records)
    for read in scan(settings, settings.topic(EVENTS_DLQ)):
        found.take(read)
    return found


def redrive(settings: Settings, wanted: Wanted, sent: Callable[[Sequence[DeadLetter]], None]) -> OpenLetters:
    """Send every open dead letter that is wanted once more; ``sent`` is told of each batch that is written.

    Raises ``Refused`` when another redrive began meanwhile, or a batch's fate is unknown: what was told as sent
    is sent, and running it again sends none twice.
    """
    require(settings, "dlq redrive")
    writer = FencedWriter(settings, REDRIVE_WRITER)
    done = 0
    try:
        writer.fence()
        found = open_letters(settings, wanted, keep_records=True)
        for batch in batches(found.letters()):
            now_ms = time.time_ns() // 1_000_000
            writer.write(outgoing(settings, batch, now_ms))
            done += len(batch)
            sent(batch)
    except Overtaken:
        raise Refused(
            f"another redrive began meanwhile: this one sent {done}, none twice; run it again for what that one leaves"
        ) from None
    except WriteError as error:
        raise Refused(f"{error}: {done} were sent before; run it again, none is sent twice") from None
    return found


def outgoing(settings: Settings, letters: Iterable[DeadLetter], now_ms: int) -> Iterator[Outgoing]:
    """Two records for each letter: the delivery to try at once, and what takes its dead letter back."""
    for letter in letters:
        assert letter.record is not None
        old = letter.headers
        # By the brokers' time a redrive follows its death, whatever this host's clock says: its age begins anew.
        at_ms = max(now_ms, letter.time_ms + 1)
        taken_back = DeliveryHeaders(
            old.delivery_id,
            old.action_id,
            attempt=0,
            reason=REDRIVEN,
            recipients_left=old.recipients_left,
            redriven_at_ms=at_ms,
        )
        again = taken_back._replace(not_before_ms=at_ms)
        for topic, headers in ((RETRY_1M, again), (EVENTS_DLQ, taken_back)):
            yield Outgoing(
                settings.topic(topic), letter.record.key, letter.record.value, tuple(encode_headers(headers))
            )


def batches(letters: Iterable[DeadLetter]) -> Iterator[list[DeadLetter]]:
    """The letters in order, so many at once as fit in a transaction."""
    batch: list[DeadLetter] = []
    size = 0
    for letter in letters:
        length = len(letter.record.value or b"") if letter.record else 0
        if batch and (len(batch) == BATCH_LETTERS or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(letter)
        size += length
    if batch:
        yield batch
