"""The most memory that a call holds at once, from what the allocator tells PyTorch's profiler."""

from __future__ import annotations

from collections.abc import Callable

import torch


def peak(call: Callable[[], object]) -> int:
    """Bytes above those held when the call begins, what it returns included."""
    call()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        kept = call()
    del kept
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most
