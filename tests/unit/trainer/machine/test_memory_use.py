"""Messages about memory."""

import pytest
import torch

from segfoundry.trainer.machine.memory_use import is_out_of_memory, memory_errors, peak_memory
from segfoundry.utils.errors import UserError

CPU = torch.device("cpu")


def test_memory_messages():
    assert is_out_of_memory(MemoryError()) and is_out_of_memory(torch.OutOfMemoryError("x"))
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"))
    assert not is_out_of_memory(ValueError("not enough memory")) and not is_out_of_memory(RuntimeError("shape"))
    with (
        pytest.raises(UserError, match=r"out of memory on cpu \(peak .*B\).*KEY.A; KEY.B"),
        memory_errors(CPU, ("KEY.A", "KEY.B")),
    ):
        raise MemoryError
    with pytest.raises(RuntimeError, match="shape"), memory_errors(CPU, ()):
        raise RuntimeError("shape")
    assert peak_memory(CPU) > 10_000_000
