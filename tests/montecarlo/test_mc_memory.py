"""Memory does not grow with the number of samples, unless they are kept."""

import subprocess
import sys

PEAK = """
import resource, sys, torch, torchdropout as td
model = torch.nn.Sequential(td.Dropout(0.5), torch.nn.Flatten())
x = torch.ones(1000, 1000)
td.mc_predict(model, x, 2, output="values", key=0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
td.mc_predict(model, x, int(sys.argv[1]), output="values", key=0, keep_samples=sys.argv[2] == "keep")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def grown(samples, keep):
    """The MiB that the peak grew by; a sample has 4."""
    command = [sys.executable, "-c", PEAK, str(samples), keep]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_the_peak_is_that_of_a_few_samples():
    assert grown(60, "stream") < 60
    assert grown(60, "keep") > 200
