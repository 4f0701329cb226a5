"""Answers that are on their way while the loop turns: of the brokers, and of work on a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from threading import Thread
from typing import Any, Generic, TypeVar

from confluent_kafka import KafkaException

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Asked(Generic[K]):
    """A request to the brokers that is under way, with an answer for each key."""

    def __init__(self, futures: Mapping[K, Future[Any]]) -> None:
        self._futures = futures

    @property
    def answered(self) -> bool:
        """Whether the answer, or the failure, is there."""
        return all(future.done() for future in self._futures.values())

    def answer(self) -> dict[K, Any]:
        """The answer. Raises ``KafkaException`` if a part of it failed."""
        return {key: future.result() for key, future in self._futures.items()}

    def parts(self) -> tuple[dict[K, Any], dict[K, KafkaException]]:
        """What was answered, and what failed: one partition without a leader says nothing about the others."""
        found, failed = {}, {}
        for key, future in self._futures.items():
            try:
                found[key] = future.result()
            except KafkaException as error:
                failed[key] = error
        return found, failed


class Errand(Generic[T]):
    """Work that blocks, done on a thread of its own; the process doesn't wait for it to end."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._result: Future[T] = Future()
        Thread(target=self._run, daemon=True).start()

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._result.done()

    def result(self) -> T:
        """What it returned, once it is done; raises what it raised."""
        return self._result.result()

    def _run(self) -> None:
        try:
            self._result.set_result(self._work())
        except BaseException as error:  # raised again where the result is asked for
            self._result.set_exception(error)
