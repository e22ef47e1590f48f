"""One place in a team of processes: the agent that fills it, what it is asked, and what it fails to do.

Source: docs/agent-protocol.md, "Faults".
"""

from typing import Any

from mast_edge.runtime.agent_launch import Running, end_processes
from mast_edge.runtime.wire import (
    MAX_SEQUENCE,
    Buffer,
    ChecksumError,
    Fault,
    Kind,
    Sizes,
    WireError,
    action_payload,
    frame,
    read_action,
    read_error,
)

MOST_MISSES = 10
"""Answers in a row that may be missing before an agent is lost for the rest of the battle."""


class Place:
    """One place in the team: the agent that fills it, and what happened there.

    Attributes:
        running: the agent; None while it is lost.
        misses: answers missing in a row.
        replaced: decisions taken for it. lost: agents that went. restarts: agents that came instead.
        resident_bytes: memory of the first agent when it was ready; 0 where it could not tell.
        kernel: what it says computes.
        last_fault: what happened last; empty when nothing did.
    """

    def __init__(self, sizes: Sizes, running: Running) -> None:
        """A place that an agent fills."""
        self.sizes = sizes
        self.running: Running | None = running
        self.misses = self.replaced = self.lost = self.restarts = 0
        self.resident_bytes = running.ready.resident_bytes
        self.kernel = running.ready.text
        self.last_fault = ""

    def send(self, whole: Buffer, deadline: float) -> bool:
        """Sends a frame; an agent that does not take it is lost."""
        if self.running is None:
            return False
        try:
            self.running.connection.send(whole, deadline)
        except (WireError, TimeoutError) as error:
            self.lose(str(error))
            return False
        return True

    def answer(self, kind: Kind, sequence: int, deadline: float) -> int | None:
        """The action in the answer to message `sequence`, 0 for STARTED; None when there is none of use.

        Older answers are dropped. An agent that speaks another language is lost.
        """
        while self.running is not None:
            try:
                message = self.running.connection.receive(deadline)
            except TimeoutError:
                self._missed()
                return None
            except ChecksumError as error:
                self.last_fault = str(error)
                return None
            except WireError as error:
                self.lose(str(error))
                return None
            if message.kind == Kind.ERROR:
                code, text = read_error(message.payload)
                self.last_fault = f"ERROR {code}: {text}"
                if code not in (Fault.CHECKSUM, Fault.INPUT):
                    self.lose(self.last_fault)
                # The sequence number of a damaged message is unknown: it was most likely the latest.
                elif message.sequence != sequence and code != Fault.CHECKSUM:
                    continue
                return None
            if message.sequence != sequence:
                if (sequence - message.sequence) & MAX_SEQUENCE > MAX_SEQUENCE // 2:
                    self.lose(f"answer must be to message {sequence}; got {message.sequence}")
                continue
            self.misses = 0
            if message.kind != kind:
                self.lose(f"answer must be {kind.name}; got {message.kind.name}")
                return None
            return read_action(message.payload) if kind == Kind.ACTION else 0
        return None

    def replace(self, sequence: int, action: int, deadline: float) -> None:
        """Counts a decision taken for the agent, and tells it, if it is still there, what was done."""
        self.replaced += 1
        self.send(frame(Kind.REPLACED, sequence, action_payload(action)), deadline)

    def lose(self, why: str) -> None:
        """Gives the agent up."""
        if self.running is not None:
            self.last_fault = why
            self.lost += 1
            self.running.connection.close()
            end_processes([self.running.process], 0.0)
            self.running = None

    def fill(self, running: Running) -> None:
        """A new agent in place of a lost one."""
        self.running, self.misses, self.kernel = running, 0, running.ready.text

    def facts(self) -> dict[str, Any]:
        """For the verdict."""
        return {
            "agent_id": self.sizes.agent_id,
            "kernel": self.kernel,
            "resident_bytes": self.resident_bytes or None,
            "replaced": self.replaced,
            "lost": self.lost,
            "restarts": self.restarts,
            "playing": self.running is not None,
            "last_fault": self.last_fault or None,
        }

    def _missed(self) -> None:
        self.misses += 1
        self.last_fault = "no answer in time"
        if self.misses > MOST_MISSES:
            self.lose(f"{self.misses} answers in a row did not come in time")
