"""What can become of a run."""

OK, FAILED, DIVERGED = "ok", "failed", "diverged"
