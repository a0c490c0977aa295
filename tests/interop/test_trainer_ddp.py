"""The Trainer's mixins with two processes over gloo: both losses are those of one process with all data."""

import os
import socket
import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

import torchdropout as td

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")
ROWS, EPOCHS, NUM_DATA = 8, 3, 30


def model_of():
    """Without noise, so that both passes are one; with a prior on its head."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=31, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    model = transformers.LlamaForCausalLM(config)
    model.lm_head.kl = lambda: model.lm_head.weight.square().sum() / 2
    return model


def rows():
    """Of very different lengths, so that processes and batches have other numbers of words."""
    words = torch.randint(1, 31, (ROWS, 9), generator=torch.Generator().manual_seed(2))
    real = torch.arange(9) < 2 + torch.arange(ROWS)[:, None]
    return [{"input_ids": w, "labels": torch.where(r, w, -100)} for w, r in zip(words, real, strict=True)]


def train(folder):
    from torchdropout.integrations.transformers import KLLossMixin, RDropMixin  # noqa: PLC0415 - may be missing

    class Both(KLLossMixin, RDropMixin, transformers.Trainer):
        pass

    model = model_of()
    args = transformers.TrainingArguments(
        output_dir=folder, per_device_train_batch_size=2, gradient_accumulation_steps=2, num_train_epochs=EPOCHS,
        max_grad_norm=0.0, report_to=[], use_cpu=True, ddp_backend="gloo", save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    trainer = Both(model, args, train_dataset=rows(), optimizers=(optimizer, constant), num_data=NUM_DATA)
    trainer.train()
    assert trainer.state.global_step == EPOCHS
    torch.save(model.state_dict(), f"{folder}/{os.environ['RANK']}.pt")
    torch.distributed.destroy_process_group()


def test_both_losses_are_those_of_one_process(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    shared |= {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, tmp_path], env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        told = [process.communicate(timeout=100)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], told
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    model = model_of()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    batch = {name: torch.stack([row[name] for row in rows()]) for name in ("input_ids", "labels")}
    for _ in range(EPOCHS):
        logits = model(batch["input_ids"]).logits[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), batch["labels"][:, 1:].flatten()) + td.kl_loss(model, NUM_DATA)
        optimizer.zero_grad()
        (2 * loss).backward()
        optimizer.step()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(found[0][name], value, rtol=1e-4, atol=1e-5)
        assert torch.equal(found[0][name], found[1][name])


if __name__ == "__main__":
    train(sys.argv[1])
