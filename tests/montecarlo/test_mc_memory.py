"""Memory does not grow with the number of samples, unless they are kept."""

import subprocess
import sys

PEAK = """
import sys, torch, torchdropout as td
def peak():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024
model = torch.nn.Sequential(td.Dropout(0.5), torch.nn.Flatten())
x = torch.ones(1000, 1000)
td.mc_predict(model, x, 2, output="values", key=0)
open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
before = peak()
td.mc_predict(model, x, int(sys.argv[1]), output="values", key=0, keep_samples=sys.argv[2] == "keep")
print(peak() - before)
"""


def grown(samples, keep):
    """The MiB that the peak grew by; a sample has 4."""
    command = [sys.executable, "-c", PEAK, str(samples), keep]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_the_peak_is_that_of_a_few_samples():
    few = grown(5, "stream")
    assert grown(80, "stream") < few + 80
    assert grown(80, "keep") > few + 250
